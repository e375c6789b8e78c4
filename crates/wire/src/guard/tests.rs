//! The guard against Kafka's own schemas and against hostile bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::schema::{Field, Kind, request};
use super::{MAX_ELEMENTS, MAX_ELEMENTS_ELSEWHERE, Malformed, check};
use crate::api::Api;

const KAFKAS_SCHEMAS: &str = include_str!("../../tests/golden/schemas.txt");

fn describe(kind: &Kind, version: i16, flexible: bool) -> String {
    match kind {
        Kind::Fixed(size) => size.to_string(),
        Kind::Text | Kind::TopicName => "s".to_owned(),
        Kind::Blob => "b".to_owned(),
        Kind::Array(element) => format!("[{}]", describe(element, version, flexible)),
        Kind::Struct(fields) => describe_fields(fields, version, flexible),
    }
}

fn describe_fields(fields: &[Field], version: i16, flexible: bool) -> String {
    let field = |f: &Field| {
        let nullable = if f.nullable_in(version) { "?" } else { "" };
        format!("{}{nullable}", describe(&f.kind, version, flexible))
    };
    let here = || fields.iter().filter(|f| f.in_version(version));
    let plain: Vec<String> = here().filter(|f| f.tag.is_none()).map(field).collect();
    let tagged = here().filter_map(|f| f.tag.map(|tag| format!("<{tag}:{}>", field(f)))).collect::<String>();
    let tags = if flexible { format!(" {tagged}") } else { tagged };
    format!("{{{}}}", (plain.join(" ") + &tags).trim())
}

#[test]
fn every_schema_is_kafkas_own() {
    let known = || Api::ALL.iter().chain(Api::ASKED);
    let mut compared = 0;
    for line in KAFKAS_SCHEMAS.lines() {
        let mut parts = line.splitn(3, ' ');
        let mut next = || parts.next().expect("name, version, schema");
        let (name, version, schema) = (next(), next().parse::<i16>().expect("a version"), next());
        let Some(info) = known().find(|info| info.name == name) else { continue };
        if info.serves(version) {
            let ours = describe_fields(request(info.api), version, info.is_flexible(version));
            assert_eq!(ours, schema, "{name} {version}");
            compared += 1;
        }
    }
    let versions: i16 = known().map(|info| info.highest - info.lowest + 1).sum();
    assert_eq!(compared, versions, "every version that is served or asked for was compared");
}

fn refused(api: Api, version: i16, body: &[u8]) -> &'static str {
    check(api, version, &Bytes::copy_from_slice(body)).expect_err("malformed").reason
}

#[test]
fn a_claimed_array_length_is_never_believed_p_9() {
    assert_eq!(refused(Api::Metadata, 1, &i32::MAX.to_be_bytes()), "more elements than bytes"); // row 14
    assert_eq!(refused(Api::Metadata, 1, &(-2i32).to_be_bytes()), "a negative length"); // row 15
    assert_eq!(refused(Api::Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f]), "more elements than bytes");
    let mut nested = BytesMut::new(); // one topic "t" with 2^31-1 partitions
    nested.put_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't']);
    nested.put_i32(i32::MAX);
    assert_eq!(refused(Api::ListOffsets, 1, &nested[..]), "more elements than bytes");
}

#[test]
fn null_is_accepted_only_where_kafka_has_it_p_8() {
    let null_array = (-1i32).to_be_bytes();
    assert_eq!(refused(Api::Metadata, 0, &null_array), "null where null is not allowed");
    assert_eq!(check(Api::Metadata, 1, &Bytes::copy_from_slice(&null_array)).map(|s| s.body_len), Ok(4));
    assert_eq!(refused(Api::Heartbeat, 0, &[0xff, 0xff]), "null where null is not allowed"); // row 51's kind
    assert_eq!(refused(Api::Heartbeat, 4, &[0]), "null where null is not allowed");
    assert_eq!(refused(Api::Heartbeat, 0, &[0xff, 0xfe]), "a negative length"); // row 16
}

#[test]
fn a_length_past_the_end_is_refused() {
    assert_eq!(refused(Api::Heartbeat, 0, &[0, 9, b'g']), "a length goes past the end"); // row 16
    assert_eq!(refused(Api::Heartbeat, 4, &[10, b'g']), "a length goes past the end");
    assert_eq!(refused(Api::Heartbeat, 0, &[0, 1, b'g', 0]), "a length goes past the end");
}

#[test]
fn a_varint_has_at_most_five_bytes_and_32_bits() {
    assert_eq!(refused(Api::Metadata, 9, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), "a varint exceeds 32 bits"); // row 19
    assert_eq!(refused(Api::Metadata, 9, &[0xff; 10]), "a varint exceeds 32 bits");
}

