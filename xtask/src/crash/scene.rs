//! The stage of every rig: a real broker, a relay before it, librdkafka's clients at work, and the truth that is kept of it.
//!
//! The door of the relay is shut from the crash until everything has been compared, so that what is compared is what the
//! broker found at its start. Deliberately not here: how it ends each time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pagemark_client::blocking::Connection;
use serde_json::Value;

use super::history::{self, Bookmark};
use super::truth::{TOPIC, Truth};
use super::wire::whole_batches;
use crate::bench::load::LoadProgram;
use crate::bench::server::{Peer, Programs, Server};
use crate::broker::free_ports;
use crate::relay::{Exchange, Found, Moment, Relay};
use crate::rng::Rng;
use crate::{admin, wait};

/// Partitions of the topic.
pub const PARTITIONS: i32 = 4;
/// The group of the clients.
pub const GROUP: &str = "workers";
/// How long a broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much is asked for at a time when a log is read.
const FETCH_BYTES: i32 = 8 << 20;

/// What every rig needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which broker.
    pub peer: Peer,
    /// The program, for ours; built if none is given.
    pub bin: Option<PathBuf>,
    /// More settings, `key=value`.
    pub settings: Vec<String>,
    /// Where the broker's folder is made.
    pub folder: PathBuf,
}

/// The clients at work.
#[derive(Debug)]
pub struct Workers(Child);

/// How many of which clients.
#[derive(Debug, Clone, Copy)]
pub struct Crew<'a> {
    /// In front of all their names and values.
    pub name: &'a str,
    /// Producers.
    pub producers: u32,
    /// Members of the group.
    pub consumers: u32,
    /// How long a member may be silent.
    pub session_timeout_ms: u32,
}

/// The stage.
pub struct Scene {
    /// The broker.
    pub server: Server,
    /// Before it.
    pub relay: Relay,
    /// Where clients go.
    pub port: u16,
    /// From each start to the first answer.
    pub ready_ms: Vec<u64>,
    truth: Arc<Mutex<Truth>>,
    broker_port: u16,
    folder: PathBuf,
}

impl Scene {
    /// Starts the broker and makes the topic; the relay's door is shut.
    pub fn set(plan: &Plan) -> Result<Scene> {
        let programs = Programs::of(plan.peer, plan.bin.as_deref())?;
        let broker_port = free_ports(&mut Rng::new(Rng::seed_or_now(None)))?;
        let port = broker_port + 5; // Kafka takes the next one, our HTTP the one behind that
        let mut settings = vec![
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            "group.min.session.timeout.ms=500".to_owned(),
        ];
        settings.extend(plan.settings.iter().cloned());
        let server = Server::start(&programs, plan.peer, broker_port, &plan.folder, &settings)?;
        let truth: Arc<Mutex<Truth>> = Arc::default();
        let ear = Arc::clone(&truth);
        let hear = move |exchange: &Exchange<'_>| ear.lock().expect(NOT_POISONED).hear(exchange);
        let relay = Relay::new(port, broker_port, Some(Arc::new(hear)));
        let folder = plan.folder.clone();
        let mut scene = Scene { server, relay, port, ready_ms: Vec::new(), truth, broker_port, folder };
        scene.truth().watermark_lags = plan.peer != Peer::Pagemark;
        scene.await_first_answer()?;
        let mut connection = scene.connect()?;
        admin::create_topic(&mut connection, TOPIC, PARTITIONS)?;
        admin::await_coordinator(&mut connection, GROUP)?;
        admin::committed(&mut connection, GROUP, TOPIC, PARTITIONS)?;
        Ok(scene)
    }

