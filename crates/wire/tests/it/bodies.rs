//! Every request and response in every version, held against the bytes of Apache Kafka's own classes.
//!
//! `Golden.java` in tests/golden made the bytes and says what is in them. Each test names what is missing, and the command.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use pagemark_wire::api::Api;
use pagemark_wire::frame::{Request, RequestHeader, encode_request, encode_response, parse_request};
use pagemark_wire::messages::{Decodable, Decoded, Encodable, StrBytes, decode, decode_response};
use pagemark_wire::{guard, with_message_types};

use crate::files::{Golden, headers, parts, requests, responses, responses_of_others};
use crate::names::{is_of_its_name, is_value_of, leaves};

const KAFKAS_APIS: &str = include_str!("../golden/apis.txt");

#[test]
fn every_version_in_our_table_has_golden_bytes_both_ways_q_80() {
    let mut missing = Vec::new();
    for (direction, golden) in [("request", requests()), ("response", responses())] {
        for info in Api::ALL {
            for version in info.lowest..=info.highest {
                for variant in ["full", "null", "empty", "default", "tagged"] {
                    let is_there = golden.iter().any(|g| (g.info, g.version, g.variant) == (info, version, variant));
                    if is_there != (variant != "tagged" || info.is_flexible(version)) {
                        missing.push(format!("{} {version} {variant} {direction}", info.name));
                    }
                }
            }
        }
    }
    let advice = "name the API in tests/golden/Golden.java, then: cargo xtask golden";
    assert!(missing.is_empty(), "no golden bytes for {missing:#?}; {advice}");
}

#[test]
fn our_ranges_lie_within_kafkas_p_21c() {
    for info in Api::ALL {
        let kafkas = KAFKAS_APIS.lines().map(parts::<4>).find(|line| line[0] == info.key.to_string());
        let [_, name, lowest, highest] = kafkas.unwrap_or_else(|| panic!("Kafka has no API {}", info.key));
        assert_eq!(name, info.name);
        let range = lowest.parse::<i16>().expect("a version")..=highest.parse().expect("a version");
        assert!(range.contains(&info.advertised_lowest), "{name}: Kafka begins at {lowest}");
        assert!(range.contains(&info.highest), "{name}: Kafka ends at {highest}");
    }
}

/// Reads a request as the broker does; gives it as text, and encoded again.
fn through<Q: Decodable + Encodable + Debug>(golden: &Golden) -> (String, Bytes) {
    let Golden { info, version, body, .. } = golden;
    let shape = guard::check(info.api, *version, body).unwrap_or_else(|e| panic!("{}: {e}", golden.name()));
    assert_eq!(shape.body_len, body.len(), "{}", golden.name());
    let decoded = decode::<Q>(info.api, *version, body.clone()).unwrap_or_else(|e| panic!("{}: {e}", golden.name()));
    let Decoded { message, trailing_bytes } = decoded;
    assert_eq!(trailing_bytes, 0, "{}", golden.name());
    let mut again = BytesMut::new();
    message.encode(&mut again, *version).unwrap_or_else(|e| panic!("{}: {e}", golden.name()));
    (format!("{message:?}"), again.freeze())
}

/// Reads a response as a client does; gives it as text, and encoded again as the broker does, without the header.
fn answered<A: Decodable + Encodable + Debug>(golden: &Golden) -> (String, Bytes) {
    let Golden { info, version, body, .. } = golden;
    let message =
        decode_response::<A>(info.api, *version, body.clone()).unwrap_or_else(|e| panic!("{}: {e}", golden.name()));
    let frame = encode_response(info.api, *version, 1, &message).unwrap_or_else(|e| panic!("{}: {e}", golden.name()));
    let header = if info.has_response_header_tags(*version) { 9 } else { 8 };
    (format!("{message:?}"), frame.slice(header..))
}

fn names_are_right(golden: &Golden, text: &str) {
    let leaves = leaves(text);
    for (name, leaf) in &leaves {
        assert!(is_of_its_name(name, leaf), "{}: {name} is {leaf:?}", golden.name());
    }
    let has_values = golden.variant != "full" || leaves.iter().any(|(name, leaf)| is_value_of(name, leaf));
    assert!(has_values || golden.body.len() <= 1, "{}: no value at all in {text}", golden.name());
}

