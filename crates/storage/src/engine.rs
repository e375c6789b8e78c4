//! The seam: the verbs an engine offers, and what each of them promises.
//!
//! Everything above it is the same whether the bytes lie in a local log or, one day, in a bucket, so nothing above it may
//! assume that an append is local, cheap or certain. Both traits have one behaviour suite (`contract.rs`) that every engine
//! passes. Kafka's meaning stays above: topics' names, groups, what a batch may contain.
//! Deliberately not here: how long data is kept, replacing ranges, owner snapshots; their verbs come with the code that needs them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pagemark_core::partition::ProducerTable;
use pagemark_wire::records::StampedBatch;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, ProducerId, TopicId};

use crate::disk::Space;

/// Position in an engine's order of writes: the n-th write ever, from 1. 0 means "before everything".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// A set of partitions that one owner writes, and that is fenced, lost and rebuilt as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// How often a shard has been opened in this process; a lower one is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardEpoch(pub u64);

/// Receipt of a write: it is durable once [`Progress::durable`] is at or beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub Lsn);

/// How far the engine has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Every write up to here is on stable storage.
    pub durable: Lsn,
    /// Set once, for good, when a write or flush failed: tickets beyond `durable` are unknown, nothing more is accepted.
    pub failed: Option<Arc<str>>,
}

/// Why an engine did not do what it was asked. Named by what the caller should do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Someone opened the shard with a higher epoch, or nobody opened it: throw the owner away.
    #[error("the shard is owned by someone else")]
    Fenced,
    /// A batch's base offset is not the partition's end: the owner's state is wrong, rebuild it.
    #[error("{partition}: the batch begins at {given}, the log ends at {expected}")]
    WrongBase {
        /// Which partition.
        partition: PartitionKey,
        /// Base offset of the batch given.
        given: Offset,
        /// The engine's log end offset.
        expected: Offset,
    },
    /// A log start that was asked for lies beyond the log end: answer OFFSET_OUT_OF_RANGE.
    #[error("{partition}: the log cannot begin at {given}, it ends at {log_end}")]
    BeyondEnd {
        /// Which partition.
        partition: PartitionKey,
        /// The log start asked for.
        given: Offset,
        /// The engine's log end offset.
        log_end: Offset,
    },
    /// No such partition: it was never created, or its topic was deleted.
    #[error("{0}: no such partition")]
    UnknownPartition(PartitionKey),
    /// Bytes of the partition that were durable can no longer be read: answer KAFKA_STORAGE_ERROR, tell the operator.
    #[error("{partition}: {reason}")]
    Quarantined {
        /// Which partition.
        partition: PartitionKey,
        /// What was found.
        reason: Arc<str>,
    },
    /// The write is larger than a log record may be (32 MiB for the local engine): split or refuse it.
    #[error("a write of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size asked for.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The engine failed earlier or is closed: nothing is accepted any more.
    #[error("the engine has stopped: {0}")]
    Stopped(Arc<str>),
    /// A read failed; the bytes may be there at another try.
    #[error("reading failed: {0}")]
    Io(Arc<str>),
}

/// One batch for one partition, complete: base offset, leader epoch and checksum are already in its header.
/// Its base offset says what the owner believes the log end to be; the engine refuses any other.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where it goes.
    pub partition: PartitionKey,
    /// Exactly one record batch of format v2, copied by the engine to its place and nowhere before.
    pub batch: StampedBatch,
    /// CRC-32C of all of it, computed here, where no lock is held.
    pub(crate) crc: u32,
}

impl Append {
    /// This batch for this partition.
    #[must_use]
    pub fn new(partition: PartitionKey, batch: impl Into<StampedBatch>) -> Append {
        let batch = batch.into();
        let crc = batch.crc();
        Append { partition, batch, crc }
    }
}

/// Batches that become durable together or not at all.
#[derive(Debug, Clone)]
pub struct AtomicGroup(pub Vec<Append>);

/// What an owner gets to know of a partition when it opens the shard.
#[derive(Debug, Clone)]
pub struct OpenedPartition {
    /// Which partition.
    pub partition: PartitionKey,
    /// First offset that may be read.
    pub log_start: Offset,
    /// Offset that the next record gets.
    pub log_end: Offset,
    /// Leader epochs with the offset each began at, oldest first, never empty.
    pub epochs: Vec<EpochStart>,
    /// What is remembered of producers.
    pub producers: ProducerTable,
    /// Why the partition may not be used, if its bytes have rotted.
    pub quarantined: Option<Arc<str>>,
}

/// One entry of a partition's leader epoch history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The log end when it began.
    pub start: Offset,
}

/// What a read found.
#[derive(Debug, Clone, Default)]
pub struct ReadSlice {
    /// Whole batches in offset order, the first of them containing the offset asked for (P-35).
    pub batches: Vec<Bytes>,
    /// Sum of their lengths.
    pub bytes: usize,
}

