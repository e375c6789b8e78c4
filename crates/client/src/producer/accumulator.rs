//! Records on their way into batches, and batches on their way out: a value that never waits.
//!
//! Each partition has a batch that is being filled, batches that wait, and at most one under way. That one is what keeps
//! records in order, whatever is repeated. No batch, wherever it is, stays without an outcome for longer than
//! `delivery.timeout.ms`. Time comes in as an argument. Deliberately not here: sockets, and judging answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::records::{BATCH_HEADER_LEN, BatchBuilder, Compression, Records};
use pagemark_wire::types::{ProducerEpoch, ProducerId};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::delivery::{Acknowledged, Delivery, Outcome, ProduceError};
use crate::partition::TopicPartition;

/// Who an idempotent producer is to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// When a batch is full and when it is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) delivery_timeout: Duration,
}

/// A record's parts, ready to be written.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<&'a Bytes>,
    pub(super) value: Option<&'a Bytes>,
    pub(super) headers: &'a [(String, Option<Bytes>)],
    /// What the record takes of the buffer.
    pub(super) bytes: usize,
}

/// A batch of one partition. Dropped without an outcome, it tells its records that the producer is gone.
///
/// It knows whether a broker may have it, and never says "not written" if so.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) builder: BatchBuilder,
    pub(super) outcome: Arc<Outcome>,
    pub(super) created: Instant,
    /// Under which sequence number it went out, and as whom.
    pub(super) sequenced: Option<(Identity, i32)>,
    /// Whether an attempt ended in such a way that a broker may have it.
    pub(super) may_be_written: bool,
    /// Whether an attempt has begun of which nothing is known yet.
    pub(super) is_in_flight: bool,
    pub(super) attempts: u32,
    reserved: usize,
    memory: Arc<Semaphore>,
}

impl Batch {
    pub(super) fn acknowledge(self, acknowledged: Acknowledged) {
        self.outcome.settle(Ok(acknowledged));
    }

    /// Two batches of half the records each, in order, neither sent yet. Whoever waits for this one waits for those, and it
    /// is to be dropped. `None` if it has but one record.
    fn split(&mut self) -> Option<[Batch; 2]> {
        let count = self.builder.record_count() as usize / 2;
        let [first, second] = halves(&self.builder, count)?;
        let half = |builder: BatchBuilder, reserved: usize| Batch {
            builder,
            outcome: Arc::default(),
            created: self.created,
            sequenced: None,
            may_be_written: false,
            is_in_flight: false,
            attempts: 0,
            reserved,
            memory: Arc::clone(&self.memory),
        };
        let halves = [half(first, self.reserved / 2), half(second, self.reserved - self.reserved / 2)];
        self.outcome.split(count, halves.each_ref().map(|half| Arc::clone(&half.outcome)));
        self.reserved = 0; // it is the halves' now
        Some(halves)
    }

    /// Fails for good. The error becomes [`ProduceError::Unknown`] if a broker may have the batch.
    pub(super) fn fail(&self, error: ProduceError) {
        let is_in_doubt = self.may_be_written || self.is_in_flight;
        self.outcome.settle(Err(if is_in_doubt { error.in_doubt() } else { error }));
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.fail(ProduceError::NotWritten("the producer was closed".to_owned())); // does nothing if it was settled
        self.memory.add_permits(self.reserved);
    }
}

/// One partition's batches.
#[derive(Debug, Default)]
pub(super) struct Queue {
    open: Option<Batch>,
    ready: VecDeque<Batch>,
    under_way: Option<UnderWay>,
    not_before: Option<Instant>,
    identity: Option<Identity>,
    next_sequence: i32,
    flush: bool,
}

/// What stays here of a batch that is under way.
#[derive(Debug)]
struct UnderWay {
    outcome: Arc<Outcome>,
    /// When its outcome is due; `None` once it was told that nobody knows.
    expires: Option<Instant>,
}

