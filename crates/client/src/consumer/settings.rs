//! A consumer's settings, and building one.
//!
//! Deliberately not here: what they do; each says it in a line.

use std::sync::Arc;
use std::time::Duration;

use super::Consumer;
use super::assignor::Assignor;
use super::committer::Committing;
use super::error::ConsumerError;
use super::fetcher::Fetcher;
use super::group::Group;
use super::listener::{AnyListener, RebalanceListener};
use super::membership::Membership;
use super::state::{Position, Shared};
use crate::cluster::{ClientSettings, Cluster};
use crate::error::Error;
use crate::offsets::{Committer, IsolationLevel};
use crate::partition::TopicPartition;

/// `auto.offset.reset`: where to begin where nothing is committed, or where the committed offset is outside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoOffsetReset {
    /// At the first record there is.
    Earliest,
    /// Behind the last record. What is written before the consumer comes to look is never read.
    Latest,
    /// Nowhere: an error that the application answers by a seek. The default, since neither repeating nor skipping unasked
    /// is safe.
    #[default]
    None,
    /// At the first record that is at most this old.
    ByDuration(Duration),
}

/// A consumer's settings.
#[derive(Debug, Clone)]
pub(super) struct ConsumerSettings {
    pub(super) group_id: Option<String>,
    pub(super) auto_offset_reset: AutoOffsetReset,
    /// `None`: the application commits.
    pub(super) auto_commit: Option<Duration>,
    pub(super) assignors: Vec<Assignor>,
    pub(super) session_timeout: Duration,
    pub(super) heartbeat_interval: Duration,
    pub(super) max_poll_interval: Duration,
    pub(super) max_poll_records: usize,
    pub(super) isolation_level: IsolationLevel,
    pub(super) fetch_max_wait: Duration,
    pub(super) fetch_min_bytes: usize,
    pub(super) fetch_max_bytes: usize,
    pub(super) max_partition_fetch_bytes: usize,
    pub(super) prefetch_bytes: usize,
}

impl ConsumerSettings {
    /// Where to read a partition of which nothing is known yet: where its group left off, if there is a group.
    pub(super) fn beginning(&self, partition: &TopicPartition) -> Position {
        match self.group_id {
            Some(_) => Position::Committed,
            None => self.reset(partition),
        }
    }

    /// Where to read a partition of which nothing is committed.
    pub(super) fn reset(&self, partition: &TopicPartition) -> Position {
        match self.auto_offset_reset {
            AutoOffsetReset::None => Position::Failed(ConsumerError::NoOffset { partition: partition.clone() }),
            policy => Position::Reset(policy),
        }
    }
}

/// Settings of a consumer.
pub struct ConsumerBuilder {
    pub(super) client: ClientSettings,
    consumer: ConsumerSettings,
    instance_id: Option<String>,
    enable_auto_commit: bool,
    auto_commit_interval: Duration,
    listener: Option<Box<dyn AnyListener>>,
}

impl std::fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("client", &self.client)
            .field("consumer", &self.consumer)
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty => $($field:ident).+;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(mut self, $name: $kind) -> ConsumerBuilder {
            self.$($field).+ = $name;
            self
        })*
    };
}

impl ConsumerBuilder {
    pub(super) fn new(bootstrap_servers: &str) -> ConsumerBuilder {
        let consumer = ConsumerSettings {
            group_id: None,
            auto_offset_reset: AutoOffsetReset::None,
            auto_commit: None,
            assignors: vec![Assignor::CooperativeSticky],
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            max_poll_records: 500,
            isolation_level: IsolationLevel::ReadCommitted,
            fetch_max_wait: Duration::from_millis(500),
            fetch_min_bytes: 1,
            fetch_max_bytes: 50 * 1024 * 1024,
            max_partition_fetch_bytes: 1024 * 1024,
            prefetch_bytes: 64 * 1024 * 1024,
        };
        ConsumerBuilder {
            client: ClientSettings::new(bootstrap_servers),
            consumer,
            instance_id: None,
            enable_auto_commit: true,
            auto_commit_interval: Duration::from_secs(5),
            listener: None,
        }
    }

    /// `group.id`: the group that this consumer shares its topics with.
    #[must_use]
    pub fn group_id(mut self, group_id: &str) -> ConsumerBuilder {
        self.consumer.group_id = Some(group_id.to_owned());
        self
    }

    /// `group.instance.id`: makes it a static member, whose partitions wait for it while it restarts.
    #[must_use]
    pub fn group_instance_id(mut self, instance_id: &str) -> ConsumerBuilder {
        self.instance_id = Some(instance_id.to_owned());
        self
    }

    /// `client.id`.
    #[must_use]
    pub fn client_id(mut self, client_id: &str) -> ConsumerBuilder {
        client_id.clone_into(&mut self.client.client_id);
        self
    }

    /// Hears of partitions that come and go.
    #[must_use]
    pub fn rebalance_listener(mut self, listener: impl RebalanceListener) -> ConsumerBuilder {
        self.listener = Some(Box::new(listener));
        self
    }

    /// `partition.assignment.strategy`, cooperative-sticky (Kafka: range as well), most wanted first. With range among them
    /// everybody gives up everything on each rebalance.
    #[must_use]
    pub fn partition_assignment_strategy(mut self, assignors: impl IntoIterator<Item = Assignor>) -> ConsumerBuilder {
        self.consumer.assignors = assignors.into_iter().collect();
        self
    }

