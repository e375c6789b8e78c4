//! The lane: everything that the engine's lock protects, and the one place where writes get their order.
//!
//! A write is checked, copied once into the pending buffer as a log record at its final place, and folded into the state, all
//! under the lock and without IO. The flusher takes what is pending. Readers compare sequence numbers with `durable`.
//! Deliberately not here: disk operations (`flusher.rs`, `checkpoint.rs`, `recycler.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, TopicId};

use super::block_cache::BlockCache;
use super::buffers::{Buffer, Buffers, Piece};
use super::checkpoint::Retained;
use super::files::Files;
use super::fold::{self, Fold, Owners};
use super::index::BatchEntry;
use super::keeper::Hole;
use super::log_file::{FIRST_RECORD_AT, FileHeader, LogFile, ReadySlot};
use super::meta::MetaChange;
use super::options::{LocalOptions, planted};
use super::record::{self, Body, Seal};
use super::space::Space;
use super::tail_cache::TailCache;
use crate::disk::FileId;
use crate::engine::{
    AtomicGroup, Compare, EngineError, Lsn, Progress, SegmentLimit, ShardEpoch, ShardId, Ticket, TxnOutcome, Write,
};
use crate::planted::PlantedBug;

/// The write buffer: batches are copied into slabs of this size and read from there until they leave the tail cache.
const SLAB_BYTES: u64 = 512 << 10;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub generation: u64,
    pub offset: u64,
}

/// A file that the next flush must begin before it writes there.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewFile {
    pub header: FileHeader,
    /// A file that is ready, or the number of one to be made.
    pub slot: Result<ReadySlot, u64>,
}

/// A step of what is pending, in order.
#[derive(Debug)]
pub(super) enum Pending {
    Begin(NewFile),
    /// A place, with what that file is sealed with.
    Write(Position, Seal, Piece),
}

/// What a flush takes with it.
#[derive(Debug)]
pub(super) struct Taken {
    pub begins: Vec<(usize, NewFile)>,
    pub writes: Vec<(Position, Bytes)>,
    pub last_lsn: u64,
}

/// Where the next record goes.
#[derive(Debug)]
pub(super) struct Writer {
    pub end: Position,
    /// Records of this file end here. 0: the next record begins a new file.
    pub capacity: u64,
    pub next_generation: u64,
    pub next_slot: u64,
    pub ready: Vec<ReadySlot>,
    /// Where flushes are so large that one into a place that was never written costs them nothing.
    pub flushes: FlushSizes,
    /// All of the file being written had been written before.
    zeroed: bool,
    /// What the file being written is sealed with.
    pub seal: Seal,
    /// All buffers that somebody still holds.
    pub buffers: Arc<Buffers>,
    slab: BytesMut,
    slab_buffer: Option<Arc<Buffer>>,
    slab_begins: Option<Position>,
    pending: Vec<Pending>,
}

