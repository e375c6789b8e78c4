//! Groups: list, describe, delete.
//!
//! A group of KIP-848 is described by another call than a classic one; which it is, the broker knows. Deliberately not here:
//! what they have committed, and share and streams groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pagemark_wire::consumer_protocol::Assignment;
use pagemark_wire::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumerGroup;
use pagemark_wire::messages::describe_groups_response::DescribedGroup;
use pagemark_wire::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest,
};

use super::Admin;
use super::many_groups::PerGroup;
use crate::cluster::{Cluster, Lane, To};
use crate::code::Code;
use crate::error::{Error, refuse};
use crate::partition::TopicPartition;
use pagemark_wire::messages::group_id;

/// A group as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group_id: String,
    /// `consumer` for consumers; empty for a group that only has offsets.
    pub protocol_type: String,
    /// `Empty`, `Stable` and so on; empty if the broker does not say.
    pub state: String,
    /// `classic`, `consumer` and so on; empty if the broker does not say.
    pub group_type: String,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group_id: String,
    /// `classic`, or `consumer` for a group of KIP-848.
    pub group_type: String,
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`; of a group of KIP-848 also `Assigning` and
    /// `Reconciling`.
    pub state: String,
    /// `consumer` for consumers; empty for a group that only has offsets.
    pub protocol_type: String,
    /// Name of the assignor in use, when there is one.
    pub assignor: String,
    /// Node id of the coordinator.
    pub coordinator: i32,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id, given by the coordinator.
    pub member_id: String,
    /// Its instance id, if it is static.
    pub instance_id: Option<String>,
    /// Its epoch, in a group of KIP-848.
    pub epoch: Option<i32>,
    /// What it calls itself.
    pub client_id: String,
    /// Where it is, as the coordinator sees it; Kafka begins with `/`.
    pub client_host: String,
    /// Its partitions; empty also if they cannot be read.
    pub assignment: BTreeSet<TopicPartition>,
}

impl Admin {
    /// All groups, by id.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if a broker does not answer.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        let metadata = self.retrying(|| self.cluster.refresh_now()).await?;
        let mut all = BTreeMap::new();
        for node in metadata.brokers.keys().copied() {
            let answer = self
                .retrying(|| async {
                    let answer =
                        self.cluster.call(To::Node(node), Lane::Control, |_| ListGroupsRequest::default()).await?;
                    refuse(answer.error_code, None).map(|()| answer)
                })
                .await?;
            for group in answer.groups {
                let listing = GroupListing {
                    group_id: group.group_id.0.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                    state: group.group_state.to_string(),
                    group_type: group.group_type.to_string(),
                };
                all.insert(listing.group_id.clone(), listing);
            }
        }
        Ok(all.into_values().collect())
    }

    /// One group with its members.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Code::GROUP_ID_NOT_FOUND`] if there is none.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, Error> {
        let found = self.describe_groups([group]).await.remove(group);
        found.unwrap_or_else(|| Err(Error::refused(Code::GROUP_ID_NOT_FOUND)))
    }

    /// Many groups with their members, asked for together; each has a result like [`Admin::describe_group`]'s.
    pub async fn describe_groups<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, Result<GroupDescription, Error>> {
        let groups: Vec<String> = groups.into_iter().map(str::to_owned).collect();
        let mut found = self.of_groups(&groups, describe).await;
        // Whoever only knows of classic groups says of the others that they are not there.
        let is_missing = |result: &Result<_, Error>| {
            result.as_ref().is_err_and(|error| error.code() == Some(Code::GROUP_ID_NOT_FOUND))
        };
        let others: Vec<String> = groups.into_iter().filter(|group| found.get(group).is_some_and(is_missing)).collect();
        for (group, result) in self.of_groups(&others, describe_consumer_groups).await {
            let is_unknown = match &result {
                Err(Error::Unsupported { .. }) => true,
                Err(error) => {
                    [Code::GROUP_ID_NOT_FOUND, Code::UNSUPPORTED_VERSION].iter().any(|code| error.code() == Some(*code))
                }
                Ok(_) => false,
            };
            if !is_unknown {
                found.insert(group, result);
            }
        }
        found
    }

    /// Deletes a group without members, with all that it has committed.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Code::NON_EMPTY_GROUP`] if it has members, [`Code::GROUP_ID_NOT_FOUND`] if there is none.
    /// That is also the answer to a repetition of our own, if the first attempt did it and its answer was lost.
    pub async fn delete_group(&self, group: &str) -> Result<(), Error> {
        let timeout = self.cluster.settings().request_timeout;
        self.retrying(|| async {
            let make = |_| DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
            let answer = self.cluster.call_coordinator(group, Lane::Control, timeout, make).await?;
            let found = answer.results.first();
            let found = found.ok_or_else(|| Error::Protocol("no answer about the group".to_owned()))?;
            self.cluster.judge_coordinator(group, found.error_code)
        })
        .await
    }
}

