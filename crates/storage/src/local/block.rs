//! Blocks: whole batches of one partition, back to back, under one checksum. What has left the log is indexed and read by block.
//!
//! A block has up to 64 KiB, or one batch that is larger. Its checksum is that which its bytes ought to have, even where they have
//! rotted before they were moved: rot stays visible for ever. Deliberately not here: the files that blocks lie in.

use bytes::{BufMut, BytesMut};
use pagemark_wire::crc;
use pagemark_wire::types::Offset;

use super::codec::Reader;
use super::index::BatchEntry;

/// Bytes of an entry.
pub(super) const ENTRY_LEN: usize = 48;

/// Where a block lies, and what is known of it without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub base: Offset,
    pub last: Offset,
    /// Where it begins in its file.
    pub at: u64,
    pub max_timestamp_ms: i64,
    pub len: u32,
    /// Data records in it; those of control batches do not count.
    pub records: u32,
    /// CRC-32C of all of it.
    pub crc: u32,
}

impl Block {
    /// The block that a batch makes by itself.
    pub(super) fn of(batch: &BatchEntry, at: u64) -> Block {
        let BatchEntry { base, last, max_timestamp_ms, len, records, crc, .. } = *batch;
        Block { base, last, at, max_timestamp_ms, len, records, crc }
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_i64_le(self.base.0);
        out.put_i64_le(self.last.0);
        out.put_u64_le(self.at);
        out.put_i64_le(self.max_timestamp_ms);
        out.put_u32_le(self.len);
        out.put_u32_le(self.records);
        out.put_u32_le(self.crc);
        out.put_u32_le(0);
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Option<Block> {
        let (base, last, at, max_timestamp_ms) = (Offset(r.i64()?), Offset(r.i64()?), r.u64()?, r.i64()?);
        let (len, records, crc) = (r.u32()?, r.u32()?, r.u32()?);
        r.u32()?;
        Some(Block { base, last, at, max_timestamp_ms, len, records, crc })
    }

    /// Where it ends in its file.
    pub(super) fn end_at(&self) -> u64 {
        self.at.saturating_add(u64::from(self.len))
    }
}

/// Puts pieces of one partition together into blocks.
#[derive(Debug, Default)]
pub(super) struct Packer {
    pub blocks: Vec<Block>,
}

impl Packer {
    /// Takes a piece, whose bytes were put at `piece.at`. It goes on with the last block if it follows it without a gap and does
    /// not make it larger than `limit`.
    pub(super) fn push(&mut self, piece: Block, bytes: &[u8], limit: u64) {
        let Some(block) = self.blocks.last_mut().filter(|b| {
            b.last.plus(1) == piece.base
                && b.end_at() == piece.at
                && u64::from(b.len) + u64::from(piece.len) <= limit.min(u64::from(u32::MAX))
        }) else {
            return self.blocks.push(piece);
        };
        block.crc = if bytes.len() < crc::LEAST_BYTES && crc32c::crc32c(bytes) == piece.crc {
            crc32c::crc32c_append(block.crc, bytes)
        } else {
            crc::combine(block.crc, piece.crc, u64::from(piece.len))
        };
        block.last = piece.last;
        block.len += piece.len;
        block.records = block.records.saturating_add(piece.records);
        block.max_timestamp_ms = block.max_timestamp_ms.max(piece.max_timestamp_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(base: i64, at: u64, bytes: &[u8]) -> Block {
        let (last, crc) = (Offset(base + 1), crc32c::crc32c(bytes));
        Block { base: Offset(base), last, at, max_timestamp_ms: base, len: bytes.len() as u32, records: 2, crc }
    }

    #[test]
    fn pieces_join_while_they_follow_each_other_and_fit() {
        let mut packer = Packer::default();
        packer.push(piece(0, 100, b"abcd"), b"abcd", 10);
        packer.push(piece(2, 104, b"efgh"), b"efgh", 10);
        packer.push(piece(4, 108, b"ijkl"), b"ijkl", 10);
        packer.push(piece(7, 112, b"m"), b"m", 10);
        let [first, second, third] = packer.blocks[..] else { panic!("{:?}", packer.blocks) };
        assert_eq!((first.base, first.last, first.len, first.records), (Offset(0), Offset(3), 8, 4));
        assert_eq!((first.crc, first.max_timestamp_ms), (crc32c::crc32c(b"abcdefgh"), 2));
        assert_eq!((second.base, second.len), (Offset(4), 4), "it would not have fitted");
        assert_eq!(third.base, Offset(7), "an offset is missing before it");
    }

    #[test]
    fn what_has_rotted_is_joined_under_the_checksum_it_should_have() {
        let mut packer = Packer::default();
        packer.push(piece(0, 0, b"abcd"), b"abXd", 100);
        packer.push(piece(2, 4, b"efgh"), b"efgX", 100);
        packer.push(piece(4, 8, b"ij"), b"ij", 100);
        assert_eq!(packer.blocks.len(), 1);
        assert_eq!(packer.blocks[0].crc, crc32c::crc32c(b"abcdefghij"));
    }

    #[test]
    fn an_entry_comes_back_as_it_was_written() {
        let mut out = BytesMut::new();
        let block = piece(5, 77, b"xyz");
        block.put(&mut out);
        assert_eq!(out.len(), ENTRY_LEN);
        assert_eq!(Block::parse(&mut Reader(&out)), Some(block));
    }
}
