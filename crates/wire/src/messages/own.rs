//! Messages of which Kafka has a version that `kafka-protocol` does not know: OffsetCommit 10 and OffsetFetch 10, which name
//! topics by id (KIP-848), and ListOffsets 11. The structures within them that have not changed are that crate's.
//!
//! Fields are named as there, and the golden bytes hold for both. Deliberately not here: responses of which the crate knows all
//! versions.

use anyhow::{Result, bail, ensure};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{BrokerId, GroupId, TopicName};
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use super::codec::{Field, Layout, Measure, Sink, Tags, Write, foreign, message};

foreign! {
    OffsetCommitRequestPartition, unchanged since 9;
    OffsetFetchRequestTopic, unchanged since 7;
    ListOffsetsPartition, unchanged since 10;
    ListOffsetsPartitionResponse, unchanged since 10;
}

message! {
    /// OffsetCommit, request.
    OffsetCommitRequest, versions 2 to 10, flexible from 8 {
        /// The group.
        group_id with_group_id: GroupId = GroupId::default(), in 2..=10;
        /// The member's generation or epoch, -1 for a caller that is no member.
        generation_id_or_member_epoch with_generation_id_or_member_epoch: i32 = -1, in 2..=10;
        /// The member.
        member_id with_member_id: StrBytes = StrBytes::default(), in 2..=10;
        /// Set for static members.
        group_instance_id with_group_instance_id: Option<StrBytes> = None, in 7..=10, else bail;
        /// For how long the offsets are to be kept, milliseconds; -1 for the broker's own rule.
        retention_time_ms with_retention_time_ms: i64 = -1, in 2..=4;
        /// What to commit.
        topics with_topics: Vec<OffsetCommitRequestTopic> = Vec::new(), in 2..=10;
    }
}

message! {
    /// One topic of an [`OffsetCommitRequest`].
    OffsetCommitRequestTopic, versions 2 to 10, flexible from 8 {
        /// Its name.
        name with_name: TopicName = TopicName::default(), in 2..=9;
        /// Its id.
        topic_id with_topic_id: Uuid = Uuid::nil(), in 10..=10;
        /// Offsets by partition.
        partitions with_partitions: Vec<OffsetCommitRequestPartition> = Vec::new(), in 2..=10;
    }
}

message! {
    /// OffsetFetch, request.
    OffsetFetchRequest, versions 1 to 10, flexible from 6 {
        /// The group.
        group_id with_group_id: GroupId = GroupId::default(), in 1..=7, else bail;
        /// What is asked for; null is everything.
        topics with_topics: Option<Vec<OffsetFetchRequestTopic>> = Some(Vec::new()), in 1..=7, else bail;
        /// The groups.
        groups with_groups: Vec<OffsetFetchRequestGroup> = Vec::new(), in 8..=10, else bail;
        /// Whether offsets of open transactions are to be told apart (KIP-447).
        require_stable with_require_stable: bool = false, in 7..=10, else bail;
    }
}

message! {
    /// One group of an [`OffsetFetchRequest`].
    OffsetFetchRequestGroup, versions 8 to 10, flexible from 6 {
        /// The group.
        group_id with_group_id: GroupId = GroupId::default(), in 8..=10;
        /// The member, null for a caller that is none.
        member_id with_member_id: Option<StrBytes> = None, in 9..=10;
        /// Its epoch, -1 for a caller that is no member.
        member_epoch with_member_epoch: i32 = -1, in 9..=10;
        /// What is asked for; null is everything.
        topics with_topics: Option<Vec<OffsetFetchRequestTopics>> = Some(Vec::new()), in 8..=10;
    }
}

message! {
    /// One topic of an [`OffsetFetchRequestGroup`].
    OffsetFetchRequestTopics, versions 8 to 10, flexible from 6 {
        /// Its name.
        name with_name: TopicName = TopicName::default(), in 8..=9;
        /// Its id.
        topic_id with_topic_id: Uuid = Uuid::nil(), in 10..=10;
        /// The partitions asked for.
        partition_indexes with_partition_indexes: Vec<i32> = Vec::new(), in 8..=10;
    }
}

message! {
    /// ListOffsets, request.
    ListOffsetsRequest, versions 1 to 11, flexible from 6 {
        /// The broker that asks, -1 for a client.
        replica_id with_replica_id: BrokerId = BrokerId(0), in 1..=11;
        /// Whether records of open transactions count: 0 they do, 1 they do not.
        isolation_level with_isolation_level: i8 = 0, in 2..=11, else bail;
        /// What is asked for.
        topics with_topics: Vec<ListOffsetsTopic> = Vec::new(), in 1..=11;
        /// How long a look-up in remote storage may take, milliseconds.
        timeout_ms with_timeout_ms: i32 = 0, in 10..=11;
    }
}

message! {
    /// One topic of a [`ListOffsetsRequest`].
    ListOffsetsTopic, versions 1 to 11, flexible from 6 {
        /// Its name.
        name with_name: TopicName = TopicName::default(), in 1..=11;
        /// What is asked for, by partition.
        partitions with_partitions: Vec<ListOffsetsPartition> = Vec::new(), in 1..=11;
    }
}

message! {
    /// ListOffsets, response.
    ListOffsetsResponse, versions 1 to 11, flexible from 6 {
        /// How long the client is to wait, milliseconds.
        throttle_time_ms with_throttle_time_ms: i32 = 0, in 2..=11;
        /// What was found.
        topics with_topics: Vec<ListOffsetsTopicResponse> = Vec::new(), in 1..=11;
    }
}

message! {
    /// One topic of a [`ListOffsetsResponse`].
    ListOffsetsTopicResponse, versions 1 to 11, flexible from 6 {
        /// Its name.
        name with_name: TopicName = TopicName::default(), in 1..=11;
        /// What was found, by partition.
        partitions with_partitions: Vec<ListOffsetsPartitionResponse> = Vec::new(), in 1..=11;
    }
}
