//! Who belongs to the group right now, joining members included, with their timers and parked replies. All of it volatile.
//!
//! Deliberately not here: when anything of this changes; see the transitions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pagemark_wire::internal::{GroupMetadata, MemberMetadata};

use super::sessions::Sessions;
use crate::coordinator::{Answer, JoinAnswer, JoinRequest, SyncAnswer, Turn};
use crate::effects::{After, ReplyTo};
use crate::group::Group;
use crate::planted::{PlantedBug, planted};
use crate::time::MonoMs;
use pagemark_wire::ErrorCode;

/// How long a newcomer may wait in its first join, milliseconds.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1000;

/// Members and the rebalance at hand.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// By member id.
    pub(crate) members: BTreeMap<String, Member>,
    /// Member id by instance id.
    pub(crate) static_ids: BTreeMap<String, String>,
    /// Ids handed out by MEMBER_ID_REQUIRED, with the moment each lapses (G-10).
    pub(crate) pending: PendingIds,
    /// What the members' protocol type is; of no meaning without members.
    pub(crate) protocol_type: Option<String>,
    /// Who leads, if still here when the rebalance ends.
    pub(crate) leader: Option<String>,
    /// Set while the group waits for members to join.
    pub(crate) preparing: Option<Preparing>,
    /// When members that have not synced are removed (G-18).
    pub(crate) sync_deadline: Option<MonoMs>,
    /// Whose session may be over next.
    pub(super) sessions: Sessions,
    /// Number of joins so far, to know who came first.
    joins: u64,
    /// Number of members whose join is parked.
    joining: usize,
    /// What a join asks of all members: about how many bytes they take in the group's record, and how many can do each protocol.
    record_bytes: usize,
    able: BTreeMap<String, usize>,
}

/// Ids handed out, kept twice: by name, and in the order in which they lapse, so that the next to lapse is found at once
/// however many there are.
#[derive(Debug, Default)]
pub(crate) struct PendingIds {
    lapses: BTreeMap<String, MonoMs>,
    in_order: BTreeSet<(MonoMs, String)>,
}

impl PendingIds {
    pub(crate) fn len(&self) -> usize {
        self.lapses.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lapses.is_empty()
    }

    pub(crate) fn insert(&mut self, member_id: String, lapses: MonoMs) {
        self.remove(&member_id);
        self.in_order.insert((lapses, member_id.clone()));
        self.lapses.insert(member_id, lapses);
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, member_id: &str) -> bool {
        let Some((member_id, lapses)) = self.lapses.remove_entry(member_id) else { return false };
        self.in_order.remove(&(lapses, member_id));
        true
    }

    /// When the next one lapses.
    pub(crate) fn first_lapse(&self) -> Option<MonoMs> {
        self.in_order.first().map(|(lapses, _)| *lapses)
    }

    /// Takes those out whose time has come.
    pub(crate) fn take_lapsed(&mut self, now: MonoMs) -> Vec<String> {
        let mut taken = Vec::new();
        while self.first_lapse().is_some_and(|lapses| lapses <= now) {
            if let Some((_, member_id)) = self.in_order.pop_first() {
                self.lapses.remove(&member_id);
                taken.push(member_id);
            }
        }
        taken
    }
}

/// A rebalance that waits for members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preparing {
    pub(crate) kind: PreparingKind,
    pub(crate) deadline: MonoMs,
}

/// What the waiting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreparingKind {
    /// The first rebalance of an empty group: never ends early, goes on by windows while newcomers appear (G-14).
    Initial {
        /// What is left of the rebalance timeout after the present window, milliseconds.
        remaining_ms: u64,
        /// Someone joined in the present window.
        newcomer: bool,
    },
    /// Any other: ends when everybody is here (G-15).
    Rejoin,
}

/// A member, or someone joining. Times are milliseconds.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// What it can do, preferred first. Read back from the log, only the chosen protocol is known.
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) from_log: bool,
    /// Has not yet been in any generation.
    pub(crate) is_new: bool,
    /// Has asked for its assignment in the present generation.
    pub(crate) synced: bool,
    /// Its parked JoinGroup; the roster counts these.
    joining: Option<ReplyTo>,
    /// Its parked SyncGroup.
    pub(crate) syncing: Option<ReplyTo>,
    /// When it is taken for dead; none while it is parked (G-21).
    pub(crate) session_deadline: Option<MonoMs>,
    /// Its entry in the roster's sessions.
    pub(super) scheduled: Option<MonoMs>,
    /// Position in the order of joins.
    pub(crate) joined: u64,
}

impl Member {
    pub(crate) fn new(request: &JoinRequest) -> Member {
        Member {
            instance_id: request.group_instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols.clone(),
            from_log: false,
            is_new: true,
            synced: false,
            joining: None,
            syncing: None,
            session_deadline: None,
            scheduled: None,
            joined: 0,
        }
    }

