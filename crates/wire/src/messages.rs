//! Requests and responses as values: Kafka's messages by their own names, and the only safe way to decode one.
//!
//! The types are those of `kafka-protocol`, whose decoder trusts lengths: it allocates what an array claims to hold. So a
//! request goes through [`decode`] and a response through [`decode_response`], which let [`crate::guard`] walk the bytes
//! first (P-9), never straight to the crate. A few are our own (`own.rs`), since the crate lacks their newest version.
//! Deliberately not here: record batches, which stay opaque bytes in these messages.

use bytes::Bytes;

use crate::api::Api;
use crate::guard::{self, Malformed};

pub use kafka_protocol::error::ResponseError;
pub use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteGroupsRequest, DeleteGroupsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, DescribeGroupsRequest, DescribeGroupsResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, FetchRequest,
    FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, InitProducerIdRequest, InitProducerIdResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
    MetadataRequest, MetadataResponse, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse,
    SyncGroupRequest, SyncGroupResponse,
};
pub use kafka_protocol::messages::{
    BrokerId, GroupId, ProducerId, TopicName, TransactionalId, alter_configs_request, alter_configs_response,
    api_versions_request, api_versions_response, consumer_group_describe_request, consumer_group_describe_response,
    create_partitions_request, create_partitions_response, create_topics_request, create_topics_response,
    delete_groups_request, delete_groups_response, delete_records_request, delete_records_response,
    delete_topics_request, delete_topics_response, describe_cluster_request, describe_cluster_response,
    describe_configs_request, describe_configs_response, describe_groups_request, describe_groups_response,
    describe_log_dirs_request, describe_log_dirs_response, describe_topic_partitions_request,
    describe_topic_partitions_response, fetch_request, fetch_response, find_coordinator_request,
    find_coordinator_response, heartbeat_request, heartbeat_response, incremental_alter_configs_request,
    incremental_alter_configs_response, init_producer_id_request, init_producer_id_response, join_group_request,
    join_group_response, leave_group_request, leave_group_response, list_groups_request, list_groups_response,
    metadata_request, metadata_response, offset_commit_response, offset_delete_request, offset_delete_response,
    offset_fetch_response, offset_for_leader_epoch_request, offset_for_leader_epoch_response, produce_request,
    produce_response, sync_group_request, sync_group_response,
};
pub use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
pub use own::{ListOffsetsRequest, ListOffsetsResponse, OffsetCommitRequest, OffsetFetchRequest};

mod codec;
mod own;

/// The parts of an [`OffsetCommitRequest`].
pub mod offset_commit_request {
    pub use super::own::OffsetCommitRequestTopic;
    pub use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
}

/// The parts of an [`OffsetFetchRequest`].
pub mod offset_fetch_request {
    pub use super::own::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    pub use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
}

/// The parts of a [`ListOffsetsRequest`].
pub mod list_offsets_request {
    pub use super::own::ListOffsetsTopic;
    pub use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
}

/// The parts of a [`ListOffsetsResponse`].
pub mod list_offsets_response {
    pub use super::own::ListOffsetsTopicResponse;
    pub use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
}

/// The one table of which request and which response belong to an [`Api`], given to the macro `$row` after `$first`.
#[doc(hidden)]
#[macro_export]
macro_rules! message_table {
    ([$($row:tt)+] $first:tt) => {
        $($row)+! {
            $first
            Produce: ProduceRequest -> ProduceResponse;
            Fetch: FetchRequest -> FetchResponse;
            ListOffsets: ListOffsetsRequest -> ListOffsetsResponse;
            Metadata: MetadataRequest -> MetadataResponse;
            OffsetCommit: OffsetCommitRequest -> OffsetCommitResponse;
            OffsetFetch: OffsetFetchRequest -> OffsetFetchResponse;
            FindCoordinator: FindCoordinatorRequest -> FindCoordinatorResponse;
            JoinGroup: JoinGroupRequest -> JoinGroupResponse;
            Heartbeat: HeartbeatRequest -> HeartbeatResponse;
            LeaveGroup: LeaveGroupRequest -> LeaveGroupResponse;
            SyncGroup: SyncGroupRequest -> SyncGroupResponse;
            DescribeGroups: DescribeGroupsRequest -> DescribeGroupsResponse;
            ListGroups: ListGroupsRequest -> ListGroupsResponse;
            ApiVersions: ApiVersionsRequest -> ApiVersionsResponse;
            CreateTopics: CreateTopicsRequest -> CreateTopicsResponse;
            DeleteTopics: DeleteTopicsRequest -> DeleteTopicsResponse;
            DeleteRecords: DeleteRecordsRequest -> DeleteRecordsResponse;
            InitProducerId: InitProducerIdRequest -> InitProducerIdResponse;
            DescribeLogDirs: DescribeLogDirsRequest -> DescribeLogDirsResponse;
            DescribeTopicPartitions: DescribeTopicPartitionsRequest -> DescribeTopicPartitionsResponse;
            DescribeCluster: DescribeClusterRequest -> DescribeClusterResponse;
            CreatePartitions: CreatePartitionsRequest -> CreatePartitionsResponse;
            OffsetForLeaderEpoch: OffsetForLeaderEpochRequest -> OffsetForLeaderEpochResponse;
            DeleteGroups: DeleteGroupsRequest -> DeleteGroupsResponse;
            OffsetDelete: OffsetDeleteRequest -> OffsetDeleteResponse;
            IncrementalAlterConfigs: IncrementalAlterConfigsRequest -> IncrementalAlterConfigsResponse;
            AlterConfigs: AlterConfigsRequest -> AlterConfigsResponse;
            DescribeConfigs: DescribeConfigsRequest -> DescribeConfigsResponse;
            ConsumerGroupDescribe: ConsumerGroupDescribeRequest -> ConsumerGroupDescribeResponse;
        }
    };
}

