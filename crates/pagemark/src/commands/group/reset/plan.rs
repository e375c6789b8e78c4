//! What a reset would do: for each partition from where to where. A value, made from what brokers say at the moment.
//!
//! Targets mean what they mean to `kafka-consumer-groups`. Deliberately not here: doing it.

use std::collections::{BTreeMap, BTreeSet};

use pagemark_client::{Admin, Error, IsolationLevel, OffsetAndMetadata, OffsetSpec, TopicPartition};

use super::super::view::{self, Log};
use crate::commands::about_topic;
use crate::exit::Failure;
use crate::output::escaped;
use crate::target::{Target, covers};

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    /// The first record at or after this time, in milliseconds since 1970; behind the last if there is none.
    Time(i64),
    ShiftBy(i64),
    Listed(BTreeMap<TopicPartition, i64>),
    Group(String),
}

/// What a reset would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) rows: Vec<Row>,
    /// Partitions with a commit that cannot be reset, with their logs, which are not known.
    pub(super) left: Vec<(TopicPartition, Option<i64>, Log)>,
}

/// What it would do to a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) partition: TopicPartition,
    /// What is committed now.
    pub(super) from: Option<i64>,
    /// What would be.
    pub(super) to: i64,
    /// What was asked for, if that lies outside the log.
    pub(super) asked: Option<i64>,
    /// Where its log begins and ends.
    pub(super) log: (i64, i64),
}

/// What becomes of a partition's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// So many offsets are read again.
    Replay(i64),
    /// So many offsets are never read.
    Skip(i64),
    /// Nothing was committed; reading begins there.
    Begin,
    /// It is there already.
    Nothing,
}

impl Plan {
    /// A failure for each partition that was to be reset and was not, though it may well be there.
    pub(super) fn failures(&self) -> impl Iterator<Item = Failure> + '_ {
        let left = self.left.iter().filter(|(.., log)| log.may_be_there());
        left.map(|(partition, _, log)| {
            Failure::failed(format!("{partition}: {}, left as it is", log.trouble().unwrap_or_default()))
        })
    }
}

impl Row {
    pub(super) fn effect(&self) -> Effect {
        match self.reads_from() {
            None => Effect::Begin,
            Some(from) if from > self.to => Effect::Replay(from - self.to),
            Some(from) if from < self.to => Effect::Skip(self.to - from),
            Some(_) => Effect::Nothing,
        }
    }

    /// Whether anything is to be written.
    pub(super) fn is_change(&self) -> bool {
        self.from != Some(self.to)
    }

    /// Where the group would go on if nothing were done: nobody reads what was deleted, or what is not there yet.
    fn reads_from(&self) -> Option<i64> {
        self.from.map(|from| from.clamp(self.log.0, self.log.1))
    }

