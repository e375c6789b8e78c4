//! Record batches of format v2: read, judge, walk, stamp and build them.
//!
//! Records themselves stay opaque bytes: a broker looks at a batch's header always, at its records once (at the append),
//! and copies neither. An append goes [`check_shape`], then the partition's own judgement of duplicates, then
//! [`walk`], [`recompress`] where the topic wants another codec, then [`stamp`]. Deliberately not here: formats v0 and v1, which are refused for good.

mod builder;
mod check;
mod codec;
mod compress;
mod header;
mod read;
mod recompress;
mod rules;
mod stamp;
mod varint;
mod walk;

pub use builder::BatchBuilder;
pub use check::{check_shape, is_intact};
pub use compress::{Compression, Effort};
pub use header::{BATCH_HEADER_LEN, BatchHeader, HeaderError};
pub use read::{Headers, ReadError, Record, RecordIter, Records, split_batches};
pub use recompress::recompress;
pub use rules::{
    BatchError, BatchRules, DEFAULT_MAX_DECOMPRESSED_BYTES, DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_SEGMENT_BYTES,
    DEFAULT_TIMESTAMP_AFTER_MAX_MS, TimestampType,
};
pub use stamp::{Stamp, StampedBatch, stamp};
pub use walk::{Walked, walk, walk_counted};
