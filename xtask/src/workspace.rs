//! Where things are: the workspace's root, cargo's target folder, and caches below it.
//!
//! Deliberately not here: building.

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

/// The same, emptied.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let path = cache(name)?;
    std::fs::remove_dir_all(&path).with_context(|| format!("{} cannot be emptied", path.display()))?;
    cache(name)
}

/// Whether a program is on the path.
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join(name).is_file()))
}
