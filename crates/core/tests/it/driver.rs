//! A broker in miniature: appends what a shard wants written, replays it, and lets replies go once they are durable.
//!
//! It checks at every step that no reply is given twice, and that none waits for what was never written.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use pagemark_core::coordinator::*;
use pagemark_core::effects::{After, CoordinatorRecord, Effects, Reply, ReplyTo};
use pagemark_core::time::{MonoMs, Now, WallMs};
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{CoordinatorKey, GroupMetadata};
use pagemark_wire::types::{Generation, LeaderEpoch, Offset, PartitionIndex, TopicId};
use uuid::Uuid;

pub struct Driver {
    pub settings: Arc<GroupSettings>,
    pub shard: GroupShard,
    pub now: Now,
    pub log: Vec<CoordinatorRecord>,
    /// Ends of atomic batches in the log.
    pub batch_ends: Vec<usize>,
    pub durable: usize,
    /// Whether everything is flushed at once.
    pub flush_at_once: bool,
    pub waiting: Vec<(usize, u64, Answer)>,
    pub answers: BTreeMap<u64, Answer>,
    next_token: u64,
    uuids: u64,
}

pub fn settings() -> GroupSettings {
    GroupSettings { group_initial_rebalance_delay_ms: 0, ..GroupSettings::default() }
}

impl Driver {
    pub fn new(settings: GroupSettings) -> Driver {
        let settings = Arc::new(settings);
        let mut shard = GroupShard::new(Arc::clone(&settings));
        let now = Now { mono: MonoMs(1_000), wall: WallMs(1_700_000_000_000) };
        assert!(shard.finish_load(now).is_empty());
        Driver {
            settings,
            shard,
            now,
            log: Vec::new(),
            batch_ends: Vec::new(),
            durable: 0,
            flush_at_once: true,
            waiting: Vec::new(),
            answers: BTreeMap::new(),
            next_token: 0,
            uuids: 0,
        }
    }

    /// No initial delay, everything flushed at once.
    pub fn quick() -> Driver {
        Driver::new(settings())
    }

