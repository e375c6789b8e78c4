//! OffsetFetch (key 9), versions 1 to 9: where a group continues.
//!
//! v2 can ask for all partitions, v5 added leader epochs, v6 is flexible, v7 asks for stable offsets only (KIP-447), v8 takes
//! several groups (KIP-709), v9 names the member (KIP-848). Every partition asked for is answered, those without an
//! offset by -1; while the shard is loading the answer is an error, never -1 (G-4).
//! Deliberately not here: version 10 with topic ids.

use pagemark_core::coordinator::{
    Answer, FetchOffsetsAnswer, FetchOffsetsRequest, FetchTopic, FetchedPartition, FetchedTopic, Request,
};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use pagemark_wire::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use pagemark_wire::types::{PartitionIndex, TopicId};

use super::gather::Gather;
use super::{Call, send_to_shard, text};
use crate::broker::Broker;
use crate::executor::{GroupWork, Outgoing};
use crate::metadata::registry::TopicsView;

/// One group as asked for, whatever the version.
struct Asked {
    group_id: GroupId,
    topics: Option<Vec<(TopicName, Vec<i32>)>>,
}

/// Asks the shard of each group.
pub fn handle(call: Call, out: &mut Outgoing, request: OffsetFetchRequest) {
    let Call { broker, version, reply, .. } = call;
    let require_stable = request.require_stable;
    let asked = groups_of(request, version);
    let view = broker.registry.view();
    let ids: Vec<GroupId> = asked.iter().map(|a| a.group_id.clone()).collect();
    let finish_view = std::sync::Arc::clone(&view);
    let places = Gather::places(asked.len(), move |parts: Vec<Option<FetchOffsetsAnswer>>| {
        let lost = || FetchOffsetsAnswer { error: ErrorCode::CoordinatorNotAvailable, topics: Vec::new() };
        let answers = parts.into_iter().map(|part| present(&finish_view, part.unwrap_or_else(lost)));
        reply.send(&response(version, ids.into_iter().zip(answers)));
    });
    for (group, place) in asked.into_iter().zip(places) {
        ask(&broker, out, &view, group, require_stable, move |answer| {
            if let Answer::Fetch(offsets) = answer {
                place.fill(offsets);
            }
        });
    }
}

fn groups_of(request: OffsetFetchRequest, version: i16) -> Vec<Asked> {
    if version >= 8 {
        let group = |g: pagemark_wire::messages::offset_fetch_request::OffsetFetchRequestGroup| Asked {
            group_id: g.group_id,
            topics: g.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect()),
        };
        return request.groups.into_iter().map(group).collect();
    }
    let topics = request.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
    vec![Asked { group_id: request.group_id, topics }]
}

fn ask(
    broker: &Broker,
    out: &mut Outgoing,
    view: &TopicsView,
    group: Asked,
    require_stable: bool,
    answer: impl FnOnce(Answer) + Send + 'static,
) {
    let shard = broker.group_shard(&group.group_id);
    let topic = |(name, partitions): (TopicName, Vec<i32>)| FetchTopic {
        current_id: view.by_name(&name).map(|t| t.id()),
        name: name.to_string(),
        partitions: partitions.into_iter().map(PartitionIndex).collect(),
    };
    let request = Request::Fetch(FetchOffsetsRequest {
        group_id: group.group_id.to_string(),
        topics: group.topics.map(|topics| topics.into_iter().map(topic).collect()),
        require_stable,
    });
    send_to_shard(broker, out, GroupWork { shard, request, answer: Box::new(answer) });
}

/// Leaves out offsets of topics that are gone or were created anew; only "all" can bring any (O-30, O-60).
fn present(view: &TopicsView, mut answer: FetchOffsetsAnswer) -> FetchOffsetsAnswer {
    let is_here = |name: &str, id: TopicId| id == TopicId::ZERO || view.by_name(name).is_some_and(|t| t.id() == id);
    for topic in &mut answer.topics {
        let name = topic.name.clone();
        topic.partitions.retain(|p| is_here(&name, p.topic_id));
    }
    answer.topics.retain(|topic| !topic.partitions.is_empty());
    answer
}

fn response(version: i16, groups: impl Iterator<Item = (GroupId, FetchOffsetsAnswer)>) -> OffsetFetchResponse {
    let mut groups = groups;
    if version >= 8 {
        let group = |(id, answer): (GroupId, FetchOffsetsAnswer)| {
            OffsetFetchResponseGroup::default()
                .with_group_id(id)
                .with_error_code(answer.error.code())
                .with_topics(answer.topics.into_iter().map(topic_v8).collect())
        };
        return OffsetFetchResponse::default().with_groups(groups.map(group).collect());
    }
    let Some((_, answer)) = groups.next() else { return OffsetFetchResponse::default() };
    let code = if version >= 2 { answer.error.code() } else { 0 };
    OffsetFetchResponse::default()
        .with_error_code(code)
        .with_topics(answer.topics.into_iter().map(|t| topic_v1(version, t)).collect())
}

fn topic_v1(version: i16, topic: FetchedTopic) -> OffsetFetchResponseTopic {
    let partition = |p: FetchedPartition| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(p.partition.0)
            .with_committed_offset(p.offset.0)
            .with_committed_leader_epoch(if version >= 5 { p.leader_epoch.0 } else { -1 })
            .with_metadata(Some(text(p.metadata)))
            .with_error_code(p.error.code())
    };
    OffsetFetchResponseTopic::default()
        .with_name(TopicName(text(topic.name)))
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}

fn topic_v8(topic: FetchedTopic) -> OffsetFetchResponseTopics {
    let partition = |p: FetchedPartition| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(p.partition.0)
            .with_committed_offset(p.offset.0)
            .with_committed_leader_epoch(p.leader_epoch.0)
            .with_metadata(Some(text(p.metadata)))
            .with_error_code(p.error.code())
    };
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(text(topic.name)))
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}
