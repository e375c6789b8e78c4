//! Groups and offsets that somebody deletes (DeleteGroups: G-37, O-36, E-19; OffsetDelete: O-35).

use pagemark_core::coordinator::*;
use pagemark_core::effects::{After, ReplyTo};
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::CoordinatorKey;
use pagemark_wire::types::{Generation, PartitionIndex};

use crate::driver::*;

fn delete_group(driver: &mut Driver, group: &str) -> ErrorCode {
    let request = DeleteGroupRequest { group_id: group.into() };
    let Answer::DeleteGroup(error) = driver.ask(Request::DeleteGroup(request)) else {
        panic!("not a deletion's answer")
    };
    error
}

fn delete_offsets(driver: &mut Driver, group: &str, partitions: &[(&str, i32)]) -> Result<Vec<ErrorCode>, ErrorCode> {
    let partitions = partitions.iter().map(|(topic, p)| ((*topic).into(), PartitionIndex(*p))).collect();
    let request = DeleteOffsetsRequest { group_id: group.into(), partitions };
    let Answer::DeleteOffsets(answer) = driver.ask(Request::DeleteOffsets(request)) else {
        panic!("not a deletion's answer")
    };
    if answer.error.is_none() { Ok(answer.partitions) } else { Err(answer.error) }
}

/// An empty group of generation 2 with three offsets.
fn left_behind(driver: &mut Driver) {
    let members = driver.stable("g", 1);
    let offsets = vec![to_commit("sales", 0, 5), to_commit("sales", 1, 6), to_commit("other", 0, 7)];
    driver.commit(commit("g", &members[0], 1, offsets));
    driver.leave("g", &[(&members[0], None)]);
    assert_eq!(driver.state("g"), GroupState::Empty);
}

#[test]
fn g37_o36_e19_a_deleted_group_leaves_nothing_behind() {
    let mut driver = Driver::quick();
    left_behind(&mut driver);
    let before = driver.batch_ends.len();
    assert_eq!(delete_group(&mut driver, "g"), ErrorCode::None);
    assert_eq!(driver.batch_ends.len(), before + 1, "one atomic batch");
    assert_eq!(driver.state("g"), GroupState::Dead);
    assert_eq!(driver.committed("g"), -1);
    assert_eq!(driver.shard.dump(), "");
    assert_eq!(delete_group(&mut driver, "g"), ErrorCode::GroupIdNotFound, "row 65");
    driver.restart_all();
    assert_eq!((driver.committed("g"), driver.shard.dump().as_str()), (-1, ""));
    let (_, token) = driver.join_new("g");
    assert_eq!(driver.join_answer(token).generation, Generation(1), "the name begins anew");
}

#[test]
fn g37_a_group_with_members_or_with_somebody_joining_stays() {
    let mut driver = Driver::new(GroupSettings { group_initial_rebalance_delay_ms: 3_000, ..settings() });
    let (_, token) = driver.join_new("g");
    assert_eq!(delete_group(&mut driver, "g"), ErrorCode::NonEmptyGroup, "its first member is joining");
    driver.pass(3_000);
    driver.join_answer(token);
    assert_eq!(delete_group(&mut driver, "g"), ErrorCode::NonEmptyGroup);
}

#[test]
fn o36_a_simple_group_and_one_with_ids_handed_out_can_be_deleted() {
    let mut driver = Driver::quick();
    driver.commit_one("g", "", -1, 4);
    let id = driver.join(JoinRequest { requires_known_member_id: true, ..consumer("g", "") }).member_id;
    assert_eq!(delete_group(&mut driver, "g"), ErrorCode::None);
    assert_eq!(driver.join(consumer("g", &id)).error, ErrorCode::UnknownMemberId, "the id went with the group");
    driver.commit_one("", "", -1, 4);
    assert_eq!(delete_group(&mut driver, ""), ErrorCode::None, "the empty id is a group's too (G-5)");
    assert_eq!(driver.shard.dump(), "");
}

#[test]
fn o36_a_deletion_is_answered_when_it_is_durable_and_lost_whole_or_not_at_all() {
    let mut driver = Driver::quick();
    left_behind(&mut driver);
    driver.flush_at_once = false;
    let token = driver.send(Request::DeleteGroup(DeleteGroupRequest { group_id: "g".into() }));
    assert!(driver.is_parked(token));
    let again = driver.send(Request::DeleteGroup(DeleteGroupRequest { group_id: "g".into() }));
    assert!(driver.is_parked(again), "that it is gone may not be told yet (invariant 17)");
    // Somebody who joins under the name does not make it known either.
    driver.send_join(JoinRequest { requires_known_member_id: true, ..consumer("g", "") });
    let topic = FetchTopic { name: "sales".into(), current_id: None, partitions: vec![PartitionIndex(0)] };
    let fetch = FetchOffsetsRequest { group_id: "g".into(), topics: Some(vec![topic]), require_stable: false };
    let token = driver.send(Request::Fetch(fetch));
    assert!(driver.is_parked(token));
    driver.restart(driver.durable);
    driver.flush_at_once = true;
    assert_eq!(driver.committed("g"), 5, "never answered: still there");
}

