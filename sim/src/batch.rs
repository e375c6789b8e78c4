//! Record batches of format v2 for the workload: uncompressed, valid to the last byte, each different from every other.
//!
//! Deliberately not here: reading them back; what the engine returns is compared byte by byte.

use bytes::Bytes;
use pagemark_wire::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// Which idempotent producer writes a batch, and where in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The producer, or [`ProducerId::NONE`].
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence number of the first record, -1 if not idempotent.
    pub sequence: i32,
}

impl Source {
    /// A writer that is not idempotent.
    pub const PLAIN: Source = Source { id: ProducerId::NONE, epoch: ProducerEpoch(-1), sequence: -1 };
}

/// A batch of these keys and values, its checksum right.
#[must_use]
pub fn build(base: Offset, epoch: LeaderEpoch, source: Source, time_ms: i64, records: &[(Vec<u8>, Vec<u8>)]) -> Bytes {
    let mut tail = Vec::with_capacity(256);
    tail.extend_from_slice(&0_i16.to_be_bytes());
    tail.extend_from_slice(&(records.len() as i32 - 1).to_be_bytes());
    tail.extend_from_slice(&time_ms.to_be_bytes());
    tail.extend_from_slice(&time_ms.to_be_bytes());
    tail.extend_from_slice(&source.id.0.to_be_bytes());
    tail.extend_from_slice(&source.epoch.0.to_be_bytes());
    tail.extend_from_slice(&source.sequence.to_be_bytes());
    tail.extend_from_slice(&(records.len() as i32).to_be_bytes());
    for (index, (key, value)) in records.iter().enumerate() {
        let mut body = vec![0_u8]; // attributes
        put_varint(&mut body, 0); // timestamp delta
        put_varint(&mut body, index as i64);
        put_varint(&mut body, key.len() as i64);
        body.extend_from_slice(key);
        put_varint(&mut body, value.len() as i64);
        body.extend_from_slice(value);
        put_varint(&mut body, 0); // headers
        put_varint(&mut tail, body.len() as i64);
        tail.extend_from_slice(&body);
    }
    let mut batch = Vec::with_capacity(tail.len() + 21);
    batch.extend_from_slice(&base.0.to_be_bytes());
    batch.extend_from_slice(&(tail.len() as i32 + 9).to_be_bytes());
    batch.extend_from_slice(&epoch.0.to_be_bytes());
    batch.push(2);
    batch.extend_from_slice(&crc32c::crc32c(&tail).to_be_bytes());
    batch.extend_from_slice(&tail);
    Bytes::from(batch)
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

#[cfg(test)]
mod tests {
    use pagemark_wire::records::BatchHeader;

    use super::*;

    #[test]
    fn a_built_batch_reads_back_as_what_was_asked_for() {
        let source = Source { id: ProducerId(5), epoch: ProducerEpoch(1), sequence: 7 };
        let records = [(b"k".to_vec(), vec![1; 300]), (Vec::new(), b"v".to_vec())];
        let batch = build(Offset(40), LeaderEpoch(3), source, 1_000, &records);
        let header = BatchHeader::parse(&batch).expect("a header");
        assert_eq!(header.size_bytes(), batch.len() as i64);
        assert_eq!((header.base_offset, header.next_offset()), (Offset(40), Offset(42)));
        assert_eq!((header.producer_id, header.base_sequence, header.last_sequence()), (ProducerId(5), 7, 8));
        assert_eq!((header.leader_epoch, header.record_count), (LeaderEpoch(3), 2));
        assert_eq!(header.crc, crc32c::crc32c(&batch[21..]));
    }
}
