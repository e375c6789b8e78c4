//! The background machine: checkpoints when due, removes or recycles what is free, makes the next log file ready.
//!
//! One disk operation at a time, as the flusher. A file that could not be prepared or removed is left alone and reported; at the
//! next start it is swept away. Deliberately not here: how a checkpoint is taken (`checkpointer.rs`).

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint::CHECKPOINT_DIR;
use super::checkpointer::Checkpointer;
use super::files::Retired;
use super::keeper::Hole;
use super::lane::{CheckpointWish, Lane};
use super::log_file::{FIRST_RECORD_AT, LOG_DIR, LogFile, ReadySlot, slot_path};
use super::ops::{DiskOp, OpOutput};
use super::options::planted;
use super::pack::PACK_DIR;
use super::reserve::Reserve;
use super::segment::SEGMENT_DIR;
use crate::disk::FileId;
use crate::planted::PlantedBug;

/// Where files were removed from before a stop is complete.
const STOP_DIRS: [&str; 4] = [LOG_DIR, PACK_DIR, SEGMENT_DIR, CHECKPOINT_DIR];
/// A file that could not be filled is tried again after so many looks at the room: a minute where nothing is written.
const LOOKS_BEFORE_ANOTHER_FILL: u64 = 64;
/// Zeros written at once.
const FILL_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
enum Fill {
    Create,
    /// Its place is taken all at once: cheaper than zeros, but dearer when it is written.
    Allocate {
        file: FileId,
    },
    Zeros {
        file: FileId,
        written: u64,
    },
    Sync {
        file: FileId,
    },
    SyncDir {
        file: FileId,
    },
}

/// Whose operation is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Running {
    Reserve,
    Checkpoint,
    Garbage,
    Fill,
}

/// The background's state between two operations.
#[derive(Debug)]
pub(super) struct Background {
    reserve: Reserve,
    checkpointer: Checkpointer,
    garbage: VecDeque<DiskOp>,
    /// What has time until there is nothing else to do.
    punches: VecDeque<Hole>,
    /// Log files, by generation, that a segment has left: with their last one they go.
    left: BTreeSet<u64>,
    fill: Option<(u64, Fill)>,
    /// The file being filled: not only its place is taken.
    zeroing: bool,
    /// The next generation when filling a file failed: it is not tried again before another file was begun, or so many looks were taken.
    fill_failed_at: (u64, u64),
    running: Option<(Running, DiskOp)>,
    zeros: Bytes,
    /// The last checkpoint is durable. What is left to do is to remove what nothing needs, and to sync these directories.
    stopping: Option<Vec<&'static str>>,
}

impl Background {
    pub(super) fn new(checkpointer: Checkpointer, garbage: VecDeque<DiskOp>) -> Background {
        let (reserve, fill, running, zeros) = (Reserve::default(), None, None, Bytes::new());
        let (zeroing, fill_failed_at, stopping) = (true, (0, 0), None);
        let (punches, left) = (VecDeque::new(), BTreeSet::new());
        Background {
            reserve,
            checkpointer,
            garbage,
            punches,
            left,
            fill,
            zeroing,
            fill_failed_at,
            running,
            zeros,
            stopping,
        }
    }

    /// The next operation, if there is anything to do now.
    pub(super) fn poll(&mut self, lane: &mut Lane) -> Option<DiskOp> {
        if lane.failed.is_some() {
            return None;
        }
        if self.stopping.is_some() {
            let next = self.garbage.pop_front().map(|op| (Running::Garbage, op))?;
            self.running = Some(next.clone());
            return Some(next.1);
        }
        let next = self
            .reserve
            .poll(lane)
            .map(|op| (Running::Reserve, op))
            .or_else(|| self.poll_checkpoint(lane))
            .or_else(|| self.poll_garbage(lane))
            .or_else(|| self.poll_fill(lane))
            .or_else(|| self.punches.pop_front().map(|hole| (Running::Garbage, DiskOp::Punch(hole))))?;
        self.running = Some(next.clone());
        Some(next.1)
    }

    /// Whether the next operation, if there is none now, waits for a flush that is under way.
    pub(super) fn waits_for_flush(&self) -> bool {
        self.checkpointer.is_under_way()
    }

    fn poll_checkpoint(&mut self, lane: &mut Lane) -> Option<(Running, DiskOp)> {
        if !self.checkpointer.begin(lane) {
            return None;
        }
        self.checkpointer.poll(lane).map(|op| (Running::Checkpoint, op))
    }

