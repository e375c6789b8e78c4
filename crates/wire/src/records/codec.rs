//! Compressed records as a stream of plain ones: gzip, snappy, lz4 and zstd behind one reader.
//!
//! Memory is bounded by the formats' own blocks, whatever a batch claims: at most 12 MiB for lz4, the window for zstd (up to
//! 128 MiB, touched only as far as output is written), and for snappy what its input can really expand to.
//! Deliberately not here: the cap on output, which is the reader's affair, and compressing.

use std::io::{self, Read};

/// A batch's records, decompressed as they are read.
pub(super) enum Decompressor<'a> {
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(Snappy<'a>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<Tracked<'a>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl<'a> Decompressor<'a> {
    /// A reader for codecs 1 to 4. `max_bytes` only bounds what snappy may reserve at once.
    pub(super) fn new(codec: i16, compressed: &'a [u8], max_bytes: u64) -> io::Result<Decompressor<'a>> {
        Ok(match codec {
            1 => Decompressor::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(compressed))),
            2 => Decompressor::Snappy(Snappy::new(compressed, max_bytes)),
            3 => {
                let input = Tracked { rest: compressed, starved: false };
                Decompressor::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(input)))
            }
            4 => Decompressor::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(compressed)?)),
            _ => return Err(invalid("no such codec")),
        })
    }

    /// After the last byte was read: whether the compressed data ended where its format says it ends.
    pub(super) fn ended_cleanly(&self) -> bool {
        match self {
            // Cut short or followed by garbage, these three fail while reading.
            Decompressor::Gzip(_) | Decompressor::Snappy(_) | Decompressor::Zstd(_) => true,
            // This one takes a missing end mark for the end, and never looks behind one.
            Decompressor::Lz4(decoder) => !decoder.get_ref().starved && decoder.get_ref().rest.is_empty(),
        }
    }
}

impl Read for Decompressor<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Decompressor::Gzip(decoder) => decoder.read(into),
            Decompressor::Snappy(decoder) => decoder.read(into),
            Decompressor::Lz4(decoder) => decoder.read(into),
            Decompressor::Zstd(decoder) => decoder.read(into),
        }
    }
}

/// Input that remembers whether more was wanted than there is.
pub(super) struct Tracked<'a> {
    rest: &'a [u8],
    starved: bool,
}

impl Read for Tracked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(into)?;
        self.starved |= read == 0 && !into.is_empty();
        Ok(read)
    }
}

/// What the xerial framing of the Java client begins with.
pub(super) const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version, least compatible version.
pub(super) const XERIAL_HEADER_LEN: usize = 16;
/// A snappy element of 3 bytes yields at most 64, so nothing expands further than this.
const SNAPPY_MAX_EXPANSION: usize = 22;

/// Snappy in either framing: xerial's blocks, or one raw block.
pub(super) struct Snappy<'a> {
    rest: &'a [u8],
    xerial: bool,
    max_bytes: u64,
    block: Vec<u8>,
    read: usize,
}

impl<'a> Snappy<'a> {
    fn new(compressed: &'a [u8], max_bytes: u64) -> Snappy<'a> {
        let xerial = compressed.len() >= XERIAL_HEADER_LEN && compressed.starts_with(XERIAL_MAGIC);
        let rest = if xerial { &compressed[XERIAL_HEADER_LEN..] } else { compressed };
        Snappy { rest, xerial, max_bytes, block: Vec::new(), read: 0 }
    }

    /// The next compressed block, if any is left.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if !self.xerial {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let (length, rest) = self.rest.split_first_chunk().ok_or_else(|| invalid("a block's length is cut short"))?;
        let length =
            usize::try_from(i32::from_be_bytes(*length)).map_err(|_| invalid("a block's length is negative"))?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(|| invalid("a block goes past the end"))?;
        self.rest = rest;
        Ok(Some(block))
    }

    fn decompress(&mut self, compressed: &[u8]) -> io::Result<()> {
        let size = snap::raw::decompress_len(compressed).map_err(io::Error::other)?;
        if size > compressed.len().saturating_mul(SNAPPY_MAX_EXPANSION) || size as u64 > self.max_bytes {
            return Err(invalid("a block claims to be larger than it can be"));
        }
        self.read = 0;
        self.block.clear();
        self.block.resize(size, 0);
        snap::raw::Decoder::new().decompress(compressed, &mut self.block).map_err(io::Error::other)?;
        Ok(())
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() {
            match self.next_block()? {
                None => return Ok(0),
                Some(block) => self.decompress(block)?,
            }
        }
        let count = into.len().min(self.block.len() - self.read);
        into[..count].copy_from_slice(&self.block[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
