//! Taking a checkpoint, step by step: survey, capture, wait for the log, move data, write, rename, read back, install, give free.
//!
//! What changed is captured under the lock in one go; everything else is one disk operation or one slice of partitions at a time,
//! the lock free between. A checkpoint that cannot be written is given up and tried again when the log has grown as much again;
//! only when it is unknown which names a directory holds does the lane end.
//! Deliberately not here: the file formats, moving data (`mover.rs`), removing files (`recycler.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use pagemark_wire::types::{Offset, PartitionKey, TopicId};

use super::checkpoint::{CHECKPOINT_DIR, COPIES, Captured, Draft, Head, Retained, State, checkpoint_path};
use super::files::Stored;
use super::index::{Dropped, Packed};
use super::lane::{CheckpointWish, Lane};
use super::mover::{Chunk, Goal, Moved, Mover, Work};
use super::ops::{DiskOp, OpOutput};
use super::options::planted;
use super::survey::Survey;
use crate::disk::{FileId, is_full};
use crate::planted::PlantedBug;

/// Partitions that are told where their data lies before the lock is given back.
const SLICE: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    WaitDurable,
    Move,
    Encode,
    Create(usize),
    Write(usize),
    Sync(usize),
    Rename(usize),
    SyncDir,
    ReadBack(usize),
    Install,
}

/// What a checkpoint that is given up has to give back.
#[derive(Debug)]
struct Taken {
    facts: BTreeSet<String>,
    deleted: Vec<TopicId>,
    partitions: Vec<PartitionKey>,
}

#[derive(Debug)]
struct Job {
    stage: Stage,
    head: Head,
    state: Arc<State>,
    taken: Taken,
    mover: Mover,
    files: [Option<FileId>; 2],
    bytes: Bytes,
    /// What must be durable besides what the checkpoint holds, before it is written.
    needs_lsn: u64,
    /// The new pack is in use.
    pack_added: bool,
}

/// The checkpoints that the next one can go on from.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    /// The whole one, and those since that hold changes.
    pub numbers: Vec<u64>,
    /// Bytes of the whole one, and of all others.
    pub whole_bytes: u64,
    pub change_bytes: u64,
}

/// The checkpointer's state between two operations.
#[derive(Debug)]
pub(super) struct Checkpointer {
    survey: Option<Survey>,
    job: Option<Job>,
    /// Empty if the next checkpoint must be whole.
    chain: Chain,
    /// Files of checkpoints that were given up when they had their names. A start might choose them until the next one is complete.
    given_up: Vec<String>,
}

/// What a checkpoint is to be, and the place that was counted for it.
struct Fit {
    survey: Survey,
    whole: bool,
    place: u64,
}

impl Checkpointer {
    pub(super) fn new(chain: Chain) -> Checkpointer {
        Checkpointer { survey: None, job: None, chain, given_up: Vec::new() }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.job.is_some() || self.survey.is_some()
    }

    /// Begins a checkpoint if one is due. `true` if one is under way.
    pub(super) fn begin(&mut self, lane: &mut Lane) -> bool {
        if self.is_under_way() {
            return true;
        }
        if !lane.fold.dropped.is_empty() {
            // What was deleted leaves the disk also when nothing is written any more.
            lane.collect_dropped();
            lane.wish_for_dead_files();
        }
        let grown = lane.log_bytes_since_checkpoint >= lane.checkpoint_bytes();
        if lane.failed.is_some() || (lane.wish == CheckpointWish::None && !grown) || lane.clean_stop.is_some() {
            return false;
        }
        if lane.space.puts_off() {
            // It is wanted again when there is room, and tried again when the log has grown as much again. The last one waits for
            // nothing but the reserve.
            if lane.space.lent || !(grown || lane.wish == CheckpointWish::Clean) {
                return false;
            }
            lane.log_bytes_since_checkpoint = 0;
            lane.space.begins_anew();
        }
        self.survey = Some(Survey::default());
        true
    }

    /// What was surveyed, perhaps without what need not move, if there is place for it. Where a whole one has none, another change may.
    fn fitting(&self, lane: &mut Lane, survey: Survey) -> Option<Fit> {
        let Chain { numbers, whole_bytes, change_bytes } = &self.chain;
        let must = numbers.is_empty();
        let whole = must || numbers.len() >= lane.options.whole_checkpoint_every || change_bytes > whole_bytes;
        let place = survey.place(lane, whole);
        if lane.space.has_place(place) {
            return Some(Fit { survey, whole, place });
        }
        let survey = survey.only_what_must();
        let whole = must || (whole && lane.space.has_place(survey.place(lane, true)));
        let place = survey.place(lane, whole);
        lane.space.admits(place).then_some(Fit { survey, whole, place })
    }

