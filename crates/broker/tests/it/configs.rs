//! Configs of topics: shown, changed, refused, and taking effect (P-28b, R-83).

use std::collections::BTreeMap;
use std::sync::Arc;

use pagemark_storage::engine::SegmentLimit;
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::messages::*;
use pagemark_wire::records::BatchBuilder;
use pagemark_wire::types::TopicId;

use crate::support::Rig;
use crate::support::batches::{batch, batch_of_bytes, headers};
use crate::support::client::*;
use crate::support::configs::*;
use crate::support::engines::SlowReads;
use crate::support::raw::{Raw, Reaction, encoded};
use crate::support::releasing;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn a_topic_shows_every_config_with_its_source_and_type_p_28c_q_37() {
    let rig = Rig::with(&["log.retention.hours=1"]);
    let mut client = rig.client();
    client.create("orders", 1, &[("cleanup.policy", "compact"), ("min.insync.replicas", "2")]);
    let answer = client.describe(TOPIC, "orders", &[]);
    assert_eq!((answer.error_code, answer.configs.len()), (0, 33), "as many as Kafka 4.3 has");
    assert!(answer.configs.iter().all(|c| !c.read_only && !c.is_sensitive && c.value.is_some()));
    let shown = |name: &str| {
        let config = answer.configs.iter().find(|c| c.name.as_str() == name).expect("all are shown");
        (config.value.as_deref().unwrap(), config.config_source, config.config_type)
    };
    assert_eq!(shown("cleanup.policy"), ("compact", 1, 7));
    assert_eq!(shown("min.insync.replicas"), ("2", 1, 3));
    assert_eq!(shown("retention.ms"), ("3600000", 4, 5));
    assert_eq!(shown("max.message.bytes"), ("1048588", 5, 3));
    assert_eq!(shown("segment.bytes"), ("1073741824", 5, 3));
    assert_eq!(shown("compression.type"), ("producer", 5, 2));
    assert_eq!(shown("message.timestamp.type"), ("CreateTime", 5, 2));
    assert_eq!(shown("min.cleanable.dirty.ratio"), ("0.5", 5, 6));
    assert_eq!(shown("preallocate"), ("false", 5, 1));
    let policy = client.config(TOPIC, "orders", "cleanup.policy");
    let synonyms: Vec<_> = policy.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_deref(), s.source)).collect();
    assert_eq!(synonyms, [("cleanup.policy", Some("compact"), 1), ("log.cleanup.policy", Some("delete"), 5)]);
    assert_eq!(policy.documentation, None, "not asked for");
}

#[test]
fn only_what_was_asked_for_is_shown_p_28c() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let answer = client.describe(TOPIC, "orders", &["retention.ms", "no.such", "max.message.bytes", "retention.ms"]);
    let names: Vec<&str> = answer.configs.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["max.message.bytes", "retention.ms"]);
    let mut empty = describe_request(&[(TOPIC, "orders")], &[]);
    empty.resources[0].configuration_keys = Some(Vec::new());
    assert_eq!(client.ask(4, &empty).results[0].configs.len(), 33, "no keys are all keys, as in Kafka");
    let plain = describe_request(&[(TOPIC, "orders")], &["segment.bytes"]).with_include_synonyms(false);
    let config = client.ask(4, &plain.with_include_documentation(true)).results.remove(0).configs.remove(0);
    assert!(config.synonyms.is_empty() && config.documentation.is_some_and(|d| d.contains("segment")));
}

#[test]
fn resources_that_cannot_be_shown_have_an_error_of_their_own_p_28c() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let expected = [
        ((TOPIC, "nobody"), 3),
        ((TOPIC, "../x"), 17),
        ((TOPIC, ""), 17),
        ((BROKER, "x"), 42),
        ((BROKER, "7"), 42),
        ((BROKER, "-1"), 42),
        ((0, "orders"), 42),
        ((1, "orders"), 42),
        ((8, "0"), 42),
        ((77, "orders"), 42),
        ((-3, "orders"), 42),
        ((16, ""), 42),
        ((16, "metrics"), 0),
        ((32, ""), 42),
        ((32, "readers"), 0),
        ((TOPIC, "orders"), 0),
        ((TOPIC, "orders"), 42),
        ((BROKER, "0"), 0),
        ((BROKER, "00"), 42),
        ((BROKER, ""), 0),
        ((BROKER, ""), 42),
    ];
    let answer = client.ask(4, &describe_request(&expected.map(|(resource, _)| resource), &["retention.ms"]));
    let found: Vec<_> = answer.results.iter().map(|r| ((r.resource_type, &*r.resource_name), r.error_code)).collect();
    assert_eq!(found, expected);
    for result in &answer.results {
        assert_eq!(result.error_code != 0, result.error_message.as_ref().is_some_and(|m| !m.is_empty()), "Q-83");
    }
}

