//! OffsetFetch (key 9), versions 1 to 10: where a group continues.
//!
//! v2 can ask for all partitions, v5 added leader epochs, v6 is flexible, v7 asks for stable offsets only (KIP-447), v8 takes
//! several groups (KIP-709), v9 names the member (KIP-848), v10 names topics by id. Every partition asked for is answered, once, those without an
//! offset by -1; while the shard is loading the answer is an error, never -1 (G-4).
//! Deliberately not here: which offset counts (`core::group`).

use std::collections::HashSet;

use pagemark_core::coordinator::{
    Answer, FetchOffsetsAnswer, FetchOffsetsRequest, FetchTopic, FetchedPartition, FetchedTopic, Request,
};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use pagemark_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use pagemark_wire::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName, topic_name};
use pagemark_wire::types::{PartitionIndex, TopicId};

use super::gather::Gather;
use super::{Call, TurnEnd, send_to_shard, text};
use crate::broker::Broker;
use crate::executor::{GroupWork, Outgoing};
use crate::metadata::registry::TopicsView;

/// First version that names topics by id.
const BY_ID: i16 = 10;

/// One group as asked for, whatever the version; no topics are all.
struct Asked {
    group_id: GroupId,
    topics: Option<Vec<AskedTopic>>,
}

/// One topic. Where it is known by name or id, it is told by both; else the name is empty, or the id zero.
struct AskedTopic {
    name: TopicName,
    id: TopicId,
    partitions: Vec<i32>,
}

/// One topic of an answer with its id.
type Told = (TopicId, FetchedTopic);

/// Asks the shard of each group. Where not every partition is named the answer may be much larger than the request.
pub fn handle(call: Call, out: &mut Outgoing, request: OffsetFetchRequest) {
    let require_stable = request.require_stable;
    let asked = groups_of(request, call.version, &call.broker.registry.view());
    if asked.iter().all(|group| group.topics.is_some()) {
        return ask_all(call, out, None, asked, require_stable);
    }
    call.ask_aside(move |call, out, end| ask_all(call, out, Some(end), asked, require_stable));
}

fn ask_all(call: Call, out: &mut Outgoing, end: Option<TurnEnd>, asked: Vec<Asked>, require_stable: bool) {
    let Call { broker, version, reply, .. } = call;
    let view = broker.registry.view();
    let ids = |group: &Asked| group.topics.as_ref().map(|topics| topics.iter().map(|topic| topic.id).collect());
    let groups: Vec<(GroupId, Option<Vec<TopicId>>)> = asked.iter().map(|g| (g.group_id.clone(), ids(g))).collect();
    let places = Gather::places(asked.len(), move |parts: Vec<Option<FetchOffsetsAnswer>>| {
        let _end = end;
        let lost = || FetchOffsetsAnswer { error: ErrorCode::CoordinatorNotAvailable, topics: Vec::new() };
        let answers = groups.into_iter().zip(parts).map(|((group_id, ids), part)| {
            let answer = part.unwrap_or_else(lost);
            (group_id, answer.error, present(&view, version, ids, answer.topics))
        });
        reply.send(&response(version, answers));
    });
    let mut seen = HashSet::with_capacity(asked.len());
    for (group, place) in asked.into_iter().zip(places) {
        if !seen.insert(group.group_id.clone()) {
            place.fill(FetchOffsetsAnswer { error: ErrorCode::InvalidRequest, topics: Vec::new() });
            continue;
        }
        ask(&broker, out, group, require_stable, move |answer| {
            if let Answer::Fetch(offsets) = answer {
                place.fill(offsets);
            }
        });
    }
}