impl Writer {
    pub(super) fn new(
        end: Position,
        next_generation: u64,
        next_slot: u64,
        ready: Vec<ReadySlot>,
        options: &LocalOptions,
    ) -> Writer {
        Writer {
            slab_buffer: None,
            buffers: Buffers::new(options.tail_cache_bytes),
            end,
            capacity: 0,
            next_generation,
            next_slot,
            ready,
            flushes: FlushSizes::default(),
            zeroed: true,
            seal: Seal::new(0, end.generation),
            slab: BytesMut::new(),
            slab_begins: None,
            pending: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab_begins.is_none() && self.pending.is_empty()
    }

    /// Ends the piece being written: what follows is not contiguous with it.
    fn cut(&mut self) {
        if let (Some(begins), Some(of)) = (self.slab_begins.take(), &self.slab_buffer) {
            let piece = Piece { bytes: self.slab.split(), of: Arc::clone(of) };
            self.pending.push(Pending::Write(begins, self.seal, piece));
        }
    }

    /// Makes room for a record and gives its place.
    fn reserve(&mut self, size: usize, lsn: u64, durable_lsn: u64, options: &LocalOptions) -> Position {
        if self.end.offset + size as u64 > self.capacity {
            self.begin_file(size as u64, lsn, durable_lsn, options);
        }
        if self.slab.capacity() - self.slab.len() < size {
            self.cut();
            let (slab, buffer) = self.buffers.take(size.max(SLAB_BYTES.min(options.log_file_bytes) as usize));
            self.slab = slab; // the old one goes before its buffer does
            self.slab_buffer = Some(buffer);
        }
        let at = self.end;
        self.slab_begins.get_or_insert(at);
        self.end.offset += size as u64;
        at
    }

    fn begin_file(&mut self, size: u64, lsn: u64, durable_lsn: u64, options: &LocalOptions) {
        self.cut();
        let need = FIRST_RECORD_AT + size;
        let fits = |r: &&ReadySlot| r.size >= need;
        let best = self.ready.iter().filter(fits).map(|r| r.zeroed).max().filter(|_| !self.flushes.are_large());
        let fits = |r: &ReadySlot| r.size >= need && best.is_none_or(|zeroed| r.zeroed == zeroed);
        let slot = match self.ready.iter().position(fits) {
            Some(at) => Ok(self.ready.remove(at)),
            None => {
                self.next_slot += 1;
                Err(self.next_slot - 1)
            }
        };
        let capacity = slot.as_ref().map_or(need.max(options.log_file_bytes), |ready| ready.size);
        let generation = self.next_generation;
        self.next_generation += 1;
        let filled = slot.as_ref().is_ok_and(|ready| ready.filled);
        self.zeroed = slot.as_ref().is_ok_and(|ready| ready.zeroed);
        let incarnation = options.incarnation;
        let header = FileHeader { generation, first_lsn: lsn, durable_lsn, capacity, incarnation, filled };
        self.pending.push(Pending::Begin(NewFile { header, slot }));
        self.end = Position { generation, offset: FIRST_RECORD_AT };
        self.seal = header.seal();
        self.capacity = capacity;
    }

    /// Whether flushes have become small in a file that was not written before, and one is ready that was.
    fn is_unsettled(&self) -> bool {
        !self.zeroed && self.capacity > 0 && !self.flushes.are_large() && self.ready.iter().any(|r| r.zeroed)
    }

    fn take(&mut self, durable_lsn: u64, last_lsn: u64) -> Taken {
        self.cut();
        let mut taken = Taken { begins: Vec::new(), writes: Vec::new(), last_lsn };
        for step in self.pending.drain(..) {
            match step {
                Pending::Begin(new) => taken.begins.push((taken.writes.len(), new)),
                Pending::Write(at, seal, mut piece) => {
                    if taken.writes.is_empty() {
                        record::patch_flush(&mut piece.bytes, seal, durable_lsn);
                    }
                    taken.writes.push((at, piece.shared()));
                }
            }
        }
        taken
    }
}

/// How large flushes have been of late.
#[derive(Debug, Default)]
pub(super) struct FlushSizes {
    mean_bytes: u64,
    are_large: bool,
}

impl FlushSizes {
    /// Takes note of a flush. They are large from `large_bytes` on average on, until the average is a quarter of that.
    pub(super) fn note(&mut self, bytes: u64, large_bytes: u64) {
        self.mean_bytes = (self.mean_bytes * 15 + bytes) / 16;
        self.are_large = self.mean_bytes >= if self.are_large { large_bytes / 4 } else { large_bytes };
    }

    pub(super) fn are_large(&self) -> bool {
        self.are_large
    }
}

/// How much the log grows from one position to another, with what a file that was begun begins with.
fn grown(from: Position, to: Position) -> u64 {
    if from.generation == to.generation { to.offset - from.offset } else { to.offset }
}

/// What somebody wants of the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CheckpointWish {
    None,
    Wanted,
    /// The last one of this life: it marks a clean stop.
    Clean,
}

