//! Produce (key 0), versions 3 to 13 (0 to 2 are shown but not served, P-14).
//!
//! v5 added the log start offset, v7 zstd, v8 per-record errors and a message, v9 is flexible, v10 names the leader on
//! errors, v13 names topics by id (P-30). acks=1 and acks=all both mean "on stable storage" (P-31); acks=0 gets no answer,
//! and a closed connection if it fails (P-6). Each partition stands for itself.
//! Deliberately not here: what a batch must look like (`wire::records`), offsets and duplicates (`executor`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::produce_request::TopicProduceData;
use pagemark_wire::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use pagemark_wire::messages::{ProduceRequest, ProduceResponse};
use pagemark_wire::records::{
    BatchError, BatchHeader, BatchRules, DEFAULT_MAX_DECOMPRESSED_BYTES, Effort, Walked, check_shape, recompress,
    walk_counted,
};
use pagemark_wire::types::{PartitionIndex, TopicId};

use super::{Call, Reply, text};
use crate::aside;
use crate::broker::Broker;
use crate::executor::{Outgoing, ProduceAnswer, ProduceResult, ProduceWork, Work};
use crate::metadata::registry::Topic;

/// Most records of one request whose faults are named: a few compressed bytes may hold a thousand of them, in each partition,
/// and an answer must not be many times the size of its request.
const MOST_RECORDS_NAMED: usize = 1_000;

/// Checks every batch and hands the good ones to the owners of their partitions.
pub fn handle(call: Call, out: &mut Outgoing, request: ProduceRequest) {
    let Call { broker, version, reply, .. } = call;
    let acks = request.acks;
    let responses = request.topic_data.iter().map(empty_response).collect();
    let names_left = MOST_RECORDS_NAMED;
    let gathered = Gathered { acks, version, reply, responses, failed: false, names_left };
    let gathering = Arc::new(Gathering(Mutex::new(Some(gathered))));
    let legal_acks = matches!(acks, -1..=1);
    let mut request_wide = RequestWide {
        version,
        transactional: request.transactional_id.is_some(),
        decompressed_left: DEFAULT_MAX_DECOMPRESSED_BYTES,
    };
    let repeated = repeated_partitions(&request.topic_data);
    for (topic_at, data) in request.topic_data.into_iter().enumerate() {
        let topic = broker.topic(&data.name, TopicId(data.topic_id));
        for (partition_at, partition) in data.partition_data.into_iter().enumerate() {
            let part = Part { gathering: Arc::clone(&gathering), topic_at, partition_at };
            let accepted = if !legal_acks {
                let why = format!("acks is -1, 0 or 1, not {acks}");
                Err(ProduceResult::Failed(ErrorCode::InvalidRequiredAcks, why))
            } else if repeated.contains(&(topic_at, partition_at)) {
                let why = "the request names this partition twice".to_owned();
                Err(ProduceResult::Failed(ErrorCode::InvalidRecord, why))
            } else {
                let index = PartitionIndex(partition.index);
                check(&broker, topic.as_ref(), &mut request_wide, index, partition.records)
            };
            match accepted {
                Ok(checked) => {
                    part.gathering.charge(&broker, checked.grown_bytes);
                    out.push(checked.partition.executor, Work::Produce(checked.with_answer(part)));
                }
                Err(result) => Box::new(part).settle(result),
            }
        }
    }
}

/// Where the request names a partition that it also names elsewhere, by position of topic and partition. A request has one
/// batch for each partition; of several, none is taken, since one answer could not tell what became of which.
fn repeated_partitions(topics: &[TopicProduceData]) -> BTreeSet<(usize, usize)> {
    if topics.iter().map(|t| t.partition_data.len()).sum::<usize>() < 2 {
        return BTreeSet::new();
    }
    let mut places: BTreeMap<_, Vec<(usize, usize)>> = BTreeMap::new();
    for (topic_at, topic) in topics.iter().enumerate() {
        for (partition_at, partition) in topic.partition_data.iter().enumerate() {
            let named = (topic.name.as_str(), topic.topic_id, partition.index);
            places.entry(named).or_default().push((topic_at, partition_at));
        }
    }
    places.into_values().filter(|places| places.len() > 1).flatten().collect()
}

/// What all batches of a request have in common.
struct RequestWide {
    version: i16,
    transactional: bool,
    /// Bytes that the rest of the request may still decompress to. Many batches must not take more time than one may.
    decompressed_left: u64,
}

/// A batch that may go to its partition's owner.
struct Checked {
    partition: Arc<crate::partitions::Partition>,
    header: BatchHeader,
    batch: Bytes,
    walked: Result<Walked, BatchError>,
    log_append_time: bool,
    /// How much larger it is than what was sent.
    grown_bytes: usize,
}

