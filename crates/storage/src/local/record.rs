//! Log records: the unit of the write-ahead log, drawn in `docs/formats/log.md`.
//!
//! A record is valid at a place only if length, checksum, generation and sequence number are what that place demands. The head
//! has a checksum of its own, so that a record whose batches have rotted still says which partitions it held.
//! Deliberately not here: what a record does to the state (`fold.rs`), where it lies (`lane.rs`, `scan.rs`).

use bytes::{BufMut, Bytes, BytesMut};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, TopicId};

use super::codec::{self, Reader};
use super::meta::MetaChange;
use crate::engine::{AtomicGroup, EpochStart};

/// Bytes in front of every payload.
pub(super) const HEAD_LEN: usize = 32;
/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// Bytes of a flush record: head and `durable_lsn`.
pub(super) const FLUSH_LEN: usize = HEAD_LEN + 8;
/// Bytes that a batch costs in a group's directory.
pub(super) const DIRECTORY_ENTRY_LEN: usize = 24;

const KIND_AT: usize = 24;
const HEAD_CRC_AT: usize = 28;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flush = 1,
    Group = 2,
    Meta = 3,
    CreateTopic = 4,
    DeleteTopic = 5,
    LeaderEpochs = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Flush, Kind::Group, Kind::Meta, Kind::CreateTopic, Kind::DeleteTopic, Kind::LeaderEpochs]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }
}

/// Size of a record with this payload, padding included.
pub(super) fn padded_len(payload_len: usize) -> usize {
    (HEAD_LEN + payload_len).next_multiple_of(ALIGN)
}

/// Size of a group's payload.
pub(super) fn group_payload_len(group: &AtomicGroup) -> usize {
    8 + group.0.iter().map(|a| DIRECTORY_ENTRY_LEN + a.batch.len()).sum::<usize>()
}

/// Begins a record at the end of `out`; the payload is pushed behind it, then [`finish`] closes it.
pub(super) fn begin(out: &mut BytesMut, lsn: u64, generation: u64, kind: Kind) -> usize {
    let start = out.len();
    out.put_u64_le(0); // length and checksum
    out.put_u64_le(lsn);
    out.put_u64_le(generation);
    out.put_u8(kind as u8);
    out.put_bytes(0, 7); // reserved, head checksum
    start
}

/// Fills in lengths and checksums, and pads.
pub(super) fn finish(out: &mut BytesMut, start: usize) {
    let end = out.len();
    seal(&mut out[start..end]);
    let padding = (end - start).next_multiple_of(ALIGN) - (end - start);
    out.put_bytes(0, padding);
}