/// An expression with the two types of an [`Api`] under names of the caller's choice, for whoever does the same with all of
/// them: `with_message_types!(api, |Q, A| decode::<Q>(api, version, body).is_ok())`. Tests and fuzz targets go through it, so
/// an API that has its line in the table has their attention.
#[macro_export]
macro_rules! with_message_types {
    ($api:expr, |$request:ident, $response:ident| $body:expr) => {
        $crate::message_table!([$crate::match_message_types] [$api, $request, $response, $body])
    };
}

/// The `match` of [`with_message_types!`].
#[doc(hidden)]
#[macro_export]
macro_rules! match_message_types {
    ([$api:expr, $request:ident, $response:ident, $body:expr] $($name:ident: $q:ident -> $a:ident;)*) => {
        match $api {
            $($crate::api::Api::$name => {
                #[allow(dead_code)]
                type $request = $crate::messages::$q;
                #[allow(dead_code)]
                type $response = $crate::messages::$a;
                $body
            })*
        }
    };
}

/// A request together with the kind of its answer, so that an answer cannot be decoded as another one's.
pub trait Request: Encodable + Decodable + Send {
    /// Which API.
    const API: Api;
    /// What comes back.
    type Answer: Encodable + Decodable + Send;
}

macro_rules! implement_request {
    ([] $($name:ident: $request:ident -> $answer:ident;)*) => {
        $(impl Request for $request {
            const API: Api = Api::$name;
            type Answer = $answer;
        })*
    };
}

message_table!([implement_request] []);

/// A text as a field takes it.
pub fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}

/// A topic's name as a field takes it.
pub fn topic_name(value: &str) -> TopicName {
    TopicName(text(value))
}

/// A group's id as a field takes it.
pub fn group_id(value: &str) -> GroupId {
    GroupId(text(value))
}

/// A decoded request.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<R> {
    /// The request.
    pub message: R,
    /// Bytes behind the complete body; legal, and counted (P-9).
    pub trailing_bytes: usize,
}

/// Decodes the body of a request. `R` must be the request type of `api`.
///
/// A topic name that is not UTF-8 comes out with a `?` for each offending byte, which no legal name contains, so that it is
/// refused by name (INVALID_TOPIC_EXCEPTION) rather than by closing the connection.
///
/// # Errors
/// [`Malformed`]: close the connection.
pub fn decode<R: Decodable>(api: Api, version: i16, body: Bytes) -> Result<Decoded<R>, Malformed> {
    let shape = guard::check(api, version, &body)?;
    let mut rest = match shape.repaired {
        Some(repaired) => repaired,
        None => body,
    };
    let message = R::decode(&mut rest, version).map_err(|_| Malformed::BY_DECODER)?;
    Ok(Decoded { message, trailing_bytes: rest.len() })
}

/// Decodes the body of a response; `R` must be the response type of `api`. A broker's lengths are believed no more than a
/// client's.
///
/// # Errors
/// [`Malformed`]: close the connection.
pub fn decode_response<R: Decodable>(api: Api, version: i16, mut body: Bytes) -> Result<R, Malformed> {
    guard::check_response(api, version, &body)?;
    R::decode(&mut body, version).map_err(|_| Malformed::BY_DECODER)
}
