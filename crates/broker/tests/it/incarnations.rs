//! Topics that are deleted and created again: those who still read the former one are told apart by its leader epochs, which
//! never come again under that name (R-96, R-54, O-7, O-60 to O-62, P-41).

use std::collections::BTreeMap;

use pagemark_wire::api::Api;
use pagemark_wire::messages::create_partitions_request::CreatePartitionsTopic;
use pagemark_wire::messages::*;

use crate::http::metric;
use crate::support::Rig;
use crate::support::batches::batch;
use crate::support::client::*;
use crate::versions::{ask, each_version};

/// The leader epochs of a topic's partitions.
fn epochs(client: &mut Client, topic: &str) -> Vec<i32> {
    let partitions = client.ask(12, &metadata_request(&[topic])).topics.remove(0).partitions;
    partitions.iter().map(|partition| partition.leader_epoch).collect()
}

fn grow(client: &mut Client, topic: &str, count: i32) {
    let topic = CreatePartitionsTopic::default().with_name(topic_name(topic)).with_count(count).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    assert_eq!(client.ask(3, &request).results[0].error_code, 0);
}

/// A commit for partition 0 of `orders` by a reader that knows the leader epoch of what it read.
fn commit_read_under(epoch: i32, offset: i64) -> OffsetCommitRequest {
    let mut request = commit_request("readers", &[("orders", 0, offset, "")]);
    request.topics[0].partitions[0].committed_leader_epoch = epoch;
    request
}

#[test]
fn leader_epochs_never_come_again_under_a_name_whatever_happens_between_r_96() {
    let dir = tempfile::tempdir().unwrap();
    // What happens before the deletion, between it and the creation, and after the creation: nothing, a stop, or a kill.
    let lives = ["", "k", "s"];
    let mut last = BTreeMap::from([("orders", -1), ("sales", -1)]);
    let mut rig = Rig::local(dir.path());
    for round in 0..27 {
        let again = |rig: Rig, how: usize| match lives[how % 3] {
            "k" => {
                rig.kill();
                Rig::local(dir.path())
            }
            "s" => {
                rig.stop();
                Rig::local(dir.path())
            }
            _ => rig,
        };
        for (topic, last) in &mut last {
            let mut client = rig.client();
            client.create(topic, 2, &[]);
            assert_eq!(epochs(&mut client, topic), [*last + 1; 2], "{topic} in round {round}");
            *last += 1;
        }
        rig = again(rig, round);
        let mut client = rig.client();
        let before = epochs(&mut client, "orders");
        if round % 4 == 0 {
            grow(&mut client, "orders", 3);
            let grown = epochs(&mut client, "orders");
            assert!(grown[..2] == before && grown[2] >= last["orders"], "{grown:?}: no epoch of a former topic");
        }
        drop(client);
        rig = again(rig, round / 3);
        for (topic, last) in &mut last {
            let mut client = rig.client();
            let now = epochs(&mut client, topic).into_iter().max().unwrap();
            assert!(now >= *last, "P-26");
            *last = now;
            assert_eq!(client.delete(topic), 0);
        }
        rig = again(rig, round / 9);
    }
    assert!(last["orders"] > 27, "unclean ends add theirs (R-53)");
    let mut client = rig.client();
    client.create("new", 1, &[]);
    assert_eq!(epochs(&mut client, "new"), [0], "other names have nothing to do with it");
}

#[test]
fn a_late_commit_of_a_reader_of_the_former_topic_is_refused_o_7_o_60() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let sales_id = client.create("sales", 1, &[]);
    let former_id = client.create("orders", 1, &[]);
    let former = epochs(&mut client, "orders")[0];
    for offset in 0..9 {
        assert_eq!(client.produced("orders", 0, batch(&["old"])), offset);
    }
    client.delete("orders");
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["1", "2", "3", "4", "5"]));
    let present = epochs(&mut client, "orders")[0];
    assert!(former < present);
    each_version(Api::OffsetCommit, |version| {
        let mut late = commit_read_under(former, 9);
        late.topics.extend(commit_request("readers", &[("sales", 0, 0, "")]).topics);
        (late.topics[0].topic_id, late.topics[1].topic_id) = (former_id, sales_id);
        if version < 6 {
            late.topics[0].partitions[0].committed_leader_epoch = -1; // it has no place for one
        }
        let answer = ask(&rig, version, &late);
        let codes: Vec<i16> = answer.topics.iter().map(|t| t.partitions[0].error_code).collect();
        let told = rig.client().committed("readers", "orders", 0).committed_offset;
        if version < 6 {
            assert_eq!((codes, told), (vec![0, 0], 9), "nobody can tell it apart");
            assert_eq!(rig.client().delete_offsets("readers", &[("orders", 0)]), (0, vec![0]));
        } else {
            let refusal = if version < 10 { 3 } else { 100 }; // there it is told by the id
            assert_eq!((codes, told), (vec![refusal, 0], -1), "a restart reads all five, in version {version}");
        }
    });
    assert_eq!(metric(&rig, "pagemark_commits_of_former_topics_total"), 4, "versions 6 to 9");
    assert_eq!(metric(&rig, "pagemark_commits_beyond_end_total"), 4, "versions 2 to 5");
    for (epoch, offset) in [(present, 5), (present + 3, 4), (-1, 3)] {
        let answer = client.ask(8, &commit_read_under(epoch, offset));
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        let told = client.committed("readers", "orders", 0);
        assert_eq!((told.committed_offset, told.committed_leader_epoch), (offset, epoch), "a restore names no epoch");
    }
}

