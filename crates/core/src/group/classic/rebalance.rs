//! From "someone came, went or changed" to the next generation (G-14..G-18, G-23).
//!
//! Deliberately not here: the assignment, which the leader makes and `sync.rs` passes on.

use std::collections::BTreeMap;

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{GroupMetadata, MemberMetadata};
use pagemark_wire::types::Generation;

use super::join::join_answer_of;
use super::roster::{Member, Preparing, PreparingKind};
use crate::coordinator::{Answer, GroupState, SyncAnswer, Turn};
use crate::effects::After;
use crate::group::Group;
use crate::planted::{PlantedBug, planted};

/// Least time between two tries to complete a join that nobody has come to, whatever the members ask for.
const LEAST_WAIT_MS: i32 = 100;

impl Group {
    /// The first member of an empty group has come: wait a while for more (G-14).
    pub(crate) fn begin_first_rebalance(&mut self, turn: &mut Turn<'_>) {
        let delay_ms = turn.settings.group_initial_rebalance_delay_ms;
        let rebalance_timeout_ms = u64::try_from(self.roster.rebalance_timeout_ms()).unwrap_or(0);
        let kind =
            PreparingKind::Initial { remaining_ms: rebalance_timeout_ms.saturating_sub(delay_ms), newcomer: false };
        self.roster.preparing = Some(Preparing { kind, deadline: turn.now.mono.plus(delay_ms) });
        self.roster.sync_deadline = None;
        if delay_ms == 0 {
            self.complete_join(turn);
        }
    }

