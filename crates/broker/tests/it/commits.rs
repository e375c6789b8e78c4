//! Committed offsets over the wire: what is told of them, to whom, and after a restart (O-1 to O-30, invariants 12 to 17).

use pagemark_wire::internal::OffsetCommit;
use pagemark_wire::messages::offset_fetch_request::OffsetFetchRequestTopic;
use pagemark_wire::messages::offset_fetch_response::OffsetFetchResponseTopics;
use pagemark_wire::messages::*;
use pagemark_wire::records::{Records, split_batches};
use uuid::Uuid;

use crate::support::client::*;
use crate::support::{Rig, local_engine};

fn rig() -> Rig {
    let rig = Rig::memory();
    rig.client().create("orders", 3, &[]);
    rig.client().create("sales", 1, &[]);
    rig
}

/// Topic, partition and offset of everything told.
fn told(topics: &[OffsetFetchResponseTopics]) -> Vec<(&str, i32, i64)> {
    let of = |t: &'_ OffsetFetchResponseTopics| {
        t.partitions.iter().map(|p| (p.partition_index, p.committed_offset)).collect()
    };
    topics
        .iter()
        .flat_map(|t| {
            let partitions: Vec<(i32, i64)> = of(t);
            partitions.into_iter().map(|(index, offset)| (t.name.as_str(), index, offset))
        })
        .collect()
}

#[test]
fn every_partition_asked_for_is_answered_and_all_means_those_with_an_offset_o_26_q_23() {
    let rig = rig();
    let mut client = rig.client();
    for (topic, partition, offset) in [("orders", 2, 7), ("orders", 0, 5), ("sales", 0, 9)] {
        assert_eq!(client.commit("g", topic, partition, offset), 0);
    }
    let asked = [("orders", 0), ("orders", 1), ("orders", 2), ("orders", 99), ("nobody", 3)];
    let answer = client.ask(8, &committed_request("g", Some(&asked)));
    let expected = [("orders", 0, 5), ("orders", 1, -1), ("orders", 2, 7), ("orders", 99, -1), ("nobody", 3, -1)];
    assert_eq!(told(&answer.groups[0].topics), expected);
    assert!(answer.groups[0].topics.iter().flat_map(|t| &t.partitions).all(|p| p.error_code == 0));
    for version in 8..=9 {
        let answer = client.ask(version, &committed_request("g", None));
        assert_eq!(told(&answer.groups[0].topics), [("orders", 0, 5), ("orders", 2, 7), ("sales", 0, 9)]);
        let absent = client.ask(version, &committed_request("nobody", None));
        assert_eq!((absent.groups[0].error_code, absent.groups[0].topics.len()), (0, 0));
    }
    for version in 2..=7 {
        let answer = client.ask(version, &OffsetFetchRequest::default().with_group_id(group_id("g")).with_topics(None));
        let names: Vec<(&str, usize)> = answer.topics.iter().map(|t| (t.name.as_str(), t.partitions.len())).collect();
        assert_eq!((answer.error_code, names), (0, vec![("orders", 2), ("sales", 1)]), "version {version}");
    }
    let none = OffsetFetchRequest::default().with_group_id(group_id("g")).with_topics(Some(Vec::new()));
    assert_eq!(client.ask(5, &none).topics, [], "an empty list is none");
}

#[test]
fn several_groups_are_asked_for_at_once_from_version_8_on_o_25() {
    let rig = rig();
    let mut client = rig.client();
    for (at, group) in ["a", "b", "c", "d"].iter().enumerate() {
        assert_eq!(client.commit(group, "orders", 0, at as i64 + 10), 0);
    }
    let mut request = committed_request("d", Some(&[("orders", 0)]));
    for group in ["nobody", "a", "c", "b"] {
        request.groups.extend(committed_request(group, Some(&[("orders", 0)])).groups);
    }
    let answer = client.ask(9, &request);
    let got: Vec<(&str, i64)> = answer.groups.iter().map(|g| (g.group_id.as_str(), told(&g.topics)[0].2)).collect();
    assert_eq!(got, [("d", 13), ("nobody", -1), ("a", 10), ("c", 12), ("b", 11)], "in the order asked");
    assert_eq!(client.ask(8, &OffsetFetchRequest::default().with_groups(Vec::new())).groups, []);
}

