//! Fetch: limits, waiting and waking (P-32 to P-41).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use pagemark_wire::messages::*;
use pagemark_wire::types::TopicId;

use crate::support::batches::*;
use crate::support::client::*;
use crate::support::engines::SlowReads;
use crate::support::simulated::simulated;
use crate::support::{Rig, until};

/// A fetch of partitions 0 and up, each from this offset on with this limit.
fn several(topic: &str, wanted: &[(i64, i32)], max_bytes: i32) -> FetchRequest {
    let partition = |(index, (offset, limit)): (usize, &(i64, i32))| {
        FetchPartition::default()
            .with_partition(index as i32)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(*limit)
    };
    let partitions = wanted.iter().enumerate().map(partition).collect();
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions);
    fetch_request("", 0, 0).with_max_bytes(max_bytes).with_topics(vec![topic])
}

/// How many batches of each partition an answer holds.
fn batches(answer: &FetchResponse) -> Vec<usize> {
    let count = |records: &Option<Bytes>| split(records.as_ref().expect("never null")).len();
    answer.responses[0].partitions.iter().map(|p| count(&p.records)).collect()
}

fn parked(rig: &Rig, topic: &str, partition: usize) -> usize {
    let topic = rig.broker().topic(topic, TopicId::ZERO).expect("it was created");
    topic.partitions[partition].waiting_fetches()
}

#[test]
fn limits_hold_except_for_the_first_batch_p_33_p_34() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 3, &[]);
    for partition in 0..3 {
        (0..4).for_each(|_| assert!(client.produced("orders", partition, batch_of_bytes(1000)) >= 0));
    }
    let size = client.read("orders", 0, 3).len() as i32;
    let from = |limit: i32| [(0, limit), (0, limit), (0, limit)];
    // Each from a client that went short of nothing before.
    let got =
        |wanted: &[(i64, i32)], max_bytes: i32| batches(&rig.client().ask(12, &several("orders", wanted, max_bytes)));
    assert_eq!(got(&from(1 << 20), 1 << 20), [4, 4, 4]);
    assert_eq!(got(&from(1), 1 << 20), [1, 0, 0], "the first whole, whatever its limit; the others keep to theirs");
    assert_eq!(got(&from(size * 2 + 9), 1 << 20), [2, 2, 2], "whole batches only");
    assert_eq!(got(&from(size * 2), 1 << 20), [2, 2, 2], "exactly at the limit");
    assert_eq!(got(&from(1 << 20), 1), [1, 0, 0]);
    assert_eq!(got(&from(1 << 20), 0), [1, 0, 0]);
    assert_eq!(got(&from(0), 1 << 20), [1, 0, 0]);
    assert_eq!(got(&from(1 << 20), size * 5), [4, 1, 0]);
    assert_eq!(got(&[(4, 1 << 20), (0, 1), (0, 1)], 1 << 20), [0, 1, 0], "the first partition that has any");
    let limited = Rig::with(&["fetch.max.bytes=2048"]);
    let mut client = limited.client();
    client.create("orders", 1, &[]);
    (0..4).for_each(|_| assert!(client.produced("orders", 0, batch_of_bytes(1000)) >= 0));
    assert_eq!(
        batches(&client.ask(12, &several("orders", &from(1 << 20)[..1], i32::MAX))),
        [2],
        "the broker's own limit"
    );
}

#[test]
fn a_batch_larger_than_all_limits_is_returned_whole_q_47() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let sent = batch_of_bytes(1_000_000);
    client.produced("orders", 0, sent.clone());
    let answer = client.ask(12, &several("orders", &[(0, 1)], 1));
    assert_eq!(answer.responses[0].partitions[0].records, Some(stored_at(&sent, 0, 0)));
}

#[test]
fn the_end_is_an_empty_poll_and_beyond_it_an_error_at_once_p_37_q_55() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a", "b"]));
    let at_end = client.fetch("orders", 0, 2);
    assert_eq!((at_end.error_code, at_end.high_watermark, at_end.records), (0, 2, Some(Bytes::new())));
    let beyond = client.ask(12, &fetch_request("orders", 0, 3).with_max_wait_ms(600_000)); // would be ten minutes
    assert_eq!(beyond.responses[0].partitions[0].error_code, 1);
    assert_eq!(parked(&rig, "orders", 0), 0);
}

