//! Batches in and out of stable storage.
//!
//! This crate keeps what it is given, in order, and says when it is durable. It reads batch headers (offsets, timestamps,
//! producers) and nothing deeper. Deliberately not here: groups, topics' names, what a batch may contain, sockets.

pub mod contract;
pub mod disk;
pub mod engine;
pub mod local;
pub mod memory;
pub mod planted;
mod read_buffers;
mod spare;
