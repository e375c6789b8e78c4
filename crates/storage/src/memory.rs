//! An engine in memory: everything is durable at once, or when a test says so.
//!
//! It keeps the contract of the seam with the same fold and the same judgement as the local engine, and nothing of its own but a
//! list of batches. Deliberately not here: anything that outlives the process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, ProducerId, TopicId};

use crate::engine::{
    AtomicGroup, Compare, Engine, EngineError, Extent, Headroom, Keep, Locate, LogStore, Lsn, MetaStore,
    OpenedPartition, Progress, ProgressListener, ReadSlice, Room, ShardEpoch, ShardId, Ticket, TxnOutcome, Versioned,
    Write,
};
use crate::local::{BatchEntry, Fold, MetaChange, Owners, Partition, Position, judge};

/// As the local engine's default.
const MAX_GROUP_BYTES: usize = 32 << 20;

#[derive(Default)]
struct State {
    fold: Fold,
    owners: Owners,
    batches: BTreeMap<PartitionKey, Vec<Bytes>>,
    last_lsn: u64,
    durable: u64,
    by_hand: bool,
    stopped: Option<Arc<str>>,
    failed: bool,
    headroom: Headroom,
}

/// An engine without a disk.
#[derive(Default)]
pub struct MemoryEngine {
    state: Mutex<State>,
    listeners: Mutex<Vec<Arc<dyn ProgressListener>>>,
}

impl MemoryEngine {
    /// One that makes everything durable at once.
    #[must_use]
    pub fn new() -> MemoryEngine {
        MemoryEngine::default()
    }

    /// One in which nothing is durable before [`MemoryEngine::release`].
    #[must_use]
    pub fn released_by_hand() -> MemoryEngine {
        let engine = MemoryEngine::default();
        engine.state().by_hand = true;
        engine
    }

    /// Makes everything accepted so far durable.
    pub fn release(&self) {
        let mut state = self.state();
        state.make_durable();
        drop(state);
        self.announce();
    }

    /// Fails as a disk would: what is not durable stays unknown, nothing more is accepted.
    pub fn fail(&self, reason: &str) {
        let mut state = self.state();
        state.stopped = Some(reason.into());
        state.failed = true;
        drop(state);
        self.announce();
    }

    /// As if bytes of this partition had rotted.
    ///
    /// # Errors
    /// [`EngineError::UnknownPartition`].
    pub fn quarantine(&self, key: PartitionKey, reason: &str) -> Result<(), EngineError> {
        self.state().fold.partition_quietly(key)?.quarantine(key, reason);
        Ok(())
    }

    /// Says from now on that there is so much room. It is never less than what anybody writes.
    pub fn set_room(&self, room: Room) {
        let spare_bytes = if room == Room::Enough { u64::MAX } else { 0 };
        self.state().headroom = Headroom { room, spare_bytes, ..Headroom::default() };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        let progress = self.progress();
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|l| l.progressed(&progress));
    }

    /// A write; what it gives is durable at once unless that is done by hand.
    fn write<T>(&self, change: impl FnOnce(&mut State) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let mut state = self.state();
        if let Some(reason) = &state.stopped {
            return Err(EngineError::Stopped(reason.clone()));
        }
        let result = change(&mut state);
        let moved = !state.by_hand && state.durable != state.last_lsn;
        if moved {
            state.make_durable();
        }
        drop(state);
        if moved {
            self.announce();
        }
        result
    }
}

impl State {
    fn next(&mut self) -> Lsn {
        self.last_lsn += 1;
        Lsn(self.last_lsn)
    }

    fn make_durable(&mut self) {
        self.durable = self.last_lsn;
        self.fold.settle(self.durable);
    }

    fn last_ticket(&self) -> Ticket {
        Ticket(Lsn(self.last_lsn))
    }

    fn readable(&self, key: PartitionKey) -> Result<&Partition, EngineError> {
        match &self.stopped {
            Some(reason) if !self.failed => Err(EngineError::Stopped(reason.clone())),
            _ => self.fold.partition(key),
        }
    }

    fn append(&mut self, shard: ShardId, epoch: ShardEpoch, groups: &[AtomicGroup]) -> Result<Ticket, EngineError> {
        self.owners.check(shard, epoch)?;
        let headers = judge(&self.fold, shard, groups.iter().flat_map(|g| &g.0))?;
        for group in groups {
            let bytes = group.0.iter().map(|a| a.batch.len()).sum();
            if bytes > MAX_GROUP_BYTES {
                return Err(EngineError::TooLarge { bytes, limit: MAX_GROUP_BYTES });
            }
        }
        let mut headers = headers.iter();
        for group in groups.iter().filter(|g| !g.0.is_empty()) {
            let lsn = self.next();
            for (append, header) in group.0.iter().zip(&mut headers) {
                let stored = self.batches.entry(append.partition).or_default();
                let at = Position { generation: 0, offset: stored.len() as u64 };
                let entry = BatchEntry::new(header, append.crc, lsn.0, at);
                stored.push(append.batch.joined());
                self.fold.partition_mut(append.partition)?.accept(header, entry);
            }
        }
        Ok(self.last_ticket())
    }

    fn bytes_of(&self, key: PartitionKey, entry: &BatchEntry) -> Bytes {
        self.batches[&key][entry.at.offset as usize].clone()
    }
}

