//! A Fetch with its partitions looked up, and what keeps one of them from being read.
//!
//! Deliberately not here: reading (`read`), waiting (`wait`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pagemark_storage::engine::{EngineError, Extent};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::fetch_request::FetchPartition;
use pagemark_wire::messages::{FetchRequest, StrBytes};
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, TopicId};

use crate::broker::Broker;
use crate::metadata::registry::Topic;
use crate::partitions::Partition;

/// One partition that is to be read.
pub(super) struct Wanted {
    pub index: PartitionIndex,
    pub fetch_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub last_fetched_epoch: LeaderEpoch,
    pub max_bytes: usize,
    pub partition: Result<Arc<Partition>, ErrorCode>,
}

/// One topic as the request names it: by name, or from version 13 on by id.
pub(super) struct WantedTopic {
    pub name: StrBytes,
    pub id: TopicId,
    /// How many partitions of it are named.
    pub partitions: usize,
}

/// A request with its partitions looked up.
pub(super) struct Plan {
    pub version: i16,
    pub topics: Vec<WantedTopic>,
    /// The partitions of all topics, in the order asked for.
    pub wanted: Vec<Wanted>,
    pub min_bytes: usize,
    pub max_bytes: usize,
    pub max_wait: Duration,
}

impl Wanted {
    fn of(asked: &FetchPartition, topic: Result<&Arc<Topic>, ErrorCode>) -> Wanted {
        let index = PartitionIndex(asked.partition);
        let found = topic.and_then(|t| t.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition));
        Wanted {
            index,
            fetch_offset: Offset(asked.fetch_offset),
            leader_epoch: LeaderEpoch(asked.current_leader_epoch),
            last_fetched_epoch: LeaderEpoch(asked.last_fetched_epoch),
            max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
            partition: found.cloned(),
        }
    }

    /// The same, refused where the request has named the partition before: one that is named very often would be waited for
    /// and read as often.
    fn once(mut self, named: &mut BTreeSet<PartitionKey>) -> Wanted {
        if self.partition.as_ref().is_ok_and(|partition| !named.insert(partition.key)) {
            self.partition = Err(ErrorCode::InvalidRequest);
        }
        self
    }

    pub(super) fn is(&self, key: PartitionKey) -> bool {
        self.partition.as_ref().is_ok_and(|partition| partition.key == key)
    }
}

impl Plan {
    pub(super) fn of(broker: &Broker, request: &FetchRequest, version: i16) -> Plan {
        let view = broker.registry.view();
        let by_id = version >= 13;
        let missing = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut wanted = Vec::with_capacity(request.topics.iter().map(|t| t.partitions.len()).sum());
        let mut named = BTreeSet::new();
        for asked in &request.topics {
            let topic = if by_id { view.by_id(TopicId(asked.topic_id)) } else { view.by_name(&asked.topic) };
            let (name, id) = (asked.topic.0.clone(), TopicId(asked.topic_id));
            topics.push(WantedTopic { name, id, partitions: asked.partitions.len() });
            wanted.extend(asked.partitions.iter().map(|p| Wanted::of(p, topic.ok_or(missing)).once(&mut named)));
        }
        let max_bytes = request.max_bytes.min(broker.settings.fetch_max_bytes) as usize;
        Plan {
            version,
            topics,
            wanted,
            // More than may be answered is not worth waiting for.
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
            max_bytes,
            max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        }
    }

    /// Clients know zstd from version 10 on (KIP-110).
    pub(super) fn check_codecs(&self, batches: &[Bytes]) -> Result<(), ErrorCode> {
        const ZSTD: i16 = 4;
        let is_zstd = |batch: &Bytes| BatchHeader::parse(batch).is_ok_and(|header| header.codec() == ZSTD);
        if self.version < 10 && batches.iter().any(is_zstd) {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        Ok(())
    }
}

/// A partition that may be read from where the fetch is.
pub(super) struct Standing<'a> {
    pub partition: &'a Partition,
    pub extent: Extent,
    /// The fetch is to be told this instead (P-41).
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

impl<'a> Standing<'a> {
    pub(super) fn of(broker: &Broker, plan: &Plan, wanted: &'a Wanted) -> Result<Standing<'a>, ErrorCode> {
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
        if wanted.fetch_offset < extent.log_start {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let diverging = diverges(partition, wanted, &extent)?;
        if diverging.is_none() && wanted.fetch_offset > extent.durable_end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(Standing { partition, extent, diverging })
    }
}

/// P-40: lower than ours is fenced, higher is unknown, -1 is not checked.
pub(in crate::api) fn check_leader_epoch(partition: &Partition, given: LeaderEpoch) -> Result<(), ErrorCode> {
    let ours = partition.leader_epoch();
    match given {
        LeaderEpoch::NONE => Ok(()),
        _ if given < ours => Err(ErrorCode::FencedLeaderEpoch),
        _ if given > ours => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Whether the caller's last epoch ended before its position, so that what it read is not what is here (P-41). An epoch that
/// we have never had is OFFSET_OUT_OF_RANGE, as Kafka says.
fn diverges(
    partition: &Partition,
    wanted: &Wanted,
    extent: &Extent,
) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    let asked = wanted.last_fetched_epoch;
    if asked < LeaderEpoch(0) {
        return Ok(None);
    }
    let found = partition.end_of_epoch(asked, extent);
    let (epoch, end) = found.ok_or(ErrorCode::OffsetOutOfRange)?;
    Ok((epoch < asked || end < wanted.fetch_offset).then_some((epoch, end)))
}

pub(in crate::api) fn read_error(error: &EngineError) -> ErrorCode {
    match error {
        EngineError::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
        _ => {
            tracing::error!(%error, "a fetch failed");
            ErrorCode::KafkaStorageError
        }
    }
}
