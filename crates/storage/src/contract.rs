//! What every engine must do: the seam's promises as functions that a test runs over an engine of its choice.
//!
//! Each panics with the promise that was broken. An engine is made anew by `fresh` for every check. Deliberately not here: what
//! only some engines do, such as surviving a restart.

use std::sync::{Arc, Condvar, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use pagemark_core::partition::SequenceVerdict;
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, ProducerId, TopicId};
use uuid::Uuid;

use crate::engine::{
    Append, AtomicGroup, Compare, Engine, EngineError, EpochStart, Keep, Locate, Lsn, Progress, ProgressListener,
    ShardEpoch, ShardId, Ticket, TxnOutcome, Write,
};

/// Makes an empty engine.
pub type Fresh<'a> = &'a dyn Fn() -> Arc<dyn Engine>;

/// Offsets beyond any log's end.
const NO_BOUND: Offset = Offset(i64::MAX);

/// A partition of a topic whose id is made from `topic`.
#[must_use]
pub fn partition(topic: u8, partition: i32) -> PartitionKey {
    PartitionKey { topic: TopicId(Uuid::from_bytes([topic; 16])), partition: PartitionIndex(partition) }
}

/// What a test batch is made of.
#[derive(Debug, Clone, Copy)]
pub struct TestBatch {
    /// Its first offset.
    pub base: i64,
    /// How many offsets it takes.
    pub records: i32,
    /// Its greatest timestamp.
    pub max_timestamp_ms: i64,
    /// Its producer, -1 for none.
    pub producer_id: i64,
    /// Its first sequence number.
    pub base_sequence: i32,
    /// How many bytes stand behind the header; their content is made from the other fields.
    pub payload: usize,
}

impl TestBatch {
    /// One record at this offset, with a few bytes.
    #[must_use]
    pub fn at(base: i64) -> TestBatch {
        TestBatch { base, records: 1, max_timestamp_ms: 0, producer_id: -1, base_sequence: -1, payload: 20 }
    }

    /// Its bytes, with a right checksum. The engine does not look behind the header.
    #[must_use]
    pub fn build(self) -> Bytes {
        let mut body = BytesMut::new();
        body.put_i16(0);
        body.put_i32(self.records - 1);
        body.put_i64(self.max_timestamp_ms);
        body.put_i64(self.max_timestamp_ms);
        body.put_i64(self.producer_id);
        body.put_i16(0);
        body.put_i32(self.base_sequence);
        body.put_i32(self.records);
        body.extend((0..self.payload).map(|i| (i as i64).wrapping_mul(31).wrapping_add(self.base) as u8));
        let mut batch = BytesMut::with_capacity(21 + body.len());
        batch.put_i64(self.base);
        batch.put_i32(9 + body.len() as i32);
        batch.put_i32(0);
        batch.put_u8(2);
        batch.put_u32(crc32c::crc32c(&body));
        batch.extend_from_slice(&body);
        batch.freeze()
    }
}

/// One append of one batch as its own group.
#[must_use]
pub fn single(partition: PartitionKey, batch: TestBatch) -> AtomicGroup {
    AtomicGroup(vec![Append::new(partition, batch.build())])
}

#[derive(Default)]
struct Waiter {
    progress: Mutex<Option<Progress>>,
    changed: Condvar,
}

impl ProgressListener for Waiter {
    fn progressed(&self, progress: &Progress) {
        *self.progress.lock().expect("no panic under this lock") = Some(progress.clone());
        self.changed.notify_all();
    }
}

/// Waits until a ticket is durable.
///
/// # Panics
/// If the engine fails before.
pub fn wait_durable(engine: &dyn Engine, ticket: Ticket) {
    let waiter = Arc::new(Waiter::default());
    engine.watch(waiter.clone());
    *waiter.progress.lock().expect("no panic under this lock") = Some(engine.progress());
    let mut progress = waiter.progress.lock().expect("no panic under this lock");
    loop {
        let now = progress.as_ref().expect("set above");
        if now.durable >= ticket.0 {
            return;
        }
        assert_eq!(now.failed, None, "the engine failed while {ticket:?} was waited for");
        progress = waiter.changed.wait(progress).expect("no panic under this lock");
    }
}

