//! Every API in every version that is served gets an answer that decodes to its last byte and makes sense.

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::messages::api_versions_response::ApiVersion;
use pagemark_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use pagemark_wire::messages::delete_topics_request::DeleteTopicState;
use pagemark_wire::messages::*;
use uuid::Uuid;

use crate::support::Rig;
use crate::support::batches::batch;
use crate::support::client::*;
use crate::support::raw::{Raw, Reaction, encoded, framed};

pub const ORDERS: &str = "orders";

/// Asks on a raw socket, so that nothing behind the answer goes unnoticed.
pub fn ask<Q: Request>(rig: &Rig, version: i16, request: &Q) -> Q::Answer {
    let mut raw = Raw::connect(rig.address);
    raw.request(version, request);
    raw.answer::<Q>(version)
}

pub fn each_version(api: Api, mut check: impl FnMut(i16)) {
    let info = api.info();
    (info.lowest..=info.highest).for_each(&mut check);
}

/// A broker with a topic of two partitions that has one record in partition 0, and the topic's id.
pub fn rig() -> (Rig, Uuid) {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create(ORDERS, 2, &[]);
    client.produced(ORDERS, 0, batch(&["first"]));
    (rig, id)
}

#[test]
fn api_versions_shows_the_table_p_14_p_16_q_1() {
    let rig = Rig::memory();
    each_version(Api::ApiVersions, |version| {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("librdkafka"))
            .with_client_software_version(text("2.3.0-rc.1"));
        let answer = ask(&rig, version, &request);
        assert_eq!(answer.error_code, 0);
        let expected: Vec<ApiVersion> = Api::ALL
            .iter()
            .map(|i| {
                ApiVersion::default()
                    .with_api_key(i.key)
                    .with_min_version(i.advertised_lowest)
                    .with_max_version(i.highest)
            })
            .collect();
        assert_eq!(answer.api_keys, expected);
        assert!(answer.supported_features.iter().all(|f| f.min_version > 0), "P-17");
        let transactions = answer.supported_features.iter().any(|f| f.name.as_str() == "transaction.version");
        assert!(!transactions && answer.finalized_features.is_empty(), "P-19");
    });
}