    fn poll_garbage(&mut self, lane: &mut Lane) -> Option<(Running, DiskOp)> {
        if self.garbage.is_empty() {
            self.retire(lane);
        }
        self.garbage.pop_front().map(|op| (Running::Garbage, op))
    }

    /// Takes files that no reader holds any more: log files of the usual size for another use, all others for removal.
    fn retire(&mut self, lane: &mut Lane) {
        let reused = planted(&lane.options, PlantedBug::KeptFileUsedAgain);
        let unused = |log: &Arc<LogFile>| Arc::strong_count(log) == 1 || (reused && log.keeps());
        if let Some(at) = lane.retiring.iter().position(unused) {
            let log = lane.retiring.swap_remove(at);
            let usual = log.size == lane.options.log_file_bytes && (!log.keeps() || reused);
            if usual && lane.writer.ready.len() <= lane.options.ready_files {
                lane.writer.ready.push(log.ready());
            } else {
                self.garbage.extend([DiskOp::Close(log.file), DiskOp::Remove(slot_path(log.slot))]);
            }
        }
        self.garbage.extend(lane.lent.drain(..).map(DiskOp::Lend));
        match lane.stored.retire(|generation| lane.files.contains_key(&generation)) {
            Some(Retired::File(ops)) => self.garbage.extend(ops),
            Some(Retired::Segment(number, ops)) => {
                self.garbage.extend(ops);
                lane.blocks().forget(number);
            }
            Some(Retired::Lodger { number, generation, hole }) => {
                self.punches.extend(hole);
                lane.blocks().forget(number);
                self.left.insert(generation);
            }
            None => {}
        }
        self.punches.extend(lane.holes.drain(..));
        self.left.retain(|generation| match lane.kept.get(generation) {
            Some(log) if log.has_lodgers() => true,
            Some(_) => {
                lane.retiring.extend(lane.kept.remove(generation));
                false
            }
            None => lane.files.contains_key(generation), // the log has it yet
        });
    }

    fn poll_fill(&mut self, lane: &mut Lane) -> Option<(Running, DiskOp)> {
        if self.fill.is_none() {
            self.zeroing = !lane.writer.flushes.are_large();
            let (ready, wanted) = (&lane.writer.ready, lane.options.ready_files);
            // One whose place was only taken is filled when there are others.
            let taken = ready.iter().position(|ready| self.zeroing && !ready.zeroed).filter(|_| ready.len() > wanted);
            let usable = ready.iter().filter(|ready| ready.zeroed || !self.zeroing).count();
            let enough = taken.is_none() && usable >= wanted;
            let (generation, looks) = self.fill_failed_at;
            let hopeless = generation == lane.writer.next_generation && lane.space.looks < looks;
            let has_place = taken.is_some_and(|at| lane.writer.ready[at].filled);
            let room = has_place || lane.space.may_fill(lane.options.log_file_bytes);
            if enough || hopeless || !room || lane.closed || lane.wish == CheckpointWish::Clean {
                return None;
            }
            self.fill = Some(match taken.map(|at| lane.writer.ready.remove(at)) {
                Some(ReadySlot { slot, file, .. }) => (slot, Fill::Zeros { file, written: 0 }),
                None => {
                    lane.writer.next_slot += 1;
                    (lane.writer.next_slot - 1, Fill::Create)
                }
            });
        }
        let (slot, fill) = self.fill?;
        let op = match fill {
            Fill::Create => DiskOp::Create(slot_path(slot)),
            Fill::Allocate { file } => {
                DiskOp::Allocate { file, bytes: lane.options.log_file_bytes.max(FIRST_RECORD_AT) }
            }
            Fill::Zeros { file, written } => {
                let left = lane.options.log_file_bytes.max(FIRST_RECORD_AT) - written;
                let bytes = self.zeros(left);
                DiskOp::Write { file, offset: written, bytes }
            }
            Fill::Sync { file } => DiskOp::Sync(file),
            Fill::SyncDir { .. } => DiskOp::SyncDir(LOG_DIR),
        };
        Some((Running::Fill, op))
    }

    fn zeros(&mut self, left: u64) -> Bytes {
        let length = usize::try_from(left).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
        if self.zeros.len() < length {
            self.zeros = Bytes::from(vec![0; length]);
        }
        self.zeros.slice(..length)
    }