const SHARD: ShardId = ShardId(1);
const EPOCH: ShardEpoch = ShardEpoch(1);

/// An engine with topic 1 of `partitions` partitions, opened in shard 1 with epoch 1.
fn opened(fresh: Fresh<'_>, partitions: u32) -> Arc<dyn Engine> {
    let engine = fresh();
    let ticket = engine.create(partition(1, 0).topic, partitions, LeaderEpoch(0)).expect("a fresh engine takes topics");
    wait_durable(&*engine, ticket);
    let keys: Vec<_> = (0..partitions as i32).map(|p| partition(1, p)).collect();
    engine.open(SHARD, EPOCH, &keys).expect("the topic was made");
    engine
}

fn append(engine: &dyn Engine, batch: TestBatch) -> Ticket {
    let ticket = engine.append(SHARD, EPOCH, &[single(partition(1, 0), batch)]).expect("the batch is in order");
    wait_durable(engine, ticket);
    ticket
}

fn bases(batches: &[Bytes]) -> Vec<i64> {
    batches.iter().map(|b| BatchHeader::parse(b).expect("engines give whole batches").base_offset.0).collect()
}

/// Runs every check.
pub fn run_all(fresh: Fresh<'_>) {
    reads_back_what_was_appended(fresh);
    refuses_a_wrong_base(fresh);
    fences_older_epochs(fresh);
    takes_all_of_a_call_or_nothing(fresh);
    refuses_what_no_log_record_can_hold(fresh);
    reads_whole_batches_from_the_one_that_contains_the_offset(fresh);
    reads_at_least_one_batch_and_respects_bound(fresh);
    locates_by_time_and_by_greatest_timestamp(fresh);
    creates_idempotently_and_grows(fresh);
    deletes_idempotently(fresh);
    remembers_producers_and_epochs(fresh);
    begins_the_log_where_its_owner_says(fresh);
    finds_what_a_trim_leaves(fresh);
    locates_what_is_left_after_a_trim(fresh);
    changes_keyed_state_atomically(fresh);
    scans_by_prefix_in_order(fresh);
    never_gives_an_id_twice(fresh);
    refuses_everything_after_close(fresh);
    tickets_rise(fresh);
}

/// What was appended is read back bit by bit, and the extent says so.
pub fn reads_back_what_was_appended(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    let batch = TestBatch { records: 3, ..TestBatch::at(0) };
    append(&*engine, batch);
    let slice = engine.read(partition(1, 0), Offset(0), 1 << 20, NO_BOUND).expect("readable");
    assert_eq!(slice.batches, vec![batch.build()]);
    assert_eq!(slice.bytes, batch.build().len());
    let extent = engine.extent(partition(1, 0)).expect("known");
    assert_eq!((extent.log_start, extent.durable_end, extent.log_end), (Offset(0), Offset(3), Offset(3)));
    assert_eq!(extent.bytes, batch.build().len() as u64);
    assert_eq!(engine.topics(), vec![(partition(1, 0).topic, 1)]);
}

/// A batch whose base is not the log end is refused, and so is what is no batch at all.
pub fn refuses_a_wrong_base(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    append(&*engine, TestBatch::at(0));
    for given in [0, 2] {
        let refused = engine.append(SHARD, EPOCH, &[single(partition(1, 0), TestBatch::at(given))]);
        let expected = EngineError::WrongBase { partition: partition(1, 0), given: Offset(given), expected: Offset(1) };
        assert_eq!(refused, Err(expected));
    }
    let mut short = TestBatch::at(1).build();
    short.truncate(70);
    for garbage in [Bytes::new(), Bytes::from_static(&[0xff; 80]), short] {
        let group = AtomicGroup(vec![Append::new(partition(1, 0), garbage)]);
        assert!(matches!(engine.append(SHARD, EPOCH, &[group]), Err(EngineError::WrongBase { .. })));
    }
    assert_eq!(engine.extent(partition(1, 0)).expect("known").log_end, Offset(1));
}

