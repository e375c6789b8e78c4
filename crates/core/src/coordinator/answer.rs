//! What a group coordinator answers, free of protocol versions.
//!
//! Shapes are those of the newest Kafka version; the API layer leaves out what an older one cannot carry.
//! Deliberately not here: throttle times and authorized operations, which no coordinator knows.

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::types::{Generation, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::request::Request;

/// An answer; its kind is that of the request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To JoinGroup.
    Join(JoinAnswer),
    /// To SyncGroup.
    Sync(SyncAnswer),
    /// To Heartbeat.
    Heartbeat(ErrorCode),
    /// To LeaveGroup.
    Leave(LeaveAnswer),
    /// To OffsetCommit.
    Commit(CommitAnswer),
    /// To OffsetFetch, one group of it.
    Fetch(FetchOffsetsAnswer),
    /// To DescribeGroups, one group of it.
    Describe(DescribeAnswer),
    /// To ListGroups, this shard's part of it.
    List(ListAnswer),
    /// To DeleteGroups, one group of it.
    DeleteGroup(ErrorCode),
    /// To OffsetDelete.
    DeleteOffsets(DeleteOffsetsAnswer),
}

/// What a member learns at joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAnswer {
    /// MEMBER_ID_REQUIRED asks to come again with `member_id` (G-10).
    pub error: ErrorCode,
    /// The new generation, -1 in an error.
    pub generation: Generation,
    /// The group's protocol type; null in an error.
    pub protocol_type: Option<String>,
    /// The protocol chosen; null in an error (versions before 7 write "").
    pub protocol: Option<String>,
    /// Member id of the leader; empty in an error.
    pub leader: String,
    /// The leader need not compute an assignment: the current one stays (G-31).
    pub skip_assignment: bool,
    /// The member's own id.
    pub member_id: String,
    /// Everybody, for the leader only.
    pub members: Vec<JoinedMember>,
}

/// One member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// Its metadata for the chosen protocol, as it sent it.
    pub metadata: Bytes,
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncAnswer {
    /// What is wrong.
    pub error: ErrorCode,
    /// The group's protocol type; null in an error.
    pub protocol_type: Option<String>,
    /// The protocol chosen; null in an error.
    pub protocol: Option<String>,
    /// Exactly what the leader gave; empty in an error.
    pub assignment: Bytes,
}

/// Who has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveAnswer {
    /// What is wrong with the request as a whole.
    pub error: ErrorCode,
    /// Each entry of the request, in its order. Versions 0 to 2 take the first one's error for the whole.
    pub members: Vec<LeftMember>,
}

/// One entry of a [`LeaveAnswer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftMember {
    /// As in the request.
    pub member_id: String,
    /// As in the request.
    pub group_instance_id: Option<String>,
    /// What is wrong.
    pub error: ErrorCode,
}

/// Which offsets were committed: those without an error, and they are on stable storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitAnswer {
    /// Each entry of the request, in its order.
    pub offsets: Vec<CommittedPartition>,
}

/// One entry of a [`CommitAnswer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedPartition {
    /// The topic's name, as in the request.
    pub topic: String,
    /// The topic's id, as in the request.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// What is wrong.
    pub error: ErrorCode,
    /// Whether the group goes back by it: it had committed a later offset of the same topic (O-7).
    pub goes_back: bool,
}

/// Committed offsets of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOffsetsAnswer {
    /// What is wrong with the group; then `topics` says the same of every partition asked for.
    pub error: ErrorCode,
    /// In the order asked, every partition answered; for "all" in order of name and partition.
    pub topics: Vec<FetchedTopic>,
}

/// One topic of a [`FetchOffsetsAnswer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The topic's name.
    pub name: String,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// One committed offset, or the lack of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: PartitionIndex,
    /// Id of the topic that the offset was committed for; zero if none was stored. With "all", an entry whose id is nonzero
    /// and not that of a present topic is to be left out (O-30).
    pub topic_id: TopicId,
    /// Next offset to read, -1 if there is none (O-26).
    pub offset: Offset,
    /// As committed, -1 if unknown.
    pub leader_epoch: LeaderEpoch,
    /// As committed; never null.
    pub metadata: String,
    /// What is wrong.
    pub error: ErrorCode,
}

impl FetchedPartition {
    /// "No offset", with the reason if there is an error (O-26).
    #[must_use]
    pub fn none(partition: PartitionIndex, error: ErrorCode) -> FetchedPartition {
        FetchedPartition {
            partition,
            topic_id: TopicId::ZERO,
            offset: Offset::NONE,
            leader_epoch: LeaderEpoch::NONE,
            metadata: String::new(),
            error,
        }
    }
}

/// State of a group as clients and tools see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    /// No members.
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// There is no such group.
    Dead,
    /// Its record is of a newer version than this broker reads (O-73).
    Unknown,
}

impl GroupState {
    /// Kafka's name for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
            GroupState::Unknown => "Unknown",
        }
    }
}

/// One group in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeAnswer {
    /// GROUP_ID_NOT_FOUND for an unknown group; versions before 6 say state `Dead` and no error (G-35).
    pub error: ErrorCode,
    /// The group's id.
    pub group_id: String,
    /// Its state.
    pub state: GroupState,
    /// Its protocol type; empty for a simple group (G-38).
    pub protocol_type: String,
    /// The protocol chosen; empty unless stable.
    pub protocol: String,
    /// Its members, by id.
    pub members: Vec<DescribedMember>,
}

