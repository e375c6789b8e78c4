//! The task that sends batches, and judges what the brokers say.
//!
//! It looks for work when a record, an answer or a moment comes. Several requests may be under way to a broker, but only one
//! batch of a partition. Deliberately not here: filling batches.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use pagemark_wire::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId as WireProducerId};
use pagemark_wire::records::Compression;
use pagemark_wire::types::{ProducerEpoch, ProducerId};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::Acks;
use super::accumulator::{Accumulator, Batch, Drained, Identity};
use super::delivery::{Acknowledged, ProduceError};
use crate::cluster::{Cluster, Lane, Metadata, To};
use crate::code::Code;
use crate::error::{Error, refuse};
use crate::net::CallError;
use crate::partition::{TopicPartition, by_topic};
use pagemark_wire::messages::topic_name;

/// Requests that may be under way to one broker.
const MAX_IN_FLIGHT: usize = 5;

/// What producer and sender share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) accumulator: Mutex<Accumulator>,
    /// Something is to be done.
    pub(super) wake: Notify,
    /// Set once the producer cannot go on.
    pub(super) fatal: Mutex<Option<Error>>,
    pub(super) is_closed: AtomicBool,
}

impl Shared {
    pub(super) fn accumulator(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fatal(&self) -> Option<Error> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The sender's part of the settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct SenderSettings {
    pub(super) acks: Acks,
    pub(super) compression: Compression,
    pub(super) idempotent: bool,
}

pub(super) struct Sender {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    settings: SenderSettings,
    identity: Option<Identity>,
    asking_identity: bool,
    /// When metadata is too old.
    refresh_at: Instant,
    /// Requests under way, by broker.
    under_way: BTreeMap<i32, usize>,
    tasks: JoinSet<Event>,
}

/// What a request under way came to.
enum Event {
    Identity(Result<Identity, Error>),
    Produced { node: i32, batches: Vec<(TopicPartition, Batch)>, answer: Result<Answered, CallError> },
    Refreshed,
}

/// The partitions' own answers; `None` if none was asked for.
type Answered = Option<BTreeMap<TopicPartition, PartitionAnswer>>;

#[derive(Debug, Clone)]
struct PartitionAnswer {
    code: Code,
    message: String,
    base_offset: i64,
    log_append_time_ms: i64,
}

impl Sender {
    pub(super) fn new(cluster: Arc<Cluster>, shared: Arc<Shared>, settings: SenderSettings) -> Sender {
        let refresh_at = Instant::now() + cluster.settings().metadata_max_age;
        Sender {
            cluster,
            shared,
            settings,
            identity: None,
            asking_identity: false,
            refresh_at,
            under_way: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let next = self.send_what_is_due();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                Some(event) = self.tasks.join_next() => event.ok(),
                () = self.shared.wake.notified() => None,
                () = sleep => None,
            };
            match event {
                None | Some(Event::Refreshed) => {}
                Some(Event::Identity(found)) => self.take_identity(found),
                Some(Event::Produced { node, batches, answer }) => self.judge(node, batches, answer),
            }
        }
    }

