//! What becomes of a batch that a producer sent to a partition: appended at which offset, or a retry, or refused.
//!
//! The owner of a partition calls, in this order and without letting another append in between: [`PartitionState::judge`];
//! for a batch to be appended the walk over its records and the stamp (both in `wire`); the engine's append; and
//! [`PartitionState::replay`]. Deliberately not here: what is durable (the engine says), transactions.

use std::collections::BTreeMap;

use pagemark_wire::ErrorCode;
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::producer_state::{ProducerTable, SequenceVerdict};
use crate::time::MonoMs;

/// Kafka's default for `producer.id.expiration.ms`: one day.
pub const DEFAULT_PRODUCER_EXPIRATION_MS: i64 = 86_400_000;

/// What an owner of a partition knows of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    log_end: Offset,
    leader_epoch: LeaderEpoch,
    producers: ProducerTable,
    /// When each producer last wrote, by our clock that never jumps: the timestamps in batches are the producers' own and may
    /// be years old, and a producer forgotten too early is one whose retries are taken for new batches.
    last_write: BTreeMap<ProducerId, MonoMs>,
}

/// What a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendVerdict {
    /// New: append it here.
    Append {
        /// Offset of its first record.
        base_offset: Offset,
    },
    /// A retry of a batch that is in the log already: success once that is durable, nothing is appended (R-30, P-31).
    Duplicate {
        /// Where the first one is.
        base_offset: Offset,
        /// Greatest timestamp of the first one, milliseconds since 1970.
        timestamp_ms: i64,
    },
    /// Not the next batch of its producer.
    Refuse(Refusal),
}

/// Why a batch is refused. What it displays goes to the client as the error message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not the next sequence number.
    #[error("sequence number {given} of producer {producer} is out of order, expected {expected}", producer = .producer.0)]
    OutOfOrder {
        /// Who sent it.
        producer: ProducerId,
        /// First sequence number of the batch.
        given: i32,
        /// The one that would have been accepted.
        expected: i32,
    },
    /// An older incarnation of the producer.
    #[error("epoch {given} of producer {producer} is older than {current}", given = .given.0, producer = .producer.0, current = .current.0)]
    StaleEpoch {
        /// Who sent it.
        producer: ProducerId,
        /// The incarnation of the batch.
        given: ProducerEpoch,
        /// The newest incarnation seen.
        current: ProducerEpoch,
    },
}

impl Refusal {
    /// What the client gets.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Refusal::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Refusal::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        }
    }
}

impl PartitionState {
    /// The state of a partition as the engine opened it. Every producer counts as having written just now.
    #[must_use]
    pub fn opened(log_end: Offset, leader_epoch: LeaderEpoch, producers: ProducerTable, now: MonoMs) -> PartitionState {
        let last_write = producers.iter().map(|(id, _)| (id, now)).collect();
        PartitionState { log_end, leader_epoch, producers, last_write }
    }

    /// Offset that the next record gets.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// The epoch that appends are made under.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// What is remembered of producers.
    #[must_use]
    pub fn producers(&self) -> &ProducerTable {
        &self.producers
    }

    /// Judges a batch whose header `wire` has accepted: duplicates first, then the sequence. Changes nothing.
    #[must_use]
    pub fn judge(&self, batch: &BatchHeader) -> AppendVerdict {
        let producer = batch.producer_id;
        match self.producers.judge(batch) {
            SequenceVerdict::Next => AppendVerdict::Append { base_offset: self.log_end },
            SequenceVerdict::Duplicate(first) => {
                AppendVerdict::Duplicate { base_offset: first.base_offset, timestamp_ms: first.timestamp_ms }
            }
            SequenceVerdict::OutOfOrder { expected } => {
                AppendVerdict::Refuse(Refusal::OutOfOrder { producer, given: batch.base_sequence, expected })
            }
            SequenceVerdict::StaleEpoch { current } => {
                AppendVerdict::Refuse(Refusal::StaleEpoch { producer, given: batch.producer_epoch, current })
            }
        }
    }

    /// Takes note of a batch that the engine accepted, by its header as it was stamped.
    ///
    /// # Panics
    /// If the batch does not begin at the log end: an owner that disagrees with its log must not go on.
    pub fn replay(&mut self, batch: &BatchHeader, now: MonoMs) {
        assert_eq!(batch.base_offset, self.log_end, "a batch is appended at the log end");
        self.log_end = batch.next_offset();
        self.producers.replay(batch);
        if self.producers.get(batch.producer_id).is_some() {
            self.last_write.insert(batch.producer_id, now);
        }
    }

    /// Forgets producers that have written nothing for `expiration_ms` and says which. To be called every ten minutes
    /// or so.
    pub fn expire(&mut self, now: MonoMs, expiration_ms: i64) -> Vec<ProducerId> {
        let before = MonoMs(now.0.saturating_sub(expiration_ms.unsigned_abs()));
        let silent = self.last_write.iter().filter(|(_, last_write)| **last_write < before);
        let forgotten: Vec<ProducerId> = silent.map(|(id, _)| *id).collect();
        for id in &forgotten {
            self.last_write.remove(id);
            self.producers.forget(*id);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests;
