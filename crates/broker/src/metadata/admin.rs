//! Changes to the set of topics, one after the other.
//!
//! A creation is written to the engine (the topic's fact, then its partitions: both in one order of writes), waited for, opened
//! by its executors, and only then published. A deletion is made durable first, then published, so that nothing more
//! is written; data and offsets committed for the topic go last. A crash in between is finished at the next start by
//! [`TopicAdmin::recover`]. Deliberately not here: which requests ask for it (`api/create_topics`, `api/metadata`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use pagemark_storage::engine::{Compare, Engine, EngineError, Lsn, Room, ShardId, Ticket, TxnOutcome, Write};
use pagemark_wire::ErrorCode;
use pagemark_wire::types::{PartitionIndex, PartitionKey, TopicId};
use tokio::sync::Mutex;

use crate::executor::Executors;
use crate::host::Host;
use crate::metadata::broker_config::BrokerConfigs;
use crate::metadata::former::FormerTopics;
use crate::metadata::name::check_topic_name;
use crate::metadata::record::{TOPIC_PREFIX, TopicRecord, topic_key};
use crate::metadata::registry::{Topic, TopicRegistry, TopicsView};
use crate::metadata::topic_config::{TopicConfig, shown};
use crate::metadata::{OFFSETS_TOPIC, topic_config};
use crate::partitions::Partition;
use crate::progress::ProgressHub;
use crate::settings::OFFSETS_PARTITIONS_LIMIT;

/// Shards of ordinary partitions begin here; those below belong to the partitions of `__consumer_offsets`.
const FIRST_DATA_SHARD: u32 = 1 << 16;
const _: () =
    assert!(OFFSETS_PARTITIONS_LIMIT < FIRST_DATA_SHARD as i64, "no two partitions may claim one shard number");
/// Ordinary partitions are spread over so many shards.
const DATA_SHARDS: u32 = 16;

/// Most partitions of one topic.
pub const MOST_PARTITIONS_OF_A_TOPIC: u32 = 100_000;
/// Most partitions that one request creates, as in Kafka: they are made at once, and everybody else who creates waits.
pub const MOST_PARTITIONS_OF_A_REQUEST: u32 = 10_000;

/// A topic to be created.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions, -1 for the broker's default.
    pub partitions: i32,
    /// Replication factor, -1 for the broker's default.
    pub replication_factor: i16,
    /// Its own configuration.
    pub configs: BTreeMap<String, Option<String>>,
}

/// Why a topic was not created or deleted: an error code with a sentence for the user.
pub type AdminError = (ErrorCode, String);

/// Makes and removes topics.
pub struct TopicAdmin {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) registry: Arc<TopicRegistry>,
    pub(super) executors: Arc<Executors>,
    pub(super) progress: Arc<ProgressHub>,
    host: Arc<dyn Host>,
    pub(super) configs: Arc<BrokerConfigs>,
    /// Held over a whole change, waiting included: changes are rare, and one at a time is simple. What is remembered of deleted
    /// topics is known once the broker has recovered.
    pub(super) one_at_a_time: Mutex<FormerTopics>,
}

