//! The published view of the topics: what Metadata answers, and where every request finds its partitions.
//!
//! A view never changes; a change publishes another one. Only what is durable and open gets into it, so a client never sees a
//! topic that a crash would take back. Deliberately not here: making changes (`admin`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use pagemark_wire::types::{LeaderEpoch, PartitionIndex, TopicId};

use crate::metadata::OFFSETS_TOPIC;
use crate::metadata::name::collision_key;
use crate::metadata::record::TopicRecord;
use crate::metadata::topic_config::TopicConfig;
use crate::partitions::Partition;

/// One topic, open.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What is stored of it.
    pub record: TopicRecord,
    /// What takes effect of its configuration.
    pub config: TopicConfig,
    /// Its partitions, in order from 0.
    pub partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// Identity of this incarnation.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.record.topic_id()
    }

    /// The greatest leader epoch of its partitions.
    #[must_use]
    pub fn last_epoch(&self) -> LeaderEpoch {
        let epochs = self.partitions.iter().map(|partition| partition.leader_epoch());
        epochs.max().unwrap_or_default().max(self.record.first_leader_epoch())
    }

    /// Whether only the broker writes to it.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.name == OFFSETS_TOPIC
    }

    /// The partition of this number, if there is one.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }
}

/// All topics at one moment.
#[derive(Debug, Default, Clone)]
pub struct TopicsView {
    by_name: BTreeMap<String, Arc<Topic>>,
    /// By the name with '.' and '_' made equal; no two topics share one (P-25).
    by_collision_key: HashMap<String, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
}

impl TopicsView {
    /// The topic of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic with this id.
    #[must_use]
    pub fn by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The topic whose name differs from this one only in '.' and '_', or not at all (P-25).
    #[must_use]
    pub fn colliding(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_collision_key.get(&collision_key(name))
    }

    /// All topics by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Adds a topic, or puts it in the place of what had its name.
    pub fn insert(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id(), Arc::clone(&topic));
        self.by_collision_key.insert(collision_key(&topic.name), Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
    }

    /// Removes a topic by its id.
    pub fn remove(&mut self, id: TopicId) {
        if let Some(topic) = self.by_id.remove(&id) {
            self.by_name.remove(&topic.name);
            self.by_collision_key.remove(&collision_key(&topic.name));
        }
    }
}

/// The view of the moment, for everybody.
#[derive(Debug, Default)]
pub struct TopicRegistry {
    current: RwLock<Arc<TopicsView>>,
}

impl TopicRegistry {
    /// The view of this moment. Hold it for one request, not longer.
    #[must_use]
    pub fn view(&self) -> Arc<TopicsView> {
        Arc::clone(&self.current.read().expect("nothing panics while holding the view"))
    }

    /// Makes the view another one.
    pub fn publish(&self, change: impl FnOnce(&mut TopicsView)) {
        let mut current = self.current.write().expect("nothing panics while holding the view");
        let mut next = TopicsView::clone(&current);
        change(&mut next);
        *current = Arc::new(next);
    }
}