#[test]
fn offset_metadata_and_epoch_travel_together_and_the_last_of_a_request_wins_invariant_14_o_21() {
    let rig = rig();
    let mut client = rig.client();
    let mut request = commit_request("g", &[("orders", 0, 1, "first"), ("orders", 0, 2, "second")]);
    request.topics[0].partitions[0].committed_leader_epoch = 4;
    request.topics[1].partitions[0].committed_leader_epoch = 3;
    let answer = client.ask(8, &request);
    assert!(answer.topics.iter().all(|t| t.partitions[0].error_code == 0));
    let told = client.committed("g", "orders", 0);
    let text = told.metadata.as_deref();
    assert_eq!((told.committed_offset, told.committed_leader_epoch, text), (2, 3, Some("second")));
    assert_eq!(client.commit("g", "orders", 0, 1), 0, "going back is legitimate (O-7)");
    let told = client.committed("g", "orders", 0);
    assert_eq!((told.committed_offset, told.committed_leader_epoch, told.metadata.as_deref()), (1, -1, Some("")));
}

#[test]
fn a_retention_of_its_own_is_taken_and_the_offset_told_o_17() {
    let rig = rig();
    let mut client = rig.client();
    let request = commit_request("g", &[("orders", 0, 6, "kept")]).with_retention_time_ms(60_000);
    for version in 2..=4 {
        assert_eq!(client.ask(version, &request).topics[0].partitions[0].error_code, 0);
    }
    let told = client.committed("g", "orders", 0);
    assert_eq!((told.committed_offset, told.metadata.as_deref()), (6, Some("kept")));
}

#[test]
fn after_every_kill_the_last_acknowledged_commit_is_told_invariants_12_and_17() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    rig.client().create("orders", 4, &[]);
    drop(rig);
    let groups: Vec<String> = (0..12).map(|g| format!("group-{g}")).collect();
    let mut acknowledged = 0;
    for round in 0..5 {
        let rig = Rig::at_once(local_engine(dir.path()), &[]);
        let mut client = rig.client();
        if round > 0 {
            for group in &groups {
                let told = first_told(&mut client, group);
                assert_eq!(told, acknowledged, "{group} in round {round}");
            }
        }
        rig.wait_for_load();
        for step in 0..10 {
            acknowledged = i64::from(round * 100 + step + 1);
            for group in &groups {
                client.send(8, &commit_request(group, &[("orders", 0, acknowledged, ""), ("orders", 3, 1, "")]));
            }
            for _ in &groups {
                let answer = client.receive::<OffsetCommitRequest>();
                assert!(answer.topics.iter().all(|t| t.partitions[0].error_code == 0));
            }
        }
        drop(client);
        if round % 2 == 0 { rig.kill() } else { rig.stop() }
    }
}

/// Asks until the broker does not say that it is loading; whatever it says then counts.
fn first_told(client: &mut Client, group: &str) -> i64 {
    let mut told = None;
    crate::support::until("the coordinator answers", || {
        let mut answer = client.ask(8, &committed_request(group, Some(&[("orders", 0)])));
        let group = answer.groups.remove(0);
        assert!(matches!(group.error_code, 0 | 14));
        told = (group.error_code == 0).then(|| group.topics[0].partitions[0].committed_offset);
        told.is_some()
    });
    told.expect("it was just told")
}

#[test]
fn old_versions_say_that_they_are_asked_about_partitions_one_by_one() {
    let rig = rig();
    let mut client = rig.client();
    client.commit("g", "orders", 1, 8);
    let topic = OffsetFetchRequestTopic::default().with_name(topic_name("orders")).with_partition_indexes(vec![0, 1]);
    for version in 1..=7 {
        let request = OffsetFetchRequest::default().with_group_id(group_id("g")).with_topics(Some(vec![topic.clone()]));
        let answer = client.ask(version, &request);
        let got: Vec<i64> = answer.topics[0].partitions.iter().map(|p| p.committed_offset).collect();
        assert_eq!(got, [-1, 8], "version {version}");
    }
}

#[test]
fn deleting_a_topic_that_very_many_groups_read_leaves_the_coordinator_working_o_60() {
    // More tombstones than fit into one write of the log: long ids make it few groups.
    let rig = Rig::with(&["offsets.topic.num.partitions=1"]);
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.create("sales", 1, &[]);
    let id = |n: i32| format!("{n:04}{}", "x".repeat(32_000));
    for n in 0..1_100 {
        client.send(8, &commit_request(&id(n), &[("orders", 0, 5, "")]));
        if n % 20 == 19 {
            (0..20).for_each(|_| {
                assert_eq!(client.receive::<OffsetCommitRequest>().topics[0].partitions[0].error_code, 0);
            });
        }
    }
    assert_eq!(client.delete("orders"), 0);
    assert_eq!(client.commit("g", "sales", 0, 3), 0);
    assert_eq!(client.committed("g", "sales", 0).committed_offset, 3);
    assert_eq!(rig.block_on(rig.broker().executors.census()).offsets, 1);
}

