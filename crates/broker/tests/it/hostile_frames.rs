//! Frames, headers and bodies that no client sends (bad-input rows 1 to 23, 51 and 80): close or answer, never panic.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::messages::*;
use tokio::io::AsyncWriteExt;

use crate::support::client::*;
use crate::support::raw::{Raw, Reaction, decode, encoded, framed, request_with_body};
use crate::support::simulated::simulated;
use crate::support::{Rig, until};

/// What is expected of a row.
enum Expect {
    /// Closed without an answer.
    Close,
    /// A Metadata answer of this version whose only topic has this error.
    Topic(i16, i16),
    /// An ApiVersions answer of this version with this error.
    Versions(i16, i16),
}

use Expect::{Close, Topic, Versions};

fn header(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &1i32.to_be_bytes()].concat()
}

/// ApiVersions version 3 with these names.
fn software(name: &str, version: &str) -> Vec<u8> {
    let request =
        ApiVersionsRequest::default().with_client_software_name(text(name)).with_client_software_version(text(version));
    encoded(3, &request)
}

/// Metadata in version 4 (plain lengths) and 12 (compact ones), with a body of our own.
fn metadata_4(body: &[u8]) -> Vec<u8> {
    request_with_body(3, 4, false, body)
}

fn metadata_12(body: &[u8]) -> Vec<u8> {
    request_with_body(3, 12, true, body)
}