    fn from_log(stored: &MemberMetadata, protocol: Option<&str>) -> Member {
        Member {
            instance_id: stored.group_instance_id.clone(),
            client_id: stored.client_id.clone(),
            client_host: stored.client_host.clone(),
            session_timeout_ms: stored.session_timeout_ms,
            rebalance_timeout_ms: stored.rebalance_timeout_ms,
            protocols: protocol.iter().map(|name| ((*name).to_owned(), stored.subscription.clone())).collect(),
            from_log: true,
            is_new: false,
            synced: false,
            joining: None,
            syncing: None,
            session_deadline: None,
            scheduled: None,
            joined: 0,
        }
    }

    /// Takes over what a member says of itself when it joins again. The roster counts some of it: see [`Roster::update`].
    pub(super) fn update(&mut self, request: &JoinRequest) {
        self.client_id.clone_from(&request.client_id);
        self.client_host.clone_from(&request.client_host);
        self.session_timeout_ms = request.session_timeout_ms;
        self.rebalance_timeout_ms = request.rebalance_timeout_ms;
        self.protocols.clone_from(&request.protocols);
        self.from_log = false;
    }

    /// Its metadata for a protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
    }

    /// Whether a join says nothing new. `chosen` is the group's protocol: of a member read back from the log, only its
    /// metadata for that one is known, and it is what the assignment was made from.
    pub(crate) fn matches(&self, request: &JoinRequest, chosen: Option<&str>) -> bool {
        if !self.from_log {
            return self.protocols == request.protocols;
        }
        let Some(chosen) = chosen else { return false };
        let offered = request.protocols.iter().find(|(name, _)| name == chosen).map(|(_, metadata)| metadata);
        offered.is_some() && offered == self.metadata(chosen)
    }

    /// The session timer starts anew, unless the member is parked.
    pub(crate) fn touch(&mut self, turn: &Turn<'_>) {
        if self.joining.is_none() && self.syncing.is_none() {
            let halved = planted(turn.settings, PlantedBug::SessionHalved);
            let session_ms = if halved { self.session_timeout_ms / 2 } else { self.session_timeout_ms };
            self.session_deadline = Some(turn.in_ms(session_ms));
        }
    }

    /// Whether its join is parked.
    pub(crate) fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    /// The names of its protocols, each once.
    pub(super) fn abilities(&self) -> BTreeSet<&str> {
        self.protocols.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn park_join(&mut self, turn: &mut Turn<'_>, to: ReplyTo, member_id: &str) {
        if let Some(older) = self.joining.replace(to) {
            let answer = JoinAnswer::error(ErrorCode::RebalanceInProgress, member_id.to_owned());
            turn.reply(older, After::Nothing, Answer::Join(answer));
        }
        self.session_deadline = self.is_new.then(|| turn.in_ms(NEW_MEMBER_JOIN_TIMEOUT_MS));
    }

    /// Leaves the sync waiting; an older one of the same member is told to join again.
    pub(crate) fn park_sync(&mut self, turn: &mut Turn<'_>, to: ReplyTo) {
        if let Some(older) = self.syncing.replace(to) {
            turn.reply(older, After::Nothing, Answer::Sync(SyncAnswer::error(ErrorCode::RebalanceInProgress)));
        }
        self.session_deadline = None;
        self.synced = true;
    }

    /// Answers whatever of this member is parked with an error.
    pub(crate) fn refuse(&mut self, turn: &mut Turn<'_>, after: After, error: ErrorCode, member_id: &str) {
        if let Some(to) = self.joining.take() {
            turn.reply(to, after, Answer::Join(JoinAnswer::error(error, member_id.to_owned())));
        }
        if let Some(to) = self.syncing.take() {
            turn.reply(to, after, Answer::Sync(SyncAnswer::error(error)));
        }
    }

    /// About how many bytes the member takes in the group's record, its assignment aside.
    pub(crate) fn record_bytes(&self, member_id: &str) -> usize {
        let metadata = self.protocols.iter().map(|(_, metadata)| metadata.len()).max().unwrap_or(0);
        let instance_id = self.instance_id.as_ref().map_or(0, String::len);
        member_id.len() + instance_id + self.client_id.len() + self.client_host.len() + metadata + 64
    }
}

impl Roster {
    /// The members of a group as the log has them; the caller starts the timers.
    pub(crate) fn from_log(recorded: &GroupMetadata) -> Roster {
        let mut roster = Roster {
            protocol_type: Some(recorded.protocol_type.clone()),
            leader: recorded.leader.clone(),
            ..Roster::default()
        };
        for stored in &recorded.members {
            let member = Member::from_log(stored, recorded.protocol.as_deref());
            roster.add(stored.member_id.clone(), member);
        }
        roster
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.preparing.is_none()
    }

