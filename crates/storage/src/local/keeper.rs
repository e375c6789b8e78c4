//! Data that stays where it is: what a file of the log holds of a partition becomes a segment of it, and only an index is written.
//!
//! A busy partition with large batches needs no copy in a file of its own to be read well. So a checkpoint that finds mostly such
//! data leaves all of it in the log's files. Their indexes go behind the records, where the log never writes; the file is then held by
//! its segments and not used again. When some of them are gone their place is given back to the disk, and with the last one the file
//! goes. Deliberately not here: which partitions have enough data for a segment (`mover.rs`), reading it (`read.rs`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use pagemark_wire::types::{Offset, TopicId};

use super::block::Block;
use super::index::PartitionIndex;
use super::lane::Lane;
use super::log_file::LogFile;
use super::segment::{self, Segment, SegmentFile};
use crate::disk::Disk;

/// Of all that a checkpoint takes out of the log so much must be able to stay, or nothing does.
const MOST: (u64, u64) = (3, 4);
/// Place is given back to the disk in units of this.
const UNIT_BYTES: u64 = 4096;

/// What a checkpoint takes out of the log, and how much of that may stay.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outlook {
    pub all_bytes: u64,
    pub staying_bytes: u64,
}

impl Outlook {
    pub(super) fn is_good(&self) -> bool {
        let (least, of) = MOST;
        self.staying_bytes > 0 && self.staying_bytes.saturating_mul(of) >= self.all_bytes.saturating_mul(least)
    }
}

/// Whether what a partition has in the log below an offset, so many bytes, may stay there: large batches, and so many of them in
/// each file that it does not become segments without number; in files of this life, that the log was not made to leave early.
pub(super) fn may_stay(lane: &Lane, topic: TopicId, index: &PartitionIndex, end: Offset, bytes: u64) -> bool {
    let entries = &index.entries[..index.entries.partition_point(|entry| entry.base < end)];
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return false };
    let files = lane.files.range(first.at.generation..=last.at.generation).count() as u64;
    let options = &lane.options;
    lane.keeps(first.at.generation)
        && bytes >= files.saturating_mul(options.segment_min_bytes)
        && bytes >= (entries.len() as u64).saturating_mul(options.kept_batch_bytes)
        && lane.segment_limit(Some(topic)).0 >= options.log_file_bytes
}

/// The indexes that go behind the records of one file.
#[derive(Debug)]
pub(super) struct Indexes {
    log: Arc<LogFile>,
    at: u64,
    bytes: BytesMut,
}

impl Indexes {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// The slot whose file they go into, where, and what they are. From here on that place is taken.
    pub(super) fn take(self) -> (u64, u64, Bytes) {
        self.log.note_indexes(self.end());
        (self.log.slot, self.at, self.bytes.freeze())
    }
}

/// The log files whose data stays in them with the checkpoint under way, by generation.
#[derive(Debug, Default)]
pub(super) struct Keeper(BTreeMap<u64, Indexes>);

impl Keeper {
    /// Makes a segment of blocks that lie in a log file.
    pub(super) fn keep(&mut self, log: &Arc<LogFile>, number: u64, blocks: &[Block]) -> Segment {
        let begin = || Indexes { log: Arc::clone(log), at: log.next_index_at(), bytes: BytesMut::new() };
        let indexes = self.0.entry(log.header.generation).or_insert_with(begin);
        let index_at = indexes.end();
        segment::put_index(&mut indexes.bytes, number, 0, blocks);
        let len = indexes.end();
        let file = SegmentFile::in_log(number, Arc::clone(log), index_at..len);
        let mut segment = Segment { index_at, len, open: false, ..Segment::empty(file, Offset(0)) };
        segment.add(blocks);
        segment
    }

    /// All indexes, to be written.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Indexes> + use<> {
        std::mem::take(&mut self.0).into_values()
    }
}

/// A place in a log file that nobody needs any more.
#[derive(Debug, Clone)]
pub struct Hole(Place);

#[derive(Debug, Clone)]
enum Place {
    /// The blocks of a segment.
    Segment(Arc<SegmentFile>),
    /// What was never written, or never will be read.
    Range(Arc<LogFile>, Range<u64>),
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Segment(segment) => write!(f, "segment {} in {}", segment.number, segment.name()),
            Place::Range(log, range) => write!(f, "{range:?} in log file {}", log.slot),
        }
    }
}

impl Hole {
    /// The place of a segment in the log.
    pub(super) fn segment(segment: Arc<SegmentFile>) -> Hole {
        Hole(Place::Segment(segment))
    }

    /// Part of a log file.
    pub(super) fn range(log: &Arc<LogFile>, range: Range<u64>) -> Hole {
        Hole(Place::Range(Arc::clone(log), range))
    }

    /// Gives the place back to the disk, where that can be done.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn punch(&self, disk: &dyn Disk) -> io::Result<()> {
        let punched = match &self.0 {
            Place::Segment(segment) => punch_segment(disk, segment),
            Place::Range(log, range) => punch_whole_units(disk, log, range.clone()),
        };
        match punched {
            // Then it is free when the whole file is.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            punched => punched,
        }
    }
}

fn punch_segment(disk: &dyn Disk, segment: &SegmentFile) -> io::Result<()> {
    let Some((log, index)) = segment.in_log_at() else { return Ok(()) };
    let length = usize::try_from(index.end - index.start).map_err(io::Error::other)?;
    let index = disk.read_at(log.file, index.start, length)?;
    let (blocks, _) = segment::parse_index(&index, segment.number).ok_or(io::ErrorKind::InvalidData)?;
    blocks.iter().try_for_each(|block| punch_whole_units(disk, log, block.at..block.end_at()))
}

fn punch_whole_units(disk: &dyn Disk, log: &LogFile, place: Range<u64>) -> io::Result<()> {
    let (from, to) = (place.start.next_multiple_of(UNIT_BYTES), place.end / UNIT_BYTES * UNIT_BYTES);
    if from < to { disk.punch(log.file, from, to - from) } else { Ok(()) }
}
