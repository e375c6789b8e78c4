//! Log files: fixed slots on disk that are zero-filled once and then used again and again under rising generations, unless data of
//! segments stays in them.
//!
//! The header names the generation; it is written and synced before the first record of that generation. It stands twice, so
//! that one rotten sector does not hide a file of good records. Deliberately not here: records, and which file comes next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::{BufMut, BytesMut};

use super::codec::Reader;
use super::record::Seal;
use crate::disk::{FORMAT_VERSION, FileId};

/// Directory of the log files.
pub(super) const LOG_DIR: &str = "log";
/// Where the records of a file begin.
pub(super) const FIRST_RECORD_AT: u64 = 4096;
/// Where the second copy of the header stands.
const COPY_AT: usize = 2048;
const MAGIC: &[u8; 8] = b"PMLOG\0\0\0";
pub(super) const HEADER_LEN: usize = 68;

/// Path of a slot.
pub(super) fn slot_path(slot: u64) -> String {
    format!("{LOG_DIR}/{slot:08}.log")
}

/// The slot that a file name means.
pub(super) fn slot_of(name: &str) -> Option<u64> {
    name.strip_suffix(".log").filter(|digits| digits.len() >= 8)?.parse().ok()
}

/// What a log file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// Which use of which file this is; rises with every use of any file.
    pub generation: u64,
    /// The sequence number of its first record.
    pub first_lsn: u64,
    /// What was durable when the header was written.
    pub durable_lsn: u64,
    /// Records end at or before this.
    pub capacity: u64,
    /// The start of the node that wrote it: a random number, with which the records are sealed.
    pub incarnation: u64,
    /// The file had `capacity` bytes on disk before this use. If it has fewer now, somebody took them away.
    pub filled: bool,
}

/// What was found in a header's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFound {
    Valid(FileHeader),
    /// Never used: all zero.
    Blank,
    NewerFormat(u32),
    Damaged,
}

impl FileHeader {
    /// What the records of this use of the file are sealed with.
    pub(super) fn seal(&self) -> Seal {
        Seal::new(self.incarnation, self.generation)
    }

    /// The first 4096 bytes of the file.
    pub(super) fn encode(&self) -> BytesMut {
        let mut head = BytesMut::with_capacity(FIRST_RECORD_AT as usize);
        head.put_slice(MAGIC);
        head.put_u32_le(FORMAT_VERSION);
        head.put_u32_le(u32::from(self.filled));
        head.put_u32_le(0); // lane id
        head.put_u32_le(1); // lane count
        head.put_u64_le(self.generation);
        head.put_u64_le(self.first_lsn);
        head.put_u64_le(self.durable_lsn);
        head.put_u64_le(self.capacity);
        head.put_u64_le(self.incarnation);
        let crc = crc32c::crc32c(&head);
        head.put_u32_le(crc);
        debug_assert_eq!(head.len(), HEADER_LEN);
        let copy = head.clone();
        head.resize(COPY_AT, 0);
        head.put_slice(&copy);
        head.resize(FIRST_RECORD_AT as usize, 0);
        head
    }

    /// Reads the first 4096 bytes of a file. Of two good copies the newer counts: a reuse may have been cut between them.
    pub(super) fn decode(bytes: &[u8]) -> HeaderFound {
        let copies = [bytes, bytes.get(COPY_AT..).unwrap_or_default()].map(FileHeader::decode_copy);
        match copies {
            [HeaderFound::NewerFormat(v), _] | [_, HeaderFound::NewerFormat(v)] => HeaderFound::NewerFormat(v),
            [HeaderFound::Valid(a), HeaderFound::Valid(b)] => {
                HeaderFound::Valid(if a.generation >= b.generation { a } else { b })
            }
            [HeaderFound::Valid(h), _] | [_, HeaderFound::Valid(h)] => HeaderFound::Valid(h),
            _ if bytes.iter().all(|b| *b == 0) => HeaderFound::Blank,
            _ => HeaderFound::Damaged,
        }
    }

