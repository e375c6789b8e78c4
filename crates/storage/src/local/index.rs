//! Where the data of one partition lies: its segments, then its blocks in packs, then the batches that only the log holds.
//!
//! Each tier holds higher offsets than the one before. Memory goes with what is in the log, which is bounded by checkpoints, and
//! with what is in packs, which is bounded by moving it into segments; of a segment only a summary is here. A log entry carries
//! the checksum of the whole batch, because Kafka's own leaves the first 21 bytes uncovered.
//! Deliberately not here: the bytes, and the blocks within segments (`read.rs`).

use std::ops::Range;
use std::sync::Arc;

use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::Offset;

use super::block::Block;
use super::lane::Position;
use super::segment::{Segment, SegmentFile};
use crate::engine::{Keep, Locate};

/// One batch in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchEntry {
    pub base: Offset,
    pub last: Offset,
    pub max_timestamp_ms: i64,
    /// Greatest timestamp of this and all earlier batches in the log.
    pub max_so_far_ms: i64,
    /// The write that brought it.
    pub lsn: u64,
    /// Where it lies in the log.
    pub at: Position,
    pub len: u32,
    /// Data records in it: none if it is a control batch.
    pub records: u32,
    /// CRC-32C of the whole batch.
    pub crc: u32,
}

impl BatchEntry {
    /// An entry for a batch with this header; `crc` is that of the whole batch.
    pub(crate) fn new(header: &BatchHeader, crc: u32, lsn: u64, at: Position) -> BatchEntry {
        let records = if header.is_control() { 0 } else { u32::try_from(header.record_count).unwrap_or(0) };
        BatchEntry {
            base: header.base_offset,
            last: header.last_offset(),
            max_timestamp_ms: header.max_timestamp_ms,
            max_so_far_ms: header.max_timestamp_ms,
            lsn,
            at,
            len: header.size_bytes() as u32, // of the whole batch: `whole_batch` has compared them
            records,
            crc,
        }
    }
}

/// A block in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed {
    pub pack: u64,
    pub block: Block,
}

/// What a partition needs no more: bytes in packs, and whole segments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dropped {
    pub packs: Vec<(u64, u64)>,
    pub segments: Vec<(Arc<SegmentFile>, u64)>,
}

impl Dropped {
    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.segments.is_empty()
    }

    fn block(&mut self, packed: Packed) -> u64 {
        self.packs.push((packed.pack, u64::from(packed.block.len)));
        u64::from(packed.block.len)
    }

    fn segment(&mut self, segment: Segment) -> u64 {
        self.segments.push((segment.file, segment.bytes));
        segment.bytes
    }
}

/// The data of one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartitionIndex {
    pub segments: Vec<Segment>,
    pub packed: Vec<Packed>,
    pub entries: Vec<BatchEntry>,
    /// Bytes of all batches.
    pub bytes: u64,
    /// Those of them that lie in packs, and those that only the log holds.
    packed_bytes: u64,
    logged_bytes: u64,
}

/// A piece that goes or stays as a whole.
struct Piece {
    base: Offset,
    max_timestamp_ms: i64,
    bytes: u64,
}

impl PartitionIndex {
    /// Takes a batch that was logged.
    pub(crate) fn push(&mut self, mut entry: BatchEntry) {
        if let Some(previous) = self.entries.last() {
            entry.max_so_far_ms = entry.max_timestamp_ms.max(previous.max_so_far_ms);
        }
        self.bytes += u64::from(entry.len);
        self.logged_bytes += u64::from(entry.len);
        self.entries.push(entry);
    }

    /// Takes blocks in packs, in any order.
    pub(super) fn add_packed(&mut self, blocks: impl Iterator<Item = Packed>) {
        let before = self.packed.len();
        self.packed.extend(blocks);
        let bytes = self.packed[before..].iter().map(|p| u64::from(p.block.len)).sum::<u64>();
        self.bytes += bytes;
        self.packed_bytes += bytes;
        self.packed.sort_unstable_by_key(|p| p.block.base);
    }

