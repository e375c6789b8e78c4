//! After the disk has failed nothing is acknowledged any more, and what was durable can still be read (invariant 39, G-3).

use std::sync::Arc;

use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::messages::*;

use crate::support::batches::{batch, idempotent, stored_at};
use crate::support::client::*;
use crate::support::{Rig, releasing, until};

/// Everything that a broker with a failed log must and must not do.
fn judge(rig: &Rig) {
    let mut client = rig.client();
    for _ in 0..3 {
        let refused = client.produce("orders", 0, batch(&["late"]));
        assert_eq!((refused.error_code, refused.base_offset), (56, -1), "each time, not only the first");
        assert_eq!(client.produce("orders", 1, idempotent(9, 0, 0, 1)).error_code, 56);
        assert_eq!(client.commit("readers", "orders", 0, 9), 15, "G-3");
        let offsets = client.ask(8, &committed_request("readers", Some(&[("orders", 0)])));
        assert_eq!(offsets.groups[0].error_code, 15, "never a wrong offset");
    }
    assert_eq!(client.read("orders", 0, 0), stored_at(&batch(&["durable"]), 0, 0), "what is durable is readable");
    assert_eq!(client.end("orders", 0), 1, "nothing beyond it shows");
    assert_eq!(client.ask(12, &metadata_request(&["orders"])).topics[0].error_code, 0);
    let created = client.ask(7, &create_request(&[new_topic("late", 1, &[])]));
    assert_eq!(created.topics[0].error_code, 56);
    assert_eq!(client.ask(12, &metadata_request(&["late"])).topics[0].error_code, 3);
    assert_eq!(client.delete("orders"), 56);
    assert_eq!(client.ask(12, &metadata_request(&["orders"])).topics[0].error_code, 0, "still there");
    let auto = metadata_request(&["auto"]).with_allow_auto_topic_creation(true);
    assert_eq!(client.ask(12, &auto).topics[0].error_code, 5);
    let why = rig.block_on(rig.server().failed());
    assert_eq!(&*why, "the disk is gone");
    for path in ["/healthz", "/readyz"] {
        let (status, body) = crate::http::get(rig, path);
        assert!(status == 503 && body.contains("the disk is gone"), "{path}: {status} {body}");
    }
    assert!(crate::http::get(rig, "/metrics").1.contains("pagemark_log_failed 1"));
}

#[test]
fn writes_that_are_refused_are_answered_as_failed() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    client.produced("orders", 0, batch(&["durable"]));
    assert_eq!(client.commit("readers", "orders", 0, 1), 0);
    engine.fail("the disk is gone");
    judge(&rig);
}

#[test]
fn writes_that_were_under_way_when_the_flush_failed_are_answered_as_failed() {
    let (rig, engine) = Rig::released_by_hand(&[]);
    releasing(&engine, || {
        let mut client = rig.client();
        client.create("orders", 2, &[]);
        client.produced("orders", 0, batch(&["durable"]));
        assert_eq!(client.commit("readers", "orders", 0, 1), 0);
    });
    let (mut producer, mut retry, mut committer, mut reader) = (rig.client(), rig.client(), rig.client(), rig.client());
    let mut creator = rig.client();
    reader.send(12, &fetch_request("orders", 0, 1).with_max_wait_ms(600_000));
    producer.send(9, &produce_request("orders", 0, -1, Some(idempotent(5, 0, 0, 1))));
    committer.send(8, &commit_request("readers", &[("orders", 0, 2, "")]));
    creator.send(7, &create_request(&[new_topic("under-way", 1, &[])]));
    let key = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[0].key;
    until("the batch is in the log", || rig.broker().engine.extent(key).unwrap().log_end.0 == 2);
    retry.send(9, &produce_request("orders", 0, -1, Some(idempotent(5, 0, 0, 1))));
    let shard = rig.broker().group_shard("readers") as usize;
    let offsets = rig.broker().topic("__consumer_offsets", pagemark_wire::types::TopicId::ZERO).unwrap();
    let offsets_key = offsets.partitions[shard].key;
    until("so is the commit", || {
        let extent = rig.broker().engine.extent(offsets_key).unwrap();
        extent.log_end > extent.durable_end
    });
    engine.fail("the disk is gone");
    assert_eq!(one_of(producer.receive::<ProduceRequest>()).error_code, 56);
    assert_eq!(one_of(retry.receive::<ProduceRequest>()).error_code, 56, "a duplicate is no better");
    assert_eq!(committer.receive::<OffsetCommitRequest>().topics[0].partitions[0].error_code, 15);
    assert_eq!(creator.receive::<CreateTopicsRequest>().topics[0].error_code, 56);
    judge(&rig);
    let topic = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap();
    until("the reader waits on", || topic.partitions[0].waiting_fetches() == 1);
}