/// Counters for metrics, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Flushes that were completed.
    pub flushes: u64,
    /// Syncs of files that the flusher called.
    pub syncs: u64,
    /// Bytes handed to the disk by the flusher.
    pub log_bytes_written: u64,
    /// Bytes of batches and records accepted.
    pub log_bytes_accepted: u64,
    /// Log files that the log needs, or segments lie in.
    pub log_files: u64,
    /// Log files waiting to be used.
    pub ready_files: u64,
    /// Bytes of the buffers that the log was written from and that somebody still holds: the cache of its end, or readers.
    pub buffer_bytes: u64,
    /// Pack files in use.
    pub packs: u64,
    /// Segments in use.
    pub segments: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Those among them that hold only changes.
    pub incremental_checkpoints: u64,
    /// Pieces appended to segments.
    pub chunks: u64,
    /// Segments sealed.
    pub segments_sealed: u64,
    /// Segments whose data stays in the log's files.
    pub segments_kept: u64,
    /// Partitions that may not be used.
    pub quarantined: u64,
}

/// Everything behind the lock.
#[derive(Debug)]
pub(super) struct Lane {
    pub options: Arc<LocalOptions>,
    pub fold: Fold,
    pub owners: Owners,
    pub writer: Writer,
    pub next_lsn: u64,
    /// What the next sequence number was when the last idle mark was written: that record has its place already.
    pub marked: u64,
    pub durable: u64,
    pub failed: Option<Arc<str>>,
    pub closed: bool,
    /// Log files that something still needs, by generation.
    pub files: BTreeMap<u64, Arc<LogFile>>,
    /// Log files that nothing needs but perhaps a reader.
    pub retiring: Vec<Arc<LogFile>>,
    /// Log files that nothing needs but the segments whose data lies in them, by generation.
    pub kept: BTreeMap<u64, Arc<LogFile>>,
    /// Those whose handles need not stay open, and places in them that nobody needs.
    pub lent: Vec<FileId>,
    pub holes: Vec<Hole>,
    /// Data stays only in files of this generation and later ones.
    pub keeps_from: u64,
    /// Packs and segments.
    pub stored: Files,
    /// No segment has this number or a higher one.
    pub next_segment: u64,
    /// Blocks of segments. Readers look into it without the lane's lock.
    pub blocks: Arc<Mutex<BlockCache>>,
    /// Limits that topics have of their own.
    pub segment_limits: BTreeMap<TopicId, SegmentLimit>,
    pub tail: TailCache,
    /// The last two verified checkpoints, the one last that is to be kept longest: the newer, or after a start the one it chose.
    pub retained: Vec<Retained>,
    pub wish: CheckpointWish,
    /// The background has just looked, and is not to be woken by a flush, unless the room has to be looked at.
    pub background_rests: bool,
    pub log_bytes_since_checkpoint: u64,
    pub space: Space,
    /// The clean checkpoint is done, or was given up for this reason.
    pub clean_stop: Option<Result<(), Arc<str>>>,
    pub stats: EngineStats,
}

impl Lane {
    pub(super) fn progress(&self) -> Progress {
        Progress { durable: Lsn(self.durable), failed: self.failed.clone() }
    }

    /// Ends the lane for good (invariant 39).
    pub(super) fn fail(&mut self, reason: &str) {
        if self.failed.is_none() {
            tracing::error!(reason, "the log has failed; nothing is acknowledged any more");
            self.failed = Some(reason.into());
        }
    }

    pub(super) fn accepting(&self) -> Result<(), EngineError> {
        match &self.failed {
            Some(reason) => Err(EngineError::Stopped(reason.clone())),
            None if self.closed => Err(EngineError::Stopped("closed".into())),
            None => Ok(()),
        }
    }

    /// Where a topic's segments end: bytes, and milliseconds.
    pub(super) fn segment_limit(&self, topic: Option<TopicId>) -> (u64, i64) {
        let own = topic.and_then(|topic| self.segment_limits.get(&topic));
        own.map_or((self.options.segment_bytes, self.options.segment_ms), |own| (own.bytes, own.ms))
    }

    /// Whether data may stay in the log file of this generation.
    pub(super) fn keeps(&self, generation: u64) -> bool {
        generation >= self.keeps_from && self.files.contains_key(&generation)
    }

    pub(super) fn blocks(&self) -> MutexGuard<'_, BlockCache> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receipt of everything accepted so far.
    fn last_ticket(&self) -> Ticket {
        Ticket(Lsn(self.next_lsn - 1))
    }

