//! The broker: the only place that waits. It routes requests, drives decisions and storage, and decides nothing itself.
//!
//! A request's way: `net` reads a frame, `dispatch` finds its API, `api` turns it into values, `executor` has `core` decide
//! and the engine write, and the answer goes back through the connection's outbox when it is true on stable storage.
//! Deliberately not here: decisions (`pagemark-core`), bytes on disk (`pagemark-storage`), formats (`pagemark-wire`).

pub mod api;
pub mod aside;
pub mod broker;
pub mod dispatch;
pub mod executor;
pub mod host;
pub mod http;
pub mod metadata;
pub mod metrics;
pub mod net;
pub mod partitions;
pub mod progress;
pub mod retention;
pub mod server;
pub mod settings;
pub mod watched;
