//! One partition of `__consumer_offsets` and all groups in it: finds the group that a request or record is about, and keeps
//! the deadlines of all of them.
//!
//! Deliberately not here: what a request means to a group (`group/`); which group belongs to which shard (G-1).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{CoordinatorKey, GroupMetadata, InternalError, OffsetCommit};
use pagemark_wire::types::{Offset, PartitionIndex, TopicId};

use super::deadlines::Deadlines;
use super::expiry::{Step, Sweep};
use super::{
    Answer, CommitRequest, DescribeAnswer, DescribeRequest, Expired, GroupSettings, GroupState, JoinAnswer,
    JoinRequest, ListAnswer, ListRequest, LogStarts, Request, SubscribedTopics, Turn,
};
use crate::effects::{After, Effects, Reply, ReplyTo};
use crate::group::offsets::{self, Stored};
use crate::group::{Group, Metadata};
use crate::planted::{PlantedBug, planted};
use crate::time::{MonoMs, Now};

/// Longest group id, in bytes: what the key of a record can carry (O-70).
const GROUP_ID_MAX_BYTES: usize = i16::MAX as usize;

/// What became of a record given to [`GroupShard::replay`]; everything but `Applied` deserves one line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// It is part of the state now.
    Applied,
    /// A record type that this broker does not know, skipped (O-73).
    UnknownType(i16),
    /// A key that cannot be read, skipped.
    MalformedKey,
    /// The value is of a newer version: calls that need it are answered COORDINATOR_NOT_AVAILABLE (O-73).
    NewerVersion(i16),
    /// The value of a known key cannot be read: treated as a newer version is.
    MalformedValue,
}

/// One group in numbers, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupSummary<'a> {
    /// Its id.
    pub group_id: &'a str,
    /// Its state.
    pub state: GroupState,
    /// Number of members, joining ones included.
    pub members: usize,
    /// Number of committed offsets.
    pub offsets: usize,
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupShard {
    settings: Arc<GroupSettings>,
    groups: BTreeMap<Arc<str>, Group>,
    /// Names of topics with offsets, each kept once.
    topics: BTreeSet<Arc<str>>,
    deadlines: Deadlines,
    sweep: Sweep,
    /// Exclusive end of the last record that changed any group's membership: what a list of groups waits for (G-8).
    membership_end: Offset,
    /// Exclusive end of the last record that removed a group: what "no such group" waits for.
    removal_end: Offset,
}

impl GroupShard {
    /// An empty shard, to be filled by [`GroupShard::replay`] and opened by [`GroupShard::finish_load`].
    #[must_use]
    pub fn new(settings: Arc<GroupSettings>) -> GroupShard {
        GroupShard {
            settings,
            groups: BTreeMap::new(),
            topics: BTreeSet::new(),
            deadlines: Deadlines::default(),
            sweep: Sweep::default(),
            membership_end: Offset(0),
            removal_end: Offset(0),
        }
    }

    /// Decides about a request. The records handed back must be appended and replayed before anything else is asked.
    /// A reply may come later, from another call: a member waits parked for its group.
    pub fn handle(&mut self, now: Now, to: ReplyTo, request: Request) -> Effects {
        let settings = Arc::clone(&self.settings);
        let mut turn = Turn::new(now, &settings);
        match check_group_id(&request) {
            Err(error) => turn.reply(to, After::Nothing, Answer::to_refused(&request, error)),
            Ok(()) => self.decide(&mut turn, to, &request),
        }
        turn.effects
    }