impl Checked {
    fn with_answer(self, part: Part) -> ProduceWork {
        let Checked { partition, header, batch, walked, log_append_time, .. } = self;
        ProduceWork { partition, header, batch, walked, log_append_time, answer: Box::new(part) }
    }
}

fn check(
    broker: &Broker,
    topic: Option<&Arc<Topic>>,
    request: &mut RequestWide,
    index: PartitionIndex,
    records: Option<Bytes>,
) -> Result<Checked, ProduceResult> {
    let Some(topic) = topic else {
        return Err(match request.version {
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
    let mut rules = topic.config.rules(request.version, request.transactional, broker.host.now().wall);
    rules.max_decompressed_bytes = rules.max_decompressed_bytes.min(request.decompressed_left);
    let batch = records.ok_or(ProduceResult::Refused(BatchError::NotOneBatch))?;
    let stored_with = topic.config.stored_with();
    let sent_bytes = batch.len();
    let judge = || judge(batch.clone(), &rules, stored_with);
    let judged = if takes_long(&batch, stored_with) { aside::in_place(judge) } else { judge() };
    let Judged { header, batch, walked, decompressed_bytes } = judged.map_err(ProduceResult::Refused)?;
    request.decompressed_left = request.decompressed_left.saturating_sub(decompressed_bytes);
    broker.metrics.produced(sent_bytes, header.record_count);
    let log_append_time = topic.config.log_append_time();
    let grown_bytes = batch.len().saturating_sub(sent_bytes);
    Ok(Checked { partition: Arc::clone(partition), header, batch, walked, log_append_time, grown_bytes })
}

/// A batch that may be appended if its records were found good, and as it is to be stored.
struct Judged {
    header: BatchHeader,
    batch: Bytes,
    walked: Result<Walked, BatchError>,
    decompressed_bytes: u64,
}

fn judge(batch: Bytes, rules: &BatchRules, stored_with: Option<Effort>) -> Result<Judged, BatchError> {
    let header = check_shape(Some(&batch), rules)?;
    let (walked, decompressed_bytes) = walk_counted(&header, &batch, rules);
    let mut judged = Judged { header, batch, walked, decompressed_bytes };
    if let Some(with) = stored_with
        && judged.walked.is_ok()
        && with.codec.number() != header.codec()
    {
        match recompress(&header, &judged.batch, decompressed_bytes, with, rules) {
            Ok((header, batch)) => (judged.header, judged.batch) = (header, batch),
            // Told only of a batch that is no duplicate: what was stored once is acknowledged again.
            Err(error) => judged.walked = Err(error),
        }
    }
    Ok(judged)
}

/// Whether judging the batch takes longer than to let everybody else on this worker go elsewhere first, which costs some tens of
/// microseconds: that is what the checksum of these bytes takes, or decompressing those.
fn takes_long(batch: &[u8], stored_with: Option<Effort>) -> bool {
    const COMPRESSED_BYTES: usize = 8 * 1024;
    const PLAIN_BYTES: usize = 256 * 1024;
    let codec = BatchHeader::parse(batch).map_or(0, |header| header.codec());
    let compressed = codec != 0;
    if compressed && stored_with.is_some_and(|with| with.codec.number() != codec) {
        return true; // a few bytes may be very many
    }
    batch.len() > if compressed || stored_with.is_some() { COMPRESSED_BYTES } else { PLAIN_BYTES }
}

/// The answer of one request while its partitions are being dealt with.
struct Gathered {
    acks: i16,
    version: i16,
    reply: Reply,
    responses: Vec<TopicProduceResponse>,
    failed: bool,
    /// So many more wrong records may be named.
    names_left: usize,
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
            fill(place, version, &mut gathered.names_left, result);
        }
    }
}

impl Gathering {
    /// Holds so many bytes more against the request than were sent: its batches grew by their topic's codec.
    fn charge(&self, broker: &Broker, grown_bytes: usize) {
        if grown_bytes == 0 {
            return;
        }
        let mut charge = broker.budget.charge();
        charge.resize(grown_bytes);
        if let Some(gathered) = self.0.lock().expect("nothing panics while holding an answer").as_mut() {
            gathered.reply.add_charge(charge);
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
        let Gathered { acks, reply, responses, failed, .. } = self;
        match (acks, failed) {
            (0, false) => reply.nothing(),
            (0, true) => reply.close(),
            _ => reply.send(&ProduceResponse::default().with_responses(responses)),
        }
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

fn fill(place: &mut PartitionProduceResponse, version: i16, names_left: &mut usize, result: ProduceResult) {
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
            if version >= 8 {
                let named = |(index, what): (i32, String)| {
                    BatchIndexAndErrorMessage::default()
                        .with_batch_index(index)
                        .with_batch_index_error_message(Some(text(what)))
                };
                place.record_errors = error.records().into_iter().take(*names_left).map(named).collect();
                *names_left -= place.record_errors.len();
            }
        }
    }
}