    setters! {
        /// `auto.offset.reset`, none (Kafka: latest).
        auto_offset_reset: AutoOffsetReset => consumer.auto_offset_reset;
        /// `enable.auto.commit`, on: what was stored is committed by itself.
        enable_auto_commit: bool => enable_auto_commit;
        /// `auto.commit.interval.ms`, 5 s.
        auto_commit_interval: Duration => auto_commit_interval;
        /// `session.timeout.ms`, 45 s: how long the group waits for a member that is not heard.
        session_timeout: Duration => consumer.session_timeout;
        /// `heartbeat.interval.ms`, 3 s.
        heartbeat_interval: Duration => consumer.heartbeat_interval;
        /// `max.poll.interval.ms`, 5 minutes: how long the group waits for an application that does not ask for records.
        max_poll_interval: Duration => consumer.max_poll_interval;
        /// `max.poll.records`, 500.
        max_poll_records: usize => consumer.max_poll_records;
        /// `isolation.level`, read_committed (Kafka: read_uncommitted).
        isolation_level: IsolationLevel => consumer.isolation_level;
        /// `fetch.max.wait.ms`, 500: how long a broker waits for records.
        fetch_max_wait: Duration => consumer.fetch_max_wait;
        /// `fetch.min.bytes`, 1: how much a broker waits for.
        fetch_min_bytes: usize => consumer.fetch_min_bytes;
        /// `fetch.max.bytes`, 50 MiB: most bytes of one answer.
        fetch_max_bytes: usize => consumer.fetch_max_bytes;
        /// `max.partition.fetch.bytes`, 1 MiB: most bytes of a partition in one answer. A partition with as much waiting to
        /// be handed out is not fetched.
        max_partition_fetch_bytes: usize => consumer.max_partition_fetch_bytes;
        /// Most bytes, as fetched, that wait to be handed out, 64 MiB; one answer more may come.
        prefetch_bytes: usize => consumer.prefetch_bytes;
        /// `request.timeout.ms`, 30 s: longest wait for one answer.
        request_timeout: Duration => client.request_timeout;
        /// `default.api.timeout.ms`, 60 s: longest time for a commit or a call, with its repetitions.
        api_timeout: Duration => client.api_timeout;
        /// `metadata.max.age.ms`, 5 minutes: how soon new partitions are noticed.
        metadata_max_age: Duration => client.metadata_max_age;
    }

    /// The consumer. Must be called within a tokio runtime; connects when it subscribes or assigns.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the settings contradict each other.
    pub fn build(mut self) -> Result<Consumer, Error> {
        self.check()?;
        self.consumer.auto_commit = self.enable_auto_commit.then_some(self.auto_commit_interval);
        tracing::debug!(settings = ?self, "a consumer");
        let cluster = Cluster::new(self.client)?;
        let settings = Arc::new(self.consumer);
        let shared = Shared::new(Committer { instance_id: self.instance_id, ..Committer::nobody() });
        let fetcher = Fetcher::new(Arc::clone(&cluster), Arc::clone(&shared), Arc::clone(&settings));
        let mut tasks = vec![tokio::spawn(fetcher.run())];
        let group = settings.group_id.clone().map(|group| {
            let (cluster, shared, settings) = (Arc::clone(&cluster), Arc::clone(&shared), Arc::clone(&settings));
            let committing = Committing {
                cluster: Arc::clone(&cluster),
                shared: Arc::clone(&shared),
                settings: Arc::clone(&settings),
                group: group.clone(),
            };
            tasks.push(tokio::spawn(committing.run()));
            let membership = Membership { cluster, shared, settings, group };
            tokio::spawn(Group::new(membership, self.listener).run())
        });
        Ok(Consumer { cluster, shared, settings, group, tasks })
    }

    fn check(&self) -> Result<(), Error> {
        let consumer = &self.consumer;
        let wrong = if consumer.assignors.is_empty() {
            "partition.assignment.strategy names no assignor"
        } else if consumer.heartbeat_interval * 2 > consumer.session_timeout || consumer.heartbeat_interval.is_zero() {
            "heartbeat.interval.ms must be above 0 and at most half of session.timeout.ms"
        } else if consumer.max_poll_interval.is_zero() {
            "max.poll.interval.ms must be above 0"
        } else if consumer.max_poll_records == 0 {
            "max.poll.records must be above 0"
        } else if consumer.fetch_max_bytes == 0 || consumer.max_partition_fetch_bytes == 0 {
            "fetch.max.bytes and max.partition.fetch.bytes must be above 0"
        } else if consumer.prefetch_bytes == 0 {
            "prefetch_bytes must be above 0"
        } else if self.auto_commit_interval.is_zero() {
            "auto.commit.interval.ms must be above 0"
        } else if consumer.group_id.as_deref() == Some("") {
            "group.id must not be empty"
        } else {
            return Ok(());
        };
        Err(Error::Invalid(wrong.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A consumer that may buffer nothing would wait for ever without a word.
    #[test]
    fn settings_under_which_nothing_could_be_read_are_refused() {
        let builder = || Consumer::builder("127.0.0.1:1");
        let wrong = [
            builder().fetch_max_bytes(0),
            builder().max_partition_fetch_bytes(0),
            builder().prefetch_bytes(0),
            builder().max_poll_records(0),
        ];
        for builder in wrong {
            assert!(matches!(builder.build(), Err(Error::Invalid(_))));
        }
    }
}
