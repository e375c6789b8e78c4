//! ListOffsets (key 2), versions 1 to 11: earliest, latest, by time.
//!
//! v2 added isolation, v4 leader epochs, v6 is flexible, v7 the greatest timestamp (-3), v8 earliest local (-4), v9 latest
//! tiered (-5), v10 a timeout, v11 earliest pending upload (-6). Only what is durable is ever answered.
//! Deliberately not here: tiered storage; -4 is the log start, -5 and -6 are nothing.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pagemark_storage::engine::{EngineError, Extent, Locate};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::list_offsets_request::ListOffsetsPartition;
use pagemark_wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use pagemark_wire::messages::{ListOffsetsRequest, ListOffsetsResponse};
use pagemark_wire::records::{BatchHeader, DEFAULT_MAX_DECOMPRESSED_BYTES, Records};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex};

use super::Call;
use super::fetch::check_leader_epoch;
use crate::aside;
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::metadata::registry::Topic;
use crate::partitions::Partition;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Looks up every partition asked for. Lookups by time read and decompress, so they run where they keep nobody else waiting.
pub fn handle(call: Call, _out: &mut Outgoing, request: ListOffsetsRequest) {
    let partitions = || request.topics.iter().flat_map(|t| &t.partitions);
    if !partitions().any(|p| p.timestamp >= 0 || p.timestamp == MAX_TIMESTAMP) {
        return answer(call, request);
    }
    tokio::spawn(async move {
        let broker = Arc::clone(&call.broker);
        let _turn = tokio::select! {
            biased;
            turn = broker.turns.time_lookups.turn() => turn,
            () = call.reply.unwanted() => return,
        };
        // If it panics, the dropped duty to answer closes the connection.
        aside::on_a_thread(move || answer(call, request)).await;
    });
}

fn answer(call: Call, request: ListOffsetsRequest) {
    let repeated = repeated_partitions(&request);
    let topics = request
        .topics
        .iter()
        .map(|asked| {
            let topic = call.broker.registry.view().by_name(&asked.name).cloned();
            let answer = |p: &ListOffsetsPartition| {
                if repeated.contains(&(asked.name.as_str(), p.partition_index)) {
                    return filled(p, call.version, Err(ErrorCode::InvalidRequest));
                }
                respond(&call.broker, call.version, topic.as_ref(), p)
            };
            let partitions = asked.partitions.iter().map(answer).collect();
            ListOffsetsTopicResponse::default().with_name(asked.name.clone()).with_partitions(partitions)
        })
        .collect();
    call.reply.send(&ListOffsetsResponse::default().with_topics(topics));
}

/// Partitions that the request names more than once: they are refused, as Kafka does.
fn repeated_partitions(request: &ListOffsetsRequest) -> BTreeSet<(&str, i32)> {
    let mut seen = BTreeSet::new();
    let named = request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str(), p.partition_index)));
    named.filter(|partition| !seen.insert(*partition)).collect()
}

/// What was found: the offset, the record's timestamp (-1 for the special positions), the leader epoch.
struct Position {
    offset: Offset,
    timestamp_ms: i64,
    epoch: LeaderEpoch,
}

const NOTHING: Position = Position { offset: Offset::NONE, timestamp_ms: -1, epoch: LeaderEpoch::NONE };

fn respond(
    broker: &Broker,
    version: i16,
    topic: Option<&Arc<Topic>>,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let partition = topic
        .and_then(|t| t.partition(PartitionIndex(asked.partition_index)))
        .ok_or(ErrorCode::UnknownTopicOrPartition);
    let found = partition.and_then(|partition| {
        check_leader_epoch(partition, LeaderEpoch(asked.current_leader_epoch))?;
        look_up(broker, version, partition, asked.timestamp)
    });
    filled(asked, version, found)
}

fn filled(
    asked: &ListOffsetsPartition,
    version: i16,
    found: Result<Position, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (code, position) = match found {
        Ok(position) => (ErrorCode::None, position),
        Err(code) => (code, NOTHING),
    };
    ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_error_code(code.code())
        .with_offset(position.offset.0)
        .with_timestamp(position.timestamp_ms)
        .with_leader_epoch(if version >= 4 { position.epoch.0 } else { -1 })
}

