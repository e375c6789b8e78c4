//! A partition as the whole broker sees it: who owns it, under which leader epoch, and who waits for its next record.
//!
//! Deliberately not here: its log end and its producers, which only its owner knows (`executor`), and its bytes (the engine).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use pagemark_storage::engine::{EpochStart, Extent, OpenedPartition, ShardId};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey};
use tokio::sync::Notify;

/// One fetch that waits for data in any of its partitions.
#[derive(Debug)]
pub struct FetchWaiter {
    /// No other has this one; those that came first have the lower ones and are woken first.
    number: u64,
    notify: Notify,
}

impl Default for FetchWaiter {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        FetchWaiter { number: NEXT.fetch_add(1, Ordering::Relaxed), notify: Notify::new() }
    }
}

impl FetchWaiter {
    /// Waits until one of the partitions has moved since the last call.
    pub async fn moved(&self) {
        self.notify.notified().await;
    }
}

/// One partition of a topic of this broker.
#[derive(Debug)]
pub struct Partition {
    /// Which one.
    pub key: PartitionKey,
    /// The shard that it is written under.
    pub shard: ShardId,
    /// Index of the executor that owns the shard.
    pub executor: usize,
    opened: OnceLock<Vec<EpochStart>>,
    quarantined: OnceLock<Arc<str>>,
    deleted: AtomicBool,
    waiters: Mutex<BTreeMap<u64, Arc<FetchWaiter>>>,
}

impl Partition {
    /// A partition that its executor has not opened yet.
    #[must_use]
    pub fn new(key: PartitionKey, shard: ShardId, executor: usize) -> Partition {
        Partition {
            key,
            shard,
            executor,
            opened: OnceLock::new(),
            quarantined: OnceLock::new(),
            deleted: AtomicBool::new(false),
            waiters: Mutex::default(),
        }
    }

    /// Takes note of what the engine said when the partition was opened. Epochs change only at a start; rotten bytes may be
    /// met at any time.
    pub fn set_opened(&self, opened: &OpenedPartition) {
        let _ = self.opened.set(opened.epochs.clone());
        if let Some(why) = &opened.quarantined {
            self.quarantine(why);
        }
    }

    /// Its bytes have rotted: it may not be used any more.
    pub fn quarantine(&self, why: &Arc<str>) {
        let _ = self.quarantined.set(Arc::clone(why));
    }

    /// The present leader epoch (P-26).
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epochs().last().map_or(LeaderEpoch(0), |e| e.epoch)
    }

    /// Leader epochs with the offset each began at, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &[EpochStart] {
        self.opened.get().map_or(&[], Vec::as_slice)
    }

    /// Where the log of `epoch` ends: the largest epoch not above it, and the offset the next one begins at.
    /// An epoch that ended before the log start is not known any more: like one older than all known it ends where the first
    /// one known begins. `None` for an epoch that is newer than ours or negative.
    #[must_use]
    pub fn end_of_epoch(&self, epoch: LeaderEpoch, log: &Extent) -> Option<(LeaderEpoch, Offset)> {
        let epochs = self.epochs();
        let known = epochs.partition_point(|e| e.start <= log.log_start).saturating_sub(1);
        let epochs = &epochs[known..];
        if epoch < LeaderEpoch(0) || epoch > self.leader_epoch() {
            return None;
        }
        let later = epochs.partition_point(|e| e.epoch <= epoch);
        let end = epochs.get(later).map_or(log.durable_end, |next| next.start.max(log.log_start));
        match later.checked_sub(1) {
            Some(found) => Some((epochs[found].epoch, end)),
            None => Some((epoch, end)),
        }
    }

    /// Why the partition may not be used, if its bytes have rotted.
    #[must_use]
    pub fn quarantined(&self) -> Option<&Arc<str>> {
        self.quarantined.get()
    }

    /// Whether its topic was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Its topic is gone: fetches that wait here must look again.
    pub fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.wake();
    }

    /// From now on `waiter` is told of every move, until [`Partition::forget`].
    pub fn enlist(&self, waiter: &Arc<FetchWaiter>) {
        self.waiters
            .lock()
            .expect("nothing panics while holding the waiters")
            .insert(waiter.number, Arc::clone(waiter));
    }

    /// Ends [`Partition::enlist`].
    pub fn forget(&self, waiter: &Arc<FetchWaiter>) {
        self.waiters.lock().expect("nothing panics while holding the waiters").remove(&waiter.number);
    }

    /// Number of fetches that wait here at the moment.
    #[must_use]
    pub fn waiting_fetches(&self) -> usize {
        self.waiters.lock().expect("nothing panics while holding the waiters").len()
    }

    /// Tells the waiting fetches that more may be readable.
    pub fn wake(&self) {
        for waiter in self.waiters.lock().expect("nothing panics while holding the waiters").values() {
            waiter.notify.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_epochs(epochs: &[(i32, i64)]) -> Partition {
        let partition = Partition::new(PartitionKey::default(), ShardId(0), 0);
        partition.set_opened(&OpenedPartition {
            partition: PartitionKey::default(),
            log_start: Offset(0),
            log_end: Offset(100),
            epochs: epochs.iter().map(|(e, s)| EpochStart { epoch: LeaderEpoch(*e), start: Offset(*s) }).collect(),
            producers: pagemark_core::partition::ProducerTable::default(),
            quarantined: None,
        });
        partition
    }

    #[test]
    fn the_end_of_an_epoch_is_where_the_next_one_began_r_54() {
        let partition = with_epochs(&[(2, 0), (5, 40), (6, 70)]);
        let (log_start, durable_end, log_end) = (Offset(0), Offset(100), Offset(110));
        let whole = Extent { log_start, durable_end, log_end, bytes: 0 };
        let end = |epoch| partition.end_of_epoch(LeaderEpoch(epoch), &whole);
        assert_eq!(end(6), Some((LeaderEpoch(6), Offset(100))));
        assert_eq!(end(5), Some((LeaderEpoch(5), Offset(70))));
        assert_eq!(end(4), Some((LeaderEpoch(2), Offset(40))));
        assert_eq!(end(2), Some((LeaderEpoch(2), Offset(40))));
        assert_eq!(end(1), Some((LeaderEpoch(1), Offset(0))), "older than all known");
        assert_eq!(end(7), None);
        assert_eq!(end(-1), None);
        let cut = Extent { log_start: Offset(45), ..whole };
        let end = |epoch| partition.end_of_epoch(LeaderEpoch(epoch), &cut);
        assert_eq!(end(6), Some((LeaderEpoch(6), Offset(100))));
        assert_eq!(end(5), Some((LeaderEpoch(5), Offset(70))));
        assert_eq!(end(2), Some((LeaderEpoch(2), Offset(45))), "it ended before the log start");
    }
}
