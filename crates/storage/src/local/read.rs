//! Reading batches: from memory where the log's end still is there, else from a log file or a pack.
//!
//! The index is asked under the lock, the disk is not. Files are held by reference count meanwhile, so that none is used again
//! under a reader. Whatever comes from a disk is compared with the checksum taken at the append: rotten bytes are never given
//! out, and their partition is quarantined (invariant 11). Deliberately not here: which batches belong to a read (`index.rs`).

use std::sync::Arc;

use bytes::Bytes;
use pagemark_wire::types::{Offset, PartitionKey};

use super::Core;
use super::index::{BatchEntry, Home};
use super::lane::Lane;
use super::log_file::LogFile;
use super::pack::PackFile;
use crate::disk::FileId;
use crate::engine::{EngineError, Locate, ReadSlice};

/// Batches of a read that lie this near to each other in a file are read with one call: between two of a log lie the heads of
/// records, and whatever else is as short.
const MOST_GAP_BYTES: u64 = 4096;
/// Bytes read with one call, unless a single batch is larger.
const MOST_RUN_BYTES: u64 = 1 << 20;

/// Where the bytes of one batch will come from.
enum Source {
    Memory(Bytes),
    Log(Arc<LogFile>, u64),
    Pack(Arc<PackFile>, u64),
    Missing,
}

/// Batches from the one that contains `from` on.
pub(super) fn read(
    core: &Core,
    key: PartitionKey,
    from: Offset,
    max_bytes: usize,
    bound: Offset,
) -> Result<ReadSlice, EngineError> {
    let sources: Vec<(BatchEntry, Source)> = {
        let lane = core.lane();
        let index = readable(&lane, key)?;
        let range = index.select(from, max_bytes, bound, lane.durable);
        index.entries[range].iter().map(|e| (*e, lane.source(e))).collect()
    };
    let mut slice = ReadSlice { batches: Vec::with_capacity(sources.len()), bytes: 0 };
    let mut rest = &sources[..];
    while !rest.is_empty() {
        let (run, behind) = rest.split_at(run_length(rest));
        fetch_run(core, key, run, &mut slice)?;
        rest = behind;
    }
    Ok(slice)
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
    let index = readable(&lane, key)?;
    let range = index.select(from, max_bytes, bound, lane.durable);
    let mut slice = ReadSlice { batches: Vec::with_capacity(range.len()), bytes: 0 };
    for entry in &index.entries[range] {
        let Source::Memory(batch) = lane.source(entry) else { return Ok(None) };
        slice.bytes += batch.len();
        slice.batches.push(batch);
    }
    Ok(Some(slice))
}

/// The batch that holds what is looked for.
pub(super) fn locate(
    core: &Core,
    key: PartitionKey,
    what: Locate,
    bound: Offset,
) -> Result<Option<Bytes>, EngineError> {
    let found = {
        let lane = core.lane();
        let index = readable(&lane, key)?;
        index.locate(what, bound, lane.durable).map(|at| (index.entries[at], lane.source(&index.entries[at])))
    };
    found.map(|(entry, source)| fetch(core, key, &entry, &source)).transpose()
}

fn readable(lane: &Lane, key: PartitionKey) -> Result<&super::index::PartitionIndex, EngineError> {
    if lane.closed {
        return Err(EngineError::Stopped("closed".into()));
    }
    let partition = lane.fold.partition(key)?;
    match &partition.quarantined {
        Some(reason) => Err(EngineError::Quarantined { partition: key, reason: reason.clone() }),
        None => Ok(&partition.index),
    }
}