    fn capture(&mut self, lane: &mut Lane, Fit { survey, whole, place }: Fit) -> Job {
        let clean = lane.wish == CheckpointWish::Clean;
        lane.wish = CheckpointWish::None;
        lane.log_bytes_since_checkpoint = 0;
        lane.collect_dropped();
        let previous = self.chain.numbers.last().copied().filter(|_| !whole).unwrap_or(0);
        let taken = Taken {
            facts: lane.fold.meta.take_changed(),
            deleted: std::mem::take(&mut lane.fold.changes.deleted),
            partitions: take_partitions(lane),
        };
        let mut state = State::default();
        lane.fold.meta.put(&mut state.meta, Some(&taken.facts).filter(|_| previous != 0));
        if previous == 0 {
            state.partitions = lane.fold.partitions().map(|(key, p)| Captured::of(key, p, false)).collect();
        } else {
            state.deleted.clone_from(&taken.deleted);
            let captured = |key: &PartitionKey| Some(Captured::of(*key, lane.fold.partition(*key).ok()?, true));
            state.partitions = taken.partitions.iter().filter_map(captured).collect();
        }
        let number = lane.stored.next_checkpoint;
        lane.stored.next_checkpoint += 1;
        let pack_id = lane.fold.next_pack;
        lane.fold.next_pack += 1;
        let head = Head {
            number,
            previous,
            clean,
            incarnation: lane.options.incarnation,
            position: lane.writer.end,
            next_lsn: lane.next_lsn,
            next_generation: lane.writer.next_generation,
            next_pack: pack_id + 1,
            next_segment: lane.next_segment,
            packs: lane.stored.references(),
        };
        let mut work: BTreeMap<PartitionKey, Work> = BTreeMap::new();
        for key in &survey.plan.of_emptied {
            if let Ok(partition) = lane.fold.partition(*key) {
                let (instance, end) = (partition.instance, Offset(i64::MIN));
                work.insert(*key, Work { key: *key, instance, end });
            }
        }
        let wanted = |c: &&Captured| c.logged || survey.plan.into_segments.contains(&c.key);
        let captured = state.partitions.iter().filter(wanted);
        work.extend(captured.map(|c| (c.key, Work { key: c.key, instance: c.instance, end: c.end })));
        let work: VecDeque<Work> = work.into_values().collect();
        lane.space.checkpoint_begins(place);
        let mover = Mover::new(lane, survey.plan, work, pack_id);
        let (files, bytes, pack_added, state) = ([None; 2], Bytes::new(), false, Arc::new(state));
        let (stage, needs_lsn) = (Stage::WaitDurable, 0);
        Job { stage, head, state, taken, mover, files, bytes, needs_lsn, pack_added }
    }

    /// The next operation; `None` while the log is not durable up to the captured position.
    pub(super) fn poll(&mut self, lane: &mut Lane) -> Option<DiskOp> {
        if let Some(mut survey) = self.survey.take() {
            let last = lane.wish == CheckpointWish::Clean;
            if !survey.step(lane) {
                self.survey = Some(survey);
                return Some(DiskOp::Pause);
            }
            if last {
                // The last checkpoint moves nothing that is well where it is.
                survey = survey.only_what_must();
            }
            let Some(fit) = self.fitting(lane, survey) else {
                if last && !lane.space.lent {
                    lane.clean_stop = Some(Err("the disk has no room for the last checkpoint".into()));
                }
                return Some(DiskOp::Pause);
            };
            self.job = Some(self.capture(lane, fit));
        }
        self.job.as_mut()?.next_op(lane)
    }

