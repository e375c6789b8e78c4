//! Sessions to begin with: topics, records, groups and offsets as good clients use them, and every request by itself.
//!
//! Deliberately not here: bad sessions; mutation makes those.

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::frame::{encode_request, parse_response};
use pagemark_wire::messages::create_topics_request::CreatableTopic;
use pagemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use pagemark_wire::messages::join_group_request::JoinGroupRequestProtocol;
use pagemark_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use pagemark_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use pagemark_wire::messages::offset_fetch_request::OffsetFetchRequestGroup;
use pagemark_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use pagemark_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use pagemark_wire::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeGroupsRequest, Encodable, FetchRequest,
    FindCoordinatorRequest, GroupId, HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    ProduceRequest, StrBytes, SyncGroupRequest, TopicName, decode_response,
};
use pagemark_wire::records::BatchBuilder;

use super::{converse, frames, on_a_broker};
use crate::files;
use crate::targets::request::frame;

mod admin;

const GROUP: &str = "readers";

/// Two sessions of good clients, and one for each request of Kafka's own classes.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..files::requests().len() / 8 {
        all.push(topics_and_records()); // as often as all others together would be too much; now and then is too little
        all.push(a_group());
        all.push(simple_commits());
        all.push(admin::configs());
        all.push(admin::topics());
        all.push(batches());
    }
    all.extend(files::requests().iter().map(|golden| {
        let frame = frame(golden);
        [&(frame.len() as i32).to_be_bytes()[..], &frame].concat()
    }));
    all
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic() -> TopicName {
    TopicName(text("orders"))
}

fn ask<Q: Encodable>(session: &mut Vec<u8>, api: Api, version: i16, request: &Q) {
    let number = session.len() as i32 * 2 + 1; // odd: waits for the answers before
    session.extend_from_slice(&encode_request(api, version, number, Some("fuzz"), request).expect("a good request"));
}

fn create(session: &mut Vec<u8>) {
    let orders = CreatableTopic::default().with_name(topic()).with_num_partitions(2).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![orders]).with_timeout_ms(1000);
    ask(session, Api::CreateTopics, 5, &request);
    ask(session, Api::Metadata, 9, &MetadataRequest::default().with_topics(None));
}

fn produce(session: &mut Vec<u8>, acks: i16) {
    let mut batch = BatchBuilder::new(1_700_000_000_000);
    batch.push(Some(b"key"), Some(b"value"));
    produce_batch(session, acks, batch.finish());
}

fn produce_batch(session: &mut Vec<u8>, acks: i16, batch: Bytes) {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let data = TopicProduceData::default().with_name(topic()).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![data]);
    ask(session, Api::Produce, 9, &request);
}

fn fetch(session: &mut Vec<u8>, offset: i64, wait_ms: i32, max_bytes: i32) {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(max_bytes);
    let asked = FetchTopic::default().with_topic(topic()).with_partitions(vec![partition.with_fetch_offset(offset)]);
    let request = FetchRequest::default().with_max_wait_ms(wait_ms).with_min_bytes(1).with_max_bytes(max_bytes);
    ask(session, Api::Fetch, 11, &request.with_topics(vec![asked]));
}

/// Every batch of Kafka's own classes, also those that no client may send, and reads of few bytes and many.
fn batches() -> Vec<u8> {
    let mut session = Vec::new();
    create(&mut session);
    files::batches().into_iter().for_each(|(_, batch)| produce_batch(&mut session, -1, batch));
    for (offset, max_bytes) in [(0, 1), (3, 200), (100, 1 << 20), (0, 1 << 20)] {
        fetch(&mut session, offset, 0, max_bytes);
    }
    session
}

fn topics_and_records() -> Vec<u8> {
    let mut session = Vec::new();
    let named = ApiVersionsRequest::default().with_client_software_name(text("fuzz"));
    ask(&mut session, Api::ApiVersions, 3, &named.with_client_software_version(text("1")));
    create(&mut session);
    ask(&mut session, Api::InitProducerId, 4, &InitProducerIdRequest::default().with_transactional_id(None));
    for acks in [-1, 1, 0] {
        produce(&mut session, acks);
    }
    for (offset, wait_ms, max_bytes) in [(0, 0, 1 << 20), (3, 500, 1 << 20)] {
        fetch(&mut session, offset, wait_ms, max_bytes);
    }
    for time in [-1, -2, -3, 1_700_000_000_000] {
        let partition = ListOffsetsPartition::default().with_timestamp(time);
        let asked = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
        ask(&mut session, Api::ListOffsets, 7, &ListOffsetsRequest::default().with_topics(vec![asked]));
    }
    ask(&mut session, Api::DeleteTopics, 5, &DeleteTopicsRequest::default().with_topic_names(vec![topic()]));
    session
}

