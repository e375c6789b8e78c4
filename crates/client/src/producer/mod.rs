//! The producer: records in, acknowledgements out.
//!
//! Idempotent unless told otherwise, so that what it repeats is not written twice, and in order for each partition. Names
//! and defaults of settings are Kafka's where nothing else is said. Deliberately not here: transactions.

mod accumulator;
mod delivery;
mod partitioner;
mod request;
mod sender;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::records::Compression;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::cluster::{ClientSettings, Cluster};
use crate::code::Code;
use crate::error::Error;
use crate::host;
use crate::partition::TopicPartition;
use accumulator::{Accumulator, BATCH_OVERHEAD, Limits, Parts, record_bytes};
pub use delivery::{Delivery, ProduceError, RecordMetadata};
use sender::{Sender, SenderSettings, Shared};

/// How many brokers must have a record before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// `acks=0`: nobody is asked. Records may be lost without a word.
    None,
    /// `acks=1`: the partition's leader.
    Leader,
    /// `acks=all`: all replicas that are in sync.
    #[default]
    All,
}

impl Acks {
    fn number(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// A record to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRecord {
    topic: Arc<str>,
    partition: Option<i32>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
    timestamp_ms: Option<i64>,
}

impl ProducerRecord {
    /// A record for `topic`, with neither key nor value so far. Without a value it is a tombstone.
    #[must_use]
    pub fn to(topic: &str) -> ProducerRecord {
        let (partition, key, value, headers, timestamp_ms) = (None, None, None, Vec::new(), None);
        ProducerRecord { topic: topic.into(), partition, key, value, headers, timestamp_ms }
    }

    /// Its key: records with the same key go to the same partition, in order.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> ProducerRecord {
        self.key = Some(key.into());
        self
    }

    /// Its value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> ProducerRecord {
        self.value = Some(value.into());
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Bytes>) -> ProducerRecord {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Its partition, whatever the key says.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> ProducerRecord {
        self.partition = Some(partition);
        self
    }

    /// Its timestamp in milliseconds since 1970, instead of the time at which it is sent.
    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> ProducerRecord {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }
}

/// Settings of a producer.
#[derive(Debug, Clone)]
pub struct ProducerBuilder {
    client: ClientSettings,
    acks: Acks,
    idempotent: bool,
    compression: Compression,
    batch_bytes: usize,
    linger: Duration,
    buffer_bytes: usize,
    max_request_bytes: usize,
    delivery_timeout: Duration,
    max_block: Duration,
}

impl ProducerBuilder {
    /// `client.id`.
    #[must_use]
    pub fn client_id(mut self, client_id: &str) -> ProducerBuilder {
        client_id.clone_into(&mut self.client.client_id);
        self
    }

    /// `acks`, all. Less than all needs [`ProducerBuilder::enable_idempotence`] off.
    #[must_use]
    pub fn acks(mut self, acks: Acks) -> ProducerBuilder {
        self.acks = acks;
        self
    }

    /// `enable.idempotence`, on: what is repeated is not written twice.
    #[must_use]
    pub fn enable_idempotence(mut self, enable: bool) -> ProducerBuilder {
        self.idempotent = enable;
        self
    }

