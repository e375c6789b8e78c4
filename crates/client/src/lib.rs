//! A client that speaks nothing but Kafka's protocol, so that it works against any broker that does.
//!
//! So far one thing: a blocking connection, for our own tools and tests. Deliberately not here: threads, clocks, retries;
//! who uses a connection decides what a broken one means.

mod connection;

pub use connection::{Answer, Connection, ConnectionError, Correlation};
