//! What an application may do when partitions come and go.
//!
//! Deliberately not here: when that is; see `group.rs`.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use super::committer::enqueue;
use super::error::{CommitError, NotAssigned};
use super::record::Record;
use super::state::{Position, Shared};
use crate::cluster::Cluster;
use crate::offsets::OffsetAndMetadata;
use crate::partition::TopicPartition;

/// Partitions, in order.
pub type PartitionSet = BTreeSet<TopicPartition>;

/// Hears of partitions that come and go.
///
/// The methods run on the consumer's own task. `on_assigned` and `on_revoked` run only while the application waits in
/// [`poll`](super::Consumer::poll) or [`recv`](super::Consumer::recv), and no records are handed out until they are done; so
/// what was handed out before is either processed or dropped by then. Only if the application drops the future of such a call
/// while they run do they go on without it. `on_lost` runs whenever it is found out: the
/// partitions may have another owner already, and nothing can be committed for them any more.
pub trait RebalanceListener: Send + 'static {
    /// These were assigned, beside those that the consumer has already. A [`Rebalance::seek`] here decides where reading
    /// begins; without one it is where the group left off.
    fn on_assigned(&mut self, rebalance: &Rebalance, partitions: &PartitionSet) -> impl Future<Output = ()> + Send {
        let _ = (rebalance, partitions);
        std::future::ready(())
    }

    /// These will be given up when this returns; commits are still accepted. With auto-commit what was processed is
    /// committed already.
    fn on_revoked(&mut self, rebalance: &Rebalance, partitions: &PartitionSet) -> impl Future<Output = ()> + Send {
        let _ = (rebalance, partitions);
        std::future::ready(())
    }

    /// These are gone: the group went on without this consumer.
    fn on_lost(&mut self, partitions: &PartitionSet) -> impl Future<Output = ()> + Send {
        let _ = partitions;
        std::future::ready(())
    }
}

/// Does nothing.
impl RebalanceListener for () {}

/// What a listener can do with the consumer.
#[derive(Debug)]
pub struct Rebalance {
    pub(super) shared: Arc<Shared>,
    pub(super) cluster: Arc<Cluster>,
}

impl Rebalance {
    /// Reads on at this offset, as [`Consumer::seek`](super::Consumer::seek).
    ///
    /// # Errors
    /// [`NotAssigned`].
    pub fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<(), NotAssigned> {
        self.shared.seek(partition, Position::At(offset))
    }

    /// Commits what was processed, as [`Consumer::commit_sync`](super::Consumer::commit_sync).
    ///
    /// # Errors
    /// As there.
    pub async fn commit_sync(&self) -> Result<(), CommitError> {
        let offsets = self.shared.lock().uncommitted();
        enqueue(&self.shared, offsets, self.cluster.deadline()).await
    }

    /// Commits these offsets, as [`Consumer::commit_sync_offsets`](super::Consumer::commit_sync_offsets).
    ///
    /// # Errors
    /// As there.
    pub async fn commit_sync_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<(), CommitError> {
        let offsets = self.shared.lock().commits(offsets)?;
        enqueue(&self.shared, offsets, self.cluster.deadline()).await
    }

    /// Says that a record is processed, as [`Consumer::store_offset`](super::Consumer::store_offset).
    ///
    /// # Errors
    /// As there.
    pub fn store_offset(&self, record: &Record) -> Result<(), NotAssigned> {
        self.shared.lock().store_offset(record)
    }

    /// The next offset that the application will get, as [`Consumer::position`](super::Consumer::position).
    ///
    /// # Errors
    /// As there.
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<i64>, NotAssigned> {
        Ok(self.shared.lock().get(partition)?.next)
    }

    /// Hands out nothing of these partitions until they are resumed, as [`Consumer::pause`](super::Consumer::pause).
    ///
    /// # Errors
    /// As there.
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<(), NotAssigned> {
        partitions.into_iter().try_for_each(|partition| self.shared.set_paused(partition, true))
    }
}

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A listener of any type.
pub(super) trait AnyListener: Send {
    fn on_assigned<'a>(&'a mut self, rebalance: &'a Rebalance, partitions: &'a PartitionSet) -> Done<'a>;
    fn on_revoked<'a>(&'a mut self, rebalance: &'a Rebalance, partitions: &'a PartitionSet) -> Done<'a>;
    fn on_lost<'a>(&'a mut self, partitions: &'a PartitionSet) -> Done<'a>;
}

impl<L: RebalanceListener> AnyListener for L {
    fn on_assigned<'a>(&'a mut self, rebalance: &'a Rebalance, partitions: &'a PartitionSet) -> Done<'a> {
        Box::pin(RebalanceListener::on_assigned(self, rebalance, partitions))
    }

    fn on_revoked<'a>(&'a mut self, rebalance: &'a Rebalance, partitions: &'a PartitionSet) -> Done<'a> {
        Box::pin(RebalanceListener::on_revoked(self, rebalance, partitions))
    }

    fn on_lost<'a>(&'a mut self, partitions: &'a PartitionSet) -> Done<'a> {
        Box::pin(RebalanceListener::on_lost(self, partitions))
    }
}
