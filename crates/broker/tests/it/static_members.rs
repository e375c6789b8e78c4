//! Static members over the wire (KIP-345): who comes back keeps its place, who was replaced is fenced (G-16, G-21, G-24,
//! G-30..G-32, E-9). A live Kafka 4.3.1 answers each of these the same.

use std::net::SocketAddr;

use pagemark_wire::messages::leave_group_request::MemberIdentity;
use pagemark_wire::messages::*;

use crate::support::client::*;
use crate::support::member::{GROUP, Member};
use crate::support::{Rig, local_engine, until};

/// A broker with a topic, and a stable group of two instances: `a`, which leads, and `b`.
fn pair() -> (Rig, Member, Member) {
    let rig = Rig::memory();
    rig.client().create("orders", 2, &[]);
    let (a, b) = pair_at(rig.address);
    (rig, a, b)
}

fn pair_at(address: SocketAddr) -> (Member, Member) {
    let mut a = Member::instance(address, "a");
    a.join();
    a.sync(&[]);
    let mut b = Member::instance(address, "b");
    b.send_join();
    until("the leader learns of it", || a.heartbeat() == 27);
    a.join();
    b.joined();
    a.sync(&[(&a.id.clone(), "for a"), (&b.id.clone(), "for b")]);
    assert_eq!(b.sync(&[]), "for b");
    (a, b)
}

/// The instance starts anew, with a client of this version.
fn replaced(address: SocketAddr, instance: &str, version: i16) -> (Member, JoinGroupResponse) {
    let mut new = Member::instance(address, instance);
    let request = new.join_request();
    let answer = new.client.ask(version, &request);
    assert_eq!(answer.error_code, 0);
    (new.id, new.generation) = (answer.member_id.clone(), answer.generation_id);
    (new, answer)
}

fn leave(client: &mut Client, version: i16, member: &str, instance: Option<&str>) -> i16 {
    let entry = MemberIdentity::default().with_member_id(text(member)).with_group_instance_id(instance.map(text));
    let request = LeaveGroupRequest::default().with_group_id(group_id(GROUP)).with_members(vec![entry]);
    let answer = client.ask(version, &request);
    assert_eq!(answer.error_code, 0, "nothing at the top (G-24)");
    answer.members[0].error_code
}

fn state(rig: &Rig) -> (String, usize) {
    let answer = rig.client().ask(6, &DescribeGroupsRequest::default().with_groups(vec![group_id(GROUP)]));
    (answer.groups[0].group_state.to_string(), answer.groups[0].members.len())
}

#[test]
fn whoever_comes_back_takes_its_place_without_a_rebalance_g_31() {
    for version in 5..=9 {
        let (rig, mut a, b) = pair();
        let (mut follower, answer) = replaced(rig.address, "b", version);
        assert_ne!(follower.id, b.id);
        assert_eq!((answer.generation_id, &answer.leader, answer.skip_assignment), (2, &a.id, false));
        assert_eq!(answer.members, []);
        assert_eq!(a.heartbeat(), 0, "nobody else notices");
        assert_eq!(follower.sync(&[]), "for b");

        let (mut leader, answer) = replaced(rig.address, "a", version);
        if version == 9 {
            assert_eq!((&answer.leader, answer.skip_assignment, answer.members.len()), (&leader.id, true, 2));
        } else {
            // One that saw itself leading would assign anew.
            assert_eq!((&answer.leader, answer.skip_assignment, answer.members.len()), (&a.id, false, 0));
        }
        assert_eq!((answer.generation_id, follower.heartbeat()), (2, 0));
        assert_eq!(leader.sync(&[]), "for a");
        assert_eq!(follower.join().leader, leader.id, "whoever asks again is told who leads now");
        assert_eq!(state(&rig), ("Stable".to_owned(), 2));
    }
}

#[test]
fn the_replaced_one_is_fenced_in_every_call_g_30_g_32_e_9() {
    let (rig, mut old, _) = pair();
    let (mut new, _) = replaced(rig.address, "a", 9);
    assert_eq!(new.commit(7), 0);
    for version in 5..=9 {
        let request = old.join_request();
        assert_eq!(old.client.ask(version, &request).error_code, 82, "JoinGroup {version}");
    }
    for version in 3..=5 {
        let request = old.sync_request(&[]);
        assert_eq!(old.client.ask(version, &request).error_code, 82, "SyncGroup {version}");
        assert_eq!(leave(&mut rig.client(), version, &old.id, Some("a")), 82, "LeaveGroup {version}");
    }
    let heartbeat = |member: &Member, instance: Option<&str>, version: i16| {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(GROUP))
            .with_generation_id(2)
            .with_member_id(member.id.clone())
            .with_group_instance_id(instance.map(text));
        rig.client().ask(version, &request).error_code
    };
    for version in 3..=4 {
        assert_eq!(heartbeat(&old, Some("a"), version), 82, "Heartbeat {version}");
    }
    for version in 7..=10 {
        let mut request = commit_request(GROUP, &[("orders", 0, 1, "")])
            .with_generation_id_or_member_epoch(2)
            .with_member_id(old.id.clone())
            .with_group_instance_id(Some(text("a")));
        request.topics[0].topic_id = rig.client().ask(12, &metadata_request(&["orders"])).topics[0].topic_id;
        assert_eq!(
            rig.client().ask(version, &request).topics[0].partitions[0].error_code,
            82,
            "OffsetCommit {version}"
        );
    }
    assert_eq!(heartbeat(&old, None, 4), 25, "its id without the instance is nobody's");
    assert_eq!(leave(&mut rig.client(), 5, &old.id, None), 25);
    assert_eq!((heartbeat(&new, Some("nobody"), 4), heartbeat(&new, Some("b"), 4)), (25, 82));
    assert_eq!((heartbeat(&new, None, 4), heartbeat(&new, Some("a"), 4)), (0, 0));
    assert_eq!(rig.client().committed(GROUP, "orders", 0).committed_offset, 7, "nothing of it landed (invariant 16)");
}

