//! One partition's decisions: which offset a batch gets, and whether it is a duplicate.
//!
//! Deliberately not here: the batches themselves, and what is durable of them; the engine knows both.

mod append;
mod producer_state;

pub use append::{AppendVerdict, DEFAULT_PRODUCER_EXPIRATION_MS, PartitionState, Refusal};
pub use producer_state::{BatchSpan, ProducerEntry, ProducerTable, REMEMBERED_BATCHES, SequenceVerdict};
