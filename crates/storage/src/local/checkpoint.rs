//! Checkpoints: the folded state at one position of the log, whole or as changes to the checkpoint before.
//!
//! Batches are not in it but in the packs and segments it refers to. Each is written as two files, because a chain of changes
//! hangs on the whole one it begins with. Two are kept with their chains; log files are given free only below the older one.
//! Drawn in `docs/formats/checkpoint.md`. Deliberately not here: the steps of taking one (`checkpointer.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use pagemark_core::partition::{BatchSpan, ProducerEntry, ProducerTable};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, ProducerEpoch, ProducerId, TopicId};

use super::codec::{self, Reader};
use super::fold::{Fold, Partition};
use super::lane::Position;
use super::pack::PackRef;
#[cfg(any(test, feature = "fuzzing"))]
use super::segment::SegmentFile;
use super::segment::{SUMMARY_LEN, Segment};
use crate::disk::FORMAT_VERSION;
use crate::engine::EpochStart;

/// Directory of the checkpoints.
pub(super) const CHECKPOINT_DIR: &str = "checkpoints";
const MAGIC: &[u8; 8] = b"PMCKPT\0\0";
const NO_TEXT: u32 = u32::MAX;
/// In the number of a partition's segments: in front of them come some that the checkpoint before holds as well.
const KEPT: u32 = 1 << 31;
/// What the names of a checkpoint's two files end with.
pub(super) const COPIES: [&str; 2] = ["ckpt", "copy"];

/// Path of one of a checkpoint's two files.
pub(super) fn checkpoint_path(number: u64, copy: usize) -> String {
    format!("{CHECKPOINT_DIR}/{number:08}.{}", COPIES[copy])
}

/// The checkpoint that a file name means, and which of its files that is.
pub(super) fn checkpoint_of(name: &str) -> Option<(u64, usize)> {
    let (digits, ending) = name.rsplit_once('.')?;
    let copy = COPIES.iter().position(|known| *known == ending)?;
    Some((Some(digits).filter(|digits| digits.len() >= 8)?.parse().ok()?, copy))
}

/// What stays known of a checkpoint that a recovery may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retained {
    pub number: u64,
    pub position: Position,
    /// It and those that it is a change to, oldest first.
    pub chain: Vec<u64>,
}

/// What stands in front of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub number: u64,
    /// The checkpoint that this is a change to; 0 if it holds everything.
    pub previous: u64,
    /// The engine was closed at this position: nothing follows it but, perhaps, an idle mark.
    pub clean: bool,
    pub incarnation: u64,
    /// Behind the last record that the state contains.
    pub position: Position,
    /// The sequence number of the record that comes next.
    pub next_lsn: u64,
    /// No log file had this generation or a higher one when the checkpoint was captured.
    pub next_generation: u64,
    /// No pack that holds anything has this number or a higher one.
    pub next_pack: u64,
    /// Nor does any segment.
    pub next_segment: u64,
    /// All that hold anything.
    pub packs: Vec<PackRef>,
}

/// Why a file is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged,
    OtherFormat(u32),
}

/// One partition as it was when a checkpoint was captured.
#[derive(Debug)]
pub(super) struct Captured {
    pub key: PartitionKey,
    pub instance: u64,
    /// Log end at that time.
    pub end: Offset,
    /// Some of its data was only in the log.
    pub logged: bool,
    state: BytesMut,
    /// May change until the checkpoint is written.
    pub quarantined: Option<Arc<str>>,
    /// So many segments, from the one of this number on, are as the checkpoint before says.
    kept: Option<(u64, u32)>,
    /// Those behind. They may change as well: data is moved meanwhile.
    pub segments: Vec<Segment>,
}

impl Captured {
    /// As a change to the checkpoint before, or all of it. A segment changes only while a checkpoint is written, and that one tells
    /// of it; but for the last one, which is closed for good when a checkpoint is given up, and may grow again in this one.
    pub(super) fn of(key: PartitionKey, partition: &Partition, change: bool) -> Captured {
        let mut state = BytesMut::new();
        put_partition_state(&mut state, partition);
        let segments = &partition.index.segments;
        let (kept, told) = segments.split_at(if change { segments.len().saturating_sub(1) } else { 0 });
        Captured {
            key,
            instance: partition.instance,
            end: partition.log_end,
            logged: !partition.index.entries.is_empty(),
            state,
            quarantined: partition.quarantined.clone(),
            kept: kept.first().map(|first| (first.file.number, kept.len() as u32)),
            segments: told.to_vec(),
        }
    }

