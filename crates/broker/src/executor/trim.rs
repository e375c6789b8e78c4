//! Letting logs begin later: because somebody asks (DeleteRecords), or because their data is old or large enough (retention).
//!
//! Either way it is one write of the owner, and whoever fetches below the new start is told when that write is durable.
//! Deliberately not here: which data may go (`core`), who asks and when (`api/delete_records`, `retention`).

use std::sync::Arc;

use pagemark_core::partition::{Cut, Retention, Rule, Standing};
use pagemark_storage::engine::{EngineError, Keep, LogStore, Lsn};
use pagemark_wire::types::{Offset, PartitionKey};
use tokio::sync::oneshot;

use super::turn::{Executor, Pending};
use crate::partitions::Partition;

/// One log that is to begin at an offset, at least.
pub struct TrimWork {
    /// Which one.
    pub partition: Arc<Partition>,
    /// Where.
    pub start: Offset,
    /// Told when that is durable, or why it is not.
    pub done: oneshot::Sender<Result<(), EngineError>>,
}

/// Logs of one executor whose data may have to go. What their topics say is looked up when their turn comes: a retention that
/// somebody was told to be longer now must not be undone by a pass that began before.
pub struct RetainWork {
    /// Which ones.
    pub logs: Vec<Arc<Partition>>,
    /// Gets what was decided; nothing of it is durable yet.
    pub done: oneshot::Sender<Vec<(PartitionKey, Cut)>>,
}

/// A log start on its way to the disk.
pub(super) struct Trimmed {
    partition: Arc<Partition>,
    start: Offset,
    done: Option<oneshot::Sender<Result<(), EngineError>>>,
}

impl Executor {
    /// Lets a log begin later; the answer comes when that is durable.
    pub(super) fn trim(&mut self, work: TrimWork) {
        let TrimWork { partition, start, done } = work;
        match self.advance_start(&partition, start) {
            Ok(lsn) => {
                self.pending.push_back(Pending::trimmed(lsn, Trimmed { partition, start, done: Some(done) }));
            }
            Err(error) => drop(done.send(Err(error))),
        }
    }

    /// Cuts the logs that hold more than their topics want.
    pub(super) fn retain(&mut self, work: RetainWork) {
        let mut cuts = Vec::new();
        let view = self.registry.view();
        for partition in work.logs {
            let Some(topic) = view.by_id(partition.key.topic) else { continue };
            let retention = topic.config.retention();
            match self.retain_one(&partition, retention) {
                Ok(Some((lsn, cut))) => {
                    cuts.push((partition.key, cut));
                    let trimmed = Trimmed { partition, start: cut.start, done: None };
                    self.pending.push_back(Pending::trimmed(lsn, trimmed));
                }
                // One that is quarantined keeps what it has, and one whose topic was just deleted has nothing.
                Ok(None) | Err(EngineError::Quarantined { .. } | EngineError::UnknownPartition(_)) => {}
                Err(error) => tracing::warn!(partition = %partition.key, %error, "old data could not be let go"),
            }
        }
        drop(work.done.send(cuts));
    }

    fn retain_one(&mut self, partition: &Partition, retention: Retention) -> Result<Option<(Lsn, Cut)>, EngineError> {
        let Some(cut) =
            plan(self.engine.as_ref(), partition.key, |log, point| retention.plan(self.now.wall, log, point))?
        else {
            return Ok(None);
        };
        Ok(Some((self.advance_start(partition, cut.start)?, cut)))
    }

    fn advance_start(&mut self, partition: &Partition, start: Offset) -> Result<Lsn, EngineError> {
        let epoch = self.epoch_of(partition.shard).filter(|_| self.partitions.contains_key(&partition.key));
        let Some(epoch) = epoch else { return Err(EngineError::UnknownPartition(partition.key)) };
        let lsn = self.engine.advance_start(partition.shard, epoch, partition.key, start)?.0;
        self.last_lsn = self.last_lsn.max(lsn);
        Ok(lsn)
    }

    /// A log start is durable.
    pub(super) fn trimmed(&mut self, trimmed: Trimmed) {
        if let Some(owned) = self.partitions.get_mut(&trimmed.partition.key) {
            owned.log_start = owned.log_start.max(trimmed.start);
        }
        trimmed.partition.wake();
        trimmed.tell(Ok(()));
    }
}

/// Asks the engine what a plan needs to know of a log.
fn plan(
    engine: &dyn LogStore,
    key: PartitionKey,
    plan: impl FnOnce(Standing, &mut dyn FnMut(Rule) -> Option<Offset>) -> Option<Cut>,
) -> Result<Option<Cut>, EngineError> {
    let extent = engine.extent(key)?;
    let mut failed = None;
    let mut point = |rule| {
        let keep = match rule {
            Rule::Bytes(least) => Keep::Bytes(least),
            Rule::Since(time_ms) => Keep::Since(time_ms),
        };
        engine.trim_point(key, keep).unwrap_or_else(|error| {
            failed = Some(error);
            None
        })
    };
    let log = Standing { log_start: extent.log_start, high_watermark: extent.durable_end };
    let cut = plan(log, &mut point);
    failed.map_or(Ok(cut), Err)
}

impl Trimmed {
    /// Tells whoever waits, if anybody does.
    pub fn tell(self, result: Result<(), EngineError>) {
        if let Some(done) = self.done {
            drop(done.send(result));
        }
    }
}