#[test]
fn one_replaced_while_it_waits_is_fenced_and_a_rebalance_under_way_takes_the_new_one_in_g_31() {
    let (rig, mut a, mut b) = pair();
    b.topic = Some("more"); // a change, so that joining again starts a rebalance
    b.send_join();
    until("it has begun", || a.heartbeat() == 27);
    let mut new = Member::instance(rig.address, "b");
    new.send_join();
    assert_eq!(b.client.receive::<JoinGroupRequest>().error_code, 82, "parked in its join");
    assert_eq!((a.join().generation_id, new.joined().generation_id), (3, 3));
    let parked = new.sync_request(&[]);
    new.client.send(5, &parked);
    until("it is parked", || state(&rig).0 == "CompletingRebalance");
    let mut newer = Member::instance(rig.address, "b");
    newer.send_join();
    assert_eq!(new.client.receive::<SyncGroupRequest>().error_code, 82, "parked in its sync");
    until("a rebalance, as nobody has an assignment yet", || a.heartbeat() == 27);
    assert_eq!((a.join().generation_id, newer.joined().generation_id), (4, 4));
}

#[test]
fn an_administrator_removes_members_by_their_instance_g_24() {
    let (rig, mut a, mut b) = pair();
    let mut client = rig.client();
    let unknown = [("", Some("nobody")), ("bogus", Some("nobody")), ("", None), ("bogus", None)];
    for (member, instance) in unknown {
        assert_eq!(leave(&mut client, 5, member, instance), 25, "{member} {instance:?}");
    }
    assert_eq!(leave(&mut client, 5, "bogus", Some("b")), 82);
    assert_eq!(state(&rig), ("Stable".to_owned(), 2));
    assert_eq!((leave(&mut client, 3, "", Some("b")), leave(&mut client, 3, "", Some("b"))), (0, 25));
    assert_eq!(a.heartbeat(), 27);
    assert_eq!((b.heartbeat(), b.commit(9)), (25, 25), "removed");
    assert_eq!(leave(&mut client, 5, &a.id, None), 0, "by its member id alone it goes too");
    assert_eq!(state(&rig), ("Empty".to_owned(), 0));
}

#[test]
fn a_silent_static_member_goes_when_its_session_ends_and_not_before_g_21_g_32() {
    let rig = Rig::memory();
    rig.client().create("orders", 2, &[]);
    let mut short = Member { session_timeout_ms: 300, ..Member::instance(rig.address, "a") };
    short.join();
    short.sync(&[]);
    let (mut again, _) = replaced(rig.address, "a", 9);
    assert_eq!(state(&rig), ("Stable".to_owned(), 1), "its client has gone, its place is kept");
    drop(short);
    again.session_timeout_ms = 300;
    again.join();
    again.sync(&[]);
    until("the session ends", || state(&rig) == ("Empty".to_owned(), 0));
    assert_eq!((again.heartbeat(), again.commit(3)), (25, 25));
}

#[test]
fn static_members_keep_place_and_fence_over_kills_of_the_broker_g_7_g_32() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    rig.client().create("orders", 2, &[]);
    let (a, b) = pair_at(rig.address);
    let (replacement, _) = replaced(rig.address, "b", 9);
    let (a_id, old_id, mut b_id) = (a.id.clone(), b.id.clone(), replacement.id.clone());
    drop((a, b, replacement));
    rig.kill();
    let mut fenced = vec![old_id];
    for round in 0..4 {
        let rig = Rig::on(local_engine(dir.path()), &[]);
        let at = |id: &StrBytes, instance: &str| Member {
            id: id.clone(),
            generation: 2,
            ..Member::instance(rig.address, instance)
        };
        assert_eq!(at(&a_id, "a").heartbeat(), 0, "round {round}");
        assert_eq!((at(&b_id, "b").heartbeat(), at(&b_id, "b").commit(10 + round)), (0, 0));
        for old in &fenced {
            assert_eq!((at(old, "b").heartbeat(), at(old, "b").commit(1)), (82, 82));
        }
        let (mut new, answer) = replaced(rig.address, "b", 9);
        assert_eq!((answer.generation_id, &answer.leader), (2, &a_id));
        assert_eq!(new.sync(&[]), "for b");
        fenced.push(std::mem::replace(&mut b_id, new.id.clone()));
        assert_eq!(rig.client().committed(GROUP, "orders", 0).committed_offset, 10 + round);
        drop(new);
        rig.kill();
    }
}