/// Opening with a higher epoch fences the one before and keeps the shard's partitions; those of other shards are out of reach.
pub fn fences_older_epochs(fresh: Fresh<'_>) {
    let engine = opened(fresh, 2);
    let (mine, other) = (partition(1, 0), partition(1, 1));
    assert!(matches!(engine.open(SHARD, EPOCH, &[mine]), Err(EngineError::Fenced)), "the same epoch twice");
    engine.open(SHARD, ShardEpoch(2), &[mine]).expect("a higher epoch");
    let append = |epoch, key| engine.append(SHARD, epoch, &[single(key, TestBatch::at(0))]);
    assert_eq!(append(EPOCH, mine), Err(EngineError::Fenced));
    append(ShardEpoch(2), other).expect("what was opened in the shard before stays in it");
    assert_eq!(append(ShardEpoch(3), mine), Err(EngineError::Fenced), "nobody opened this epoch");
    append(ShardEpoch(2), mine).expect("the owner");
    engine.open(ShardId(9), EPOCH, &[mine]).expect("another shard takes it over");
    let group = vec![single(mine, TestBatch::at(1))];
    assert_eq!(engine.append(SHARD, ShardEpoch(2), &group), Err(EngineError::Fenced));
    let unknown = engine.open(ShardId(7), EPOCH, &[partition(5, 0)]).map(|_| ());
    assert_eq!(unknown, Err(EngineError::UnknownPartition(partition(5, 0))));
}

/// One bad batch among good ones: nothing of the call is taken. Several in a row for one partition are.
pub fn takes_all_of_a_call_or_nothing(fresh: Fresh<'_>) {
    let engine = opened(fresh, 2);
    let (a, b) = (partition(1, 0), partition(1, 1));
    let bad = vec![single(a, TestBatch::at(0)), single(b, TestBatch::at(5))];
    assert!(matches!(engine.append(SHARD, EPOCH, &bad), Err(EngineError::WrongBase { .. })));
    let unknown = vec![single(a, TestBatch::at(0)), single(partition(1, 2), TestBatch::at(0))];
    assert!(matches!(engine.append(SHARD, EPOCH, &unknown), Err(EngineError::UnknownPartition(_))));
    assert_eq!(engine.extent(a).expect("known").log_end, Offset(0));
    let both = AtomicGroup(vec![
        Append::new(a, TestBatch::at(0).build()),
        Append::new(b, TestBatch::at(0).build()),
        Append::new(a, TestBatch::at(1).build()),
    ]);
    let ticket = engine.append(SHARD, EPOCH, &[both, single(a, TestBatch::at(2))]).expect("in order");
    wait_durable(&*engine, ticket);
    assert_eq!(engine.extent(a).expect("known").durable_end, Offset(3));
    assert_eq!(engine.extent(b).expect("known").durable_end, Offset(1));
}

/// A group of more than 32 MiB is refused, and nothing of the call is taken.
pub fn refuses_what_no_log_record_can_hold(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    let large = TestBatch { payload: 32 << 20, ..TestBatch::at(1) };
    let groups = vec![single(partition(1, 0), TestBatch::at(0)), single(partition(1, 0), large)];
    assert!(matches!(engine.append(SHARD, EPOCH, &groups), Err(EngineError::TooLarge { .. })));
    assert_eq!(engine.extent(partition(1, 0)).expect("known").log_end, Offset(0));
}

/// A read begins with the batch that contains the offset asked for, even in its middle (P-35).
pub fn reads_whole_batches_from_the_one_that_contains_the_offset(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    for base in [0, 10, 20] {
        append(&*engine, TestBatch { records: 10, ..TestBatch::at(base) });
    }
    let read = |from| bases(&engine.read(partition(1, 0), Offset(from), 1 << 20, NO_BOUND).expect("readable").batches);
    assert_eq!(read(0), [0, 10, 20]);
    assert_eq!(read(9), [0, 10, 20]);
    assert_eq!(read(10), [10, 20]);
    assert_eq!(read(29), [20]);
    assert!(read(30).is_empty(), "nothing at the end");
    assert!(read(99).is_empty(), "nothing beyond the end");
}