fn join(session: &mut Vec<u8>, member_id: StrBytes) {
    let range = JoinGroupRequestProtocol::default().with_name(text("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(member_id)
        .with_protocol_type(text("consumer"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocols(vec![range.with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x06orders\0\0\0\0"))]);
    ask(session, Api::JoinGroup, 2, &request);
}

fn commit(session: &mut Vec<u8>, member_id: StrBytes, generation: i32) {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let asked = OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(member_id)
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![asked]);
    ask(session, Api::OffsetCommit, 8, &request);
    let all = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(GROUP))).with_topics(None);
    ask(session, Api::OffsetFetch, 8, &OffsetFetchRequest::default().with_groups(vec![all]));
}

fn a_group() -> Vec<u8> {
    let mut session = Vec::new();
    create(&mut session);
    join(&mut session, text(""));
    let member_id = member_id(&session);
    let group = || GroupId(text(GROUP));
    let mine = SyncGroupRequestAssignment::default()
        .with_member_id(member_id.clone())
        .with_assignment(Bytes::from_static(b"mine"));
    let sync =
        SyncGroupRequest::default().with_group_id(group()).with_generation_id(1).with_member_id(member_id.clone());
    ask(&mut session, Api::SyncGroup, 3, &sync.with_assignments(vec![mine]));
    let beat =
        HeartbeatRequest::default().with_group_id(group()).with_generation_id(1).with_member_id(member_id.clone());
    ask(&mut session, Api::Heartbeat, 3, &beat);
    commit(&mut session, member_id.clone(), 1);
    ask(&mut session, Api::DescribeGroups, 5, &DescribeGroupsRequest::default().with_groups(vec![group()]));
    ask(&mut session, Api::ListGroups, 4, &ListGroupsRequest::default());
    join(&mut session, member_id.clone());
    let leave = LeaveGroupRequest::default().with_group_id(group()).with_member_id(member_id);
    ask(&mut session, Api::LeaveGroup, 2, &leave);
    session
}

/// The id that the last request of a session, a JoinGroup, is answered with; it is the same each time.
fn member_id(session: &[u8]) -> StrBytes {
    let heard = on_a_broker(async |broker| converse(broker, &frames(session)).await);
    let answer = heard.frames.last().expect("an answer");
    let (_, body) = parse_response(Api::JoinGroup, 2, answer).expect("a header");
    decode_response::<JoinGroupResponse>(Api::JoinGroup, 2, body).expect("a JoinGroup answer").member_id
}

fn simple_commits() -> Vec<u8> {
    let mut session = Vec::new();
    create(&mut session);
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(GROUP)]);
    ask(&mut session, Api::FindCoordinator, 4, &find);
    commit(&mut session, text(""), -1);
    ask(&mut session, Api::DeleteTopics, 5, &DeleteTopicsRequest::default().with_topic_names(vec![topic()]));
    session
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_clients_get_an_answer_to_everything_but_acks_0() {
        let sessions = [
            (topics_and_records(), 1),
            (a_group(), 0),
            (simple_commits(), 0),
            (admin::configs(), 0),
            (admin::topics(), 0),
            (batches(), 0),
        ];
        for (session, silent) in sessions {
            let frames = frames(&session);
            let heard = on_a_broker(async |broker| converse(broker, &frames).await);
            assert!(!heard.closed, "after {} answers", heard.frames.len());
            assert_eq!(heard.frames.len() + silent, frames.len());
        }
    }

    #[test]
    fn the_group_of_a_seed_gets_to_work() {
        let frames = frames(&a_group());
        let heard = on_a_broker(async |broker| converse(broker, &frames).await);
        let joined = &heard.frames[2];
        assert_eq!(joined[8..10], [0, 0], "no error");
        let synced = &heard.frames[3];
        assert_eq!(synced[8..10], [0, 0], "no error");
        assert!(synced.ends_with(b"mine"));
    }
}
