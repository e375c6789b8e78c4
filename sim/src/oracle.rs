//! What was asked of the engine, what it acknowledged, and what anyone saw: the truth that a crash is held against.
//!
//! The engine has one order of writes, so what a crash may leave is a *prefix* of what was asked for: long enough for all
//! that was acknowledged or read, and nothing that was never asked. Every entry carries the number of the I/O before which
//! it happened, so that the truth at any crash point of a run is a filter over the run's one oracle.
//! Deliberately not here: how the engine is asked (`workload.rs`) and how its answers are compared (`check.rs`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pagemark_storage::engine::{Lsn, Write};
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, TopicId};

/// "Has not happened."
pub const NEVER: u64 = u64::MAX;

/// One thing asked for that becomes durable as a whole or not at all.
#[derive(Debug, Clone)]
pub enum Change {
    /// A topic with this many partitions.
    Create(TopicId, u32),
    /// A topic's end.
    Delete(TopicId),
    /// Batches of one atomic group, none twice for a partition.
    Group(Vec<(PartitionKey, Bytes)>),
    /// A partition's log begins at least there.
    Start(PartitionKey, Offset),
    /// Changes of the facts.
    Meta(Vec<Write>),
    /// Numbers taken of a counter: the first one, and how many.
    Ids(String, i64, u32),
}

/// A [`Change`] with what became of it. Times are numbers of I/Os; it happened before the I/O of that number.
#[derive(Debug, Clone)]
pub struct Unit {
    /// What was asked for.
    pub change: Change,
    /// The engine's receipt; `None` while the call has not returned.
    pub lsn: Option<Lsn>,
    /// When it was asked for.
    pub submitted: u64,
    /// When the engine called it durable.
    pub acked: u64,
    /// When someone read it.
    pub exposed: u64,
    /// When a restart turned out to have lost it. From then on it must never be seen.
    pub dead: u64,
}

/// What decides which leader epoch a restart may begin with.
#[derive(Debug, Clone, Copy)]
enum EpochEvent {
    /// An owner worked under it.
    Seen(PartitionKey, LeaderEpoch),
    /// The engine began to close and takes nothing beyond so many units: if nothing more of later lives is kept, the next one
    /// may go on under the same epochs.
    Closing(usize),
}

/// Everything asked for in one run.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    units: Vec<Unit>,
    epochs: Vec<(u64, EpochEvent)>,
    /// Partitions of which something could not be read, with the time.
    excused: Vec<(u64, PartitionKey)>,
    /// Internal partitions, whose records are commits.
    commit_topic: TopicId,
}

impl Oracle {
    /// Nothing asked for yet. Records of `commit_topic` count as commits.
    #[must_use]
    pub fn new(commit_topic: TopicId) -> Oracle {
        Oracle { commit_topic, ..Oracle::default() }
    }

    /// Notes what is about to be asked for. Returns its number.
    pub fn submit(&mut self, now: u64, change: Change) -> usize {
        self.units.push(Unit { change, lsn: None, submitted: now, acked: NEVER, exposed: NEVER, dead: NEVER });
        self.units.len() - 1
    }

    /// The engine accepted it.
    pub fn accepted(&mut self, unit: usize, lsn: Lsn) {
        self.units[unit].lsn = Some(lsn);
    }

    /// The engine took nothing of what was submitted from this unit on.
    pub fn refused(&mut self, from: usize) {
        self.units.truncate(from);
    }

    /// Learns the number that a counter gave.
    pub fn ids_given(&mut self, unit: usize, given: i64) {
        if let Change::Ids(_, first, _) = &mut self.units[unit].change {
            *first = given;
        }
    }

    /// The engine says that all up to here is durable.
    pub fn durable(&mut self, now: u64, up_to: Lsn) {
        for unit in self.units.iter_mut().rev() {
            if unit.acked != NEVER {
                break;
            }
            if unit.dead == NEVER && unit.lsn.is_some_and(|lsn| lsn <= up_to) {
                unit.acked = now;
            }
        }
    }

