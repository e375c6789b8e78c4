//! DescribeLogDirs (key 35), versions 1 to 4: how large partitions are, and how much room is left.
//!
//! v2 is flexible, v3 added an error on top, v4 the size of the file system and its room (KIP-827). There is one directory. A
//! partition's size is that of its batches; the log's files, which all partitions share, are more. No topics mean none, null
//! means all; what is not there is left out. Deliberately not here: replicas that move between directories.

use std::collections::{BTreeMap, BTreeSet};

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use pagemark_wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use pagemark_wire::types::PartitionIndex;

use super::{Call, text};
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::metadata::registry::Topic;

/// What is asked for, by topic; `None` for everything.
type Wanted = Option<BTreeMap<String, BTreeSet<i32>>>;

/// Asks the engine where it keeps no other request waiting: the file system may take its time.
pub fn handle(call: Call, _out: &mut Outgoing, request: DescribeLogDirsRequest) {
    let wanted: Wanted = request.topics.map(|topics| {
        let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for topic in topics {
            wanted.entry(topic.topic.to_string()).or_default().extend(topic.partitions);
        }
        wanted
    });
    call.answer_aside(move |call| {
        let result = describe(&call.broker, &wanted);
        call.reply.send(&DescribeLogDirsResponse::default().with_results(vec![result]));
    });
}

fn describe(broker: &Broker, wanted: &Wanted) -> DescribeLogDirsResult {
    let dir = &broker.settings.log_dirs;
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    let answer = DescribeLogDirsResult::default().with_log_dir(text(dir.to_string_lossy()));
    if broker.engine.progress().failed.is_some() {
        return answer.with_error_code(ErrorCode::KafkaStorageError.code());
    }
    let view = broker.registry.view();
    let topics = view.iter().filter_map(|topic| {
        let partitions = match wanted {
            None => None,
            Some(wanted) => Some(wanted.get(&topic.name)?),
        };
        Some(describe_topic(broker, topic, partitions)).filter(|topic| !topic.partitions.is_empty())
    });
    let answer = answer.with_topics(topics.collect());
    match broker.engine.space() {
        Some(space) => answer
            .with_total_bytes(i64::try_from(space.total_bytes).unwrap_or(i64::MAX))
            .with_usable_bytes(i64::try_from(space.usable_bytes).unwrap_or(i64::MAX)),
        None => answer,
    }
}

fn describe_topic(broker: &Broker, topic: &Topic, wanted: Option<&BTreeSet<i32>>) -> DescribeLogDirsTopic {
    let size = |index: i32| {
        let partition = topic.partition(PartitionIndex(index))?;
        let bytes = broker.engine.extent(partition.key).ok()?.bytes;
        let size = i64::try_from(bytes).unwrap_or(i64::MAX);
        Some(DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(size))
    };
    let partitions = match wanted {
        None => (0..topic.partitions.len() as i32).filter_map(size).collect(),
        Some(wanted) => wanted.iter().copied().filter_map(size).collect(),
    };
    DescribeLogDirsTopic::default().with_name(TopicName(text(&topic.name))).with_partitions(partitions)
}