impl TopicAdmin {
    /// An administrator over these parts.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        registry: Arc<TopicRegistry>,
        executors: Arc<Executors>,
        progress: Arc<ProgressHub>,
        host: Arc<dyn Host>,
        configs: Arc<BrokerConfigs>,
    ) -> TopicAdmin {
        TopicAdmin { engine, registry, executors, progress, host, configs, one_at_a_time: Mutex::default() }
    }

    /// Judges a topic against the present topics, and fills in the defaults.
    ///
    /// # Errors
    /// INVALID_TOPIC_EXCEPTION, TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, POLICY_VIOLATION,
    /// INVALID_CONFIG (P-25, P-28).
    pub fn check(&self, new: &NewTopic) -> Result<TopicRecord, AdminError> {
        self.check_in(&self.registry.view(), new)
    }

    fn check_in(&self, view: &TopicsView, new: &NewTopic) -> Result<TopicRecord, AdminError> {
        check_topic_name(&new.name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
        if view.by_name(&new.name).is_some() {
            return Err((ErrorCode::TopicAlreadyExists, format!("topic '{}' already exists", new.name)));
        }
        if let Some(other) = view.colliding(&new.name) {
            let why = format!("topic '{}' collides with '{}': they differ only in '.' and '_'", new.name, other.name);
            return Err((ErrorCode::InvalidTopicException, why));
        }
        let partitions = self.check_partitions(new.partitions)?;
        let replication_factor = self.check_replication_factor(new.replication_factor)?;
        let mut configs = BTreeMap::new();
        for (name, value) in &new.configs {
            let value =
                value.as_deref().ok_or_else(|| format!("Null value not supported for topic configs: {}", shown(name)));
            let read = value.and_then(|value| topic_config::read_config(name, value));
            configs.insert(name.clone(), read.map_err(|why| (ErrorCode::InvalidConfig, why))?);
        }
        topic_config::check_together(&configs).map_err(|why| (ErrorCode::InvalidConfig, why))?;
        self.check_room()?;
        Ok(TopicRecord { id: self.host.fresh_uuid(), partitions, replication_factor, configs, first_epoch: 0 })
    }

    /// Topics may fill what is left of the disk, which is kept for commits.
    pub(super) fn check_room(&self) -> Result<(), AdminError> {
        match self.engine.headroom().room {
            Room::Enough => Ok(()),
            Room::Scarce | Room::Exhausted => {
                let why = "the disk is nearly full: partitions are made again when there is room";
                Err((ErrorCode::PolicyViolation, why.to_owned()))
            }
        }
    }

    fn check_partitions(&self, asked: i32) -> Result<u32, AdminError> {
        const MOST: u32 = MOST_PARTITIONS_OF_A_TOPIC;
        let partitions = if asked == -1 { self.configs.settings().num_partitions } else { asked };
        match u32::try_from(partitions) {
            Ok(0) | Err(_) => {
                Err((ErrorCode::InvalidPartitions, format!("a topic has at least 1 partition, not {asked}")))
            }
            Ok(n) if n > MOST => {
                Err((ErrorCode::PolicyViolation, format!("a topic has at most {MOST} partitions here, not {n}")))
            }
            Ok(n) => Ok(n),
        }
    }

    fn check_replication_factor(&self, asked: i16) -> Result<i16, AdminError> {
        match asked {
            -1 | 1 => Ok(1),
            2.. if self.configs.settings().pagemark_lenient_replication_factor => Ok(1),
            _ => Err((
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "replication factor {asked} on a single broker: use 1 or -1, or start the broker with --set \
                     pagemark.lenient.replication.factor=true, which takes any as 1"
                ),
            )),
        }
    }

    /// Creates topics; each gets its own result, in the order given. All that are legal wait for the disk once.
    pub async fn create(&self, topics: Vec<NewTopic>) -> Vec<Result<Arc<Topic>, AdminError>> {
        let mut former = self.one_at_a_time.lock().await;
        let mut view = TopicsView::clone(&self.registry.view());
        let mut results = Vec::with_capacity(topics.len());
        let mut accepted = Vec::new();
        let mut last = Ticket(Lsn(0));
        for new in topics {
            let outcome = self.check_in(&view, &new).and_then(|mut record| {
                record.first_epoch = former.first_epoch(&new.name).0;
                last = self.write(&new.name, &record, former.writes_of_creation(&new.name))?;
                former.created(&new.name);
                Ok(self.assemble(new.name.clone(), record))
            });
            match outcome {
                Ok(topic) => {
                    results.push(Ok(topic.name.clone()));
                    view.insert(self.assemble(topic.name.clone(), topic.record.clone()));
                    accepted.push(topic);
                }
                Err(error) => results.push(Err(error)),
            }
        }
        let ready = self.make_ready(&accepted, last).await;
        if ready.is_ok() {
            self.publish(accepted);
        }
        let view = self.registry.view();
        let settle = |result: Result<String, AdminError>| {
            let name = result?;
            ready.clone()?;
            view.by_name(&name).cloned().ok_or((ErrorCode::UnknownServerError, "the topic is gone again".to_owned()))
        };
        results.into_iter().map(settle).collect()
    }

    /// Writes a topic's fact, if the name is free, with `more` in the same step, and then its partitions; durable with the engine's
    /// next flush. Not the other way round: where the name is taken, partitions that nobody knows would be left.
    fn write(&self, name: &str, record: &TopicRecord, more: Vec<Write>) -> Result<Ticket, AdminError> {
        let key = topic_key(name);
        let value = Bytes::from(serde_json::to_vec(record).expect("a topic's record is plain data"));
        let mut writes = vec![Write::Put(key.clone(), value)];
        writes.extend(more);
        match self.engine.txn(&[Compare::Absent(key)], writes).map_err(storage_error)? {
            TxnOutcome::Accepted(_) => {}
            TxnOutcome::Refused => {
                return Err((ErrorCode::TopicAlreadyExists, format!("topic '{name}' already exists")));
            }
        }
        let first_epoch = record.first_leader_epoch();
        self.engine.create(record.topic_id(), record.partitions, first_epoch).map_err(storage_error)
    }

    async fn make_ready(&self, topics: &[Topic], written: Ticket) -> Result<(), AdminError> {
        if topics.is_empty() {
            return Ok(());
        }
        self.progress.durable(written).await.map_err(storage_error)?;
        let partitions: Vec<_> = topics.iter().flat_map(|t| t.partitions.iter().cloned()).collect();
        self.executors.own(partitions).await.map_err(storage_error)
    }

    /// Deletes a topic by id, with everything that belongs to it.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_ID if it is not there (any more), KAFKA_STORAGE_ERROR.
    pub async fn delete(&self, id: TopicId) -> Result<(), AdminError> {
        let mut former = self.one_at_a_time.lock().await;
        let Some(topic) = self.registry.view().by_id(id).cloned() else {
            return Err((ErrorCode::UnknownTopicId, "no topic has this id".to_owned()));
        };
        // Durable first: a crash must not bring back a topic that somebody has seen gone (invariant 17).
        let last = topic.last_epoch();
        let mut writes = vec![Write::Delete(topic_key(&topic.name))];
        writes.extend(former.writes_of_deletion(&topic.name, last));
        if let TxnOutcome::Accepted(ticket) = self.engine.txn(&[], writes).map_err(storage_error)? {
            former.deleted(topic.name.clone(), last, ticket.0);
            self.progress.durable(ticket).await.map_err(storage_error)?;
        }
        self.registry.publish(|view| view.remove(id));
        self.executors.disown(&topic.partitions).await;
        let deleted = self.engine.delete(id).map_err(storage_error)?;
        topic.partitions.iter().for_each(|p| p.mark_deleted());
        self.executors.remove_offsets_of(id, &topic.name).await;
        self.progress.durable(deleted).await.map_err(storage_error)
    }

    /// Brings the engine's partitions and the topics' facts together after a start, opens everything and publishes it.
    /// The offsets topic is created if it is not there (P-27).
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR with what happened; a broker does not start then.
    pub async fn recover(&self) -> Result<(), AdminError> {
        let mut former = self.one_at_a_time.lock().await;
        let unreadable = |why: String| (ErrorCode::KafkaStorageError, why);
        *former = FormerTopics::load(self.engine.as_ref()).map_err(unreadable)?;
        let mut topics = Vec::new();
        for (key, stored) in self.engine.scan(TOPIC_PREFIX) {
            let record: TopicRecord = serde_json::from_slice(&stored.value)
                .map_err(|e| unreadable(format!("the stored fact {key} is not readable: {e}")))?;
            topics.push(self.assemble(key[TOPIC_PREFIX.len()..].to_owned(), record));
        }
        let named: BTreeSet<TopicId> = topics.iter().map(Topic::id).collect();
        for (orphan, _) in self.engine.topics().into_iter().filter(|(id, _)| !named.contains(id)) {
            if self.engine.facts_are_whole() {
                self.engine.delete(orphan).map_err(storage_error)?;
            } else {
                tracing::error!(topic_id = %orphan, "data of a topic whose name was lost to damage is kept, but not served");
            }
        }
        let mut last = Ticket(Lsn(0));
        for topic in &topics {
            let first_epoch = topic.record.first_leader_epoch();
            last = self.engine.create(topic.id(), topic.record.partitions, first_epoch).map_err(storage_error)?;
        }
        if !topics.iter().any(Topic::is_internal) {
            if !self.engine.facts_are_whole() {
                let why = format!(
                    "the facts of the cluster are damaged and {OFFSETS_TOPIC} is not among them: \
                     restore the data directory from a backup"
                );
                return Err((ErrorCode::KafkaStorageError, why));
            }
            let partitions = self.configs.settings().offsets_topic_num_partitions.unsigned_abs();
            let configs = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
            let id = self.host.fresh_uuid();
            let record = TopicRecord { id, partitions, replication_factor: 1, configs, first_epoch: 0 };
            last = self.write(OFFSETS_TOPIC, &record, Vec::new())?;
            topics.push(self.assemble(OFFSETS_TOPIC.to_owned(), record));
        }
        self.progress.durable(last).await.map_err(storage_error)?;
        let partitions = topics.iter().flat_map(|t| t.partitions.iter().cloned()).collect();
        // Published before anything is opened: group shards load from then on, and drop offsets of topics that they do not
        // find. Nobody else sees it yet, since nobody listens.
        self.publish(topics);
        self.executors.own(partitions).await.map_err(storage_error)
    }

    /// Shows these topics to everybody, in the place of what had their names, and tells the engine where their segments end.
    pub(super) fn publish(&self, topics: Vec<Topic>) {
        for topic in &topics {
            self.engine.limit_segments(topic.id(), Some(topic.config.segment_limit()));
        }
        self.registry.publish(|view| topics.into_iter().for_each(|topic| view.insert(topic)));
    }

    pub(super) fn assemble(&self, name: String, record: TopicRecord) -> Topic {
        let internal = name == OFFSETS_TOPIC;
        let partition = |index: u32| {
            let key = PartitionKey { topic: record.topic_id(), partition: PartitionIndex(index as i32) };
            let shard = if internal { ShardId(index) } else { data_shard(&key) };
            Arc::new(Partition::new(key, shard, self.executors.owner_of(shard)))
        };
        let partitions = (0..record.partitions).map(partition).collect();
        let config = TopicConfig::of(&self.configs.settings(), &record.configs);
        Topic { name, record, config, partitions }
    }
}

/// The shard of an ordinary partition: spread by topic id and number, the same in every process.
fn data_shard(key: &PartitionKey) -> ShardId {
    let id = key.topic.0.as_u128();
    let mixed = (id as u32) ^ ((id >> 64) as u32);
    ShardId(FIRST_DATA_SHARD + mixed.wrapping_add(key.partition.0 as u32) % DATA_SHARDS)
}

pub(super) fn storage_error(error: EngineError) -> AdminError {
    (ErrorCode::KafkaStorageError, error.to_string())
}
