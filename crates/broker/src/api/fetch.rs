//! Fetch (key 1), versions 4 to 18: record batches, and waiting for them.
//!
//! v5 added the log start offset, v7 sessions, v9 the caller's leader epoch (KIP-320), v11 racks, v12 is flexible and can say
//! that logs diverge, v13 names topics by id, v15 moved the replica id into a tag, v16 added node endpoints.
//! A fetch with too little to answer is parked and woken by the append itself (P-32). While it is parked it holds no records:
//! what has come since is counted, and all of it read when it is answered. No sessions are kept: session id 0 is answered
//! always, which is legal (P-39). Deliberately not here: reading (`storage`), followers (there are none).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pagemark_storage::engine::{EngineError, Extent};
use pagemark_wire::ErrorCode;
use pagemark_wire::fetch_answer::{FetchAnswer, PartitionAnswer, TopicAnswer};
use pagemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use pagemark_wire::messages::{FetchRequest, StrBytes};
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::Call;
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::partitions::{FetchWaiter, Partition};

/// Answers at once if there is enough, else parks the request in a task of its own.
pub fn handle(call: Call, _out: &mut Outgoing, request: FetchRequest) {
    if let Some(code) = refuse(&request) {
        return call.reply.send_fetch(&refusal(&request, call.version, code));
    }
    let plan = Plan::of(&call.broker, &request, call.version);
    let found = plan.read(&call.broker);
    if found.answers(&plan) {
        return call.reply.send_fetch(&found.answer(&call.broker));
    }
    drop(found); // whoever waits holds nothing
    tokio::spawn(async move {
        tokio::select! {
            () = plan.wait(&call.broker) => {}
            () = call.reply.unwanted() => return,
        }
        call.reply.turn().await;
        // No waiting from here to the answer, so that few answers are in the making at a time.
        let found = plan.read(&call.broker);
        call.reply.send_fetch(&found.answer(&call.broker));
    });
}

/// What is wrong with the request as a whole.
fn refuse(request: &FetchRequest) -> Option<ErrorCode> {
    let replica = if request.replica_id.0 >= 0 { request.replica_id.0 } else { request.replica_state.replica_id.0 };
    if replica >= 0 {
        return Some(ErrorCode::NotLeaderOrFollower);
    }
    if !matches!(request.isolation_level, 0 | 1) || request.max_bytes < 0 {
        return Some(ErrorCode::InvalidRequest);
    }
    // Any session the caller goes on with is not ours: we never gave one. Epochs 0 and -1 end the one named, if any, and ask
    // for everything (P-39).
    let goes_on = !matches!(request.session_epoch, 0 | -1);
    (request.session_id != 0 && goes_on).then_some(ErrorCode::FetchSessionIdNotFound)
}

/// The answer to a request that is wrong as a whole. Versions before 7 have no error on top, and clients below 13 look for it
/// in the partitions; only sessions are told of on top alone (P-39).
fn refusal(request: &FetchRequest, version: i16, code: ErrorCode) -> FetchAnswer {
    if version >= 13 || code == ErrorCode::FetchSessionIdNotFound {
        return FetchAnswer { error: code, topics: Vec::new() };
    }
    let refused = |topic: &FetchTopic| {
        let partition = |p: &FetchPartition| PartitionAnswer::nothing(PartitionIndex(p.partition), code);
        let partitions = topic.partitions.iter().map(partition).collect();
        TopicAnswer { name: topic.topic.0.clone(), id: TopicId(topic.topic_id), partitions }
    };
    FetchAnswer { error: code, topics: request.topics.iter().map(refused).collect() }
}

/// One partition that is to be read.
struct Wanted {
    index: PartitionIndex,
    fetch_offset: Offset,
    leader_epoch: LeaderEpoch,
    last_fetched_epoch: LeaderEpoch,
    max_bytes: usize,
    partition: Result<Arc<Partition>, ErrorCode>,
}

/// One topic as the request names it: by name, or from version 13 on by id.
struct WantedTopic {
    name: StrBytes,
    id: TopicId,
    partitions: Vec<Wanted>,
}

/// A request with its partitions looked up.
struct Plan {
    version: i16,
    topics: Vec<WantedTopic>,
    min_bytes: usize,
    max_bytes: usize,
    max_wait: Duration,
}

