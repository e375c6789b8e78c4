//! Pack files: the blocks of many partitions with little data, sorted by partition and offset, with an index at the end.
//!
//! Written once, synced, never changed. Drawn in `docs/formats/pack.md`. Deliberately not here: when one is written (`mover.rs`)
//! and removed (`files.rs`).

use std::io;

use bytes::{BufMut, BytesMut};
use pagemark_wire::types::PartitionKey;

use super::block::{self, Block};
use super::codec::{self, Reader};
use crate::disk::{Disk, FORMAT_VERSION, FileId};

/// Directory of the packs.
pub(super) const PACK_DIR: &str = "packs";
const MAGIC: &[u8; 8] = b"PMPACK\0\0";
const TRAILER_LEN: usize = 24;
const ENTRY_LEN: usize = 20 + block::ENTRY_LEN;

/// Path of a pack.
pub(super) fn pack_path(id: u64) -> String {
    format!("{PACK_DIR}/{id:08}.pack")
}

/// The pack that a file name means.
pub(super) fn pack_of(name: &str) -> Option<u64> {
    name.strip_suffix(".pack").filter(|digits| digits.len() >= 8)?.parse().ok()
}

/// A pack that is open for reading.
#[derive(Debug)]
pub(super) struct PackFile {
    pub file: FileId,
    pub reference: PackRef,
}

/// What a checkpoint says of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackRef {
    pub id: u64,
    /// Size of the file, bytes.
    pub len: u64,
    /// Checksum of its index.
    pub index_crc: u32,
}

/// One block in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackEntry {
    pub key: PartitionKey,
    pub block: Block,
}

/// The first bytes of a pack.
pub(super) fn put_head(out: &mut BytesMut) {
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT_VERSION);
    out.put_u32_le(0);
}

/// The index and what stands behind it; gives the index's checksum. `at` is where it begins in the file.
pub(super) fn put_index(out: &mut BytesMut, at: u64, entries: &[PackEntry]) -> u32 {
    let start = out.len();
    for entry in entries {
        codec::put_partition(out, entry.key);
        entry.block.put(out);
    }
    let crc = crc32c::crc32c(&out[start..]);
    out.put_u64_le(at);
    out.put_u32_le(u32::try_from(entries.len()).expect("a pack has fewer blocks than bytes"));
    out.put_u32_le(crc);
    out.put_slice(MAGIC);
    crc
}

/// Reads a pack's index. `None` if it is not the one that the checkpoint refers to.
///
/// # Errors
/// What the disk said, other than that the file is too short.
pub(super) fn read_index(disk: &dyn Disk, file: FileId, reference: &PackRef) -> io::Result<Option<Vec<PackEntry>>> {
    let len = disk.len(file)?;
    let Some(trailer_at) = reference.len.checked_sub(TRAILER_LEN as u64).filter(|_| len >= reference.len) else {
        return Ok(None);
    };
    let trailer = disk.read_at(file, trailer_at, TRAILER_LEN)?;
    let Some((at, count)) = parse_trailer(&trailer, reference) else { return Ok(None) };
    if at.checked_add(count as u64 * ENTRY_LEN as u64) != Some(trailer_at) {
        return Ok(None);
    }
    let bytes = disk.read_at(file, at, count * ENTRY_LEN)?;
    if crc32c::crc32c(&bytes) != reference.index_crc {
        return Ok(None);
    }
    let mut r = Reader(&bytes);
    Ok((0..count).map(|_| Some(PackEntry { key: r.partition()?, block: Block::parse(&mut r)? })).collect())
}

fn parse_trailer(trailer: &[u8], reference: &PackRef) -> Option<(u64, usize)> {
    let mut r = Reader(trailer);
    let (at, count, crc) = (r.u64()?, r.u32()? as usize, r.u32()?);
    (crc == reference.index_crc && r.take(8)? == MAGIC).then_some((at, count))
}
