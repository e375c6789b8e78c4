//! A static member comes back under a new id (KIP-345: G-31, G-32).
//!
//! Deliberately not here: the check that a member is who it says (`Roster::check_member`, G-30).

use pagemark_wire::ErrorCode;
use pagemark_wire::internal::GroupMetadata;

use super::join::join_answer_of;
use crate::coordinator::{Answer, GroupState, JoinRequest, Turn};
use crate::effects::{After, ReplyTo};
use crate::group::Group;

impl Group {
    /// The instance's new process takes the place of `old_id`, which is fenced from now on.
    pub(crate) fn replace_static(
        &mut self,
        turn: &mut Turn<'_>,
        to: ReplyTo,
        old_id: &str,
        new_id: String,
        request: &JoinRequest,
    ) {
        let was_leader = self.roster.leader.as_deref() == Some(old_id);
        let after = self.after_membership();
        let mut member = self.roster.take(old_id).expect("static ids name members that are there");
        member.refuse(turn, after, ErrorCode::FencedInstanceId, old_id);
        member.update(request);
        member.joined = self.roster.next_join();
        self.roster.add(new_id.clone(), member);
        self.roster.schedule(&new_id, turn.now.mono);
        if was_leader {
            self.roster.leader = Some(new_id.clone());
        }
        if self.state() == GroupState::Stable && self.take_place_in_record(turn, to, old_id, &new_id, request) {
            return;
        }
        self.roster.park_join(turn, to, &new_id);
        self.membership_changed(turn);
    }

    /// Without a rebalance: only the name in the record changes. False if the group has to rebalance after all.
    fn take_place_in_record(
        &mut self,
        turn: &mut Turn<'_>,
        to: ReplyTo,
        old_id: &str,
        new_id: &str,
        request: &JoinRequest,
    ) -> bool {
        let Some(recorded) = self.recorded() else { return false };
        if self.choose_protocol() != recorded.protocol {
            return false;
        }
        let mut metadata = recorded.clone();
        let old_leader = metadata.leader.clone();
        if !rename(&mut metadata, old_id, new_id, request) || self.try_write(turn, &metadata).is_err() {
            return false;
        }
        if let Some(member) = self.roster.members.get_mut(new_id) {
            member.touch(turn);
        }
        let mut answer = join_answer_of(&metadata, new_id);
        if request.supports_skip_assignment {
            answer.skip_assignment = metadata.leader.as_deref() == Some(new_id);
        } else {
            // An old client that sees itself as leader would assign anew; so it is told the leader of before (G-31).
            answer.leader = old_leader.unwrap_or_default();
            answer.members.clear();
        }
        turn.reply(to, After::OwnRecords, Answer::Join(answer));
        true
    }
}

fn rename(metadata: &mut GroupMetadata, old_id: &str, new_id: &str, request: &JoinRequest) -> bool {
    let chosen = metadata.protocol.clone().unwrap_or_default();
    let Some(member) = metadata.members.iter_mut().find(|member| member.member_id == old_id) else { return false };
    new_id.clone_into(&mut member.member_id);
    member.client_id.clone_from(&request.client_id);
    member.client_host.clone_from(&request.client_host);
    member.session_timeout_ms = request.session_timeout_ms;
    member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    if let Some((_, subscription)) = request.protocols.iter().find(|(name, _)| *name == chosen) {
        member.subscription = subscription.clone();
    }
    if metadata.leader.as_deref() == Some(old_id) {
        metadata.leader = Some(new_id.to_owned());
    }
    true
}
