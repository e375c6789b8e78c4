//! Segment files: the data of one partition, in chunks that checkpoints append, each with an index of its blocks behind it.
//!
//! Drawn in `docs/formats/segment.md`. In memory stays only a summary of each segment; its blocks are looked up when somebody
//! reads: in the footer of a sealed one, along the chain of chunks of the others. The length of the file says nothing; what counts
//! is the length that a checkpoint gives. A segment may also be what one file of the log holds of a partition, with nothing but its
//! index written (`keeper.rs`). Deliberately not here: when one is written (`mover.rs`) and removed (`files.rs`).

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use pagemark_wire::types::{Offset, PartitionKey};

use super::block::{Block, ENTRY_LEN};
use super::codec::{self, Reader};
use super::log_file::{Lodging, LogFile, slot_path};
use crate::disk::{Disk, FORMAT_VERSION, FileId};

/// Directory of the segments.
pub(super) const SEGMENT_DIR: &str = "segments";
const MAGIC: &[u8; 8] = b"PMSEG\0\0\0";
/// Bytes in front of the first block.
pub(super) const HEAD_LEN: u64 = 48;
/// What a checkpoint holds of a segment.
pub(super) const SUMMARY_LEN: u64 = 81;
/// Bytes behind every index.
pub(super) const TRAILER_LEN: usize = 40;

/// Path of a segment.
pub(super) fn segment_path(number: u64) -> String {
    format!("{SEGMENT_DIR}/{number:08}.seg")
}

/// The segment that a file name means.
pub(super) fn segment_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").filter(|digits| digits.len() >= 8)?.parse().ok()
}

/// The file of a segment.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    /// No other segment has it, whatever file it lies in.
    pub number: u64,
    home: Home,
}

/// Where a segment's data lies.
#[derive(Debug)]
enum Home {
    /// In a file of its own, opened when it is needed first.
    Own(Mutex<Option<FileId>>),
    /// In a file of the log, which stays what it is as long as this holds it, with its index at a place behind the records.
    Log(Lodging, Range<u64>),
    /// In the log file of this generation, which nobody has found yet.
    Unfound(u64),
}

impl SegmentFile {
    /// A file of its own.
    pub(super) fn own(number: u64) -> SegmentFile {
        SegmentFile { number, home: Home::Own(Mutex::new(None)) }
    }

    /// A file of the log.
    pub(super) fn in_log(number: u64, log: Arc<LogFile>, index: Range<u64>) -> SegmentFile {
        SegmentFile { number, home: Home::Log(Lodging::new(log), index) }
    }

    /// The log file that it is, and where its index lies in there.
    pub(super) fn in_log_at(&self) -> Option<(&Arc<LogFile>, Range<u64>)> {
        match &self.home {
            Home::Log(lodging, index) => Some((&lodging.log, index.clone())),
            Home::Own(_) | Home::Unfound(_) => None,
        }
    }

    /// Nothing refers to it any more.
    pub(super) fn leave(&self) {
        if let Home::Log(lodging, _) = &self.home {
            lodging.leave();
        }
    }

    /// The generation of the log file that it is, or was.
    pub(super) fn generation(&self) -> Option<u64> {
        match &self.home {
            Home::Own(_) => None,
            Home::Log(lodging, _) => Some(lodging.log.header.generation),
            Home::Unfound(generation) => Some(*generation),
        }
    }

    /// What to call it where people read it.
    pub(super) fn name(&self) -> String {
        match &self.home {
            Home::Own(_) => format!("the file {}", segment_path(self.number)),
            Home::Log(lodging, _) => format!("the file {}", slot_path(lodging.log.slot)),
            Home::Unfound(generation) => format!("the log file of generation {generation}"),
        }
    }

    /// The handle, if it was opened before.
    pub(super) fn known(&self) -> Option<FileId> {
        match &self.home {
            Home::Own(handle) => *handle.lock().unwrap_or_else(PoisonError::into_inner),
            Home::Log(lodging, _) => Some(lodging.log.file),
            Home::Unfound(_) => None,
        }
    }

    /// Takes note of a handle; one that is not needed comes back.
    pub(super) fn learn(&self, file: FileId) -> Option<FileId> {
        let Home::Own(handle) = &self.home else { return Some(file) };
        let mut handle = handle.lock().unwrap_or_else(PoisonError::into_inner);
        match *handle {
            Some(_) => Some(file),
            None => {
                *handle = Some(file);
                None
            }
        }
    }

    /// The handle. May wait for the disk, but lets nobody wait who only asks whether there is one: that is done under the lane's lock.
    pub(super) fn open(&self, disk: &dyn Disk) -> io::Result<FileId> {
        if let Some(file) = self.known() {
            return Ok(file);
        }
        if self.generation().is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = disk.open(&segment_path(self.number))?;
        if let Some(extra) = self.learn(file) {
            disk.close(extra);
        }
        Ok(self.known().unwrap_or(file))
    }
}

