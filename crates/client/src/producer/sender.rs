//! The task that sends batches, and judges what the brokers say.
//!
//! It looks for work when a record, an answer or a moment comes. Several requests may be under way to a broker, but only one
//! batch of a partition. A batch leaves only when there is a connection to its leader, and an idempotent producer's only with
//! a number. Deliberately not here: filling batches, and what a request looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagemark_wire::messages::{InitProducerIdRequest, ProducerId as WireProducerId};
use pagemark_wire::records::Compression;
use pagemark_wire::types::{ProducerEpoch, ProducerId};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Acks;
use super::accumulator::{Accumulator, Batch, Drained, Expired, Identity};
use super::delivery::{Acknowledged, ProduceError};
use super::request::{Answered, PartitionAnswer, ask};
use crate::cluster::{Cluster, Lane, Metadata, To};
use crate::code::Code;
use crate::error::{Error, refuse};
use crate::net::{Backoff, CallError, Connection};
use crate::partition::TopicPartition;

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
    /// Calls of `send` that wait for room.
    pub(super) short_of_room: AtomicUsize,
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
    pub(super) max_request_bytes: usize,
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
    /// Brokers to which a connection is being made.
    connecting: BTreeSet<i32>,
    /// What went wrong last, for those who wait in vain.
    trouble: String,
    tasks: JoinSet<Event>,
}

/// What a request under way came to.
enum Event {
    Identity(Result<Identity, Error>),
    Connected { node: i32, result: Result<(), CallError> },
    Produced { node: i32, batches: Vec<(TopicPartition, Batch)>, answer: Result<Answered, CallError> },
    Refreshed,
}