    fn decide(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &Request) {
        match request {
            Request::Join(join) => self.join(turn, to, join),
            Request::Sync(sync) => {
                if let Some((None, _) | (_, None)) = &sync.protocol_check {
                    let answer = Answer::to_refused(request, ErrorCode::InconsistentGroupProtocol);
                    return turn.reply(to, After::Nothing, answer);
                }
                self.member_call(turn, to, request, &sync.group_id, |group, turn| group.sync(turn, to, sync));
            }
            Request::Heartbeat(beat) => match self.groups.get_mut(beat.group_id.as_str()) {
                // It only puts a timer off, which leaves the group's deadline as good as it was.
                Some(group) if group.metadata != Metadata::Unreadable => group.heartbeat(turn, to, beat),
                _ => self.member_call(turn, to, request, &beat.group_id, |_, _| ()),
            },
            Request::Leave(leave) => {
                self.member_call(turn, to, request, &leave.group_id, |group, turn| group.leave(turn, to, leave));
            }
            Request::Commit(commit) => self.commit(turn, to, commit),
            Request::Fetch(fetch) => {
                let group = self.groups.get(fetch.group_id.as_str());
                let after = group.map_or(After::Position(self.removal_end), |group| After::Position(group.offsets_end));
                let answer = offsets::fetch(turn.settings, group.map(|group| &group.offsets), fetch);
                let early = planted(turn.settings, PlantedBug::OffsetReadEarly);
                turn.reply(to, if early { After::Nothing } else { after }, Answer::Fetch(answer));
            }
            Request::Describe(describe) => self.describe(turn, to, describe),
            Request::List(list) => self.list(turn, to, list),
            Request::DeleteGroup(delete) => self.deletion(turn, to, request, &delete.group_id, Group::delete),
            Request::DeleteOffsets(delete) => {
                self.deletion(turn, to, request, &delete.group_id, |group, turn| group.delete_offsets(turn, delete));
            }
        }
    }

