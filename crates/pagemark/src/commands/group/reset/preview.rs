//! A look at the records that a reset would repeat or skip: the first and the last of each partition.
//!
//! Two rounds over all partitions at once, with a limit on time: a preview that cannot be had is left out, not waited for.
//! Deliberately not here: counting; offsets do that.

use std::collections::BTreeMap;
use std::time::Duration;

use pagemark_client::{AutoOffsetReset, Consumer, IsolationLevel, Record, TopicPartition};
use tokio::time::Instant;

use super::plan::Plan;
use crate::connect::Properties;
use crate::exit::Failure;

/// Longest time for each round.
const PATIENCE: Duration = Duration::from_secs(4);
/// How far before the end the last record is looked for: markers and holes stand between.
const BACK: i64 = 64;

/// What was seen of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first: Option<Glimpse>,
    pub(super) last: Option<Glimpse>,
}

/// A record as a preview shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glimpse {
    pub(super) offset: i64,
    /// Milliseconds since 1970, if it has a time.
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<String>,
    /// How its value begins, if it has one.
    pub(super) value: Option<String>,
}

impl Glimpse {
    fn of(record: &Record) -> Glimpse {
        let begin = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned();
        Glimpse {
            offset: record.offset,
            timestamp_ms: Some(record.timestamp_ms).filter(|time| *time >= 0),
            key: record.key.as_deref().map(begin),
            value: record.value.as_deref().map(begin),
        }
    }
}

/// Looks at the records of a plan.
///
/// # Errors
/// Usage, if a client property cannot be read.
pub(super) async fn read(properties: &Properties, plan: &Plan) -> Result<BTreeMap<TopicPartition, Seen>, Failure> {
    let touched: BTreeMap<&TopicPartition, (i64, i64)> =
        plan.rows.iter().filter_map(|row| Some((&row.partition, row.touched()?))).collect();
    let mut seen: BTreeMap<TopicPartition, Seen> = BTreeMap::new();
    if touched.is_empty() {
        return Ok(seen);
    }
    let builder = properties.consumer()?.auto_offset_reset(AutoOffsetReset::Earliest);
    let builder = builder.isolation_level(IsolationLevel::ReadUncommitted).max_partition_fetch_bytes(16 * 1024);
    let mut consumer = builder.enable_auto_commit(false).build()?;
    consumer.assign(touched.keys().map(|partition| (*partition).clone()))?;
    let starts = touched.iter().map(|(partition, (from, _))| (*partition, *from)).collect();
    round(&mut consumer, starts, |record| {
        let (_, to) = touched[&record.partition];
        if record.offset < to {
            seen.entry(record.partition.clone()).or_default().first = Some(Glimpse::of(record));
        }
        true
    })
    .await;
    let near_ends = touched.iter().map(|(partition, (from, to))| (*partition, (*from).max(to - BACK))).collect();
    round(&mut consumer, near_ends, |record| {
        let (_, to) = touched[&record.partition];
        if record.offset < to {
            seen.entry(record.partition.clone()).or_default().last = Some(Glimpse::of(record));
        }
        record.offset + 1 >= to
    })
    .await;
    consumer.close().await;
    Ok(seen)
}

/// Reads each partition from its offset on until `is_enough` says so, or its log ends, or time is over.
async fn round(
    consumer: &mut Consumer,
    mut open: BTreeMap<&TopicPartition, i64>,
    mut is_enough: impl FnMut(&Record) -> bool,
) {
    for (partition, offset) in &open {
        consumer.seek(partition, *offset).ok(); // it was assigned above
        consumer.resume([*partition]).ok();
    }
    let deadline = Instant::now() + PATIENCE;
    let mut idle = 0;
    // A log whose end is all markers gives no record at all: two empty polls are the end of it.
    while !open.is_empty() && idle < 2 && Instant::now() < deadline {
        let Ok(records) = consumer.poll(Duration::from_millis(700)).await else { break };
        idle = if records.is_empty() { idle + 1 } else { 0 };
        for record in records {
            if open.contains_key(&record.partition) && is_enough(&record) {
                open.remove(&record.partition);
                consumer.pause([&record.partition]).ok(); // as above
            }
        }
    }
}