/// All partitions' batches.
#[derive(Debug)]
pub(super) struct Accumulator {
    limits: Limits,
    memory: Arc<Semaphore>,
    queues: BTreeMap<TopicPartition, Queue>,
    /// Where records without a key go until that batch is full or gone.
    sticky: BTreeMap<Arc<str>, i32>,
}

/// What is to be sent now.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// Batches to send, one a partition.
    pub(super) due: Vec<(TopicPartition, Batch)>,
    /// When the next one is due, if nothing else happens.
    pub(super) next: Option<Instant>,
}

/// What has become too old.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expired {
    /// When the next batch will be too old; `None` if there is no batch.
    pub(super) next: Option<Instant>,
    /// Whether a partition lost its identity, because a numbered batch that may be written timed out: nobody may use that
    /// identity again.
    pub(super) lost_identity: bool,
}

impl Accumulator {
    pub(super) fn new(limits: Limits, memory: Arc<Semaphore>) -> Accumulator {
        Accumulator { limits, memory, queues: BTreeMap::new(), sticky: BTreeMap::new() }
    }

    /// The partition for a record without a key: one of `partitions` that has a leader, if any has.
    pub(super) fn sticky(
        &mut self,
        topic: &Arc<str>,
        partitions: i32,
        random: u32,
        has_leader: impl Fn(i32) -> bool,
    ) -> i32 {
        let before = self.sticky.get(topic).copied().filter(|before| *before < partitions);
        if let Some(before) = before.filter(|before| has_leader(*before)) {
            return before;
        }
        let any = (random % partitions.max(1) as u32) as i32;
        let led = (any..partitions).chain(0..any).find(|partition| has_leader(*partition));
        let chosen = led.or(before).unwrap_or(any);
        self.sticky.insert(Arc::clone(topic), chosen);
        chosen
    }

    /// Adds a record whose bytes of the buffer are reserved; whether the sender should look now.
    pub(super) fn append(&mut self, partition: &TopicPartition, parts: &Parts<'_>, now: Instant) -> (Delivery, bool) {
        if !self.queues.contains_key(partition) {
            self.queues.insert(partition.clone(), Queue::default());
        }
        let queue = self.queues.get_mut(partition).expect("it was just inserted");
        let full = |batch: &Batch| batch.builder.size_bytes() + parts.bytes > self.limits.batch_bytes;
        let mut wake = queue.open.is_none();
        if let Some(batch) = queue.open.take_if(|batch| full(batch)) {
            queue.ready.push_back(batch);
            self.sticky.remove(&partition.topic);
            wake = true;
        }
        let batch = queue.open.get_or_insert_with(|| Batch {
            builder: BatchBuilder::new(parts.timestamp_ms),
            outcome: Arc::default(),
            created: now,
            sequenced: None,
            may_be_written: false,
            is_in_flight: false,
            attempts: 0,
            reserved: 0,
            memory: Arc::clone(&self.memory),
        });
        let index = batch.builder.record_count() as usize;
        let headers: Vec<(&str, Option<&[u8]>)> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let (key, value) = (parts.key.map(|k| &k[..]), parts.value.map(|v| &v[..]));
        batch.builder.push_record(parts.timestamp_ms, key, value, &headers);
        batch.reserved += parts.bytes;
        (Delivery::new(Arc::clone(&batch.outcome), index), wake)
    }

    /// Fails what is too old, `trouble` being what kept it. Comes before [`Accumulator::drain`].
    pub(super) fn expire(&mut self, now: Instant, trouble: &str) -> Expired {
        let mut expired = Expired::default();
        for (partition, queue) in &mut self.queues {
            let had_open = queue.open.is_some();
            expired.lost_identity |= queue.expire(now, self.limits.delivery_timeout, trouble);
            if had_open && queue.open.is_none() {
                self.sticky.remove(&partition.topic);
            }
            let next = queue.expires(self.limits.delivery_timeout);
            expired.next = expired.next.into_iter().chain(next).min();
        }
        expired
    }

