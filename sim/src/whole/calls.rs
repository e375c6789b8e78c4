//! What actors ask of a broker, each question with its line in the history.
//!
//! Deliberately not here: when to ask, and what to make of the answers (`actors`).

use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::messages::*;
use pagemark_wire::records::{DEFAULT_MAX_DECOMPRESSED_BYTES, Records, split_batches};
use uuid::Uuid;

use super::host::now_us;
use super::link::{Link, Lost};
use super::world::World;
use crate::history::{Bookmark, Outcome, Place, What};

/// How long an ordinary answer may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Error codes of a coordinator that cannot say what became of a write: its log failed under it, or was too slow (G-3).
const UNCERTAIN: [i16; 3] = [-1, 7, 15];

/// A partition's place in the history.
#[must_use]
pub fn place(topic: Uuid, partition: i32) -> Place {
    Place { topic: topic.to_string(), partition }
}

/// Who commits.
#[derive(Debug, Clone, Default)]
pub struct Committer {
    /// The group.
    pub group: String,
    /// The member's id, empty for a caller that is none.
    pub member: String,
    /// The member's name, if it is a static one.
    pub instance: Option<String>,
    /// The member's generation, -1 for a caller that is none.
    pub generation: i32,
}

/// The version of OffsetCommit and OffsetFetch that names topics by id, or the one before.
fn version_for(id: Option<Uuid>) -> i16 {
    if id.is_some() { 10 } else { 9 }
}

/// A position and what is committed there.
pub type Position = (String, i32, Bookmark);

/// Sends a batch; gives the error code and the base offset.
pub async fn produce(link: &mut Link, topic: Uuid, partition: i32, batch: Bytes) -> Result<(i16, i64), Lost> {
    let data = produce_request::PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic = produce_request::TopicProduceData::default().with_topic_id(topic).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![topic]);
    let answer = link.ask(13, &request, PATIENCE).await?;
    let answer = &answer.responses[0].partition_responses[0];
    Ok((answer.error_code, answer.base_offset))
}

/// What a partition had from an offset on.
pub struct Fetched {
    /// The error code.
    pub code: i16,
    /// Offsets and values.
    pub records: Vec<(i64, String)>,
    /// The end of what can be read.
    pub high_watermark: i64,
    /// Its first offset.
    pub log_start: i64,
}

/// Reads from an offset on.
pub async fn fetch(world: &World, link: &mut Link, topic: Uuid, partition: i32, from: i64) -> Result<Fetched, Lost> {
    let begun = now_us();
    let wanted = fetch_request::FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(from)
        .with_partition_max_bytes(4_096);
    let of_topic = fetch_request::FetchTopic::default().with_topic_id(topic).with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(50)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![of_topic]);
    let answer = link.ask(13, &request, PATIENCE).await?;
    let Some(data) = answer.responses.first().and_then(|topic| topic.partitions.first()) else {
        let (high_watermark, log_start) = (-1, -1);
        return Ok(Fetched { code: answer.error_code, records: Vec::new(), high_watermark, log_start });
    };
    let records = records_of(world, data.records.as_ref(), from);
    let fetched = Fetched {
        code: data.error_code,
        records,
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
    };
    if fetched.code == 0 {
        let what = What::Read {
            place: place(topic, partition),
            from,
            records: fetched.records.clone(),
            log_start: fetched.log_start,
            high_watermark: fetched.high_watermark,
        };
        world.tell(&link.name, begun, what);
    }
    Ok(fetched)
}

fn records_of(world: &World, bytes: Option<&Bytes>, from: i64) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for batch in bytes.iter().flat_map(|bytes| split_batches(bytes)) {
        let records = batch.and_then(|(_, batch)| Records::open(&batch, DEFAULT_MAX_DECOMPRESSED_BYTES));
        let records = match records {
            Ok(records) => records,
            Err(error) => {
                world.accuse(11, format!("a batch that was read is damaged: {error}"));
                continue;
            }
        };
        for record in records.iter().flatten() {
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            found.push((record.offset.0, value));
        }
    }
    found.retain(|(offset, _)| *offset >= from);
    found
}

/// Asks where a partition begins and where it ends; `None` if the broker cannot say. Only for topics that are never deleted: it goes by their names.
pub async fn bounds(
    world: &World,
    link: &mut Link,
    name: &str,
    topic: Uuid,
    partition: i32,
) -> Result<Option<(i64, i64)>, Lost> {
    let mut found = Vec::new();
    for (timestamp, end) in [(-2, false), (-1, true)] {
        let begun = now_us();
        let asked = list_offsets_request::ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp);
        let of_topic =
            list_offsets_request::ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![of_topic]);
        let answer = link.ask(7, &request, PATIENCE).await?;
        let answer = &answer.topics[0].partitions[0];
        if answer.error_code == 0 {
            found.push(answer.offset);
            let what = What::Bound { place: place(topic, partition), end, offset: answer.offset };
            world.tell(&link.name, begun, what);
        }
    }
    Ok(found.first_chunk().map(|[start, end]| (*start, *end)))
}

