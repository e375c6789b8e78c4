//! DeleteTopics (key 20), versions 1 to 6.
//!
//! v4 is flexible, v5 added a message, v6 takes ids (KIP-516). Data, producer state and committed offsets of the topic are
//! gone when the answer leaves (R-95, O-60). Internal topics are refused: Kafka lets anyone delete its memory of all groups.
//! Deliberately not here: deletion that goes on in the background.

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::delete_topics_response::DeletableTopicResult;
use pagemark_wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use pagemark_wire::types::TopicId;

use super::{Call, text};
use crate::broker::Broker;
use crate::executor::Outgoing;

/// Deletes one topic after the other.
pub fn handle(call: Call, _out: &mut Outgoing, request: DeleteTopicsRequest) {
    let named = request.topic_names.into_iter().map(|name| (Some(name), TopicId::ZERO));
    let given = request.topics.into_iter().map(|topic| (topic.name, TopicId(topic.topic_id)));
    let wanted: Vec<(Option<TopicName>, TopicId)> = named.chain(given).collect();
    tokio::spawn(async move {
        let mut responses = Vec::with_capacity(wanted.len());
        for (name, id) in wanted {
            responses.push(delete(&call.broker, name, id).await);
        }
        if call.version < 6 {
            // Ids came with version 6.
            responses.iter_mut().for_each(|r| r.topic_id = uuid::Uuid::nil());
        }
        call.reply.send(&DeleteTopicsResponse::default().with_responses(responses));
    });
}

async fn delete(broker: &Broker, name: Option<TopicName>, id: TopicId) -> DeletableTopicResult {
    let answer = DeletableTopicResult::default().with_name(name.clone()).with_topic_id(id.0);
    let refused =
        |code: ErrorCode, why: &str| answer.clone().with_error_code(code.code()).with_error_message(Some(text(why)));
    if !broker.settings.delete_topic_enable {
        return refused(ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false on this broker");
    }
    if name.is_some() && id != TopicId::ZERO {
        return refused(ErrorCode::InvalidRequest, "give a topic's name or its id, not both");
    }
    let name = name.as_ref().map(|n| n.to_string()).unwrap_or_default();
    let Some(topic) = broker.topic(&name, id) else {
        return match id {
            TopicId::ZERO => refused(ErrorCode::UnknownTopicOrPartition, "no topic has this name"),
            _ => refused(ErrorCode::UnknownTopicId, "no topic has this id"),
        };
    };
    if topic.is_internal() {
        return refused(ErrorCode::InvalidTopicException, "internal topics cannot be deleted");
    }
    let done = answer.clone().with_name(Some(TopicName(text(&topic.name)))).with_topic_id(topic.record.id);
    match broker.admin.delete(topic.id()).await {
        Ok(()) => done,
        // Another request was faster.
        Err((ErrorCode::UnknownTopicId, _)) if id == TopicId::ZERO => {
            refused(ErrorCode::UnknownTopicOrPartition, "no topic has this name any more")
        }
        Err((code, why)) => refused(code, &why),
    }
}