#[test]
fn a_parked_fetch_is_woken_by_the_append_itself_p_32_q_46() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    let mut reader = rig.client();
    let sent = batch(&["new"]);
    for offset in 0..20 {
        let wanted = [(0, 1 << 20), (offset, 1 << 20)];
        reader.send(12, &several("orders", &wanted, 1 << 20).with_max_wait_ms(600_000));
        until("the fetch is parked", || parked(&rig, "orders", 1) == 1);
        assert_eq!(client.produced("orders", 1, sent.clone()), offset);
        let answer = reader.receive::<FetchRequest>();
        assert_eq!(answer.responses[0].partitions[1].records, Some(stored_at(&sent, offset, 0)));
    }
    until("nobody is parked any more", || parked(&rig, "orders", 0) + parked(&rig, "orders", 1) == 0);
}

#[test]
fn too_few_bytes_are_waited_for_over_all_partitions_p_32() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    client.produced("orders", 0, batch(&["a"]));
    let size = client.read("orders", 0, 0).len() as i32;
    let mut reader = rig.client();
    let both = several("orders", &[(0, 1 << 20), (0, 1 << 20)], 1 << 20);
    reader.send(12, &both.with_min_bytes(3 * size).with_max_wait_ms(600_000));
    until("one batch is not enough", || parked(&rig, "orders", 0) == 1);
    client.produced("orders", 1, batch(&["b"]));
    assert_eq!(parked(&rig, "orders", 0), 1, "two are not enough either");
    client.produced("orders", 0, batch(&["c"]));
    assert_eq!(batches(&reader.receive::<FetchRequest>()), [2, 1]);
}

#[test]
fn a_minimum_above_the_maximum_is_reached_with_the_maximum_p_32() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    (0..3).for_each(|_| assert!(client.produced("orders", 0, batch_of_bytes(1000)) >= 0));
    let size = client.read("orders", 0, 2).len() as i32;
    let request = |offset| several("orders", &[(offset, 1 << 20)], size * 2).with_max_wait_ms(600_000);
    assert_eq!(batches(&client.ask(12, &request(0).with_min_bytes(i32::MAX))), [2]);
    let mut reader = rig.client();
    reader.send(12, &request(2).with_min_bytes(i32::MAX));
    until("one batch is not enough", || parked(&rig, "orders", 0) == 1);
    client.produced("orders", 0, batch_of_bytes(1000));
    assert_eq!(batches(&reader.receive::<FetchRequest>()), [2], "and when it was parked");
}

#[test]
fn a_parked_fetch_looks_at_every_batch_once_however_often_it_is_woken() {
    let engine = SlowReads::over(Arc::new(MemoryEngine::new()));
    engine.let_go();
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let sent = batch_of_bytes(1000);
    let mut reader = rig.client();
    let request = several("orders", &[(0, 1 << 20)], 1 << 20).with_max_wait_ms(600_000);
    let before = engine.read_bytes();
    reader.send(12, &request.with_min_bytes(sent.len() as i32 * 50));
    until("the fetch is parked", || parked(&rig, "orders", 0) == 1);
    for n in 0..50 {
        client.produced("orders", 0, sent.clone());
        until("it was woken and has looked", || engine.read_bytes() - before >= sent.len() * (n + 1));
    }
    assert!(batches(&reader.receive::<FetchRequest>())[0] > 0);
    // Each once while it waited, and the answer; this engine gives one batch at a time.
    assert_eq!(engine.read_bytes() - before, sent.len() * 51);
}

#[test]
fn zstd_is_not_given_to_those_who_do_not_know_it_row_86() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    client.produced("orders", 0, compressed(&batch(&["a"]), 4));
    client.produced("orders", 1, compressed(&batch(&["a"]), 3));
    let both = several("orders", &[(0, 1 << 20), (0, 1 << 20)], 1 << 20);
    for version in 4..=12 {
        let answer = client.ask(version, &both.clone().with_max_wait_ms(600_000));
        let found: Vec<(i16, bool)> = answer.responses[0]
            .partitions
            .iter()
            .map(|p| (p.error_code, p.records.as_ref().is_some_and(|r| !r.is_empty())))
            .collect();
        let first = if version < 10 { (76, false) } else { (0, true) };
        assert_eq!(found, [first, (0, true)], "version {version}");
    }
    let mut reader = rig.client();
    let request = several("orders", &[(1, 1 << 20)], 1 << 20).with_max_wait_ms(600_000).with_min_bytes(1 << 20);
    reader.send(9, &request);
    until("the fetch is parked", || parked(&rig, "orders", 0) == 1);
    client.produced("orders", 0, compressed(&batch(&["b"]), 4));
    let answer = reader.receive::<FetchRequest>();
    assert_eq!(answer.responses[0].partitions[0].error_code, 76, "told at once when it comes");
}

