//! Every kind of record comes back as it was written; every flipped bit is seen; garbage is never more than invalid.

use pagemark_wire::types::PartitionIndex;
use uuid::Uuid;

use super::*;
use crate::engine::Append;

fn seal() -> Seal {
    Seal::new(0x0123_4567_89ab_cdef, 3)
}

fn key(n: u8) -> PartitionKey {
    PartitionKey { topic: TopicId(Uuid::from_bytes([n; 16])), partition: PartitionIndex(i32::from(n)) }
}

fn group() -> AtomicGroup {
    let batches = [(1, "first"), (2, "the second"), (1, "")];
    AtomicGroup(batches.iter().map(|(n, b)| Append::new(key(*n), Bytes::from_static(b.as_bytes()))).collect())
}

fn written(body: &Body) -> Bytes {
    let mut out = BytesMut::new();
    match body {
        Body::Group(_) => drop(put_group(&mut out, 7, seal(), &group())),
        other => {
            let start = begin(&mut out, 7, seal(), other.kind());
            out.extend_from_slice(&other.payload());
            finish(&mut out, start, seal());
        }
    }
    out.freeze()
}

fn unpadded(bytes: &Bytes) -> Bytes {
    let head = Head::peek(bytes, bytes.len()).unwrap();
    bytes.slice(..head.len)
}

fn bodies() -> Vec<Body> {
    let mut at = HEAD_LEN + 8 + 3 * DIRECTORY_ENTRY_LEN;
    let mut batches = Vec::new();
    for append in group().0 {
        batches.push((append.partition, at, append.batch.joined()));
        at += append.batch.len();
    }
    let changes = vec![
        MetaChange::Put("a".into(), Bytes::from_static(b"value")),
        MetaChange::Delete("b".into()),
        MetaChange::Counter("c".into(), 77),
    ];
    let epoch = EpochStart { epoch: LeaderEpoch(4), start: Offset(99) };
    vec![
        Body::Flush { durable_lsn: 6 },
        Body::Group(batches),
        Body::Meta(changes),
        Body::CreateTopic { topic: key(9).topic, partitions: 12, first_epoch: LeaderEpoch(2) },
        Body::DeleteTopic { topic: key(9).topic },
        Body::LeaderEpochs(vec![(key(1), epoch), (key(2), epoch)]),
        Body::LogStart { partition: key(1), start: Offset(7) },
    ]
}

#[test]
fn every_kind_comes_back_as_it_was_written() {
    for body in bodies() {
        let bytes = written(&body);
        assert_eq!(bytes.len() % ALIGN, 0);
        let Parsed::Valid(record) = parse(&unpadded(&bytes), seal(), true) else { panic!("{body:?}") };
        assert_eq!((record.lsn, record.generation, record.size), (7, 3, bytes.len()));
        assert_eq!(record.body, body);
    }
}

#[test]
fn sizes_are_what_was_reckoned_before_writing() {
    assert_eq!(written(&Body::Group(Vec::new())).len(), padded_len(group_payload_len(&group())));
    assert_eq!(written(&Body::Flush { durable_lsn: 1 }).len(), FLUSH_LEN);
    for body in bodies().iter().filter(|b| b.kind() != Kind::Flush) {
        assert!(written(body).len() > FLUSH_LEN, "only a flush record is so small: {body:?}");
    }
}

#[test]
fn every_flipped_bit_is_seen() {
    for body in bodies() {
        let bytes = unpadded(&written(&body));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&flipped.into(), seal(), true), Parsed::Invalid, "{body:?} bit {bit}");
        }
    }
}

#[test]
fn a_damaged_batch_leaves_the_directory_legible() {
    let mut bytes = unpadded(&written(&Body::Group(Vec::new()))).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let legible = parse_head(&Bytes::from(bytes.clone()), seal()).unwrap();
    assert_eq!((legible.kind, legible.partitions), (Kind::Group, vec![key(1), key(2), key(1)]));
    bytes[HEAD_LEN + 9] ^= 1;
    assert_eq!(parse_head(&bytes.into(), seal()), None, "a damaged directory is not believed");
}

