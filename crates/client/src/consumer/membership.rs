//! The group's own calls: join, sync, heartbeat, leave. Each says what is to be done about a refusal.
//!
//! Deliberately not here: when they are made, and what becomes of partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pagemark_wire::consumer_protocol::{Assignment, MemberSubscription, Partitions};
use pagemark_wire::messages::join_group_request::JoinGroupRequestProtocol;
use pagemark_wire::messages::leave_group_request::MemberIdentity;
use pagemark_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use pagemark_wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use tokio::time::Instant;

use super::ConsumerSettings;
use super::assignor::{self, Assignments, Assignor, Member, Members};
use super::error::ConsumerError;
use super::listener::PartitionSet;
use super::state::{Joining, Phase, Shared};
use crate::cluster::{Cluster, Lane};
use crate::code::Code;
use crate::error::Error;
use crate::offsets::Committer;
use crate::partition::TopicPartition;
use pagemark_wire::messages::{group_id, text};

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

/// Longest wait for anything before the group is left.
pub(super) const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// So long a coordinator may take over a commit, `offsets.commit.timeout.ms`, and what comes behind it on its connection
/// waits. To give up sooner would take the connection from everybody on it.
pub(super) const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// Why a call of the group failed.
#[derive(Debug)]
pub(super) enum GroupError {
    /// Try again in a while.
    Retry(Error),
    /// Give up.
    Fatal(ConsumerError),
}

impl From<Error> for GroupError {
    fn from(error: Error) -> GroupError {
        let code = error.code();
        if code == Some(Code::FENCED_INSTANCE_ID) {
            return GroupError::Fatal(ConsumerError::Fenced);
        }
        let passes = [Code::REBALANCE_IN_PROGRESS, Code::UNKNOWN_MEMBER_ID, Code::ILLEGAL_GENERATION];
        if error.is_retriable() || code.is_some_and(|code| passes.contains(&code)) {
            return GroupError::Retry(error);
        }
        GroupError::Fatal(ConsumerError::Fatal(error))
    }
}

/// This consumer's membership in its group.
pub(super) struct Membership {
    pub(super) cluster: Arc<Cluster>,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<ConsumerSettings>,
    pub(super) group: String,
}

/// What a join was answered.
pub(super) struct Joined {
    member: Committer,
    assignor: String,
    /// For the leader: everybody.
    members: Option<Members>,
    /// The leader need not assign: the group goes on as it was.
    goes_on: bool,
}

/// Partitions of each topic, as far as metadata knows it.
pub(super) type Counts = BTreeMap<String, Option<usize>>;

/// What this member gets.
pub(super) struct Synced {
    pub(super) partitions: PartitionSet,
    /// For the leader: the topics of all members, as they were when it assigned. Nobody else sees to it that they change.
    pub(super) counts: Option<Counts>,
}

impl Membership {
    /// Joins, as a new member or for the next generation, and gets this member's part of it.
    pub(super) async fn next_assignment(&self, _joining: Joining, topics: &[String]) -> Result<Synced, GroupError> {
        let joined = self.join(topics).await?;
        let synced = self.sync(joined).await?;
        self.shared.lock().last_heard = Instant::now();
        Ok(synced)
    }

    async fn join(&self, topics: &[String]) -> Result<Joined, GroupError> {
        loop {
            let (member, owned) = {
                let state = self.shared.lock();
                (state.member.clone(), state.assignment())
            };
            let answer = self.ask_join(&member, &owned, topics).await?;
            let member_id = answer.member_id.to_string();
            match Code(answer.error_code) {
                Code::NONE => return self.read_join(&answer),
                Code::MEMBER_ID_REQUIRED if !member_id.is_empty() => {
                    self.shared.lock().member.member_id = member_id;
                    self.shared.group.notify_one();
                }
                Code::UNKNOWN_MEMBER_ID => {
                    self.shared.lock().refuse(Code::UNKNOWN_MEMBER_ID);
                    return Err(Error::refused(Code::UNKNOWN_MEMBER_ID).into());
                }
                code => {
                    self.cluster.judge_coordinator(&self.group, code.0)?;
                    return Err(Error::Protocol("a member id is required, and none was given".to_owned()).into());
                }
            }
        }
    }

