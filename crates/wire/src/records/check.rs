//! The first judgement of a produced batch: everything that its header and its checksum tell.
//!
//! One pass over the bytes for the checksum, no allocation. Deliberately not here: the records (`walk.rs`), which are
//! judged after duplicates are, so that a retry of a stored batch never becomes an error.

use bytes::Bytes;

use super::header::{BATCH_HEADER_LEN, BatchHeader};
use super::rules::{BatchError, BatchRules};

/// Bytes in front of what the batch length counts.
const BEFORE_LENGTH: usize = 12;
/// Where the magic byte is.
const MAGIC_AT: usize = 16;
/// Where the bytes begin that the checksum covers.
pub(super) const CRC_FROM: usize = 21;
/// The number of zstd.
const ZSTD: i16 = 4;

/// Judges the records of one partition of a Produce request by their header and checksum, in the order of the rules.
///
/// # Errors
/// [`BatchError`] for the first rule that is broken.
pub fn check_shape(records: Option<&Bytes>, rules: &BatchRules) -> Result<BatchHeader, BatchError> {
    let bytes: &[u8] = records.map_or(&[], |records| records);
    let header = one_batch(bytes)?;
    check_codec(&header, rules)?;
    if header.base_offset.0 != 0 {
        return Err(BatchError::BaseOffset { base_offset: header.base_offset.0 });
    }
    if bytes.len() > rules.max_message_bytes {
        return Err(BatchError::TooLarge { bytes: bytes.len(), limit: rules.max_message_bytes });
    }
    if bytes.len() > rules.segment_bytes {
        return Err(BatchError::LargerThanSegment { bytes: bytes.len(), limit: rules.segment_bytes });
    }
    check_crc(&header, bytes)?;
    let BatchHeader { record_count, last_offset_delta, base_sequence, .. } = header;
    if record_count < 1 || last_offset_delta != record_count - 1 {
        return Err(BatchError::Count { record_count, last_offset_delta });
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    if header.producer_id.0 >= 0 && base_sequence < 0 {
        return Err(BatchError::NoSequence { base_sequence });
    }
    match (header.is_transactional(), rules.has_transactional_id) {
        (false, _) => Ok(header),
        (true, false) => Err(BatchError::NoTransactionalId),
        (true, true) => Err(BatchError::TransactionsNotServed),
    }
}

/// R-10 and the lengths of R-13: the bytes are one batch of format 2, no more and no less.
fn one_batch(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let Some(length) = bytes.get(8..BEFORE_LENGTH).and_then(|b| b.first_chunk()).map(|b| i32::from_be_bytes(*b)) else {
        return Err(BatchError::NotOneBatch);
    };
    let Some(magic) = bytes.get(MAGIC_AT).map(|b| *b as i8) else {
        // Too short even for old formats; a length that cannot be right is corruption first.
        return Err(if length < 0 { BatchError::ShortLength { length } } else { BatchError::NotOneBatch });
    };
    match magic {
        2 => {}
        0 | 1 => return Err(BatchError::OldFormat { magic }),
        _ => return Err(BatchError::UnknownFormat { magic }),
    }
    let size = i64::from(length) + BEFORE_LENGTH as i64;
    if size < BATCH_HEADER_LEN as i64 {
        return Err(BatchError::ShortLength { length });
    }
    if size != bytes.len() as i64 {
        return Err(BatchError::NotOneBatch); // cut short, or more behind it
    }
    BatchHeader::parse(bytes).map_err(|_| BatchError::NotOneBatch) // cannot happen: length and magic were just judged
}

fn check_codec(header: &BatchHeader, rules: &BatchRules) -> Result<(), BatchError> {
    match header.codec() {
        codec @ 5.. => Err(BatchError::UnknownCodec { codec }),
        ZSTD if rules.produce_version < 7 => Err(BatchError::ZstdTooEarly { produce_version: rules.produce_version }),
        _ => Ok(()),
    }
}

fn check_crc(header: &BatchHeader, bytes: &[u8]) -> Result<(), BatchError> {
    let computed = crc32c::crc32c(&bytes[CRC_FROM..]);
    if computed == header.crc { Ok(()) } else { Err(BatchError::Checksum { given: header.crc, computed }) }
}

/// Whether the bytes are one whole batch with a right checksum: for bytes that come from storage or from another broker.
#[must_use]
pub fn is_intact(batch: &[u8]) -> bool {
    one_batch(batch).is_ok_and(|header| check_crc(&header, batch).is_ok())
}
