//! The admin client: topics, configs, groups and their offsets.
//!
//! Every call is repeated while its failure may pass by itself, for `default.api.timeout.ms` at most. A call that changes
//! something and gets no answer may have done it: [`Error::Unavailable`] says so. Deliberately not here: ACLs, quotas,
//! transactions, reassignments.

mod configs;
mod group_offsets;
mod groups;
mod many_groups;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Broker, ClientSettings, Cluster};
use crate::code::Code;
use crate::error::Error;
use crate::offsets::{self, IsolationLevel, ListedOffset, OffsetSpec};
use crate::partition::TopicPartition;

pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
pub use groups::{GroupDescription, GroupListing, GroupMember};
pub use topics::NewTopic;

/// An admin client. Cheap to clone; clones share their connections.
///
/// ```no_run
/// # async fn example() -> Result<(), pagemark_client::Error> {
/// use pagemark_client::{Admin, NewTopic};
///
/// let admin = Admin::builder("127.0.0.1:9092").build()?;
/// admin.create_topic(NewTopic::new("orders").partitions(4)).await?;
/// for (partition, offset) in admin.list_group_offsets("billing").await? {
///     println!("{partition}: next {}, last processed {}", offset.offset, offset.offset - 1);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    cluster: Arc<Cluster>,
}

/// Settings of an admin client.
#[derive(Debug, Clone)]
pub struct AdminBuilder {
    settings: ClientSettings,
}

impl AdminBuilder {
    /// `client.id`.
    #[must_use]
    pub fn client_id(mut self, client_id: &str) -> AdminBuilder {
        client_id.clone_into(&mut self.settings.client_id);
        self
    }

    /// `request.timeout.ms`, 30 s: longest wait for one answer.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> AdminBuilder {
        self.settings.request_timeout = timeout;
        self
    }

    /// `default.api.timeout.ms`, 60 s: longest time for a call with its repetitions.
    #[must_use]
    pub fn api_timeout(mut self, timeout: Duration) -> AdminBuilder {
        self.settings.api_timeout = timeout;
        self
    }

    /// The client. Connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an address is not `HOST:PORT`.
    pub fn build(self) -> Result<Admin, Error> {
        Ok(Admin { cluster: Cluster::new(self.settings)? })
    }
}

/// What is known of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id, if it says one.
    pub cluster_id: Option<String>,
    /// Node id of the controller, if there is one.
    pub controller: Option<i32>,
    /// Its brokers, by node id.
    pub brokers: Vec<Broker>,
}

impl Admin {
    /// Begins with `bootstrap.servers`: `host:port`, with commas between them.
    #[must_use]
    pub fn builder(bootstrap_servers: &str) -> AdminBuilder {
        AdminBuilder { settings: ClientSettings::new(bootstrap_servers) }
    }

    /// The cluster and its brokers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nobody answers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, Error> {
        let metadata = self.retrying(|| self.cluster.refresh_now()).await?;
        Ok(ClusterDescription {
            cluster_id: metadata.cluster_id.clone(),
            controller: metadata.controller,
            brokers: metadata.brokers.values().cloned().collect(),
        })
    }

    /// Looks up offsets: where logs begin and end, or by time. Committed records only count (`read_committed`).
    ///
    /// # Errors
    /// The first partition's that cannot be looked up.
    pub async fn list_offsets(
        &self,
        wanted: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>, Error> {
        self.list_offsets_with(IsolationLevel::ReadCommitted, wanted).await
    }

    /// As [`Admin::list_offsets`], as readers with this isolation see the log: with
    /// [`IsolationLevel::ReadUncommitted`] the end is the high watermark, which is what Kafka's own tools call the log end.
    ///
    /// # Errors
    /// The first partition's that cannot be looked up.
    pub async fn list_offsets_with(
        &self,
        isolation: IsolationLevel,
        wanted: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>, Error> {
        let mut wanted: Vec<_> = wanted.into_iter().map(|(partition, spec)| (partition, spec.timestamp())).collect();
        let mut found = BTreeMap::new();
        let mut retries = self.cluster.retries(self.cluster.deadline());
        loop {
            let mut last = None;
            for (partition, result) in offsets::list_offsets(&self.cluster, &wanted, isolation).await {
                match result {
                    Ok(listed) => drop(found.insert(partition, listed)),
                    Err(error) if error.is_retriable() => last = Some(error),
                    Err(error) => return Err(error),
                }
            }
            wanted.retain(|(partition, _)| !found.contains_key(partition));
            match last {
                None => return Ok(found),
                Some(error) if !retries.wait().await => return Err(error),
                Some(_) => {}
            }
        }
    }

    fn deadline(&self) -> Instant {
        self.cluster.deadline()
    }

    async fn retrying<T, F: Future<Output = Result<T, Error>>>(&self, attempt: impl FnMut() -> F) -> Result<T, Error> {
        self.cluster.retrying(self.deadline(), attempt).await
    }

    /// As [`Admin::retrying`], for what exists: Kafka calls an unknown topic a thing that may pass, here it is the answer.
    async fn settling<T, F: Future<Output = Result<T, Error>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let settled = self.retrying(|| {
            let made = attempt();
            async move {
                match made.await {
                    Err(error) if error.code() == Some(Code::UNKNOWN_TOPIC_OR_PARTITION) => Ok(Err(error)),
                    made => made.map(Ok),
                }
            }
        });
        settled.await.flatten()
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.cluster.settings().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}
