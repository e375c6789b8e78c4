//! Produce (key 0), versions 3 to 13 (0 to 2 are shown but not served, P-14).
//!
//! v5 added the log start offset, v7 zstd, v8 per-record errors and a message, v9 is flexible, v10 names the leader on
//! errors, v13 names topics by id (P-30). acks=1 and acks=all both mean "on stable storage" (P-31); acks=0 gets no answer,
//! and a closed connection if it fails (P-6). Each partition stands for itself.
//! Deliberately not here: what a batch must look like (`wire::records`), offsets and duplicates (`executor`).

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::produce_request::TopicProduceData;
use pagemark_wire::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use pagemark_wire::messages::{ProduceRequest, ProduceResponse};
use pagemark_wire::records::{BatchError, check_shape, walk};
use pagemark_wire::types::{PartitionIndex, TopicId};

use super::{Call, Reply, text};
use crate::broker::Broker;
use crate::executor::{Outgoing, ProduceAnswer, ProduceResult, ProduceWork, Work};
use crate::metadata::registry::Topic;

/// Checks every batch and hands the good ones to the owners of their partitions.
pub fn handle(call: Call, out: &mut Outgoing, request: ProduceRequest) {
    let Call { broker, version, reply, .. } = call;
    let acks = request.acks;
    let responses = request.topic_data.iter().map(empty_response).collect();
    let gathered = Gathered { broker: Arc::clone(&broker), acks, version, reply, responses, failed: false };
    let gathering = Arc::new(Gathering(Mutex::new(Some(gathered))));
    let legal_acks = matches!(acks, -1..=1);
    let transactional = request.transactional_id.is_some();
    for (topic_at, data) in request.topic_data.into_iter().enumerate() {
        let topic = broker.topic(&data.name, TopicId(data.topic_id));
        for (partition_at, partition) in data.partition_data.into_iter().enumerate() {
            let part = Part { gathering: Arc::clone(&gathering), topic_at, partition_at };
            let accepted = if legal_acks {
                check(
                    &broker,
                    topic.as_ref(),
                    version,
                    transactional,
                    PartitionIndex(partition.index),
                    partition.records,
                )
            } else {
                let why = format!("acks is -1, 0 or 1, not {acks}");
                Err(ProduceResult::Failed(ErrorCode::InvalidRequiredAcks, why))
            };
            match accepted {
                Ok(checked) => out.push(checked.partition.executor, Work::Produce(checked.with_answer(part))),
                Err(result) => Box::new(part).settle(result),
            }
        }
    }
}

/// A batch that may go to its partition's owner.
struct Checked {
    partition: Arc<crate::partitions::Partition>,
    header: pagemark_wire::records::BatchHeader,
    batch: Bytes,
    walked: Result<pagemark_wire::records::Walked, BatchError>,
    log_append_time: bool,
}

impl Checked {
    fn with_answer(self, part: Part) -> ProduceWork {
        let Checked { partition, header, batch, walked, log_append_time } = self;
        ProduceWork { partition, header, batch, walked, log_append_time, answer: Box::new(part) }
    }
}

fn check(
    broker: &Broker,
    topic: Option<&Arc<Topic>>,
    version: i16,
    transactional: bool,
    index: PartitionIndex,
    records: Option<Bytes>,
) -> Result<Checked, ProduceResult> {
    let Some(topic) = topic else {
        return Err(match version {
            13.. => ProduceResult::Failed(ErrorCode::UnknownTopicId, "no topic has this id".to_owned()),
            _ => ProduceResult::Failed(ErrorCode::UnknownTopicOrPartition, "no topic has this name".to_owned()),
        });
    };
    if topic.is_internal() {
        let why = format!("{} is written by the broker alone", topic.name);
        return Err(ProduceResult::Failed(ErrorCode::InvalidTopicException, why));
    }
    let Some(partition) = topic.partition(index) else {
        let why = format!("{} has no partition {index}", topic.name);
        return Err(ProduceResult::Failed(ErrorCode::UnknownTopicOrPartition, why));
    };
    let rules = topic.produce.rules(version, transactional, broker.host.now().wall);
    let header = check_shape(records.as_ref(), &rules).map_err(ProduceResult::Refused)?;
    let batch = records.expect("a batch with a header has bytes");
    let walked = walk(&header, &batch, &rules);
    broker.metrics.produced(batch.len(), header.record_count);
    let log_append_time = topic.produce.log_append_time();
    Ok(Checked { partition: Arc::clone(partition), header, batch, walked, log_append_time })
}

/// The answer of one request while its partitions are being dealt with.
struct Gathered {
    broker: Arc<Broker>,
    acks: i16,
    version: i16,
    reply: Reply,
    responses: Vec<TopicProduceResponse>,
    failed: bool,
}

/// Sends the answer when the last of its parts is done.
struct Gathering(Mutex<Option<Gathered>>);

/// One partition's place in the answer.
struct Part {
    gathering: Arc<Gathering>,
    topic_at: usize,
    partition_at: usize,
}

impl ProduceAnswer for Part {
    fn settle(self: Box<Self>, result: ProduceResult) {
        let mut gathered = self.gathering.0.lock().expect("nothing panics while holding an answer");
        if let Some(gathered) = gathered.as_mut() {
            gathered.failed |= !matches!(result, ProduceResult::Done { .. });
            let version = gathered.version;
            let place = &mut gathered.responses[self.topic_at].partition_responses[self.partition_at];
            fill(place, version, result);
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        let gathered = self.0.get_mut().ok().and_then(Option::take);
        if let Some(gathered) = gathered {
            gathered.send();
        }
    }
}

impl Gathered {
    fn send(self) {
        let Gathered { broker, acks, reply, responses, failed, .. } = self;
        match (acks, failed) {
            (0, false) => reply.nothing(),
            (0, true) => reply.close(),
            _ => reply.send(&ProduceResponse::default().with_responses(responses)),
        }
        drop(broker);
    }
}

fn empty_response(data: &TopicProduceData) -> TopicProduceResponse {
    let lost = |index: i32| {
        PartitionProduceResponse::default()
            .with_index(index)
            .with_error_code(ErrorCode::KafkaStorageError.code())
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(-1)
    };
    TopicProduceResponse::default()
        .with_name(data.name.clone())
        .with_topic_id(data.topic_id)
        .with_partition_responses(data.partition_data.iter().map(|p| lost(p.index)).collect())
}

fn fill(place: &mut PartitionProduceResponse, version: i16, result: ProduceResult) {
    match result {
        ProduceResult::Done { base_offset, log_append_time_ms, log_start } => {
            place.error_code = ErrorCode::None.code();
            place.base_offset = base_offset.0;
            place.log_append_time_ms = log_append_time_ms;
            place.log_start_offset = log_start.0;
        }
        ProduceResult::Failed(code, why) => {
            place.error_code = code.code();
            place.error_message = Some(text(why));
        }
        ProduceResult::Refused(error) => {
            place.error_code = error.error_code().code();
            place.error_message = Some(text(error.to_string()));
            if let (8.., Some(index)) = (version, error.record_index()) {
                place.record_errors = vec![
                    BatchIndexAndErrorMessage::default()
                        .with_batch_index(index)
                        .with_batch_index_error_message(Some(text(error.to_string()))),
                ];
            }
        }
    }
}
