//! Duplicates and sequence numbers, by example and against a model that keeps everything.

use pagemark_wire::types::LeaderEpoch;
use proptest::prelude::*;

use super::*;

/// A batch of an idempotent producer, as its header says.
pub(in crate::partition) fn batch(producer: i64, epoch: i16, base_sequence: i32, record_count: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(0),
        batch_length: 49,
        leader_epoch: LeaderEpoch(0),
        crc: 0,
        attributes: 0,
        last_offset_delta: record_count - 1,
        base_timestamp_ms: 0,
        max_timestamp_ms: 0,
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence,
        record_count,
    }
}

/// A batch of a producer that is not idempotent.
pub(in crate::partition) fn plain(record_count: i32) -> BatchHeader {
    batch(-1, -1, -1, record_count)
}

fn is_duplicate_of(verdict: SequenceVerdict, base_offset: i64) -> bool {
    matches!(verdict, SequenceVerdict::Duplicate(span) if span.base_offset == Offset(base_offset))
}

/// Replays batches one after the other at the offsets they would get.
fn table(batches: &[BatchHeader]) -> ProducerTable {
    let mut table = ProducerTable::default();
    let mut end = Offset(0);
    for batch in batches {
        let batch = BatchHeader { base_offset: end, ..*batch };
        table.replay(&batch);
        end = batch.next_offset();
    }
    table
}

#[test]
fn the_last_five_batches_are_known_as_duplicates_and_the_sixth_is_out_of_order_r_30_r_31() {
    let batches: Vec<_> = (0..6).map(|i| batch(7, 0, i * 10, 10)).collect();
    let table = table(&batches);
    assert_eq!(table.judge(&batches[0]), SequenceVerdict::OutOfOrder { expected: 60 });
    for (i, batch) in batches.iter().enumerate().skip(1) {
        assert!(is_duplicate_of(table.judge(batch), i as i64 * 10), "batch {i}");
    }
}

#[test]
fn a_duplicate_has_the_same_first_and_last_sequence_r_30() {
    let table = table(&[batch(7, 0, 0, 10)]);
    assert!(is_duplicate_of(table.judge(&batch(7, 0, 0, 10)), 0));
    assert_eq!(table.judge(&batch(7, 0, 0, 9)), SequenceVerdict::OutOfOrder { expected: 10 });
    assert_eq!(table.judge(&batch(7, 0, 5, 5)), SequenceVerdict::OutOfOrder { expected: 10 });
}

#[test]
fn the_next_sequence_number_is_one_more_than_the_last_r_31() {
    let table = table(&[batch(7, 0, 0, 10)]);
    assert_eq!(table.judge(&batch(7, 0, 10, 1)), SequenceVerdict::Next);
    assert_eq!(table.judge(&batch(7, 0, 11, 1)), SequenceVerdict::OutOfOrder { expected: 10 });
}

#[test]
fn sequence_numbers_wrap_to_0_within_and_between_batches_r_31() {
    let at_end = table(&[batch(7, 0, i32::MAX - 9, 10)]);
    assert_eq!(at_end.judge(&batch(7, 0, 0, 1)), SequenceVerdict::Next);
    let across = batch(7, 0, i32::MAX - 4, 10); // MAX-4 to MAX, then 0 to 4
    assert_eq!(across.last_sequence(), 4);
    let table = table(&[across]);
    assert_eq!(table.judge(&batch(7, 0, 5, 1)), SequenceVerdict::Next);
    assert!(is_duplicate_of(table.judge(&across), 0));
    assert_eq!(table.judge(&batch(7, 0, i32::MAX, 1)), SequenceVerdict::OutOfOrder { expected: 5 });
}

#[test]
fn a_new_epoch_begins_at_0_and_fences_the_old_one_r_32() {
    let mut table = table(&[batch(7, 1, 0, 10)]);
    assert_eq!(table.judge(&batch(7, 2, 10, 1)), SequenceVerdict::OutOfOrder { expected: 0 });
    assert_eq!(table.judge(&batch(7, 0, 10, 1)), SequenceVerdict::StaleEpoch { current: ProducerEpoch(1) });
    let bumped = batch(7, 2, 0, 10);
    assert_eq!(table.judge(&bumped), SequenceVerdict::Next, "same numbers as before, but of another epoch");
    table.replay(&BatchHeader { base_offset: Offset(10), ..bumped });
    assert!(is_duplicate_of(table.judge(&bumped), 10));
    assert_eq!(table.judge(&batch(7, 1, 0, 10)), SequenceVerdict::StaleEpoch { current: ProducerEpoch(2) });
}

#[test]
fn an_unknown_producer_may_begin_anywhere_r_33() {
    let mut table = table(&[batch(7, 0, 0, 10)]);
    assert_eq!(table.judge(&batch(8, 5, 1234, 1)), SequenceVerdict::Next);
    table.forget(ProducerId(7));
    assert_eq!(table.judge(&batch(7, 0, 1234, 1)), SequenceVerdict::Next);
}

#[test]
fn a_duplicate_is_seen_before_its_sequence_is_judged_r_34() {
    let table = table(&[batch(7, 0, 0, 10), batch(7, 0, 10, 10)]);
    assert!(is_duplicate_of(table.judge(&batch(7, 0, 0, 10)), 0), "its sequence alone would be out of order");
}

