//! Groups: list, describe, delete.
//!
//! Deliberately not here: what they have committed, and groups of KIP-848, whose members this client cannot see.

use std::collections::{BTreeMap, BTreeSet};

use pagemark_wire::consumer_protocol::Assignment;
use pagemark_wire::messages::describe_groups_response::DescribedGroup;
use pagemark_wire::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};

use super::Admin;
use crate::cluster::{Lane, To};
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
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable` or `Dead`.
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
        let timeout = self.cluster.settings().request_timeout;
        self.retrying(|| async {
            let request = |_| DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
            let answer = self.cluster.call_coordinator(group, Lane::Control, timeout, request).await?;
            let found = answer.groups.first();
            let found = found.ok_or_else(|| Error::Protocol("no answer about the group".to_owned()))?;
            self.cluster.judge_coordinator(group, found.error_code)?;
            // Brokers before version 6 say it so.
            if found.group_state.as_str() == "Dead" {
                return Err(Error::refused(Code::GROUP_ID_NOT_FOUND));
            }
            let coordinator = self.cluster.coordinator(group).await?;
            Ok(read_group(found, coordinator))
        })
        .await
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

fn read_group(found: &DescribedGroup, coordinator: i32) -> GroupDescription {
    let members = found.members.iter().map(|member| {
        let assignment = Assignment::parse(&member.member_assignment).unwrap_or_default();
        let partitions = assignment.partitions.iter();
        GroupMember {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            assignment: partitions.flat_map(|(t, all)| all.iter().map(|p| TopicPartition::new(t, *p))).collect(),
        }
    });
    GroupDescription {
        group_id: found.group_id.0.to_string(),
        state: found.group_state.to_string(),
        protocol_type: found.protocol_type.to_string(),
        assignor: found.protocol_data.to_string(),
        coordinator,
        members: members.collect(),
    }
}