async fn describe(cluster: Arc<Cluster>, node: i32, groups: Vec<String>) -> Result<PerGroup<GroupDescription>, Error> {
    let make = |_| DescribeGroupsRequest::default().with_groups(groups.iter().map(|group| group_id(group)).collect());
    let answer = cluster.call(To::Node(node), Lane::Control, make).await?;
    let one = |found: &DescribedGroup| {
        let group = found.group_id.0.to_string();
        let described = cluster.judge_coordinator(&group, found.error_code).and_then(|()| {
            // Brokers before version 6 say it so.
            if found.group_state.as_str() == "Dead" {
                return Err(Error::refused(Code::GROUP_ID_NOT_FOUND));
            }
            Ok(read_group(found, node))
        });
        (group, described)
    };
    Ok(answer.groups.iter().map(one).collect())
}

async fn describe_consumer_groups(
    cluster: Arc<Cluster>,
    node: i32,
    groups: Vec<String>,
) -> Result<PerGroup<GroupDescription>, Error> {
    let make = |_| {
        ConsumerGroupDescribeRequest::default().with_group_ids(groups.iter().map(|group| group_id(group)).collect())
    };
    let answer = cluster.call(To::Node(node), Lane::Control, make).await?;
    let one = |found: &DescribedConsumerGroup| {
        let group = found.group_id.0.to_string();
        let described = cluster.judge_coordinator(&group, found.error_code);
        (group, described.map(|()| read_consumer_group(found, node)))
    };
    Ok(answer.groups.iter().map(one).collect())
}

fn read_group(found: &DescribedGroup, coordinator: i32) -> GroupDescription {
    let members = found.members.iter().map(|member| {
        let assignment = Assignment::parse(&member.member_assignment).unwrap_or_default();
        let partitions = assignment.partitions.iter();
        GroupMember {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
            epoch: None,
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            assignment: partitions.flat_map(|(t, all)| all.iter().map(|p| TopicPartition::new(t, *p))).collect(),
        }
    });
    GroupDescription {
        group_id: found.group_id.0.to_string(),
        group_type: "classic".to_owned(),
        state: found.group_state.to_string(),
        protocol_type: found.protocol_type.to_string(),
        assignor: found.protocol_data.to_string(),
        coordinator,
        members: members.collect(),
    }
}

fn read_consumer_group(found: &DescribedConsumerGroup, coordinator: i32) -> GroupDescription {
    let members = found.members.iter().map(|member| {
        let partitions = member.assignment.topic_partitions.iter();
        GroupMember {
            member_id: member.member_id.to_string(),
            instance_id: member.instance_id.as_ref().map(ToString::to_string),
            epoch: Some(member.member_epoch),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            assignment: partitions
                .flat_map(|topic| topic.partitions.iter().map(|p| TopicPartition::new(topic.topic_name.0.as_str(), *p)))
                .collect(),
        }
    });
    GroupDescription {
        group_id: found.group_id.0.to_string(),
        group_type: "consumer".to_owned(),
        state: found.group_state.to_string(),
        protocol_type: "consumer".to_owned(),
        assignor: found.assignor_name.to_string(),
        coordinator,
        members: members.collect(),
    }
}

#[cfg(test)]
mod tests {
    use pagemark_wire::messages::consumer_group_describe_response::{Assignment, Member, TopicPartitions};
    use pagemark_wire::messages::{text, topic_name};

    use super::*;

    #[test]
    fn members_of_a_kip_848_group_have_their_current_assignment_and_an_epoch() {
        let partitions = |partitions: &[i32]| {
            let topic =
                TopicPartitions::default().with_topic_name(topic_name("orders")).with_partitions(partitions.to_vec());
            Assignment::default().with_topic_partitions(vec![topic])
        };
        let member = Member::default()
            .with_member_id(text("m"))
            .with_member_epoch(7)
            .with_client_host(text("/127.0.0.1"))
            .with_assignment(partitions(&[0, 2]))
            .with_target_assignment(partitions(&[0, 1, 2]));
        let found = DescribedConsumerGroup::default()
            .with_group_id(group_id("billing"))
            .with_group_state(text("Reconciling"))
            .with_assignor_name(text("uniform"))
            .with_members(vec![member]);
        let group = read_consumer_group(&found, 3);
        assert_eq!((group.group_type.as_str(), group.protocol_type.as_str()), ("consumer", "consumer"));
        assert_eq!((group.state.as_str(), group.assignor.as_str(), group.coordinator), ("Reconciling", "uniform", 3));
        let [member] = &group.members[..] else { panic!("{group:?}") };
        let expected = [0, 2].map(|partition| TopicPartition::new("orders", partition));
        assert_eq!((member.epoch, &member.assignment), (Some(7), &BTreeSet::from(expected)));
    }
}
