//! Connections: one to a broker, many requests under way on it, and when to try again after one broke.
//!
//! Deliberately not here: which broker to ask; that is `cluster`.

mod backoff;
mod connection;

pub(crate) use backoff::Backoff;
pub(crate) use connection::{CallError, Connection, Dial};
