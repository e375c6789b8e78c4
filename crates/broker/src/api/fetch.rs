//! Fetch (key 1), versions 4 to 18: record batches, and waiting for them.
//!
//! v5 added the log start offset, v7 sessions, v9 the caller's leader epoch (KIP-320), v11 racks, v12 is flexible and can say
//! that logs diverge, v13 names topics by id, v15 moved the replica id into a tag, v16 added node endpoints.
//! A fetch with too little to answer is parked and woken by the append itself (P-32). No sessions are kept: session id 0 is
//! answered always, which is legal (P-39). Deliberately not here: reading (`storage`), followers (there are none).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pagemark_storage::engine::EngineError;
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use pagemark_wire::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use pagemark_wire::messages::{BrokerId, FetchRequest, FetchResponse, TopicName};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::{Call, Reply};
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::partitions::{FetchWaiter, Partition};

/// Answers at once if there is enough, else parks the request in a task of its own.
pub fn handle(call: Call, _out: &mut Outgoing, request: FetchRequest) {
    if let Some(code) = refuse(&request) {
        return call.reply.send(&refusal(&request, call.version, code));
    }
    let plan = Plan::of(&call.broker, &request, call.version);
    let found = plan.read(&call.broker);
    if found.answers(&plan) {
        return call.reply.send(&found.response(plan.version));
    }
    tokio::spawn(async move {
        let found = plan.wait(&call.broker, &call.reply).await;
        call.reply.send(&found.response(plan.version));
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
    // Any session the caller speaks of is not ours: we never gave one (P-39).
    (request.session_id != 0).then_some(ErrorCode::FetchSessionIdNotFound)
}

/// The answer to a request that is wrong as a whole. Versions before 7 have no error on top, and clients below 13 look for it
/// in the partitions; only sessions are told of on top alone (P-39).
fn refusal(request: &FetchRequest, version: i16, code: ErrorCode) -> FetchResponse {
    let answer = FetchResponse::default().with_error_code(code.code());
    if version >= 13 || code == ErrorCode::FetchSessionIdNotFound {
        return answer;
    }
    let refused = |topic: &FetchTopic| {
        let partition = |p: &FetchPartition| nothing_read(p.partition).with_error_code(code.code());
        FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_partitions(topic.partitions.iter().map(partition).collect())
    };
    answer.with_responses(request.topics.iter().map(refused).collect())
}

/// One partition that is to be read.
struct Wanted {
    index: i32,
    fetch_offset: Offset,
    leader_epoch: LeaderEpoch,
    last_fetched_epoch: LeaderEpoch,
    max_bytes: usize,
    partition: Result<Arc<Partition>, ErrorCode>,
}

/// A request with its partitions looked up.
struct Plan {
    version: i16,
    topics: Vec<(TopicName, uuid::Uuid, Vec<Wanted>)>,
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
                        index: p.partition,
                        fetch_offset: Offset(p.fetch_offset),
                        leader_epoch: LeaderEpoch(p.current_leader_epoch),
                        last_fetched_epoch: LeaderEpoch(p.last_fetched_epoch),
                        max_bytes: usize::try_from(p.partition_max_bytes).unwrap_or(0),
                        partition: found.cloned(),
                    }
                };
                (asked.topic.clone(), asked.topic_id, asked.partitions.iter().map(wanted).collect())
            })
            .collect();
        Plan {
            version,
            topics,
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
            max_bytes: request.max_bytes.min(broker.settings.fetch_max_bytes) as usize,
            max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        }
    }

    /// Reads what there is now, within the request's limits.
    fn read(&self, broker: &Broker) -> Found {
        let mut found = Found { bytes: 0, error: false, topics: Vec::with_capacity(self.topics.len()) };
        for (name, id, wanted) in &self.topics {
            let partitions = wanted.iter().map(|w| found.read_one(broker, self, w)).collect();
            let topic = FetchableTopicResponse::default().with_partitions(partitions);
            found.topics.push(if self.version >= 13 {
                topic.with_topic_id(*id)
            } else {
                topic.with_topic(name.clone())
            });
        }
        found
    }

    /// Waits until there is enough, or the time is up.
    async fn wait(&self, broker: &Broker, reply: &Reply) -> Found {
        let waiter = Arc::new(FetchWaiter::default());
        let partitions: Vec<&Arc<Partition>> =
            self.topics.iter().flat_map(|(_, _, wanted)| wanted).filter_map(|w| w.partition.as_ref().ok()).collect();
        partitions.iter().for_each(|p| p.enlist(&waiter));
        let until = tokio::time::Instant::now() + self.max_wait;
        let found = loop {
            let found = self.read(broker);
            if found.answers(self) {
                break found;
            }
            tokio::select! {
                () = waiter.moved() => {}
                () = tokio::time::sleep_until(until) => break found,
                () = reply.unwanted() => break found,
            }
        };
        partitions.iter().for_each(|p| p.forget(&waiter));
        found
    }
}

