//! The 61 bytes in front of every record batch (R-rules, section 1), as one value.
//!
//! Deliberately not here: the checksum and the records behind the header, which cost a pass over the batch.

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// Length of the header, and so the least length of a batch, in bytes.
pub const BATCH_HEADER_LEN: usize = 61;

/// Why bytes are not a batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer than [`BATCH_HEADER_LEN`] bytes.
    #[error("a record batch has at least 61 bytes")]
    Short,
    /// A magic byte other than 2.
    #[error("magic {0} is not record batch format 2")]
    Magic(i8),
}

/// A batch header, field by field; times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes that follow this field, that is the batch's size less 12.
    pub batch_length: i32,
    /// Leader epoch under which the batch was appended.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C over everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control and delete-horizon bits.
    pub attributes: i16,
    /// Offset of the last record less the base offset.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from.
    pub base_timestamp_ms: i64,
    /// Greatest timestamp of the batch.
    pub max_timestamp_ms: i64,
    /// Who wrote it, if idempotent.
    pub producer_id: ProducerId,
    /// Incarnation of the producer.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of the first record, -1 if not idempotent.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`. Judges nothing but length and magic.
    ///
    /// # Errors
    /// [`HeaderError`] if there are too few bytes or the magic is not 2.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, HeaderError> {
        let head: &[u8; BATCH_HEADER_LEN] = bytes.first_chunk().ok_or(HeaderError::Short)?;
        let magic = head[16] as i8;
        if magic != 2 {
            return Err(HeaderError::Magic(magic));
        }
        Ok(BatchHeader {
            base_offset: Offset(i64::from_be_bytes(at(head, 0))),
            batch_length: i32::from_be_bytes(at(head, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(at(head, 12))),
            crc: u32::from_be_bytes(at(head, 17)),
            attributes: i16::from_be_bytes(at(head, 21)),
            last_offset_delta: i32::from_be_bytes(at(head, 23)),
            base_timestamp_ms: i64::from_be_bytes(at(head, 27)),
            max_timestamp_ms: i64::from_be_bytes(at(head, 35)),
            producer_id: ProducerId(i64::from_be_bytes(at(head, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(at(head, 51))),
            base_sequence: i32::from_be_bytes(at(head, 53)),
            record_count: i32::from_be_bytes(at(head, 57)),
        })
    }

    /// The whole batch's size in bytes, header included.
    #[must_use]
    pub fn size_bytes(&self) -> i64 {
        i64::from(self.batch_length) + 12
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// Offset that the next batch begins at.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Sequence number of the last record; wraps from 2^31-1 to 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        ((i64::from(self.base_sequence) + i64::from(self.last_offset_delta)) & 0x7fff_ffff) as i32
    }

    /// Compression codec, 0 for none.
    #[must_use]
    pub fn codec(&self) -> i16 {
        self.attributes & 0b111
    }

    /// Whether the broker's clock gave the timestamps.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & (1 << 3) != 0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & (1 << 4) != 0
    }

    /// Whether the batch is a marker that no application sees.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & (1 << 5) != 0
    }
}

fn at<const N: usize>(head: &[u8; BATCH_HEADER_LEN], from: usize) -> [u8; N] {
    std::array::from_fn(|i| head[from + i])
}