/// At least one batch whatever the limit (P-33), none at or beyond the bound.
pub fn reads_at_least_one_batch_and_respects_bound(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    for base in 0..4 {
        append(&*engine, TestBatch::at(base));
    }
    let one = TestBatch::at(0).build().len();
    let read = |max, bound| bases(&engine.read(partition(1, 0), Offset(0), max, bound).expect("readable").batches);
    assert_eq!(read(0, NO_BOUND), [0]);
    assert_eq!(read(2 * one, NO_BOUND), [0, 1]);
    assert_eq!(read(3 * one - 1, NO_BOUND), [0, 1]);
    assert_eq!(read(1 << 20, Offset(3)), [0, 1, 2]);
    assert!(read(1 << 20, Offset(0)).is_empty());
    let unknown = engine.read(partition(1, 7), Offset(0), 1, NO_BOUND).map(|_| ());
    assert_eq!(unknown, Err(EngineError::UnknownPartition(partition(1, 7))));
}

/// The first batch that reaches a time, and the first with the greatest timestamp.
pub fn locates_by_time_and_by_greatest_timestamp(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    let locate_within = |what, within| {
        let found = engine.locate(partition(1, 0), what, within).expect("readable");
        found.map(|b| bases(&[b])[0])
    };
    let locate = |what, bound| locate_within(what, Offset(0)..bound);
    assert_eq!(locate(Locate::MaxTimestamp, NO_BOUND), None, "an empty log has none");
    for (base, max_timestamp_ms) in [(0, 100), (1, 300), (2, 200), (3, 300)] {
        append(&*engine, TestBatch { max_timestamp_ms, ..TestBatch::at(base) });
    }
    assert_eq!(locate(Locate::Time(0), NO_BOUND), Some(0));
    assert_eq!(locate(Locate::Time(101), NO_BOUND), Some(1));
    assert_eq!(locate(Locate::Time(301), NO_BOUND), None);
    assert_eq!(locate(Locate::MaxTimestamp, NO_BOUND), Some(1));
    assert_eq!(locate(Locate::MaxTimestamp, Offset(1)), Some(0));
    assert_eq!(locate(Locate::Time(101), Offset(1)), None);
    assert_eq!(locate_within(Locate::MaxTimestamp, Offset(2)..NO_BOUND), Some(3));
    assert_eq!(locate_within(Locate::MaxTimestamp, Offset(2)..Offset(3)), Some(2));
    assert_eq!(locate_within(Locate::Time(0), Offset(2)..NO_BOUND), Some(2));
    assert_eq!(locate_within(Locate::Time(0), Offset(4)..NO_BOUND), None);
}

/// Creating again changes nothing that is there, and may add partitions.
pub fn creates_idempotently_and_grows(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    append(&*engine, TestBatch::at(0));
    let topic = partition(1, 0).topic;
    let ticket = engine.create(topic, 1, LeaderEpoch(7)).expect("again");
    wait_durable(&*engine, ticket);
    let ticket = engine.create(topic, 3, LeaderEpoch(7)).expect("more");
    wait_durable(&*engine, ticket);
    assert_eq!(engine.topics(), vec![(topic, 3)]);
    let keys = [partition(1, 0), partition(1, 2)];
    let opened = engine.open(SHARD, ShardEpoch(2), &keys).expect("known");
    assert_eq!((opened[0].log_end, opened[0].epochs[0].epoch), (Offset(1), LeaderEpoch(0)));
    assert_eq!((opened[1].log_end, opened[1].epochs[0].epoch), (Offset(0), LeaderEpoch(7)));
}

