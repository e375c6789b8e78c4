//! One Produce request and its answer.
//!
//! Deliberately not here: what to do about an answer, and repeating a request.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use pagemark_wire::messages::{ProduceRequest, ProduceResponse, topic_name};

use super::Acks;
use super::delivery::ProduceError;
use crate::cluster::TopicIds;
use crate::code::Code;
use crate::net::{CallError, Connection};
use crate::partition::{TopicPartition, by_topic};

/// The partitions' own answers; `None` if none was asked for.
pub(super) type Answered = Option<BTreeMap<TopicPartition, PartitionAnswer>>;

/// What a broker said of one batch.
#[derive(Debug, Clone)]
pub(super) struct PartitionAnswer {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) base_offset: i64,
    pub(super) log_append_time_ms: i64,
}

impl PartitionAnswer {
    pub(super) fn refusal(&self) -> ProduceError {
        ProduceError::Refused { code: self.code, message: self.message.clone() }
    }

    /// Whether the batch may be in the log in spite of the error.
    ///
    /// A leader answers these before it appends, and only these. Others come from a leader that has appended and waited for
    /// its followers (6, 7, 20), or whose disk failed (56), or who knows what (-1, and numbers of the future).
    pub(super) fn may_be_written(&self) -> bool {
        let refused = matches!(self.code.0, 2 | 3 | 5 | 10 | 17..=19 | 21 | 29 | 31 | 32 | 35 | 42..=45 | 47 | 59)
            || matches!(self.code.0, 74..=76 | 87 | 89 | 90 | 100 | 103);
        !refused
    }
}

/// One Produce over a connection to the leader; topics go by id where the version wants it (P-30).
pub(super) async fn ask(
    connection: &Connection,
    acks: Acks,
    timeout: Duration,
    data: Vec<(TopicPartition, Bytes)>,
    ids: &TopicIds,
) -> Result<Answered, CallError> {
    let make = |version: i16| {
        let topics = by_topic(data).into_iter().map(|(topic, partitions)| {
            let partition =
                |(index, records)| PartitionProduceData::default().with_index(index).with_records(Some(records));
            let data = TopicProduceData::default().with_partition_data(partitions.into_iter().map(partition).collect());
            match version {
                13.. => data.with_topic_id(ids.id(&topic)),
                _ => data.with_name(topic_name(&topic)),
            }
        });
        ProduceRequest::default()
            .with_acks(acks.number())
            .with_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(topics.collect())
    };
    if acks == Acks::None {
        return connection.tell(make, timeout).await.map(|()| None);
    }
    // The broker itself may take the whole timeout.
    let answer = connection.call(make, timeout + Duration::from_secs(1)).await?;
    Ok(Some(read(&answer, ids)))
}

fn read(answer: &ProduceResponse, ids: &TopicIds) -> BTreeMap<TopicPartition, PartitionAnswer> {
    let mut answers = BTreeMap::new();
    for topic in &answer.responses {
        let name = ids.name(topic.topic_id, &topic.name);
        for found in &topic.partition_responses {
            let words = found.record_errors.iter().find_map(|error| error.batch_index_error_message.as_ref());
            let message = found.error_message.as_ref().or(words).map(ToString::to_string).unwrap_or_default();
            let answer = PartitionAnswer {
                code: Code(found.error_code),
                message,
                base_offset: found.base_offset,
                log_append_time_ms: found.log_append_time_ms,
            };
            answers.insert(TopicPartition::new(name, found.index), answer);
        }
    }
    answers
}