#[test]
fn members_that_wait_for_a_rebalance_are_told_when_the_log_fails() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &["group.initial.rebalance.delay.ms=600000"]);
    rig.client().create("orders", 1, &[]);
    let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
    let join = JoinGroupRequest::default()
        .with_group_id(group_id("readers"))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(1_800_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let mut waiting = rig.client();
    waiting.send(3, &join);
    until("it has joined", || rig.block_on(rig.broker().executors.census()).members == 1);
    engine.fail("the disk is gone");
    assert_eq!(waiting.receive::<JoinGroupRequest>().error_code, 15, "at once, not when somebody else asks");
    assert_eq!(rig.client().commit("readers", "orders", 0, 1), 15);
    let heartbeat = HeartbeatRequest::default().with_group_id(group_id("readers")).with_member_id(text("m"));
    assert_eq!(rig.client().ask(4, &heartbeat).error_code, 15);
}

#[test]
fn a_stop_after_a_failure_says_so() {
    let engine = Arc::new(MemoryEngine::new());
    let runtime = crate::support::runtime();
    let server = runtime.block_on(crate::support::start(Arc::clone(&engine) as _, crate::support::settings(&[])));
    engine.fail("the disk is gone");
    assert!(runtime.block_on(server.stop()).is_err());
}

/// Several shards of one executor in one turn, and its last write is durable when the log fails. The shards behind the first
/// refused one used to be taken for duplicates that wait for that last write, and were acknowledged.
#[test]
fn no_batch_is_acknowledged_that_was_never_written() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    client.create("orders", 32, &[]);
    (0..32).for_each(|partition| assert_eq!(client.produced("orders", partition, batch(&["durable"])), 0));
    engine.fail("the disk is gone");
    let mut everywhere = produce_request("orders", 0, -1, Some(batch(&["late"])));
    let one = everywhere.topic_data[0].partition_data[0].clone();
    everywhere.topic_data[0].partition_data = (0..32).map(|index| one.clone().with_index(index)).collect();
    let answer = client.ask(9, &everywhere);
    let codes: Vec<i16> = answer.responses[0].partition_responses.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [56; 32]);
}

/// Rotten bytes are met by a read or by the background, and the executor heard of it when the engine refused its next append: with
/// it went the batches of all other partitions of the shard, and acks=0 connections were closed.
#[test]
fn a_partition_whose_bytes_rot_while_it_is_written_to_fails_alone_r_22() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    client.create("orders", 64, &[]);
    let mut everywhere = produce_request("orders", 0, -1, Some(idempotent(9, 0, 0, 1)));
    let one = everywhere.topic_data[0].partition_data[0].clone();
    everywhere.topic_data[0].partition_data = (0..64).map(|index| one.clone().with_index(index)).collect();
    let mut ask = |sequence| {
        let records = Some(idempotent(9, 0, sequence, 1));
        everywhere.topic_data[0].partition_data.iter_mut().for_each(|one| one.records.clone_from(&records));
        let answer = client.ask(9, &everywhere);
        let found = answer.responses[0].partition_responses.iter().map(|p| (p.error_code, p.base_offset));
        found.collect::<Vec<_>>()
    };
    assert_eq!(ask(0), [(0, 0); 64]);
    let topic = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap();
    // Two of the same shard, and one of another.
    let rotten = [3, 19, 40];
    rotten.iter().for_each(|index| engine.quarantine(topic.partitions[*index].key, "rotten").unwrap());
    for offset in 1..3 {
        for (index, found) in ask(offset).into_iter().enumerate() {
            let expected = if rotten.contains(&index) { (56, -1) } else { (0, i64::from(offset)) };
            assert_eq!(found, expected, "partition {index}");
        }
    }
}