    fn decode_copy(bytes: &[u8]) -> HeaderFound {
        FileHeader::decode_fields(bytes).unwrap_or(HeaderFound::Damaged)
    }

    fn decode_fields(bytes: &[u8]) -> Option<HeaderFound> {
        let covered = bytes.get(..HEADER_LEN - 4)?;
        let mut r = Reader(bytes);
        if r.take(8)? != MAGIC {
            return None;
        }
        let version = r.u32()?;
        let filled = r.u32()? & 1 == 1;
        r.take(8)?;
        let header = FileHeader {
            generation: r.u64()?,
            first_lsn: r.u64()?,
            durable_lsn: r.u64()?,
            capacity: r.u64()?,
            incarnation: r.u64()?,
            filled,
        };
        if r.u32()? != crc32c::crc32c(covered) {
            return None;
        }
        Some(if version > FORMAT_VERSION { HeaderFound::NewerFormat(version) } else { HeaderFound::Valid(header) })
    }
}

/// A log file in use. Readers hold it by reference count, and so do segments whose data lies in it: it is not given a new generation
/// while one does.
#[derive(Debug)]
pub(super) struct LogFile {
    pub slot: u64,
    pub file: FileId,
    pub header: FileHeader,
    /// Bytes the file is meant to have on disk.
    pub size: u64,
    /// The log went on elsewhere before all of it was written for the first time.
    left_early: AtomicBool,
    /// Where indexes end that lie behind its records; 0 if there never was one.
    indexes_end: AtomicU64,
    /// Segments whose data lies in it, and those among them that something needs.
    lodgers: AtomicUsize,
    living: AtomicUsize,
    /// Held by everybody who reads batches of it that may be a segment's meanwhile.
    readers: Arc<()>,
}

impl LogFile {
    pub(super) fn new(slot: u64, file: FileId, header: FileHeader, size: u64) -> LogFile {
        // One that is longer than its records can get has had an index in an earlier life.
        let indexes_end = AtomicU64::new(if size > header.capacity { size } else { 0 });
        let (left_early, readers) = (AtomicBool::new(false), Arc::default());
        let (lodgers, living) = (AtomicUsize::new(0), AtomicUsize::new(0));
        LogFile { slot, file, header, size, left_early, indexes_end, lodgers, living, readers }
    }

    /// Whether some of its data stays in it (`keeper.rs`). Such a file is longer than others, may have holes, and is not used again.
    pub(super) fn keeps(&self) -> bool {
        self.indexes_end.load(Ordering::Relaxed) > 0
    }

    /// Where the next index may begin: behind all records, and behind the indexes that checkpoints may refer to.
    pub(super) fn next_index_at(&self) -> u64 {
        self.indexes_end.load(Ordering::Relaxed).max(self.header.capacity).max(self.size)
    }

    /// What lies below is never written again.
    pub(super) fn note_indexes(&self, end: u64) {
        self.indexes_end.fetch_max(end, Ordering::Relaxed);
    }

    /// The log goes on elsewhere, and part of it was never written.
    pub(super) fn leave_early(&self) {
        self.left_early.store(true, Ordering::Relaxed);
    }

    /// Whether data of a segment lies in it.
    pub(super) fn has_lodgers(&self) -> bool {
        self.lodgers.load(Ordering::Relaxed) > 0
    }

    /// Whether data of a segment lies in it that something needs.
    pub(super) fn has_living(&self) -> bool {
        self.living.load(Ordering::Relaxed) > 0
    }

    /// Whether nobody reads what may be given back.
    pub(super) fn is_unread(&self) -> bool {
        Arc::strong_count(&self.readers) == 1
    }

    /// The same file for its next use.
    pub(super) fn ready(&self) -> ReadySlot {
        let (filled, zeroed) = (self.header.filled, !self.left_early.load(Ordering::Relaxed));
        ReadySlot { slot: self.slot, file: self.file, size: self.size, filled, zeroed }
    }
}

