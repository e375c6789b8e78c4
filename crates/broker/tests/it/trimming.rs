//! Logs that begin later: because a client asks (DeleteRecords, R-70 to R-73), or because of age and size.

use std::sync::Arc;

use pagemark_broker::retention;
use pagemark_storage::engine::LogStore;
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use pagemark_wire::messages::*;

use crate::support::batches::*;
use crate::support::client::*;
use crate::support::configs::*;
use crate::support::{Rig, local_engine, until};

fn delete_request(topic: &str, partitions: &[(i32, i64)]) -> DeleteRecordsRequest {
    let asked = |(index, offset): &(i32, i64)| {
        DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset)
    };
    let topic = DeleteRecordsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.iter().map(asked).collect());
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}

/// Error code and low watermark.
fn delete(client: &mut Client, version: i16, topic: &str, partition: i32, offset: i64) -> (i16, i64) {
    let mut answer = client.ask(version, &delete_request(topic, &[(partition, offset)]));
    let result = answer.topics.remove(0).partitions.remove(0);
    assert_eq!(result.partition_index, partition);
    (result.error_code, result.low_watermark)
}

/// Log start as ListOffsets, Fetch and Produce tell it.
fn starts(client: &mut Client) -> [i64; 3] {
    let end = client.end("orders", 0);
    let fetched = client.fetch("orders", 0, end).log_start_offset;
    [client.list_offset("orders", 0, -2).offset, fetched, client.list_offset("orders", 0, -4).offset]
}

#[test]
fn a_log_begins_where_a_client_says_in_every_version_r_70() {
    for version in 0..=2 {
        let rig = Rig::memory();
        let mut client = rig.client();
        client.create("orders", 2, &[]);
        for _ in 0..4 {
            client.produced("orders", 0, batch(&["a", "b"]));
        }
        let mut asked = |offset| delete(&mut client, version, "orders", 0, offset);
        assert_eq!(asked(3), (0, 3), "within a batch");
        assert_eq!(asked(2), (0, 3), "below: no change");
        assert_eq!(asked(9), (1, -1), "beyond the high watermark");
        assert_eq!(asked(-2), (1, -1));
        assert_eq!(starts(&mut client), [3; 3]);
        assert_eq!(client.fetch("orders", 0, 2).error_code, 1, "P-37");
        assert_eq!(split(&client.read("orders", 0, 3)).len(), 3, "the batch that holds the start stays whole (R-71)");
        assert_eq!(delete(&mut client, version, "orders", 0, -1), (0, 8), "the high watermark");
        assert_eq!(client.read("orders", 0, 8).len(), 0);
        assert_eq!(client.produced("orders", 0, batch(&["c"])), 8, "no offset is used twice");
        assert_eq!(client.produce("orders", 0, batch(&["c"])).log_start_offset, 8);
        assert_eq!(delete(&mut client, version, "orders", 1, 0), (0, 0), "an empty log");
    }
}

#[test]
fn what_must_not_be_deleted_is_not_r_72() {
    let rig = Rig::memory();
    let mut client = rig.client();
    for (name, policy) in [("compacted", "compact"), ("kept", ""), ("both", "compact,delete")] {
        client.create(name, 1, &[("cleanup.policy", policy)]);
        client.produced(name, 0, batch(&["a"]));
    }
    assert_eq!(delete(&mut client, 2, "compacted", 0, 1), (44, -1));
    assert_eq!(delete(&mut client, 2, "both", 0, 1), (0, 1));
    assert_eq!(delete(&mut client, 2, "kept", 0, 1), (0, 1));
    assert_eq!(delete(&mut client, 2, "__consumer_offsets", 0, 0), (17, -1));
    assert_eq!(delete(&mut client, 2, "missing", 0, 0), (3, -1));
    assert_eq!(delete(&mut client, 2, "both", 1, 0), (3, -1));
    let several = client.ask(2, &delete_request("both", &[(0, 1), (7, 0), (-1, 0)]));
    let codes: Vec<i16> = several.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [0, 3, 3], "each for itself");
    assert!(client.ask(2, &DeleteRecordsRequest::default()).topics.is_empty());
}

/// R-73, O-32: what a group committed stays, and the fetch there says that it is gone.
#[test]
fn committed_offsets_stay_where_they_are_o_32() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a", "b", "c"]));
    assert_eq!(client.commit("readers", "orders", 0, 1), 0);
    assert_eq!(delete(&mut client, 2, "orders", 0, 3), (0, 3));
    assert_eq!(client.committed("readers", "orders", 0).committed_offset, 1);
    assert_eq!(client.fetch("orders", 0, 1).error_code, 1);
}

