//! DeleteRecords (key 21), versions 0 to 2: lets logs begin later.
//!
//! v2 is flexible. -1 stands for the high watermark. The answer leaves when the new log start is durable, and gives
//! the log start as it then is. Committed offsets stay where they are, also if what they point to is gone. Deliberately not
//! here: waiting for followers, and with it the request's time limit.

use std::sync::Arc;

use pagemark_storage::engine::EngineError;
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::delete_records_request::DeleteRecordsPartition;
use pagemark_wire::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use pagemark_wire::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use pagemark_wire::types::{Offset, PartitionIndex};
use tokio::sync::oneshot;

use super::Call;
use crate::broker::Broker;
use crate::executor::{Outgoing, TrimWork, Work};
use crate::metadata::registry::Topic;
use crate::partitions::Partition;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// A log start that was asked for of its owner.
struct Asked {
    partition: Arc<Partition>,
    done: oneshot::Receiver<Result<(), EngineError>>,
}

type Parts = Vec<(i32, Result<Asked, ErrorCode>)>;

/// Hands every partition that may be cut to its owner and answers when all of it is durable.
pub fn handle(call: Call, out: &mut Outgoing, request: DeleteRecordsRequest) {
    let mut topics: Vec<(TopicName, Parts)> = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = call.broker.registry.view().by_name(&asked.name).cloned();
        let mut ask = |p: DeleteRecordsPartition| (p.partition_index, ask(&call.broker, out, topic.as_deref(), &p));
        topics.push((asked.name, asked.partitions.into_iter().map(&mut ask).collect()));
    }
    tokio::spawn(async move {
        let mut answers = Vec::with_capacity(topics.len());
        for (name, parts) in topics {
            let mut partitions = Vec::with_capacity(parts.len());
            for (index, asked) in parts {
                let result = match asked {
                    Ok(asked) => low_watermark(&call.broker, asked).await,
                    Err(code) => Err(code),
                };
                partitions.push(respond(index, result));
            }
            answers.push(DeleteRecordsTopicResult::default().with_name(name).with_partitions(partitions));
        }
        call.reply.send(&DeleteRecordsResponse::default().with_topics(answers));
    });
}

fn ask(
    broker: &Broker,
    out: &mut Outgoing,
    topic: Option<&Topic>,
    asked: &DeleteRecordsPartition,
) -> Result<Asked, ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let index = PartitionIndex(asked.partition_index);
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if topic.is_internal() {
        return Err(ErrorCode::InvalidTopicException);
    }
    // As Kafka does: an empty policy keeps all from retention, not from who asks.
    if topic.config.is_compacted() && !topic.config.is_deleting() {
        return Err(ErrorCode::PolicyViolation);
    }
    let extent = broker.engine.extent(partition.key).map_err(|error| code_of(&error))?;
    let start = match asked.offset {
        HIGH_WATERMARK => extent.durable_end,
        offset if (0..=extent.durable_end.0).contains(&offset) => Offset(offset),
        _ => return Err(ErrorCode::OffsetOutOfRange),
    };
    let (done, answer) = oneshot::channel();
    let partition = Arc::clone(partition);
    out.push(partition.executor, Work::Trim(TrimWork { partition: Arc::clone(&partition), start, done }));
    Ok(Asked { partition, done: answer })
}

/// Waits for the disk, and gives the log start as it is then.
async fn low_watermark(broker: &Broker, asked: Asked) -> Result<Offset, ErrorCode> {
    // An executor that has ended answers nothing more.
    let done = asked.done.await.map_err(|_| ErrorCode::KafkaStorageError)?;
    done.and_then(|()| broker.engine.extent(asked.partition.key))
        .map(|extent| extent.log_start)
        .map_err(|error| code_of(&error))
}

fn code_of(error: &EngineError) -> ErrorCode {
    match error {
        EngineError::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
        EngineError::BeyondEnd { .. } => ErrorCode::OffsetOutOfRange,
        _ => ErrorCode::KafkaStorageError,
    }
}

fn respond(index: i32, result: Result<Offset, ErrorCode>) -> DeleteRecordsPartitionResult {
    let (code, low_watermark) = match result {
        Ok(start) => (ErrorCode::None, start),
        Err(code) => (code, Offset::NONE),
    };
    DeleteRecordsPartitionResult::default()
        .with_partition_index(index)
        .with_low_watermark(low_watermark.0)
        .with_error_code(code.code())
}
