//! `cargo xtask crash`: a real broker comes to harm under real clients, and everything is compared afterwards.
//!
//! Each rig is one kind of harm. All of them share the stage (`scene`), what is known from outside the broker (`truth`, which
//! hears requests and answers on the wire), and the history that the simulation's checker judges at the end
//! ([0014](../../../docs/design/0014-real-crashes.md)). Deliberately not here: simulated harm, which is `cargo xtask sim`.

mod history;
mod kill;
mod scene;
mod truth;
mod wire;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use self::scene::Scene;
use crate::rng::Rng;
use crate::table::Report;
use crate::workspace;

/// Real harm to a real broker under librdkafka's clients, and a comparison of everything after it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask crash kill --cycles 1000\n  cargo xtask crash kill --bin /path/to/pagemark"
)]
pub struct Args {
    #[command(subcommand)]
    rig: Rig,
}

#[derive(Debug, clap::Subcommand)]
enum Rig {
    Kill(kill::Args),
}

/// What every rig takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// The broker's program; a release build that is made first by default
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// The checker of histories, pagemark-sim; a release build that is made first by default
    #[arg(long, value_name = "FILE")]
    checker: Option<PathBuf>,
    /// Names the moments of harm
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report goes as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs a rig; whether everything held.
pub fn run(args: &Args) -> Result<bool> {
    match &args.rig {
        Rig::Kill(args) => kill::run(args),
    }
}

impl Common {
    /// A new folder for this rig, and its random numbers.
    fn begin(&self, rig: &str, cycles: u64) -> Result<(PathBuf, Rng)> {
        let seed = Rng::seed_or_now(self.seed);
        let folder = workspace::scratch(&format!("crash-{rig}"))?;
        println!("{rig}: {cycles} cycles, seed {seed}, in {}", folder.display());
        Ok((folder, Rng::new(seed)))
    }
}

/// Writes the history, has it judged, and reports. What broke is left as it is.
fn finish(
    common: &Common,
    mut scene: Scene,
    broken: Option<anyhow::Error>,
    mut report: Report,
    begun: Instant,
) -> Result<bool> {
    let now_us = scene.relay.now_us();
    let path = scene.folder().join("history.jsonl");
    let what_broke = broken.as_ref().map_or("nothing".to_owned(), |error| format!("{error:#}"));
    report.equal("what broke", "nothing".to_owned(), what_broke);
    let tally = {
        let mut truth = scene.truth();
        if broken.is_none() {
            truth.settle(now_us);
        }
        truth.history.write(&path)?;
        truth.tally
    };
    let (holds, said) = history::judge(&path, common.checker.as_deref())?;
    report.equal(
        "the history's checker finds",
        "nothing".to_owned(),
        if holds { "nothing".to_owned() } else { said.clone() },
    );
    report.equal("answers out of order (P-5)", 0, scene.relay.disorders());
    tally.tell(&mut report);
    report.fact("records compared at the end", scene.truth().records());
    scene.ready_ms.sort_unstable();
    let ready = &scene.ready_ms;
    let at = |permille: usize| ready.get(ready.len() * permille / 1000).or(ready.last()).copied().unwrap_or(0);
    report.fact("starts", ready.len());
    report.fact("start to first answer, ms: median, p99, most", format!("{}, {}, {}", at(500), at(990), at(1000)));
    report.fact("history", format!("{}: {said}", path.display()));
    report.fact("seconds", begun.elapsed().as_secs());
    if report.holds() {
        scene.server.stop()?;
    } else {
        println!("the broker's folder is left as it is: {}", scene.folder().display());
    }
    let path = common.report.clone().unwrap_or_else(|| scene.folder().join("report.json"));
    std::fs::write(&path, format!("{:#}\n", report.json()))?;
    println!("{}\n(as JSON in {})", report.text(), path.display());
    Ok(report.holds())
}