/// Deleting removes all of a topic; again is harmless; the id made anew begins at 0.
pub fn deletes_idempotently(fresh: Fresh<'_>) {
    let engine = opened(fresh, 2);
    append(&*engine, TestBatch::at(0));
    let topic = partition(1, 0).topic;
    for _ in 0..2 {
        let ticket = engine.delete(topic).expect("harmless");
        wait_durable(&*engine, ticket);
    }
    assert!(engine.topics().is_empty());
    let unknown = EngineError::UnknownPartition(partition(1, 0));
    assert_eq!(engine.read(partition(1, 0), Offset(0), 1, NO_BOUND).map(|_| ()), Err(unknown.clone()));
    assert_eq!(engine.append(SHARD, EPOCH, &[single(partition(1, 0), TestBatch::at(1))]), Err(unknown));
    engine.create(topic, 1, LeaderEpoch(1)).expect("anew");
    let opened = engine.open(SHARD, ShardEpoch(2), &[partition(1, 0)]).expect("known");
    assert_eq!(opened[0].log_end, Offset(0));
}

/// A new owner is given the producers' windows and the epochs.
pub fn remembers_producers_and_epochs(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    let batch = TestBatch { records: 2, producer_id: 5, base_sequence: 0, ..TestBatch::at(0) };
    append(&*engine, batch);
    let opened = engine.open(SHARD, ShardEpoch(2), &[partition(1, 0)]).expect("known");
    let header = BatchHeader::parse(&batch.build()).expect("a batch");
    assert!(
        matches!(opened[0].producers.judge(&header), SequenceVerdict::Duplicate(span) if span.base_offset == Offset(0))
    );
    assert_eq!(opened[0].epochs.len(), 1);
    assert_eq!(opened[0].quarantined, None);
    let forget = |epoch| engine.forget_producers(SHARD, ShardEpoch(epoch), partition(1, 0), &[ProducerId(5)]);
    assert_eq!(forget(1), Err(EngineError::Fenced));
    assert_eq!(forget(2), Ok(()));
    let opened = engine.open(SHARD, ShardEpoch(3), &[partition(1, 0)]).expect("known");
    assert_eq!(opened[0].producers.iter().len(), 0, "R-35");
}

/// A log start only grows, never beyond the end, and only for the owner; what lies wholly below is given up.
pub fn begins_the_log_where_its_owner_says(fresh: Fresh<'_>) {
    let engine = opened(fresh, 2);
    let key = partition(1, 0);
    let one = TestBatch { records: 10, producer_id: 5, base_sequence: 0, ..TestBatch::at(0) };
    for base in [0, 10, 20] {
        append(&*engine, TestBatch { base, base_sequence: base as i32, ..one });
    }
    let bytes = one.build().len() as u64;
    let start = |offset| engine.advance_start(SHARD, EPOCH, key, Offset(offset));
    let beyond = EngineError::BeyondEnd { partition: key, given: Offset(31), log_end: Offset(30) };
    assert_eq!(start(31), Err(beyond));
    let stale = engine.advance_start(SHARD, ShardEpoch(2), key, Offset(5));
    assert_eq!(stale, Err(EngineError::Fenced));
    let unknown = engine.advance_start(SHARD, EPOCH, partition(1, 7), Offset(0));
    assert_eq!(unknown, Err(EngineError::UnknownPartition(partition(1, 7))));
    for (given, log_start, batches) in [(15, 15, 2), (12, 15, 2), (-1, 15, 2), (20, 20, 1), (30, 30, 0), (30, 30, 0)] {
        let ticket = start(given).expect("the owner may");
        wait_durable(&*engine, ticket);
        let extent = engine.extent(key).expect("known");
        assert_eq!((extent.log_start, extent.durable_end), (Offset(log_start), Offset(30)), "after {given}");
        assert_eq!(extent.bytes, batches * bytes, "the batch that contains the start stays whole");
        let slice = engine.read(key, Offset(log_start), 1 << 20, NO_BOUND).expect("readable");
        assert_eq!(slice.batches.len() as u64, batches);
    }
    append(&*engine, TestBatch { base: 30, base_sequence: 30, ..one });
    let opened = engine.open(SHARD, ShardEpoch(2), &[key, partition(1, 1)]).expect("known");
    assert_eq!((opened[0].log_start, opened[0].log_end), (Offset(30), Offset(40)));
    assert_eq!(opened[0].epochs, [EpochStart { epoch: LeaderEpoch(0), start: Offset(30) }]);
    assert_eq!(opened[0].producers.iter().len(), 1, "a producer outlives its records");
    assert_eq!((opened[1].log_start, opened[1].epochs[0].start), (Offset(0), Offset(0)), "the neighbour");
}