/// Somebody who reads batches in a log file. What is read stays where it is.
#[derive(Debug, Clone)]
pub(super) struct LogReader {
    log: Arc<LogFile>,
    _reads: Arc<()>,
}

impl LogReader {
    pub(super) fn of(log: &Arc<LogFile>) -> LogReader {
        LogReader { log: Arc::clone(log), _reads: Arc::clone(&log.readers) }
    }

    pub(super) fn file(&self) -> FileId {
        self.log.file
    }
}

/// A segment's place in a log file, as long as there is the segment.
#[derive(Debug)]
pub(super) struct Lodging {
    pub log: Arc<LogFile>,
    left: AtomicBool,
}

impl Lodging {
    pub(super) fn new(log: Arc<LogFile>) -> Lodging {
        log.lodgers.fetch_add(1, Ordering::Relaxed);
        log.living.fetch_add(1, Ordering::Relaxed);
        Lodging { log, left: AtomicBool::new(false) }
    }

    /// Nothing needs it any more.
    pub(super) fn leave(&self) {
        if !self.left.swap(true, Ordering::Relaxed) {
            self.log.living.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Lodging {
    fn drop(&mut self) {
        self.leave();
        self.log.lodgers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file that waits for its next use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadySlot {
    pub slot: u64,
    pub file: FileId,
    pub size: u64,
    /// It has `size` bytes on disk for sure; if not, it is to have them but grows only as it is written.
    pub filled: bool,
    /// All of it has been written once, so that a flush into it is cheap.
    pub zeroed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(generation: u64) -> FileHeader {
        FileHeader { generation, first_lsn: 10, durable_lsn: 9, capacity: 1 << 20, incarnation: 3, filled: true }
    }

    #[test]
    fn a_header_survives_the_loss_of_either_copy() {
        let bytes = header(4).encode();
        assert_eq!(bytes.len() as u64, FIRST_RECORD_AT);
        assert_eq!(FileHeader::decode(&bytes), HeaderFound::Valid(header(4)));
        for at in [0, 30, HEADER_LEN - 1, COPY_AT, COPY_AT + HEADER_LEN - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(FileHeader::decode(&damaged), HeaderFound::Valid(header(4)), "byte {at}");
        }
        let mut both = bytes;
        both[9] ^= 1;
        both[COPY_AT + 20] ^= 1;
        assert_eq!(FileHeader::decode(&both), HeaderFound::Damaged);
    }

    #[test]
    fn the_newer_copy_counts_when_a_reuse_was_cut() {
        let mut bytes = header(4).encode();
        bytes[..512].copy_from_slice(&header(5).encode()[..512]);
        assert_eq!(FileHeader::decode(&bytes), HeaderFound::Valid(header(5)));
    }

    #[test]
    fn blank_short_and_newer_files_are_told_apart() {
        assert_eq!(FileHeader::decode(&[0; 4096]), HeaderFound::Blank);
        assert_eq!(FileHeader::decode(&[]), HeaderFound::Blank);
        assert_eq!(FileHeader::decode(&[7; 100]), HeaderFound::Damaged);
        let mut newer = header(1).encode()[..HEADER_LEN - 4].to_vec();
        newer[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
        let crc = crc32c::crc32c(&newer);
        newer.extend(crc.to_le_bytes());
        assert_eq!(FileHeader::decode(&newer), HeaderFound::NewerFormat(FORMAT_VERSION + 1));
    }

    #[test]
    fn names_and_slots_belong_together() {
        assert_eq!(slot_of(slot_path(12).strip_prefix("log/").unwrap()), Some(12));
        for other in ["1.log", "00000001.tmp", "x0000001.log", ".log", "00000001.log.bak"] {
            assert_eq!(slot_of(other), None, "{other}");
        }
    }
}
