//! The state that the log's records fold into: topics, partitions and the keyed facts.
//!
//! Changed by the same functions in operation and in recovery, so that a restart finds what was there (invariant 1).
//! Deliberately not here: bytes, files, durability; an entry's sequence number is compared with the durable one by readers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use pagemark_core::partition::ProducerTable;
use pagemark_wire::records::{BATCH_HEADER_LEN, BatchHeader, StampedBatch};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex as Index, PartitionKey, ProducerId, TopicId};

use super::index::{BatchEntry, Dropped, PartitionIndex};
use super::meta::KeyedState;
use crate::engine::{EngineError, EpochStart, Extent, Keep, OpenedPartition, ShardEpoch, ShardId};

/// One partition.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    /// As accepted, durable or not.
    pub log_start: Offset,
    /// What readers are told: the last one that is durable. Batches below it are gone.
    pub durable_start: Offset,
    pub log_end: Offset,
    /// Oldest first, never empty.
    pub epochs: Vec<EpochStart>,
    pub producers: ProducerTable,
    pub quarantined: Option<Arc<str>>,
    pub index: PartitionIndex,
    /// The shard whose owner may append. Not stored: a restart has no owners.
    pub owner: Option<ShardId>,
    /// Packs below this hold nothing of it: they were begun before it was made.
    pub first_pack: u64,
    /// Tells it from one of the same name before or after it. Not stored.
    pub instance: u64,
    /// Something that checkpoints hold has changed since the last one was captured.
    pub changed: bool,
}

