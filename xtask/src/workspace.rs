//! Where things are: the workspace's root, cargo's target folder, and caches below it.
//!
//! Deliberately not here: building.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The folder with the workspace's Cargo.toml.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// What `cargo metadata` says, with or without the packages we depend on.
pub fn metadata(with_dependencies: bool) -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1"]).stderr(Stdio::inherit());
    if !with_dependencies {
        command.arg("--no-deps");
    }
    let output = command.output().context("cargo cannot be run")?;
    if !output.status.success() {
        bail!("cargo metadata failed");
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata wrote no JSON")
}

/// Cargo's target folder.
pub fn target() -> Result<PathBuf> {
    let metadata = metadata(false)?;
    let path = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
    Ok(PathBuf::from(path))
}

/// A folder of ours below the target folder, made if it is not there.
pub fn cache(name: &str) -> Result<PathBuf> {
    let path = target()?.join("xtask").join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    Ok(path)
}

/// An empty folder of ours below the target folder, for this process alone: of two runs at a time the second gets another.
pub fn scratch(name: &str) -> Result<PathBuf> {
    for number in 1..100 {
        let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
        let lock = File::create(cache("locks")?.join(&name))?;
        if lock.try_lock().is_err() {
            continue;
        }
        std::mem::forget(lock); // held until the process ends
        let path = cache(&name)?;
        std::fs::remove_dir_all(&path).with_context(|| format!("{} cannot be emptied", path.display()))?;
        return cache(&name);
    }
    bail!("there are too many runs of {name} at a time")
}

/// Whether a program is on the path.
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join(name).is_file()))
}
