//! When rebalances begin and end, and what time does to members (G-9, G-14..G-18).

use pagemark_core::coordinator::*;
use pagemark_wire::ErrorCode;
use pagemark_wire::types::Generation;

use crate::driver::*;

fn delayed(delay_ms: u64) -> Driver {
    Driver::new(GroupSettings { group_initial_rebalance_delay_ms: delay_ms, ..settings() })
}

#[test]
fn g14_the_first_member_of_an_empty_group_waits_the_initial_delay() {
    let mut driver = delayed(3_000);
    let (_, first) = driver.join_new("g");
    driver.pass(2_999);
    assert!(driver.is_parked(first));
    driver.pass(1);
    assert_eq!(driver.join_answer(first).generation, Generation(1));
}

#[test]
fn g14_one_more_window_if_someone_came_not_one_for_each() {
    let mut driver = delayed(3_000);
    let (_, first) = driver.join_new("g");
    driver.pass(1_000);
    driver.join_new("g");
    driver.pass(1_000);
    driver.join_new("g");
    driver.pass(3_999);
    assert!(driver.is_parked(first), "the second window runs from 3 to 6 s");
    driver.pass(1);
    assert_eq!(driver.join_answer(first).members.len(), 3);
}

#[test]
fn g14_the_windows_end_with_the_rebalance_timeout() {
    let mut driver = delayed(3_000);
    let short = |member: &str| JoinRequest { rebalance_timeout_ms: 7_000, ..consumer("g", member) };
    let first = driver.send_join(short(""));
    for _ in 0..6 {
        driver.pass(1_100);
        driver.send_join(short(""));
    }
    assert!(driver.is_parked(first), "6.6 s: windows of 3, 3 and 1 s");
    driver.pass(400);
    assert_eq!(driver.join_answer(first).members.len(), 7);
}

#[test]
fn g14_the_first_rebalance_never_ends_early_also_after_a_group_became_empty() {
    let mut driver = delayed(500);
    let (member, first) = driver.join_new("g");
    driver.pass(500);
    driver.join_answer(first);
    assert_eq!(driver.leave("g", &[(&member, None)]), [ErrorCode::None]);
    assert_eq!(driver.state("g"), GroupState::Empty);
    let (_, again) = driver.join_new("g");
    assert!(driver.is_parked(again));
    driver.pass(500);
    assert_eq!(driver.join_answer(again).generation, Generation(3));
}

#[test]
fn g14_if_all_leave_during_the_first_rebalance_the_group_ends_empty() {
    let mut driver = delayed(500);
    let (member, first) = driver.join_new("g");
    assert_eq!(driver.leave("g", &[(&member, None)]), [ErrorCode::None]);
    assert_eq!(driver.join_answer(first).error, ErrorCode::UnknownMemberId);
    driver.pass(500);
    assert_eq!(driver.state("g"), GroupState::Empty);
    driver.assert_state_is_replay();
}

#[test]
fn g15_a_rebalance_ends_when_everybody_is_back_and_no_id_is_out() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let pending = driver.join(JoinRequest { requires_known_member_id: true, ..consumer("g", "") }).member_id;
    let first = driver.send_join(consumer("g", &members[0]));
    let second = driver.send_join(consumer("g", &members[1]));
    assert!(driver.is_parked(first) && driver.is_parked(second), "someone has an id and will come with it");
    let third = driver.join(consumer("g", &pending));
    assert_eq!(third.generation, Generation(3));
    assert_eq!(driver.join_answer(first).generation, Generation(3));
    assert_eq!(driver.join_answer(second).generation, Generation(3));
}

#[test]
fn g15_an_id_that_lapses_or_leaves_is_no_longer_waited_for() {
    for leaves in [false, true] {
        let mut driver = Driver::quick();
        let members = driver.stable("g", 1);
        let pending = driver.join(JoinRequest { requires_known_member_id: true, ..consumer("g", "") }).member_id;
        let first = driver.send_join(consumer("g", &members[0]));
        assert!(driver.is_parked(first));
        if leaves {
            assert_eq!(driver.leave("g", &[(&pending, None)]), [ErrorCode::None]);
        } else {
            driver.pass(10_000);
        }
        assert_eq!(driver.join_answer(first).generation, Generation(2));
    }
}

