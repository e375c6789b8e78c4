//! Sockets: accept, read frames, write answers in order.
//!
//! Deliberately not here: what a frame means (`dispatch`, `api`).

pub mod budget;
pub mod connection;
pub mod listener;
pub mod network;
pub mod outbox;