/// The piece that reached a time stays with all behind it, and never is less left than asked for.
pub fn finds_what_a_trim_leaves(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    let key = partition(1, 0);
    let point = |keep| engine.trim_point(key, keep).expect("known").map(|offset| offset.0);
    assert_eq!((point(Keep::Since(i64::MAX)), point(Keep::Bytes(0))), (None, None), "nothing to go");
    for (base, max_timestamp_ms) in [(0, 100), (1, 300), (2, 200), (3, 400)] {
        append(&*engine, TestBatch { max_timestamp_ms, ..TestBatch::at(base) });
    }
    let since =
        [(0, None), (100, None), (101, Some(1)), (300, Some(1)), (301, Some(3)), (400, Some(3)), (401, Some(4))];
    for (time_ms, expected) in since {
        assert_eq!(point(Keep::Since(time_ms)), expected, "since {time_ms}");
    }
    append(&*engine, TestBatch { max_timestamp_ms: -1, ..TestBatch::at(4) });
    assert_eq!(point(Keep::Since(i64::MAX)), Some(4), "what has no time is not old");
    let one = TestBatch::at(0).build().len() as u64;
    let bytes =
        [(u64::MAX, None), (5 * one, None), (4 * one + 1, None), (4 * one, Some(1)), (1, Some(4)), (0, Some(5))];
    for (least, expected) in bytes {
        assert_eq!(point(Keep::Bytes(least)), expected, "at least {least} bytes");
    }
    assert_eq!(engine.extent(key).expect("known").log_start, Offset(0), "asking changes nothing");
    let ticket = engine.advance_start(SHARD, EPOCH, key, Offset(3)).expect("the owner may");
    wait_durable(&*engine, ticket);
    assert_eq!((point(Keep::Since(400)), point(Keep::Bytes(2 * one)), point(Keep::Bytes(0))), (None, None, Some(5)));
    assert!(matches!(engine.trim_point(partition(1, 7), Keep::Bytes(0)), Err(EngineError::UnknownPartition(_))));
}

/// Searches by time know nothing of what is gone, not even that it held the greatest timestamp.
pub fn locates_what_is_left_after_a_trim(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    let locate = |what| {
        let found = engine.locate(partition(1, 0), what, Offset(0)..NO_BOUND).expect("readable");
        found.map(|batch| bases(&[batch])[0])
    };
    for (base, max_timestamp_ms) in [(0, 900), (1, 300), (2, 500), (3, 400)] {
        append(&*engine, TestBatch { max_timestamp_ms, ..TestBatch::at(base) });
    }
    assert_eq!((locate(Locate::MaxTimestamp), locate(Locate::Time(400))), (Some(0), Some(0)));
    let trim = |offset| {
        let ticket = engine.advance_start(SHARD, EPOCH, partition(1, 0), Offset(offset)).expect("the owner may");
        wait_durable(&*engine, ticket);
    };
    trim(1);
    assert_eq!((locate(Locate::MaxTimestamp), locate(Locate::Time(600))), (Some(2), None));
    assert_eq!((locate(Locate::Time(0)), locate(Locate::Time(400))), (Some(1), Some(2)));
    trim(4);
    assert_eq!((locate(Locate::MaxTimestamp), locate(Locate::Time(0))), (None, None));
}

