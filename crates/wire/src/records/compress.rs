//! Compresses the records of a batch, as producers may and topics may want: gzip, snappy, lz4, zstd.
//!
//! Each in the framing that Kafka's own clients write, so that every consumer can read it. Deliberately not here: reading,
//! which is `codec.rs`.

use std::io::{self, Read, Write};

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

    /// The codec of this name in a topic's `compression.type`; none of them for `producer`.
    #[must_use]
    pub fn of_topic(name: &str) -> Option<Compression> {
        use Compression::{Gzip, Lz4, None, Snappy, Zstd};
        match name {
            "uncompressed" => Some(None),
            _ => [Gzip, Snappy, Lz4, Zstd].into_iter().find(|codec| codec.name() == name),
        }
    }

    /// Kafka's name for it, as in a producer's `compression.type`.
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

/// A codec, and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effort {
    /// The codec.
    pub codec: Compression,
    /// Its level; `None` for the codec's usual one. Snappy has none, and lz4 is always at its quickest.
    pub level: Option<i32>,
}

impl From<Compression> for Effort {
    fn from(codec: Compression) -> Effort {
        Effort { codec, level: None }
    }
}

/// Writes the compressed form of what is read, `plain_bytes` in all. Memory is bounded by the codec's own blocks; zstd's grow
/// with the level, and shrink with what there is to compress.
///
/// # Errors
/// Those of reading and writing.
pub(super) fn compress(with: Effort, records: impl Read, plain_bytes: u64, to: &mut impl Write) -> io::Result<()> {
    match with.codec {
        Compression::None => copy(records, to),
        Compression::Gzip => gzip(with.level, records, to),
        Compression::Snappy => snappy(records, to),
        Compression::Lz4 => lz4(records, to),
        Compression::Zstd => zstd(with.level, records, plain_bytes, to),
    }
}

fn zstd(level: Option<i32>, records: impl Read, plain_bytes: u64, to: &mut impl Write) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(to, level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL))?;
    encoder.set_pledged_src_size(Some(plain_bytes))?;
    copy(records, &mut encoder)?;
    encoder.finish().map(drop)
}

fn copy(mut records: impl Read, to: &mut impl Write) -> io::Result<()> {
    io::copy(&mut records, to).map(drop)
}

fn gzip(level: Option<i32>, records: impl Read, to: &mut impl Write) -> io::Result<()> {
    let level =
        level.and_then(|level| u32::try_from(level).ok()).map_or_else(Default::default, flate2::Compression::new);
    let mut encoder = flate2::write::GzEncoder::new(to, level);
    copy(records, &mut encoder)?;
    encoder.finish().map(drop)
}

fn lz4(records: impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(to);
    copy(records, &mut encoder)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}

/// Xerial's framing: a header, then blocks with their length in front.
fn snappy(mut records: impl Read, to: &mut impl Write) -> io::Result<()> {
    let versions = [1i32.to_be_bytes(), 1i32.to_be_bytes()].concat(); // its own, and the least compatible one
    debug_assert_eq!(XERIAL_MAGIC.len() + versions.len(), XERIAL_HEADER_LEN);
    to.write_all(XERIAL_MAGIC)?;
    to.write_all(&versions)?;
    let mut encoder = snap::raw::Encoder::new();
    let mut block = Vec::with_capacity(SNAPPY_BLOCK_BYTES);
    loop {
        block.clear();
        records.by_ref().take(SNAPPY_BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        let compressed = encoder.compress_vec(&block).map_err(io::Error::other)?;
        to.write_all(&(compressed.len() as i32).to_be_bytes())?;
        to.write_all(&compressed)?;
    }
}