/// Computes length and checksums of the record that fills `record`.
fn seal(record: &mut [u8]) {
    let length = u32::try_from(record.len() - 8).expect("records are at most 32 MiB");
    record[0..4].copy_from_slice(&length.to_le_bytes());
    let head_crc = head_crc(record, directory_len(record));
    record[HEAD_CRC_AT..HEAD_LEN].copy_from_slice(&head_crc.to_le_bytes());
    let crc = crc32c::crc32c(&record[8..]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Bytes of the payload that the head's checksum covers: a group's directory.
fn directory_len(record: &[u8]) -> usize {
    if record[KIND_AT] != Kind::Group as u8 {
        return 0;
    }
    let count = Reader(&record[HEAD_LEN..]).u32().unwrap_or(0) as usize;
    count.saturating_mul(DIRECTORY_ENTRY_LEN).saturating_add(8).min(record.len() - HEAD_LEN)
}

fn head_crc(record: &[u8], directory_len: usize) -> u32 {
    let crc = crc32c::crc32c(&record[0..4]);
    let crc = crc32c::crc32c_append(crc, &record[8..HEAD_CRC_AT]);
    crc32c::crc32c_append(crc, &record[HEAD_LEN..HEAD_LEN + directory_len])
}

/// Writes a whole flush record.
pub(super) fn put_flush(out: &mut BytesMut, lsn: u64, generation: u64, durable_lsn: u64) {
    let start = begin(out, lsn, generation, Kind::Flush);
    out.put_u64_le(durable_lsn);
    finish(out, start);
}

/// Sets `durable_lsn` in the flush record that `bytes` begin with.
pub(super) fn patch_flush(bytes: &mut [u8], durable_lsn: u64) {
    let record = &mut bytes[..FLUSH_LEN];
    record[HEAD_LEN..].copy_from_slice(&durable_lsn.to_le_bytes());
    seal(record);
}

/// Writes a whole group record; gives where each batch begins, counted from the record's start.
pub(super) fn put_group(out: &mut BytesMut, lsn: u64, generation: u64, group: &AtomicGroup) -> Vec<usize> {
    let start = begin(out, lsn, generation, Kind::Group);
    out.put_u32_le(u32::try_from(group.0.len()).expect("a group of 32 MiB has fewer batches"));
    out.put_u32_le(0);
    for append in &group.0 {
        codec::put_partition(out, append.partition);
        out.put_u32_le(u32::try_from(append.batch.len()).expect("a batch is smaller than its record"));
    }
    let mut at = Vec::with_capacity(group.0.len());
    for append in &group.0 {
        at.push(out.len() - start);
        out.put_slice(&append.batch);
    }
    finish(out, start);
    at
}

/// What a valid record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Flush {
        durable_lsn: u64,
    },
    /// Each batch with where it begins, counted from the record's start.
    Group(Vec<(PartitionKey, usize, Bytes)>),
    Meta(Vec<MetaChange>),
    CreateTopic {
        topic: TopicId,
        partitions: u32,
        first_epoch: LeaderEpoch,
    },
    DeleteTopic {
        topic: TopicId,
    },
    LeaderEpochs(Vec<(PartitionKey, EpochStart)>),
}

impl Body {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Body::Flush { .. } => Kind::Flush,
            Body::Group(_) => Kind::Group,
            Body::Meta(_) => Kind::Meta,
            Body::CreateTopic { .. } => Kind::CreateTopic,
            Body::DeleteTopic { .. } => Kind::DeleteTopic,
            Body::LeaderEpochs(_) => Kind::LeaderEpochs,
        }
    }

    /// The payload of any record but a group, which is copied straight from its batches by [`put_group`].
    pub(super) fn payload(&self) -> BytesMut {
        let mut out = BytesMut::new();
        match self {
            Body::Flush { durable_lsn } => out.put_u64_le(*durable_lsn),
            Body::Group(_) => unreachable!("groups are written by put_group"),
            Body::Meta(changes) => {
                out.put_u32_le(u32::try_from(changes.len()).expect("changes fit a log record"));
                changes.iter().for_each(|c| c.put(&mut out));
            }
            Body::CreateTopic { topic, partitions, first_epoch } => {
                codec::put_topic(&mut out, *topic);
                out.put_u32_le(*partitions);
                out.put_i32_le(first_epoch.0);
            }
            Body::DeleteTopic { topic } => codec::put_topic(&mut out, *topic),
            Body::LeaderEpochs(entries) => {
                out.put_u32_le(u32::try_from(entries.len()).expect("partitions are counted in 32 bits"));
                for (key, epoch) in entries {
                    codec::put_partition(&mut out, *key);
                    out.put_i32_le(epoch.epoch.0);
                    out.put_i64_le(epoch.start.0);
                }
            }
        }
        out
    }

    fn parse(kind: Kind, record: &Bytes) -> Option<Body> {
        let mut r = Reader(&record[HEAD_LEN..]);
        let body = match kind {
            Kind::Flush => Body::Flush { durable_lsn: r.u64()? },
            Kind::Group => return parse_group(record),
            Kind::Meta => {
                let count = r.u32()?;
                Body::Meta((0..count).map(|_| MetaChange::parse(&mut r)).collect::<Option<_>>()?)
            }
            Kind::CreateTopic => {
                Body::CreateTopic { topic: r.topic()?, partitions: r.u32()?, first_epoch: LeaderEpoch(r.i32()?) }
            }
            Kind::DeleteTopic => Body::DeleteTopic { topic: r.topic()? },
            Kind::LeaderEpochs => {
                let count = r.u32()?;
                let entry = |_| {
                    let key = r.partition()?;
                    Some((key, EpochStart { epoch: LeaderEpoch(r.i32()?), start: Offset(r.i64()?) }))
                };
                Body::LeaderEpochs((0..count).map(entry).collect::<Option<_>>()?)
            }
        };
        r.end()?;
        Some(body)
    }
}