#[test]
fn single_configs_are_set_taken_away_and_lists_added_to() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[("segment.ms", "9000")]);
    let changes = [("retention.ms", SET, Some(" +5000 ")), ("segment.ms", DELETE, None), ("flush.ms", DELETE, None)];
    assert_eq!(client.alter_one(TOPIC, "orders", &changes), 0);
    assert_eq!(client.own_configs("orders"), map(&[("retention.ms", "5000")]), "kept as it is read");
    let policies = [
        (APPEND, "compact", "delete,compact"),
        (APPEND, "compact", "delete,compact"),
        (SUBTRACT, "delete", "compact"),
        (SUBTRACT, "delete, compact", ""),
        (APPEND, "delete,compact", "delete,compact"),
    ];
    for (operation, value, expected) in policies {
        assert_eq!(client.alter_one(TOPIC, "orders", &[("cleanup.policy", operation, Some(value))]), 0);
        let shown = client.value(TOPIC, "orders", "cleanup.policy");
        assert_eq!(shown, (Some(expected.to_owned()), 1), "{operation} {value}");
    }
    let replicas = [("leader.replication.throttled.replicas", APPEND, Some("0:0, 1:0"))];
    assert_eq!(client.alter_one(TOPIC, "orders", &replicas), 0);
    assert_eq!(client.own_configs("orders")["leader.replication.throttled.replicas"], "0:0,1:0");
}

#[test]
fn every_resource_changes_whole_or_not_at_all_and_stands_for_itself_p_28d() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.create("sales", 1, &[]);
    let good = ("retention.ms", SET, Some("1"));
    let cases: &[(&[Step], i16)] = &[
        (&[good, ("retention.msec", SET, Some("1"))], 40),
        (&[good, ("segment.ms", SET, Some("soon"))], 40),
        (&[good, ("segment.bytes", SET, Some("1000"))], 40),
        (&[good, ("compression.type", SET, Some("none"))], 40),
        (&[good, ("remote.storage.enable", SET, Some("true"))], 40),
        (&[good, ("flush.ms", APPEND, Some("1"))], 40),
        (&[good, ("no.such", SUBTRACT, Some("1"))], 40),
        (&[good, ("cleanup.policy", APPEND, Some("forget"))], 40),
        (&[good, ("min.compaction.lag.ms", SET, Some("9")), ("max.compaction.lag.ms", SET, Some("5"))], 40),
        (&[good, ("segment.ms", SET, None)], 42),
        (&[good, ("cleanup.policy", APPEND, None)], 42),
        (&[good, ("segment.ms", 9, Some("1"))], 42),
        (&[good, ("segment.ms", -1, Some("1"))], 42),
        (&[good, ("retention.ms", SET, Some("2"))], 42),
        (&[good, ("retention.ms", DELETE, None)], 42),
    ];
    for (changes, code) in cases {
        let sales = steps(TOPIC, "sales", &[("flush.ms", SET, Some("5"))]);
        let results = client.alter(vec![steps(TOPIC, "orders", changes), sales]);
        assert_eq!((results[0].0, results[1].0), (*code, 0), "{changes:?}: {}", results[0].1);
        assert_eq!(client.own_configs("orders"), map(&[]), "{changes:?}");
    }
    assert_eq!(client.own_configs("sales"), map(&[("flush.ms", "5")]));
    assert_eq!(client.alter_one(TOPIC, "orders", &[("no.such", DELETE, None)]), 0, "nothing to take away");
    assert_eq!(client.alter_one(TOPIC, "orders", &[]), 0);
}

