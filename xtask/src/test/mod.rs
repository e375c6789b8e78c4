//! `cargo xtask test`: the whole truth. Format, lints, tests, house rules, documentation, crash points, and real processes.
//!
//! Every step runs even if one before it failed, so that one run tells all. A step that cannot run here is named as skipped
//! with the reason; nothing is skipped in silence. Deliberately not here: what takes longer than minutes (`story`).

mod smoke;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pagemark_demo::show::aligned;

use crate::workspace::{cargo, has_program, root};
use crate::{crash, fuzz, kcat, sim, tidy};

/// Run everything that must pass before a change lands; at the end a table of steps.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --only tests --only smoke\n  cargo xtask test --points 100000"
)]
pub struct Args {
    /// Run only this step; may be repeated
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Crash points to explore
    #[arg(long, default_value_t = 5_000)]
    points: u64,
    /// Seeds of the whole server's simulation
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Inputs of the fuzz targets
    #[arg(long, default_value_t = 200_000)]
    executions: u64,
    /// Kills with a produce and a commit unanswered
    #[arg(long, default_value_t = 50)]
    cycles: u64,
    /// Power cuts with a produce and a commit unanswered
    #[arg(long, default_value_t = 20)]
    cuts: u64,
}

/// What became of a step.
enum Outcome {
    /// It passed: how many tests it counts for.
    Passed(u64),
    /// It failed: how many passed, how many failed, and what went wrong.
    Failed(u64, u64, String),
    /// It could not run here, for this reason.
    Skipped(String),
}

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Args) -> Result<Outcome>,
}

const STEPS: &[Step] = &[
    Step { name: "format", what: "cargo fmt --check", run: format },
    Step { name: "lints", what: "clippy, warnings are errors", run: lints },
    Step { name: "tidy", what: "house rules, licences, packages", run: house_rules },
    Step { name: "tests", what: "unit and integration tests", run: tests },
    Step { name: "docs", what: "rustdoc, warnings are errors", run: docs },
    Step { name: "crash-points", what: "simulated disk, crashed at every I/O", run: crash_points },
    Step { name: "storms", what: "the whole server under simulation", run: storms },
    Step { name: "fuzz", what: "hostile bytes into every reader", run: fuzz_smoke },
    Step { name: "kills", what: "real broker, kill -9 under librdkafka", run: kills },
    Step { name: "power", what: "real broker, power cuts on ext4", run: power },
    Step { name: "scale", what: "many partitions and a log, restarted and killed, in small", run: scale },
    Step { name: "smoke", what: "a foreign client: kcat", run: kcat_smoke },
];

/// Runs the steps. `false` if one failed.
pub fn run(args: &Args) -> Result<bool> {
    for name in &args.only {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        ensure!(names.contains(&name.as_str()), "there is no step {name}; there are {}", names.join(", "));
    }
    let mut rows = vec![["", "step", "what", "seconds", "remark"].map(str::to_owned)];
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for step in STEPS.iter().filter(|s| args.only.is_empty() || args.only.iter().any(|name| name == s.name)) {
        eprintln!("== {}: {}", step.name, step.what);
        let begun = Instant::now();
        let outcome = (step.run)(args).unwrap_or_else(|error| Outcome::Failed(0, 1, format!("{error:#}")));
        let (mark, remark) = match outcome {
            Outcome::Passed(count) => {
                passed += count;
                ("ok", format!("{count} passed"))
            }
            Outcome::Failed(good, bad, why) => {
                passed += good;
                failed += bad;
                ("FAILED", why)
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                ("skipped", why)
            }
        };
        rows.push([mark.to_owned(), step.name.to_owned(), step.what.to_owned(), seconds(begun.elapsed()), remark]);
    }
    println!("{}", aligned(&rows));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

fn seconds(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64())
}

fn format(_: &Args) -> Result<Outcome> {
    if let Err(why) = component("fmt", "rustfmt") {
        return Ok(Outcome::Skipped(format!("{why:#}")));
    }
    succeeds(cargo().args(["fmt", "--all", "--check"]), "run cargo fmt --all")
}

fn lints(_: &Args) -> Result<Outcome> {
    if let Err(why) = component("clippy", "clippy") {
        return Ok(Outcome::Skipped(format!("{why:#}")));
    }
    let flags = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    succeeds(cargo().args(flags), "clippy found something; see above")
}