#[test]
fn only_going_on_with_a_session_is_refused_p_39() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    for (id, epoch, code) in [(0, 0, 0), (0, -1, 0), (77, -1, 0), (77, 0, 0), (77, 1, 70), (77, 5, 70), (-3, 1, 70)] {
        for version in [7, 12] {
            let request = fetch_request("orders", 0, 0).with_session_id(id).with_session_epoch(epoch);
            let answer = client.ask(version, &request);
            assert_eq!((answer.error_code, answer.session_id), (code, 0), "session {id}, epoch {epoch}");
            assert_eq!(answer.responses.len(), usize::from(code == 0));
        }
    }
}

#[test]
fn an_error_anywhere_and_a_request_for_nothing_are_answered_at_once_p_32() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let request = several("orders", &[(0, 1 << 20), (0, 1 << 20)], 1 << 20).with_max_wait_ms(600_000);
    let answer = client.ask(12, &request);
    assert_eq!(answer.responses[0].partitions.iter().map(|p| p.error_code).collect::<Vec<_>>(), [0, 3]);
    let no_topics = request.clone().with_topics(Vec::new());
    assert_eq!(client.ask(12, &no_topics).responses, []);
    assert_eq!(client.ask(12, &several("orders", &[], 1).with_max_wait_ms(600_000)).responses[0].partitions, []);
    let no_minimum = fetch_request("orders", 0, 0).with_min_bytes(0).with_max_wait_ms(600_000);
    assert_eq!(client.ask(12, &no_minimum).responses[0].partitions[0].error_code, 0);
}

/// How long a fetch from the end of an empty topic takes.
fn waited(max_wait_ms: i32) -> Duration {
    simulated(&[], async |broker| {
        let mut client = broker.client().await;
        client.ask(12, &metadata_request(&["orders"]).with_allow_auto_topic_creation(true)).await;
        let begun = tokio::time::Instant::now();
        client.ask(12, &fetch_request("orders", 0, 0).with_max_wait_ms(max_wait_ms)).await;
        begun.elapsed()
    })
}

#[test]
fn with_nothing_to_give_a_fetch_waits_exactly_its_time_q_46() {
    assert_eq!(waited(0), Duration::ZERO);
    for max_wait_ms in [1, 500, 5_000, 29_000] {
        let waited = waited(max_wait_ms).as_millis() as i32;
        assert!((max_wait_ms..=max_wait_ms + 2).contains(&waited), "{waited} ms instead of {max_wait_ms}");
    }
}

#[test]
fn leader_epochs_are_checked_p_40() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    rig.client().create("orders", 1, &[]);
    rig.kill();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    let ours = client.ask(12, &metadata_request(&["orders"])).topics[0].partitions[0].leader_epoch;
    assert!(ours > 0, "grown by the unclean restart (R-53)");
    for (given, code) in [(-1, 0), (ours, 0), (ours - 1, 74), (0, 74), (ours + 1, 75), (i32::MAX, 75)] {
        let mut request = fetch_request("orders", 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = given;
        let answer = client.ask(12, &request).responses.remove(0).partitions.remove(0);
        assert_eq!(answer.error_code, code, "epoch {given}");
        if code != 0 {
            assert_eq!(answer.current_leader.leader_epoch, ours, "told what it is");
        }
        let mut request = list_offsets_request("orders", 0, -1);
        request.topics[0].partitions[0].current_leader_epoch = given;
        assert_eq!(client.ask(9, &request).topics[0].partitions[0].error_code, code, "ListOffsets, epoch {given}");
    }
}

#[test]
fn a_reader_of_another_history_is_told_where_it_diverged_p_41() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a", "b"]));
    drop(client);
    rig.kill();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    let ours = client.ask(12, &metadata_request(&["orders"])).topics[0].partitions[0].leader_epoch;
    assert_eq!(client.produced("orders", 0, batch(&["c", "d"])), 2);
    let mut fetch = |last_epoch: i32, offset: i64| {
        let mut request = fetch_request("orders", 0, offset).with_max_wait_ms(600_000);
        request.topics[0].partitions[0].last_fetched_epoch = last_epoch;
        client.ask(12, &request).responses.remove(0).partitions.remove(0)
    };
    for (last_epoch, offset) in [(0, 1), (0, 2), (ours, 3), (-1, 3)] {
        let answer = fetch(last_epoch, offset);
        assert_eq!((answer.error_code, answer.diverging_epoch.end_offset), (0, -1), "{last_epoch} at {offset}");
        assert!(answer.records.is_some_and(|r| !r.is_empty()));
    }
    // It read up to 4 under epoch 0, which ended at 2 here.
    let answer = fetch(0, 4);
    assert_eq!((answer.error_code, answer.records), (0, Some(Bytes::new())));
    assert_eq!((answer.diverging_epoch.epoch, answer.diverging_epoch.end_offset), (0, 2));
}

