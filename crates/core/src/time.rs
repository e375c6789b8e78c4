//! The two clocks, as arguments: one for deadlines, one for people.
//!
//! Deliberately not here: reading either of them; `broker/src/host.rs` does, and a simulation has its own.

/// Milliseconds on a clock that never jumps, from an arbitrary start. For timers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoMs(pub u64);

impl MonoMs {
    /// The moment `delay_ms` later.
    #[must_use]
    pub fn plus(self, delay_ms: u64) -> MonoMs {
        MonoMs(self.0.saturating_add(delay_ms))
    }
}

/// Milliseconds since 1970 by the wall clock, which may jump. For timestamps that are stored or shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallMs(pub i64);

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines.
    pub mono: MonoMs,
    /// For timestamps.
    pub wall: WallMs,
}
