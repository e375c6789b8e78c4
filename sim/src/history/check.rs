//! Whether a history keeps the promises, each violation with the invariant's number and the events that show it.
//!
//! The checks are sound, not complete: what they report cannot have happened on a broker that keeps its word, whatever the
//! order of simultaneous things was. Deliberately not here: each invariant's own rule (`records`, `offsets`, `groups`).

use std::fmt;

use super::{Event, groups, offsets, records};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's number.
    pub invariant: u32,
    /// What happened, for people.
    pub text: String,
}

impl Violation {
    pub(super) fn new(invariant: u32, text: impl Into<String>) -> Violation {
        Violation { invariant, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.text)
    }
}

/// Every violation that a history shows.
#[must_use]
pub fn check(history: &[Event]) -> Vec<Violation> {
    let mut found = records::check(history);
    found.extend(offsets::check(history));
    found.extend(groups::check(history));
    found
}