    /// What a person should know about it.
    pub(super) fn note(&self) -> Option<String> {
        let (start, end) = self.log;
        let notes = [
            self.asked.map(|asked| format!("{asked} is outside the log")),
            self.from.filter(|from| *from < start).map(|from| format!("{} were deleted unread", start - from)),
            self.from.filter(|from| *from > end).map(|from| format!("commit is {} beyond the end", from - end)),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// The offsets that are read again or skipped, from and to, the last one excluded.
    pub(super) fn touched(&self) -> Option<(i64, i64)> {
        let from = self.reads_from()?;
        (from != self.to).then(|| (from.min(self.to), from.max(self.to)))
    }
}

/// Makes a plan.
///
/// # Errors
/// If there is nothing to reset, a named partition is not there, or a target has no meaning for one.
pub(super) async fn make(admin: &Admin, group: &str, targets: &[Target], to: &To) -> Result<Plan, Failure> {
    let committed = admin.list_group_offsets(group).await?;
    let others = match to {
        To::Group(other) => admin.list_group_offsets(other).await?,
        _ => BTreeMap::new(),
    };
    let partitions = scope(admin, targets, to, &committed, &others).await?;
    if partitions.is_empty() {
        return Err(nothing(group, targets, to));
    }
    let logs = view::logs(admin, &partitions, IsolationLevel::ReadUncommitted).await?;
    let by_time = match to {
        To::Time(time) => times(admin, &logs, *time).await?,
        _ => BTreeMap::new(),
    };
    let mut plan = Plan { rows: Vec::new(), left: Vec::new() };
    for (partition, log) in logs {
        let from = committed.get(&partition).map(|committed| committed.offset);
        let Log::Known { start, end } = log else {
            plan.left.push((partition, from, log));
            continue;
        };
        let asked = match to {
            To::Earliest => start,
            To::Latest => end,
            To::Current => from.unwrap_or(end),
            To::Offset(offset) => *offset,
            To::Time(_) => by_time.get(&partition).copied().flatten().unwrap_or(end),
            To::ShiftBy(by) => match from {
                Some(from) => from.saturating_add(*by),
                None => return Err(unshiftable(&partition)),
            },
            To::Listed(listed) => listed.get(&partition).copied().unwrap_or(end),
            To::Group(_) => others.get(&partition).map_or(end, |found| found.offset),
        };
        let to = asked.clamp(start, end);
        plan.rows.push(Row { partition, from, to, asked: Some(asked).filter(|asked| *asked != to), log: (start, end) });
    }
    match &plan.left[..] {
        [(partition, _, log), ..] if plan.rows.is_empty() || !targets.is_empty() => {
            Err(Failure::failed(format!("{partition}: {}", log.trouble().unwrap_or_default())))
        }
        _ => Ok(plan),
    }
}

/// Which partitions a reset is about.
async fn scope(
    admin: &Admin,
    targets: &[Target],
    to: &To,
    committed: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    others: &BTreeMap<TopicPartition, OffsetAndMetadata>,
) -> Result<BTreeSet<TopicPartition>, Failure> {
    let chosen = |partitions: Vec<&TopicPartition>| {
        partitions.into_iter().filter(|partition| covers(targets, partition)).cloned().collect()
    };
    match to {
        To::Listed(listed) => return said(targets, chosen(listed.keys().collect())),
        To::Group(_) => return said(targets, chosen(others.keys().collect())),
        _ if targets.is_empty() => return Ok(committed.keys().cloned().collect()),
        _ => {}
    }
    let topics = admin.describe_topics(targets.iter().map(|target| target.topic.as_str())).await?;
    let mut partitions = BTreeSet::new();
    for target in targets {
        match (topics.get(&target.topic), &target.partitions) {
            (_, Some(named)) => partitions.extend(named.iter().map(|at| TopicPartition::new(&target.topic, *at))),
            (Some(Ok(topic)), None) => {
                partitions.extend(topic.partitions.iter().map(|found| TopicPartition::new(&target.topic, found.index)));
            }
            (Some(Err(error)), None) => return Err(about_topic(admin, error.clone(), &target.topic).await),
            (None, None) => {} // every topic that was asked for has an answer
        }
    }
    Ok(partitions)
}

/// The partitions for which a file or another group says something, if that is all that was named.
fn said(targets: &[Target], chosen: BTreeSet<TopicPartition>) -> Result<BTreeSet<TopicPartition>, Failure> {
    let is_missing = |target: &&Target| match &target.partitions {
        None => !chosen.iter().any(|partition| target.covers(partition)),
        Some(named) => named.iter().any(|at| !chosen.contains(&TopicPartition::new(&target.topic, *at))),
    };
    match targets.iter().find(is_missing).filter(|_| !chosen.is_empty()) {
        Some(target) => Err(Failure::failed(format!(
            "{}: not every partition that -t names is told where to go; nothing was changed",
            escaped(&target.topic)
        ))),
        None => Ok(chosen),
    }
}

async fn times(
    admin: &Admin,
    logs: &BTreeMap<TopicPartition, Log>,
    time: i64,
) -> Result<BTreeMap<TopicPartition, Option<i64>>, Error> {
    let known = logs.iter().filter(|(_, log)| matches!(log, Log::Known { .. }));
    let wanted = known.map(|(partition, _)| (partition.clone(), OffsetSpec::Timestamp(time)));
    let found = admin.list_offsets_with(IsolationLevel::ReadUncommitted, wanted).await?;
    Ok(found.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect())
}

fn nothing(group: &str, targets: &[Target], to: &To) -> Failure {
    let group = escaped(group);
    match to {
        To::Group(other) => {
            Failure::failed(format!("group {} has not committed anything that could be taken", escaped(other)))
        }
        To::Listed(_) => Failure::failed("the file says nothing about the partitions of -t"),
        _ if targets.is_empty() => Failure::failed(format!(
            "group {group} has not committed anything; name topics with -t to give it a place to begin"
        )),
        _ => Failure::failed("there are no such partitions"),
    }
}

fn unshiftable(partition: &TopicPartition) -> Failure {
    Failure::failed(format!("{partition}: nothing is committed that could be shifted; leave it out with -t, or set it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_counts_what_is_read_again_or_never() {
        let partition = || TopicPartition::new("orders", 0);
        let row = |from, to| Row { partition: partition(), from, to, asked: None, log: (0, 9) };
        assert_eq!((row(Some(4), 0).effect(), row(Some(4), 0).touched()), (Effect::Replay(4), Some((0, 4))));
        assert_eq!((row(Some(4), 9).effect(), row(Some(4), 9).touched()), (Effect::Skip(5), Some((4, 9))));
        assert_eq!((row(Some(4), 4).effect(), row(Some(4), 4).touched()), (Effect::Nothing, None));
        assert_eq!((row(None, 4).effect(), row(None, 4).touched()), (Effect::Begin, None));
    }

    #[test]
    fn a_partition_that_could_not_be_reset_is_a_failure_unless_it_is_gone() {
        let left = |at, log| (TopicPartition::new("orders", at), Some(4), log);
        let logs = [Log::NoTopic, Log::NoPartition, Log::NoLeader, Log::Unknown(None)];
        let plan = Plan { rows: Vec::new(), left: (0..).zip(logs).map(|(at, log)| left(at, log)).collect() };
        let said: Vec<String> = plan.failures().map(|failure| failure.message).collect();
        assert_eq!(said, ["orders-2: no leader, left as it is", "orders-3: not known, left as it is"]);
        assert!(plan.failures().all(|failure| failure.exit == crate::exit::Exit::Failed));
    }

    #[test]
    fn what_was_deleted_or_never_written_is_neither_read_again_nor_skipped() {
        let row = |from, to| {
            let partition = TopicPartition::new("orders", 0);
            Row { partition, from: Some(from), to, asked: None, log: (10, 20) }
        };
        let cases = [
            (row(4, 20), Effect::Skip(10), Some("6 were deleted unread")),
            (row(4, 10), Effect::Nothing, Some("6 were deleted unread")),
            (row(25, 10), Effect::Replay(10), Some("commit is 5 beyond the end")),
            (row(25, 20), Effect::Nothing, Some("commit is 5 beyond the end")),
            (row(12, 12), Effect::Nothing, None),
        ];
        for (row, effect, note) in cases {
            assert_eq!((row.effect(), row.note().as_deref()), (effect, note), "{row:?}");
            assert_eq!(row.is_change(), row.from != Some(row.to));
        }
    }
}