    fn put(&self, out: &mut BytesMut) {
        codec::put_partition(out, self.key);
        out.put_slice(&self.state);
        match &self.quarantined {
            None => out.put_u32_le(NO_TEXT),
            Some(reason) => codec::put_sized(out, reason.as_bytes()),
        }
        let count = u32::try_from(self.segments.len()).ok().filter(|count| *count < KEPT);
        let count = count.expect("segments are counted in 31 bits");
        match self.kept {
            None => out.put_u32_le(count),
            Some((first, kept)) => {
                out.put_u32_le(count | KEPT);
                out.put_u64_le(first);
                out.put_u32_le(kept);
            }
        }
        self.segments.iter().for_each(|s| s.put(out));
    }
}

/// How many bytes the head takes, with so many packs, and the checksum.
pub(super) fn head_bytes(packs: u64) -> u64 {
    128 + packs * 20
}

/// How many bytes a partition takes, as a change or all of it. Two new segments may have come when the checkpoint is written, and are
/// counted.
pub(super) fn bytes_of(partition: &Partition, change: bool) -> u64 {
    const FIXED: u64 = 20 + 24 + 8 + 8 + 12;
    let producers = partition.producers.iter().map(|(_, entry)| 11 + 32 * entry.batches.len() as u64);
    let reason = partition.quarantined.as_ref().map_or(0, |reason| reason.len() as u64);
    let segments = partition.index.segments.len();
    let segments = 2 + if change { segments.min(1) } else { segments } as u64;
    FIXED + 12 * partition.epochs.len() as u64 + producers.sum::<u64>() + reason + SUMMARY_LEN * segments
}

/// What a checkpoint holds, captured at one position.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The keyed facts, whole or changed.
    pub meta: BytesMut,
    pub deleted: Vec<TopicId>,
    pub partitions: Vec<Captured>,
}

/// A checkpoint whose bytes are to be made, by whoever has the time: there may be tens of megabytes of them.
#[derive(Debug, Clone)]
pub struct Draft {
    head: Head,
    state: Arc<State>,
}

impl Draft {
    pub(super) fn new(head: &Head, state: &Arc<State>) -> Draft {
        Draft { head: head.clone(), state: Arc::clone(state) }
    }

    pub(super) fn number(&self) -> u64 {
        self.head.number
    }

    pub(super) fn encode(&self) -> Bytes {
        encode(&self.head, &self.state)
    }
}

/// The bytes of a checkpoint file.
pub(super) fn encode(head: &Head, state: &State) -> Bytes {
    let mut out =
        BytesMut::with_capacity(256 + head.packs.len() * 20 + state.meta.len() + state.partitions.len() * 256);
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT_VERSION);
    out.put_u32_le(u32::from(head.clean));
    out.put_u64_le(head.number);
    out.put_u64_le(head.previous);
    out.put_u64_le(head.incarnation);
    out.put_u64_le(head.position.generation);
    out.put_u64_le(head.position.offset);
    out.put_u64_le(head.next_lsn);
    out.put_u64_le(head.next_generation);
    out.put_u64_le(head.next_pack);
    out.put_u64_le(head.next_segment);
    out.put_u32_le(u32::try_from(head.packs.len()).expect("packs are counted in 32 bits"));
    for pack in &head.packs {
        out.put_u64_le(pack.id);
        out.put_u64_le(pack.len);
        out.put_u32_le(pack.index_crc);
    }
    out.put_slice(&state.meta);
    out.put_u64_le(state.deleted.len() as u64);
    state.deleted.iter().for_each(|topic| codec::put_topic(&mut out, *topic));
    out.put_u64_le(state.partitions.len() as u64);
    state.partitions.iter().for_each(|captured| captured.put(&mut out));
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out.freeze()
}

/// Reads the head of a checkpoint file, after comparing the checksum over all of it. The rest is what [`restore`] takes.
pub(super) fn decode(bytes: &Bytes) -> Result<(Head, Bytes), Unreadable> {
    let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(Unreadable::Damaged)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(Unreadable::Damaged);
    }
    let mut r = Reader(covered);
    if r.take(8) != Some(MAGIC) {
        return Err(Unreadable::Damaged);
    }
    match r.u32() {
        Some(FORMAT_VERSION) => {}
        Some(version) => return Err(Unreadable::OtherFormat(version)),
        None => return Err(Unreadable::Damaged),
    }
    let head = decode_head(&mut r).ok_or(Unreadable::Damaged)?;
    let state = covered.len() - r.0.len();
    Ok((head, bytes.slice(state..covered.len())))
}

