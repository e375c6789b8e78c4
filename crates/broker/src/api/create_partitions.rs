//! CreatePartitions (key 37), versions 0 to 3: gives topics more partitions (KIP-195).
//!
//! v2 is flexible; v1 and v3 changed only how clients take quotas. `validate_only` judges everything and changes nothing. The
//! answer leaves when Metadata shows the new partitions with a leader. Deliberately not here: replica assignments other
//! than "this broker".

use std::collections::{BTreeMap, BTreeSet};

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::create_partitions_request::CreatePartitionsTopic;
use pagemark_wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use pagemark_wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{Call, outcome};
use crate::executor::Outgoing;
use crate::metadata::admin::{AdminError, MOST_PARTITIONS_OF_A_REQUEST};
use crate::metadata::grow::Growth;

/// Gives each topic its partitions. A topic that is named twice is answered once, as in Kafka.
pub fn handle(call: Call, _out: &mut Outgoing, request: CreatePartitionsRequest) {
    tokio::spawn(async move {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        request.topics.iter().for_each(|topic| *count.entry(topic.name.as_str()).or_insert(0) += 1);
        let once = request.topics.iter().filter(|topic| count[topic.name.as_str()] == 1);
        let growths = once.clone().map(growth).collect();
        let most = MOST_PARTITIONS_OF_A_REQUEST;
        let grown = call.broker.admin.create_partitions(growths, most, request.validate_only).await;
        let mut results: Vec<CreatePartitionsTopicResult> = once.zip(grown).map(|(t, r)| respond(t, r)).collect();
        let mut told = BTreeSet::new();
        for topic in request.topics.iter().filter(|topic| count[topic.name.as_str()] > 1) {
            if told.insert(topic.name.as_str()) {
                let twice = (ErrorCode::InvalidRequest, "the request names this topic twice".to_owned());
                results.push(respond(topic, Err(twice)));
            }
        }
        call.reply.send(&CreatePartitionsResponse::default().with_results(results));
    });
}

fn growth(topic: &CreatePartitionsTopic) -> Growth {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        assignments.iter().map(|one| one.broker_ids.iter().map(|broker| broker.0).collect()).collect()
    });
    Growth { name: topic.name.to_string(), count: topic.count, assignments }
}

fn respond(topic: &CreatePartitionsTopic, result: Result<(), AdminError>) -> CreatePartitionsTopicResult {
    let (code, message) = outcome(result);
    CreatePartitionsTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(code)
        .with_error_message(message)
}
