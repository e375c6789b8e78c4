//! The checker itself: a healthy state passes, and each way of breaking a promise is found and called by its name.

use pagemark_storage::engine::{EpochStart, Lsn, Versioned, Write};
use pagemark_wire::types::{LeaderEpoch, PartitionIndex};
use uuid::Uuid;

use super::*;
use crate::batch::{Source, build};
use crate::oracle::Oracle;

const TOPIC: TopicId = TopicId(Uuid::from_u128(1));
const COMMITS: TopicId = TopicId(Uuid::from_u128(2));

fn key(topic: TopicId, index: i32) -> PartitionKey {
    PartitionKey { topic, partition: PartitionIndex(index) }
}

fn batch(base: i64, epoch: i32) -> Bytes {
    build(Offset(base), LeaderEpoch(epoch), Source::PLAIN, 5, &[(Vec::new(), vec![base as u8; 20])])
}

/// Two topics, three single batches and a group of two, a fact; the first five of seven units acknowledged.
fn oracle() -> Oracle {
    let mut oracle = Oracle::new(COMMITS);
    let changes = [
        Change::Create(TOPIC, 2),
        Change::Create(COMMITS, 1),
        Change::Group(vec![(key(TOPIC, 0), batch(0, 0))]),
        Change::Group(vec![(key(COMMITS, 0), batch(0, 0))]),
        Change::Meta(vec![Write::Put("fact".to_owned(), Bytes::from_static(b"1"))]),
        Change::Group(vec![(key(TOPIC, 0), batch(1, 0)), (key(TOPIC, 1), batch(0, 0))]),
        Change::Group(vec![(key(TOPIC, 0), batch(2, 0))]),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let unit = oracle.submit(0, change);
        oracle.accepted(unit, Lsn(index as u64 + 1));
    }
    oracle.durable(0, Lsn(5));
    oracle.epoch_seen(0, key(TOPIC, 0), LeaderEpoch(0));
    oracle
}

/// What an engine that kept the first `prefix` units shows after an unclean restart.
fn shown(oracle: &Oracle, prefix: usize) -> Observed {
    let model = oracle.view(9).model(prefix);
    let mut seen = Observed { topics: model.topics.clone(), ..Observed::default() };
    for (topic, count) in &model.topics {
        for index in 0..*count as i32 {
            let batches = model.logs.get(&key(*topic, index)).cloned().unwrap_or_default();
            seen.partitions.insert(key(*topic, index), partition(batches));
        }
    }
    let fact = |(key, fact): (&String, &crate::oracle::Fact)| {
        let revision = fact.revision.expect("accepted");
        (key.clone(), Versioned { revision, value: fact.value.clone() })
    };
    seen.meta = model.meta.iter().map(fact).collect();
    seen
}

fn partition(batches: Vec<Bytes>) -> ObservedPartition {
    let end = Offset(batches.len() as i64);
    let mut producers = ProducerTable::default();
    batches.iter().for_each(|b| producers.replay(&BatchHeader::parse(b).expect("built here")));
    let first = EpochStart { epoch: LeaderEpoch(0), start: Offset(0) };
    let epochs = vec![first, EpochStart { epoch: LeaderEpoch(1), start: end }];
    let epochs = if end == Offset(0) { epochs[1..].to_vec() } else { epochs };
    let (log_start, log_end, durable_end) = (Offset(0), end, end);
    ObservedPartition { log_start, log_end, durable_end, epochs, producers, quarantined: None, batches }
}

fn kind_of(oracle: &Oracle, seen: &Observed) -> Option<Kind> {
    check(&oracle.view(9), seen).err().map(|violation| violation.kind)
}

#[test]
fn every_prefix_that_holds_what_is_owed_passes_and_no_shorter_one_does() {
    let oracle = oracle();
    for prefix in 5..=7 {
        assert_eq!(check(&oracle.view(9), &shown(&oracle, prefix)), Ok(prefix));
    }
    assert_eq!(kind_of(&oracle, &shown(&oracle, 3)), Some(Kind::CommitLost));
    assert_eq!(kind_of(&oracle, &shown(&oracle, 2)), Some(Kind::RecordLost));
    assert_eq!(kind_of(&oracle, &shown(&oracle, 4)), Some(Kind::FactLost));
    assert_eq!(kind_of(&oracle, &shown(&oracle, 0)), Some(Kind::FactLost));
}

