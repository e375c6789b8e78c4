//! What a group coordinator is asked, free of protocol versions.
//!
//! The API layer turns each version of a Kafka request into one of these; what an old version cannot say is filled in there.
//! Every request names one group (or none), so that it belongs to one shard; the API layer splits those that name several.
//! Deliberately not here: permissions and the existence of topics, which are settled before a coordinator is asked (O-4, O-5).

use bytes::Bytes;
use pagemark_wire::types::{Generation, LeaderEpoch, Offset, PartitionIndex, TopicId};

/// A request to a group coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// JoinGroup.
    Join(JoinRequest),
    /// SyncGroup.
    Sync(SyncRequest),
    /// Heartbeat.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup.
    Leave(LeaveRequest),
    /// OffsetCommit.
    Commit(CommitRequest),
    /// OffsetFetch, one group of it.
    Fetch(FetchOffsetsRequest),
    /// DescribeGroups, one group of it.
    Describe(DescribeRequest),
    /// ListGroups, to be asked of every shard.
    List(ListRequest),
    /// DeleteGroups, one group of it.
    DeleteGroup(DeleteGroupRequest),
    /// OffsetDelete.
    DeleteOffsets(DeleteOffsetsRequest),
}

/// A consumer wants to be, or stay, a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group.
    pub group_id: String,
    /// The member's id; empty if it has none yet.
    pub member_id: String,
    /// Set for static members (KIP-345).
    pub group_instance_id: Option<String>,
    /// What the client calls itself; empty if it says nothing.
    pub client_id: String,
    /// Where it comes from, as Kafka writes it: `/127.0.0.1`.
    pub client_host: String,
    /// After this long without a sign of life the member is removed.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for this member. Version 0 has none: the session timeout.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect` ...
    pub protocol_type: String,
    /// Protocols the member can do, the preferred one first, each with its metadata (opaque but for G-25).
    pub protocols: Vec<(String, Bytes)>,
    /// Version 4 on: a newcomer is first given an id and asked to come again with it (G-10, Q-15a).
    pub requires_known_member_id: bool,
    /// Version 9 on: the member understands `skipAssignment` (G-31).
    pub supports_skip_assignment: bool,
    /// A fresh random UUID in text, the latter half of the member's id should it need a new one.
    pub fresh_member_uuid: String,
}

/// A member wants its assignment, or the leader brings everybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// The group.
    pub group_id: String,
    /// The generation the member was told at joining.
    pub generation: Generation,
    /// The member.
    pub member_id: String,
    /// Set for static members.
    pub group_instance_id: Option<String>,
    /// Version 5 on: the protocol type and name the member believes in, to be compared (G-22).
    pub protocol_check: Option<(Option<String>, Option<String>)>,
    /// Assignment by member id; only the leader's counts.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: String,
    /// The generation the member believes in.
    pub generation: Generation,
    /// The member.
    pub member_id: String,
    /// Set for static members.
    pub group_instance_id: Option<String>,
}

/// Members leave, or an administrator removes them. Versions 0 to 2 name exactly one, by member id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveRequest {
    /// The group.
    pub group_id: String,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// One member of a [`LeaveRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavingMember {
    /// The member's id; empty when it is named by instance id alone.
    pub member_id: String,
    /// Its instance id.
    pub group_instance_id: Option<String>,
    /// Why, in the leaver's words (version 5 on); shown, never judged.
    pub reason: Option<String>,
}

/// Offsets to be committed. A commit is the **next** offset to read (O-1).
///
/// An absent group with a generation is answered [`GroupIdNotFound`](pagemark_wire::ErrorCode::GroupIdNotFound); below
/// version 9 the API layer says ILLEGAL_GENERATION for it (O-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest {
    /// The group; the empty string is a legal one here (G-5).
    pub group_id: String,
    /// The member's generation, -1 for a caller that is no member.
    pub generation: Generation,
    /// The member; empty for a caller that is none.
    pub member_id: String,
    /// Set for static members.
    pub group_instance_id: Option<String>,
    /// What to commit; topics and partitions that do not exist are already taken out (O-4).
    pub offsets: Vec<OffsetToCommit>,
    /// Versions 2 to 4: these offsets expire this much later, milliseconds (O-17). `None` for the broker's own rule (-1).
    pub retention_ms: Option<i64>,
}

/// One offset of a [`CommitRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The topic's name.
    pub topic: String,
    /// The id of the topic that has this name now (O-62); zero only if there are no ids.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Next offset to read; any value is accepted (O-7).
    pub offset: Offset,
    /// Leader epoch of the last record read, -1 if unknown (O-22).
    pub leader_epoch: LeaderEpoch,
    /// The caller's own text; null is stored as "" (O-6).
    pub metadata: Option<String>,
}

/// Which committed offsets to tell.
///
/// Member id and epoch of version 9 are not here: for classic groups they are ignored (O-29).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOffsetsRequest {
    /// The group; the empty string is a legal one here (G-5).
    pub group_id: String,
    /// The topics asked for, or `None` for all that have an offset (O-25).
    pub topics: Option<Vec<FetchTopic>>,
    /// Version 7 on: answer offsets with a transaction in flight by UNSTABLE_OFFSET_COMMIT. Without transactions there are
    /// none; the place is kept for them (O-28).
    pub require_stable: bool,
}

/// One topic of a [`FetchOffsetsRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// The topic's name.
    pub name: String,
    /// The id of the topic that has this name now, if there is one. Offsets of another incarnation are not told (O-30, O-61).
    pub current_id: Option<TopicId>,
    /// The partitions asked for, answered in this order.
    pub partitions: Vec<PartitionIndex>,
}

/// A look at one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeRequest {
    /// The group.
    pub group_id: String,
}

/// Which groups there are. Filters compare without regard to case (G-36); an empty one lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// States to be listed.
    pub states: Vec<String>,
    /// Group types to be listed; ours are all `classic`.
    pub types: Vec<String>,
}

/// A group is to go, with all its offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteGroupRequest {
    /// The group; the empty string is a legal one here (G-5).
    pub group_id: String,
}

/// Some of a group's offsets are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOffsetsRequest {
    /// The group.
    pub group_id: String,
    /// Of which partitions; topics that do not exist are already taken out (O-35).
    pub partitions: Vec<(String, PartitionIndex)>,
}
