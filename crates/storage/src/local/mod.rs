//! The local engine: one write-ahead log for everything, checkpoints, and recovery, on one directory.
//!
//! A write goes `lane.rs` (order, copy, fold) > `flusher.rs` (write, one sync) > durable. `checkpointer.rs` with `mover.rs` moves what
//! is durable into packs and segments or leaves it (`keeper.rs`), `recycler.rs` uses the log's files again, `recovery.rs` with `replay.rs` finds the state after any crash. All of
//! them are plain values without threads or clocks; `driver.rs` drives them, in production or step by step.
//! Deliberately not here: how long data is kept, compaction.

mod block;
mod block_cache;
mod buffers;
mod candidates;
mod checkpoint;
mod checkpointer;
mod codec;
pub mod driver;
mod files;
mod flusher;
mod fold;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod index;
mod keeper;
mod lane;
mod locate;
mod log_file;
mod meta;
mod mover;
mod ops;
mod options;
mod pack;
mod read;
mod record;
mod recovery;
mod recycler;
mod replay;
mod reserve;
mod scan;
mod segment;
mod space;
mod survey;
mod tail_cache;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, ProducerId, TopicId};

use crate::disk::{DirLock, Disk, FORMAT_VERSION, LockError, RealDisk, Space};
use crate::engine::{
    AtomicGroup, Compare, Engine, EngineError, Extent, Headroom, Keep, Locate, LogStore, MetaStore, OpenedPartition,
    Progress, ProgressListener, ReadSlice, SegmentLimit, ShardEpoch, ShardId, Ticket, TxnOutcome, Versioned, Write,
};

use block_cache::BlockCache;
use driver::{Driver, Machines};
use lane::Lane;

pub(crate) use fold::{Fold, Owners, Partition, judge};
pub(crate) use index::BatchEntry;
pub(crate) use lane::Position;
pub(crate) use meta::MetaChange;

pub use driver::ManualEngine;
pub use lane::EngineStats;
pub use ops::{DiskOp, OpOutput};
pub use options::LocalOptions;
pub use recovery::RecoverySummary;

/// Why a data directory cannot be opened. In every case nothing that it holds was lost by the attempt.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns it, or a newer version wrote it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A newer Pagemark wrote it: use that one.
    #[error("the data has format {found}, this version reads formats up to {FORMAT_VERSION}; use a newer Pagemark")]
    NewerFormat {
        /// The format found.
        found: u32,
    },
    /// A version before the first release wrote it.
    #[error(
        "the data has format {found}, which only versions before the first release wrote; this one reads format {FORMAT_VERSION}. Copy the data with a client from a broker of that version, or start on an empty directory"
    )]
    OlderFormat {
        /// The format found.
        found: u32,
    },
    /// The log holds a kind of record that this version does not know: use a newer Pagemark.
    #[error("the log holds a record of kind {kind}, which this version does not know; use a newer Pagemark")]
    UnknownRecord {
        /// The kind.
        kind: u8,
    },
    /// There is data, but no checkpoint that could be read: restore one from a backup. Never an empty start.
    #[error(
        "the data directory is not empty, but none of its last two checkpoints is readable; lay the files of a backup's `checkpoints/` beside those that are there, the newest that it has, and replace none"
    )]
    NoValidCheckpoint,
    /// Neither file of a checkpoint can be read that is the newest or that newer ones are changes to, or such files are gone, and the
    /// log no longer holds everything since the one before. To go on from there would give up acknowledged data, and the files
    /// that hold it.
    #[error(
        "{why}, and the log does not hold everything since checkpoint {older}, the newest that can be read. Nothing was changed. Get one of these files back, from the disk or from a backup, and lay it beside those that are there: what a checkpoint file holds never changes, so a copy of any age will do"
    )]
    CheckpointLost {
        /// What is lost, by name.
        why: String,
        /// The newest that can be read.
        older: u64,
    },
    /// The file system refused; trying again may help.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
}

/// What the engine's own threads, or whoever drives it by hand, share with its callers.
struct Core {
    lane: Mutex<Lane>,
    disk: Arc<dyn Disk>,
    listeners: Mutex<Vec<Arc<dyn ProgressListener>>>,
    /// Blocks of segments that were looked up.
    blocks: Arc<Mutex<BlockCache>>,
    /// There may be something for the flusher.
    flusher_wakes: Condvar,
    /// There may be something for the background.
    background_wakes: Condvar,
    /// Something was completed.
    moved: Condvar,
}

impl Core {
    fn lane(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(|poisoned| {
            // Somebody panicked under the lock: what is pending may be half a record, and the state may not be what the log says.
            let mut lane = poisoned.into_inner();
            lane.fail("a thread panicked while it changed the log");
            lane
        })
    }

