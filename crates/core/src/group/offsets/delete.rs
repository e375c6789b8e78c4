//! Offsets that go: because their topic is gone (O-60, O-61, O-63), or because somebody asks for it (OffsetDelete, O-35).
//!
//! Deliberately not here: whole groups (`group/delete.rs`), expiry (`expire.rs`).

use std::collections::BTreeSet;

use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{CoordinatorKey, OffsetCommit};
use pagemark_wire::types::{Generation, PartitionIndex};

use super::Stored;
use crate::coordinator::{Answer, DeleteOffsetsAnswer, DeleteOffsetsRequest, GroupState, SubscribedTopics, Turn};
use crate::effects::CoordinatorRecord;
use crate::group::{Group, Metadata};
use crate::planted::{PlantedBug, planted};

/// A tombstone for every readable offset that `gone` names.
pub(crate) fn tombstones(
    group: &Group,
    mut gone: impl FnMut(&str, PartitionIndex, &OffsetCommit) -> bool,
) -> Vec<CoordinatorRecord> {
    let mut records = Vec::new();
    for (topic, partitions) in group.offsets.iter() {
        for (partition, stored) in partitions {
            if matches!(stored, Stored::Readable(commit) if gone(topic, *partition, commit)) {
                let key = CoordinatorKey::encode_offset_commit(&group.id, topic, *partition);
                records.push(CoordinatorRecord { key: key.expect("both names came out of such a key"), value: None });
            }
        }
    }
    records
}

/// Drops every offset that `gone` says has lost its topic. The group stays (O-63).
pub(crate) fn drop_offsets(group: &Group, turn: &mut Turn<'_>, gone: &dyn Fn(&str, &OffsetCommit) -> bool) {
    if planted(turn.settings, PlantedBug::OffsetsOutliveTheirTopic) {
        return;
    }
    let records = tombstones(group, |topic, _, commit| gone(topic, commit));
    turn.effects.records.extend(keeping_the_group(group, turn, records));
}

/// Puts a record of its own in front for a group without members, should the last of its offsets go: one that the log knows by
/// its offsets alone stays (O-63), and of each it is known since when nothing is left (O-55).
pub(super) fn keeping_the_group(
    group: &Group,
    turn: &Turn<'_>,
    mut records: Vec<CoordinatorRecord>,
) -> Vec<CoordinatorRecord> {
    if records.len() != group.offsets.len() || records.is_empty() {
        return records;
    }
    match &group.metadata {
        Metadata::Absent => records.insert(0, group.empty_record(turn, String::new(), Generation(0))),
        Metadata::Known(known) if group.state() == GroupState::Empty => {
            records.insert(0, group.empty_record(turn, known.protocol_type.clone(), known.generation));
        }
        Metadata::Known(_) | Metadata::Unreadable => {}
    }
    records
}

impl Group {
    /// Decides about an OffsetDelete: what is refused is told partition by partition, the rest goes in one batch.
    pub(crate) fn delete_offsets(&mut self, turn: &mut Turn<'_>, request: &DeleteOffsetsRequest) -> Answer {
        let answer = self.try_delete_offsets(turn, request);
        Answer::DeleteOffsets(answer.unwrap_or_else(DeleteOffsetsAnswer::error))
    }

    fn try_delete_offsets(
        &self,
        turn: &mut Turn<'_>,
        request: &DeleteOffsetsRequest,
    ) -> Result<DeleteOffsetsAnswer, ErrorCode> {
        let in_use = self.topics_in_use()?;
        let refusal = |topic: &str, partition: PartitionIndex| match &in_use {
            SubscribedTopics::Everything => ErrorCode::GroupSubscribedToTopic,
            SubscribedTopics::Topics(topics) if topics.contains(topic) => ErrorCode::GroupSubscribedToTopic,
            // One that cannot be read is not taken for none (O-73).
            _ if self.offsets.get(topic, partition) == Some(&Stored::Unreadable) => ErrorCode::CoordinatorNotAvailable,
            SubscribedTopics::Topics(_) => ErrorCode::None,
        };
        let partitions: Vec<ErrorCode> = request.partitions.iter().map(|(t, p)| refusal(t, *p)).collect();
        let allowed = request.partitions.iter().zip(&partitions).filter(|(_, error)| error.is_none());
        let going: BTreeSet<(&str, PartitionIndex)> = allowed.map(|((topic, p), _)| (topic.as_str(), *p)).collect();
        let records = tombstones(self, |topic, partition, _| going.contains(&(topic, partition)));
        if !planted(turn.settings, PlantedBug::OffsetDeletionNotWritten) {
            turn.records_of_request(keeping_the_group(self, turn, records))?;
        }
        Ok(DeleteOffsetsAnswer { error: ErrorCode::None, partitions })
    }

    /// The topics whose offsets the group's members rely on. Of members that are no consumers nobody can say (G-25); while
    /// the first members are only joining, they may be about to read anything.
    fn topics_in_use(&self) -> Result<SubscribedTopics, ErrorCode> {
        match self.state() {
            GroupState::Unknown | GroupState::Dead => Err(ErrorCode::CoordinatorNotAvailable),
            GroupState::Empty => Ok(SubscribedTopics::Topics(BTreeSet::new())),
            _ if self.protocol_type() != "consumer" => Err(ErrorCode::NonEmptyGroup),
            _ if self.recorded().is_none_or(|recorded| recorded.members.is_empty()) => Ok(SubscribedTopics::Everything),
            _ => Ok(self.subscribed_topics().unwrap_or(SubscribedTopics::Everything)),
        }
    }
}