#[test]
fn a_producer_is_known_although_its_records_are_deleted_r_33() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, idempotent(5, 0, 0, 2));
    assert_eq!(delete(&mut client, 2, "orders", 0, -1), (0, 2));
    assert_eq!(client.produced("orders", 0, idempotent(5, 0, 0, 2)), 0, "a retry is still one (R-30)");
    assert_eq!(client.produce("orders", 0, idempotent(5, 0, 3, 1)).error_code, 45);
    assert_eq!(client.produced("orders", 0, idempotent(5, 0, 2, 1)), 2);
}

#[test]
fn a_fetch_that_waits_is_told_when_its_offset_goes() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a"]));
    let mut waiting = rig.client();
    waiting.send(12, &fetch_request("orders", 0, 0).with_max_wait_ms(600_000).with_min_bytes(1 << 20));
    let topic = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap();
    until("it waits", || topic.partitions[0].waiting_fetches() == 1);
    assert_eq!(delete(&mut client, 2, "orders", 0, -1), (0, 1));
    assert_eq!(waiting.receive::<FetchRequest>().responses[0].partitions[0].error_code, 1);
}

#[test]
fn nobody_is_told_of_a_log_start_before_it_is_durable_r_71() {
    let (rig, engine) = Rig::released_by_hand(&[]);
    let mut client = crate::support::releasing(&engine, || {
        let mut client = rig.client();
        client.create("orders", 1, &[]);
        client.produced("orders", 0, batch(&["a"]));
        client
    });
    let mut deleter = rig.client();
    deleter.send(2, &delete_request("orders", &[(0, 1)]));
    let key = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[0].key;
    // The same request again is in line behind it; both wait for the same write.
    until("it is accepted", || engine.trim_point(key, pagemark_storage::engine::Keep::Bytes(0)) == Ok(None));
    assert_eq!(starts(&mut client), [0; 3]);
    assert_eq!(client.read("orders", 0, 0), stored_at(&batch(&["a"]), 0, 0));
    engine.fail("the disk is gone");
    assert_eq!(deleter.receive::<DeleteRecordsRequest>().topics[0].partitions[0].error_code, 56);
}

#[test]
fn times_are_found_among_what_is_left_r_61_r_62() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    for times in [[900, 10], [300, 20], [500, 600], [400, 600]] {
        client.produced("orders", 0, batch_at(&times.map(|t| THEN_MS + t)));
    }
    let found = |client: &mut Client, timestamp: i64| {
        let found = client.list_offset("orders", 0, timestamp);
        assert_eq!(found.error_code, 0);
        found.offset
    };
    assert_eq!((found(&mut client, -3), found(&mut client, THEN_MS + 550)), (0, 0));
    // The log begins within the batch that held the greatest timestamp.
    assert_eq!(delete(&mut client, 2, "orders", 0, 1), (0, 1));
    assert_eq!((found(&mut client, -3), found(&mut client, THEN_MS + 550)), (5, 5));
    assert_eq!((found(&mut client, THEN_MS + 5), found(&mut client, THEN_MS + 601)), (1, -1));
    assert_eq!(delete(&mut client, 2, "orders", 0, 6), (0, 6));
    assert_eq!((found(&mut client, -3), found(&mut client, THEN_MS + 550)), (7, 7));
    assert_eq!(delete(&mut client, 2, "orders", 0, 8), (0, 8));
    assert_eq!((found(&mut client, -3), found(&mut client, THEN_MS)), (-1, -1));
}

#[test]
fn a_log_start_survives_kills_and_stops_and_never_goes_back_r_71_invariant_7() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6_i64 {
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        if round == 0 {
            client.create("orders", 1, &[]);
        }
        let before = (round * 3 - 1).max(0);
        assert_eq!(starts(&mut client), [before; 3], "round {round}");
        if before > 0 {
            assert_eq!(client.fetch("orders", 0, before - 1).error_code, 1, "nothing deleted comes back");
        }
        client.produced("orders", 0, batch(&["a", "b", "c"]));
        assert_eq!(client.end("orders", 0), round * 3 + 3);
        let start = round * 3 + 2;
        assert_eq!(delete(&mut client, 2, "orders", 0, start), (0, start));
        drop(client);
        if round % 2 == 0 { rig.kill() } else { rig.stop() }
    }
}

/// Log starts of some topics' first partitions.
fn log_starts(client: &mut Client, topics: &[&str]) -> Vec<i64> {
    topics.iter().map(|topic| client.list_offset(topic, 0, -2).offset).collect()
}

