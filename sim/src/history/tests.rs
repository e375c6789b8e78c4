//! Each rule finds what breaks it, and lets pass what only looks like it.

use super::check::check;
use super::*;

/// No broken promise.
const NONE: [u32; 0] = [];

fn at(begun_us: u64, ended_us: u64, what: What) -> Event {
    Event { begun_us, ended_us, actor: "somebody".to_owned(), what }
}

fn place() -> Place {
    Place { topic: "t".to_owned(), partition: 0 }
}

fn broken(history: &[Event]) -> Vec<u32> {
    let mut numbers: Vec<u32> = check(history).iter().map(|violation| violation.invariant).collect();
    numbers.dedup();
    numbers
}

fn produced(at_us: u64, value: &str, outcome: Outcome, base_offset: Option<i64>) -> Event {
    let values = vec![value.to_owned()];
    at(at_us, at_us + 5, What::Produced { place: place(), values, outcome, base_offset })
}

fn read(at_us: u64, records: &[(i64, &str)], log_start: i64, high_watermark: i64) -> Event {
    let records = records.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect();
    at(at_us, at_us + 5, What::Read { place: place(), from: 0, records, log_start, high_watermark })
}

fn settled() -> Event {
    at(900, 900, What::Settled)
}

fn bookmark(offset: i64, metadata: &str) -> Bookmark {
    Bookmark { offset, metadata: metadata.to_owned() }
}

fn committed(begun_us: u64, ended_us: u64, generation: i32, of: Bookmark, outcome: Outcome) -> Event {
    let (group, topic) = ("g".to_owned(), "t".to_owned());
    at(
        begun_us,
        ended_us,
        What::Committed { group, generation, topic, topic_id: None, partition: 0, bookmark: of, outcome },
    )
}

fn looked(begun_us: u64, found: Option<Bookmark>) -> Event {
    let (group, topic) = ("g".to_owned(), "t".to_owned());
    at(begun_us, begun_us + 5, What::Looked { group, topic, topic_id: None, partition: 0, found })
}

fn removed(begun_us: u64, ended_us: u64, outcome: Outcome) -> Event {
    at(begun_us, ended_us, What::Removed { group: Some("g".to_owned()), topic: None, partition: None, outcome })
}

fn joined(at_us: u64, member: &str, generation: i32) -> Event {
    at(at_us, at_us + 5, What::Joined { group: "g".to_owned(), member: member.to_owned(), generation })
}

fn assigned(at_us: u64, member: &str, made_in: i32) -> Event {
    let (group, member) = ("g".to_owned(), member.to_owned());
    let partitions = vec![("t".to_owned(), 0)];
    at(at_us, at_us + 5, What::Assigned { group, member, generation: 3, made_in, partitions })
}

#[test]
fn an_acknowledged_record_must_be_there_at_the_end_invariant_2() {
    let kept = [produced(0, "a", Outcome::Done, Some(0)), settled(), read(901, &[(0, "a")], 0, 1)];
    assert_eq!(broken(&kept), NONE);
    let lost = [produced(0, "a", Outcome::Done, Some(0)), settled(), read(901, &[], 0, 0)];
    assert_eq!(broken(&lost), [2]);
    let refused = [produced(0, "a", Outcome::Refused(56), None), settled(), read(901, &[(0, "a")], 0, 1)];
    assert_eq!(broken(&refused), [2], "what was refused must not be there");
}

#[test]
fn what_somebody_has_read_is_there_at_the_end_and_no_offset_means_two_records_invariants_3_and_4() {
    let sent = |value| produced(0, value, Outcome::Unknown, None);
    let vanished = [sent("a"), read(10, &[(0, "a")], 0, 1), settled(), read(901, &[], 0, 1)];
    assert_eq!(broken(&vanished), [4]);
    let reused = [sent("a"), sent("b"), read(10, &[(0, "a")], 0, 1), read(20, &[(0, "b")], 0, 1)];
    assert_eq!(broken(&reused), [3]);
    let unseen = [sent("a"), settled(), read(901, &[], 0, 0)];
    assert_eq!(broken(&unseen), NONE, "what nobody has seen or been promised may be gone");
}

