//! Faults planted on purpose, so that the simulation of the whole server can be tested: it must catch each of them.
//!
//! Without the feature `planted-bugs` the answer is a constant `false` and the compiler removes them all. At run time one is
//! chosen by [`GroupSettings::planted`]. Deliberately not here: the faults, which stand where the code would be wrong; faults of
//! the storage engine, which has its own.

use crate::coordinator::GroupSettings;

/// One wrong turn each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// A member may commit in a generation that is over.
    GenerationNotChecked,
    /// A rebalance ends in the generation in which it began.
    GenerationNotRaised,
    /// A commit is answered before it is durable.
    CommitAnsweredEarly,
    /// Committed offsets are read before they are durable.
    OffsetReadEarly,
    /// Offsets stay when their topic is deleted, and count for the next topic of its name.
    OffsetsOutliveTheirTopic,
    /// All offsets of a commit get the metadata of the first.
    MetadataMixedUp,
    /// The deletion of an offset is acknowledged and not written.
    OffsetDeletionNotWritten,
    /// A member is removed after half of its session timeout.
    SessionHalved,
    /// A batch that was sent again is appended again.
    DuplicateAppended,
}

impl PlantedBug {
    /// All of them, in order.
    pub const ALL: [PlantedBug; 9] = [
        PlantedBug::GenerationNotChecked,
        PlantedBug::GenerationNotRaised,
        PlantedBug::CommitAnsweredEarly,
        PlantedBug::OffsetReadEarly,
        PlantedBug::OffsetsOutliveTheirTopic,
        PlantedBug::MetadataMixedUp,
        PlantedBug::OffsetDeletionNotWritten,
        PlantedBug::SessionHalved,
        PlantedBug::DuplicateAppended,
    ];
}

/// Whether this wrong turn is to be taken.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn planted(settings: &GroupSettings, bug: PlantedBug) -> bool {
    settings.planted == Some(bug)
}

/// Whether this wrong turn is to be taken: never, in this build.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
#[inline(always)]
pub fn planted(_: &GroupSettings, _: PlantedBug) -> bool {
    false
}
