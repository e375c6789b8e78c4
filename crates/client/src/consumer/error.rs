//! What a consumer's calls fail with, named by what the caller should do.
//!
//! Deliberately not here: what passes by itself; a consumer repeats that without a word.

use crate::code::Code;
use crate::error::Error;
use crate::partition::TopicPartition;

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// Seek, or set `auto.offset.reset`: nothing is committed for the partition, and the setting says `none`.
    #[error("{partition} has no committed offset, and auto.offset.reset is none")]
    NoOffset {
        /// Which partition.
        partition: TopicPartition,
    },
    /// Seek, or set `auto.offset.reset`: there is no such offset in the log, and the setting says `none`.
    #[error("offset {offset} of {partition} is outside the log, and auto.offset.reset is none")]
    OutOfRange {
        /// Which partition.
        partition: TopicPartition,
        /// Where it was to be read.
        offset: i64,
    },
    /// Seek past it, and find out what happened: the bytes at this offset are damaged.
    #[error("{partition} is damaged at offset {offset}: {why}")]
    Damaged {
        /// Which partition.
        partition: TopicPartition,
        /// Where.
        offset: i64,
        /// What is wrong.
        why: String,
    },
    /// Stop: another consumer runs under this `group.instance.id`.
    #[error("another consumer has this group.instance.id")]
    Fenced,
    /// Correct the settings or the permissions, and build another consumer.
    #[error(transparent)]
    Fatal(Error),
}

/// Why an offset is not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Let go of it: the partition is not this consumer's any more. Whoever has it will process the records again.
    #[error("{0} is not assigned to this consumer any more")]
    Lost(TopicPartition),
    /// Commit again: there was no answer in time. It may have been committed.
    #[error("no answer in time: {0}")]
    Unavailable(String),
    /// Change something: the broker refused.
    #[error("refused with {0}")]
    Refused(Code),
    /// Give the consumer a `group.id`.
    #[error("a consumer without group.id has nothing to commit to")]
    NoGroup,
    /// The consumer was closed or dropped. It may have been committed.
    #[error("the consumer is closed")]
    Closed,
}

/// The partition is not assigned to this consumer, or no longer as it was when the record was read: let go of the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not assigned to this consumer")]
pub struct NotAssigned(pub TopicPartition);
