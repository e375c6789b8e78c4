//! What a start finds in the directories, and which checkpoints it may begin with.
//!
//! A checkpoint is readable if one of its two files is, and all before it that it is a change to. A candidate comes with its packs
//! indexed and its segments compared with the lengths of the files that are there; no segment is opened. Deliberately not here:
//! choosing one, and the log behind it (`recovery.rs`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use pagemark_wire::types::{Offset, PartitionKey};

use super::OpenError;
use super::checkpoint::{self, CHECKPOINT_DIR, COPIES, Head, Retained, Unreadable, checkpoint_of, checkpoint_path};
use super::checkpointer::Chain;
use super::fold::Fold;
use super::index::Packed;
use super::log_file::LogFile;
use super::ops::DiskOp;
use super::pack::{self, PACK_DIR, PackEntry, PackFile, PackRef, pack_of, pack_path};
use super::recovery::{io_error, list};
use super::segment::{SEGMENT_DIR, Segment, SegmentFile, segment_of, segment_path};
use crate::disk::{Disk, FORMAT_VERSION, FileId, is_lost, is_unreadable};

/// The names in the directories, the log's aside.
pub(super) struct Directory {
    /// Checkpoints of which one file is there.
    pub numbers: BTreeSet<u64>,
    checkpoints: Vec<(u64, usize)>,
    /// What a crash left half written.
    pub half_written: Vec<String>,
    packs: BTreeSet<u64>,
    /// With their lengths.
    segments: BTreeMap<u64, u64>,
}

impl Directory {
    pub(super) fn look(disk: &dyn Disk) -> Result<Directory, OpenError> {
        let names = list(disk, CHECKPOINT_DIR)?;
        let checkpoints: Vec<(u64, usize)> = names.iter().filter_map(|name| checkpoint_of(name)).collect();
        let half_written = names.iter().filter(|name| name.ends_with(".tmp"));
        Ok(Directory {
            numbers: checkpoints.iter().map(|(number, _)| *number).collect(),
            checkpoints,
            half_written: half_written.map(|name| format!("{CHECKPOINT_DIR}/{name}")).collect(),
            packs: list(disk, PACK_DIR)?.iter().filter_map(|name| pack_of(name)).collect(),
            segments: segment_lengths(disk)?,
        })
    }

    pub(super) fn last_number(&self) -> u64 {
        self.numbers.last().copied().unwrap_or(1)
    }

    pub(super) fn last_pack(&self) -> u64 {
        self.packs.last().copied().unwrap_or(0)
    }

    pub(super) fn has_pack(&self, id: u64) -> bool {
        self.packs.contains(&id)
    }

