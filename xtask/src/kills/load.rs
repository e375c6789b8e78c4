//! The requests of a cycle: idempotent produces and commits, in pipelines on raw connections.
//!
//! Deliberately not here: what the answers must be.

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use pagemark_client::blocking::Connection;
use pagemark_wire::api::Api;
use pagemark_wire::messages::{
    GroupId, InitProducerIdRequest, InitProducerIdResponse, OffsetCommitRequest, OffsetCommitResponse, ProduceRequest,
    ProduceResponse, TopicName,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    produce_request::{PartitionProduceData, TopicProduceData},
    text,
};

use super::oracle::{SentBatch, metadata_of};
use crate::admin::settled;

const PRODUCE_VERSION: i16 = 9;
const COMMIT_VERSION: i16 = 8;
const TIMEOUT_MS: i32 = 30_000;

/// An idempotent producer of one partition.
#[derive(Debug, Clone, Copy)]
pub struct Producer {
    id: i64,
    epoch: i16,
}

impl Producer {
    /// Asks for a new producer id.
    pub fn new(connection: &mut Connection) -> Result<Producer> {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(TIMEOUT_MS);
        settled("InitProducerId", || {
            let response: InitProducerIdResponse = connection.call(Api::InitProducerId, 4, &request)?;
            let producer = Producer { id: response.producer_id.0, epoch: response.producer_epoch };
            Ok((response.error_code, producer))
        })
    }

    /// The batch as it goes over the wire.
    fn encode(self, batch: &SentBatch) -> Result<Bytes> {
        let record = |(index, value): (usize, &Bytes)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: self.id,
            producer_epoch: self.epoch,
            timestamp_type: TimestampType::Creation,
            offset: index as i64,
            sequence: batch.first_sequence.wrapping_add(index as i32),
            timestamp: batch.timestamp_ms,
            key: None,
            value: Some(value.clone()),
            headers: Default::default(),
        };
        let records: Vec<Record> = batch.values.iter().enumerate().map(record).collect();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &records, &options)?;
        Ok(bytes.freeze())
    }
}

/// Sends a batch and does not wait.
pub fn send_produce(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    producer: Producer,
    batch: &SentBatch,
) -> Result<()> {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(producer.encode(batch)?));
    let data = TopicProduceData::default().with_name(TopicName(text(topic))).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(TIMEOUT_MS).with_topic_data(vec![data]);
    connection.send(Api::Produce, PRODUCE_VERSION, &request)?;
    Ok(())
}

/// Waits for the answer to the oldest Produce: its error code and base offset.
pub fn receive_produce(connection: &mut Connection) -> Result<(i16, i64)> {
    let response: ProduceResponse = connection.receive()?.decode()?;
    let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
    let answer = answer.context("Produce was answered with nothing")?;
    Ok((answer.error_code, answer.base_offset))
}

/// A commit of one group: partition and offset.
pub type Commits = Vec<(i32, i64)>;

/// Sends a commit of a group without members and does not wait.
pub fn send_commit(connection: &mut Connection, topic: &str, group: &str, commits: &Commits) -> Result<()> {
    let partition = |&(partition, offset): &(i32, i64)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text(metadata_of(offset))))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(commits.iter().map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    connection.send(Api::OffsetCommit, COMMIT_VERSION, &request)?;
    Ok(())
}

/// Waits for the answer to the oldest commit; it must be a yes for every partition.
pub fn receive_commit(connection: &mut Connection, partitions: usize) -> Result<()> {
    let response: OffsetCommitResponse = connection.receive()?.decode()?;
    let codes: Vec<i16> = response.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect();
    ensure!(
        codes.len() == partitions && codes.iter().all(|code| *code == 0),
        "OffsetCommit was answered with {codes:?}"
    );
    Ok(())
}
