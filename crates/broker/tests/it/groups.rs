//! Groups of the classic protocol over the wire: joining, syncing, working, leaving (G-10 to G-36).

use pagemark_wire::messages::*;

use crate::support::client::*;
use crate::support::member::{GROUP, Member};
use crate::support::{Rig, until};

/// A broker with a topic.
fn rig() -> Rig {
    let rig = Rig::memory();
    rig.client().create("orders", 2, &[]);
    rig
}

/// Two members at generation 2 with an assignment each; the leader first.
fn two(rig: &Rig) -> (Member, Member) {
    let mut leader = Member::new(rig.address).with_id();
    assert_eq!(leader.join().generation_id, 1, "Q-18");
    assert_eq!(leader.sync(&[(&leader.id.clone(), "everything")]), "everything");
    let mut follower = Member::new(rig.address).with_id();
    follower.send_join();
    until("the leader learns of the rebalance", || leader.heartbeat() == 27);
    let seen = leader.join();
    let answer = follower.joined();
    assert_eq!((seen.generation_id, answer.generation_id), (2, 2));
    assert_eq!((&seen.leader, &answer.leader), (&leader.id, &leader.id));
    assert_eq!(answer.members, [], "a follower gets no members (Q-16)");
    let mut ids: Vec<&StrBytes> = seen.members.iter().map(|m| &m.member_id).collect();
    ids.sort();
    let mut expected = [&leader.id, &follower.id];
    expected.sort();
    assert_eq!(ids, expected);
    assert!(seen.members.iter().all(|m| m.metadata == "meta"));
    assert_eq!(seen.protocol_name.as_deref(), Some("range"), "the most preferred (G-17)");
    let parked = follower.sync_request(&[]);
    follower.client.send(5, &parked);
    assert_eq!(leader.sync(&[(&leader.id.clone(), "first half"), (&follower.id, "second half")]), "first half");
    let synced = follower.client.receive::<SyncGroupRequest>();
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"second half"[..]));
    (leader, follower)
}

#[test]
fn a_group_lives_from_the_first_join_to_the_last_leave() {
    let rig = rig();
    let (mut leader, mut follower) = two(&rig);
    assert_eq!((leader.heartbeat(), follower.heartbeat()), (0, 0));
    assert_eq!((leader.commit(3), follower.commit(5)), (0, 0));
    assert_eq!(rig.client().committed(GROUP, "orders", 0).committed_offset, 5, "O-20");
    assert_eq!(follower.sync(&[]), "second half", "again, after a lost reply (G-22)");
    let described = rig.client().ask(5, &DescribeGroupsRequest::default().with_groups(vec![group_id(GROUP)]));
    let group = &described.groups[0];
    assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!(group.members.len(), 2);
    assert_eq!(follower.leave(), 0);
    assert_eq!((leader.heartbeat(), follower.heartbeat()), (27, 25));
    assert_eq!(leader.join().generation_id, 3);
    leader.sync(&[]);
    assert_eq!(leader.leave(), 0);
    assert_eq!((leader.leave(), leader.commit(9)), (25, 25), "O-10");
    let described = rig.client().ask(5, &DescribeGroupsRequest::default().with_groups(vec![group_id(GROUP)]));
    assert_eq!(described.groups[0].group_state.as_str(), "Empty");
    assert_eq!(rig.client().committed(GROUP, "orders", 0).committed_offset, 5, "offsets outlive members");
    // The next generation goes on from there (invariant 24).
    let mut next = Member::new(rig.address).with_id();
    assert_eq!(next.join().generation_id, 5);
}