    async fn ask_join(
        &self,
        member: &Committer,
        owned: &PartitionSet,
        topics: &[String],
    ) -> Result<JoinGroupResponse, GroupError> {
        let subscription = MemberSubscription {
            topics: topics.to_vec(),
            // Java's sticky assignor looks for the generation here.
            user_data: Some(member.generation.to_be_bytes().to_vec().into()),
            owned: by_name(owned),
            generation: member.generation,
        };
        let metadata = subscription.to_bytes().map_err(|error| Error::Invalid(error.to_string()))?;
        let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let settings = &self.settings;
        let make = |version: i16| {
            let protocol = |assignor: &Assignor| {
                JoinGroupRequestProtocol::default().with_name(text(assignor.name())).with_metadata(metadata.clone())
            };
            let mut request = JoinGroupRequest::default()
                .with_group_id(group_id(&self.group))
                .with_session_timeout_ms(millis(settings.session_timeout))
                .with_member_id(text(&member.member_id))
                .with_protocol_type(text(CONSUMER))
                .with_protocols(settings.assignors.iter().map(protocol).collect());
            if version >= 1 {
                request.rebalance_timeout_ms = millis(settings.max_poll_interval);
            }
            if version >= 5 {
                request.group_instance_id = member.instance_id.as_deref().map(text);
            }
            request
        };
        // The coordinator holds a join until everybody has come.
        let timeout = settings.max_poll_interval + Duration::from_secs(5);
        Ok(self.cluster.call_coordinator(&self.group, Lane::Join, timeout, make).await?)
    }

    fn read_join(&self, answer: &JoinGroupResponse) -> Result<Joined, GroupError> {
        let member = {
            let mut state = self.shared.lock();
            state.member.member_id = answer.member_id.to_string();
            state.member.generation = answer.generation_id;
            state.phase = Phase::Syncing;
            state.last_heard = Instant::now();
            state.member.clone()
        };
        let assignor = answer.protocol_name.as_ref().map(ToString::to_string).unwrap_or_default();
        let is_leader = answer.leader == answer.member_id;
        let mut members = Members::new();
        for other in answer.members.iter().filter(|_| is_leader) {
            let subscription = MemberSubscription::parse(&other.metadata)
                .map_err(|error| Error::Protocol(format!("a member's subscription: {error}")))?;
            let id = other.member_id.to_string();
            let order = match &other.group_instance_id {
                Some(instance_id) => (false, instance_id.to_string()),
                None => (true, id.clone()),
            };
            members.insert(id, Member { order, subscription });
        }
        let (members, goes_on) = (is_leader.then_some(members), answer.skip_assignment);
        Ok(Joined { member, assignor, members, goes_on })
    }

    /// Gets this generation's assignment; the leader makes it.
    pub(super) async fn sync(&self, joined: Joined) -> Result<Synced, GroupError> {
        let counts = match &joined.members {
            Some(members) => Some(self.count_partitions(members).await?),
            None => None,
        };
        let assignments = match (&joined.members, &counts) {
            (Some(members), Some(counts)) if !joined.goes_on => assign(&joined.assignor, members, counts)?,
            _ => Assignments::new(),
        };
        let mut encoded = Vec::new();
        for (id, partitions) in &assignments {
            let assignment = Assignment { partitions: by_name(partitions), user_data: None };
            let bytes = assignment.to_bytes().map_err(|error| Error::Invalid(error.to_string()))?;
            encoded.push(SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(bytes));
        }
        let member = &joined.member;
        let make = |version: i16| {
            let mut request = SyncGroupRequest::default()
                .with_group_id(group_id(&self.group))
                .with_generation_id(member.generation)
                .with_member_id(text(&member.member_id))
                .with_assignments(encoded);
            if version >= 3 {
                request.group_instance_id = member.instance_id.as_deref().map(text);
            }
            if version >= 5 {
                request.protocol_type = Some(text(CONSUMER));
                request.protocol_name = Some(text(&joined.assignor));
            }
            request
        };
        let timeout = self.settings.max_poll_interval + Duration::from_secs(5);
        let answer = self.cluster.call_coordinator(&self.group, Lane::Join, timeout, make).await?;
        let code = Code(answer.error_code);
        if code == Code::UNKNOWN_MEMBER_ID || code == Code::ILLEGAL_GENERATION {
            let mut state = self.shared.lock();
            if state.member == *member {
                state.refuse(code);
            }
        }
        self.cluster.judge_coordinator(&self.group, answer.error_code)?;
        let assignment = Assignment::parse(&answer.assignment)
            .map_err(|error| Error::Protocol(format!("this member's assignment: {error}")))?;
        Ok(Synced { partitions: by_partition(&assignment.partitions), counts })
    }

