//! A consumer process seen from outside: started, given its steps, killed.
//!
//! What is known of it is what it reported. Deliberately not here: what it does (`consumer/`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::consumer::CommitKind;
use crate::consumer::talk::{Report, Step};

/// How long a consumer may say nothing while something is due: many sessions.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who a consumer is to be.
#[derive(Debug, Clone)]
pub struct Role {
    /// The program, and its hidden command for consumers.
    pub program: PathBuf,
    /// Where the broker is.
    pub bootstrap: String,
    /// Where the commissions go.
    pub database: PathBuf,
    /// What it reads.
    pub topic: String,
    /// In which group.
    pub group: String,
    /// What it calls itself.
    pub name: String,
    /// How it commits.
    pub commit: CommitKind,
    /// `session.timeout.ms`.
    pub session_timeout_ms: u64,
    /// `auto.commit.interval.ms`.
    pub auto_commit_interval_ms: u64,
    /// `max.poll.records`.
    pub max_poll_records: usize,
}

/// A consumer process. Dropping it kills it.
#[derive(Debug)]
pub struct Player {
    /// What it calls itself.
    pub name: String,
    /// Its partitions, each with the offset it began at.
    pub partitions: BTreeMap<i32, i64>,
    /// The offset behind the last record it was handed, of each partition.
    pub received: BTreeMap<i32, i64>,
    /// Offsets of the rows it wrote, with their partitions, in order.
    pub written: Vec<(i32, i64)>,
    /// Whether it waits for a step.
    pub is_waiting: bool,
    child: Child,
    steps: Option<ChildStdin>,
    reports: mpsc::UnboundedReceiver<Report>,
    said: JoinHandle<String>,
}

impl Player {
    /// Starts one. It joins its group by itself.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn start(role: &Role) -> Result<Player> {
        let commit = role.commit.to_possible_value().context("every kind has a name")?;
        let mut command = Command::new(&role.program);
        command
            .arg(crate::CONSUMER_COMMAND)
            .args(["--bootstrap", &role.bootstrap, "--topic", &role.topic, "--group", &role.group])
            .args(["--name", &role.name, "--commit", commit.get_name(), "--stepwise"])
            .args(["--session-timeout-ms", &role.session_timeout_ms.to_string()])
            .args(["--auto-commit-interval-ms", &role.auto_commit_interval_ms.to_string()])
            .args(["--max-poll-records", &role.max_poll_records.to_string()])
            .arg("--database")
            .arg(&role.database);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for the demo alone, which then ends its processes one after the other.
        let mut child = command.process_group(0).kill_on_drop(true).spawn().context("a consumer cannot be started")?;
        let (output, mut errors) = (child.stdout.take(), child.stderr.take().context("it was piped")?);
        let said = tokio::spawn(async move {
            let mut said = String::new();
            errors.read_to_string(&mut said).await.ok(); // what it said so far is all there is
            said
        });
        Ok(Player {
            name: role.name.clone(),
            partitions: BTreeMap::new(),
            received: BTreeMap::new(),
            written: Vec::new(),
            is_waiting: true,
            steps: child.stdin.take(),
            reports: reports_of(output.context("it was piped")?),
            child,
            said,
        })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Lets it take a step; it tells when it is done.
    ///
    /// # Errors
    /// It does not listen any more.
    pub async fn allow(&mut self, step: Step) -> Result<()> {
        let steps = self.steps.as_mut().context("it is leaving")?;
        let line = format!("{}\n", step.word());
        steps.write_all(line.as_bytes()).await.with_context(|| format!("{} does not listen any more", self.name))?;
        self.is_waiting = false;
        Ok(())
    }

    /// Lets it take a step and waits until it is done; what it reported.
    ///
    /// # Errors
    /// It ended, or is silent for too long.
    pub async fn step(&mut self, step: Step) -> Result<Vec<Report>> {
        self.allow(step).await?;
        self.finish().await
    }

    /// Waits until it has done its step; what it reported.
    ///
    /// # Errors
    /// It ended, or is silent for too long.
    pub async fn finish(&mut self) -> Result<Vec<Report>> {
        let mut heard = Vec::new();
        while !self.is_waiting {
            heard.push(self.hear().await?);
        }
        Ok(heard)
    }

    /// Waits until it has so many partitions. It must be under way with a step.
    ///
    /// # Errors
    /// It ended, or is silent for too long.
    pub async fn gather(&mut self, partitions: usize) -> Result<()> {
        while self.partitions.len() != partitions {
            self.hear().await?;
        }
        Ok(())
    }

    /// Waits for the next thing it tells, and takes note of it. Safe to drop.
    ///
    /// # Errors
    /// It ended, or is silent for too long.
    pub async fn hear(&mut self) -> Result<Report> {
        let Ok(heard) = timeout(PATIENCE, self.reports.recv()).await else {
            bail!("{} has been silent for {} s", self.name, PATIENCE.as_secs());
        };
        let Some(report) = heard else {
            let said = timeout(PATIENCE, &mut self.said).await.context("it closed its output")??;
            bail!("{} ended by itself: {}", self.name, said.trim());
        };
        match &report {
            Report::Started { partition, next } => drop(self.partitions.insert(*partition, *next)),
            Report::Gone { partition } => drop(self.partitions.remove(partition)),
            Report::Received { partition, next } => drop(self.received.insert(*partition, *next)),
            Report::Written { partition, offset, .. } => self.written.push((*partition, *offset)),
            Report::Waiting => self.is_waiting = true,
            Report::Committed { .. } | Report::Complaint(_) => {}
        }
        Ok(report)
    }

    /// Ends it as `kill -9` does: it cannot do anything about it, nor say goodbye to its group.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn kill_9(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("{} cannot be killed", self.name))
    }

    /// Lets it leave its group and end.
    ///
    /// # Errors
    /// It does not, or not well.
    pub async fn leave(mut self) -> Result<()> {
        drop(self.steps.take());
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.with_context(|| format!("{} does not leave", self.name))??;
        if !status.success() {
            let said = self.said.await?;
            bail!("{} ended with {status}: {}", self.name, said.trim());
        }
        Ok(())
    }
}

fn reports_of(output: tokio::process::ChildStdout) -> mpsc::UnboundedReceiver<Report> {
    let (to, reports) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(report) = serde_json::from_str(&line) else { break };
            if to.send(report).is_err() {
                break;
            }
        }
    });
    reports
}
