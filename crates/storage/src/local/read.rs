//! Reading batches: from memory where the log's end still is there, else from a log file, a pack or a segment.
//!
//! Partitions are asked under the lock, the disk is not. Files are held by reference count meanwhile, so that none is removed, used
//! again or given a hole under a reader. Whatever comes from a disk is compared with the checksum taken at the append: rotten bytes are never
//! given out, and their partition is quarantined (invariant 11). What has left the log is read by blocks, neighbours at once, and
//! batches are cut out of them without a copy. Deliberately not here: searches by time (`locate.rs`).

use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use pagemark_wire::records::{BatchHeader, split_batches};
use pagemark_wire::types::{Offset, PartitionKey};

use super::Core;
use super::block::Block;
use super::fold::Partition;
use super::index::BatchEntry;
use super::lane::Lane;
use super::log_file::LogReader;
use super::pack::PackFile;
use super::segment::{self, Segment, SegmentFile};
use crate::disk::FileId;
use crate::engine::{EngineError, ReadSlice};

/// Blocks are read together up to this size.
const READ_BYTES: usize = 8 << 20;
/// Batches in the log that lie this near to each other in a file are read with one call: between two lie the heads of records, and
/// whatever else is as short.
const MOST_GAP_BYTES: u64 = 4096;
/// Bytes of the log read with one call, unless a single batch is larger.
const MOST_RUN_BYTES: u64 = 1 << 20;

/// Where the bytes of a batch in the log will come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Memory(Bytes),
    Log(LogReader, u64),
    Missing,
}

/// The file that a block lies in.
#[derive(Debug, Clone)]
pub(super) enum BlockFile {
    Pack(Arc<PackFile>),
    Segment(Arc<SegmentFile>),
    Missing,
}

/// What a read goes on with.
enum Next {
    Logged(Vec<(BatchEntry, Source)>),
    Packed(Vec<(BlockFile, Block)>),
    Segment(Segment),
}

/// A read under way.
struct Reading<'a> {
    core: &'a Core,
    key: PartitionKey,
    /// The next batch is the one that contains this.
    next: Offset,
    bound: Offset,
    max_bytes: usize,
    slice: ReadSlice,
}

/// Batches from the one that contains `from` on.
pub(super) fn read(
    core: &Core,
    key: PartitionKey,
    from: Offset,
    max_bytes: usize,
    bound: Offset,
) -> Result<ReadSlice, EngineError> {
    let mut reading = Reading { core, key, next: from, bound, max_bytes, slice: ReadSlice::default() };
    loop {
        let before = reading.next;
        let more = match reading.plan()? {
            Next::Logged(batches) => {
                reading.take_logged(&batches)?;
                false
            }
            Next::Packed(blocks) => reading.take_blocks(&blocks)?,
            Next::Segment(segment) => {
                let all = blocks_of(core, key, &segment)?;
                let first = all.partition_point(|b| b.last < reading.next);
                let file = BlockFile::Segment(segment.file.clone());
                let wanted = reading.wanted(&all[first..]).map(|b| (file.clone(), *b)).collect::<Vec<_>>();
                // Where nothing is found there is a hole, or what the checkpoint said is not what the index says.
                !wanted.is_empty() && reading.take_blocks(&wanted)?
            }
        };
        if !more || reading.next == before {
            return Ok(reading.slice);
        }
    }
}

/// The same if all of it is in memory.
pub(super) fn read_cached(
    core: &Core,
    key: PartitionKey,
    from: Offset,
    max_bytes: usize,
    bound: Offset,
) -> Result<Option<ReadSlice>, EngineError> {
    let lane = core.lane();
    let partition = readable(&lane, key)?;
    let (index, from) = (&partition.index, from.max(partition.durable_start));
    let stored = index.packed.last().map(|p| p.block.last.plus(1)).or(index.segments.last().map(|s| s.end));
    if stored.is_some_and(|end| from < end) {
        return Ok(None);
    }
    let entries = index.select(from, max_bytes, bound, lane.durable);
    let mut slice = ReadSlice { batches: Vec::with_capacity(entries.len()), bytes: 0 };
    for entry in entries {
        let Source::Memory(batch) = lane.source(entry) else { return Ok(None) };
        slice.bytes += batch.len();
        slice.batches.push(batch);
    }
    Ok(Some(slice))
}

