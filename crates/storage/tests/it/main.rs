//! The engines through their seam: the contract over each of them, and what only the local engine does.

mod contract;
mod crashes;
mod damage;
mod memory_disk;
