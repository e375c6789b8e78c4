//! What a produced batch is judged by, and every way in which it can be wrong.
//!
//! Deliberately not here: duplicates and sequence numbers, which need the partition's memory (`core`).

use crate::error_code::ErrorCode;

/// Kafka's default for `max.message.bytes`: 1 MiB and 12 bytes.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;
/// Kafka's default for `segment.bytes`.
pub const DEFAULT_SEGMENT_BYTES: usize = 1 << 30;
/// Default for `max.decompressed.bytes`.
pub const DEFAULT_MAX_DECOMPRESSED_BYTES: u64 = 128 << 20;
/// Kafka's default for `message.timestamp.after.max.ms`: one hour.
pub const DEFAULT_TIMESTAMP_AFTER_MAX_MS: i64 = 3_600_000;

/// `message.timestamp.type` of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer gives the timestamps.
    #[default]
    CreateTime,
    /// The broker gives every record the time of its append.
    LogAppendTime,
}

/// What one topic, one request and one moment demand of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRules {
    /// Version of the Produce request.
    pub produce_version: i16,
    /// Whether the request names a transactional id.
    pub has_transactional_id: bool,
    /// `max.message.bytes` of the topic: largest batch, header included.
    pub max_message_bytes: usize,
    /// `segment.bytes` of the topic: largest record set.
    pub segment_bytes: usize,
    /// `max.decompressed.bytes`: most that the records of one batch may decompress to.
    pub max_decompressed_bytes: u64,
    /// Whether `cleanup.policy` contains `compact`, so that every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type` of the topic.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a timestamp may lie in the past.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far a timestamp may lie in the future.
    pub timestamp_after_max_ms: i64,
    /// The wall clock, milliseconds since 1970.
    pub now_ms: i64,
}

impl BatchRules {
    /// The rules of a topic with Kafka's defaults, for a request of the newest version at `now_ms`.
    #[must_use]
    pub fn defaults_at(now_ms: i64) -> BatchRules {
        BatchRules {
            produce_version: crate::Api::Produce.info().highest,
            has_transactional_id: false,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            max_decompressed_bytes: DEFAULT_MAX_DECOMPRESSED_BYTES,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: DEFAULT_TIMESTAMP_AFTER_MAX_MS,
            now_ms,
        }
    }
}