fn rows() -> Vec<(&'static str, Vec<u8>, Expect)> {
    let tls_hello = [&[0x16, 0x03, 0x01, 0x00, 0xa5, 0x01, 0x00, 0x00][..], &[7; 157]].concat();
    let client_id_of = |length: i16, rest: &[u8]| framed(&[&header(3, 4)[..], &length.to_be_bytes(), rest].concat());
    let no_topics = [0, 0, 0, 0, 0]; // an empty array, no auto-creation
    vec![
        ("row 1: HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), Close),
        ("row 1: HTTP post", b"POST /topics HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_vec(), Close),
        ("row 2: TLS", tls_hello, Close),
        ("row 3: size -1", (-1i32).to_be_bytes().to_vec(), Close),
        ("row 3: size 2^31-1", i32::MAX.to_be_bytes().to_vec(), Close),
        ("row 3: size 100 MiB + 1", (100 * 1024 * 1024 + 1i32).to_be_bytes().to_vec(), Close),
        ("row 4: size 0", vec![0; 4], Close),
        ("row 5: shorter than a header", framed(&[0, 3, 0, 4, 0, 0, 0]), Close),
        ("row 5: header cut within the client id", framed(&[&header(3, 4)[..], &[0, 9, b'x']].concat()), Close),
        ("row 5: no client id at all", framed(&header(3, 4)), Close),
        ("row 7: key 9999", request_with_body(9999, 0, false, &[0; 16]), Close),
        ("row 7: key -1", request_with_body(-1, 0, false, &[0; 16]), Close),
        ("row 7: a key of Kafka's that is not served", request_with_body(58, 0, false, &[0; 16]), Close),
        ("row 11: empty software name", software("", "1"), Versions(3, 42)),
        ("row 11: empty software version", software("a", ""), Versions(3, 42)),
        ("row 11: bad software name", software("a b", "1"), Versions(3, 42)),
        ("row 11: bad software version", software("a", "-1"), Versions(3, 42)),
        ("row 13: Metadata 99", request_with_body(3, 99, true, &[0; 16]), Close),
        ("row 14: array of 2^31-1", metadata_4(&[0x7f, 0xff, 0xff, 0xff, 0]), Close),
        ("row 14: compact array of 2^32-2", metadata_12(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]), Close),
        ("row 15: array of -2", metadata_4(&[0xff, 0xff, 0xff, 0xfe, 0]), Close),
        ("row 16: text past the end", metadata_4(&[0, 0, 0, 1, 0x7f, 0xff, b'a', 0]), Close),
        ("row 16: text of length -2", metadata_4(&[0, 0, 0, 1, 0xff, 0xfe, 0]), Close),
        ("row 16: text of length -1 where null is not allowed", metadata_4(&[0, 0, 0, 1, 0xff, 0xff, 0]), Close),
        ("row 17: client id of length -5", client_id_of(-5, &[0, 0, 0, 1, 0, 1, b'x', 0]), Topic(4, 3)),
        ("row 17: no client id", client_id_of(-1, &[0, 0, 0, 1, 0, 1, b'x', 0]), Topic(4, 3)),
        ("row 18: topic name not UTF-8", metadata_4(&[0, 0, 0, 1, 0, 2, 0xff, 0xfe, 1]), Topic(4, 17)),
        (
            "row 18: compact topic name not UTF-8",
            metadata_12(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0, 1, 0, 0]),
            Topic(12, 17),
        ),
        ("row 18: group id not UTF-8", request_with_body(12, 0, false, &[0, 1, 0xff, 0, 0, 0, 1, 0, 1, b'm']), Close),
        ("row 19: varint of six bytes", metadata_12(&[0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0]), Close),
        ("row 20: 2^32-1 tags", metadata_12(&[1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]), Close),
        (
            "row 20: 2^32-1 tags in the header",
            framed(&[&header(3, 12)[..], &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat()),
            Close,
        ),
        ("row 21: tag size past the end", metadata_12(&[1, 0, 0, 1, 9, 100, b'x']), Close),
        (
            "row 21: tag size past the end in the header",
            framed(&[&header(3, 12)[..], &[0, 0, 1, 9, 100]].concat()),
            Close,
        ),
        ("row 23: topic ../x", metadata_4(&[0, 0, 0, 1, 0, 4, b'.', b'.', b'/', b'x', 1]), Topic(4, 17)),
        ("body cut short", metadata_4(&no_topics[..3]), Close),
        (
            "row 51: commit to a null group",
            request_with_body(8, 2, false, &[[0xff; 2].to_vec(), vec![0; 18]].concat()),
            Close,
        ),
    ]
}

fn judge(address: SocketAddr, row: &str, bytes: &[u8], expect: &Expect) {
    let mut raw = Raw::connect(address);
    raw.send(bytes);
    match (raw.reaction(), expect) {
        (Reaction::Closed, Close) => {}
        (Reaction::Answered(frame), Topic(version, code)) => {
            let answer: MetadataResponse = decode(MetadataRequest::API, *version, &frame);
            assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [*code], "{row}");
        }
        (Reaction::Answered(frame), Versions(version, code)) => {
            let answer: ApiVersionsResponse = decode(ApiVersionsRequest::API, *version, &frame);
            assert_eq!(answer.error_code, *code, "{row}");
        }
        (reaction, _) => panic!("{row}: {reaction:?}"),
    }
}

#[test]
fn every_row_of_bad_frames_gets_its_answer_and_others_are_served_on() {
    let rig = Rig::memory();
    let mut good = rig.client();
    for (row, bytes, expect) in rows() {
        judge(rig.address, row, &bytes, &expect);
        assert_eq!(good.ask(12, &metadata_request(&[])).brokers.len(), 1, "after {row}");
    }
    let names: Vec<String> = rig.broker().registry.view().iter().map(|t| t.name.clone()).collect();
    assert_eq!(names, ["__consumer_offsets"], "nothing illegal was stored (row 18)");
    until("nothing is charged any more", || rig.broker().budget.used_bytes() == 0);
}

