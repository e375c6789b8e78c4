//! Synchronous commits: each group on a connection of its own, the next commit when the last is answered.
//!
//! Deliberately not here: members. A group without any may commit with generation -1, and a commit costs the same.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{ApiKey, GroupId, OffsetCommitRequest, OffsetCommitResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;

use crate::frames::{Connection, Work, drive, frame, parse};
use crate::meter::{Meter, permille_ms};

/// The last version that names topics and knows nothing of the new group protocol.
const VERSION: i16 = 8;
/// What a broker says while it is not yet what it will be.
pub const RETRIABLE: &[i16] = &[3, 14, 15, 16];
/// How long is waited before it is asked again.
pub const PAUSE: Duration = Duration::from_millis(2);
/// How long a broker may put commits off.
const PATIENCE: Duration = Duration::from_secs(60);

/// Synchronous commits.
#[derive(Debug, clap::Args)]
pub struct Commit {
    /// Groups, each on a connection of its own
    #[arg(long)]
    groups: usize,
    /// A topic to commit for
    #[arg(long)]
    topic: String,
    /// How long before anything is counted
    #[arg(long)]
    warm_up_s: f64,
    /// How long is counted
    #[arg(long)]
    seconds: f64,
}

impl Commit {
    /// Commits, and tells how many a time and how long each took.
    pub fn run(&self, port: u16, meter: &Meter) -> Result<Value> {
        let open = |_| Connection::open(port);
        let mut connections = (0..self.groups).map(open).collect::<Result<Vec<_>, _>>()?;
        let mut load = Load { topic: &self.topic, groups: vec![Group::default(); self.groups], until: Instant::now() };
        drive(&mut connections, &mut load)?; // every group is known before a clock starts
        load.lasts(self.warm_up_s);
        drive(&mut connections, &mut load)?;
        for group in &mut load.groups {
            group.took.clear();
        }
        let begun = meter.now()?;
        load.lasts(self.seconds);
        drive(&mut connections, &mut load)?;
        let mut told = meter.since(begun)?;
        let mut took: Vec<Duration> = load.groups.iter().flat_map(|group| &group.took).copied().collect();
        told.insert("commits".to_owned(), took.len().into());
        told.insert("p50_ms".to_owned(), permille_ms(&mut took, 500).into());
        told.insert("p99_ms".to_owned(), permille_ms(&mut took, 990).into());
        Ok(told.into())
    }
}

/// The commits of all groups until some moment; at least one each.
struct Load<'a> {
    topic: &'a str,
    groups: Vec<Group>,
    until: Instant,
}

#[derive(Debug, Clone, Default)]
struct Group {
    offset: i64,
    sent: Option<Instant>,
    repeat: bool,
    took: Vec<Duration>,
}

impl Load<'_> {
    fn lasts(&mut self, seconds: f64) {
        self.until = Instant::now() + Duration::from_secs_f64(seconds);
        for group in &mut self.groups {
            group.sent = None;
        }
    }
}

impl Work for Load<'_> {
    fn next(&mut self, at: usize) -> Result<Option<Vec<u8>>> {
        let group = &mut self.groups[at];
        let now = Instant::now();
        if group.sent.is_some() && !group.repeat && now >= self.until {
            return Ok(None);
        }
        if !group.repeat {
            group.offset += 1;
        }
        group.sent = Some(now);
        let partition = (at % 10) as i32;
        Ok(Some(commit(&format!("group-{at}"), self.topic, partition..partition + 1, group.offset)?))
    }

    fn answered(&mut self, at: usize, answer: Bytes) -> Result<()> {
        let group = &mut self.groups[at];
        group.repeat = !committed(answer)?;
        if group.repeat {
            ensure!(Instant::now() < self.until + PATIENCE, "commits are put off for {} s", PATIENCE.as_secs());
            std::thread::sleep(PAUSE);
        } else {
            group.took.extend(group.sent.map(|sent| sent.elapsed()));
        }
        Ok(())
    }
}

/// An OffsetCommit of a group without members.
pub fn commit(group: &str, topic: &str, partitions: std::ops::Range<i32>, offset: i64) -> Result<Vec<u8>> {
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(StrBytes::default()))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(partitions.map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    frame(ApiKey::OffsetCommit, VERSION, &request)
}

/// Whether it was carried out; if not, it can be repeated.
pub fn committed(answer: Bytes) -> Result<bool> {
    let answer: OffsetCommitResponse = parse(ApiKey::OffsetCommit, VERSION, answer)?;
    let mut codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    match codes.find(|code| *code != 0) {
        None => Ok(true),
        Some(code) if RETRIABLE.contains(&code) => Ok(false),
        Some(code) => bail!("a commit was answered with error code {code}"),
    }
}
