//! A client that speaks nothing but Kafka's protocol, so that it works against any broker that does.
//!
//! Three handles over tokio, each with its own connections:
//!
//! - a [`Producer`] takes records in and says what became of each. Idempotent, in order for each partition.
//! - a [`Consumer`] hands records out and commits what the application says it has processed. What is not said to be
//!   processed is never committed.
//! - an [`Admin`] creates, lists, describes and alters.
//!
//! Names are Kafka's, of calls and of settings; where a default is not Kafka's, its documentation says so. Every future may
//! be dropped at any time: nothing is lost by that and nothing is left half done. Errors are named by what the caller should
//! do. What a broker sends is believed no more than what a stranger sends.
//!
//! ```no_run
//! # async fn settle(_: &pagemark_client::Record) -> Result<(), std::io::Error> { Ok(()) }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use pagemark_client::{AutoOffsetReset, Consumer};
//!
//! let mut consumer = Consumer::builder("127.0.0.1:9092")
//!     .group_id("billing")
//!     .auto_offset_reset(AutoOffsetReset::Earliest)
//!     .build()?;
//! consumer.subscribe(["orders"])?;
//! loop {
//!     let record = consumer.recv().await?;
//!     settle(&record).await?;
//!     consumer.store_offset(&record)?; // processed: the next commit covers it
//! }
//! # }
//! ```
//!
//! An offset that is committed is the NEXT one to read: after the record at offset 3 was processed, 4 is committed.
//! [`Consumer::store_offset`] takes the processed record and adds the 1 itself.
//!
//! Deliberately not here: TLS, SASL, transactions, KIP-848 groups, subscribing by pattern. [`blocking`] is a bare connection
//! for tools and tests.

mod admin;
pub mod blocking;
mod cluster;
mod code;
mod consumer;
mod error;
#[cfg(test)]
mod fake;
mod host;
mod net;
mod offsets;
mod partition;
mod producer;

pub use admin::{
    Admin, AdminBuilder, ClusterDescription, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, GroupDescription,
    GroupListing, GroupMember, NewTopic,
};
pub use cluster::{Broker, ClientSettings, Partition, Topic};
pub use code::Code;
pub use consumer::{
    Assignor, AutoOffsetReset, CommitError, CommitHandle, Consumer, ConsumerBuilder, ConsumerError, NotAssigned,
    PartitionSet, Rebalance, RebalanceListener, Record,
};
pub use error::Error;
pub use offsets::{IsolationLevel, ListedOffset, OffsetAndMetadata, OffsetSpec};
pub use pagemark_wire::records::Compression;
pub use partition::TopicPartition;
pub use producer::{Acks, Delivery, ProduceError, Producer, ProducerBuilder, ProducerRecord, RecordMetadata};