/// Commits; gives each position's error code.
pub async fn commit(world: &World, link: &mut Link, who: &Committer, positions: &[Position]) -> Result<Vec<i16>, Lost> {
    commit_for(world, link, who, positions, None).await
}

/// The same for one topic, by its id if that is given.
pub async fn commit_for(
    world: &World,
    link: &mut Link,
    who: &Committer,
    positions: &[Position],
    id: Option<Uuid>,
) -> Result<Vec<i16>, Lost> {
    let begun = now_us();
    let topics = positions.iter().map(|(name, partition, bookmark)| {
        let one = offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(bookmark.offset)
            .with_committed_metadata(Some(text(bookmark.metadata.clone())));
        offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(if id.is_none() { topic_name(name) } else { TopicName::default() })
            .with_topic_id(id.unwrap_or_default())
            .with_partitions(vec![one])
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(&who.group))
        .with_member_id(text(who.member.clone()))
        .with_group_instance_id(who.instance.clone().map(text))
        .with_generation_id_or_member_epoch(who.generation)
        .with_topics(topics.collect());
    let committed = |position: &Position, outcome| What::Committed {
        group: who.group.clone(),
        generation: who.generation,
        topic: position.0.clone(),
        topic_id: id.map(|id| id.to_string()),
        partition: position.1,
        bookmark: position.2.clone(),
        outcome,
    };
    let asked = world.ask(&link.name, positions.iter().map(|position| committed(position, Outcome::Unknown)));
    let answer = link.ask(version_for(id), &request, PATIENCE).await;
    world.answered(asked);
    let codes = answer.map(|answer| {
        let code = |(name, partition, _): &Position| {
            let of_topic = answer.topics.iter().filter(|t| id.is_some() || t.name.as_str() == name);
            let found = of_topic.flat_map(|t| &t.partitions).find(|p| p.partition_index == *partition);
            found.map_or(i16::MIN, |p| p.error_code)
        };
        positions.iter().map(code).collect::<Vec<_>>()
    });
    for (at, position) in positions.iter().enumerate() {
        let outcome = match &codes {
            Ok(codes) if UNCERTAIN.contains(&codes[at]) => Outcome::Unknown,
            Ok(codes) => Outcome::of_code(codes[at]),
            Err(Lost { sent: true }) => Outcome::Unknown,
            Err(Lost { sent: false }) => continue,
        };
        world.tell(&link.name, begun, committed(position, outcome));
    }
    codes
}

/// Reads committed offsets. `None` if the coordinator cannot say.
pub async fn look(
    world: &World,
    link: &mut Link,
    group: &str,
    positions: &[(String, i32)],
) -> Result<Option<Vec<Option<Bookmark>>>, Lost> {
    look_at(world, link, group, positions, None).await
}

/// The same for one topic, by its id if that is given.
pub async fn look_at(
    world: &World,
    link: &mut Link,
    group: &str,
    positions: &[(String, i32)],
    id: Option<Uuid>,
) -> Result<Option<Vec<Option<Bookmark>>>, Lost> {
    let begun = now_us();
    let topics = positions.iter().map(|(name, partition)| {
        offset_fetch_request::OffsetFetchRequestTopics::default()
            .with_name(if id.is_none() { topic_name(name) } else { TopicName::default() })
            .with_topic_id(id.unwrap_or_default())
            .with_partition_indexes(vec![*partition])
    });
    let of_group = offset_fetch_request::OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_topics(Some(topics.collect()));
    let request = OffsetFetchRequest::default().with_groups(vec![of_group]).with_require_stable(true);
    let answer = link.ask(version_for(id), &request, PATIENCE).await?;
    let answer = &answer.groups[0];
    if answer.error_code != 0 {
        return Ok(None);
    }
    let mut all = Vec::new();
    for (name, partition) in positions {
        let of_topic = answer.topics.iter().filter(|t| id.is_some() || t.name.as_str() == name);
        let told = of_topic.flat_map(|t| &t.partitions).find(|p| p.partition_index == *partition);
        let Some(told) = told.filter(|told| told.error_code == 0) else { return Ok(None) };
        let metadata = told.metadata.as_ref().map_or(String::new(), ToString::to_string);
        let found = (told.committed_offset != -1).then_some(Bookmark { offset: told.committed_offset, metadata });
        let what = What::Looked {
            group: group.to_owned(),
            topic: name.clone(),
            topic_id: id.map(|id| id.to_string()),
            partition: *partition,
            found: found.clone(),
        };
        world.tell(&link.name, begun, what);
        all.push(found);
    }
    Ok(Some(all))
}

/// Deletes records below an offset.
pub async fn trim(
    world: &World,
    link: &mut Link,
    name: &str,
    topic: Uuid,
    partition: i32,
    to: i64,
) -> Result<i16, Lost> {
    let begun = now_us();
    let one = delete_records_request::DeleteRecordsPartition::default().with_partition_index(partition).with_offset(to);
    let of_topic =
        delete_records_request::DeleteRecordsTopic::default().with_name(topic_name(name)).with_partitions(vec![one]);
    let request = DeleteRecordsRequest::default().with_topics(vec![of_topic]).with_timeout_ms(3_000);
    let answer = link.ask(2, &request, PATIENCE).await;
    let code = answer.map(|answer| answer.topics[0].partitions[0].error_code);
    // What failed may yet have been done in part: only the answers that are given before anything is done are refusals.
    let outcome = match code {
        Ok(0) => Outcome::Done,
        Ok(code @ (1 | 3 | 17 | 42)) => Outcome::Refused(code),
        Ok(_) | Err(Lost { sent: true }) => Outcome::Unknown,
        Err(Lost { sent: false }) => return code,
    };
    world.tell(&link.name, begun, What::Trimmed { place: place(topic, partition), to, outcome });
    code
}

/// Creates a topic; gives the error code.
pub async fn create_topic(link: &mut Link, name: &str, partitions: i32) -> Result<i16, Lost> {
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
    Ok(link.ask(7, &request, PATIENCE).await?.topics[0].error_code)
}

/// The id of a topic, if there is one of that name.
pub async fn topic_id(link: &mut Link, name: &str) -> Result<Option<Uuid>, Lost> {
    let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    let answer = link.ask(12, &request, PATIENCE).await?;
    Ok(answer.topics.first().filter(|topic| topic.error_code == 0).map(|topic| topic.topic_id))
}

/// Deletes a topic, and with it all offsets committed for it.
pub async fn delete_topic(world: &World, link: &mut Link, name: &str) -> Result<i16, Lost> {
    let begun = now_us();
    let topic = delete_topics_request::DeleteTopicState::default().with_name(Some(topic_name(name)));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
    let answer = link.ask(6, &request, PATIENCE).await;
    let code = answer.map(|answer| answer.responses[0].error_code);
    removed(world, link, begun, code, None, Some(name), None);
    code
}

/// Deletes a group with all its offsets.
pub async fn delete_group(world: &World, link: &mut Link, group: &str) -> Result<i16, Lost> {
    let begun = now_us();
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
    let answer = link.ask(2, &request, PATIENCE).await;
    let code = answer.map(|answer| answer.results[0].error_code);
    removed(world, link, begun, code, Some(group), None, None);
    code
}

/// Deletes one committed offset.
pub async fn delete_offset(
    world: &World,
    link: &mut Link,
    group: &str,
    name: &str,
    partition: i32,
) -> Result<i16, Lost> {
    let begun = now_us();
    let one = offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(partition);
    let of_topic = offset_delete_request::OffsetDeleteRequestTopic::default()
        .with_name(topic_name(name))
        .with_partitions(vec![one]);
    let request = OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(vec![of_topic]);
    let answer = link.ask(0, &request, PATIENCE).await;
    let code = answer.map(|answer| match answer.error_code {
        0 => answer.topics[0].partitions[0].error_code,
        code => code,
    });
    removed(world, link, begun, code, Some(group), Some(name), Some(partition));
    code
}

fn removed(
    world: &World,
    link: &Link,
    begun: u64,
    code: Result<i16, Lost>,
    group: Option<&str>,
    topic: Option<&str>,
    partition: Option<i32>,
) {
    let outcome = match code {
        Ok(0) => Outcome::Done,
        // Nothing there to remove.
        Ok(code @ (3 | 69)) => Outcome::Refused(code),
        Ok(_) | Err(Lost { sent: true }) => Outcome::Unknown,
        Err(Lost { sent: false }) => return,
    };
    let (group, topic) = (group.map(str::to_owned), topic.map(str::to_owned));
    world.tell(&link.name, begun, What::Removed { group, topic, partition, outcome });
}