    /// Members must join again, from Stable or CompletingRebalance.
    pub(crate) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        self.refuse_parked_syncs(turn, ErrorCode::RebalanceInProgress);
        self.roster.sync_deadline = None;
        let deadline = turn.in_ms(self.roster.rebalance_timeout_ms());
        self.roster.preparing = Some(Preparing { kind: PreparingKind::Rejoin, deadline });
        self.try_complete_join(turn);
    }

    /// A member has gone: start a rebalance, or see whether it was the last one waited for.
    pub(crate) fn membership_changed(&mut self, turn: &mut Turn<'_>) {
        match self.state() {
            GroupState::CompletingRebalance | GroupState::Stable => self.prepare_rebalance(turn),
            GroupState::PreparingRebalance => self.try_complete_join(turn),
            GroupState::Empty | GroupState::Dead | GroupState::Unknown => {}
        }
    }

    /// Ends the waiting if everybody is here and no id is still out (G-15). The first rebalance never ends early (G-14).
    pub(crate) fn try_complete_join(&mut self, turn: &mut Turn<'_>) {
        let rejoining = matches!(self.roster.preparing, Some(Preparing { kind: PreparingKind::Rejoin, .. }));
        if rejoining && self.roster.all_joining() && self.roster.pending.is_empty() {
            self.complete_join(turn);
        }
    }

    /// The time for joining is up.
    pub(crate) fn join_deadline(&mut self, turn: &mut Turn<'_>) {
        let delay_ms = turn.settings.group_initial_rebalance_delay_ms;
        match &mut self.roster.preparing {
            Some(Preparing { kind: PreparingKind::Initial { remaining_ms, newcomer }, deadline })
                if *newcomer && *remaining_ms > 0 =>
            {
                let window_ms = delay_ms.min(*remaining_ms);
                *remaining_ms -= window_ms;
                *newcomer = false;
                *deadline = turn.now.mono.plus(window_ms);
            }
            _ => self.complete_join(turn),
        }
    }

    /// Ends the waiting with whoever is here: the next generation, or another wait, or an empty group (G-16, G-17).
    pub(crate) fn complete_join(&mut self, turn: &mut Turn<'_>) {
        let missing = |member: &Member| !member.is_joining() && member.instance_id.is_none();
        let gone: Vec<String> =
            self.roster.members.iter().filter(|(_, member)| missing(member)).map(|(id, _)| id.clone()).collect();
        for member_id in gone {
            self.remove_member(turn, &member_id, ErrorCode::UnknownMemberId);
        }
        if self.roster.members.is_empty() {
            return self.become_empty(turn);
        }
        if !self.elect_leader() {
            let deadline = turn.in_ms(self.roster.rebalance_timeout_ms().max(LEAST_WAIT_MS));
            self.roster.preparing = Some(Preparing { kind: PreparingKind::Rejoin, deadline });
            return;
        }
        self.begin_generation(turn);
    }

    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        let metadata = self.next_generation(turn);
        if let Err(error) = self.try_write(turn, &metadata) {
            // Joins are refused long before this; a group loaded from elsewhere may still be too large to go on.
            for (member_id, mut member) in self.roster.take_all() {
                member.refuse(turn, After::Nothing, error, &member_id);
            }
            return self.become_empty(turn);
        }
        self.roster.preparing = None;
        self.roster.sync_deadline = Some(turn.in_ms(self.roster.rebalance_timeout_ms()));
        for (member_id, member, to) in self.roster.end_joins() {
            member.is_new = false;
            member.synced = false;
            if let Some(to) = to {
                turn.reply(to, After::OwnRecords, Answer::Join(join_answer_of(&metadata, member_id)));
            }
            member.touch(turn);
        }
    }

    fn next_generation(&self, turn: &Turn<'_>) -> GroupMetadata {
        let protocol = self.choose_protocol();
        let metadata_of = |member: &Member| protocol.as_deref().and_then(|name| member.metadata(name)).cloned();
        let members = self.roster.members.iter().map(|(member_id, member)| MemberMetadata {
            member_id: member_id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: metadata_of(member).unwrap_or_default(),
            assignment: Bytes::new(),
        });
        GroupMetadata {
            protocol_type: self.protocol_type().to_owned(),
            generation: match planted(turn.settings, PlantedBug::GenerationNotRaised) {
                true => Generation(self.generation().0.max(1)),
                false => self.following_generation(),
            },
            protocol: protocol.clone(),
            leader: self.roster.leader.clone(),
            current_state_timestamp_ms: turn.now.wall.0,
            members: members.collect(),
            completing: true,
        }
    }

    /// Nobody is left: the generation moves on all the same (G-17).
    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        let recorded = self.recorded().map(|recorded| recorded.protocol_type.clone());
        let protocol_type = self.roster.protocol_type.take().or(recorded).unwrap_or_default();
        self.roster.preparing = None;
        self.roster.sync_deadline = None;
        self.roster.leader = None;
        self.write_empty(turn, protocol_type, self.following_generation());
    }

    fn following_generation(&self) -> Generation {
        Generation(self.generation().0.max(0).saturating_add(1))
    }

    /// The leader stays if it has joined, else whoever joined first leads. False if nobody has joined (G-16).
    fn elect_leader(&mut self) -> bool {
        let joined = |id: &String| self.roster.members.get(id).is_some_and(Member::is_joining);
        if self.roster.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let here = self.roster.members.iter().filter(|(_, member)| member.is_joining());
        match here.min_by_key(|(_, member)| member.joined) {
            Some((first, _)) => {
                self.roster.leader = Some(first.clone());
                true
            }
            None => false,
        }
    }

    /// Each member votes for the protocol it prefers among those common to all; most votes win (G-17), then the name.
    pub(crate) fn choose_protocol(&self) -> Option<String> {
        let members = &self.roster.members;
        let common = |name: &str| members.values().all(|member| member.metadata(name).is_some());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    /// G-23, and G-22 when the assignment cannot be stored.
    pub(crate) fn refuse_parked_syncs(&mut self, turn: &mut Turn<'_>, error: ErrorCode) {
        let after = self.after_membership();
        for member in self.roster.members.values_mut() {
            if let Some(to) = member.syncing.take() {
                turn.reply(to, after, Answer::Sync(SyncAnswer::error(error)));
                member.touch(turn);
            }
        }
    }
}
