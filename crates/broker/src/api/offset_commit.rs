//! OffsetCommit (key 8), versions 2 to 10: a group's bookmarks.
//!
//! v2 to v4 carry a retention, v6 the leader epoch (KIP-320), v7 static members, v8 is flexible, v9 speaks of member epochs
//! (KIP-848), v10 names topics by id. Topics that do not exist are answered here, partition by partition; the rest goes to the group's shard as one
//! atomic commit (O-4, O-18). So are commits of those who read a former topic of the name, as far as their leader epoch
//! tells it (O-7, R-96). The answer leaves when the commit is on stable storage. Commits that look wrong are counted, not refused.
//! Deliberately not here: who may commit (`core::group`).

use std::collections::HashMap;
use std::sync::Arc;

use pagemark_core::coordinator::{Answer, CommitAnswer, CommitRequest, OffsetToCommit, Request};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::offset_commit_request::OffsetCommitRequestTopic;
use pagemark_wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use pagemark_wire::messages::{OffsetCommitRequest, OffsetCommitResponse, topic_name};
use pagemark_wire::types::{Generation, LeaderEpoch, Offset, PartitionIndex, PartitionKey, TopicId};

use super::Call;
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::metadata::registry::Topic;
use crate::metrics::{Metrics, Oddity};

/// First version that names topics by id.
const BY_ID: i16 = 10;

/// Commits what can be committed.
pub fn handle(call: Call, out: &mut Outgoing, request: OffsetCommitRequest) {
    let group_id = request.group_id.to_string();
    let (offsets, topics) = resolve(&call.broker, request.topics, call.version);
    let broker = Arc::clone(&call.broker);
    let standings: Vec<Standing> = offsets.iter().map(|offset| standing(&broker, offset)).collect();
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
        count(&broker.metrics, &commit, &standings);
        reply.send(&OffsetCommitResponse::default().with_topics(fill(topics, commit, version)));
    });
}

/// Splits a request into what its shard is asked, and the response's shape with the errors known already.
fn resolve(
    broker: &Broker,
    topics: Vec<OffsetCommitRequestTopic>,
    version: i16,
) -> (Vec<OffsetToCommit>, Vec<OffsetCommitResponseTopic>) {
    let view = broker.registry.view();
    let mut offsets = Vec::new();
    let mut responses = Vec::with_capacity(topics.len());
    for asked in topics {
        let by_id = version >= BY_ID;
        let topic = if by_id { view.by_id(TopicId(asked.topic_id)) } else { view.by_name(&asked.name) };
        let absent =
            if by_id && topic.is_none() { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in asked.partitions {
            let index = PartitionIndex(partition.partition_index);
            let response = OffsetCommitResponsePartition::default().with_partition_index(index.0);
            let epoch = LeaderEpoch(partition.committed_leader_epoch);
            let known = topic.filter(|t| t.partition(index).is_some());
            let is_former = !by_id && known.is_some_and(|t| is_of_a_former_topic(t, epoch));
            if is_former {
                broker.metrics.commit(Oddity::FormerTopic);
            }
            match known.filter(|_| !is_former) {
                None => partitions.push(response.with_error_code(absent.code())),
                Some(topic) => {
                    partitions.push(response);
                    offsets.push(OffsetToCommit {
                        topic: topic.name.clone(),
                        topic_id: topic.id(),
                        partition: index,
                        offset: Offset(partition.committed_offset),
                        leader_epoch: epoch,
                        metadata: partition.committed_metadata.map(|m| m.to_string()),
                    });
                }
            }
        }
        let name = topic.map_or(asked.name, |topic| topic_name(&topic.name));
        let response = OffsetCommitResponseTopic::default().with_name(name).with_topic_id(asked.topic_id);
        responses.push(response.with_partitions(partitions));
    }
    (offsets, responses)
}

/// Whether a commit by name was made by a reader of a former topic of that name: leader epochs never repeat. One that
/// names no epoch cannot be told apart (O-7).
fn is_of_a_former_topic(topic: &Topic, epoch: LeaderEpoch) -> bool {
    epoch >= LeaderEpoch(0) && epoch < topic.record.first_leader_epoch()
}

/// What looks wrong about an offset, seen from its log. `None`: nothing.
type Standing = Option<Oddity>;

fn standing(broker: &Broker, commit: &OffsetToCommit) -> Standing {
    if commit.offset < Offset(0) {
        return Some(Oddity::Negative);
    }
    let key = PartitionKey { topic: commit.topic_id, partition: commit.partition };
    let log = broker.engine.extent(key).ok()?;
    if commit.offset > log.durable_end {
        Some(Oddity::BeyondEnd)
    } else {
        (commit.offset < log.log_start).then_some(Oddity::BelowStart)
    }
}

/// Counts what was committed although it looks wrong: nothing of it is refused, since it may be meant (O-7).
fn count(metrics: &Metrics, answer: &CommitAnswer, standings: &[Standing]) {
    let stored = answer.offsets.iter().zip(standings).filter(|(committed, _)| committed.error.is_none());
    for (committed, standing) in stored {
        standing.iter().for_each(|oddity| metrics.commit(*oddity));
        if committed.goes_back {
            metrics.commit(Oddity::GoesBack);
        }
    }
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
