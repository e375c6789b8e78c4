//! Reads the records of stored batches: for loading coordinators, finding offsets by time, and consumers.
//!
//! Records come out as slices of the batch, or of one buffer that a compressed batch was decompressed into. Deliberately not
//! here: checksums, which whoever fetched the bytes has checked (`is_intact`), and the judgement of new batches.

use std::io::Read;

use bytes::Bytes;

use super::codec::Decompressor;
use super::header::{BATCH_HEADER_LEN, BatchHeader};
use super::varint::{read_varint, read_varlong};
use crate::types::Offset;

/// Why a batch cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not what the format says: the batch is damaged.
    #[error("the batch is damaged: {0}")]
    Damaged(&'static str),
    /// The records decompress to more than allowed.
    #[error("the records decompress to more than {0} bytes")]
    TooLarge(u64),
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Milliseconds since 1970, -1 for none; the append's time where the broker gives timestamps.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order, duplicates and all.
    pub headers: Headers<'a>,
}

/// The headers of a record, read as they are iterated; well-formed, or the record would not have come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1).filter(|left| *left >= 0)?;
        let key = take_nullable(&mut self.rest).ok()??;
        Some((key, take_nullable(&mut self.rest).ok()?))
    }
}

/// The records of one batch.
#[derive(Debug, Clone)]
pub struct Records {
    header: BatchHeader,
    plain: Bytes,
}

impl Records {
    /// Opens a batch, of any codec. What it decompresses to may have `max_decompressed_bytes`.
    ///
    /// # Errors
    /// [`ReadError`] if the header is damaged or the records do not decompress.
    pub fn open(batch: &Bytes, max_decompressed_bytes: u64) -> Result<Records, ReadError> {
        let header = BatchHeader::parse(batch).map_err(|_| ReadError::Damaged("its header"))?;
        if header.size_bytes() != batch.len() as i64 {
            return Err(ReadError::Damaged("its length"));
        }
        let records = batch.slice(BATCH_HEADER_LEN..);
        let plain = match header.codec() {
            0 => records,
            codec => decompress(codec, &records, max_decompressed_bytes)?,
        };
        Ok(Records { header, plain })
    }

    /// The batch's header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The buffer that all records are slices of: `plain().slice_ref(key)` keeps a part without copying it.
    #[must_use]
    pub fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// The records in order. Ends after the first error.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: &self.header, rest: &self.plain, left: self.header.record_count.max(0) }
    }

    /// The first record from the offset `from` on whose timestamp is at or after `target_ms`: its offset and timestamp.
    ///
    /// # Errors
    /// [`ReadError`] if a record before it is damaged.
    pub fn first_at_or_after(&self, target_ms: i64, from: Offset) -> Result<Option<(Offset, i64)>, ReadError> {
        for record in self {
            let record = record?;
            if record.offset >= from && record.timestamp_ms >= target_ms {
                return Ok(Some((record.offset, record.timestamp_ms)));
            }
        }
        Ok(None)
    }

    /// The first record that has the greatest timestamp of those from the offset `from` on: its offset and timestamp.
    ///
    /// # Errors
    /// [`ReadError`] if a record is damaged.
    pub fn max_timestamp(&self, from: Offset) -> Result<Option<(Offset, i64)>, ReadError> {
        let mut found: Option<(Offset, i64)> = None;
        for record in self {
            let record = record?;
            if record.offset >= from && found.is_none_or(|(_, greatest)| record.timestamp_ms > greatest) {
                found = Some((record.offset, record.timestamp_ms));
            }
        }
        Ok(found)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<Record<'a>, ReadError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// Iterates over the records of a batch.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    header: &'a BatchHeader,
    rest: &'a [u8],
    left: i32,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = take_record(&mut self.rest, self.header);
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

fn take_record<'a>(rest: &mut &'a [u8], header: &BatchHeader) -> Result<Record<'a>, ReadError> {
    let length = take_varint(rest)?;
    let length = usize::try_from(length).map_err(|_| ReadError::Damaged("a record's length is negative"))?;
    let mut body = take(rest, length)?;
    take(&mut body, 1)?; // attributes, unused
    let timestamp_delta = read_varlong(|| take_byte(&mut body))?.ok_or(TOO_LONG)?;
    let offset_delta = take_varint(&mut body)?;
    let key = take_nullable(&mut body)?;
    let value = take_nullable(&mut body)?;
    let left = take_varint(&mut body)?;
    let headers = Headers { rest: body, left };
    for _ in 0..left {
        take_nullable(&mut body)?.ok_or(ReadError::Damaged("a header has no key"))?;
        take_nullable(&mut body)?;
    }
    if left < 0 || !body.is_empty() {
        return Err(ReadError::Damaged("a record's headers do not fill it"));
    }
    let timestamp_ms = match header.is_log_append_time() {
        true => header.max_timestamp_ms,
        false => header.base_timestamp_ms.saturating_add(timestamp_delta),
    };
    Ok(Record { offset: header.base_offset.plus(i64::from(offset_delta)), timestamp_ms, key, value, headers })
}

const TOO_LONG: ReadError = ReadError::Damaged("a number is too long");

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], ReadError> {
    let (taken, after) = rest.split_at_checked(count).ok_or(ReadError::Damaged("a length goes past the end"))?;
    *rest = after;
    Ok(taken)
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, ReadError> {
    take(rest, 1).map(|byte| byte[0])
}

fn take_varint(rest: &mut &[u8]) -> Result<i32, ReadError> {
    read_varint(|| take_byte(rest))?.ok_or(TOO_LONG)
}

fn take_nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ReadError> {
    let length = take_varint(rest)?;
    match usize::try_from(length) {
        Ok(length) => take(rest, length).map(Some),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(ReadError::Damaged("a length is below -1")),
    }
}

fn decompress(codec: i16, compressed: &[u8], max_bytes: u64) -> Result<Bytes, ReadError> {
    const FAILED: ReadError = ReadError::Damaged("the records do not decompress");
    let mut from = Decompressor::new(codec, compressed, max_bytes).map_err(|_| FAILED)?;
    let mut plain = Vec::new();
    (&mut from).take(max_bytes.saturating_add(1)).read_to_end(&mut plain).map_err(|_| FAILED)?;
    if plain.len() as u64 > max_bytes { Err(ReadError::TooLarge(max_bytes)) } else { Ok(Bytes::from(plain)) }
}

/// Splits the records of a Fetch response into its batches. A batch that is cut short at the end is left out, as readers of
/// Kafka must (P-34); whatever else does not look like a batch ends the iteration with an error.
pub fn split_batches(records: &Bytes) -> impl Iterator<Item = Result<(BatchHeader, Bytes), ReadError>> {
    let mut rest = records.clone();
    std::iter::from_fn(move || {
        let length = rest.get(8..12).and_then(|b| b.first_chunk()).map(|b| i64::from(i32::from_be_bytes(*b)))?;
        if length + 12 < BATCH_HEADER_LEN as i64 {
            rest.clear();
            return Some(Err(ReadError::Damaged("a batch's length")));
        }
        let size = usize::try_from(length + 12).ok().filter(|size| *size <= rest.len())?;
        let batch = rest.split_to(size);
        let header = BatchHeader::parse(&batch).map_err(|_| ReadError::Damaged("a batch's format"));
        if header.is_err() {
            rest.clear();
        }
        Some(header.map(|header| (header, batch)))
    })
}
