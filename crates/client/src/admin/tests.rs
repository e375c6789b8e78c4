//! The admin client against brokers that are written by hand: what they are asked, and whom else when one fails.

use std::sync::Arc;

use pagemark_wire::api::Api;
use pagemark_wire::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use pagemark_wire::messages::find_coordinator_response::Coordinator;
use pagemark_wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use pagemark_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use pagemark_wire::messages::offset_fetch_response::OffsetFetchResponseGroup;
use pagemark_wire::messages::{
    BrokerId, DeleteRecordsResponse, FindCoordinatorRequest, FindCoordinatorResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse, group_id, text, topic_name,
};
use tokio::sync::Notify;

use super::*;
use crate::consumer::Consumer;
use crate::fake::{Asked, Fake, Reply, TOPIC};

fn admin(fake: &Fake) -> Admin {
    Admin::builder(&fake.bootstrap()).build().expect("legal settings")
}

/// A coordinator of groups that have committed nothing.
fn coordinator(asked: &Asked) -> Option<Reply> {
    match asked.api {
        Api::FindCoordinator => {
            let request: FindCoordinatorRequest = asked.read();
            let here = |key: &_| {
                let found = Coordinator::default().with_key(text(key)).with_node_id(BrokerId(1));
                found.with_host(text("127.0.0.1")).with_port(i32::from(asked.port))
            };
            let found = request.coordinator_keys.iter().map(|key| here(key.as_str())).collect();
            Some(asked.answer(&FindCoordinatorResponse::default().with_coordinators(found)))
        }
        Api::OffsetFetch => {
            let group = OffsetFetchResponseGroup::default().with_group_id(group_id("g"));
            Some(asked.answer(&OffsetFetchResponse::default().with_groups(vec![group])))
        }
        _ => None,
    }
}

#[tokio::test]
async fn only_a_consumer_waits_for_offsets_of_open_transactions_o_28() {
    let fake = Fake::start(1, coordinator).await;
    let committed = admin(&fake).list_group_offsets("g").await;
    assert_eq!(committed, Ok(BTreeMap::new()));
    let consumer = Consumer::builder(&fake.bootstrap()).group_id("g").build().expect("legal settings");
    consumer.committed(&[TopicPartition::new(TOPIC, 0)]).await.expect("an answer");
    let stable = |asked: &Asked| asked.read::<OffsetFetchRequest>().require_stable;
    assert_eq!(fake.asked(Api::OffsetFetch).iter().map(stable).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn records_are_deleted_where_the_leader_is_now_when_the_old_one_is_gone_q_44() {
    let new = Fake::start(1, |asked| {
        let partition = DeleteRecordsPartitionResult::default().with_low_watermark(5);
        let topic = DeleteRecordsTopicResult::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
        let answer = DeleteRecordsResponse::default().with_topics(vec![topic]);
        (asked.api == Api::DeleteRecords).then(|| asked.answer(&answer))
    })
    .await;
    let (mut is_gone, moved_to) = (false, new.port);
    let old = Fake::start(1, move |asked| match asked.api {
        Api::DeleteRecords => {
            is_gone = true;
            Some(Reply::HangUp)
        }
        Api::Metadata if is_gone => Some(asked.metadata(moved_to, 1, |_| true)),
        _ => None,
    })
    .await;
    let deleted = admin(&old).delete_records(&TopicPartition::new(TOPIC, 0), Some(5)).await;
    assert_eq!((deleted, new.asked(Api::DeleteRecords).len()), (Ok(5), 1));
}

/// Two brokers, each of which leads the partition with its number less one.
fn two_leaders(asked: &Asked, ports: [u16; 2]) -> Reply {
    let broker = |(id, port)| {
        let broker = MetadataResponseBroker::default().with_node_id(BrokerId(id));
        broker.with_host(text("127.0.0.1")).with_port(i32::from(port))
    };
    let partition =
        |index| MetadataResponsePartition::default().with_partition_index(index).with_leader_id(BrokerId(index + 1));
    let topic = MetadataResponseTopic::default().with_name(Some(topic_name(TOPIC)));
    let topic = topic.with_partitions((0..2).map(partition).collect());
    let brokers = (1..).zip(ports).map(broker).collect();
    asked.answer(&MetadataResponse::default().with_brokers(brokers).with_topics(vec![topic]))
}

fn listed(asked: &Asked) -> Reply {
    let request: ListOffsetsRequest = asked.read();
    let index = request.topics[0].partitions[0].partition_index;
    let partition = ListOffsetsPartitionResponse::default().with_partition_index(index).with_offset(7);
    let topic = ListOffsetsTopicResponse::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
    asked.answer(&ListOffsetsResponse::default().with_topics(vec![topic]))
}

#[tokio::test]
async fn no_leader_is_asked_for_offsets_only_when_another_has_answered() {
    let second_was_asked = Arc::new(Notify::new());
    let asked_too = Arc::clone(&second_was_asked);
    let second = Fake::start(2, move |asked| {
        (asked.api == Api::ListOffsets).then(|| {
            asked_too.notify_one();
            listed(asked)
        })
    })
    .await;
    let port = second.port;
    let first = Fake::start(2, move |asked| match asked.api {
        Api::Metadata => Some(two_leaders(asked, [asked.port, port])),
        Api::ListOffsets => Some(listed(asked).after(&second_was_asked)),
        _ => None,
    })
    .await;
    let admin = admin(&first);
    admin.describe_topic(TOPIC).await.expect("there");
    let wanted = [0, 1].map(|partition| (TopicPartition::new(TOPIC, partition), OffsetSpec::Latest));
    let found = admin.list_offsets(wanted).await.expect("found");
    assert!(found.len() == 2 && found.values().all(|listed| listed.offset == Some(7)), "{found:?}");
    assert_eq!((first.asked(Api::ListOffsets).len(), second.asked(Api::ListOffsets).len()), (1, 1));
}