    pub fn send(&mut self, request: Request) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        let effects = self.shard.handle(self.now, ReplyTo(token), request);
        self.apply(effects);
        token
    }

    /// Sends and takes the answer, which must be there at once.
    pub fn ask(&mut self, request: Request) -> Answer {
        let token = self.send(request);
        self.answer(token)
    }

    pub fn apply(&mut self, effects: Effects) {
        let own_end = self.log.len() + effects.records.len();
        for record in effects.records {
            let offset = Offset(self.log.len() as i64);
            let outcome = self.shard.replay(offset, &record.key, record.value.as_deref());
            assert_eq!(outcome, Replayed::Applied, "what is written can be read");
            self.log.push(record);
        }
        if self.batch_ends.last() != Some(&self.log.len()) {
            self.batch_ends.push(self.log.len());
        }
        for reply in effects.replies {
            let end = match reply.after {
                After::Nothing => 0,
                After::OwnRecords => own_end,
                After::Position(end) => end.0 as usize,
            };
            assert!(end <= self.log.len(), "a reply waits for what was never written");
            let token = reply.to.0;
            assert!(!self.answers.contains_key(&token), "request {token} was answered twice");
            assert!(self.waiting.iter().all(|(_, other, _)| *other != token), "request {token} was answered twice");
            self.waiting.push((end, token, reply.answer));
        }
        if self.flush_at_once {
            self.flush();
        }
        self.release();
    }

    pub fn flush(&mut self) {
        self.durable = self.log.len();
        self.release();
    }

    pub fn release(&mut self) {
        let durable = self.durable;
        let (free, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(end, ..)| *end <= durable);
        self.waiting = waiting;
        self.answers.extend(Vec::into_iter(free).map(|(_, token, answer)| (token, answer)));
    }

    pub fn answer(&mut self, token: u64) -> Answer {
        self.answers.remove(&token).unwrap_or_else(|| panic!("request {token} has no answer yet"))
    }

    pub fn is_parked(&self, token: u64) -> bool {
        !self.answers.contains_key(&token)
    }

    /// Lets time pass, doing what falls due on the way.
    pub fn pass(&mut self, ms: u64) {
        self.pass_with(ms, false);
    }

    pub fn pass_with(&mut self, ms: u64, stalled: bool) {
        let target = self.now.mono.plus(ms);
        while let Some(due) = self.shard.next_deadline().filter(|due| *due <= target) {
            self.set_time(due.max(self.now.mono));
            let effects = self.shard.on_deadline(self.now, stalled);
            self.apply(effects);
        }
        self.set_time(target);
    }

    /// Looks through all groups for what has expired; `log_start` knows where the log of every partition begins. Gives the number
    /// of offsets and groups that went.
    pub fn sweep(&mut self, log_start: Option<i64>) -> (usize, usize) {
        let (mut offsets, mut groups) = (0, 0);
        loop {
            let expired = self.shard.expire(self.now, &|_, _, _| log_start.map(Offset));
            self.apply(expired.effects);
            offsets += expired.offsets;
            groups += expired.groups;
            if expired.done {
                return (offsets, groups);
            }
        }
    }

    fn set_time(&mut self, mono: MonoMs) {
        self.now.wall.0 += (mono.0 - self.now.mono.0) as i64;
        self.now.mono = mono;
    }

    /// The process dies; of the log `keep` records are left. Whoever waits gets no answer.
    pub fn restart(&mut self, keep: usize) {
        assert!(keep >= self.durable, "what is durable stays");
        self.log.truncate(keep);
        self.batch_ends.retain(|end| *end <= keep);
        self.durable = keep;
        self.waiting.clear();
        self.shard = self.replayed(&self.log.iter().enumerate().map(|(at, r)| (at, r.clone())).collect::<Vec<_>>());
        let effects = self.shard.finish_load(self.now);
        self.apply(effects);
    }

    pub fn restart_all(&mut self) {
        self.flush();
        self.restart(self.log.len());
    }

    fn replayed(&self, log: &[(usize, CoordinatorRecord)]) -> GroupShard {
        let mut shard = GroupShard::new(Arc::clone(&self.settings));
        for (at, record) in log {
            shard.replay(Offset(*at as i64), &record.key, record.value.as_deref());
        }
        shard
    }

    /// Invariant 1: the state is what the log says, whole, compacted, or compacted up to anywhere.
    pub fn assert_state_is_replay(&self) {
        let dump = self.shard.dump();
        for compacted_below in [0, self.log.len() / 2, self.log.len()] {
            let superseded = |at: usize| self.log[at + 1..].iter().any(|later| later.key == self.log[at].key);
            let whole = self.log.iter().enumerate();
            let kept =
                whole.filter(|(at, record)| *at >= compacted_below || (!superseded(*at) && record.value.is_some()));
            let kept: Vec<_> = kept.map(|(at, record)| (at, record.clone())).collect();
            assert_eq!(self.replayed(&kept).dump(), dump, "compacted below {compacted_below}");
        }
    }

    /// A record that someone else wrote into the log.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Replayed {
        let outcome = self.shard.replay(Offset(self.log.len() as i64), key, value);
        let owned = Bytes::copy_from_slice;
        self.log.push(CoordinatorRecord { key: owned(key), value: value.map(owned) });
        self.batch_ends.push(self.log.len());
        self.flush();
        outcome
    }

    pub fn uuid(&mut self) -> String {
        self.uuids += 1;
        format!("uuid{}", self.uuids)
    }

    /// The group's last record in the log.
    pub fn recorded(&self, group: &str) -> Option<GroupMetadata> {
        let key = CoordinatorKey::encode_group_metadata(group).expect("a short name");
        let last = self.log.iter().rfind(|record| record.key == key)?;
        Some(GroupMetadata::parse(last.value.as_ref()?).expect("the shard wrote it"))
    }

    /// The group's members as of now, durable or not.
    pub fn members(&mut self, group: &str) -> Vec<DescribedMember> {
        let request = Request::Describe(DescribeRequest { group_id: group.into() });
        let effects = self.shard.handle(self.now, ReplyTo(0), request);
        let [Reply { answer: Answer::Describe(answer), .. }] = &effects.replies[..] else {
            panic!("not a description")
        };
        answer.members.clone()
    }

    // What tests ask again and again.

    /// Joins as version 4 on does: first for an id, then with it. Gives the id and the token of the second join.
    pub fn join_new(&mut self, group: &str) -> (String, u64) {
        let first = self.join(JoinRequest { requires_known_member_id: true, ..consumer(group, "") });
        assert_eq!(first.error, ErrorCode::MemberIdRequired);
        let token = self.send_join(consumer(group, &first.member_id));
        (first.member_id, token)
    }

    pub fn send_join(&mut self, mut request: JoinRequest) -> u64 {
        request.fresh_member_uuid = self.uuid();
        self.send(Request::Join(request))
    }

    pub fn join(&mut self, request: JoinRequest) -> JoinAnswer {
        let token = self.send_join(request);
        self.join_answer(token)
    }

    pub fn join_answer(&mut self, token: u64) -> JoinAnswer {
        let Answer::Join(answer) = self.answer(token) else { panic!("not a join's answer") };
        answer
    }

    pub fn sync_answer(&mut self, token: u64) -> SyncAnswer {
        let Answer::Sync(answer) = self.answer(token) else { panic!("not a sync's answer") };
        answer
    }

    pub fn send_sync(&mut self, group: &str, member: &str, generation: i32, assignments: &[(&str, &str)]) -> u64 {
        self.send(Request::Sync(sync(group, member, generation, assignments)))
    }

    pub fn sync(&mut self, group: &str, member: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncAnswer {
        let token = self.send_sync(group, member, generation, assignments);
        self.sync_answer(token)
    }

    pub fn heartbeat(&mut self, group: &str, member: &str, generation: i32) -> ErrorCode {
        self.heartbeat_as(group, member, None, generation)
    }

    pub fn heartbeat_as(&mut self, group: &str, member: &str, instance: Option<&str>, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: group.into(),
            generation: Generation(generation),
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
        };
        let Answer::Heartbeat(error) = self.ask(Request::Heartbeat(request)) else {
            panic!("not a heartbeat's answer")
        };
        error
    }

    pub fn leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let members = members.iter().map(|(member, instance)| LeavingMember {
            member_id: (*member).into(),
            group_instance_id: instance.map(Into::into),
            reason: None,
        });
        let request = LeaveRequest { group_id: group.into(), members: members.collect() };
        let Answer::Leave(answer) = self.ask(Request::Leave(request)) else { panic!("not a leave's answer") };
        assert_eq!(answer.error, ErrorCode::None, "G-24: no error at the top");
        answer.members.into_iter().map(|member| member.error).collect()
    }

    pub fn commit(&mut self, request: CommitRequest) -> Vec<ErrorCode> {
        let Answer::Commit(answer) = self.ask(Request::Commit(request)) else { panic!("not a commit's answer") };
        answer.offsets.into_iter().map(|offset| offset.error).collect()
    }

    /// Commits one offset of `sales`-0.
    pub fn commit_one(&mut self, group: &str, member: &str, generation: i32, offset: i64) -> ErrorCode {
        self.commit(commit(group, member, generation, vec![to_commit("sales", 0, offset)]))[0]
    }

    pub fn fetch(&mut self, group: &str, topic: &str, partitions: &[i32]) -> Vec<FetchedPartition> {
        let topic = FetchTopic {
            name: topic.into(),
            current_id: Some(topic_id(topic)),
            partitions: partitions.iter().map(|p| PartitionIndex(*p)).collect(),
        };
        let request = FetchOffsetsRequest { group_id: group.into(), topics: Some(vec![topic]), require_stable: false };
        let Answer::Fetch(mut answer) = self.ask(Request::Fetch(request)) else { panic!("not a fetch's answer") };
        assert_eq!(answer.error, ErrorCode::None);
        answer.topics.remove(0).partitions
    }

    /// The offset committed for `sales`-0.
    pub fn committed(&mut self, group: &str) -> i64 {
        self.fetch(group, "sales", &[0])[0].offset.0
    }

    pub fn describe(&mut self, group: &str) -> DescribeAnswer {
        let request = DescribeRequest { group_id: group.into() };
        let Answer::Describe(answer) = self.ask(Request::Describe(request)) else { panic!("not a description") };
        answer
    }

    pub fn state(&mut self, group: &str) -> GroupState {
        self.describe(group).state
    }

    pub fn list(&mut self, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        let request = ListRequest { states: owned(states), types: owned(types) };
        let Answer::List(answer) = self.ask(Request::List(request)) else { panic!("not a list") };
        answer.groups
    }

    /// A stable group of generation 1 with this many members; the first is the leader. The others' assignment is their id.
    pub fn stable(&mut self, group: &str, count: usize) -> Vec<String> {
        let mut members = Vec::new();
        let (leader, token) = self.join_new(group);
        self.join_answer(token);
        members.push(leader.clone());
        // The others join while the leader has yet to sync, then it joins again.
        let mut tokens = Vec::new();
        for _ in 1..count {
            let (member, token) = self.join_new(group);
            members.push(member);
            tokens.push(token);
        }
        let mut generation = 1;
        if count > 1 {
            let token = self.send_join(consumer(group, &leader));
            generation = self.join_answer(token).generation.0;
            tokens.into_iter().for_each(|token| generation = self.join_answer(token).generation.0);
        }
        let assignments: Vec<(&str, &str)> = members.iter().map(|m| (m.as_str(), m.as_str())).collect();
        assert_eq!(self.sync(group, &leader, generation, &assignments).error, ErrorCode::None);
        for member in &members[1..] {
            assert_eq!(self.sync(group, member, generation, &[]).error, ErrorCode::None);
        }
        assert_eq!(self.state(group), GroupState::Stable);
        members
    }
}

