//! The task that finds out where to read, and reads ahead.
//!
//! One Fetch is under way to each broker; a partition takes part unless it is paused or has enough waiting. What fails rests:
//! a broker, a partition, asking for metadata or for places to begin, each by itself. Deliberately not here: decompressing,
//! which the application's own task does when it asks, and fetch sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use pagemark_wire::messages::fetch_response::PartitionData;
use pagemark_wire::messages::{BrokerId, FetchRequest, FetchResponse};
use pagemark_wire::records::split_batches;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::ConsumerError;
use super::record::Fetched;
use super::rest::Rests;
use super::state::{Assigned, Position, Shared, State};
use super::{AutoOffsetReset, ConsumerSettings};
use crate::cluster::{Cluster, Lane, To};
use crate::code::Code;
use crate::error::Error;
use crate::host;
use crate::net::CallError;
use crate::offsets::{self, IsolationLevel, ListedOffset};
use crate::partition::{TopicPartition, by_topic};
use pagemark_wire::messages::topic_name;

pub(super) struct Fetcher {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    settings: Arc<ConsumerSettings>,
    tasks: JoinSet<Event>,
    /// Brokers to which a Fetch is under way.
    busy: BTreeSet<i32>,
    is_locating: bool,
    is_refreshing: bool,
    rests: Rests<Part>,
}

/// What may fail by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Asking who leads.
    Metadata,
    /// Asking where to begin.
    Places,
    /// A broker.
    Node(i32),
    /// A partition, of which its leader speaks ill.
    Partition(TopicPartition),
}

/// A partition in a Fetch.
#[derive(Debug, Clone)]
struct Wanted {
    offset: i64,
    leader_epoch: i32,
    /// As it was when the request was made; what comes back for another one is thrown away.
    incarnation: u64,
    seeks: u64,
}

enum Event {
    Fetched { node: i32, wanted: BTreeMap<TopicPartition, Wanted>, answer: Result<Answers, CallError> },
    Located { was_good: bool },
    Refreshed,
}

type Answers = BTreeMap<TopicPartition, PartitionData>;

