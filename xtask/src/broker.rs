//! A broker as a process of its own, through a command of the shape of `scripts/broker`.
//!
//! Any command will do that knows `up PORT DATADIR key=value...` and `down PIDFILE` and answers with JSON, so that the same
//! run can be made against another broker and a difference be told. Deliberately not here: speaking to it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use serde::Deserialize;

use crate::rng::Rng;
use crate::{wait, workspace};

/// The command, in words.
#[derive(Debug, Clone)]
pub struct BrokerCommand(Vec<String>);

/// What `up` tells.
#[derive(Debug, Clone, Deserialize)]
struct Told {
    pid: i32,
    pidfile: PathBuf,
    ready_ms: u64,
}

/// A broker that answers, with all that is needed to start it again. Ends with this value.
#[derive(Debug)]
pub struct Broker {
    command: BrokerCommand,
    port: u16,
    folder: PathBuf,
    settings: Vec<String>,
    told: Told,
}

impl Broker {
    /// Starts one and waits until it answers. Settings are `key=value`.
    pub fn start(command: BrokerCommand, port: u16, folder: &Path, settings: &[String]) -> Result<Broker> {
        let told = command.up(port, folder, settings)?;
        Ok(Broker { command, port, folder: folder.to_owned(), settings: settings.to_vec(), told })
    }

    /// Starts it again after its process has ended.
    pub fn start_again(&mut self) -> Result<()> {
        self.told = self.command.up(self.port, &self.folder, &self.settings)?;
        Ok(())
    }

    /// The same with other settings.
    pub fn start_again_with(&mut self, settings: &[String]) -> Result<()> {
        settings.clone_into(&mut self.settings);
        self.start_again()
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.told.pid
    }

    /// How long it took from its last start to its first answer.
    pub fn ready_ms(&self) -> u64 {
        self.told.ready_ms
    }

    /// Stops it cleanly.
    pub fn stop(&mut self) -> Result<()> {
        self.command.down(&self.told.pidfile)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if is_alive(self.told.pid) {
            kill_9(self.told.pid);
        }
    }
}

impl BrokerCommand {
    /// The command given, or our own script over a release build that is made first.
    pub fn given_or_ours(given: Option<&str>) -> Result<BrokerCommand> {
        if let Some(words) = given {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            ensure!(!words.is_empty(), "--broker names no command");
            return Ok(BrokerCommand(words));
        }
        program()?;
        Ok(BrokerCommand(vec![workspace::root().join("scripts/broker").display().to_string()]))
    }

    fn up(&self, port: u16, folder: &Path, settings: &[String]) -> Result<Told> {
        let mut command = self.command();
        command.arg("up").arg(port.to_string()).arg(folder).args(settings);
        let output = command.output().with_context(|| format!("{:?} cannot be run", self.0))?;
        if !output.status.success() {
            bail!("the broker did not start; its output is in {}", folder.join("broker.log").display());
        }
        serde_json::from_slice(&output.stdout).context("`up` wrote no JSON")
    }

    fn down(&self, pidfile: &Path) -> Result<()> {
        let output = self.command().arg("down").arg(pidfile).output()?;
        ensure!(output.status.success(), "the broker did not stop");
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]).stdin(Stdio::null()).stderr(Stdio::inherit());
        command
    }
}

/// Our program: the one that `PAGEMARK_BIN` names, or a release build that is made first.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PAGEMARK_BIN") {
        return Ok(path.into());
    }
    program_with(&[])
}

/// A release build with these features, which takes the place of the last one.
pub fn program_with(features: &[&str]) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--release", "--package", "pagemark", "--features", &features.join(",")]);
    ensure!(cargo.status()?.success(), "the release build failed");
    Ok(workspace::target()?.join("release/pagemark"))
}

/// Ends a process as a power cut would: at once, with no word to it.
pub fn kill_9(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Asks a process to end.
pub fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
}

/// Whether the process is there and not merely waiting to be collected.
pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

/// The first of three ports of 127.0.0.1 in a row that are free now and that the system gives to nobody by itself.
pub fn free_ports(rng: &mut Rng) -> Result<u16> {
    for _ in 0..1000 {
        let first = rng.within(20_000..30_000) as u16;
        if (first..first + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("there are no three free ports between 20000 and 30000")
}

/// Waits until a process that was ended is gone.
pub fn await_end(pid: i32) -> bool {
    wait::until(Duration::from_secs(10), || (!is_alive(pid)).then_some(())).is_some()
}