/// What to look for in [`LogStore::locate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locate {
    /// The batch holding the first record whose timestamp is at or after this, milliseconds since 1970.
    Time(i64),
    /// The batch that reached the greatest timestamp first.
    MaxTimestamp,
}

/// What a partition is to keep, for [`LogStore::trim_point`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Everything from the first piece on that holds a timestamp at or after this, milliseconds since 1970. A piece without
    /// a timestamp has no age: it goes only with what follows it.
    Since(i64),
    /// At least so many bytes of batches at the log's end.
    Bytes(u64),
}

/// Where the segments of a topic end, for [`LogStore::limit_segments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLimit {
    /// Size, bytes.
    pub bytes: u64,
    /// How much later than the first batches the last may be, milliseconds of their timestamps.
    pub ms: i64,
}

/// One partition as it stands on storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First offset that may be read: the last log start that is durable.
    pub log_start: Offset,
    /// Durable end: the high watermark of a single durable node.
    pub durable_end: Offset,
    /// End of what was accepted, durable or not.
    pub log_end: Offset,
    /// Bytes of batches held.
    pub bytes: u64,
}

/// How much an engine can still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// Everything.
    #[default]
    Enough,
    /// What is small and must go on: commits and internal topics. Records and topics are better refused.
    Scarce,
    /// Nothing is better written. What is written all the same may be the write that fails.
    Exhausted,
}

/// The room where an engine stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headroom {
    /// What it comes to. A write is not judged by it: that is the caller's affair.
    pub room: Room,
    /// So many more bytes of batches may be appended before it comes to less.
    pub spare_bytes: u64,
    /// Bytes free, if that is known.
    pub free_bytes: Option<u64>,
    /// Bytes kept besides, for when room gets scarce.
    pub reserved_bytes: u64,
}

impl Default for Headroom {
    /// Room without end.
    fn default() -> Headroom {
        Headroom { room: Room::Enough, spare_bytes: u64::MAX, free_bytes: None, reserved_bytes: 0 }
    }
}

/// Told whenever [`LogStore::progress`] has changed. Called from the engine's own thread: must not block or call back.
pub trait ProgressListener: Send + Sync {
    /// There is new progress.
    fn progressed(&self, progress: &Progress);
}

/// Ordered, durable storage of record batches by partition. All verbs may be called from any thread.
pub trait LogStore: Send + Sync {
    /// Makes partitions `0..partitions` of a topic known, empty, with this first leader epoch. Those already known stay as
    /// they are, so that the call may be repeated and may add partitions.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    fn create(&self, topic: TopicId, partitions: u32, first_epoch: LeaderEpoch) -> Result<Ticket, EngineError>;

    /// Becomes the sole writer of the shard and of these partitions, which belong to it from now on, together with those that
    /// were opened in it before. Opening again with a higher epoch fences the one before; so an owner takes in further
    /// partitions by opening those alone under its next epoch.
    ///
    /// # Errors
    /// [`EngineError::Fenced`] if the epoch is not higher than the last; [`EngineError::UnknownPartition`].
    fn open(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partitions: &[PartitionKey],
    ) -> Result<Vec<OpenedPartition>, EngineError>;

    /// Accepts groups in order. Either all of them are accepted and get one ticket, or none. Nothing is durable yet.
    /// Partitions must have been opened in this shard, and the epoch must be its last.
    ///
    /// # Errors
    /// Any but `Io`; after an error nothing of the call was taken.
    fn append(&self, shard: ShardId, epoch: ShardEpoch, groups: &[AtomicGroup]) -> Result<Ticket, EngineError>;

    /// Lets the log of a partition begin at `offset`: what lies wholly below is given up for good, the batch that contains it
    /// stays whole. At or below the present log start nothing changes, and the ticket is that of the last write. Readers
    /// see the new start when it is durable. Leader epochs that ended before it go as well; producers stay.
    /// The partition must have been opened in this shard, and the epoch must be its last.
    ///
    /// # Errors
    /// [`EngineError::BeyondEnd`], [`EngineError::Fenced`], [`EngineError::UnknownPartition`], [`EngineError::Quarantined`],
    /// [`EngineError::Stopped`].
    fn advance_start(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partition: PartitionKey,
        offset: Offset,
    ) -> Result<Ticket, EngineError>;

    /// Where the log would begin if only `keep` were kept: by whole stored pieces, oldest first, never above the durable end.
    /// `None` if nothing would go. Changes nothing.
    ///
    /// # Errors
    /// [`EngineError::UnknownPartition`], [`EngineError::Quarantined`].
    fn trim_point(&self, partition: PartitionKey, keep: Keep) -> Result<Option<Offset>, EngineError>;

