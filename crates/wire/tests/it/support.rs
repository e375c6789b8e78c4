//! Batches that no builder makes: compressed, damaged, or built by hand.

use std::io::Write;

use bytes::Bytes;
use pagemark_wire::records::{BATCH_HEADER_LEN, BatchBuilder};

/// The moment at which the tests' batches are produced, milliseconds since 1970.
pub const NOW_MS: i64 = 1_700_000_000_000;

/// How a batch is compressed; the numbers are those of R-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    SnappyRaw,
    SnappyXerial,
    Lz4,
    Lz4Checked,
    Zstd,
}

impl Codec {
    pub const ALL: [Codec; 7] =
        [Codec::None, Codec::Gzip, Codec::SnappyRaw, Codec::SnappyXerial, Codec::Lz4, Codec::Lz4Checked, Codec::Zstd];

    pub fn number(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::SnappyRaw | Codec::SnappyXerial => 2,
            Codec::Lz4 | Codec::Lz4Checked => 3,
            Codec::Zstd => 4,
        }
    }

    pub fn compress(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Codec::None => plain.to_vec(),
            Codec::Gzip => {
                let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                to.write_all(plain).expect("writes to memory");
                to.finish().expect("writes to memory")
            }
            Codec::SnappyRaw => snap::raw::Encoder::new().compress_vec(plain).expect("writes to memory"),
            Codec::SnappyXerial => xerial(plain, 32 * 1024),
            Codec::Lz4 => lz4(plain, lz4_flex::frame::FrameInfo::new()),
            Codec::Lz4Checked => {
                use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
                let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Linked);
                lz4(plain, info.block_checksums(true).content_checksum(true).content_size(Some(plain.len() as u64)))
            }
            Codec::Zstd => zstd::encode_all(plain, 1).expect("writes to memory"),
        }
    }
}

fn lz4(plain: &[u8], info: lz4_flex::frame::FrameInfo) -> Vec<u8> {
    let mut to = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    to.write_all(plain).expect("writes to memory");
    to.finish().expect("writes to memory")
}

/// Snappy as the Java client frames it.
pub fn xerial(plain: &[u8], block_len: usize) -> Vec<u8> {
    let mut to = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in plain.chunks(block_len) {
        let block = snap::raw::Encoder::new().compress_vec(block).expect("writes to memory");
        to.extend_from_slice(&(block.len() as i32).to_be_bytes());
        to.extend_from_slice(&block);
    }
    to
}

/// The batch with its bytes changed and length and checksum made right again.
pub fn changed(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

/// The batch with these bytes at a place of its header, and a right checksum.
pub fn with_field(batch: &Bytes, at: usize, field: &[u8]) -> Bytes {
    changed(batch, |bytes| bytes[at..at + field.len()].copy_from_slice(field))
}

/// The batch with other bytes behind its header.
pub fn with_payload(batch: &Bytes, codec: i16, payload: &[u8]) -> Bytes {
    changed(batch, |bytes| {
        bytes.truncate(BATCH_HEADER_LEN);
        bytes.extend_from_slice(payload);
        bytes[22] = (bytes[22] & !7) | codec as u8;
    })
}

/// The same batch, compressed.
pub fn compressed(batch: &Bytes, codec: Codec) -> Bytes {
    with_payload(batch, codec.number(), &codec.compress(&batch[BATCH_HEADER_LEN..]))
}

/// A batch of this many small records, as a plain producer sends it.
pub fn batch_of(record_count: i32) -> Bytes {
    let mut builder = BatchBuilder::new(NOW_MS);
    for i in 0..record_count {
        builder.push(Some(format!("key-{i}").as_bytes()), Some(b"value"));
    }
    builder.finish()
}
