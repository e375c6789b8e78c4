//! OffsetDelete (key 47), version 0: some of a group's offsets go (KIP-496, O-35).
//!
//! Topics that do not exist are answered here; what is wrong with the group as a whole stands at the top, without topics.
//! Deliberately not here: which offsets may be deleted (`core::group`).

use std::collections::HashMap;

use pagemark_core::coordinator::{Answer, DeleteOffsetsRequest, Request};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use pagemark_wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use pagemark_wire::types::PartitionIndex;

use super::Call;
use crate::executor::Outgoing;

/// Asks the group's shard.
pub fn handle(call: Call, out: &mut Outgoing, request: OffsetDeleteRequest) {
    let group_id = request.group_id.to_string();
    let view = call.broker.registry.view();
    let mut partitions = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let is_there = view.by_name(&topic.name).is_some();
        let unknown = if is_there { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let answer = OffsetDeleteResponsePartition::default().with_partition_index(index);
            answers.push(answer.with_error_code(unknown.code()));
            if is_there {
                partitions.push((topic.name.to_string(), PartitionIndex(index)));
            }
        }
        topics.push(OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(answers));
    }
    let asked = partitions.clone();
    let delete = DeleteOffsetsRequest { group_id: group_id.clone(), partitions };
    call.ask_group(out, &group_id, Request::DeleteOffsets(delete), move |reply, _, answer| {
        let Answer::DeleteOffsets(deleted) = answer else { return super::wrong_kind("OffsetDelete", &answer) };
        if !deleted.error.is_none() {
            return reply.send(&OffsetDeleteResponse::default().with_error_code(deleted.error.code()));
        }
        let results: HashMap<(&str, i32), ErrorCode> =
            asked.iter().zip(deleted.partitions).map(|((topic, p), error)| ((topic.as_str(), p.0), error)).collect();
        for topic in &mut topics {
            for partition in topic.partitions.iter_mut().filter(|p| p.error_code == 0) {
                let found = results.get(&(topic.name.as_str(), partition.partition_index));
                partition.error_code = found.copied().unwrap_or(ErrorCode::UnknownServerError).code();
            }
        }
        reply.send(&OffsetDeleteResponse::default().with_topics(topics));
    });
}
