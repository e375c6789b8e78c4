//! Log records: the unit of the write-ahead log, drawn in `docs/formats/log.md`.
//!
//! A record is valid at a place only if length, checksums, generation and sequence number are what that place demands. The head
//! and a group's directory have checksums of their own, so that a record whose batches have rotted still says which partitions it
//! held. All checksums begin with a file's [`Seal`], which no client knows: bytes that look like a record inside of a batch are
//! never taken for one.
//! Deliberately not here: what a record does to the state (`fold.rs`), where it lies (`lane.rs`, `scan.rs`).

use bytes::{BufMut, Bytes, BytesMut};
use pagemark_wire::crc;
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
const DIRECTORY_CRC_AT: usize = HEAD_LEN + 4;
const DIRECTORY_AT: usize = HEAD_LEN + 8;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flush = 1,
    Group = 2,
    Meta = 3,
    CreateTopic = 4,
    DeleteTopic = 5,
    LeaderEpochs = 6,
    LogStart = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::{CreateTopic, DeleteTopic, Flush, Group, LeaderEpochs, LogStart, Meta};
        [Flush, Group, Meta, CreateTopic, DeleteTopic, LeaderEpochs, LogStart].into_iter().find(|k| *k as u8 == byte)
    }
}

/// What the records of one use of one file are sealed with: its generation, and what their checksums begin with. Derived from the
/// header alone; the incarnation in it is a random number, so that a client's payload cannot contain a valid record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    pub generation: u64,
    head: u32,
    body: u32,
}

impl Seal {
    /// The halves of the incarnation go different ways, so that a forger has to guess all 64 bits.
    pub(super) fn new(incarnation: u64, generation: u64) -> Seal {
        let seed = |half: u32| {
            let crc = crc32c::crc32c(&half.to_le_bytes());
            crc32c::crc32c_append(crc, &generation.to_le_bytes())
        };
        Seal { generation, head: seed(incarnation as u32), body: seed((incarnation >> 32) as u32) }
    }

    fn head_crc(&self, head: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(self.head, &head[0..4]);
        crc32c::crc32c_append(crc, &head[8..HEAD_CRC_AT])
    }

