//! Clients at work until they are told to end: idempotent producers, and a group that commits without a pause.
//!
//! For rigs that end the broker under them, again and again; what was asked and answered is observed on the wire by whoever
//! starts this. Every value and every commit's metadata is like no other. Deliberately not here: judging anything.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

/// How long the last records may take once the work is over.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records that a producer has under way at most, so that a broker that is down does not find a mountain.
const UNDER_WAY: i32 = 20;
/// Records that a consumer reads between two commits at most.
const AT_A_TIME: usize = 20;
/// How long a consumer rests after a commit that failed.
const REST: Duration = Duration::from_millis(2);

/// Clients at work.
#[derive(Debug, clap::Args)]
pub struct Work {
    /// Goes in front of every value and every client's name
    #[arg(long)]
    name: String,
    /// The topic
    #[arg(long)]
    topic: String,
    /// Its partitions
    #[arg(long)]
    partitions: i32,
    /// Idempotent producers with acks=all
    #[arg(long)]
    producers: u32,
    /// Milliseconds between two records of a producer
    #[arg(long)]
    pace_ms: u64,
    /// A value has up to so many bytes beside its name
    #[arg(long)]
    filler_bytes: usize,
    /// Members of the group; they commit all they have read, again and again, each time waiting for the answer
    #[arg(long)]
    consumers: u32,
    /// The group
    #[arg(long)]
    group: String,
    /// How long a member may be silent
    #[arg(long)]
    session_timeout_ms: u32,
}

/// What has been done.
#[derive(Debug, Default)]
struct Done {
    delivered: AtomicU64,
    failed: AtomicU64,
    read: AtomicU64,
    committed: AtomicU64,
    rebalances: AtomicU64,
}

impl Work {
    /// Works until standard input ends, and tells how much was done.
    pub fn run(&self, port: u16) -> Result<Value> {
        let (done, over) = (Done::default(), AtomicBool::new(false));
        let mut results = Vec::new();
        thread::scope(|scope| {
            let (done, over) = (&done, &over);
            let mut threads = Vec::new();
            for number in 0..self.producers {
                threads.push(scope.spawn(move || self.produce(port, number, done, over)));
            }
            for number in 0..self.consumers {
                threads.push(scope.spawn(move || self.consume(port, number, done, over)));
            }
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            over.store(true, Ordering::Relaxed);
            results.extend(threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))));
        });
        results.into_iter().collect::<Result<Vec<()>>>()?;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(json!({"delivered": of(&done.delivered), "failed": of(&done.failed), "read": of(&done.read),
            "committed": of(&done.committed), "rebalances": of(&done.rebalances)}))
    }

    /// Whoever lost the broker comes back soon.
    fn config(&self, port: u16, what: &str, number: u32) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{port}"));
        config.set("client.id", format!("{}-{what}{number}", self.name));
        config.set("socket.nagle.disable", "true");
        config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "50");
        config.set("retry.backoff.ms", "5").set("retry.backoff.max.ms", "50");
        config
    }

    fn produce(&self, port: u16, number: u32, done: &Done, over: &AtomicBool) -> Result<()> {
        let mut config = self.config(port, "p", number);
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("queue.buffering.max.ms", "0").set("message.timeout.ms", "0");
        let producer: BaseProducer<Deliveries<'_>> = config.create_with_context(Deliveries(done))?;
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            producer.poll(Duration::from_millis(self.pace_ms));
            if producer.in_flight_count() >= UNDER_WAY {
                continue;
            }
            let partition = ((sent + u64::from(number)) % self.partitions as u64) as i32;
            let filler = "x".repeat((sent as usize).wrapping_mul(2_654_435_761) % (self.filler_bytes + 1));
            let value = format!("{}-p{number}/{partition}/{sent}/{filler}", self.name);
            match producer.send(BaseRecord::<(), str>::to(&self.topic).partition(partition).payload(&value)) {
                Ok(()) => sent += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {}
                Err((error, _)) => return Err(error.into()),
            }
        }
        Ok(producer.flush(PATIENCE)?)
    }

    fn consume(&self, port: u16, number: u32, done: &Done, over: &AtomicBool) -> Result<()> {
        let mut config = self.config(port, "c", number);
        config.set("group.id", &self.group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("session.timeout.ms", self.session_timeout_ms.to_string());
        config.set("heartbeat.interval.ms", (self.session_timeout_ms / 4).to_string());
        config.set("fetch.wait.max.ms", "50").set("fetch.error.backoff.ms", "5");
        let consumer: BaseConsumer<Changes<'_>> = config.create_with_context(Changes::of(done))?;
        consumer.subscribe(&[&self.topic])?;
        let (mut positions, mut commits) = (BTreeMap::new(), 0_u64);
        while !over.load(Ordering::Relaxed) {
            let mut patience = Duration::from_millis(2);
            for _ in 0..AT_A_TIME {
                let message = consumer.poll(std::mem::take(&mut patience));
                if consumer.context().changed.swap(false, Ordering::Relaxed) {
                    positions.clear(); // whoever had it meanwhile may have gone further
                }
                let Some(Ok(message)) = message else { break };
                positions.insert(message.partition(), message.offset() + 1);
                done.read.fetch_add(1, Ordering::Relaxed);
            }
            if positions.is_empty() {
                continue;
            }
            commits += 1;
            let offsets = self.bookmarks(&positions, number, commits)?;
            match consumer.commit(&offsets, CommitMode::Sync) {
                Ok(()) => _ = done.committed.fetch_add(1, Ordering::Relaxed),
                Err(_) => thread::sleep(REST),
            }
        }
        Ok(())
    }

    fn bookmarks(&self, positions: &BTreeMap<i32, i64>, number: u32, commits: u64) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            let mut entry = list.add_partition(&self.topic, *partition);
            entry.set_offset(Offset::Offset(*offset))?;
            entry.set_metadata(format!("{}-c{number}/{partition}/{offset}/{commits}", self.name));
        }
        Ok(list)
    }
}

/// Counts deliveries.
struct Deliveries<'a>(&'a Done);

impl ClientContext for Deliveries<'_> {}

impl ProducerContext for Deliveries<'_> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.0.delivered } else { &self.0.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Notes rebalances.
struct Changes<'a> {
    changed: AtomicBool,
    done: &'a Done,
}

impl Changes<'_> {
    fn of(done: &Done) -> Changes<'_> {
        Changes { changed: AtomicBool::new(false), done }
    }
}

impl ClientContext for Changes<'_> {}

impl ConsumerContext for Changes<'_> {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.changed.store(true, Ordering::Relaxed);
        self.done.rebalances.fetch_add(1, Ordering::Relaxed);
    }
}
