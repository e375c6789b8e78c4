//! Which offsets expire, and which never do, over months of a clock that is handed in (O-50 to O-55, O-17, E-20, E-28).
//!
//! What `time` does was compared with Apache Kafka 4.3.1 under `offsets.retention.minutes=1`: the same groups, commits and states,
//! asked every second.

use pagemark_core::coordinator::*;
use pagemark_core::time::{MonoMs, Now};
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{CoordinatorKey, GroupMetadata};
use pagemark_wire::types::{Generation, PartitionIndex};

use crate::driver::*;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

fn by_time() -> Driver {
    Driver::new(GroupSettings { offset_retention: OffsetRetention::Time, ..settings() })
}

/// Lets days pass while members of stable groups say that they are alive.
fn pass_alive(driver: &mut Driver, ms: u64, members: &[(&str, &str, i32)]) {
    let end = driver.now.mono.plus(ms);
    while driver.now.mono < end {
        for (group, member, generation) in members {
            assert_eq!(driver.heartbeat(group, member, *generation), ErrorCode::None);
        }
        driver.pass(5_000.min(end.0 - driver.now.mono.0));
    }
}

fn names(driver: &mut Driver) -> Vec<String> {
    driver.list(&[], &[]).into_iter().map(|group| group.group_id).collect()
}

/// A group whose only member has committed 5 and left again.
fn left_empty(driver: &mut Driver, group: &str) {
    let member = driver.stable(group, 1).remove(0);
    assert_eq!(driver.commit_one(group, &member, 1, 5), ErrorCode::None);
    driver.leave(group, &[(&member, None)]);
    assert_eq!(driver.state(group), GroupState::Empty);
}

fn of_its_own(group: &str, partition: i32, retention_ms: i64) -> CommitRequest {
    CommitRequest { retention_ms: Some(retention_ms), ..commit(group, "", -1, vec![to_commit("sales", partition, 5)]) }
}

#[test]
fn an_idle_group_keeps_what_marks_data_for_400_days_o_50a() {
    let mut driver = Driver::quick();
    driver.commit_one("simple", "", -1, 5);
    left_empty(&mut driver, "left");
    driver.commit(of_its_own("own", 0, 1_000));
    for _ in 0..400 {
        driver.pass(DAY_MS);
        assert_eq!(driver.sweep(Some(5)), (0, 0), "the log begins at the next offset to read, or before it");
    }
    driver.restart_all();
    driver.pass(HOUR_MS);
    assert_eq!(driver.sweep(None), (0, 0), "nobody knows where the log begins");
    for group in ["simple", "left", "own"] {
        let told = &driver.fetch(group, "sales", &[0])[0];
        let epoch = if group == "own" { -1 } else { 3 }; // its format has no place for one (O-71)
        assert_eq!((told.offset.0, told.leader_epoch.0, told.metadata.as_str()), (5, epoch, "at 5"));
    }
}

#[test]
fn what_marks_no_data_any_more_goes_when_it_is_old_enough_o_50_o_50a_e_20() {
    for restarted in [false, true] {
        let mut driver = Driver::quick();
        driver.commit_one("simple", "", -1, 5);
        left_empty(&mut driver, "left");
        driver.pass(6 * DAY_MS);
        if restarted {
            driver.restart_all();
        }
        driver.pass(DAY_MS - HOUR_MS);
        assert_eq!(driver.sweep(Some(6)), (0, 0), "not yet");
        driver.pass(HOUR_MS);
        assert_eq!(driver.sweep(Some(5)), (0, 0), "it still marks data");
        assert_eq!(driver.sweep(Some(6)), (2, 0));
        assert_eq!((driver.committed("simple"), driver.committed("left")), (-1, -1));
        assert_eq!(names(&mut driver), ["left", "simple"], "the groups stay for a while (O-55)");
        driver.assert_state_is_replay();
        driver.restart_all();
        assert_eq!(driver.committed("simple"), -1, "gone for good");
    }
}

