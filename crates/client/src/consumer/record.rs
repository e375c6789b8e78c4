//! Records as an application gets them, and the batches that they come out of.
//!
//! Keys and values are slices of the batch, or of what it was decompressed into. Deliberately not here: fetching.

use std::collections::VecDeque;

use bytes::Bytes;
use pagemark_wire::records::{DEFAULT_MAX_DECOMPRESSED_BYTES, Records, is_intact};

use crate::partition::TopicPartition;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is from.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Leader epoch under which it was appended, if known.
    pub leader_epoch: Option<i32>,
    /// Milliseconds since 1970, -1 for none.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; a record without one is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order. Names that are not UTF-8 are shown with replacements.
    pub headers: Vec<(String, Option<Bytes>)>,
    pub(super) incarnation: u64,
}

impl Record {
    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.partition.topic
    }

    /// Its value; empty if it has none.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }

    /// Its key; empty if it has none.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.key.as_deref().unwrap_or_default()
    }
}

/// A batch as it was fetched.
#[derive(Debug, Clone)]
pub(super) enum Fetched {
    /// Records for the application.
    Batch(Bytes),
    /// Records that do not count: control records, or of an aborted transaction.
    Hidden(Bytes),
    /// Bytes that are no batch. Whoever comes to read it is told.
    Damaged,
}

impl Fetched {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Fetched::Batch(batch) | Fetched::Hidden(batch) => batch.len(),
            Fetched::Damaged => 0,
        }
    }

    /// Its records at or after `from`, and the offset behind the batch.
    pub(super) fn records(
        &self,
        partition: &TopicPartition,
        from: i64,
        incarnation: u64,
    ) -> Result<(VecDeque<Record>, i64), String> {
        let (batch, is_hidden) = match self {
            Fetched::Batch(batch) => (batch, false),
            Fetched::Hidden(batch) => (batch, true),
            Fetched::Damaged => return Err("what is there is not a batch".to_owned()),
        };
        if !is_intact(batch) {
            return Err("a checksum is wrong".to_owned());
        }
        let opened = Records::open(batch, DEFAULT_MAX_DECOMPRESSED_BYTES).map_err(|error| error.to_string())?;
        let header = opened.header();
        let mut records = VecDeque::new();
        if !is_hidden {
            for record in &opened {
                let record = record.map_err(|error| error.to_string())?;
                if record.offset.0 < from {
                    continue; // the batch may begin before what was asked for (P-35)
                }
                let keep = |bytes: Option<&[u8]>| bytes.map(|bytes| opened.plain().slice_ref(bytes));
                let headers =
                    record.headers.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), keep(value)));
                records.push_back(Record {
                    partition: partition.clone(),
                    offset: record.offset.0,
                    leader_epoch: Some(header.leader_epoch.0).filter(|epoch| *epoch >= 0),
                    timestamp_ms: record.timestamp_ms,
                    key: keep(record.key),
                    value: keep(record.value),
                    headers: headers.collect(),
                    incarnation,
                });
            }
        }
        Ok((records, header.next_offset().0))
    }
}
