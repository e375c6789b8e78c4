//! The only place that waits: sockets, routing, driving the deciders; it decides nothing itself.
//!
//! Deliberately not here: what an answer is (`core`), where bytes are kept (`storage`), arguments and printing (`pagemark`).

pub mod settings;