    /// A deletion in a group that is there. Its answer waits for the tombstones, or for what it was refused for.
    fn deletion(
        &mut self,
        turn: &mut Turn<'_>,
        to: ReplyTo,
        request: &Request,
        group_id: &str,
        delete: impl FnOnce(&mut Group, &mut Turn<'_>) -> Answer,
    ) {
        let after = self.groups.get(group_id).map_or(self.after_absence(), Group::after_everything);
        let mut answer = Answer::to_refused(request, ErrorCode::GroupIdNotFound);
        self.with_group(turn, group_id, |group, turn| answer = delete(group, turn));
        let after = if turn.effects.records.is_empty() { after } else { After::OwnRecords };
        turn.reply(to, after, answer);
    }

    fn join(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &JoinRequest) {
        let refuse = |error| Answer::Join(JoinAnswer::error(error, request.member_id.clone()));
        let allowed = turn.settings.group_min_session_timeout_ms..=turn.settings.group_max_session_timeout_ms;
        if !allowed.contains(&request.session_timeout_ms) {
            return turn.reply(to, After::Nothing, refuse(ErrorCode::InvalidSessionTimeout));
        }
        let group_id = request.group_id.as_str();
        if !self.groups.contains_key(group_id) {
            if !request.member_id.is_empty() {
                return turn.reply(to, self.after_absence(), refuse(ErrorCode::UnknownMemberId));
            }
            self.groups.insert(group_id.into(), Group::new(group_id.into(), self.removal_end));
        }
        self.with_group(turn, group_id, |group, turn| {
            if group.metadata == Metadata::Unreadable {
                return turn.reply(to, group.after_membership(), refuse(ErrorCode::CoordinatorNotAvailable));
            }
            group.join(turn, to, request);
        });
    }

    /// A call that only members of a group make: without the group nobody is a member.
    fn member_call(
        &mut self,
        turn: &mut Turn<'_>,
        to: ReplyTo,
        request: &Request,
        group_id: &str,
        call: impl FnOnce(&mut Group, &mut Turn<'_>),
    ) {
        match self.groups.get(group_id).map(|group| &group.metadata) {
            Some(Metadata::Unreadable) => {
                let answer = Answer::to_refused(request, ErrorCode::CoordinatorNotAvailable);
                turn.reply(to, self.after_absence(), answer);
            }
            Some(Metadata::Absent | Metadata::Known(_)) => self.with_group(turn, group_id, call),
            None => {
                let mut answer = Answer::to_refused(request, ErrorCode::UnknownMemberId);
                if let Answer::Leave(leave) = &mut answer {
                    leave.error = ErrorCode::None;
                }
                turn.reply(to, self.after_absence(), answer);
            }
        }
    }

    fn commit(&mut self, turn: &mut Turn<'_>, to: ReplyTo, request: &CommitRequest) {
        let absent = self.after_absence();
        let group = self.groups.get_mut(request.group_id.as_str());
        offsets::commit(group, absent, turn, to, request);
    }

    fn describe(&self, turn: &mut Turn<'_>, to: ReplyTo, request: &DescribeRequest) {
        let group_id = &request.group_id;
        let (after, answer) = match self.groups.get(group_id.as_str()) {
            Some(group) if group.metadata == Metadata::Unreadable => {
                let error = ErrorCode::CoordinatorNotAvailable;
                (group.after_membership(), DescribeAnswer::error(error, group_id.clone(), GroupState::Unknown))
            }
            Some(group) => (group.after_membership(), group.describe()),
            None => {
                let error = ErrorCode::GroupIdNotFound;
                (self.after_absence(), DescribeAnswer::error(error, group_id.clone(), GroupState::Dead))
            }
        };
        turn.reply(to, after, Answer::Describe(answer));
    }

    fn list(&self, turn: &mut Turn<'_>, to: ReplyTo, request: &ListRequest) {
        let groups = self.groups.values().filter_map(|group| group.list(request)).collect();
        let after = After::Position(self.membership_end);
        turn.reply(to, after, Answer::List(ListAnswer { error: ErrorCode::None, groups }));
    }

    fn after_absence(&self) -> After {
        After::Position(self.removal_end)
    }

    /// Lets a group decide, then keeps its deadline, or forgets it if nothing is left of it.
    fn with_group(&mut self, turn: &mut Turn<'_>, group_id: &str, call: impl FnOnce(&mut Group, &mut Turn<'_>)) {
        let Some(group) = self.groups.get_mut(group_id) else { return };
        call(group, turn);
        if group.is_blank() && turn.effects.records.is_empty() {
            self.forget(group_id);
        } else {
            self.deadlines.ensure(&group.id, &mut group.scheduled, group.roster.first_deadline());
        }
    }

    fn forget(&mut self, group_id: &str) {
        if let Some(mut group) = self.groups.remove(group_id) {
            self.deadlines.remove(&group.id, &mut group.scheduled);
        }
    }

    /// Takes one record of the shard's partition into the state. `offset` is its offset.
    pub fn replay(&mut self, offset: Offset, key: &[u8], value: Option<&[u8]>) -> Replayed {
        let end = offset.plus(1);
        match CoordinatorKey::parse(key) {
            Ok(CoordinatorKey::OffsetCommit { group, topic, partition }) => {
                self.replay_offset(end, &group, &topic, partition, value)
            }
            Ok(CoordinatorKey::GroupMetadata { group }) => self.replay_group(end, &group, value),
            Ok(CoordinatorKey::Unknown { record_type }) => Replayed::UnknownType(record_type),
            Err(_) => Replayed::MalformedKey,
        }
    }

    fn replay_offset(
        &mut self,
        end: Offset,
        group_id: &str,
        topic: &str,
        partition: PartitionIndex,
        value: Option<&[u8]>,
    ) -> Replayed {
        let Some(value) = value else {
            if let Some(group) = self.groups.get_mut(group_id) {
                group.offsets.remove(topic, partition);
                group.offsets_end = end;
            }
            self.forget_if_blank(group_id, end);
            return Replayed::Applied;
        };
        let (stored, outcome) = match OffsetCommit::parse(value) {
            Ok(commit) => (Stored::Readable(commit), Replayed::Applied),
            Err(error) => (Stored::Unreadable, unreadable(error)),
        };
        let topic = self.intern(topic);
        let group = self.group_of_record(group_id, end);
        group.offsets.set(topic, partition, stored);
        group.offsets_end = end;
        outcome
    }

    fn replay_group(&mut self, end: Offset, group_id: &str, value: Option<&[u8]>) -> Replayed {
        self.membership_end = end;
        let Some(value) = value else {
            if let Some(group) = self.groups.get_mut(group_id) {
                group.replay_metadata(Metadata::Absent, end);
            }
            self.forget_if_blank(group_id, end);
            return Replayed::Applied;
        };
        let (metadata, outcome) = match GroupMetadata::parse(value) {
            Ok(metadata) => (Metadata::Known(metadata), Replayed::Applied),
            Err(error) => (Metadata::Unreadable, unreadable(error)),
        };
        self.group_of_record(group_id, end).replay_metadata(metadata, end);
        outcome
    }

    fn group_of_record(&mut self, group_id: &str, end: Offset) -> &mut Group {
        if !self.groups.contains_key(group_id) {
            let mut group = Group::new(group_id.into(), self.removal_end);
            group.membership_end = end;
            self.membership_end = end;
            self.groups.insert(Arc::clone(&group.id), group);
        }
        self.groups.get_mut(group_id).expect("it was put there if it was missing")
    }

    fn forget_if_blank(&mut self, group_id: &str, end: Offset) {
        if self.groups.get(group_id).is_some_and(Group::is_blank) {
            self.forget(group_id);
            self.membership_end = end;
            self.removal_end = end;
        }
    }

    fn intern(&mut self, topic: &str) -> Arc<str> {
        if let Some(present) = self.topics.get(topic) {
            return Arc::clone(present);
        }
        let name: Arc<str> = topic.into();
        self.topics.insert(Arc::clone(&name));
        name
    }

    /// Opens the shard once everything is replayed: every timer runs from full length (G-7).
    pub fn finish_load(&mut self, now: Now) -> Effects {
        let settings = Arc::clone(&self.settings);
        let mut turn = Turn::new(now, &settings);
        self.sweep.loaded(now);
        for group in self.groups.values_mut() {
            group.start_timers(&mut turn);
            self.deadlines.ensure(&group.id, &mut group.scheduled, group.roster.first_deadline());
        }
        turn.effects
    }

    /// The answer while the log is still being read: heartbeats are fine, all else is to be tried again (G-4).
    #[must_use]
    pub fn while_loading(request: &Request) -> Answer {
        match request {
            Request::Heartbeat(_) => Answer::Heartbeat(ErrorCode::None),
            _ => Answer::to_refused(request, ErrorCode::CoordinatorLoadInProgress),
        }
    }

    /// The answer to a request that cannot be served: this one error everywhere (G-3, O-19).
    #[must_use]
    pub fn unavailable(request: &Request, code: ErrorCode) -> Answer {
        Answer::to_refused(request, code)
    }

    /// Refuses everyone who is parked; for a shard about to be thrown away.
    pub fn abandon(&mut self, code: ErrorCode) -> Vec<Reply> {
        let settings = Arc::clone(&self.settings);
        let mut turn = Turn::new(Now::default(), &settings);
        for group in self.groups.values_mut() {
            for (member_id, member) in &mut group.roster.members {
                member.refuse(&mut turn, After::Nothing, code, member_id);
            }
        }
        turn.effects.replies
    }

    /// When [`GroupShard::on_deadline`] wants to be called; may be early, never late.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonoMs> {
        self.deadlines.first()
    }

