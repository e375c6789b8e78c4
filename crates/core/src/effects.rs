//! What a decision wants done: records to append, replies to send, and what each reply has to wait for.
//!
//! A coordinator never acts. It hands back [`Effects`]; whoever drives it appends the records, replays them, and lets each
//! reply go once what it shows is durable. That order is what makes an answer a promise.
//! Deliberately not here: batches, tickets, connections; the driver has those.

use bytes::Bytes;
use pagemark_wire::types::Offset;

use crate::coordinator::Answer;

/// Whom to answer: a token that the driver made, of no meaning here. Every token handed in comes back in exactly one [`Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// A record for the shard's own partition of `__consumer_offsets`, in Kafka's format (O-70..O-72).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorRecord {
    /// The key; never empty.
    pub key: Bytes,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl CoordinatorRecord {
    /// Bytes of key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What must be durable before a reply may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing: it may leave at once.
    Nothing,
    /// All records of the same [`Effects`].
    OwnRecords,
    /// Everything in the shard's own partition below this offset (an exclusive end).
    Position(Offset),
}

/// One answer and what it waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Whom to answer.
    pub to: ReplyTo,
    /// What must be durable first.
    pub after: After,
    /// What to say. If the wait fails, say [`Answer::refused`] of it instead.
    pub answer: Answer,
}

/// What is to be done, in order.
///
/// The records of one request are one atomic batch (O-18). Those of deadlines, topic deletions and the deletion of a group that
/// is larger than a batch each stand for themselves and may be split over several; [`After::OwnRecords`] then means the last of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// To append, then to replay in this order with the offsets given, before anything else is asked of the shard.
    pub records: Vec<CoordinatorRecord>,
    /// To send.
    pub replies: Vec<Reply>,
}

impl Effects {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.replies.is_empty()
    }
}