#[test]
fn a_group_that_came_back_in_time_keeps_everything_it_reads_o_52() {
    let mut driver = Driver::quick();
    left_empty(&mut driver, "left");
    driver.pass(9 * DAY_MS);
    driver.restart_all();
    assert_eq!(driver.sweep(Some(6)), (0, 0), "a start leaves time to come back (E-28)");
    let (member, token) = driver.join_new("left");
    let generation = driver.join_answer(token).generation.0;
    driver.sync("left", &member, generation, &[(&member, "")]);
    pass_alive(&mut driver, 8 * DAY_MS, &[("left", &member, generation)]);
    assert_eq!((driver.sweep(Some(6)), driver.committed("left")), ((0, 0), 5));
    driver.leave("left", &[(&member, None)]);
    driver.pass(6 * DAY_MS);
    assert_eq!(driver.sweep(Some(6)), (0, 0), "it counts anew from here");
    driver.pass(DAY_MS);
    assert_eq!(driver.sweep(Some(6)), (1, 0));
}

#[test]
fn kafkas_rule_alone_o_50_to_o_53_o_17() {
    let mut driver = by_time();
    driver.commit_one("simple", "", -1, 5);
    driver.commit(of_its_own("own", 0, 10 * DAY_MS as i64));
    driver.commit(of_its_own("own", 1, 2 * HOUR_MS as i64));
    left_empty(&mut driver, "left");
    driver.pass(2 * HOUR_MS);
    assert_eq!(driver.sweep(None), (1, 0), "a commit with a retention of its own goes by it (O-51)");
    assert_eq!(driver.fetch("own", "sales", &[0, 1]).iter().map(|p| p.offset.0).collect::<Vec<_>>(), [5, -1]);

    // Somebody commits into the empty group: its offsets expire since it was empty all the same.
    driver.pass(6 * DAY_MS);
    assert_eq!(driver.commit_one("left", "", -1, 7), ErrorCode::None);
    assert_eq!(driver.commit_one("simple", "", -1, 7), ErrorCode::None);
    driver.pass(DAY_MS - 2 * HOUR_MS);
    assert_eq!(driver.sweep(None), (1, 0));
    assert_eq!((driver.committed("left"), driver.committed("simple"), driver.committed("own")), (-1, 7, 5));
    driver.pass(3 * DAY_MS);
    assert_eq!(driver.sweep(None), (1, 0));
    driver.pass(4 * DAY_MS);
    assert_eq!((driver.committed("simple"), driver.committed("own")), (7, -1));
    assert_eq!(driver.sweep(None), (1, 1), "and the group that had nothing for 7 days goes (O-55)");
    driver.assert_state_is_replay();
}

#[test]
fn of_a_group_with_members_only_what_no_consumer_is_subscribed_to_expires_o_52() {
    let mut driver = by_time();
    let member = driver.stable("readers", 1).remove(0);
    let both = || vec![to_commit("sales", 0, 5), to_commit("others", 0, 5)];
    assert_eq!(driver.commit(commit("readers", &member, 1, both())), [ErrorCode::None; 2]);
    let mut connect = consumer("workers", "");
    connect.protocol_type = "connect".into();
    let worker = driver.join(connect).member_id;
    driver.sync("workers", &worker, 1, &[(&worker, "")]);
    assert_eq!(driver.commit(commit("workers", &worker, 1, both())), [ErrorCode::None; 2]);
    let mut garbled = consumer("garbled", "");
    garbled.protocols[0].1 = vec![0, 1].into();
    let stranger = driver.join(garbled).member_id;
    driver.sync("garbled", &stranger, 1, &[(&stranger, "")]);
    assert_eq!(driver.commit(commit("garbled", &stranger, 1, both())), [ErrorCode::None; 2]);

    let alive = [("readers", &*member, 1), ("workers", &*worker, 1), ("garbled", &*stranger, 1)];
    pass_alive(&mut driver, 8 * DAY_MS, &alive);
    assert_eq!(driver.sweep(None), (1, 0));
    assert_eq!((driver.committed("readers"), driver.fetch("readers", "others", &[0])[0].offset.0), (5, -1));
    for group in ["workers", "garbled"] {
        assert_eq!((driver.committed(group), driver.fetch(group, "others", &[0])[0].offset.0), (5, 5), "{group}");
    }
}

