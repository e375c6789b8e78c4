//! What a consumer's tasks and its handle share: which partitions it has, where it is in each, what waits to be read.
//!
//! One lock, never held while anything waits. Deliberately not here: sockets, and the group's protocol.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::AutoOffsetReset;
use super::commit_queue::{CommitQueue, Offsets};
use super::committer::Ticket;
use super::error::{CommitError, ConsumerError, NotAssigned};
use super::record::{Fetched, Record};
use crate::code::Code;
use crate::offsets::{Committer, OffsetAndMetadata};
use crate::partition::TopicPartition;

/// Everything shared.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// For the handle: records came, or the gate moved.
    pub(super) app: Notify,
    /// For the fetcher: positions, pauses or room changed.
    pub(super) fetcher: Notify,
    /// For the group: subscription, gate, heartbeat or end.
    pub(super) group: Notify,
    /// For the committer: something is to be committed.
    pub(super) commits: Notify,
    /// For the group: the committer has nothing left to do.
    pub(super) drained: Notify,
}

/// The state behind the lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) partitions: BTreeMap<TopicPartition, Assigned>,
    next_incarnation: u64,
    pub(super) subscription: BTreeSet<String>,
    pub(super) queue: CommitQueue<Commit, Ticket, CommitError>,
    /// Who this consumer is in its group.
    pub(super) member: Committer,
    pub(super) phase: Phase,
    /// The partitions were assigned by hand.
    pub(super) is_manual: bool,
    /// The group is to be joined again.
    pub(super) rejoin: bool,
    /// The group went on without this member, and the listener does not know yet.
    pub(super) is_lost: bool,
    pub(super) is_closing: bool,
    pub(super) gate: Gate,
    pub(super) is_polling: bool,
    pub(super) last_poll: Instant,
    /// When the coordinator last said that this member is alive.
    pub(super) last_heard: Instant,
    pub(super) fatal: Option<ConsumerError>,
    /// The partition that was read last, so that all get their turn.
    turn: Option<TopicPartition>,
}

/// How far this consumer is on its way into the next generation of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No call is under way that changes the generation.
    Settled,
    /// A JoinGroup is under way. The coordinator may be at the next generation already: what it says of the one before
    /// means nothing.
    Joining,
    /// The generation is there, its assignment is not.
    Syncing,
}

/// A join that is under way. However it ends, the phase is settled then, and whoever waits for that hears of it.
#[derive(Debug)]
pub(super) struct Joining(Arc<Shared>);

impl Joining {
    pub(super) fn begin(shared: &Arc<Shared>) -> Joining {
        shared.lock().phase = Phase::Joining;
        Joining(Arc::clone(shared))
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.0.lock().phase = Phase::Settled;
        self.0.group.notify_one();
    }
}

/// Between the group and the application: partitions move only while the application is asking for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Records flow.
    Shut,
    /// The group wants to move partitions: no more records until it has.
    Wanted,
    /// The application has come to ask; the group moves partitions.
    Passed,
}

/// An offset to commit, of a partition as it was assigned at the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) offset: OffsetAndMetadata,
    incarnation: u64,
    /// The partition was assigned by hand: nobody but the application takes it away.
    is_manual: bool,
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    /// The rebalance listener may still say.
    Undecided,
    /// Where the group left off.
    Committed,
    /// Where the policy says.
    Reset(AutoOffsetReset),
    /// At this offset, which is the next to be fetched.
    At(i64),
    /// Nowhere, until the application seeks.
    Failed(ConsumerError),
}

/// A partition that this consumer has.
#[derive(Debug)]
pub(super) struct Assigned {
    /// Told apart from the same partition at another time.
    pub(super) incarnation: u64,
    pub(super) position: Position,
    /// Id of the topic as it was read so far; nil if it was not.
    pub(super) topic_id: Uuid,
    /// Goes up with every seek; what was fetched before it is thrown away.
    pub(super) seeks: u64,
    /// The next offset that the application gets.
    pub(super) next: Option<i64>,
    pub(super) is_paused: bool,
    fetched: VecDeque<Fetched>,
    records: VecDeque<Record>,
    /// The offset behind the batch that `records` are of; compaction may have left a hole before it.
    records_end: i64,
    pub(super) buffered_bytes: usize,
    /// What comes behind the buffer is damaged or refused: the application gets to that before anything more is fetched.
    is_at_obstacle: bool,
    /// What the application has processed, as it is to be committed.
    pub(super) stored: Option<OffsetAndMetadata>,
    pub(super) committed: Option<i64>,
}

impl Assigned {
    /// Reads on at another place.
    pub(super) fn go_to(&mut self, position: Position) {
        self.seeks += 1;
        self.next = if let Position::At(offset) = position { Some(offset) } else { None };
        self.position = position;
        self.fetched.clear();
        self.records.clear();
        self.buffered_bytes = 0;
        self.is_at_obstacle = false;
    }