#[test]
fn requests_before_a_bad_one_are_answered_and_those_behind_it_are_not() {
    let rig = Rig::memory();
    let mut raw = Raw::connect(rig.address);
    let good = encoded(12, &metadata_request(&[]));
    raw.send(&[&good[..], &good, &(-1i32).to_be_bytes(), &good].concat());
    assert_eq!(raw.answer::<MetadataRequest>(12).brokers.len(), 1);
    assert_eq!(raw.answer::<MetadataRequest>(12).brokers.len(), 1);
    assert_eq!(raw.reaction(), Reaction::Closed);
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let rig = Rig::memory();
    let mut raw = Raw::connect(rig.address);
    for byte in encoded(12, &metadata_request(&[])) {
        raw.send(&[byte]);
    }
    assert_eq!(raw.answer::<MetadataRequest>(12).brokers.len(), 1);
}

#[test]
fn a_frame_at_the_size_limit_is_read_and_one_byte_more_closes_p_1() {
    let rig = Rig::with(&["socket.request.max.bytes=100000"]);
    let contents = |size: usize| {
        let mut frame = encoded(12, &metadata_request(&[]))[4..].to_vec();
        frame.resize(size, 0); // bytes behind the end are legal (P-9)
        framed(&frame)
    };
    let mut raw = Raw::connect(rig.address);
    raw.send(&contents(100_000));
    assert_eq!(raw.answer::<MetadataRequest>(12).brokers.len(), 1);
    raw.send(&contents(100_001));
    assert_eq!(raw.reaction(), Reaction::Closed);
}

#[test]
fn a_client_id_of_32_kib_is_taken_row_88() {
    let rig = Rig::memory();
    let client_id = vec![b'c'; 32_767];
    let rest = [&header(3, 4)[..], &32_767i16.to_be_bytes(), &client_id, &[0, 0, 0, 0, 0]].concat();
    let mut raw = Raw::connect(rig.address);
    raw.send(&framed(&rest));
    assert_eq!(raw.answer::<MetadataRequest>(4).topics, []);
}

#[test]
fn a_begun_frame_that_goes_silent_is_cut_at_the_progress_deadline_row_6() {
    let waited = simulated(&[], async |broker| {
        let mut client = broker.client().await;
        client.socket.write_all(&[0, 0, 0, 100, 0, 3]).await.unwrap();
        client.closed().await
    });
    assert!((Duration::from_secs(30)..Duration::from_secs(31)).contains(&waited), "{waited:?}");
}

#[test]
fn fifty_pipelined_requests_are_answered_in_order_row_80_p_5() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let records = crate::support::batches::batch(&["value"]);
    for i in 0..50 {
        match i % 3 {
            0 => client.send(9, &produce_request("orders", 0, -1, Some(records.clone()))),
            1 => client.send(12, &metadata_request(&["orders"])),
            _ => client.send(8, &commit_request("readers", &[("orders", 0, i, "")])),
        }
    }
    let mut offsets = Vec::new();
    for i in 0..50 {
        // `receive` checks that each answer belongs to the oldest request (invariant 37).
        match i % 3 {
            0 => offsets.push(one_of(client.receive::<ProduceRequest>()).base_offset),
            1 => assert_eq!(client.receive::<MetadataRequest>().topics[0].error_code, 0),
            _ => assert_eq!(client.receive::<OffsetCommitRequest>().topics[0].partitions[0].error_code, 0),
        }
    }
    assert_eq!(offsets, (0..17).collect::<Vec<i64>>());
    assert_eq!(client.committed("readers", "orders", 0).committed_offset, 47, "O-20");
    assert_eq!(Bytes::new(), client.read("orders", 0, 17));
}

#[test]
fn a_commit_in_front_of_what_is_no_frame_is_still_taken_and_answered() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let mut raw = Raw::connect(rig.address);
    let commit = commit_request("readers", &[("orders", 0, 4, "")]);
    raw.send(&[encoded(8, &commit), (-1i32).to_be_bytes().to_vec()].concat());
    let answer = raw.answer::<OffsetCommitRequest>(8);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    assert_eq!(raw.reaction(), Reaction::Closed);
    assert_eq!(client.committed("readers", "orders", 0).committed_offset, 4);
}