    /// Someone has read this.
    pub fn exposed(&mut self, now: u64, unit: usize) {
        let exposed = &mut self.units[unit].exposed;
        *exposed = (*exposed).min(now);
    }

    /// A restart kept these and no other.
    pub fn survived(&mut self, now: u64, kept: &[usize]) {
        let kept: BTreeSet<usize> = kept.iter().copied().collect();
        for (index, unit) in self.units.iter_mut().enumerate() {
            if unit.dead == NEVER && !kept.contains(&index) {
                unit.dead = now;
            } else if unit.dead == NEVER {
                // Recovery makes durable what it shows.
                unit.acked = unit.acked.min(now);
            }
        }
    }

    /// An owner works under this leader epoch.
    pub fn epoch_seen(&mut self, now: u64, partition: PartitionKey, epoch: LeaderEpoch) {
        self.epochs.push((now, EpochEvent::Seen(partition, epoch)));
    }

    /// Something of this partition could not be read: it may be out of service from now on.
    pub fn excuse(&mut self, now: u64, partition: PartitionKey) {
        self.excused.push((now, partition));
    }

    /// Whether it may be out of service.
    #[must_use]
    pub fn is_excused(&self, partition: PartitionKey) -> bool {
        self.excused.iter().any(|(_, of)| *of == partition)
    }

    /// The engine begins to close: from now on it takes nothing under the epochs that were seen.
    pub fn closing(&mut self, now: u64) {
        self.epochs.push((now, EpochEvent::Closing(self.units.len())));
    }

    /// All units ever, by number.
    #[must_use]
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// The truth before the I/O of this number.
    #[must_use]
    pub fn view(&self, at: u64) -> View<'_> {
        let alive: Vec<usize> =
            (0..self.units.len()).filter(|i| self.units[*i].submitted <= at && self.units[*i].dead > at).collect();
        let owed = |time: fn(&Unit) -> u64| {
            alive.iter().rposition(|i| time(&self.units[*i]) <= at).map_or(0, |position| position + 1)
        };
        let acked = owed(|unit| unit.acked);
        let exposed = owed(|unit| unit.exposed);
        let (epochs, closed) = (BTreeMap::new(), None);
        let excused = self.excused.iter().filter(|(time, _)| *time <= at).map(|(_, key)| *key).collect();
        let (units, commit_topic) = (&self.units[..], self.commit_topic);
        let mut view = View { units, alive, acked, exposed, epochs, closed, excused, commit_topic };
        for (_, event) in self.epochs.iter().filter(|(time, _)| *time <= at) {
            match event {
                EpochEvent::Seen(partition, epoch) => view.saw_epoch(*partition, *epoch),
                EpochEvent::Closing(units) => view.closed = Some(view.alive.partition_point(|unit| unit < units)),
            }
        }
        view
    }
}

/// The truth at one moment: what may be there, in order, and how much of it must be.
#[derive(Debug, Clone)]
pub struct View<'a> {
    units: &'a [Unit],
    /// Numbers of the units that may be there, in the engine's order.
    pub alive: Vec<usize>,
    /// How many of them were acknowledged, with all before.
    pub acked: usize,
    /// How many of them were read by someone, with all before.
    pub exposed: usize,
    /// The highest leader epoch that anyone worked under, by partition.
    pub epochs: BTreeMap<PartitionKey, LeaderEpoch>,
    /// How many units there were when the engine was last closed. A life that left nothing behind needs no new epoch.
    pub closed: Option<usize>,
    /// Partitions that may be out of service.
    pub excused: BTreeSet<PartitionKey>,
    commit_topic: TopicId,
}

