//! kcat, a foreign client: from the path, or from Debian's packages unpacked into a cache without being installed.
//!
//! Deliberately not here: what is done with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// A kcat that runs.
#[derive(Debug, Clone)]
pub struct Kcat {
    program: PathBuf,
    libraries: Option<PathBuf>,
}

impl Kcat {
    /// Finds it, or fetches it. The error says why there is none.
    pub fn find() -> Result<Kcat> {
        if workspace::has_program("kcat") {
            return Ok(Kcat { program: "kcat".into(), libraries: None });
        }
        let cache = workspace::cache("kcat")?;
        let root = cache.join("root");
        let unpacked = Kcat { program: root.join("usr/bin/kcat"), libraries: libraries_of(&root) };
        if unpacked.runs() {
            return Ok(unpacked);
        }
        fetch(&cache, &root)?;
        let unpacked = Kcat { program: root.join("usr/bin/kcat"), libraries: libraries_of(&root) };
        ensure!(unpacked.runs(), "kcat was unpacked into {} and does not run", root.display());
        Ok(unpacked)
    }

    /// A command that runs it, with this broker.
    pub fn command(&self, bootstrap: &str) -> Command {
        let mut command = self.bare();
        command.args(["-b", bootstrap]);
        command
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(libraries) = &self.libraries {
            let mut paths = vec![libraries.clone()];
            if let Some(more) = std::env::var_os("LD_LIBRARY_PATH") {
                paths.extend(std::env::split_paths(&more));
            }
            command.env("LD_LIBRARY_PATH", std::env::join_paths(paths).unwrap_or_default());
        }
        command
    }

    fn runs(&self) -> bool {
        self.bare().arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

fn fetch(cache: &Path, root: &Path) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        ensure!(workspace::has_program(program), "kcat is not on the path, and there is no {program} to fetch it with");
    }
    let packages = packages()?;
    let output = Command::new("apt-get").arg("download").args(&packages).current_dir(cache).output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!(
            "kcat is not on the path, and apt-get cannot fetch it: {}",
            words.lines().next().unwrap_or("no reason given")
        );
    }
    for entry in std::fs::read_dir(cache)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            let status = Command::new("dpkg-deb").arg("-x").arg(&path).arg(root).status()?;
            ensure!(status.success(), "{} cannot be unpacked", path.display());
        }
    }
    Ok(())
}

/// kcat and what it and its library need beyond the C library, as this release of the system names it.
fn packages() -> Result<Vec<String>> {
    let output = Command::new("apt-cache").args(["depends", "kcat", "librdkafka1"]).output()?;
    let words = String::from_utf8(output.stdout).context("apt-cache wrote no text")?;
    let mut packages = vec!["kcat".to_owned(), "librdkafka1".to_owned()];
    for name in words.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")) {
        if name != "libc6" && !name.starts_with('<') && !packages.iter().any(|known| known == name) {
            packages.push(name.to_owned());
        }
    }
    Ok(packages)
}

/// `usr/lib/*-linux-gnu`, or `usr/lib`.
fn libraries_of(root: &Path) -> Option<PathBuf> {
    let lib = root.join("usr/lib");
    let entries = std::fs::read_dir(&lib).ok()?;
    let multiarch =
        entries.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("-linux-gnu"));
    Some(multiarch.unwrap_or(lib))
}
