//! Metadata: what is listed, what is created by asking, and how topics are named (P-22 to P-26).

use pagemark_wire::messages::metadata_request::MetadataRequestTopic;
use pagemark_wire::messages::*;
use uuid::Uuid;

use crate::support::Rig;
use crate::support::client::*;

fn names(answer: &MetadataResponse) -> Vec<&str> {
    answer.topics.iter().map(|t| t.name.as_ref().map_or("", |n| n.as_str())).collect()
}

/// A request that allows creation.
fn creating(names: &[&str]) -> MetadataRequest {
    metadata_request(names).with_allow_auto_topic_creation(true)
}

#[test]
fn no_list_and_an_empty_list_mean_what_the_version_says_p_22() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let everything = ["__consumer_offsets", "orders"];
    let of = |topics: Option<Vec<MetadataRequestTopic>>| MetadataRequest::default().with_topics(topics);
    assert_eq!(names(&client.ask(0, &of(Some(Vec::new())))), everything, "empty is all in version 0");
    for version in 1..=13 {
        assert!(names(&client.ask(version, &of(Some(Vec::new())))).is_empty(), "empty is none in version {version}");
        assert_eq!(names(&client.ask(version, &of(None))), everything, "null is all in version {version}");
    }
}

#[test]
fn the_offsets_topic_is_there_from_the_start_and_flagged_internal_p_27() {
    let rig = Rig::memory();
    let answer = rig.client().ask(12, &metadata_request(&["__consumer_offsets"]));
    assert!(answer.topics[0].is_internal);
    assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (0, 4));
    rig.client().create("orders", 1, &[]);
    assert!(!rig.client().ask(12, &metadata_request(&["orders"])).topics[0].is_internal);
}

#[test]
fn an_unknown_topic_is_created_when_both_sides_allow_it_and_answered_as_it_then_is_p_24() {
    let rig = Rig::with(&["num.partitions=3"]);
    let mut client = rig.client();
    assert_eq!(client.ask(12, &metadata_request(&["a"])).topics[0].error_code, 3, "the client does not allow it");
    assert_eq!(client.ask(4, &metadata_request(&["a"])).topics[0].error_code, 3, "the client does not allow it");
    let made = client.ask(12, &creating(&["a", "b", "a"]));
    assert_eq!(names(&made), ["a", "b"], "each once, as Kafka does");
    for topic in &made.topics {
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 3));
        assert!(topic.partitions.iter().all(|p| p.leader_id == BrokerId(0) && p.error_code == 0));
    }
    assert_ne!(made.topics[0].topic_id, made.topics[1].topic_id);
    // Versions below 4 cannot say no.
    assert_eq!(client.ask(1, &creating(&["c"])).topics[0].error_code, 0);
    // It can be written to at once.
    assert_eq!(client.produced("b", 2, crate::support::batches::batch(&["x"])), 0);
}

#[test]
fn nothing_is_created_where_the_broker_does_not_allow_it_p_24() {
    let rig = Rig::with(&["auto.create.topics.enable=false"]);
    let answer = rig.client().ask(12, &creating(&["a"]));
    assert_eq!((answer.topics[0].error_code, answer.topics[0].topic_id), (3, Uuid::nil()));
    assert_eq!(rig.broker().registry.view().iter().len(), 1, "the offsets topic alone");
}

#[test]
fn two_clients_that_ask_at_once_get_the_same_topic() {
    let rig = Rig::memory();
    let mut clients: Vec<Client> = (0..8).map(|_| rig.client()).collect();
    clients.iter_mut().for_each(|c| c.send(12, &creating(&["shared"])));
    let mut ids: Vec<(i16, Uuid)> = clients
        .iter_mut()
        .map(|c| c.receive::<MetadataRequest>())
        .map(|answer| (answer.topics[0].error_code, answer.topics[0].topic_id))
        .collect();
    ids.dedup();
    assert_eq!((ids.len(), ids[0].0), (1, 0));
}

#[test]
fn illegal_and_colliding_names_get_17_one_by_one_p_25() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("a.b", 1, &[]);
    let long = "x".repeat(250);
    let illegal = ["", ".", "..", "../x", "a b", "ä", "a/b", "a\n", &long, "a_b"];
    let answer = client.ask(12, &creating(&illegal));
    assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [17; 10], "a_b collides with a.b");
    let mixed = client.ask(12, &creating(&["good", "../x"]));
    assert_eq!(mixed.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [0, 17]);
    assert_eq!(client.ask(12, &metadata_request(&["../x"])).topics[0].error_code, 17, "without creation too");
    let legal = "x".repeat(249);
    assert_eq!(client.ask(12, &creating(&[&legal])).topics[0].error_code, 0);
}

#[test]
fn topics_are_found_by_id_from_version_10_on_p_23() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create("orders", 2, &[]);
    let by_id = |id: Uuid| {
        let topic = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    for version in 10..=13 {
        let found = client.ask(version, &by_id(id));
        assert_eq!((names(&found), found.topics[0].topic_id), (vec!["orders"], id));
        assert_eq!((found.topics[0].error_code, found.topics[0].partitions.len()), (0, 2));
        let stranger = Uuid::from_u128(7);
        let unknown = client.ask(version, &by_id(stranger));
        assert_eq!((unknown.topics[0].error_code, unknown.topics[0].topic_id), (100, stranger));
        let name = unknown.topics[0].name.as_ref().map(|n| n.as_str());
        assert_eq!(name, if version >= 12 { None } else { Some("") }, "nobody knows its name");
        assert_eq!(unknown.error_code, 0, "P-23: nothing on top");
    }
    assert_eq!(rig.broker().registry.view().iter().len(), 2, "asking by id creates nothing");
}

#[test]
fn the_cluster_id_and_what_is_advertised_stay_the_same_p_26() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let first = rig.client().ask(13, &metadata_request(&[])).cluster_id.expect("given");
    assert_eq!(first.len(), 22, "22 characters of base64");
    rig.stop();
    let engine = crate::support::local_engine(dir.path());
    let rig = Rig::on(engine, &["advertised.listeners=PLAINTEXT://broker.example:19092", "node.id=7"]);
    let answer = rig.client().ask(13, &metadata_request(&[]));
    assert_eq!(answer.cluster_id.as_ref(), Some(&first), "P-26a");
    let broker = &answer.brokers[0];
    assert_eq!((broker.node_id, broker.host.as_str(), broker.port), (BrokerId(7), "broker.example", 19092));
    assert_eq!(answer.controller_id, BrokerId(7));
    let found = rig.client().ask(2, &FindCoordinatorRequest::default().with_key(text("g")));
    assert_eq!((found.node_id, found.host.as_str(), found.port), (BrokerId(7), "broker.example", 19092), "Q-7");
}
