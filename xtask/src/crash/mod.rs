//! `cargo xtask crash`: a real broker comes to harm under real clients, and everything is compared afterwards.
//!
//! Each rig is one kind of harm. All of them share the stage (`scene`), what is known from outside the broker (`truth`, which
//! hears requests and answers on the wire), and the history that the simulation's checker judges at the end
//! ([0014](../../../docs/design/0014-real-crashes.md)). Deliberately not here: simulated harm, which is `cargo xtask sim`.

mod full;
mod history;
mod image;
mod kill;
mod pause;
mod power;
mod scene;
mod truth;
mod wire;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use serde_json::Value;

use self::scene::Scene;
use crate::bench::server::Peer;
use crate::rng::Rng;
use crate::table::Report;
use crate::workspace;

/// Real harm to a real broker under librdkafka's clients, and a comparison of everything after it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask crash kill --cycles 1000\n  cargo xtask crash kill --bin /path/to/pagemark\n  \
        cargo xtask crash power --cycles 100\n  cargo xtask crash power --without-fsync\n  \
        cargo xtask crash power --against kafka --cycles 3"
)]
pub struct Args {
    #[command(subcommand)]
    rig: Rig,
}

#[derive(Debug, clap::Subcommand)]
enum Rig {
    Kill(kill::Args),
    Power(power::Args),
    Full(full::Args),
    Pause(pause::Args),
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
    /// Harm this one instead
    #[arg(long)]
    against: Option<Against>,
    /// Where the report goes as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Why there can be no rig here that needs a file system of its own, if so.
pub fn impossible() -> Option<String> {
    image::Image::impossible()
}

/// Who may be harmed instead of Pagemark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Against {
    /// Apache Kafka as it comes, fetched
    Kafka,
}

/// Runs a rig; whether everything held.
pub fn run(args: &Args) -> Result<bool> {
    match &args.rig {
        Rig::Kill(args) => kill::run(args),
        Rig::Power(args) => power::run(args),
        Rig::Full(args) => full::run(args),
        Rig::Pause(args) => pause::run(args),
    }
}

impl Common {
    fn peer(&self) -> Peer {
        if self.against.is_some() { Peer::Kafka } else { Peer::Pagemark }
    }

    /// A new folder for this rig, and its random numbers.
    fn begin(&self, rig: &str, cycles: u64) -> Result<(PathBuf, Rng)> {
        let seed = Rng::seed_or_now(self.seed);
        let folder = workspace::scratch(&format!("crash-{rig}"))?;
        println!("{rig}: {cycles} cycles, seed {seed}, in {}", folder.display());
        Ok((folder, Rng::new(seed)))
    }
}

/// Says that a rig cannot run here, which is no failure, and why.
fn skipped(rig: &str, why: &str) -> Result<bool> {
    println!("SKIPPED: {rig}: {why}");
    Ok(true)
}

/// Has the history judged, and reports. `told` is what the clients say, or what broke; then all is left as it is.
fn finish(common: &Common, mut scene: Scene, told: Result<Value>, mut report: Report, begun: Instant) -> Result<bool> {
    let what_broke = told.as_ref().err().map_or("nothing".to_owned(), |error| format!("{error:#}"));
    report.equal("what broke", "nothing".to_owned(), what_broke);
    let given_up = told.as_ref().ok().and_then(|told| told["failed"].as_i64());
    report.equal("records that librdkafka gave up", 0, given_up.unwrap_or(-1));
    let (holds, said) = scene.judge(common.checker.as_deref())?;
    let found = if holds { "nothing".to_owned() } else { said.clone() };
    report.equal("the history's checker finds", "nothing".to_owned(), found);
    report.equal("answers out of order (P-5)", 0, scene.relay.disorders());
    let tally = scene.truth().tally.clone();
    report.equal("acknowledged commits below an earlier one", 0, tally.commits_backwards);
    report.fact("clients", told.unwrap_or_default());
    tally.tell(&mut report);
    report.fact("records compared at the end", scene.truth().records());
    scene.ready_ms.sort_unstable();
    let ready = &scene.ready_ms;
    let at = |permille: usize| ready.get(ready.len() * permille / 1000).or(ready.last()).copied().unwrap_or(0);
    report.fact("starts", ready.len());
    report.fact("start to first answer, ms: median, p99, most", format!("{}, {}, {}", at(500), at(990), at(1000)));
    report.fact("history", said);
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
