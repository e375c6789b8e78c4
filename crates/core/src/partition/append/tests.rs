//! What an owner decides about batches, in the order in which they come.

use super::super::producer_state::tests::{batch, plain};
use super::*;

const NOW: MonoMs = MonoMs(1_700_000_000_000);
const DAY_MS: u64 = DEFAULT_PRODUCER_EXPIRATION_MS.unsigned_abs();

fn state() -> PartitionState {
    PartitionState::opened(Offset(100), LeaderEpoch(3), ProducerTable::default(), NOW)
}

/// Judges a batch and, if it is new, appends it as the owner would. The base offset it got or had.
fn send(state: &mut PartitionState, batch: &BatchHeader) -> Result<Offset, Refusal> {
    match state.judge(batch) {
        AppendVerdict::Append { base_offset } => {
            state.replay(&BatchHeader { base_offset, leader_epoch: state.leader_epoch(), ..*batch }, NOW);
            Ok(base_offset)
        }
        AppendVerdict::Duplicate { base_offset, .. } => Ok(base_offset),
        AppendVerdict::Refuse(refusal) => Err(refusal),
    }
}

#[test]
fn offsets_follow_each_other_without_holes_r_24() {
    let mut state = state();
    assert_eq!(send(&mut state, &plain(3)), Ok(Offset(100)));
    assert_eq!(send(&mut state, &plain(1)), Ok(Offset(103)));
    assert_eq!(send(&mut state, &batch(7, 0, 0, 10)), Ok(Offset(104)));
    assert_eq!(state.log_end(), Offset(114));
}

#[test]
fn appends_carry_the_owners_epoch_r_25() {
    assert_eq!(state().leader_epoch(), LeaderEpoch(3));
}

#[test]
fn a_retry_gets_the_first_answer_and_appends_nothing_r_30_p_31() {
    let mut state = state();
    let first = BatchHeader { max_timestamp_ms: 42, ..batch(7, 0, 0, 10) };
    assert_eq!(send(&mut state, &first), Ok(Offset(100)));
    assert_eq!(send(&mut state, &plain(5)), Ok(Offset(110)));
    let retry = BatchHeader { max_timestamp_ms: 43, ..first };
    let verdict = AppendVerdict::Duplicate { base_offset: Offset(100), timestamp_ms: 42 };
    assert_eq!(state.judge(&retry), verdict);
    assert_eq!(state.log_end(), Offset(115));
}

#[test]
fn refusals_have_their_code_and_say_what_was_expected_q_83() {
    let mut state = state();
    assert_eq!(send(&mut state, &batch(7, 2, 0, 10)), Ok(Offset(100)));
    let jump = send(&mut state, &batch(7, 2, 11, 1)).expect_err("a jump");
    assert_eq!(jump.error_code(), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(jump.to_string(), "sequence number 11 of producer 7 is out of order, expected 10");
    let old = send(&mut state, &batch(7, 1, 10, 1)).expect_err("an old epoch");
    assert_eq!(old.error_code(), ErrorCode::InvalidProducerEpoch);
    assert_eq!(old.to_string(), "epoch 1 of producer 7 is older than 2");
    assert_eq!(state.log_end(), Offset(110), "a refusal changes nothing");
}

#[test]
fn judging_changes_nothing_r_22() {
    let mut state = state();
    assert_eq!(send(&mut state, &batch(7, 0, 0, 10)), Ok(Offset(100)));
    let before = state.clone();
    for batch in [batch(7, 0, 10, 1), batch(7, 0, 0, 10), batch(7, 0, 99, 1), batch(8, 0, 5, 1), plain(1)] {
        let _ = state.judge(&batch);
        assert_eq!(state, before);
    }
}

#[test]
fn a_silent_producer_is_forgotten_by_our_clock_not_by_its_timestamps_r_35() {
    let mut state = state();
    let ancient = BatchHeader { max_timestamp_ms: 0, ..batch(7, 0, 0, 10) };
    assert_eq!(send(&mut state, &ancient), Ok(Offset(100)));
    assert_eq!(state.expire(NOW.plus(DAY_MS), DEFAULT_PRODUCER_EXPIRATION_MS), []);
    assert!(matches!(state.judge(&ancient), AppendVerdict::Duplicate { .. }), "one day later it is still known");
    let forgotten = state.expire(NOW.plus(DAY_MS + 1), DEFAULT_PRODUCER_EXPIRATION_MS);
    assert_eq!(forgotten, [ProducerId(7)]);
    assert_eq!(state.judge(&batch(7, 0, 55, 1)), AppendVerdict::Append { base_offset: Offset(110) }, "R-33");
    assert_eq!(state.producers().iter().len(), 0);
}

#[test]
fn a_restart_remembers_producers_and_counts_their_day_anew_r_36() {
    let mut before = state();
    assert_eq!(send(&mut before, &batch(7, 0, 0, 10)), Ok(Offset(100)));
    let much_later = NOW.plus(10 * DAY_MS);
    let mut after = PartitionState::opened(before.log_end(), LeaderEpoch(4), before.producers().clone(), much_later);
    assert_eq!(after.expire(much_later, DEFAULT_PRODUCER_EXPIRATION_MS), []);
    assert!(matches!(after.judge(&batch(7, 0, 0, 10)), AppendVerdict::Duplicate { base_offset: Offset(100), .. }));
}

#[test]
#[should_panic(expected = "a batch is appended at the log end")]
fn an_owner_that_disagrees_with_its_log_stops() {
    state().replay(&BatchHeader { base_offset: Offset(99), ..plain(1) }, NOW);
}
