//! What the broker writes into a batch when it appends it: offsets, leader epoch, time.
//!
//! Offset and epoch are outside the checksum, so the usual append touches twelve bytes and computes nothing. Deliberately
//! not here: deciding the values.

use super::check::CRC_FROM;
use super::header::BatchHeader;
use crate::types::{LeaderEpoch, Offset};

/// The time that a batch is stamped with, by the topic's `message.timestamp.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// The records keep their timestamps; this is the greatest of them as the walk found it.
    CreateTime {
        /// Milliseconds since 1970.
        max_timestamp_ms: i64,
    },
    /// Every record gets this time.
    LogAppendTime {
        /// Milliseconds since 1970.
        now_ms: i64,
    },
}

const LOG_APPEND_TIME_BIT: i16 = 1 << 3;

/// Stamps one batch in place and returns its header as it now is. The checksum is computed anew only if the timestamp type
/// or the greatest timestamp really changes.
///
/// # Panics
/// If the bytes are not one batch that [`super::check_shape`] accepted.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch, time: Stamp) -> BatchHeader {
    let before = BatchHeader::parse(batch).expect("the batch was accepted");
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
    let (attributes, max_timestamp_ms) = match time {
        Stamp::CreateTime { max_timestamp_ms } => (before.attributes & !LOG_APPEND_TIME_BIT, max_timestamp_ms),
        Stamp::LogAppendTime { now_ms } => (before.attributes | LOG_APPEND_TIME_BIT, now_ms),
    };
    let mut after = BatchHeader { base_offset, leader_epoch, attributes, max_timestamp_ms, ..before };
    if (attributes, max_timestamp_ms) != (before.attributes, before.max_timestamp_ms) {
        batch[21..23].copy_from_slice(&attributes.to_be_bytes());
        batch[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
        after.crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[17..21].copy_from_slice(&after.crc.to_be_bytes());
    }
    after
}
