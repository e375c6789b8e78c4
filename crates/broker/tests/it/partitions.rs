//! Giving topics more partitions, and showing them in portions (P-29, Q-32).

use std::sync::Arc;

use pagemark_storage::engine::{Engine, LogStore, MetaStore};
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use pagemark_wire::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use pagemark_wire::messages::*;
use pagemark_wire::types::TopicId;

use crate::support::batches::batch;
use crate::support::client::*;
use crate::support::raw::Raw;
use crate::support::{Rig, releasing, until};

fn grow(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(None)
}

fn assigned(name: &str, count: i32, brokers: &[&[i32]]) -> CreatePartitionsTopic {
    let one = |brokers: &&[i32]| {
        CreatePartitionsAssignment::default().with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    };
    grow(name, count).with_assignments(Some(brokers.iter().map(one).collect()))
}

fn request(topics: &[CreatePartitionsTopic]) -> CreatePartitionsRequest {
    CreatePartitionsRequest::default().with_topics(topics.to_vec()).with_timeout_ms(10_000)
}

fn codes(answer: &CreatePartitionsResponse) -> Vec<(&str, i16)> {
    for result in &answer.results {
        assert_eq!(result.error_message.is_some(), result.error_code != 0, "Q-83");
    }
    answer.results.iter().map(|r| (r.name.as_str(), r.error_code)).collect()
}

fn partitions(client: &mut Client, topic: &str) -> usize {
    client.ask(12, &metadata_request(&[topic])).topics[0].partitions.len()
}

#[test]
fn new_partitions_are_usable_when_the_answer_is_there_and_the_old_ones_are_left_alone_p_29_q_32() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create("orders", 2, &[("max.message.bytes", "5000")]);
    client.produced("orders", 1, batch(&["a"]));
    assert_eq!(client.commit("readers", "orders", 1, 1), 0);
    let mut waiting = rig.client();
    waiting.send(12, &fetch_request("orders", 1, 1).with_max_wait_ms(600_000));
    let old = rig.broker().topic("orders", TopicId::ZERO).unwrap().partitions[1].clone();
    until("the fetch is parked", || old.waiting_fetches() == 1);
    assert_eq!(codes(&client.ask(3, &request(&[grow("orders", 40)]))), [("orders", 0)]);
    let shown = client.ask(12, &metadata_request(&["orders"])).topics.remove(0);
    assert_eq!((shown.topic_id, shown.partitions.len()), (id, 40));
    assert!(shown.partitions.iter().all(|p| p.leader_id == BrokerId(0) && p.isr_nodes == [BrokerId(0)]));
    for partition in 2..40 {
        assert_eq!(client.produced("orders", partition, batch(&["b"])), 0);
        assert_eq!(client.end("orders", partition), 1);
        assert_eq!(client.commit("readers", "orders", partition, 1), 0);
    }
    assert_eq!(client.committed("readers", "orders", 1).committed_offset, 1);
    assert_eq!(client.produced("orders", 1, batch(&["c"])), 1);
    let woken = waiting.receive::<FetchRequest>();
    assert!(woken.responses[0].partitions[0].records.as_ref().is_some_and(|r| !r.is_empty()), "it was not forgotten");
    assert_eq!(client.produce("orders", 39, crate::support::batches::batch_of_bytes(6_000)).error_code, 10);
}

