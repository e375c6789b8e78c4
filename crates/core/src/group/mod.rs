//! One group: what the log says of it, and who is about to change that.
//!
//! `metadata` and `offsets` are durable state and change only in [`Group::replay_metadata`] and the offset table's own
//! replay. `roster` is volatile (see `coordinator/mod.rs`). Every transition of the classic protocol has its file in
//! `classic/`, everything about committed offsets is in `offsets/`.
//! Deliberately not here: the consumer protocol (KIP-848), share and streams groups, transactional offsets; each gets a
//! folder beside `classic/` when it is built.

pub(crate) mod classic;
mod delete;
pub(crate) mod offsets;

use std::sync::Arc;

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{CoordinatorKey, GroupMetadata, MemberMetadata};
use pagemark_wire::types::{Generation, Offset};

use crate::coordinator::{GroupState, Turn};
use crate::effects::{After, CoordinatorRecord};
use crate::time::MonoMs;
use classic::Roster;
use offsets::OffsetTable;

pub use classic::SubscribedTopics;

/// The group record as last replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// There is none: a simple group (G-38), or one whose first rebalance has not ended.
    Absent,
    /// Members sorted by id.
    Known(GroupMetadata),
    /// There is one that this broker cannot read (O-73).
    Unreadable,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: Arc<str>,
    pub(crate) metadata: Metadata,
    pub(crate) offsets: OffsetTable,
    /// Exclusive end of the last record that changed `offsets`.
    pub(crate) offsets_end: Offset,
    /// Exclusive end of the last record that changed `metadata` or made the group exist.
    pub(crate) membership_end: Offset,
    pub(crate) roster: Roster,
    /// The group's entry in the shard's deadlines.
    pub(crate) scheduled: Option<MonoMs>,
}

impl Group {
    /// A group of which nothing is known yet. `removed` is the end of the last record that removed a group: until that is
    /// durable, one of the same name may still be on the disk.
    pub(crate) fn new(id: Arc<str>, removed: Offset) -> Group {
        Group {
            id,
            metadata: Metadata::Absent,
            offsets: OffsetTable::default(),
            offsets_end: removed,
            membership_end: removed,
            roster: Roster::default(),
            scheduled: None,
        }
    }

    /// Whether nothing is known of the group any more, so that it need not be kept.
    pub(crate) fn is_blank(&self) -> bool {
        self.metadata == Metadata::Absent && self.offsets.is_empty() && self.roster.is_blank()
    }

    /// How many records the log has of the group, those that were superseded aside.
    pub(crate) fn records(&self) -> usize {
        self.offsets.len() + usize::from(self.metadata != Metadata::Absent)
    }

    pub(crate) fn replay_metadata(&mut self, metadata: Metadata, end: Offset) {
        self.metadata = metadata;
        if let Metadata::Known(known) = &mut self.metadata {
            known.members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        }
        self.membership_end = end;
    }

    pub(crate) fn recorded(&self) -> Option<&GroupMetadata> {
        match &self.metadata {
            Metadata::Known(metadata) => Some(metadata),
            Metadata::Absent | Metadata::Unreadable => None,
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        self.recorded().map_or(Generation(0), |recorded| recorded.generation)
    }

    /// The state as it follows from the last record and the rebalance at hand, if any.
    pub(crate) fn state(&self) -> GroupState {
        if self.metadata == Metadata::Unreadable {
            return GroupState::Unknown;
        }
        if self.roster.preparing.is_some() {
            return GroupState::PreparingRebalance;
        }
        match self.recorded() {
            Some(recorded) if recorded.members.is_empty() => GroupState::Empty,
            Some(recorded) if recorded.completing => GroupState::CompletingRebalance,
            Some(_) => GroupState::Stable,
            None => GroupState::Empty,
        }
    }

    pub(crate) fn protocol_type(&self) -> &str {
        match &self.roster.protocol_type {
            Some(protocol_type) if !self.roster.members.is_empty() => protocol_type,
            _ => self.recorded().map_or("", |recorded| &recorded.protocol_type),
        }
    }

    /// What an answer about the membership waits for (G-8).
    pub(crate) fn after_membership(&self) -> After {
        After::Position(self.membership_end)
    }

    /// What an answer about membership and offsets waits for.
    pub(crate) fn after_everything(&self) -> After {
        After::Position(self.membership_end.max(self.offsets_end))
    }

    /// Writes the group's record, unless it is too large for one append (G-3).
    pub(crate) fn try_write(&self, turn: &mut Turn<'_>, metadata: &GroupMetadata) -> Result<(), ErrorCode> {
        let (key, value) = (self.metadata_key(), metadata.encode());
        if key.len() + value.len() > turn.settings.append_max_bytes {
            return Err(ErrorCode::MessageTooLarge);
        }
        turn.record(key, Some(value));
        Ok(())
    }

    /// Writes the record of a group without members, which is never large.
    pub(crate) fn write_empty(&self, turn: &mut Turn<'_>, protocol_type: String, generation: Generation) {
        let record = self.empty_record(turn, protocol_type, generation);
        turn.effects.records.push(record);
    }

    /// The record of a group without members.
    pub(crate) fn empty_record(
        &self,
        turn: &Turn<'_>,
        protocol_type: String,
        generation: Generation,
    ) -> CoordinatorRecord {
        let metadata = GroupMetadata {
            protocol_type,
            generation,
            protocol: None,
            leader: None,
            current_state_timestamp_ms: turn.now.wall.0,
            members: Vec::new(),
            completing: false,
        };
        CoordinatorRecord { key: self.metadata_key(), value: Some(metadata.encode()) }
    }

    pub(crate) fn metadata_key(&self) -> Bytes {
        CoordinatorKey::encode_group_metadata(&self.id).expect("group ids are checked before a group is made")
    }
}

/// A member in a record whose members are sorted by id, as replay leaves them.
pub(crate) fn stored_member<'a>(recorded: &'a GroupMetadata, member_id: &str) -> Option<&'a MemberMetadata> {
    let at = recorded.members.binary_search_by(|member| member.member_id.as_str().cmp(member_id)).ok()?;
    Some(&recorded.members[at])
}