#[test]
fn only_members_of_the_generation_may_commit_invariant_16() {
    let rig = rig();
    let (mut leader, mut follower) = two(&rig);
    assert_eq!(leader.commit(7), 0);
    follower.generation = 1;
    assert_eq!((follower.commit(1), follower.heartbeat()), (22, 22), "E-8");
    follower.generation = 3;
    assert_eq!(follower.commit(1), 22);
    follower.id = text("stranger");
    assert_eq!(follower.commit(1), 25);
    assert_eq!(rig.client().commit(GROUP, "orders", 0, 1), 25, "an administrator, while it is live (E-10)");
    assert_eq!(rig.client().committed(GROUP, "orders", 0).committed_offset, 7, "nothing of it landed");
    let unknown = |version: i16| {
        let request = commit_request("nobody", &[("orders", 0, 1, "")]).with_generation_id_or_member_epoch(5);
        rig.client().ask(version, &request).topics[0].partitions[0].error_code
    };
    assert_eq!((unknown(8), unknown(9)), (22, 69), "O-3, row 57");
}

#[test]
fn commits_during_a_rebalance_are_taken_until_it_completes_e_6_e_7() {
    let rig = rig();
    let (mut leader, mut follower) = two(&rig);
    let mut third = Member::new(rig.address).with_id();
    third.send_join();
    until("it has begun", || leader.heartbeat() == 27);
    assert_eq!(follower.commit(11), 0, "preparing: members save their progress (O-12)");
    follower.send_join();
    leader.join();
    follower.joined();
    third.joined();
    assert_eq!(follower.commit(12), 27, "completing");
    assert_eq!(rig.client().committed(GROUP, "orders", 0).committed_offset, 11);
    leader.sync(&[]);
    assert_eq!(follower.commit(12), 0);
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_its_old_self_is_fenced_g_31_e_9() {
    let rig = rig();
    let mut first = Member::new(rig.address);
    first.instance = Some(text("shelf-1"));
    first.join();
    first.sync(&[(&first.id.clone(), "all")]);
    assert_eq!(first.commit(4), 0);
    let mut second = Member::new(rig.address);
    second.instance = Some(text("shelf-1"));
    let answer = second.join();
    assert_eq!((answer.generation_id, answer.skip_assignment), (1, true));
    assert_ne!(first.id, second.id);
    assert_eq!(second.sync(&[]), "all");
    assert_eq!((first.heartbeat(), first.commit(1)), (82, 82));
    assert_eq!((second.heartbeat(), second.commit(6)), (0, 0));
    assert_eq!(rig.client().committed(GROUP, "orders", 0).committed_offset, 6);
}

#[test]
fn a_full_group_takes_nobody_more_g_13() {
    let rig = Rig::with(&["group.max.size=1"]);
    let mut only = Member::new(rig.address).with_id();
    only.join();
    only.sync(&[]);
    let answer = rig.client().ask(3, &Member::new(rig.address).join_request().with_group_instance_id(None));
    assert_eq!(answer.error_code, 81);
}

#[test]
fn members_survive_a_restart_and_generations_go_on_invariant_24() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    rig.client().create("orders", 2, &[]);
    let (leader, follower) = two(&rig);
    let (leader_id, follower_id) = (leader.id.clone(), follower.id.clone());
    drop((leader, follower));
    rig.kill();
    let rig = Rig::at_once(crate::support::local_engine(dir.path()), &[]);
    let back = |id: StrBytes| Member { id, generation: 2, ..Member::new(rig.address) };
    let (mut leader, mut follower) = (back(leader_id), back(follower_id));
    assert_eq!((leader.heartbeat(), follower.heartbeat()), (0, 0), "also while it loads (G-4)");
    rig.wait_for_load();
    assert_eq!((leader.heartbeat(), follower.heartbeat()), (0, 0));
    assert_eq!(follower.sync(&[]), "second half");
    assert_eq!(follower.commit(8), 0);
    follower.send_join();
    assert_eq!(follower.joined().generation_id, 2, "unchanged follower: the current answer (G-19)");
    leader.send_join();
    until("a rebalance of its leader", || follower.heartbeat() == 27);
    assert_eq!(follower.join().generation_id, 3);
    assert_eq!(leader.joined().generation_id, 3);
}