impl Reading<'_> {
    /// Asks the partition what comes next. No disk, under the lock.
    fn plan(&mut self) -> Result<Next, EngineError> {
        let lane = self.core.lane();
        let partition = readable(&lane, self.key)?;
        let index = &partition.index;
        self.next = self.next.max(partition.durable_start);
        if let Some(segment) = index.segments.get(index.segments.partition_point(|s| s.end <= self.next)) {
            return Ok(Next::Segment(segment.clone()));
        }
        let first = index.packed.partition_point(|p| p.block.last < self.next);
        if first < index.packed.len() {
            let blocks = self.wanted(index.packed[first..].iter().map(|p| &p.block)).count();
            let with_file = |p: &super::index::Packed| {
                (lane.stored.pack(p.pack).map_or(BlockFile::Missing, |f| BlockFile::Pack(f.clone())), p.block)
            };
            return Ok(Next::Packed(index.packed[first..first + blocks].iter().map(with_file).collect()));
        }
        let left = self.max_bytes.saturating_sub(self.slice.bytes);
        let entries = index.select(self.next, left, self.bound, lane.durable);
        Ok(Next::Logged(entries.iter().map(|e| (*e, lane.source(e))).collect()))
    }

    /// The first blocks of these, as many as are needed.
    fn wanted<'b>(&self, blocks: impl IntoIterator<Item = &'b Block>) -> impl Iterator<Item = &'b Block> {
        let (bound, mut left) = (self.bound, self.max_bytes.saturating_sub(self.slice.bytes).min(READ_BYTES));
        let mut first = true;
        blocks.into_iter().take_while(move |block| {
            let wanted = block.base < bound && (first || left > 0);
            // Of the first one perhaps only the end is wanted.
            left = if first { left } else { left.saturating_sub(block.len as usize) };
            first = false;
            wanted
        })
    }

    fn is_full(&self, next: usize) -> bool {
        !self.slice.batches.is_empty() && self.slice.bytes.saturating_add(next) > self.max_bytes
    }

    fn take_logged(&mut self, mut batches: &[(BatchEntry, Source)]) -> Result<(), EngineError> {
        while !batches.is_empty() {
            let (run, rest) = batches.split_at(run_length(batches));
            for batch in fetch_run(self.core, self.key, run)? {
                // Of those behind blocks none may fit.
                if self.is_full(batch.len()) {
                    return Ok(());
                }
                self.slice.bytes += batch.len();
                self.slice.batches.push(batch);
            }
            batches = rest;
        }
        Ok(())
    }

    /// Reads blocks, neighbours at once, and takes their batches. `false` when the read is complete.
    fn take_blocks(&mut self, mut blocks: &[(BlockFile, Block)]) -> Result<bool, EngineError> {
        while let Some((file, first)) = blocks.first() {
            let neighbours = blocks.windows(2).take_while(|w| file.is(&w[1].0) && w[0].1.end_at() == w[1].1.at);
            let (together, rest) = blocks.split_at(neighbours.count() + 1);
            let length = together.iter().map(|(_, b)| b.len as usize).sum();
            let bytes = read_file(self.core, self.key, file, first.at, length)?;
            for (_, block) in together {
                let from = (block.at - first.at) as usize;
                if !self.take_block(block, bytes.slice(from..from + block.len as usize))? {
                    return Ok(false);
                }
            }
            blocks = rest;
        }
        Ok(true)
    }

    fn take_block(&mut self, block: &Block, bytes: Bytes) -> Result<bool, EngineError> {
        for (header, batch) in batches(self.core, self.key, block, &bytes)? {
            if header.last_offset() < self.next {
                continue;
            }
            if header.last_offset() >= self.bound || self.is_full(batch.len()) {
                return Ok(false);
            }
            self.next = header.next_offset();
            self.slice.bytes += batch.len();
            self.slice.batches.push(batch);
        }
        Ok(true)
    }
}

pub(super) fn readable(lane: &Lane, key: PartitionKey) -> Result<&Partition, EngineError> {
    if lane.closed {
        return Err(EngineError::Stopped("closed".into()));
    }
    let partition = lane.fold.partition(key)?;
    match &partition.quarantined {
        Some(reason) => Err(EngineError::Quarantined { partition: key, reason: reason.clone() }),
        None => Ok(partition),
    }
}

impl Lane {
    pub(super) fn source(&self, entry: &BatchEntry) -> Source {
        if let Some(bytes) = self.tail.get(entry.at.generation, entry.at.offset, entry.len as usize) {
            // Readers that take their time keep whole buffers alive: beyond a limit they get bytes of their own.
            let crowded = self.writer.buffers.bytes() > 2 * self.options.tail_cache_bytes;
            return Source::Memory(if crowded { Bytes::copy_from_slice(&bytes) } else { bytes });
        }
        let file = self.files.get(&entry.at.generation);
        file.map_or(Source::Missing, |file| Source::Log(LogReader::of(file), entry.at.offset))
    }
}

