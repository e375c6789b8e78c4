//! Creating and deleting topics, and what becomes of those who knew them (P-26b, P-28, R-95, O-60).

use std::sync::Arc;

use bytes::Bytes;
use pagemark_broker::metadata::record::topic_key;
use pagemark_storage::engine::Write;
use pagemark_wire::messages::create_topics_request::CreatableReplicaAssignment;
use pagemark_wire::messages::delete_topics_request::DeleteTopicState;
use pagemark_wire::messages::*;
use uuid::Uuid;

use crate::support::batches::{batch, idempotent};
use crate::support::client::*;
use crate::support::{Rig, until};

fn codes(answer: &CreateTopicsResponse) -> Vec<i16> {
    answer.topics.iter().map(|t| t.error_code).collect()
}

#[test]
fn each_topic_of_a_creation_has_its_own_result_p_28_rows_77_and_78() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("there", 1, &[]);
    let mut three_copies = new_topic("three-copies", 1, &[]);
    three_copies.replication_factor = 3;
    let mut no_copies = new_topic("no-copies", 1, &[]);
    no_copies.replication_factor = 0;
    let topics = [
        (new_topic("good", 2, &[("min.insync.replicas", "2")]), 0),
        (new_topic("there", 1, &[]), 36),
        (new_topic("twice", 1, &[]), 42),
        (new_topic("twice", 2, &[]), 42),
        (new_topic("none", 0, &[]), 37),
        (new_topic("negative", -2, &[]), 37),
        (new_topic("huge", 1_000_000_000, &[]), 44),
        (three_copies, 38),
        (no_copies, 38),
        (new_topic("unknown-config", 1, &[("retention.msec", "1")]), 40),
        (new_topic("bad-value", 1, &[("retention.ms", "soon")]), 40),
        (new_topic("recompressed", 1, &[("compression.type", "brotli")]), 40),
        (new_topic("tiered", 1, &[("remote.storage.enable", "true")]), 40),
        (new_topic("../x", 1, &[]), 17),
        (new_topic("", 1, &[]), 17),
        (new_topic("__consumer_offsets", 1, &[]), 36),
    ];
    let expected: Vec<i16> = topics.iter().map(|(_, code)| *code).collect();
    let request = create_request(&topics.map(|(topic, _)| topic));
    let judged = client.ask(7, &request.clone().with_validate_only(true));
    assert_eq!(codes(&judged), expected);
    assert!(judged.topics.iter().all(|t| t.topic_id == Uuid::nil()), "nothing was made that could have an id");
    assert!(judged.topics.iter().all(|t| t.error_message.is_some() == (t.error_code != 0)), "Q-83");
    assert_eq!(rig.broker().registry.view().iter().len(), 2, "validate_only changes nothing");
    assert_eq!(codes(&client.ask(7, &request)), expected);
    let present: Vec<String> = rig.broker().registry.view().iter().map(|t| t.name.clone()).collect();
    assert_eq!(present, ["__consumer_offsets", "good", "there"]);
}

/// The partitions came first: each try for a name that a fact has and nobody serves left another topic of them.
#[test]
fn a_creation_that_meets_a_fact_of_its_name_leaves_no_partitions_behind() {
    let rig = Rig::memory();
    let engine = Arc::clone(&rig.broker().engine);
    engine.txn(&[], vec![Write::Put(topic_key("taken"), Bytes::new())]).unwrap();
    let before = engine.topics();
    let refused = rig.client().ask(7, &create_request(&[new_topic("taken", 1, &[])]));
    assert_eq!((codes(&refused), engine.topics()), (vec![36], before));
}

#[test]
fn names_that_collide_within_one_request_are_refused_from_the_second_on_p_25() {
    let rig = Rig::memory();
    let answer = rig.client().ask(7, &create_request(&[new_topic("a.b", 1, &[]), new_topic("a_b", 1, &[])]));
    assert_eq!(codes(&answer), [0, 17]);
}

#[test]
fn a_replication_factor_of_three_is_taken_as_one_where_that_is_switched_on_p_28_row_78() {
    let rig = Rig::with(&["pagemark.lenient.replication.factor=true"]);
    let mut topic = new_topic("orders", 1, &[]);
    topic.replication_factor = 3;
    let answer = rig.client().ask(7, &create_request(&[topic]));
    assert_eq!((codes(&answer), answer.topics[0].replication_factor), (vec![0], 1));
    let shown = rig.client().ask(12, &metadata_request(&["orders"]));
    assert_eq!(shown.topics[0].partitions[0].replica_nodes, [BrokerId(0)], "Q-36");
}

#[test]
fn an_assignment_may_name_this_broker_alone() {
    let rig = Rig::memory();
    let assigned = |index: i32, broker: i32| {
        CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(vec![BrokerId(broker)])
    };
    let topic = |name: &str, assignments: Vec<CreatableReplicaAssignment>| {
        new_topic(name, -1, &[]).with_replication_factor(-1).with_assignments(assignments)
    };
    let request = create_request(&[
        topic("good", vec![assigned(1, 0), assigned(0, 0)]),
        topic("stranger", vec![assigned(0, 5)]),
        topic("gap", vec![assigned(0, 0), assigned(2, 0)]),
        topic("both", vec![assigned(0, 0)]).with_num_partitions(1),
    ]);
    let answer = rig.client().ask(7, &request);
    assert_eq!(codes(&answer), [0, 39, 39, 42]);
    assert_eq!(answer.topics[0].num_partitions, 2);
}

