//! Producers with acks=all over very many partitions, and what every record must be.
//!
//! The record at offset n of a partition is always the same, a function of both, so that nothing has to be remembered to
//! compare all that is read. Deliberately not here: retries; what was not answered is in doubt, and counted so.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use pagemark_client::blocking::{Connection, ConnectionError};
use pagemark_wire::api::Api;
use pagemark_wire::messages::{
    ProduceRequest, ProduceResponse, TopicName,
    produce_request::{PartitionProduceData, TopicProduceData},
    text,
};
use pagemark_wire::records::BatchBuilder;

use crate::admin;
use crate::rng::Rng;
use crate::wait;

const PRODUCE_VERSION: i16 = 9;

/// One partition, and how far its log must go.
#[derive(Debug, Clone)]
pub struct Log {
    /// The topic.
    pub topic: String,
    /// The partition within it.
    pub partition: i32,
    /// Number of the partition among all.
    pub number: u32,
    /// Records that were acknowledged.
    pub acknowledged: i64,
    /// Records that were sent.
    pub sent: i64,
}

/// What producers send and when they stop.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections that produce at the same time.
    pub producers: usize,
    /// Requests that each has under way.
    pub window: usize,
    /// Records in a request, all in one batch.
    pub records: i64,
    /// Size of a record's value.
    pub record_bytes: usize,
    /// When they stop of themselves.
    pub until: Until,
}

/// When producers stop.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// When so many bytes of values were sent in all.
    Bytes(u64),
    /// When every partition got one more request.
    OnceEach,
    /// Never: the broker is killed under them.
    Killed,
}

/// Seen by the producers and by whoever watches them.
#[derive(Debug, Default)]
pub struct Shared {
    /// Bytes of values sent so far.
    pub bytes: AtomicU64,
    /// The broker is being killed: a broken connection is no fault from here on.
    pub killed: AtomicBool,
}

/// How long acknowledgements took.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// Takes these in as well.
    pub fn add(&mut self, more: Latencies) {
        self.0.extend(more.0);
    }

    /// Acknowledgements.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// So many of a hundred took no longer than this, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |us| (*us as f64 / 10.0).round() / 100.0)
    }
}

/// The value of the record at this offset of this partition.
pub fn value(number: u32, offset: i64, bytes: usize) -> Bytes {
    let mut value = Vec::with_capacity(bytes + 8);
    value.extend_from_slice(&u64::from(number).to_be_bytes());
    value.extend_from_slice(&offset.to_be_bytes());
    let mut filler = Rng::new((u64::from(number) << 40) ^ offset as u64);
    while value.len() < bytes {
        value.extend_from_slice(&filler.next().to_le_bytes());
    }
    value.truncate(bytes.max(16));
    value.into()
}

/// Runs all producers until they stop, each on partitions of its own in turn.
pub fn run(port: u16, logs: &mut [Log], load: Load, shared: &Shared) -> Result<Latencies> {
    let share = logs.len().div_ceil(load.producers);
    let results: Vec<Result<Latencies>> = std::thread::scope(|scope| {
        let producers = logs.chunks_mut(share).map(|logs| scope.spawn(move || produce(port, logs, load, shared)));
        let producers: Vec<_> = producers.collect();
        producers.into_iter().map(|p| p.join().expect("a producer does not panic")).collect()
    });
    let mut all = Latencies::default();
    for result in results {
        all.add(result?);
    }
    Ok(all)
}

fn produce(port: u16, logs: &mut [Log], load: Load, shared: &Shared) -> Result<Latencies> {
    let mut connection = admin::connect(port)?;
    let mut waiting: VecDeque<(usize, Instant)> = VecDeque::new();
    let mut latencies = Latencies::default();
    let begun = Instant::now();
    let mut requests = 0;
    loop {
        while waiting.len() < load.window && goes_on(load.until, begun, requests, logs.len(), shared) {
            let at = requests % logs.len();
            waiting.push_back((at, Instant::now()));
            if !survived(send(&mut connection, &mut logs[at], load), shared)? {
                return Ok(latencies);
            }
            requests += 1;
            shared.bytes.fetch_add(load.records as u64 * load.record_bytes as u64, Ordering::Relaxed);
        }
        let Some((at, sent)) = waiting.pop_front() else { return Ok(latencies) };
        if !survived(receive(&mut connection, &mut logs[at], load), shared)? {
            return Ok(latencies);
        }
        latencies.0.push(sent.elapsed().as_micros() as u64);
    }
}

fn goes_on(until: Until, begun: Instant, requests: usize, logs: usize, shared: &Shared) -> bool {
    match until {
        Until::Time(time) => begun.elapsed() < time,
        Until::Bytes(bytes) => shared.bytes.load(Ordering::Relaxed) < bytes,
        Until::OnceEach => requests < logs,
        Until::Killed => true,
    }
}

/// Whether it went well; that it did not is no fault once the broker is being killed.
fn survived(result: Result<()>, shared: &Shared) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) => match error.downcast_ref::<ConnectionError>() {
            Some(ConnectionError::Broken(_)) if shared.killed.load(Ordering::SeqCst) => Ok(false),
            _ => bail!(error),
        },
    }
}

fn send(connection: &mut Connection, log: &mut Log, load: Load) -> Result<()> {
    let mut batch = BatchBuilder::new(wait::now_ms());
    for offset in log.sent..log.sent + load.records {
        batch.push(None, Some(&value(log.number, offset, load.record_bytes)));
    }
    log.sent += load.records;
    let data = PartitionProduceData::default().with_index(log.partition).with_records(Some(batch.finish()));
    let data = TopicProduceData::default().with_name(TopicName(text(&log.topic))).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
    connection.send(Api::Produce, PRODUCE_VERSION, &request)?;
    Ok(())
}

fn receive(connection: &mut Connection, log: &mut Log, load: Load) -> Result<()> {
    let response: ProduceResponse = connection.receive()?.decode()?;
    let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
    let answer = answer.context("Produce was answered with nothing")?;
    let place = || format!("{}-{}", log.topic, log.partition);
    ensure!(answer.error_code == 0, "{}: a produce was answered with error code {}", place(), answer.error_code);
    let (expected, found) = (log.acknowledged, answer.base_offset);
    ensure!(found == expected, "{}: a batch got offset {found}, it should {expected}", place());
    log.acknowledged += load.records;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_by_its_partition_and_offset_and_has_its_size() {
        assert_eq!(value(3, 9, 100), value(3, 9, 100));
        assert_eq!(value(3, 9, 100).len(), 100);
        assert_ne!(value(3, 9, 100)[16..], value(3, 10, 100)[16..]);
        assert_ne!(value(4, 9, 100)[16..], value(3, 9, 100)[16..]);
        assert_eq!(value(3, 9, 1).len(), 16, "never so small that it could be taken for another");
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let latencies = Latencies((1..=100).rev().map(|ms| ms * 1000).collect());
        assert_eq!((latencies.percentile_ms(50), latencies.percentile_ms(99)), (51.0, 100.0));
        assert_eq!(Latencies::default().percentile_ms(99), 0.0);
    }
}
