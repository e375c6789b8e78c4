//! What the outside world gives a client besides sockets: the time of day and randomness.
//!
//! The only file of this crate that reads a clock or a random source. Deliberately not here: waiting, and time that only
//! passes; those are tokio's, and a test can hold them.

use std::time::SystemTime;

use uuid::Uuid;

/// Milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A random number, for spreading load; nothing secret may be made of it.
#[allow(clippy::disallowed_methods, reason = "this is where randomness comes from")]
pub(crate) fn random() -> u32 {
    Uuid::new_v4().as_u128() as u32
}