#[test]
fn a_version_above_ours_of_api_versions_gets_sixteen_bytes_p_11() {
    let rig = Rig::memory();
    for version in [5, 99, i16::MAX, -1, i16::MIN] {
        let mut head = 18i16.to_be_bytes().to_vec();
        head.extend_from_slice(&version.to_be_bytes());
        head.extend_from_slice(&7i32.to_be_bytes());
        let mut raw = Raw::connect(rig.address);
        // With a whole header, without one, and with nothing at all behind the first eight bytes (rows 8, 9, 10).
        for rest in [&[0, 1, b'x', 0, 1, 1, 0][..], &[0, 1, b'x'], &[]] {
            raw.send(&framed(&[&head[..], rest].concat()));
            let expected: &[u8] = &[0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
            assert_eq!(raw.reaction(), Reaction::Answered(Bytes::from_static(expected)), "version {version}");
        }
    }
}

#[test]
fn versions_below_and_above_what_is_served_close_the_connection_p_7() {
    let rig = Rig::memory();
    for info in Api::ALL.iter().filter(|i| i.api != Api::ApiVersions) {
        for version in (-1..info.lowest).chain([info.highest + 1, 99]) {
            let mut raw = Raw::connect(rig.address);
            let head = [info.key.to_be_bytes(), version.to_be_bytes()].concat();
            raw.send(&framed(&[&head[..], &[0; 64]].concat()));
            assert_eq!(raw.reaction(), Reaction::Closed, "{} {version}", info.name);
        }
    }
}

#[test]
fn responses_have_tags_in_their_headers_exactly_where_the_version_is_flexible_p_3_p_4() {
    let rig = Rig::memory();
    for (version, body_at) in [(3, 4), (8, 4), (9, 5), (13, 5)] {
        let mut raw = Raw::connect(rig.address);
        raw.request(version, &MetadataRequest::default().with_topics(Some(Vec::new())));
        let Reaction::Answered(frame) = raw.reaction() else { panic!("closed") };
        let body = MetadataResponse::default();
        assert!(frame.len() > body.cluster_id.map_or(0, |id| id.len()) + body_at);
        assert_eq!(frame[body_at..body_at + 4], [0; 4], "the throttle time comes first in version {version}");
        let brokers = if version >= 9 { vec![2] } else { vec![0, 0, 0, 1] };
        assert_eq!(frame[body_at + 4..body_at + 4 + brokers.len()], brokers[..], "one broker in version {version}");
    }
}

#[test]
fn produce_answers_in_every_version() {
    let (rig, id) = rig();
    let mut offset = 1;
    each_version(Api::Produce, |version| {
        let mut request = produce_request(ORDERS, 0, -1, Some(batch(&["a", "b"])));
        if version >= 13 {
            request.topic_data[0].name = topic_name("");
            request.topic_data[0].topic_id = id;
        }
        let answer = ask(&rig, version, &request);
        let topic = &answer.responses[0];
        assert_eq!((topic.name.as_str(), topic.topic_id), if version >= 13 { ("", id) } else { (ORDERS, Uuid::nil()) });
        let partition = &topic.partition_responses[0];
        assert_eq!((partition.index, partition.error_code, partition.base_offset), (0, 0, offset), "{version}");
        assert_eq!(partition.log_append_time_ms, -1, "Q-42");
        assert_eq!(partition.log_start_offset, if version >= 5 { 0 } else { -1 });
        assert_eq!(answer.throttle_time_ms, 0);
        offset += 2;
        // Errors have a text where there is a field for it.
        let refused = one_of(ask(&rig, version, &produce_request("nobody", 0, 1, Some(batch(&["a"])))));
        assert_eq!((refused.error_code, refused.base_offset), (if version >= 13 { 100 } else { 3 }, -1), "P-30");
        assert_eq!(refused.error_message.is_some(), version >= 8);
    });
}

#[test]
fn fetch_answers_in_every_version() {
    let (rig, id) = rig();
    each_version(Api::Fetch, |version| {
        let by_id = |mut request: FetchRequest, id: Uuid| {
            if version >= 13 {
                request.topics[0].topic = topic_name("");
                request.topics[0].topic_id = id;
            }
            request
        };
        let answer = ask(&rig, version, &by_id(fetch_request(ORDERS, 0, 0), id));
        assert_eq!((answer.error_code, answer.session_id), (0, 0), "P-39");
        let topic = &answer.responses[0];
        assert_eq!(
            (topic.topic.as_str(), topic.topic_id),
            if version >= 13 { ("", id) } else { (ORDERS, Uuid::nil()) }
        );
        let partition = &topic.partitions[0];
        assert_eq!((partition.partition_index, partition.error_code), (0, 0));
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (1, 1));
        assert_eq!(partition.log_start_offset, if version >= 5 { 0 } else { -1 });
        assert_eq!(partition.preferred_read_replica, BrokerId(-1), "P-42");
        assert_eq!(partition.aborted_transactions, None, "P-38");
        assert!(partition.records.as_ref().is_some_and(|r| !r.is_empty()));
        let empty = ask(&rig, version, &by_id(fetch_request(ORDERS, 1, 0), id));
        assert_eq!(empty.responses[0].partitions[0].records, Some(Bytes::new()), "P-36");
        let unknown = ask(&rig, version, &by_id(fetch_request("nobody", 0, 0), Uuid::from_u128(9)));
        let expected = if version >= 13 { 100 } else { 3 };
        assert_eq!(unknown.responses[0].partitions[0].error_code, expected, "Q-54");
    });
}

#[test]
fn list_offsets_answers_in_every_version() {
    let (rig, _) = rig();
    each_version(Api::ListOffsets, |version| {
        for (timestamp, expected) in [(-1, 1), (-2, 0), (0, 0)] {
            let answer = ask(&rig, version, &list_offsets_request(ORDERS, 0, timestamp));
            let topic = &answer.topics[0];
            let partition = &topic.partitions[0];
            assert_eq!((topic.name.as_str(), partition.partition_index, partition.error_code), (ORDERS, 0, 0));
            assert_eq!((partition.offset, partition.leader_epoch), (expected, if version >= 4 { 0 } else { -1 }));
        }
    });
}

#[test]
fn metadata_answers_in_every_version() {
    let (rig, id) = rig();
    let cluster_id = rig.broker().cluster_id.clone();
    each_version(Api::Metadata, |version| {
        let request = metadata_request(&[ORDERS]).with_allow_auto_topic_creation(version < 4);
        let answer = ask(&rig, version, &request);
        let broker = &answer.brokers[0];
        assert_eq!((broker.node_id, broker.host.as_str()), (BrokerId(0), "127.0.0.1"));
        assert_eq!(broker.port, i32::from(rig.address.port()), "the advertised port (P-26)");
        if version >= 1 {
            assert_eq!(answer.controller_id, BrokerId(0));
        }
        assert_eq!(answer.cluster_id.as_deref(), (version >= 2).then_some(&*cluster_id));
        let topic = &answer.topics[0];
        assert_eq!((topic.name.as_ref().map(|n| n.as_str()), topic.error_code), (Some(ORDERS), 0));
        assert_eq!(topic.topic_id, if version >= 10 { id } else { Uuid::nil() });
        assert_eq!(topic.topic_authorized_operations, i32::MIN, "not asked for (Q-81)");
        assert_eq!(topic.partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>(), [0, 1], "Q-35");
        for partition in &topic.partitions {
            assert_eq!((partition.leader_id, partition.error_code), (BrokerId(0), 0));
            assert_eq!((&partition.replica_nodes, &partition.isr_nodes), (&vec![BrokerId(0)], &vec![BrokerId(0)]));
            assert_eq!(partition.leader_epoch, if version >= 7 { 0 } else { -1 });
        }
    });
}

