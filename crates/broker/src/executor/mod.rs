//! Executors: as many as cores, each the only writer of its shards.
//!
//! A turn of an executor takes everything out of its mailbox, decides about all of it, hands the engine what is to be
//! written, and later, when the engine says that it is durable, hands out the answers. One flush of the disk so serves
//! everything that arrived during the one before. There is no task per partition and no message per record.
//! Deliberately not here: the decisions themselves (`core`), sockets (`net`), formats of requests (`api`).

mod allowance;
mod group_shard;
mod groups;
mod handle;
mod mailbox;
mod produce;
mod trim;
mod turn;

pub use allowance::Allowance;
pub use groups::{GroupAnswer, GroupWork};
pub use handle::{Executors, Outgoing};
pub use produce::{ProduceAnswer, ProduceResult, ProduceWork};
pub use trim::{RetainWork, TrimWork};
pub use turn::ExecutorParts;

use std::sync::Arc;

use pagemark_storage::engine::EngineError;
use pagemark_wire::types::TopicId;
use tokio::sync::oneshot;

use crate::partitions::Partition;

/// One piece of work for an executor.
pub enum Work {
    /// Append a batch to a partition.
    Produce(ProduceWork),
    /// Ask a group shard.
    Group(GroupWork),
    /// Let a log begin later.
    Trim(TrimWork),
    /// Let old data go.
    Retain(RetainWork),
    /// Become the owner of these partitions, all of this executor's shards.
    Own {
        /// What to open.
        partitions: Vec<Arc<Partition>>,
        /// Told how it went.
        done: oneshot::Sender<Result<(), EngineError>>,
    },
    /// Stop owning these partitions: their topic is deleted.
    Disown {
        /// What to drop.
        partitions: Vec<Arc<Partition>>,
        /// Told when nothing more is written to them.
        done: oneshot::Sender<()>,
    },
    /// Remove what groups committed for a deleted topic (O-60).
    RemoveOffsets {
        /// The topic.
        topic: TopicId,
        /// Its name, for offsets stored without an id.
        name: Arc<str>,
        /// Told when the removal is durable, or the executor gave up.
        done: oneshot::Sender<()>,
    },
    /// Fill in what the metrics show of this executor's groups.
    Census {
        /// Gets the answer.
        done: oneshot::Sender<Census>,
    },
    /// Finish what is in hand and stop.
    Stop {
        /// Told when it has stopped.
        done: oneshot::Sender<()>,
    },
}

/// Numbers for the metrics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Partitions owned.
    pub partitions: usize,
    /// Group shards that still read their log.
    pub loading_shards: usize,
    /// Groups known.
    pub groups: usize,
    /// Members of all groups.
    pub members: usize,
    /// Committed offsets held.
    pub offsets: usize,
}

impl std::ops::AddAssign for Census {
    fn add_assign(&mut self, other: Census) {
        self.partitions += other.partitions;
        self.loading_shards += other.loading_shards;
        self.groups += other.groups;
        self.members += other.members;
        self.offsets += other.offsets;
    }
}