#[test]
fn while_a_group_rebalances_nothing_of_it_expires_o_52() {
    let mut driver = by_time();
    driver.commit(commit("readers", "", -1, vec![to_commit("others", 0, 5)]));
    driver.pass(8 * DAY_MS);
    let (member, token) = driver.join_new("readers");
    assert_eq!(driver.join_answer(token).generation, Generation(1));
    assert_eq!(driver.state("readers"), GroupState::CompletingRebalance);
    assert_eq!(driver.sweep(None), (0, 0));
    driver.sync("readers", &member, 1, &[(&member, "")]);
    let second = driver.send_join(consumer("readers", ""));
    assert!(driver.is_parked(second));
    assert_eq!(driver.state("readers"), GroupState::PreparingRebalance);
    assert_eq!(driver.sweep(None), (0, 0));
}

#[test]
fn a_group_of_which_nothing_is_left_goes_a_week_later_or_at_once_o_55_o_63() {
    let mut driver = by_time();
    left_empty(&mut driver, "left");
    driver.commit_one("deleted", "", -1, 5);
    driver.pass(100 * DAY_MS);
    let effects = driver.shard.topic_deleted(driver.now, topic_id("sales"), "sales");
    driver.apply(effects);
    assert_eq!(driver.sweep(None), (0, 0), "both are listed for a week from now on, however long they were empty");
    driver.pass(7 * DAY_MS - 1);
    assert_eq!((driver.sweep(None), names(&mut driver).len()), ((0, 0), 2));
    let newcomer = JoinRequest { requires_known_member_id: true, ..consumer("left", "") };
    assert_eq!(driver.join(newcomer).error, ErrorCode::MemberIdRequired);
    driver.pass(1);
    assert_eq!(driver.sweep(None), (0, 1), "somebody is about to come into the other");
    assert_eq!(names(&mut driver), ["left"]);
    driver.pass(MINUTE_MS);
    assert_eq!((driver.sweep(None), names(&mut driver)), ((0, 1), vec![]));
    driver.assert_state_is_replay();

    let mut driver = Driver::new(GroupSettings { group_empty_retention_ms: 0, ..by_time().settings.as_ref().clone() });
    left_empty(&mut driver, "left");
    driver.commit_one("simple", "", -1, 5);
    driver.pass(7 * DAY_MS);
    let batches = driver.batch_ends.len();
    assert_eq!(driver.sweep(None), (2, 2), "as on Kafka");
    assert_eq!((driver.batch_ends.len() - batches, names(&mut driver)), (1, vec![]), "one batch");
    driver.assert_state_is_replay();
}

#[test]
fn a_clock_that_jumps_lets_nothing_expire_before_its_time_e_28() {
    let mut driver = by_time();
    driver.commit_one("simple", "", -1, 5);
    driver.pass(2 * HOUR_MS);
    driver.now.wall.0 += 400 * DAY_MS as i64;
    assert_eq!(driver.sweep(None), (0, 0), "only two hours are over");
    driver.restart_all();
    driver.pass(HOUR_MS - 1);
    assert_eq!(
        driver.sweep(None),
        (0, 0),
        "after a start there is time to set the clock right, and for members to come"
    );
    driver.now.wall.0 -= 400 * DAY_MS as i64;
    driver.pass(6 * DAY_MS);
    assert_eq!(driver.sweep(None), (0, 0), "back again");
    driver.pass(DAY_MS);
    assert_eq!(driver.sweep(None), (1, 0));
}