#[test]
fn tagged_fields_are_skipped_if_unknown_and_bounded_always() {
    let body = |tags: &[u8]| [&[1, 1, 0, 0][..], tags].concat(); // Metadata 11: no topics, true, false
    let accepted = |tags: &[u8]| check(Api::Metadata, 11, &Bytes::from([&[1, 1, 0][..], tags].concat()));
    assert_eq!(accepted(&[1, 99, 2, 7, 7]).map(|s| s.body_len), Ok(8)); // row 22
    assert_eq!(accepted(&[0xff, 0xff, 0xff, 0xff, 0x0f]).map_err(|e| e.reason), Err("more tagged fields than bytes"));
    assert_eq!(accepted(&[1, 99, 9, 7]).map_err(|e| e.reason), Err("a length goes past the end")); // row 21
    assert_eq!(refused(Api::Metadata, 9, &body(&[0xff, 0xff, 0xff, 0xff, 0x0f])), "more tagged fields than bytes"); // 20
}

#[test]
fn a_known_tag_must_have_the_size_of_its_value() {
    // Fetch 12 with nothing but a cluster id, whose tag says more or less than the id takes.
    let fetch = |size: u8, value: &[u8]| {
        let mut body = vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4]; // replica id to session epoch
        body.extend_from_slice(&[1, 1, 1, 1, 0, size]); // no topics, none forgotten, no rack; one tag: 0
        body.extend_from_slice(value);
        check(Api::Fetch, 12, &Bytes::from(body)).map(|_| ()).map_err(|e| e.reason)
    };
    assert_eq!(fetch(3, &[3, b'i', b'd']), Ok(()));
    assert_eq!(fetch(1, &[0]), Ok(()));
    assert_eq!(fetch(4, &[3, b'i', b'd', 0]), Err("a tagged field's size is not its value's"));
    assert_eq!(fetch(2, &[3, b'i', b'd']), Err("a tagged field's size is not its value's"));
}

#[test]
fn bytes_that_are_not_utf8_are_repaired_in_topic_names_only() {
    let shape = check(Api::Metadata, 1, &Bytes::from_static(b"\0\0\0\x01\0\x06a\xff\xc3\xa9\xe2\x82")).expect("row 18");
    assert_eq!(shape.repaired.as_deref(), Some(&b"\0\0\0\x01\0\x06a?\xc3\xa9??"[..]));
    assert_eq!(refused(Api::Heartbeat, 0, b"\0\x01\xff\0\0\0\0\0\0"), "a text is not UTF-8");
}

#[test]
fn trailing_bytes_are_accepted_and_counted_p_9() {
    let shape = check(Api::Heartbeat, 0, &Bytes::from_static(b"\0\x01g\0\0\0\0\0\x01m+++")).expect("row 12");
    assert_eq!(shape.body_len, 10);
}

#[test]
fn more_elements_than_any_client_sends_are_refused() {
    let offset_fetch = |partitions: usize| {
        let mut body = BytesMut::from(&[0, 1, b'g', 0, 0, 0, 1, 0, 1, b't'][..]); // 1 topic, an element too
        body.put_i32(partitions as i32);
        body.resize(body.len() + partitions * 4, 0);
        check(Api::OffsetFetch, 1, &body.freeze())
    };
    assert_eq!(offset_fetch(MAX_ELEMENTS - 1).map(|s| s.elements), Ok(MAX_ELEMENTS));
    let Malformed { reason, field, .. } = offset_fetch(MAX_ELEMENTS).expect_err("too many");
    assert_eq!((reason, field), ("too many elements in one request", "partitionIndexes"));

    let metadata = |topics: usize| {
        let mut body = BytesMut::new();
        body.put_i32(topics as i32);
        body.resize(4 + topics * 2, 0); // names of no length
        check(Api::Metadata, 1, &body.freeze())
    };
    assert_eq!(metadata(MAX_ELEMENTS_ELSEWHERE).map(|s| s.elements), Ok(MAX_ELEMENTS_ELSEWHERE));
    let Malformed { reason, field, .. } = metadata(MAX_ELEMENTS_ELSEWHERE + 1).expect_err("too many");
    assert_eq!((reason, field), ("too many elements in one request", "topics"));
}

#[test]
fn what_is_noted_of_names_that_are_not_utf8_does_not_grow_with_them() {
    let mut body = BytesMut::from(&[0, 0, 0, 1][..]);
    body.put_i16(i16::MAX);
    body.resize(body.len() + i16::MAX as usize, 0xff);
    let mut walk = super::walk::Walk::new(&body, 1, false, MAX_ELEMENTS);
    walk.fields(request(Api::Metadata)).expect("to be repaired");
    assert_eq!((walk.not_utf8.len(), &walk.not_utf8[0]), (1, &(6..body.len())));
    let repaired = check(Api::Metadata, 1, &body.freeze()).expect("to be repaired").repaired.expect("it needs repair");
    assert!(repaired[6..].iter().all(|byte| *byte == b'?'));
}
