//! The classic protocol (G-10..G-32): clients choose a leader's assignor, the leader assigns, the group passes it on.
//!
//! One file per transition. The way round: `join` admits members, `rebalance` waits for them and ends in a new generation,
//! `sync` waits for the leader's assignment, `heartbeat` keeps members, `leave` and `expire` lose them; each loss or change
//! leads back to `rebalance`. `static_member` is the way round the way round (KIP-345).
//! Deliberately not here: committed offsets, which outlive all of this.

mod describe;
mod expire;
mod heartbeat;
mod join;
mod leave;
mod rebalance;
mod roster;
mod sessions;
mod static_member;
mod subscription;
mod sync;

pub(crate) use roster::{PendingIds, Roster};
pub use subscription::SubscribedTopics;
