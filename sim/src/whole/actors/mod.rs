//! Those who use the broker in a run. Each is a loop of its own with randomness of its own.
//!
//! Deliberately not here: what goes wrong around them (`storm`).

pub mod admin;
pub mod judge;
pub mod member;
pub mod producer;
pub mod reader;
pub mod zombie;

use std::time::Duration;

use crate::rng::Rng;

/// The topic that the group consumes; nothing of it is ever deleted.
pub const ORDERS: &str = "orders";
/// A topic whose oldest records are deleted.
pub const AUDIT: &str = "audit";
/// A topic that is deleted and created again and again.
pub const SCRATCH: &str = "scratch";
/// The group that consumes.
pub const BILLING: &str = "billing";
/// A group without members, whose offsets people change.
pub const OPERATORS: &str = "operators";

/// Lets up to so many milliseconds pass.
pub async fn pause(rng: &mut Rng, most_ms: u64) {
    tokio::time::sleep(Duration::from_millis(1 + rng.below(most_ms))).await;
}
