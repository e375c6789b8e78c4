//! What groups have committed: read, set, delete.
//!
//! Deliberately not here: resets by time or by shift; those are made of [`Admin::list_offsets`] and
//! [`Admin::alter_group_offsets`].

use std::collections::BTreeMap;

use pagemark_wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use pagemark_wire::messages::{OffsetDeleteRequest, group_id, topic_name};

use super::Admin;
use crate::cluster::Lane;
use crate::code::Code;
use crate::error::Error;
use crate::offsets::{self, Committer, OffsetAndMetadata};
use crate::partition::{TopicPartition, by_topic};

impl Admin {
    /// What a group has committed: for each partition the NEXT offset to read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the coordinator does not answer. A group that does not exist has committed nothing.
    pub async fn list_group_offsets(&self, group: &str) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, Error> {
        let found = self.list_groups_offsets([group]).await.remove(group);
        found.unwrap_or_else(|| Ok(BTreeMap::new()))
    }

    /// What many groups have committed, asked for together; each has a result like [`Admin::list_group_offsets`]'s.
    pub async fn list_groups_offsets<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, Result<BTreeMap<TopicPartition, OffsetAndMetadata>, Error>> {
        let groups: Vec<String> = groups.into_iter().map(str::to_owned).collect();
        self.of_groups(&groups, offsets::fetch_all_committed).await
    }

    /// Sets the offsets of a group without members: for each partition the NEXT offset to read (O-37).
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Code::UNKNOWN_MEMBER_ID`] if the group has members. Then nothing was changed; if another
    /// partition was refused, those before it may have been.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<(), Error> {
        let offsets: BTreeMap<_, _> = offsets.into_iter().collect();
        let timeout = self.cluster.settings().request_timeout;
        if offsets.is_empty() {
            return Ok(());
        }
        self.retrying(|| async {
            let codes = offsets::commit(&self.cluster, group, &Committer::nobody(), &offsets, timeout).await?;
            match codes.into_iter().find(|(_, code)| !code.is_none()) {
                Some((partition, code)) => Err(Error::Refused { code, message: partition.to_string() }),
                None => Ok(()),
            }
        })
        .await
    }

    /// Deletes what a group has committed for these partitions. The code of each: [`Code::NONE`] also where nothing was
    /// committed, [`Code::GROUP_SUBSCRIBED_TO_TOPIC`] where members of the group read the topic (O-35).
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Code::GROUP_ID_NOT_FOUND`] if there is no such group.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Code>, Error> {
        let partitions: BTreeMap<_, _> = partitions.into_iter().map(|partition| (partition, ())).collect();
        let timeout = self.cluster.settings().request_timeout;
        self.retrying(|| async {
            let make = |_| {
                let one = |(index, ()): (i32, ())| OffsetDeleteRequestPartition::default().with_partition_index(index);
                let topics = by_topic(partitions.clone()).into_iter().map(|(topic, all)| {
                    let partitions = all.into_iter().map(one).collect();
                    OffsetDeleteRequestTopic::default().with_name(topic_name(&topic)).with_partitions(partitions)
                });
                OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(topics.collect())
            };
            let answer = self.cluster.call_coordinator(group, Lane::Control, timeout, make).await?;
            self.cluster.judge_coordinator(group, answer.error_code)?;
            let found = answer.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| {
                    let at = TopicPartition::new(topic.name.0.as_str(), partition.partition_index);
                    (at, Code(partition.error_code))
                })
            });
            let found: BTreeMap<_, _> = found.collect();
            match partitions.keys().find(|partition| !found.contains_key(partition)) {
                Some(partition) => Err(Error::Protocol(format!("no answer about {partition}"))),
                None => Ok(found),
            }
        })
        .await
    }
}
