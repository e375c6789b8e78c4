//! Very many groups: made with one commit each, and asked for after a restart.
//!
//! Deliberately not here: the restart itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{ApiKey, GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use crate::commits::{PAUSE, RETRIABLE, commit, committed};
use crate::frames::{Connection, Work, drive, frame, parse};

/// The last version with one group in a request.
const VERSION: i16 = 7;
/// What every group commits for every partition.
const OFFSET: i64 = 4711;
/// How long a broker may take to start and to load what it has.
const PATIENCE: Duration = Duration::from_secs(120);

/// Groups to make.
#[derive(Debug, clap::Args)]
pub struct Make {
    #[command(flatten)]
    groups: Groups,
}

/// Groups to ask for.
#[derive(Debug, clap::Args)]
pub struct Read {
    #[command(flatten)]
    groups: Groups,
    /// When the broker's process began, nanoseconds since 1970
    #[arg(long)]
    since_ns: u64,
}

#[derive(Debug, clap::Args)]
struct Groups {
    /// Groups
    #[arg(long)]
    groups: usize,
    /// Partitions that each commits, in one request
    #[arg(long)]
    partitions: i32,
    /// A topic with so many partitions
    #[arg(long)]
    topic: String,
    /// Connections, each with one request under way
    #[arg(long)]
    connections: usize,
}

impl Make {
    /// Makes them, and tells how long it took.
    pub fn run(&self, port: u16) -> Result<Value> {
        let begun = Instant::now();
        let mut work = Asking::of(&self.groups, Kind::Commit);
        drive(&mut open(port, self.groups.connections)?, &mut work)?;
        Ok(json!({"ms": begun.elapsed().as_secs_f64() * 1e3}))
    }
}

impl Read {
    /// Asks, and tells when the first and when all were answered, counted from the process's beginning.
    pub fn run(&self, port: u16) -> Result<Value> {
        let mut first = Asking::of(&self.groups, Kind::Fetch);
        first.left.truncate(1);
        let begun = Instant::now();
        while let Err(error) = open(port, 1).and_then(|mut connections| drive(&mut connections, &mut first)) {
            let not_there_yet = error.is::<std::io::Error>() && begun.elapsed() < PATIENCE;
            ensure!(not_there_yet, error);
            first.left = VecDeque::from([0]);
            std::thread::sleep(Duration::from_millis(1));
        }
        let first_ms = self.since_start_ms()?;
        let mut all = Asking::of(&self.groups, Kind::Fetch);
        drive(&mut open(port, self.groups.connections)?, &mut all)?;
        Ok(json!({"first_ms": first_ms, "all_ms": self.since_start_ms()?}))
    }

    fn since_start_ms(&self) -> Result<f64> {
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        Ok(now_ns.saturating_sub(self.since_ns) as f64 / 1e6)
    }
}

fn open(port: u16, connections: usize) -> Result<Vec<Connection>> {
    Ok((0..connections).map(|_| Connection::open(port)).collect::<Result<_, _>>()?)
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Commit,
    Fetch,
}

/// One request for each group, repeated where the broker says "later".
struct Asking<'a> {
    groups: &'a Groups,
    kind: Kind,
    left: VecDeque<usize>,
    asked: Vec<usize>,
    until: Instant,
}

impl Asking<'_> {
    fn of(groups: &Groups, kind: Kind) -> Asking<'_> {
        let left = (0..groups.groups).collect();
        Asking { groups, kind, left, asked: vec![0; groups.connections], until: Instant::now() + PATIENCE }
    }
}

impl Work for Asking<'_> {
    fn next(&mut self, at: usize) -> Result<Option<Vec<u8>>> {
        let Some(number) = self.left.pop_front() else { return Ok(None) };
        self.asked[at] = number;
        let (group, topic, partitions) = (format!("many-{number:05}"), &self.groups.topic, self.groups.partitions);
        match self.kind {
            Kind::Commit => commit(&group, topic, 0..partitions, OFFSET).map(Some),
            Kind::Fetch => fetch(group, topic, partitions).map(Some),
        }
    }

    fn answered(&mut self, at: usize, answer: Bytes) -> Result<()> {
        let done = match self.kind {
            Kind::Commit => committed(answer)?,
            Kind::Fetch => fetched(answer, self.groups.partitions as usize)
                .with_context(|| format!("group many-{:05}", self.asked[at]))?,
        };
        if !done {
            ensure!(Instant::now() < self.until, "the broker still loads after {} s", PATIENCE.as_secs());
            self.left.push_front(self.asked[at]);
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

fn fetch(group: String, topic: &str, partitions: i32) -> Result<Vec<u8>> {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_indexes((0..partitions).collect());
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group)))
        .with_topics(Some(vec![topic]));
    frame(ApiKey::OffsetFetch, VERSION, &request)
}

/// Whether all of the group's offsets came, as they were committed; if not, the broker asks for patience.
fn fetched(answer: Bytes, partitions: usize) -> Result<bool> {
    let answer: OffsetFetchResponse = parse(ApiKey::OffsetFetch, VERSION, answer)?;
    let found = || answer.topics.iter().flat_map(|topic| &topic.partitions);
    let mut codes = found().map(|partition| partition.error_code).chain([answer.error_code]);
    match codes.find(|code| *code != 0) {
        Some(code) if RETRIABLE.contains(&code) => return Ok(false),
        Some(code) => bail!("OffsetFetch was answered with error code {code}"),
        None => {}
    }
    let right = found().filter(|partition| partition.committed_offset == OFFSET).count();
    ensure!(right == partitions, "of {partitions} committed offsets {right} came back");
    Ok(true)
}
