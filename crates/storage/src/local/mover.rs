//! Moves data for a checkpoint: out of the log and out of packs, partition by partition, into segments and into one new pack.
//!
//! A machine like the others, polled for one disk operation after the other; under the lock it copies a bounded number of bytes at
//! a time. All files are synced when it is finished, and their names durable. If it fails, every segment it touched is closed for
//! good where it was durable before, but for want of room: a failed sync must never be repaired by a later one.
//! Deliberately not here: what is to be moved (`survey.rs`), and telling partitions where their data lies now (`checkpointer.rs`).

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pagemark_wire::types::{Offset, PartitionKey};

use super::block::{Block, Packer};
use super::files::Stored;
use super::fold::Partition;
use super::index::BatchEntry;
use super::keeper::{self, Keeper, Outlook};
use super::lane::Lane;
use super::log_file::slot_path;
use super::ops::{DiskOp, OpOutput};
use super::options::planted;
use super::pack::{self, PACK_DIR, PackEntry, PackFile, PackRef, pack_path};
use super::segment::{self, ChainReader, SEGMENT_DIR, Segment, SegmentFile, segment_path};
use super::survey::MovePlan;
use crate::disk::{FileId, is_lost};
use crate::planted::PlantedBug;

/// Pieces are gathered up to this size before a file is written on.
const WRITE_BYTES: usize = 256 << 10;
/// Partitions begun before the lock is given back.
const SLICE: usize = 256;

/// A partition whose data is to be moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub key: PartitionKey,
    pub instance: u64,
    /// What lies in the log below this.
    pub end: Offset,
}

/// What was appended to a segment.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The segment with it.
    pub segment: Segment,
    /// How long the segment was before.
    pub old_len: u64,
    pub blocks: Vec<Block>,
}

/// Where a partition's data went.
#[derive(Debug)]
pub(super) enum Goal {
    Pack(Vec<Block>),
    Segments(Vec<Chunk>),
    /// Nowhere: its topic was deleted. What was written of it stays where nothing refers to it.
    Nowhere(Vec<Chunk>),
}

/// What became of a partition.
#[derive(Debug)]
pub(super) struct Moved {
    pub work: Work,
    pub goal: Goal,
}

#[derive(Debug)]
enum Step {
    Pause,
    CreatePack,
    WritePack(u64, Bytes),
    SyncPack,
    SyncDir(&'static str),
    CreateSegment,
    OpenSegment,
    WriteSegment(u64, Bytes),
    /// The blocks of a segment that is about to be sealed.
    Load(ChainReader),
    SyncSegment,
    /// Indexes of data that stays in a file of the log. They go through a handle of their own: the system tells of an error once for each,
    /// and what the flusher must know is not told here.
    OpenLog(u64),
    WriteLog(u64, Bytes),
    SyncLog,
    CloseLog,
    /// Only for the planted bug: a segment counts as durable without a sync.
    SkipSync,
    /// A piece that is not in memory, with the place where it lies.
    Read(FileId, Block),
}

/// The end of a file that grows: how far it has been written, and what comes next.
#[derive(Debug, Default)]
struct Growing {
    written: u64,
    buffer: BytesMut,
}

impl Growing {
    /// Where the next byte goes.
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Everything that is not written yet, and its place. From here on it counts as written.
    fn take(&mut self) -> (u64, Bytes) {
        let at = self.written;
        self.written = self.end();
        (at, self.buffer.split().freeze())
    }

