//! Going through the groups of a shard for what has expired, piece by piece, and by a time that can be trusted (O-50, E-28).
//!
//! The wall clock may jump, and then a month is over at once. So expiry believes it only as far as the monotonic clock has
//! come since the shard was loaded. And since nobody knows what it did before, or for how long the broker was away, nothing
//! expires in the first hour: who is still there has come back by then.
//! Deliberately not here: what has expired (`group/offsets/expire.rs`), how often anybody looks (the broker).

use std::sync::Arc;

use pagemark_wire::types::{Offset, PartitionIndex, TopicId};

use super::GroupSettings;
use crate::effects::{CoordinatorRecord, Effects};
use crate::time::{Now, WallMs};

/// After a load nothing expires for so long, or for the retention if that is less, milliseconds.
const GRACE_MS: u64 = 3_600_000;
/// So many offsets are looked at in one step, a group counting as one more.
const STEP_OFFSETS: usize = 10_000;

/// What may make an offset stay although it is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetRetention {
    /// That it marks data: it lies at or beyond the log start (O-50a).
    WhileData,
    /// Nothing: Kafka's rule.
    Time,
}

/// Where logs begin: by a topic's name, its id or zero where that was not stored, and the partition. `None` if nobody knows.
pub type LogStarts<'a> = dyn Fn(&str, TopicId, PartitionIndex) -> Option<Offset> + 'a;

/// One step of a sweep.
#[derive(Debug, Default)]
pub struct Expired {
    /// What is to be appended: one batch, unless it is one group's and larger than a batch may be.
    pub effects: Effects,
    /// Number of offsets that go.
    pub offsets: usize,
    /// Number of groups that go.
    pub groups: usize,
    /// Whether the sweep is through all groups; if not, ask again soon.
    pub done: bool,
}

/// The sweep at hand.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// When the shard was loaded.
    loaded: Option<Now>,
    /// The group looked at last; none at the start of a sweep.
    pub(crate) after: Option<Arc<str>>,
}

impl Sweep {
    pub(crate) fn loaded(&mut self, now: Now) {
        self.loaded = Some(now);
    }

    /// The wall clock's time as far as it can be trusted; none while nothing may expire. A clock that jumps ahead is not followed
    /// before the next start: what is kept too long does no harm.
    pub(crate) fn time(&self, now: Now, settings: &GroupSettings) -> Option<WallMs> {
        let loaded = self.loaded?;
        let passed_ms = now.mono.0.saturating_sub(loaded.mono.0);
        let grace_ms = GRACE_MS.min(u64::try_from(settings.offsets_retention_ms).unwrap_or(0));
        let latest_ms = loaded.wall.0.saturating_add(i64::try_from(passed_ms).unwrap_or(i64::MAX));
        (passed_ms >= grace_ms).then(|| WallMs(now.wall.0.min(latest_ms)))
    }
}

/// What one step has come to: at least one group, and of more only as many as are quickly looked at and fit in one batch.
#[derive(Debug, Default)]
pub(crate) struct Step {
    seen: usize,
    bytes: usize,
}

impl Step {
    pub(crate) fn has_room(&self, records: &[CoordinatorRecord], most_bytes: usize) -> bool {
        self.seen < STEP_OFFSETS && (self.bytes == 0 || self.bytes + size(records) <= most_bytes)
    }

    pub(crate) fn take(&mut self, offsets: usize, records: &[CoordinatorRecord]) {
        self.seen += 1 + offsets;
        self.bytes += size(records);
    }
}

fn size(records: &[CoordinatorRecord]) -> usize {
    records.iter().map(CoordinatorRecord::size).sum()
}
