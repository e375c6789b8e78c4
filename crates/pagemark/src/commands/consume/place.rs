//! Where to begin, as people say it and as an offset.
//!
//! Deliberately not here: where a group left off; its coordinator knows.

use std::collections::{BTreeMap, BTreeSet};

use pagemark_client::{Admin, IsolationLevel, OffsetSpec, TopicPartition};

use crate::commands::about_topic;
use crate::exit::Failure;
use crate::host;
use crate::output::{counted, escaped};
use crate::target::Target;
use crate::times::parse_time;

/// A place in every partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Beginning,
    End,
    Offset(i64),
    /// So many before the end.
    BeforeEnd(i64),
    /// The first record at or after this time, in milliseconds since 1970.
    Time(i64),
}

impl Place {
    pub(super) fn parse(text: &str) -> Result<Place, String> {
        let wrong = || format!("{text:?} is not a place: write beginning, end, an offset, -N, or @TIME");
        match text {
            "beginning" | "earliest" => Ok(Place::Beginning),
            "end" | "latest" => Ok(Place::End),
            _ => match text.strip_prefix('@') {
                Some(time) => parse_time(time, host::now()).map(Place::Time),
                None => match text.parse::<i64>().map_err(|_| wrong())? {
                    back if back < 0 => Ok(Place::BeforeEnd(back.saturating_neg())),
                    offset => Ok(Place::Offset(offset)),
                },
            },
        }
    }
}

/// The partitions that targets mean.
///
/// # Errors
/// If one of them is not there.
pub(super) async fn partitions(admin: &Admin, targets: &[Target]) -> Result<Vec<TopicPartition>, Failure> {
    let topics = admin.describe_topics(targets.iter().map(|target| target.topic.as_str())).await?;
    let mut partitions = BTreeSet::new(); // targets may overlap
    for target in targets {
        let topic = match topics.get(&target.topic) {
            Some(Ok(topic)) => topic,
            Some(Err(error)) => return Err(about_topic(admin, error.clone(), &target.topic).await),
            None => continue, // every topic that was asked for has an answer
        };
        let count = topic.partitions.len();
        let is_there = |at: &i32| usize::try_from(*at).is_ok_and(|at| at < count);
        if let Some(missing) = target.partitions.iter().flatten().find(|at| !is_there(at)) {
            let (name, count) = (escaped(&target.topic), counted(count as i64, "partition"));
            return Err(Failure::failed(format!("{name} has {count}, and no {missing}")));
        }
        let all = topic.partitions.iter().map(|partition| TopicPartition::new(&target.topic, partition.index));
        partitions.extend(all.filter(|partition| target.covers(partition)));
    }
    Ok(partitions.into_iter().collect())
}

/// The offsets of a place, within each log.
///
/// # Errors
/// If the brokers do not answer.
pub(super) async fn find(
    admin: &Admin,
    partitions: &[TopicPartition],
    place: Place,
    isolation: IsolationLevel,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let list = async |spec| {
        let wanted = partitions.iter().map(|partition| (partition.clone(), spec));
        let found = admin.list_offsets_with(isolation, wanted).await?;
        let offsets = found.into_iter().filter_map(|(partition, listed)| Some((partition, listed.offset?)));
        Ok::<BTreeMap<TopicPartition, i64>, Failure>(offsets.collect())
    };
    let starts = list(OffsetSpec::Earliest).await?;
    if place == Place::Beginning {
        return Ok(starts);
    }
    let ends = list(OffsetSpec::Latest).await?;
    let by_time = match place {
        Place::Time(time) => list(OffsetSpec::Timestamp(time)).await?,
        _ => BTreeMap::new(),
    };
    let one = |(partition, end): (TopicPartition, i64)| {
        let start = starts.get(&partition).copied().unwrap_or(0).min(end);
        let wanted = match place {
            Place::Beginning => start,
            Place::End => end,
            Place::Offset(offset) => offset,
            Place::BeforeEnd(back) => end.saturating_sub(back),
            Place::Time(_) => by_time.get(&partition).copied().unwrap_or(end),
        };
        (partition, wanted.clamp(start, end))
    };
    Ok(ends.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_words_offsets_and_times() {
        assert_eq!(Place::parse("beginning"), Ok(Place::Beginning));
        assert_eq!(Place::parse("end"), Ok(Place::End));
        assert_eq!(Place::parse("7"), Ok(Place::Offset(7)));
        assert_eq!(Place::parse("-7"), Ok(Place::BeforeEnd(7)));
        assert_eq!(Place::parse("@1700000000000"), Ok(Place::Time(1_700_000_000_000)));
        assert_eq!(Place::parse("@2023-11-14T22:13:20Z"), Ok(Place::Time(1_700_000_000_000)));
        for wrong in ["", "middle", "@", "@soon", "1.5"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }
}
