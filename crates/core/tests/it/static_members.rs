//! Members that keep their place over a restart (KIP-345: G-24, G-30..G-32, E-9).

use pagemark_core::coordinator::*;
use pagemark_wire::ErrorCode;
use pagemark_wire::types::Generation;

use crate::driver::*;

fn instance(group: &str, member: &str, instance: &str) -> JoinRequest {
    JoinRequest { group_instance_id: Some(instance.into()), requires_known_member_id: true, ..consumer(group, member) }
}

/// A stable group of the static members `a` (leader) and `b` in generation 2.
fn stable_pair(driver: &mut Driver) -> (String, String) {
    let a = driver.join(instance("g", "", "a")).member_id;
    let b = driver.send_join(instance("g", "", "b"));
    driver.join(instance("g", &a, "a"));
    let b = driver.join_answer(b).member_id;
    driver.sync("g", &a, 2, &[(&a, "for a"), (&b, "for b")]);
    driver.sync("g", &b, 2, &[]);
    (a, b)
}

#[test]
fn g10_a_static_member_is_let_in_directly_under_an_id_from_its_instance() {
    let mut driver = Driver::quick();
    let answer = driver.join(instance("g", "", "a"));
    assert_eq!((answer.error, answer.member_id.as_str()), (ErrorCode::None, "a-uuid1"));
    assert_eq!(answer.members[0].group_instance_id.as_deref(), Some("a"));
}

#[test]
fn g31_a_restarted_follower_takes_its_place_back_without_a_rebalance() {
    let mut driver = Driver::quick();
    let (a, b) = stable_pair(&mut driver);
    let answer = driver.join(instance("g", "", "b"));
    assert_eq!((answer.error, answer.generation), (ErrorCode::None, Generation(2)));
    assert_ne!(answer.member_id, b);
    assert_eq!((answer.leader, answer.skip_assignment), (a.clone(), false));
    assert_eq!(driver.state("g"), GroupState::Stable);
    assert_eq!(driver.heartbeat("g", &a, 2), ErrorCode::None);
    assert_eq!(driver.sync("g", &answer.member_id, 2, &[]).assignment, "for b");
    driver.assert_state_is_replay();
    driver.restart_all();
    assert_eq!(driver.heartbeat_as("g", &answer.member_id, Some("b"), 2), ErrorCode::None, "persisted before answered");
}

#[test]
fn g31_a_restarted_leader_of_version_9_keeps_leading_and_skips_the_assignment() {
    let mut driver = Driver::quick();
    let (_, b) = stable_pair(&mut driver);
    let answer = driver.join(JoinRequest { supports_skip_assignment: true, ..instance("g", "", "a") });
    assert_eq!(answer.leader, answer.member_id);
    assert!(answer.skip_assignment);
    assert_eq!(answer.members.len(), 2);
    assert_eq!(driver.sync("g", &answer.member_id, 2, &[]).assignment, "for a");
    assert_eq!(driver.join(instance("g", &b, "b")).leader, answer.member_id);
}

#[test]
fn g31_a_restarted_leader_of_an_older_version_is_told_the_old_leader() {
    let mut driver = Driver::quick();
    let (a, _) = stable_pair(&mut driver);
    let answer = driver.join(instance("g", "", "a"));
    assert_eq!((answer.leader, answer.skip_assignment), (a, false));
    assert!(answer.members.is_empty());
}

#[test]
fn g31_a_change_of_the_chosen_protocol_needs_a_rebalance() {
    let mut driver = Driver::quick();
    let both = |member: &str, id: &str, first: &str, second: &str| JoinRequest {
        protocols: vec![protocol(first, "sales"), protocol(second, "sales")],
        ..instance("g", member, id)
    };
    let a = driver.join(both("", "a", "range", "sticky")).member_id;
    driver.sync("g", &a, 1, &[]);
    let back = driver.join(both("", "a", "sticky", "range"));
    assert_eq!((back.generation, back.protocol.as_deref()), (Generation(2), Some("sticky")));
}

#[test]
fn g31_while_completing_a_restarted_member_starts_a_new_rebalance() {
    let mut driver = Driver::quick();
    let (a, b) = stable_pair(&mut driver);
    for (member, id) in [(&a, "a"), (&b, "b")] {
        let changed = JoinRequest { protocols: vec![protocol("range", "new")], ..instance("g", member, id) };
        driver.send_join(changed);
    }
    assert_eq!(driver.state("g"), GroupState::CompletingRebalance);
    let back = driver.send_join(instance("g", "", "b"));
    assert!(driver.is_parked(back));
    assert_eq!(driver.join(instance("g", &a, "a")).generation, Generation(4));
    assert_eq!(driver.join_answer(back).generation, Generation(4));
}

