//! Offsets that expire while a broker runs, by a clock that the tests put forward (O-50 to O-55, O-17, E-20).
//!
//! Deliberately not here: every case of the rule (`core/tests/it/expiry.rs`).

use std::sync::Arc;

use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::messages::*;

use crate::http::metric;
use crate::support::batches::batch;
use crate::support::client::*;
use crate::support::clock::LaterHost;
use crate::support::member::{GROUP, Member};
use crate::support::{Rig, local_engine, until};

const DAY_MS: u64 = 24 * 3_600_000;
const OFTEN: &str = "offsets.retention.check.interval.ms=5";

/// Waits until so many offsets and groups have expired since the broker was started.
fn expired(rig: &Rig, offsets: u64, groups: u64) {
    let count = || (metric(rig, "pagemark_offsets_expired_total"), metric(rig, "pagemark_groups_expired_total"));
    until(&format!("{offsets} offsets expire and {groups} groups go"), || count() == (offsets, groups));
}

/// A commit of no offset at all marks no data: when it has expired, a sweep has looked at everybody else, too.
fn canary(client: &mut Client, name: &str) {
    for group in 0..16 {
        assert_eq!(client.commit(&format!("{name}-{group}"), "orders", 0, -1), 0);
    }
}

#[test]
fn offsets_stay_while_they_mark_data_and_go_when_it_is_gone_over_restarts_o_50a_e_20() {
    let dir = tempfile::tempdir().unwrap();
    let host = LaterHost::new(0);
    let rig = Rig::by_clock(local_engine(dir.path()), Arc::clone(&host) as _, &[OFTEN]);
    let mut client = rig.client();
    client.create("orders", 1, &[("retention.ms", "-1")]);
    client.produced("orders", 0, batch(&["0", "1", "2", "3", "4"]));
    for (group, offset) in [("behind", 2), ("ahead", 3)] {
        assert_eq!(client.commit(group, "orders", 0, offset), 0);
    }
    let own = commit_request("own", &[("orders", 0, 2, "")]).with_retention_time_ms(60_000);
    assert_eq!(client.ask(4, &own).topics[0].partitions[0].error_code, 0);
    canary(&mut client, "canary");
    host.pass(400 * DAY_MS);
    expired(&rig, 16, 0);
    let told =
        |client: &mut Client| ["behind", "ahead", "own"].map(|g| client.committed(g, "orders", 0).committed_offset);
    assert_eq!(told(&mut client), [2, 3, 2], "a monthly job is in no hurry");
    // An answer waits for what the sweep has written of its group, so that the kill takes nothing of it back (G-8).
    (0..16)
        .for_each(|group| assert_eq!(client.committed(&format!("canary-{group}"), "orders", 0).committed_offset, -1));
    drop(client);
    rig.kill();

    let host = LaterHost::new(host.later_ms());
    let rig = Rig::by_clock(local_engine(dir.path()), Arc::clone(&host) as _, &[OFTEN]);
    let mut client = rig.client();
    client.cut("orders", 3);
    assert_eq!(told(&mut client), [2, 3, 2], "it has an hour to come back after a start (E-28)");
    host.pass(8 * DAY_MS);
    // The canaries' groups had nothing for a week by then (O-55).
    expired(&rig, 2, 16);
    assert_eq!(told(&mut client), [-1, 3, -1]);
    drop(client);
    rig.stop();

    let rig = Rig::by_clock(local_engine(dir.path()), LaterHost::new(host.later_ms()), &[OFTEN]);
    let mut client = rig.client();
    assert_eq!(told(&mut client), [-1, 3, -1], "gone for good, and kept for good");
    let mut groups: Vec<String> =
        client.ask(4, &ListGroupsRequest::default()).groups.iter().map(|g| g.group_id.to_string()).collect();
    groups.sort_unstable();
    assert_eq!(groups, ["ahead", "behind", "own"]);
}

/// What Kafka 4.3.1 does with the same groups at the same times, under `offsets.retention.minutes=1`, asked every second.
#[test]
fn kafkas_rule_is_there_for_those_who_want_it_o_50_to_o_53_o_17() {
    let host = LaterHost::new(0);
    let changes = [
        OFTEN,
        "offsets.retention.minutes=1",
        "pagemark.offsets.retention.policy=time",
        "pagemark.group.empty.retention.ms=0",
    ];
    let rig = Rig::by_clock(Arc::new(MemoryEngine::new()), Arc::clone(&host) as _, &changes);
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    client.create("other", 1, &[]);
    assert_eq!(client.commit("simple", "orders", 0, 5), 0);
    for (group, retention_ms) in [("soon", 10_000), ("late", 100_000)] {
        let own = commit_request(group, &[("orders", 0, 5, "")]).with_retention_time_ms(retention_ms);
        assert_eq!(client.ask(2, &own).topics[0].partitions[0].error_code, 0);
    }
    assert_eq!(client.commit("soon", "orders", 1, 5), 0);
    let mut member = Member { topic: Some("orders"), ..Member::new(rig.address) }.with_id();
    member.join();
    member.sync(&[]);
    let unsubscribed = commit_request(GROUP, &[("other", 0, 5, "")])
        .with_generation_id_or_member_epoch(member.generation)
        .with_member_id(member.id.clone());
    assert_eq!((member.commit(5), member.client.ask(8, &unsubscribed).topics[0].partitions[0].error_code), (0, 0));

    let told = |client: &mut Client| {
        [("simple", "orders", 0), ("soon", "orders", 0), ("soon", "orders", 1), ("late", "orders", 0)]
            .into_iter()
            .chain([(GROUP, "orders", 0), (GROUP, "other", 0)])
            .map(|(group, topic, partition)| client.committed(group, topic, partition).committed_offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut client), [5; 6]);
    host.pass(59_000);
    assert_eq!(member.heartbeat(), 0);
    host.pass(1_000);
    expired(&rig, 4, 2);
    assert_eq!(told(&mut client), [-1, -1, -1, 5, 5, -1], "the subscribed topic stays, and so does a longer retention");
    assert_eq!(member.heartbeat(), 0);
    host.pass(40_000);
    expired(&rig, 5, 3);
    assert_eq!((member.heartbeat(), member.leave()), (0, 0));
    host.pass(60_000);
    expired(&rig, 6, 4);
    assert_eq!(told(&mut client), [-1; 6]);
    assert_eq!(client.ask(4, &ListGroupsRequest::default()).groups, [], "groups go with their last offset");
}