    /// Takes the result of the operation that [`Checkpointer::poll`] gave. Operations that clean up go to `garbage`.
    /// `true` if the last checkpoint of this life is durable now.
    pub(super) fn done(
        &mut self,
        lane: &mut Lane,
        op: &DiskOp,
        result: io::Result<OpOutput>,
        garbage: &mut Vec<DiskOp>,
    ) -> bool {
        let Some(job) = &mut self.job else { return false };
        // What there was no room for has not happened. Of a sync nobody knows.
        let full = result.as_ref().is_err_and(is_full);
        let full = full && !matches!(op, DiskOp::Sync(_) | DiskOp::SyncDir(_));
        if let (DiskOp::Write { bytes, .. }, Ok(_)) = (op, &result) {
            lane.space.checkpoint_wrote(bytes.len() as u64);
        }
        let outcome = match job.stage {
            Stage::Move => job.mover.done(lane, result, garbage).map(|()| false),
            _ => result.map_err(|e| e.to_string()).and_then(|output| job.take(lane, output)),
        };
        match outcome {
            Ok(false) => false,
            Ok(true) => {
                let job = self.job.take().expect("it was here a moment ago");
                let clean = job.head.clean;
                job.install(lane, &mut self.chain, garbage);
                garbage.extend(self.given_up.drain(..).map(DiskOp::Remove));
                clean
            }
            Err(reason) => {
                let job = self.job.take().expect("it was here a moment ago");
                if op.decides_names() && !full {
                    lane.fail(&format!("a checkpoint's name is not known to be durable: {reason}"));
                } else {
                    self.given_up.extend(job.give_up(lane, &reason, full, garbage));
                }
                false
            }
        }
    }
}

/// The partitions that were changed since the last capture, in order.
fn take_partitions(lane: &mut Lane) -> Vec<PartitionKey> {
    let mut keys = std::mem::take(&mut lane.fold.changes.partitions);
    keys.retain(|key| {
        let partition = lane.fold.partition_quietly(*key);
        partition.is_ok_and(|partition| std::mem::take(&mut partition.changed))
    });
    keys.sort_unstable();
    keys
}

impl Job {
    fn next_op(&mut self, lane: &mut Lane) -> Option<DiskOp> {
        let hasty = planted(&lane.options, PlantedBug::CheckpointWithoutWaitingForDurable);
        if self.stage == Stage::WaitDurable && (hasty || lane.durable + 1 >= self.head.next_lsn) {
            self.stage = Stage::Move;
        }
        if self.stage == Stage::Move {
            if let Some(op) = self.mover.poll(lane) {
                return Some(op);
            }
            if std::mem::take(&mut self.mover.vanished) {
                self.needs_lsn = lane.next_lsn - 1;
            }
            if lane.durable < self.needs_lsn {
                return None;
            }
            self.compose(lane);
            self.stage = Stage::Encode;
        }
        if self.stage == Stage::SyncDir && planted(&lane.options, PlantedBug::LogFreedByNewestCheckpoint) {
            self.stage = Stage::ReadBack(0);
        }
        let number = self.head.number;
        let tmp = |copy| format!("{}.tmp", checkpoint_path(number, copy));
        let file = |copy: usize| self.files[copy].unwrap_or(FileId(0));
        Some(match self.stage {
            Stage::WaitDurable | Stage::Move => return None,
            Stage::Encode => DiskOp::Encode(Draft::new(&self.head, &self.state)),
            Stage::Create(copy) => DiskOp::Create(tmp(copy)),
            Stage::Write(copy) => DiskOp::Write { file: file(copy), offset: 0, bytes: self.bytes.clone() },
            Stage::Sync(copy) => DiskOp::Sync(file(copy)),
            Stage::Rename(copy) => DiskOp::Rename { from: tmp(copy), to: checkpoint_path(number, copy) },
            Stage::SyncDir => DiskOp::SyncDir(CHECKPOINT_DIR),
            Stage::ReadBack(copy) => DiskOp::Compare { file: file(copy), bytes: self.bytes.clone() },
            Stage::Install => DiskOp::Pause,
        })
    }

    /// Everything that it refers to is durable: says where it lies. The checkpoint's bytes are made without the lock.
    fn compose(&mut self, lane: &Lane) {
        self.head.packs.extend(self.mover.pack().map(|pack| pack.reference));
        self.head.next_segment = lane.next_segment;
        let mut quarantined: BTreeMap<PartitionKey, &str> = self.mover.left_out.iter().copied().collect();
        let mut grown: BTreeMap<PartitionKey, &[Chunk]> = BTreeMap::new();
        for moved in &self.mover.moved {
            if let Goal::Segments(chunks) = &moved.goal {
                grown.insert(moved.work.key, chunks);
            }
        }
        let state = Arc::get_mut(&mut self.state).expect("nobody makes bytes of it yet");
        for captured in &mut state.partitions {
            if let Some(reason) = quarantined.remove(&captured.key) {
                captured.quarantined.get_or_insert(reason.into());
            }
            for chunk in grown.get(&captured.key).copied().unwrap_or_default() {
                let number = chunk.segment.file.number;
                captured.segments.retain(|s| s.file.number != number);
                if chunk.segment.bytes > 0 {
                    captured.segments.push(chunk.segment.clone());
                }
            }
        }
    }

