//! The engines through their seam: the contract over each of them, and what only the local engine does.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

mod contract;
mod crashes;
mod damage;
mod disk_full;
mod kept;
mod loss;
mod memory_disk;
mod segments;
mod support;
mod threads;
mod upkeep;
