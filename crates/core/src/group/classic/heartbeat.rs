//! Heartbeat: the member is alive, and learns whether it must join again (G-20).
//!
//! Deliberately not here: what happens when it stops (`expire.rs`).

use pagemark_wire::ErrorCode;

use crate::coordinator::{Answer, GroupState, HeartbeatRequest, Turn};
use crate::effects::ReplyTo;
use crate::group::Group;

impl Group {
    /// Decides about a heartbeat.
    pub(crate) fn heartbeat(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &HeartbeatRequest) {
        let error = self.check_heartbeat(turn, request).err().unwrap_or(ErrorCode::None);
        turn.reply(to, self.after_membership(), Answer::Heartbeat(error));
    }

    fn check_heartbeat(&mut self, turn: &Turn<'_>, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        self.roster.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation != self.generation() {
            return Err(ErrorCode::IllegalGeneration);
        }
        let state = self.state();
        if let Some(member) = self.roster.members.get_mut(&request.member_id) {
            member.touch(turn);
        }
        match state {
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::Empty | GroupState::Dead | GroupState::Unknown => Err(ErrorCode::UnknownMemberId),
        }
    }
}
