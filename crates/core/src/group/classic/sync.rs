//! SyncGroup: the leader's assignment goes into the log and from there to everybody (G-18, G-22).
//!
//! Deliberately not here: what the assignment says; to us it is bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::GroupMetadata;

use crate::coordinator::{Answer, GroupState, SyncAnswer, SyncRequest, Turn};
use crate::effects::{After, ReplyTo};
use crate::group::{Group, stored_member};

impl Group {
    /// Decides about a sync. The answer may come later.
    pub(crate) fn sync(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &SyncRequest) {
        if let Err(error) = self.check_sync(request) {
            return turn.reply(to, self.after_membership(), Answer::Sync(SyncAnswer::error(error)));
        }
        match self.state() {
            GroupState::CompletingRebalance => self.sync_completing(turn, to, request),
            GroupState::Stable => self.sync_stable(turn, to, request),
            GroupState::PreparingRebalance => {
                if let Some(member) = self.roster.members.get_mut(&request.member_id) {
                    member.touch(turn);
                }
                let answer = SyncAnswer::error(ErrorCode::RebalanceInProgress);
                turn.reply(to, self.after_membership(), Answer::Sync(answer));
            }
            GroupState::Empty | GroupState::Dead | GroupState::Unknown => {
                let answer = SyncAnswer::error(ErrorCode::UnknownMemberId);
                turn.reply(to, self.after_membership(), Answer::Sync(answer));
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), ErrorCode> {
        self.roster.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation != self.generation() {
            return Err(ErrorCode::IllegalGeneration);
        }
        let protocol = self.recorded().and_then(|recorded| recorded.protocol.as_deref());
        match &request.protocol_check {
            Some((protocol_type, name))
                if protocol_type.as_deref() != Some(self.protocol_type()) || name.as_deref() != protocol =>
            {
                Err(ErrorCode::InconsistentGroupProtocol)
            }
            _ => Ok(()),
        }
    }

    fn sync_completing(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &SyncRequest) {
        if let Some(member) = self.roster.members.get_mut(&request.member_id) {
            member.park_sync(turn, to);
        }
        let Some(recorded) = self.recorded() else { return };
        if recorded.leader.as_deref() != Some(&request.member_id) {
            return;
        }
        let assigned = assign(recorded, &request.assignments, turn.now.wall.0);
        match self.try_write(turn, &assigned) {
            Ok(()) => self.hand_out(turn, &assigned),
            Err(error) => {
                self.refuse_parked_syncs(turn, error);
                self.prepare_rebalance(turn);
            }
        }
    }

    /// Answers everyone who waits for the assignment just written.
    fn hand_out(&mut self, turn: &mut Turn<'_>, assigned: &GroupMetadata) {
        for (member_id, member) in &mut self.roster.members {
            if let Some(to) = member.syncing.take() {
                turn.reply(to, After::OwnRecords, Answer::Sync(sync_answer(assigned, member_id)));
                member.touch(turn);
            }
        }
        self.sync_seen();
    }

    fn sync_stable(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &SyncRequest) {
        if let Some(member) = self.roster.members.get_mut(&request.member_id) {
            member.synced = true;
            member.touch(turn);
        }
        if let Some(recorded) = self.recorded() {
            turn.reply(to, self.after_membership(), Answer::Sync(sync_answer(recorded, &request.member_id)));
        }
        self.sync_seen();
    }

    /// Once everybody has synced there is nobody left to wait for (G-18).
    fn sync_seen(&mut self) {
        if self.roster.members.values().all(|member| member.synced) {
            self.roster.sync_deadline = None;
        }
    }
}

/// The group's record with the leader's assignment in it; who was forgotten gets nothing, strangers are ignored.
fn assign(recorded: &GroupMetadata, assignments: &[(String, Bytes)], now_ms: i64) -> GroupMetadata {
    let given: BTreeMap<&str, &Bytes> = assignments.iter().map(|(id, assignment)| (id.as_str(), assignment)).collect();
    let mut assigned = recorded.clone();
    assigned.completing = false;
    assigned.current_state_timestamp_ms = now_ms;
    for member in &mut assigned.members {
        member.assignment = given.get(member.member_id.as_str()).map(|bytes| (*bytes).clone()).unwrap_or_default();
    }
    assigned
}

fn sync_answer(recorded: &GroupMetadata, member_id: &str) -> SyncAnswer {
    SyncAnswer {
        error: ErrorCode::None,
        protocol_type: Some(recorded.protocol_type.clone()),
        protocol: recorded.protocol.clone(),
        assignment: stored_member(recorded, member_id).map(|member| member.assignment.clone()).unwrap_or_default(),
    }
}
