//! Holds what an engine shows after a crash against what was asked of it before.
//!
//! One rule covers it: the state is exactly what some prefix of the units asked for makes, and the prefix is no shorter than
//! what was acknowledged or read (proof: no loss, no resurrection, order, atomic groups, invariant 1). The kinds of
//! [`Violation`] only say in which way it is broken. Deliberately not here: opening, crashing, replaying.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use pagemark_core::partition::{ProducerTable, SequenceVerdict};
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{Offset, PartitionKey, TopicId};

use crate::observe::{Observed, ObservedPartition};
use crate::oracle::{Change, Model, View, batches_below};

/// In which way a promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The engine did not start.
    Refused,
    /// An acknowledged record is gone.
    RecordLost,
    /// An acknowledged commit is gone.
    CommitLost,
    /// An acknowledged change of the facts, or a topic's creation or deletion, is gone.
    FactLost,
    /// What someone had read is gone.
    ExposedLost,
    /// Something is there that was never asked for, or was lost or deleted before.
    Resurrected,
    /// Something later is there and something earlier is not; an atomic group in part is the same.
    NotAPrefix,
    /// The producer table is not what the log says: a retry would be appended twice or refused.
    ProducerState,
    /// A leader epoch did not grow over an unclean restart, or its history does not fit.
    LeaderEpoch,
    /// Log start, high watermark and log end do not fit each other or the batches.
    Watermark,
    /// A number was given out twice.
    IdTwice,
    /// A partition was taken out of service although nothing rots here.
    Quarantined,
    /// The recovered engine refused new writes or did not make them durable.
    NotWritable,
    /// A clean stop and start gave another state.
    StopDiffers,
    /// A failed engine acknowledged or accepted something.
    NotStopped,
    /// The engine panicked.
    Panicked,
    /// The engine answered a call wrongly while nothing had crashed.
    Misbehaved,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// In which way.
    pub kind: Kind,
    /// What was seen, for people.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

/// A violation with its words.
pub fn violation(kind: Kind, detail: impl Into<String>) -> Violation {
    Violation { kind, detail: detail.into() }
}

/// Does something with the engine; its panic is a violation like any other.
///
/// # Errors
/// As `work`, or [`Kind::Panicked`].
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
        Err(violation(Kind::Panicked, words))
    })
}

/// Judges a state. Returns how many of the units that may be there are there.
///
/// # Errors
/// The first promise found broken.
pub fn check(view: &View<'_>, seen: &Observed) -> Result<usize, Violation> {
    for (key, partition) in &seen.partitions {
        if let Some(reason) = partition.quarantined.as_ref().filter(|_| !view.excused.contains(key)) {
            return Err(violation(Kind::Quarantined, format!("{key}: {reason}")));
        }
        check_shape(*key, partition)?;
    }
    let (prefix, model) = find_prefix(view, seen).ok_or_else(|| diagnose(view, seen))?;
    for (key, partition) in &seen.partitions {
        check_producers(*key, partition, model.log(*key))?;
        if partition.quarantined.is_some() {
            continue; // nobody works under its epoch any more
        }
        check_epochs(view, *key, partition, prefix)?;
    }
    Ok(prefix)
}

/// The prefix that makes exactly this state, if there is one, and what it makes.
fn find_prefix(view: &View<'_>, seen: &Observed) -> Option<(usize, Model)> {
    let mut model = view.model(view.required());
    for prefix in view.required()..=view.alive.len() {
        if equals(&model, seen) {
            return Some((prefix, model));
        }
        if prefix < view.alive.len() {
            model.apply(view.unit(prefix));
        }
    }
    None
}

fn equals(model: &Model, seen: &Observed) -> bool {
    equal_facts(model, seen)
        && seen.topics == model.topics
        && seen.partitions.iter().all(|(key, partition)| {
            let (start, expected) = (model.start(*key), model.log(*key));
            if partition.quarantined.is_some() {
                return partition.log_start == start && partition.log_end == end_of(expected);
            }
            let expected = &expected[batches_below(expected, start)..];
            // Newest first: two logs that differ mostly differ there.
            partition.log_start == start
                && partition.batches.len() == expected.len()
                && partition.batches.iter().rev().eq(expected.iter().rev())
        })
}

/// Where a log ends.
fn end_of(log: &[Bytes]) -> Offset {
    log.last().and_then(|batch| BatchHeader::parse(batch).ok()).map_or(Offset(0), |header| header.next_offset())
}

fn equal_facts(model: &Model, seen: &Observed) -> bool {
    seen.meta.len() == model.meta.len()
        && seen.meta.iter().zip(&model.meta).all(|((key, value), (expected_key, expected))| {
            key == expected_key
                && value.value == expected.value
                && expected.revision.is_none_or(|revision| revision == value.revision)
        })
}