#[test]
fn g16_at_the_rebalance_timeout_those_who_did_not_come_are_removed() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 3);
    let second =
        driver.send_join(JoinRequest { protocols: vec![protocol("range", "new")], ..consumer("g", &members[1]) });
    for _ in 0..12 {
        driver.pass(4_900);
        assert_eq!(driver.heartbeat("g", &members[0], 2), ErrorCode::RebalanceInProgress);
        assert_eq!(driver.heartbeat("g", &members[2], 2), ErrorCode::RebalanceInProgress);
    }
    driver.pass(1_200);
    let answer = driver.join_answer(second);
    assert_eq!((answer.generation, answer.members.len()), (Generation(3), 1));
    assert_eq!(answer.leader, members[1], "the old leader did not come: who did leads");
    assert_eq!(driver.heartbeat("g", &members[0], 3), ErrorCode::UnknownMemberId);
}

#[test]
fn g16_the_leader_stays_leader_if_it_comes_back() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let other =
        driver.send_join(JoinRequest { protocols: vec![protocol("range", "new")], ..consumer("g", &members[1]) });
    assert_eq!(driver.join(consumer("g", &members[0])).leader, members[0]);
    assert_eq!(driver.join_answer(other).leader, members[0]);
}

#[test]
fn g16_the_longest_rebalance_timeout_counts() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    let patient = JoinRequest { rebalance_timeout_ms: 90_000, ..consumer("g", "") };
    let newcomer = driver.send_join(patient);
    for _ in 0..11 {
        driver.pass(8_000);
        driver.heartbeat("g", &members[0], 1);
    }
    assert!(driver.is_parked(newcomer), "88 s");
    driver.pass(2_000);
    assert_eq!(driver.join_answer(newcomer).members.len(), 1);
}

#[test]
fn g18_who_does_not_sync_within_the_rebalance_timeout_is_removed() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    for member in &members {
        driver.send_join(consumer("g", member));
    }
    let parked = driver.send_sync("g", &members[1], 3, &[]);
    for _ in 0..8 {
        driver.pass(7_000);
        assert_eq!(driver.heartbeat("g", &members[0], 3), ErrorCode::None, "the leader is alive but never syncs");
    }
    driver.pass(4_000);
    assert_eq!(driver.sync_answer(parked).error, ErrorCode::RebalanceInProgress);
    assert_eq!(driver.heartbeat("g", &members[0], 3), ErrorCode::UnknownMemberId);
    assert_eq!(driver.join(consumer("g", &members[1])).leader, members[1]);
}

#[test]
fn g18_a_follower_that_never_syncs_is_removed_even_from_a_stable_group() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    for member in &members {
        driver.send_join(consumer("g", member));
    }
    driver.sync("g", &members[0], 3, &[]);
    for _ in 0..8 {
        driver.pass(7_000);
        assert_eq!(driver.heartbeat("g", &members[0], 3), ErrorCode::None);
        assert_eq!(driver.heartbeat("g", &members[1], 3), ErrorCode::None);
    }
    driver.pass(4_000);
    assert_eq!(driver.heartbeat("g", &members[1], 3), ErrorCode::UnknownMemberId);
    assert_eq!(driver.heartbeat("g", &members[0], 3), ErrorCode::RebalanceInProgress);
}

#[test]
fn g9_nobody_is_expired_while_the_disk_is_in_the_way() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    driver.pass_with(60_000, true);
    assert_eq!(driver.heartbeat("g", &members[0], 2), ErrorCode::None);
    assert_eq!(driver.heartbeat("g", &members[1], 2), ErrorCode::None);
    driver.pass(10_000);
    assert_eq!(driver.heartbeat("g", &members[1], 2), ErrorCode::UnknownMemberId, "afterwards time counts again");
}

#[test]
fn g9_a_rebalance_does_not_time_out_while_the_disk_is_in_the_way() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let parked = driver.send_join(consumer("g", &members[0]));
    driver.pass_with(100_000, true);
    assert!(driver.is_parked(parked));
    assert_eq!(driver.join(consumer("g", &members[1])).generation, Generation(3));
}

#[test]
fn a_rebalance_timeout_of_nothing_does_not_spin() {
    let mut driver = Driver::quick();
    let hasty = JoinRequest { rebalance_timeout_ms: 0, group_instance_id: Some("i".into()), ..consumer("g", "") };
    let member = driver.join(hasty.clone()).member_id;
    driver.sync("g", &member, 1, &[]);
    driver.send_join(JoinRequest {
        rebalance_timeout_ms: 0,
        protocols: vec![protocol("range", "x")],
        ..consumer("g", "")
    });
    driver.pass(3_600_000);
    assert_eq!(driver.state("g"), GroupState::Empty);
    driver.assert_state_is_replay();
}