    /// `compression.type`, none.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> ProducerBuilder {
        self.compression = compression;
        self
    }

    /// `batch.size`, 128 KiB (Kafka: 16): a batch with this many bytes is full.
    #[must_use]
    pub fn batch_size(mut self, bytes: usize) -> ProducerBuilder {
        self.batch_bytes = bytes;
        self
    }

    /// `linger.ms`, 5: how long a batch waits for more records.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> ProducerBuilder {
        self.linger = linger;
        self
    }

    /// `buffer.memory`, 32 MiB: bytes of records that are not acknowledged yet; [`Producer::send`] waits beyond, and while
    /// it does, batches do not linger.
    #[must_use]
    pub fn buffer_memory(mut self, bytes: usize) -> ProducerBuilder {
        self.buffer_bytes = bytes;
        self
    }

    /// `max.request.size`, 1 MiB: the largest record, and the most bytes of batches in one request.
    #[must_use]
    pub fn max_request_size(mut self, bytes: usize) -> ProducerBuilder {
        self.max_request_bytes = bytes;
        self
    }

    /// `delivery.timeout.ms`, 2 minutes: how long a record is tried.
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> ProducerBuilder {
        self.delivery_timeout = timeout;
        self
    }

    /// `request.timeout.ms`, 30 s: longest wait for one answer.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> ProducerBuilder {
        self.client.request_timeout = timeout;
        self
    }

    /// `max.block.ms`, 60 s: longest wait of [`Producer::send`], for metadata and for room in the buffer.
    #[must_use]
    pub fn max_block(mut self, timeout: Duration) -> ProducerBuilder {
        self.max_block = timeout;
        self
    }

    /// The producer. Must be called within a tokio runtime; connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the settings contradict each other.
    pub fn build(self) -> Result<Producer, Error> {
        self.check()?;
        let cluster = Cluster::new(self.client.clone())?;
        let memory = Arc::new(Semaphore::new(self.buffer_bytes));
        let limits = Limits {
            batch_bytes: self.batch_bytes.min(self.max_request_bytes),
            linger: self.linger,
            delivery_timeout: self.delivery_timeout,
        };
        let shared = Arc::new(Shared {
            accumulator: Mutex::new(Accumulator::new(limits, Arc::clone(&memory))),
            wake: Notify::new(),
            fatal: Mutex::new(None),
            is_closed: AtomicBool::new(false),
            short_of_room: AtomicUsize::new(0),
        });
        let settings = SenderSettings {
            acks: self.acks,
            compression: self.compression,
            idempotent: self.idempotent,
            max_request_bytes: self.max_request_bytes,
        };
        let sender = Sender::new(Arc::clone(&cluster), Arc::clone(&shared), settings);
        let task = tokio::spawn(sender.run()).abort_handle();
        tracing::debug!(settings = ?self, "a producer");
        Ok(Producer { cluster, shared, memory, settings: self, task })
    }

    fn check(&self) -> Result<(), Error> {
        let is_too_long = |wait: &Duration| wait.as_millis() > i32::MAX as u128;
        let waits = [self.linger, self.delivery_timeout, self.max_block, self.client.request_timeout];
        let wrong = if self.idempotent && self.acks != Acks::All {
            "enable.idempotence needs acks=all; switch one of them"
        } else if self.buffer_bytes < self.max_request_bytes || self.buffer_bytes > i32::MAX as usize {
            "buffer.memory must be at least max.request.size, and below 2 GiB"
        } else if waits.iter().any(is_too_long) {
            "times must be below 2^31 ms, which are 24 days"
        } else if self.linger >= self.delivery_timeout {
            "delivery.timeout.ms must be above linger.ms, or nothing would ever be sent"
        } else {
            return Ok(());
        };
        Err(Error::Invalid(wrong.to_owned()))
    }
}

/// A producer. Share it by reference or `Arc`; all calls take `&self`.
///
/// [`Producer::send`] waits twice: first until the record is taken in, which is quick and in order, then, on what it
/// returned, until the record is acknowledged. What a dropped producer still holds is not sent: end with
/// [`Producer::close`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use pagemark_client::{Producer, ProducerRecord};
///
/// let producer = Producer::builder("127.0.0.1:9092").build()?;
/// let record = ProducerRecord::to("orders").key("customer-7").value("42.00");
/// let written = producer.send(record).await?.await?;
/// println!("{} at offset {:?}", written.partition, written.offset);
/// producer.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Producer {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    memory: Arc<Semaphore>,
    settings: ProducerBuilder,
    task: AbortHandle,
}

impl Producer {
    /// Begins with `bootstrap.servers`: `host:port`, with commas between them.
    #[must_use]
    pub fn builder(bootstrap_servers: &str) -> ProducerBuilder {
        ProducerBuilder {
            client: ClientSettings::new(bootstrap_servers),
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            batch_bytes: 128 * 1024,
            linger: Duration::from_millis(5),
            buffer_bytes: 32 * 1024 * 1024,
            max_request_bytes: 1024 * 1024,
            delivery_timeout: Duration::from_secs(120),
            max_block: Duration::from_secs(60),
        }
    }