    pub(super) fn last_segment(&self) -> u64 {
        self.segments.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// Packs and segments that are younger than a checkpoint, and that nothing needs, in words; `None` if there is none.
    pub(super) fn younger(&self, than: &Head, packs: &BTreeSet<u64>, segments: &BTreeSet<u64>) -> Option<String> {
        let pack = self.packs.range(than.next_pack..).find(|id| !packs.contains(id));
        let segment = self.segments.range(than.next_segment..).map(|(n, _)| n).find(|n| !segments.contains(n));
        let named = pack.map(|id| format!("{} and all packs behind it", pack_path(*id)));
        let named =
            named.into_iter().chain(segment.map(|n| format!("{} and all segments behind it", segment_path(*n))));
        Some(named.collect::<Vec<_>>().join(", ")).filter(|words| !words.is_empty())
    }

    /// Removals of what no checkpoint that may be chosen needs: damaged ones, and what a life left behind that ended too early.
    /// Packs and segments that are younger than `spare` stay: they may hold what is missing in the log.
    pub(super) fn left_over(
        &self,
        retained: &[Retained],
        packs: &BTreeSet<u64>,
        segments: &BTreeSet<u64>,
        spare: Option<&Head>,
    ) -> VecDeque<DiskOp> {
        let kept = |number: &u64| retained.iter().any(|r| r.chain.contains(number));
        let old = self.checkpoints.iter().filter(|(number, _)| !kept(number));
        let old = old.map(|(number, copy)| checkpoint_path(*number, *copy));
        let (spare_pack, spare_segment) = spare.map_or((u64::MAX, u64::MAX), |h| (h.next_pack, h.next_segment));
        let packs = self.packs.difference(packs).filter(|id| **id < spare_pack).map(|id| pack_path(*id));
        let unneeded = |number: &&u64| !segments.contains(number) && **number < spare_segment;
        let segments = self.segments.keys().filter(unneeded).map(|n| segment_path(*n));
        old.chain(packs).chain(segments).map(DiskOp::Remove).collect()
    }
}

/// A checkpoint that was read with its chain, the packs it refers to with their indexes, and what it misses.
pub(super) struct Candidate {
    pub head: Head,
    pub fold: Fold,
    pub packs: Vec<(PackFile, Option<Vec<PackEntry>>)>,
    pub chain: Chain,
    /// Segments that are not there, or are shorter than they were, in words.
    pub missing: Vec<(PartitionKey, String)>,
}

impl Candidate {
    /// How many of the files that it refers to seem not to be there.
    pub(super) fn defects(&self) -> usize {
        self.packs.iter().filter(|(_, index)| index.is_none()).count() + self.missing.len()
    }

    /// Finds the log files that segments lie in.
    pub(super) fn find_logs(&mut self, files: &BTreeMap<u64, Arc<LogFile>>) {
        for (key, partition) in self.fold.partitions_mut() {
            for segment in &mut partition.index.segments {
                let Some(generation) = segment.file.generation() else { continue };
                let log = files.get(&generation);
                if let Some(log) = log {
                    // Also one that is too short: what it still has is not to be used again.
                    let index = segment.index_at..segment.len;
                    segment.file = Arc::new(SegmentFile::in_log(segment.file.number, Arc::clone(log), index));
                }
                self.missing.extend(lacks(key, segment, log.map(|log| log.size)));
            }
        }
    }

    pub(super) fn retained(&self) -> Retained {
        Retained { number: self.head.number, position: self.head.position, chain: self.chain.numbers.clone() }
    }
}

/// What reading the checkpoints gave.
pub(super) struct Readable {
    /// The two newest, newest first; a third if something that one of them refers to is not there.
    pub candidates: Vec<Candidate>,
    /// Those of which no file could be read, and those that make no sense.
    pub lost: BTreeSet<u64>,
    /// One file is not as it was, of something that the other file still tells.
    pub single: bool,
}

pub(super) fn read(disk: &dyn Disk, found: &Directory) -> Result<Readable, OpenError> {
    let mut checkpoints = Checkpoints { disk, read: BTreeMap::new(), senseless: Vec::new(), single: false };
    let mut candidates: Vec<Candidate> = Vec::new();
    for number in found.numbers.iter().rev() {
        candidates.extend(checkpoints.candidate(*number, found)?);
        let enough = if candidates.iter().all(|c| c.defects() == 0) { 2 } else { 3 };
        if candidates.len() >= enough {
            break;
        }
    }
    let lost = checkpoints.read.iter().filter(|(_, read)| read.is_none()).map(|(number, _)| *number);
    let lost = lost.chain(checkpoints.senseless).collect();
    Ok(Readable { candidates, lost, single: checkpoints.single })
}

fn segment_lengths(disk: &dyn Disk) -> Result<BTreeMap<u64, u64>, OpenError> {
    let mut lengths = BTreeMap::new();
    for number in list(disk, SEGMENT_DIR)?.iter().filter_map(|name| segment_of(name)) {
        let length = match disk.length(&segment_path(number)) {
            // Whatever it holds cannot be had.
            Err(error) if is_lost(&error) => 0,
            length => length.map_err(io_error("asking how long a segment is"))?,
        };
        lengths.insert(number, length);
    }
    Ok(lengths)
}

/// Checkpoint files, each read once.
struct Checkpoints<'a> {
    disk: &'a dyn Disk,
    /// `None` if damaged.
    read: BTreeMap<u64, Option<(Head, Bytes)>>,
    senseless: Vec<u64>,
    single: bool,
}