impl View<'_> {
    /// The n-th unit that may be there.
    #[must_use]
    pub fn unit(&self, position: usize) -> &Unit {
        &self.units[self.alive[position]]
    }

    /// How many units must be there.
    #[must_use]
    pub fn required(&self) -> usize {
        self.acked.max(self.exposed)
    }

    /// Whether a partition's records are commits.
    #[must_use]
    pub fn holds_commits(&self, partition: PartitionKey) -> bool {
        partition.topic == self.commit_topic
    }

    /// After someone saw the first `prefix` units under these epochs: the truth of the next crash in a row.
    pub fn saw(&mut self, prefix: usize, epochs: impl IntoIterator<Item = (PartitionKey, LeaderEpoch)>) {
        self.alive.truncate(prefix);
        self.exposed = prefix;
        for (partition, epoch) in epochs {
            self.saw_epoch(partition, epoch);
        }
    }

    fn saw_epoch(&mut self, partition: PartitionKey, epoch: LeaderEpoch) {
        let newest = self.epochs.entry(partition).or_insert(epoch);
        *newest = (*newest).max(epoch);
    }

    /// Whether the units between the two prefixes change nothing, so that nobody can tell whether they are there.
    #[must_use]
    pub fn left_nothing(&self, earlier: usize, later: usize) -> bool {
        later <= earlier || self.model(earlier) == self.model(later)
    }

    /// The state that exactly the first `prefix` units make.
    #[must_use]
    pub fn model(&self, prefix: usize) -> Model {
        let mut model = Model::default();
        for position in 0..prefix {
            model.apply(self.unit(position));
        }
        model
    }
}

/// A key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The write that set it; `None` if that call had not returned.
    pub revision: Option<Lsn>,
    /// The value.
    pub value: Bytes,
}

/// What a prefix of the units amounts to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// Topics with their number of partitions.
    pub topics: BTreeMap<TopicId, u32>,
    /// Every partition's batches, those below its log start included: producers are remembered by all of them.
    pub logs: BTreeMap<PartitionKey, Vec<Bytes>>,
    /// Log starts above 0.
    pub starts: BTreeMap<PartitionKey, Offset>,
    /// The facts.
    pub meta: BTreeMap<String, Fact>,
    /// The least number each counter may give next.
    pub counters: BTreeMap<String, i64>,
}

impl Model {
    /// Where a partition's log begins.
    #[must_use]
    pub fn start(&self, partition: PartitionKey) -> Offset {
        self.starts.get(&partition).copied().unwrap_or(Offset(0))
    }

    /// All batches that a partition ever had.
    #[must_use]
    pub fn log(&self, partition: PartitionKey) -> &[Bytes] {
        self.logs.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// What one unit more makes of it.
    pub fn apply(&mut self, unit: &Unit) {
        match &unit.change {
            Change::Create(topic, partitions) => {
                self.topics.insert(*topic, *partitions);
            }
            Change::Delete(topic) => {
                self.topics.remove(topic);
                self.logs.retain(|partition, _| partition.topic != *topic);
                self.starts.retain(|partition, _| partition.topic != *topic);
            }
            Change::Group(parts) => {
                for (partition, batch) in parts {
                    self.logs.entry(*partition).or_default().push(batch.clone());
                }
            }
            Change::Start(partition, start) => {
                let present = self.starts.entry(*partition).or_insert(Offset(0));
                *present = (*present).max(*start);
            }
            Change::Meta(writes) => {
                for write in writes {
                    match write {
                        Write::Put(key, value) => {
                            self.meta.insert(key.clone(), Fact { revision: unit.lsn, value: value.clone() })
                        }
                        Write::Delete(key) => self.meta.remove(key),
                    };
                }
            }
            Change::Ids(counter, first, count) => {
                let next = self.counters.entry(counter.clone()).or_default();
                *next = (*next).max(first + i64::from(*count));
            }
        }
    }
}

/// How many of a log's first batches lie wholly below an offset.
#[must_use]
pub fn batches_below<B: AsRef<[u8]>>(log: &[B], start: Offset) -> usize {
    log.partition_point(|batch| BatchHeader::parse(batch.as_ref()).is_ok_and(|header| header.last_offset() < start))
}
