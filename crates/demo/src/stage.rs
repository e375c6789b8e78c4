//! What the demo plays on: a directory, a broker of its own on a free port, and clients to it.
//!
//! Deliberately not here: the directory (`place.rs`), the consumers (`player.rs`) and what happens (`acts/`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use pagemark_client::{Admin, NewTopic, OffsetSpec, Producer, ProducerRecord, RecordMetadata, TopicPartition};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::consumer::CommitKind;
use crate::place::Place;
use crate::player::Role;
use crate::sales::Sale;
use crate::show::Show;

/// `session.timeout.ms` of the demo's consumers: how long their group waits for one that was killed.
pub const SESSION_TIMEOUT_MS: u64 = 2000;

/// How long the broker may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings of the demo's broker, beside where it is.
const BROKER_SETTINGS: [&str; 3] =
    ["pagemark.http.listener=", "group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=1000"];

/// Everything that is there before the first act.
#[derive(Debug)]
pub struct Stage {
    /// How things are shown.
    pub show: Show,
    /// Where the broker is.
    pub bootstrap: String,
    /// Asks and tells the broker.
    pub admin: Admin,
    program: PathBuf,
    place: Place,
    broker: Child,
}

impl Stage {
    /// Makes a directory and starts a broker in it.
    ///
    /// # Errors
    /// What cannot be made or started, and why.
    pub async fn set(program: PathBuf, show: Show) -> Result<Stage> {
        let place = Place::make()?;
        let (broker, bootstrap) = start_broker(&program, &place.path().join("broker")).await?;
        let admin = Admin::builder(&bootstrap).client_id("demo").build()?;
        Ok(Stage { show, bootstrap, admin, program, place, broker })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.place.path()
    }

    /// The broker's process.
    #[must_use]
    pub fn broker_pid(&self) -> u32 {
        self.broker.id().unwrap_or(0)
    }

    /// Where the commissions are.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.directory().join("commissions.db")
    }

    /// A consumer of a group, as the acts need most of them.
    #[must_use]
    pub fn role(&self, topic: &str, group: &str, name: &str) -> Role {
        Role {
            program: self.program.clone(),
            bootstrap: self.bootstrap.clone(),
            database: self.database(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            name: name.to_owned(),
            commit: CommitKind::Database,
            session_timeout_ms: SESSION_TIMEOUT_MS,
            auto_commit_interval_ms: 5000,
            max_poll_records: 1,
        }
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        Ok(self.admin.create_topic(NewTopic::new(topic).partitions(partitions)).await?)
    }

    /// Writes sales, the customer as the key, and returns where each is by the broker's acknowledgement.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn produce(&self, topic: &str, sales: &[Sale]) -> Result<Vec<RecordMetadata>> {
        let producer = Producer::builder(&self.bootstrap).client_id("shop").build()?;
        let mut deliveries = Vec::new();
        for sale in sales {
            let record = ProducerRecord::to(topic).key(sale.customer.clone()).value(serde_json::to_vec(sale)?);
            deliveries.push(producer.send(record).await?);
        }
        producer.flush().await;
        let mut written = Vec::new();
        for delivery in deliveries {
            written.push(delivery.await?);
        }
        producer.close().await;
        Ok(written)
    }

    /// Where the logs of a topic begin or end, by ListOffsets.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn offsets(&self, topic: &str, spec: OffsetSpec) -> Result<BTreeMap<i32, i64>> {
        let partitions = self.admin.describe_topic(topic).await?.partitions.len();
        let wanted = (0..partitions as i32).map(|partition| (TopicPartition::new(topic, partition), spec));
        let found = self.admin.list_offsets(wanted).await?;
        let offset = |(partition, listed): (TopicPartition, pagemark_client::ListedOffset)| {
            let offset = listed.offset.with_context(|| format!("the broker does not say where {partition} is"))?;
            Ok((partition.partition, offset))
        };
        found.into_iter().map(offset).collect()
    }

    /// What a group has committed of a topic, by OffsetFetch: the NEXT offset to read of each partition.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>> {
        let found = self.admin.list_group_offsets(group).await?;
        let of_topic = found.into_iter().filter(|(partition, _)| &*partition.topic == topic);
        Ok(of_topic.map(|(partition, offset)| (partition.partition, offset.offset)).collect())
    }

    /// Stops the broker, and removes the directory unless it is to be kept; where it is then.
    ///
    /// # Errors
    /// The broker does not stop, or the directory cannot be removed.
    pub async fn clear(mut self, keep: bool) -> Result<Option<PathBuf>> {
        if let Some(pid) = self.broker.id().and_then(|pid| Pid::from_raw(pid as i32)) {
            kill_process(pid, Signal::TERM).ok(); // it may have ended already
        }
        if timeout(PATIENCE, self.broker.wait()).await.is_err() {
            self.broker.kill().await.context("the broker does not stop")?;
        }
        if keep { self.place.keep().map(Some) } else { self.place.remove().map(|()| None) }
    }
}

/// Starts a broker on a free port and waits until it says where it listens.
async fn start_broker(program: &Path, data: &Path) -> Result<(Child, String)> {
    let mut command = Command::new(program);
    // Its standard input ends when the demo does, however that ends.
    command.args(["serve", "--until-stdin-ends", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command.args(["--set", &format!("log.dirs={}", data.display())]);
    command.args(BROKER_SETTINGS.iter().flat_map(|setting| ["--set", setting]));
    // Settings meant for another broker, which win over defaults.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PAGEMARK_")) {
        command.env_remove(name);
    }
    command.env("PAGEMARK_LOG", "warn").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut broker = command.process_group(0).kill_on_drop(true).spawn().context("the broker cannot be started")?;
    let mut errors = broker.stderr.take().context("it was piped")?;
    let said = tokio::spawn(async move {
        let mut said = Vec::new();
        errors.read_to_end(&mut said).await.ok(); // what it said so far is all there is
        String::from_utf8_lossy(&said).trim().to_owned()
    });
    let output = broker.stdout.take().context("it was piped")?;
    let address = timeout(PATIENCE, listening(BufReader::new(output))).await.context("the broker does not start")?;
    match address {
        Some(address) => Ok((broker, address)),
        None => bail!("the broker does not start: {}", said.await?),
    }
}

async fn listening(output: BufReader<tokio::process::ChildStdout>) -> Option<String> {
    let mut lines = output.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, address)) = line.split_once("clients are told ") {
            // The rest is nobody's to read, but the broker may write it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(address.trim().to_owned());
        }
    }
    None
}