#[test]
fn resources_that_cannot_be_changed_are_refused_one_by_one_p_28d() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.create("sales", 1, &[]);
    let resources = [
        (TOPIC, "nobody", 3),
        (TOPIC, "", 42),
        (TOPIC, "../x", 17),
        (TOPIC, "sales", 42),
        (TOPIC, "sales", 42),
        (BROKER, "7", 42),
        (BROKER, "x", 42),
        (0, "orders", 42),
        (1, "orders", 42),
        (8, "0", 42),
        (16, "metrics", 42),
        (32, "readers", 42),
        (77, "orders", 42),
        (TOPIC, "orders", 0),
    ];
    let change = [("retention.ms", SET, Some("5"))];
    let results = client.alter(resources.iter().map(|(kind, name, _)| steps(*kind, name, &change)).collect());
    let codes: Vec<i16> = results.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, resources.map(|(_, _, code)| code));
    assert_eq!(client.own_configs("sales"), map(&[]), "named twice: neither is taken");
    assert_eq!(client.own_configs("orders"), map(&[("retention.ms", "5")]));
    for (kind, name, code) in resources.into_iter().filter(|(_, name, _)| *name != "sales") {
        let answer = client.ask(2, &whole_request(kind, name, &[])).responses.remove(0);
        assert_eq!((answer.error_code, answer.error_message.is_some()), (code, code != 0), "{kind} {name}");
    }
}

#[test]
fn the_whole_set_takes_away_what_it_does_not_name() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[("segment.ms", "9000"), ("retention.ms", "5")]);
    let mut alter = |configs: &[(&str, Option<&str>)]| {
        let answer = client.ask(2, &whole_request(TOPIC, "orders", configs)).responses.remove(0);
        (answer.error_code, client.own_configs("orders"))
    };
    let before = map(&[("retention.ms", "5"), ("segment.ms", "9000")]);
    assert_eq!(alter(&[("flush.ms", None)]), (42, before.clone()));
    assert_eq!(alter(&[("flush.ms", Some("1")), ("flush.ms", Some("2"))]), (42, before.clone()));
    assert_eq!(alter(&[("flush.ms", Some("1")), ("segment.ms", Some("0"))]), (40, before.clone()));
    assert_eq!(alter(&[("no.such", Some("1"))]), (40, before));
    assert_eq!(alter(&[("flush.ms", Some("1"))]), (0, map(&[("flush.ms", "1")])));
    assert_eq!(alter(&[]), (0, map(&[])));
}

#[test]
fn validate_only_reports_and_changes_nothing() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let mut judge = |value: &str| {
        let change = steps(TOPIC, "orders", &[("retention.ms", SET, Some(value))]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![change]).with_validate_only(true);
        client.altered(&request).remove(0).0
    };
    assert_eq!((judge("777"), judge("-5")), (0, 40));
    let whole = whole_request(TOPIC, "orders", &[("retention.ms", Some("777"))]).with_validate_only(true);
    assert_eq!(client.ask(2, &whole).responses[0].error_code, 0);
    let broker = steps(BROKER, "0", &[("message.max.bytes", SET, Some("777"))]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![broker]).with_validate_only(true);
    assert_eq!(client.altered(&request).remove(0).0, 0);
    assert_eq!(client.own_configs("orders"), map(&[]));
    assert_eq!(client.value(BROKER, "0", "message.max.bytes").1, 5);
}

#[test]
fn a_lowered_max_message_bytes_counts_at_once_and_after_a_restart_r_12() {
    for clean in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        client.create("orders", 1, &[]);
        client.produced("orders", 0, batch_of_bytes(5_000));
        assert_eq!(client.alter_one(TOPIC, "orders", &[("max.message.bytes", SET, Some("2000"))]), 0);
        assert_eq!(client.produce("orders", 0, batch_of_bytes(5_000)).error_code, 10);
        assert_eq!(client.produced("orders", 0, batch_of_bytes(1_000)), 1);
        drop(client);
        if clean {
            rig.stop()
        } else {
            rig.kill()
        }
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        assert_eq!(client.own_configs("orders"), map(&[("max.message.bytes", "2000")]));
        assert_eq!(client.produce("orders", 0, batch_of_bytes(5_000)).error_code, 10);
        assert_eq!(client.alter_one(TOPIC, "orders", &[("max.message.bytes", DELETE, None)]), 0);
        assert_eq!(client.produced("orders", 0, batch_of_bytes(5_000)), 2);
    }
}

