//! Time and groups: who is removed when, who is not, and what connections may wait for (G-14, G-18, G-20, G-21, Q-14).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::messages::join_group_request::JoinGroupRequestProtocol;
use pagemark_wire::messages::*;
use tokio::time::{Instant, advance};

use crate::support::client::*;
use crate::support::simulated::{Simulated, SimulatedClient, simulated, simulated_on};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A join without an id in version 3, where newcomers are admitted directly.
fn join(session_timeout_ms: i32, member_id: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from("meta"));
    JoinGroupRequest::default()
        .with_group_id(group_id("readers"))
        .with_session_timeout_ms(session_timeout_ms)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(member_id.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins and syncs alone: member id and generation.
async fn settled(client: &mut SimulatedClient, session_timeout_ms: i32) -> (StrBytes, i32) {
    let joined = client.ask(3, &join(session_timeout_ms, &text(""))).await;
    assert_eq!(joined.error_code, 0);
    assert_eq!(sync(client, &joined.member_id, joined.generation_id).await, 0);
    (joined.member_id, joined.generation_id)
}

async fn sync(client: &mut SimulatedClient, member: &StrBytes, generation: i32) -> i16 {
    let request = SyncGroupRequest::default()
        .with_group_id(group_id("readers"))
        .with_member_id(member.clone())
        .with_generation_id(generation);
    client.ask(3, &request).await.error_code
}

async fn heartbeat(client: &mut SimulatedClient, member: &StrBytes, generation: i32) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id("readers"))
        .with_member_id(member.clone())
        .with_generation_id(generation);
    client.ask(3, &request).await.error_code
}

/// Lets time pass as it does: not in one jump, which a broker takes for a stall of its own.
async fn pass(time: Duration) {
    const STEP: Duration = Duration::from_millis(500);
    let end = Instant::now() + time;
    while Instant::now() < end {
        advance(STEP.min(end - Instant::now())).await;
    }
}

#[test]
fn a_member_that_beats_stays_for_an_hour_and_a_silent_one_goes_with_its_session_invariant_26() {
    simulated(&[], async |broker| {
        let mut client = broker.client().await;
        let (member, generation) = settled(&mut client, 10_000).await;
        for _ in 0..400 {
            pass(Duration::from_millis(9_900)).await;
            assert_eq!(heartbeat(&mut client, &member, generation).await, 0);
        }
        pass(Duration::from_millis(10_100)).await;
        assert_eq!(heartbeat(&mut client, &member, generation).await, 25);
    });
}

#[test]
fn a_rebalance_waits_for_a_silent_member_no_longer_than_its_session_g_21() {
    simulated(&[], async |broker| {
        let (mut silent, mut newcomer) = (broker.client().await, broker.client().await);
        let (member, generation) = settled(&mut silent, 10_000).await;
        let begun = Instant::now();
        let answer = newcomer.ask(3, &join(30_000, &text(""))).await;
        assert_eq!((answer.error_code, answer.members.len()), (0, 1));
        let waited = begun.elapsed();
        assert!((seconds(10)..seconds(11)).contains(&waited), "{waited:?}, not the rebalance timeout of a minute");
        assert_eq!(heartbeat(&mut silent, &member, generation).await, 25);
    });
}

#[test]
fn whoever_joins_and_never_syncs_is_removed_after_the_rebalance_timeout_g_18() {
    simulated(&[], async |broker| {
        let (mut client, mut other) = (broker.client().await, broker.client().await);
        let joined = client.ask(3, &join(1_800_000, &text(""))).await;
        let begun = Instant::now();
        advance(seconds(59)).await;
        assert_eq!(heartbeat(&mut client, &joined.member_id, joined.generation_id).await, 0);
        other.send(3, &join(30_000, &text(""))).await;
        let next = other.receive::<JoinGroupRequest>(3).await;
        assert_eq!((next.error_code, next.members.len()), (0, 1));
        assert!(begun.elapsed() >= seconds(60), "{:?}", begun.elapsed());
        assert_eq!(heartbeat(&mut client, &joined.member_id, joined.generation_id).await, 25);
    });
}