/// In which way a state that no prefix makes is wrong.
fn diagnose(view: &View<'_>, seen: &Observed) -> Violation {
    let most = view.model(view.alive.len());
    let owed = view.model(view.required());
    unknown(view, seen)
        .or_else(|| lost(view, &owed, seen))
        .unwrap_or_else(|| violation(Kind::NotAPrefix, difference(&owed, &most, seen)))
}

/// Something that was not asked for, at exactly that place.
fn unknown(view: &View<'_>, seen: &Observed) -> Option<Violation> {
    let mut batches: BTreeMap<PartitionKey, Vec<&Bytes>> = BTreeMap::new();
    let mut starts: BTreeMap<PartitionKey, Vec<Offset>> = BTreeMap::new();
    let mut created = Vec::new();
    let mut gone = Vec::new();
    for position in 0..view.alive.len() {
        match &view.unit(position).change {
            Change::Create(topic, count) => created.push((*topic, *count)),
            Change::Delete(topic) if position < view.required() => gone.push(*topic),
            Change::Group(parts) => {
                for (partition, batch) in parts {
                    batches.entry(*partition).or_default().push(batch);
                }
            }
            Change::Start(partition, start) => starts.entry(*partition).or_default().push(*start),
            Change::Delete(_) | Change::Meta(_) | Change::Ids(..) => {}
        }
    }
    for (topic, count) in &seen.topics {
        if gone.contains(topic) {
            return Some(violation(Kind::Resurrected, format!("topic {topic} is back after its deletion")));
        }
        if !created.contains(&(*topic, *count)) {
            return Some(violation(Kind::Resurrected, format!("topic {topic} of {count} partitions was never made")));
        }
    }
    for (key, partition) in &seen.partitions {
        let start = partition.log_start;
        if start != Offset(0) && !starts.get(key).is_some_and(|asked| asked.contains(&start)) {
            return Some(violation(Kind::Watermark, format!("{key}: nobody asked for the log start {start}")));
        }
        let may = batches.get(key).map_or(&[][..], Vec::as_slice);
        let may = &may[batches_below(may, start)..];
        for (index, batch) in partition.batches.iter().enumerate() {
            if may.get(index).is_none_or(|expected| *expected != batch) {
                let detail = format!("{key}: batch {index}, {}, was never submitted there", describe(batch));
                return Some(violation(Kind::Resurrected, detail));
            }
        }
    }
    None
}

/// Something that was acknowledged or read and is not there.
fn lost(view: &View<'_>, owed: &Model, seen: &Observed) -> Option<Violation> {
    let acked = view.model(view.acked);
    for (key, expected) in &owed.logs {
        if !seen.topics.contains_key(&key.topic) {
            continue; // judged as a topic below: its deletion may be under way
        }
        let partition = seen.partitions.get(key);
        if partition.is_some_and(|partition| partition.quarantined.is_some()) {
            continue;
        }
        let log_start = partition.map_or(Offset(0), |partition| partition.log_start);
        if log_start < owed.start(*key) {
            let detail = format!("{key}: the log start went back from {} to {log_start}", owed.start(*key));
            return Some(violation(Kind::Watermark, detail));
        }
        let have = partition.map_or(0, |partition| partition.batches.len()) + batches_below(expected, log_start);
        if have >= expected.len() {
            continue;
        }
        let kind = match acked.logs.get(key).is_some_and(|log| log.len() > have) {
            true if view.holds_commits(*key) => Kind::CommitLost,
            true => Kind::RecordLost,
            false => Kind::ExposedLost,
        };
        let detail = format!("{key}: {have} of {} batches, missing {}", expected.len(), describe(&expected[have]));
        return Some(violation(kind, detail));
    }
    let deletable = |topic: &TopicId| {
        (view.required()..view.alive.len()).any(|p| matches!(&view.unit(p).change, Change::Delete(t) if t == topic))
    };
    if let Some(topic) = owed.topics.keys().find(|topic| !seen.topics.contains_key(topic) && !deletable(topic)) {
        return Some(violation(Kind::FactLost, format!("topic {topic} is gone")));
    }
    let facts_of = |prefix: usize| equal_facts(&view.model(prefix), seen);
    if !(view.required()..=view.alive.len()).any(facts_of) && (0..view.required()).any(facts_of) {
        let shown: Vec<_> = seen.meta.iter().map(|(key, value)| (key, value.revision)).collect();
        return Some(violation(Kind::FactLost, format!("the facts {shown:?} are those of an earlier time")));
    }
    None
}

