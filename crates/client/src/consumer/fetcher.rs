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
use crate::cluster::{Cluster, Lane, Metadata, To, TopicIds};
use crate::code::Code;
use crate::error::Error;
use crate::host;
use crate::net::CallError;
use crate::offsets::{self, IsolationLevel, ListedOffset};
use crate::partition::TopicPartition;
use pagemark_wire::messages::topic_name;

pub(super) struct Fetcher {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    settings: Arc<ConsumerSettings>,
    tasks: JoinSet<Event>,
    /// Brokers to which a Fetch is under way.
    busy: BTreeSet<i32>,
    /// The last partition of which each broker sent records. The next Fetch begins behind it: an answer that is full is full
    /// of what was asked for first, and would starve the rest.
    turns: BTreeMap<i32, TopicPartition>,
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
    partition: TopicPartition,
    topic_id: Uuid,
    offset: i64,
    leader_epoch: i32,
    /// As it was when the request was made; what comes back for another one is thrown away.
    incarnation: u64,
    seeks: u64,
}

enum Event {
    Fetched { node: i32, wanted: Vec<Wanted>, answer: Result<Answers, CallError> },
    Located { was_good: bool },
    Refreshed,
}

type Answers = BTreeMap<TopicPartition, PartitionData>;

impl Fetcher {
    pub(super) fn new(cluster: Arc<Cluster>, shared: Arc<Shared>, settings: Arc<ConsumerSettings>) -> Fetcher {
        let client = cluster.settings();
        let rests = Rests::new(client.retry_backoff, client.retry_backoff_max);
        let (tasks, busy, turns) = (JoinSet::new(), BTreeSet::new(), BTreeMap::new());
        Fetcher { cluster, shared, settings, tasks, busy, turns, is_locating: false, is_refreshing: false, rests }
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
        let mut by_leader: BTreeMap<i32, Vec<Wanted>> = BTreeMap::new();
        let (mut has_unplaced, mut has_leaderless) = (false, false);
        {
            let mut state = self.shared.lock();
            let mut made_again = Vec::new();
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
                let topic_id = metadata.topics.get(&*partition.topic).map_or(Uuid::nil(), |topic| topic.id);
                if !topic_id.is_nil() && !assigned.topic_id.is_nil() && topic_id != assigned.topic_id {
                    made_again.push(partition.clone());
                    continue;
                }
                match metadata.leader(&partition.topic, partition.partition) {
                    None => has_leaderless = true,
                    Some((leader, leader_epoch)) => {
                        let (incarnation, seeks) = (assigned.incarnation, assigned.seeks);
                        let partition = partition.clone();
                        let wanted = Wanted { partition, topic_id, offset, leader_epoch, incarnation, seeks };
                        by_leader.entry(leader).or_default().push(wanted);
                    }
                }
            }
            for partition in made_again {
                tracing::warn!(%partition, "the topic was deleted and made again; reading it from its beginning");
                let position = self.settings.beginning(&partition);
                state.begin_anew(&partition, position);
                has_unplaced = true;
            }
        }
        for (leader, wanted) in by_leader {
            if !self.rests.is_resting(&Part::Node(leader), now) && self.busy.insert(leader) {
                self.fetch(leader, wanted, &metadata);
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

    /// `wanted` is in the order of the partitions.
    fn fetch(&mut self, node: i32, mut wanted: Vec<Wanted>, metadata: &Metadata) {
        let (cluster, settings) = (Arc::clone(&self.cluster), Arc::clone(&self.settings));
        let ids = metadata.ids(wanted.iter().map(|wanted| &*wanted.partition.topic));
        if let Some(turn) = self.turns.get(&node) {
            let first = wanted.partition_point(|wanted| wanted.partition <= *turn);
            wanted.rotate_left(first);
        }
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
                    Ok(answers) => self.take_answers(node, wanted, answers, now),
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

    fn take_answers(&mut self, node: i32, wanted: Vec<Wanted>, mut answers: Answers, now: Instant) {
        let mut is_stale = false;
        for wanted in wanted {
            let partition = &wanted.partition;
            let Some(answer) = answers.remove(partition) else {
                self.rests.failed(Part::Partition(partition.clone()), now); // the broker says nothing, and at once
                continue;
            };
            if answer.records.as_ref().is_some_and(|records| !records.is_empty()) {
                self.turns.insert(node, partition.clone());
            }
            is_stale |= Code(answer.error_code).is_stale_metadata();
            self.take_answer(&wanted, &answer, now);
        }
        if is_stale {
            self.refresh(now);
        }
    }

    fn take_answer(&mut self, wanted: &Wanted, answer: &PartitionData, now: Instant) {
        let partition = &wanted.partition;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let Some(assigned) = current(&mut state, wanted) else { return };
        let code = Code(answer.error_code);
        match code {
            Code::NONE => take_records(assigned, wanted, answer, self.settings.isolation_level),
            Code::OFFSET_OUT_OF_RANGE => out_of_range(assigned, wanted, &self.settings),
            code if may_pass(code) => {
                let lasts = self.rests.failed(Part::Partition(partition.clone()), now);
                let is_unreadable = code == Code::CORRUPT_MESSAGE || code == Code::KAFKA_STORAGE_ERROR;
                if lasts.is_zero() && (is_unreadable || code == Code::UNKNOWN_SERVER_ERROR) {
                    tracing::warn!(%partition, %code, "the partition cannot be read now; trying again");
                }
                if is_unreadable && lasts >= self.cluster.settings().api_timeout {
                    let (partition, why) = (partition.clone(), format!("the broker cannot read it: {code}"));
                    let damaged = ConsumerError::Damaged { partition, offset: wanted.offset, why };
                    assigned.refuse(Position::Failed(damaged));
                }
                return;
            }
            code => assigned.refuse(Position::Failed(ConsumerError::Fatal(Error::Refused {
                code,
                message: partition.to_string(),
            }))),
        }
        self.rests.succeeded(&Part::Partition(partition.clone()));
    }
}

/// Whether what a leader says of a partition may be otherwise in a while. An error without a code counts, as in Kafka's own
/// clients: brokers use it for what passes.
fn may_pass(code: Code) -> bool {
    code.is_stale_metadata() || code.is_retriable() || code == Code::UNKNOWN_SERVER_ERROR
}

/// The partition, if it is still assigned as it was and nobody has sought since.
fn current<'a>(state: &'a mut State, wanted: &Wanted) -> Option<&'a mut Assigned> {
    let assigned = state.partitions.get_mut(&wanted.partition)?;
    let is_same = assigned.incarnation == wanted.incarnation && assigned.seeks == wanted.seeks;
    is_same.then_some(assigned)
}

fn out_of_range(assigned: &mut Assigned, wanted: &Wanted, settings: &ConsumerSettings) {
    let (partition, offset) = (wanted.partition.clone(), wanted.offset);
    tracing::warn!(%partition, offset, policy = ?settings.auto_offset_reset, "the offset is outside the log");
    assigned.refuse(match settings.auto_offset_reset {
        AutoOffsetReset::None => Position::Failed(ConsumerError::OutOfRange { partition, offset }),
        policy => Position::Reset(policy),
    });
}

fn take_records(assigned: &mut Assigned, wanted: &Wanted, answer: &PartitionData, isolation: IsolationLevel) {
    assigned.topic_id = wanted.topic_id;
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
    wanted: &[Wanted],
    ids: &TopicIds,
) -> Result<Answers, CallError> {
    let limit = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
    let make = |version: i16| {
        let one = |wanted: &Wanted| {
            let partition = FetchPartition::default()
                .with_partition(wanted.partition.partition)
                .with_fetch_offset(wanted.offset)
                .with_partition_max_bytes(limit(settings.max_partition_fetch_bytes));
            if version >= 9 { partition.with_current_leader_epoch(wanted.leader_epoch) } else { partition }
        };
        // The order counts, so a topic may come twice.
        let topics = wanted.chunk_by(|a, b| a.partition.topic == b.partition.topic).map(|partitions| {
            let topic = &partitions[0].partition.topic;
            let data = FetchTopic::default().with_partitions(partitions.iter().map(one).collect());
            match version {
                13.. => data.with_topic_id(ids.id(topic)),
                _ => data.with_topic(topic_name(topic)),
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

fn read(answer: FetchResponse, ids: &TopicIds) -> Answers {
    let mut answers = Answers::new();
    for topic in answer.responses {
        let name = ids.name(topic.topic_id, &topic.topic);
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
            None => assigned.go_to(settings.reset(partition)),
        }
    }
    true
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