    /// Does what is due by `now`. When `stalled` (an append has been outstanding for over a second) nobody is expired and
    /// what is due is put off (G-9).
    pub fn on_deadline(&mut self, now: Now, stalled: bool) -> Effects {
        let settings = Arc::clone(&self.settings);
        let mut turn = Turn::new(now, &settings);
        for group_id in self.deadlines.take_due(now.mono) {
            let Some(group) = self.groups.get_mut(&group_id) else { continue };
            group.scheduled = None;
            let written = turn.effects.records.len();
            if stalled {
                group.put_off(&turn);
            } else {
                group.on_deadline(&mut turn);
            }
            if group.is_blank() && turn.effects.records.len() == written {
                self.forget(&group_id);
            } else {
                self.deadlines.ensure(&group.id, &mut group.scheduled, group.roster.first_deadline());
            }
        }
        turn.effects
    }

    /// One step of a sweep through all groups for what has expired (O-50 to O-55). The next step begins where this one ended,
    /// and the next sweep at the first group.
    pub fn expire(&mut self, now: Now, log_starts: &LogStarts<'_>) -> Expired {
        let settings = Arc::clone(&self.settings);
        let mut turn = Turn::new(now, &settings);
        let Some(wall) = self.sweep.time(now, &settings) else { return Expired { done: true, ..Expired::default() } };
        let mut expired = Expired { done: true, ..Expired::default() };
        let mut step = Step::default();
        let after = self.sweep.after.take();
        let rest = (after.as_deref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        for (group_id, group) in self.groups.range::<str, _>(rest) {
            let records = group.expire(&turn, wall, log_starts);
            if !step.has_room(&records, settings.append_max_bytes) {
                expired.done = false;
                break;
            }
            step.take(group.offsets.len(), &records);
            let tombstones = records.iter().filter(|record| record.value.is_none()).count();
            expired.offsets += tombstones.min(group.offsets.len());
            let is_all = tombstones == records.len() && tombstones == group.records();
            expired.groups += usize::from(is_all && tombstones > 0);
            turn.effects.records.extend(records);
            self.sweep.after = Some(Arc::clone(group_id));
        }
        if expired.done {
            self.sweep.after = None;
            self.topics.retain(|name| Arc::strong_count(name) > 1);
        }
        expired.effects = turn.effects;
        expired
    }

    /// A topic is gone: so are its offsets, in every group; the groups stay (O-60). An offset stored without a topic id is
    /// known by the name (O-61).
    pub fn topic_deleted(&mut self, now: Now, topic: TopicId, name: &str) -> Effects {
        self.drop_offsets(now, &|stored_name, commit| {
            commit.topic_id == topic || (commit.topic_id == TopicId::ZERO && stored_name == name)
        })
    }

    /// After a load: removes offsets whose stored topic id names no topic any more, should a deletion have been cut short.
    pub fn drop_offsets_of_missing_topics(&mut self, now: Now, exists: &dyn Fn(TopicId) -> bool) -> Effects {
        self.drop_offsets(now, &|_, commit| commit.topic_id != TopicId::ZERO && !exists(commit.topic_id))
    }

    fn drop_offsets(&mut self, now: Now, gone: &dyn Fn(&str, &OffsetCommit) -> bool) -> Effects {
        let settings = Arc::clone(&self.settings);
        let mut turn = Turn::new(now, &settings);
        for group in self.groups.values() {
            offsets::drop_offsets(group, &mut turn, gone);
        }
        self.topics.retain(|name| Arc::strong_count(name) > 1);
        turn.effects
    }

    /// Every group in numbers, by id.
    pub fn summaries(&self) -> impl Iterator<Item = GroupSummary<'_>> {
        self.groups.values().map(|group| GroupSummary {
            group_id: &group.id,
            state: group.state(),
            members: group.roster.members.len(),
            offsets: group.offsets.len(),
        })
    }

