//! The load program, `xtask/load`: built once, run for each measurement.
//!
//! It is a package of its own with librdkafka in it. Deliberately not here: what it does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::server::Server;
use crate::workspace;

/// The program, ready to run.
#[derive(Debug, Clone)]
pub struct LoadProgram(PathBuf);

impl LoadProgram {
    /// Builds it. The first time that takes minutes: librdkafka is built from source.
    pub fn build() -> Result<LoadProgram> {
        let folder = workspace::cache("load")?;
        let manifest = workspace::root().join("xtask/load/Cargo.toml");
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--quiet", "--locked", "--release", "--manifest-path"]).arg(manifest);
        let status = cargo.arg("--target-dir").arg(&folder).status()?;
        ensure!(status.success(), "the load program cannot be built (it needs make and a compiler of C and C++)");
        Ok(LoadProgram(folder.join("release/pagemark-load")))
    }

    /// The program's file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs one measurement against this broker. `arguments` are words, separated by spaces.
    pub fn run(&self, server: &mut Server, arguments: &str) -> Result<Value> {
        let mut command = Command::new(&self.0);
        command.args(["--port", &server.port.to_string(), "--pid", &server.pid().to_string()]);
        command.args(arguments.split_whitespace()).stdin(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().context("the load program cannot be run")?;
        server.ensure_runs()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "load {arguments}: {}", said.trim());
        serde_json::from_slice(&output.stdout).with_context(|| format!("load {arguments}: no JSON"))
    }
}