    /// The same once there is enough for a write.
    fn take_if_much(&mut self) -> Option<(u64, Bytes)> {
        (self.buffer.len() >= WRITE_BYTES).then(|| self.take())
    }
}

#[derive(Debug)]
struct PackWriter {
    file: FileId,
    growing: Growing,
    entries: Vec<PackEntry>,
    reference: Option<PackRef>,
}

#[derive(Debug)]
struct SegmentWriter {
    /// As it was before.
    old: Segment,
    segment: Segment,
    growing: Growing,
    packer: Packer,
    /// All its blocks before this chunk, if they are known.
    known: Option<Vec<Block>>,
    closing: bool,
    sealing: bool,
}

#[derive(Debug)]
struct Current {
    work: Work,
    to_segment: bool,
    /// What the log holds of it is not copied.
    stays: bool,
    /// The next piece begins here or later.
    next: Offset,
    /// What goes into the pack.
    packer: Packer,
    writer: Option<SegmentWriter>,
    chunks: Vec<Chunk>,
}

impl Current {
    /// Its chunks, the one begun included.
    fn all_chunks(self) -> Vec<Chunk> {
        let begun = |w: SegmentWriter| Chunk { segment: w.segment, old_len: w.old.len, blocks: Vec::new() };
        self.chunks.into_iter().chain(self.writer.map(begun)).collect()
    }
}

/// The mover's state between two operations.
#[derive(Debug)]
pub(super) struct Mover {
    plan: MovePlan,
    work: VecDeque<Work>,
    current: Option<Current>,
    steps: VecDeque<Step>,
    pack: Option<PackWriter>,
    pack_id: u64,
    /// For what stays in the log's files, if anything does.
    keeper: Option<Keeper>,
    log_handle: Option<FileId>,
    made_segments: bool,
    retried: bool,
    finished: bool,
    /// A topic was deleted before all of it was moved. The checkpoint lacks its data and must not be durable before that deletion.
    pub vanished: bool,
    pub moved: Vec<Moved>,
    /// Partitions of which something could not be read.
    pub left_out: Vec<(PartitionKey, &'static str)>,
}

impl Mover {
    pub(super) fn new(lane: &Lane, plan: MovePlan, work: VecDeque<Work>, pack_id: u64) -> Mover {
        let keeps = outlook_is_good(lane, &plan, &work);
        Mover {
            plan,
            work,
            current: None,
            steps: VecDeque::new(),
            pack: None,
            pack_id,
            keeper: keeps.then(Keeper::default),
            log_handle: None,
            made_segments: false,
            retried: false,
            finished: false,
            vanished: false,
            moved: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// The new pack, when it is finished.
    pub(super) fn pack(&self) -> Option<PackFile> {
        let pack = self.pack.as_ref()?;
        Some(PackFile { file: pack.file, reference: pack.reference? })
    }

    /// Whether this pack is being emptied.
    pub(super) fn empties(&self, pack: u64) -> bool {
        self.plan.emptied.contains(&pack)
    }

    /// The next operation; `None` when everything is moved and durable.
    pub(super) fn poll(&mut self, lane: &mut Lane) -> Option<DiskOp> {
        let mut begun = 0;
        while self.steps.is_empty() && !self.finished {
            let idle = self.current.is_none();
            self.advance(lane);
            begun += usize::from(idle);
            if begun == SLICE && self.steps.is_empty() {
                self.steps.push_back(Step::Pause);
            }
        }
        let segment = || self.current.as_ref().and_then(|c| c.writer.as_ref()).map(|w| &w.segment);
        let handle = || segment().and_then(|s| s.file.known()).unwrap_or(FileId(0));
        let number = || segment().map_or(0, |s| s.file.number);
        let log = || self.log_handle.unwrap_or(FileId(0));
        let pack = || self.pack.as_ref().map_or(FileId(0), |p| p.file);
        Some(match self.steps.front()? {
            Step::Pause | Step::SkipSync => DiskOp::Pause,
            Step::CreatePack => DiskOp::Create(pack_path(self.pack_id)),
            Step::WritePack(at, bytes) => DiskOp::Write { file: pack(), offset: *at, bytes: bytes.clone() },
            Step::SyncPack => DiskOp::Sync(pack()),
            Step::SyncDir(dir) => DiskOp::SyncDir(dir),
            Step::CreateSegment => DiskOp::Create(segment_path(number())),
            Step::OpenSegment => DiskOp::Open(segment_path(number())),
            Step::WriteSegment(at, bytes) => DiskOp::Write { file: handle(), offset: *at, bytes: bytes.clone() },
            Step::OpenLog(slot) => DiskOp::Open(slot_path(*slot)),
            Step::WriteLog(at, bytes) => DiskOp::Write { file: log(), offset: *at, bytes: bytes.clone() },
            Step::SyncLog => DiskOp::Sync(log()),
            Step::CloseLog => DiskOp::Close(log()),
            Step::Load(chain) => {
                let (offset, length) = chain.next().unwrap_or((0, 0));
                DiskOp::Read { file: handle(), offset, length }
            }
            Step::SyncSegment => DiskOp::Sync(handle()),
            Step::Read(file, piece) => DiskOp::Read { file: *file, offset: piece.at, length: piece.len as usize },
        })
    }

    /// Takes what an operation gave. An error means that the checkpoint must be given up.
    pub(super) fn done(
        &mut self,
        lane: &mut Lane,
        result: io::Result<OpOutput>,
        garbage: &mut Vec<DiskOp>,
    ) -> Result<(), String> {
        let Some(step) = self.steps.pop_front() else { return Ok(()) };
        let output = match (result, &step) {
            (Ok(output), _) => output,
            (Err(error), Step::Read(..)) if is_lost(&error) => {
                self.leave_out(lane, "a durable batch cannot be read");
                return Ok(());
            }
            (Err(error), Step::Load(_)) if is_lost(&error) => {
                self.cannot_seal(lane);
                return Ok(());
            }
            (Err(error), Step::OpenSegment) if is_lost(&error) => {
                self.cannot_open(lane);
                return Ok(());
            }
            (Err(_), Step::SyncSegment)
                if planted(&lane.options, PlantedBug::SegmentSyncRetried)
                    && !std::mem::replace(&mut self.retried, true) =>
            {
                self.steps.push_front(step);
                return Ok(());
            }
            (Err(error), step) => {
                if matches!(step, Step::OpenLog(_) | Step::WriteLog(..) | Step::SyncLog) {
                    lane.keeps_from = lane.writer.next_generation; // the next checkpoint copies instead
                }
                return Err(error.to_string());
            }
        };
        match (step, output) {
            (Step::CreatePack, OpOutput::File(file)) => {
                let mut growing = Growing::default();
                pack::put_head(&mut growing.buffer);
                self.pack = Some(PackWriter { file, growing, entries: Vec::new(), reference: None });
            }
            (Step::OpenLog(_), OpOutput::File(file)) => self.log_handle = Some(file),
            (Step::CloseLog, _) => self.log_handle = None,
            (Step::CreateSegment | Step::OpenSegment, OpOutput::File(file)) => {
                let extra = self.writer().and_then(|writer| writer.segment.file.learn(file));
                garbage.extend(extra.map(DiskOp::Close));
            }
            (Step::Load(mut chain), OpOutput::Bytes(bytes)) => match chain.take(&bytes) {
                Ok(None) => self.steps.push_front(Step::Load(chain)),
                Ok(blocks) => {
                    if let Some(writer) = self.writer() {
                        writer.known = blocks;
                    }
                }
                Err(_) => self.cannot_seal(lane),
            },
            (Step::Read(_, piece), OpOutput::Bytes(bytes)) => self.gather(lane, piece, &bytes),
            (Step::SyncSegment | Step::SkipSync, _) => self.segment_is_durable(lane),
            _ => {}
        }
        Ok(())
    }

    fn writer(&mut self) -> Option<&mut SegmentWriter> {
        self.current.as_mut()?.writer.as_mut()
    }

    /// Plans the next steps, or moves on without any.
    fn advance(&mut self, lane: &mut Lane) {
        if self.current.is_none() {
            match self.work.pop_front() {
                Some(work) => self.begin(lane, work),
                None => return self.finish(lane),
            }
        }
        let Some(current) = &self.current else { return };
        if current.writer.as_ref().is_some_and(|w| w.closing) {
            return self.close(lane);
        }
        let Ok(partition) = lane.fold.partition(current.work.key) else { return self.vanished() };
        if partition.instance != current.work.instance {
            return self.vanished();
        }
        let piece = next_piece(current, partition, &self.plan.emptied);
        match (piece, current.to_segment) {
            (None, true) if current.writer.is_some() => self.begin_closing(false),
            (None, _) => self.end_partition(),
            (Some(Piece::Logged(entry)), true) if current.stays && lane.keeps(entry.at.generation) => {
                let open =
                    current.chunks.last().map(|c| &c.segment).or(partition.index.segments.last()).map(|s| s.open);
                match (&current.writer, open) {
                    (Some(_), _) => self.begin_closing(true),
                    // Nothing goes behind it any more.
                    (None, Some(true)) => {
                        self.begin_segment(lane);
                        self.begin_closing(true);
                    }
                    (None, _) => self.keep(lane, entry.at.generation),
                }
            }
            (Some(_), true) if current.writer.is_none() => self.begin_segment(lane),
            (Some(piece), true) if !self.fits(lane, piece.len()) => self.begin_closing(true),
            (Some(_), false) if self.pack.is_none() => self.steps.push_back(Step::CreatePack),
            (Some(piece), _) => self.fetch(lane, piece),
        }
    }

    fn begin(&mut self, lane: &Lane, work: Work) {
        let Ok(partition) = lane.fold.partition(work.key) else {
            self.vanished = true;
            return;
        };
        let logged = logged_for_segment(lane, &self.plan, &work, partition);
        let to_segment = logged.is_some();
        let stays = self.keeper.is_some() && logged.is_some_and(|bytes| stays(lane, &work, partition, bytes));
        let (next, packer) = (Offset(i64::MIN), Packer::default());
        self.current = Some(Current { work, to_segment, stays, next, packer, writer: None, chunks: Vec::new() });
    }

    /// The topic was deleted.
    fn vanished(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.vanished = true;
        let work = current.work;
        self.moved.push(Moved { work, goal: Goal::Nowhere(current.all_chunks()) });
    }

    fn fits(&self, lane: &Lane, len: u64) -> bool {
        let Some(writer) = self.current.as_ref().and_then(|c| c.writer.as_ref()) else { return true };
        let key = self.current.as_ref().map(|c| c.work.key.topic);
        let begun = writer.segment.bytes > 0 || !writer.packer.blocks.is_empty();
        !begun || writer.growing.end() + len <= lane.segment_limit(key).0
    }

    /// Leaves the next batches, all that lie in one log file, where they are.
    fn keep(&mut self, lane: &mut Lane, generation: u64) {
        let (Some(current), Some(keeper)) = (&mut self.current, &mut self.keeper) else { return };
        let (Ok(partition), Some(log)) = (lane.fold.partition(current.work.key), lane.files.get(&generation)) else {
            return;
        };
        let entries = &partition.index.entries;
        let entries = &entries[entries.partition_point(|e| e.base < current.next)..];
        let here = entries.iter().take_while(|e| e.base < current.work.end && e.at.generation == generation);
        let blocks: Vec<Block> = here.map(|e| Block::of(e, e.at.offset)).collect();
        let segment = keeper.keep(log, lane.next_segment, &blocks);
        lane.next_segment += 1;
        lane.stats.segments_kept += 1;
        current.next = segment.end;
        current.chunks.push(Chunk { segment, old_len: 0, blocks });
    }

    /// Goes on in the partition's open segment, seals it if it is old, or begins a new one.
    fn begin_segment(&mut self, lane: &mut Lane) {
        let Some(current) = &mut self.current else { return };
        let Ok(partition) = lane.fold.partition(current.work.key) else { return };
        let last = current.chunks.last().map(|c| &c.segment).or(partition.index.segments.last());
        let newest_ms = partition.index.newest_timestamp_ms();
        if let Some(last) = last.filter(|s| s.open) {
            let (limit_bytes, limit_ms) = lane.segment_limit(Some(current.work.key.topic));
            // What has no time has no age.
            let old = last.first_timestamp_ms >= 0 && newest_ms.saturating_sub(last.first_timestamp_ms) > limit_ms;
            if last.file.known().is_none() {
                self.steps.push_back(Step::OpenSegment);
            }
            let sealing = old || last.len >= limit_bytes;
            let (old, segment, packer) = (last.clone(), last.clone(), Packer::default());
            let growing = Growing { written: last.len, ..Growing::default() };
            let writer = SegmentWriter { old, segment, growing, packer, known: None, closing: sealing, sealing };
            current.writer = Some(writer);
            return;
        }
        let number = lane.next_segment;
        lane.next_segment += 1;
        let segment = Segment::empty(SegmentFile::own(number), current.next);
        let mut growing = Growing::default();
        segment::put_head(&mut growing.buffer, number, current.work.key);
        let known = Some(Vec::new());
        let (old, packer) = (segment.clone(), Packer::default());
        let writer = SegmentWriter { old, segment, growing, packer, known, closing: false, sealing: false };
        current.writer = Some(writer);
        self.made_segments = true;
        self.steps.push_back(Step::CreateSegment);
    }

    /// Gets a piece from memory, or plans to read it.
    fn fetch(&mut self, lane: &mut Lane, piece: Piece) {
        match piece {
            Piece::Logged(entry) => {
                let block = Block::of(&entry, entry.at.offset);
                if let Some(bytes) = lane.tail.get(entry.at.generation, entry.at.offset, entry.len as usize) {
                    return self.gather(lane, block, &bytes);
                }
                match lane.files.get(&entry.at.generation) {
                    Some(log) => self.steps.push_back(Step::Read(log.file, block)),
                    // Left out of an earlier checkpoint, and its file was used again since.
                    None => self.skip(lane, block, "the file that held a batch is gone"),
                }
            }
            Piece::Packed(pack, block) => match lane.stored.pack(pack) {
                Some(pack) => self.steps.push_back(Step::Read(pack.file, block)),
                None => self.skip(lane, block, "the file that held a batch is gone"),
            },
        }
    }

    /// Adds a piece as it is. Should it have rotted, its block keeps the checksum it ought to have, so that it still shows.
    fn gather(&mut self, lane: &Lane, piece: Block, bytes: &[u8]) {
        let Some(current) = &mut self.current else { return };
        current.next = piece.last.plus(1);
        let limit = lane.options.block_bytes;
        if let Some(writer) = &mut current.writer {
            writer.packer.push(Block { at: writer.growing.end(), ..piece }, bytes, limit);
            writer.growing.buffer.extend_from_slice(bytes);
            self.steps.extend(writer.growing.take_if_much().map(|(at, bytes)| Step::WriteSegment(at, bytes)));
        } else if let Some(pack) = &mut self.pack {
            current.packer.push(Block { at: pack.growing.end(), ..piece }, bytes, limit);
            pack.growing.buffer.extend_from_slice(bytes);
            self.steps.extend(pack.growing.take_if_much().map(|(at, bytes)| Step::WritePack(at, bytes)));
        }
    }

    /// Goes on without the piece that was to be read.
    fn leave_out(&mut self, lane: &mut Lane, reason: &'static str) {
        let Some(current) = &self.current else { return };
        let Ok(partition) = lane.fold.partition(current.work.key) else { return };
        match next_piece(current, partition, &self.plan.emptied) {
            Some(Piece::Logged(entry)) => self.skip(lane, Block::of(&entry, 0), reason),
            Some(Piece::Packed(_, block)) => self.skip(lane, block, reason),
            None => {}
        }
    }

    /// Goes on without a piece that cannot be had.
    fn skip(&mut self, lane: &mut Lane, piece: Block, reason: &'static str) {
        let Some(current) = &mut self.current else { return };
        current.next = piece.last.plus(1);
        let work = current.work;
        if lane.fold.partition(work.key).is_ok_and(|partition| piece.last >= partition.durable_start) {
            self.quarantine(lane, &work, reason);
        }
    }

    fn begin_closing(&mut self, sealing: bool) {
        if let Some(writer) = self.writer() {
            (writer.closing, writer.sealing) = (true, sealing);
        }
    }

    /// Ends a chunk with its index, and a sealed segment with its footer.
    fn close(&mut self, lane: &mut Lane) {
        let Some(writer) = self.current.as_mut().and_then(|c| c.writer.as_mut()) else { return };
        if writer.sealing && writer.known.is_none() {
            let cached = lane.blocks().get(writer.old.file.number, writer.old.len);
            match cached {
                Some(blocks) => writer.known = Some(blocks.to_vec()),
                None => return self.steps.push_back(Step::Load(ChainReader::new(&writer.old))),
            }
        }
        let number = writer.segment.file.number;
        let blocks = &writer.packer.blocks;
        if !blocks.is_empty() {
            let previous = if writer.old.len == 0 { 0 } else { writer.old.index_at };
            writer.segment.index_at = writer.growing.end();
            segment::put_index(&mut writer.growing.buffer, number, previous, blocks);
            writer.segment.add(blocks);
        }
        if let Some(known) = writer.known.as_mut().filter(|_| writer.sealing) {
            known.extend_from_slice(blocks);
            writer.segment.index_at = writer.growing.end();
            segment::put_index(&mut writer.growing.buffer, number, 0, known);
            writer.segment.open = false;
        }
        writer.segment.len = writer.growing.end();
        let (at, bytes) = writer.growing.take();
        self.steps.push_back(Step::WriteSegment(at, bytes));
        if planted(&lane.options, PlantedBug::SegmentNotSynced) {
            return self.steps.push_back(Step::SkipSync);
        }
        self.steps.push_back(Step::SyncSegment);
    }

    /// The index of a segment that was to be sealed has rotted: its partition cannot be read.
    fn cannot_seal(&mut self, lane: &mut Lane) {
        const REASON: &str = "the index of a segment has rotted or cannot be read";
        let Some(current) = &mut self.current else { return };
        if let Some(writer) = &mut current.writer {
            writer.sealing = false;
            writer.segment.open = false;
        }
        let work = current.work;
        self.quarantine(lane, &work, REASON);
    }

    /// The segment that was to be appended to is gone: its partition cannot be read, and what is to be moved goes into a new one.
    fn cannot_open(&mut self, lane: &mut Lane) {
        let Some(current) = &mut self.current else { return };
        if let Some(writer) = current.writer.take() {
            close_for_good(lane, &current.work, writer.segment.file.number);
        }
        let work = current.work;
        self.quarantine(lane, &work, "the file of a segment is gone or cannot be opened");
    }

    /// In this checkpoint as well. What was deleted meanwhile needs nothing, nor does what was made anew under its name.
    fn quarantine(&mut self, lane: &mut Lane, work: &Work, reason: &'static str) {
        if let Ok(partition) = lane.fold.partition_mut(work.key)
            && partition.instance == work.instance
        {
            partition.quarantine(work.key, reason);
            self.left_out.push((work.key, reason));
        }
    }

    fn segment_is_durable(&mut self, lane: &mut Lane) {
        let Some(current) = &mut self.current else { return };
        let Some(writer) = current.writer.take() else { return };
        lane.stats.chunks += 1;
        lane.stats.segments_sealed += u64::from(!writer.segment.open);
        current.chunks.push(Chunk { segment: writer.segment, old_len: writer.old.len, blocks: writer.packer.blocks });
    }

    fn end_partition(&mut self) {
        let Some(current) = self.current.take() else { return };
        let work = current.work;
        if current.to_segment {
            return self.moved.push(Moved { work, goal: Goal::Segments(current.chunks) });
        }
        if let Some(pack) = &mut self.pack {
            pack.entries.extend(current.packer.blocks.iter().map(|block| PackEntry { key: work.key, block: *block }));
        }
        self.moved.push(Moved { work, goal: Goal::Pack(current.packer.blocks) });
    }

    /// Everything is gathered: ends the pack, and makes the names durable.
    fn finish(&mut self, lane: &Lane) {
        if let Some(pack) = self.pack.as_mut().filter(|pack| pack.reference.is_none()) {
            let at = pack.growing.end();
            let index_crc = pack::put_index(&mut pack.growing.buffer, at, &pack.entries);
            pack.reference = Some(PackRef { id: self.pack_id, len: pack.growing.end(), index_crc });
            let (at, bytes) = pack.growing.take();
            self.steps.push_back(Step::WritePack(at, bytes));
            if !planted(&lane.options, PlantedBug::PackNotSynced) {
                self.steps.push_back(Step::SyncPack);
            }
            self.steps.push_back(Step::SyncDir(PACK_DIR));
        }
        for indexes in self.keeper.iter_mut().flat_map(Keeper::take) {
            let (slot, at, bytes) = indexes.take();
            self.steps.extend([Step::OpenLog(slot), Step::WriteLog(at, bytes)]);
            if !planted(&lane.options, PlantedBug::KeptIndexNotSynced) {
                self.steps.push_back(Step::SyncLog);
            }
            self.steps.push_back(Step::CloseLog);
        }
        if std::mem::take(&mut self.made_segments) {
            self.steps.push_back(Step::SyncDir(SEGMENT_DIR));
        }
        self.finished = self.steps.is_empty();
    }

    /// Gives everything up. Segments that were there before are never appended to again, unless all that happened is that the disk
    /// was `full`: then the next chunk goes over what was written of this one. New files go, now or, if a checkpoint may already have
    /// the `name` of one that refers to them, when that cannot be chosen any more.
    pub(super) fn abandon(mut self, lane: &mut Lane, named: bool, full: bool, garbage: &mut Vec<DiskOp>) {
        if let Some(current) = self.current.take() {
            let work = current.work;
            self.moved.push(Moved { work, goal: Goal::Segments(current.all_chunks()) });
        }
        garbage.extend(self.log_handle.map(DiskOp::Close));
        let mut new = Vec::new();
        for moved in self.moved {
            let (Goal::Segments(chunks) | Goal::Nowhere(chunks)) = moved.goal else { continue };
            for chunk in chunks {
                match (chunk.old_len, chunk.segment.file.in_log_at()) {
                    // Its data is that of the partition, here or in the next checkpoint.
                    (_, Some((log, _))) if named => lane.stored.dies(Stored::Log(Arc::clone(log)), 0),
                    (_, Some(_)) => {}
                    (0, None) => new.push((chunk.segment.file, chunk.segment.bytes)),
                    (_, None) if full && !named => {}
                    (_, None) => close_for_good(lane, &moved.work, chunk.segment.file.number),
                }
            }
        }
        new.dedup_by_key(|(file, _)| file.number);
        for (file, bytes) in new {
            match named {
                true => lane.stored.dies(Stored::Segment(file), bytes),
                false => {
                    garbage.extend(file.known().map(DiskOp::Close));
                    garbage.push(DiskOp::Remove(segment_path(file.number)));
                }
            }
        }
        let Some(pack) = self.pack else { return };
        match pack.reference.filter(|_| named) {
            Some(reference) => {
                let bytes = reference.len;
                lane.stored.dies(Stored::Pack(Arc::new(PackFile { file: pack.file, reference })), bytes);
            }
            None => garbage.extend([DiskOp::Close(pack.file), DiskOp::Remove(pack_path(self.pack_id))]),
        }
    }
}

fn close_for_good(lane: &mut Lane, work: &Work, number: u64) {
    let Ok(partition) = lane.fold.partition_mut(work.key) else { return };
    if let Some(segment) = partition.index.segments.iter_mut().rev().find(|s| s.file.number == number) {
        segment.open = false;
    }
}

/// What a partition has in the log, if that goes into its segments and not into a pack.
fn logged_for_segment(lane: &Lane, plan: &MovePlan, work: &Work, partition: &Partition) -> Option<u64> {
    let (packed, logged) = partition.index.outside_segments(work.end);
    let enough = packed + logged >= lane.options.segment_min_bytes;
    (enough && (packed == 0 || plan.into_segments.contains(&work.key))).then_some(logged)
}

fn stays(lane: &Lane, work: &Work, partition: &Partition, logged: u64) -> bool {
    keeper::may_stay(lane, work.key.topic, &partition.index, work.end, logged)
}

/// Whether data is to stay in the log's files. A start looks into each of them.
fn outlook_is_good(lane: &Lane, plan: &MovePlan, work: &VecDeque<Work>) -> bool {
    if lane.files.len() + lane.kept.len() >= lane.options.most_log_files {
        return false;
    }
    let mut outlook = Outlook::default();
    for work in work {
        let Ok(partition) = lane.fold.partition(work.key) else { continue };
        outlook.all_bytes += partition.index.outside_segments(work.end).1;
        let logged = logged_for_segment(lane, plan, work, partition);
        outlook.staying_bytes += logged.filter(|bytes| stays(lane, work, partition, *bytes)).unwrap_or(0);
    }
    outlook.is_good()
}

/// A batch or block that is to be moved.
enum Piece {
    Logged(BatchEntry),
    Packed(u64, Block),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Piece::Logged(entry) => u64::from(entry.len),
            Piece::Packed(_, block) => u64::from(block.len),
        }
    }
}

fn next_piece(current: &Current, partition: &Partition, emptied: &BTreeSet<u64>) -> Option<Piece> {
    let index = &partition.index;
    let from = index.packed.partition_point(|p| p.block.base < current.next);
    let goes = |p: &&super::index::Packed| current.to_segment || emptied.contains(&p.pack);
    if let Some(packed) = index.packed[from..].iter().find(goes) {
        return Some(Piece::Packed(packed.pack, packed.block));
    }
    let from = index.entries.partition_point(|e| e.base < current.next);
    index.entries.get(from).filter(|e| e.base < current.work.end).map(|e| Piece::Logged(*e))
}