#[test]
fn a_record_is_there_once_in_its_producers_order_and_none_is_invented_invariants_5_and_6() {
    let sent = |value, base| produced(0, value, Outcome::Done, Some(base));
    let twice = [produced(0, "a", Outcome::Unknown, None), settled(), read(901, &[(0, "a"), (1, "a")], 0, 2)];
    assert_eq!(broken(&twice), [5]);
    let swapped = [sent("a", 1), sent("b", 0), settled(), read(901, &[(0, "b"), (1, "a")], 0, 2)];
    assert_eq!(broken(&swapped), [5]);
    assert_eq!(broken(&[settled(), read(901, &[(0, "ghost")], 0, 1)]), [6]);
}

#[test]
fn neither_end_of_a_log_goes_down_invariant_7() {
    assert_eq!(broken(&[read(0, &[], 0, 9), read(10, &[], 0, 8)]), [7]);
    assert_eq!(broken(&[read(0, &[], 4, 9), read(10, &[], 3, 9)]), [7]);
    let at_once = [at(0, 50, read(0, &[], 0, 9).what), read(10, &[], 0, 8)];
    assert_eq!(broken(&at_once), NONE, "two who look at the same time may see either");
}

#[test]
fn deleted_records_may_be_missing() {
    let trimmed = at(20, 25, What::Trimmed { place: place(), to: 1, outcome: Outcome::Unknown });
    let history = [produced(0, "a", Outcome::Done, Some(0)), trimmed, settled(), read(901, &[], 1, 1)];
    assert_eq!(broken(&history), NONE);
}

#[test]
fn an_acknowledged_commit_is_not_lost_and_does_not_come_back_invariants_12_and_17() {
    let first = || committed(0, 5, -1, bookmark(1, "one"), Outcome::Done);
    let second = || committed(10, 15, -1, bookmark(2, "two"), Outcome::Done);
    assert_eq!(broken(&[first(), second(), looked(20, Some(bookmark(2, "two")))]), NONE);
    assert_eq!(broken(&[first(), second(), looked(20, Some(bookmark(1, "one")))]), [12]);
    assert_eq!(broken(&[first(), looked(20, None)]), [17]);
    assert_eq!(broken(&[looked(0, None), first()]), NONE, "before it there was none");
    let unknown = committed(10, 15, -1, bookmark(2, "two"), Outcome::Unknown);
    for found in [bookmark(1, "one"), bookmark(2, "two")] {
        assert_eq!(broken(&[first(), unknown.clone(), looked(20, Some(found))]), NONE, "either");
    }
}

#[test]
fn a_commit_that_was_seen_counts_as_done_whatever_its_sender_knows_invariant_12() {
    let first = committed(0, 5, -1, bookmark(1, "one"), Outcome::Done);
    let unknown = committed(10, 15, -1, bookmark(2, "two"), Outcome::Unknown);
    let back = [first, unknown, looked(20, Some(bookmark(2, "two"))), looked(30, Some(bookmark(1, "one")))];
    assert_eq!(broken(&back), [12]);
}

#[test]
fn an_offset_comes_from_one_commit_with_all_that_it_carried_invariants_13_and_14() {
    let first = || committed(0, 5, -1, bookmark(1, "one"), Outcome::Done);
    assert_eq!(broken(&[first(), looked(20, Some(bookmark(7, "never")))]), [13]);
    assert_eq!(broken(&[first(), looked(20, Some(bookmark(7, "one")))]), [14]);
    let refused = committed(0, 5, 2, bookmark(1, "one"), Outcome::Refused(22));
    assert_eq!(broken(&[refused, looked(20, Some(bookmark(1, "one")))]), [16]);
}

#[test]
fn removed_offsets_do_not_come_back_and_may_be_missing_invariants_12_and_17() {
    let first = || committed(0, 5, -1, bookmark(1, "one"), Outcome::Done);
    assert_eq!(broken(&[first(), removed(10, 15, Outcome::Done), looked(20, None)]), NONE);
    assert_eq!(broken(&[first(), removed(10, 15, Outcome::Done), looked(20, Some(bookmark(1, "one")))]), [12]);
    assert_eq!(broken(&[first(), removed(10, 15, Outcome::Unknown), looked(20, None)]), NONE);
    assert_eq!(broken(&[first(), removed(10, 15, Outcome::Refused(69)), looked(20, None)]), [17]);
    let again = committed(20, 25, -1, bookmark(2, "two"), Outcome::Done);
    assert_eq!(broken(&[first(), removed(10, 15, Outcome::Done), again, looked(30, None)]), [17]);
}

