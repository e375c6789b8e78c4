//! OffsetCommit (key 8), versions 2 to 9: a group's bookmarks.
//!
//! v2 to v4 carry a retention, v6 the leader epoch (KIP-320), v7 static members, v8 is flexible, v9 speaks of member epochs
//! (KIP-848). Topics that do not exist are answered here, partition by partition; the rest goes to the group's shard as one
//! atomic commit (O-4, O-18). The answer leaves when the commit is on stable storage.
//! Deliberately not here: who may commit (`core::group`), version 10 with topic ids.

use std::collections::HashMap;

use pagemark_core::coordinator::{Answer, CommitAnswer, CommitRequest, OffsetToCommit, Request};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::offset_commit_request::OffsetCommitRequestTopic;
use pagemark_wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use pagemark_wire::messages::{OffsetCommitRequest, OffsetCommitResponse};
use pagemark_wire::types::{Generation, LeaderEpoch, Offset, PartitionIndex};

use super::Call;
use crate::broker::Broker;
use crate::executor::Outgoing;

/// Commits what can be committed.
pub fn handle(call: Call, out: &mut Outgoing, request: OffsetCommitRequest) {
    let group_id = request.group_id.to_string();
    let (offsets, topics) = resolve(&call.broker, request.topics);
    if offsets.is_empty() {
        return call.reply.send(&OffsetCommitResponse::default().with_topics(topics)); // O-4
    }
    let commit = CommitRequest {
        group_id: group_id.clone(),
        generation: Generation(request.generation_id_or_member_epoch),
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(|id| id.to_string()),
        offsets,
        retention_ms: (call.version <= 4 && request.retention_time_ms >= 0).then_some(request.retention_time_ms),
    };
    call.ask_group(out, &group_id, Request::Commit(commit), move |reply, version, answer| {
        let Answer::Commit(commit) = answer else { return super::wrong_kind("OffsetCommit", &answer) };
        reply.send(&OffsetCommitResponse::default().with_topics(fill(topics, commit, version)));
    });
}

/// Splits a request into what its shard is asked, and the response's shape with the errors known already.
fn resolve(
    broker: &Broker,
    topics: Vec<OffsetCommitRequestTopic>,
) -> (Vec<OffsetToCommit>, Vec<OffsetCommitResponseTopic>) {
    let view = broker.registry.view();
    let mut offsets = Vec::new();
    let mut responses = Vec::with_capacity(topics.len());
    for asked in topics {
        let topic = view.by_name(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in asked.partitions {
            let index = PartitionIndex(partition.partition_index);
            let response = OffsetCommitResponsePartition::default().with_partition_index(index.0);
            match topic.filter(|t| t.partition(index).is_some()) {
                None => partitions.push(response.with_error_code(ErrorCode::UnknownTopicOrPartition.code())),
                Some(topic) => {
                    partitions.push(response);
                    offsets.push(OffsetToCommit {
                        topic: topic.name.clone(),
                        topic_id: topic.id(),
                        partition: index,
                        offset: Offset(partition.committed_offset),
                        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                        metadata: partition.committed_metadata.map(|m| m.to_string()),
                    });
                }
            }
        }
        responses.push(OffsetCommitResponseTopic::default().with_name(asked.name).with_partitions(partitions));
    }
    (offsets, responses)
}

/// Writes the shard's results into the places that had no error yet.
fn fill(
    mut topics: Vec<OffsetCommitResponseTopic>,
    answer: CommitAnswer,
    version: i16,
) -> Vec<OffsetCommitResponseTopic> {
    let results: HashMap<(&str, i32), ErrorCode> =
        answer.offsets.iter().map(|o| ((o.topic.as_str(), o.partition.0), o.error)).collect();
    for topic in &mut topics {
        for partition in topic.partitions.iter_mut().filter(|p| p.error_code == 0) {
            let found = results.get(&(topic.name.as_str(), partition.partition_index));
            let code = found.copied().unwrap_or(ErrorCode::UnknownServerError);
            partition.error_code = for_version(code, version).code();
        }
    }
    topics
}

/// Before version 9 an absent group is told as a wrong generation (O-3).
fn for_version(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::GroupIdNotFound if version < 9 => ErrorCode::IllegalGeneration,
        _ => code,
    }
}
