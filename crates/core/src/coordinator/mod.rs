//! The group coordinator's frame: what it is asked, what it answers, and the shard that decides.
//!
//! One [`GroupShard`] owns the groups of one partition of `__consumer_offsets`. It follows one rule throughout:
//!
//! * **Durable state** is what the records of that partition say: committed offsets, and each group's generation, protocol,
//!   leader, members and assignments as last written. Only [`GroupShard::replay`] changes it, in operation and at load alike,
//!   so a restart finds the group as it was.
//! * **Volatile state** is what a crash may take without breaking a promise: who is joining, parked replies, timers, ids
//!   handed out, who has left since the last record. [`GroupShard::handle`] and [`GroupShard::on_deadline`] change it directly.
//!
//! When an append fails, the driver gives the shard up, and a restart rebuilds it from the log; whoever was parked is answered
//! through [`GroupShard::abandon`]. Deliberately not here: appending, waiting for the disk, routing a group to its shard.

mod answer;
mod deadlines;
mod expiry;
mod request;
mod routing;
mod settings;
mod shard;
mod turn;

pub use crate::group::SubscribedTopics;
pub use answer::{
    Answer, CommitAnswer, CommittedPartition, DeleteOffsetsAnswer, DescribeAnswer, DescribedMember, FetchOffsetsAnswer,
    FetchedPartition, FetchedTopic, GroupState, JoinAnswer, JoinedMember, LeaveAnswer, LeftMember, ListAnswer,
    ListedGroup, SyncAnswer,
};
pub use expiry::{Expired, LogStarts, OffsetRetention};
pub use request::{
    CommitRequest, DeleteGroupRequest, DeleteOffsetsRequest, DescribeRequest, FetchOffsetsRequest, FetchTopic,
    HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, ListRequest, OffsetToCommit, Request, SyncRequest,
};
pub use routing::partition_of;
pub use settings::GroupSettings;
pub use shard::{GroupShard, GroupSummary, Replayed};
pub(crate) use turn::Turn;