#[test]
fn every_growth_that_cannot_be_is_refused_for_itself_p_29() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let topics = ["same", "less", "none", "negative", "huge", "few", "many", "stranger", "nobody-s", "both", "twice"];
    topics.iter().for_each(|name| assert!(!client.create(name, 3, &[]).is_nil()));
    client.create("good", 3, &[]);
    client.create("placed", 3, &[]);
    let asked = [
        (grow("same", 3), 37),
        (grow("less", 2), 37),
        (grow("none", 0), 37),
        (grow("negative", i32::MIN), 37),
        (grow("huge", 1_000_000), 44),
        (assigned("few", 5, &[&[0]]), 39),
        (assigned("many", 4, &[&[0], &[0]]), 39),
        (assigned("stranger", 4, &[&[7]]), 39),
        (assigned("nobody-s", 4, &[&[]]), 39),
        (assigned("both", 4, &[&[0, 0]]), 39),
        (grow("absent", 5), 3),
        (grow("", 5), 3),
        (grow("../x", 5), 3),
        (grow("__consumer_offsets", 90), 17),
        (grow("good", 4), 0),
        (assigned("placed", 5, &[&[0], &[0]]), 0),
        (grow("twice", 4), 42),
    ];
    let expected: Vec<(&str, i16)> = asked.iter().map(|(topic, code)| (topic.name.as_str(), *code)).collect();
    let mut growths: Vec<CreatePartitionsTopic> = asked.iter().map(|(topic, _)| topic.clone()).collect();
    growths.push(grow("twice", 5));
    let judged = client.ask(3, &request(&growths).with_validate_only(true));
    assert_eq!(codes(&judged), expected);
    assert!(topics.iter().chain(&["good", "placed"]).all(|name| partitions(&mut client, name) == 3), "nothing changed");
    assert_eq!(codes(&client.ask(3, &request(&growths))), expected);
    assert!(topics.iter().all(|name| partitions(&mut client, name) == 3));
    assert_eq!((partitions(&mut client, "good"), partitions(&mut client, "placed")), (4, 5));
    assert_eq!(partitions(&mut client, "__consumer_offsets"), 4);
}

#[test]
fn one_request_makes_at_most_10_000_partitions() {
    let rig = Rig::memory();
    let mut client = rig.client();
    ["a", "b", "c"].iter().for_each(|name| assert!(!client.create(name, 1, &[]).is_nil()));
    let growths = [grow("a", 9_001), grow("b", 1_002), grow("c", 1_001)];
    for validate_only in [true, false] {
        let answer = client.ask(3, &request(&growths).with_validate_only(validate_only));
        assert_eq!(codes(&answer), [("a", 0), ("b", 44), ("c", 0)]);
    }
}

#[test]
fn partitions_are_created_in_every_version() {
    let rig = Rig::memory();
    rig.client().create("orders", 1, &[]);
    for version in 0..=3 {
        let mut raw = Raw::connect(rig.address);
        raw.request(version, &request(&[grow("orders", 2 + i32::from(version))]));
        assert_eq!(codes(&raw.answer::<CreatePartitionsRequest>(version)), [("orders", 0)]);
    }
    assert_eq!(partitions(&mut rig.client(), "orders"), 5);
}

#[test]
fn further_partitions_and_what_is_in_them_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    assert_eq!(codes(&client.ask(3, &request(&[grow("orders", 3)]))), [("orders", 0)]);
    client.produced("orders", 2, batch(&["a"]));
    drop(client);
    rig.kill();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    assert_eq!((partitions(&mut client, "orders"), client.end("orders", 2), client.end("orders", 1)), (3, 1, 0));
}

/// A crash between the topic's fact and its partitions leaves the old number or the new one, and all of them work.
#[test]
fn a_growth_that_a_crash_cut_in_two_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    rig.client().create("orders", 1, &[]);
    rig.stop();
    let engine = crate::support::local_engine(dir.path());
    let stored = engine.get("topic/orders").unwrap();
    let grown = String::from_utf8_lossy(&stored.value).replace("\"partitions\":1", "\"partitions\":3");
    let put = pagemark_storage::engine::Write::Put("topic/orders".to_owned(), grown.into_bytes().into());
    engine.txn(&[], vec![put]).unwrap();
    engine.close().unwrap();
    drop(engine);
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    assert_eq!(partitions(&mut client, "orders"), 3);
    (0..3).for_each(|partition| assert_eq!(client.produced("orders", partition, batch(&["a"])), 0));
}

#[test]
fn new_partitions_are_neither_answered_nor_shown_before_they_are_durable() {
    let (rig, engine) = Rig::released_by_hand(&[]);
    let id = releasing(&engine, || rig.client().create("orders", 1, &[]));
    let mut waiting = rig.client();
    waiting.send(3, &request(&[grow("orders", 3)]));
    until("they are made", || engine.topics().contains(&(TopicId(id), 3)));
    assert_eq!(partitions(&mut rig.client(), "orders"), 1);
    engine.release();
    assert_eq!(codes(&waiting.receive::<CreatePartitionsRequest>()), [("orders", 0)]);
    assert_eq!(partitions(&mut rig.client(), "orders"), 3);
}