impl Fetcher {
    pub(super) fn new(cluster: Arc<Cluster>, shared: Arc<Shared>, settings: Arc<ConsumerSettings>) -> Fetcher {
        let client = cluster.settings();
        let rests = Rests::new(client.retry_backoff, client.retry_backoff_max);
        let (tasks, busy) = (JoinSet::new(), BTreeSet::new());
        Fetcher { cluster, shared, settings, tasks, busy, is_locating: false, is_refreshing: false, rests }
    }

    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.start(now);
            let rest = self.rests.next(now);
            let resting = async {
                match rest {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = self.tasks.join_next() => if let Ok(event) = event { self.take_in(event) },
                () = self.shared.fetcher.notified() => {}
                () = resting => {}
            }
        }
    }

    /// Starts whatever can be started.
    fn start(&mut self, now: Instant) {
        let (metadata, _) = self.cluster.metadata();
        let mut by_leader: BTreeMap<i32, BTreeMap<TopicPartition, Wanted>> = BTreeMap::new();
        let (mut has_unplaced, mut has_leaderless) = (false, false);
        {
            let state = self.shared.lock();
            let assigned = |who: &Part| !matches!(who, Part::Partition(p) if !state.partitions.contains_key(p));
            self.rests.retain(assigned);
            let buffered: usize = state.partitions.values().map(|assigned| assigned.buffered_bytes).sum();
            let has_room = buffered < self.settings.prefetch_bytes;
            for (partition, assigned) in &state.partitions {
                has_unplaced |= matches!(assigned.position, Position::Committed | Position::Reset(_));
                let Position::At(offset) = assigned.position else { continue };
                let is_full = assigned.buffered_bytes >= self.settings.max_partition_fetch_bytes;
                let is_resting = self.rests.is_resting(&Part::Partition(partition.clone()), now);
                if assigned.is_held() || is_full || is_resting || !has_room {
                    continue;
                }
                match metadata.leader(&partition.topic, partition.partition) {
                    None => has_leaderless = true,
                    Some((leader, leader_epoch)) => {
                        let (incarnation, seeks) = (assigned.incarnation, assigned.seeks);
                        let wanted = Wanted { offset, leader_epoch, incarnation, seeks };
                        by_leader.entry(leader).or_default().insert(partition.clone(), wanted);
                    }
                }
            }
        }
        for (leader, wanted) in by_leader {
            if !self.rests.is_resting(&Part::Node(leader), now) && self.busy.insert(leader) {
                self.fetch(leader, wanted);
            }
        }
        if has_unplaced && !self.rests.is_resting(&Part::Places, now) && !std::mem::replace(&mut self.is_locating, true)
        {
            self.locate();
        }
        if has_leaderless {
            self.refresh(now);
        } else if self.rests.next(now).is_none() {
            self.rests.succeeded(&Part::Metadata);
        }
    }

    fn fetch(&mut self, node: i32, wanted: BTreeMap<TopicPartition, Wanted>) {
        let (cluster, settings) = (Arc::clone(&self.cluster), Arc::clone(&self.settings));
        let (metadata, _) = self.cluster.metadata();
        let id = |p: &TopicPartition| Some((p.topic.to_string(), metadata.topics.get(&*p.topic)?.id));
        let ids: BTreeMap<String, Uuid> = wanted.keys().filter_map(id).collect();
        self.tasks.spawn(async move {
            let answer = ask(&cluster, node, &settings, &wanted, &ids).await;
            Event::Fetched { node, wanted, answer }
        });
    }

    fn locate(&mut self) {
        let (cluster, shared) = (Arc::clone(&self.cluster), Arc::clone(&self.shared));
        let settings = Arc::clone(&self.settings);
        self.tasks.spawn(async move { Event::Located { was_good: locate(&cluster, &shared, &settings).await } });
    }

    /// Asks for metadata, unless somebody does or did a moment ago.
    fn refresh(&mut self, now: Instant) {
        if self.is_refreshing || self.rests.is_resting(&Part::Metadata, now) {
            return;
        }
        self.is_refreshing = true;
        self.rests.failed(Part::Metadata, now); // until nobody wants it any more
        let cluster = Arc::clone(&self.cluster);
        self.tasks.spawn(async move {
            if let Err(error) = cluster.refresh_now().await {
                tracing::debug!(%error, "no metadata");
            }
            Event::Refreshed
        });
    }

    fn take_in(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Refreshed => self.is_refreshing = false,
            Event::Located { was_good } => {
                self.is_locating = false;
                self.judge(Part::Places, was_good, now);
            }
            Event::Fetched { node, wanted, answer } => {
                self.busy.remove(&node);
                self.judge(Part::Node(node), answer.is_ok(), now);
                match answer {
                    Ok(answers) => self.take_answers(&wanted, answers, now),
                    Err(CallError::Unsupported(api)) => {
                        self.shared.fail(ConsumerError::Fatal(Error::Unsupported { api }));
                    }
                    Err(error) => {
                        tracing::debug!(node, %error, "a fetch failed");
                        self.refresh(now);
                    }
                }
            }
        }
        self.shared.app.notify_one();
    }

    fn judge(&mut self, part: Part, is_good: bool, now: Instant) {
        if is_good {
            self.rests.succeeded(&part);
        } else {
            self.rests.failed(part, now);
        }
    }

    fn take_answers(&mut self, wanted: &BTreeMap<TopicPartition, Wanted>, answers: Answers, now: Instant) {
        let mut is_stale = false;
        {
            let mut state = self.shared.lock();
            for partition in wanted.keys().filter(|partition| !answers.contains_key(partition)) {
                self.rests.failed(Part::Partition(partition.clone()), now); // the broker says nothing, and at once
            }
            for (partition, answer) in answers {
                let Some(wanted) = wanted.get(&partition) else { continue };
                let Some(assigned) = current(&mut state, &partition, wanted) else { continue };
                let code = Code(answer.error_code);
                match code {
                    Code::NONE => take_records(assigned, wanted, &answer, self.settings.isolation_level),
                    Code::OFFSET_OUT_OF_RANGE => out_of_range(assigned, &partition, wanted.offset, &self.settings),
                    code if code.is_stale_metadata() || code.is_retriable() => {
                        is_stale |= code.is_stale_metadata();
                        self.rests.failed(Part::Partition(partition), now);
                        continue;
                    }
                    code => assigned.refuse(Position::Failed(ConsumerError::Fatal(Error::Refused {
                        code,
                        message: partition.to_string(),
                    }))),
                }
                self.rests.succeeded(&Part::Partition(partition));
            }
        }
        if is_stale {
            self.refresh(now);
        }
    }
}

/// The partition, if it is still assigned as it was and nobody has sought since.
fn current<'a>(state: &'a mut State, partition: &TopicPartition, wanted: &Wanted) -> Option<&'a mut Assigned> {
    let assigned = state.partitions.get_mut(partition)?;
    let is_same = assigned.incarnation == wanted.incarnation && assigned.seeks == wanted.seeks;
    is_same.then_some(assigned)
}

fn out_of_range(assigned: &mut Assigned, partition: &TopicPartition, offset: i64, settings: &ConsumerSettings) {
    tracing::warn!(%partition, offset, policy = ?settings.auto_offset_reset, "the offset is outside the log");
    assigned.refuse(match settings.auto_offset_reset {
        AutoOffsetReset::None => Position::Failed(ConsumerError::OutOfRange { partition: partition.clone(), offset }),
        policy => Position::Reset(policy),
    });
}

