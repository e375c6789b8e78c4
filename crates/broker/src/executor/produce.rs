//! Appending produced batches: judge, stamp, hand over, answer when durable.
//!
//! Deliberately not here: checking a batch's bytes, which the connection has done before (R-10..R-23).

use std::sync::Arc;

use bytes::Bytes;
use pagemark_core::partition::{AppendVerdict, PartitionState};
use pagemark_core::planted::{PlantedBug, planted};
use pagemark_core::time::MonoMs;
use pagemark_storage::engine::{Append, AtomicGroup, Lsn};
use pagemark_wire::ErrorCode;
use pagemark_wire::records::{BatchError, BatchHeader, Stamp, StampedBatch, Walked, stamp};
use pagemark_wire::types::{Offset, PartitionKey};

use super::turn::{Executor, OwnedPartition, Pending};
use crate::partitions::Partition;

/// One batch on its way into one partition.
pub struct ProduceWork {
    /// Where it goes.
    pub partition: Arc<Partition>,
    /// Its header as sent.
    pub header: BatchHeader,
    /// All of it as sent.
    pub batch: Bytes,
    /// What walking its records gave; counts only if the batch is not a duplicate.
    pub walked: Result<Walked, BatchError>,
    /// Whether the broker's clock gives the timestamps.
    pub log_append_time: bool,
    /// Where the result goes.
    pub answer: Box<dyn ProduceAnswer>,
}

/// Takes the result of one batch.
pub trait ProduceAnswer: Send {
    /// Called exactly once.
    fn settle(self: Box<Self>, result: ProduceResult);
}

/// What became of one batch.
#[derive(Debug, Clone)]
pub enum ProduceResult {
    /// It is durable at this offset.
    Done {
        /// Offset of its first record.
        base_offset: Offset,
        /// The broker's time if that counts (or the first append's time for a duplicate, P-31), else -1.
        log_append_time_ms: i64,
        /// First offset that may be read.
        log_start: Offset,
    },
    /// It was not appended.
    Refused(BatchError),
    /// Something else stood in the way.
    Failed(ErrorCode, String),
}

/// A batch that waits for the disk.
pub(super) struct Produced {
    pub partition: Arc<Partition>,
    pub answer: Box<dyn ProduceAnswer>,
    pub result: ProduceResult,
}

impl Executor {
    /// Decides about one batch; what is to be appended or waited for goes into the turn.
    pub(super) fn produce(&mut self, work: ProduceWork) {
        let now_ms = self.now.wall.0;
        let Some(OwnedPartition { state, log_start, .. }) = self.partitions.get_mut(&work.partition.key) else {
            return work.answer.settle(self.not_owned(&work.partition));
        };
        if let Some(why) = work.partition.quarantined() {
            return work.answer.settle(quarantined(why));
        }
        let log_start = *log_start;
        let bytes = work.batch.len() as u64;
        let done = |base_offset, log_append_time_ms| ProduceResult::Done { base_offset, log_append_time_ms, log_start };
        let result = match state.judge(&work.header) {
            AppendVerdict::Refuse(refusal) => {
                return work.answer.settle(ProduceResult::Failed(refusal.error_code(), refusal.to_string()));
            }
            AppendVerdict::Duplicate { .. } if planted(&self.group_settings, PlantedBug::DuplicateAppended) => {
                let (base, time) = (state.log_end(), Stamp::LogAppendTime { now_ms });
                let batch = stamped(state, base, &work.batch, time, self.now.mono);
                self.turn.append(work.partition.shard, Append::new(work.partition.key, batch));
                done(base, -1)
            }
            AppendVerdict::Duplicate { base_offset, timestamp_ms } => done(base_offset, timestamp_ms),
            AppendVerdict::Append { .. } if work.walked.is_ok() && !self.allowance.take(&mut self.look, bytes) => {
                let why = "the disk is nearly full: records are taken again when there is room".to_owned();
                return work.answer.settle(ProduceResult::Failed(ErrorCode::KafkaStorageError, why));
            }
            AppendVerdict::Append { base_offset } => {
                let time = match (&work.walked, work.log_append_time) {
                    (Err(error), _) => return work.answer.settle(ProduceResult::Refused(error.clone())),
                    (Ok(_), true) => Stamp::LogAppendTime { now_ms },
                    (Ok(walked), false) => Stamp::CreateTime { max_timestamp_ms: walked.max_timestamp_ms },
                };
                let batch = stamped(state, base_offset, &work.batch, time, self.now.mono);
                self.turn.append(work.partition.shard, Append::new(work.partition.key, batch));
                done(base_offset, if work.log_append_time { now_ms } else { -1 })
            }
        };
        let produced = Produced { partition: Arc::clone(&work.partition), answer: work.answer, result };
        self.turn.produced.entry(work.partition.shard).or_default().push(produced);
    }

    /// Why a partition is not in this executor's hands: its topic was deleted, or its shard was lost with the log.
    fn not_owned(&self, partition: &Partition) -> ProduceResult {
        let PartitionKey { topic, partition } = partition.key;
        if self.registry.view().by_id(topic).is_some() {
            let why = format!("partition {partition} cannot be written: the log has failed");
            return ProduceResult::Failed(ErrorCode::KafkaStorageError, why);
        }
        ProduceResult::Failed(ErrorCode::UnknownTopicOrPartition, format!("partition {partition} is gone"))
    }

    /// Puts a shard's batches behind the write that they wait for, or fails them all.
    pub(super) fn hand_over_produced(&mut self, produced: Vec<Produced>, appended: &Result<Lsn, String>) {
        match appended {
            Ok(_) if produced.is_empty() => {}
            Ok(lsn) => self.pending.push_back(Pending::produced(*lsn, produced)),
            Err(why) => produced.into_iter().for_each(|p| p.fail(why)),
        }
    }
}

/// The batch with its place in the log written into it, taken note of by the partition's state.
fn stamped(state: &mut PartitionState, base_offset: Offset, sent: &Bytes, time: Stamp, now: MonoMs) -> StampedBatch {
    let (batch, header) = stamp(sent, base_offset, state.leader_epoch(), time);
    state.replay(&header, now);
    batch
}

impl Produced {
    /// The batch is durable.
    pub fn succeed(self) {
        self.answer.settle(self.result);
    }

    /// The partition's bytes have rotted.
    pub fn fail_quarantined(self, why: &str) {
        self.answer.settle(quarantined(why));
    }

    /// The batch's fate is unknown, or it was refused by the engine.
    pub fn fail(self, why: &str) {
        self.answer.settle(ProduceResult::Failed(ErrorCode::KafkaStorageError, why.to_owned()));
    }
}

fn quarantined(why: &str) -> ProduceResult {
    ProduceResult::Failed(ErrorCode::KafkaStorageError, format!("the partition is quarantined: {why}"))
}

/// One batch alone: a Produce is atomic partition by partition, not as a whole.
pub(super) fn alone(append: Append) -> AtomicGroup {
    AtomicGroup(vec![append])
}