    /// Takes the result of the operation that [`Background::poll`] gave.
    pub(super) fn done(&mut self, lane: &mut Lane, result: io::Result<OpOutput>) {
        let Some((running, op)) = self.running.take() else { return };
        match running {
            Running::Reserve => self.reserve.done(lane, result),
            Running::Checkpoint => {
                let mut garbage = Vec::new();
                if self.checkpointer.done(lane, &op, result, &mut garbage) {
                    self.stopping = Some(STOP_DIRS.to_vec());
                }
                self.garbage.extend(garbage);
            }
            Running::Garbage => {
                if let Err(error) = result {
                    tracing::warn!(%error, ?op, "a file that is not needed any more could not be removed");
                }
                lane.space.due |= self.garbage.is_empty();
            }
            Running::Fill => self.filled(lane, &op, result),
        }
        self.go_on_stopping(lane);
    }

    /// After the last checkpoint: all garbage, one sync of each directory, and then the stop is complete.
    fn go_on_stopping(&mut self, lane: &mut Lane) {
        let Some(unsynced) = &mut self.stopping else { return };
        if !self.garbage.is_empty() || lane.clean_stop.is_some() {
            return;
        }
        if unsynced.len() == STOP_DIRS.len() {
            self.retire_all(lane);
        }
        if !self.garbage.is_empty() {
            return;
        }
        match self.stopping.as_mut().and_then(Vec::pop) {
            Some(dir) => self.garbage.push_back(DiskOp::SyncDir(dir)),
            None => lane.clean_stop = Some(Ok(())),
        }
    }

    fn retire_all(&mut self, lane: &mut Lane) {
        let left = |lane: &Lane| lane.kept.len() + lane.retiring.len() + lane.stored.retiring_count();
        loop {
            let before = left(lane);
            self.retire(lane);
            if left(lane) == before {
                return;
            }
        }
    }

    fn filled(&mut self, lane: &mut Lane, op: &DiskOp, result: io::Result<OpOutput>) {
        let Some((slot, fill)) = self.fill.take() else { return };
        match (op, &result) {
            (DiskOp::Write { bytes, .. }, Ok(_)) => lane.space.wrote(bytes.len() as u64),
            (DiskOp::Allocate { bytes, .. }, Ok(_)) => lane.space.wrote(*bytes),
            _ => {}
        }
        let size = lane.options.log_file_bytes.max(FIRST_RECORD_AT);
        let next = match (fill, result) {
            (Fill::SyncDir { .. }, Err(error)) => {
                return lane.fail(&format!("a log file's name is not known to be durable: {error}"));
            }
            (Fill::Allocate { file }, Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                self.zeroing = true;
                Fill::Zeros { file, written: 0 }
            }
            (_, Err(error)) => return self.fill_failed(lane, slot, fill, op, &error),
            (Fill::Create, Ok(OpOutput::File(file))) if self.zeroing => Fill::Zeros { file, written: 0 },
            (Fill::Create, Ok(OpOutput::File(file))) => Fill::Allocate { file },
            (Fill::Allocate { file }, Ok(_)) => Fill::Sync { file },
            (Fill::Zeros { file, written }, Ok(_)) => {
                let DiskOp::Write { bytes, .. } = op else { return };
                let written = written + bytes.len() as u64;
                if written < size { Fill::Zeros { file, written } } else { Fill::Sync { file } }
            }
            (Fill::Sync { file }, Ok(_)) if !planted(&lane.options, PlantedBug::DirectoryNotSynced) => {
                Fill::SyncDir { file }
            }
            (Fill::Sync { file } | Fill::SyncDir { file }, Ok(_)) => {
                let zeroed = self.zeroing;
                return lane.writer.ready.push(ReadySlot { slot, file, size, filled: true, zeroed });
            }
            (Fill::Create, Ok(output)) => unreachable!("making a file does not give {output:?}"),
        };
        self.fill = Some((slot, next));
    }

    fn fill_failed(&mut self, lane: &Lane, slot: u64, fill: Fill, op: &DiskOp, error: &io::Error) {
        tracing::warn!(%error, ?op, "the next log file could not be prepared; the log goes on without");
        self.fill_failed_at = (lane.writer.next_generation, lane.space.looks + LOOKS_BEFORE_ANOTHER_FILL);
        if let Fill::Allocate { file } | Fill::Zeros { file, .. } | Fill::Sync { file } | Fill::SyncDir { file } = fill
        {
            self.garbage.extend([DiskOp::Close(file), DiskOp::Remove(slot_path(slot))]);
        }
    }
}
