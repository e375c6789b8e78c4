//! The Python test clients' environment: a virtual one below the target folder, filled once from PyPI.
//!
//! Deliberately not here: the clients, which are in tests/clients/python.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// A Python that has what tests/clients/python/requirements.txt names.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// Finds it or makes it. The error says why there is none.
    pub fn find() -> Result<Python> {
        let wanted = std::fs::read_to_string(scripts().join("requirements.txt"))?;
        let folder = workspace::cache("python")?;
        let python = Python { program: folder.join("bin/python") };
        let stamp = folder.join("requirements.txt");
        if std::fs::read_to_string(&stamp).is_ok_and(|had| had == wanted) && python.program.exists() {
            return Ok(python);
        }
        ensure!(workspace::has_program("python3"), "there is no python3");
        quiet(Command::new("python3").args(["-m", "venv"]).arg(&folder)).context("python3 -m venv failed")?;
        let requirements = scripts().join("requirements.txt");
        quiet(Command::new(&python.program).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))
            .context("pip cannot fetch the test clients")?;
        std::fs::write(stamp, wanted)?;
        Ok(python)
    }

    /// A command that runs one of the scripts.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-B").arg(scripts().join(name));
        command
    }
}

fn scripts() -> PathBuf {
    workspace::root().join(Path::new("tests/clients/python"))
}

fn quiet(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", words.lines().last().unwrap_or("no reason given"));
    Ok(())
}
