//! How long a record is on its way, from the moment it was due to be sent until a consumer has it.
//!
//! The clock of a record starts when it is due, not when it got sent: a broker that keeps the producer waiting does not
//! look faster for it. Deliberately not here: how much goes through at most (`records`).

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::meter::{Meter, permille_ms};
use crate::records::{consumer_of, producer_config, value};

const PATIENCE: Duration = Duration::from_secs(60);
/// A record that no latency is told of.
const UNCOUNTED: u64 = 0;

/// Records at a steady rate, read as they come.
#[derive(Debug, clap::Args)]
pub struct Latency {
    /// The topic
    #[arg(long)]
    topic: String,
    /// Its partitions
    #[arg(long)]
    partitions: i32,
    /// Size of a record's value
    #[arg(long)]
    bytes: usize,
    /// Records a second
    #[arg(long)]
    rate: u64,
    /// How long before anything is counted
    #[arg(long)]
    warm_up_s: f64,
    /// How long is counted
    #[arg(long)]
    seconds: f64,
}

impl Latency {
    /// Sends and reads, and tells how long records took.
    pub fn run(&self, port: u16, meter: &Meter) -> Result<Value> {
        let base = Instant::now();
        let producer: BaseProducer = producer_config(port).set("linger.ms", "0").create()?;
        let consumer = consumer_of(port, &self.topic, self.partitions)?;
        let (tell, told) = channel();
        let total = self.records_in(self.warm_up_s + self.seconds);
        let expected = total + self.partitions as u64;
        let reader = thread::spawn(move || read(&consumer, expected, base, &tell));
        for partition in 0..self.partitions {
            self.send(&producer, UNCOUNTED, Some(partition))?;
        }
        producer.flush(PATIENCE)?;
        self.await_all_partitions(&told)?;
        let first = base.elapsed();
        self.pace(&producer, base, first, 0..self.records_in(self.warm_up_s), false)?;
        let begun = meter.now()?;
        self.pace(&producer, base, first, self.records_in(self.warm_up_s)..total, true)?;
        let mut answer = meter.since(begun)?;
        producer.flush(PATIENCE)?;
        let mut took = reader.join().map_err(|_| anyhow!("the reader panicked"))??;
        answer.insert("records".to_owned(), took.len().into());
        for (name, permille) in [("p50_ms", 500), ("p99_ms", 990), ("p999_ms", 999)] {
            answer.insert(name.to_owned(), permille_ms(&mut took, permille).into());
        }
        Ok(answer.into())
    }

    fn records_in(&self, seconds: f64) -> u64 {
        (self.rate as f64 * seconds) as u64
    }

    /// The clock starts once the consumer has read from every partition.
    fn await_all_partitions(&self, told: &Receiver<()>) -> Result<()> {
        for _ in 0..self.partitions {
            told.recv_timeout(PATIENCE).context("the consumer has not read from every partition")?;
        }
        Ok(())
    }

    /// Sends these records, each when it is due.
    fn pace(
        &self,
        producer: &BaseProducer,
        base: Instant,
        first: Duration,
        records: std::ops::Range<u64>,
        counted: bool,
    ) -> Result<()> {
        for number in records {
            let due = first + Duration::from_nanos(number * 1_000_000_000 / self.rate);
            while let Some(early) = due.checked_sub(base.elapsed()).filter(|early| !early.is_zero()) {
                producer.poll(Duration::ZERO);
                thread::sleep(early.min(Duration::from_millis(1)));
            }
            self.send(producer, if counted { due.as_nanos() as u64 } else { UNCOUNTED }, None)?;
        }
        Ok(())
    }

    fn send(&self, producer: &BaseProducer, due_ns: u64, partition: Option<i32>) -> Result<()> {
        let mut value = value(due_ns, self.bytes.max(8));
        value[..8].copy_from_slice(&due_ns.to_be_bytes());
        let record = BaseRecord::<(), [u8]>::to(&self.topic).payload(&value);
        let record = if let Some(partition) = partition { record.partition(partition) } else { record };
        producer.send(record).map_err(|(error, _)| error)?;
        Ok(())
    }
}

/// Reads so many records; gives how late those came that are counted, and says of each that is not that it came.
fn read(consumer: &BaseConsumer, expected: u64, base: Instant, tell: &Sender<()>) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for _ in 0..expected {
        let message = consumer.poll(PATIENCE).context("nothing came any more")??;
        let stamp = message.payload().and_then(|value| value.first_chunk()).context("a record without a time")?;
        match u64::from_be_bytes(*stamp) {
            UNCOUNTED => drop(tell.send(())),
            due_ns => took.push(base.elapsed().saturating_sub(Duration::from_nanos(due_ns))),
        }
    }
    Ok(took)
}