impl Checkpoints<'_> {
    fn candidate(&mut self, number: u64, found: &Directory) -> Result<Option<Candidate>, OpenError> {
        let mut links = Vec::new();
        let mut next = number;
        loop {
            let Some((head, state)) = self.get(next)? else {
                if next != number {
                    tracing::error!(
                        number,
                        missing = next,
                        "a checkpoint cannot be used: one that it is a change to is gone"
                    );
                }
                return Ok(None);
            };
            let previous = head.previous;
            links.push((head, state));
            match previous {
                0 => break,
                // A chain leads backwards, or it is none.
                _ if previous >= next => {
                    self.senseless.push(next);
                    return Ok(None);
                }
                _ => next = previous,
            }
        }
        let mut fold = Fold::default();
        let mut chain = Chain::default();
        for (head, state) in links.iter().rev() {
            if checkpoint::restore(&mut fold, state).is_none() {
                tracing::error!(number = head.number, "a checkpoint makes no sense");
                self.senseless.push(head.number);
                return Ok(None);
            }
            match head.previous {
                0 => chain.whole_bytes = state.len() as u64,
                _ => chain.change_bytes += state.len() as u64,
            }
            chain.numbers.push(head.number);
        }
        let head = links.swap_remove(0).0;
        let missing = drop_segments(&mut fold, &found.segments);
        let packs = head.packs.iter().map(|pack| open_pack(self.disk, pack)).collect::<Result<_, _>>()?;
        Ok(Some(Candidate { head, fold, packs, chain, missing }))
    }

    /// A checkpoint by itself; `None` if both of its files are damaged, or lie where the disk cannot read.
    fn get(&mut self, number: u64) -> Result<Option<(Head, Bytes)>, OpenError> {
        if let Some(known) = self.read.get(&number) {
            return Ok(known.clone());
        }
        let mut readable = None;
        for copy in 0..COPIES.len() {
            if let Some((head, state, len)) = self.read_file(number, copy)? {
                self.single |= copy > 0 || !self.copies_have(number, len)?;
                readable = Some((head, state));
                break;
            }
        }
        self.read.insert(number, readable.clone());
        Ok(readable)
    }

    /// Whether the copies of a checkpoint's first file are there, and as long as that.
    fn copies_have(&self, number: u64, len: u64) -> Result<bool, OpenError> {
        for copy in 1..COPIES.len() {
            let path = checkpoint_path(number, copy);
            match self.disk.length(&path) {
                Ok(found) if found == len => {}
                Err(error) if !is_lost(&error) => return Err(io_error("asking how long a checkpoint is")(error)),
                found => {
                    tracing::error!(path, ?found, len, "the copy of a checkpoint is gone, or not as long as it was");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// A file's head, its state, and how long it is.
    fn read_file(&self, number: u64, copy: usize) -> Result<Option<(Head, Bytes, u64)>, OpenError> {
        let path = checkpoint_path(number, copy);
        let read = || -> io::Result<Bytes> {
            let file = self.disk.open(&path)?;
            let bytes = self.disk.len(file).and_then(|len| self.disk.read_at(file, 0, len as usize));
            self.disk.close(file);
            bytes
        };
        let bytes = match read() {
            Err(error) if is_lost(&error) => {
                tracing::error!(path, %error, "a checkpoint cannot be read");
                return Ok(None);
            }
            bytes => bytes.map_err(io_error("reading a checkpoint"))?,
        };
        match checkpoint::decode(&bytes) {
            Ok((head, state)) if head.number == number => Ok(Some((head, state, bytes.len() as u64))),
            Ok(_) | Err(Unreadable::Damaged) => {
                tracing::error!(path, "a checkpoint is damaged");
                Ok(None)
            }
            Err(Unreadable::OtherFormat(found)) if found > FORMAT_VERSION => Err(OpenError::NewerFormat { found }),
            Err(Unreadable::OtherFormat(found)) => Err(OpenError::OlderFormat { found }),
        }
    }
}

/// Forgets segments that lie wholly below their log's start, and finds those that are not there, or not as long as they were.
fn drop_segments(fold: &mut Fold, there: &BTreeMap<u64, u64>) -> Vec<(PartitionKey, String)> {
    let mut missing = Vec::new();
    let mut dropped = super::index::Dropped::default();
    for (key, partition) in fold.partitions_mut() {
        partition.index.cut_below(partition.durable_start, &mut dropped);
        for segment in partition.index.segments.iter().filter(|s| s.file.generation().is_none()) {
            missing.extend(lacks(key, segment, there.get(&segment.file.number).copied()));
        }
    }
    missing
}

/// What a segment lacks if its file has this length, in words.
fn lacks(key: PartitionKey, segment: &Segment, length: Option<u64>) -> Option<(PartitionKey, String)> {
    let name = segment.file.name();
    let reason = match length {
        None => format!("{name} is missing"),
        Some(length) if length < segment.len => format!("{name} has {length} bytes, and had {}", segment.len),
        Some(_) => return None,
    };
    tracing::error!(partition = %key, reason, "a segment is not what it was");
    Some((key, reason))
}

fn open_pack(disk: &dyn Disk, reference: &PackRef) -> Result<(PackFile, Option<Vec<PackEntry>>), OpenError> {
    let file = match disk.open(&pack_path(reference.id)) {
        Ok(file) => file,
        Err(error) if is_lost(&error) => {
            tracing::error!(pack = reference.id, %error, "a pack is missing");
            return Ok((PackFile { file: FileId(0), reference: *reference }, None));
        }
        Err(error) => return Err(OpenError::Io { doing: "opening a pack", error }),
    };
    let index = match pack::read_index(disk, file, reference) {
        Err(error) if is_unreadable(&error) => None,
        read => read.map_err(io_error("reading a pack's index"))?,
    };
    if index.is_none() {
        tracing::error!(pack = reference.id, "a pack's index is damaged or cannot be read");
    }
    Ok((PackFile { file, reference: *reference }, index))
}

/// Gives partitions their blocks in packs. What was moved since lies in a segment, or in a newer pack, which then counts. Gives the
/// bytes that are living in each pack.
pub(super) fn place_blocks(fold: &mut Fold, packs: &[(PackFile, Option<Vec<PackEntry>>)]) -> BTreeMap<u64, u64> {
    let mut blocks: Vec<(PartitionKey, Packed)> = Vec::new();
    for (file, index) in packs {
        let pack = file.reference.id;
        blocks.extend(index.iter().flatten().map(|e| (e.key, Packed { pack, block: e.block })));
    }
    blocks.sort_unstable_by_key(|(key, packed)| (*key, packed.block.base, Reverse(packed.pack)));
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    for group in blocks.chunk_by(|a, b| a.0 == b.0) {
        let Ok(partition) = fold.partition_quietly(group[0].0) else { continue };
        let mut covered = partition.index.segments.last().map_or(Offset(0), |s| s.end);
        let (log_start, first_pack) = (partition.durable_start, partition.first_pack);
        let placed = group.iter().map(|(_, packed)| *packed).filter(|packed| {
            let block = &packed.block;
            let counts = packed.pack >= first_pack && block.base >= covered && block.last >= log_start;
            if counts {
                covered = block.last.plus(1);
                *live.entry(packed.pack).or_default() += u64::from(block.len);
            }
            counts
        });
        partition.index.add_packed(placed);
    }
    live
}
