//! OffsetFetch: what is committed (O-25..O-30).
//!
//! Every partition asked for is answered, and an offset is never told for another incarnation of its topic (O-61).
//! Deliberately not here: offsets of open transactions (O-28), permissions.

use pagemark_wire::ErrorCode;
use pagemark_wire::types::{PartitionIndex, TopicId};

use super::{OffsetTable, Stored};
use crate::coordinator::{
    FetchOffsetsAnswer, FetchOffsetsRequest, FetchTopic, FetchedPartition, FetchedTopic, GroupSettings,
};
use crate::planted::{PlantedBug, planted};

/// What a group has committed; an absent group has committed nothing (O-26).
pub(crate) fn fetch(
    settings: &GroupSettings,
    offsets: Option<&OffsetTable>,
    request: &FetchOffsetsRequest,
) -> FetchOffsetsAnswer {
    let topics = match (&request.topics, offsets) {
        (Some(topics), _) => topics.iter().map(|topic| named(settings, offsets, topic)).collect(),
        (None, Some(offsets)) => all(offsets),
        (None, None) => Vec::new(),
    };
    FetchOffsetsAnswer { error: ErrorCode::None, topics }
}

fn named(settings: &GroupSettings, offsets: Option<&OffsetTable>, topic: &FetchTopic) -> FetchedTopic {
    let of_any = planted(settings, PlantedBug::OffsetsOutliveTheirTopic);
    let partitions = topic.partitions.iter().map(|partition| {
        match offsets.and_then(|offsets| offsets.get(&topic.name, *partition)) {
            Some(stored) if of_any || is_of(stored, topic.current_id) => tell(*partition, stored),
            _ => FetchedPartition::none(*partition, ErrorCode::None),
        }
    });
    FetchedTopic { name: topic.name.clone(), partitions: partitions.collect() }
}

fn all(offsets: &OffsetTable) -> Vec<FetchedTopic> {
    let topics = offsets.iter().map(|(name, partitions)| FetchedTopic {
        name: name.to_string(),
        partitions: partitions.iter().map(|(partition, stored)| tell(*partition, stored)).collect(),
    });
    topics.collect()
}

/// Whether the offset was committed for this incarnation; without an id it counts for any (O-30).
fn is_of(stored: &Stored, current_id: Option<TopicId>) -> bool {
    match stored {
        Stored::Readable(commit) => commit.topic_id == TopicId::ZERO || Some(commit.topic_id) == current_id,
        Stored::Unreadable => true,
    }
}

fn tell(partition: PartitionIndex, stored: &Stored) -> FetchedPartition {
    match stored {
        Stored::Readable(commit) => FetchedPartition {
            partition,
            topic_id: commit.topic_id,
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata.clone(),
            error: ErrorCode::None,
        },
        Stored::Unreadable => FetchedPartition::none(partition, ErrorCode::CoordinatorNotAvailable),
    }
}
