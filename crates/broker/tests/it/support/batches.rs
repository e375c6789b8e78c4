//! Batches as producers send them, good and bad.

use std::io::Write;

use bytes::Bytes;
use pagemark_wire::records::{BATCH_HEADER_LEN, BatchBuilder, BatchHeader, split_batches};
use pagemark_wire::types::{ProducerEpoch, ProducerId};

/// A moment in the past, milliseconds since 1970.
pub const THEN_MS: i64 = 1_700_000_000_000;

/// A batch with a record for each value.
pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(THEN_MS);
    values.iter().for_each(|v| builder.push(Some(b"key"), Some(v.as_bytes())));
    builder.finish()
}

/// A batch with a record for each timestamp.
pub fn batch_at(timestamps_ms: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(timestamps_ms[0]);
    timestamps_ms.iter().for_each(|t| builder.push_record(*t, Some(b"key"), Some(b"value"), &[]));
    builder.finish()
}

/// A batch of one record that has this size in all, about.
pub fn batch_of_bytes(bytes: usize) -> Bytes {
    batch(&["x".repeat(bytes.saturating_sub(BATCH_HEADER_LEN + 16)).as_str()])
}

/// A batch of an idempotent producer, with `count` records.
pub fn idempotent(id: i64, epoch: i16, sequence: i32, count: i32) -> Bytes {
    let mut builder = BatchBuilder::new(THEN_MS).produced_by(ProducerId(id), ProducerEpoch(epoch), sequence);
    (0..count).for_each(|i| builder.push(None, Some(format!("{id}-{epoch}-{sequence}-{i}").as_bytes())));
    builder.finish()
}

/// The batch with its bytes changed, and length and checksum made right again.
pub fn changed(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    checked(bytes)
}

/// The batch with these bytes at a place, a right checksum, and the length that it then claims.
pub fn with_field(batch: &Bytes, at: usize, field: &[u8]) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at..at + field.len()].copy_from_slice(field);
    checked(bytes)
}

fn checked(mut bytes: Vec<u8>) -> Bytes {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

/// The batch with other bytes behind its header, said to be of this codec.
pub fn with_payload(batch: &Bytes, codec: u8, payload: &[u8]) -> Bytes {
    changed(batch, |bytes| {
        bytes.truncate(BATCH_HEADER_LEN);
        bytes.extend_from_slice(payload);
        bytes[22] = (bytes[22] & !7) | codec;
    })
}

/// The batch compressed with codec 1 gzip, 2 snappy, 3 lz4 or 4 zstd.
pub fn compressed(batch: &Bytes, codec: u8) -> Bytes {
    let plain = &batch[BATCH_HEADER_LEN..];
    let payload = match codec {
        1 => {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(plain).expect("writes to memory");
            to.finish().expect("writes to memory")
        }
        2 => snap::raw::Encoder::new().compress_vec(plain).expect("writes to memory"),
        3 => {
            let mut to = lz4_flex::frame::FrameEncoder::new(Vec::new());
            to.write_all(plain).expect("writes to memory");
            to.finish().expect("writes to memory")
        }
        4 => zstd::encode_all(plain, 1).expect("writes to memory"),
        _ => plain.to_vec(),
    };
    with_payload(batch, codec, &payload)
}

/// A gzip stream of this many zero bytes.
pub fn gzip_of_zeros(bytes: u64) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), bytes), &mut to).expect("writes to memory");
    to.finish().expect("writes to memory")
}

/// What a batch must look like once it is stored at this offset under this epoch: nothing else may differ.
pub fn stored_at(sent: &Bytes, base_offset: i64, leader_epoch: i32) -> Bytes {
    let mut bytes = sent.to_vec();
    bytes[0..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    Bytes::from(bytes)
}

/// The headers of the batches in a Fetch answer, which must be whole ones.
pub fn headers(records: &Bytes) -> Vec<BatchHeader> {
    split_batches(records).map(|b| b.expect("a batch").0).collect()
}

/// The batches of a Fetch answer.
pub fn split(records: &Bytes) -> Vec<Bytes> {
    let batches: Vec<Bytes> = split_batches(records).map(|b| b.expect("a batch").1).collect();
    assert_eq!(batches.iter().map(Bytes::len).sum::<usize>(), records.len(), "whole batches only (P-34)");
    batches
}
