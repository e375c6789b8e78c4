//! Checkpoints: the whole folded state at one position of the log, in one file.
//!
//! Batches are not in it but in the packs it refers to. Two are kept; log files are given free only below the older one.
//! Drawn in `docs/formats/checkpoint.md`. Deliberately not here: the steps of taking one (`checkpointer.rs`).

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};
use pagemark_core::partition::{BatchSpan, ProducerEntry, ProducerTable};
use pagemark_wire::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::codec::{self, Reader};
use super::fold::{Fold, Partition};
use super::index::PartitionIndex;
use super::lane::Position;
use super::meta::KeyedState;
use super::pack::PackRef;
use crate::disk::FORMAT_VERSION;
use crate::engine::EpochStart;

/// Directory of the checkpoints.
pub(super) const CHECKPOINT_DIR: &str = "checkpoints";
const MAGIC: &[u8; 8] = b"PMCKPT\0\0";
const NO_TEXT: u32 = u32::MAX;

/// Path of a checkpoint.
pub(super) fn checkpoint_path(number: u64) -> String {
    format!("{CHECKPOINT_DIR}/{number:08}.ckpt")
}

/// The checkpoint that a file name means.
pub(super) fn checkpoint_of(name: &str) -> Option<u64> {
    name.strip_suffix(".ckpt").filter(|digits| digits.len() >= 8)?.parse().ok()
}

/// What stays known of a checkpoint that a recovery may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retained {
    pub number: u64,
    pub position: Position,
    pub packs: Vec<u64>,
}

/// What stands in front of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub number: u64,
    /// The engine was closed at this position: nothing follows it but, perhaps, an idle mark.
    pub clean: bool,
    pub incarnation: u64,
    /// Behind the last record that the state contains.
    pub position: Position,
    /// The sequence number of the record that comes next.
    pub next_lsn: u64,
    /// No log file had this generation or a higher one when the checkpoint was captured.
    pub next_generation: u64,
    pub packs: Vec<PackRef>,
}

/// Why a file is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged,
    NewerFormat(u32),
}

/// The bytes of a whole checkpoint file.
pub(super) fn encode(head: &Head, state: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(128 + head.packs.len() * 20 + state.len());
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT_VERSION);
    out.put_u32_le(u32::from(head.clean));
    out.put_u64_le(head.number);
    out.put_u64_le(head.incarnation);
    out.put_u64_le(head.position.generation);
    out.put_u64_le(head.position.offset);
    out.put_u64_le(head.next_lsn);
    out.put_u64_le(head.next_generation);
    out.put_u32_le(u32::try_from(head.packs.len()).expect("packs are counted in 32 bits"));
    for pack in &head.packs {
        out.put_u64_le(pack.id);
        out.put_u64_le(pack.len);
        out.put_u32_le(pack.index_crc);
    }
    out.put_slice(state);
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out
}

/// Reads a whole checkpoint file.
pub(super) fn decode(bytes: &[u8]) -> Result<(Head, Fold), Unreadable> {
    let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(Unreadable::Damaged)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(Unreadable::Damaged);
    }
    let mut r = Reader(covered);
    if r.take(8) != Some(MAGIC) {
        return Err(Unreadable::Damaged);
    }
    match r.u32() {
        Some(version) if version > FORMAT_VERSION => return Err(Unreadable::NewerFormat(version)),
        _ => {}
    }
    decode_fields(&mut r).ok_or(Unreadable::Damaged)
}

fn decode_fields(r: &mut Reader<'_>) -> Option<(Head, Fold)> {
    let clean = r.u32()? & 1 != 0;
    let (number, incarnation) = (r.u64()?, r.u64()?);
    let position = Position { generation: r.u64()?, offset: r.u64()? };
    let (next_lsn, next_generation) = (r.u64()?, r.u64()?);
    let count = r.u32()?;
    let pack = |_| Some(PackRef { id: r.u64()?, len: r.u64()?, index_crc: r.u32()? });
    let packs = (0..count).map(pack).collect::<Option<Vec<_>>>()?;
    let fold = decode_state(r)?;
    r.end()?;
    Some((Head { number, clean, incarnation, position, next_lsn, next_generation, packs }, fold))
}

/// The state: keyed facts, then topics with their partitions.
pub(super) fn encode_state(fold: &Fold) -> BytesMut {
    let mut out = BytesMut::new();
    fold.meta.put(&mut out);
    out.put_u64_le(fold.topics.len() as u64);
    for (topic, partitions) in &fold.topics {
        codec::put_topic(&mut out, *topic);
        out.put_u32_le(u32::try_from(partitions.len()).expect("partitions are counted in 32 bits"));
        partitions.iter().for_each(|p| put_partition_state(&mut out, p));
    }
    out
}

fn decode_state(r: &mut Reader<'_>) -> Option<Fold> {
    let mut fold = Fold::default();
    fold.meta = KeyedState::parse(r)?;
    for _ in 0..r.u64()? {
        let topic = r.topic()?;
        let count = r.u32()?;
        let partitions = (0..count).map(|_| parse_partition_state(r)).collect::<Option<Vec<_>>>()?;
        fold.topics.insert(topic, partitions);
    }
    Some(fold)
}

