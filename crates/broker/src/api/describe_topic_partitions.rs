//! DescribeTopicPartitions (key 75), version 0: topics with their partitions, in portions (KIP-966).
//!
//! Topics come in order of their names, however they were asked for, each once; an empty list asks for all. An answer holds so
//! many partitions at most, and says where to go on. What was deleted between two portions is left out.
//! Deliberately not here: eligible leader replicas, of which a single copy has none.

use std::collections::BTreeSet;
use std::sync::Arc;

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use pagemark_wire::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};

use super::{Call, text};
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::metadata::name::check_topic_name;
use crate::metadata::registry::Topic;

/// Most partitions of one answer, as Kafka's `max.request.partition.size.limit`.
const MOST_PARTITIONS: usize = 2_000;

/// Bits of all operations on a topic that Kafka knows: without an authorizer everybody may do them.
const ALL_OPERATIONS: i32 = 3576;

/// Answers from the published view.
pub fn handle(call: Call, _out: &mut Outgoing, request: DescribeTopicPartitionsRequest) {
    let from = request.cursor.as_ref().map_or((String::new(), 0), |c| (c.topic_name.to_string(), c.partition_index));
    let view = call.broker.registry.view();
    let asked_for_all = request.topics.is_empty();
    let names: BTreeSet<&str> = if asked_for_all {
        view.iter().map(|topic| topic.name.as_str()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.as_str()).collect()
    };
    let illegal = from.1 < 0 || (!asked_for_all && request.cursor.is_some() && !names.contains(from.0.as_str()));
    let mut answer = DescribeTopicPartitionsResponse::default().with_next_cursor(None);
    if illegal {
        // As in Kafka: there is no field for it but each topic's own.
        let refused = |name: &str| unknown(name, ErrorCode::InvalidRequest);
        return call.reply.send(&answer.with_topics(names.into_iter().map(refused).collect()));
    }
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, MOST_PARTITIONS);
    for name in names.range(from.0.as_str()..) {
        if left == 0 {
            answer.next_cursor = Some(cursor(name, 0));
            break;
        }
        let Some(topic) = view.by_name(name) else {
            let code = match check_topic_name(name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            answer.topics.push(unknown(name, code));
            continue;
        };
        let first = if *name == from.0 { from.1 as usize } else { 0 };
        let end = topic.partitions.len().min(first.saturating_add(left));
        let described = describe(&call.broker, topic, first.min(end)..end);
        left -= described.partitions.len();
        answer.topics.push(described);
        if end < topic.partitions.len() {
            answer.next_cursor = Some(cursor(name, end as i32));
            break;
        }
    }
    call.reply.send(&answer);
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    Cursor::default().with_topic_name(TopicName(text(topic))).with_partition_index(partition)
}

fn unknown(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default().with_error_code(code.code()).with_name(Some(TopicName(text(name))))
}

fn describe(
    broker: &Broker,
    topic: &Arc<Topic>,
    range: std::ops::Range<usize>,
) -> DescribeTopicPartitionsResponseTopic {
    let node = BrokerId(broker.settings.node_id);
    let partition = |index: usize| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(node)
            .with_leader_epoch(topic.partitions[index].leader_epoch().0)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.record.id)
        .with_is_internal(topic.is_internal())
        .with_partitions(range.map(partition).collect())
        .with_topic_authorized_operations(ALL_OPERATIONS)
}