#[test]
fn a_sweep_goes_on_where_it_stopped_and_writes_what_fits_o_18_o_55() {
    let settings =
        GroupSettings { append_max_bytes: 2_000, group_empty_retention_ms: 0, ..by_time().settings.as_ref().clone() };
    let mut driver = Driver::new(settings);
    for group in 0..300 {
        let offsets = (0..group % 7 + 1).map(|partition| to_commit("sales", partition, 5));
        driver.commit(commit(&format!("group-{group}"), "", -1, offsets.collect()));
    }
    driver.commit(commit("large", "", -1, (0..40).map(|partition| to_commit("sales", partition, 5)).collect()));
    driver.pass(7 * DAY_MS);
    let before = driver.log.len();
    let (mut steps, mut offsets, mut most) = (0, 0, 0);
    loop {
        let expired = driver.shard.expire(driver.now, &|_, _, _| None);
        let records = &expired.effects.records;
        let bytes: usize = records.iter().map(|record| record.size()).sum();
        assert!(bytes <= 2_000 || records.len() <= 40, "{bytes} bytes, more than one group");
        most = most.max(bytes);
        offsets += expired.offsets;
        steps += 1;
        driver.apply(expired.effects);
        if expired.done {
            break;
        }
    }
    assert!(steps > 10 && most > 1_500, "{steps} steps of up to {most} bytes");
    assert_eq!((offsets, names(&mut driver)), (driver.log.len() - before, vec![]));
    assert_eq!(driver.sweep(None), (0, 0));
}

#[test]
fn what_cannot_be_read_never_expires_o_73() {
    let mut driver = by_time();
    let key = CoordinatorKey::encode_offset_commit("readers", "sales", PartitionIndex(0)).unwrap();
    assert_eq!(driver.replay(&key, Some(&[0, 99])), Replayed::NewerVersion(99));
    driver.commit(commit("readers", "", -1, vec![to_commit("sales", 1, 5)]));
    driver.commit(commit("newer", "", -1, vec![to_commit("sales", 1, 5)]));
    let key = CoordinatorKey::encode_group_metadata("newer").unwrap();
    assert_eq!(driver.replay(&key, Some(&[0, 99])), Replayed::NewerVersion(99));
    driver.pass(100 * DAY_MS);
    assert_eq!(driver.sweep(None), (1, 0));
    assert_eq!(driver.fetch("readers", "sales", &[0])[0].error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(driver.fetch("newer", "sales", &[1])[0].offset.0, 5);
    driver.pass(100 * DAY_MS);
    assert_eq!(driver.sweep(None), (0, 0));
}

#[test]
fn where_the_record_does_not_say_since_when_a_group_is_empty_its_commits_count_o_52() {
    let mut driver = by_time();
    let old = GroupMetadata {
        protocol_type: "consumer".into(),
        generation: Generation(4),
        protocol: None,
        leader: None,
        current_state_timestamp_ms: -1,
        members: Vec::new(),
        completing: false,
    };
    let key = CoordinatorKey::encode_group_metadata("left").unwrap();
    driver.replay(&key, Some(&old.encode()));
    driver.pass(6 * DAY_MS);
    driver.commit_one("left", "", -1, 5);
    driver.pass(6 * DAY_MS);
    assert_eq!(driver.sweep(None), (0, 0));
    driver.pass(DAY_MS);
    assert_eq!(driver.sweep(None), (1, 0));
    let kept = driver.recorded("left").unwrap();
    assert_eq!((kept.protocol_type.as_str(), kept.generation), ("consumer", Generation(4)), "G-17: it never goes back");
    assert_eq!(kept.current_state_timestamp_ms, driver.now.wall.0);
}

#[test]
fn nothing_expires_in_a_shard_that_is_not_loaded() {
    let shard_settings = by_time().settings;
    let mut shard = GroupShard::new(shard_settings);
    let expired = shard.expire(Now { mono: MonoMs(u64::MAX), ..Now::default() }, &|_, _, _| None);
    assert!(expired.done && expired.effects.is_empty());
}
