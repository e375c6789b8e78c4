//! `cargo xtask tidy`: the house rules that no compiler knows, each with the fix in its message.
//!
//! Every source opens by saying what it is, functions stay short, files stay readable, packages stay few and freely
//! licensed, and nothing names what is not in this repository. Deliberately not here: format and lints, which cargo has.

mod packages;
mod sources;

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Check the house rules; each broken one is a line that says what to do.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Example:\n  cargo xtask tidy")]
pub struct Args {}

/// Checks everything. `false` if a rule is broken.
pub fn run(_: &Args) -> Result<bool> {
    let mut broken = Vec::new();
    for path in tracked_files()? {
        let full = workspace::root().join(&path);
        // A tracked file that is gone is about to be removed from the next commit.
        let Ok(bytes) = std::fs::read(&full) else { continue };
        broken.extend(sources::check_size(&path, bytes.len()));
        let Ok(text) = String::from_utf8(bytes) else { continue };
        broken.extend(sources::check(&path, &text));
    }
    broken.extend(packages::check(&workspace::metadata(true)?)?);
    for line in &broken {
        eprintln!("{line}");
    }
    eprintln!("tidy: {} rules broken", broken.len());
    Ok(broken.is_empty())
}

/// Every file of the repository, those included that the next `git add` takes in.
pub fn tracked_files() -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace::root())
        .output();
    let output = output.context("git cannot be run")?;
    ensure!(output.status.success(), "git ls-files failed: this is no clone of the repository");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}
