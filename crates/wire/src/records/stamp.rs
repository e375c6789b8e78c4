//! What the broker writes into a batch when it appends it: offsets, leader epoch, time.
//!
//! All of it is in the header, so a batch is stamped by giving it another header; its records stay the bytes that came from the
//! socket. Offset and epoch are outside the checksum, so the usual append computes nothing. Deliberately not here: deciding the
//! values.

use bytes::{Bytes, BytesMut};

use super::check::CRC_FROM;
use super::header::{BATCH_HEADER_LEN, BatchHeader, HeaderError};
use crate::crc;
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

/// A batch on its way into a log, in two pieces: perhaps a header of its own, and the bytes that it came in. It is copied
/// when it is written to its place, not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedBatch {
    /// What stands in place of the first bytes of `sent`.
    head: Option<[u8; BATCH_HEADER_LEN]>,
    sent: Bytes,
}

impl StampedBatch {
    /// The header as it will be stored.
    ///
    /// # Errors
    /// [`HeaderError`] if the bytes are no batch, which [`stamp`] never makes.
    pub fn header(&self) -> Result<BatchHeader, HeaderError> {
        BatchHeader::parse(self.head.as_ref().map_or(&self.sent, |head| &head[..]))
    }

    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// The bytes, in order.
    #[must_use]
    pub fn pieces(&self) -> [&[u8]; 2] {
        match &self.head {
            Some(head) => [head, &self.sent[BATCH_HEADER_LEN..]],
            None => [&[], &self.sent],
        }
    }

    /// CRC-32C of all bytes, which is not the checksum in the header. Where a header was put in front of what was sent, that one is known
    /// to be right, and covers all but the beginning.
    #[must_use]
    pub fn crc(&self) -> u32 {
        match &self.head {
            Some(head) if self.sent.len() >= crc::LEAST_BYTES => {
                let known = u32::from_be_bytes(*head[..CRC_FROM].last_chunk().expect("the checksum ends there"));
                let covered = (self.sent.len() - CRC_FROM) as u64;
                crc::combine(crc32c::crc32c(&head[..CRC_FROM]), known, covered)
            }
            _ => self.pieces().iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece)),
        }
    }

    /// The bytes in one piece, which may mean to copy them.
    #[must_use]
    pub fn joined(&self) -> Bytes {
        if self.head.is_none() {
            return self.sent.clone();
        }
        let mut joined = BytesMut::with_capacity(self.len());
        self.pieces().iter().for_each(|piece| joined.extend_from_slice(piece));
        joined.freeze()
    }
}

/// Bytes that are complete as they are.
impl From<Bytes> for StampedBatch {
    fn from(batch: Bytes) -> Self {
        StampedBatch { head: None, sent: batch }
    }
}

const LOG_APPEND_TIME_BIT: i16 = 1 << 3;

/// Stamps one batch and returns it with its header as it now is. The checksum is computed anew only if the timestamp type
/// or the greatest timestamp really changes.
///
/// # Panics
/// If the bytes are not one batch that [`super::check_shape`] accepted.
#[must_use]
pub fn stamp(sent: &Bytes, base_offset: Offset, leader_epoch: LeaderEpoch, time: Stamp) -> (StampedBatch, BatchHeader) {
    let before = BatchHeader::parse(sent).expect("the batch was accepted");
    let (head, records) = sent.split_first_chunk::<BATCH_HEADER_LEN>().expect("a batch has a header");
    let mut head = *head;
    head[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    head[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
    let (attributes, max_timestamp_ms) = match time {
        Stamp::CreateTime { max_timestamp_ms } => (before.attributes & !LOG_APPEND_TIME_BIT, max_timestamp_ms),
        Stamp::LogAppendTime { now_ms } => (before.attributes | LOG_APPEND_TIME_BIT, now_ms),
    };
    let mut after = BatchHeader { base_offset, leader_epoch, attributes, max_timestamp_ms, ..before };
    if (attributes, max_timestamp_ms) != (before.attributes, before.max_timestamp_ms) {
        head[21..23].copy_from_slice(&attributes.to_be_bytes());
        head[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
        after.crc = crc32c::crc32c_append(crc32c::crc32c(&head[CRC_FROM..]), records);
        head[17..21].copy_from_slice(&after.crc.to_be_bytes());
    }
    (StampedBatch { head: Some(head), sent: sent.clone() }, after)
}
