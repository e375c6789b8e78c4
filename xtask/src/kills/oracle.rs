//! What must be true after a restart, kept outside the broker: acknowledged things, and things without an answer.
//!
//! An answer that was lost may have been a yes or a no, so either is right, once; from then on it is settled. What has been
//! seen is never taken back. Deliberately not here: sockets.

use bytes::Bytes;

use crate::admin::Committed;

/// One group's offset in one partition.
#[derive(Debug, Clone)]
pub struct CommitBook {
    settled: i64,
    unanswered: Vec<i64>,
}

/// The text that goes with a commit, so that one commit's offset cannot be taken for another's.
pub fn metadata_of(offset: i64) -> String {
    if offset < 0 { String::new() } else { format!("commit {offset}") }
}

impl CommitBook {
    /// Nothing committed.
    pub fn new() -> CommitBook {
        CommitBook { settled: -1, unanswered: Vec::new() }
    }

    /// A commit was sent.
    pub fn sent(&mut self, offset: i64) {
        self.unanswered.push(offset);
    }

    /// The oldest commit without an answer was confirmed.
    pub fn confirmed(&mut self) {
        self.settled = self.unanswered.remove(0);
    }

    /// Judges what OffsetFetch says after a restart, and settles on it. Says whether it was one whose answer was lost.
    pub fn judge(&mut self, found: &Committed) -> Result<bool, String> {
        if found.metadata != metadata_of(found.offset) {
            return Err(format!("offset {} has the metadata {:?}", found.offset, found.metadata));
        }
        let was_unanswered = self.unanswered.contains(&found.offset);
        if found.offset != self.settled && !was_unanswered {
            let (offset, settled, lost) = (found.offset, self.settled, &self.unanswered);
            return Err(format!("committed is {offset}; confirmed was {settled}, without an answer were {lost:?}"));
        }
        self.settled = found.offset;
        self.unanswered.clear();
        Ok(was_unanswered)
    }
}

/// A batch that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentBatch {
    /// Sequence number of its first record.
    pub first_sequence: i32,
    /// The time its records carry.
    pub timestamp_ms: i64,
    /// Its records.
    pub values: Vec<Bytes>,
}

/// One partition: all that is known to be in it, and batches without an answer.
#[derive(Debug, Clone, Default)]
pub struct PartitionBook {
    log: Vec<Bytes>,
    unanswered: Vec<SentBatch>,
}

impl PartitionBook {
    /// A batch was sent.
    pub fn sent(&mut self, batch: SentBatch) {
        self.unanswered.push(batch);
    }

    /// The log end as far as known.
    pub fn end(&self) -> i64 {
        self.log.len() as i64
    }

    /// The oldest batch without an answer was confirmed at this base offset.
    pub fn confirmed(&mut self, base_offset: i64) -> Result<(), String> {
        if base_offset != self.end() {
            return Err(format!("a batch was confirmed at {base_offset}, the log ended at {}", self.end()));
        }
        let batch = self.unanswered.remove(0);
        self.log.extend(batch.values);
        Ok(())
    }

    /// Judges all that can be read after a restart, and settles on it. Gives the batches without an answer that were found;
    /// those that were not are to be sent again, and so are these.
    pub fn judge(&mut self, found: &[Bytes]) -> Result<Vec<Retry>, String> {
        if found.len() < self.log.len() {
            return Err(format!("{} records were acknowledged or seen, {} are left", self.log.len(), found.len()));
        }
        if let Some(offset) = (0..self.log.len()).find(|index| self.log[*index] != found[*index]) {
            return Err(format!("offset {offset}: was {:?}, is {:?}", self.log[offset], found[offset]));
        }
        let mut at = self.log.len();
        let mut retries = Vec::new();
        let mut stored = true;
        for batch in std::mem::take(&mut self.unanswered) {
            stored = stored && found[at..].starts_with(&batch.values);
            let stored_at = stored.then_some(at as i64);
            if stored {
                at += batch.values.len();
            }
            retries.push(Retry { batch, stored_at });
        }
        if at < found.len() {
            return Err(format!("offset {at} holds {:?}, which nobody sent there, or part of a batch", found[at]));
        }
        self.log = found.to_vec();
        Ok(retries)
    }