#[test]
fn what_was_read_is_owed_although_nobody_acknowledged_it() {
    let mut oracle = oracle();
    oracle.exposed(0, 6);
    assert_eq!(kind_of(&oracle, &shown(&oracle, 6)), Some(Kind::ExposedLost));
}

#[test]
fn a_crash_point_owes_only_what_happened_before_it() {
    let mut oracle = oracle();
    oracle.durable(7, Lsn(7));
    assert_eq!(check(&oracle.view(6), &shown(&oracle, 5)), Ok(5));
    assert!(check(&oracle.view(7), &shown(&oracle, 5)).is_err());
}

#[test]
fn half_an_atomic_group_is_no_prefix() {
    let oracle = oracle();
    let mut seen = shown(&oracle, 6);
    seen.partitions.insert(key(TOPIC, 1), partition(Vec::new()));
    assert_eq!(kind_of(&oracle, &seen), Some(Kind::NotAPrefix));
}

#[test]
fn an_altered_batch_and_one_lost_before_are_resurrections() {
    let mut oracle = oracle();
    let mut seen = shown(&oracle, 7);
    seen.partitions.insert(key(TOPIC, 0), partition(vec![batch(0, 0), batch(1, 0), batch(2, 1)]));
    assert_eq!(kind_of(&oracle, &seen), Some(Kind::Resurrected));
    let seen = shown(&oracle, 7);
    oracle.survived(1, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(kind_of(&oracle, &seen), Some(Kind::Resurrected));
}

#[test]
fn a_fact_with_another_revision_or_value_is_found() {
    let oracle = oracle();
    let mut seen = shown(&oracle, 5);
    seen.meta[0].1.revision = Lsn(4);
    assert_eq!(kind_of(&oracle, &seen), Some(Kind::NotAPrefix));
}

#[test]
fn a_producer_table_that_forgot_a_batch_is_found() {
    let mut oracle = oracle();
    let source = Source { id: pagemark_wire::types::ProducerId(9), sequence: 0, ..Source::PLAIN };
    let sent = build(Offset(3), LeaderEpoch(0), source, 5, &[(Vec::new(), Vec::new())]);
    let unit = oracle.submit(0, Change::Group(vec![(key(TOPIC, 0), sent)]));
    oracle.accepted(unit, Lsn(8));
    let mut seen = shown(&oracle, 8);
    assert_eq!(check(&oracle.view(9), &seen), Ok(8));
    seen.partitions.get_mut(&key(TOPIC, 0)).expect("shown").producers = ProducerTable::default();
    assert_eq!(kind_of(&oracle, &seen), Some(Kind::ProducerState), "R-36");
}

#[test]
fn an_epoch_that_did_not_grow_is_found_unless_a_clean_stop_is_all_that_happened() {
    let mut oracle = oracle();
    let mut seen = shown(&oracle, 7);
    for partition in seen.partitions.values_mut() {
        partition.epochs = vec![EpochStart { epoch: LeaderEpoch(0), start: Offset(0) }];
    }
    assert_eq!(kind_of(&oracle, &seen), Some(Kind::LeaderEpoch), "R-53");
    oracle.closing(1);
    assert_eq!(kind_of(&oracle, &seen), None);
    oracle.submit(2, Change::Group(vec![(key(TOPIC, 1), batch(1, 0))]));
    oracle.exposed(2, 7);
    let grown = seen.partitions.get_mut(&key(TOPIC, 1)).expect("shown");
    grown.batches.push(batch(1, 0));
    (grown.log_end, grown.durable_end) = (Offset(2), Offset(2));
    assert_eq!(kind_of(&oracle, &seen), Some(Kind::LeaderEpoch), "the next life left something behind");
}
