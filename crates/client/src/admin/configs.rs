//! Configs, and what changes topics that exist: more partitions, fewer records.
//!
//! Deliberately not here: creating and deleting topics.

use std::collections::BTreeMap;

use pagemark_wire::messages::create_partitions_request::CreatePartitionsTopic;
use pagemark_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use pagemark_wire::messages::describe_configs_request::DescribeConfigsResource;
use pagemark_wire::messages::describe_configs_response::DescribeConfigsResourceResult;
use pagemark_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use pagemark_wire::messages::{
    CreatePartitionsRequest, DeleteRecordsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};

use super::Admin;
use crate::cluster::{Lane, To};
use crate::code::Code;
use crate::error::{Error, refuse};
use crate::partition::{TopicPartition, by_topic};
use pagemark_wire::messages::{text, topic_name};

/// What has configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    /// The topic with this name.
    Topic(String),
    /// The broker with this node id.
    Broker(i32),
    /// The group with this id.
    Group(String),
}

impl ConfigResource {
    fn to_wire(&self) -> (i8, String) {
        match self {
            ConfigResource::Topic(name) => (2, name.clone()),
            ConfigResource::Broker(node) => (4, node.to_string()),
            ConfigResource::Group(id) => (32, id.clone()),
        }
    }

    /// Only a broker itself knows its configs.
    fn to(&self) -> To {
        match self {
            ConfigResource::Broker(node) => To::Node(*node),
            ConfigResource::Topic(_) | ConfigResource::Group(_) => To::Any,
        }
    }
}

/// A config as it counts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its value; `None` if it has none, or a secret one.
    pub value: Option<String>,
    /// Where the value is from.
    pub source: ConfigSource,
    /// It cannot be changed.
    pub is_read_only: bool,
    /// Its value is not shown.
    pub is_sensitive: bool,
}

/// Where a config's value is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// It was set for this resource.
    Set,
    /// It was set for the broker, or for all brokers, while they ran.
    BrokerSet,
    /// It stands in the broker's settings file.
    BrokerFile,
    /// Nobody has set it.
    Default,
    /// The broker does not say.
    Unknown,
}

/// A change of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets it.
    Set(String),
    /// Takes the setting away, so that the default counts.
    Delete,
    /// Adds to a list.
    Append(String),
    /// Takes out of a list.
    Subtract(String),
}

impl ConfigChange {
    fn to_wire(&self) -> (i8, Option<&str>) {
        match self {
            ConfigChange::Set(value) => (0, Some(value)),
            ConfigChange::Delete => (1, None),
            ConfigChange::Append(value) => (2, Some(value)),
            ConfigChange::Subtract(value) => (3, Some(value)),
        }
    }
}

