//! Bytes and values: everything that is known about Kafka's formats, and nothing else.
//!
//! This crate turns bytes into values and back. It holds no state, waits for nothing and decides nothing, so every function
//! here can be called with hostile input and answers with a value or an error.
//! Deliberately not here: what a request *means* (`core`), where bytes are kept (`storage`), sockets (`broker`).

pub mod api;
pub mod consumer_protocol;
pub mod crc;
pub mod error_code;
pub mod fetch_answer;
pub mod frame;
pub mod guard;
pub mod internal;
pub mod messages;
pub mod records;
pub mod types;

pub use api::Api;
pub use error_code::ErrorCode;
