//! Responses as a client takes them from a broker that it does not trust: guard, decoder.
//!
//! The input is the API's number, the version, and the body. Deliberately not here: requests (`request.rs`).

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use pagemark_wire::api::Api;
use pagemark_wire::messages::{Decodable, Encodable, decode_response};
use pagemark_wire::with_message_types;

use crate::files;

/// Reads a body.
pub(crate) fn run(bytes: &[u8]) {
    let Some((head, body)) = bytes.split_first_chunk::<4>() else { return };
    let version = i16::from_be_bytes([head[2], head[3]]);
    let key = i16::from_be_bytes([head[0], head[1]]);
    let Some(info) = Api::ALL.iter().chain(Api::ASKED).find(|info| info.key == key) else { return };
    if info.serves(version) {
        let api = info.api;
        with_message_types!(api, |Q, A| through::<A>(api, version, Bytes::copy_from_slice(body)));
    }
}

fn through<A: Decodable + Encodable + PartialEq + Debug>(api: Api, version: i16, body: Bytes) {
    let Ok(message) = decode_response::<A>(api, version, body) else { return };
    let mut again = BytesMut::new();
    if message.encode(&mut again, version).is_err() || format!("{message:?}").contains("unknown_tagged_fields: {-") {
        return; // see request.rs
    }
    let twice = decode_response::<A>(api, version, again.freeze()).expect("what was encoded can be decoded");
    assert_eq!(twice, message, "{api:?} {version}");
}

/// Responses of Kafka's own classes.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let seed = |golden: &files::Golden| {
        [&golden.info.key.to_be_bytes()[..], &golden.version.to_be_bytes(), &golden.body].concat()
    };
    files::responses().iter().chain(&files::responses_of_others()).map(seed).collect()
}
