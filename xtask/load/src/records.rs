//! Records through librdkafka: producing as fast as they go in, and reading them as fast as they come.
//!
//! The client's settings are its own defaults but for what is named here. Deliberately not here: a steady rate (`latency`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::meter::Meter;

/// How long a broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// Different values, so that no two neighbours are alike.
const VALUES: usize = 512;

/// As many records as go in.
#[derive(Debug, clap::Args)]
pub struct Produce {
    #[command(flatten)]
    records: Records,
    /// How long before anything is counted
    #[arg(long)]
    warm_up_s: f64,
    /// How long is counted
    #[arg(long)]
    seconds: f64,
    /// After how many MiB it ends before its time, so that no disk fills up
    #[arg(long)]
    most_mib: u64,
}

/// So many records.
#[derive(Debug, clap::Args)]
pub struct Fill {
    #[command(flatten)]
    records: Records,
    /// How much
    #[arg(long)]
    mib: u64,
}

/// A topic's records, read whole.
#[derive(Debug, clap::Args)]
pub struct Consume {
    /// The topic
    #[arg(long)]
    topic: String,
    /// Its partitions
    #[arg(long)]
    partitions: i32,
    /// How often it is read and counted, after once that is not
    #[arg(long)]
    passes: u32,
}

#[derive(Debug, clap::Args)]
struct Records {
    /// The topic
    #[arg(long)]
    topic: String,
    /// Size of a record's value
    #[arg(long)]
    bytes: usize,
}

impl Produce {
    /// Produces, and tells how much was acknowledged in the time that counts.
    pub fn run(&self, port: u16, meter: &Meter) -> Result<Value> {
        let mut feed = Feed::open(port, &self.records)?;
        let most = (self.most_mib << 20) / self.records.bytes as u64;
        feed.until(Instant::now() + Duration::from_secs_f64(self.warm_up_s), most)?;
        let (begun, before) = (meter.now()?, feed.acknowledged());
        feed.until(Instant::now() + Duration::from_secs_f64(self.seconds), feed.sent + most)?;
        let (mut told, records) = (meter.since(begun)?, feed.acknowledged() - before);
        feed.finish()?;
        told.insert("records".to_owned(), records.into());
        told.insert("bytes".to_owned(), (records * self.records.bytes as u64).into());
        Ok(told.into())
    }
}

impl Fill {
    /// Produces, and tells how many records there are now.
    pub fn run(&self, port: u16) -> Result<Value> {
        let mut feed = Feed::open(port, &self.records)?;
        feed.until(Instant::now() + PATIENCE, (self.mib << 20) / self.records.bytes as u64)?;
        feed.finish()?;
        Ok(json!({"records": feed.sent}))
    }
}

/// A producer, and what became of its records.
struct Feed<'a> {
    producer: BaseProducer<Counts>,
    topic: &'a str,
    values: Vec<Vec<u8>>,
    sent: u64,
}

/// Counts deliveries.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Counts {}

impl ProducerContext for Counts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.acknowledged } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Feed<'_> {
    fn open(port: u16, records: &Records) -> Result<Feed<'_>> {
        let producer = producer_config(port).create_with_context(Counts::default())?;
        let values = (0..VALUES).map(|number| value(number as u64, records.bytes)).collect();
        Ok(Feed { producer, topic: &records.topic, values, sent: 0 })
    }

    fn acknowledged(&self) -> u64 {
        self.producer.context().acknowledged.load(Ordering::Relaxed)
    }

    /// Sends until this moment, or until `most` were sent in all; no more than librdkafka holds are without an answer.
    fn until(&mut self, end: Instant, most: u64) -> Result<()> {
        while self.sent < most && Instant::now() < end {
            let value = &self.values[self.sent as usize % VALUES];
            match self.producer.send(BaseRecord::<(), [u8]>::to(self.topic).payload(value)) {
                Ok(()) => self.sent += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => bail!(error),
            }
            if self.sent.is_multiple_of(256) {
                self.producer.poll(Duration::ZERO);
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        self.producer.flush(PATIENCE)?;
        let failed = self.producer.context().failed.load(Ordering::Relaxed);
        ensure!(failed == 0 && self.acknowledged() == self.sent, "{failed} of {} records were refused", self.sent);
        Ok(())
    }
}

/// acks=all and idempotence, as Kafka's own client has them by default.
pub fn producer_config(port: u16) -> ClientConfig {
    let mut config = client_config(port);
    config.set("enable.idempotence", "true").set("acks", "all");
    config
}

/// Nothing waits for Nagle's algorithm.
fn client_config(port: u16) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", format!("127.0.0.1:{port}")).set("socket.nagle.disable", "true");
    config
}

/// A consumer of all partitions of a topic, from their beginning, that commits nothing.
pub fn consumer_of(port: u16, topic: &str, partitions: i32) -> Result<BaseConsumer> {
    let mut config = client_config(port);
    // A client whose queue is full asks again after a second by default, which would be measured.
    config.set("group.id", "load").set("enable.auto.commit", "false").set("fetch.queue.backoff.ms", "5");
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

impl Consume {
    /// Reads, and tells how much came and how long that took; the first read is not counted.
    pub fn run(&self, port: u16, meter: &Meter) -> Result<Value> {
        let records = self.ends(port)?;
        self.pass(port, records)?;
        let begun = meter.now()?;
        let (mut bytes, mut reading) = (0, Duration::ZERO);
        for _ in 0..self.passes {
            let (more, took) = self.pass(port, records)?;
            bytes += more;
            reading += took;
        }
        let mut told = meter.since(begun)?;
        told.insert("seconds".to_owned(), reading.as_secs_f64().into());
        told.insert("bytes".to_owned(), bytes.into());
        Ok(told.into())
    }

    /// Records in all partitions.
    fn ends(&self, port: u16) -> Result<u64> {
        let consumer = consumer_of(port, &self.topic, self.partitions)?;
        let mut records = 0;
        for partition in 0..self.partitions {
            let (low, high) = consumer.fetch_watermarks(&self.topic, partition, PATIENCE)?;
            records += (high - low) as u64;
        }
        Ok(records)
    }

    /// Reads all of it once: bytes of values, and the time from the first record to the last.
    fn pass(&self, port: u16, records: u64) -> Result<(u64, Duration)> {
        let consumer = consumer_of(port, &self.topic, self.partitions)?;
        let (mut bytes, mut first) = (0, None);
        for _ in 0..records {
            let message = consumer.poll(PATIENCE).context("nothing came any more")??;
            bytes += message.payload_len() as u64;
            first.get_or_insert_with(Instant::now);
        }
        Ok((bytes, first.map_or(Duration::ZERO, |first| first.elapsed())))
    }
}

/// A value of this size: text of sixteen kinds of letters.
pub fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut state = number + 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"0123456789abcdef"[(state >> 60) as usize]
    };
    (0..bytes).map(letter).collect()
}