fn take_records(assigned: &mut Assigned, wanted: &Wanted, answer: &PartitionData, isolation: IsolationLevel) {
    let records = answer.records.clone().unwrap_or_default();
    let mut aborted = Aborted::new(answer, isolation);
    let mut next = wanted.offset;
    for batch in split_batches(&records) {
        let Ok((header, batch)) = batch else {
            assigned.take_in(Fetched::Damaged, next);
            return;
        };
        let is_hidden = aborted.hides(&header, &batch);
        if header.next_offset().0 <= next {
            continue; // already read (P-35), or nonsense
        }
        next = header.next_offset().0;
        assigned.take_in(if is_hidden { Fetched::Hidden(batch) } else { Fetched::Batch(batch) }, next);
    }
}

/// Which batches of a response belong to aborted transactions.
struct Aborted {
    /// By first offset: producers whose transactions were aborted.
    begins: BTreeSet<(i64, i64)>,
    producers: BTreeSet<i64>,
}

impl Aborted {
    fn new(answer: &PartitionData, isolation: IsolationLevel) -> Aborted {
        let listed = answer.aborted_transactions.iter().flatten();
        let begins = match isolation {
            IsolationLevel::ReadCommitted => listed.map(|a| (a.first_offset, a.producer_id.0)).collect(),
            IsolationLevel::ReadUncommitted => BTreeSet::new(),
        };
        Aborted { begins, producers: BTreeSet::new() }
    }

    /// Whether the application is not to see a batch. Must be asked in order.
    fn hides(&mut self, header: &pagemark_wire::records::BatchHeader, batch: &Bytes) -> bool {
        while let Some(begin) = self.begins.first().copied().filter(|(first, _)| *first <= header.last_offset().0) {
            self.begins.remove(&begin);
            self.producers.insert(begin.1);
        }
        if header.is_control() {
            // A marker ends its producer's transaction; its key's second number is 0 for an abort.
            if marker_kind(batch) == Some(0) {
                self.producers.remove(&header.producer_id.0);
            }
            return true;
        }
        header.is_transactional() && self.producers.contains(&header.producer_id.0)
    }
}

fn marker_kind(batch: &Bytes) -> Option<i16> {
    let records = pagemark_wire::records::Records::open(batch, 1 << 20).ok()?;
    let key = records.iter().next()?.ok()?.key?;
    Some(i16::from_be_bytes(*key.get(2..4)?.first_chunk()?))
}