#[test]
fn a_partition_has_one_owner_in_a_generation_as_its_leader_said_invariants_23_and_25() {
    assert_eq!(broken(&[assigned(0, "m1", 3), assigned(1, "m1", 3)]), NONE);
    assert_eq!(broken(&[assigned(0, "m1", 3), assigned(1, "m2", 3)]), [23]);
    assert_eq!(broken(&[assigned(0, "m1", 2)]), [25]);
}

#[test]
fn generations_grow_and_those_that_are_over_commit_nothing_invariants_16_and_24() {
    assert_eq!(broken(&[joined(0, "m1", 4), joined(10, "m1", 3)]), [24]);
    let late = committed(20, 25, 3, bookmark(1, "one"), Outcome::Done);
    assert_eq!(broken(&[joined(0, "m1", 3), joined(10, "m2", 4), late]), [16]);
    let in_time = committed(12, 25, 3, bookmark(1, "one"), Outcome::Done);
    assert_eq!(broken(&[joined(0, "m1", 3), joined(10, "m2", 4), in_time]), NONE, "it may have come before");
}

#[test]
fn a_member_that_is_heard_of_stays_invariant_26() {
    let expelled = |heard_us_ago| {
        let (group, member) = ("g".to_owned(), "m".to_owned());
        [at(0, 5, What::Expelled { group, member, heard_us_ago, session_us: 1_000 })]
    };
    assert_eq!(broken(&expelled(1_000)), NONE);
    assert_eq!(broken(&expelled(999)), [26]);
}

#[test]
fn a_group_processes_every_record_invariant_28() {
    let processed = |offset, value: &str| {
        let (group, value) = ("g".to_owned(), value.to_owned());
        at(50, 50, What::Processed { group, place: place(), offset, value })
    };
    let sent = || [produced(0, "a", Outcome::Done, Some(0)), produced(10, "b", Outcome::Done, Some(1))];
    let last = || [settled(), read(901, &[(0, "a"), (1, "b")], 0, 2)];
    let whole: Vec<Event> = sent().into_iter().chain([processed(0, "a"), processed(1, "b")]).chain(last()).collect();
    assert_eq!(broken(&whole), NONE);
    let skipped: Vec<Event> = sent().into_iter().chain([processed(1, "b")]).chain(last()).collect();
    assert_eq!(broken(&skipped), [28]);
}

#[test]
fn a_history_reads_back_as_it_was_written() {
    let history = vec![
        produced(0, "a\n\"b\"", Outcome::Refused(56), None),
        read(3, &[(0, "a")], 0, 1),
        committed(4, 6, 7, bookmark(1, "one"), Outcome::Unknown),
        looked(8, None),
        removed(9, 10, Outcome::Done),
        joined(11, "m", 2),
        assigned(12, "m", 2),
        settled(),
    ];
    let mut bytes = Vec::new();
    write(&history, &mut bytes).unwrap();
    assert_eq!(super::read(bytes.as_slice()).unwrap(), history);
    assert!(super::read(&b"{\"what\":\"settled\"}"[..]).unwrap_err().starts_with("line 1: "));
}

#[test]
fn a_commit_for_a_topic_that_is_gone_shows_in_the_new_one_of_its_name_18() {
    let for_id = |mut event: Event, id: &str| {
        match &mut event.what {
            What::Committed { topic_id, .. } | What::Looked { topic_id, .. } => *topic_id = Some(id.to_owned()),
            _ => {}
        }
        event
    };
    let late = for_id(committed(10, 20, -1, bookmark(7, "a"), Outcome::Unknown), "old");
    let seen = |id: &str| check(&[late.clone(), for_id(looked(30, Some(bookmark(7, "a"))), id)]);
    assert_eq!(seen("old"), []);
    assert_eq!(seen("new").iter().map(|violation| violation.invariant).collect::<Vec<_>>(), [18]);
}
