//! DeleteGroups: a group without members goes, with everything it has committed (G-37, O-36).
//!
//! Deliberately not here: groups that go because nothing of them is left (O-55), single offsets (`offsets/delete.rs`).

use pagemark_wire::ErrorCode;

use super::classic::PendingIds;
use super::offsets::tombstones;
use super::{Group, Metadata};
use crate::coordinator::{Answer, GroupState, Turn};
use crate::effects::CoordinatorRecord;

impl Group {
    /// Decides about a deletion: all of it or nothing. What fits in one batch is one; of a group with more offsets than that, which
    /// nobody could ever delete otherwise, the offsets go first. If a crash cuts that short the group is still there, and nobody
    /// was told that it is not.
    pub(crate) fn delete(&mut self, turn: &mut Turn<'_>) -> Answer {
        Answer::DeleteGroup(self.try_delete(turn).err().unwrap_or(ErrorCode::None))
    }

    fn try_delete(&mut self, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        match self.state() {
            GroupState::Empty => {}
            GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Stable => {
                return Err(ErrorCode::NonEmptyGroup);
            }
            GroupState::Dead | GroupState::Unknown => return Err(ErrorCode::CoordinatorNotAvailable),
        }
        let mut records = tombstones(self, |_, _, _| true);
        if records.len() != self.offsets.len() {
            return Err(ErrorCode::CoordinatorNotAvailable); // some cannot be read (O-73)
        }
        if self.metadata != Metadata::Absent {
            records.push(CoordinatorRecord { key: self.metadata_key(), value: None });
        }
        turn.effects.records.extend(records);
        self.roster.pending = PendingIds::default();
        Ok(())
    }
}
