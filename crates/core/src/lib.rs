//! Decisions, and nothing else: no clock, no random source, no IO, no async.
//!
//! Everything here is a value that is handed a request and the current time and hands back what to write and what to answer.
//! Deliberately not here: waiting (`broker`), keeping bytes (`storage`), formats (`wire`).

pub mod coordinator;
pub mod effects;
mod group;
pub mod partition;
pub mod planted;
pub mod time;