fn groups_of(request: OffsetFetchRequest, version: i16, view: &TopicsView) -> Vec<Asked> {
    let by_name = |name: TopicName, partitions| {
        let id = view.by_name(&name).map_or(TopicId::ZERO, |topic| topic.id());
        AskedTopic { name, id, partitions }
    };
    if version < 8 {
        let topic = |topic: OffsetFetchRequestTopic| by_name(topic.name, topic.partition_indexes);
        let topics = request.topics.map(|topics| topics.into_iter().map(topic).collect());
        return vec![Asked { group_id: request.group_id, topics }];
    }
    let topic = |asked: OffsetFetchRequestTopics| {
        if version < BY_ID {
            return by_name(asked.name, asked.partition_indexes);
        }
        let id = TopicId(asked.topic_id);
        let name = view.by_id(id).map_or_else(TopicName::default, |topic| topic_name(&topic.name));
        AskedTopic { name, id, partitions: asked.partition_indexes }
    };
    let group = |group: OffsetFetchRequestGroup| Asked {
        group_id: group.group_id,
        topics: group.topics.map(|topics| topics.into_iter().map(topic).collect()),
    };
    request.groups.into_iter().map(group).collect()
}

fn ask(
    broker: &Broker,
    out: &mut Outgoing,
    group: Asked,
    require_stable: bool,
    answer: impl FnOnce(Answer) + Send + 'static,
) {
    let shard = broker.group_shard(&group.group_id);
    let mut seen = HashSet::new();
    let topic = |topic: AskedTopic| FetchTopic {
        current_id: (topic.id != TopicId::ZERO && !topic.name.is_empty()).then_some(topic.id),
        name: topic.name.to_string(),
        partitions: {
            let first = |partition: &i32| seen.insert((topic.name.clone(), topic.id, *partition));
            topic.partitions.into_iter().filter(first).map(PartitionIndex).collect()
        },
    };
    let request = Request::Fetch(FetchOffsetsRequest {
        group_id: group.group_id.to_string(),
        topics: group.topics.map(|topics| topics.into_iter().map(topic).collect()),
        require_stable,
    });
    send_to_shard(broker, out, GroupWork { shard, request, answer: Box::new(answer) });
}

/// The topics of an answer with their ids. What was asked for by an unknown id says so; of "all", offsets of topics that are gone
/// or were created anew are left out, and where ids name topics, those without one (O-30, O-60).
fn present(view: &TopicsView, version: i16, asked: Option<Vec<TopicId>>, topics: Vec<FetchedTopic>) -> Vec<Told> {
    if let Some(ids) = asked {
        let unknown = |id: TopicId| version >= BY_ID && view.by_id(id).is_none();
        let mut told: Vec<Told> = ids.into_iter().zip(topics).collect();
        for (_, topic) in told.iter_mut().filter(|(id, _)| unknown(*id)) {
            topic.partitions.iter_mut().filter(|p| p.error.is_none()).for_each(|p| p.error = ErrorCode::UnknownTopicId);
        }
        return told;
    }
    let of_all = |mut topic: FetchedTopic| {
        let id = view.by_name(&topic.name).map(|present| present.id());
        topic.partitions.retain(|p| p.topic_id == TopicId::ZERO || Some(p.topic_id) == id);
        let is_told = !topic.partitions.is_empty() && (version < BY_ID || id.is_some());
        is_told.then(|| (id.unwrap_or(TopicId::ZERO), topic))
    };
    topics.into_iter().filter_map(of_all).collect()
}

fn response(version: i16, groups: impl Iterator<Item = (GroupId, ErrorCode, Vec<Told>)>) -> OffsetFetchResponse {
    let mut groups = groups;
    if version >= 8 {
        let group = |(id, error, topics): (GroupId, ErrorCode, Vec<Told>)| {
            OffsetFetchResponseGroup::default()
                .with_group_id(id)
                .with_error_code(error.code())
                .with_topics(topics.into_iter().map(topic_v8).collect())
        };
        return OffsetFetchResponse::default().with_groups(groups.map(group).collect());
    }
    let Some((_, error, topics)) = groups.next() else { return OffsetFetchResponse::default() };
    let code = if version >= 2 { error.code() } else { 0 };
    OffsetFetchResponse::default()
        .with_error_code(code)
        .with_topics(topics.into_iter().map(|(_, topic)| topic_v1(version, topic)).collect())
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

fn topic_v8((id, topic): Told) -> OffsetFetchResponseTopics {
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
        .with_topic_id(id.0)
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}
