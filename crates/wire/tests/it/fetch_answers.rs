//! Our own encoder of Fetch responses against the one that copies, and that records are referred to, never copied.

use bytes::{Bytes, BytesMut};
use pagemark_wire::ErrorCode;
use pagemark_wire::api::Api;
use pagemark_wire::fetch_answer::{FetchAnswer, PartitionAnswer, TopicAnswer};
use pagemark_wire::frame::encode_response;
use pagemark_wire::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use pagemark_wire::messages::{BrokerId, FetchResponse, ProducerId as Producer, StrBytes, TopicName};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use proptest::prelude::*;
use uuid::Uuid;

/// The same answer as `kafka-protocol` has it.
fn copied(answer: &FetchAnswer, version: i16) -> FetchResponse {
    let partition = |p: &PartitionAnswer| {
        let aborted = |(id, first): &(ProducerId, Offset)| {
            AbortedTransaction::default().with_producer_id(Producer(id.0)).with_first_offset(first.0)
        };
        let mut data = PartitionData::default()
            .with_partition_index(p.index.0)
            .with_error_code(p.error.code())
            .with_high_watermark(p.high_watermark.0)
            .with_last_stable_offset(p.last_stable_offset.0)
            .with_log_start_offset(p.log_start.0)
            .with_preferred_read_replica(BrokerId(-1))
            .with_aborted_transactions(p.aborted.as_ref().map(|all| all.iter().map(aborted).collect()))
            .with_records(Some(Bytes::from(p.batches.concat())));
        if let Some((epoch, end)) = p.diverging {
            data = data.with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch.0).with_end_offset(end.0));
        }
        if let Some((node, epoch)) = p.leader {
            let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(node)).with_leader_epoch(epoch.0);
            data = data.with_current_leader(leader);
        }
        data
    };
    let topic = |t: &TopicAnswer| {
        let topic = FetchableTopicResponse::default().with_partitions(t.partitions.iter().map(partition).collect());
        if version >= 13 { topic.with_topic_id(t.id.0) } else { topic.with_topic(TopicName(t.name.clone())) }
    };
    let whole = FetchResponse::default().with_responses(answer.topics.iter().map(topic).collect());
    if version >= 7 { whole.with_error_code(answer.error.code()) } else { whole }
}

fn in_one_piece(answer: &FetchAnswer, version: i16) -> Bytes {
    let frame = answer.encode(version, 77).expect("encodes");
    let len = frame.len();
    let whole = frame.into_pieces().fold(BytesMut::new(), |mut whole, piece| {
        assert!(!piece.is_empty(), "nothing to write");
        whole.extend_from_slice(&piece);
        whole
    });
    assert_eq!(whole.len(), len);
    whole.freeze()
}

/// In every version that is served: ours are the bytes of `kafka-protocol`, which are Kafka's (`bodies.rs`).
fn is_as_copied(answer: &FetchAnswer) {
    let info = Api::Fetch.info();
    for version in info.lowest..=info.highest {
        let expected = encode_response(Api::Fetch, version, 77, &copied(answer, version)).expect("encodes");
        assert_eq!(in_one_piece(answer, version), expected, "version {version}");
    }
}

fn partition(index: i32, batches: &[&'static str]) -> PartitionAnswer {
    PartitionAnswer {
        high_watermark: Offset(1 << 40),
        last_stable_offset: Offset(77),
        log_start: Offset(5),
        batches: batches.iter().map(|batch| Bytes::from_static(batch.as_bytes())).collect(),
        ..PartitionAnswer::nothing(PartitionIndex(index), ErrorCode::None)
    }
}

fn topic(name: &'static str, partitions: Vec<PartitionAnswer>) -> TopicAnswer {
    TopicAnswer { name: StrBytes::from_static_str(name), id: TopicId(Uuid::from_bytes([7; 16])), partitions }
}

#[test]
fn every_kind_of_answer_has_the_bytes_of_the_encoder_that_copies() {
    is_as_copied(&FetchAnswer { error: ErrorCode::None, topics: vec![] });
    is_as_copied(&FetchAnswer { error: ErrorCode::FetchSessionIdNotFound, topics: vec![topic("none", vec![])] });
    let fenced = PartitionAnswer {
        leader: Some((3, LeaderEpoch(9))),
        ..PartitionAnswer::nothing(PartitionIndex(2), ErrorCode::FencedLeaderEpoch)
    };
    let diverging = PartitionAnswer { diverging: Some((LeaderEpoch(4), Offset(99))), ..partition(4, &[]) };
    let both = PartitionAnswer { leader: Some((0, LeaderEpoch(0))), ..diverging.clone() };
    let aborted = PartitionAnswer { aborted: Some(vec![(ProducerId(8), Offset(3)); 2]), ..partition(5, &["x"]) };
    let none_aborted = PartitionAnswer { aborted: Some(vec![]), ..partition(6, &[]) };
    let topics = vec![
        topic("orders", vec![partition(0, &["first", "second", "third"]), partition(1, &[]), fenced]),
        topic("", vec![diverging, both, aborted, none_aborted]),
        topic("last", vec![partition(0, &["the end"])]),
    ];
    is_as_copied(&FetchAnswer { error: ErrorCode::None, topics });
}

#[test]
fn records_are_sent_from_where_they_lie() {
    let large = Bytes::from(vec![7; 1 << 20]);
    let batches = vec![large.slice(..1000), large.slice(5000..)];
    let read = PartitionAnswer { batches: batches.clone(), ..partition(0, &[]) };
    let answer = FetchAnswer { error: ErrorCode::None, topics: vec![topic("orders", vec![read])] };
    for version in [4, 11, 12, 18] {
        let pieces: Vec<Bytes> = answer.encode(version, 1).expect("encodes").into_pieces().collect();
        let place = |bytes: &Bytes| (bytes.as_ptr(), bytes.len());
        assert_eq!([place(&pieces[1]), place(&pieces[2])], [place(&batches[0]), place(&batches[1])]);
        let around: usize = [&pieces[..1], &pieces[3..]].concat().iter().map(Bytes::len).sum();
        assert!(around < 100, "{around} bytes around the records");
    }
}

#[test]
fn a_topic_name_that_no_version_can_carry_is_an_error() {
    let name = StrBytes::from_string("x".repeat(40_000));
    let topics = vec![TopicAnswer { name, ..TopicAnswer::default() }];
    let answer = FetchAnswer { error: ErrorCode::None, topics };
    assert!(answer.encode(11, 1).is_err());
    assert!(answer.encode(12, 1).is_err());
    assert!(answer.encode(13, 1).is_ok(), "which names topics by id");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn lengths_of_all_sizes_have_the_bytes_of_the_encoder_that_copies(
        batches in proptest::collection::vec(0usize..20_000, 0..4),
        partitions in 0usize..150,
        name_len in 0usize..300,
    ) {
        let batches: Vec<Bytes> = batches.iter().map(|len| Bytes::from(vec![1; *len + 1])).collect();
        let of = |index: usize| PartitionAnswer { batches: batches.clone(), ..partition(index as i32, &[]) };
        let name = StrBytes::from_string("n".repeat(name_len));
        let topic = TopicAnswer { name, id: TopicId::ZERO, partitions: (0..partitions).map(of).collect() };
        is_as_copied(&FetchAnswer { error: ErrorCode::None, topics: vec![topic] });
    }
}
