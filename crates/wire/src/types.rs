//! Kafka's numbers as types of their own, so that an offset is never taken for an epoch.
//!
//! All of them are plain wrappers with public fields: the wire gives any value, and validity is judged where it matters.
//! Deliberately not here: anything with behaviour beyond arithmetic on itself.

use std::fmt;

use uuid::Uuid;

/// Position of a record in its partition, from 0. Also used for "the next offset": a log end or a committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    /// What Kafka answers where there is no offset.
    pub const NONE: Offset = Offset(-1);

    /// The offset `count` records further on.
    #[must_use]
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0.saturating_add(count))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a partition within its topic, from 0. Negative values come from the wire and name nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionIndex(pub i32);

impl fmt::Display for PartitionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of one incarnation of a topic; a re-created topic has another one (P-26b).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// All zero: "no id" on the wire.
    pub const ZERO: TopicId = TopicId(Uuid::nil());
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one incarnation of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionKey {
    /// Which topic, by id, so that a re-created topic never meets its predecessor's data.
    pub topic: TopicId,
    /// Which partition of it.
    pub partition: PartitionIndex,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// How often the leadership of a partition has begun anew; never decreases for a topic id (R-53, P-26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// "Unknown" or "do not check" on the wire.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

/// Identity of an idempotent producer, unique for the cluster's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProducerId(pub i64);

impl ProducerId {
    /// The producer is not idempotent.
    pub const NONE: ProducerId = ProducerId(-1);
}

/// Incarnation of a producer id; a lower one is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProducerEpoch(pub i16);

/// Generation of a classic consumer group: one assignment each, strictly increasing (G-17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub i32);

impl Generation {
    /// A caller that is not a member.
    pub const NONE: Generation = Generation(-1);
}
