//! LeaveGroup: members go, or an administrator removes them (G-24).
//!
//! Deliberately not here: a record of each departure. A crash before the next generation brings those who left back until
//! their sessions end; as no later generation exists, nobody else owns their partitions in the meantime.

use pagemark_wire::ErrorCode;

use crate::coordinator::{Answer, LeaveAnswer, LeaveRequest, LeavingMember, LeftMember, Turn};
use crate::effects::{After, ReplyTo};
use crate::group::Group;

/// What a departure took away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Member,
    PendingId,
}

impl Group {
    /// Decides about a leave.
    pub(crate) fn leave(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &LeaveRequest) {
        let before = self.after_membership();
        let outcomes: Vec<_> = request.members.iter().map(|entry| self.leave_one(turn, entry)).collect();
        if outcomes.contains(&Ok(Left::Member)) {
            self.membership_changed(turn);
        } else if outcomes.contains(&Ok(Left::PendingId)) {
            self.try_complete_join(turn);
        }
        let members = request.members.iter().zip(outcomes).map(|(entry, outcome)| LeftMember {
            member_id: entry.member_id.clone(),
            group_instance_id: entry.group_instance_id.clone(),
            error: outcome.err().unwrap_or(ErrorCode::None),
        });
        let answer = LeaveAnswer { error: ErrorCode::None, members: members.collect() };
        let after = if turn.effects.records.is_empty() { before } else { After::OwnRecords };
        turn.reply(to, after, Answer::Leave(answer));
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, entry: &LeavingMember) -> Result<Left, ErrorCode> {
        let instance_id = entry.group_instance_id.as_deref();
        if entry.member_id.is_empty() {
            let owner = instance_id.and_then(|instance_id| self.roster.static_ids.get(instance_id).cloned());
            let owner = owner.ok_or(ErrorCode::UnknownMemberId)?;
            self.remove_member(turn, &owner, ErrorCode::UnknownMemberId);
            return Ok(Left::Member);
        }
        if self.roster.pending.remove(&entry.member_id) {
            return Ok(Left::PendingId);
        }
        self.roster.check_member(&entry.member_id, instance_id)?;
        self.remove_member(turn, &entry.member_id, ErrorCode::UnknownMemberId);
        Ok(Left::Member)
    }
}