#[test]
fn after_the_disk_has_failed_no_topic_grows() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    engine.fail("the disk is gone");
    assert_eq!(codes(&client.ask(3, &request(&[grow("orders", 3)]))), [("orders", 56)]);
    assert_eq!(partitions(&mut client, "orders"), 1);
}

type Portion = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

/// Topics with code and partitions, and where to go on.
fn portion(client: &mut Client, names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Portion {
    let cursor = cursor
        .map(|(topic, partition)| Cursor::default().with_topic_name(topic_name(topic)).with_partition_index(partition));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(names.iter().map(|name| TopicRequest::default().with_name(topic_name(name))).collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor);
    let answer = client.ask(0, &request);
    let plain = |topic: describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic| {
        let name = topic.name.map(|n| n.to_string()).unwrap_or_default();
        (name, topic.error_code, topic.partitions.iter().map(|p| p.partition_index).collect())
    };
    let next = answer.next_cursor.map(|c| (c.topic_name.to_string(), c.partition_index));
    (answer.topics.into_iter().map(plain).collect(), next)
}

fn at(name: &str, code: i16, partitions: &[i32]) -> (String, i16, Vec<i32>) {
    (name.to_owned(), code, partitions.to_vec())
}

#[test]
fn topics_are_shown_in_portions_in_order_of_their_names_p_29a() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("b", 3, &[]);
    client.create("a", 2, &[]);
    let names = ["b", "nobody", "a", "b", "../x"];
    let refused = at("../x", 17, &[]);
    let absent = at("nobody", 3, &[]);
    let whole = [refused.clone(), at("a", 0, &[0, 1]), at("b", 0, &[0, 1, 2]), absent.clone()];
    assert_eq!(portion(&mut client, &names, 2000, None), (whole.to_vec(), None));
    let first = portion(&mut client, &names, 3, None);
    assert_eq!(first, (vec![refused, at("a", 0, &[0, 1]), at("b", 0, &[0])], Some(("b".to_owned(), 1))));
    let second = portion(&mut client, &names, 2, Some(("b", 1)));
    assert_eq!(second, (vec![at("b", 0, &[1, 2])], Some(("nobody".to_owned(), 0))));
    assert_eq!(portion(&mut client, &names, 2, Some(("nobody", 0))), (vec![absent], None));
    let one = (vec![at("b", 0, &[0])], Some(("b".to_owned(), 1)));
    for limit in [1, 0, -4, i32::MIN] {
        assert_eq!(portion(&mut client, &["b"], limit, None), one, "at least one of {limit}");
    }
    let beyond = portion(&mut client, &["b"], 5, Some(("b", 9)));
    assert_eq!(beyond, (vec![at("b", 0, &[])], None));
}

#[test]
fn all_topics_are_shown_if_none_is_named_and_those_deleted_meanwhile_are_left_out() {
    let rig = Rig::memory();
    let mut client = rig.client();
    for name in ["a", "b", "c"] {
        client.create(name, 1, &[]);
    }
    let (shown, next) = portion(&mut client, &[], 4 + 1, None);
    assert_eq!(shown, [at("__consumer_offsets", 0, &[0, 1, 2, 3]), at("a", 0, &[0])]);
    assert_eq!(next, Some(("b".to_owned(), 0)));
    client.delete("b");
    assert_eq!(portion(&mut client, &[], 5, Some(("b", 0))), (vec![at("c", 0, &[0])], None));
    client.create("many", 2_500, &[]);
    let (shown, next) = portion(&mut client, &["many"], i32::MAX, None);
    assert_eq!((shown[0].2.len(), next), (2_000, Some(("many".to_owned(), 2_000))), "no more in one answer");
}

#[test]
fn a_cursor_that_points_nowhere_is_an_invalid_request_for_every_topic_p_29a() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("a", 2, &[]);
    let refused = (vec![at("a", 42, &[]), at("b", 42, &[])], None);
    assert_eq!(portion(&mut client, &["a", "b"], 5, Some(("a", -1))), refused);
    assert_eq!(portion(&mut client, &["a", "b"], 5, Some(("c", 0))), refused);
}
