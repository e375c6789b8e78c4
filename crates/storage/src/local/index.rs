//! Where each batch of one partition lies: one entry per batch, in offset order, all in memory.
//!
//! An entry carries the checksum of the whole batch, because Kafka's own leaves the first 21 bytes uncovered. The greatest
//! timestamp so far rides along, which makes both time searches binary. Deliberately not here: the bytes.

use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::Offset;

use crate::engine::{Keep, Locate};

/// Where a batch's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// In the log file of this generation.
    Log { generation: u64, offset: u64 },
    /// In this pack.
    Pack { pack: u64, offset: u64 },
}

/// One batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchEntry {
    pub base: Offset,
    pub last: Offset,
    pub max_timestamp_ms: i64,
    /// Greatest timestamp of this and all earlier batches.
    pub max_so_far_ms: i64,
    /// The write that brought it; 0 when it came from a checkpoint.
    pub lsn: u64,
    pub home: Home,
    pub len: u32,
    /// CRC-32C of the whole batch.
    pub crc: u32,
}

impl BatchEntry {
    /// An entry for a batch with this header; `crc` is that of the whole batch.
    pub(crate) fn new(header: &BatchHeader, crc: u32, lsn: u64, home: Home) -> BatchEntry {
        BatchEntry {
            base: header.base_offset,
            last: header.last_offset(),
            max_timestamp_ms: header.max_timestamp_ms,
            max_so_far_ms: header.max_timestamp_ms,
            lsn,
            home,
            len: header.size_bytes() as u32, // of the whole batch: `whole_batch` has compared them
            crc,
        }
    }
}

/// The batches of one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartitionIndex {
    pub entries: Vec<BatchEntry>,
    pub bytes: u64,
}

impl PartitionIndex {
    pub(crate) fn push(&mut self, mut entry: BatchEntry) {
        if let Some(previous) = self.entries.last() {
            entry.max_so_far_ms = entry.max_timestamp_ms.max(previous.max_so_far_ms);
        }
        self.bytes += u64::from(entry.len);
        self.entries.push(entry);
    }

    /// Offset behind the last durable batch, given the end of all.
    pub(crate) fn durable_end(&self, durable_lsn: u64, log_end: Offset) -> Offset {
        let durable = self.entries.partition_point(|e| e.lsn <= durable_lsn);
        self.entries.get(durable).map_or(log_end, |e| e.base)
    }

    /// The entries that may be read: durable, and whole below `bound`.
    fn visible(&self, durable_lsn: u64, bound: Offset) -> &[BatchEntry] {
        let durable = self.entries.partition_point(|e| e.lsn <= durable_lsn);
        let below = self.entries.partition_point(|e| e.last < bound);
        &self.entries[..durable.min(below)]
    }

    /// Positions of the batches that a read gives.
    pub(crate) fn select(
        &self,
        from: Offset,
        max_bytes: usize,
        bound: Offset,
        durable_lsn: u64,
    ) -> std::ops::Range<usize> {
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
        first..end
    }

    /// Position of the batch that holds what is looked for.
    pub(crate) fn locate(&self, what: Locate, bound: Offset, durable_lsn: u64) -> Option<usize> {
        let visible = self.visible(durable_lsn, bound);
        let target = match what {
            Locate::Time(time_ms) => time_ms,
            Locate::MaxTimestamp => visible.last()?.max_so_far_ms,
        };
        let at = visible.partition_point(|e| e.max_so_far_ms < target);
        (at < visible.len()).then_some(at)
    }

    /// Position of the batch that begins at this offset.
    pub(crate) fn find(&self, base: Offset) -> Option<usize> {
        self.entries.binary_search_by_key(&base, |e| e.base).ok()
    }

    /// Drops the batches that lie wholly below an offset. `true` if one of them lay in a pack.
    pub(crate) fn cut_below(&mut self, start: Offset) -> bool {
        let count = self.entries.partition_point(|e| e.last < start);
        if count == 0 {
            return false;
        }
        let cut = self.entries.drain(..count);
        let (bytes, packed) =
            cut.fold((0, false), |(b, p), e| (b + u64::from(e.len), p || matches!(e.home, Home::Pack { .. })));
        self.bytes -= bytes;
        let mut max_so_far_ms = i64::MIN;
        for entry in &mut self.entries {
            max_so_far_ms = max_so_far_ms.max(entry.max_timestamp_ms);
            if entry.max_so_far_ms == max_so_far_ms {
                break;
            }
            entry.max_so_far_ms = max_so_far_ms;
        }
        packed
    }

    /// Where the log would begin if only this were kept; at most the durable end.
    pub(crate) fn trim_point(&self, keep: Keep, durable_lsn: u64, log_end: Offset) -> Offset {
        let durable = &self.entries[..self.entries.partition_point(|e| e.lsn <= durable_lsn)];
        let gone = match keep {
            Keep::Since(time_ms) => {
                let old = &durable[..durable.partition_point(|e| e.max_so_far_ms < time_ms)];
                // What has no time stays with what follows it.
                old.len() - old.iter().rev().take_while(|e| e.max_timestamp_ms < 0).count()
            }
            Keep::Bytes(least) => {
                let mut left = self.bytes;
                let goes = |e: &&BatchEntry| {
                    left = left.saturating_sub(u64::from(e.len));
                    left >= least
                };
                durable.iter().take_while(goes).count()
            }
        };
        self.entries.get(gone).map_or(log_end, |e| e.base)
    }

    /// Whether the batches follow each other without a hole from `log_start` to `log_end`.
    pub(crate) fn is_continuous(&self, log_start: Offset, log_end: Offset) -> bool {
        let Some(first) = self.entries.first() else { return log_start == log_end };
        first.base <= log_start
            && self.entries.windows(2).all(|w| w[0].last.plus(1) == w[1].base)
            && self.entries.last().is_some_and(|e| e.last.plus(1) == log_end)
    }
}