    pub(crate) fn add(&mut self, member_id: String, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.static_ids.insert(instance_id.clone(), member_id.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.joining += usize::from(member.is_joining());
        self.count(&member_id, &member);
        let before = self.members.insert(member_id.clone(), member);
        if let Some(before) = before {
            self.joining -= usize::from(before.is_joining());
            self.discount(&member_id, &before);
        }
    }

    /// Takes over what a member says of itself when it joins again.
    pub(crate) fn update(&mut self, member_id: &str, request: &JoinRequest) {
        let Some((member_id, mut member)) = self.members.remove_entry(member_id) else { return };
        self.discount(&member_id, &member);
        member.update(request);
        self.count(&member_id, &member);
        self.members.insert(member_id, member);
    }

    fn count(&mut self, member_id: &str, member: &Member) {
        self.record_bytes += member.record_bytes(member_id);
        for name in member.abilities() {
            match self.able.get_mut(name) {
                Some(able) => *able += 1,
                None => drop(self.able.insert(name.to_owned(), 1)),
            }
        }
    }

    fn discount(&mut self, member_id: &str, member: &Member) {
        self.record_bytes -= member.record_bytes(member_id);
        for name in member.abilities() {
            match self.able.get_mut(name) {
                Some(able) if *able > 1 => *able -= 1,
                _ => drop(self.able.remove(name)),
            }
        }
    }

    /// About how many bytes all members take in the group's record.
    pub(crate) fn record_bytes(&self) -> usize {
        debug_assert_eq!(
            self.record_bytes,
            self.members.iter().map(|(id, member)| member.record_bytes(id)).sum::<usize>()
        );
        self.record_bytes
    }

    /// How many members can do a protocol.
    pub(crate) fn able(&self, protocol: &str) -> usize {
        let able = self.able.get(protocol).copied().unwrap_or(0);
        debug_assert_eq!(able, self.members.values().filter(|member| member.metadata(protocol).is_some()).count());
        able
    }

    /// Leaves a member's join waiting; an older one of the same member is told to try again.
    pub(crate) fn park_join(&mut self, turn: &mut Turn<'_>, to: ReplyTo, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            self.joining += usize::from(!member.is_joining());
            member.park_join(turn, to, member_id);
        }
    }

    /// All members, each with its parked join, which waits no more.
    pub(crate) fn end_joins(&mut self) -> impl Iterator<Item = (&String, &mut Member, Option<ReplyTo>)> {
        self.joining = 0;
        self.members.iter_mut().map(|(member_id, member)| {
            let to = member.joining.take();
            (member_id, member, to)
        })
    }

    /// Takes all members out; what they have parked is the caller's to answer.
    pub(crate) fn take_all(&mut self) -> BTreeMap<String, Member> {
        self.static_ids.clear();
        self.sessions.clear();
        self.joining = 0;
        self.record_bytes = 0;
        self.able.clear();
        std::mem::take(&mut self.members)
    }

    /// Takes a member out; what it has parked is the caller's to answer.
    pub(crate) fn take(&mut self, member_id: &str) -> Option<Member> {
        let mut member = self.members.remove(member_id)?;
        self.joining -= usize::from(member.is_joining());
        self.discount(member_id, &member);
        if let Some(at) = member.scheduled.take() {
            self.sessions.remove(at, member_id);
        }
        if let Some(instance_id) = &member.instance_id
            && self.static_ids.get(instance_id).is_some_and(|owner| owner == member_id)
        {
            self.static_ids.remove(instance_id);
        }
        if self.leader.as_deref() == Some(member_id) {
            self.leader = None;
        }
        Some(member)
    }

    pub(crate) fn next_join(&mut self) -> u64 {
        self.joins += 1;
        self.joins
    }

    /// Is this who it says it is (G-20, G-30)?
    pub(crate) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            let owner = self.static_ids.get(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
            if owner != member_id {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Number of members whose join is parked.
    pub(crate) fn joining(&self) -> usize {
        debug_assert_eq!(self.joining, self.members.values().filter(|member| member.is_joining()).count());
        self.joining
    }

    /// Whether everybody's is.
    pub(crate) fn all_joining(&self) -> bool {
        self.joining() == self.members.len()
    }

    /// The group's rebalance timeout, milliseconds.
    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    /// A moment at which something here falls due, or may; nothing does before.
    pub(crate) fn first_deadline(&self) -> Option<MonoMs> {
        let group = [self.preparing.map(|preparing| preparing.deadline), self.sync_deadline];
        group.into_iter().chain([self.sessions.first(), self.pending.first_lapse()]).flatten().min()
    }
}

impl Group {
    /// Removes a member and tells whatever it has parked.
    pub(crate) fn remove_member(&mut self, turn: &mut Turn<'_>, member_id: &str, error: ErrorCode) -> bool {
        let after = self.after_membership();
        let Some(mut member) = self.roster.take(member_id) else { return false };
        member.refuse(turn, after, error, member_id);
        true
    }
}
