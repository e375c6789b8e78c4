//! The three calls about offsets: where a log begins and ends, what a group has committed, and committing.
//!
//! Consumers and admin clients share them. Deliberately not here: repeating them, and who may commit what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pagemark_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use pagemark_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use pagemark_wire::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use pagemark_wire::messages::{
    BrokerId, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse, StrBytes,
};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Lane, To};
use crate::code::Code;
use crate::error::Error;
use crate::partition::{TopicPartition, by_topic};
use pagemark_wire::messages::{group_id, text, topic_name};

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    /// Also those of transactions that are open or were aborted.
    ReadUncommitted,
    /// Only what is committed; waits at the first open transaction.
    #[default]
    ReadCommitted,
}

impl IsolationLevel {
    pub(crate) fn number(self) -> i8 {
        match self {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }
}

/// A place in a log, to be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first record there is.
    Earliest,
    /// Behind the last record.
    Latest,
    /// The first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
    /// The record with the greatest timestamp; of several the first. Needs ListOffsets version 7.
    MaxTimestamp,
}

impl OffsetSpec {
    pub(crate) fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::Timestamp(ms) => ms.max(0),
        }
    }
}

/// A place that was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` if no record is that late.
    pub offset: Option<i64>,
    /// The record's timestamp, in milliseconds since 1970, if it was looked up by time.
    pub timestamp_ms: Option<i64>,
    /// The record's leader epoch, if known.
    pub leader_epoch: Option<i32>,
}

/// An offset to commit, or committed: the NEXT one to read, not the last one processed (O-1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last processed record, if known.
    pub leader_epoch: Option<i32>,
    /// A note of the application's own.
    pub metadata: String,
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> OffsetAndMetadata {
        OffsetAndMetadata { offset, leader_epoch: None, metadata: String::new() }
    }
}

/// Looks up offsets once, asking all leaders at a time. Every partition that was asked for has a result.
pub(crate) async fn list_offsets(
    cluster: &Arc<Cluster>,
    wanted: &[(TopicPartition, i64)],
    isolation: IsolationLevel,
) -> BTreeMap<TopicPartition, Result<ListedOffset, Error>> {
    let mut results = BTreeMap::new();
    let mut by_leader: BTreeMap<i32, Asked> = BTreeMap::new();
    let (metadata, seen) = cluster.metadata();
    for (partition, timestamp) in wanted {
        match metadata.leader(&partition.topic, partition.partition) {
            Some((leader, epoch)) => {
                by_leader.entry(leader).or_default().push((partition.clone(), (epoch, *timestamp)))
            }
            None => drop(results.insert(partition.clone(), Err(no_leader(&metadata, partition)))),
        }
    }
    let mut asking = JoinSet::new();
    for (leader, partitions) in by_leader {
        let asked: Vec<TopicPartition> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
        let cluster = Arc::clone(cluster);
        asking.spawn(async move { (asked, ask_leader(&cluster, leader, partitions, isolation).await) });
    }
    for (asked, answer) in asking.join_all().await {
        let mut found = answer.clone().unwrap_or_default();
        for partition in asked {
            let missing = || Error::Protocol(format!("no answer about {partition}"));
            let result = match &answer {
                Err(error) => Err(error.clone()),
                Ok(_) => found.remove(&partition).unwrap_or_else(|| Err(missing())),
            };
            results.insert(partition, result);
        }
    }
    let is_stale = |result: &Result<_, Error>| result.as_ref().is_err_and(Error::is_stale_metadata);
    if results.values().any(is_stale) {
        cluster.want(wanted.iter().map(|(partition, _)| &*partition.topic));
        cluster.refresh(seen).await.ok(); // the next attempt will tell
    }
    results
}

fn no_leader(metadata: &crate::cluster::Metadata, partition: &TopicPartition) -> Error {
    match metadata.missing.get(&*partition.topic) {
        Some(code) => Error::refused(*code),
        None if metadata.topics.contains_key(&*partition.topic) => Error::refused(Code::LEADER_NOT_AVAILABLE),
        None => Error::refused(Code::UNKNOWN_TOPIC_OR_PARTITION),
    }
}