#[test]
fn a_new_epoch_within_a_topic_refuses_no_commit_o_7() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.delete("orders");
    client.create("orders", 1, &[]);
    let first = epochs(&mut client, "orders")[0];
    client.produced("orders", 0, batch(&["a"]));
    drop(client);
    rig.kill();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    assert!(epochs(&mut client, "orders")[0] > first);
    for (epoch, code) in [(first, 0), (first - 1, 3)] {
        let answer = client.ask(8, &commit_read_under(epoch, 1));
        assert_eq!(answer.topics[0].partitions[0].error_code, code, "epoch {epoch}, known over the kill");
    }
}

#[test]
fn a_reader_of_the_former_topic_is_told_that_its_log_has_ended_r_54_p_41() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let former = epochs(&mut client, "orders")[0];
    client.produced("orders", 0, batch(&["old", "old", "old"]));
    client.delete("orders");
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["new", "new", "new", "new", "new"]));
    let present = epochs(&mut client, "orders")[0];
    assert_eq!(client.epoch_end("orders", former, former).0, 74, "it is to look who leads now (P-40)");
    assert_eq!(client.epoch_end("orders", present, former), (0, former, 0), "nothing of its log is left");
    assert_eq!(client.epoch_end("orders", present, present), (0, present, 5));
    for version in [12, 13] {
        let mut request = fetch_request("orders", 0, 3);
        if version == 13 {
            request.topics[0].topic = topic_name("");
            request.topics[0].topic_id = client.ask(12, &metadata_request(&["orders"])).topics[0].topic_id;
        }
        request.topics[0].partitions[0].last_fetched_epoch = former;
        let told = client.ask(version, &request).responses.remove(0).partitions.remove(0);
        assert_eq!((told.error_code, told.diverging_epoch.epoch, told.diverging_epoch.end_offset), (0, former, 0));
        assert!(told.records.unwrap().is_empty(), "no record of the new topic is taken for one of the old");
    }
}

#[test]
fn commits_that_look_wrong_are_stored_and_counted_o_7_rows_52_and_53() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a", "b", "c"]));
    let names = ["beyond_end", "below_start", "negative", "going_back", "of_former_topics"];
    let counts = |rig: &Rig| names.map(|name| metric(rig, &format!("pagemark_commits_{name}_total")));
    for (offset, expected) in [
        (2, [0, 0, 0, 0, 0]),
        (3, [0, 0, 0, 0, 0]),
        (4, [1, 0, 0, 0, 0]),
        (1_000_000_000_000_000, [2, 0, 0, 0, 0]),
        (1, [2, 0, 0, 1, 0]),
        (-5, [2, 0, 1, 2, 0]),
    ] {
        assert_eq!(client.commit("readers", "orders", 0, offset), 0);
        assert_eq!(client.committed("readers", "orders", 0).committed_offset, offset, "as it is");
        assert_eq!(counts(&rig), expected, "after {offset}");
    }
    client.cut("orders", 2);
    assert_eq!(client.commit("readers", "orders", 0, 1), 0);
    assert_eq!(counts(&rig), [2, 1, 1, 2, 0]);
    let refused = commit_request("readers", &[("orders", 0, 77, "")]).with_generation_id_or_member_epoch(3);
    assert_eq!(client.ask(8, &refused).topics[0].partitions[0].error_code, 25);
    assert_eq!(counts(&rig), [2, 1, 1, 2, 0], "what was not stored is not counted");
}