#[test]
fn the_first_rebalance_of_a_group_waits_for_those_who_come_together_g_14() {
    simulated(&["group.initial.rebalance.delay.ms=3000"], async |broker| {
        let (mut first, mut second) = (broker.client().await, broker.client().await);
        let begun = Instant::now();
        first.send(3, &join(10_000, &text(""))).await;
        while second.ask(4, &ListGroupsRequest::default()).await.groups.is_empty() {}
        advance(seconds(1)).await;
        second.send(3, &join(10_000, &text(""))).await;
        let answers = (first.receive::<JoinGroupRequest>(3).await, second.receive::<JoinGroupRequest>(3).await);
        assert_eq!((answers.0.generation_id, answers.1.generation_id), (1, 1), "one generation for both");
        let waited = begun.elapsed();
        assert!(
            (seconds(6)..seconds(7)).contains(&waited),
            "{waited:?}: one more window, since one joined in the first"
        );
    });
}

#[test]
fn a_parked_join_is_not_cut_by_the_idle_limit_and_an_idle_connection_is_q_14_q_8() {
    let settings = ["connections.max.idle.ms=5000", "group.initial.rebalance.delay.ms=60000"];
    simulated(&settings, async |broker| {
        let (mut waiting, mut idle) = (broker.client().await, broker.client().await);
        let begun = Instant::now();
        waiting.send(3, &join(10_000, &text(""))).await;
        assert!((seconds(5)..seconds(6)).contains(&idle.closed().await));
        assert_eq!(waiting.receive::<JoinGroupRequest>(3).await.error_code, 0);
        assert!(begun.elapsed() >= seconds(60));
        // Once nothing is waited for any more, it is idle like any other.
        assert!(waiting.closed().await <= seconds(6));
    });
}

#[test]
fn an_id_that_nobody_comes_back_with_is_forgotten_g_10() {
    simulated(&[], async |broker| {
        let mut client = broker.client().await;
        let handed_out = client.ask(5, &join(10_000, &text(""))).await;
        assert_eq!(handed_out.error_code, 79);
        advance(Duration::from_millis(10_100)).await;
        assert_eq!(client.ask(5, &join(10_000, &handed_out.member_id)).await.error_code, 25);
        let listed = client.ask(4, &ListGroupsRequest::default()).await;
        assert_eq!(listed.groups, [], "and so is the group that never was");
    });
}

/// The whole process was stopped for a while (SIGSTOP, a paused machine): the members' heartbeats wait in the sockets while
/// their sessions seem to be over. Every member used to be removed at the first turn afterwards.
#[test]
fn nobody_is_expired_by_a_broker_that_comes_late_itself_g_9_invariant_26() {
    simulated(&[], async |broker| {
        let mut client = broker.client().await;
        let (member, generation) = settled(&mut client, 10_000).await;
        advance(seconds(14)).await;
        assert_eq!(heartbeat(&mut client, &member, generation).await, 0);
        pass(Duration::from_millis(10_100)).await;
        assert_eq!(heartbeat(&mut client, &member, generation).await, 25, "whoever stays silent then goes in time");
    });
}

#[test]
fn a_commit_whose_append_takes_too_long_is_told_so_o_18() {
    for (changes, told_after) in [(&[][..], seconds(5)), (&["offsets.commit.timeout.ms=90000"], seconds(90))] {
        let engine = Arc::new(MemoryEngine::released_by_hand());
        simulated_on(&engine, changes, async |broker| late_commit(&engine, broker, told_after).await);
    }
}

async fn late_commit(engine: &MemoryEngine, broker: Simulated, told_after: Duration) {
    let (mut committer, mut reader) = (broker.client().await, broker.client().await);
    let topics = create_request(&[new_topic("orders", 1, &[])]);
    committer.send(7, &topics).await;
    while broker.topic("orders").is_none() {
        engine.release();
        tokio::task::yield_now().await;
    }
    assert_eq!(committer.receive::<CreateTopicsRequest>(7).await.topics[0].error_code, 0);
    let begun = Instant::now();
    let answer = committer.ask(8, &commit_request("readers", &[("orders", 0, 4, "")])).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 15);
    let waited = begun.elapsed();
    assert!((told_after..told_after + seconds(1)).contains(&waited), "{waited:?}");
    reader.send(8, &committed_request("readers", Some(&[("orders", 0)]))).await;
    engine.release();
    let offsets = reader.receive::<OffsetFetchRequest>(8).await;
    assert_eq!(offsets.groups[0].topics[0].partitions[0].committed_offset, 4, "it was stored all the same");
}