#[test]
fn patching_a_flush_record_keeps_it_valid() {
    let mut out = BytesMut::new();
    put_flush(&mut out, 5, seal(), 0);
    patch_flush(&mut out, seal(), 4);
    let Parsed::Valid(record) = parse(&out.freeze(), seal(), true) else { panic!("not valid") };
    assert_eq!(record.body, Body::Flush { durable_lsn: 4 });
}

#[test]
fn hostile_counts_are_refused_without_room_being_made() {
    for kind in [Kind::Group, Kind::Meta, Kind::LeaderEpochs] {
        let mut out = BytesMut::new();
        let start = begin(&mut out, 1, seal(), kind);
        out.put_u64_le(u64::MAX);
        finish(&mut out, start, seal());
        assert_eq!(parse(&unpadded(&out.freeze()), seal(), true), Parsed::Unknown(kind as u8));
    }
    assert!(Head::peek(&[0xff; 64], 64).is_none());
    assert!(Head::peek(&[0; 64], 64).is_none());
    assert!(Head::peek(&[1; 10], 64).is_none());
}

#[test]
fn a_record_is_valid_under_its_own_seal_only() {
    for body in bodies() {
        let bytes = unpadded(&written(&body));
        for other in [Seal::new(0, 3), Seal::new(0x0123_4567_89ab_cdef, 4), Seal::new(0x0123_4567_89ab_cdee, 3)] {
            assert_eq!(parse(&bytes, other, true), Parsed::Invalid, "{body:?} {other:?}");
            assert_eq!(parse_head(&bytes, other), None);
        }
        // The two halves of the secret each count: a right head alone does not make a record.
        let half = Seal::new(0xff23_4567_89ab_cdef, 3);
        assert_eq!(parse(&bytes, half, true), Parsed::Invalid);
    }
}

#[test]
fn a_flush_record_cannot_vouch_for_itself_or_for_what_comes_later() {
    for (durable_lsn, valid) in [(4, true), (5, false), (6, false), (u64::MAX, false)] {
        let mut out = BytesMut::new();
        put_flush(&mut out, 5, seal(), durable_lsn);
        assert_eq!(matches!(parse(&out.freeze(), seal(), true), Parsed::Valid(_)), valid, "{durable_lsn}");
    }
}

#[test]
fn numbers_that_no_record_has_are_refused() {
    for lsn in [0, u64::MAX] {
        let mut out = BytesMut::new();
        let start = begin(&mut out, lsn, seal(), Kind::DeleteTopic);
        codec::put_topic(&mut out, key(1).topic);
        finish(&mut out, start, seal());
        assert_eq!(parse(&unpadded_any(&out.freeze()), seal(), true), Parsed::Invalid);
    }
}

fn unpadded_any(bytes: &Bytes) -> Bytes {
    bytes.slice(..HEAD_LEN + 16)
}

#[test]
fn the_bytes_of_a_flush_record_are_these() {
    // A change here is a change of the format: docs/formats/log.md.
    let mut out = BytesMut::new();
    put_flush(&mut out, 5, seal(), 4);
    assert_eq!(out.iter().map(|b| format!("{b:02x}")).collect::<String>(), GOLDEN_FLUSH);
    let golden = written(&Body::Group(Vec::new()));
    let crcs = [&golden[4..8], &golden[HEAD_CRC_AT..HEAD_LEN], &golden[DIRECTORY_CRC_AT..DIRECTORY_AT]];
    assert_eq!(crcs.map(|crc| Reader(crc).u32().unwrap()), GOLDEN_GROUP_CRCS);
}

const GOLDEN_FLUSH: &str = "20000000e2b540840500000000000000030000000000000001000000c11346850400000000000000";
const GOLDEN_GROUP_CRCS: [u32; 3] = [0xd1d5_9ab0, 0x38e7_5b4e, 0x921d_5330];
