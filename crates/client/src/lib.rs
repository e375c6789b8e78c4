//! A client that speaks nothing but Kafka's protocol, so that it works against any broker that does.
//!
//! Deliberately not here: TLS, SASL, transactions, KIP-848 groups.

mod admin;
pub mod blocking;
mod cluster;
mod code;
mod error;
mod host;
mod net;
mod offsets;
mod partition;
mod producer;
mod request;

pub use admin::{Admin, AdminBuilder, ClusterDescription, GroupDescription, GroupListing, GroupMember, NewTopic};
pub use cluster::{Broker, ClientSettings, Partition, Topic};
pub use code::Code;
pub use error::Error;
pub use offsets::{IsolationLevel, ListedOffset, OffsetAndMetadata, OffsetSpec};
pub use pagemark_wire::records::Compression;
pub use partition::TopicPartition;
pub use producer::{Acks, Delivery, ProduceError, Producer, ProducerBuilder, ProducerRecord, RecordMetadata};