#[test]
fn who_asks_and_whether_offsets_must_be_stable_change_nothing_for_a_classic_group_o_28_o_29() {
    let rig = rig();
    let mut client = rig.client();
    assert_eq!(client.commit("g", "orders", 0, 5), 0);
    for (member_id, member_epoch, require_stable) in [("", -1, true), ("nobody", 7, false), ("nobody", 0, true)] {
        let mut request = committed_request("g", Some(&[("orders", 0)])).with_require_stable(require_stable);
        request.groups[0].member_id = Some(text(member_id));
        request.groups[0].member_epoch = member_epoch;
        let group = &client.ask(9, &request).groups[0];
        assert_eq!((group.error_code, told(&group.topics)), (0, vec![("orders", 0, 5)]), "{member_id} {member_epoch}");
    }
}

#[test]
fn a_commit_by_name_is_stored_under_the_id_that_the_name_has_then_o_62() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let shard = rig.broker().group_shard("readers") as i32;
    for offset in 1..=2 {
        let id = client.create("orders", 1, &[]);
        assert_eq!(client.commit("readers", "orders", 0, offset), 0);
        let mut commits = Vec::new();
        for batch in split_batches(&client.read("__consumer_offsets", shard, 0)) {
            let (_, batch) = batch.unwrap();
            for record in Records::open(&batch, 1 << 20).unwrap().iter() {
                commits.extend(OffsetCommit::parse(record.unwrap().value.unwrap_or_default()).ok());
            }
        }
        let last = commits.iter().rfind(|commit| commit.offset.0 == offset).expect("the log has the commit");
        assert_eq!(last.topic_id.0, id);
        assert_eq!(client.delete("orders"), 0);
    }
}

#[test]
fn from_version_10_on_topics_are_named_by_id_and_unknown_ones_are_100_o_4_o_30() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let former = client.create("orders", 1, &[]);
    assert_eq!(client.delete("orders"), 0);
    let orders = client.create("orders", 2, &[]);
    let sales = client.create("sales", 1, &[]);

    let asked = [(former, 0), (orders, 1), (Uuid::nil(), 0), (sales, 0), (orders, 7)];
    let mut commit = commit_request("g", &asked.map(|(_, partition)| ("", partition, 5, "note")));
    commit.topics.iter_mut().zip(asked).for_each(|(topic, (id, _))| topic.topic_id = id);
    let answer = client.ask(10, &commit);
    let told: Vec<_> = answer.topics.iter().map(|t| (t.topic_id, t.partitions[0].error_code)).collect();
    assert_eq!(told, [(former, 100), (orders, 0), (Uuid::nil(), 100), (sales, 0), (orders, 3)], "each for itself");

    let mut fetch = committed_request("g", Some(&asked.map(|(_, partition)| ("", partition))));
    fetch.groups[0].topics.iter_mut().flatten().zip(asked).for_each(|(topic, (id, _))| topic.topic_id = id);
    let answer = client.ask(10, &fetch);
    let told: Vec<_> = answer.groups[0].topics.iter().map(|t| (t.topic_id, &t.partitions[0])).collect();
    let told: Vec<_> = told.into_iter().map(|(id, p)| (id, p.committed_offset, p.error_code)).collect();
    let expected = [(former, -1, 100), (orders, 5, 0), (Uuid::nil(), -1, 100), (sales, 5, 0), (orders, -1, 0)];
    assert_eq!((answer.groups[0].error_code, told), (0, expected.to_vec()), "in the order asked (Q-23)");

    let all = client.ask(10, &committed_request("g", None));
    let ids: Vec<_> = all.groups[0].topics.iter().map(|t| (t.topic_id, t.name.as_str(), t.partitions.len())).collect();
    assert_eq!(ids, [(orders, "", 1), (sales, "", 1)]);
    assert_eq!(client.delete("orders"), 0);
    let again = client.create("orders", 2, &[]);
    fetch.groups[0].topics.as_mut().unwrap()[0].topic_id = again;
    let answer = client.ask(10, &fetch);
    let told: Vec<_> = answer.groups[0].topics.iter().map(|t| t.partitions[0].error_code).collect();
    assert_eq!((told, answer.groups[0].topics[0].partitions[0].committed_offset), (vec![0, 100, 100, 0, 100], -1));
    let mut generation = commit.with_generation_id_or_member_epoch(3);
    generation.group_id = group_id("nobody");
    let codes: Vec<_> = client.ask(10, &generation).topics.iter().map(|t| t.partitions[0].error_code).collect();
    assert_eq!(codes, [100, 100, 100, 69, 100], "O-3");
}
