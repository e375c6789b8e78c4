//! One running broker: what every request may use.
//!
//! Deliberately not here: starting and stopping it (`server`), and any decision.

use std::sync::{Arc, Mutex};

use pagemark_core::coordinator;
use pagemark_storage::engine::Engine;
use pagemark_wire::types::{PartitionKey, TopicId};

use crate::api::init_producer_id::ProducerIds;
use crate::aside::Turns;
use crate::executor::Executors;
use crate::host::Host;
use crate::metadata::admin::TopicAdmin;
use crate::metadata::broker_config::BrokerConfigs;
use crate::metadata::registry::{Topic, TopicRegistry};
use crate::metrics::Metrics;
use crate::net::budget::MemoryBudget;
use crate::progress::ProgressHub;
use crate::settings::{Address, Settings};

/// The parts of a running broker.
pub struct Broker {
    /// As given at the start. What may change while the broker runs is in `configs`.
    pub settings: Arc<Settings>,
    /// The settings of the moment.
    pub configs: Arc<BrokerConfigs>,
    /// The storage engine.
    pub engine: Arc<dyn Engine>,
    /// How far the engine has come.
    pub progress: Arc<ProgressHub>,
    /// The topics.
    pub registry: Arc<TopicRegistry>,
    /// Changes to the topics.
    pub admin: TopicAdmin,
    /// Owners of partitions and groups.
    pub executors: Arc<Executors>,
    /// Clocks and randomness.
    pub host: Arc<dyn Host>,
    /// Stable for the life of the cluster (P-26a).
    pub cluster_id: String,
    /// Memory for bytes received.
    pub budget: Arc<MemoryBudget>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Producer ids to be given out.
    pub producer_ids: ProducerIds,
    /// Work of which only so much may be under way.
    pub turns: WorkTurns,
}

/// Work that takes long or much memory, and how much of each kind is under way at a time, for all connections together.
#[derive(Debug)]
pub struct WorkTurns {
    /// Reads of the disk.
    pub disk_reads: Turns,
    /// ListOffsets by time: each may have a batch decompressed.
    pub time_lookups: Turns,
    /// Requests whose answers may be many times as large as they are.
    pub large_answers: Turns,
}

impl Default for WorkTurns {
    fn default() -> Self {
        WorkTurns { disk_reads: Turns::of(16), time_lookups: Turns::of(2), large_answers: Turns::of(2) }
    }
}

impl Broker {
    /// Number of the partition of `__consumer_offsets` that a group belongs to (G-1).
    #[must_use]
    pub fn group_shard(&self, group_id: &str) -> u32 {
        coordinator::partition_of(group_id, self.settings.offsets_topic_num_partitions.unsigned_abs())
    }

    /// The topic that a request means, by name or, where `name` is empty, by id.
    #[must_use]
    pub fn topic(&self, name: &str, id: TopicId) -> Option<Arc<Topic>> {
        let view = self.registry.view();
        if name.is_empty() { view.by_id(id).cloned() } else { view.by_name(name).cloned() }
    }
}

/// The client end of one connection.
#[derive(Debug)]
pub struct Client {
    /// Where it comes from, as Kafka writes it: `/127.0.0.1` (G-35).
    pub host: String,
    /// What Metadata and FindCoordinator answer on the listener used (P-26).
    pub advertised: Address,
    /// Its requests that are to read from the disk, one at a time.
    pub disk_turns: Turns,
    starved: Mutex<Option<PartitionKey>>,
}

impl Client {
    /// A client of the listener with this advertised address.
    #[must_use]
    pub fn new(host: String, advertised: Address) -> Client {
        Client { host, advertised, disk_turns: Turns::of(1), starved: Mutex::default() }
    }

    /// The partition that the last Fetch had no room for.
    #[must_use]
    pub fn starved(&self) -> Option<PartitionKey> {
        *self.starved.lock().expect("nothing panics while holding a key")
    }

    /// The next Fetch begins with this partition, if it names it.
    pub fn fetch_next_from(&self, starved: Option<PartitionKey>) {
        *self.starved.lock().expect("nothing panics while holding a key") = starved;
    }
}