    /// Of a record, or of how it begins.
    fn body_crc(&self, record: &[u8]) -> u32 {
        crc32c::crc32c_append(self.body, &record[8..])
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
pub(super) fn begin(out: &mut BytesMut, lsn: u64, seal: Seal, kind: Kind) -> usize {
    let start = out.len();
    out.put_u64_le(0); // length and checksum
    out.put_u64_le(lsn);
    out.put_u64_le(seal.generation);
    out.put_u8(kind as u8);
    out.put_bytes(0, 7); // reserved, head checksum
    start
}

/// Fills in lengths and checksums, and pads.
pub(super) fn finish(out: &mut BytesMut, start: usize, seal: Seal) {
    close(&mut out[start..], seal);
    pad(out, start);
}

fn pad(out: &mut BytesMut, start: usize) {
    let len = out.len() - start;
    out.put_bytes(0, len.next_multiple_of(ALIGN) - len);
}

/// Computes length and checksums of the record that fills `record`.
pub(super) fn close(record: &mut [u8], seal: Seal) {
    close_head(record, seal);
    let crc = seal.body_crc(record);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The same but for the checksum of its body.
fn close_head(record: &mut [u8], seal: Seal) {
    let length = u32::try_from(record.len() - 8).expect("records are at most 32 MiB");
    record[0..4].copy_from_slice(&length.to_le_bytes());
    let head_crc = seal.head_crc(record);
    record[HEAD_CRC_AT..HEAD_LEN].copy_from_slice(&head_crc.to_le_bytes());
    if let Some(crc) = directory_crc(record) {
        record[DIRECTORY_CRC_AT..DIRECTORY_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The checksum of a group's directory, which goes on from the head's. `None` if there is none.
fn directory_crc(record: &[u8]) -> Option<u32> {
    if record[KIND_AT] != Kind::Group as u8 {
        return None;
    }
    let count = Reader(&record[HEAD_LEN..]).u32()? as usize;
    let end = count.checked_mul(DIRECTORY_ENTRY_LEN)?.checked_add(DIRECTORY_AT)?;
    let crc = crc32c::crc32c_append(Reader(&record[HEAD_CRC_AT..]).u32()?, &record[HEAD_LEN..DIRECTORY_CRC_AT]);
    Some(crc32c::crc32c_append(crc, record.get(DIRECTORY_AT..end)?))
}

/// Writes a whole flush record.
pub(super) fn put_flush(out: &mut BytesMut, lsn: u64, seal: Seal, durable_lsn: u64) {
    let start = begin(out, lsn, seal, Kind::Flush);
    out.put_u64_le(durable_lsn);
    finish(out, start, seal);
}

/// Sets `durable_lsn` in the flush record that `bytes` begin with.
pub(super) fn patch_flush(bytes: &mut [u8], seal: Seal, durable_lsn: u64) {
    let record = &mut bytes[..FLUSH_LEN];
    record[HEAD_LEN..].copy_from_slice(&durable_lsn.to_le_bytes());
    close(record, seal);
}

/// Writes a whole group record; gives where each batch begins, counted from the record's start.
pub(super) fn put_group(out: &mut BytesMut, lsn: u64, seal: Seal, group: &AtomicGroup) -> Vec<usize> {
    let start = begin(out, lsn, seal, Kind::Group);
    out.put_u32_le(u32::try_from(group.0.len()).expect("a group of 32 MiB has fewer batches"));
    out.put_u32_le(0); // the directory's checksum
    for append in &group.0 {
        codec::put_partition(out, append.partition);
        out.put_u32_le(u32::try_from(append.batch.len()).expect("a batch is smaller than its record"));
    }
    let mut at = Vec::with_capacity(group.0.len());
    for append in &group.0 {
        at.push(out.len() - start);
        append.batch.pieces().iter().for_each(|piece| out.put_slice(piece));
    }
    let record = &mut out[start..];
    close_head(record, seal);
    let directory_end = DIRECTORY_AT + group.0.len() * DIRECTORY_ENTRY_LEN;
    let mut body_crc = seal.body_crc(&record[..directory_end]);
    for (append, at) in group.0.iter().zip(&at) {
        body_crc = crc::append(body_crc, &record[*at..*at + append.batch.len()], append.crc);
    }
    record[4..8].copy_from_slice(&body_crc.to_le_bytes());
    pad(out, start);
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
    LogStart {
        partition: PartitionKey,
        start: Offset,
    },
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
            Body::LogStart { .. } => Kind::LogStart,
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
            Body::LogStart { partition, start } => {
                codec::put_partition(&mut out, *partition);
                out.put_i64_le(start.0);
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
            Kind::LogStart => Body::LogStart { partition: r.partition()?, start: Offset(r.i64()?) },
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
    Some((directory, DIRECTORY_AT + count * DIRECTORY_ENTRY_LEN))
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

/// The first fields of whatever lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes without padding.
    pub len: usize,
    pub lsn: u64,
    pub generation: u64,
    stored_crc: u32,
}

impl Head {
    /// Reads the fields, verifying nothing; `None` if the length or the number cannot be a record's.
    pub(super) fn peek(bytes: &[u8], max_len: usize) -> Option<Head> {
        let mut r = Reader(bytes.get(..HEAD_LEN)?);
        let len = (r.u32()? as usize).checked_add(8)?;
        r.u32()?;
        let (lsn, generation) = (r.u64()?, r.u64()?);
        r.u32()?;
        let head = Head { len, lsn, generation, stored_crc: r.u32()? };
        let possible = (HEAD_LEN..=max_len).contains(&len) && lsn > 0 && lsn < u64::MAX;
        possible.then_some(head)
    }

    /// Whether the checksum over the fields is right. `bytes` are those that were peeked into.
    pub(super) fn is_sealed(&self, bytes: &[u8], seal: Seal) -> bool {
        self.stored_crc == seal.head_crc(bytes)
    }

    /// Bytes with padding.
    pub(super) fn size(&self) -> usize {
        self.len.next_multiple_of(ALIGN)
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
pub(super) fn parse(bytes: &Bytes, seal: Seal, check_crc: bool) -> Parsed {
    let Some(head) = Head::peek(bytes, bytes.len()).filter(|h| h.len == bytes.len()) else { return Parsed::Invalid };
    let sealed = || head.is_sealed(bytes, seal) && Reader(&bytes[4..]).u32() == Some(seal.body_crc(bytes));
    if check_crc && !sealed() {
        return Parsed::Invalid;
    }
    let kind = bytes[KIND_AT];
    match Kind::from_byte(kind).and_then(|kind| Body::parse(kind, bytes)) {
        // Nothing can be known to be durable that was written later.
        Some(Body::Flush { durable_lsn }) if durable_lsn >= head.lsn => Parsed::Invalid,
        Some(body) => Parsed::Valid(Record { lsn: head.lsn, generation: head.generation, body, size: head.size() }),
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

/// Reads head and directory alone of a record whose own checksum has failed.
pub(super) fn parse_head(bytes: &Bytes, seal: Seal) -> Option<Legible> {
    let head = Head::peek(bytes, bytes.len()).filter(|h| h.is_sealed(bytes, seal))?;
    let kind = Kind::from_byte(bytes[KIND_AT])?;
    let partitions = match kind {
        Kind::Group => {
            let stored = Reader(bytes.get(DIRECTORY_CRC_AT..)?).u32()?;
            if directory_crc(bytes)? != stored {
                return None;
            }
            parse_directory(&bytes[HEAD_LEN..])?.0.into_iter().map(|(key, _)| key).collect()
        }
        _ => Vec::new(),
    };
    Some(Legible { kind, partitions, size: head.size() })
}

#[cfg(test)]
mod tests;
