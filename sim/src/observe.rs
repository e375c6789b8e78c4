//! Reads all that an engine has to say about its state, the way a broker would: opens every shard, reads every partition.
//!
//! Deliberately not here: judging it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use pagemark_core::partition::ProducerTable;
use pagemark_storage::engine::{Engine, EngineError, EpochStart, ShardEpoch, ShardId, Versioned};
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, TopicId};

/// How much one read asks for: little, so that reads end within the log.
const READ_BYTES: usize = 3_000;

/// One partition as its owner and its readers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPartition {
    /// First offset.
    pub log_start: Offset,
    /// Next offset.
    pub log_end: Offset,
    /// End of what may be read.
    pub durable_end: Offset,
    /// Leader epoch history.
    pub epochs: Vec<EpochStart>,
    /// Producers remembered.
    pub producers: ProducerTable,
    /// Why it may not be used.
    pub quarantined: Option<String>,
    /// Every batch that can be read, from the log start on.
    pub batches: Vec<Bytes>,
}

impl ObservedPartition {
    /// The epoch that its owner works under.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epochs.last().map_or(LeaderEpoch::NONE, |entry| entry.epoch)
    }
}

/// Everything an engine shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Topics with their number of partitions.
    pub topics: BTreeMap<TopicId, u32>,
    /// Their partitions.
    pub partitions: BTreeMap<PartitionKey, ObservedPartition>,
    /// All facts.
    pub meta: Vec<(String, Versioned)>,
}

impl Observed {
    /// A checksum of all of it: equal states have equal ones.
    #[must_use]
    pub fn hash(&self) -> u32 {
        let mut text = String::new();
        for (key, partition) in &self.partitions {
            let ObservedPartition { log_start, log_end, durable_end, epochs, producers, quarantined, batches } =
                partition;
            let _ = write!(text, "{key} {log_start} {log_end} {durable_end} {epochs:?} {producers:?} {quarantined:?}");
            let _ = write!(text, "{:?}", batches.iter().map(|batch| crc32c::crc32c(batch)).collect::<Vec<_>>());
        }
        let _ = write!(text, "{:?}{:?}", self.topics, self.meta);
        crc32c::crc32c(text.as_bytes())
    }
}

/// The shard that a topic's partitions are opened as.
#[must_use]
pub fn shard_of(topic: TopicId) -> ShardId {
    ShardId(topic.0.as_u128() as u32)
}

/// All partitions of a topic.
#[must_use]
pub fn partitions_of(topic: TopicId, partitions: u32) -> Vec<PartitionKey> {
    (0..partitions as i32).map(|index| PartitionKey { topic, partition: PartitionIndex(index) }).collect()
}

/// Opens and reads everything. Fences whoever had it open before.
///
/// # Errors
/// What the engine answered, with what was being done.
pub fn observe(engine: &dyn Engine, epoch: ShardEpoch) -> Result<Observed, String> {
    let mut seen = Observed { topics: engine.topics().into_iter().collect(), ..Observed::default() };
    for (topic, partitions) in &seen.topics {
        let keys = partitions_of(*topic, *partitions);
        let opened = engine.open(shard_of(*topic), epoch, &keys).map_err(|e| format!("opening topic {topic}: {e}"))?;
        if opened.len() != keys.len() {
            return Err(format!("opening topic {topic} gave {} of {} partitions", opened.len(), keys.len()));
        }
        for one in opened {
            let key = one.partition;
            let extent = engine.extent(key).map_err(|e| format!("extent of {key}: {e}"))?;
            let batches = match &one.quarantined {
                Some(_) => Vec::new(),
                None => read_all(engine, key, one.log_start, extent.durable_end)?,
            };
            seen.partitions.insert(
                key,
                ObservedPartition {
                    log_start: one.log_start,
                    log_end: one.log_end,
                    durable_end: extent.durable_end,
                    epochs: one.epochs,
                    producers: one.producers,
                    quarantined: one.quarantined.map(|reason| reason.to_string()),
                    batches,
                },
            );
        }
    }
    seen.meta = engine.scan("");
    Ok(seen)
}

/// Every durable batch of a partition from an offset on.
///
/// # Errors
/// What the engine answered, or how its answer breaks the contract of `read`.
pub fn read_all(engine: &dyn Engine, key: PartitionKey, from: Offset, end: Offset) -> Result<Vec<Bytes>, String> {
    let mut batches: Vec<Bytes> = Vec::new();
    let mut next = from;
    while next < end {
        let slice = engine
            .read(key, next, READ_BYTES, end)
            .map_err(|e: EngineError| format!("reading {key} from {next} of {end}: {e}"))?;
        if slice.batches.is_empty() {
            return Err(format!("reading {key} from {next} found nothing, yet the durable end is {end}"));
        }
        for batch in slice.batches {
            let header = BatchHeader::parse(&batch).map_err(|e| format!("reading {key} from {next}: {e}"))?;
            // A log start may lie within its batch.
            let follows = header.base_offset == next
                || (batches.is_empty() && header.base_offset < next && next < header.next_offset());
            if !follows || header.size_bytes() != batch.len() as i64 {
                return Err(format!(
                    "reading {key} from {next} gave a batch of {} bytes at {} that claims {}",
                    batch.len(),
                    header.base_offset,
                    header.size_bytes()
                ));
            }
            next = header.next_offset();
            batches.push(batch);
        }
    }
    if next != end {
        return Err(format!("{key} ends at {next}, not at its durable end {end}"));
    }
    Ok(batches)
}
