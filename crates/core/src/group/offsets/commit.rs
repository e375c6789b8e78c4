//! OffsetCommit: may this caller commit, and what is written then (O-2..O-22).
//!
//! An offset is never compared with the log (O-7): a rewind is as legitimate as any other commit.
//! Deliberately not here: the existence of topics (settled before), commits within transactions.

use std::collections::BTreeMap;

use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{CoordinatorKey, OffsetCommit};

use super::Stored;
use crate::coordinator::{Answer, CommitAnswer, CommitRequest, CommittedPartition, GroupState, OffsetToCommit, Turn};
use crate::effects::{After, CoordinatorRecord, ReplyTo};
use crate::group::Group;
use crate::planted::{PlantedBug, planted};

/// Decides about a commit to a group, or to one that is not there; replay makes it then (O-2).
pub(crate) fn commit(
    group: Option<&mut Group>,
    absent: After,
    turn: &mut Turn<'_>,
    to: ReplyTo,
    request: &CommitRequest,
) {
    let after = group.as_ref().map_or(absent, |group| group.after_membership());
    let offsets = request.offsets.iter();
    let goes_back: Vec<bool> =
        offsets.map(|offset| group.as_ref().is_some_and(|group| group.goes_back(offset))).collect();
    let allowed = match group {
        Some(group) => group.check_commit(turn, request),
        None if request.generation.0 < 0 => Ok(()),
        None => Err(ErrorCode::GroupIdNotFound),
    };
    let mut errors = match allowed {
        Ok(()) => request.offsets.iter().map(|offset| check_offset(turn, request, offset)).collect(),
        Err(error) => vec![error; request.offsets.len()],
    };
    let records = records_of(turn, request, &errors);
    if turn.records_of_request(records).is_err() {
        // Fatal in every client, and rightly: the same commit can never pass (O-19).
        errors.iter_mut().filter(|error| error.is_none()).for_each(|error| *error = ErrorCode::InvalidCommitOffsetSize);
    }
    let results = request.offsets.iter().zip(errors).zip(goes_back);
    let answer = CommitAnswer { offsets: results.map(answer_of).collect() };
    let after = if turn.effects.records.is_empty() { after } else { After::OwnRecords };
    let early = planted(turn.settings, PlantedBug::CommitAnsweredEarly);
    turn.reply(to, if early { After::Nothing } else { after }, Answer::Commit(answer));
}

impl Group {
    fn goes_back(&self, offset: &OffsetToCommit) -> bool {
        let stored = self.offsets.get(&offset.topic, offset.partition);
        matches!(stored, Some(Stored::Readable(commit)) if commit.topic_id == offset.topic_id && commit.offset > offset.offset)
    }

    /// O-9..O-13. A member that may commit has shown that it is alive.
    fn check_commit(&mut self, turn: &Turn<'_>, request: &CommitRequest) -> Result<(), ErrorCode> {
        let state = self.state();
        match state {
            GroupState::Unknown | GroupState::Dead => return Err(ErrorCode::CoordinatorNotAvailable),
            GroupState::Empty if request.generation.0 < 0 => return Ok(()),
            _ => {}
        }
        let instance_id = request.group_instance_id.as_deref();
        if request.generation.0 < 0 && request.member_id.is_empty() && instance_id.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.roster.check_member(&request.member_id, instance_id)?;
        // Someone who has only just joined belongs to no generation yet, whichever number it guesses.
        let is_new = self.roster.members.get(&request.member_id).is_none_or(|member| member.is_new);
        let is_over = request.generation != self.generation();
        if is_new || (is_over && !planted(turn.settings, PlantedBug::GenerationNotChecked)) {
            return Err(ErrorCode::IllegalGeneration);
        }
        if state == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        if let Some(member) = self.roster.members.get_mut(&request.member_id) {
            member.touch(turn);
        }
        Ok(())
    }
}

fn check_offset(turn: &Turn<'_>, request: &CommitRequest, offset: &OffsetToCommit) -> ErrorCode {
    if offset.topic.len() > i16::MAX as usize {
        return ErrorCode::UnknownTopicOrPartition;
    }
    let metadata = offset.metadata.as_deref().unwrap_or("");
    // UTF-16 units are never more than bytes, so most metadata need not be counted (O-6).
    let limit = turn.settings.offset_metadata_max_bytes;
    let too_long = metadata.len() > limit && metadata.encode_utf16().count() > limit;
    // The format of commits with their own expiry has shorter texts (O-71).
    let unwritable = request.retention_ms.is_some() && metadata.len() > i16::MAX as usize;
    if too_long || unwritable { ErrorCode::OffsetMetadataTooLarge } else { ErrorCode::None }
}

/// One record for each partition without an error; of a partition named twice the last entry counts (O-21).
fn records_of(turn: &Turn<'_>, request: &CommitRequest, errors: &[ErrorCode]) -> Vec<CoordinatorRecord> {
    let accepted = || request.offsets.iter().zip(errors).enumerate().filter(|(_, (_, error))| error.is_none());
    let name = |offset: &OffsetToCommit| (offset.topic.clone(), offset.partition);
    let last: BTreeMap<_, usize> = accepted().map(|(at, (offset, _))| (name(offset), at)).collect();
    let chosen = accepted().filter(|(at, (offset, _))| last.get(&name(offset)) == Some(at));
    chosen.filter_map(|(_, (offset, _))| record_of(turn, request, offset)).collect()
}

fn record_of(turn: &Turn<'_>, request: &CommitRequest, offset: &OffsetToCommit) -> Option<CoordinatorRecord> {
    let now_ms = turn.now.wall.0;
    let mixed_up = planted(turn.settings, PlantedBug::MetadataMixedUp);
    let metadata = if mixed_up { &request.offsets[0].metadata } else { &offset.metadata };
    let value = OffsetCommit {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: metadata.clone().unwrap_or_default(),
        commit_timestamp_ms: now_ms,
        expire_timestamp_ms: request.retention_ms.map(|retention_ms| now_ms.saturating_add(retention_ms)),
        topic_id: offset.topic_id,
    };
    let key = CoordinatorKey::encode_offset_commit(&request.group_id, &offset.topic, offset.partition);
    Some(CoordinatorRecord {
        key: key.expect("both names' lengths are checked"),
        value: Some(value.encode().expect("the metadata's length is checked")),
    })
}

fn answer_of(((offset, error), goes_back): ((&OffsetToCommit, ErrorCode), bool)) -> CommittedPartition {
    let goes_back = goes_back && error.is_none();
    let OffsetToCommit { topic, topic_id, partition, .. } = offset;
    CommittedPartition { topic: topic.clone(), topic_id: *topic_id, partition: *partition, error, goes_back }
}
