//! Pack files: the batches that a checkpoint moved out of the log, sorted by partition and offset, with an index at the end.
//!
//! Written once, synced, never changed. Drawn in `docs/formats/pack.md`. Deliberately not here: when one is written
//! (`checkpointer.rs`).

use std::io;

use bytes::{BufMut, BytesMut};
use pagemark_wire::types::{Offset, PartitionKey};

use super::codec::{self, Reader};
use crate::disk::{Disk, FORMAT_VERSION, FileId};

/// Directory of the packs.
pub(super) const PACK_DIR: &str = "packs";
const MAGIC: &[u8; 8] = b"PMPACK\0\0";
const TRAILER_LEN: usize = 24;
const ENTRY_LEN: usize = 64;

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

/// One batch in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackEntry {
    pub key: PartitionKey,
    pub base: Offset,
    pub last: Offset,
    pub max_timestamp_ms: i64,
    pub offset: u64,
    pub len: u32,
    /// CRC-32C of the whole batch.
    pub crc: u32,
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
        out.put_u32_le(entry.len);
        out.put_i64_le(entry.base.0);
        out.put_i64_le(entry.last.0);
        out.put_i64_le(entry.max_timestamp_ms);
        out.put_u64_le(entry.offset);
        out.put_u32_le(entry.crc);
        out.put_u32_le(0);
    }
    let crc = crc32c::crc32c(&out[start..]);
    out.put_u64_le(at);
    out.put_u32_le(u32::try_from(entries.len()).expect("a pack has fewer batches than its checkpoint's log bytes"));
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
    Ok((0..count).map(|_| parse_entry(&mut r)).collect())
}

fn parse_trailer(trailer: &[u8], reference: &PackRef) -> Option<(u64, usize)> {
    let mut r = Reader(trailer);
    let (at, count, crc) = (r.u64()?, r.u32()? as usize, r.u32()?);
    (crc == reference.index_crc && r.take(8)? == MAGIC).then_some((at, count))
}

fn parse_entry(r: &mut Reader<'_>) -> Option<PackEntry> {
    let (key, len) = (r.partition()?, r.u32()?);
    let (base, last, max_timestamp_ms) = (Offset(r.i64()?), Offset(r.i64()?), r.i64()?);
    let (offset, crc) = (r.u64()?, r.u32()?);
    r.u32()?;
    Some(PackEntry { key, base, last, max_timestamp_ms, offset, len, crc })
}
