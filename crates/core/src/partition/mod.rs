//! One partition's decisions: which offset a batch gets, and whether it is a duplicate.
//!
//! Deliberately not here: the batches themselves, and what is durable of them; the engine knows both.

mod producer_state;

pub use producer_state::{BatchSpan, ProducerEntry, ProducerTable, SequenceVerdict};
