//! `cargo xtask fuzz`: the fuzz targets under a mutating driver, on stable Rust.
//!
//! The driver is a process of its own, since what it looks for may end it. It is watched: a panic, an end by any other cause,
//! too much memory, or silence is a failure, and the input that did it is kept in a file. An execution's input comes of the
//! seed and the execution's number alone, so where a driver ends without a word, the last stretch is run again one by one.
//! Deliberately not here: targets and mutations, which are in fuzz/; coverage, which libFuzzer has (fuzz/libfuzzer).

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pagemark_demo::show::{aligned, grouped};

use crate::wait::Progress;
use crate::workspace;

/// An input that takes longer is a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Run the fuzz targets on mutated inputs; an input that fails is kept and named.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask fuzz --executions 1000000\n  cargo xtask fuzz --executions 50000 --target session --seed 7\n  cargo xtask fuzz --target batch --replay target/xtask/fuzz/batch-1-4711"
)]
pub struct Args {
    /// How many, over all targets by their weight; or for the one named
    #[arg(long, default_value_t = 1_000_000)]
    executions: u64,
    /// Only this target
    #[arg(long)]
    target: Option<String>,
    /// What the inputs are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first execution
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run the target once on this file, and show what happens
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
    /// Most memory in use at any time, MiB
    #[arg(long, default_value_t = 256)]
    rss_mib: u64,
    /// How to build: `fuzz` is fast with every check, `dev` is there anyway after a test
    #[arg(long, default_value = "fuzz")]
    profile: String,
}

impl Args {
    /// What fits into a test run: as it is built for tests anyway, so many inputs, always the same.
    pub fn smoke(executions: u64) -> Args {
        Args { executions, target: None, seed: 1, from: 0, replay: None, rss_mib: 256, profile: "dev".to_owned() }
    }
}

/// Runs them. `false` if one failed.
pub fn run(args: &Args) -> Result<bool> {
    let driver = build(&args.profile)?;
    if let (Some(file), Some(target)) = (&args.replay, &args.target) {
        return Ok(Command::new(driver).args(["replay", target]).arg(file).status()?.success());
    }
    let artifacts = workspace::cache("fuzz")?;
    let targets = targets(&driver, args)?;
    let mut rows = vec![["", "target", "executions", "seconds", "remark"].map(str::to_owned)];
    let (mut all_hold, mut total) = (true, 0);
    for (target, executions) in targets {
        let begun = Instant::now();
        let (from, patience) = (args.from, PATIENCE);
        let stretch = Stretch {
            driver: &[driver.clone().into()],
            artifacts: &artifacts,
            target: &target,
            args,
            from,
            executions,
            patience,
        };
        let (done, remark) = stretch.watch()?;
        total += done;
        all_hold &= remark.is_empty();
        let mark = if remark.is_empty() { "ok" } else { "FAILED" };
        let seconds = format!("{:.0}", begun.elapsed().as_secs_f64());
        rows.push([mark.to_owned(), target, grouped(done as i64), seconds, remark]);
    }
    println!("{}{} executions with seed {}", aligned(&rows), grouped(total as i64), args.seed);
    Ok(all_hold)
}

fn build(profile: &str) -> Result<PathBuf> {
    let mut command = workspace::cargo();
    command.args(["build", "--quiet", "--package", "pagemark-fuzz", "--profile", profile]);
    ensure!(command.status().context("cargo cannot be run")?.success(), "the fuzz targets do not build");
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(workspace::target()?.join(folder).join("pagemark-fuzz"))
}

/// Which targets, and how many executions of each.
fn targets(driver: &Path, args: &Args) -> Result<Vec<(String, u64)>> {
    if let Some(target) = &args.target {
        return Ok(vec![(target.clone(), args.executions)]);
    }
    let output = Command::new(driver).arg("list").output().context("the driver cannot be run")?;
    let list = String::from_utf8(output.stdout)?;
    let mut weights = Vec::new();
    for line in list.lines() {
        let mut parts = line.split('\t');
        let name = parts.next().context("a target has a name")?.to_owned();
        weights.push((name, parts.next().context("a target has a weight")?.parse::<u64>()?));
    }
    let all: u64 = weights.iter().map(|(_, weight)| weight).sum();
    Ok(weights.into_iter().map(|(name, weight)| (name, (args.executions * weight).div_ceil(all))).collect())
}

/// Executions of one target in a row.
struct Stretch<'a> {
    /// The program and its first arguments.
    driver: &'a [OsString],
    artifacts: &'a Path,
    target: &'a str,
    args: &'a Args,
    from: u64,
    executions: u64,
    /// How long an input may take.
    patience: Duration,
}