    /// Takes a record in and returns what will become of it. Waits while the buffer is full. Records of one partition are
    /// written in the order in which they were taken in.
    ///
    /// Safe to drop: the record was then not taken in.
    ///
    /// # Errors
    /// [`ProduceError::TooLarge`], [`ProduceError::Fatal`], [`ProduceError::NotWritten`] if there is no metadata or no room
    /// within `max.block.ms`, [`ProduceError::Refused`] if there is no such topic or partition.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ProduceError> {
        let ProducerRecord { topic, partition, key, value, headers, timestamp_ms } = record;
        if let Some(error) = self.shared.fatal() {
            return Err(ProduceError::Fatal(error));
        }
        let bytes = record_bytes(key.as_ref(), value.as_ref(), &headers);
        let limit = self.settings.max_request_bytes;
        if bytes + BATCH_OVERHEAD > limit {
            return Err(ProduceError::TooLarge { bytes: bytes + BATCH_OVERHEAD, limit });
        }
        let deadline = Instant::now() + self.settings.max_block;
        let partitions = tokio::time::timeout_at(deadline, self.partitions(&topic, partition, deadline)).await;
        let partitions = partitions.unwrap_or_else(|_| Err(blocked("no metadata")))?;
        let chosen = match (partition, &key) {
            (Some(partition), _) if (0..partitions).contains(&partition) => Some(partition),
            (Some(partition), _) => {
                let message = format!("{topic} has {partitions} partitions, and no {partition}");
                return Err(ProduceError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, message });
            }
            (None, Some(key)) => Some(partitioner::partition_of(key, partitions)),
            (None, None) => None,
        };
        let permits = tokio::time::timeout_at(deadline, self.reserve(bytes)).await;
        let permits = permits.unwrap_or_else(|_| Err(blocked("no room in the buffer")))?;
        // From here on nothing waits.
        let timestamp_ms = timestamp_ms.unwrap_or_else(host::now_ms);
        let parts = Parts { timestamp_ms, key: key.as_ref(), value: value.as_ref(), headers: &headers, bytes };
        let (metadata, _) = self.cluster.metadata();
        let (delivery, wake) = {
            let mut accumulator = self.shared.accumulator();
            if self.shared.is_closed.load(Ordering::Acquire) {
                return Err(closed());
            }
            let has_leader = |partition| metadata.leader(&topic, partition).is_some();
            let chosen = chosen.unwrap_or_else(|| accumulator.sticky(&topic, partitions, host::random(), has_leader));
            let partition = TopicPartition { topic, partition: chosen };
            accumulator.append(&partition, &parts, Instant::now())
        };
        permits.forget(); // the batch gives them back
        if wake {
            self.shared.wake.notify_one();
        }
        Ok(delivery)
    }

    /// Sends everything at once and waits until each record taken in before has its outcome. Safe to drop.
    pub async fn flush(&self) {
        let outcomes = self.shared.accumulator().flush();
        self.shared.wake.notify_one();
        for outcome in outcomes {
            outcome.settled().await; // failures are the deliveries' to tell
        }
    }

    /// Flushes, and ends the producer.
    pub async fn close(self) {
        self.flush().await;
    }

    /// Room in the buffer.
    async fn reserve(&self, bytes: usize) -> Result<SemaphorePermit<'_>, ProduceError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(permits) = self.memory.try_acquire_many(bytes) {
            return Ok(permits);
        }
        let _waiting = ShortOfRoom::begin(&self.shared);
        self.memory.acquire_many(bytes).await.map_err(|_| closed())
    }

    /// How many partitions a topic has. Asks again if `wanted` is beyond: the topic may have grown.
    async fn partitions(&self, topic: &str, wanted: Option<i32>, deadline: Instant) -> Result<i32, ProduceError> {
        let known = self.known_partitions(topic, deadline).await?;
        if wanted.is_none_or(|wanted| wanted < known) {
            return Ok(known);
        }
        self.cluster.refresh_now().await.ok(); // what was known will do
        self.known_partitions(topic, deadline).await
    }

    async fn known_partitions(&self, topic: &str, deadline: Instant) -> Result<i32, ProduceError> {
        let known = self.cluster.metadata().0.topics.get(topic).map(|topic| topic.partitions.len());
        let count = match known {
            Some(count) => count,
            None => {
                let topic = self.cluster.topic(topic, deadline).await.map_err(|error| match error {
                    Error::Refused { code, message } => ProduceError::Refused { code, message },
                    error if error.is_retriable() => ProduceError::NotWritten(error.to_string()),
                    error => ProduceError::Fatal(error),
                })?;
                topic.partitions.len()
            }
        };
        match i32::try_from(count) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(ProduceError::NotWritten(format!("{topic} has no partitions at the moment"))),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A call that waits for room: batches are sent at once meanwhile.
struct ShortOfRoom<'a>(&'a Shared);

impl ShortOfRoom<'_> {
    fn begin(shared: &Shared) -> ShortOfRoom<'_> {
        shared.short_of_room.fetch_add(1, Ordering::AcqRel);
        shared.wake.notify_one();
        ShortOfRoom(shared)
    }
}

impl Drop for ShortOfRoom<'_> {
    fn drop(&mut self) {
        self.0.short_of_room.fetch_sub(1, Ordering::AcqRel);
    }
}

fn blocked(what: &str) -> ProduceError {
    ProduceError::NotWritten(format!("{what} within max.block.ms"))
}

fn closed() -> ProduceError {
    ProduceError::NotWritten("the producer was closed".to_owned())
}
