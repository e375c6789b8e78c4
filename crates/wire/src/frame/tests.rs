//! Frames that clients send, and frames that nobody should.

use bytes::Bytes;

use super::*;
use crate::messages::{ApiVersionsRequest, ApiVersionsResponse, HeartbeatResponse};

const LIMIT: usize = 100 << 20;

fn frame(key: i16, version: i16, rest: &[u8]) -> Bytes {
    let head = [&key.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes()].concat();
    Bytes::from([&head, rest].concat())
}

#[test]
fn a_frame_length_is_positive_and_within_the_limit_p_1() {
    assert_eq!(frame_length([0, 0, 0, 1], LIMIT), Ok(1));
    assert_eq!(frame_length((LIMIT as i32).to_be_bytes(), LIMIT), Ok(LIMIT));
    for length in [0, -1, i32::MAX, LIMIT as i32 + 1] {
        assert!(frame_length(length.to_be_bytes(), LIMIT).is_err(), "rows 3 and 4: {length}");
    }
}

#[test]
fn http_and_tls_clients_are_named_rows_1_2() {
    let said = |prefix| frame_length(prefix, LIMIT).expect_err("far too long").to_string();
    assert!(said(*b"GET ").ends_with("HTTP client"));
    assert!(said([0x16, 0x03, 0x01, 0x02]).contains("TLS client"));
}

#[test]
fn a_frame_shorter_than_its_header_is_refused_row_5() {
    let whole = frame(12, 4, &[0, 2, b'm', b'e', 0]);
    assert!(parse_request(&whole).is_ok());
    for cut in 0..whole.len() {
        assert_eq!(parse_request(&whole.slice(..cut)), Err(FrameError::Header), "{cut} bytes");
    }
}

#[test]
fn the_client_id_is_never_compact_and_any_negative_length_is_null_p_2() {
    let client_id = |rest: &[u8]| match parse_request(&frame(12, 4, rest)) {
        Ok(Request::Served { header, body }) => (header.client_id, body),
        other => panic!("{other:?}"),
    };
    assert_eq!(client_id(&[0, 1, b'c', 0, 9]), (Some(StrBytes::from_static_str("c")), Bytes::from_static(&[9])));
    assert_eq!(client_id(&[0xff, 0xff, 0, 9]).0, None);
    assert_eq!(client_id(&[0xff, 0xfb, 0, 9]), (None, Bytes::from_static(&[9]))); // row 17
    assert_eq!(client_id(&[0, 1, 0xff, 0]).0, Some(StrBytes::from_static_str("\u{fffd}")));
    assert_eq!(client_id(&[0xff, 0xff, 1, 9, 2, 7, 7, 5]).1, Bytes::from_static(&[5])); // an unknown tag
}

#[test]
fn what_is_not_served_is_refused_with_what_the_log_line_needs_p_7() {
    for (key, version) in [(9999, 0), (-1, 0), (3, 99), (0, 2), (2, 0)] {
        let refused = parse_request(&frame(key, version, &[0, 1, b'c']));
        let client_id = Some(StrBytes::from_static_str("c"));
        assert_eq!(refused, Err(FrameError::Unsupported { api_key: key, api_version: version, client_id }));
    }
}

#[test]
fn an_unknown_version_of_api_versions_needs_eight_bytes_p_11() {
    for version in [99, -1, 5] {
        for rest in [&[][..], &[0xff], &[0, 200]] {
            let expected = Request::ApiVersionsUnsupported { version, correlation_id: 7 };
            assert_eq!(parse_request(&frame(18, version, rest)), Ok(expected), "rows 8 to 10");
        }
    }
}

#[test]
fn response_headers_have_tags_by_version_but_never_for_api_versions_p_3_p_4() {
    let body = HeartbeatResponse::default();
    assert_eq!(encode_response(Api::Heartbeat, 0, 7, &body).as_deref(), Ok(&[0, 0, 0, 6, 0, 0, 0, 7, 0, 0][..]));
    let flexible = encode_response(Api::Heartbeat, 4, 7, &body).expect("encodes");
    assert_eq!(&flexible[..], [0, 0, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(parse_response(Api::Heartbeat, 4, &flexible.slice(4..)), Ok((7, flexible.slice(9..))));
    let versions = encode_response(Api::ApiVersions, 3, 7, &ApiVersionsResponse::default()).expect("encodes");
    assert_eq!(&versions[4..12], [0, 0, 0, 7, 0, 0, 1, 0]);
    assert_eq!(parse_response(Api::ApiVersions, 3, &versions.slice(4..)), Ok((7, versions.slice(8..))));
}

#[test]
fn a_request_that_we_encode_is_one_that_we_parse() {
    let body = ApiVersionsRequest::default().with_client_software_name("pagemark".into());
    for (version, name) in [(0, None), (3, Some("c")), (4, Some("c"))] {
        let body = if version < 3 { ApiVersionsRequest::default() } else { body.clone() };
        let bytes = encode_request(Api::ApiVersions, version, 7, name, &body).expect("encodes");
        assert_eq!(frame_length(*bytes.first_chunk().expect("four"), LIMIT), Ok(bytes.len() - 4));
        let Ok(Request::Served { header, body: sent }) = parse_request(&bytes.slice(4..)) else { panic!("served") };
        assert_eq!((header.version, header.correlation_id), (version, 7));
        assert_eq!(header.client_id.as_deref(), name);
        let decoded = crate::messages::decode::<ApiVersionsRequest>(Api::ApiVersions, version, sent).expect("decodes");
        assert_eq!((decoded.message, decoded.trailing_bytes), (body, 0));
    }
    let long = "x".repeat(40_000);
    assert!(encode_request(Api::ApiVersions, 0, 7, Some(&long), &ApiVersionsRequest::default()).is_err());
}

#[test]
fn a_body_that_a_version_cannot_carry_is_an_error_not_a_panic() {
    let response = HeartbeatResponse::default();
    let error = encode_response(Api::Heartbeat, 99, 7, &response).expect_err("no such version");
    assert_eq!((error.api, error.version), (Api::Heartbeat, 99));
}