/// Base offset and time of a batch, as far as the broker said.
type Place = (Option<i64>, Option<i64>);

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
            connecting: BTreeSet::new(),
            trouble: String::new(),
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
                Some(Event::Connected { node, result }) => self.take_connection(node, result),
                Some(Event::Produced { node, batches, answer }) => self.judge(node, batches, answer),
            }
        }
    }

    /// Starts a request to each broker that has something due; when to look again.
    fn send_what_is_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let fatal = self.shared.fatal();
        if let Some(error) = &fatal {
            self.shared.accumulator().fail_all(&ProduceError::Fatal(error.clone()));
        }
        let Expired { next: expiry, lost_identity } = self.shared.accumulator().expire(now, &self.trouble);
        if fatal.is_some() {
            return expiry; // what is under way has its outcome to come
        }
        if lost_identity {
            self.identity = None;
        }
        if self.refresh_at <= now {
            self.refresh();
        }
        let later = expiry.map_or(self.refresh_at, |at| at.min(self.refresh_at));
        if expiry.is_none() {
            return Some(later); // nothing is here
        }
        if self.settings.idempotent && self.identity.is_none() {
            self.ask_identity();
            return Some(later);
        }
        let is_short_of_room = self.shared.short_of_room.load(Ordering::Acquire) > 0;
        let Drained { due, next } = self.shared.accumulator().drain(now, is_short_of_room);
        self.send(due, now);
        Some(next.map_or(later, |next| next.min(later)))
    }

    /// Sends batches to their leaders. What cannot leave goes back.
    fn send(&mut self, due: Vec<(TopicPartition, Batch)>, now: Instant) {
        let (metadata, _) = self.cluster.metadata();
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, Batch)>> = BTreeMap::new();
        let mut has_lost = false;
        for (partition, batch) in due {
            match metadata.leader(&partition.topic, partition.partition) {
                Some((leader, _)) => by_leader.entry(leader).or_default().push((partition, batch)),
                None => {
                    has_lost = true;
                    self.trouble = format!("{partition} has no leader");
                    self.retry(&partition, batch);
                }
            }
        }
        for (leader, batches) in by_leader {
            for batches in requests(batches, self.settings.max_request_bytes) {
                let is_busy = self.under_way.get(&leader).is_some_and(|count| *count >= MAX_IN_FLIGHT);
                let connection = if is_busy { None } else { self.connection(leader) };
                match connection {
                    Some(connection) => self.produce(leader, connection, batches, &metadata),
                    None => {
                        let mut accumulator = self.shared.accumulator();
                        batches.into_iter().for_each(|(p, batch)| accumulator.put_back(&p, batch, now));
                    }
                }
            }
        }
        if has_lost {
            self.refresh();
        }
    }

    /// A connection to a broker. If there is none, one is made, and its coming is an event.
    fn connection(&mut self, node: i32) -> Option<Arc<Connection>> {
        let open = self.cluster.connection(node, Lane::Produce);
        if open.is_none() && self.connecting.insert(node) {
            let cluster = Arc::clone(&self.cluster);
            self.tasks.spawn(async move {
                let result = cluster.connect(To::Node(node), Lane::Produce).await;
                if result.is_err() {
                    tokio::time::sleep(cluster.settings().retry_backoff).await;
                }
                Event::Connected { node, result: result.map(drop) }
            });
        }
        open
    }

    fn take_connection(&mut self, node: i32, result: Result<(), CallError>) {
        self.connecting.remove(&node);
        let is_lost = result.is_err();
        if let Err(error) = result {
            self.trouble = error.to_string();
        }
        if is_lost || self.settings.acks == Acks::None {
            self.refresh(); // it may have moved; without acks a close is all that a broker says when it does not lead
        }
    }

    fn produce(
        &mut self,
        node: i32,
        connection: Arc<Connection>,
        mut batches: Vec<(TopicPartition, Batch)>,
        metadata: &Metadata,
    ) {
        let mut data = Vec::with_capacity(batches.len());
        for (partition, batch) in &mut batches {
            if let Some(identity) = self.identity {
                self.shared.accumulator().number(partition, batch, identity);
            }
            batch.attempts += 1;
            batch.is_in_flight = true;
            data.push((partition.clone(), batch.builder.compressed(self.settings.compression)));
        }
        let ids = metadata.ids(data.iter().map(|(partition, _)| &*partition.topic));
        *self.under_way.entry(node).or_default() += 1;
        let (acks, timeout) = (self.settings.acks, self.cluster.settings().request_timeout);
        self.tasks.spawn(async move {
            let answer = ask(&connection, acks, timeout, data, &ids).await;
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
        if let Err(error) = &answer {
            self.trouble = error.to_string();
        }
        for (partition, mut batch) in batches {
            batch.is_in_flight = false;
            match &answer {
                Ok(None) => self.settle(&partition, batch, (None, None)),
                Ok(Some(answers)) => match answers.get(&partition) {
                    Some(answer) => self.judge_one(&partition, batch, answer),
                    None => {
                        self.trouble = format!("broker {node} said nothing about {partition}");
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

    fn judge_one(&mut self, partition: &TopicPartition, mut batch: Batch, answer: &PartitionAnswer) {
        let known = |value: i64| (value >= 0).then_some(value);
        match answer.code {
            Code::NONE => self.settle(partition, batch, (known(answer.base_offset), known(answer.log_append_time_ms))),
            Code::DUPLICATE_SEQUENCE_NUMBER if batch.may_be_written => self.settle(partition, batch, (None, None)),
            Code::DUPLICATE_SEQUENCE_NUMBER // of another batch than this one, which no broker can have
            | Code::OUT_OF_ORDER_SEQUENCE_NUMBER | Code::UNKNOWN_PRODUCER_ID | Code::INVALID_PRODUCER_EPOCH => {
                self.sequence_refused(partition, batch, answer);
            }
            Code::MESSAGE_TOO_LARGE | Code::RECORD_LIST_TOO_LARGE if !batch.may_be_written => {
                // It is the batch that is too large. Each of its records may be small enough.
                let whole = self.shared.accumulator().split(partition, batch);
                if let Some(batch) = whole {
                    self.give_up(partition, batch, answer.refusal());
                }
            }
            code => {
                batch.may_be_written |= answer.may_be_written();
                if code.is_retriable() {
                    self.trouble = format!("{partition} was refused with {code}");
                    return self.retry(partition, batch);
                }
                self.give_up(partition, batch, answer.refusal());
            }
        }
    }

    /// Fails a batch. Its numbers are free again if no broker can have it; if one may, the identity is spoilt, for the next
    /// batch would be taken for a repetition of this one.
    fn give_up(&mut self, partition: &TopicPartition, batch: Batch, error: ProduceError) {
        {
            let mut accumulator = self.shared.accumulator();
            if batch.may_be_written {
                accumulator.forget_identity(partition);
                self.identity = None;
            } else {
                accumulator.take_back_numbers(partition, &batch);
            }
            accumulator.done(partition);
        }
        batch.fail(error);
    }

    /// The broker counts otherwise than we do. Unless an earlier attempt may be in the log, a new identity helps.
    fn sequence_refused(&mut self, partition: &TopicPartition, mut batch: Batch, answer: &PartitionAnswer) {
        if batch.may_be_written {
            return self.give_up(partition, batch, answer.refusal());
        }
        self.shared.accumulator().forget_identity(partition);
        self.identity = None;
        self.trouble = format!("{partition} was refused with {}", answer.code);
        tracing::warn!(%partition, code = %answer.code, "the broker does not know our sequence numbers; taking a new producer id");
        batch.sequenced = None;
        self.retry(partition, batch);
    }

    fn settle(&mut self, partition: &TopicPartition, batch: Batch, (base_offset, log_append_time_ms): Place) {
        self.trouble.clear();
        self.shared.accumulator().done(partition);
        batch.acknowledge(Acknowledged { partition: partition.clone(), base_offset, log_append_time_ms });
    }

    fn retry(&self, partition: &TopicPartition, batch: Batch) {
        let settings = self.cluster.settings();
        let wait = Backoff::new(settings.retry_backoff, settings.retry_backoff_max).after(batch.attempts);
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
            Err(error) if error.is_retriable() => self.trouble = format!("no producer id: {error}"), // asked for again
            Err(error) => *self.shared.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.accumulator().fail_all(&ProduceError::NotWritten("the producer was closed".to_owned()));
    }
}

/// Shares batches out to requests of at most so many bytes, or of one batch. What is oldest goes first, so that partitions with
/// much to send do not keep others waiting for ever.
fn requests(mut batches: Vec<(TopicPartition, Batch)>, max_bytes: usize) -> Vec<Vec<(TopicPartition, Batch)>> {
    batches.sort_by_key(|(_, batch)| batch.created);
    let mut requests: Vec<Vec<_>> = Vec::new();
    let mut room = 0;
    for (partition, batch) in batches {
        let bytes = batch.builder.size_bytes();
        match requests.last_mut().filter(|_| bytes <= room) {
            Some(request) => request.push((partition, batch)),
            None => {
                room = max_bytes;
                requests.push(vec![(partition, batch)]);
            }
        }
        room = room.saturating_sub(bytes);
    }
    requests
}

async fn ask_identity(cluster: &Cluster) -> Result<Identity, Error> {
    let make = |version| {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        if version >= 3 { request.with_producer_id(WireProducerId(-1)).with_producer_epoch(-1) } else { request }
    };
    let answer = cluster.call(To::Any, Lane::Control, make).await?;
    refuse(answer.error_code, None)?;
    if answer.producer_id.0 < 0 || answer.producer_epoch < 0 {
        return Err(Error::Protocol(format!("a producer id of {}", answer.producer_id.0)));
    }
    Ok(Identity { id: ProducerId(answer.producer_id.0), epoch: ProducerEpoch(answer.producer_epoch) })
}

#[cfg(test)]
mod tests;
