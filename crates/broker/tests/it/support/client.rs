//! A client that says what a test means in few words, and takes no error for an answer.

use std::net::SocketAddr;

use bytes::Bytes;
use pagemark_client::blocking::Connection;
use pagemark_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use pagemark_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use pagemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use pagemark_wire::messages::fetch_response::PartitionData;
use pagemark_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use pagemark_wire::messages::list_offsets_response::ListOffsetsPartitionResponse;
use pagemark_wire::messages::metadata_request::MetadataRequestTopic;
use pagemark_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use pagemark_wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use pagemark_wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use pagemark_wire::messages::offset_fetch_response::OffsetFetchResponsePartitions;
use pagemark_wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use pagemark_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use pagemark_wire::messages::produce_response::PartitionProduceResponse;
use pagemark_wire::messages::*;
use uuid::Uuid;

use super::PATIENCE;

/// One connection.
pub struct Client {
    pub connection: Connection,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let connection = Connection::connect(address, "tester", PATIENCE).expect("the broker accepts");
        Client { connection }
    }

    /// Asks in this version and waits for the answer.
    pub fn ask<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Answer {
        match self.connection.call(Q::API, version, request) {
            Ok(answer) => answer,
            Err(error) => panic!("{:?} version {version}: {error}", Q::API),
        }
    }

    /// Asks and does not wait.
    pub fn send<Q: Request>(&mut self, version: i16, request: &Q) {
        self.connection.send(Q::API, version, request).expect("the request can be sent");
    }

    /// The answer to the oldest request sent.
    pub fn receive<Q: Request>(&mut self) -> Q::Answer {
        self.connection.receive().expect("an answer comes").decode().expect("it is of the right kind")
    }

    /// Creates a topic, and gives its id.
    pub fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let answer = self.ask(7, &create_request(&[new_topic(name, partitions, configs)]));
        assert_eq!(answer.topics[0].error_code, 0, "{name}: {:?}", answer.topics[0].error_message);
        answer.topics[0].topic_id
    }

    /// Deletes a topic and gives the error code.
    pub fn delete(&mut self, name: &str) -> i16 {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]);
        self.ask(5, &request).responses[0].error_code
    }

    /// Deletes groups and gives their error codes.
    pub fn delete_groups(&mut self, groups: &[&str]) -> Vec<i16> {
        let names = groups.iter().map(|group| group_id(group)).collect();
        let answer = self.ask(2, &DeleteGroupsRequest::default().with_groups_names(names));
        answer.results.iter().map(|result| result.error_code).collect()
    }

    /// Deletes offsets of a group: each is a topic with a partition. Gives the error code of the whole, and of each.
    pub fn delete_offsets(&mut self, group: &str, partitions: &[(&str, i32)]) -> (i16, Vec<i16>) {
        let topic = |(name, index): &(&str, i32)| {
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(*index);
            OffsetDeleteRequestTopic::default().with_name(topic_name(name)).with_partitions(vec![partition])
        };
        let topics = partitions.iter().map(topic).collect();
        let request = OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(topics);
        let answer = self.ask(0, &request);
        (answer.error_code, answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect())
    }

    /// Where an epoch ended: error code, epoch, offset.
    pub fn epoch_end(&mut self, topic: &str, current: i32, epoch: i32) -> (i16, i32, i64) {
        let mut answer = self.ask(4, &epoch_request(topic, current, epoch));
        let partition = answer.topics.remove(0).partitions.remove(0);
        (partition.error_code, partition.leader_epoch, partition.end_offset)
    }

    /// Produces one batch with acks=all.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> PartitionProduceResponse {
        one_of(self.ask(9, &produce_request(topic, partition, -1, Some(batch))))
    }

    /// Produces one batch, which must be accepted, and gives its base offset.
    pub fn produced(&mut self, topic: &str, partition: i32, batch: Bytes) -> i64 {
        let answer = self.produce(topic, partition, batch);
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        answer.base_offset
    }

    /// Reads from an offset without waiting.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let mut answer = self.ask(12, &fetch_request(topic, partition, offset));
        assert_eq!(answer.error_code, 0);
        answer.responses.remove(0).partitions.remove(0)
    }

    /// Everything from an offset on, as it came.
    pub fn read(&mut self, topic: &str, partition: i32, offset: i64) -> Bytes {
        let answer = self.fetch(topic, partition, offset);
        assert_eq!(answer.error_code, 0);
        answer.records.expect("never null (P-36)")
    }

    /// Finds an offset, version 9.
    pub fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> ListOffsetsPartitionResponse {
        self.ask(9, &list_offsets_request(topic, partition, timestamp)).topics.remove(0).partitions.remove(0)
    }

    /// The high watermark.
    pub fn end(&mut self, topic: &str, partition: i32) -> i64 {
        self.list_offset(topic, partition, -1).offset
    }

    /// Lets the log of partition 0 begin at an offset.
    pub fn cut(&mut self, topic: &str, offset: i64) {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        assert_eq!(self.ask(2, &request).topics[0].partitions[0].error_code, 0);
    }

    /// Commits as somebody who is in no group, and gives the error code.
    pub fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> i16 {
        let answer = self.ask(8, &commit_request(group, &[(topic, partition, offset, "")]));
        answer.topics[0].partitions[0].error_code
    }

    /// What OffsetFetch says of one partition, which must be answered without a group error.
    pub fn committed(&mut self, group: &str, topic: &str, partition: i32) -> OffsetFetchResponsePartitions {
        let mut answer = self.ask(8, &committed_request(group, Some(&[(topic, partition)])));
        assert_eq!(answer.groups[0].error_code, 0);
        answer.groups.remove(0).topics.remove(0).partitions.remove(0)
    }
}

