//! One group shard in the hands of its executor: the decisions' value, its log, and the answers that wait for the disk.
//!
//! Deliberately not here: when any of it happens (`groups`, `turn`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use pagemark_core::coordinator::{Answer, GroupSettings, GroupShard, Replayed};
use pagemark_core::effects::{After, CoordinatorRecord, Effects, ReplyTo};
use pagemark_core::partition::PartitionState;
use pagemark_core::time::{MonoMs, Now};
use pagemark_storage::engine::LogStore;
use pagemark_wire::ErrorCode;
use pagemark_wire::records::{BatchBuilder, BatchHeader, DEFAULT_MAX_DECOMPRESSED_BYTES, Records};
use pagemark_wire::types::Offset;

use super::GroupAnswer;
use crate::partitions::Partition;

/// Bytes of log read in one turn while loading, so that a long load does not keep other shards waiting.
const LOAD_SLICE_BYTES: usize = 1 << 20;

/// Batches are split beyond so many bytes of keys and values: more than core lets one request write, and well below what a
/// log record can hold.
const BATCH_SPLIT_BYTES: usize = 9 << 20;

/// How far a shard has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// It reads its log.
    Loading {
        /// The next offset to read.
        next: Offset,
        /// Where the log ended when loading began (O-80).
        end: Offset,
    },
    /// It answers.
    Ready,
    /// Its log could not be read or written: only a restart helps.
    Broken,
}

/// A group shard with all that belongs to it.
pub(super) struct OwnedGroupShard {
    /// Which partition of `__consumer_offsets`.
    pub number: u32,
    pub partition: Arc<Partition>,
    pub core: GroupShard,
    pub phase: Phase,
    /// Answers that the core has not given yet.
    pub parked: BTreeMap<ReplyTo, GroupAnswer>,
    /// Answers given, by the end that the log must be durable to.
    held: BTreeMap<Offset, Vec<(GroupAnswer, Answer)>>,
    /// End of what was decided, appended or about to be.
    appended_end: Offset,
    durable_end: Offset,
    /// Appends on their way to the disk: the end of each and when it was handed over, oldest first.
    in_flight: VecDeque<(Offset, MonoMs)>,
    /// A commit whose append takes longer is answered COORDINATOR_NOT_AVAILABLE (O-18).
    commit_timeout_ms: u64,
    /// Commits that wait for an append below this have been told that it takes too long (O-18).
    told_late: Offset,
    /// When the core wants to be called.
    pub deadline: Option<MonoMs>,
    /// When the groups are to be looked through for what has expired.
    pub next_sweep: MonoMs,
    /// End of what the last step of a sweep wrote: the next one waits for the disk.
    swept_end: Offset,
}

impl OwnedGroupShard {
    /// A shard at the start of its load.
    pub fn new(
        number: u32,
        partition: Arc<Partition>,
        settings: Arc<GroupSettings>,
        commit_timeout_ms: u64,
        start: Offset,
        end: Offset,
    ) -> Self {
        OwnedGroupShard {
            number,
            partition,
            core: GroupShard::new(settings),
            phase: Phase::Loading { next: start, end },
            parked: BTreeMap::new(),
            held: BTreeMap::new(),
            appended_end: end,
            durable_end: end,
            in_flight: VecDeque::new(),
            told_late: Offset(0),
            commit_timeout_ms,
            deadline: None,
            next_sweep: MonoMs(0),
            swept_end: Offset(0),
        }
    }

    /// Replays the records of a decision and gives them back as batches to append; replies that need not wait leave, others
    /// are held. `state` is that of the shard's own partition. What one request writes is one batch (O-18), the deletion of
    /// a very large group aside (G-37): core keeps it below the size at which batches are split here.
    pub fn take_in(&mut self, state: &mut PartitionState, effects: Effects, now: Now) -> Vec<Bytes> {
        let batches = split(&effects.records).map(|records| self.append(state, records, now)).collect();
        for reply in effects.replies {
            let Some(answer) = self.parked.remove(&reply.to) else {
                tracing::error!(shard = self.number, "a group shard answered twice, or somebody who did not ask");
                continue;
            };
            let needs = match reply.after {
                After::Nothing => Offset(0),
                After::OwnRecords => self.appended_end,
                After::Position(end) => end,
            };
            if needs <= self.durable_end {
                answer(reply.answer);
            } else {
                self.held.entry(needs).or_default().push((answer, reply.answer));
            }
        }
        self.deadline = self.core.next_deadline();
        batches
    }

    fn append(&mut self, state: &mut PartitionState, records: &[CoordinatorRecord], now: Now) -> Bytes {
        let base = state.log_end();
        let mut builder = BatchBuilder::new(now.wall.0).placed_at(base, state.leader_epoch());
        for (offset, record) in (base.0..).zip(records) {
            builder.push(Some(&record.key), record.value.as_deref());
            self.replay(Offset(offset), &record.key, record.value.as_deref());
        }
        let batch = builder.finish();
        state.replay(&BatchHeader::parse(&batch).expect("a batch built here has a header"), now.mono);
        self.appended_end = state.log_end();
        batch
    }

    fn replay(&mut self, offset: Offset, key: &[u8], value: Option<&[u8]>) {
        match self.core.replay(offset, key, value) {
            Replayed::Applied => {}
            other => {
                tracing::warn!(shard = self.number, offset = offset.0, ?other, "record of the offsets topic skipped")
            }
        }
    }

