//! `cargo xtask scale`: very many partitions, a long log, and a flood of connections, on a real broker.
//!
//! Three scenarios. `partitions` creates some ten thousand, writes to all of them without and with checkpoints under way, and
//! restarts after a clean stop and after kill -9. `log` writes some gigabytes and restarts after kill -9. After each restart
//! every partition's end and a sample of the records are compared. `flood` measures a good client
//! among bad ones. All tell what it cost: open files, memory, time.
//! Deliberately not here: kills with an oracle over many cycles (`kills`).

mod compare;
mod flood;
mod load;
mod log;
mod partitions;
pub mod process;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::broker::{Broker, await_end, kill_9};
use crate::rng::Rng;
use crate::table::Report;
use crate::workspace;

/// Write to ten thousand partitions, and gigabytes to a few, restart, compare; flood; and tell what it costs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask scale\n  cargo xtask scale --only partitions --partitions 20000\n  \
        cargo xtask scale --only log --mib 8192\n  cargo xtask scale --partitions 300 --seconds 1 --mib 32 --no-goals")]
pub struct Args {
    /// Only this scenario
    #[arg(long)]
    only: Option<Scenario>,
    /// Partitions of the first scenario, in topics of at most a thousand
    #[arg(long, default_value_t = 10_000)]
    partitions: u32,
    /// How long each of two loads runs, of the first scenario and of the flood
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Size of the second scenario's log
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Connections that produce at the same time
    #[arg(long, default_value_t = 4)]
    producers: usize,
    /// Judge contents only: times, memory and files are told and not held against the goals
    #[arg(long)]
    no_goals: bool,
    /// Command of the shape of scripts/broker
    #[arg(long)]
    broker: Option<String>,
    /// Names the run: which records are compared
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report goes as JSON
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Partitions,
    Log,
    Flood,
}

/// Runs the scenarios; whether everything held.
pub fn run(args: &Args) -> Result<bool> {
    let folder = workspace::scratch("scale")?;
    let seed = Rng::seed_or_now(args.seed);
    let mut report = Report::default();
    let begun = Instant::now();
    let scenarios =
        [(Scenario::Partitions, partitions::run as Run), (Scenario::Log, log::run), (Scenario::Flood, flood::run)];
    for (scenario, run) in scenarios {
        if args.only.is_some_and(|only| only != scenario) {
            continue;
        }
        let name = format!("{scenario:?}").to_lowercase();
        let data = folder.join(&name);
        let broken = run(args, &data, &mut Rng::new(seed), &mut report).err();
        let broken = broken.map_or("nothing".to_owned(), |error| format!("{error:#}"));
        let kept = broken != "nothing";
        report.equal(&format!("{name}: what broke"), "nothing".to_owned(), broken);
        if !kept {
            std::fs::remove_dir_all(&data)?;
        }
    }
    report.fact("seconds", begun.elapsed().as_secs());
    report.fact("seed", seed);
    let path = args.report.clone().unwrap_or_else(|| folder.join("report.json"));
    std::fs::write(&path, format!("{:#}\n", report.json()))?;
    println!("{}\n(as JSON in {})", report.text(), path.display());
    Ok(report.holds())
}

type Run = fn(&Args, &std::path::Path, &mut Rng, &mut Report) -> Result<()>;

/// Ends a broker at once.
fn kill(broker: &Broker) -> Result<()> {
    kill_9(broker.pid());
    anyhow::ensure!(await_end(broker.pid()), "the broker survived SIGKILL");
    Ok(())
}