    /// Which topics a group is subscribed to; `None` if there is no such group or its protocol type is not `consumer` (G-25).
    #[must_use]
    pub fn subscribed_topics(&self, group_id: &str) -> Option<SubscribedTopics> {
        self.groups.get(group_id)?.subscribed_topics()
    }

    /// The durable state in a canonical text: equal for equal states, whatever way led there.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut text = String::new();
        let durable = |group: &&Group| group.metadata != Metadata::Absent || !group.offsets.is_empty();
        for group in self.groups.values().filter(durable) {
            writeln!(text, "{:?} {:?}", group.id, group.metadata).expect("a string takes everything");
            for (topic, partitions) in group.offsets.iter() {
                for (partition, stored) in partitions {
                    writeln!(text, "  {topic:?}-{partition} {stored:?}").expect("a string takes everything");
                }
            }
        }
        text
    }
}

/// G-5: an empty id is legal for offsets alone; none is longer than a key can carry.
fn check_group_id(request: &Request) -> Result<(), ErrorCode> {
    let (group_id, may_be_empty) = match request {
        Request::Join(join) => (&join.group_id, false),
        Request::Sync(sync) => (&sync.group_id, false),
        Request::Heartbeat(heartbeat) => (&heartbeat.group_id, false),
        Request::Leave(leave) => (&leave.group_id, false),
        Request::Describe(describe) => (&describe.group_id, false),
        Request::Commit(commit) => (&commit.group_id, true),
        Request::Fetch(fetch) => (&fetch.group_id, true),
        Request::DeleteGroup(delete) => (&delete.group_id, true),
        Request::DeleteOffsets(delete) => (&delete.group_id, false),
        Request::List(_) => return Ok(()),
    };
    let fits = group_id.len() <= GROUP_ID_MAX_BYTES && (may_be_empty || !group_id.is_empty());
    if fits { Ok(()) } else { Err(ErrorCode::InvalidGroupId) }
}

fn unreadable(error: InternalError) -> Replayed {
    match error {
        InternalError::NewerVersion(version) => Replayed::NewerVersion(version),
        InternalError::Malformed(_) => Replayed::MalformedValue,
    }
}
