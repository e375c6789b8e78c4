//! Record batches: judged, walked, read, recompressed and stamped.
//!
//! A changed byte breaks the checksum, which would keep everything behind it safe from this. So the bytes are judged as
//! they are, and then with length and checksum made right. What a walk accepts must be readable to its end, and what it
//! says of timestamps must be so. Deliberately not here: lists of batches, which only the engine reads.

use bytes::Bytes;
use pagemark_wire::records::{
    BATCH_HEADER_LEN, BatchError, BatchHeader, BatchRules, Compression, Records, Stamp, Walked, check_shape, is_intact,
    recompress, split_batches, stamp, walk_counted,
};
use pagemark_wire::types::{LeaderEpoch, Offset};

use crate::files;

const NOW_MS: i64 = 1_700_000_000_000;
/// A bomb is stopped here; the broker's own limit is higher and only takes longer.
const MAX_DECOMPRESSED_BYTES: u64 = 1 << 20;
/// Room for the chunk in which the limit was passed.
const SLACK_BYTES: u64 = 64 * 1024;

/// Judges the bytes as they are, and mended.
pub(crate) fn run(bytes: &[u8]) {
    let given = Bytes::copy_from_slice(bytes);
    split_batches(&given).take(100).for_each(drop);
    judge(&given);
    if bytes.len() >= BATCH_HEADER_LEN {
        judge(&mended(bytes));
    }
}

/// The batch with base offset, format, length and checksum as they should be.
fn mended(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    let length = bytes.len() as i32 - 12;
    bytes[..8].fill(0);
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

fn judge(batch: &Bytes) {
    let rules = BatchRules { max_decompressed_bytes: MAX_DECOMPRESSED_BYTES, ..BatchRules::defaults_at(NOW_MS) };
    let records = Records::open(batch, MAX_DECOMPRESSED_BYTES);
    let read = records.as_ref().map(|records| records.iter().filter(Result::is_ok).count());
    let Ok(header) = check_shape(Some(batch), &rules) else { return };
    assert!(is_intact(batch));
    let (walked, decompressed_bytes) = walk_counted(&header, batch, &rules);
    assert!(decompressed_bytes <= MAX_DECOMPRESSED_BYTES + SLACK_BYTES, "{decompressed_bytes}");
    let Ok(walked) = walked else { return };
    assert_eq!(read.ok(), Some(header.record_count as usize), "what was walked can be read");
    recompressed(&header, batch, decompressed_bytes, &rules, &walked);
    let max_timestamp_ms = walked.max_timestamp_ms;
    let created = stamped(batch, Stamp::CreateTime { max_timestamp_ms });
    assert_eq!(greatest_timestamp(&created), Some(max_timestamp_ms), "whatever type of time the client said");
    let appended = stamped(batch, Stamp::LogAppendTime { now_ms: NOW_MS + 5 });
    assert_eq!(greatest_timestamp(&appended), Some(NOW_MS + 5));
}

/// With the codec that a topic may want it is as good as it was, or too large.
fn recompressed(header: &BatchHeader, batch: &Bytes, bytes: u64, rules: &BatchRules, walked: &Walked) {
    const CODECS: [Compression; 4] = [Compression::None, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let codec = CODECS[batch.len() % CODECS.len()]; // one for each input, since compressing is slow
    match recompress(header, batch, bytes, codec.into(), rules) {
        Ok((header, stored)) => assert_eq!(walk_counted(&header, &stored, rules).0.as_ref(), Ok(walked)),
        Err(error) => assert!(matches!(error, BatchError::RecompressedTooLarge { .. }), "{error}"),
    }
}

/// What the owner of the partition makes of it.
fn stamped(batch: &Bytes, time: Stamp) -> Bytes {
    let (stamped, header) = stamp(batch, Offset(1000), LeaderEpoch(5), time);
    assert_eq!(stamped.header(), Ok(header));
    let joined = stamped.joined();
    assert!(is_intact(&joined), "{time:?}");
    joined
}

fn greatest_timestamp(batch: &Bytes) -> Option<i64> {
    let records = Records::open(batch, MAX_DECOMPRESSED_BYTES).expect("a batch that was accepted");
    records.iter().map(|record| record.expect("it was read before").timestamp_ms).max()
}

/// Batches of Kafka's own classes, of every codec.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    files::batches().into_iter().map(|(_, batch)| batch.to_vec()).collect()
}
