//! JoinGroup: who is let in, and whether that starts a rebalance (G-10..G-13, G-19).
//!
//! Deliberately not here: static members coming back under a new id (`static_member.rs`), the rebalance itself.

use pagemark_wire::ErrorCode;
use pagemark_wire::internal::GroupMetadata;

use super::roster::{Member, PreparingKind};
use crate::coordinator::{Answer, GroupState, JoinAnswer, JoinRequest, JoinedMember, Turn};
use crate::effects::ReplyTo;
use crate::group::Group;

/// Most member ids that one group has handed out and not yet seen again.
const MOST_PENDING_IDS: usize = 10_000;

impl Group {
    /// Decides about a join. The answer may come later.
    pub(crate) fn join(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &JoinRequest) {
        if !self.has_room_for(turn, request) {
            if self.remove_member(turn, &request.member_id, ErrorCode::GroupMaxSizeReached) {
                self.membership_changed(turn);
            }
            return self.refuse_join(turn, to, request, ErrorCode::GroupMaxSizeReached);
        }
        if !self.supports(request) {
            return self.refuse_join(turn, to, request, ErrorCode::InconsistentGroupProtocol);
        }
        if self.record_bytes_with(request) > turn.settings.append_max_bytes / 2 {
            return self.refuse_join(turn, to, request, ErrorCode::MessageTooLarge);
        }
        if request.member_id.is_empty() {
            self.join_without_id(turn, to, request);
        } else {
            self.join_with_id(turn, to, request);
        }
    }

    fn join_without_id(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &JoinRequest) {
        let Some(instance_id) = &request.group_instance_id else {
            let member_id = format!("{}-{}", request.client_id, request.fresh_member_uuid);
            if !request.requires_known_member_id {
                return self.admit(turn, to, member_id, request);
            }
            if !self.has_room_for_an_id(turn) {
                return self.refuse_join(turn, to, request, ErrorCode::GroupMaxSizeReached);
            }
            self.roster.pending.insert(member_id.clone(), turn.in_ms(request.session_timeout_ms));
            let answer = JoinAnswer::error(ErrorCode::MemberIdRequired, member_id);
            return turn.reply(to, self.after_membership(), Answer::Join(answer));
        };
        let member_id = format!("{instance_id}-{}", request.fresh_member_uuid);
        match self.roster.static_ids.get(instance_id).cloned() {
            Some(old_id) => self.replace_static(turn, to, &old_id, member_id, request),
            None => self.admit(turn, to, member_id, request),
        }
    }

    fn join_with_id(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &JoinRequest) {
        let member_id = &request.member_id;
        if request.group_instance_id.is_none() && self.roster.pending.remove(member_id) {
            return self.admit(turn, to, member_id.clone(), request);
        }
        if let Err(error) = self.roster.check_member(member_id, request.group_instance_id.as_deref()) {
            return self.refuse_join(turn, to, request, error);
        }
        self.rejoin(turn, to, request);
    }