impl Lane {
    fn source(&self, entry: &BatchEntry) -> Source {
        match entry.home {
            Home::Log { generation, offset } => {
                if let Some(bytes) = self.tail.get(generation, offset, entry.len as usize) {
                    // Readers that take their time keep whole buffers alive: beyond a limit they get bytes of their own.
                    let crowded = self.writer.buffers.bytes() > 2 * self.options.tail_cache_bytes;
                    return Source::Memory(if crowded { Bytes::copy_from_slice(&bytes) } else { bytes });
                }
                self.files.get(&generation).map_or(Source::Missing, |file| Source::Log(file.clone(), offset))
            }
            Home::Pack { pack, offset } => {
                self.packs.get(&pack).map_or(Source::Missing, |file| Source::Pack(file.clone(), offset))
            }
        }
    }
}

impl Source {
    /// The file and the place in it, if it is on the disk.
    fn place(&self) -> Option<(FileId, u64)> {
        match self {
            Source::Log(file, offset) => Some((file.file, *offset)),
            Source::Pack(file, offset) => Some((file.file, *offset)),
            Source::Memory(_) | Source::Missing => None,
        }
    }
}

/// How many batches from the first on are fetched with one call: those that follow each other in one file, nearly without a gap.
fn run_length(sources: &[(BatchEntry, Source)]) -> usize {
    let Some((file, start)) = sources.first().and_then(|(_, source)| source.place()) else { return 1 };
    let mut end = start;
    let follows = |(entry, source): &&(BatchEntry, Source)| {
        let near = source.place().filter(|(f, at)| *f == file && (end..=end + MOST_GAP_BYTES).contains(at));
        let Some((_, at)) = near else { return false };
        end = at + u64::from(entry.len);
        at == start || end - start <= MOST_RUN_BYTES
    };
    sources.iter().take_while(follows).count().max(1)
}

/// Fetches the batches of one run.
fn fetch_run(
    core: &Core,
    key: PartitionKey,
    run: &[(BatchEntry, Source)],
    slice: &mut ReadSlice,
) -> Result<(), EngineError> {
    let (Some((_, first)), Some((last, last_source))) = (run.first(), run.last()) else { return Ok(()) };
    let mut give = |batch: Bytes| {
        slice.bytes += batch.len();
        slice.batches.push(batch);
    };
    let (Some((file, start)), Some((_, last_at))) = (first.place(), last_source.place()) else {
        return fetch(core, key, last, last_source).map(give); // it is alone
    };
    let whole = read_file(core, key, file, start, last_at + u64::from(last.len) - start)?;
    for (entry, source) in run {
        let from = source.place().map_or(0, |(_, at)| at - start) as usize;
        let batch = whole.slice(from..from + entry.len as usize);
        check_crc(core, key, entry, &batch)?;
        give(batch);
    }
    Ok(())
}

fn fetch(core: &Core, key: PartitionKey, entry: &BatchEntry, source: &Source) -> Result<Bytes, EngineError> {
    if let Source::Memory(bytes) = source {
        return Ok(bytes.clone());
    }
    let Some((file, offset)) = source.place() else {
        return Err(quarantine(core, key, "the file that held a batch is gone"));
    };
    let bytes = read_file(core, key, file, offset, u64::from(entry.len))?;
    check_crc(core, key, entry, &bytes)?;
    Ok(bytes)
}

fn read_file(core: &Core, key: PartitionKey, file: FileId, offset: u64, len: u64) -> Result<Bytes, EngineError> {
    core.disk.read_at(file, offset, len as usize).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => quarantine(core, key, "a file ends before a batch that it held"),
        _ => EngineError::Io(error.to_string().into()),
    })
}

fn check_crc(core: &Core, key: PartitionKey, entry: &BatchEntry, bytes: &[u8]) -> Result<(), EngineError> {
    if crc32c::crc32c(bytes) == entry.crc {
        return Ok(());
    }
    Err(quarantine(core, key, "a durable batch has rotted on disk"))
}

fn quarantine(core: &Core, key: PartitionKey, reason: &str) -> EngineError {
    let mut lane = core.lane();
    let Ok(partition) = lane.fold.partition_mut(key) else { return EngineError::UnknownPartition(key) };
    partition.quarantine(key, reason);
    EngineError::Quarantined { partition: key, reason: reason.into() }
}