/// What stays in memory of a segment, and what checkpoints say of it.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub file: Arc<SegmentFile>,
    pub base: Offset,
    /// Behind its last offset.
    pub end: Offset,
    /// Bytes of batches.
    pub bytes: u64,
    /// Data records.
    pub records: u64,
    /// Greatest timestamp of the first of its blocks that has one; negative if none has.
    pub first_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    /// So much of the file is durable; the last trailer ends here.
    pub len: u64,
    /// Where the last index begins.
    pub index_at: u64,
    /// The next chunk goes here. Once closed it is never written again.
    pub open: bool,
}

impl Segment {
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.file.number);
        out.put_i64_le(self.base.0);
        out.put_i64_le(self.end.0);
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.records);
        out.put_i64_le(self.first_timestamp_ms);
        out.put_i64_le(self.max_timestamp_ms);
        out.put_u64_le(self.len);
        out.put_u64_le(self.index_at);
        out.put_u8(u8::from(self.open));
        out.put_u64_le(self.file.generation().unwrap_or(0)); // no log file has generation 0
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Option<Segment> {
        let number = r.u64()?;
        let mut segment = Segment {
            base: Offset(r.i64()?),
            end: Offset(r.i64()?),
            bytes: r.u64()?,
            records: r.u64()?,
            first_timestamp_ms: r.i64()?,
            max_timestamp_ms: r.i64()?,
            len: r.u64()?,
            index_at: r.u64()?,
            open: r.u8()? & 1 == 1,
            ..Segment::empty(SegmentFile::own(number), Offset(0))
        };
        match r.u64()? {
            0 => {}
            generation => segment.file = Arc::new(SegmentFile { number, home: Home::Unfound(generation) }),
        }
        Some(segment)
    }

    /// One that holds nothing yet.
    pub(super) fn empty(file: SegmentFile, base: Offset) -> Segment {
        Segment {
            file: Arc::new(file),
            base,
            end: base,
            bytes: 0,
            records: 0,
            first_timestamp_ms: i64::MIN,
            max_timestamp_ms: i64::MIN,
            len: 0,
            index_at: 0,
            open: true,
        }
    }

    /// Takes note of blocks that were appended.
    pub(super) fn add(&mut self, blocks: &[Block]) {
        if let (0, Some(first)) = (self.bytes, blocks.first()) {
            self.base = first.base;
        }
        for block in blocks {
            if self.first_timestamp_ms < 0 {
                self.first_timestamp_ms = block.max_timestamp_ms;
            }
            self.end = block.last.plus(1);
            self.bytes += u64::from(block.len);
            self.records += u64::from(block.records);
            self.max_timestamp_ms = self.max_timestamp_ms.max(block.max_timestamp_ms);
        }
    }
}

/// The first bytes of a segment.
pub(super) fn put_head(out: &mut BytesMut, number: u64, key: PartitionKey) {
    let start = out.len();
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT_VERSION);
    out.put_u32_le(0);
    out.put_u64_le(number);
    codec::put_partition(out, key);
    let crc = crc32c::crc32c(&out[start..]);
    out.put_u32_le(crc);
    debug_assert_eq!((out.len() - start) as u64, HEAD_LEN);
}

/// An index with its trailer. `previous` is where the index of the chunk before begins, 0 if this one lists all blocks.
pub(super) fn put_index(out: &mut BytesMut, number: u64, previous: u64, blocks: &[Block]) {
    let start = out.len();
    blocks.iter().for_each(|b| b.put(out));
    out.put_u64_le(number);
    out.put_u64_le(previous);
    out.put_u32_le(u32::try_from(blocks.len()).expect("a segment has fewer blocks"));
    out.put_u32_le(0); // aborted transactions
    out.put_u32_le(0);
    let crc = crc32c::crc32c(&out[start..]);
    out.put_u32_le(crc);
    out.put_slice(MAGIC);
}

/// Follows a segment's indexes from the last one to the first, one read after the other.
#[derive(Debug)]
pub(super) struct ChainReader {
    number: u64,
    range: (Offset, Offset),
    at: u64,
    end: u64,
    /// Newest chunk first.
    found: Vec<Vec<Block>>,
}

/// What has rotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RottenIndex;

impl ChainReader {
    pub(super) fn new(segment: &Segment) -> ChainReader {
        let (at, end) = (segment.index_at, segment.len);
        ChainReader { number: segment.file.number, range: (segment.base, segment.end), at, end, found: Vec::new() }
    }

    /// What to read next: where, and how much.
    pub(super) fn next(&self) -> Result<(u64, usize), RottenIndex> {
        let len = self.end.checked_sub(self.at).filter(|len| *len >= TRAILER_LEN as u64).ok_or(RottenIndex)?;
        let len = usize::try_from(len).map_err(|_| RottenIndex)?;
        // After the first read the length is not known: blocks lie between an index and the next.
        Ok((self.at, len))
    }