    /// A known member joins again (G-19).
    fn rejoin(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &JoinRequest) {
        let member_id = request.member_id.as_str();
        let recorded = self.recorded();
        let chosen = recorded.and_then(|recorded| recorded.protocol.as_deref());
        let is_leader = recorded.is_some_and(|recorded| recorded.leader.as_deref() == Some(member_id));
        let unchanged = self.roster.members.get(member_id).is_some_and(|member| member.matches(request, chosen));
        match self.state() {
            GroupState::PreparingRebalance => {
                self.park_rejoin(turn, to, request);
                self.try_complete_join(turn);
            }
            GroupState::CompletingRebalance if unchanged => self.answer_again(turn, to, request),
            GroupState::Stable if unchanged && !is_leader => self.answer_again(turn, to, request),
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.park_rejoin(turn, to, request);
                self.prepare_rebalance(turn);
            }
            GroupState::Empty | GroupState::Dead | GroupState::Unknown => {
                self.refuse_join(turn, to, request, ErrorCode::UnknownMemberId);
            }
        }
    }

    /// The answer to the join of the present generation once more; the first one may have been lost.
    fn answer_again(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &JoinRequest) {
        self.roster.update(&request.member_id, request);
        if let Some(member) = self.roster.members.get_mut(&request.member_id) {
            member.touch(turn);
            self.roster.schedule(&request.member_id, turn.now.mono);
        }
        turn.reply(to, self.after_membership(), Answer::Join(self.join_answer(&request.member_id)));
    }

    /// What a member of the recorded generation is told at joining; the leader gets everybody.
    pub(crate) fn join_answer(&self, member_id: &str) -> JoinAnswer {
        match self.recorded() {
            Some(recorded) => join_answer_of(recorded, member_id),
            None => JoinAnswer::error(ErrorCode::UnknownMemberId, member_id.to_owned()),
        }
    }

    /// Lets a newcomer in.
    fn admit(&mut self, turn: &mut Turn<'_>, to: ReplyTo, member_id: String, request: &JoinRequest) {
        let state = self.state();
        if self.roster.members.is_empty() {
            self.roster.protocol_type = Some(request.protocol_type.clone());
        }
        let mut member = Member::new(request);
        member.joined = self.roster.next_join();
        self.roster.add(member_id.clone(), member);
        self.roster.park_join(turn, to, &member_id);
        self.roster.schedule(&member_id, turn.now.mono);
        match state {
            GroupState::Empty => self.begin_first_rebalance(turn),
            GroupState::PreparingRebalance => {
                if let Some(preparing) = &mut self.roster.preparing
                    && let PreparingKind::Initial { newcomer, .. } = &mut preparing.kind
                {
                    *newcomer = true;
                }
                self.try_complete_join(turn);
            }
            GroupState::CompletingRebalance | GroupState::Stable => self.prepare_rebalance(turn),
            GroupState::Dead | GroupState::Unknown => {
                unreachable!("the shard asks only groups that are there and readable")
            }
        }
    }

    pub(crate) fn park_rejoin(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &JoinRequest) {
        let joined = self.roster.next_join();
        self.roster.update(&request.member_id, request);
        if let Some(member) = self.roster.members.get_mut(&request.member_id) {
            member.joined = joined;
            self.roster.park_join(turn, to, &request.member_id);
            self.roster.schedule(&request.member_id, turn.now.mono);
        }
    }

    fn refuse_join(&self, turn: &mut Turn<'_>, to: ReplyTo, request: &JoinRequest, error: ErrorCode) {
        turn.reply(to, self.after_membership(), Answer::Join(JoinAnswer::error(error, request.member_id.clone())));
    }

    /// G-13: existing members are let in while nothing moves; while preparing, the first to come win.
    fn has_room_for(&self, turn: &Turn<'_>, request: &JoinRequest) -> bool {
        let limit = turn.settings.group_max_size;
        let member = self.asking(request).and_then(|member_id| self.roster.members.get(member_id));
        match self.state() {
            GroupState::PreparingRebalance => member.is_some_and(Member::is_joining) || self.roster.joining() < limit,
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.roster.members.len() < limit
            }
            GroupState::Empty | GroupState::Dead | GroupState::Unknown => true,
        }
    }

    /// Ids handed out count with the members, and there is an end to them even where groups may be of any size: each costs
    /// memory, and whoever asks for one need never come back (G-13).
    fn has_room_for_an_id(&self, turn: &Turn<'_>) -> bool {
        let pending = self.roster.pending.len();
        let here = match self.state() {
            GroupState::PreparingRebalance => self.roster.joining(),
            _ => self.roster.members.len(),
        };
        pending < MOST_PENDING_IDS && here + pending < turn.settings.group_max_size
    }

    /// G-12: the group's protocol type, and a protocol that everybody else can do too.
    fn supports(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        if self.roster.members.is_empty() {
            return true;
        }
        let asking = self.member_asking(request);
        let others = self.roster.members.len() - usize::from(asking.is_some());
        let own = asking.map(|(_, member)| member.abilities()).unwrap_or_default();
        let able_others = |name: &str| self.roster.able(name) - usize::from(own.contains(name));
        self.roster.protocol_type.as_deref() == Some(&request.protocol_type)
            && request.protocols.iter().any(|(name, _)| able_others(name) == others)
    }

    fn record_bytes_with(&self, request: &JoinRequest) -> usize {
        let newcomer = Member::new(request).record_bytes(&request.member_id) + request.protocol_type.len();
        let before = self.member_asking(request).map_or(0, |(member_id, member)| member.record_bytes(member_id));
        newcomer + self.roster.record_bytes() - before
    }

    fn member_asking(&self, request: &JoinRequest) -> Option<(&String, &Member)> {
        self.asking(request).and_then(|member_id| self.roster.members.get_key_value(member_id))
    }

    /// Which member asks, if it is one: a static member that comes without its id is known by its instance.
    fn asking<'a>(&'a self, request: &'a JoinRequest) -> Option<&'a str> {
        match &request.group_instance_id {
            Some(instance_id) if request.member_id.is_empty() => {
                self.roster.static_ids.get(instance_id).map(String::as_str)
            }
            _ => Some(&request.member_id),
        }
    }
}

/// What a member of this generation is told at joining.
pub(crate) fn join_answer_of(recorded: &GroupMetadata, member_id: &str) -> JoinAnswer {
    let is_leader = recorded.leader.as_deref() == Some(member_id);
    let everybody = recorded.members.iter().filter(|_| is_leader).map(|member| JoinedMember {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        metadata: member.subscription.clone(),
    });
    JoinAnswer {
        error: ErrorCode::None,
        generation: recorded.generation,
        protocol_type: Some(recorded.protocol_type.clone()),
        protocol: recorded.protocol.clone(),
        leader: recorded.leader.clone().unwrap_or_default(),
        skip_assignment: false,
        member_id: member_id.to_owned(),
        members: everybody.collect(),
    }
}