impl Partition {
    pub(crate) fn new(first_epoch: LeaderEpoch) -> Partition {
        Partition {
            log_start: Offset(0),
            durable_start: Offset(0),
            log_end: Offset(0),
            epochs: vec![EpochStart { epoch: first_epoch, start: Offset(0) }],
            producers: ProducerTable::default(),
            quarantined: None,
            index: PartitionIndex::default(),
            owner: None,
            first_pack: 0,
            instance: 0,
            changed: false,
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

    /// Accepts a log start above the present one. Of the leader epochs the one that it falls into becomes the first, beginning
    /// there.
    fn begin_at(&mut self, start: Offset) {
        self.log_start = start;
        let ended = self.epochs.partition_point(|e| e.start <= start).saturating_sub(1);
        self.epochs.drain(..ended);
        if let Some(first) = self.epochs.first_mut().filter(|e| e.start < start) {
            first.start = start;
        }
    }

    /// A log start is durable: readers see it, and what lies below goes.
    fn settle_start(&mut self, start: Offset, dropped: &mut Dropped) {
        self.durable_start = self.durable_start.max(start);
        self.index.cut_below(self.durable_start, dropped);
    }

    /// Where the log would begin if only this were kept; `None` if that changes nothing.
    pub(crate) fn trim_point(
        &self,
        key: PartitionKey,
        keep: Keep,
        durable_lsn: u64,
    ) -> Result<Option<Offset>, EngineError> {
        self.usable(key)?;
        let point = self.index.trim_point(keep, durable_lsn, self.log_end);
        Ok(Some(point).filter(|point| *point > self.log_start))
    }

    /// Refuses what must not be used.
    fn usable(&self, key: PartitionKey) -> Result<(), EngineError> {
        match &self.quarantined {
            Some(reason) => Err(EngineError::Quarantined { partition: key, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    pub(crate) fn quarantine(&mut self, key: PartitionKey, reason: &str) {
        if self.quarantined.is_none() {
            tracing::error!(partition = %key, reason, "quarantined: durable bytes of this partition cannot be trusted");
            self.quarantined = Some(reason.into());
        }
    }

    pub(crate) fn extent(&self, durable_lsn: u64) -> Extent {
        Extent {
            log_start: self.durable_start,
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
    /// Log starts that were accepted, by the write that brought each, and are not known to be durable yet.
    unsettled: VecDeque<(u64, PartitionKey, Offset)>,
    /// What partitions gave up, until somebody looks which files that lets go.
    pub dropped: Dropped,
    /// What has changed since the last checkpoint was captured.
    pub changes: Changes,
    /// The number of the next pack: what is made now has nothing in those below.
    pub next_pack: u64,
    instances: u64,
}

/// What an incremental checkpoint has to say, facts aside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// Those with their mark set; a name may be here twice, or be gone.
    pub partitions: Vec<PartitionKey>,
    pub deleted: Vec<TopicId>,
}

impl Fold {
    pub(crate) fn partition(&self, key: PartitionKey) -> Result<&Partition, EngineError> {
        let index = usize::try_from(key.partition.0).ok();
        let found = index.and_then(|i| self.topics.get(&key.topic)?.get(i));
        found.ok_or(EngineError::UnknownPartition(key))
    }

    /// A partition, to be changed in what checkpoints hold of it.
    pub(crate) fn partition_mut(&mut self, key: PartitionKey) -> Result<&mut Partition, EngineError> {
        let Fold { topics, changes, .. } = self;
        let found = find_mut(topics, key)?;
        if !std::mem::replace(&mut found.changed, true) {
            changes.partitions.push(key);
        }
        Ok(found)
    }

    /// A partition, to be changed in nothing that checkpoints hold of it.
    pub(crate) fn partition_quietly(&mut self, key: PartitionKey) -> Result<&mut Partition, EngineError> {
        find_mut(&mut self.topics, key)
    }

    /// All partitions in order.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (PartitionKey, &Partition)> {
        self.topics
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().enumerate().map(|(i, p)| (partition_key(*topic, i), p)))
    }

    /// All partitions in order, from one on.
    pub(crate) fn partitions_from(
        &self,
        from: Option<PartitionKey>,
    ) -> impl Iterator<Item = (PartitionKey, &Partition)> {
        let first = from.map(|key| (key.topic, key.partition.0 as usize));
        let topics =
            self.topics.range((first.map_or(Bound::Unbounded, |(topic, _)| Bound::Included(topic)), Bound::Unbounded));
        topics.flat_map(move |(topic, partitions)| {
            let skipped = first.filter(|(of, _)| of == topic).map_or(0, |(_, index)| index);
            partitions.iter().enumerate().skip(skipped).map(|(i, p)| (partition_key(*topic, i), p))
        })
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
        let Fold { topics, changes, instances, next_pack, .. } = self;
        let known = topics.entry(topic).or_default();
        for index in known.len()..partitions as usize {
            *instances += 1;
            let made = Partition::new(first_epoch);
            known.push(Partition { first_pack: *next_pack, instance: *instances, changed: true, ..made });
            changes.partitions.push(partition_key(topic, index));
        }
    }

    /// Puts a partition that a checkpoint holds into its place; partitions come in order.
    pub(crate) fn restore(&mut self, key: PartitionKey, partition: Partition) -> Option<()> {
        let known = self.topics.entry(key.topic).or_default();
        let index = usize::try_from(key.partition.0).ok()?;
        self.instances += 1;
        let partition = Partition { instance: self.instances, ..partition };
        match known.len() {
            len if index < len => known[index] = partition,
            len if index == len => known.push(partition),
            _ => return None,
        }
        Some(())
    }

    /// Forgets a topic with all its data.
    pub(crate) fn delete(&mut self, topic: TopicId) {
        for mut partition in self.topics.remove(&topic).into_iter().flatten() {
            partition.index.clear(&mut self.dropped);
        }
        self.changes.deleted.push(topic);
    }

    /// Accepts a log start that [`Owners::judge_start`] let pass, or that a log holds. One that moves nothing is none.
    pub(crate) fn advance_start(&mut self, lsn: u64, key: PartitionKey, start: Offset) -> Result<(), EngineError> {
        let partition = self.partition_mut(key)?;
        if start > partition.log_start {
            partition.begin_at(start);
            self.unsettled.push_back((lsn, key, start));
        }
        Ok(())
    }

    /// Everything up to here is durable: log starts among it take effect. `true` if there were any.
    pub(crate) fn settle(&mut self, durable_lsn: u64) -> bool {
        let mut any = false;
        while let Some((_, key, start)) = self.unsettled.front().copied().filter(|(lsn, ..)| *lsn <= durable_lsn) {
            self.unsettled.pop_front();
            any = true;
            // One of a topic that was deleted, or even made anew, has nothing to say.
            if let Ok(partition) = find_mut(&mut self.topics, key) {
                let start = start.min(partition.log_start);
                partition.settle_start(start, &mut self.dropped);
            }
        }
        any
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

fn find_mut(topics: &mut BTreeMap<TopicId, Vec<Partition>>, key: PartitionKey) -> Result<&mut Partition, EngineError> {
    let index = usize::try_from(key.partition.0).ok();
    let found = index.and_then(|i| topics.get_mut(&key.topic)?.get_mut(i));
    found.ok_or(EngineError::UnknownPartition(key))
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
            fold.partition_quietly(*key)?.owner = Some(shard);
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

    /// Judges a log start that an owner asks for; `false` if the log begins there or later already.
    pub(crate) fn judge_start(
        &self,
        fold: &Fold,
        (shard, epoch): (ShardId, ShardEpoch),
        key: PartitionKey,
        start: Offset,
    ) -> Result<bool, EngineError> {
        self.check(shard, epoch)?;
        let partition = fold.partition(key)?;
        if partition.owner != Some(shard) {
            return Err(EngineError::Fenced);
        }
        partition.usable(key)?;
        if start > partition.log_end {
            return Err(EngineError::BeyondEnd { partition: key, given: start, log_end: partition.log_end });
        }
        Ok(start > partition.log_start)
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
        partition.usable(key)?;
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
pub(crate) fn whole_batch(batch: &StampedBatch) -> Option<BatchHeader> {
    let header = batch.header().ok()?;
    let whole = header.size_bytes() == batch.len() as i64 && batch.len() >= BATCH_HEADER_LEN;
    let in_range = header.base_offset.0 >= 0
        && header.last_offset_delta >= 0
        && header.base_offset.0 < i64::MAX - i64::from(header.last_offset_delta);
    (whole && in_range).then_some(header)
}
