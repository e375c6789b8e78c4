//! Seeded simulation: the real storage engine over a disk in memory that loses, tears and reorders.
//!
//! A run is a pure function of its seed; `docs/design/0003-crash-testing.md` tells the whole idea. Deliberately not here:
//! sockets, clocks, threads.

pub mod batch;
pub mod bugs;
pub mod campaign;
pub mod check;
pub mod disk;
pub mod explore;
pub mod history;
pub mod observe;
pub mod oracle;
pub mod rig;
pub mod rng;
pub mod whole;
pub mod workload;
