//! Giving topics more partitions (P-29).
//!
//! The topic's fact comes first, then its partitions: a crash in between is finished by the next start, so a topic has its old
//! number or its new one and never something else. As with a creation, everything is durable and opened by its owners before
//! it is published. Deliberately not here: how keys move between partitions, which is the producers' affair.

use std::sync::Arc;

use pagemark_storage::engine::{Lsn, Ticket};
use pagemark_wire::ErrorCode;

use super::admin::{AdminError, MOST_PARTITIONS_OF_A_TOPIC, TopicAdmin, storage_error};
use super::record::{TopicRecord, topic_key};
use super::registry::{Topic, TopicsView};

/// How many partitions a topic is to have.
#[derive(Debug, Clone)]
pub struct Growth {
    /// The topic's name.
    pub name: String,
    /// The new number.
    pub count: i32,
    /// The brokers of each new partition, if the caller chose them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

impl TopicAdmin {
    /// Gives topics more partitions, `most` in all; each gets its own result, in the order given, and must be named once. All
    /// that are legal wait for the disk once. With `validate_only` nothing changes.
    pub async fn create_partitions(
        &self,
        growths: Vec<Growth>,
        most: u32,
        validate_only: bool,
    ) -> Vec<Result<(), AdminError>> {
        let _turn = self.one_at_a_time.lock().await;
        let view = self.registry.view();
        let node = self.configs.settings().node_id;
        let mut left = most;
        let mut last = Ticket(Lsn(0));
        let mut grown = Vec::new();
        let mut results = Vec::with_capacity(growths.len());
        for growth in growths {
            results.push(judge(&view, &growth, node, &mut left).and_then(|(topic, partitions)| {
                self.check_room()?;
                if !validate_only {
                    let record = TopicRecord { partitions, ..topic.record.clone() };
                    self.put(topic_key(&topic.name), &record)?;
                    last = self
                        .engine
                        .create(topic.id(), partitions, record.first_leader_epoch())
                        .map_err(storage_error)?;
                    grown.push(self.grown(topic, record));
                }
                Ok(())
            }));
        }
        if let Err(error) = self.make_grown_ready(&view, &grown, last).await {
            return results.into_iter().map(|result| result.and(Err(error.clone()))).collect();
        }
        if !grown.is_empty() {
            self.publish(grown);
        }
        results
    }

    /// The topic with its further partitions behind those that it has.
    fn grown(&self, topic: &Topic, record: TopicRecord) -> Topic {
        let mut grown = self.assemble(topic.name.clone(), record);
        grown.partitions.splice(..topic.partitions.len(), topic.partitions.iter().cloned());
        grown
    }

    async fn make_grown_ready(&self, before: &TopicsView, grown: &[Topic], last: Ticket) -> Result<(), AdminError> {
        if grown.is_empty() {
            return Ok(());
        }
        self.progress.durable(last).await.map_err(storage_error)?;
        let known = |topic: &Topic| before.by_id(topic.id()).map_or(0, |before| before.partitions.len());
        let new = grown.iter().flat_map(|topic| topic.partitions[known(topic)..].iter().map(Arc::clone));
        self.executors.own(new.collect()).await.map_err(storage_error)
    }
}

fn judge<'v>(view: &'v TopicsView, growth: &Growth, node: i32, left: &mut u32) -> Result<(&'v Topic, u32), AdminError> {
    let topic = view
        .by_name(&growth.name)
        .ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, "no topic has this name".to_owned()))?;
    if topic.is_internal() {
        let why = "the number of partitions of an internal topic is fixed: groups are found by it";
        return Err((ErrorCode::InvalidTopicException, why.to_owned()));
    }
    let present = topic.record.partitions;
    let count = u32::try_from(growth.count).ok().filter(|count| *count > present).ok_or_else(|| {
        let why = format!("the topic has {present} partitions, {} would not be an increase", growth.count);
        (ErrorCode::InvalidPartitions, why)
    })?;
    let more = count - present;
    if let Some(assignments) = &growth.assignments {
        let why = if assignments.len() != more as usize {
            format!("{more} partitions are to be added, and {} are assigned", assignments.len())
        } else if assignments.iter().any(|brokers| *brokers != [node]) {
            format!("every partition must be assigned to broker {node} alone")
        } else {
            String::new()
        };
        if !why.is_empty() {
            return Err((ErrorCode::InvalidReplicaAssignment, why));
        }
    }
    if count > MOST_PARTITIONS_OF_A_TOPIC {
        let why = format!("a topic has at most {MOST_PARTITIONS_OF_A_TOPIC} partitions here, not {count}");
        return Err((ErrorCode::PolicyViolation, why));
    }
    *left = left.checked_sub(more).ok_or_else(|| {
        (ErrorCode::PolicyViolation, "this is more than one request may create: ask again for this topic".to_owned())
    })?;
    Ok((topic, count))
}
