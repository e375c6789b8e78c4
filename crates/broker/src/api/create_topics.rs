//! CreateTopics (key 19), versions 2 to 7.
//!
//! v4 takes -1 for partitions and replication factor, v5 is flexible and answers what was made, v7 adds the topic id.
//! `validate_only` judges everything and changes nothing (P-28). The answer leaves when Metadata shows the topic with a
//! leader. Deliberately not here: replica assignments other than "this broker".

use std::collections::{BTreeMap, BTreeSet};

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::create_topics_request::CreatableTopic;
use pagemark_wire::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use pagemark_wire::messages::{BrokerId, CreateTopicsRequest, CreateTopicsResponse, StrBytes};

use super::{Call, text};
use crate::executor::Outgoing;
use crate::metadata::admin::{AdminError, MOST_PARTITIONS_OF_A_REQUEST, NewTopic};
use crate::metadata::config_view::{ConfigEntry, topic_entries};
use crate::metadata::record::TopicRecord;

/// So many topics of an answer show all of their configs, the others what they were given: an answer must not be many times
/// the size of its request.
const MOST_SHOWN_WHOLE: usize = 1_000;

/// Creates what can be created; every topic has its own result.
pub fn handle(call: Call, _out: &mut Outgoing, request: CreateTopicsRequest) {
    tokio::spawn(async move {
        let mut results: Vec<Option<Result<TopicRecord, AdminError>>> = Vec::new();
        let twice = named_twice(&request.topics);
        let mut wanted = Vec::new();
        let mut left = i64::from(MOST_PARTITIONS_OF_A_REQUEST);
        for topic in &request.topics {
            let judged = if twice.contains(topic.name.as_str()) {
                Err((ErrorCode::InvalidRequest, "the request names this topic twice".to_owned()))
            } else {
                new_topic(topic, BrokerId(call.broker.settings.node_id))
                    .and_then(|new| within_the_limit(new, call.broker.settings.num_partitions, &mut left))
            };
            match judged {
                Err(error) => results.push(Some(Err(error))),
                Ok(new) if request.validate_only => results.push(Some(call.broker.admin.check(&new))),
                Ok(new) => {
                    wanted.push(new);
                    results.push(None);
                }
            }
        }
        let mut created = call.broker.admin.create(wanted).await.into_iter();
        let results = results.into_iter().map(|known| match known {
            Some(result) => result,
            None => created.next().expect("one result for each topic").map(|topic| topic.record.clone()),
        });
        let brokers = call.broker.configs.current();
        // Before version 5 an answer says nothing of configs.
        let shown_whole = if call.version >= 5 { MOST_SHOWN_WHOLE } else { 0 };
        let respond = |(at, (topic, result)): (usize, (&CreatableTopic, Result<TopicRecord, AdminError>))| {
            let wanted = |record: &TopicRecord, name: &str| at < shown_whole || record.configs.contains_key(name);
            let configs = |record: &TopicRecord| topic_entries(&record.configs, &brokers, |name| wanted(record, name));
            let made = result.map(|record| (configs(&record), record));
            respond(topic, made, request.validate_only)
        };
        let topics = request.topics.iter().zip(results).enumerate().map(respond).collect();
        call.reply.send(&CreateTopicsResponse::default().with_topics(topics));
    });
}

fn named_twice(topics: &[CreatableTopic]) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    topics.iter().map(|t| t.name.as_str()).filter(|name| !seen.insert(*name)).collect()
}

/// Takes the topic's partitions off what the request may still create.
fn within_the_limit(new: NewTopic, default_partitions: i32, left: &mut i64) -> Result<NewTopic, AdminError> {
    let partitions = i64::from(if new.partitions == -1 { default_partitions } else { new.partitions }).max(0);
    if partitions > *left {
        let why =
            format!("one request creates at most {MOST_PARTITIONS_OF_A_REQUEST} partitions: ask again for this topic");
        return Err((ErrorCode::PolicyViolation, why));
    }
    *left -= partitions;
    Ok(new)
}

fn new_topic(topic: &CreatableTopic, node: BrokerId) -> Result<NewTopic, AdminError> {
    let mut partitions = topic.num_partitions;
    let mut replication_factor = topic.replication_factor;
    if !topic.assignments.is_empty() {
        if partitions != -1 || replication_factor != -1 {
            let why = "give either an assignment or a number of partitions and a replication factor, not both";
            return Err((ErrorCode::InvalidRequest, why.to_owned()));
        }
        let mut indexes: Vec<i32> = topic.assignments.iter().map(|a| a.partition_index).collect();
        indexes.sort_unstable();
        let consecutive = indexes.iter().copied().eq(0..indexes.len() as i32);
        if !consecutive || topic.assignments.iter().any(|a| a.broker_ids != [node]) {
            let why = format!("every partition from 0 on must be assigned to broker {} alone", node.0);
            return Err((ErrorCode::InvalidReplicaAssignment, why));
        }
        partitions = indexes.len() as i32;
        replication_factor = 1;
    }
    let configs: BTreeMap<String, Option<String>> =
        topic.configs.iter().map(|c| (c.name.to_string(), c.value.as_ref().map(ToString::to_string))).collect();
    Ok(NewTopic { name: topic.name.to_string(), partitions, replication_factor, configs })
}

fn respond(
    topic: &CreatableTopic,
    result: Result<(Vec<ConfigEntry>, TopicRecord), AdminError>,
    validate_only: bool,
) -> CreatableTopicResult {
    let answer = CreatableTopicResult::default().with_name(topic.name.clone());
    match result {
        Err((code, why)) => answer
            .with_error_code(code.code())
            .with_error_message(Some(text(why)))
            .with_num_partitions(-1)
            .with_replication_factor(-1),
        Ok((configs, record)) => {
            let config = |entry: ConfigEntry| {
                CreatableTopicConfigs::default()
                    .with_name(StrBytes::from_static_str(entry.name))
                    .with_value(entry.value.map(text))
                    .with_config_source(entry.source as i8)
            };
            answer
                .with_error_message(None)
                .with_topic_id(if validate_only { uuid::Uuid::nil() } else { record.id })
                .with_num_partitions(record.partitions as i32)
                .with_replication_factor(record.replication_factor)
                .with_configs(Some(configs.into_iter().map(config).collect()))
        }
    }
}