    /// What is known.
    pub fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().expect(NOT_POISONED)
    }

    /// Where everything of it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A connection that the relay knows nothing of.
    pub fn connect(&self) -> Result<Connection> {
        admin::connect(self.broker_port)
    }

    /// Starts the clients.
    pub fn hire(&self, program: &LoadProgram, crew: Crew<'_>) -> Result<Workers> {
        let log = File::options().create(true).append(true).open(self.folder.join("clients.log"))?;
        let mut command = Command::new(program.path());
        command.args(["--port", &self.port.to_string(), "--pid", "0", "work", "--topic", TOPIC, "--group", GROUP]);
        command.args(["--name", crew.name, "--partitions", &PARTITIONS.to_string(), "--pace-ms", "4"]);
        command.args(["--producers", &crew.producers.to_string(), "--consumers", &crew.consumers.to_string()]);
        command.args(["--filler-bytes", "64", "--session-timeout-ms", &crew.session_timeout_ms.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        Ok(Workers(command.spawn().context("the clients cannot be started")?))
    }

    /// Lets the clients work until so many more records and commits are acknowledged.
    pub fn work(&mut self, records: u64, commits: u64) -> Result<()> {
        let then = self.truth().tally.clone();
        let begun = Instant::now();
        self.relay.open()?;
        loop {
            let now = self.truth().tally.clone();
            let (more, marks) = (
                now.records_acknowledged - then.records_acknowledged,
                now.commits_acknowledged - then.commits_acknowledged,
            );
            if more >= records && marks >= commits {
                return Ok(());
            }
            self.server.ensure_runs()?;
            ensure!(begun.elapsed() < PATIENCE, "in {PATIENCE:?} {more} records and {marks} commits were acknowledged");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the broker at this moment, and shuts the door.
    pub fn strike(&mut self, name: &str, blow: impl FnOnce() + Send + 'static, moment: Moment) -> Result<Found> {
        let found = self.relay.strike(blow, moment, Duration::from_secs(2));
        self.happened(name);
        self.server.kill()?;
        Ok(found)
    }

    /// Writes into the history what has happened to somebody.
    pub fn happened(&self, what: &str) {
        let now_us = self.relay.now_us();
        self.truth().happened(what, now_us);
    }

    /// Lets the clients finish, stops the broker cleanly, starts it again and compares; what the clients say.
    pub fn leave(&mut self, workers: Workers) -> Result<Value> {
        self.relay.open()?;
        let told = workers.finish()?;
        self.restart()?;
        self.compare().context("after a clean stop")?;
        Ok(told)
    }

    /// Stops it cleanly, starts it again and waits for its first answer.
    pub fn restart(&mut self) -> Result<()> {
        self.server.stop()?;
        self.start_again()
    }

    /// Starts the broker again and waits for its first answer.
    pub fn start_again(&mut self) -> Result<()> {
        self.server.start_again()?;
        self.await_first_answer()
    }

    fn await_first_answer(&mut self) -> Result<()> {
        loop {
            let answers = self.connect().and_then(|mut connection| admin::await_answer(&mut connection));
            let waited = self.server.begun.elapsed();
            if answers.is_ok() {
                self.ready_ms.push(u64::try_from(waited.as_millis())?);
                return Ok(());
            }
            self.server.ensure_runs()?;
            ensure!(waited < PATIENCE, "the broker does not answer");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Writes the history down, what is there now as its last words, and has it judged: whether it holds, and what is said.
    pub fn judge(&mut self, checker: Option<&Path>) -> Result<(bool, String)> {
        if let Err(error) = self.last_words() {
            eprintln!("the history ends without last words: {error:#}");
        }
        let path = self.folder.join("history.jsonl");
        self.truth().history.write(&path)?;
        history::judge(&path, checker)
    }

    fn last_words(&mut self) -> Result<()> {
        let mut connection = self.connect()?;
        let ends = admin::log_ends(&mut connection, TOPIC, PARTITIONS)?;
        let logs = (0..).zip(ends).map(|(partition, end)| whole_log(&mut connection, partition, end));
        let logs = logs.collect::<Result<Vec<_>>>()?;
        let now_us = self.relay.now_us();
        let mut truth = self.truth();
        truth.settle(now_us);
        (0..).zip(logs).try_for_each(|(partition, bytes)| truth.last_words(partition, &bytes, now_us))
    }

    /// Reads all of every partition, without a look at it.
    pub fn read_all(&self) -> Result<()> {
        let mut connection = self.connect()?;
        let ends = admin::log_ends(&mut connection, TOPIC, PARTITIONS)?;
        (0..).zip(ends).try_for_each(|(partition, end)| whole_log(&mut connection, partition, end).map(|_| ()))
    }

    /// Everything that is there against everything that is known. No client may be at work.
    pub fn compare(&mut self) -> Result<()> {
        if let Some(complaint) = self.truth().complaints.first() {
            bail!("{complaint}");
        }
        let mut connection = self.connect()?;
        let asked_us = self.relay.now_us();
        let groups = self.truth().groups();
        for group in groups {
            let found = admin::committed(&mut connection, &group, TOPIC, PARTITIONS)?;
            let now_us = self.relay.now_us();
            for (partition, found) in (0..).zip(found) {
                let found = (found.offset >= 0).then_some(Bookmark { offset: found.offset, metadata: found.metadata });
                let judged = self.truth().judge_offset(&group, partition, found, asked_us, now_us);
                judged.map_err(|what| anyhow!("group {group}, partition {partition}: {what}"))?;
            }
        }
        let ends = admin::log_ends(&mut connection, TOPIC, PARTITIONS)?;
        for (partition, end) in (0..).zip(ends) {
            let bytes = whole_log(&mut connection, partition, end)?;
            let now_us = self.relay.now_us();
            let judged = self.truth().judge_log(partition, &bytes, asked_us, now_us);
            judged.map_err(|what| anyhow!("partition {partition}: {what}"))?;
        }
        Ok(())
    }
}

const NOT_POISONED: &str = "no thread panics while it holds the truth";

/// All bytes of a partition from offset 0 to its end.
fn whole_log(connection: &mut Connection, partition: i32, end: i64) -> Result<Vec<u8>> {
    let (mut bytes, mut next) = (Vec::new(), 0);
    while next < end {
        let more = admin::batches_from(connection, TOPIC, partition, next, FETCH_BYTES)?;
        let (length, behind) = whole_batches(&more);
        let behind = behind.filter(|behind| *behind > next);
        next =
            behind.with_context(|| format!("partition {partition}: nothing at {next}, and the log ends at {end}"))?;
        bytes.extend_from_slice(&more[..length]);
    }
    Ok(bytes)
}

impl Workers {
    /// Their process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lets them finish what they have begun; what they have done.
    pub fn finish(mut self) -> Result<Value> {
        drop(self.0.stdin.take());
        let ended = wait::until(PATIENCE * 2, || self.0.try_wait().transpose()).context("the clients do not end")??;
        ensure!(ended.success(), "the clients ended badly; see clients.log");
        let told = self.0.stdout.take().context("their output was piped")?;
        serde_json::from_reader(told).context("the clients told no JSON")
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Does nothing to a process that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