/// What was read.
struct Found {
    bytes: usize,
    error: bool,
    topics: Vec<FetchableTopicResponse>,
}

impl Found {
    /// Whether this is enough to answer now (P-32).
    fn answers(&self, plan: &Plan) -> bool {
        let names_nothing = self.topics.iter().all(|topic| topic.partitions.is_empty());
        self.error || self.bytes >= plan.min_bytes || plan.max_wait.is_zero() || names_nothing
    }

    fn response(self, _version: i16) -> FetchResponse {
        FetchResponse::default().with_responses(self.topics)
    }

    fn read_one(&mut self, broker: &Broker, plan: &Plan, wanted: &Wanted) -> PartitionData {
        let answer = nothing_read(wanted.index);
        match self.try_read(broker, plan, wanted, answer.clone()) {
            Ok(read) => read,
            Err(code) => {
                self.error = true;
                let fenced = matches!(code, ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch);
                let leader = wanted.partition.as_ref().ok().filter(|_| fenced && plan.version >= 12).map(|p| {
                    LeaderIdAndEpoch::default()
                        .with_leader_id(BrokerId(broker.settings.node_id))
                        .with_leader_epoch(p.leader_epoch().0)
                });
                let answer = answer.with_error_code(code.code());
                match leader {
                    Some(leader) => answer.with_current_leader(leader),
                    None => answer,
                }
            }
        }
    }

    fn try_read(
        &mut self,
        broker: &Broker,
        plan: &Plan,
        wanted: &Wanted,
        answer: PartitionData,
    ) -> Result<PartitionData, ErrorCode> {
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
        let end = extent.durable_end;
        let answer =
            answer.with_high_watermark(end.0).with_last_stable_offset(end.0).with_log_start_offset(extent.log_start.0);
        if let Some(diverging) = diverges(partition, wanted, end) {
            self.error = true; // answered at once, with nothing read (P-41)
            return Ok(answer.with_diverging_epoch(diverging));
        }
        if wanted.fetch_offset < extent.log_start || wanted.fetch_offset > end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let room = plan.max_bytes.saturating_sub(self.bytes).min(wanted.max_bytes);
        // The first batch of the answer is returned whole whatever the limits say (P-33); later partitions keep to them.
        if wanted.fetch_offset == end || (room == 0 && self.bytes > 0) {
            return Ok(answer);
        }
        let slice = broker.engine.read(partition.key, wanted.fetch_offset, room, end).map_err(|e| read_error(&e))?;
        if self.bytes > 0 && slice.bytes > room {
            return Ok(answer);
        }
        self.bytes += slice.bytes;
        broker.metrics.fetched(slice.bytes);
        Ok(answer.with_records(Some(joined(slice.batches, slice.bytes))))
    }
}

/// The answer for a partition of which nothing is known or read.
fn nothing_read(index: i32) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_aborted_transactions(None)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Bytes::new()))
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
fn diverges(partition: &Partition, wanted: &Wanted, log_end: Offset) -> Option<EpochEndOffset> {
    if wanted.last_fetched_epoch < LeaderEpoch(0) {
        return None;
    }
    let undefined = (LeaderEpoch::NONE, Offset::NONE);
    let (epoch, end) = partition.end_of_epoch(wanted.last_fetched_epoch, log_end).unwrap_or(undefined);
    (epoch < wanted.last_fetched_epoch || end < wanted.fetch_offset)
        .then(|| EpochEndOffset::default().with_epoch(epoch.0).with_end_offset(end.0))
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

fn joined(mut batches: Vec<Bytes>, bytes: usize) -> Bytes {
    if batches.len() == 1 {
        return batches.remove(0);
    }
    let mut all = BytesMut::with_capacity(bytes);
    batches.iter().for_each(|b| all.extend_from_slice(b));
    all.freeze()
}