#[test]
fn kafkas_requests_arrive_field_by_field_and_encode_to_the_same_bytes_q_80_q_81() {
    for golden in requests() {
        let (text, again) = with_message_types!(golden.info.api, |Q, A| through::<Q>(&golden));
        assert_eq!(again, golden.body, "{}: {text}", golden.name());
        if matches!(golden.variant, "full" | "null" | "tagged") {
            names_are_right(&golden, &text);
        }
    }
}

#[test]
fn our_responses_are_kafkas_bytes_field_by_field_q_80_q_81() {
    for golden in responses().into_iter().chain(responses_of_others()) {
        let (text, again) = with_message_types!(golden.info.api, |Q, A| answered::<A>(&golden));
        assert_eq!(again, golden.body, "{}: {text}", golden.name());
        if matches!(golden.variant, "full" | "null" | "tagged") {
            names_are_right(&golden, &text);
        }
    }
}

#[test]
fn frames_are_kafkas_header_and_body_p_2_p_3_p_4() {
    for golden in requests().iter().filter(|golden| golden.variant == "full") {
        let Golden { info, version, body, .. } = golden;
        let [header, _] = headers(info, *version);
        let frame = Bytes::from([&header[..], body].concat());
        let client_id = Some(StrBytes::from_static_str("golden-\u{e9}"));
        let expected = RequestHeader { api: info.api, version: *version, correlation_id: 0x0102_0304, client_id };
        let parsed = parse_request(&frame).unwrap_or_else(|e| panic!("{}: {e}", golden.name()));
        assert_eq!(parsed, Request::Served { header: expected, body: body.clone() }, "{}", golden.name());
        let ours = with_message_types!(info.api, |Q, A| {
            let request = decode::<Q>(info.api, *version, body.clone()).expect("it decodes").message;
            encode_request(info.api, *version, 0x0102_0304, Some("golden-\u{e9}"), &request).expect("it can be encoded")
        });
        assert_eq!(ours.slice(4..), frame, "{}", golden.name());
    }
    for golden in responses().iter().filter(|golden| golden.variant == "full") {
        let Golden { info, version, body, .. } = golden;
        let [_, header] = headers(info, *version);
        let frame = with_message_types!(info.api, |Q, A| {
            let response = decode_response::<A>(info.api, *version, body.clone()).expect("it decodes");
            encode_response(info.api, *version, 0x0102_0304, &response).expect("it can be encoded")
        });
        assert_eq!(frame.slice(4..), [&header[..], body].concat(), "{}", golden.name());
        let length = i32::from_be_bytes(*frame.first_chunk().expect("a length"));
        assert_eq!(length as usize, frame.len() - 4, "{}", golden.name());
    }
}

fn default_body<M: Default + Encodable>(version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    M::default().encode(&mut bytes, version).expect("a default can be encoded");
    bytes.freeze()
}

#[test]
fn what_nobody_set_is_kafkas_default_q_81() {
    let defaults = |golden: &Golden| golden.variant == "default";
    for Golden { info, version, body, .. } in requests().into_iter().filter(defaults) {
        assert_eq!(
            with_message_types!(info.api, |Q, A| default_body::<Q>(version)),
            body,
            "{} {version} request",
            info.name
        );
    }
    for Golden { info, version, body, .. } in responses().into_iter().filter(defaults) {
        assert_eq!(
            with_message_types!(info.api, |Q, A| default_body::<A>(version)),
            body,
            "{} {version} response",
            info.name
        );
    }
}

/// Kafka's own response, cut short or with one byte changed, is an error or a value, never a panic or a huge allocation.
#[test]
fn hostile_responses_do_no_harm_p_9() {
    for golden in responses().into_iter().chain(responses_of_others()) {
        let Golden { info, version, body, .. } = &golden;
        let try_it =
            |bytes: Bytes| with_message_types!(info.api, |Q, A| drop(decode_response::<A>(info.api, *version, bytes)));
        for at in 0..body.len() {
            try_it(body.slice(..at));
            let mut changed = BytesMut::from(&body[..]);
            changed[at] = 0x7f;
            try_it(changed.clone().freeze());
            changed[at] = 0xff;
            try_it(changed.freeze());
        }
    }
}

#[test]
fn every_response_that_kafka_wrote_passes_the_guard_whole() {
    for golden in responses().into_iter().chain(responses_of_others()) {
        guard::check_response(golden.info.api, golden.version, &golden.body)
            .unwrap_or_else(|e| panic!("{}: {e}", golden.name()));
    }
}