#[test]
fn what_is_saved_and_put_back_is_what_was_there_r_36() {
    let table = table(&[batch(7, 0, 0, 10), batch(8, 3, 4, 1), plain(3), batch(7, 0, 10, 10)]);
    let mut restored = ProducerTable::default();
    for (id, entry) in table.iter() {
        restored.restore(id, entry.clone());
    }
    assert_eq!(restored, table);
}

#[test]
fn plain_batches_and_markers_leave_no_trace() {
    let marker = BatchHeader { attributes: 0b11_0000, ..batch(7, 0, -1, 1) };
    assert_eq!(table(&[plain(3), marker, batch(-5, 0, 0, 1)]), ProducerTable::default());
    assert_eq!(ProducerTable::default().judge(&batch(-5, 0, 0, 1)), SequenceVerdict::Next);
}

/// The obvious model: every batch that was ever accepted, in order.
#[derive(Default)]
struct Model {
    accepted: Vec<BatchHeader>,
}

impl Model {
    fn judge(&self, batch: &BatchHeader) -> SequenceVerdict {
        let of_producer = || self.accepted.iter().filter(|b| b.producer_id == batch.producer_id);
        if batch.producer_id.0 < 0 || of_producer().count() == 0 {
            return SequenceVerdict::Next;
        }
        let current = of_producer().map(|b| b.producer_epoch).max().expect("there is one");
        if batch.producer_epoch < current {
            return SequenceVerdict::StaleEpoch { current };
        }
        let of_epoch: Vec<_> = of_producer().filter(|b| b.producer_epoch == batch.producer_epoch).collect();
        let sequences = |b: &BatchHeader| -> Vec<i32> {
            (0..i64::from(b.record_count)).map(|i| ((i64::from(b.base_sequence) + i) % (1 << 31)) as i32).collect()
        };
        let twin = of_epoch.iter().rev().take(5).rev().find(|b| sequences(b) == sequences(batch));
        if let Some(twin) = twin {
            return SequenceVerdict::Duplicate(BatchSpan {
                first_sequence: sequences(twin)[0],
                last_sequence: *sequences(twin).last().expect("a record"),
                base_offset: twin.base_offset,
                last_offset: Offset(twin.base_offset.0 + i64::from(twin.record_count) - 1),
                timestamp_ms: twin.max_timestamp_ms,
            });
        }
        let last = of_epoch.last().map(|b| *sequences(b).last().expect("a record"));
        let expected = last.map_or(0, |last| if last == i32::MAX { 0 } else { last + 1 });
        if batch.base_sequence == expected { SequenceVerdict::Next } else { SequenceVerdict::OutOfOrder { expected } }
    }
}

/// What a producer does next: mostly the right thing, sometimes a retry, sometimes nonsense.
#[derive(Debug, Clone, Copy)]
enum Step {
    Next { producer: i64, records: i32 },
    Retry { back: usize },
    NewEpoch { producer: i64, sequence: i32 },
    Odd { producer: i64, epoch: i16, sequence: i32, records: i32 },
}

fn step() -> impl Strategy<Value = Step> {
    let sequence = || prop_oneof![Just(0), 0..20, (i32::MAX - 20)..=i32::MAX];
    prop_oneof![
        6 => (-1..3i64, 1..12i32).prop_map(|(producer, records)| Step::Next { producer, records }),
        3 => (0..9usize).prop_map(|back| Step::Retry { back }),
        1 => (0..3i64, 0..2i32).prop_map(|(producer, sequence)| Step::NewEpoch { producer, sequence }),
        2 => (-1..3i64, 0..3i16, sequence(), 1..12i32)
            .prop_map(|(producer, epoch, sequence, records)| Step::Odd { producer, epoch, sequence, records }),
    ]
}

proptest! {
    #[test]
    fn the_table_judges_as_if_it_remembered_everything(
        start in prop_oneof![Just(0), (i32::MAX - 30)..=i32::MAX],
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (mut table, mut model, mut sent, mut end) = (ProducerTable::default(), Model::default(), Vec::new(), Offset(0));
        for step in steps {
            let last_of = |producer: i64| model.accepted.iter().rev().find(|b| b.producer_id.0 == producer);
            let next = match step {
                Step::Next { producer: -1, records } => plain(records),
                Step::Next { producer, records } => match last_of(producer) {
                    None => batch(producer, 0, start, records),
                    Some(last) => {
                        let after = (i64::from(last.last_sequence()) + 1) % (1 << 31);
                        batch(producer, last.producer_epoch.0, after as i32, records)
                    }
                },
                Step::Retry { back } => match sent.len().checked_sub(back + 1) {
                    None => continue,
                    Some(at) => sent[at],
                },
                Step::NewEpoch { producer, sequence } => {
                    batch(producer, last_of(producer).map_or(0, |last| last.producer_epoch.0 + 1), sequence, 2)
                }
                Step::Odd { producer, epoch, sequence, records } => batch(producer, epoch, sequence, records),
            };
            sent.push(next);
            let verdict = table.judge(&next);
            prop_assert_eq!(verdict, model.judge(&next), "{:?}", next);
            if verdict == SequenceVerdict::Next {
                let appended = BatchHeader { base_offset: end, max_timestamp_ms: end.0, ..next };
                table.replay(&appended);
                model.accepted.push(appended);
                end = appended.next_offset();
            }
        }
        prop_assert!(table.iter().all(|(_, entry)| (1..=REMEMBERED_BATCHES).contains(&entry.batches.len())));
        let mut again = ProducerTable::default();
        model.accepted.iter().for_each(|batch| again.replay(batch));
        prop_assert_eq!(again, table, "R-36: replay rebuilds the table");
    }
}
