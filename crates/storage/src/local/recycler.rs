//! The background machine: checkpoints when due, removes or recycles what is free, fills the next log file with zeros.
//!
//! One disk operation at a time, as the flusher. A file that could not be prepared or removed is left alone and reported; at the
//! next start it is swept away. Deliberately not here: how a checkpoint is taken (`checkpointer.rs`).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint::CHECKPOINT_DIR;
use super::checkpointer::Checkpointer;
use super::lane::{CheckpointWish, Lane};
use super::log_file::{FIRST_RECORD_AT, LOG_DIR, ReadySlot, slot_path};
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
    Zeros { file: FileId, written: u64 },
    Sync { file: FileId },
    SyncDir { file: FileId },
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
    fill: Option<(u64, Fill)>,
    /// The next generation when filling a file failed: it is not tried again before another file was begun, or so many looks were taken.
    fill_failed_at: (u64, u64),
    running: Option<(Running, DiskOp)>,
    zeros: Bytes,
    /// The last checkpoint is durable. What is left to do is to remove what nothing needs, and to sync these directories.
    stopping: Option<Vec<&'static str>>,
}

impl Background {
    pub(super) fn new(checkpointer: Checkpointer, garbage: VecDeque<DiskOp>) -> Background {
        let (fill, running, zeros) = (None, None, Bytes::new());
        let reserve = Reserve::default();
        Background { reserve, checkpointer, garbage, fill, fill_failed_at: (0, 0), running, zeros, stopping: None }
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
            .or_else(|| self.poll_fill(lane))?;
        self.running = Some(next.clone());
        Some(next.1)
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
        if let Some(at) = lane.retiring.iter().position(|f| Arc::strong_count(f) == 1) {
            let log = lane.retiring.swap_remove(at);
            if log.size == lane.options.log_file_bytes && lane.writer.ready.len() <= lane.options.ready_files {
                lane.writer.ready.push(log.ready());
            } else {
                self.garbage.extend([DiskOp::Close(log.file), DiskOp::Remove(slot_path(log.slot))]);
            }
        }
        if let Some((ops, segment)) = lane.stored.retire() {
            self.garbage.extend(ops);
            segment.into_iter().for_each(|number| lane.blocks().forget(number));
        }
    }

    fn poll_fill(&mut self, lane: &mut Lane) -> Option<(Running, DiskOp)> {
        if self.fill.is_none() {
            let enough = lane.writer.ready.len() >= lane.options.ready_files;
            let (generation, looks) = self.fill_failed_at;
            let hopeless = generation == lane.writer.next_generation && lane.space.looks < looks;
            let room = lane.space.may_fill(lane.options.log_file_bytes);
            if enough || hopeless || !room || lane.closed || lane.wish == CheckpointWish::Clean {
                return None;
            }
            self.fill = Some((lane.writer.next_slot, Fill::Create));
            lane.writer.next_slot += 1;
        }
        let (slot, fill) = self.fill?;
        let op = match fill {
            Fill::Create => DiskOp::Create(slot_path(slot)),
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
        let left = |lane: &Lane| lane.retiring.len() + lane.stored.retiring_count();
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
        if let (DiskOp::Write { bytes, .. }, Ok(_)) = (op, &result) {
            lane.space.wrote(bytes.len() as u64);
        }
        let size = lane.options.log_file_bytes.max(FIRST_RECORD_AT);
        let next = match (fill, result) {
            (Fill::SyncDir { .. }, Err(error)) => {
                return lane.fail(&format!("a log file's name is not known to be durable: {error}"));
            }
            (_, Err(error)) => return self.fill_failed(lane, slot, fill, op, &error),
            (Fill::Create, Ok(OpOutput::File(file))) => Fill::Zeros { file, written: 0 },
            (Fill::Zeros { file, written }, Ok(_)) => {
                let DiskOp::Write { bytes, .. } = op else { return };
                let written = written + bytes.len() as u64;
                if written < size { Fill::Zeros { file, written } } else { Fill::Sync { file } }
            }
            (Fill::Sync { file }, Ok(_)) if !planted(&lane.options, PlantedBug::DirectoryNotSynced) => {
                Fill::SyncDir { file }
            }
            (Fill::Sync { file } | Fill::SyncDir { file }, Ok(_)) => {
                return lane.writer.ready.push(ReadySlot { slot, file, size, filled: true });
            }
            (Fill::Create, Ok(output)) => unreachable!("making a file does not give {output:?}"),
        };
        self.fill = Some((slot, next));
    }

    fn fill_failed(&mut self, lane: &Lane, slot: u64, fill: Fill, op: &DiskOp, error: &io::Error) {
        tracing::warn!(%error, ?op, "the next log file could not be prepared; the log goes on without");
        self.fill_failed_at = (lane.writer.next_generation, lane.space.looks + LOOKS_BEFORE_ANOTHER_FILL);
        if let Fill::Zeros { file, .. } | Fill::Sync { file } | Fill::SyncDir { file } = fill {
            self.garbage.extend([DiskOp::Close(file), DiskOp::Remove(slot_path(slot))]);
        }
    }
}