fn decode_head(r: &mut Reader<'_>) -> Option<Head> {
    let clean = r.u32()? & 1 != 0;
    let (number, previous, incarnation) = (r.u64()?, r.u64()?, r.u64()?);
    let position = Position { generation: r.u64()?, offset: r.u64()? };
    let (next_lsn, next_generation) = (r.u64()?, r.u64()?);
    let (next_pack, next_segment) = (r.u64()?, r.u64()?);
    let count = r.u32()?;
    let pack = |_| Some(PackRef { id: r.u64()?, len: r.u64()?, index_crc: r.u32()? });
    let packs = (0..count).map(pack).collect::<Option<Vec<_>>>()?;
    Some(Head {
        number,
        previous,
        clean,
        incarnation,
        position,
        next_lsn,
        next_generation,
        next_pack,
        next_segment,
        packs,
    })
}

/// Changes a state into the one that a checkpoint says; an empty one for a whole checkpoint.
pub(super) fn restore(fold: &mut Fold, state: &[u8]) -> Option<()> {
    let r = &mut Reader(state);
    fold.meta.restore(r)?;
    for _ in 0..r.u64()? {
        let topic = r.topic()?;
        fold.topics.remove(&topic);
    }
    for _ in 0..r.u64()? {
        let key = r.partition()?;
        let mut partition = parse_partition(r)?;
        let known = fold.partition_quietly(key).map(|p| std::mem::take(&mut p.index.segments)).unwrap_or_default();
        parse_segments(r, known)?.into_iter().for_each(|s| partition.index.put_segment(s));
        fold.restore(key, partition)?;
    }
    r.end()
}

fn put_partition_state(out: &mut BytesMut, partition: &Partition) {
    out.put_i64_le(partition.log_start.0);
    out.put_i64_le(partition.log_end.0);
    out.put_u64_le(partition.first_pack);
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
}

fn parse_partition(r: &mut Reader<'_>) -> Option<Partition> {
    let (log_start, log_end, first_pack) = (Offset(r.i64()?), Offset(r.i64()?), r.u64()?);
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
    // A checkpoint is durable only if all that it contains is.
    let durable_start = log_start;
    let epoch = LeaderEpoch(0);
    Some(Partition {
        log_start,
        durable_start,
        log_end,
        epochs,
        producers,
        quarantined,
        first_pack,
        ..Partition::new(epoch)
    })
}

/// The segments of a partition, given those that it had.
fn parse_segments(r: &mut Reader<'_>, known: Vec<Segment>) -> Option<Vec<Segment>> {
    let count = r.u32()?;
    let mut segments = Vec::new();
    if count & KEPT != 0 {
        let (first, kept) = (r.u64()?, r.u32()? as usize);
        let at = known.iter().position(|s| s.file.number == first)?;
        segments = known;
        segments.drain(..at);
        if segments.len() < kept {
            return None;
        }
        segments.truncate(kept);
    }
    for _ in 0..count & !KEPT {
        segments.push(Segment::parse(r)?);
    }
    Some(segments)
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
    let key: PartitionKey = crate::contract::partition(3, 0);
    fold.create(key.topic, 2, LeaderEpoch(5));
    fold.meta.apply(crate::engine::Lsn(8), super::meta::MetaChange::Put("a".into(), Bytes::from_static(b"1")));
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
    partition.index.put_segment(Segment { len: 99, end: Offset(7), ..Segment::empty(SegmentFile::own(5), Offset(0)) });
    let head = Head {
        number: 3,
        previous: 0,
        clean: true,
        incarnation: 1,
        position: Position { generation: 2, offset: 4096 },
        next_lsn: 10,
        next_generation: 3,
        next_pack: 4,
        next_segment: 6,
        packs: vec![PackRef { id: 1, len: 100, index_crc: 5 }],
    };
    (head, fold)
}

/// All of a state.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn whole(fold: &Fold) -> State {
    let mut state = State::default();
    fold.meta.put(&mut state.meta, None);
    state.partitions = fold.partitions().map(|(key, p)| Captured::of(key, p, false)).collect();
    state
}

#[cfg(test)]
mod tests {
    use super::super::meta::MetaChange;
    use super::*;
    use crate::contract;
    use crate::engine::Lsn;

    #[test]
    fn a_checkpoint_comes_back_as_it_was_written() {
        let (head, fold) = example();
        let bytes = encode(&head, &whole(&fold));
        let (read_head, state) = decode(&bytes).unwrap();
        assert_eq!(read_head, head);
        let mut read_fold = Fold::default();
        restore(&mut read_fold, &state).unwrap();
        assert_eq!(encode(&head, &whole(&read_fold)), bytes);
        let partition = read_fold.partition(contract::partition(3, 0)).unwrap();
        assert_eq!(partition.producers, fold.partition(contract::partition(3, 0)).unwrap().producers);
        assert_eq!((partition.epochs.len(), partition.index.segments[0].file.number), (2, 5));
        assert_eq!(partition.quarantined.as_deref(), Some("rotten"));
    }