/// Partitions with leader epoch and timestamp.
type Asked = Vec<(TopicPartition, (i32, i64))>;
type Listed = BTreeMap<TopicPartition, Result<ListedOffset, Error>>;

async fn ask_leader(
    cluster: &Cluster,
    leader: i32,
    partitions: Asked,
    isolation: IsolationLevel,
) -> Result<Listed, Error> {
    let timeout_ms = cluster.settings().request_timeout.as_millis() as i32;
    let make = |version: i16| {
        let one = |(index, (epoch, timestamp)): (i32, (i32, i64))| {
            let partition = ListOffsetsPartition::default().with_partition_index(index).with_timestamp(timestamp);
            if version >= 4 { partition.with_current_leader_epoch(epoch) } else { partition }
        };
        let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(one).collect();
            ListOffsetsTopic::default().with_name(topic_name(&topic)).with_partitions(partitions)
        });
        let mut request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
        if version >= 2 {
            request.isolation_level = isolation.number();
        }
        if version >= 10 {
            request.timeout_ms = timeout_ms;
        }
        request
    };
    let answer = cluster.call(To::Node(leader), Lane::Control, make).await?;
    let mut listed = Listed::new();
    for topic in &answer.topics {
        for found in &topic.partitions {
            let known = |value: i64| (value >= 0).then_some(value);
            let offset = ListedOffset {
                offset: known(found.offset),
                timestamp_ms: known(found.timestamp),
                leader_epoch: (found.leader_epoch >= 0).then_some(found.leader_epoch),
            };
            let result = crate::error::refuse(found.error_code, None).map(|()| offset);
            listed.insert(TopicPartition::new(topic.name.0.as_str(), found.partition_index), result);
        }
    }
    Ok(listed)
}

/// What groups have committed. Partitions without a commit are absent.
pub(crate) type Committed = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// Reads what a group has committed for these partitions, for somebody who goes on there: while a transaction that has
/// offsets of theirs is open, that is refused (O-28).
pub(crate) async fn fetch_committed(
    cluster: &Cluster,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Committed, Error> {
    let timeout = cluster.settings().request_timeout;
    let topics = by_topic(partitions.iter().map(|partition| (partition.clone(), ())));
    let make = |version| ask_committed(version, &[group.to_owned()], Some(&topics), true);
    let answer = cluster.call_coordinator(group, Lane::Control, timeout, make).await?;
    let found = read_committed(cluster, &answer, group).remove(group);
    found.unwrap_or_else(|| Err(Error::Protocol("no answer about the group".to_owned())))
}

/// Reads everything that these groups have committed, from their coordinator, open transactions aside. Versions before 8
/// take one group: the first alone is answered then.
pub(crate) async fn fetch_all_committed(
    cluster: Arc<Cluster>,
    node: i32,
    groups: Vec<String>,
) -> Result<BTreeMap<String, Result<Committed, Error>>, Error> {
    let make = |version| ask_committed(version, &groups, None, false);
    let answer = cluster.call(To::Node(node), Lane::Control, make).await?;
    Ok(read_committed(&cluster, &answer, groups.first().map_or("", String::as_str)))
}

/// Partitions by topic.
type ByTopic = BTreeMap<Arc<str>, Vec<(i32, ())>>;

fn ask_committed(version: i16, groups: &[String], topics: Option<&ByTopic>, stable: bool) -> OffsetFetchRequest {
    let indexes = |partitions: &[(i32, ())]| partitions.iter().map(|(index, ())| *index).collect::<Vec<_>>();
    let request = OffsetFetchRequest::default();
    let request = if version >= 7 { request.with_require_stable(stable) } else { request };
    if version >= 8 {
        let one = |(topic, p): (&Arc<str>, &Vec<(i32, ())>)| {
            OffsetFetchRequestTopics::default().with_name(topic_name(topic)).with_partition_indexes(indexes(p))
        };
        let of_group = |group: &String| {
            let topics = topics.map(|topics| topics.iter().map(one).collect());
            OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(topics)
        };
        return request.with_groups(groups.iter().map(of_group).collect());
    }
    let one = |(topic, p): (&Arc<str>, &Vec<(i32, ())>)| {
        OffsetFetchRequestTopic::default().with_name(topic_name(topic)).with_partition_indexes(indexes(p))
    };
    let topics = topics.map(|topics| topics.iter().map(one).collect());
    request.with_group_id(group_id(groups.first().map_or("", String::as_str))).with_topics(topics)
}

/// Both shapes of an OffsetFetch response as one; the older one is about `first` alone.
fn read_committed(
    cluster: &Cluster,
    answer: &OffsetFetchResponse,
    first: &str,
) -> BTreeMap<String, Result<Committed, Error>> {
    let read = |offset: i64, epoch: i32, metadata: &Option<StrBytes>| OffsetAndMetadata {
        offset,
        leader_epoch: (epoch >= 0).then_some(epoch),
        metadata: metadata.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    // The same fields, of two types.
    macro_rules! judged {
        ($group:expr, $answer:expr) => {{
            let found = $answer.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|p| {
                    let partition = TopicPartition::new(topic.name.0.as_str(), p.partition_index);
                    (partition, p.error_code, read(p.committed_offset, p.committed_leader_epoch, &p.metadata))
                })
            });
            ($group.to_owned(), judge_committed(cluster, $group, $answer.error_code, found))
        }};
    }
    if answer.groups.is_empty() {
        return BTreeMap::from([judged!(first, answer)]);
    }
    answer.groups.iter().map(|group| judged!(group.group_id.0.as_str(), group)).collect()
}