    /// Takes what was read; all blocks in order when the beginning is reached.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<Block>>, RottenIndex> {
        let (blocks, previous) = parse_index(bytes, self.number).ok_or(RottenIndex)?;
        let first_at = blocks.first().map(|b| b.at);
        self.found.push(blocks);
        if previous != 0 {
            // The index of the chunk before ends where this one's blocks begin.
            let end = first_at.ok_or(RottenIndex)?;
            if previous >= self.at || end > self.at {
                return Err(RottenIndex);
            }
            (self.at, self.end) = (previous, end);
            return Ok(None);
        }
        let all: Vec<Block> = self.found.drain(..).rev().flatten().collect();
        let ends = (all.first().map(|b| b.base), all.last().map(|b| b.last.plus(1)));
        let ordered = all.windows(2).all(|w| w[0].last < w[1].base && w[0].end_at() <= w[1].at);
        if ends == (Some(self.range.0), Some(self.range.1)) && ordered { Ok(Some(all)) } else { Err(RottenIndex) }
    }
}

/// The blocks that an index lists, and where the one before begins. `None` if it is not one of this segment.
pub(super) fn parse_index(bytes: &[u8], number: u64) -> Option<(Vec<Block>, u64)> {
    let (index, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_LEN)?)?;
    let mut r = Reader(trailer);
    let (of, previous, count) = (r.u64()?, r.u64()?, r.u32()? as usize);
    r.take(8)?;
    let crc = r.u32()?;
    let covered = bytes.len() - 12;
    let whole = of == number && r.take(8)? == MAGIC && count.checked_mul(ENTRY_LEN) == Some(index.len());
    if !whole || crc32c::crc32c(&bytes[..covered]) != crc {
        return None;
    }
    let mut r = Reader(index);
    let blocks = (0..count).map(|_| Block::parse(&mut r)).collect::<Option<Vec<_>>>()?;
    Some((blocks, previous))
}

/// All blocks of a segment, read from its file.
pub(super) fn read_blocks(disk: &dyn Disk, segment: &Segment) -> io::Result<Result<Vec<Block>, RottenIndex>> {
    let file = segment.file.open(disk)?;
    let mut chain = ChainReader::new(segment);
    loop {
        let (at, len) = match chain.next() {
            Ok(next) => next,
            Err(rotten) => return Ok(Err(rotten)),
        };
        let bytes: Bytes = disk.read_at(file, at, len)?;
        match chain.take(&bytes) {
            Ok(None) => {}
            Ok(Some(blocks)) => return Ok(Ok(blocks)),
            Err(rotten) => return Ok(Err(rotten)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(base: i64, at: u64, count: i64) -> Vec<Block> {
        (0..count)
            .map(|i| Block {
                base: Offset(base + 2 * i),
                last: Offset(base + 2 * i + 1),
                at: at + 10 * i as u64,
                max_timestamp_ms: 5 + i,
                len: 10,
                records: 2,
                crc: 7,
            })
            .collect()
    }

    /// A segment of three chunks without the blocks' bytes, and what a checkpoint says of it.
    fn example() -> (BytesMut, Segment, Vec<Block>) {
        let mut file = BytesMut::new();
        let mut segment = Segment::empty(SegmentFile::own(9), Offset(0));
        put_head(&mut file, 9, crate::contract::partition(1, 0));
        let (mut all, mut previous) = (Vec::new(), 0);
        for chunk in 0..3 {
            let new = blocks(chunk * 6, file.len() as u64, 3);
            file.put_bytes(1, 30);
            let index_at = file.len() as u64;
            put_index(&mut file, 9, previous, &new);
            previous = index_at;
            segment.add(&new);
            (segment.len, segment.index_at) = (file.len() as u64, index_at);
            all.extend(new);
        }
        (file, segment, all)
    }

    fn read(file: &[u8], segment: &Segment) -> Result<Vec<Block>, RottenIndex> {
        let mut chain = ChainReader::new(segment);
        loop {
            let (at, len) = chain.next()?;
            if let Some(blocks) = chain.take(file.get(at as usize..at as usize + len).ok_or(RottenIndex)?)? {
                return Ok(blocks);
            }
        }
    }

    #[test]
    fn the_chain_of_chunks_gives_all_blocks_and_so_does_a_footer() {
        let (mut file, mut segment, all) = example();
        assert_eq!((segment.base, segment.end, segment.bytes, segment.records), (Offset(0), Offset(18), 90, 18));
        assert_eq!(read(&file, &segment).unwrap(), all);
        segment.index_at = file.len() as u64;
        put_index(&mut file, 9, 0, &all);
        segment.len = file.len() as u64;
        assert_eq!(read(&file, &segment).unwrap(), all);
    }

    #[test]
    fn every_flipped_byte_of_the_indexes_and_a_wrong_number_are_seen() {
        let (file, segment, _) = example();
        for at in HEAD_LEN as usize..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 4;
            let of_a_block = file[at] == 1 && flipped[at] == 5 && read(&flipped, &segment).is_ok();
            assert!(of_a_block || read(&flipped, &segment).is_err(), "byte {at}");
        }
        let other = Segment { file: Arc::new(SegmentFile::own(8)), ..segment };
        assert_eq!(read(&file, &other), Err(RottenIndex));
    }
}