#[test]
fn old_and_large_logs_are_cut_where_their_topics_say_r_80_to_r_83() {
    let rig = Rig::with(&["log.retention.hours=1"]);
    let mut client = rig.client();
    let now_ms = rig.broker().host.now().wall.0;
    let day = 86_400_000;
    type Configs = &'static [(&'static str, &'static str)];
    let topics: [(&str, Configs, i64); 8] = [
        ("inherits", &[], 3),
        ("for-two-days", &[("retention.ms", "172800000")], 1),
        ("for-ever", &[("retention.ms", "-1")], 0),
        ("compacted", &[("cleanup.policy", "compact")], 0),
        ("without-policy", &[("cleanup.policy", "")], 0),
        ("both", &[("cleanup.policy", "compact,delete")], 3),
        ("small", &[("retention.ms", "-1"), ("retention.bytes", "100")], 3),
        ("empty", &[("retention.ms", "-1"), ("retention.bytes", "0")], 5),
    ];
    for (name, configs, _) in topics {
        client.create(name, 1, configs);
        for age in [3 * day, day, day, 0, -3_000_000] {
            client.produced(name, 0, batch_at(&[now_ms - age]));
        }
    }
    client.commit("readers", "inherits", 0, 1);
    let names = topics.map(|(name, ..)| name);
    let pass = || rig.block_on(retention::pass(rig.broker()));
    pass();
    until("the log starts are durable", || log_starts(&mut client, &names) == topics.map(|(.., start)| start));
    pass();
    assert_eq!(log_starts(&mut client, &names), topics.map(|(.., start)| start), "nothing more to do");
    assert_eq!(client.committed("readers", "inherits", 0).committed_offset, 1, "commits are never trimmed");
    let (_, metrics) = crate::http::get(&rig, "/metrics");
    assert!(metrics.contains("pagemark_logs_trimmed_by_time_total 3"), "{metrics}");
    assert!(metrics.contains("pagemark_logs_trimmed_by_size_total 2"), "{metrics}");
}

#[test]
fn records_of_1970_vanish_at_the_next_check_and_those_of_the_future_protect_what_follows_r_80() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let now_ms = rig.broker().host.now().wall.0;
    client.create("orders", 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
    client.produced("orders", 0, batch_at(&[1_000]));
    client.produced("orders", 0, batch_at(&[now_ms + 86_400_000]));
    client.produced("orders", 0, batch_at(&[1_000]));
    rig.block_on(retention::pass(rig.broker()));
    until("it is cut", || log_starts(&mut client, &["orders"]) == [1]);
    assert_eq!(headers(&client.read("orders", 0, 1)).len(), 2);
    client.create("old", 1, &[]);
    client.produced("old", 0, batch_at(&[1_000]));
    rig.block_on(retention::pass(rig.broker()));
    until("all of it is gone", || log_starts(&mut client, &["old"]) == [1]);
    assert_eq!(client.produced("old", 0, batch_at(&[now_ms])), 1);
}

#[test]
fn a_pass_over_more_logs_than_a_lot_misses_none() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 300, &[("retention.bytes", "0")]);
    for partition in 0..300 {
        client.produced("orders", partition, batch(&["a"]));
    }
    rig.block_on(retention::pass(rig.broker()));
    until("all are cut", || (0..300).all(|p| client.list_offset("orders", p, -2).offset == 1));
}

#[test]
fn a_pass_that_began_before_retention_was_changed_goes_by_the_change_r_84() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[("retention.ms", "-1"), ("retention.bytes", "0")]);
    client.produced("orders", 0, batch(&["a"]));
    let topic = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap();
    let in_hand = topic.partitions[0].clone();
    assert_eq!(client.alter_one(TOPIC, "orders", &[("retention.bytes", SET, Some("-1"))]), 0);
    let cut = rig.block_on(rig.broker().executors.retain(in_hand.executor, vec![in_hand.clone()]));
    assert_eq!(cut.len(), 0);
    assert_eq!(client.alter_one(TOPIC, "orders", &[("retention.bytes", SET, Some("0"))]), 0);
    let cut = rig.block_on(rig.broker().executors.retain(in_hand.executor, vec![in_hand.clone()]));
    assert_eq!(cut.len(), 1);
}

#[test]
fn retention_goes_on_by_itself_and_what_it_cut_stays_cut_r_84() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::on(local_engine(dir.path()), &["log.retention.check.interval.ms=1"]);
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch_at(&[1_000]));
    until("it is cut", || log_starts(&mut client, &["orders"]) == [1]);
    client.produced("orders", 0, batch(&["b"]));
    until("so is what follows", || log_starts(&mut client, &["orders"]) == [2]);
    drop(client);
    rig.kill();
    let rig = Rig::local(dir.path());
    assert_eq!(log_starts(&mut rig.client(), &["orders"]), [2]);
}

#[test]
fn a_failed_log_is_not_cut() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    client.create("orders", 1, &[("retention.bytes", "0")]);
    client.produced("orders", 0, batch(&["a"]));
    engine.fail("the disk is gone");
    rig.block_on(retention::pass(rig.broker()));
    assert_eq!(log_starts(&mut client, &["orders"]), [0]);
    assert_eq!(delete(&mut client, 2, "orders", 0, 1), (56, -1));
}
