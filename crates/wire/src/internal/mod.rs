//! The records of `__consumer_offsets`, byte for byte as Apache Kafka writes them; one file per record kind.
//!
//! Keys and values both begin with an i16: in keys it is the record type, in values the schema version (O-70). Readers take
//! whatever bytes there are: every length is checked before it is believed, and a value of a newer version is told apart
//! from a broken one, because the two are treated differently (O-73).
//! Deliberately not here: what the records mean to a group, and record types of group protocols that are not spoken yet.

mod group_metadata;
mod key;
mod offset_commit;
mod read;
mod write;

pub use group_metadata::{COMPLETING_TAG, GroupMetadata, MemberMetadata};
pub use key::CoordinatorKey;
pub use offset_commit::OffsetCommit;
pub(crate) use read::Reader;
pub(crate) use write::Writer;

/// Why bytes are not a record of `__consumer_offsets`. Named by what the reader should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InternalError {
    /// Keep the bytes, never take them for "nothing there" (O-73).
    #[error("schema version {0} is newer than this broker reads")]
    NewerVersion(i16),
    /// The bytes break their own format.
    #[error("the record breaks its format: {0}")]
    Malformed(&'static str),
}

/// A text is longer than its format can say (32,767 bytes): refuse whoever brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a text of {0} bytes is longer than the record format allows")]
pub struct TooLong(pub usize);

#[cfg(test)]
pub(crate) mod testing {
    use bytes::Bytes;

    /// Bytes from hexadecimal digits; white space between them does not count.
    pub(crate) fn hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }
}
