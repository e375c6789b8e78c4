//! The demo's directory, which goes with the demo: at its end, or with the next one if it was killed.
//!
//! Whoever uses a directory holds the lock on the file `lock` in it. One whose lock is free has lost its demo; one without
//! the file is kept on purpose. Deliberately not here: what is in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

const PREFIX: &str = "pagemark-demo-";
const LOCK: &str = "lock";

/// A directory of our own.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    /// Locked as long as it is open.
    _lock: File,
}

impl Place {
    /// Makes one in the system's directory for temporary files, after removing those that killed demos left there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make() -> Result<Place> {
        let parent = std::env::temp_dir();
        remove_left_over(&parent);
        Place::make_in(&parent).context("no temporary directory can be made; TMPDIR says where")
    }

    #[allow(clippy::disallowed_methods, reason = "the demo's own directory, not the broker's")]
    fn make_in(parent: &Path) -> io::Result<Place> {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // It has its name only once it is locked, so that nobody ever finds it free.
        let unnamed = directory.path().join("unlocked");
        let lock = File::create(&unnamed)?;
        lock.lock()?;
        fs::rename(&unnamed, directory.path().join(LOCK))?;
        Ok(Place { directory, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves it there for good; where it is.
    ///
    /// # Errors
    /// The next demo would take it for left over.
    pub fn keep(self) -> Result<PathBuf> {
        let lock = self.path().join(LOCK);
        fs::remove_file(&lock).with_context(|| format!("{} cannot be removed", lock.display()))?;
        Ok(self.directory.keep())
    }

    /// Removes it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(self) -> Result<()> {
        let path = self.path().to_owned();
        self.directory.close().with_context(|| format!("{} cannot be removed", path.display()))
    }
}

/// Removes what demos left that were killed. What cannot be removed now may be so next time.
#[allow(clippy::disallowed_methods, reason = "the demo's own directory, not the broker's")]
fn remove_left_over(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let lock = entry.path().join(LOCK);
        // Neither may be a link or anything else that another user put there.
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_file = fs::symlink_metadata(&lock).is_ok_and(|lock| lock.is_file());
        let is_free = || File::open(&lock).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_ours && is_directory && is_file && is_free() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_demo_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let alive = Place::make_in(parent.path()).unwrap();
        let dead = Place::make_in(parent.path()).unwrap();
        let dead = {
            fs::write(dead.path().join("data"), "x").unwrap();
            let Place { directory, _lock: lock } = dead;
            drop(lock); // as the system does for a process that is killed
            directory.keep()
        };
        let kept = Place::make_in(parent.path()).unwrap().keep().unwrap();
        let foreign = parent.path().join("another-demo-1");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(LOCK), "").unwrap();
        remove_left_over(parent.path());
        assert!(alive.path().exists() && kept.exists() && foreign.exists());
        assert!(!dead.exists());
    }
}
