//! A small ext4 file system of our own in a file, on a loop device, that can lose its power and that can be filled.
//!
//! The power cut is ext4's own: `EXT4_IOC_SHUTDOWN` without flushing the journal, by `scripts/cut-power`, since the call wants
//! `unsafe` and this workspace has none. All of it wants root. Deliberately not here: who writes to it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::{wait, workspace};

/// How long a file system may be busy once everybody has gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mounted file system; goes with this value.
#[derive(Debug)]
pub struct Image {
    file: PathBuf,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Image {
    /// Why none can be made here, if so.
    pub fn impossible() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("only root may mount a file system".to_owned());
        }
        let missing =
            ["mkfs.ext4", "mount", "umount", "python3"].into_iter().find(|name| !workspace::has_program(name));
        if let Some(name) = missing {
            return Some(format!("there is no {name}"));
        }
        let tried = workspace::scratch("crash-try").and_then(|folder| Image::make(&folder, 16));
        tried.err().map(|error| format!("no ext4 file system can be mounted: {error:#}"))
    }

    /// Makes an empty one of this size in a folder, and mounts it.
    pub fn make(folder: &Path, mib: u64) -> Result<Image> {
        let image = Image { file: folder.join("image"), mount: folder.join("mount") };
        std::fs::create_dir_all(&image.mount)?;
        File::create(&image.file)?.set_len(mib << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image.file))?;
        image.mount()?;
        Ok(image)
    }

    /// Removes it, if nothing in it is of interest any more.
    pub fn leave(self, is_of_interest: bool) -> Result<()> {
        let file = self.file.clone();
        drop(self);
        if !is_of_interest {
            std::fs::remove_file(file)?;
        }
        Ok(())
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.mount))
    }

    fn unmount(&self) -> Result<()> {
        let gone = || run(Command::new("umount").arg(&self.mount)).ok();
        wait::until(PATIENCE, gone).with_context(|| format!("{} cannot be unmounted", self.mount.display()))
    }

    /// Gets everything ready for a power cut.
    pub fn arm(&self) -> Result<Cutter> {
        let mut command = Command::new(workspace::root().join("scripts/cut-power"));
        command.arg(&self.mount).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("scripts/cut-power cannot be run")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).context("its input and output are pipes")?;
        let mut cutter = Cutter { child, input, output: BufReader::new(output) };
        ensure!(cutter.says("armed"), "scripts/cut-power cannot be armed");
        Ok(cutter)
    }

    /// After a power cut, and once nobody has it open any more: what the disk holds is mounted again.
    pub fn power_on(&self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
    }
}

/// Cuts the power when it is told to.
#[derive(Debug)]
pub struct Cutter {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Cutter {
    fn says(&mut self, word: &str) -> bool {
        let mut line = String::new();
        self.output.read_line(&mut line).is_ok_and(|_| line.trim() == word)
    }

    /// Cuts it; when this returns nothing more can be written. Says whether it could be done.
    pub fn cut(mut self) -> bool {
        let cut = self.input.write_all(b"now\n").is_ok() && self.says("cut");
        let ended = self.child.wait();
        cut && ended.is_ok_and(|status| status.success())
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
