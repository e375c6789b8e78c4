//! Compresses the records of a batch, as producers may: gzip, snappy, lz4, zstd.
//!
//! Each in the framing that Kafka's own clients write, so that every consumer can read it. Deliberately not here: reading,
//! which is `codec.rs`, and levels; each codec has its usual one.

use std::io::{self, Write};

use super::codec::{XERIAL_HEADER_LEN, XERIAL_MAGIC};

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// The smallest that everybody reads; slow.
    Gzip,
    /// Quick, and not small.
    Snappy,
    /// The quickest.
    Lz4,
    /// Small and quick.
    Zstd,
}

impl Compression {
    /// Its number in the attributes of a batch.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// Kafka's name for it, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Bytes of records in one block of snappy, as the Java client has it.
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;

/// Appends the compressed form of `records`.
pub(super) fn compress(codec: Compression, records: &[u8], to: &mut Vec<u8>) {
    let written = match codec {
        Compression::None => to.write_all(records),
        Compression::Gzip => gzip(records, to),
        Compression::Snappy => snappy(records, to),
        Compression::Lz4 => lz4(records, to),
        Compression::Zstd => zstd::stream::copy_encode(records, to, zstd::DEFAULT_COMPRESSION_LEVEL),
    };
    written.expect("writing into memory does not fail");
}

fn gzip(records: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::default());
    encoder.write_all(records)?;
    encoder.finish().map(drop)
}

fn lz4(records: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(to);
    encoder.write_all(records)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}

/// Xerial's framing: a header, then blocks with their length in front.
fn snappy(records: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
    let start = to.len();
    to.extend_from_slice(XERIAL_MAGIC);
    to.extend_from_slice(&1i32.to_be_bytes()); // version
    to.extend_from_slice(&1i32.to_be_bytes()); // least compatible version
    debug_assert_eq!(to.len() - start, XERIAL_HEADER_LEN);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(SNAPPY_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(io::Error::other)?;
        to.extend_from_slice(&(compressed.len() as i32).to_be_bytes());
        to.extend_from_slice(&compressed);
    }
    Ok(())
}
