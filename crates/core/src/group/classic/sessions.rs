//! Whose session may be over next: an entry for each member in order of time, so that nobody looks through all of them.
//!
//! An entry is never later than the member's deadline, and mostly earlier: a heartbeat puts the deadline off and leaves the entry
//! alone. Once it is due the member is looked at and entered anew. So a member costs a step for each session timeout, however
//! often it beats and however many there are. `coordinator/deadlines.rs` does the same with groups.
//! Deliberately not here: the deadlines themselves (`roster.rs`), what becomes of the dead (`expire.rs`).

use std::collections::BTreeSet;

use super::roster::Roster;
use crate::time::MonoMs;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    in_order: BTreeSet<(MonoMs, String)>,
    /// Entries that were due so far: the work that all of this has been.
    due: u64,
}

impl Sessions {
    pub(super) fn first(&self) -> Option<MonoMs> {
        self.in_order.first().map(|(at, _)| *at)
    }

    pub(super) fn remove(&mut self, at: MonoMs, member_id: &str) {
        self.in_order.remove(&(at, member_id.to_owned()));
    }

    pub(super) fn clear(&mut self) {
        self.in_order.clear();
    }
}

impl Roster {
    /// Enters a member whose deadline or session timeout may have come nearer. No later deadline can be nearer than a whole
    /// session from now, so that the entry holds until it is due.
    pub(super) fn schedule(&mut self, member_id: &str, now: MonoMs) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let session_ms = u64::try_from(member.session_timeout_ms).unwrap_or(0).max(1);
        let at = member.session_deadline.map_or(now.plus(session_ms), |at| at.min(now.plus(session_ms)));
        if let Some(before) = member.scheduled.replace(at) {
            self.sessions.remove(before, member_id);
        }
        self.sessions.in_order.insert((at, member_id.to_owned()));
    }

    /// The members whose session is over, by id. They have no entry afterwards: whoever is not removed is to be scheduled.
    pub(super) fn take_dead(&mut self, now: MonoMs) -> Vec<String> {
        let (mut dead, mut alive) = (Vec::new(), Vec::new());
        while self.sessions.first().is_some_and(|at| at <= now) {
            let Some((_, member_id)) = self.sessions.in_order.pop_first() else { break };
            self.sessions.due += 1;
            let Some(member) = self.members.get_mut(&member_id) else { continue };
            member.scheduled = None;
            let is_dead = member.session_deadline.is_some_and(|at| at <= now);
            if is_dead { dead.push(member_id) } else { alive.push(member_id) }
        }
        alive.iter().for_each(|member_id| self.schedule(member_id, now));
        dead.sort_unstable();
        dead
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::roster::Member;
    use super::*;
    use crate::coordinator::{GroupSettings, JoinRequest, Turn};
    use crate::effects::ReplyTo;
    use crate::time::{Now, WallMs};

    const SESSION_MS: u64 = 45_000;
    const MEMBERS: u64 = 5_000;

    fn request(member_id: &str) -> JoinRequest {
        JoinRequest {
            group_id: "readers".into(),
            member_id: member_id.into(),
            group_instance_id: None,
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: SESSION_MS as i32,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), Bytes::new())],
            requires_known_member_id: false,
            supports_skip_assignment: false,
            fresh_member_uuid: String::new(),
        }
    }

    /// The time between two beats is a third of a session, as in all clients. Looking through all members at each deadline would
    /// be 5,000 times as much work as this allows.
    #[test]
    fn thousands_of_members_cost_a_step_for_each_session_and_only_the_silent_one_dies_g_21() {
        let settings = GroupSettings::default();
        let turn_at = |ms: u64| Turn::new(Now { mono: MonoMs(ms), wall: WallMs(0) }, &settings);
        let mut roster = Roster::default();
        let id = |n: u64| format!("member-{n}");
        for n in 0..MEMBERS {
            roster.add(id(n), Member::new(&request(&id(n))));
            roster.park_join(&mut turn_at(n), ReplyTo(n), &id(n));
            roster.schedule(&id(n), MonoMs(n));
        }
        roster.end_joins().for_each(|(_, member, _)| member.is_new = false);
        for n in 0..MEMBERS {
            roster.members.get_mut(&id(n)).unwrap().touch(&turn_at(n));
        }
        let sessions = 10;
        let mut silent_since = 0;
        let (mut wakes, mut dead) = (0, Vec::new());
        for ms in MEMBERS..SESSION_MS * sessions {
            // Each member has a millisecond of its own in every third of a session.
            let n = ms % (SESSION_MS / 3);
            let beats = n != 7 || ms < SESSION_MS;
            if let Some(member) = roster.members.get_mut(&id(n)).filter(|_| beats) {
                member.touch(&turn_at(ms));
                silent_since = if n == 7 { ms } else { silent_since };
            }
            if roster.first_deadline().is_some_and(|at| at <= MonoMs(ms)) {
                wakes += 1;
                for member_id in roster.take_dead(MonoMs(ms)) {
                    assert!(roster.take(&member_id).is_some());
                    dead.push((member_id, ms));
                }
            }
        }
        assert_eq!(dead, [(id(7), silent_since + SESSION_MS)], "to the millisecond");
        let due = roster.sessions.due;
        assert!(due <= MEMBERS * (sessions * 3 / 2), "{due} entries were looked at, in {wakes} wakes");
        assert_eq!(roster.sessions.in_order.len() as u64, MEMBERS - 1, "nothing is left behind");
    }
}
