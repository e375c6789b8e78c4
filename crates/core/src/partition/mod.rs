//! One partition's decisions: which offset a batch gets, whether it is a duplicate, and how long it is kept.
//!
//! Deliberately not here: the batches themselves, and what is durable of them; the engine knows both.

mod append;
mod producer_state;
mod retention;

pub use append::{AppendVerdict, DEFAULT_PRODUCER_EXPIRATION_MS, PartitionState, Refusal};
pub use producer_state::{BatchSpan, ProducerEntry, ProducerTable, REMEMBERED_BATCHES, SequenceVerdict};
pub use retention::{Cut, Retention, Rule, Standing};