    /// Takes what an operation gave; `true` when the checkpoint is complete.
    fn take(&mut self, lane: &mut Lane, output: OpOutput) -> Result<bool, String> {
        let last = COPIES.len() - 1;
        self.stage = match (self.stage, output) {
            (Stage::Encode, OpOutput::Bytes(bytes)) => {
                self.bytes = bytes;
                self.state = Arc::default();
                Stage::Create(0)
            }
            (Stage::Create(copy), OpOutput::File(file)) => {
                self.files[copy] = Some(file);
                Stage::Write(copy)
            }
            (Stage::Write(copy), _) => Stage::Sync(copy),
            (Stage::Sync(copy), _) if copy < last => Stage::Create(copy + 1),
            (Stage::Sync(_), _) => Stage::Rename(0),
            (Stage::Rename(copy), _) if copy < last => Stage::Rename(copy + 1),
            (Stage::Rename(_), _) => Stage::SyncDir,
            (Stage::SyncDir, _) => Stage::ReadBack(0),
            (Stage::ReadBack(copy), _) if copy < last => Stage::ReadBack(copy + 1),
            (Stage::ReadBack(_), _) => Stage::Install,
            (Stage::Install, _) => return Ok(self.rehome(lane)),
            (stage, output) => unreachable!("{stage:?} does not give {output:?}"),
        };
        Ok(false)
    }

    /// The checkpoint is durable: some partitions learn where their data lies now. `true` when all of them know.
    fn rehome(&mut self, lane: &mut Lane) -> bool {
        // Before a segment that was given up lives again, not after.
        lane.collect_dropped();
        if let Some(pack) = self.mover.pack().filter(|_| !self.pack_added) {
            // One byte more than there is, so that it does not count as dead before all is in it.
            lane.stored.add_pack(Arc::new(pack), 1);
        }
        self.pack_added = true;
        let left = self.mover.moved.len().saturating_sub(SLICE);
        for moved in self.mover.moved.split_off(left) {
            self.rehome_one(lane, moved);
        }
        lane.collect_dropped();
        if left == 0
            && let Some(pack) = self.mover.pack()
        {
            lane.stored.take_from_pack(pack.reference.id, 1);
        }
        left == 0
    }

    fn rehome_one(&self, lane: &mut Lane, Moved { work, goal }: Moved) {
        let Lane { fold, stored, .. } = lane;
        let mut dropped = Dropped::default();
        let found = fold.partition_quietly(work.key).ok().filter(|p| p.instance == work.instance);
        let (chunks, partition) = match (goal, found) {
            (Goal::Pack(blocks), Some(partition)) => {
                partition.index.moved_away(work.end, |p| self.mover.empties(p.pack), &mut dropped);
                let pack = self.mover.pack().map_or(0, |pack| pack.reference.id);
                partition.index.add_packed(blocks.iter().map(|block| Packed { pack, block: *block }));
                partition.index.cut_below(partition.durable_start, &mut dropped);
                stored.add_to_pack(pack, blocks.iter().map(|b| u64::from(b.len)).sum());
                return stored.take(dropped);
            }
            (Goal::Pack(_), None) => return,
            (Goal::Segments(chunks), Some(partition)) => (chunks, partition),
            (Goal::Segments(chunks) | Goal::Nowhere(chunks), _) => {
                let new = chunks.into_iter().filter(|c| c.old_len == 0).map(|c| (c.segment.file, c.segment.bytes));
                let new: BTreeMap<u64, _> = new.map(|(file, bytes)| (file.number, (file, bytes))).collect();
                return new.into_values().for_each(|(file, bytes)| stored.dies(Stored::Segment(file), bytes));
            }
        };
        let mut grown = Vec::new();
        partition.index.moved_away(work.end, |_| true, &mut dropped);
        for Chunk { segment, old_len, blocks } in chunks {
            let (number, len) = (segment.file.number, segment.len);
            if segment.bytes == 0 {
                stored.dies(Stored::Segment(segment.file), 0);
                continue;
            }
            stored.lives_again(number);
            partition.index.put_segment(segment);
            grown.push((number, (old_len, len), blocks));
        }
        partition.index.cut_below(partition.durable_start, &mut dropped);
        stored.take(dropped);
        for (number, lengths, blocks) in grown {
            match lengths {
                (0, len) => lane.blocks().insert(number, len, Arc::new(blocks)),
                _ => lane.blocks().grow(number, lengths, &blocks),
            }
        }
    }