fn put_partition_state(out: &mut BytesMut, partition: &Partition) {
    out.put_i64_le(partition.log_start.0);
    out.put_i64_le(partition.log_end.0);
    out.put_u32_le(u32::try_from(partition.epochs.len()).expect("epochs are counted in 31 bits"));
    for entry in &partition.epochs {
        out.put_i32_le(entry.epoch.0);
        out.put_i64_le(entry.start.0);
    }
    out.put_u32_le(u32::try_from(partition.producers.iter().len()).expect("producers of one partition fit 32 bits"));
    for (id, entry) in partition.producers.iter() {
        out.put_i64_le(id.0);
        out.put_i16_le(entry.epoch.0);
        out.put_u8(u8::try_from(entry.batches.len()).expect("five batches are remembered"));
        for span in &entry.batches {
            out.put_i32_le(span.first_sequence);
            out.put_i32_le(span.last_sequence);
            out.put_i64_le(span.base_offset.0);
            out.put_i64_le(span.last_offset.0);
            out.put_i64_le(span.timestamp_ms);
        }
    }
    match &partition.quarantined {
        None => out.put_u32_le(NO_TEXT),
        Some(reason) => codec::put_sized(out, reason.as_bytes()),
    }
}

fn parse_partition_state(r: &mut Reader<'_>) -> Option<Partition> {
    let (log_start, log_end) = (Offset(r.i64()?), Offset(r.i64()?));
    let count = r.u32()?;
    let epoch = |_| Some(EpochStart { epoch: LeaderEpoch(r.i32()?), start: Offset(r.i64()?) });
    let epochs = (0..count).map(epoch).collect::<Option<Vec<_>>>()?;
    let mut producers = ProducerTable::default();
    for _ in 0..r.u32()? {
        let (id, entry) = parse_producer(r)?;
        producers.restore(id, entry);
    }
    let mut ahead = Reader(r.0);
    let quarantined = match ahead.u32()? {
        NO_TEXT => {
            r.u32()?;
            None
        }
        _ => Some(r.text()?.into()),
    };
    let index = PartitionIndex::default();
    // A checkpoint is durable only if all that it contains is.
    let durable_start = log_start;
    Some(Partition { log_start, durable_start, log_end, epochs, producers, quarantined, index, owner: None })
}

fn parse_producer(r: &mut Reader<'_>) -> Option<(ProducerId, ProducerEntry)> {
    let (id, epoch, count) = (ProducerId(r.i64()?), ProducerEpoch(r.i16()?), r.u8()?);
    let span = |_| {
        Some(BatchSpan {
            first_sequence: r.i32()?,
            last_sequence: r.i32()?,
            base_offset: Offset(r.i64()?),
            last_offset: Offset(r.i64()?),
            timestamp_ms: r.i64()?,
        })
    };
    let batches = (0..count).map(span).collect::<Option<VecDeque<_>>>()?;
    Some((id, ProducerEntry { epoch, batches }))
}

/// A state with something of everything.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn example() -> (Head, Fold) {
    let mut fold = Fold::default();
    let key = crate::contract::partition(3, 0);
    fold.create(key.topic, 2, LeaderEpoch(5));
    fold.meta.apply(crate::engine::Lsn(8), super::meta::MetaChange::Put("a".into(), bytes::Bytes::from_static(b"1")));
    fold.meta.apply(crate::engine::Lsn(9), super::meta::MetaChange::Counter("ids".into(), 1000));
    let partition = fold.partition_mut(key).expect("it was just made");
    partition.log_end = Offset(7);
    partition.begin_epoch(EpochStart { epoch: LeaderEpoch(6), start: Offset(7) });
    partition.quarantined = Some("rotten".into());
    let span = BatchSpan {
        first_sequence: 1,
        last_sequence: 2,
        base_offset: Offset(5),
        last_offset: Offset(6),
        timestamp_ms: 9,
    };
    let entry = ProducerEntry { epoch: ProducerEpoch(1), batches: [span].into() };
    partition.producers.restore(ProducerId(4), entry);
    let packs = vec![PackRef { id: 1, len: 100, index_crc: 5 }];
    let position = Position { generation: 2, offset: 4096 };
    (Head { number: 3, clean: true, incarnation: 1, position, next_lsn: 10, next_generation: 3, packs }, fold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    #[test]
    fn a_checkpoint_comes_back_as_it_was_written() {
        let (head, fold) = example();
        let bytes = encode(&head, &encode_state(&fold));
        let (read_head, read_fold) = decode(&bytes).unwrap();
        assert_eq!(read_head, head);
        assert_eq!(encode_state(&read_fold), encode_state(&fold));
        assert_eq!(read_fold.meta, fold.meta);
        let partition = read_fold.partition(contract::partition(3, 0)).unwrap();
        assert_eq!(partition.producers, fold.partition(contract::partition(3, 0)).unwrap().producers);
        assert_eq!(partition.epochs.len(), 2);
        assert_eq!(partition.quarantined.as_deref(), Some("rotten"));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_seen() {
        let (head, fold) = example();
        let bytes = encode(&head, &encode_state(&fold));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x20;
            assert_eq!(decode(&flipped).map(|_| ()), Err(Unreadable::Damaged), "byte {at}");
            assert_eq!(decode(&bytes[..at]).map(|_| ()), Err(Unreadable::Damaged), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = BytesMut::new();
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(FORMAT_VERSION + 1);
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32_le(crc);
        assert_eq!(decode(&bytes).map(|_| ()), Err(Unreadable::NewerFormat(FORMAT_VERSION + 1)));
    }
}