    /// A write under the lock, after which the flusher has something to do.
    fn write<T>(&self, change: impl FnOnce(&mut Lane) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let result = change(&mut self.lane());
        self.flusher_wakes.notify_one();
        result
    }

    /// Tells everybody about progress. Never under the lane's lock.
    fn announce(&self) {
        let (progress, background_rests) = {
            let lane = self.lane();
            (lane.progress(), lane.background_rests && !lane.space.due)
        };
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|l| l.progressed(&progress));
        self.moved.notify_all();
        if !background_rests {
            self.background_wakes.notify_one();
        }
    }
}

/// The engine on one directory.
pub struct LocalEngine {
    core: Arc<Core>,
    driver: Driver,
    summary: RecoverySummary,
    /// Given back when the engine is dropped, after its threads have ended.
    _lock: Option<DirLock>,
}

impl LocalEngine {
    /// Opens a data directory on the real file system, or makes one, and starts the engine's two threads.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, options: LocalOptions) -> Result<Arc<LocalEngine>, OpenError> {
        let disk = RealDisk::new(dir).map_err(|error| OpenError::Io { doing: "making the data directory", error })?;
        let lock = DirLock::take(dir, options.incarnation)?;
        let (core, machines, summary) = LocalEngine::assemble(Arc::new(disk), options)?;
        let driver = Driver::start(&core, machines)
            .map_err(|error| OpenError::Io { doing: "starting the engine's threads", error })?;
        Ok(Arc::new(LocalEngine { core, driver, summary, _lock: Some(lock) }))
    }

    /// Opens whatever is on a disk; nothing moves unless [`ManualEngine`] is told to.
    fn open_manual(disk: Arc<dyn Disk>, options: LocalOptions) -> Result<Arc<LocalEngine>, OpenError> {
        let (core, machines, summary) = LocalEngine::assemble(disk, options)?;
        Ok(Arc::new(LocalEngine { core, driver: Driver::Manual(Mutex::new(machines)), summary, _lock: None }))
    }

    fn assemble(
        disk: Arc<dyn Disk>,
        options: LocalOptions,
    ) -> Result<(Arc<Core>, Machines, RecoverySummary), OpenError> {
        let options = Arc::new(options);
        let recovery::Recovered { lane, flusher, background, summary } = recovery::open(&*disk, &options)?;
        let core = Core {
            blocks: lane.blocks.clone(),
            lane: Mutex::new(lane),
            disk,
            listeners: Mutex::default(),
            flusher_wakes: Condvar::new(),
            background_wakes: Condvar::new(),
            moved: Condvar::new(),
        };
        Ok((Arc::new(core), Machines { flusher, background }, summary))
    }

    /// What opening the directory found.
    #[must_use]
    pub fn recovery_summary(&self) -> &RecoverySummary {
        &self.summary
    }

    /// Counters for metrics.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let lane = self.core.lane();
        EngineStats {
            log_files: (lane.files.len() + lane.kept.len()) as u64,
            ready_files: lane.writer.ready.len() as u64,
            buffer_bytes: lane.writer.buffers.bytes() as u64,
            packs: lane.stored.pack_count() as u64,
            segments: lane.fold.partitions().map(|(_, p)| p.index.segments.len() as u64).sum(),
            quarantined: lane.fold.partitions().filter(|(_, p)| p.quarantined.is_some()).count() as u64,
            ..lane.stats
        }
    }

    /// Asks for a checkpoint soon.
    pub fn request_checkpoint(&self) {
        let mut lane = self.core.lane();
        lane.wish = lane.wish.max(lane::CheckpointWish::Wanted);
        drop(lane);
        self.core.background_wakes.notify_one();
    }
}

impl LogStore for LocalEngine {
    fn create(&self, topic: TopicId, partitions: u32, first_epoch: LeaderEpoch) -> Result<Ticket, EngineError> {
        self.core.write(|lane| lane.create(topic, partitions, first_epoch))
    }

    fn open(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partitions: &[PartitionKey],
    ) -> Result<Vec<OpenedPartition>, EngineError> {
        let mut lane = self.core.lane();
        lane.accepting()?;
        let Lane { owners, fold, .. } = &mut *lane;
        owners.open(fold, shard, epoch, partitions)
    }

    fn append(&self, shard: ShardId, epoch: ShardEpoch, groups: &[AtomicGroup]) -> Result<Ticket, EngineError> {
        self.core.write(|lane| lane.append(shard, epoch, groups))
    }

    fn advance_start(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partition: PartitionKey,
        offset: Offset,
    ) -> Result<Ticket, EngineError> {
        self.core.write(|lane| lane.advance_start((shard, epoch), partition, offset))
    }

