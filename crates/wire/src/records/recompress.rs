//! Gives a batch the codec that its topic wants, where it came with another one.
//!
//! Records stream from one codec into the other, so memory holds the two batches and the codecs' blocks, however much the
//! records decompress to. Nothing but the codec changes: count, timestamps, producer and sequence are as they were sent.
//! Deliberately not here: whether the records are good, which [`super::walk`] has found by then.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::check::CRC_FROM;
use super::codec::Decompressor;
use super::compress::{Effort, compress};
use super::header::{BATCH_HEADER_LEN, BatchHeader};
use super::rules::{BatchError, BatchRules};

/// The bits of the attributes that name the codec.
const CODEC_BITS: i16 = 0b111;

/// The batch with its records compressed this way. It must have passed [`super::walk_counted`], which says how many bytes its
/// records decompress to.
///
/// # Errors
/// [`BatchError::RecompressedTooLarge`] if it no longer keeps to R-12.
pub fn recompress(
    header: &BatchHeader,
    batch: &[u8],
    decompressed_bytes: u64,
    with: Effort,
    rules: &BatchRules,
) -> Result<(BatchHeader, Bytes), BatchError> {
    let (head, records) = batch.split_at_checked(BATCH_HEADER_LEN).ok_or(BatchError::NotOneBatch)?;
    let limit = rules.max_message_bytes.min(rules.segment_bytes);
    let mut to = Bounded { bytes: head.to_vec(), limit, full: false };
    let written = match header.codec() {
        0 => compress(with, records, records.len() as u64, &mut to),
        codec => Decompressor::new(codec, records, rules.max_decompressed_bytes)
            .and_then(|plain| compress(with, plain.take(decompressed_bytes), decompressed_bytes, &mut to)),
    };
    match written {
        Ok(()) => {}
        Err(_) if to.full => return Err(BatchError::RecompressedTooLarge { limit }),
        Err(_) => return Err(BatchError::Decompression),
    }
    let mut bytes = to.bytes;
    let batch_length = i32::try_from(bytes.len() - 12).map_err(|_| BatchError::RecompressedTooLarge { limit })?;
    let attributes = header.attributes & !CODEC_BITS | with.codec.number();
    bytes[8..12].copy_from_slice(&batch_length.to_be_bytes());
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let header = BatchHeader::parse(&bytes).map_err(|_| BatchError::NotOneBatch)?;
    Ok((header, Bytes::from(bytes)))
}

/// Bytes that do not become more than they may.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.full |= more.len() > self.limit.saturating_sub(self.bytes.len());
        if self.full {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
