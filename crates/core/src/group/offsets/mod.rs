//! The committed offsets of a group, as the log says.
//!
//! Per topic a vector sorted by partition: a group commits to few topics with many partitions each. Topic names are shared
//! by all groups of a shard.
//! Deliberately not here: offsets of open transactions.

mod commit;
mod delete;
mod expire;
mod fetch;

use std::collections::BTreeMap;
use std::sync::Arc;

use pagemark_wire::internal::OffsetCommit;
use pagemark_wire::types::PartitionIndex;

pub(crate) use commit::commit;
pub(crate) use delete::{drop_offsets, tombstones};
pub(crate) use fetch::fetch;

/// What the log says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The offset committed last.
    Readable(OffsetCommit),
    /// There is one that this broker cannot read; it is neither told nor taken for none (O-73).
    Unreadable,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OffsetTable {
    topics: BTreeMap<Arc<str>, Vec<(PartitionIndex, Stored)>>,
}

impl OffsetTable {
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.topics.values().map(Vec::len).sum()
    }

    pub(crate) fn get(&self, topic: &str, partition: PartitionIndex) -> Option<&Stored> {
        let partitions = self.topics.get(topic)?;
        let at = partitions.binary_search_by_key(&partition, |(present, _)| *present).ok()?;
        Some(&partitions[at].1)
    }

    /// Every offset, in order of topic and partition.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &[(PartitionIndex, Stored)])> {
        self.topics.iter().map(|(topic, partitions)| (topic, partitions.as_slice()))
    }

    /// Only for replay.
    pub(crate) fn set(&mut self, topic: Arc<str>, partition: PartitionIndex, stored: Stored) {
        let partitions = self.topics.entry(topic).or_default();
        match partitions.binary_search_by_key(&partition, |(present, _)| *present) {
            Ok(at) => partitions[at].1 = stored,
            Err(at) => partitions.insert(at, (partition, stored)),
        }
    }

    /// Only for replay.
    pub(crate) fn remove(&mut self, topic: &str, partition: PartitionIndex) {
        let Some(partitions) = self.topics.get_mut(topic) else { return };
        if let Ok(at) = partitions.binary_search_by_key(&partition, |(present, _)| *present) {
            partitions.remove(at);
        }
        if partitions.is_empty() {
            self.topics.remove(topic);
        }
    }
}