/// Its tombstones did not fit in one write: such a group was answered MESSAGE_TOO_LARGE for ever.
#[test]
fn g37_a_group_with_more_offsets_than_one_write_holds_can_be_deleted() {
    let most = 2_000;
    let mut driver = Driver::new(GroupSettings { append_max_bytes: most, ..settings() });
    let members = driver.stable("g", 1);
    for partition in 0..200 {
        driver.commit(commit("g", &members[0], 1, vec![to_commit("sales", partition, 5)]));
    }
    driver.leave("g", &[(&members[0], None)]);
    let before = driver.log.len();
    assert_eq!(delete_group(&mut driver, "g"), ErrorCode::None);
    let written = &driver.log[before..];
    assert!(written.iter().map(|record| record.size()).sum::<usize>() > most);
    let last = CoordinatorKey::parse(&written.last().unwrap().key);
    assert!(matches!(last, Ok(CoordinatorKey::GroupMetadata { .. })), "until then it can be deleted again: {last:?}");
    assert_eq!(driver.shard.dump(), "");
    driver.restart_all();
    assert_eq!((driver.committed("g"), driver.shard.dump().as_str()), (-1, ""));
}

#[test]
fn o73_what_this_broker_cannot_read_is_not_deleted() {
    let mut driver = Driver::quick();
    let key = CoordinatorKey::encode_offset_commit("g", "sales", PartitionIndex(0)).unwrap();
    driver.replay(&key, Some(&[0, 9, 1]));
    assert_eq!(delete_group(&mut driver, "g"), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(delete_offsets(&mut driver, "g", &[("sales", 0)]), Ok(vec![ErrorCode::CoordinatorNotAvailable]));
    let key = CoordinatorKey::encode_group_metadata("h").unwrap();
    driver.replay(&key, Some(&[0, 9, 1]));
    assert_eq!(delete_group(&mut driver, "h"), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(delete_offsets(&mut driver, "h", &[]), Err(ErrorCode::CoordinatorNotAvailable));
}

#[test]
fn o35_offsets_of_an_empty_group_go_one_by_one_and_the_group_stays() {
    let mut driver = Driver::quick();
    left_behind(&mut driver);
    let asked = [("sales", 0), ("sales", 9), ("sales", 0), ("never", 0)];
    assert_eq!(delete_offsets(&mut driver, "g", &asked), Ok(vec![ErrorCode::None; 4]), "nothing there is success");
    let told: Vec<i64> = driver.fetch("g", "sales", &[0, 1]).iter().map(|p| p.offset.0).collect();
    assert_eq!((told, driver.fetch("g", "other", &[0])[0].offset.0), (vec![-1, 6], 7));
    assert_eq!(delete_offsets(&mut driver, "g", &[("sales", 1), ("other", 0)]), Ok(vec![ErrorCode::None; 2]));
    assert_eq!(driver.state("g"), GroupState::Empty);
    driver.assert_state_is_replay();

    driver.commit_one("simple", "", -1, 4);
    assert_eq!(delete_offsets(&mut driver, "simple", &[("sales", 0)]), Ok(vec![ErrorCode::None]));
    driver.restart_all();
    assert_eq!((driver.state("simple"), driver.committed("simple")), (GroupState::Empty, -1));
}

#[test]
fn o35_a_subscribed_topic_keeps_its_offsets_and_others_go() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let offsets = vec![to_commit("sales", 0, 5), to_commit("other", 0, 7)];
    driver.commit(commit("g", &members[0], 2, offsets));
    let asked = [("sales", 0), ("other", 0)];
    let subscribed = ErrorCode::GroupSubscribedToTopic;
    assert_eq!(delete_offsets(&mut driver, "g", &asked), Ok(vec![subscribed, ErrorCode::None]));
    assert_eq!((driver.committed("g"), driver.fetch("g", "other", &[0])[0].offset.0), (5, -1));
}

#[test]
fn o35_g25_of_members_that_cannot_be_understood_nothing_is_taken() {
    let mut driver = Driver::quick();
    assert_eq!(delete_offsets(&mut driver, "nobody", &[("sales", 0)]), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(delete_offsets(&mut driver, "", &[("sales", 0)]), Err(ErrorCode::InvalidGroupId));
    let connect = JoinRequest { protocol_type: "connect".into(), ..consumer("workers", "") };
    assert_eq!(driver.join(connect).error, ErrorCode::None);
    assert_eq!(delete_offsets(&mut driver, "workers", &[("sales", 0)]), Err(ErrorCode::NonEmptyGroup));

    let garbled = |group: &str| JoinRequest { protocols: vec![("range".into(), "?".into())], ..consumer(group, "") };
    driver.join(garbled("garbled"));
    let subscribed = Ok(vec![ErrorCode::GroupSubscribedToTopic]);
    assert_eq!(delete_offsets(&mut driver, "garbled", &[("sales", 0)]), subscribed);
    let mut driver = Driver::new(GroupSettings { group_initial_rebalance_delay_ms: 3_000, ..settings() });
    driver.join_new("g");
    assert_eq!(delete_offsets(&mut driver, "g", &[("sales", 0)]), subscribed, "nobody has said what it reads");
}

#[test]
fn o35_the_answer_waits_for_the_tombstones() {
    let mut driver = Driver::quick();
    left_behind(&mut driver);
    let request = DeleteOffsetsRequest { group_id: "g".into(), partitions: vec![("sales".into(), PartitionIndex(0))] };
    let effects = driver.shard.handle(driver.now, ReplyTo(0), Request::DeleteOffsets(request));
    assert_eq!((effects.records.len(), effects.replies[0].after), (1, After::OwnRecords));
}