    /// Takes in what was fetched.
    pub(super) fn take_in(&mut self, fetched: Fetched, next: i64) {
        self.is_at_obstacle = matches!(fetched, Fetched::Damaged);
        self.buffered_bytes += fetched.bytes();
        self.fetched.push_back(fetched);
        self.position = Position::At(next);
    }

    /// The broker refuses to go on from where the buffer ends. What is buffered was read in good order and is handed out
    /// first; then the broker is asked again, and `position` counts if it says the same.
    pub(super) fn refuse(&mut self, position: Position) {
        if self.has_buffered() {
            self.is_at_obstacle = true;
        } else {
            self.go_to(position);
        }
    }

    /// Whether nothing is to be fetched: it is paused, or the application comes to an obstacle first.
    pub(super) fn is_held(&self) -> bool {
        self.is_paused || (self.is_at_obstacle && self.has_buffered())
    }

    fn has_buffered(&self) -> bool {
        !self.fetched.is_empty() || !self.records.is_empty()
    }

    /// The next record for the application.
    fn pop(&mut self, partition: &TopicPartition) -> Result<Option<Record>, ConsumerError> {
        loop {
            if let Some(record) = self.records.pop_front() {
                let is_last = self.records.is_empty();
                self.next = Some(if is_last { self.records_end.max(record.offset + 1) } else { record.offset + 1 });
                return Ok(Some(record));
            }
            let Some(fetched) = self.fetched.pop_front() else { return Ok(None) };
            self.buffered_bytes = self.buffered_bytes.saturating_sub(fetched.bytes());
            let from = self.next.unwrap_or(0);
            match fetched.records(partition, from, self.incarnation) {
                Ok((records, next)) => {
                    (self.records, self.records_end) = (records, next);
                    if self.records.is_empty() {
                        self.next = Some(next.max(from)); // markers, or holes of compaction (E-16, E-17)
                    }
                }
                Err(why) => {
                    let error = ConsumerError::Damaged { partition: partition.clone(), offset: from, why };
                    self.go_to(Position::Failed(error.clone()));
                    return Err(error);
                }
            }
        }
    }
}

impl Shared {
    pub(super) fn new(member: Committer) -> Arc<Shared> {
        let state = State {
            partitions: BTreeMap::new(),
            next_incarnation: 0,
            subscription: BTreeSet::new(),
            queue: CommitQueue::new(),
            member,
            phase: Phase::Settled,
            is_manual: false,
            rejoin: false,
            is_lost: false,
            is_closing: false,
            gate: Gate::Shut,
            is_polling: false,
            last_poll: Instant::now(),
            last_heard: Instant::now(),
            fatal: None,
            turn: None,
        };
        let (app, fetcher, group) = (Notify::new(), Notify::new(), Notify::new());
        let (commits, drained) = (Notify::new(), Notify::new());
        Arc::new(Shared { state: Mutex::new(state), app, fetcher, group, commits, drained })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on elsewhere; what was stored of the partition and not committed is forgotten.
    pub(super) fn seek(&self, partition: &TopicPartition, position: Position) -> Result<(), NotAssigned> {
        let mut state = self.lock();
        let assigned = state.get(partition)?;
        assigned.go_to(position);
        assigned.stored = None;
        drop(state);
        self.fetcher.notify_one();
        Ok(())
    }

    /// Hands out nothing of a partition any more, or again.
    pub(super) fn set_paused(&self, partition: &TopicPartition, is_paused: bool) -> Result<(), NotAssigned> {
        self.lock().get(partition)?.is_paused = is_paused;
        self.fetcher.notify_one();
        Ok(())
    }

    /// The consumer cannot go on.
    pub(super) fn fail(&self, error: ConsumerError) {
        self.lock().fatal.get_or_insert(error);
        self.app.notify_one();
    }
}

impl State {
    /// Takes partitions on; those it has stay as they are.
    pub(super) fn assign(
        &mut self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        position: impl Fn(&TopicPartition) -> Position,
    ) {
        for partition in partitions {
            self.next_incarnation += 1;
            let (incarnation, position) = (self.next_incarnation, position(&partition));
            self.partitions.entry(partition).or_insert_with(|| Assigned {
                incarnation,
                position,
                topic_id: Uuid::nil(),
                seeks: 0,
                next: None,
                is_paused: false,
                fetched: VecDeque::new(),
                records: VecDeque::new(),
                records_end: 0,
                buffered_bytes: 0,
                is_at_obstacle: false,
                stored: None,
                committed: None,
            });
        }
    }

    /// The topic was deleted and made again: nothing that is known of the partition holds for the new one.
    pub(super) fn begin_anew(&mut self, partition: &TopicPartition, position: Position) {
        let Some(assigned) = self.partitions.get_mut(partition) else { return };
        self.next_incarnation += 1;
        assigned.incarnation = self.next_incarnation;
        assigned.topic_id = Uuid::nil();
        (assigned.stored, assigned.committed) = (None, None);
        assigned.go_to(position);
    }

