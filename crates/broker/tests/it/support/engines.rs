//! An engine whose reads of one partition stand still until they are let go: a load that takes as long as a test wants.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use pagemark_storage::engine::*;
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, ProducerId, TopicId};

/// Gives the batches of every log one by one, and while held back never the last of them: instead of it the first one comes
/// again, which a load takes in without getting any further.
pub struct SlowReads {
    inner: Arc<dyn Engine>,
    /// Nothing is in memory, and a read of the disk takes until reads are let go.
    disk: Option<Arc<(Mutex<bool>, Condvar)>>,
    held: AtomicBool,
    read_bytes: AtomicUsize,
    segment_limits: Mutex<BTreeMap<TopicId, SegmentLimit>>,
}

impl SlowReads {
    pub fn over(inner: Arc<dyn Engine>) -> Arc<SlowReads> {
        SlowReads::new(inner, None, true)
    }

    /// Everything is on a disk that stands still until it is let go.
    pub fn on_disk(inner: Arc<dyn Engine>) -> Arc<SlowReads> {
        SlowReads::new(inner, Some(Arc::default()), false)
    }

    fn new(inner: Arc<dyn Engine>, disk: Option<Arc<(Mutex<bool>, Condvar)>>, held: bool) -> Arc<SlowReads> {
        let (held, read_bytes) = (AtomicBool::new(held), AtomicUsize::new(0));
        Arc::new(SlowReads { inner, disk, held, read_bytes, segment_limits: Mutex::default() })
    }

    /// Where this topic's segments end, as the engine was last told.
    pub fn segment_limit(&self, topic: TopicId) -> Option<SegmentLimit> {
        self.segment_limits.lock().expect("nobody panics").get(&topic).copied()
    }

    /// Bytes of all batches read so far.
    pub fn read_bytes(&self) -> usize {
        self.read_bytes.load(Ordering::SeqCst)
    }

    /// From now on reads get to the end.
    pub fn let_go(&self) {
        self.held.store(false, Ordering::SeqCst);
        if let Some((moves, moved)) = self.disk.as_deref() {
            *moves.lock().expect("nobody panics") = true;
            moved.notify_all();
        }
    }
}

impl LogStore for SlowReads {
    fn create(&self, topic: TopicId, partitions: u32, first_epoch: LeaderEpoch) -> Result<Ticket, EngineError> {
        self.inner.create(topic, partitions, first_epoch)
    }

    fn open(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partitions: &[PartitionKey],
    ) -> Result<Vec<OpenedPartition>, EngineError> {
        self.inner.open(shard, epoch, partitions)
    }

    fn append(&self, shard: ShardId, epoch: ShardEpoch, groups: &[AtomicGroup]) -> Result<Ticket, EngineError> {
        self.inner.append(shard, epoch, groups)
    }

    fn advance_start(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partition: PartitionKey,
        offset: Offset,
    ) -> Result<Ticket, EngineError> {
        self.inner.advance_start(shard, epoch, partition, offset)
    }

    fn limit_segments(&self, topic: TopicId, limit: Option<SegmentLimit>) {
        self.segment_limits.lock().expect("nobody panics").extend(limit.map(|limit| (topic, limit)));
        self.inner.limit_segments(topic, limit);
    }

    fn trim_point(&self, partition: PartitionKey, keep: Keep) -> Result<Option<Offset>, EngineError> {
        self.inner.trim_point(partition, keep)
    }

    fn read(&self, key: PartitionKey, from: Offset, _: usize, bound: Offset) -> Result<ReadSlice, EngineError> {
        if let Some((moves, moved)) = self.disk.as_deref() {
            drop(moved.wait_while(moves.lock().expect("nobody panics"), |moves| !*moves));
        }
        let slice = self.inner.read(key, from, 1, bound)?;
        self.read_bytes.fetch_add(slice.bytes, Ordering::SeqCst);
        let is_last = |batch: &Bytes| BatchHeader::parse(batch).expect("a stored batch").next_offset() >= bound;
        match slice.batches.last() {
            Some(batch) if self.held.load(Ordering::SeqCst) && is_last(batch) => {
                self.inner.read(key, Offset(0), 1, bound)
            }
            _ => Ok(slice),
        }
    }

    fn read_cached(
        &self,
        key: PartitionKey,
        from: Offset,
        max_bytes: usize,
        bound: Offset,
    ) -> Result<Option<ReadSlice>, EngineError> {
        if self.disk.is_some() {
            return Ok(None);
        }
        self.read(key, from, max_bytes, bound).map(Some)
    }

    fn locate(
        &self,
        partition: PartitionKey,
        what: Locate,
        within: Range<Offset>,
    ) -> Result<Option<Bytes>, EngineError> {
        self.inner.locate(partition, what, within)
    }

    fn extent(&self, partition: PartitionKey) -> Result<Extent, EngineError> {
        self.inner.extent(partition)
    }

    fn forget_producers(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partition: PartitionKey,
        producers: &[ProducerId],
    ) -> Result<(), EngineError> {
        self.inner.forget_producers(shard, epoch, partition, producers)
    }

    fn topics(&self) -> Vec<(TopicId, u32)> {
        self.inner.topics()
    }

    fn delete(&self, topic: TopicId) -> Result<Ticket, EngineError> {
        self.inner.delete(topic)
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }

    fn watch(&self, listener: Arc<dyn ProgressListener>) {
        self.inner.watch(listener);
    }
}

impl MetaStore for SlowReads {
    fn get(&self, key: &str) -> Option<Versioned> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &str) -> Vec<(String, Versioned)> {
        self.inner.scan(prefix)
    }

    fn txn(&self, compares: &[Compare], writes: Vec<Write>) -> Result<TxnOutcome, EngineError> {
        self.inner.txn(compares, writes)
    }

    fn reserve_ids(&self, counter: &str, count: u32) -> Result<(i64, Ticket), EngineError> {
        self.inner.reserve_ids(counter, count)
    }
}

impl Engine for SlowReads {
    fn close(&self) -> Result<(), EngineError> {
        self.inner.close()
    }
}
