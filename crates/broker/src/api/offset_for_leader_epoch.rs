//! OffsetForLeaderEpoch (key 23), versions 2 to 4: where an epoch ended, so that a consumer finds out whether what it has
//! read is still here (KIP-320, R-54).
//!
//! v2 carries the caller's leader epoch, v3 a replica id, v4 is flexible. The end of the present epoch is the high
//! watermark: no consumer can have read more, and it never goes down.
//! Deliberately not here: followers, who would ask for the end that is not durable yet.

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use pagemark_wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use pagemark_wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex};

use super::Call;
use super::fetch::{check_leader_epoch, read_error};
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::metadata::registry::Topic;

/// Looks up every partition asked for.
pub fn handle(call: Call, _out: &mut Outgoing, request: OffsetForLeaderEpochRequest) {
    let view = call.broker.registry.view();
    let topics = request.topics.into_iter().map(|asked| {
        let topic = view.by_name(&asked.topic);
        let answer = |partition: &OffsetForLeaderPartition| {
            let answer = EpochEndOffset::default().with_partition(partition.partition);
            match end_of(&call.broker, topic.map(|t| t.as_ref()), partition) {
                Ok((epoch, end)) => answer.with_leader_epoch(epoch.0).with_end_offset(end.0),
                Err(code) => answer.with_error_code(code.code()),
            }
        };
        let partitions = asked.partitions.iter().map(answer).collect();
        OffsetForLeaderTopicResult::default().with_topic(asked.topic).with_partitions(partitions)
    });
    let answer = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    call.reply.send(&answer);
}

/// The epoch and its end, both -1 for one that is negative or newer than ours.
fn end_of(
    broker: &Broker,
    topic: Option<&Topic>,
    asked: &OffsetForLeaderPartition,
) -> Result<(LeaderEpoch, Offset), ErrorCode> {
    let partition = topic
        .and_then(|topic| topic.partition(PartitionIndex(asked.partition)))
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(partition, LeaderEpoch(asked.current_leader_epoch))?;
    let extent = broker.engine.extent(partition.key).map_err(|error| read_error(&error))?;
    let found = partition.end_of_epoch(LeaderEpoch(asked.leader_epoch), &extent);
    Ok(found.unwrap_or((LeaderEpoch::NONE, Offset::NONE)))
}
