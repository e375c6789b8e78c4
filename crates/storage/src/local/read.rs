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
    let mut slice = ReadSlice::default();
    for (entry, source) in sources {
        let batch = fetch(core, key, &entry, source)?;
        slice.bytes += batch.len();
        slice.batches.push(batch);
    }
    Ok(slice)
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
    found.map(|(entry, source)| fetch(core, key, &entry, source)).transpose()
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
                    return Source::Memory(bytes);
                }
                self.files.get(&generation).map_or(Source::Missing, |file| Source::Log(file.clone(), offset))
            }
            Home::Pack { pack, offset } => {
                self.packs.get(&pack).map_or(Source::Missing, |file| Source::Pack(file.clone(), offset))
            }
        }
    }
}

fn fetch(core: &Core, key: PartitionKey, entry: &BatchEntry, source: Source) -> Result<Bytes, EngineError> {
    match source {
        Source::Memory(bytes) => Ok(bytes),
        Source::Log(file, offset) => fetch_from(core, key, entry, file.file, offset),
        Source::Pack(file, offset) => fetch_from(core, key, entry, file.file, offset),
        Source::Missing => Err(quarantine(core, key, "the file that held a batch is gone")),
    }
}

fn fetch_from(
    core: &Core,
    key: PartitionKey,
    entry: &BatchEntry,
    file: FileId,
    offset: u64,
) -> Result<Bytes, EngineError> {
    let bytes = match core.disk.read_at(file, offset, entry.len as usize) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(quarantine(core, key, "a file ends before a batch that it held"));
        }
        Err(error) => return Err(EngineError::Io(error.to_string().into())),
    };
    if crc32c::crc32c(&bytes) != entry.crc {
        return Err(quarantine(core, key, "a durable batch has rotted on disk"));
    }
    Ok(bytes)
}

fn quarantine(core: &Core, key: PartitionKey, reason: &str) -> EngineError {
    let mut lane = core.lane();
    let Ok(partition) = lane.fold.partition_mut(key) else { return EngineError::UnknownPartition(key) };
    partition.quarantine(key, reason);
    EngineError::Quarantined { partition: key, reason: reason.into() }
}
