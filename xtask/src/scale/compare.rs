//! After a restart: every partition's end, and a sample of the records, against what they must be.
//!
//! Deliberately not here: what they must be (`load.rs`).

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pagemark_client::blocking::Connection;

use super::load::{Log, value};
use crate::admin;
use crate::rng::Rng;

/// How much is read for one place of a sample, bytes.
const READ_BYTES: i32 = 256 << 10;

/// How much is compared.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Partitions whose records are read.
    pub partitions: usize,
    /// Places in each where reading begins: the start, the end, and others at random.
    pub places: usize,
    /// Size of a record's value.
    pub record_bytes: usize,
}

/// What was found.
#[derive(Debug, Default, Clone, Copy)]
pub struct Compared {
    /// How long it took to ask for all ends, milliseconds.
    pub ends_ms: u64,
    /// Records that were there although nobody had been told so.
    pub unacknowledged: i64,
    /// Records that were read.
    pub records: u64,
    /// Records in all partitions.
    pub total: i64,
}

/// Compares, and takes every end that was found for the truth from here on.
pub fn compare(port: u16, logs: &mut [Log], sample: Sample, rng: &mut Rng) -> Result<Compared> {
    let mut connection = admin::connect(port)?;
    let mut compared = Compared::default();
    let begun = Instant::now();
    for logs in logs.chunk_by_mut(|a, b| a.topic == b.topic) {
        let ends = admin::log_ends(&mut connection, &logs[0].topic, logs.len() as i32)?;
        for (log, end) in logs.iter_mut().zip(ends) {
            let Log { topic, partition, acknowledged, sent, .. } = log;
            ensure!(*acknowledged <= end, "{topic}-{partition} ends at {end}, acknowledged was {acknowledged}");
            ensure!(end <= *sent, "{topic}-{partition} ends at {end}, only {sent} records were sent");
            compared.unacknowledged += end - *acknowledged;
            compared.total += end;
            (*acknowledged, *sent) = (end, end);
        }
    }
    compared.ends_ms = begun.elapsed().as_millis() as u64;
    for _ in 0..sample.partitions {
        let log = &logs[rng.below(logs.len() as u64) as usize];
        for place in 0..sample.places {
            let from = match place {
                _ if log.sent == 0 => continue,
                0 => 0,
                1 => log.sent - 1,
                _ => rng.below(log.sent as u64) as i64,
            };
            compared.records += read(&mut connection, log, from, sample.record_bytes)?;
        }
    }
    Ok(compared)
}

/// Reads once and compares all that came; gives the number of records.
fn read(connection: &mut Connection, log: &Log, from: i64, record_bytes: usize) -> Result<u64> {
    let place = || format!("{}-{} at {from}", log.topic, log.partition);
    let records = admin::records_from(connection, &log.topic, log.partition, from, READ_BYTES).with_context(place)?;
    let first = records.first().with_context(|| format!("{}: nothing", place()))?.offset;
    ensure!(first <= from, "{}: the first record is {first}", place());
    for (record, offset) in records.iter().zip(first..) {
        ensure!(record.offset == offset, "{}: offset {} where {offset} was due", place(), record.offset);
        let expected = value(log.number, offset, record_bytes);
        ensure!(record.value.as_ref() == Some(&expected), "{}: the record at {offset} is another one", place());
    }
    ensure!(first + records.len() as i64 > from, "{}: it ends before", place());
    Ok(records.len() as u64)
}