    fn check_size(&self, payload_len: usize) -> Result<(), EngineError> {
        let (bytes, limit) = (record::padded_len(payload_len), self.options.max_record_bytes);
        if bytes > limit { Err(EngineError::TooLarge { bytes, limit }) } else { Ok(()) }
    }

    /// Finds the place of the next record. The first one of a flush is preceded by a flush record, filled in at its start.
    fn place(&mut self, payload_len: usize) -> (u64, Position) {
        let before = self.writer.end;
        if self.writer.is_empty() {
            if self.writer.is_unsettled() && self.marked != self.next_lsn {
                self.leave_early();
            }
            self.writer.reserve(record::FLUSH_LEN, self.next_lsn, self.durable, &self.options);
            record::put_flush(&mut self.writer.slab, self.next_lsn, self.writer.seal, 0);
            self.next_lsn += 1;
        }
        let size = record::padded_len(payload_len);
        let at = self.writer.reserve(size, self.next_lsn, self.durable, &self.options);
        self.log_bytes_since_checkpoint += size as u64;
        self.space.accepted(grown(before, self.writer.end));
        self.stats.log_bytes_accepted += size as u64;
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        (lsn, at)
    }

    /// Goes on in another file. What has not been written of this one must not be held by what stays in it.
    fn leave_early(&mut self) {
        let Position { generation, offset } = self.writer.end;
        if let Some(log) = self.files.get(&generation) {
            log.leave_early();
            if log.keeps() || log.has_lodgers() {
                self.holes.push(Hole::range(log, offset..self.writer.capacity));
            }
        }
        self.keeps_from = self.writer.next_generation;
        self.writer.capacity = 0;
    }

    /// Logs anything but batches. The caller folds it.
    pub(super) fn log(&mut self, body: &Body) -> u64 {
        let payload = body.payload();
        let (lsn, _) = self.place(payload.len());
        let seal = self.writer.seal;
        let start = record::begin(&mut self.writer.slab, lsn, seal, body.kind());
        self.writer.slab.extend_from_slice(&payload);
        record::finish(&mut self.writer.slab, start, seal);
        lsn
    }

    pub(super) fn append(
        &mut self,
        shard: ShardId,
        epoch: ShardEpoch,
        groups: &[AtomicGroup],
    ) -> Result<Ticket, EngineError> {
        self.accepting()?;
        self.owners.check(shard, epoch)?;
        let headers = fold::judge(&self.fold, shard, groups.iter().flat_map(|g| &g.0))?;
        for group in groups {
            self.check_size(record::group_payload_len(group))?;
        }
        let mut headers = headers.as_slice();
        for group in groups.iter().filter(|g| !g.0.is_empty()) {
            let (of_group, rest) = headers.split_at(group.0.len());
            headers = rest;
            self.append_group(group, of_group)?;
        }
        Ok(self.last_ticket())
    }

    fn append_group(&mut self, group: &AtomicGroup, headers: &[BatchHeader]) -> Result<(), EngineError> {
        let (lsn, at) = self.place(record::group_payload_len(group));
        let offsets = record::put_group(&mut self.writer.slab, lsn, self.writer.seal, group);
        for ((append, header), offset) in group.0.iter().zip(headers).zip(offsets) {
            let at = Position { generation: at.generation, offset: at.offset + offset as u64 };
            let entry = BatchEntry::new(header, append.crc, lsn, at);
            self.fold.partition_mut(append.partition)?.accept(header, entry);
        }
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        topic: TopicId,
        partitions: u32,
        first_epoch: LeaderEpoch,
    ) -> Result<Ticket, EngineError> {
        self.accepting()?;
        if self.fold.lacks(topic, partitions) {
            self.log(&Body::CreateTopic { topic, partitions, first_epoch });
            self.fold.create(topic, partitions, first_epoch);
        }
        Ok(self.last_ticket())
    }

    pub(super) fn delete(&mut self, topic: TopicId) -> Result<Ticket, EngineError> {
        self.accepting()?;
        if self.fold.topics.contains_key(&topic) {
            self.log(&Body::DeleteTopic { topic });
            self.fold.delete(topic);
            self.segment_limits.remove(&topic);
            self.space.something_died();
        }
        Ok(self.last_ticket())
    }

