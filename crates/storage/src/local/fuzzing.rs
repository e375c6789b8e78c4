//! The readers of bytes on disk as plain functions, and good bytes to begin with; only with the feature `fuzzing`.
//!
//! Checksums keep damage away from everything behind them. So each function reads the bytes as they are, then again with
//! checksums that fit: what a reader does then must not depend on luck. What is read must be written as it was.
//! Deliberately not here: whole directories; the fuzz target `recovery` opens those.

use bytes::{BufMut, Bytes, BytesMut};
use pagemark_wire::records::BatchBuilder;
use pagemark_wire::types::{LeaderEpoch, Offset};

use super::log_file::{FileHeader, HEADER_LEN, HeaderFound};
use super::record::{self, Body, Kind, Parsed, Seal};
use super::{checkpoint, fold::Fold, meta::MetaChange};
use crate::contract;
use crate::engine::{Append, AtomicGroup, EpochStart};

fn seal() -> Seal {
    Seal::new(0x0123_4567_89ab_cdef, 7)
}

/// One log record.
pub fn log_record(bytes: &[u8]) {
    let _ = record::parse(&Bytes::copy_from_slice(bytes), seal(), true);
    let _ = record::parse(&Bytes::copy_from_slice(bytes), seal(), false);
    if bytes.len() < record::HEAD_LEN {
        return;
    }
    let mut sealed = BytesMut::from(bytes);
    record::close(&mut sealed, seal());
    let sealed = sealed.freeze();
    let parsed = record::parse(&sealed, seal(), true);
    let legible = record::parse_head(&sealed, seal());
    if let Parsed::Valid(found) = &parsed {
        let legible = legible.expect("what is valid is legible");
        assert_eq!((legible.kind, legible.size), (found.body.kind(), found.size));
        let mut again = BytesMut::new();
        match &found.body {
            Body::Group(_) => return,
            body => {
                let start = record::begin(&mut again, found.lsn, seal(), body.kind());
                again.put_slice(&body.payload());
                record::finish(&mut again, start, seal());
            }
        }
        let reread = again.freeze().slice(..sealed.len());
        let Parsed::Valid(second) = record::parse(&reread, seal(), true) else { panic!("written, and not valid") };
        assert_eq!(second.body, found.body);
    }
}

/// The head of a log file.
pub fn log_header(bytes: &[u8]) {
    let _ = FileHeader::decode(bytes);
    if bytes.len() < HEADER_LEN {
        return;
    }
    let mut sealed = bytes.to_vec();
    let crc = crc32c::crc32c(&sealed[..HEADER_LEN - 4]);
    sealed[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    if let HeaderFound::Valid(header) = FileHeader::decode(&sealed) {
        assert_eq!(FileHeader::decode(&header.encode()), HeaderFound::Valid(header));
    }
}

/// A checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    let _ = checkpoint::decode(&Bytes::copy_from_slice(bytes));
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
    if let Ok((head, state)) = checkpoint::decode(&Bytes::from(sealed)) {
        let mut fold = Fold::default();
        if checkpoint::restore(&mut fold, &state).is_some() {
            let again = checkpoint::encode(&head, &checkpoint::whole(&fold));
            let Ok((head_again, _)) = checkpoint::decode(&again) else { panic!("written, and not read") };
            assert_eq!(head_again, head);
        }
    }
}

/// Log records of every kind.
#[must_use]
pub fn log_records() -> Vec<Bytes> {
    let key = contract::partition(3, 1);
    let epoch = EpochStart { epoch: LeaderEpoch(6), start: Offset(7) };
    let bodies = [
        Body::Flush { durable_lsn: 4 },
        Body::Meta(vec![
            MetaChange::Put("topics/a".into(), Bytes::from_static(b"{}")),
            MetaChange::Counter("ids".into(), 1000),
        ]),
        Body::CreateTopic { topic: key.topic, partitions: 3, first_epoch: LeaderEpoch(5) },
        Body::DeleteTopic { topic: key.topic },
        Body::LeaderEpochs(vec![(key, epoch)]),
    ];
    let whole = |body: &Body| {
        let mut out = BytesMut::new();
        let start = record::begin(&mut out, 9, seal(), body.kind());
        out.put_slice(&body.payload());
        let length = out.len();
        record::finish(&mut out, start, seal());
        out.freeze().slice(..length)
    };
    let mut records: Vec<Bytes> = bodies.iter().map(whole).collect();
    let mut batch = BatchBuilder::new(1_700_000_000_000).placed_at(Offset(7), LeaderEpoch(6));
    batch.push(Some(b"key"), Some(b"value"));
    let batch = batch.finish();
    let append = |index| Append::new(contract::partition(3, index), batch.clone());
    let mut out = BytesMut::new();
    record::put_group(&mut out, 9, seal(), &AtomicGroup(vec![append(0), append(1)]));
    debug_assert_eq!(out[24], Kind::Group as u8);
    records.push(out.freeze());
    records
}

/// Heads of log files.
#[must_use]
pub fn log_headers() -> Vec<Bytes> {
    let header =
        FileHeader { generation: 3, first_lsn: 10, durable_lsn: 9, capacity: 1 << 20, incarnation: 77, filled: true };
    vec![header.encode().freeze(), Bytes::from(vec![0; 4096])]
}

/// Checkpoints without their checksum at the end.
#[must_use]
pub fn checkpoints() -> Vec<Bytes> {
    let (head, fold) = checkpoint::example();
    let bytes = checkpoint::encode(&head, &checkpoint::whole(&fold));
    vec![bytes.slice(..bytes.len() - 4)]
}