    /// A retry was answered with this base offset.
    pub fn retried(&mut self, retry: Retry, base_offset: i64) -> Result<(), String> {
        let wanted = retry.stored_at.unwrap_or(self.end());
        if base_offset != wanted {
            return Err(format!("a batch sent again was confirmed at {base_offset}, it belongs at {wanted}"));
        }
        if retry.stored_at.is_none() {
            self.log.extend(retry.batch.values);
        }
        Ok(())
    }
}

/// A batch to be sent again after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The batch, with the sequence number it had.
    pub batch: SentBatch,
    /// Where it already is, if it is.
    pub stored_at: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(offset: i64) -> Committed {
        Committed { offset, metadata: metadata_of(offset) }
    }

    fn batch(first_sequence: i32, values: &[&'static str]) -> SentBatch {
        SentBatch {
            first_sequence,
            timestamp_ms: 0,
            values: values.iter().map(|value| Bytes::from_static(value.as_bytes())).collect(),
        }
    }

    fn values(values: &[&'static str]) -> Vec<Bytes> {
        batch(0, values).values
    }

    #[test]
    fn the_last_confirmed_commit_or_a_later_one_without_an_answer_is_right() {
        let mut book = CommitBook::new();
        for offset in [5, 9, 7, 8] {
            book.sent(offset);
        }
        book.confirmed();
        book.confirmed();
        for (found, right) in [(9, true), (7, true), (8, true), (5, false), (-1, false), (6, false)] {
            assert_eq!(book.clone().judge(&committed(found)).is_ok(), right, "{found}");
        }
        assert_eq!(book.clone().judge(&committed(9)), Ok(false));
        assert_eq!(book.judge(&committed(7)), Ok(true));
        assert!(book.judge(&committed(8)).is_err(), "what was not there once does not come back");
    }

    #[test]
    fn a_commit_with_another_ones_metadata_is_wrong() {
        let mut book = CommitBook::new();
        book.sent(5);
        book.confirmed();
        assert!(book.judge(&Committed { offset: 5, metadata: metadata_of(4) }).is_err());
    }

    #[test]
    fn acknowledged_records_must_be_there_and_unanswered_batches_may_in_order_and_whole() {
        let mut book = PartitionBook::default();
        book.sent(batch(0, &["a", "b"]));
        book.confirmed(0).unwrap();
        book.sent(batch(2, &["c", "d"]));
        book.sent(batch(4, &["e"]));
        for (found, right) in [
            (&["a", "b"][..], true),
            (&["a", "b", "c", "d"], true),
            (&["a", "b", "c", "d", "e"], true),
            (&["a"], false),
            (&["a", "x"], false),
            (&["a", "b", "c"], false),
            (&["a", "b", "e"], false),
            (&["a", "b", "c", "d", "e", "e"], false),
        ] {
            assert_eq!(book.clone().judge(&values(found)).is_ok(), right, "{found:?}");
        }
    }

    #[test]
    fn a_retry_belongs_where_the_batch_already_is_or_at_the_end_r_30() {
        let mut book = PartitionBook::default();
        book.sent(batch(0, &["a"]));
        book.sent(batch(1, &["b"]));
        let retries = book.judge(&values(&["a"])).unwrap();
        assert_eq!(retries.iter().map(|retry| retry.stored_at).collect::<Vec<_>>(), [Some(0), None]);
        assert!(book.clone().retried(retries[0].clone(), 1).is_err());
        book.retried(retries[0].clone(), 0).unwrap();
        book.retried(retries[1].clone(), 1).unwrap();
        assert_eq!(book.end(), 2);
        assert!(book.judge(&values(&["a"])).is_err(), "what was seen is never taken back");
    }
}
