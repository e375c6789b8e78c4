//! Which answer belongs to which request, so that a call cannot be decoded as another one's.
//!
//! Deliberately not here: versions, which each connection finds out, and what a request should say.

use pagemark_wire::api::Api;
use pagemark_wire::messages::*;

/// A request that a client sends.
pub(crate) trait Request: Encodable + Send {
    /// Which API.
    const API: Api;
    /// What comes back.
    type Answer: Decodable + Send;
}

macro_rules! requests {
    ($($api:ident: $request:ident -> $answer:ident;)*) => {
        $(impl Request for $request { const API: Api = Api::$api; type Answer = $answer; })*
    };
}

requests! {
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
    InitProducerId: InitProducerIdRequest -> InitProducerIdResponse;
    DescribeConfigs: DescribeConfigsRequest -> DescribeConfigsResponse;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest -> IncrementalAlterConfigsResponse;
    CreatePartitions: CreatePartitionsRequest -> CreatePartitionsResponse;
    DeleteRecords: DeleteRecordsRequest -> DeleteRecordsResponse;
}

/// A text as a field takes it.
pub(crate) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// A topic's name as a field takes it.
pub(crate) fn topic_name(value: &str) -> TopicName {
    TopicName(text(value))
}

/// A group's id as a field takes it.
pub(crate) fn group_id(value: &str) -> GroupId {
    GroupId(text(value))
}