    pub(super) fn advance_start(
        &mut self,
        owner: (ShardId, ShardEpoch),
        partition: PartitionKey,
        start: Offset,
    ) -> Result<Ticket, EngineError> {
        self.accepting()?;
        if self.owners.judge_start(&self.fold, owner, partition, start)? {
            let lsn = self.log(&Body::LogStart { partition, start });
            let was_changed = self.fold.partition(partition)?.changed;
            self.fold.advance_start(lsn, partition, start)?;
            if planted(&self.options, PlantedBug::LogStartNotInChanges) {
                self.fold.partition_quietly(partition)?.changed = was_changed;
            }
            if planted(&self.options, PlantedBug::LogStartShownEarly) {
                self.fold.settle(lsn);
            }
        }
        if planted(&self.options, PlantedBug::LogStartAnsweredEarly) {
            return Ok(Ticket(Lsn(self.durable)));
        }
        Ok(self.last_ticket())
    }

    /// Everything up to here is durable.
    pub(super) fn durable_up_to(&mut self, lsn: u64) {
        self.durable = lsn;
        if self.fold.settle(lsn) {
            self.space.something_died();
        }
        self.space.flushed();
    }

    pub(super) fn txn(&mut self, compares: &[Compare], writes: Vec<Write>) -> Result<TxnOutcome, EngineError> {
        self.accepting()?;
        if !compares.iter().all(|c| self.fold.meta.holds(c)) {
            return Ok(TxnOutcome::Refused);
        }
        let changes: Vec<MetaChange> = writes.into_iter().map(MetaChange::from).collect();
        self.log_meta(changes).map(TxnOutcome::Accepted)
    }

    pub(super) fn reserve_ids(&mut self, counter: &str, count: u32) -> Result<(i64, Ticket), EngineError> {
        self.accepting()?;
        let first = self.fold.meta.next_id(counter);
        let next = first.checked_add(i64::from(count)).ok_or_else(|| {
            let reason = format!("the counter {counter} is exhausted");
            EngineError::Stopped(reason.into())
        })?;
        let ticket = self.log_meta(vec![MetaChange::Counter(counter.to_string(), next)])?;
        Ok((first, ticket))
    }

    fn log_meta(&mut self, changes: Vec<MetaChange>) -> Result<Ticket, EngineError> {
        self.check_size(4 + changes.iter().map(MetaChange::len).sum::<usize>())?;
        let body = Body::Meta(changes);
        let lsn = self.log(&body);
        if let Body::Meta(changes) = body {
            changes.into_iter().for_each(|c| self.fold.meta.apply(Lsn(lsn), c));
        }
        Ok(Ticket(Lsn(lsn)))
    }

    /// Records a new leader epoch of every partition in one record.
    pub(super) fn begin_epochs(&mut self) {
        let next = self.fold.next_epochs();
        if next.is_empty() {
            return;
        }
        self.log(&Body::LeaderEpochs(next.clone()));
        for (key, epoch) in next {
            if let Ok(partition) = self.fold.partition_mut(key) {
                partition.begin_epoch(epoch);
            }
        }
    }

    /// Everything pending, for the flusher.
    pub(super) fn take_pending(&mut self) -> Option<Taken> {
        if self.failed.is_some() || self.writer.is_empty() {
            return None;
        }
        self.space.flush_begins();
        Some(self.writer.take(self.durable, self.next_lsn - 1))
    }

    /// The flush record that the next flush would begin with, if it can be written early at the same place.
    pub(super) fn idle_mark(&self) -> Option<(Position, Bytes)> {
        let end = self.writer.end;
        let fits = end.offset + record::FLUSH_LEN as u64 <= self.writer.capacity;
        if self.failed.is_some() || !self.writer.is_empty() || self.durable + 1 != self.next_lsn || !fits {
            return None;
        }
        let mut bytes = BytesMut::with_capacity(record::FLUSH_LEN);
        record::put_flush(&mut bytes, self.next_lsn, self.writer.seal, self.durable);
        Some((end, bytes.freeze()))
    }
}