    /// The checkpoint is complete: what only older ones needed is given free.
    fn install(self, lane: &mut Lane, chain: &mut Chain, garbage: &mut Vec<DiskOp>) {
        garbage.extend(self.files.into_iter().flatten().map(DiskOp::Close));
        let Head { position, number, previous, .. } = self.head;
        if previous == 0 {
            *chain = Chain { numbers: Vec::new(), whole_bytes: self.bytes.len() as u64, change_bytes: 0 };
        } else {
            chain.change_bytes += self.bytes.len() as u64;
            lane.stats.incremental_checkpoints += 1;
        }
        chain.numbers.push(number);
        lane.retained.push(Retained { number, position, chain: chain.numbers.clone() });
        let mut dropped = BTreeSet::new();
        while lane.retained.len() > 2 {
            dropped.extend(lane.retained.remove(0).chain);
        }
        let base_goes = planted(&lane.options, PlantedBug::ChainNotKept);
        let needed = |number: &u64| {
            lane.retained.iter().any(|r| r.number == *number || (!base_goes && r.chain.contains(number)))
        };
        for number in dropped.iter().filter(|number| !needed(number)) {
            garbage.extend((0..COPIES.len()).map(|copy| DiskOp::Remove(checkpoint_path(*number, copy))));
        }
        if planted(&lane.options, PlantedBug::ChangeForgotten) {
            take_partitions(lane);
        }
        lane.tail.forget_below(position.generation, position.offset);
        lane.give_free();
        lane.wish_for_dead_files();
        lane.space.checkpoint_done();
        lane.stats.checkpoints += 1;
    }

    /// `full`: there was no room, and what was written before is as it was. Gives those of its files that have their names.
    fn give_up(self, lane: &mut Lane, reason: &str, full: bool, garbage: &mut Vec<DiskOp>) -> Vec<String> {
        lane.space.checkpoint_gave_up(full);
        let number = self.head.number;
        tracing::warn!(reason, number, "the checkpoint was given up; it will be tried again");
        // One that reads back wrong has its name, or one of its copies has: its files must stay as long as that might be chosen.
        let renamed = match self.stage {
            Stage::Rename(copy) => copy,
            Stage::ReadBack(_) => COPIES.len(),
            _ => 0,
        };
        let named = renamed > 0;
        for (copy, file) in self.files.into_iter().enumerate() {
            let Some(file) = file else { continue };
            garbage.push(DiskOp::Close(file));
            if copy >= renamed {
                garbage.push(DiskOp::Remove(format!("{}.tmp", checkpoint_path(number, copy))));
            }
        }
        let Taken { facts, deleted, partitions } = self.taken;
        lane.fold.meta.give_back_changed(facts);
        lane.fold.changes.deleted.extend(deleted);
        for key in partitions {
            let _ = lane.fold.partition_mut(key);
        }
        self.mover.abandon(lane, named, full, garbage);
        if self.head.clean {
            lane.clean_stop = Some(Err(reason.into()));
        }
        (0..renamed).map(|copy| checkpoint_path(number, copy)).collect()
    }
}

impl Lane {
    /// Retires what no retained checkpoint needs: log files wholly below the older one, packs and segments that neither refers to.
    pub(super) fn give_free(&mut self) {
        let newest = planted(&self.options, PlantedBug::LogFreedByNewestCheckpoint);
        let floor = match &self.retained[..] {
            [.., last] if newest => last.position.generation,
            [one, other] => one.position.min(other.position).generation,
            _ => 0,
        };
        let needed = self.files.split_off(&floor);
        let reused = planted(&self.options, PlantedBug::KeptFileUsedAgain);
        for (generation, log) in std::mem::replace(&mut self.files, needed) {
            if log.has_lodgers() && !reused {
                self.lent.push(log.file);
                self.kept.insert(generation, log);
            } else {
                self.retiring.push(log);
            }
        }
        if let [one, other] = &self.retained[..] {
            self.stored.release(one.number.min(other.number));
        }
    }

    /// Notes which files partitions gave up since this was called last.
    pub(super) fn collect_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.fold.dropped);
        self.stored.take(dropped);
    }
}