/// How a driver ended.
enum End {
    /// It did all.
    Done,
    /// It kept an input that made the target panic.
    Failed(String),
    /// It ended or fell silent during or after this execution.
    Lost { at: u64, how: &'static str },
}

impl Stretch<'_> {
    /// Runs it; gives the executions done, and what went wrong, if anything did.
    fn watch(&self) -> Result<(u64, String)> {
        match self.drive(false)? {
            End::Done => Ok((self.executions, String::new())),
            End::Failed(file) => Ok((self.number_in(&file), self.how_to_replay("panics", &file))),
            End::Lost { at, how } => {
                eprintln!("{}: the driver {how} after execution {at}; going on one by one", self.target);
                let again = Stretch { from: at, executions: self.from + self.executions - at, ..*self };
                let end = again.drive(true)?;
                let file = self.artifacts.join(format!("{}.last", self.target));
                let kept = self.artifacts.join(format!("{}-{}-{how}", self.target, self.args.seed).replace(' ', "-"));
                let remark = match end {
                    End::Done => format!("{how}, but not one by one: too much memory over many executions?"),
                    End::Failed(file) => self.how_to_replay("panics", &file),
                    End::Lost { how, .. } => {
                        std::fs::rename(&file, &kept)?;
                        self.how_to_replay(how, &kept.display().to_string())
                    }
                };
                Ok((at - self.from, remark))
            }
        }
    }

    fn number_in(&self, file: &str) -> u64 {
        file.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(self.from) - self.from
    }

    fn how_to_replay(&self, how: &str, file: &str) -> String {
        format!("{how}; cargo xtask fuzz --target {} --replay {file}", self.target)
    }

    fn drive(&self, one_by_one: bool) -> Result<End> {
        let mut command = Command::new(&self.driver[0]);
        command.args(&self.driver[1..]).args(["run", self.target]);
        let numbers = [
            ("--seed", self.args.seed),
            ("--from", self.from),
            ("--executions", self.executions),
            ("--rss-mib", self.args.rss_mib),
        ];
        for (name, number) in numbers {
            command.args([name, &number.to_string()]);
        }
        command.arg("--artifacts").arg(self.artifacts);
        if one_by_one {
            command.arg("--one-by-one");
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("the driver cannot be run")?;
        let output = child.stdout.take().context("the driver's output was piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let (mut at, mut progress, mut failed) = (self.from, Progress::new(), None);
        let silent = loop {
            match lines.recv_timeout(self.patience) {
                Ok(line) => match line.split_once(' ') {
                    Some(("at", number)) => {
                        at = number.parse()?;
                        progress.show(|| format!("{}: {} of {}", self.target, at - self.from, self.executions));
                    }
                    Some(("failed", file)) => failed = Some(file.to_owned()),
                    _ => println!("{line}"),
                },
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => break true,
            }
        };
        progress.end();
        if silent {
            child.kill()?;
        }
        let status = child.wait()?;
        Ok(match failed {
            Some(file) => End::Failed(file),
            None if status.success() => End::Done,
            None => End::Lost { at, how: if silent { "hangs" } else { "ends the process" } },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a driver that is this script, and the folder that it may leave inputs in.
    fn watched(script: &str) -> (u64, String, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("cd {}; {script}", folder.path().display());
        let driver = ["sh", "-c", &script, "driver"].map(OsString::from);
        let args = Args::smoke(100);
        let (artifacts, patience) = (folder.path(), Duration::from_secs(2));
        let stretch =
            Stretch { driver: &driver, artifacts, target: "t", args: &args, from: 0, executions: 100, patience };
        let (done, remark) = stretch.watch().unwrap();
        (done, remark, folder)
    }

    #[test]
    fn a_driver_that_does_all_is_believed() {
        let (done, remark, _) = watched("echo at 0; echo at 100");
        assert_eq!((done, remark.as_str()), (100, ""));
    }

    #[test]
    fn a_panic_is_named_with_its_input() {
        let (done, remark, _) = watched("echo at 0; echo failed /tmp/t-1-42; exit 1");
        assert_eq!((done, remark.as_str()), (42, "panics; cargo xtask fuzz --target t --replay /tmp/t-1-42"));
    }

    #[test]
    fn where_a_driver_dies_its_last_input_is_kept() {
        let (done, remark, folder) =
            watched("echo at 64; case \"$*\" in *one-by-one*) echo input > t.last;; esac; kill -9 $$");
        assert_eq!(done, 64);
        assert!(remark.starts_with("ends the process; cargo xtask fuzz --target t --replay"), "{remark}");
        assert_eq!(std::fs::read_to_string(folder.path().join("t-1-ends-the-process")).unwrap(), "input\n");
    }

    #[test]
    fn a_driver_that_falls_silent_is_ended() {
        let (_, remark, folder) = watched("case \"$*\" in *one-by-one*) echo input > t.last;; esac; exec sleep 600");
        assert!(remark.starts_with("hangs; cargo xtask fuzz --target t --replay"), "{remark}");
        assert!(folder.path().join("t-1-hangs").exists());
    }
}