#[test]
fn deletion_takes_names_and_ids_and_refuses_internal_topics_row_79() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create("by-id", 1, &[]);
    client.create("by-name", 1, &[]);
    let internal = client.ask(12, &metadata_request(&["__consumer_offsets"])).topics[0].topic_id;
    let state =
        |name: Option<&str>, id: Uuid| DeleteTopicState::default().with_name(name.map(topic_name)).with_topic_id(id);
    let request = DeleteTopicsRequest::default().with_topics(vec![
        state(None, id),
        state(Some("by-name"), Uuid::nil()),
        state(Some("nobody"), Uuid::nil()),
        state(None, Uuid::from_u128(3)),
        state(Some("__consumer_offsets"), Uuid::nil()),
        state(None, internal),
        state(Some("by-name"), id),
    ]);
    let answer = client.ask(6, &request);
    let codes: Vec<i16> = answer.responses.iter().map(|r| r.error_code).collect();
    assert_eq!(codes, [0, 0, 3, 100, 17, 17, 42]);
    assert_eq!(answer.responses[0].name.as_ref().map(|n| n.as_str()), Some("by-id"), "the name is told");
    assert_eq!(rig.broker().registry.view().iter().len(), 1);
    let off = Rig::with(&["delete.topic.enable=false"]);
    off.client().create("kept", 1, &[]);
    assert_eq!(off.client().delete("kept"), 73);
}

#[test]
fn a_topic_created_anew_begins_from_nothing_e_18_invariant_18() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..5 {
        let id = client.create("orders", 2, &[]);
        assert!(ids.insert(id), "a new topic id each time (P-26b)");
        let told = client.committed("readers", "orders", 0);
        assert_eq!((told.committed_offset, told.error_code), (-1, 0), "no offset in round {round} (O-60)");
        let all = client.ask(8, &committed_request("readers", None));
        assert_eq!(all.groups[0].topics, [], "nor among all");
        assert_eq!((client.end("orders", 0), client.read("orders", 0, 0)), (0, Bytes::new()));
        // The same producer and sequence as before is no duplicate here.
        assert_eq!(client.produced("orders", 0, idempotent(7, 0, 0, 3)), 0);
        assert_eq!(client.produced("orders", 0, batch(&["x"])), 3);
        assert_eq!(client.commit("readers", "orders", 0, 4), 0);
        assert_eq!(client.committed("readers", "orders", 0).committed_offset, 4);
        assert_eq!(client.delete("orders"), 0);
        let gone = client.committed("readers", "orders", 0);
        assert_eq!((gone.committed_offset, gone.error_code), (-1, 0), "O-26");
    }
    let groups = client.ask(4, &ListGroupsRequest::default()).groups;
    assert_eq!(groups.iter().map(|g| g.group_id.as_str()).collect::<Vec<_>>(), ["readers"], "the group stays (O-63)");
}

#[test]
fn other_topics_keep_their_offsets_when_one_is_deleted_o_60() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.create("sales", 1, &[]);
    for topic in ["orders", "sales"] {
        assert_eq!(client.commit("readers", topic, 0, 5), 0);
    }
    assert_eq!(client.delete("orders"), 0);
    assert_eq!(client.committed("readers", "orders", 0).committed_offset, -1);
    assert_eq!(client.committed("readers", "sales", 0).committed_offset, 5);
    let groups = client.ask(4, &ListGroupsRequest::default()).groups;
    assert_eq!(groups[0].group_id.as_str(), "readers", "the group remains");
}

#[test]
fn requests_that_know_the_old_id_are_told_that_it_is_gone_r_96() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let old = client.create("orders", 1, &[]);
    client.delete("orders");
    client.create("orders", 1, &[]);
    let mut produce = produce_request("", 0, -1, Some(batch(&["x"])));
    produce.topic_data[0].topic_id = old;
    assert_eq!(one_of(client.ask(13, &produce)).error_code, 100);
    let mut fetch = fetch_request("", 0, 0);
    fetch.topics[0].topic_id = old;
    assert_eq!(client.ask(13, &fetch).responses[0].partitions[0].error_code, 100);
}

#[test]
fn a_fetch_that_waits_is_answered_when_its_topic_is_deleted() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create("orders", 1, &[]);
    let mut waiting = [rig.client(), rig.client()];
    let by_name = fetch_request("orders", 0, 0).with_max_wait_ms(600_000);
    let mut by_id = fetch_request("", 0, 0).with_max_wait_ms(600_000);
    by_id.topics[0].topic_id = id;
    waiting[0].send(12, &by_name);
    waiting[1].send(13, &by_id);
    let partition = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[0].clone();
    until("both fetches are parked", || partition.waiting_fetches() == 2);
    assert_eq!(client.delete("orders"), 0);
    assert_eq!(waiting[0].receive::<FetchRequest>().responses[0].partitions[0].error_code, 3);
    assert_eq!(waiting[1].receive::<FetchRequest>().responses[0].partitions[0].error_code, 100);
}

/// Creating a topic opens its partitions under their shards' next epoch. That used to fence the partitions that were in these
/// shards before, so that the next produce to another topic was refused once.
#[test]
fn creating_a_topic_leaves_the_owners_of_all_others_alone() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("first", 32, &[]);
    client.create("second", 32, &[]);
    for partition in 0..32 {
        assert_eq!(client.produced("first", partition, batch(&["a"])), 0);
        assert_eq!(client.produced("second", partition, batch(&["b"])), 0);
    }
}