impl Plan {
    fn of(broker: &Broker, request: &FetchRequest, version: i16) -> Plan {
        let view = broker.registry.view();
        let topics = request
            .topics
            .iter()
            .map(|asked| {
                let by_id = version >= 13;
                let topic = if by_id { view.by_id(TopicId(asked.topic_id)) } else { view.by_name(&asked.topic) };
                let missing = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
                let wanted = |p: &FetchPartition| {
                    let found = topic.ok_or(missing).and_then(|t| {
                        t.partition(PartitionIndex(p.partition)).ok_or(ErrorCode::UnknownTopicOrPartition)
                    });
                    Wanted {
                        index: PartitionIndex(p.partition),
                        fetch_offset: Offset(p.fetch_offset),
                        leader_epoch: LeaderEpoch(p.current_leader_epoch),
                        last_fetched_epoch: LeaderEpoch(p.last_fetched_epoch),
                        max_bytes: usize::try_from(p.partition_max_bytes).unwrap_or(0),
                        partition: found.cloned(),
                    }
                };
                let partitions = asked.partitions.iter().map(wanted).collect();
                WantedTopic { name: asked.topic.0.clone(), id: TopicId(asked.topic_id), partitions }
            })
            .collect();
        let max_bytes = request.max_bytes.min(broker.settings.fetch_max_bytes) as usize;
        Plan {
            version,
            topics,
            // More than may be answered is not worth waiting for.
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
            max_bytes,
            max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        }
    }

    /// Reads what there is now, within the request's limits and what memory is left for answers.
    fn read(&self, broker: &Broker) -> Found {
        let room = self.max_bytes.min(broker.budget.room_for_answer_bytes());
        let mut found = Found { bytes: 0, urgent: false, topics: Vec::with_capacity(self.topics.len()) };
        for topic in &self.topics {
            let partitions = topic.partitions.iter().map(|w| found.read_one(broker, self, w, room)).collect();
            found.topics.push(TopicAnswer { name: topic.name.clone(), id: topic.id, partitions });
        }
        found
    }

    fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    /// Waits until there is enough, or the time is up.
    async fn wait(&self, broker: &Broker) {
        let parked = Parked::at(self.wanted().filter_map(|w| w.partition.as_ref().ok().cloned()).collect());
        let mut counts: Vec<Count> = self.wanted().map(|w| Count { bytes: 0, next: w.fetch_offset }).collect();
        let until = tokio::time::Instant::now() + self.max_wait;
        while !self.has_enough(broker, &mut counts) {
            tokio::select! {
                () = parked.waiter.moved() => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Whether to answer now (P-32). Looks only at what has come since the last call.
    fn has_enough(&self, broker: &Broker, counts: &mut [Count]) -> bool {
        let mut bytes = 0;
        for (wanted, count) in self.wanted().zip(counts) {
            if count.grow(broker, self, wanted, self.min_bytes - bytes).is_err() {
                return true; // whatever it is, reading will find it again
            }
            bytes += count.bytes;
            if bytes >= self.min_bytes {
                return true;
            }
        }
        false
    }

    /// Clients know zstd from version 10 on (KIP-110).
    fn check_codecs(&self, batches: &[Bytes]) -> Result<(), ErrorCode> {
        const ZSTD: i16 = 4;
        let is_zstd = |batch: &Bytes| BatchHeader::parse(batch).is_ok_and(|header| header.codec() == ZSTD);
        if self.version < 10 && batches.iter().any(is_zstd) {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        Ok(())
    }
}

/// A fetch among those that its partitions wake, until it is dropped.
struct Parked {
    waiter: Arc<FetchWaiter>,
    partitions: Vec<Arc<Partition>>,
}

impl Parked {
    fn at(partitions: Vec<Arc<Partition>>) -> Parked {
        let waiter = Arc::new(FetchWaiter::default());
        partitions.iter().for_each(|p| p.enlist(&waiter));
        Parked { waiter, partitions }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.partitions.iter().for_each(|p| p.forget(&self.waiter));
    }
}

/// How much of a partition a parked fetch knows to be there.
struct Count {
    bytes: usize,
    /// Where the batches counted end.
    next: Offset,
}

/// There is something to be told at once.
struct Urgent;

impl Count {
    /// Counts further batches, until there are enough or the partition's limit is reached. They are not copied.
    fn grow(&mut self, broker: &Broker, plan: &Plan, wanted: &Wanted, enough: usize) -> Result<(), Urgent> {
        let standing = Standing::of(broker, plan, wanted).map_err(|_| Urgent)?;
        if standing.diverging.is_some() {
            return Err(Urgent);
        }
        let end = standing.extent.durable_end;
        let limit = enough.min(wanted.max_bytes.max(1));
        while self.next < end && self.bytes < limit {
            let slice =
                broker.engine.read(standing.partition.key, self.next, limit - self.bytes, end).map_err(|_| Urgent)?;
            plan.check_codecs(&slice.batches).map_err(|_| Urgent)?;
            let last = slice.batches.last().and_then(|batch| BatchHeader::parse(batch).ok()).ok_or(Urgent)?;
            self.next = last.next_offset();
            self.bytes += slice.bytes;
        }
        Ok(())
    }
}

/// A partition that may be read from where the fetch is.
struct Standing<'a> {
    partition: &'a Partition,
    extent: Extent,
    /// The fetch is to be told this instead (P-41).
    diverging: Option<(LeaderEpoch, Offset)>,
}

impl<'a> Standing<'a> {
    fn of(broker: &Broker, plan: &Plan, wanted: &'a Wanted) -> Result<Standing<'a>, ErrorCode> {
        let partition = wanted.partition.as_ref().map_err(|code| *code)?;
        if partition.is_deleted() {
            return Err(if plan.version >= 13 {
                ErrorCode::UnknownTopicId
            } else {
                ErrorCode::UnknownTopicOrPartition
            });
        }
        check_leader_epoch(partition, wanted.leader_epoch)?;
        let extent = broker.engine.extent(partition.key).map_err(|e| read_error(&e))?;
        let diverging = diverges(partition, wanted, &extent);
        let readable = extent.log_start..=extent.durable_end;
        if diverging.is_none() && !readable.contains(&wanted.fetch_offset) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(Standing { partition, extent, diverging })
    }
}

/// What was read. The batches lie where the engine has them, until they are written to the socket.
struct Found {
    bytes: usize,
    /// To be answered at once, whatever there is: an error, or logs that diverge.
    urgent: bool,
    topics: Vec<TopicAnswer>,
}

impl Found {
    /// Whether this is enough to answer now (P-32).
    fn answers(&self, plan: &Plan) -> bool {
        let names_nothing = self.topics.iter().all(|topic| topic.partitions.is_empty());
        self.urgent || self.bytes >= plan.min_bytes || plan.max_wait.is_zero() || names_nothing
    }

    fn answer(self, broker: &Broker) -> FetchAnswer {
        broker.metrics.fetched(self.bytes);
        FetchAnswer { error: ErrorCode::None, topics: self.topics }
    }

    fn read_one(&mut self, broker: &Broker, plan: &Plan, wanted: &Wanted, room: usize) -> PartitionAnswer {
        self.try_read(broker, plan, wanted, room).unwrap_or_else(|code| {
            self.urgent = true;
            let fenced = matches!(code, ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch);
            let leader = wanted
                .partition
                .as_ref()
                .ok()
                .filter(|_| fenced && plan.version >= 12)
                .map(|p| (broker.settings.node_id, p.leader_epoch()));
            PartitionAnswer { leader, ..PartitionAnswer::nothing(wanted.index, code) }
        })
    }

    /// Reads one partition; `room` bytes is what the whole answer may hold.
    fn try_read(
        &mut self,
        broker: &Broker,
        plan: &Plan,
        wanted: &Wanted,
        room: usize,
    ) -> Result<PartitionAnswer, ErrorCode> {
        let Standing { partition, extent, diverging } = Standing::of(broker, plan, wanted)?;
        let end = extent.durable_end;
        let answer = PartitionAnswer {
            high_watermark: end,
            last_stable_offset: end,
            log_start: extent.log_start,
            diverging,
            ..PartitionAnswer::nothing(wanted.index, ErrorCode::None)
        };
        if diverging.is_some() {
            self.urgent = true; // with nothing read (P-41)
            return Ok(answer);
        }
        let room = room.saturating_sub(self.bytes).min(wanted.max_bytes);
        // The first batch of the answer is returned whole whatever the limits say (P-33); later partitions keep to them.
        if wanted.fetch_offset == end || (room == 0 && self.bytes > 0) {
            return Ok(answer);
        }
        let slice = broker.engine.read(partition.key, wanted.fetch_offset, room, end).map_err(|e| read_error(&e))?;
        if self.bytes > 0 && slice.bytes > room {
            return Ok(answer);
        }
        // The log may have begun later since it was looked at: what follows is not what was asked for (P-37).
        let first = slice.batches.first().and_then(|batch| BatchHeader::parse(batch).ok());
        if first.is_none_or(|header| header.base_offset > wanted.fetch_offset) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        plan.check_codecs(&slice.batches)?;
        self.bytes += slice.bytes;
        Ok(PartitionAnswer { batches: slice.batches, ..answer })
    }
}

/// P-40: lower than ours is fenced, higher is unknown, -1 is not checked.
pub(super) fn check_leader_epoch(partition: &Partition, given: LeaderEpoch) -> Result<(), ErrorCode> {
    let ours = partition.leader_epoch();
    match given {
        LeaderEpoch::NONE => Ok(()),
        _ if given < ours => Err(ErrorCode::FencedLeaderEpoch),
        _ if given > ours => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Whether the caller's last epoch ended before its position, so that what it read is not what is here (P-41).
fn diverges(partition: &Partition, wanted: &Wanted, extent: &Extent) -> Option<(LeaderEpoch, Offset)> {
    if wanted.last_fetched_epoch < LeaderEpoch(0) {
        return None;
    }
    let undefined = (LeaderEpoch::NONE, Offset::NONE);
    let (epoch, end) = partition.end_of_epoch(wanted.last_fetched_epoch, extent).unwrap_or(undefined);
    (epoch < wanted.last_fetched_epoch || end < wanted.fetch_offset).then_some((epoch, end))
}

fn read_error(error: &EngineError) -> ErrorCode {
    match error {
        EngineError::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
        _ => {
            tracing::error!(%error, "a fetch failed");
            ErrorCode::KafkaStorageError
        }
    }
}