    fn trim_point(&self, partition: PartitionKey, keep: Keep) -> Result<Option<Offset>, EngineError> {
        let lane = self.core.lane();
        lane.fold.partition(partition)?.trim_point(partition, keep, lane.durable)
    }

    fn read(
        &self,
        partition: PartitionKey,
        from: Offset,
        max_bytes: usize,
        bound: Offset,
    ) -> Result<ReadSlice, EngineError> {
        read::read(&self.core, partition, from, max_bytes, bound)
    }

    fn read_cached(
        &self,
        partition: PartitionKey,
        from: Offset,
        max_bytes: usize,
        bound: Offset,
    ) -> Result<Option<ReadSlice>, EngineError> {
        read::read_cached(&self.core, partition, from, max_bytes, bound)
    }

    fn locate(
        &self,
        partition: PartitionKey,
        what: Locate,
        within: Range<Offset>,
    ) -> Result<Option<Bytes>, EngineError> {
        locate::locate(&self.core, partition, what, within)
    }

    fn extent(&self, partition: PartitionKey) -> Result<Extent, EngineError> {
        let lane = self.core.lane();
        Ok(lane.fold.partition(partition)?.extent(lane.durable))
    }

    fn forget_producers(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partition: PartitionKey,
        producers: &[ProducerId],
    ) -> Result<(), EngineError> {
        let Lane { owners, fold, .. } = &mut *self.core.lane();
        owners.forget_producers(fold, (shard, epoch), partition, producers)
    }

    fn limit_segments(&self, topic: TopicId, limit: Option<SegmentLimit>) {
        let mut lane = self.core.lane();
        match limit {
            Some(limit) => lane.segment_limits.insert(topic, limit),
            None => lane.segment_limits.remove(&topic),
        };
    }

    fn topics(&self) -> Vec<(TopicId, u32)> {
        self.core.lane().fold.topics()
    }

    fn delete(&self, topic: TopicId) -> Result<Ticket, EngineError> {
        self.core.write(|lane| lane.delete(topic))
    }

    fn headroom(&self) -> Headroom {
        self.core.lane().space.told()
    }

    fn progress(&self) -> Progress {
        self.core.lane().progress()
    }

    fn watch(&self, listener: Arc<dyn ProgressListener>) {
        self.core.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }
}

impl MetaStore for LocalEngine {
    fn get(&self, key: &str) -> Option<Versioned> {
        self.core.lane().fold.meta.get(key)
    }

    fn scan(&self, prefix: &str) -> Vec<(String, Versioned)> {
        self.core.lane().fold.meta.scan(prefix)
    }

    fn txn(&self, compares: &[Compare], writes: Vec<Write>) -> Result<TxnOutcome, EngineError> {
        self.core.write(|lane| lane.txn(compares, writes))
    }

    fn reserve_ids(&self, counter: &str, count: u32) -> Result<(i64, Ticket), EngineError> {
        self.core.write(|lane| lane.reserve_ids(counter, count))
    }
}

impl Engine for LocalEngine {
    fn facts_are_whole(&self) -> bool {
        !self.summary.metadata_damaged
    }

    fn space(&self) -> Option<Space> {
        self.core.disk.space().ok()
    }

    fn close(&self) -> Result<(), EngineError> {
        self.driver.close(&self.core)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_under_the_lock_ends_the_log_and_reads_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
        let engine = LocalEngine::open_manual(disk, LocalOptions::default()).unwrap();
        let panicking = || engine.core.write(|_| -> Result<(), EngineError> { panic!("planted") });
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
        assert!(engine.progress().failed.is_some());
        assert!(matches!(engine.reserve_ids("ids", 1), Err(EngineError::Stopped(_))));
        assert_eq!(engine.topics(), []);
    }

    /// The flusher lets them go once, 50 ms after the last write; a checkpoint or a reader may give one back later.
    #[test]
    fn buffers_that_come_back_after_the_idle_mark_are_let_go_too() {
        let dir = tempfile::tempdir().unwrap();
        let engine = LocalEngine::open(dir.path(), LocalOptions::default()).unwrap();
        let buffers = Arc::clone(&engine.core.lane().writer.buffers);
        for turn in ["by the flusher or the background", "by the background"] {
            drop(buffers.take(1 << 20));
            let (mut lane, mut looks) = (engine.core.lane(), 0);
            while buffers.waiting_bytes() > 0 {
                looks += 1;
                assert!(looks < 6_000, "{turn}");
                lane = engine.core.moved.wait_timeout(lane, std::time::Duration::from_millis(10)).unwrap().0;
            }
        }
    }
}