pub fn new_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(*name)).with_value(Some(text(*value)))
    };
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect())
}

pub fn create_request(topics: &[CreatableTopic]) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics.to_vec()).with_timeout_ms(10_000)
}

pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Option<Bytes>) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(records);
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

/// The answer of a request for one partition.
pub fn one_of(mut answer: ProduceResponse) -> PartitionProduceResponse {
    answer.responses.remove(0).partition_responses.remove(0)
}

/// A fetch of one partition that waits for nothing and takes up to 50 MiB.
pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(50 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![wanted]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

pub fn list_offsets_request(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let asked = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

/// A look-up of where an epoch of partition 0 ended, by somebody who believes `current` to be the present one.
pub fn epoch_request(topic: &str, current: i32, epoch: i32) -> OffsetForLeaderEpochRequest {
    let asked = OffsetForLeaderPartition::default().with_current_leader_epoch(current).with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default().with_topic(topic_name(topic)).with_partitions(vec![asked]);
    OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

/// A commit without membership: each is (topic, partition, offset, metadata).
pub fn commit_request(group: &str, offsets: &[(&str, i32, i64, &str)]) -> OffsetCommitRequest {
    let topic = |(name, partition, offset, metadata): &(&str, i32, i64, &str)| {
        let one = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text(*metadata)));
        OffsetCommitRequestTopic::default().with_name(topic_name(name)).with_partitions(vec![one])
    };
    OffsetCommitRequest::default().with_group_id(group_id(group)).with_topics(offsets.iter().map(topic).collect())
}

/// An OffsetFetch of one group, for versions from 8 on; `None` asks for all.
pub fn committed_request(group: &str, partitions: Option<&[(&str, i32)]>) -> OffsetFetchRequest {
    let topic = |(name, partition): &(&str, i32)| {
        OffsetFetchRequestTopics::default().with_name(topic_name(name)).with_partition_indexes(vec![*partition])
    };
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_topics(partitions.map(|p| p.iter().map(topic).collect()));
    OffsetFetchRequest::default().with_groups(vec![group])
}

/// A Metadata request for these topics, which creates nothing from version 4 on.
pub fn metadata_request(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default()
        .with_topics(Some(names.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}