#[test]
fn topics_are_created_and_deleted_in_every_version() {
    let rig = Rig::memory();
    each_version(Api::CreateTopics, |version| {
        let name = format!("made-{version}");
        let mut topic = new_topic(&name, 3, &[("retention.ms", "60000")]);
        if version >= 4 {
            topic.num_partitions = -1;
            topic.replication_factor = -1;
        }
        let answer = ask(&rig, version, &create_request(&[topic]));
        let made = &answer.topics[0];
        assert_eq!((made.name.as_str(), made.error_code, &made.error_message), (&*name, 0, &None));
        let id = rig.client().ask(12, &metadata_request(&[&name])).topics[0].topic_id;
        assert_ne!(id, Uuid::nil(), "Metadata shows it when the answer is there (Q-32)");
        assert_eq!(made.topic_id, if version >= 7 { id } else { Uuid::nil() });
        if version >= 5 {
            assert_eq!((made.num_partitions, made.replication_factor), (1, 1));
            let configs = made.configs.as_ref().expect("given from version 5 on");
            let retention = configs.iter().find(|c| c.name.as_str() == "retention.ms").expect("all are shown");
            assert_eq!((retention.value.as_deref(), retention.config_source), (Some("60000"), 1));
            let inherited = configs.iter().find(|c| c.name.as_str() == "segment.bytes").expect("all are shown");
            assert_eq!((inherited.value.as_deref(), inherited.config_source), (Some("1073741824"), 5));
        }
        let again = ask(&rig, version, &create_request(&[new_topic(&name, 1, &[])]));
        assert_eq!((again.topics[0].error_code, again.topics[0].error_message.is_some()), (36, true));
    });
    each_version(Api::DeleteTopics, |version| {
        let name = format!("gone-{version}");
        let id = rig.client().create(&name, 1, &[]);
        let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
        let request = if version >= 6 {
            request.with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name(&name)))])
        } else {
            request.with_topic_names(vec![topic_name(&name)])
        };
        let gone = &ask(&rig, version, &request).responses[0];
        assert_eq!((gone.name.as_ref().map(|n| n.as_str()), gone.error_code), (Some(&*name), 0));
        assert_eq!(gone.topic_id, if version >= 6 { id } else { Uuid::nil() });
        assert_eq!(ask(&rig, version, &request).responses[0].error_code, 3);
    });
    rig.client().create("cut", 1, &[]);
    each_version(Api::DeleteRecords, |version| {
        let end = rig.client().produced("cut", 0, batch(&["a"])) + 1;
        let part = DeleteRecordsPartition::default().with_partition_index(0).with_offset(end);
        let topic = DeleteRecordsTopic::default().with_name(topic_name("cut")).with_partitions(vec![part]);
        let answer = ask(&rig, version, &DeleteRecordsRequest::default().with_topics(vec![topic]));
        let part = &answer.topics[0].partitions[0];
        assert_eq!((answer.topics[0].name.as_str(), part.error_code, part.low_watermark), ("cut", 0, end));
    });
}

#[test]
fn producer_ids_are_given_in_every_version_and_never_twice_r_37() {
    let rig = Rig::memory();
    let mut given = std::collections::BTreeSet::new();
    each_version(Api::InitProducerId, |version| {
        let answer = ask(&rig, version, &InitProducerIdRequest::default().with_transactional_id(None));
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "T-10");
        assert!(answer.producer_id.0 >= 0 && given.insert(answer.producer_id.0));
    });
}

#[test]
fn unknown_tags_and_bytes_behind_the_end_are_passed_over_p_8_p_9_rows_12_and_22() {
    let rig = Rig::memory();
    let mut frame = encoded(12, &metadata_request(&[]));
    assert_eq!(frame.pop(), Some(0), "the body ends with its empty block of tags");
    frame.extend_from_slice(&[1, 99, 3, b'a', b'b', b'c']); // one tag, number 99, three bytes
    frame.extend_from_slice(b"and more behind the end");
    let mut raw = Raw::connect(rig.address);
    raw.send(&framed(&frame[4..]));
    assert_eq!(raw.answer::<MetadataRequest>(12).brokers.len(), 1);
}