#[test]
fn requests_behind_a_parked_fetch_are_done_at_once_and_answered_in_order_p_5_g_9() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.create("sales", 1, &[]);
    client.send(12, &fetch_request("orders", 0, 0).with_max_wait_ms(600_000));
    client.send(9, &produce_request("sales", 0, -1, Some(batch(&["x"]))));
    client.send(8, &commit_request("readers", &[("sales", 0, 1, "")]));
    let mut other = rig.client();
    until("what is behind the fetch was done", || {
        other.end("sales", 0) == 1 && other.committed("readers", "sales", 0).committed_offset == 1
    });
    other.produced("orders", 0, batch(&["wake"]));
    assert_eq!(client.receive::<FetchRequest>().responses[0].partitions[0].high_watermark, 1);
    assert_eq!(one_of(client.receive::<ProduceRequest>()).base_offset, 0);
    assert_eq!(client.receive::<OffsetCommitRequest>().topics[0].partitions[0].error_code, 0);
}

#[test]
fn a_limit_that_is_too_small_for_all_partitions_starves_none_q_49() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 4, &[]);
    for partition in 0..4 {
        (0..4).for_each(|_| assert!(client.produced("orders", partition, batch_of_bytes(1000)) >= 0));
    }
    // This client never changes the order it asks in, and never gets more than one batch.
    let mut next = [0; 4];
    for _ in 0..8 {
        let wanted = next.map(|offset| (offset, 1 << 20));
        let got = batches(&client.ask(12, &several("orders", &wanted, 1)));
        assert_eq!(got.iter().sum::<usize>(), 1);
        next.iter_mut().zip(got).for_each(|(offset, batches)| *offset += batches as i64);
    }
    assert_eq!(next, [2; 4]);
}

#[test]
fn a_disk_that_stands_still_keeps_only_those_waiting_who_read_from_it() {
    let engine = SlowReads::on_disk(Arc::new(MemoryEngine::new()));
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut good = rig.client();
    good.create("orders", 1, &[]);
    let sent = batch_of_bytes(1000);
    (0..3).for_each(|_| assert!(good.produced("orders", 0, sent.clone()) >= 0));
    let mut readers: Vec<Client> = (0..40).map(|_| rig.client()).collect();
    for reader in &mut readers {
        (0..2).for_each(|n| reader.send(12, &fetch_request("orders", 0, n)));
    }
    until("the disk is asked", || rig.broker().budget.used_bytes() > 0);
    for offset in 3..23 {
        assert_eq!(good.produced("orders", 0, sent.clone()), offset);
        assert_eq!(good.commit("readers", "orders", 0, offset), 0);
    }
    assert_eq!(engine.read_bytes(), 0, "all this time");
    engine.let_go();
    for reader in &mut readers {
        for n in 0..2 {
            let records = reader.receive::<FetchRequest>().responses[0].partitions[0].records.clone();
            assert_eq!(records, Some(stored_at(&sent, n, 0)));
        }
    }
    until("nothing is charged any more", || rig.broker().budget.used_bytes() == 0);
}

#[test]
fn what_memory_no_longer_holds_is_read_from_the_disk_and_waited_for_like_the_rest_p_32() {
    let dir = tempfile::tempdir().unwrap();
    let sent = batch_of_bytes(1000);
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    (0..3).for_each(|_| assert!(client.produced("orders", 0, sent.clone()) >= 0));
    drop(client);
    rig.stop();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    assert_eq!(batches(&client.ask(12, &several("orders", &[(0, 1 << 20), (0, 1 << 20)], 1 << 20))), [3, 0]);
    client.send(12, &several("orders", &[(3, 1 << 20), (0, 1 << 20)], 1 << 20).with_max_wait_ms(600_000));
    until("the fetch is parked", || parked(&rig, "orders", 1) == 1);
    assert_eq!(rig.client().produced("orders", 1, sent.clone()), 0);
    assert_eq!(batches(&client.receive::<FetchRequest>()), [0, 1]);
}