fn difference(owed: &Model, most: &Model, seen: &Observed) -> String {
    for (key, partition) in &seen.partitions {
        let count = |model: &Model| model.logs.get(key).map_or(0, Vec::len);
        if count(owed) != count(most) {
            return format!(
                "{key} has {} batches, {}..={} may be; others end elsewhere",
                partition.batches.len(),
                count(owed),
                count(most)
            );
        }
    }
    let facts = |model: &Model| model.meta.iter().map(|(k, v)| (k.clone(), v.revision)).collect::<Vec<_>>();
    let shown: Vec<_> = seen.meta.iter().map(|(k, v)| (k.clone(), v.revision)).collect();
    format!("facts {shown:?}, between {:?} and {:?}; topics {:?}", facts(owed), facts(most), seen.topics.keys())
}

/// What a batch is, for people.
#[must_use]
pub fn describe(batch: &[u8]) -> String {
    match BatchHeader::parse(batch) {
        Ok(h) => format!(
            "offsets {}..={} of producer {} sequence {} epoch {}",
            h.base_offset,
            h.last_offset(),
            h.producer_id.0,
            h.base_sequence,
            h.leader_epoch.0
        ),
        Err(error) => format!("{} bytes that are no batch ({error})", batch.len()),
    }
}

fn check_shape(key: PartitionKey, partition: &ObservedPartition) -> Result<(), Violation> {
    let ObservedPartition { log_start, log_end, durable_end, .. } = partition;
    if log_start > log_end || durable_end != log_end {
        let detail = format!("{key}: start {log_start}, durable end {durable_end}, end {log_end} after recovery");
        return Err(violation(Kind::Watermark, detail));
    }
    Ok(())
}

/// The table given to the owner is the fold of all that ever was in the log, so that a retry is a duplicate exactly if its
/// batch was kept, even if it was given up since.
fn check_producers(key: PartitionKey, partition: &ObservedPartition, log: &[Bytes]) -> Result<(), Violation> {
    let mut fold = ProducerTable::default();
    let headers: Vec<BatchHeader> = log.iter().filter_map(|batch| BatchHeader::parse(batch).ok()).collect();
    for header in &headers {
        fold.replay(header);
    }
    for header in &headers {
        let (given, expected) = (partition.producers.judge(header), fold.judge(header));
        if given != expected {
            let detail = format!("{key}: a retry of offset {} is {given:?}, not {expected:?}", header.base_offset);
            return Err(violation(Kind::ProducerState, detail));
        }
        if let SequenceVerdict::Duplicate(span) = given
            && span.base_offset != header.base_offset
        {
            let detail = format!("{key}: a retry of offset {} is answered {}", header.base_offset, span.base_offset);
            return Err(violation(Kind::ProducerState, detail));
        }
    }
    if partition.producers != fold {
        return Err(violation(Kind::ProducerState, format!("{key}: the producer table is not what the log gives")));
    }
    Ok(())
}

/// The epoch is one that nobody worked under before, unless a clean stop is all that was between; the history is in order and
/// covers the epochs of the batches, and nothing below the log start.
fn check_epochs(
    view: &View<'_>,
    key: PartitionKey,
    partition: &ObservedPartition,
    prefix: usize,
) -> Result<(), Violation> {
    let wrong = |detail: String| Err(violation(Kind::LeaderEpoch, format!("{key}: {detail}")));
    let epochs = &partition.epochs;
    if epochs.is_empty() || epochs.windows(2).any(|w| w[0].epoch >= w[1].epoch || w[0].start > w[1].start) {
        return wrong(format!("the history {epochs:?} is not in order"));
    }
    if epochs[0].start < partition.log_start {
        return wrong(format!("the history {epochs:?} begins before the log does, at {}", partition.log_start));
    }
    if let Some(before) = view.epochs.get(&key) {
        let now = partition.leader_epoch();
        let closed = now == *before && view.closed.is_some_and(|units| view.left_nothing(units, prefix));
        if now < *before || (now == *before && !closed) {
            return wrong(format!("epoch {} after {}, closed: {closed}", now.0, before.0));
        }
    }
    for batch in &partition.batches {
        let Ok(header) = BatchHeader::parse(batch) else { continue };
        let base = header.base_offset.max(partition.log_start);
        let covering = epochs.iter().rev().find(|entry| entry.start <= base);
        if covering.is_none_or(|entry| entry.epoch != header.leader_epoch) {
            return wrong(format!(
                "offset {} of epoch {} against {epochs:?}",
                header.base_offset, header.leader_epoch.0
            ));
        }
    }
    Ok(())
}
