//! The flusher: takes everything pending, writes it, syncs once, announces it. One flush at a time.
//!
//! What arrives during a flush goes with the next. A flush that begins a new file makes that file's name and header durable
//! before the first record is written into it, and syncs the old file as well before anything is announced. After any failure
//! there is no next operation. Deliberately not here: threads, timers (`driver.rs`).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::lane::{Lane, NewFile, Position, Taken};
use super::log_file::{FileHeader, LOG_DIR, LogFile, slot_path};
use super::ops::{DiskOp, OpOutput};
use super::options::planted;
use crate::planted::PlantedBug;

#[derive(Debug)]
enum Step {
    Create { header: FileHeader, slot: u64 },
    SyncDir,
    WriteHeader { generation: u64 },
    Sync { generation: u64 },
    Write { at: Position, bytes: Bytes },
}

#[derive(Debug)]
struct Flight {
    steps: VecDeque<Step>,
    /// What becomes durable at the end; `None` for an idle mark.
    last_lsn: Option<u64>,
    chunks: Vec<(Position, Bytes)>,
}

/// The flusher's state between two operations.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    flight: Option<Flight>,
    /// Only for the planted bug: a failed sync was called once more.
    retried: bool,
}

impl Flusher {
    /// Whether a flush is under way.
    pub(super) fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// Takes what is pending, if nothing is under way. `true` if there is a flush now.
    pub(super) fn begin(&mut self, lane: &mut Lane) -> bool {
        if self.flight.is_none() && lane.failed.is_none() {
            self.flight = lane.take_pending().map(|taken| plan(lane, taken));
        }
        self.flight.is_some()
    }

    /// Begins writing an idle mark: `durable_lsn` for a recovery, should the process end here. Not synced.
    pub(super) fn begin_idle_mark(&mut self, lane: &mut Lane) -> bool {
        if self.flight.is_some() || lane.marked == lane.next_lsn {
            return false;
        }
        let Some((at, bytes)) = lane.idle_mark() else { return false };
        lane.marked = lane.next_lsn;
        let steps = VecDeque::from([Step::Write { at, bytes }]);
        self.flight = Some(Flight { steps, last_lsn: None, chunks: Vec::new() });
        true
    }

    /// The next operation of the flush under way.
    pub(super) fn poll(&mut self, lane: &mut Lane) -> Option<DiskOp> {
        if lane.failed.is_some() {
            self.flight = None;
        }
        let step = self.flight.as_ref()?.steps.front()?;
        let file = |generation: u64| lane.files.get(&generation).expect("a file is begun before it is written");
        Some(match step {
            Step::Create { slot, .. } => DiskOp::Create(slot_path(*slot)),
            Step::SyncDir => DiskOp::SyncDir(LOG_DIR),
            Step::WriteHeader { generation } => {
                let file = file(*generation);
                DiskOp::Write { file: file.file, offset: 0, bytes: file.header.encode().freeze() }
            }
            Step::Sync { generation } => DiskOp::Sync(file(*generation).file),
            Step::Write { at, bytes } => {
                DiskOp::Write { file: file(at.generation).file, offset: at.offset, bytes: bytes.clone() }
            }
        })
    }

    /// Takes the result of the operation that [`Flusher::poll`] gave. `true` if progress is to be announced.
    pub(super) fn done(&mut self, lane: &mut Lane, result: io::Result<OpOutput>) -> bool {
        let Some(flight) = &mut self.flight else { return false };
        if lane.failed.is_some() {
            self.flight = None;
            return true;
        }
        let step = flight.steps.front().expect("a result belongs to an operation");
        let output = match result {
            Ok(output) => output,
            Err(_)
                if matches!(step, Step::Sync { .. })
                    && !std::mem::replace(&mut self.retried, true)
                    && planted(&lane.options, PlantedBug::FailedSyncRetried) =>
            {
                return false;
            }
            Err(error) => {
                lane.fail(&format!("the log cannot be written: {error}"));
                self.flight = None;
                return true;
            }
        };
        match (flight.steps.pop_front(), output) {
            (Some(Step::Create { header, slot }), OpOutput::File(file)) => {
                let made = LogFile::new(slot, file, header, header.capacity);
                lane.files.insert(header.generation, Arc::new(made));
            }
            (Some(Step::Sync { .. }), _) => lane.stats.syncs += 1,
            (Some(Step::Write { bytes, .. }), _) => lane.stats.log_bytes_written += bytes.len() as u64,
            _ => {}
        }
        flight.steps.is_empty() && self.land(lane)
    }

    fn land(&mut self, lane: &mut Lane) -> bool {
        let Some(Flight { last_lsn: Some(last_lsn), chunks, .. }) = self.flight.take() else { return false };
        let bytes = chunks.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        lane.writer.flushes.note(bytes, lane.options.large_flush_bytes);
        for (at, bytes) in chunks {
            lane.tail.push(at.generation, at.offset, bytes);
        }
        lane.durable_up_to(last_lsn);
        lane.stats.flushes += 1;
        true
    }
}

/// The operations of a flush, in order.
fn plan(lane: &mut Lane, taken: Taken) -> Flight {
    let mut steps = VecDeque::new();
    let mut late = Vec::new();
    let mut begins = taken.begins.into_iter().peekable();
    let mut dirty: Option<u64> = None;
    for (i, (at, bytes)) in taken.writes.iter().enumerate() {
        while let Some((_, new)) = begins.next_if(|(before, _)| *before <= i) {
            if let Some(generation) = dirty.take() {
                steps.push_back(Step::Sync { generation });
            }
            plan_file(lane, new, &mut steps, &mut late);
        }
        dirty = Some(at.generation);
        steps.push_back(Step::Write { at: *at, bytes: bytes.clone() });
    }
    if let Some(generation) = dirty.filter(|_| !planted(&lane.options, PlantedBug::AckBeforeSync)) {
        steps.push_back(Step::Sync { generation });
    }
    steps.extend(late);
    Flight { steps, last_lsn: Some(taken.last_lsn), chunks: taken.writes }
}

/// The operations that begin a file: name and header are durable before its first record is written.
fn plan_file(lane: &mut Lane, new: NewFile, steps: &mut VecDeque<Step>, late: &mut Vec<Step>) {
    let generation = new.header.generation;
    let mut created = false;
    match new.slot {
        Ok(ready) => {
            let file = LogFile::new(ready.slot, ready.file, new.header, ready.size);
            lane.files.insert(generation, Arc::new(file));
        }
        Err(slot) => {
            created = true;
            steps.push_back(Step::Create { header: new.header, slot });
        }
    }
    if planted(&lane.options, PlantedBug::HeaderNotSyncedOnRecycle) && !created {
        late.push(Step::WriteHeader { generation });
        return;
    }
    steps.push_back(Step::WriteHeader { generation });
    steps.push_back(Step::Sync { generation });
    if created && !planted(&lane.options, PlantedBug::DirectoryNotSynced) {
        steps.push_back(Step::SyncDir);
    }
}
