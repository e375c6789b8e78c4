//! Requests that ask for more than one request may: partitions named twice, topics by the thousand, decompression by the batch.

use pagemark_wire::messages::list_offsets_request::ListOffsetsPartition;
use pagemark_wire::messages::metadata_request::MetadataRequestTopic;
use pagemark_wire::messages::produce_request::PartitionProduceData;
use pagemark_wire::messages::*;

use crate::support::Rig;
use crate::support::batches::*;
use crate::support::client::*;

#[test]
fn a_partition_named_twice_in_a_produce_is_refused_and_the_others_are_not_r_10() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    let mut request = produce_request("orders", 0, -1, Some(batch(&["a"])));
    for (index, value) in [(1, "b"), (0, "c")] {
        let data = PartitionProduceData::default().with_index(index).with_records(Some(batch(&[value])));
        request.topic_data[0].partition_data.push(data);
    }
    let answer = client.ask(9, &request);
    let codes: Vec<(i32, i16)> =
        answer.responses[0].partition_responses.iter().map(|p| (p.index, p.error_code)).collect();
    assert_eq!(codes, [(0, 87), (1, 0), (0, 87)]);
    assert_eq!([0, 1].map(|p| client.end("orders", p)), [0, 1]);
    // The same across two entries of one topic.
    let mut request = produce_request("orders", 0, -1, Some(batch(&["a"])));
    request.topic_data.extend(produce_request("orders", 0, -1, Some(batch(&["b"]))).topic_data);
    let answer = client.ask(9, &request);
    assert!(answer.responses.iter().all(|topic| topic.partition_responses[0].error_code == 87));
    assert_eq!(client.end("orders", 0), 0);
}

#[test]
fn a_partition_named_twice_in_a_list_offsets_is_an_invalid_request() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    for timestamp in [-1, THEN_MS] {
        let mut request = list_offsets_request("orders", 0, timestamp);
        for index in [1, 0] {
            let asked = ListOffsetsPartition::default().with_partition_index(index).with_timestamp(timestamp);
            request.topics[0].partitions.push(asked);
        }
        let answer = client.ask(9, &request);
        let codes: Vec<(i32, i16)> =
            answer.topics[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
        assert_eq!(codes, [(0, 42), (1, 0), (0, 42)]);
    }
}

#[test]
fn a_partition_named_twice_in_a_fetch_is_waited_for_and_read_once() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    client.produced("orders", 1, batch(&["a"]));
    let mut request = fetch_request("orders", 0, 0);
    for index in [1, 0, 1] {
        let again = request.topics[0].partitions[0].clone().with_partition(index);
        request.topics[0].partitions.push(again);
    }
    let answer = client.ask(9, &request);
    let codes: Vec<(i32, i16)> =
        answer.responses[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
    assert_eq!(codes, [(0, 0), (1, 0), (0, 42), (1, 42)]);
    assert!(answer.responses[0].partitions[1].records.as_ref().is_some_and(|records| !records.is_empty()));
}

#[test]
fn a_name_that_is_repeated_does_not_make_an_answer_larger_invariant_40() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    assert_eq!(client.commit("payments", "orders", 1, 7), 0);

    let names: Vec<&str> = ["orders", "missing"].into_iter().cycle().take(1_000).collect();
    let answer = client.ask(9, &metadata_request(&names));
    let codes: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, 3]);

    let groups = vec![group_id("payments"); 1_000];
    let answer = client.ask(5, &DescribeGroupsRequest::default().with_groups(groups));
    assert_eq!(answer.groups.len(), 1);

    let mut request = committed_request("payments", Some(&[("orders", 1), ("orders", 0), ("orders", 1)]));
    let again = request.groups[0].clone().with_topics(None);
    request.groups.push(again);
    let answer = client.ask(8, &request);
    let told = |topic: &offset_fetch_response::OffsetFetchResponseTopics| {
        topic.partitions.iter().map(|p| (p.partition_index, p.committed_offset)).collect::<Vec<_>>()
    };
    assert_eq!(answer.groups[0].topics.iter().flat_map(told).collect::<Vec<_>>(), [(1, 7), (0, -1)]);
    assert_eq!((answer.groups[1].error_code, answer.groups[1].topics.len()), (42, 0), "asked for twice in one request");
}

#[test]
fn the_batches_of_one_request_decompress_to_no_more_than_one_batch_may_r_23() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 3, &[]);
    let large = compressed(&batch_of_bytes(70 << 20), 4);
    let mut request = produce_request("orders", 0, -1, Some(large.clone()));
    for (index, records) in [(1, large), (2, batch(&["c"]))] {
        let data = PartitionProduceData::default().with_index(index).with_records(Some(records));
        request.topic_data[0].partition_data.push(data);
    }
    let answer = client.ask(9, &request);
    let codes: Vec<i16> = answer.responses[0].partition_responses.iter().map(|p| p.error_code).collect();
    assert_eq!((codes[0], codes[2]), (0, 0), "{codes:?}");
    assert_ne!(codes[1], 0, "140 MiB in all");
    assert_eq!([0, 1, 2].map(|p| client.end("orders", p)), [1, 0, 1]);
}

#[test]
fn one_create_topics_makes_at_most_10_000_partitions() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let codes = |client: &mut Client, validate_only: bool| -> Vec<i16> {
        let topics = [("a", 9_000), ("b", 1_001), ("c", 1_000), ("d", 1)].map(|(name, n)| new_topic(name, n, &[]));
        let answer = client.ask(7, &create_request(&topics).with_validate_only(validate_only));
        answer.topics.iter().map(|topic| topic.error_code).collect()
    };
    assert_eq!(codes(&mut client, true), [0, 44, 0, 44]);
    assert_eq!(codes(&mut client, false), [0, 44, 0, 44]);
}

#[test]
fn one_metadata_request_makes_at_most_1_000_topics_and_more_when_asked_again() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let names: Vec<String> = (0..1_002).map(|i| format!("t{i:04}")).collect();
    let topic = |name: &String| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(names.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(true);
    let mut refused = || client.ask(9, &request).topics.iter().filter(|t| t.error_code == 5).count();
    assert_eq!(refused(), 2, "LEADER_NOT_AVAILABLE: ask again");
    assert_eq!(refused(), 0);
}

#[test]
fn the_value_of_a_topic_config_takes_effect_however_it_was_written_p_28() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[("max.message.bytes", " 2000000 ")]);
    client.produced("orders", 0, batch_of_bytes(1_500_000));
}
