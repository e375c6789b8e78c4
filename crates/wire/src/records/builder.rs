//! Builds a batch: what coordinators write, and what producers send.
//!
//! Deliberately not here: when to compress, which is the producer's affair, and compressing again (`recompress.rs`).

use bytes::Bytes;

use super::check::CRC_FROM;
use super::compress::{Compression, compress};
use super::header::BATCH_HEADER_LEN;
use super::varint::put_varlong;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// A batch in the making: uncompressed, format 2, all records in one buffer.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    record: Vec<u8>,
    record_count: i32,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    attributes: i16,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
}

impl BatchBuilder {
    /// An empty batch whose records have this timestamp, in milliseconds since 1970. As it stands it is what a producer
    /// sends: base offset 0, no leader epoch, not idempotent.
    #[must_use]
    pub fn new(timestamp_ms: i64) -> BatchBuilder {
        BatchBuilder {
            bytes: vec![0; BATCH_HEADER_LEN],
            record: Vec::new(),
            record_count: 0,
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch::NONE,
            attributes: 0,
            base_timestamp_ms: timestamp_ms,
            max_timestamp_ms: i64::MIN, // until there is a record
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(-1),
            base_sequence: -1,
        }
    }

    /// What the owner of a partition writes: its own offsets and epoch.
    #[must_use]
    pub fn placed_at(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> BatchBuilder {
        self.base_offset = base_offset;
        self.leader_epoch = leader_epoch;
        self
    }

    /// What an idempotent producer sends: who it is, and the sequence number of the first record.
    #[must_use]
    pub fn produced_by(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> BatchBuilder {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Adds a record with the batch's timestamp and no headers. A null value is a tombstone.
    pub fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.push_record(self.base_timestamp_ms, key, value, &[]);
    }

    /// Adds a record with all that it can have. Timestamps are milliseconds since 1970.
    pub fn push_record(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let record = &mut self.record;
        record.clear();
        record.push(0); // attributes
        put_varlong(record, timestamp_ms.wrapping_sub(self.base_timestamp_ms));
        put_varlong(record, i64::from(self.record_count));
        put_nullable(record, key);
        put_nullable(record, value);
        put_varlong(record, headers.len() as i64);
        for (name, value) in headers {
            put_nullable(record, Some(name.as_bytes()));
            put_nullable(record, *value);
        }
        put_varlong(&mut self.bytes, self.record.len() as i64);
        self.bytes.extend_from_slice(&self.record);
        self.record_count += 1;
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
    }

    /// Number of records so far.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Size of the batch so far, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The finished batch.
    ///
    /// # Panics
    /// If there is no record, since no batch may be empty, or more than 2 GiB of them.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.bytes);
        self.seal(bytes, self.attributes)
    }

    /// Names the producer anew, for a batch that is sent again by another one.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
    }

    /// A finished batch of what is here so far, its records compressed. The builder stays as it is.
    ///
    /// # Panics
    /// As [`BatchBuilder::finish`].
    #[must_use]
    pub fn compressed(&self, compression: Compression) -> Bytes {
        let records = &self.bytes[BATCH_HEADER_LEN..];
        let mut bytes = vec![0; BATCH_HEADER_LEN];
        bytes.reserve(records.len());
        compress(compression.into(), records, records.len() as u64, &mut bytes)
            .expect("writing into memory does not fail");
        self.seal(bytes, self.attributes | compression.number())
    }

    /// Fills in the header in front of the records.
    fn seal(&self, mut bytes: Vec<u8>, attributes: i16) -> Bytes {
        assert!(self.record_count > 0, "a batch holds at least one record");
        let batch_length = i32::try_from(bytes.len() - 12).expect("a batch is smaller than 2 GiB");
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &self.base_offset.0.to_be_bytes());
        put(8, &batch_length.to_be_bytes());
        put(12, &self.leader_epoch.0.to_be_bytes());
        put(16, &[2]);
        put(21, &attributes.to_be_bytes());
        put(23, &(self.record_count - 1).to_be_bytes());
        put(27, &self.base_timestamp_ms.to_be_bytes());
        put(35, &self.max_timestamp_ms.to_be_bytes());
        put(43, &self.producer_id.0.to_be_bytes());
        put(51, &self.producer_epoch.0.to_be_bytes());
        put(53, &self.base_sequence.to_be_bytes());
        put(57, &self.record_count.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(bytes)
    }
}

fn put_nullable(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(to, -1),
        Some(bytes) => {
            put_varlong(to, bytes.len() as i64);
            to.extend_from_slice(bytes);
        }
    }
}