fn parse_group(record: &Bytes) -> Option<Body> {
    let (directory, mut at) = parse_directory(&record[HEAD_LEN..])?;
    let mut batches = Vec::with_capacity(directory.len());
    for (key, length) in directory {
        let end = at.checked_add(length).filter(|end| *end <= record.len())?;
        batches.push((key, at, record.slice(at..end)));
        at = end;
    }
    (at == record.len()).then_some(Body::Group(batches))
}

/// The directory of a group, and where the first batch begins, counted from the record's start.
fn parse_directory(payload: &[u8]) -> Option<(Vec<(PartitionKey, usize)>, usize)> {
    let mut r = Reader(payload);
    let count = r.u32()? as usize;
    r.u32()?;
    if count > r.0.len() / DIRECTORY_ENTRY_LEN {
        return None;
    }
    let entry = |_| Some((r.partition()?, r.u32()? as usize));
    let directory = (0..count).map(entry).collect::<Option<Vec<_>>>()?;
    Some((directory, HEAD_LEN + 8 + count * DIRECTORY_ENTRY_LEN))
}

/// A record that was found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub lsn: u64,
    pub generation: u64,
    pub body: Body,
    /// Its bytes with padding.
    pub size: usize,
}

/// The first fields of whatever lies at a place; nothing is verified yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Bytes without padding.
    pub len: usize,
    pub lsn: u64,
    pub generation: u64,
}

impl Head {
    /// Reads the fields; `None` if the length cannot be a record's.
    pub(super) fn peek(bytes: &[u8], max_len: usize) -> Option<Head> {
        let mut r = Reader(bytes.get(..HEAD_LEN)?);
        let len = (r.u32()? as usize).checked_add(8)?;
        r.u32()?;
        let head = Head { len, lsn: r.u64()?, generation: r.u64()? };
        (HEAD_LEN..=max_len).contains(&len).then_some(head)
    }
}

/// What a place's checksum says of the record there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    Valid(Record),
    /// The checksum fits but the content makes no sense: a newer version wrote it.
    Unknown(u8),
    Invalid,
}

/// Reads the record that fills `bytes` (without padding, as long as its head says).
pub(super) fn parse(bytes: &Bytes, check_crc: bool) -> Parsed {
    let Some(head) = Head::peek(bytes, bytes.len()).filter(|h| h.len == bytes.len()) else { return Parsed::Invalid };
    if check_crc && Reader(&bytes[4..]).u32() != Some(crc32c::crc32c(&bytes[8..])) {
        return Parsed::Invalid;
    }
    let kind = bytes[KIND_AT];
    match Kind::from_byte(kind).and_then(|kind| Body::parse(kind, bytes)) {
        Some(body) => Parsed::Valid(Record {
            lsn: head.lsn,
            generation: head.generation,
            body,
            size: bytes.len().next_multiple_of(ALIGN),
        }),
        None if check_crc => Parsed::Unknown(kind),
        None => Parsed::Invalid,
    }
}

/// What a damaged record still proves by its head's checksum: what it was, and whose batches it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Legible {
    pub kind: Kind,
    pub partitions: Vec<PartitionKey>,
    /// Its bytes with padding.
    pub size: usize,
}

/// Reads the head alone of a record whose own checksum has failed.
pub(super) fn parse_head(bytes: &Bytes) -> Option<Legible> {
    let directory_len = directory_len(bytes);
    let stored = Reader(&bytes[HEAD_CRC_AT..HEAD_LEN]).u32()?;
    if stored != head_crc(bytes, directory_len) {
        return None;
    }
    let kind = Kind::from_byte(bytes[KIND_AT])?;
    let partitions = match kind {
        Kind::Group => parse_directory(&bytes[HEAD_LEN..])?.0.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    };
    Some(Legible { kind, partitions, size: bytes.len().next_multiple_of(ALIGN) })
}

#[cfg(test)]
mod tests;
