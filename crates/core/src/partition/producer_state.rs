//! What a partition remembers of each idempotent producer, to tell a retry from a new batch (R-30..R-36).
//!
//! The table is a fold over batch headers: [`ProducerTable::replay`] is its only mutator besides expiry, in operation and at
//! recovery alike, so that what a restart rebuilds is what was there. Deliberately not here: open transactions.

use std::collections::{BTreeMap, VecDeque};

use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{Offset, ProducerEpoch, ProducerId};

/// How many of a producer's last batches are remembered: as many as a client may have in flight.
pub const REMEMBERED_BATCHES: usize = 5;

/// One remembered batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpan {
    /// Sequence number of its first record.
    pub first_sequence: i32,
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its first record: what a duplicate is answered with.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its greatest timestamp, milliseconds since 1970 (P-31).
    pub timestamp_ms: i64,
}

/// What is remembered of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Its newest incarnation seen here.
    pub epoch: ProducerEpoch,
    /// Its last batches, oldest first, at most [`REMEMBERED_BATCHES`].
    pub batches: VecDeque<BatchSpan>,
}

/// What a batch of an idempotent producer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceVerdict {
    /// The next batch, or one whose producer is not known or not idempotent: append it.
    Next,
    /// A retry of this batch, which is in the log already.
    Duplicate(BatchSpan),
    /// Not the next sequence number: OUT_OF_ORDER_SEQUENCE_NUMBER.
    OutOfOrder {
        /// The sequence number that would have been the next.
        expected: i32,
    },
    /// An older incarnation: INVALID_PRODUCER_EPOCH.
    StaleEpoch {
        /// The newest incarnation seen.
        current: ProducerEpoch,
    },
}

/// The producers of one partition, in order of their ids so that two replays give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, ProducerEntry>,
}

impl ProducerTable {
    /// Judges a batch against what is remembered: duplicates first, then the sequence.
    #[must_use]
    pub fn judge(&self, batch: &BatchHeader) -> SequenceVerdict {
        if !is_idempotent(batch) {
            return SequenceVerdict::Next;
        }
        let Some(entry) = self.producers.get(&batch.producer_id) else {
            return SequenceVerdict::Next;
        };
        if batch.producer_epoch < entry.epoch {
            return SequenceVerdict::StaleEpoch { current: entry.epoch };
        }
        if batch.producer_epoch > entry.epoch {
            return match batch.base_sequence {
                0 => SequenceVerdict::Next,
                _ => SequenceVerdict::OutOfOrder { expected: 0 },
            };
        }
        let span = (batch.base_sequence, batch.last_sequence());
        if let Some(known) = entry.batches.iter().find(|b| (b.first_sequence, b.last_sequence) == span) {
            return SequenceVerdict::Duplicate(*known);
        }
        let Some(last) = entry.batches.back() else { return SequenceVerdict::Next };
        let expected = if last.last_sequence == i32::MAX { 0 } else { last.last_sequence + 1 };
        if batch.base_sequence == expected { SequenceVerdict::Next } else { SequenceVerdict::OutOfOrder { expected } }
    }

    /// Takes note of a batch that is in the log, its offsets assigned.
    pub fn replay(&mut self, batch: &BatchHeader) {
        if !is_idempotent(batch) || batch.is_control() {
            return;
        }
        let entry = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| ProducerEntry { epoch: batch.producer_epoch, batches: VecDeque::new() });
        if entry.epoch != batch.producer_epoch {
            entry.epoch = batch.producer_epoch;
            entry.batches.clear();
        }
        if entry.batches.len() == REMEMBERED_BATCHES {
            entry.batches.pop_front();
        }
        entry.batches.push_back(BatchSpan {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            timestamp_ms: batch.max_timestamp_ms,
        });
    }

    /// What is remembered of one producer.
    #[must_use]
    pub fn get(&self, id: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&id)
    }

    /// Forgets one producer; its next batch may have any sequence number.
    pub fn forget(&mut self, id: ProducerId) {
        self.producers.remove(&id);
    }

    /// All producers with what is remembered of them, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    /// Puts back what [`ProducerTable::iter`] gave, from a checkpoint.
    pub fn restore(&mut self, id: ProducerId, entry: ProducerEntry) {
        self.producers.insert(id, entry);
    }
}

/// Whether the batch carries a producer id; any negative one is none.
fn is_idempotent(batch: &BatchHeader) -> bool {
    batch.producer_id.0 >= 0
}

#[cfg(test)]
pub(super) mod tests;