    /// Takes a segment behind the others, or the last one anew after it has grown.
    pub(super) fn put_segment(&mut self, segment: Segment) {
        if let Some(last) = self.segments.pop_if(|last| last.file.number == segment.file.number) {
            self.bytes = self.bytes.saturating_sub(last.bytes);
        }
        self.bytes = self.bytes.saturating_add(segment.bytes);
        self.segments.push(segment);
    }

    /// Gives up the blocks in packs that `moved` says, and the batches in the log below `end`: they lie elsewhere now.
    pub(super) fn moved_away(&mut self, end: Offset, moved: impl Fn(&Packed) -> bool, dropped: &mut Dropped) {
        let mut bytes = 0;
        self.packed.retain(|p| {
            let goes = moved(p);
            if goes {
                bytes += dropped.block(*p);
            }
            !goes
        });
        self.packed_bytes = self.packed_bytes.saturating_sub(bytes);
        let count = self.entries.partition_point(|e| e.base < end);
        bytes += self.drop_entries(count);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn drop_entries(&mut self, count: usize) -> u64 {
        let bytes = self.entries.drain(..count).map(|e| u64::from(e.len)).sum();
        self.logged_bytes = self.logged_bytes.saturating_sub(bytes);
        if self.entries.capacity() > 64 && self.entries.capacity() / 4 > self.entries.len() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        let mut max_so_far_ms = i64::MIN;
        for entry in &mut self.entries {
            max_so_far_ms = max_so_far_ms.max(entry.max_timestamp_ms);
            if entry.max_so_far_ms == max_so_far_ms {
                break;
            }
            entry.max_so_far_ms = max_so_far_ms;
        }
        bytes
    }

    /// Bytes outside of segments: in packs, and in the log below an offset. As fast as there is little in the log above it.
    pub(super) fn outside_segments(&self, end: Offset) -> (u64, u64) {
        let above = self.entries.iter().rev().take_while(|e| e.base >= end).map(|e| u64::from(e.len)).sum::<u64>();
        debug_assert_eq!(self.packed_bytes, self.packed.iter().map(|p| u64::from(p.block.len)).sum());
        debug_assert_eq!(self.logged_bytes, self.entries.iter().map(|e| u64::from(e.len)).sum());
        (self.packed_bytes, self.logged_bytes.saturating_sub(above))
    }

    /// Greatest timestamp outside of segments.
    pub(super) fn newest_timestamp_ms(&self) -> i64 {
        let packed = self.packed.iter().map(|p| p.block.max_timestamp_ms).max();
        packed.into_iter().chain(self.entries.last().map(|e| e.max_so_far_ms)).max().unwrap_or(i64::MIN)
    }

    /// Offset behind the last durable batch, given the end of all.
    pub(crate) fn durable_end(&self, durable_lsn: u64, log_end: Offset) -> Offset {
        let durable = self.entries.partition_point(|e| e.lsn <= durable_lsn);
        self.entries.get(durable).map_or(log_end, |e| e.base)
    }

    /// The batches in the log that may be read: durable, and whole below `bound`.
    fn visible(&self, durable_lsn: u64, bound: Offset) -> &[BatchEntry] {
        let durable = self.entries.partition_point(|e| e.lsn <= durable_lsn);
        let below = self.entries.partition_point(|e| e.last < bound);
        &self.entries[..durable.min(below)]
    }

    /// The batches in the log that a read gives.
    pub(crate) fn select(&self, from: Offset, max_bytes: usize, bound: Offset, durable_lsn: u64) -> &[BatchEntry] {
        let visible = self.visible(durable_lsn, bound);
        let first = visible.partition_point(|e| e.last < from);
        let mut bytes = 0usize;
        let mut end = first;
        for entry in &visible[first..] {
            bytes = bytes.saturating_add(entry.len as usize);
            if end > first && bytes > max_bytes {
                break;
            }
            end += 1;
        }
        &visible[first..end]
    }

    /// The batch in the log that holds what is looked for, if none elsewhere does.
    pub(crate) fn locate(&self, what: Locate, within: Range<Offset>, durable_lsn: u64) -> Option<&BatchEntry> {
        let visible = self.visible(durable_lsn, within.end);
        let below = visible.partition_point(|e| e.last < within.start);
        if below > 0 {
            return first_among(&visible[below..], what); // what entries know of those before them is of no use
        }
        let target = match what {
            Locate::Time(time_ms) => time_ms,
            Locate::MaxTimestamp => visible.last()?.max_so_far_ms,
        };
        visible.get(visible.partition_point(|e| e.max_so_far_ms < target))
    }

    /// The batch in the log that begins at this offset.
    pub(crate) fn find(&self, base: Offset) -> Option<&BatchEntry> {
        self.entries.binary_search_by_key(&base, |e| e.base).ok().map(|at| &self.entries[at])
    }

    /// Drops segments, blocks and batches that lie wholly below an offset.
    pub(crate) fn cut_below(&mut self, start: Offset, dropped: &mut Dropped) {
        let mut bytes = 0;
        let count = self.segments.partition_point(|s| s.end <= start);
        bytes += self.segments.drain(..count).fold(0, |sum: u64, s| sum.saturating_add(dropped.segment(s)));
        let count = self.packed.partition_point(|p| p.block.last < start);
        let packed = self.packed.drain(..count).map(|p| dropped.block(p)).sum::<u64>();
        self.packed_bytes = self.packed_bytes.saturating_sub(packed);
        bytes += packed;
        let count = self.entries.partition_point(|e| e.last < start);
        if count > 0 {
            bytes += self.drop_entries(count);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, dropped: &mut Dropped) {
        self.cut_below(Offset(i64::MAX), dropped);
    }

    /// Where the log would begin if only this were kept; at most the durable end.
    pub(crate) fn trim_point(&self, keep: Keep, durable_lsn: u64, log_end: Offset) -> Offset {
        let mut left = self.bytes;
        // What has no time stays with what follows it.
        let mut timeless = None;
        for piece in self.pieces(durable_lsn) {
            match keep {
                Keep::Since(_) if piece.max_timestamp_ms < 0 => {
                    timeless.get_or_insert(piece.base);
                    continue;
                }
                Keep::Since(time_ms) if piece.max_timestamp_ms < time_ms => timeless = None,
                Keep::Since(_) => return timeless.unwrap_or(piece.base),
                Keep::Bytes(least) => {
                    left = left.saturating_sub(piece.bytes);
                    if left < least {
                        return piece.base;
                    }
                }
            }
        }
        timeless.unwrap_or(self.durable_end(durable_lsn, log_end))
    }

    /// Everything durable that goes or stays as a whole, oldest first.
    fn pieces(&self, durable_lsn: u64) -> impl Iterator<Item = Piece> {
        let piece = |base, max_timestamp_ms, bytes| Piece { base, max_timestamp_ms, bytes };
        let durable = &self.entries[..self.entries.partition_point(|e| e.lsn <= durable_lsn)];
        let segments = self.segments.iter().map(move |s| piece(s.base, s.max_timestamp_ms, s.bytes));
        let packed = self.packed.iter().map(|p| &p.block);
        let packed = packed.map(move |b| piece(b.base, b.max_timestamp_ms, u64::from(b.len)));
        let logged = durable.iter().map(move |e| piece(e.base, e.max_timestamp_ms, u64::from(e.len)));
        segments.chain(packed).chain(logged)
    }

    /// Whether the data goes on without a hole from `log_start` to `log_end`.
    pub(crate) fn is_continuous(&self, log_start: Offset, log_end: Offset) -> bool {
        let segments = self.segments.iter().map(|s| (s.base, s.end));
        let packed = self.packed.iter().map(|p| (p.block.base, p.block.last.plus(1)));
        let logged = self.entries.iter().map(|e| (e.base, e.last.plus(1)));
        let mut at = None;
        for (base, end) in segments.chain(packed).chain(logged) {
            let follows = at.map_or(base <= log_start, |at| at == base);
            if !follows {
                return false;
            }
            at = Some(end);
        }
        at.map_or(log_start == log_end, |at| at == log_end)
    }
}
/// The batch of these that holds what is looked for.
fn first_among(batches: &[BatchEntry], what: Locate) -> Option<&BatchEntry> {
    let target = match what {
        Locate::Time(time_ms) => time_ms,
        Locate::MaxTimestamp => batches.iter().map(|e| e.max_timestamp_ms).max()?,
    };
    batches.iter().find(|e| e.max_timestamp_ms >= target)
}