#[test]
fn g31_the_one_replaced_while_parked_is_fenced() {
    let mut driver = Driver::quick();
    let (a, _) = stable_pair(&mut driver);
    let old = driver.send_join(instance("g", &a, "a"));
    let new = driver.send_join(instance("g", "", "a"));
    assert_eq!(driver.join_answer(old).error, ErrorCode::FencedInstanceId);
    assert!(driver.is_parked(new));
}

#[test]
fn g30_g32_e9_the_old_id_is_fenced_on_everything() {
    let mut driver = Driver::quick();
    let (_, old) = stable_pair(&mut driver);
    let new = driver.join(instance("g", "", "b")).member_id;
    let fenced = ErrorCode::FencedInstanceId;
    assert_eq!(driver.heartbeat_as("g", &old, Some("b"), 2), fenced);
    assert_eq!(driver.join(instance("g", &old, "b")).error, fenced);
    let request = SyncRequest { group_instance_id: Some("b".into()), ..sync("g", &old, 2, &[]) };
    let Answer::Sync(answer) = driver.ask(Request::Sync(request)) else { panic!("not a sync's answer") };
    assert_eq!(answer.error, fenced);
    assert_eq!(driver.leave("g", &[(&old, Some("b"))]), [fenced]);
    let request =
        CommitRequest { group_instance_id: Some("b".into()), ..commit("g", &old, 2, vec![to_commit("sales", 0, 5)]) };
    assert_eq!(driver.commit(request), [fenced]);
    assert_eq!(driver.committed("g"), -1, "nothing stored");
    assert_eq!(driver.heartbeat("g", &old, 2), ErrorCode::UnknownMemberId, "without its instance id: 25");
    assert_eq!(driver.heartbeat_as("g", &new, Some("nobody"), 2), ErrorCode::UnknownMemberId, "unknown instance: 25");
    assert_eq!(driver.heartbeat_as("g", &new, Some("b"), 2), ErrorCode::None);
}

#[test]
fn g16_a_static_member_that_does_not_come_keeps_its_place() {
    let mut driver = Driver::quick();
    let (a, b) = stable_pair(&mut driver);
    let changed = JoinRequest { protocols: vec![protocol("range", "new")], ..instance("g", &b, "b") };
    let parked = driver.send_join(changed);
    for _ in 0..12 {
        driver.pass(5_000);
        driver.heartbeat_as("g", &a, Some("a"), 2);
    }
    let answer = driver.join_answer(parked);
    assert_eq!((answer.generation, answer.leader), (Generation(3), b));
    assert_eq!(answer.members.len(), 2);
}

#[test]
fn g16_if_only_absent_static_members_are_left_the_group_waits_on() {
    let mut driver = Driver::quick();
    let long = JoinRequest { session_timeout_ms: 300_000, ..instance("g", "", "a") };
    let a = driver.join(long).member_id;
    driver.sync("g", &a, 1, &[]);
    let newcomer = driver.send_join(consumer("g", ""));
    let newcomer_id = driver.describe("g").members.iter().find(|m| m.member_id != a).unwrap().member_id.clone();
    assert_eq!(driver.leave("g", &[(&newcomer_id, None)]), [ErrorCode::None]);
    assert_eq!(driver.join_answer(newcomer).error, ErrorCode::UnknownMemberId);
    driver.pass(130_000);
    assert_eq!(driver.state("g"), GroupState::PreparingRebalance);
    driver.pass(200_000);
    assert_eq!(driver.state("g"), GroupState::Empty);
}

#[test]
fn g24_g32_an_administrator_removes_a_static_member_by_its_instance() {
    let mut driver = Driver::quick();
    let (a, b) = stable_pair(&mut driver);
    assert_eq!(driver.leave("g", &[("", Some("b"))]), [ErrorCode::None]);
    assert_eq!(driver.heartbeat_as("g", &b, Some("b"), 2), ErrorCode::UnknownMemberId);
    assert_eq!(driver.heartbeat_as("g", &a, Some("a"), 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn g13_g31_a_static_member_comes_back_into_a_full_group() {
    let mut driver = Driver::new(GroupSettings { group_max_size: 2, ..settings() });
    stable_pair(&mut driver);
    assert_eq!(driver.join(instance("g", "", "c")).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(driver.join(instance("g", "", "b")).error, ErrorCode::None);
}
