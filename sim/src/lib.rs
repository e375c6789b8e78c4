//! Seeded simulation: the real storage engine over a disk in memory that loses, tears and reorders.
//!
//! A run is a pure function of its seed. Deliberately not here: sockets, clocks, threads.

pub mod disk;
pub mod rng;
