//! What the run's clients remember: the state of partitions as their owner knows it, and batches that may be sent again.
//!
//! Deliberately not here: the engine; these are the questions, `mod.rs` asks them.

use std::collections::{BTreeMap, VecDeque};

use pagemark_core::partition::ProducerTable;
use pagemark_storage::engine::ShardEpoch;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey, ProducerEpoch, ProducerId, TopicId};
use uuid::Uuid;

use crate::batch::Source;
use crate::observe::Observed;
use crate::rng::Rng;

/// Names of the topics that come and go.
pub const TOPIC_NAMES: [&str; 3] = ["orders", "sales", "audit"];
/// Partitions of each.
pub const TOPIC_PARTITIONS: u32 = 4;
/// Groups that commit.
pub const GROUPS: [&str; 3] = ["billing", "search", "archive"];
/// Partitions of the topic that commits go to.
pub const COMMIT_PARTITIONS: u32 = 2;
/// Idempotent producers.
pub const PRODUCERS: u64 = 3;

/// A batch that a producer sent, to be sent again when its outcome is unknown.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its number in the oracle.
    pub unit: usize,
    /// Its first sequence number.
    pub sequence: i32,
    /// Its records.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
    /// The offset it got.
    pub base: Offset,
}

/// A partition as its owner knows it.
#[derive(Debug, Clone, Default)]
pub struct Owned {
    /// First offset that the owner asked for.
    pub log_start: Offset,
    /// Offset of the next record.
    pub log_end: Offset,
    /// Epoch of the next batch.
    pub leader_epoch: LeaderEpoch,
    /// Producers remembered.
    pub producers: ProducerTable,
}

/// Everything outside the engine.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    /// The id each name has now.
    pub topics: BTreeMap<&'static str, TopicId>,
    /// The name each id ever had.
    named: BTreeMap<TopicId, &'static str>,
    /// The partitions of those topics, and those of the commits.
    pub owned: BTreeMap<PartitionKey, Owned>,
    /// The last batches of each producer in each partition, oldest first.
    pub sent: BTreeMap<(ProducerId, PartitionKey), VecDeque<Sent>>,
    /// How often each topic's shard was opened in this life.
    pub shard_epochs: BTreeMap<TopicId, ShardEpoch>,
    /// Position of each group in its last commit, only to make commits differ.
    pub committed: i64,
    /// The life in which the topic of a name was deleted last.
    pub deleted_in: BTreeMap<&'static str, u64>,
    next_topic: u128,
    clock_ms: i64,
}

/// How many batches a producer keeps to send again: the engine remembers as many.
const SENT_KEPT: usize = 5;

impl Clients {
    /// The topic that commits go to.
    #[must_use]
    pub fn commit_topic() -> TopicId {
        TopicId(Uuid::from_u128(0x0ff5_e700))
    }

    /// Gives a name to an id that no topic had.
    pub fn new_topic(&mut self, name: &'static str) -> TopicId {
        self.next_topic += 1;
        let id = TopicId(Uuid::from_u128(0x7091_c000 + self.next_topic));
        self.topics.insert(name, id);
        self.named.insert(id, name);
        id
    }

    /// A time that goes on, mostly forward (clients' clocks differ), milliseconds since 1970.
    pub fn time_ms(&mut self, rng: &mut Rng) -> i64 {
        self.clock_ms += 1 + rng.below(20) as i64;
        1_700_000_000_000 + self.clock_ms - rng.below(60) as i64
    }

    /// The writer of the next batch of this producer in this partition.
    #[must_use]
    pub fn source(&self, id: ProducerId, partition: PartitionKey) -> Source {
        let known = self.owned.get(&partition).and_then(|p| p.producers.iter().find(|(known, _)| *known == id));
        let last = known.and_then(|(_, entry)| entry.batches.back()).map_or(-1, |span| span.last_sequence);
        Source { id, epoch: ProducerEpoch(0), sequence: last + 1 }
    }

    /// Keeps a batch to be sent again.
    pub fn keep(&mut self, id: ProducerId, partition: PartitionKey, sent: Sent) {
        let kept = self.sent.entry((id, partition)).or_default();
        if kept.len() == SENT_KEPT {
            kept.pop_front();
        }
        kept.push_back(sent);
    }

    /// Forgets a deleted topic.
    pub fn forget(&mut self, topic: TopicId) {
        self.topics.retain(|_, id| *id != topic);
        self.owned.retain(|partition, _| partition.topic != topic);
        self.sent.retain(|(_, partition), _| partition.topic != topic);
        self.shard_epochs.remove(&topic);
    }

    /// Owners load what the engine gave them after a restart.
    pub fn load(&mut self, seen: &Observed) {
        let names = seen.topics.keys().filter_map(|id| Some((*self.named.get(id)?, *id)));
        self.topics = names.collect();
        self.sent.retain(|(_, partition), _| seen.topics.contains_key(&partition.topic));
        self.shard_epochs = seen.topics.keys().map(|topic| (*topic, ShardEpoch(1))).collect();
        self.owned = seen
            .partitions
            .iter()
            .map(|(key, partition)| {
                let owned = Owned {
                    log_start: partition.log_start,
                    log_end: partition.log_end,
                    leader_epoch: partition.leader_epoch(),
                    producers: partition.producers.clone(),
                };
                (*key, owned)
            })
            .collect();
    }

    /// The next epoch to open a topic's shard with.
    pub fn next_shard_epoch(&mut self, topic: TopicId) -> ShardEpoch {
        let epoch = self.shard_epochs.entry(topic).or_insert(ShardEpoch(0));
        epoch.0 += 1;
        *epoch
    }

    /// One of the partitions of the topics that come and go.
    pub fn any_partition(&self, rng: &mut Rng) -> Option<PartitionKey> {
        let commits = Clients::commit_topic();
        let keys: Vec<PartitionKey> = self.owned.keys().filter(|key| key.topic != commits).copied().collect();
        (!keys.is_empty()).then(|| keys[rng.index(keys.len())])
    }
}

/// Records that no other batch has: their unit's number, and bytes of their own.
pub fn records(rng: &mut Rng, unit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let length = match rng.below(40) {
        0 => 3_000 + rng.index(6_000),
        1..=5 => 500 + rng.index(1_200),
        _ => 20 + rng.index(160),
    };
    let count = 1 + rng.index(3);
    (0..count).map(|index| (format!("key-{}", rng.below(9)).into_bytes(), value(rng, unit, index, length))).collect()
}

/// A record whose batch takes, in the log, exactly the place of the record that a restart writes for so many partitions.
/// What such a restart overwrites then ends where an old record begins, which is when old records are most easily believed.
pub fn record_like_restart(rng: &mut Rng, unit: usize, partitions: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![(b"key-r".to_vec(), value(rng, unit, 0, (partitions * 32).saturating_sub(100)))]
}

fn value(rng: &mut Rng, unit: usize, index: usize, length: usize) -> Vec<u8> {
    let mut value = format!("{unit}.{index}:").into_bytes();
    while value.len() < length {
        value.push(rng.next() as u8);
    }
    value
}
