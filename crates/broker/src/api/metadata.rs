//! Metadata (key 3), versions 0 to 13: the brokers, the topics, and who leads each partition.
//!
//! v0 reads an empty list of topics as "all", v1 on null is "all" and empty is "none" (P-22). v4 asks whether topics may be
//! created, v7 added leader epochs, v9 is flexible, v10 topic ids, v12 asking by id, v13 an error on top (P-23).
//! Deliberately not here: racks, authorized operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagemark_storage::engine::Room;
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::metadata_request::MetadataRequestTopic;
use pagemark_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use pagemark_wire::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use pagemark_wire::types::TopicId;

use super::{Call, each_once, text};
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::metadata::admin::NewTopic;
use crate::metadata::name::check_topic_name;
use crate::metadata::registry::Topic;

/// Most topics, and most partitions of theirs, that one request brings into being. Whoever asked for more is told to ask again.
const MOST_NEW_TOPICS: usize = 1_000;
const MOST_NEW_PARTITIONS: usize = 10_000;
/// So many partitions are described at once; for more, no other request is kept waiting.
const FEW_PARTITIONS: usize = 1_000;

/// Answers from the published view; topics that are to be created are waited for in a task of their own.
pub fn handle(call: Call, _out: &mut Outgoing, request: MetadataRequest) {
    let Some(asked) = request.topics.filter(|topics| call.version > 0 || !topics.is_empty()) else {
        let count = call.broker.registry.view().iter().map(|topic| topic.partitions.len()).sum();
        return answer(call, count, |broker| broker.registry.view().iter().map(|t| describe(broker, t)).collect());
    };
    let asked = each_once(asked, |topic| (topic.name.clone(), topic.topic_id)); // as Kafka does
    // Before version 4 a request cannot say no to creation.
    let may_create = call.version < 4 || request.allow_auto_topic_creation;
    let missing = if may_create && call.broker.settings.auto_create_topics_enable {
        missing_topics(&call.broker, &asked)
    } else {
        Vec::new()
    };
    if missing.is_empty() {
        return answer_asked(call, asked, BTreeMap::new());
    }
    tokio::spawn(async move {
        let mut missing = missing;
        let later = missing.split_off(missing.len().min(most_new_topics(&call.broker)));
        let mut refused = create(&call.broker, missing).await;
        refused.extend(later.into_iter().map(|name| (name, ErrorCode::LeaderNotAvailable)));
        answer_asked(call, asked, refused);
    });
}

fn answer_asked(call: Call, asked: Vec<MetadataRequestTopic>, refused: BTreeMap<String, ErrorCode>) {
    let partitions = |t: &MetadataRequestTopic| {
        let topic = call.broker.topic(t.name.as_deref().map(|n| &**n).unwrap_or_default(), TopicId(t.topic_id));
        topic.map_or(0, |topic| topic.partitions.len())
    };
    let count = asked.iter().map(partitions).sum();
    answer(call, count, move |broker| asked.iter().map(|t| look_up(broker, t, &refused)).collect());
}

/// Answers with these topics, which have so many partitions together.
fn answer(call: Call, partitions: usize, topics: impl FnOnce(&Broker) -> Vec<MetadataResponseTopic> + Send + 'static) {
    let answer = move |call: Call| {
        let topics = topics(&call.broker);
        respond(call, topics);
    };
    if partitions <= FEW_PARTITIONS { answer(call) } else { call.answer_aside(answer) }
}

fn most_new_topics(broker: &Broker) -> usize {
    let partitions = usize::try_from(broker.settings.num_partitions).unwrap_or(1).max(1);
    (MOST_NEW_PARTITIONS / partitions).clamp(1, MOST_NEW_TOPICS)
}

/// Names asked for that are legal and not taken, each once.
fn missing_topics(broker: &Broker, asked: &[MetadataRequestTopic]) -> Vec<String> {
    let view = broker.registry.view();
    let mut names: Vec<String> = asked
        .iter()
        .filter_map(|t| t.name.as_ref())
        .filter(|name| check_topic_name(name).is_ok() && view.by_name(name).is_none())
        .map(|name| name.to_string())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Creates the topics; gives the codes of those that could not be.
async fn create(broker: &Broker, names: Vec<String>) -> BTreeMap<String, ErrorCode> {
    let topic = |name: &String| NewTopic {
        name: name.clone(),
        partitions: -1,
        replication_factor: -1,
        configs: BTreeMap::new(),
    };
    let results = broker.admin.create(names.iter().map(topic).collect()).await;
    names
        .into_iter()
        .zip(results)
        .filter_map(|(name, result)| match result {
            // Somebody else was faster: it is there.
            Ok(_) | Err((ErrorCode::TopicAlreadyExists, _)) => None,
            Err((ErrorCode::KafkaStorageError, _)) => Some((name, ErrorCode::LeaderNotAvailable)),
            // For clients a policy is for ever, and what they have queued fails; a full disk is not.
            Err((ErrorCode::PolicyViolation, _)) if broker.engine.headroom().room != Room::Enough => {
                Some((name, ErrorCode::LeaderNotAvailable))
            }
            Err((code, why)) => {
                tracing::warn!(topic = name, ?code, why, "a topic asked for could not be created");
                Some((name, code))
            }
        })
        .collect()
}

fn look_up(
    broker: &Broker,
    asked: &MetadataRequestTopic,
    refused: &BTreeMap<String, ErrorCode>,
) -> MetadataResponseTopic {
    let id = TopicId(asked.topic_id);
    let name = asked.name.as_deref().map(|n| &**n).unwrap_or_default();
    if let Some(topic) = broker.topic(name, id) {
        return describe(broker, &topic);
    }
    let code = match asked.name {
        None => ErrorCode::UnknownTopicId,
        Some(_) if check_topic_name(name).is_err() => ErrorCode::InvalidTopicException,
        Some(_) => refused.get(name).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition),
    };
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(asked.name.clone())
        .with_topic_id(asked.topic_id)
}

fn describe(broker: &Broker, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let node = BrokerId(broker.settings.node_id);
    let partition = |(index, partition): (usize, &Arc<crate::partitions::Partition>)| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(node)
            .with_leader_epoch(partition.leader_epoch().0)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.record.id)
        .with_is_internal(topic.is_internal())
        .with_partitions(topic.partitions.iter().enumerate().map(partition).collect())
}

fn respond(call: Call, mut topics: Vec<MetadataResponseTopic>) {
    if call.version < 12 {
        // Before version 12 a name is never null.
        topics.iter_mut().filter(|t| t.name.is_none()).for_each(|t| t.name = Some(TopicName::default()));
    }
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(call.broker.settings.node_id))
        .with_host(text(&call.client.advertised.host))
        .with_port(i32::from(call.client.advertised.port));
    call.reply.send(
        &MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(text(&call.broker.cluster_id)))
            .with_controller_id(BrokerId(call.broker.settings.node_id))
            .with_topics(topics),
    );
}
