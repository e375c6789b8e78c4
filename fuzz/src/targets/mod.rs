//! One file for each kind of bytes.
//!
//! Deliberately not here: where the bytes come from (`mutate`, libFuzzer).

pub(crate) mod batch;
pub(crate) mod directory;
pub(crate) mod frame;
pub(crate) mod groups;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod session;

use bytes::Bytes;

/// As the driver wants its seeds.
pub(crate) fn owned(seeds: Vec<Bytes>) -> Vec<Vec<u8>> {
    seeds.into_iter().map(|seed| seed.to_vec()).collect()
}