impl BlockFile {
    fn is(&self, other: &BlockFile) -> bool {
        match (self, other) {
            (BlockFile::Pack(a), BlockFile::Pack(b)) => Arc::ptr_eq(a, b),
            (BlockFile::Segment(a), BlockFile::Segment(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    fn open(&self, core: &Core) -> io::Result<FileId> {
        match self {
            BlockFile::Pack(pack) => Ok(pack.file),
            BlockFile::Segment(segment) => segment.open(&*core.disk),
            BlockFile::Missing => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Source {
    /// The file and the place in it, if it is on the disk.
    fn place(&self) -> Option<(FileId, u64)> {
        match self {
            Source::Log(reader, offset) => Some((reader.file(), *offset)),
            Source::Memory(_) | Source::Missing => None,
        }
    }
}

/// How many batches from the first on are fetched with one call: those that follow each other in one file, nearly without a gap.
fn run_length(batches: &[(BatchEntry, Source)]) -> usize {
    let Some((file, start)) = batches.first().and_then(|(_, source)| source.place()) else { return 1 };
    let mut end = start;
    let follows = |(entry, source): &&(BatchEntry, Source)| {
        let near = source.place().filter(|(f, at)| *f == file && (end..=end + MOST_GAP_BYTES).contains(at));
        let Some((_, at)) = near else { return false };
        end = at + u64::from(entry.len);
        at == start || end - start <= MOST_RUN_BYTES
    };
    batches.iter().take_while(follows).count().max(1)
}

/// Fetches the batches of one run.
fn fetch_run(core: &Core, key: PartitionKey, run: &[(BatchEntry, Source)]) -> Result<Vec<Bytes>, EngineError> {
    let (Some((_, first)), Some((last, last_source))) = (run.first(), run.last()) else { return Ok(Vec::new()) };
    let (Some((file, start)), Some((_, last_at))) = (first.place(), last_source.place()) else {
        return fetch(core, key, last, last_source).map(|batch| vec![batch]); // it is alone
    };
    let length = (last_at + u64::from(last.len) - start) as usize;
    let whole = core.disk.read_at(file, start, length).map_err(|error| judge(core, key, &error))?;
    let batch = |(entry, source): &(BatchEntry, Source)| {
        let from = source.place().map_or(0, |(_, at)| at - start) as usize;
        let batch = whole.slice(from..from + entry.len as usize);
        check_crc(core, key, entry, &batch)?;
        Ok(batch)
    };
    run.iter().map(batch).collect()
}

/// The bytes of a batch in the log.
pub(super) fn fetch(core: &Core, key: PartitionKey, entry: &BatchEntry, source: &Source) -> Result<Bytes, EngineError> {
    if let Source::Memory(bytes) = source {
        return Ok(bytes.clone());
    }
    let Some((file, offset)) = source.place() else {
        return Err(quarantine(core, key, "the file that held a batch is gone"));
    };
    let bytes = core.disk.read_at(file, offset, entry.len as usize).map_err(|error| judge(core, key, &error))?;
    check_crc(core, key, entry, &bytes)?;
    Ok(bytes)
}

fn check_crc(core: &Core, key: PartitionKey, entry: &BatchEntry, bytes: &[u8]) -> Result<(), EngineError> {
    if crc32c::crc32c(bytes) == entry.crc {
        return Ok(());
    }
    Err(quarantine(core, key, "a durable batch has rotted on disk"))
}

/// Bytes of a pack or segment, not compared with anything yet.
pub(super) fn read_file(
    core: &Core,
    key: PartitionKey,
    file: &BlockFile,
    at: u64,
    length: usize,
) -> Result<Bytes, EngineError> {
    let read = file.open(core).and_then(|file| core.disk.read_at(file, at, length));
    read.map_err(|error| judge(core, key, &error))
}

/// The batches of a block that was read.
pub(super) fn batches(
    core: &Core,
    key: PartitionKey,
    block: &Block,
    bytes: &Bytes,
) -> Result<Vec<(BatchHeader, Bytes)>, EngineError> {
    let rotten = || quarantine(core, key, "durable batches have rotted on disk");
    if crc32c::crc32c(bytes) != block.crc {
        return Err(rotten());
    }
    split_batches(bytes).collect::<Result<Vec<_>, _>>().map_err(|_| rotten())
}

/// The blocks of a segment: from memory, or looked up in its file.
pub(super) fn blocks_of(core: &Core, key: PartitionKey, segment: &Segment) -> Result<Arc<Vec<Block>>, EngineError> {
    let number = segment.file.number;
    let cache = || core.blocks.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = cache().get(number, segment.len) {
        return Ok(known);
    }
    let read = segment::read_blocks(&*core.disk, segment).map_err(|error| judge(core, key, &error))?;
    let blocks = read.map_err(|_| quarantine(core, key, "the index of a segment has rotted"))?;
    let blocks = Arc::new(blocks);
    cache().insert(number, segment.len, blocks.clone());
    Ok(blocks)
}

/// What a failed read means: that the data is gone, or that it can be tried again.
fn judge(core: &Core, key: PartitionKey, error: &io::Error) -> EngineError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => quarantine(core, key, "a file ends before a batch that it held"),
        io::ErrorKind::NotFound => quarantine(core, key, "the file that held a batch is gone"),
        _ => EngineError::Io(error.to_string().into()),
    }
}

fn quarantine(core: &Core, key: PartitionKey, reason: &str) -> EngineError {
    let mut lane = core.lane();
    let Ok(partition) = lane.fold.partition_mut(key) else { return EngineError::UnknownPartition(key) };
    partition.quarantine(key, reason);
    EngineError::Quarantined { partition: key, reason: reason.into() }
}
