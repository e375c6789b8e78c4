//! Looks through all partitions before a checkpoint, a slice at a time: which data in packs should move, within a budget.
//!
//! Packs that are mostly dead, and tiny ones when there are many, are emptied into the new pack. Partitions with enough data outside
//! of segments get it moved into theirs, those with most of it in packs first; what is not chosen waits. Deliberately not here:
//! the moving (`mover.rs`). What is found is advice: a partition may have changed when its turn comes.

use std::collections::BTreeSet;

use pagemark_wire::types::{Offset, PartitionKey};

use super::checkpoint;
use super::lane::Lane;

/// Partitions, and blocks of them, looked at before the lock is given back.
const SLICE: usize = 1024;
/// So many tiny packs are left alone.
const TINY_PACKS: usize = 8;

/// A survey under way.
#[derive(Debug, Default)]
pub(super) struct Survey {
    begun: bool,
    next: Option<PartitionKey>,
    budget: u64,
    large: Vec<(u64, PartitionKey)>,
    pub plan: MovePlan,
    /// What there is to move.
    pub load: Load,
}

/// How much a checkpoint has to move, as counted before it begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// Out of the log.
    logged_bytes: u64,
    /// Out of packs, as planned.
    packed_bytes: u64,
    partitions: u64,
    /// What the partitions take in a whole checkpoint, and in one that holds changes.
    whole_bytes: u64,
    change_bytes: u64,
}

impl Load {
    /// The place that it needs, with the indexes and what every file begins and ends with.
    fn place(self) -> u64 {
        const OF_A_PARTITION: u64 = 256;
        let bytes = self.logged_bytes + self.packed_bytes;
        if bytes == 0 { 0 } else { bytes + bytes / 8 + self.partitions * OF_A_PARTITION }
    }
}

/// What is to be moved besides what lies only in the log.
#[derive(Debug, Default)]
pub(super) struct MovePlan {
    /// Packs that are to be emptied.
    pub emptied: BTreeSet<u64>,
    /// The partitions with data in them.
    pub of_emptied: BTreeSet<PartitionKey>,
    /// Partitions whose data in packs goes into segments.
    pub into_segments: BTreeSet<PartitionKey>,
}

impl Survey {
    /// The same if nothing is moved that need not be.
    pub(super) fn only_what_must(self) -> Survey {
        Survey { load: Load { packed_bytes: 0, ..self.load }, ..Survey::default() }
    }

    /// The place that a checkpoint of this needs, which is written twice.
    pub(super) fn place(&self, lane: &Lane, whole: bool) -> u64 {
        let partitions = if whole { self.load.whole_bytes } else { self.load.change_bytes };
        let rest = lane.fold.meta.stored_bytes(!whole) + lane.fold.changes.deleted.len() as u64 * 16;
        let head = checkpoint::head_bytes(lane.stored.live_packs().count() as u64 + 1);
        self.load.place() + 2 * (head + rest + partitions)
    }

    /// Looks at some more partitions. `true` when it is finished.
    pub(super) fn step(&mut self, lane: &mut Lane) -> bool {
        if !self.begun {
            self.begun = true;
            self.budget = lane.options.moved_bytes.min(lane.space.spare_for_moves());
            self.choose_packs(lane);
        }
        let least = lane.options.segment_min_bytes;
        let mut seen = 0;
        for (key, partition) in lane.fold.partitions_from(self.next) {
            if seen >= SLICE {
                self.next = Some(key);
                return false;
            }
            seen += 1;
            let index = &partition.index;
            let (packed, logged) = index.outside_segments(Offset(i64::MAX));
            self.load.logged_bytes += logged;
            self.load.partitions += u64::from(packed + logged > 0);
            self.load.whole_bytes += checkpoint::bytes_of(partition, false);
            if partition.changed {
                self.load.change_bytes += checkpoint::bytes_of(partition, true);
            }
            if index.packed.is_empty() {
                continue;
            }
            if packed + logged >= least {
                self.large.push((packed, key));
                continue;
            }
            if self.plan.emptied.is_empty() {
                continue;
            }
            seen += index.packed.len();
            if index.packed.iter().any(|p| self.plan.emptied.contains(&p.pack)) {
                self.plan.of_emptied.insert(key);
            }
        }
        self.choose_partitions(lane);
        true
    }

    fn choose_packs(&mut self, lane: &Lane) {
        let tiny_bytes = lane.options.segment_min_bytes;
        // Those that are put together make no room.
        let scarce = lane.space.is_scarce();
        let tiny = lane.stored.live_packs().filter(|(_, len, _)| *len < tiny_bytes).count();
        for (id, len, live) in lane.stored.live_packs() {
            let wanted = live.saturating_mul(4) < len || (tiny > TINY_PACKS && len < tiny_bytes && !scarce);
            if wanted && live <= self.budget {
                self.budget -= live;
                self.load.packed_bytes += live;
                self.plan.emptied.insert(id);
            }
        }
    }

    fn choose_partitions(&mut self, lane: &mut Lane) {
        self.large.sort_unstable_by(|a, b| b.cmp(a));
        for (packed, key) in self.large.drain(..) {
            if packed <= self.budget && !lane.space.is_scarce() {
                self.budget -= packed;
                self.load.packed_bytes += packed;
                self.plan.into_segments.insert(key);
                // Its segments will have changed.
                let known = lane.fold.partition(key).ok().filter(|partition| !partition.changed);
                self.load.change_bytes += known.map_or(0, |partition| checkpoint::bytes_of(partition, true));
                let _ = lane.fold.partition_mut(key);
            } else {
                // Too much for now; what of it lies in packs to be emptied is moved there.
                self.plan.of_emptied.insert(key);
            }
        }
    }
}
