//! Walks a message's bytes before anything is decoded, so that no claimed length is ever believed (P-8, P-9).
//!
//! The decoder behind [`crate::messages`] reserves memory for as many elements as an array says it has; a hostile length
//! would end the process. The walk follows schemas of our own (`schema.rs`, `responses.rs`), one per message, and passes only bodies whose
//! every length fits into the bytes that are there. It allocates nothing unless a topic name needs repair.
//! Deliberately not here: what the values mean.

pub(crate) mod cursor;
mod responses;
mod schema;
mod walk;

use bytes::{Bytes, BytesMut};

use crate::api::Api;

/// Why a request body is refused: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (field {field}, byte {at})")]
pub struct Malformed {
    /// Which field, as Kafka calls it.
    pub field: &'static str,
    /// Where in the body.
    pub at: usize,
    /// What is wrong.
    pub reason: &'static str,
}

impl Malformed {
    /// Refused by the decoder although the walk found nothing.
    pub(crate) const BY_DECODER: Malformed = Malformed { field: "", at: 0, reason: "the body does not decode" };
    /// A response that no client of ours reads.
    const UNREAD: Malformed = Malformed { field: "", at: 0, reason: "our client does not read this response" };
}

/// Array elements and tagged fields that a request about partitions or groups may hold in all. Decoded, an element takes far
/// more memory than on the wire, about 200 bytes; so this is 40 MB, and Kafka's clients stay well below it.
pub const MAX_ELEMENTS: usize = 200_000;

/// The same for every other request, where nothing comes by the partition.
pub const MAX_ELEMENTS_ELSEWHERE: usize = 100_000;

/// The same for a response: a broker may have many more partitions than one request names.
const MAX_ELEMENTS_OF_A_RESPONSE: usize = 2_000_000;

/// How many elements a request of this kind may hold.
fn max_elements(api: Api) -> usize {
    match api {
        Api::Produce
        | Api::Fetch
        | Api::ListOffsets
        | Api::OffsetCommit
        | Api::OffsetFetch
        | Api::DescribeGroups
        | Api::ConsumerGroupDescribe
        | Api::OffsetForLeaderEpoch
        | Api::OffsetDelete => MAX_ELEMENTS,
        Api::Metadata
        | Api::FindCoordinator
        | Api::JoinGroup
        | Api::Heartbeat
        | Api::LeaveGroup
        | Api::SyncGroup
        | Api::ListGroups
        | Api::ApiVersions
        | Api::CreateTopics
        | Api::DeleteTopics
        | Api::DeleteRecords
        | Api::InitProducerId
        | Api::DeleteGroups
        | Api::DescribeConfigs
        | Api::AlterConfigs
        | Api::DescribeLogDirs
        | Api::IncrementalAlterConfigs
        | Api::CreatePartitions
        | Api::DescribeCluster
        | Api::DescribeTopicPartitions => MAX_ELEMENTS_ELSEWHERE,
    }
}

/// What the walk found in an acceptable body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the body; what follows is legal and ignored (P-9).
    pub body_len: usize,
    /// Array elements and tagged fields in all: a measure of the memory that decoding takes.
    pub elements: usize,
    /// The whole body with `?` in place of bytes that are not UTF-8, if a topic name has any.
    pub repaired: Option<Bytes>,
}

/// Walks a body of `api` in `version`, which must be served.
///
/// # Errors
/// [`Malformed`] for the first thing that is wrong.
pub fn check(api: Api, version: i16, body: &Bytes) -> Result<Shape, Malformed> {
    let mut walk = walk::Walk::new(body, version, api.info().is_flexible(version), max_elements(api));
    walk.fields(schema::request(api))?;
    let repaired = (!walk.not_utf8.is_empty()).then(|| {
        let mut copy = BytesMut::from(&body[..]);
        walk.not_utf8.iter().for_each(|name| repair(&mut copy[name.clone()]));
        copy.freeze()
    });
    Ok(Shape { body_len: walk.position(), elements: walk.elements, repaired })
}

/// Walks the body of a response to `api` in `version`, which must be served.
///
/// # Errors
/// [`Malformed`] for the first thing that is wrong.
pub fn check_response(api: Api, version: i16, body: &[u8]) -> Result<(), Malformed> {
    let schema = responses::response(api).ok_or(Malformed::UNREAD)?;
    let mut walk = walk::Walk::new(body, version, api.info().is_flexible(version), MAX_ELEMENTS_OF_A_RESPONSE);
    walk.fields(schema)
}

/// Puts a `?` in the place of each byte that is not UTF-8.
fn repair(mut text: &mut [u8]) {
    while let Err(invalid) = std::str::from_utf8(text) {
        let from = invalid.valid_up_to();
        let bad = invalid.error_len().unwrap_or(text.len() - from);
        text[from..from + bad].fill(b'?');
        text = &mut text[from + bad..];
    }
}

#[cfg(test)]
mod tests;
