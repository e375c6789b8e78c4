//! The two consumers, killed at random and started again, until they are left in peace.
//!
//! Deliberately not here: what they do, which is tests/clients/python/commission_consumer.py or crates/demo/src/consumer.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::broker;
use crate::python::Python;
use crate::rng::Rng;
use crate::wait;

const NAMES: [&str; 2] = ["anna", "bela"];
const TICK: Duration = Duration::from_millis(20);

/// Whose consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// librdkafka's, in Python
    Librdkafka,
    /// Ours, in Rust
    Pagemark,
}

/// How a consumer is run.
#[derive(Debug, Clone)]
pub enum Runner {
    /// By a script.
    Librdkafka(Python),
    /// By our program.
    Pagemark(PathBuf),
}

impl Runner {
    /// What runs consumers of this kind.
    pub fn new(kind: Kind, python: &Python) -> Result<Runner> {
        Ok(match kind {
            Kind::Librdkafka => Runner::Librdkafka(python.clone()),
            Kind::Pagemark => Runner::Pagemark(broker::program()?),
        })
    }

    fn command(&self) -> Command {
        match self {
            Runner::Librdkafka(python) => python.script("commission_consumer.py"),
            Runner::Pagemark(program) => {
                let mut command = Command::new(program);
                command.args([pagemark_demo::CONSUMER_COMMAND, "--commit", "database"]);
                command
            }
        }
    }
}

/// What a consumer needs to know.
#[derive(Debug, Clone)]
pub struct Job {
    /// Runs it.
    pub runner: Runner,
    /// Where the clients' port is.
    pub bootstrap: String,
    /// What to read.
    pub topic: String,
    /// In which group.
    pub group: String,
    /// Where the commissions go.
    pub database: PathBuf,
    /// Where its output goes, one file for each name.
    pub logs: PathBuf,
}

#[derive(Debug, Default)]
struct Shared {
    leave_alone: AtomicBool,
    finish: AtomicBool,
    kills: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

/// Both of them, each with a thread that looks after it.
#[derive(Debug)]
pub struct Consumers {
    shared: Arc<Shared>,
    keepers: Vec<thread::JoinHandle<()>>,
}

impl Consumers {
    /// Starts them.
    pub fn start(job: &Job, seed: u64) -> Result<Consumers> {
        let shared = Arc::new(Shared::default());
        let mut keepers = Vec::new();
        for (index, name) in NAMES.into_iter().enumerate() {
            let (job, shared) = (job.clone(), Arc::clone(&shared));
            let mut child = spawn(&job, name)?;
            let mut rng = Rng::new(seed ^ (index as u64 + 1));
            keepers.push(thread::spawn(move || {
                if let Err(error) = keep(&job, name, &mut child, &mut rng, &shared) {
                    complain(&shared, format!("{name}: {error:#}"));
                }
                let _ = (child.kill(), child.wait());
            }));
        }
        Ok(Consumers { shared, keepers })
    }

    /// How often one was killed.
    pub fn kills(&self) -> u64 {
        self.shared.kills.load(Ordering::Relaxed)
    }

    /// From now on none is killed.
    pub fn leave_alone(&self) {
        self.shared.leave_alone.store(true, Ordering::Relaxed);
    }

    /// What went wrong with them so far, other than being killed.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.complaints.lock().expect("nobody panics holding it").clone()
    }

    /// Asks them to leave the group and end, and waits for that.
    pub fn finish(mut self) -> Vec<String> {
        self.end();
        self.complaints()
    }

    fn end(&mut self) {
        self.leave_alone();
        self.shared.finish.store(true, Ordering::Relaxed);
        for keeper in self.keepers.drain(..) {
            let _ = keeper.join();
        }
    }
}

impl Drop for Consumers {
    fn drop(&mut self) {
        self.end();
    }
}

fn complain(shared: &Shared, complaint: String) {
    shared.complaints.lock().expect("nobody panics holding it").push(complaint);
}

/// Looks after one consumer until all are to finish.
fn keep(job: &Job, name: &str, child: &mut Child, rng: &mut Rng, shared: &Shared) -> Result<()> {
    let mut due = next_kill(rng);
    while !shared.finish.load(Ordering::Relaxed) {
        thread::sleep(TICK);
        if let Some(status) = child.try_wait()? {
            complain(shared, format!("{name} ended by itself: {status}; see {}", log_of(&job.logs, name).display()));
            *child = spawn(job, name)?;
        } else if Instant::now() >= due && !shared.leave_alone.load(Ordering::Relaxed) {
            child.kill()?; // SIGKILL
            child.wait()?;
            shared.kills.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(rng.within(10..1000)));
            *child = spawn(job, name)?;
            due = next_kill(rng);
        }
    }
    broker::terminate(child.id());
    let status = wait::until(Duration::from_secs(60), || child.try_wait().transpose())
        .context("did not end when asked to")??;
    if !status.success() {
        complain(shared, format!("{name} ended badly: {status}; see {}", log_of(&job.logs, name).display()));
    }
    Ok(())
}

fn next_kill(rng: &mut Rng) -> Instant {
    Instant::now() + Duration::from_millis(rng.within(3_000..12_000))
}

fn log_of(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("consumer-{name}.log"))
}

fn spawn(job: &Job, name: &str) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(log_of(&job.logs, name))?;
    job.runner
        .command()
        .args(["--bootstrap", &job.bootstrap, "--topic", &job.topic, "--group", &job.group, "--name", name])
        .arg("--database")
        .arg(&job.database)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("a consumer cannot be started")
}