/// One Fetch; topics go by id where the version wants it (P-40).
async fn ask(
    cluster: &Cluster,
    node: i32,
    settings: &ConsumerSettings,
    wanted: &BTreeMap<TopicPartition, Wanted>,
    ids: &BTreeMap<String, Uuid>,
) -> Result<Answers, CallError> {
    let limit = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
    let make = |version: i16| {
        let one = |(index, wanted): (i32, &Wanted)| {
            let partition = FetchPartition::default()
                .with_partition(index)
                .with_fetch_offset(wanted.offset)
                .with_partition_max_bytes(limit(settings.max_partition_fetch_bytes));
            if version >= 9 { partition.with_current_leader_epoch(wanted.leader_epoch) } else { partition }
        };
        let topics = by_topic(wanted.iter().map(|(p, w)| (p.clone(), w))).into_iter().map(|(topic, partitions)| {
            let data = FetchTopic::default().with_partitions(partitions.into_iter().map(one).collect());
            match version {
                13.. => data.with_topic_id(ids.get(&*topic).copied().unwrap_or_default()),
                _ => data.with_topic(topic_name(&topic)),
            }
        });
        let request = FetchRequest::default()
            .with_max_wait_ms(i32::try_from(settings.fetch_max_wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(limit(settings.fetch_min_bytes))
            .with_max_bytes(limit(settings.fetch_max_bytes))
            .with_isolation_level(settings.isolation_level.number())
            .with_topics(topics.collect());
        let request = if version < 15 { request.with_replica_id(BrokerId(-1)) } else { request };
        if version >= 7 { request.with_session_epoch(-1) } else { request }
    };
    let timeout = cluster.settings().request_timeout + settings.fetch_max_wait;
    let answer = cluster.call_within(To::Node(node), Lane::Fetch, timeout, make).await?;
    Ok(read(answer, ids))
}

fn read(answer: FetchResponse, ids: &BTreeMap<String, Uuid>) -> Answers {
    let mut answers = Answers::new();
    for topic in answer.responses {
        let by_id = || ids.iter().find(|(_, id)| **id == topic.topic_id && !id.is_nil()).map(|(name, _)| name.as_str());
        let name = if topic.topic_id.is_nil() { topic.topic.0.as_str() } else { by_id().unwrap_or_default() };
        for partition in topic.partitions {
            answers.insert(TopicPartition::new(name, partition.partition_index), partition);
        }
    }
    answers
}

/// Finds out where to read for all partitions that do not know; whether nothing is to be tried again.
async fn locate(cluster: &Arc<Cluster>, shared: &Shared, settings: &ConsumerSettings) -> bool {
    let committed = locate_by_commit(cluster, shared, settings).await;
    let reset = locate_by_policy(cluster, shared, settings).await;
    committed && reset
}

async fn locate_by_commit(cluster: &Cluster, shared: &Shared, settings: &ConsumerSettings) -> bool {
    let asked: BTreeMap<TopicPartition, u64> = {
        let state = shared.lock();
        let waiting = state.partitions.iter().filter(|(_, assigned)| assigned.position == Position::Committed);
        waiting.map(|(partition, assigned)| (partition.clone(), assigned.incarnation)).collect()
    };
    let Some(group) = settings.group_id.as_ref().filter(|_| !asked.is_empty()) else { return true };
    let partitions: Vec<_> = asked.keys().cloned().collect();
    let found = match offsets::fetch_committed(cluster, group, &partitions).await {
        Ok(found) => found,
        Err(error) if error.is_retriable() => return false,
        Err(error) => {
            shared.fail(ConsumerError::Fatal(error));
            return false;
        }
    };
    let mut state = shared.lock();
    for (partition, incarnation) in &asked {
        let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.incarnation == *incarnation) else {
            continue;
        };
        if assigned.position != Position::Committed {
            continue; // the application has sought
        }
        match found.get(partition) {
            Some(committed) => {
                assigned.committed = Some(committed.offset);
                assigned.go_to(Position::At(committed.offset));
            }
            None => assigned.go_to(start(partition, settings.auto_offset_reset)),
        }
    }
    true
}

fn start(partition: &TopicPartition, policy: AutoOffsetReset) -> Position {
    match policy {
        AutoOffsetReset::None => Position::Failed(ConsumerError::NoOffset { partition: partition.clone() }),
        policy => Position::Reset(policy),
    }
}

async fn locate_by_policy(cluster: &Arc<Cluster>, shared: &Shared, settings: &ConsumerSettings) -> bool {
    // As it is now: sought to the policy, of this assignment. Another assignment counts its seeks anew.
    let asked: BTreeMap<TopicPartition, ((u64, u64), AutoOffsetReset)> = {
        let state = shared.lock();
        let waiting = state.partitions.iter().filter_map(|(partition, assigned)| match assigned.position {
            Position::Reset(policy) => Some((partition.clone(), ((assigned.incarnation, assigned.seeks), policy))),
            _ => None,
        });
        waiting.collect()
    };
    if asked.is_empty() {
        return true;
    }
    let timestamp = |policy: AutoOffsetReset| match policy {
        AutoOffsetReset::Earliest => -2,
        AutoOffsetReset::Latest | AutoOffsetReset::None => -1,
        AutoOffsetReset::ByDuration(back) => host::now_ms().saturating_sub_unsigned(millis(back)).max(0),
    };
    let wanted: Vec<_> = asked.iter().map(|(partition, (_, policy))| (partition.clone(), timestamp(*policy))).collect();
    let mut found = offsets::list_offsets(cluster, &wanted, settings.isolation_level).await;
    let too_late = |result: &Result<ListedOffset, Error>| matches!(result, Ok(ListedOffset { offset: None, .. }));
    let late: Vec<_> =
        found.iter().filter(|(_, r)| too_late(r)).map(|(partition, _)| (partition.clone(), -1)).collect();
    if !late.is_empty() {
        // Nothing is that young: only what comes from now on.
        found.extend(offsets::list_offsets(cluster, &late, settings.isolation_level).await);
    }
    let mut is_good = true;
    let mut state = shared.lock();
    for (partition, result) in found {
        let Some((then, _)) = asked.get(&partition) else { continue };
        let is_same = |assigned: &&mut Assigned| (assigned.incarnation, assigned.seeks) == *then;
        let Some(assigned) = state.partitions.get_mut(&partition).filter(is_same) else { continue };
        match result {
            Ok(ListedOffset { offset: Some(offset), .. }) => assigned.go_to(Position::At(offset)),
            Ok(_) => is_good = false,
            Err(error) if error.is_retriable() => is_good = false,
            Err(error) => assigned.go_to(Position::Failed(ConsumerError::Fatal(error))),
        }
    }
    is_good
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