/// One member of a [`DescribeAnswer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it comes from, beginning with `/`.
    pub client_host: String,
    /// Its metadata for the chosen protocol; empty unless stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless stable.
    pub assignment: Bytes,
}

/// The groups of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListAnswer {
    /// What is wrong.
    pub error: ErrorCode,
    /// By id.
    pub groups: Vec<ListedGroup>,
}

/// One group of a [`ListAnswer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub group_id: String,
    /// Its protocol type; empty for a simple group (G-36).
    pub protocol_type: String,
    /// Its state.
    pub state: GroupState,
    /// Its type: `classic`.
    pub group_type: &'static str,
}

/// Which offsets are gone: those without an error, also if there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOffsetsAnswer {
    /// What is wrong with the request as a whole; then nothing else is told.
    pub error: ErrorCode,
    /// One for each partition of the request, in its order.
    pub partitions: Vec<ErrorCode>,
}

impl JoinAnswer {
    /// An error for a member of this id.
    #[must_use]
    pub fn error(error: ErrorCode, member_id: String) -> JoinAnswer {
        JoinAnswer {
            error,
            generation: Generation::NONE,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

impl SyncAnswer {
    /// An error.
    #[must_use]
    pub fn error(error: ErrorCode) -> SyncAnswer {
        SyncAnswer { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

impl DeleteOffsetsAnswer {
    /// An error of the whole.
    #[must_use]
    pub fn error(error: ErrorCode) -> DeleteOffsetsAnswer {
        DeleteOffsetsAnswer { error, partitions: Vec::new() }
    }
}

impl DescribeAnswer {
    /// An error for a group of this id.
    #[must_use]
    pub fn error(error: ErrorCode, group_id: String, state: GroupState) -> DescribeAnswer {
        DescribeAnswer {
            error,
            group_id,
            state,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}

impl Answer {
    /// The answer to `request` that has this one error wherever an error can stand (G-3, O-19).
    #[must_use]
    pub fn to_refused(request: &Request, code: ErrorCode) -> Answer {
        match request {
            Request::Join(join) => Answer::Join(JoinAnswer::error(code, join.member_id.clone())),
            Request::Sync(_) => Answer::Sync(SyncAnswer::error(code)),
            Request::Heartbeat(_) => Answer::Heartbeat(code),
            Request::Leave(leave) => Answer::Leave(LeaveAnswer {
                error: code,
                members: leave
                    .members
                    .iter()
                    .map(|member| LeftMember {
                        member_id: member.member_id.clone(),
                        group_instance_id: member.group_instance_id.clone(),
                        error: code,
                    })
                    .collect(),
            }),
            Request::Commit(commit) => Answer::Commit(CommitAnswer {
                offsets: commit
                    .offsets
                    .iter()
                    .map(|offset| CommittedPartition {
                        topic: offset.topic.clone(),
                        topic_id: offset.topic_id,
                        partition: offset.partition,
                        error: code,
                        goes_back: false,
                    })
                    .collect(),
            }),
            Request::Fetch(fetch) => Answer::Fetch(FetchOffsetsAnswer {
                error: code,
                topics: fetch
                    .topics
                    .iter()
                    .flatten()
                    .map(|topic| FetchedTopic {
                        name: topic.name.clone(),
                        partitions: topic.partitions.iter().map(|p| FetchedPartition::none(*p, code)).collect(),
                    })
                    .collect(),
            }),
            Request::Describe(describe) => {
                Answer::Describe(DescribeAnswer::error(code, describe.group_id.clone(), GroupState::Unknown))
            }
            Request::List(_) => Answer::List(ListAnswer { error: code, groups: Vec::new() }),
            Request::DeleteGroup(_) => Answer::DeleteGroup(code),
            Request::DeleteOffsets(_) => Answer::DeleteOffsets(DeleteOffsetsAnswer::error(code)),
        }
    }

    /// What to say instead of this answer when what it waits for has failed: the same shape with this one error, none of
    /// its content. Partitions that were already in error keep theirs (O-16).
    #[must_use]
    pub fn refused(self, code: ErrorCode) -> Answer {
        match self {
            Answer::Join(join) => Answer::Join(JoinAnswer::error(code, join.member_id)),
            Answer::Sync(_) => Answer::Sync(SyncAnswer::error(code)),
            Answer::Heartbeat(_) => Answer::Heartbeat(code),
            Answer::Leave(mut leave) => {
                leave.error = code;
                leave.members.iter_mut().for_each(|member| member.error = code);
                Answer::Leave(leave)
            }
            Answer::Commit(mut commit) => {
                let accepted = commit.offsets.iter_mut().filter(|offset| offset.error.is_none());
                accepted.for_each(|offset| offset.error = code);
                Answer::Commit(commit)
            }
            Answer::Fetch(mut fetch) => {
                fetch.error = code;
                for partition in fetch.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    *partition = FetchedPartition::none(partition.partition, code);
                }
                Answer::Fetch(fetch)
            }
            Answer::Describe(describe) => {
                Answer::Describe(DescribeAnswer::error(code, describe.group_id, GroupState::Unknown))
            }
            Answer::List(_) => Answer::List(ListAnswer { error: code, groups: Vec::new() }),
            Answer::DeleteGroup(_) => Answer::DeleteGroup(code),
            Answer::DeleteOffsets(_) => Answer::DeleteOffsets(DeleteOffsetsAnswer::error(code)),
        }
    }
}