    /// Whole durable batches from the one that contains `from` on, below `bound`, up to `max_bytes` in all but at least one
    /// if there is any (P-33, P-34). Empty if `from` is at or beyond the durable end; offsets below the log start are the
    /// caller's affair. May wait for the disk when the bytes are no longer in memory.
    ///
    /// # Errors
    /// [`EngineError::UnknownPartition`], [`EngineError::Quarantined`], [`EngineError::Io`].
    fn read(
        &self,
        partition: PartitionKey,
        from: Offset,
        max_bytes: usize,
        bound: Offset,
    ) -> Result<ReadSlice, EngineError>;

    /// As [`LogStore::read`], but never waits for the disk: `None` if any of the bytes are no longer in memory.
    ///
    /// # Errors
    /// As [`LogStore::read`].
    fn read_cached(
        &self,
        partition: PartitionKey,
        from: Offset,
        max_bytes: usize,
        bound: Offset,
    ) -> Result<Option<ReadSlice>, EngineError>;

    /// The durable batch that holds what is looked for, of those that reach `within.start` and lie below `within.end`; the caller
    /// finds the record within it.
    ///
    /// # Errors
    /// As [`LogStore::read`].
    fn locate(
        &self,
        partition: PartitionKey,
        what: Locate,
        within: Range<Offset>,
    ) -> Result<Option<Bytes>, EngineError>;

    /// Where the partition stands.
    ///
    /// # Errors
    /// [`EngineError::UnknownPartition`].
    fn extent(&self, partition: PartitionKey) -> Result<Extent, EngineError>;

    /// Forgets producers that the owner has forgotten, so that checkpoints do not carry them for ever. Not logged: a
    /// crash may bring them back, which only means that they are remembered a little longer.
    ///
    /// # Errors
    /// [`EngineError::Fenced`], [`EngineError::UnknownPartition`].
    fn forget_producers(
        &self,
        shard: ShardId,
        epoch: ShardEpoch,
        partition: PartitionKey,
        producers: &[ProducerId],
    ) -> Result<(), EngineError>;

    /// Where this topic's segments are to end; `None`: as the engine's own. A wish, which is not logged: who has it tells it again
    /// after each start. An engine without segments has nothing to do.
    fn limit_segments(&self, _topic: TopicId, _limit: Option<SegmentLimit>) {}

    /// Every topic that has partitions here, with their number, by id.
    fn topics(&self) -> Vec<(TopicId, u32)>;

    /// Forgets a topic and all its data, by id. Repeating it is harmless.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    fn delete(&self, topic: TopicId) -> Result<Ticket, EngineError>;

    /// How much room there is.
    fn headroom(&self) -> Headroom {
        Headroom::default()
    }

    /// How far the engine has come.
    fn progress(&self) -> Progress;

    /// Calls `listener` after each change of progress, from now on.
    fn watch(&self, listener: Arc<dyn ProgressListener>);
}

/// A value of the cluster's facts with the write that set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The write that set it.
    pub revision: Lsn,
    /// The value.
    pub value: Bytes,
}

/// A condition of a [`MetaStore::txn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key has no value.
    Absent(String),
    /// The key's value was set by exactly this write.
    Revision(String, Lsn),
}

/// A change made by a [`MetaStore::txn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put(String, Bytes),
    /// Removes a key; nothing there is fine.
    Delete(String),
}

/// What became of a [`MetaStore::txn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All changes were accepted under this revision; they are durable with the ticket.
    Accepted(Ticket),
    /// A condition did not hold; nothing changed.
    Refused,
}

/// The facts of the cluster: a small keyed state, changed in atomic steps, in the same order of writes as the log.
/// What is read includes what is accepted but not yet durable; wait for the ticket before telling anyone.
pub trait MetaStore: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &str) -> Option<Versioned>;

    /// All keys that begin so, with their values, in order of keys.
    fn scan(&self, prefix: &str) -> Vec<(String, Versioned)>;

    /// Makes all changes if all conditions hold.
    ///
    /// # Errors
    /// [`EngineError::Stopped`], [`EngineError::TooLarge`].
    fn txn(&self, compares: &[Compare], writes: Vec<Write>) -> Result<TxnOutcome, EngineError>;

    /// Takes `count` numbers that nobody was or will be given, the first of which is returned. They may be used once the
    /// ticket is durable.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    fn reserve_ids(&self, counter: &str, count: u32) -> Result<(i64, Ticket), EngineError>;
}

/// Both seams in one: what a broker is started with.
pub trait Engine: LogStore + MetaStore {
    /// Whether everything that was ever acknowledged in the keyed state, and every topic made, is known. If not, nothing may
    /// be concluded from something being absent: what looks left over must be kept.
    fn facts_are_whole(&self) -> bool {
        true
    }

    /// How large the file system below is and how much room it has; `None` where nobody knows. May wait for it.
    fn space(&self) -> Option<Space> {
        None
    }

    /// Makes everything accepted durable, writes a checkpoint where that applies, and stops. Later writes are refused.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if the engine had failed before.
    fn close(&self) -> Result<(), EngineError>;
}