impl LogStore for MemoryEngine {
    fn create(&self, topic: TopicId, partitions: u32, first_epoch: LeaderEpoch) -> Result<Ticket, EngineError> {
        self.write(|state| {
            if state.fold.lacks(topic, partitions) {
                state.next();
                state.fold.create(topic, partitions, first_epoch);
            }
            Ok(state.last_ticket())
        })
    }

    fn open(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partitions: &[PartitionKey],
    ) -> Result<Vec<OpenedPartition>, EngineError> {
        self.write(|State { owners, fold, .. }| owners.open(fold, shard, epoch, partitions))
    }

    fn append(&self, shard: ShardId, epoch: ShardEpoch, groups: &[AtomicGroup]) -> Result<Ticket, EngineError> {
        self.write(|state| state.append(shard, epoch, groups))
    }

    fn advance_start(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partition: PartitionKey,
        offset: Offset,
    ) -> Result<Ticket, EngineError> {
        self.write(|state| {
            if state.owners.judge_start(&state.fold, (shard, epoch), partition, offset)? {
                let lsn = state.next();
                state.fold.advance_start(lsn.0, partition, offset)?;
            }
            Ok(state.last_ticket())
        })
    }

    fn trim_point(&self, partition: PartitionKey, keep: Keep) -> Result<Option<Offset>, EngineError> {
        let state = self.state();
        state.fold.partition(partition)?.trim_point(partition, keep, state.durable)
    }

    fn read(&self, key: PartitionKey, from: Offset, max_bytes: usize, bound: Offset) -> Result<ReadSlice, EngineError> {
        let state = self.state();
        let index = &state.readable(key)?.index;
        let entries = index.select(from, max_bytes, bound, state.durable);
        let batches: Vec<Bytes> = entries.iter().map(|e| state.bytes_of(key, e)).collect();
        let bytes = batches.iter().map(Bytes::len).sum();
        Ok(ReadSlice { batches, bytes })
    }

    fn read_cached(
        &self,
        key: PartitionKey,
        from: Offset,
        max_bytes: usize,
        bound: Offset,
    ) -> Result<Option<ReadSlice>, EngineError> {
        self.read(key, from, max_bytes, bound).map(Some)
    }

    fn locate(&self, key: PartitionKey, what: Locate, within: Range<Offset>) -> Result<Option<Bytes>, EngineError> {
        let state = self.state();
        let index = &state.readable(key)?.index;
        Ok(index.locate(what, within, state.durable).map(|entry| state.bytes_of(key, entry)))
    }

    fn extent(&self, key: PartitionKey) -> Result<Extent, EngineError> {
        let state = self.state();
        Ok(state.fold.partition(key)?.extent(state.durable))
    }

    fn forget_producers(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partition: PartitionKey,
        producers: &[ProducerId],
    ) -> Result<(), EngineError> {
        let State { owners, fold, .. } = &mut *self.state();
        owners.forget_producers(fold, (shard, epoch), partition, producers)
    }

    fn topics(&self) -> Vec<(TopicId, u32)> {
        self.state().fold.topics()
    }

    fn delete(&self, topic: TopicId) -> Result<Ticket, EngineError> {
        self.write(|state| {
            if state.fold.topics.contains_key(&topic) {
                state.next();
                state.fold.delete(topic);
                state.batches.retain(|key, _| key.topic != topic);
            }
            Ok(state.last_ticket())
        })
    }

    fn headroom(&self) -> Headroom {
        self.state().headroom
    }

    fn progress(&self) -> Progress {
        let state = self.state();
        Progress { durable: Lsn(state.durable), failed: state.stopped.clone().filter(|_| state.failed) }
    }

    fn watch(&self, listener: Arc<dyn ProgressListener>) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }
}

impl MetaStore for MemoryEngine {
    fn get(&self, key: &str) -> Option<Versioned> {
        self.state().fold.meta.get(key)
    }

    fn scan(&self, prefix: &str) -> Vec<(String, Versioned)> {
        self.state().fold.meta.scan(prefix)
    }

    fn txn(&self, compares: &[Compare], writes: Vec<Write>) -> Result<TxnOutcome, EngineError> {
        self.write(|state| {
            if !compares.iter().all(|c| state.fold.meta.holds(c)) {
                return Ok(TxnOutcome::Refused);
            }
            let revision = state.next();
            writes.into_iter().for_each(|w| state.fold.meta.apply(revision, MetaChange::from(w)));
            Ok(TxnOutcome::Accepted(Ticket(revision)))
        })
    }

    fn reserve_ids(&self, counter: &str, count: u32) -> Result<(i64, Ticket), EngineError> {
        self.write(|state| {
            let first = state.fold.meta.next_id(counter);
            let next = first.checked_add(i64::from(count)).ok_or_else(|| EngineError::Stopped("no more ids".into()))?;
            let revision = state.next();
            state.fold.meta.apply(revision, MetaChange::Counter(counter.to_string(), next));
            Ok((first, Ticket(revision)))
        })
    }
}

impl Engine for MemoryEngine {
    fn close(&self) -> Result<(), EngineError> {
        let mut state = self.state();
        if state.failed {
            return Err(EngineError::Stopped(state.stopped.clone().unwrap_or_else(|| "failed".into())));
        }
        state.make_durable();
        state.stopped = Some("closed".into());
        drop(state);
        self.announce();
        Ok(())
    }
}