#[test]
fn timestamps_and_keys_are_judged_by_the_configs_of_the_moment_r_18_r_19_r_20_r_21() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a"]));
    assert_eq!(client.alter_one(TOPIC, "orders", &[("message.timestamp.before.max.ms", SET, Some("1000"))]), 0);
    assert_eq!(client.produce("orders", 0, batch(&["old"])).error_code, 32);
    assert_eq!(client.alter_one(TOPIC, "orders", &[("message.timestamp.type", SET, Some("LogAppendTime"))]), 0);
    let stamped = client.produce("orders", 0, batch(&["b"]));
    assert_eq!(stamped.error_code, 0);
    let types: Vec<bool> = headers(&client.read("orders", 0, 0))
        .iter()
        .map(|h| h.max_timestamp_ms == stamped.log_append_time_ms)
        .collect();
    assert_eq!(types, [false, true], "what was there before keeps its time");
    let mut without_key = BatchBuilder::new(0);
    without_key.push(None, Some(b"value"));
    let without_key = without_key.finish();
    client.produced("orders", 0, without_key.clone());
    assert_eq!(client.alter_one(TOPIC, "orders", &[("cleanup.policy", APPEND, Some("compact"))]), 0);
    assert_eq!(client.produce("orders", 0, without_key.clone()).error_code, 87);
    assert_eq!(client.alter_one(TOPIC, "orders", &[("cleanup.policy", SUBTRACT, Some("compact"))]), 0);
    client.produced("orders", 0, without_key);
}

#[test]
fn an_altered_topic_keeps_its_id_its_records_and_its_waiting_fetches() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create("orders", 2, &[]);
    client.produced("orders", 1, batch(&["a"]));
    let mut waiting = rig.client();
    waiting.send(12, &fetch_request("orders", 1, 1).with_max_wait_ms(600_000));
    let partition = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[1].clone();
    crate::support::until("the fetch is parked", || partition.waiting_fetches() == 1);
    assert_eq!(client.alter_one(TOPIC, "orders", &[("retention.ms", SET, Some("5"))]), 0);
    assert_eq!(client.ask(12, &metadata_request(&["orders"])).topics[0].topic_id, id);
    assert_eq!(client.produced("orders", 1, batch(&["b"])), 1);
    assert!(
        waiting.receive::<FetchRequest>().responses[0].partitions[0].records.as_ref().is_some_and(|r| !r.is_empty())
    );
}

#[test]
fn the_memory_of_all_groups_stays_compacted_p_28f() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let mut code = |change: &[Step]| client.alter_one(TOPIC, "__consumer_offsets", change);
    assert_eq!(code(&[("cleanup.policy", SET, Some("delete"))]), 40);
    assert_eq!(code(&[("cleanup.policy", APPEND, Some("delete"))]), 40);
    assert_eq!(code(&[("cleanup.policy", DELETE, None)]), 40);
    assert_eq!(code(&[("segment.bytes", SET, Some("1048576"))]), 0);
    assert_eq!(client.ask(2, &whole_request(TOPIC, "__consumer_offsets", &[])).responses[0].error_code, 40);
    assert_eq!(client.value(TOPIC, "__consumer_offsets", "cleanup.policy"), (Some("compact".to_owned()), 1));
}

#[test]
fn a_change_is_neither_answered_nor_in_effect_before_it_is_durable_p_28d() {
    let (rig, engine) = Rig::released_by_hand(&[]);
    releasing(&engine, || rig.client().create("orders", 1, &[]));
    let mut waiting = rig.client();
    let change = steps(TOPIC, "orders", &[("max.message.bytes", SET, Some("100"))]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![change]);
    waiting.send(1, &request);
    let key = "topic/orders";
    let stored = || pagemark_storage::engine::MetaStore::get(&*engine, key).unwrap();
    crate::support::until("the change is written", || String::from_utf8_lossy(&stored().value).contains("max.message"));
    assert_eq!(rig.client().own_configs("orders"), map(&[]));
    engine.release();
    assert_eq!(waiting.receive::<IncrementalAlterConfigsRequest>().responses[0].error_code, 0);
    assert_eq!(rig.client().own_configs("orders"), map(&[("max.message.bytes", "100")]));
}

#[test]
fn after_the_disk_has_failed_nothing_changes() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    engine.fail("the disk is gone");
    assert_eq!(client.alter_one(TOPIC, "orders", &[("retention.ms", SET, Some("5"))]), 56);
    assert_eq!(client.alter_one(BROKER, "0", &[("max.connections", SET, Some("5"))]), 56);
    assert_eq!(client.own_configs("orders"), map(&[]), "what was can still be seen");
}