impl Admin {
    /// All configs of a resource, by name.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such resource.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<BTreeMap<String, ConfigEntry>, Error> {
        let (kind, name) = resource.to_wire();
        self.know_brokers().await?;
        self.settling(|| async {
            let make = |_| {
                let resource = DescribeConfigsResource::default()
                    .with_resource_type(kind)
                    .with_resource_name(text(&name))
                    .with_configuration_keys(None);
                DescribeConfigsRequest::default().with_resources(vec![resource])
            };
            let answer = self.cluster.call(resource.to(), Lane::Control, make).await?;
            let found = answer.results.first();
            let found = found.ok_or_else(|| Error::Protocol("no answer about the resource".to_owned()))?;
            refuse(found.error_code, found.error_message.as_ref())?;
            Ok(found.configs.iter().map(|config| (config.name.to_string(), read_entry(config))).collect())
        })
        .await
    }

    /// Changes configs of a resource, all or none; what is not named stays as it is.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's words if a name or a value is illegal; then nothing was changed.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: impl IntoIterator<Item = (&str, ConfigChange)>,
    ) -> Result<(), Error> {
        let (kind, name) = resource.to_wire();
        let change = |(name, change): (&str, ConfigChange)| {
            let (operation, value) = change.to_wire();
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(operation)
                .with_value(value.map(text))
        };
        let changes: Vec<AlterableConfig> = changes.into_iter().map(change).collect();
        self.know_brokers().await?;
        self.settling(|| async {
            let make = |_| {
                let resource = AlterConfigsResource::default()
                    .with_resource_type(kind)
                    .with_resource_name(text(&name))
                    .with_configs(changes.clone());
                IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
            };
            let answer = self.cluster.call(resource.to(), Lane::Control, make).await?;
            let found = answer.responses.first();
            let found = found.ok_or_else(|| Error::Protocol("no answer about the resource".to_owned()))?;
            refuse(found.error_code, found.error_message.as_ref())
        })
        .await
    }

    /// Gives a topic more partitions, `total` in all; when this returns, producers and consumers find them. Records with a
    /// key may go elsewhere from then on.
    ///
    /// # Errors
    /// [`Error::Refused`] with INVALID_PARTITIONS (37) unless it has fewer now.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), Error> {
        let timeout_ms = self.timeout_ms();
        self.settling(|| async {
            let make = |_| {
                let topic = CreatePartitionsTopic::default()
                    .with_name(topic_name(topic))
                    .with_count(total)
                    .with_assignments(None);
                CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms)
            };
            let answer = self.cluster.call(To::Any, Lane::Control, make).await?;
            let found = answer.results.first();
            let found = found.ok_or_else(|| Error::Protocol("no answer about the topic".to_owned()))?;
            refuse(found.error_code, found.error_message.as_ref())
        })
        .await?;
        // Another broker may not know them yet.
        self.cluster.want([topic]);
        self.settling(|| async {
            let metadata = self.cluster.refresh_now().await?;
            let count = metadata.topics.get(topic).map_or(0, |topic| topic.partitions.len());
            if count < usize::try_from(total).unwrap_or(0) {
                return Err(Error::refused(Code::LEADER_NOT_AVAILABLE));
            }
            Ok(())
        })
        .await
    }

    /// Deletes the records of a partition before an offset, for good; `None` means all there are. Where the log begins
    /// then.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Code::OFFSET_OUT_OF_RANGE`] if the offset is behind the log's end.
    pub async fn delete_records(&self, partition: &TopicPartition, before: Option<i64>) -> Result<i64, Error> {
        let timeout_ms = self.timeout_ms();
        self.cluster.topic(&partition.topic, self.deadline()).await?;
        self.retrying(|| async {
            let (metadata, seen) = self.cluster.metadata();
            let Some((leader, _)) = metadata.leader(&partition.topic, partition.partition) else {
                self.cluster.refresh(seen).await?;
                return Err(Error::refused(Code::LEADER_NOT_AVAILABLE));
            };
            let make = |_| {
                let one = |(index, before): (i32, i64)| {
                    DeleteRecordsPartition::default().with_partition_index(index).with_offset(before)
                };
                let topics = by_topic([(partition.clone(), before.unwrap_or(-1))]).into_iter().map(|(topic, all)| {
                    let partitions = all.into_iter().map(one).collect();
                    DeleteRecordsTopic::default().with_name(topic_name(&topic)).with_partitions(partitions)
                });
                DeleteRecordsRequest::default().with_topics(topics.collect()).with_timeout_ms(timeout_ms)
            };
            let ask = async {
                let answer = self.cluster.call(To::Node(leader), Lane::Control, make).await?;
                let found = answer.topics.first().and_then(|topic| topic.partitions.first());
                let found = found.ok_or_else(|| Error::Protocol("no answer about the partition".to_owned()))?;
                refuse(found.error_code, None).map(|()| found.low_watermark)
            };
            let deleted = ask.await;
            if deleted.as_ref().is_err_and(Error::is_stale_metadata) {
                self.cluster.refresh(seen).await?;
            }
            deleted
        })
        .await
    }

    /// A broker can only be asked once it is known where it is.
    async fn know_brokers(&self) -> Result<(), Error> {
        if self.cluster.metadata().1 == 0 {
            self.retrying(|| self.cluster.refresh_now()).await?;
        }
        Ok(())
    }
}

fn read_entry(config: &DescribeConfigsResourceResult) -> ConfigEntry {
    let source = match config.config_source {
        1 | 8 => ConfigSource::Set,
        2 | 3 => ConfigSource::BrokerSet,
        4 => ConfigSource::BrokerFile,
        5 => ConfigSource::Default,
        _ => ConfigSource::Unknown,
    };
    ConfigEntry {
        value: config.value.as_ref().map(ToString::to_string),
        source,
        is_read_only: config.read_only,
        is_sensitive: config.is_sensitive,
    }
}
