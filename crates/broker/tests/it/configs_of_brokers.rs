//! Settings that change while the broker runs, for it alone or for all brokers.

use crate::support::Rig;
use crate::support::batches::batch_of_bytes;
use crate::support::client::*;
use crate::support::configs::*;
use crate::support::raw::{Raw, Reaction};

#[test]
fn a_broker_shows_its_settings() {
    let rig = Rig::with(&["num.partitions=3"]);
    let mut client = rig.client();
    assert_eq!(client.value(BROKER, "0", "num.partitions"), (Some("3".to_owned()), 4));
    let fixed = client.config(BROKER, "0", "node.id");
    assert!(fixed.read_only && fixed.config_source == 5);
    let changing = client.config(BROKER, "0", "message.max.bytes");
    assert_eq!((changing.read_only, changing.config_type, changing.value.as_deref()), (false, 3, Some("1048588")));
    assert_eq!(client.value(BROKER, "0", "log.retention.ms"), (None, 5), "not set");
    let all = client.describe(BROKER, "0", &[]).configs;
    assert_eq!(all.len(), pagemark_broker::settings::KEYS.len());
    assert_eq!(client.describe(BROKER, "", &[]).configs.len(), 0, "nothing was changed for all brokers");
}

#[test]
fn what_all_brokers_are_told_yields_to_what_this_one_is_told_and_topics_inherit_both() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.create("own", 1, &[("max.message.bytes", "9000")]);
    let set = |value: &'static str| [("message.max.bytes", SET, Some(value))];
    assert_eq!(client.alter_one(BROKER, "", &set("4000")), 0);
    assert_eq!(client.value(TOPIC, "orders", "max.message.bytes"), (Some("4000".to_owned()), 3));
    assert_eq!(client.produce("orders", 0, batch_of_bytes(5_000)).error_code, 10);
    assert_eq!(client.alter_one(BROKER, "0", &set("6000")), 0);
    assert_eq!(client.value(TOPIC, "orders", "max.message.bytes"), (Some("6000".to_owned()), 2));
    client.produced("orders", 0, batch_of_bytes(5_000));
    assert_eq!(client.produce("orders", 0, batch_of_bytes(7_000)).error_code, 10);
    client.produced("own", 0, batch_of_bytes(7_000));
    let synonyms = client.config(BROKER, "0", "message.max.bytes").synonyms;
    let plain: Vec<_> = synonyms.iter().map(|s| (s.value.as_deref().unwrap(), s.source)).collect();
    assert_eq!(plain, [("6000", 2), ("4000", 3), ("1048588", 5)]);
    let shown: Vec<_> = client.describe(BROKER, "", &[]).configs;
    assert_eq!((shown.len(), shown[0].value.as_deref(), shown[0].config_source), (1, Some("4000"), 3));
    for layer in ["0", ""] {
        assert_eq!(client.alter_one(BROKER, layer, &[("message.max.bytes", DELETE, None)]), 0);
    }
    client.produced("orders", 0, batch_of_bytes(7_000));
    assert_eq!(client.value(TOPIC, "orders", "max.message.bytes").1, 5);
}

#[test]
fn changed_settings_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    assert_eq!(client.alter_one(BROKER, "", &[("log.retention.ms", SET, Some("60000"))]), 0);
    assert_eq!(client.alter_one(BROKER, "0", &[("message.max.bytes", SET, Some("4000"))]), 0);
    drop(client);
    rig.kill();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    assert_eq!(client.produce("orders", 0, batch_of_bytes(5_000)).error_code, 10);
    assert_eq!(client.value(TOPIC, "orders", "retention.ms"), (Some("60000".to_owned()), 3));
    let config = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().config;
    assert_eq!(config.retention_ms(), Some(60_000));
}

#[test]
fn what_cannot_change_while_it_runs_is_refused_with_what_to_do_p_28e() {
    let rig = Rig::memory();
    let mut client = rig.client();
    for layer in ["0", ""] {
        for (name, value, why) in [
            ("node.id", "2", "--set"),
            ("listeners", "PLAINTEXT://127.0.0.1:1", "--set"),
            ("log.dir", "/x", "--set"),
            ("log.cleaner.threads", "2", "leave it out"),
            ("no.such.setting", "2", "Unknown"),
            ("message.max.bytes", "-2", "whole number"),
            ("max.connections", " 0 ", "undo"),
            ("max.connections", "+0", "undo"),
            ("max.connections", "-00", "undo"),
            ("log.message.timestamp.type", "Yesterday", "LogAppendTime"),
        ] {
            let good = ("producer.id.expiration.ms", SET, Some("50"));
            let (code, message) = client.alter(vec![steps(BROKER, layer, &[good, (name, SET, Some(value))])]).remove(0);
            assert!(code == 42 && message.contains(why), "{name}: {code} {message}");
            let whole = client.ask(2, &whole_request(BROKER, layer, &[(name, Some(value))])).responses.remove(0);
            assert_eq!(whole.error_code, 42, "{name}");
        }
    }
    assert_eq!(
        client.value(BROKER, "0", "producer.id.expiration.ms").1,
        5,
        "the good ones of the same request neither"
    );
    assert_eq!(client.alter_one(BROKER, "0", &[("node.id", APPEND, Some("2"))]), 40);
    let policy = [("log.cleanup.policy", APPEND, Some("compact"))];
    assert_eq!(client.alter_one(BROKER, "0", &policy), 0);
    assert_eq!(client.value(BROKER, "0", "log.cleanup.policy"), (Some("delete,compact".to_owned()), 2));
    assert_eq!(client.ask(2, &whole_request(BROKER, "0", &[])).responses[0].error_code, 0);
    assert_eq!(client.value(BROKER, "0", "log.cleanup.policy"), (Some("delete".to_owned()), 5));
}

#[test]
fn a_lowered_limit_of_connections_counts_for_the_next_one_p_28e() {
    let rig = Rig::memory();
    let mut client = rig.client();
    assert_eq!(client.alter_one(BROKER, "0", &[("max.connections", SET, Some("1"))]), 0);
    let mut refused = Raw::connect(rig.address);
    assert_eq!(refused.reaction(), Reaction::Closed);
    assert_eq!(client.alter_one(BROKER, "0", &[("max.connections", DELETE, None)]), 0);
    assert_eq!(rig.client().ask(12, &metadata_request(&[])).brokers.len(), 1);
}