/// A request is answered with little more than it brings, however often it names the same.
#[test]
fn a_flood_of_names_costs_no_more_than_its_bytes() {
    let rig = Rig::memory();
    rig.client().create("orders", 1, &[]);
    let mut raw = Raw::connect(rig.address);
    let a_million: Vec<&str> = std::iter::repeat_n("retention.ms", 1_000_000).collect();
    raw.send(&encoded(4, &describe_request(&[(TOPIC, "orders")], &a_million)));
    assert_eq!(raw.reaction(), Reaction::Closed, "more elements than a request may have (P-9)");
    let mut client = rig.client();
    let again_and_again = vec![(TOPIC, "orders"); 40_000];
    let answer = client.ask(1, &describe_request(&again_and_again, &[]));
    assert_eq!(answer.results.iter().map(|r| r.configs.len()).sum::<usize>(), 33);
    assert!(answer.results[1..].iter().all(|r| r.error_code == 42));
    let same = vec![steps(TOPIC, "orders", &[("retention.ms", SET, Some("5"))]); 40_000];
    assert!(client.alter(same).iter().all(|(code, _)| *code == 42));
    let long = "x".repeat(30_000);
    let (code, message) = client.alter(vec![steps(TOPIC, "orders", &[(&long, SET, Some(&long))])]).remove(0);
    assert!(code == 40 && message.len() < 1_000, "{code} {}", message.len());
    let entry = |i: usize| format!("{i}:0");
    let entries: Vec<String> = (0..4_000).map(entry).collect();
    let name = "leader.replication.throttled.replicas";
    assert_eq!(client.alter_one(TOPIC, "orders", &[(name, SET, Some(&entries.join(",")))]), 0);
    let more: Vec<String> = (4_000..8_000).map(entry).collect();
    assert_eq!(
        client.alter_one(TOPIC, "orders", &[(name, APPEND, Some(&more.join(",")))]),
        40,
        "a list does not grow for ever"
    );
}

#[test]
fn configs_are_shown_and_changed_in_every_version() {
    let rig = Rig::memory();
    rig.client().create("orders", 1, &[]);
    for version in 1..=4 {
        let mut raw = Raw::connect(rig.address);
        raw.request(version, &describe_request(&[(TOPIC, "orders")], &["retention.ms"]));
        let config = raw.answer::<DescribeConfigsRequest>(version).results.remove(0).configs.remove(0);
        assert_eq!((config.value.as_deref(), config.config_source), (Some("604800000"), 5));
        assert_eq!(config.config_type, if version >= 3 { 5 } else { 0 });
    }
    for version in 0..=1 {
        let mut raw = Raw::connect(rig.address);
        let change = steps(TOPIC, "orders", &[("flush.ms", SET, Some("5"))]);
        raw.request(version, &IncrementalAlterConfigsRequest::default().with_resources(vec![change]));
        assert_eq!(raw.answer::<IncrementalAlterConfigsRequest>(version).responses[0].error_code, 0);
    }
    for version in 0..=2 {
        let mut raw = Raw::connect(rig.address);
        raw.request(version, &whole_request(TOPIC, "orders", &[("flush.ms", Some("6"))]));
        let answer = raw.answer::<AlterConfigsRequest>(version).responses.remove(0);
        assert_eq!((answer.error_code, answer.resource_type, &*answer.resource_name), (0, TOPIC, "orders"));
    }
    assert_eq!(rig.client().own_configs("orders"), map(&[("flush.ms", "6")]));
}

#[test]
fn the_engine_knows_at_once_where_a_topic_ends_its_segments_r_84() {
    let engine = SlowReads::over(Arc::new(MemoryEngine::new()));
    engine.let_go();
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    let id = TopicId(client.create("orders", 1, &[("segment.bytes", "1048576")]));
    let limit = |bytes, ms| Some(SegmentLimit { bytes, ms });
    assert_eq!(engine.segment_limit(id), limit(1 << 20, 604_800_000));
    let change = [("segment.bytes", SET, Some("2097152")), ("segment.ms", SET, Some("60000"))];
    assert_eq!(client.alter_one(TOPIC, "orders", &change), 0);
    assert_eq!(engine.segment_limit(id), limit(2 << 20, 60_000));
    assert_eq!(client.alter_one(BROKER, "", &[("log.segment.bytes", SET, Some("3145728"))]), 0);
    assert_eq!(client.alter_one(TOPIC, "orders", &[("segment.bytes", DELETE, None)]), 0);
    assert_eq!(engine.segment_limit(id), limit(3 << 20, 60_000));
}
