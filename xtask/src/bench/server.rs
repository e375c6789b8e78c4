//! A broker as a child of ours: started on a folder, stopped by its pid, started again.
//!
//! It is started without any script between, so that what is measured from its beginning begins there. Deliberately not
//! here: load.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

use super::kafka::Kafka;
use crate::broker::{program, terminate};
use crate::wait;

/// How long a broker may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// This repository's release build.
    Pagemark,
    /// Apache Kafka as it comes: it answers before anything is on stable storage.
    Kafka,
    /// The same with a flush for each message, so that what it answers for is as durable.
    KafkaFlushing,
}

impl Peer {
    /// As it is written in tables.
    pub fn title(self) -> &'static str {
        match self {
            Peer::Pagemark => "Pagemark",
            Peer::Kafka => "Kafka",
            Peer::KafkaFlushing => "Kafka, flushing",
        }
    }

    fn settings(self) -> &'static [&'static str] {
        if self == Peer::KafkaFlushing { &["log.flush.interval.messages=1"] } else { &[] }
    }
}

/// All that is needed to start them.
#[derive(Debug, Clone)]
pub struct Programs {
    pagemark: Option<PathBuf>,
    kafka: Option<Kafka>,
}

impl Programs {
    /// Builds ours and fetches the other.
    pub fn ready() -> Result<Programs> {
        Ok(Programs { pagemark: Some(program()?), kafka: Some(Kafka::install()?) })
    }

    /// What one of them needs. Ours is this program, if one is given.
    pub fn of(peer: Peer, ours: Option<&Path>) -> Result<Programs> {
        if peer != Peer::Pagemark {
            return Ok(Programs { pagemark: None, kafka: Some(Kafka::install()?) });
        }
        Ok(Programs { pagemark: Some(ours.map_or_else(program, |path| Ok(std::path::absolute(path)?))?), kafka: None })
    }

    /// The command that serves `folder`, which is made ready first, with three ports from `port` on.
    fn command(&self, peer: Peer, port: u16, folder: &Path, settings: &[String]) -> Result<Command> {
        if peer != Peer::Pagemark {
            let settings: Vec<&str> =
                peer.settings().iter().copied().chain(settings.iter().map(String::as_str)).collect();
            return self.kafka.as_ref().context("no Kafka was fetched")?.prepare(port, folder, &settings);
        }
        let mut command = Command::new(self.pagemark.as_ref().context("no program of ours was built")?);
        command.arg("serve");
        let http = format!("pagemark.http.listener=127.0.0.1:{}", port + 2);
        let data = format!("log.dirs={}", folder.join("data").display());
        for setting in [format!("listeners=PLAINTEXT://127.0.0.1:{port}"), http, data] {
            command.arg("--set").arg(setting);
        }
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        Ok(command)
    }
}

/// A running broker. Ends with this value.
#[derive(Debug)]
pub struct Server {
    command: Command,
    child: Child,
    folder: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// When it was last started.
    pub begun: Instant,
    /// The same, nanoseconds since 1970.
    pub begun_ns: u64,
}

impl Server {
    /// Starts one on a folder, which is made; does not wait for it. Settings are `key=value`.
    pub fn start(programs: &Programs, peer: Peer, port: u16, folder: &Path, settings: &[String]) -> Result<Server> {
        std::fs::create_dir_all(folder)?;
        let mut command = programs.command(peer, port, folder, settings)?;
        let log = File::options().create(true).append(true).open(folder.join("broker.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let (begun, begun_ns) = (Instant::now(), now_ns());
        let child = command.spawn().with_context(|| format!("{} cannot be started", peer.title()))?;
        Ok(Server { command, child, folder: folder.to_owned(), port, begun, begun_ns })
    }

    /// Stops it cleanly and starts it again; does not wait for it.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// Starts it again after its process has ended; does not wait for it.
    pub fn start_again(&mut self) -> Result<()> {
        (self.begun, self.begun_ns) = (Instant::now(), now_ns());
        self.child = self.command.spawn()?;
        Ok(())
    }

    /// Kills it, if that has not been done, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Has all that it has stored in the page cache.
    pub fn read_all(&self) -> Result<()> {
        read_all(&self.folder)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still there.
    pub fn ensure_runs(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the broker has ended: {ended:?}; its output is in broker.log");
        Ok(())
    }

    /// Stops it cleanly, and by force if it takes too long.
    pub fn stop(&mut self) -> Result<()> {
        terminate(self.child.id());
        let ended = wait::until(STOP_PATIENCE, || self.child.try_wait().transpose());
        if ended.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Does nothing to a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files that are removed meanwhile are left out.
fn read_all(folder: &Path) -> Result<()> {
    for path in std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            read_all(&path)?;
        } else if let Ok(mut file) = File::open(path) {
            std::io::copy(&mut file, &mut std::io::sink())?;
        }
    }
    Ok(())
}

fn now_ns() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since_1970.as_nanos() as u64
}
