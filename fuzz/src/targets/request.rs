//! Requests as the broker takes them: header, guard, decoder (P-8, P-9).
//!
//! What was decoded is encoded and decoded again, and must be the same. Deliberately not here: what requests do
//! (`session.rs`).

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use pagemark_wire::api::Api;
use pagemark_wire::frame::{Request, parse_request};
use pagemark_wire::messages::{Decodable, Encodable, decode};
use pagemark_wire::{guard, with_message_types};

use crate::files;

/// Reads a frame without its length.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(Request::Served { header, body }) = parse_request(&Bytes::copy_from_slice(bytes)) else { return };
    if let Ok(shape) = guard::check(header.api, header.version, &body) {
        assert!(shape.body_len <= body.len());
        assert!(shape.elements <= body.len(), "{} elements in {} bytes", shape.elements, body.len());
    }
    with_message_types!(header.api, |Q, A| through::<Q>(header.api, header.version, body));
}

fn through<Q: Decodable + Encodable + PartialEq + Debug>(api: Api, version: i16, body: Bytes) {
    let Ok(decoded) = decode::<Q>(api, version, body) else { return };
    let mut again = BytesMut::new();
    if decoded.message.encode(&mut again, version).is_err() {
        return; // a field that only other versions know has a value: the decoder is laxer than the encoder
    }
    if format!("{:?}", decoded.message).contains("unknown_tagged_fields: {-") {
        return; // the codec counts tags in 31 bits and writes no others; nobody writes a request that was read
    }
    let twice = decode::<Q>(api, version, again.freeze()).expect("what was encoded can be decoded");
    assert_eq!(twice.message, decoded.message, "{api:?} {version}");
    assert_eq!(twice.trailing_bytes, 0);
}

/// Requests of Kafka's own classes with a header.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    files::requests().iter().map(frame).collect()
}

/// A frame without its length, from a client that is called "fuzz".
pub(crate) fn frame(golden: &files::Golden) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&golden.info.key.to_be_bytes());
    frame.extend_from_slice(&golden.version.to_be_bytes());
    frame.extend_from_slice(&1i32.to_be_bytes());
    frame.extend_from_slice(b"\0\x04fuzz");
    if golden.info.is_flexible(golden.version) {
        frame.push(0);
    }
    frame.extend_from_slice(&golden.body);
    frame
}