    /// Starts a request to each broker that has something due; when to look again.
    fn send_what_is_due(&mut self) -> Option<Instant> {
        if self.settings.idempotent && self.identity.is_none() && self.shared.fatal().is_none() {
            self.ask_identity();
            return None; // its answer is the next event
        }
        let now = Instant::now();
        if self.refresh_at <= now {
            self.refresh();
        }
        let Drained { due, next, lost_identity } = self.shared.accumulator().drain(now);
        if lost_identity {
            self.identity = None;
            self.shared.wake.notify_one();
        }
        let (metadata, _) = self.cluster.metadata();
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, Batch)>> = BTreeMap::new();
        let mut has_lost = false;
        for (partition, batch) in due {
            match metadata.leader(&partition.topic, partition.partition) {
                Some((leader, _)) => by_leader.entry(leader).or_default().push((partition, batch)),
                None => {
                    has_lost = true;
                    self.retry(&partition, batch);
                }
            }
        }
        for (leader, batches) in by_leader {
            if self.under_way.get(&leader).is_some_and(|count| *count >= MAX_IN_FLIGHT) {
                let mut accumulator = self.shared.accumulator();
                batches.into_iter().for_each(|(p, batch)| accumulator.put_back(&p, batch, now));
            } else {
                self.produce(leader, batches, &metadata);
            }
        }
        if has_lost {
            self.refresh();
        }
        Some(next.map_or(self.refresh_at, |next| next.min(self.refresh_at)))
    }

    fn produce(&mut self, node: i32, mut batches: Vec<(TopicPartition, Batch)>, metadata: &Metadata) {
        let mut data = Vec::with_capacity(batches.len());
        for (partition, batch) in &mut batches {
            if let (true, Some(identity)) = (self.settings.idempotent, self.identity) {
                self.shared.accumulator().number(partition, batch, identity);
            }
            batch.attempts += 1;
            data.push((partition.clone(), batch.builder.compressed(self.settings.compression)));
        }
        let ids = data.iter().filter_map(|(p, _)| Some((p.topic.to_string(), metadata.topics.get(&*p.topic)?.id)));
        let ids: BTreeMap<String, Uuid> = ids.collect();
        *self.under_way.entry(node).or_default() += 1;
        let (cluster, acks) = (Arc::clone(&self.cluster), self.settings.acks);
        self.tasks.spawn(async move {
            let answer = ask(&cluster, node, acks, data, &ids).await;
            Event::Produced { node, batches, answer }
        });
    }

    fn judge(&mut self, node: i32, batches: Vec<(TopicPartition, Batch)>, answer: Result<Answered, CallError>) {
        if let Some(count) = self.under_way.get_mut(&node) {
            *count = count.saturating_sub(1);
        }
        let is_stale = match &answer {
            Ok(Some(answers)) => answers.values().any(|answer| answer.code.is_stale_metadata()),
            Ok(None) => false,
            Err(_) => true,
        };
        for (partition, mut batch) in batches {
            match &answer {
                Ok(None) => self.settle(&partition, batch, Ok((None, None))),
                Ok(Some(answers)) => match answers.get(&partition) {
                    Some(answer) => self.judge_one(&partition, batch, answer),
                    None => {
                        batch.may_be_written = true;
                        self.retry(&partition, batch);
                    }
                },
                Err(error @ (CallError::Broken { .. } | CallError::Protocol(_))) => {
                    batch.may_be_written |= error.may_be_done();
                    self.retry(&partition, batch);
                }
                Err(error @ (CallError::Unsupported(_) | CallError::Unsendable(_))) => {
                    self.give_up(&partition, batch, ProduceError::Fatal(error.clone().into()));
                }
            }
        }
        if is_stale {
            self.refresh();
        }
    }

    fn judge_one(&mut self, partition: &TopicPartition, batch: Batch, answer: &PartitionAnswer) {
        let known = |value: i64| (value >= 0).then_some(value);
        match answer.code {
            Code::NONE => {
                let place = (known(answer.base_offset), known(answer.log_append_time_ms));
                self.settle(partition, batch, Ok(place));
            }
            Code::DUPLICATE_SEQUENCE_NUMBER => self.settle(partition, batch, Ok((None, None))),
            Code::OUT_OF_ORDER_SEQUENCE_NUMBER | Code::UNKNOWN_PRODUCER_ID | Code::INVALID_PRODUCER_EPOCH => {
                self.sequence_refused(partition, batch, answer);
            }
            code if code.is_retriable() => self.retry(partition, batch),
            code => {
                let error = match batch.may_be_written {
                    // An earlier attempt may have been taken before this one was refused.
                    true => ProduceError::Unknown(format!("refused with {code} after an attempt without an answer")),
                    false => ProduceError::Refused { code, message: answer.message.clone() },
                };
                self.give_up(partition, batch, error);
            }
        }
    }

    /// Fails a batch. Its numbers are free again if no broker can have it; if one may, the identity is spoilt, for the next
    /// batch would be taken for a repetition of this one.
    fn give_up(&mut self, partition: &TopicPartition, batch: Batch, error: ProduceError) {
        if batch.may_be_written {
            self.shared.accumulator().forget_identity(partition);
            self.identity = None;
        } else {
            self.shared.accumulator().take_back_numbers(partition, &batch);
        }
        self.settle(partition, batch, Err(error));
    }

    /// The broker counts otherwise than we do. Unless an earlier attempt may be in the log, a new identity helps.
    fn sequence_refused(&mut self, partition: &TopicPartition, mut batch: Batch, answer: &PartitionAnswer) {
        self.shared.accumulator().forget_identity(partition);
        self.identity = None;
        if batch.may_be_written {
            let error = ProduceError::Unknown(format!("{} after an attempt without an answer", answer.code));
            return self.settle(partition, batch, Err(error));
        }
        tracing::warn!(%partition, code = %answer.code, "the broker does not know our sequence numbers; taking a new producer id");
        batch.sequenced = None;
        self.retry(partition, batch);
    }

    fn settle(
        &mut self,
        partition: &TopicPartition,
        batch: Batch,
        result: Result<(Option<i64>, Option<i64>), ProduceError>,
    ) {
        self.shared.accumulator().done(partition);
        batch.settle(result.map(|(base_offset, log_append_time_ms)| Acknowledged {
            partition: partition.clone(),
            base_offset,
            log_append_time_ms,
        }));
    }

    fn retry(&self, partition: &TopicPartition, batch: Batch) {
        let settings = self.cluster.settings();
        let wait = settings.retry_backoff.saturating_mul(1 << batch.attempts.min(10)).min(settings.retry_backoff_max);
        self.shared.accumulator().put_back(partition, batch, Instant::now() + wait);
    }

    fn refresh(&mut self) {
        self.refresh_at = Instant::now() + self.cluster.settings().metadata_max_age;
        let cluster = Arc::clone(&self.cluster);
        self.tasks.spawn(async move {
            if let Err(error) = cluster.refresh_now().await {
                tracing::debug!(%error, "no metadata");
            }
            Event::Refreshed
        });
    }

    fn ask_identity(&mut self) {
        if std::mem::replace(&mut self.asking_identity, true) {
            return;
        }
        let cluster = Arc::clone(&self.cluster);
        self.tasks.spawn(async move {
            let found = cluster.retrying(cluster.deadline(), || ask_identity(&cluster)).await;
            Event::Identity(found)
        });
    }

    fn take_identity(&mut self, found: Result<Identity, Error>) {
        self.asking_identity = false;
        match found {
            Ok(identity) => self.identity = Some(identity),
            Err(error) if error.is_retriable() => {
                let why = ProduceError::NotWritten(error.to_string());
                self.shared.accumulator().fail_all(&why);
            }
            Err(error) => {
                self.shared.accumulator().fail_all(&ProduceError::Fatal(error.clone()));
                *self.shared.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.accumulator().fail_all(&ProduceError::NotWritten("the producer was closed".to_owned()));
    }
}

async fn ask_identity(cluster: &Cluster) -> Result<Identity, Error> {
    let make = |version| {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        if version >= 3 { request.with_producer_id(WireProducerId(-1)).with_producer_epoch(-1) } else { request }
    };
    let answer = cluster.call(To::Any, Lane::Control, make).await?;
    refuse(answer.error_code, None)?;
    Ok(Identity { id: ProducerId(answer.producer_id.0), epoch: ProducerEpoch(answer.producer_epoch) })
}

/// One Produce; topics go by id where the version wants it (P-30).
async fn ask(
    cluster: &Cluster,
    node: i32,
    acks: Acks,
    data: Vec<(TopicPartition, Bytes)>,
    ids: &BTreeMap<String, Uuid>,
) -> Result<Answered, CallError> {
    let timeout = cluster.settings().request_timeout;
    let make = |version: i16| {
        let topics = by_topic(data).into_iter().map(|(topic, partitions)| {
            let partition =
                |(index, records)| PartitionProduceData::default().with_index(index).with_records(Some(records));
            let data = TopicProduceData::default().with_partition_data(partitions.into_iter().map(partition).collect());
            match version {
                13.. => data.with_topic_id(ids.get(&*topic).copied().unwrap_or_default()),
                _ => data.with_name(topic_name(&topic)),
            }
        });
        ProduceRequest::default()
            .with_acks(acks.number())
            .with_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(topics.collect())
    };
    if acks == Acks::None {
        return cluster.tell(To::Node(node), Lane::Produce, make).await.map(|()| None);
    }
    // The broker itself may take the whole timeout.
    let answer = cluster.call_within(To::Node(node), Lane::Produce, timeout + Duration::from_secs(1), make).await?;
    Ok(Some(read(&answer, ids)))
}

fn read(answer: &ProduceResponse, ids: &BTreeMap<String, Uuid>) -> BTreeMap<TopicPartition, PartitionAnswer> {
    let mut answers = BTreeMap::new();
    for topic in &answer.responses {
        let by_id = || ids.iter().find(|(_, id)| **id == topic.topic_id && !id.is_nil()).map(|(name, _)| name.as_str());
        let name = if topic.topic_id.is_nil() { topic.name.0.as_str() } else { by_id().unwrap_or_default() };
        for found in &topic.partition_responses {
            let words = found.record_errors.iter().find_map(|error| error.batch_index_error_message.as_ref());
            let message = found.error_message.as_ref().or(words).map(ToString::to_string).unwrap_or_default();
            let answer = PartitionAnswer {
                code: Code(found.error_code),
                message,
                base_offset: found.base_offset,
                log_append_time_ms: found.log_append_time_ms,
            };
            answers.insert(TopicPartition::new(name, found.index), answer);
        }
    }
    answers
}