/// All conditions hold and all changes are made, or none.
pub fn changes_keyed_state_atomically(fresh: Fresh<'_>) {
    let engine = fresh();
    let put = |key: &str, value: &'static str| Write::Put(key.into(), Bytes::from_static(value.as_bytes()));
    let absent = [Compare::Absent("a".into())];
    let first = engine.txn(&absent, vec![put("a", "1"), put("b", "1")]).expect("open");
    let TxnOutcome::Accepted(ticket) = first else { panic!("the key was absent") };
    let a = engine.get("a").expect("set");
    assert_eq!((a.revision, &a.value[..]), (ticket.0, &b"1"[..]));
    assert_eq!(engine.txn(&absent, vec![put("b", "2")]).expect("open"), TxnOutcome::Refused);
    assert_eq!(&engine.get("b").expect("set").value[..], b"1", "a refused change changes nothing");
    let stale = [Compare::Revision("a".into(), Lsn(a.revision.0 + 1))];
    assert_eq!(engine.txn(&stale, vec![put("a", "9")]).expect("open"), TxnOutcome::Refused);
    let right = [Compare::Revision("a".into(), a.revision), Compare::Absent("c".into())];
    let second = engine.txn(&right, vec![Write::Delete("a".into()), put("b", "3"), Write::Delete("zz".into())]);
    assert!(matches!(second, Ok(TxnOutcome::Accepted(later)) if later > ticket));
    assert_eq!(engine.get("a"), None);
    assert_eq!(&engine.get("b").expect("set").value[..], b"3");
}

/// A scan gives what begins so, in order.
pub fn scans_by_prefix_in_order(fresh: Fresh<'_>) {
    let engine = fresh();
    for key in ["t/b", "t/a", "t", "u", "t0"] {
        engine.txn(&[], vec![Write::Put(key.into(), Bytes::from_static(b"v"))]).expect("open");
    }
    let keys = |prefix: &str| engine.scan(prefix).into_iter().map(|(k, _)| k).collect::<Vec<_>>();
    assert_eq!(keys("t/"), ["t/a", "t/b"]);
    assert_eq!(keys(""), ["t", "t/a", "t/b", "t0", "u"]);
    assert!(keys("x").is_empty());
}

/// Ranges of ids do not overlap.
pub fn never_gives_an_id_twice(fresh: Fresh<'_>) {
    let engine = fresh();
    let mut next = 0;
    for count in [1, 1000, 0, 7] {
        let (first, ticket) = engine.reserve_ids("producers", count).expect("open");
        assert_eq!(first, next);
        next = first + i64::from(count);
        wait_durable(&*engine, ticket);
    }
    assert_eq!(engine.reserve_ids("other", 1).expect("open").0, 0);
}

/// After close nothing is accepted and everything accepted before is durable.
pub fn refuses_everything_after_close(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    let ticket = engine.append(SHARD, EPOCH, &[single(partition(1, 0), TestBatch::at(0))]).expect("open");
    engine.close().expect("closes");
    assert!(engine.progress().durable >= ticket.0);
    let stopped =
        |result: Result<(), EngineError>| assert!(matches!(result, Err(EngineError::Stopped(_))), "{result:?}");
    stopped(engine.append(SHARD, EPOCH, &[single(partition(1, 0), TestBatch::at(1))]).map(|_| ()));
    stopped(engine.create(partition(2, 0).topic, 1, LeaderEpoch(0)).map(|_| ()));
    stopped(engine.delete(partition(1, 0).topic).map(|_| ()));
    stopped(engine.open(SHARD, ShardEpoch(2), &[partition(1, 0)]).map(|_| ()));
    stopped(engine.advance_start(SHARD, EPOCH, partition(1, 0), Offset(1)).map(|_| ()));
    stopped(engine.txn(&[], Vec::new()).map(|_| ()));
    stopped(engine.reserve_ids("producers", 1).map(|_| ()));
    stopped(engine.read(partition(1, 0), Offset(0), 1, NO_BOUND).map(|_| ()));
    engine.close().expect("closing twice is harmless");
}

/// Tickets rise in the order of writes, and listeners hear of progress.
pub fn tickets_rise(fresh: Fresh<'_>) {
    let engine = opened(fresh, 1);
    let mut last = Ticket(Lsn(0));
    for base in 0..20 {
        let ticket = engine.append(SHARD, EPOCH, &[single(partition(1, 0), TestBatch::at(base))]).expect("open");
        assert!(ticket > last);
        last = ticket;
    }
    wait_durable(&*engine, last);
    assert_eq!(engine.extent(partition(1, 0)).expect("known").durable_end, Offset(20));
}