    pub(super) fn assignment(&self) -> BTreeSet<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    pub(super) fn get(&mut self, partition: &TopicPartition) -> Result<&mut Assigned, NotAssigned> {
        self.partitions.get_mut(partition).ok_or_else(|| NotAssigned(partition.clone()))
    }

    /// The application has what it asked for, or asks no more.
    pub(super) fn stop_polling(&mut self) {
        self.is_polling = false;
        self.last_poll = Instant::now();
    }

    /// Up to `max` records, from one partition after the other.
    pub(super) fn take(&mut self, max: usize) -> Result<Vec<Record>, ConsumerError> {
        if let Some(error) = &self.fatal {
            return Err(error.clone());
        }
        if self.is_lost {
            return Ok(Vec::new()); // they may be another's
        }
        let mut taken = Vec::new();
        let turn = self.turn.clone();
        let (behind, up_to) = match &turn {
            Some(turn) => (Bound::Excluded(turn), Bound::Included(turn)),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        for range in [(behind, Bound::Unbounded), (Bound::Unbounded, up_to)] {
            for (partition, assigned) in self.partitions.range_mut::<TopicPartition, _>(range) {
                if taken.len() == max {
                    return Ok(taken);
                }
                if assigned.is_paused {
                    continue;
                }
                if let (Position::Failed(error), true) = (&assigned.position, taken.is_empty()) {
                    return Err(error.clone());
                }
                let before = taken.len();
                while taken.len() < max {
                    match assigned.pop(partition) {
                        Ok(Some(record)) => taken.push(record),
                        Ok(None) => break,
                        Err(error) if taken.is_empty() => return Err(error),
                        Err(_) => break, // it is told next time
                    }
                }
                if taken.len() > before && self.turn.as_ref() != Some(partition) {
                    self.turn = Some(partition.clone());
                }
            }
        }
        Ok(taken)
    }

    /// A record, and all of its partition before it, is processed.
    pub(super) fn store_offset(&mut self, record: &Record) -> Result<(), NotAssigned> {
        let assigned = self.get(&record.partition)?;
        if assigned.incarnation != record.incarnation {
            return Err(NotAssigned(record.partition.clone()));
        }
        let (offset, leader_epoch) = (record.offset + 1, record.leader_epoch);
        assigned.stored = Some(OffsetAndMetadata { offset, leader_epoch, metadata: String::new() });
        Ok(())
    }

    /// What was processed and is not committed yet.
    pub(super) fn uncommitted(&self) -> Offsets<Commit> {
        let dirty = self.partitions.iter().filter_map(|(partition, assigned)| {
            let offset = assigned.stored.clone().filter(|stored| assigned.committed != Some(stored.offset))?;
            let (incarnation, is_manual) = (assigned.incarnation, self.is_manual);
            Some((partition.clone(), Commit { offset, incarnation, is_manual }))
        });
        dirty.collect()
    }

    /// These offsets as commits of partitions that this consumer has.
    pub(super) fn commits(
        &mut self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<Offsets<Commit>, CommitError> {
        let is_manual = self.is_manual;
        let one = |(partition, offset): (TopicPartition, OffsetAndMetadata)| {
            let incarnation = self.get(&partition).map_err(|lost| CommitError::Lost(lost.0))?.incarnation;
            Ok((partition, Commit { offset, incarnation, is_manual }))
        };
        offsets.into_iter().map(one).collect()
    }

    /// Whether this consumer is in its group, or on its way in or out.
    pub(super) fn is_in_group(&self) -> bool {
        self.member.generation >= 0 || self.phase != Phase::Settled || self.is_lost
    }

    /// The group went on without this member. It keeps its id: if the group still knows it, the next join takes the old
    /// place, and nobody waits for a member that does not come back.
    pub(super) fn lose(&mut self) {
        self.member.generation = -1;
        self.is_lost = true;
    }

    /// The coordinator does not take this member for what it says it is.
    pub(super) fn refuse(&mut self, code: Code) {
        match code {
            Code::FENCED_INSTANCE_ID => {
                self.fatal.get_or_insert(ConsumerError::Fenced);
                self.subscription.clear();
            }
            Code::UNKNOWN_MEMBER_ID => self.member.member_id.clear(),
            _ => {}
        }
        self.lose();
    }

    /// Whether a commit may be made: its partition is still assigned as it was, or was given up by the application itself.
    /// Whoever is out of its group has nothing to commit: a commit without a generation would pass where the group has no
    /// members.
    pub(super) fn owns(&self, partition: &TopicPartition, commit: &Commit) -> bool {
        match self.partitions.get(partition) {
            Some(assigned) if assigned.incarnation != commit.incarnation => false,
            Some(_) => commit.is_manual || (self.member.generation >= 0 && !self.is_lost),
            None => commit.is_manual,
        }
    }
}