    /// Takes what is due. While the buffer is short of room, nothing waits for company.
    pub(super) fn drain(&mut self, now: Instant, is_short_of_room: bool) -> Drained {
        let mut drained = Drained::default();
        let mut earliest = |at: Instant| drained.next = Some(drained.next.map_or(at, |next: Instant| next.min(at)));
        for (partition, queue) in &mut self.queues {
            if queue.under_way.is_some() {
                continue;
            }
            if let Some(at) = queue.not_before.filter(|at| *at > now) {
                earliest(at);
                continue;
            }
            let due = |batch: &Batch| is_short_of_room || queue.flush || batch.created + self.limits.linger <= now;
            if queue.ready.is_empty()
                && let Some(batch) = queue.open.take_if(|batch| due(batch))
            {
                queue.ready.push_back(batch);
                self.sticky.remove(&partition.topic);
            }
            if let Some(batch) = queue.ready.pop_front() {
                let expires = Some(batch.created + self.limits.delivery_timeout);
                queue.under_way = Some(UnderWay { outcome: Arc::clone(&batch.outcome), expires });
                drained.due.push((partition.clone(), batch));
            } else if let Some(open) = &queue.open {
                earliest(open.created + self.limits.linger);
            } else {
                queue.flush = false;
            }
        }
        drained
    }

    /// Numbers a batch that is about to go out: as whom, from which sequence number. A repetition keeps its numbers.
    pub(super) fn number(&mut self, partition: &TopicPartition, batch: &mut Batch, current: Identity) {
        if batch.sequenced.is_some() {
            return;
        }
        let Some(queue) = self.queues.get_mut(partition) else { return };
        if queue.identity.is_none() {
            queue.identity = Some(current);
            queue.next_sequence = 0;
        }
        let identity = queue.identity.unwrap_or(current);
        let sequence = queue.next_sequence;
        let count = batch.builder.record_count();
        queue.next_sequence = ((i64::from(sequence) + i64::from(count)) & 0x7fff_ffff) as i32;
        batch.builder.set_producer(identity.id, identity.epoch, sequence);
        batch.sequenced = Some((identity, sequence));
    }

    /// A batch that went out has its outcome.
    pub(super) fn done(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.under_way = None;
            queue.not_before = None;
        }
    }

    /// A batch that was refused for good, and that no broker can have, did not use its sequence numbers up.
    pub(super) fn take_back_numbers(&mut self, partition: &TopicPartition, batch: &Batch) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.take_back_numbers(batch.sequenced);
        }
    }

    /// The partition's next batch goes out under a new identity, since the broker's count and ours may differ. The caller
    /// must not hand out the old one again.
    pub(super) fn forget_identity(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.identity = None;
        }
    }

    /// Halves a batch that is larger than the broker takes, and that no broker can have. Gives it back if it cannot be halved.
    pub(super) fn split(&mut self, partition: &TopicPartition, mut batch: Batch) -> Option<Batch> {
        let Some(queue) = self.queues.get_mut(partition) else { return Some(batch) };
        let Some([first, second]) = batch.split() else { return Some(batch) };
        queue.take_back_numbers(batch.sequenced);
        queue.under_way = None;
        queue.not_before = None;
        queue.ready.push_front(second);
        queue.ready.push_front(first);
        None
    }

    /// Puts a batch back in front, to go out again at `not_before`.
    pub(super) fn put_back(&mut self, partition: &TopicPartition, batch: Batch, not_before: Instant) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.under_way = None;
            queue.not_before = Some(not_before);
            queue.ready.push_front(batch);
        }
    }

    /// Lets everything go out at once; the outcomes of all that is here or under way.
    pub(super) fn flush(&mut self) -> Vec<Arc<Outcome>> {
        let mut outcomes = Vec::new();
        for queue in self.queues.values_mut() {
            outcomes.extend(queue.under_way.iter().map(|under_way| Arc::clone(&under_way.outcome)));
            outcomes.extend(queue.ready.iter().chain(&queue.open).map(|batch| Arc::clone(&batch.outcome)));
            queue.flush = queue.open.is_some();
        }
        outcomes
    }

    /// Whether a batch that may be written waits to be repeated.
    #[cfg(test)]
    pub(super) fn holds_doubtful(&self) -> bool {
        self.queues.values().flat_map(|queue| &queue.ready).any(|batch| batch.may_be_written)
    }

    /// Fails everything that waits.
    pub(super) fn fail_all(&mut self, error: &ProduceError) {
        for queue in self.queues.values_mut() {
            queue.ready.drain(..).chain(queue.open.take()).for_each(|batch| batch.fail(error.clone()));
        }
    }
}

