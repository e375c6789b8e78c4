//! Waiting until a Fetch has enough to be answered (P-32).
//!
//! Deliberately not here: reading what there is then (`read`).

use std::sync::Arc;

use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::Offset;

use super::plan::{Plan, Standing, Wanted};
use crate::broker::Broker;
use crate::partitions::{FetchWaiter, Partition};

impl Plan {
    /// Waits until there is enough, or the time is up.
    pub(super) async fn wait(&self, broker: &Broker) {
        let parked = Parked::at(self.wanted.iter().filter_map(|w| w.partition.as_ref().ok().cloned()).collect());
        let mut counts: Vec<Count> = self.wanted.iter().map(|w| Count { bytes: 0, next: w.fetch_offset }).collect();
        let until = tokio::time::Instant::now() + self.max_wait;
        while !self.has_enough(broker, &mut counts) {
            tokio::select! {
                biased;
                () = parked.waiter.moved() => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Whether to answer now (P-32). Looks only at what has come since the last call.
    fn has_enough(&self, broker: &Broker, counts: &mut [Count]) -> bool {
        let mut bytes = 0;
        for (wanted, count) in self.wanted.iter().zip(counts) {
            if count.grow(broker, self, wanted, self.min_bytes - bytes).is_err() {
                return true; // whatever it is, reading will find it again
            }
            bytes += count.bytes;
            if bytes >= self.min_bytes {
                return true;
            }
        }
        false
    }
}

/// A fetch among those that its partitions wake, until it is dropped.
struct Parked {
    waiter: Arc<FetchWaiter>,
    partitions: Vec<Arc<Partition>>,
}

impl Parked {
    fn at(partitions: Vec<Arc<Partition>>) -> Parked {
        let waiter = Arc::new(FetchWaiter::default());
        partitions.iter().for_each(|p| p.enlist(&waiter));
        Parked { waiter, partitions }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.partitions.iter().for_each(|p| p.forget(&self.waiter));
    }
}

/// How much of a partition a parked fetch knows to be there.
struct Count {
    bytes: usize,
    /// Where the batches counted end.
    next: Offset,
}

/// There is something to be told at once.
struct Urgent;

impl Count {
    /// Counts further batches, until there are enough or the partition's limit is reached. They are not copied.
    fn grow(&mut self, broker: &Broker, plan: &Plan, wanted: &Wanted, enough: usize) -> Result<(), Urgent> {
        let standing = Standing::of(broker, plan, wanted).map_err(|_| Urgent)?;
        if standing.diverging.is_some() {
            return Err(Urgent);
        }
        let end = standing.extent.durable_end;
        let limit = enough.min(wanted.max_bytes.max(1));
        while self.next < end && self.bytes < limit {
            let read = broker.engine.read_cached(standing.partition.key, self.next, limit - self.bytes, end);
            // What is no longer in memory is much, or late already.
            let slice = read.map_err(|_| Urgent)?.ok_or(Urgent)?;
            plan.check_codecs(&slice.batches).map_err(|_| Urgent)?;
            let last = slice.batches.last().and_then(|batch| BatchHeader::parse(batch).ok()).ok_or(Urgent)?;
            self.next = last.next_offset();
            self.bytes += slice.bytes;
        }
        Ok(())
    }
}