/// Sees to it that cargo has this command. The error says why it has not.
fn component(command: &str, name: &str) -> Result<()> {
    let has = || cargo().args([command, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if has()?.success() {
        return Ok(());
    }
    ensure!(has_program("rustup"), "cargo has no {command}, and there is no rustup to fetch it with");
    let status = Command::new("rustup").args(["component", "add", name]).current_dir(root()).status()?;
    ensure!(status.success() && has()?.success(), "cargo has no {command}, and rustup cannot fetch it");
    Ok(())
}

fn house_rules(_: &Args) -> Result<Outcome> {
    Ok(match tidy::run(&tidy::Args::default())? {
        true => Outcome::Passed(1),
        false => Outcome::Failed(0, 1, "see the lines above, each says what to do".to_owned()),
    })
}

fn docs(_: &Args) -> Result<Outcome> {
    let mut command = cargo();
    command.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--no-deps", "--workspace", "--quiet"]);
    succeeds(&mut command, "rustdoc found something; see above")
}

fn crash_points(args: &Args) -> Result<Outcome> {
    let points = args.points.to_string();
    let flags = ["run", "--release", "--quiet", "--package", "pagemark-sim", "--", "crash", "--points", &points];
    let outcome = succeeds(cargo().args(flags), "a promise was broken; the lines above say how to replay it")?;
    Ok(match outcome {
        Outcome::Passed(_) => Outcome::Passed(args.points),
        other => other,
    })
}

fn storms(args: &Args) -> Result<Outcome> {
    Ok(match sim::run(&sim::Args::of(args.seeds))? {
        true => Outcome::Passed(args.seeds),
        false => Outcome::Failed(0, 1, "a promise was broken; the lines above say how to replay it".to_owned()),
    })
}

/// By count, never by time, so that the same inputs run everywhere.
fn fuzz_smoke(args: &Args) -> Result<Outcome> {
    let fuzz = fuzz::Args::smoke(args.executions);
    Ok(match fuzz::run(&fuzz)? {
        true => Outcome::Passed(args.executions),
        false => Outcome::Failed(0, 1, "an input is not taken; the lines above say how to replay it".to_owned()),
    })
}

fn kills(args: &Args) -> Result<Outcome> {
    crashes("kill", args.cycles)
}

fn power(args: &Args) -> Result<Outcome> {
    match crash::impossible() {
        Some(why) => Ok(Outcome::Skipped(why)),
        None => crashes("power", args.cuts),
    }
}

fn crashes(rig: &str, cycles: u64) -> Result<Outcome> {
    for program in ["make", "cc", "c++"] {
        if !has_program(program) {
            return Ok(Outcome::Skipped(format!("librdkafka is built from source, and there is no {program}")));
        }
    }
    let this = std::env::current_exe().context("this program does not know where it is")?;
    let mut command = Command::new(this);
    command.args(["crash", rig, "--cycles", &cycles.to_string()]);
    Ok(match succeeds(&mut command, "see the table above")? {
        Outcome::Passed(_) => Outcome::Passed(cycles),
        other => other,
    })
}

fn scale(_: &Args) -> Result<Outcome> {
    let this = std::env::current_exe().context("this program does not know where it is")?;
    let small = ["scale", "--partitions", "300", "--seconds", "1", "--mib", "32", "--no-goals"];
    succeeds(Command::new(this).args(small), "see the table above")
}

fn kcat_smoke(_: &Args) -> Result<Outcome> {
    match kcat::Kcat::find() {
        Ok(kcat) => smoke::run(&kcat).map(Outcome::Passed),
        Err(why) => Ok(Outcome::Skipped(format!("{why:#}"))),
    }
}

/// Runs cargo's tests and counts them by their own words.
fn tests(_: &Args) -> Result<Outcome> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).stdout(Stdio::piped());
    let mut child = command.spawn().context("cargo cannot be run")?;
    let (mut passed, mut failed) = (0, 0);
    let output = child.stdout.take().context("the tests' output was piped")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some((good, bad)) = counts(&line) {
            passed += good;
            failed += bad;
        }
    }
    let status = child.wait()?;
    Ok(match (status.success(), failed) {
        (true, 0) if passed > 0 => Outcome::Passed(passed),
        (true, 0) => Outcome::Failed(0, 1, "no test ran".to_owned()),
        _ => Outcome::Failed(passed, failed.max(1), "see the names above".to_owned()),
    })
}

/// Passed and failed of a line `test result: ok. 3 passed; 0 failed; ...`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = rest.split("; ").map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn succeeds(command: &mut Command, otherwise: &str) -> Result<Outcome> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("{command:?} cannot be run"))?;
    Ok(if status.success() { Outcome::Passed(1) } else { Outcome::Failed(0, 1, otherwise.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_results_are_counted_by_cargos_own_words() {
        assert_eq!(counts("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured"), Some((12, 0)));
        assert_eq!(counts("test result: FAILED. 3 passed; 2 failed; 0 ignored"), Some((3, 2)));
        assert_eq!(counts("test a::b ... ok"), None);
    }
}