    /// The topics that these members subscribe to, as they are now.
    async fn count_partitions(&self, members: &Members) -> Result<Counts, GroupError> {
        let topics = members.values().flat_map(|member| member.subscription.topics.iter().map(String::as_str));
        self.cluster.want(topics.clone());
        self.cluster.refresh_now().await?;
        Ok(self.counts(topics))
    }

    /// These topics as they are known.
    pub(super) fn counts<'a>(&self, topics: impl Iterator<Item = &'a str>) -> Counts {
        let (metadata, _) = self.cluster.metadata();
        let count = |topic: &str| metadata.topics.get(topic).map(|topic| topic.partitions.len());
        topics.map(|topic| (topic.to_owned(), count(topic))).collect()
    }

    /// Tells the coordinator that this member is alive; what it says.
    pub(super) async fn heartbeat(&self, member: &Committer) -> Result<Code, Error> {
        let make = |version: i16| {
            let request = HeartbeatRequest::default()
                .with_group_id(group_id(&self.group))
                .with_generation_id(member.generation)
                .with_member_id(text(&member.member_id));
            let instance_id = member.instance_id.as_deref().map(text);
            if version >= 3 { request.with_group_instance_id(instance_id) } else { request }
        };
        // One connection that is dead on the other side must not cost the session; a commit in front of the heartbeat on its
        // connection may take `offsets.commit.timeout.ms`.
        let patience = (self.settings.session_timeout / 2).max(COMMIT_PATIENCE);
        let timeout = patience.min(self.cluster.settings().request_timeout);
        let answer = self.cluster.call_coordinator(&self.group, Lane::Control, timeout, make).await?;
        let code = Code(answer.error_code);
        if code.is_stale_coordinator() {
            self.cluster.forget_coordinator(&self.group);
        }
        Ok(code)
    }

    /// Leaves, so that nobody waits for the session to end. A static member does not say so (G-32): its place waits for it,
    /// and it keeps the id under which it had it.
    pub(super) async fn leave(&self, reason: &str) {
        let member = {
            let mut state = self.shared.lock();
            let member = state.member.clone();
            state.member.generation = -1;
            if member.instance_id.is_none() {
                state.member.member_id.clear();
            }
            member
        };
        if member.instance_id.is_some() || member.member_id.is_empty() {
            return;
        }
        let make = |version: i16| {
            let request = LeaveGroupRequest::default().with_group_id(group_id(&self.group));
            if version < 3 {
                return request.with_member_id(text(&member.member_id));
            }
            let identity = MemberIdentity::default().with_member_id(text(&member.member_id));
            let identity = if version >= 5 { identity.with_reason(Some(text(reason))) } else { identity };
            request.with_members(vec![identity])
        };
        // Whoever does not get through is missed when its session ends.
        let timeout = self.cluster.settings().request_timeout.min(LEAVE_PATIENCE);
        let left = self.cluster.call_coordinator(&self.group, Lane::Control, timeout, make).await;
        if let Err(error) = left {
            tracing::debug!(%error, "not left");
        }
    }
}

fn assign(assignor: &str, members: &Members, counts: &Counts) -> Result<Assignments, GroupError> {
    let known = Assignor::from_name(assignor);
    let assignor =
        known.ok_or_else(|| Error::Protocol(format!("the group uses {assignor:?}, which nobody offered")))?;
    let there = counts.iter().filter_map(|(topic, count)| Some((topic.clone(), (*count)? as i32)));
    Ok(assignor::assign(assignor, members, &there.collect()))
}

fn by_name(partitions: &PartitionSet) -> Partitions {
    let mut all = Partitions::new();
    for partition in partitions {
        all.entry(partition.topic.to_string()).or_default().push(partition.partition);
    }
    all
}

fn by_partition(partitions: &Partitions) -> PartitionSet {
    let all = partitions.iter().flat_map(|(topic, all)| all.iter().map(|p| TopicPartition::new(topic, *p)));
    all.collect()
}