    #[test]
    fn changes_make_of_the_state_before_the_one_after() {
        let (head, mut fold) = example();
        let mut old = Fold::default();
        restore(&mut old, &decode(&encode(&head, &whole(&fold))).unwrap().1).unwrap();
        fold.meta.take_changed();
        fold.changes = Default::default();
        fold.partitions_mut().for_each(|(_, p)| p.changed = false);
        fold.meta.apply(Lsn(11), MetaChange::Delete("a".into()));
        fold.meta.apply(Lsn(12), MetaChange::Put("b".into(), Bytes::from_static(b"2")));
        fold.partition_mut(contract::partition(3, 1)).unwrap().log_end = Offset(44);
        let gone = contract::partition(8, 0).topic;
        fold.create(gone, 1, LeaderEpoch(0));
        fold.delete(gone);
        fold.create(gone, 1, LeaderEpoch(9));
        let mut state = State { deleted: fold.changes.deleted.clone(), ..State::default() };
        fold.meta.put(&mut state.meta, Some(&fold.meta.clone().take_changed()));
        let mut keys = fold.changes.partitions.clone();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys, [contract::partition(3, 1), contract::partition(8, 0)]);
        state.partitions = keys.iter().map(|key| Captured::of(*key, fold.partition(*key).unwrap(), true)).collect();
        restore(&mut old, &decode(&encode(&head, &state)).unwrap().1).unwrap();
        assert_eq!(encode(&head, &whole(&old)), encode(&head, &whole(&fold)));
    }

    #[test]
    fn of_many_segments_a_change_tells_only_those_that_changed() {
        let (head, mut fold) = example();
        let key = contract::partition(3, 0);
        let segment = |number| Segment { bytes: number, ..Segment::empty(SegmentFile::own(number), Offset(0)) };
        fold.partition_mut(key).unwrap().index.segments = (10..1010).map(segment).collect();
        let mut old = Fold::default();
        restore(&mut old, &decode(&encode(&head, &whole(&fold))).unwrap().1).unwrap();
        let segments = &mut fold.partition_mut(key).unwrap().index.segments;
        segments.drain(..100);
        let mut captured = Captured::of(key, fold.partition(key).unwrap(), true);
        assert_eq!(captured.segments.len(), 1);
        // The last one grows while the checkpoint is written, and another one is begun.
        captured.segments[0].len = 5;
        captured.segments.push(segment(2000));
        let mut state = State { partitions: vec![captured], ..State::default() };
        fold.meta.put(&mut state.meta, Some(&Default::default()));
        let bytes = encode(&head, &state);
        assert!(bytes.len() < 1000, "{}", bytes.len());
        let told = decode(&bytes).unwrap().1;
        restore(&mut old, &told).unwrap();
        let segments = &old.partition(key).unwrap().index.segments;
        let found: Vec<(u64, u64)> = segments.iter().map(|s| (s.file.number, s.len)).collect();
        let expected = (110..1009).map(|number| (number, 0)).chain([(1009, 5), (2000, 0)]);
        assert_eq!(found, expected.collect::<Vec<_>>());
        // Told of a state that lacks what is kept, it makes no sense.
        assert_eq!(restore(&mut Fold::default(), &told), None);
        old.partition_mut(key).unwrap().index.segments.truncate(898);
        assert_eq!(restore(&mut old, &told), None);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_seen() {
        let (head, fold) = example();
        let bytes = encode(&head, &whole(&fold));
        for at in 0..bytes.len() {
            let mut flipped = BytesMut::from(&bytes[..]);
            flipped[at] ^= 0x20;
            assert_eq!(decode(&flipped.freeze()).map(|_| ()), Err(Unreadable::Damaged), "byte {at}");
            assert_eq!(decode(&bytes.slice(..at)).map(|_| ()), Err(Unreadable::Damaged), "cut at {at}");
        }
    }

    #[test]
    fn another_format_is_named() {
        for version in [FORMAT_VERSION - 1, FORMAT_VERSION + 1] {
            let mut bytes = BytesMut::new();
            bytes.put_slice(MAGIC);
            bytes.put_u32_le(version);
            let crc = crc32c::crc32c(&bytes);
            bytes.put_u32_le(crc);
            assert_eq!(decode(&bytes.freeze()).map(|_| ()), Err(Unreadable::OtherFormat(version)));
        }
    }
}