impl Queue {
    /// Fails what is too old; whether one of those may be written and had numbers, which nobody else may have now.
    fn expire(&mut self, now: Instant, timeout: Duration, trouble: &str) -> bool {
        let why = || match trouble {
            "" => "delivery.timeout.ms passed".to_owned(),
            trouble => format!("delivery.timeout.ms passed; {trouble}"),
        };
        if let Some(under_way) = &mut self.under_way
            && under_way.expires.is_some_and(|at| at <= now)
        {
            under_way.expires = None; // the answer that may still come tells what to do with its numbers
            under_way.outcome.settle(Err(ProduceError::Unknown(why())));
        }
        let mut lost = false;
        while let Some(batch) = self.take_first_if(|batch| batch.created + timeout <= now) {
            if batch.may_be_written && batch.sequenced.is_some() {
                self.identity = None;
                lost = true;
            } else {
                self.take_back_numbers(batch.sequenced);
            }
            batch.fail(ProduceError::NotWritten(why()));
        }
        lost
    }

    /// The oldest batch that is not under way, if it is so.
    fn take_first_if(&mut self, is_so: impl Fn(&Batch) -> bool) -> Option<Batch> {
        match self.ready.front() {
            Some(first) if is_so(first) => self.ready.pop_front(),
            Some(_) => None,
            None => self.open.take_if(|open| is_so(open)),
        }
    }

    /// When the oldest batch will be too old.
    fn expires(&self, timeout: Duration) -> Option<Instant> {
        let waiting = self.ready.front().or(self.open.as_ref()).map(|batch| batch.created + timeout);
        let under_way = self.under_way.as_ref().and_then(|under_way| under_way.expires);
        under_way.into_iter().chain(waiting).min()
    }

    fn take_back_numbers(&mut self, sequenced: Option<(Identity, i32)>) {
        if let Some((identity, sequence)) = sequenced
            && self.identity == Some(identity)
        {
            self.next_sequence = sequence;
        }
    }
}

/// The records of a batch as two batches, `count` of them in the first. `None` if one were empty.
fn halves(batch: &BatchBuilder, count: usize) -> Option<[BatchBuilder; 2]> {
    let records = Records::open(&batch.compressed(Compression::None), u64::MAX).ok()?;
    let mut halves: [Option<BatchBuilder>; 2] = [None, None];
    for (at, record) in records.iter().enumerate() {
        let record = record.ok()?;
        let names: Vec<_> = record.headers.map(|(name, value)| (String::from_utf8_lossy(name), value)).collect();
        let headers: Vec<_> = names.iter().map(|(name, value)| (&**name, *value)).collect();
        let half = halves[usize::from(at >= count)].get_or_insert_with(|| BatchBuilder::new(record.timestamp_ms));
        half.push_record(record.timestamp_ms, record.key, record.value, &headers);
    }
    let [first, second] = halves;
    Some([first?, second?])
}

/// About what a record takes: its parts, and the most that the numbers between them can take.
pub(super) fn record_bytes(key: Option<&Bytes>, value: Option<&Bytes>, headers: &[(String, Option<Bytes>)]) -> usize {
    let len = |bytes: Option<&Bytes>| bytes.map_or(0, Bytes::len) + 5;
    let headers: usize = headers.iter().map(|(name, value)| name.len() + 5 + len(value.as_ref())).sum();
    len(key) + len(value) + headers + 5 + 1 + 10 + 5 + 5
}

/// What a batch takes besides its records.
pub(super) const BATCH_OVERHEAD: usize = BATCH_HEADER_LEN;

#[cfg(test)]
mod tests;