fn look_up(broker: &Broker, version: i16, partition: &Partition, timestamp: i64) -> Result<Position, ErrorCode> {
    let extent = broker.engine.extent(partition.key).map_err(|e| storage_error(&e))?;
    let special = |offset| Position { offset, timestamp_ms: -1, epoch: partition.leader_epoch() };
    let earliest = || Position { epoch: epoch_at(partition, extent.log_start), ..special(extent.log_start) };
    match timestamp {
        LATEST => Ok(special(extent.durable_end)),
        EARLIEST => Ok(earliest()),
        EARLIEST_LOCAL if version >= 8 => Ok(earliest()),
        MAX_TIMESTAMP if version >= 7 => find(broker, partition, &extent, Locate::MaxTimestamp),
        LATEST_TIERED if version >= 9 => Ok(NOTHING),
        EARLIEST_PENDING_UPLOAD if version >= 11 => Ok(NOTHING),
        ..0 => Err(ErrorCode::UnsupportedVersion),
        0.. => find(broker, partition, &extent, Locate::Time(timestamp)),
    }
}

/// The epoch under which an offset was, or would be, written.
fn epoch_at(partition: &Partition, offset: Offset) -> LeaderEpoch {
    let epochs = partition.epochs();
    let later = epochs.partition_point(|e| e.start <= offset);
    later.checked_sub(1).map_or(LeaderEpoch(0), |at| epochs[at].epoch)
}

/// Looks for a record by its timestamp, among those that may be read: in a batch that may have to come from the disk and to be
/// decompressed.
fn find(broker: &Broker, partition: &Partition, extent: &Extent, what: Locate) -> Result<Position, ErrorCode> {
    let Some((header, first)) = find_from(broker, partition, extent.log_start..extent.durable_end, what)? else {
        return Ok(NOTHING);
    };
    // Where the log begins within this batch, it was found perhaps for the sake of what is gone.
    if header.base_offset >= extent.log_start || (matches!(what, Locate::Time(_)) && first.is_some()) {
        return Ok(first.unwrap_or(NOTHING));
    }
    let behind = find_from(broker, partition, header.next_offset()..extent.durable_end, what)?;
    let behind = behind.and_then(|(_, found)| found);
    let later = behind.filter(|found| first.as_ref().is_none_or(|f| found.timestamp_ms > f.timestamp_ms));
    Ok(later.or(first).unwrap_or(NOTHING))
}

/// The batch that holds what is looked for, and the record in it, if that lies within these offsets.
fn find_from(
    broker: &Broker,
    partition: &Partition,
    within: Range<Offset>,
    what: Locate,
) -> Result<Option<(BatchHeader, Option<Position>)>, ErrorCode> {
    let from = within.start;
    let located = broker.engine.locate(partition.key, what, within).map_err(|e| storage_error(&e))?;
    let Some(batch) = located else { return Ok(None) };
    let header = BatchHeader::parse(&batch).map_err(|_| ErrorCode::KafkaStorageError)?;
    Ok(Some((header, find_in(partition, &batch, from, what)?)))
}

/// The record of a batch that is looked for, if it lies at or behind `from`.
fn find_in(partition: &Partition, batch: &Bytes, from: Offset, what: Locate) -> Result<Option<Position>, ErrorCode> {
    let found = Records::open(batch, DEFAULT_MAX_DECOMPRESSED_BYTES).and_then(|records| {
        let found = match what {
            Locate::Time(target_ms) => records.first_at_or_after(target_ms, from)?,
            Locate::MaxTimestamp => records.max_timestamp(from)?,
        };
        let epoch = records.header().leader_epoch;
        Ok(found.map(|(offset, timestamp_ms)| Position { offset, timestamp_ms, epoch }))
    });
    found.map_err(|error| {
        tracing::error!(partition = %partition.key, %error, "a stored batch cannot be read");
        ErrorCode::KafkaStorageError
    })
}

fn storage_error(error: &EngineError) -> ErrorCode {
    match error {
        EngineError::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
        _ => ErrorCode::KafkaStorageError,
    }
}
