//! The surroundings that commands read: the clock.
//!
//! In one place, so that everything else takes the time as an argument. Deliberately not here: the broker's own host.

use jiff::Timestamp;

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}