    /// The log is durable up to `end`.
    pub fn durable(&mut self, end: Offset) {
        self.durable_end = self.durable_end.max(end);
        let later = self.held.split_off(&self.durable_end.plus(1));
        for (answer, text) in std::mem::replace(&mut self.held, later).into_values().flatten() {
            answer(text);
        }
        while self.in_flight.front().is_some_and(|(end, _)| *end <= self.durable_end) {
            self.in_flight.pop_front();
        }
    }

    /// Everything appended was handed to the engine. Gives the end that it will be durable to.
    pub fn handed_over(&mut self, now: MonoMs) -> Offset {
        self.in_flight.push_back((self.appended_end, now));
        self.appended_end
    }

    /// When commits must be told that their append takes too long; `None` if none is on its way (O-18).
    pub fn commit_deadline(&self) -> Option<MonoMs> {
        let oldest = self.in_flight.iter().find(|(end, _)| *end > self.told_late);
        oldest.map(|(_, since)| since.plus(self.commit_timeout_ms))
    }

    /// Answers the commits whose append has been on its way for too long: whether they are stored is not known. Other
    /// answers go on waiting.
    pub fn refuse_late_commits(&mut self, now: MonoMs) {
        let late = self.in_flight.iter().take_while(|(_, since)| since.plus(self.commit_timeout_ms) <= now);
        let Some(end) = late.map(|(end, _)| *end).last() else { return };
        self.told_late = self.told_late.max(end);
        for waiting in self.held.range_mut(..=end).map(|(_, waiting)| waiting) {
            let is_commit = |(_, answer): &mut (GroupAnswer, Answer)| matches!(answer, Answer::Commit(_));
            for (respond, answer) in waiting.extract_if(.., is_commit) {
                respond(answer.refused(ErrorCode::CoordinatorNotAvailable));
            }
        }
    }

    /// When the next step of a sweep is due; `None` while there is none to be made.
    pub fn sweep_deadline(&self) -> Option<MonoMs> {
        let may_go_on = matches!(self.phase, Phase::Ready) && self.swept_end <= self.durable_end;
        may_go_on.then_some(self.next_sweep)
    }

    /// A step of a sweep was taken in: the next one waits until what it wrote is durable, however much there is to go.
    pub fn swept_to_the_end(&mut self) {
        self.swept_end = self.appended_end;
    }

    /// Since when the oldest append on its way is waiting for the disk (G-9).
    pub fn outstanding_since(&self) -> Option<MonoMs> {
        self.in_flight.front().map(|(_, since)| *since)
    }

    /// The log cannot be written or read: everybody who waits gets this error, and so does everybody who comes.
    pub fn give_up(&mut self, code: ErrorCode) {
        self.phase = Phase::Broken;
        self.deadline = None;
        for (answer, text) in std::mem::take(&mut self.held).into_values().flatten() {
            answer(text.refused(code));
        }
        for reply in self.core.abandon(code) {
            if let Some(answer) = self.parked.remove(&reply.to) {
                answer(reply.answer);
            }
        }
    }

    /// Reads the next piece of the log. True when the end was reached and the shard may be opened.
    pub fn load_slice(&mut self, engine: &dyn LogStore) -> bool {
        let Phase::Loading { next, end } = self.phase else { return false };
        if next >= end {
            return true;
        }
        let slice = match engine.read(self.partition.key, next, LOAD_SLICE_BYTES, end) {
            Ok(slice) if !slice.batches.is_empty() => slice,
            Ok(_) => {
                tracing::error!(shard = self.number, next = next.0, end = end.0, "the offsets topic ends early");
                self.give_up(ErrorCode::CoordinatorNotAvailable);
                return false;
            }
            Err(error) => {
                tracing::error!(shard = self.number, %error, "the offsets topic cannot be read");
                self.give_up(ErrorCode::CoordinatorNotAvailable);
                return false;
            }
        };
        let mut reached = next;
        for batch in &slice.batches {
            match self.load_batch(batch) {
                Ok(after) => reached = after,
                Err(why) => {
                    tracing::error!(shard = self.number, why, "a batch of the offsets topic cannot be read");
                    self.give_up(ErrorCode::CoordinatorNotAvailable);
                    return false;
                }
            }
        }
        self.phase = Phase::Loading { next: reached, end };
        reached >= end
    }

    fn load_batch(&mut self, batch: &Bytes) -> Result<Offset, String> {
        let header = BatchHeader::parse(batch).map_err(|e| e.to_string())?;
        if header.is_control() {
            return Ok(header.next_offset());
        }
        let records = Records::open(batch, DEFAULT_MAX_DECOMPRESSED_BYTES).map_err(|e| e.to_string())?;
        for record in &records {
            let record = record.map_err(|e| e.to_string())?;
            if let Some(key) = record.key {
                self.replay(record.offset, key, record.value);
            }
        }
        Ok(header.next_offset())
    }
}

/// Cuts records into runs of at most [`BATCH_SPLIT_BYTES`] of keys and values, or one record.
fn split(records: &[CoordinatorRecord]) -> impl Iterator<Item = &[CoordinatorRecord]> {
    let mut bytes = 0;
    records.chunk_by(move |record, next| {
        bytes += record.size();
        let together = bytes + next.size() <= BATCH_SPLIT_BYTES;
        if !together {
            bytes = 0;
        }
        together
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tombstones_are_split_and_what_one_request_writes_is_not_o_18() {
        let record = |bytes: usize| CoordinatorRecord { key: Bytes::from(vec![0; bytes]), value: None };
        let one_request = vec![record(1 << 20); 8];
        assert_eq!(split(&one_request).count(), 1);
        let sizes: Vec<usize> = split(&vec![record(1 << 20); 25]).map(<[_]>::len).collect();
        assert_eq!(sizes, [9, 9, 7]);
        assert_eq!(split(&[]).count(), 0);
    }
}