/// A dynamic member of protocol type `consumer`, as versions before 4 join.
pub fn consumer(group: &str, member: &str) -> JoinRequest {
    JoinRequest {
        group_id: group.into(),
        member_id: member.into(),
        group_instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", "sales")],
        requires_known_member_id: false,
        supports_skip_assignment: false,
        fresh_member_uuid: String::new(),
    }
}

/// A protocol whose metadata is a subscription to one topic.
pub fn protocol(name: &str, topic: &str) -> (String, Bytes) {
    let mut metadata = vec![0, 1, 0, 0, 0, 1, 0, topic.len() as u8];
    metadata.extend_from_slice(topic.as_bytes());
    metadata.extend_from_slice(&[0xff; 4]);
    (name.into(), metadata.into())
}

pub fn sync(group: &str, member: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncRequest {
    SyncRequest {
        group_id: group.into(),
        generation: Generation(generation),
        member_id: member.into(),
        group_instance_id: None,
        protocol_check: None,
        assignments: assignments.iter().map(|(m, a)| ((*m).into(), Bytes::copy_from_slice(a.as_bytes()))).collect(),
    }
}

pub fn commit(group: &str, member: &str, generation: i32, offsets: Vec<OffsetToCommit>) -> CommitRequest {
    CommitRequest {
        group_id: group.into(),
        generation: Generation(generation),
        member_id: member.into(),
        group_instance_id: None,
        offsets,
        retention_ms: None,
    }
}

pub fn to_commit(topic: &str, partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: topic.into(),
        topic_id: topic_id(topic),
        partition: PartitionIndex(partition),
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(3),
        metadata: Some(format!("at {offset}")),
    }
}

/// An id that follows from the name.
pub fn topic_id(name: &str) -> TopicId {
    let mut bytes = [7; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    TopicId(Uuid::from_bytes(bytes))
}
