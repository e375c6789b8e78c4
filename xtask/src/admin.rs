//! The few questions our tools ask a broker themselves, over a raw connection, so that no client library stands between.
//!
//! Deliberately not here: load, and judging the answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::records::{Record, RecordBatchDecoder};
use pagemark_client::blocking::Connection;
use pagemark_wire::api::Api;
use pagemark_wire::messages::{
    CreateTopicsRequest, CreateTopicsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupId, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
    create_topics_request::CreatableTopic,
    fetch_request::{FetchPartition, FetchTopic},
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    offset_fetch_request::OffsetFetchRequestTopic,
    text,
};

use crate::wait;

/// What a broker says while it is not yet what it will be: ask again.
const RETRIABLE: &[i16] = &[3, 5, 6, 7, 14, 15, 16];

/// How long a broker may say so.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the broker at this port.
pub fn connect(port: u16) -> Result<Connection> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Ok(Connection::connect(address, "xtask", Duration::from_secs(30))?)
}

/// Asks until the answer is not one of those that only mean "later". `ask` gives the error code with what it found.
pub fn settled<T>(what: &str, mut ask: impl FnMut() -> Result<(i16, T)>) -> Result<T> {
    let mut last = String::new();
    let settled = wait::until(PATIENCE, || match ask() {
        Ok((0, found)) => Some(Ok(found)),
        Ok((code, _)) if RETRIABLE.contains(&code) => {
            last = format!("error code {code}");
            None
        }
        Ok((code, _)) => Some(Err(anyhow::anyhow!("{what}: error code {code}"))),
        Err(error) => Some(Err(error)),
    });
    match settled {
        Some(result) => result,
        None => bail!("{what}: still {last} after {} s", PATIENCE.as_secs()),
    }
}

/// Creates a topic with one copy.
pub fn create_topic(connection: &mut Connection, name: &str, partitions: i32) -> Result<()> {
    settled("CreateTopics", || Ok((topic_refused(connection, name, partitions)?, ())))
}

/// Tries to create a topic with one copy; the error code, 0 if it was created.
pub fn topic_refused(connection: &mut Connection, name: &str, partitions: i32) -> Result<i16> {
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let response: CreateTopicsResponse = connection.call(Api::CreateTopics, 5, &request)?;
    ensure!(response.topics.len() == 1, "CreateTopics answered for {} topics", response.topics.len());
    Ok(response.topics[0].error_code)
}

/// The end of each partition's log, from partition 0 on.
pub fn log_ends(connection: &mut Connection, topic: &str, partitions: i32) -> Result<Vec<i64>> {
    let asked = (0..partitions)
        .map(|index| ListOffsetsPartition::default().with_partition_index(index).with_timestamp(-1))
        .collect();
    let topic = ListOffsetsTopic::default().with_name(TopicName(text(topic))).with_partitions(asked);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    settled("ListOffsets", || {
        let response: ListOffsetsResponse = connection.call(Api::ListOffsets, 7, &request)?;
        let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
        let code = answers.clone().map(|answer| answer.error_code).find(|code| *code != 0).unwrap_or(0);
        let mut ends: Vec<(i32, i64)> = answers.map(|answer| (answer.partition_index, answer.offset)).collect();
        ends.sort_unstable();
        ensure!(ends.len() == usize::try_from(partitions)?, "ListOffsets answered for {} partitions", ends.len());
        Ok((code, ends.into_iter().map(|(_, end)| end).collect()))
    })
}

/// Whether a broker answers at all: it tells its topics.
pub fn await_answer(connection: &mut Connection) -> Result<()> {
    let _: MetadataResponse = connection.call(Api::Metadata, 9, &MetadataRequest::default())?;
    Ok(())
}

/// Waits until a group has a coordinator. Some brokers create `__consumer_offsets` only when asked this (P-27).
pub fn await_coordinator(connection: &mut Connection, group: &str) -> Result<()> {
    let request = FindCoordinatorRequest::default().with_key(text(group)).with_key_type(0);
    settled("FindCoordinator", || {
        let response: FindCoordinatorResponse = connection.call(Api::FindCoordinator, 3, &request)?;
        Ok((response.error_code, ()))
    })
}

/// One committed offset, and what was written beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read; -1 if there is none.
    pub offset: i64,
    /// The text that came with the commit.
    pub metadata: String,
}

/// What a group has committed in each partition, from partition 0 on.
pub fn committed(connection: &mut Connection, group: &str, topic: &str, partitions: i32) -> Result<Vec<Committed>> {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partition_indexes((0..partitions).collect());
    let request = OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![topic]));
    settled("OffsetFetch", || {
        let response: OffsetFetchResponse = connection.call(Api::OffsetFetch, 7, &request)?;
        let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
        let mut codes = answers.clone().map(|answer| answer.error_code).chain([response.error_code]);
        let code = codes.find(|code| *code != 0).unwrap_or(0);
        let mut found: Vec<(i32, Committed)> = answers
            .map(|answer| {
                let metadata = answer.metadata.as_deref().unwrap_or_default().to_owned();
                (answer.partition_index, Committed { offset: answer.committed_offset, metadata })
            })
            .collect();
        found.sort_unstable_by_key(|(index, _)| *index);
        ensure!(code != 0 || found.len() == usize::try_from(partitions)?, "OffsetFetch answered for {}", found.len());
        Ok((code, found.into_iter().map(|(_, committed)| committed).collect()))
    })
}

/// The records of one Fetch at this offset, of about so many bytes; the first ones may lie before it (P-35).
pub fn records_from(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    from: i64,
    max_bytes: i32,
) -> Result<Vec<Record>> {
    let mut batches = batches_from(connection, topic, partition, from, max_bytes)?;
    Ok(RecordBatchDecoder::decode_all(&mut batches)?.into_iter().flat_map(|set| set.records).collect())
}

/// The same as bytes, as they came.
pub fn batches_from(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    from: i64,
    max_bytes: i32,
) -> Result<Bytes> {
    let asked =
        FetchPartition::default().with_partition(partition).with_fetch_offset(from).with_partition_max_bytes(max_bytes);
    let asked = FetchTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![asked]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(1000)
        .with_min_bytes(1)
        .with_max_bytes(64 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![asked]);
    settled("Fetch", || {
        let mut response: FetchResponse = connection.call(Api::Fetch, 12, &request)?;
        let answer =
            response.responses.pop().and_then(|mut topic| topic.partitions.pop()).context("Fetch answered nothing")?;
        Ok((answer.error_code, answer.records.unwrap_or_default()))
    })
}
