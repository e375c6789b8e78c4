//! The state that the log's records fold into: topics, partitions and the keyed facts.
//!
//! Changed by the same functions in operation and in recovery, so that a restart finds what was there (invariant 1).
//! Deliberately not here: bytes, files, durability; an entry's sequence number is compared with the durable one by readers.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagemark_core::partition::ProducerTable;
use pagemark_wire::records::{BATCH_HEADER_LEN, BatchHeader};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex as Index, PartitionKey, ProducerId, TopicId};

use super::index::{BatchEntry, PartitionIndex};
use super::meta::KeyedState;
use crate::engine::{EngineError, EpochStart, Extent, OpenedPartition, ShardEpoch, ShardId};

/// One partition.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    pub log_start: Offset,
    pub log_end: Offset,
    /// Oldest first, never empty.
    pub epochs: Vec<EpochStart>,
    pub producers: ProducerTable,
    pub quarantined: Option<Arc<str>>,
    pub index: PartitionIndex,
    /// The shard whose owner may append. Not stored: a restart has no owners.
    pub owner: Option<ShardId>,
}

impl Partition {
    pub(crate) fn new(first_epoch: LeaderEpoch) -> Partition {
        Partition {
            log_start: Offset(0),
            log_end: Offset(0),
            epochs: vec![EpochStart { epoch: first_epoch, start: Offset(0) }],
            producers: ProducerTable::default(),
            quarantined: None,
            index: PartitionIndex::default(),
            owner: None,
        }
    }

    /// Takes a batch that begins at the log end.
    pub(crate) fn accept(&mut self, header: &BatchHeader, entry: BatchEntry) {
        self.log_end = header.next_offset();
        self.producers.replay(header);
        self.index.push(entry);
    }

    /// The newest leader epoch.
    pub(crate) fn epoch(&self) -> LeaderEpoch {
        self.epochs.last().map_or(LeaderEpoch(0), |e| e.epoch)
    }

    /// Takes note of a new leader epoch; one that began at the same offset and holds nothing is replaced.
    pub(crate) fn begin_epoch(&mut self, next: EpochStart) {
        if self.epochs.last().is_some_and(|e| e.start == next.start) {
            self.epochs.pop();
        }
        self.epochs.push(next);
    }

    pub(crate) fn quarantine(&mut self, key: PartitionKey, reason: &str) {
        if self.quarantined.is_none() {
            tracing::error!(partition = %key, reason, "quarantined: durable bytes of this partition cannot be trusted");
            self.quarantined = Some(reason.into());
        }
    }

    pub(crate) fn extent(&self, durable_lsn: u64) -> Extent {
        Extent {
            log_start: self.log_start,
            durable_end: self.index.durable_end(durable_lsn, self.log_end),
            log_end: self.log_end,
            bytes: self.index.bytes,
        }
    }

    pub(crate) fn opened(&self, key: PartitionKey) -> OpenedPartition {
        OpenedPartition {
            partition: key,
            log_start: self.log_start,
            log_end: self.log_end,
            epochs: self.epochs.clone(),
            producers: self.producers.clone(),
            quarantined: self.quarantined.clone(),
        }
    }
}

/// Everything that the log says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fold {
    pub topics: BTreeMap<TopicId, Vec<Partition>>,
    pub meta: KeyedState,
}

impl Fold {
    pub(crate) fn partition(&self, key: PartitionKey) -> Result<&Partition, EngineError> {
        let index = usize::try_from(key.partition.0).ok();
        let found = index.and_then(|i| self.topics.get(&key.topic)?.get(i));
        found.ok_or(EngineError::UnknownPartition(key))
    }

    pub(crate) fn partition_mut(&mut self, key: PartitionKey) -> Result<&mut Partition, EngineError> {
        let index = usize::try_from(key.partition.0).ok();
        let found = index.and_then(|i| self.topics.get_mut(&key.topic)?.get_mut(i));
        found.ok_or(EngineError::UnknownPartition(key))
    }

