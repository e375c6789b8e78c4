//! What time does to a group: dead members, lapsed ids, members that never synced, rebalances whose time is up
//! (G-7, G-9, G-10, G-16, G-18, G-21).
//!
//! Deliberately not here: the expiry of committed offsets.

use pagemark_wire::ErrorCode;

use super::roster::{PreparingKind, Roster};
use crate::coordinator::Turn;
use crate::group::Group;

/// How much later the first rebalance's window ends when the disk is in the way, milliseconds.
const STALLED_WINDOW_MS: i32 = 1_000;

impl Group {
    /// Starts every timer from its full length after a load (G-7).
    pub(crate) fn start_timers(&mut self, turn: &mut Turn<'_>) {
        let Some(recorded) = self.recorded() else { return };
        if recorded.members.is_empty() {
            return;
        }
        let completing = recorded.completing;
        self.roster = Roster::from_log(recorded);
        for member in self.roster.members.values_mut() {
            member.synced = !completing;
            member.touch(turn);
        }
        let members: Vec<String> = self.roster.members.keys().cloned().collect();
        members.iter().for_each(|member_id| self.roster.schedule(member_id, turn.now.mono));
        if completing {
            self.roster.sync_deadline = Some(turn.in_ms(self.roster.rebalance_timeout_ms()));
        }
        if self.roster.members.len() > turn.settings.group_max_size {
            self.prepare_rebalance(turn);
        }
    }

    /// Does what is due. At most one record of the group comes of it; what else has become due is left for the next call.
    pub(crate) fn on_deadline(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let lapsed = !self.roster.pending.take_lapsed(now).is_empty();

        let mut gone = self.roster.take_dead(now);
        if self.roster.sync_deadline.is_some_and(|at| at <= now) {
            self.roster.sync_deadline = None;
            let silent = self.roster.members.iter().filter(|(_, member)| !member.synced);
            gone.extend(silent.map(|(member_id, _)| member_id.clone()));
        }
        let mut removed = false;
        for member_id in gone {
            removed |= self.remove_member(turn, &member_id, ErrorCode::UnknownMemberId);
        }
        if removed {
            self.membership_changed(turn);
        } else if lapsed {
            self.try_complete_join(turn);
        }
        if self.roster.preparing.is_some_and(|preparing| preparing.deadline <= now) {
            self.join_deadline(turn);
        }
    }

    /// Puts off what is due: while the disk is in the way nobody can show that it is alive (G-9).
    pub(crate) fn put_off(&mut self, turn: &Turn<'_>) {
        let now = turn.now.mono;
        let longest = self.roster.members.values().map(|member| member.session_timeout_ms).max().unwrap_or(0);
        let later = turn.in_ms(longest.max(STALLED_WINDOW_MS));
        for member_id in self.roster.take_dead(now) {
            if let Some(member) = self.roster.members.get_mut(&member_id) {
                member.session_deadline = Some(turn.in_ms(member.session_timeout_ms.max(STALLED_WINDOW_MS)));
                self.roster.schedule(&member_id, now);
            }
        }
        for member_id in self.roster.pending.take_lapsed(now) {
            self.roster.pending.insert(member_id, later);
        }
        if let Some(at) = self.roster.sync_deadline.as_mut().filter(|at| **at <= now) {
            *at = later;
        }
        if let Some(preparing) = self.roster.preparing.as_mut().filter(|preparing| preparing.deadline <= now) {
            preparing.deadline = match preparing.kind {
                PreparingKind::Initial { .. } => turn.in_ms(STALLED_WINDOW_MS),
                PreparingKind::Rejoin => later,
            };
        }
    }
}
