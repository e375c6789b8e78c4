//! `cargo xtask settings-docs`: writes docs/settings.md anew from the broker's own table.
//!
//! The broker's tests say when the page is out of date. Deliberately not here: the text, which is the broker's.

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Write docs/settings.md anew from the table of settings.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cargo xtask settings-docs   # after changing crates/broker/src/settings/table.rs")]
pub struct Args {}

/// Writes it.
pub fn run(_: &Args) -> Result<bool> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--package", "pagemark-broker", "--example", "settings_docs"]);
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the broker's table cannot be printed");
    let path = workspace::root().join("docs/settings.md");
    std::fs::create_dir_all(path.parent().expect("it lies in docs"))?;
    std::fs::write(&path, &output.stdout).with_context(|| format!("{} cannot be written", path.display()))?;
    println!("{} written", path.display());
    Ok(true)
}