    /// All partitions in order.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (PartitionKey, &Partition)> {
        self.topics
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().enumerate().map(|(i, p)| (partition_key(*topic, i), p)))
    }

    /// All partitions in order, to be changed.
    pub(crate) fn partitions_mut(&mut self) -> impl Iterator<Item = (PartitionKey, &mut Partition)> {
        self.topics.iter_mut().flat_map(|(topic, partitions)| {
            partitions.iter_mut().enumerate().map(|(i, p)| (partition_key(*topic, i), p))
        })
    }

    /// Whether creating this many partitions would change anything.
    pub(crate) fn lacks(&self, topic: TopicId, partitions: u32) -> bool {
        self.topics.get(&topic).is_none_or(|p| p.len() < partitions as usize)
    }

    pub(crate) fn create(&mut self, topic: TopicId, partitions: u32, first_epoch: LeaderEpoch) {
        let known = self.topics.entry(topic).or_default();
        let wanted = known.len().max(partitions as usize);
        known.resize_with(wanted, || Partition::new(first_epoch));
    }

    pub(crate) fn topics(&self) -> Vec<(TopicId, u32)> {
        self.topics.iter().map(|(id, partitions)| (*id, partitions.len() as u32)).collect()
    }

    /// What every partition's history gains at an unclean start: the next epoch, beginning at the log end. Not if it is
    /// quarantined: its end is not known, and to log one would prove to the next start that nothing is missing.
    pub(crate) fn next_epochs(&self) -> Vec<(PartitionKey, EpochStart)> {
        let next = |p: &Partition| EpochStart { epoch: LeaderEpoch(p.epoch().0.saturating_add(1)), start: p.log_end };
        self.partitions().filter(|(_, p)| p.quarantined.is_none()).map(|(key, p)| (key, next(p))).collect()
    }
}

fn partition_key(topic: TopicId, index: usize) -> PartitionKey {
    PartitionKey { topic, partition: Index(index as i32) }
}

/// Owners of shards, and the order of checks that every append goes through before anything of it is taken.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    epochs: BTreeMap<ShardId, ShardEpoch>,
}

impl Owners {
    /// Makes a shard's owner the writer of these partitions.
    pub(crate) fn open(
        &mut self,
        fold: &mut Fold,
        shard: ShardId,
        epoch: ShardEpoch,
        partitions: &[PartitionKey],
    ) -> Result<Vec<OpenedPartition>, EngineError> {
        if self.epochs.get(&shard).is_some_and(|current| epoch <= *current) {
            return Err(EngineError::Fenced);
        }
        let opened: Result<Vec<_>, _> =
            partitions.iter().map(|key| fold.partition(*key).map(|p| p.opened(*key))).collect();
        let opened = opened?;
        self.epochs.insert(shard, epoch);
        for key in partitions {
            fold.partition_mut(*key)?.owner = Some(shard);
        }
        Ok(opened)
    }

    /// Forgets producers of a partition of this owner.
    pub(crate) fn forget_producers(
        &self,
        fold: &mut Fold,
        (shard, epoch): (ShardId, ShardEpoch),
        key: PartitionKey,
        producers: &[ProducerId],
    ) -> Result<(), EngineError> {
        self.check(shard, epoch)?;
        let partition = fold.partition_mut(key)?;
        if partition.owner != Some(shard) {
            return Err(EngineError::Fenced);
        }
        producers.iter().for_each(|id| partition.producers.forget(*id));
        Ok(())
    }

    /// Whether this is the shard's current owner.
    pub(crate) fn check(&self, shard: ShardId, epoch: ShardEpoch) -> Result<(), EngineError> {
        if self.epochs.get(&shard) == Some(&epoch) { Ok(()) } else { Err(EngineError::Fenced) }
    }
}

/// Judges every batch of a call in order: owner, quarantine, and that each begins where the one before ended.
/// Gives the headers, so that they are read once. Bytes that are no batch have no base offset: `WrongBase` with -1.
pub(crate) fn judge<'a>(
    fold: &Fold,
    owner: ShardId,
    appends: impl Iterator<Item = &'a crate::engine::Append>,
) -> Result<Vec<BatchHeader>, EngineError> {
    let mut ends: BTreeMap<PartitionKey, Offset> = BTreeMap::new();
    let mut headers = Vec::new();
    for append in appends {
        let key = append.partition;
        let partition = fold.partition(key)?;
        if partition.owner != Some(owner) {
            return Err(EngineError::Fenced);
        }
        if let Some(reason) = &partition.quarantined {
            return Err(EngineError::Quarantined { partition: key, reason: reason.clone() });
        }
        let end = ends.entry(key).or_insert(partition.log_end);
        let header = whole_batch(&append.batch).filter(|h| h.base_offset == *end).ok_or_else(|| {
            let given = whole_batch(&append.batch).map_or(Offset::NONE, |h| h.base_offset);
            EngineError::WrongBase { partition: key, given, expected: *end }
        })?;
        *end = header.next_offset();
        headers.push(header);
    }
    Ok(headers)
}

/// The header of bytes that are exactly one batch with a range of offsets.
pub(crate) fn whole_batch(batch: &[u8]) -> Option<BatchHeader> {
    let header = BatchHeader::parse(batch).ok()?;
    let whole = header.size_bytes() == batch.len() as i64 && batch.len() >= BATCH_HEADER_LEN;
    let in_range = header.base_offset.0 >= 0
        && header.last_offset_delta >= 0
        && header.base_offset.0 < i64::MAX - i64::from(header.last_offset_delta);
    (whole && in_range).then_some(header)
}