/// Why a batch is not appended. What it displays goes to the client as the error message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Null, empty, cut short, or more than one batch.
    #[error("the data of a partition must be exactly one complete record batch")]
    NotOneBatch,
    /// Magic 0 or 1.
    #[error("message format {magic} is not supported, only record batches of format 2")]
    OldFormat {
        /// The magic byte.
        magic: i8,
    },
    /// A magic that no Kafka has.
    #[error("magic {magic} is no known message format")]
    UnknownFormat {
        /// The magic byte.
        magic: i8,
    },
    /// A batch length shorter than the header.
    #[error("batch length {length} is shorter than a batch header")]
    ShortLength {
        /// The length given.
        length: i32,
    },
    /// Offsets are the broker's to assign.
    #[error("the base offset of a produced batch must be 0, not {base_offset}")]
    BaseOffset {
        /// The offset given.
        base_offset: i64,
    },
    /// Codecs 5 to 7.
    #[error("compression codec {codec} does not exist")]
    UnknownCodec {
        /// The codec's number.
        codec: i16,
    },
    /// zstd in a version whose readers may not know it.
    #[error("zstd needs Produce version 7 or later, not {produce_version}")]
    ZstdTooEarly {
        /// Version of the request.
        produce_version: i16,
    },
    /// Larger than `max.message.bytes`.
    #[error("the batch has {bytes} bytes, max.message.bytes of the topic is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Larger than a segment.
    #[error("the batch has {bytes} bytes, segment.bytes of the topic is {limit}")]
    LargerThanSegment {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Larger than both limits allow once it has the codec that the topic wants.
    #[error(
        "with the codec of the topic's compression.type the batch has more than {limit} bytes, the most it may have"
    )]
    RecompressedTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The checksum is wrong.
    #[error("the batch's checksum is {given:#010x} but its bytes have {computed:#010x}")]
    Checksum {
        /// What the header says.
        given: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// No records, or not as many as offsets.
    #[error("record count {record_count} does not fit last offset delta {last_offset_delta}")]
    Count {
        /// What the header says.
        record_count: i32,
        /// What the header says.
        last_offset_delta: i32,
    },
    /// Markers are the broker's to write.
    #[error("a producer may not write control batches")]
    Control,
    /// A producer id without a sequence number.
    #[error("a batch with a producer id needs a base sequence of 0 or more, not {base_sequence}")]
    NoSequence {
        /// The sequence number given.
        base_sequence: i32,
    },
    /// A transactional batch in a request without a transactional id.
    #[error("a transactional batch needs a transactional id in its request")]
    NoTransactionalId,
    /// A transactional batch while transactions are not served.
    #[error("transactions are not served yet")]
    TransactionsNotServed,
    /// The records do not decompress.
    #[error("the records do not decompress")]
    Decompression,
    /// The records decompress to too much.
    #[error("the records decompress to more than {limit} bytes, the limit of max.decompressed.bytes")]
    DecompressedTooLarge {
        /// The limit.
        limit: u64,
    },
    /// A record is not what demand.
    #[error("record {index}: {reason}")]
    Record {
        /// Which record of the batch, from 0.
        index: i32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something follows the last record.
    #[error("there are bytes behind the last of {record_count} records")]
    Trailing {
        /// What the header says.
        record_count: i32,
    },
    /// A record without a key in a compacted topic.
    #[error("record {}: {NO_KEY}", first(indexes))]
    NoKey {
        /// Which records of the batch, from 0: the first thousand at most.
        indexes: Vec<i32>,
    },
    /// A timestamp outside the topic's range.
    #[error("record {}: timestamp {timestamp_ms} is outside {earliest_ms} to {latest_ms}", first(indexes))]
    Timestamp {
        /// Which records of the batch, from 0: the first thousand at most.
        indexes: Vec<i32>,
        /// The first one's timestamp.
        timestamp_ms: i64,
        /// The earliest that is allowed.
        earliest_ms: i64,
        /// The latest that is allowed.
        latest_ms: i64,
    },
}

const NO_KEY: &str = "a compacted topic takes no record without a key";

fn first(indexes: &[i32]) -> i32 {
    indexes.first().copied().unwrap_or_default()
}

impl BatchError {
    /// What the client gets.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::NotOneBatch
            | BatchError::OldFormat { .. }
            | BatchError::BaseOffset { .. }
            | BatchError::Count { .. }
            | BatchError::Control
            | BatchError::NoSequence { .. }
            | BatchError::Decompression
            | BatchError::DecompressedTooLarge { .. }
            | BatchError::Record { .. }
            | BatchError::Trailing { .. }
            | BatchError::NoKey { .. } => ErrorCode::InvalidRecord,
            BatchError::UnknownFormat { .. } | BatchError::ShortLength { .. } | BatchError::Checksum { .. } => {
                ErrorCode::CorruptMessage
            }
            BatchError::UnknownCodec { .. } | BatchError::ZstdTooEarly { .. } => ErrorCode::UnsupportedCompressionType,
            BatchError::TooLarge { .. } | BatchError::RecompressedTooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            BatchError::NoTransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            BatchError::TransactionsNotServed => ErrorCode::InvalidTxnState,
            BatchError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
        }
    }

    /// The records that are wrong, counted from 0, and what is wrong with each, where it is records: Produce 8 and later name
    /// them in recordErrors.
    #[must_use]
    pub fn records(&self) -> Vec<(i32, String)> {
        let each = |indexes: &[i32], what: String| indexes.iter().map(|index| (*index, what.clone())).collect();
        match self {
            BatchError::Record { index, reason } => vec![(*index, (*reason).to_owned())],
            BatchError::NoKey { indexes } => each(indexes, NO_KEY.to_owned()),
            BatchError::Timestamp { indexes, earliest_ms, latest_ms, .. } => {
                each(indexes, format!("its timestamp is outside {earliest_ms} to {latest_ms}"))
            }
            _ => Vec::new(),
        }
    }
}