fn judge_committed(
    cluster: &Cluster,
    group: &str,
    code: i16,
    found: impl Iterator<Item = (TopicPartition, i16, OffsetAndMetadata)>,
) -> Result<Committed, Error> {
    cluster.judge_coordinator(group, code)?;
    let mut committed = Committed::new();
    for (partition, code, offset) in found {
        cluster.judge_coordinator(group, code)?;
        if offset.offset >= 0 {
            committed.insert(partition, offset);
        }
    }
    Ok(committed)
}

/// Who commits: a member of a generation, or nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committer {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
}

impl Committer {
    /// An admin client, or a consumer that chose its partitions itself (O-37).
    pub(crate) fn nobody() -> Committer {
        Committer { member_id: String::new(), instance_id: None, generation: -1 }
    }
}

/// Commits once. The code of each partition; `Err` if there is no answer.
pub(crate) async fn commit(
    cluster: &Cluster,
    group: &str,
    committer: &Committer,
    offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    timeout: Duration,
) -> Result<BTreeMap<TopicPartition, Code>, Error> {
    let make = |version: i16| {
        let one = |(index, offset): &(i32, &OffsetAndMetadata)| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(offset.offset)
                .with_committed_metadata(Some(text(&offset.metadata)));
            if version >= 6 {
                partition.with_committed_leader_epoch(offset.leader_epoch.unwrap_or(-1))
            } else {
                partition
            }
        };
        let topics = by_topic(offsets.iter().map(|(p, o)| (p.clone(), o))).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.iter().map(one).collect();
            OffsetCommitRequestTopic::default().with_name(topic_name(&topic)).with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id_or_member_epoch(committer.generation)
            .with_member_id(text(&committer.member_id))
            .with_topics(topics.collect());
        let instance_id = committer.instance_id.as_deref().map(text);
        if version >= 7 { request.with_group_instance_id(instance_id) } else { request }
    };
    let answer = cluster.call_coordinator(group, Lane::Control, timeout, make).await?;
    let mut codes = BTreeMap::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let code = Code(partition.error_code);
            if code.is_stale_coordinator() {
                cluster.forget_coordinator(group);
            }
            codes.insert(TopicPartition::new(topic.name.0.as_str(), partition.partition_index), code);
        }
    }
    match offsets.keys().find(|partition| !codes.contains_key(partition)) {
        Some(partition) => Err(Error::Protocol(format!("no answer about {partition}"))),
        None => Ok(codes),
    }
}
