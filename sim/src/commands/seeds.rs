//! Running the whole server through seeds, replaying one, and checking a history from a file.
//!
//! Deliberately not here: what a run is (`whole`), what is right and wrong (`history`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pagemark_sim::history::check::{Violation, check};
use pagemark_sim::history::{self, Event, Outcome as Came, What};
use pagemark_sim::whole::{self, Outcome};

use super::in_parallel;

/// How to run seeds.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pagemark-sim seeds --seeds 100\n  pagemark-sim seeds --seed 4711 --history run.jsonl --trace run.log"
)]
pub struct SeedsArgs {
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the first seed's history here.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Write the first seed's log of requests, answers and I/Os here.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// What is kept of a seed.
struct Summary {
    seed: u64,
    violations: Vec<Violation>,
    counts: Counts,
}

/// What happened in a seed, or in all of them.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    simulated_ms: u64,
    lines: u64,
    lives: u64,
    troubles: u64,
    records: u64,
    commits: u64,
    refused_commits: u64,
    looks: u64,
    generations: u64,
}

impl Counts {
    fn of(outcome: &Outcome) -> Counts {
        let mut counts = Counts {
            simulated_ms: outcome.history.last().map_or(0, |event| event.ended_us / 1_000),
            lines: outcome.trace.len() as u64,
            lives: outcome.lives,
            troubles: outcome.troubles as u64,
            ..Counts::default()
        };
        outcome.history.iter().for_each(|event| counts.take(event));
        counts
    }

    fn take(&mut self, event: &Event) {
        match &event.what {
            What::Produced { values, outcome: Came::Done, .. } => self.records += values.len() as u64,
            What::Committed { outcome: Came::Done, .. } => self.commits += 1,
            What::Committed { outcome: Came::Refused(_), .. } => self.refused_commits += 1,
            What::Looked { .. } => self.looks += 1,
            What::Joined { .. } => self.generations += 1,
            _ => {}
        }
    }

    fn add(&mut self, more: Counts) {
        self.simulated_ms += more.simulated_ms;
        self.lines += more.lines;
        self.lives += more.lives;
        self.troubles += more.troubles;
        self.records += more.records;
        self.commits += more.commits;
        self.refused_commits += more.refused_commits;
        self.looks += more.looks;
        self.generations += more.generations;
    }

    fn named(&self) -> [(&'static str, u64); 9] {
        [
            ("simulated milliseconds", self.simulated_ms),
            ("requests, answers and I/Os", self.lines),
            ("lives of the broker", self.lives),
            ("troubles", self.troubles),
            ("records acknowledged", self.records),
            ("commits acknowledged", self.commits),
            ("commits refused", self.refused_commits),
            ("committed offsets read", self.looks),
            ("joins", self.generations),
        ]
    }
}

/// Runs them.
///
/// # Errors
/// A file that cannot be written.
pub fn run(args: &SeedsArgs) -> Result<ExitCode, String> {
    let summaries = in_parallel(args.seed, args.seeds, |seed| {
        let outcome = whole::run(seed);
        if seed == args.seed {
            keep(args, &outcome)?;
        }
        let summary = Summary { seed, counts: Counts::of(&outcome), violations: outcome.violations.clone() };
        tell(&summary, &outcome);
        Ok(summary)
    });
    let summaries: Vec<Summary> = summaries.into_iter().collect::<Result<_, String>>()?;
    let mut all = Counts::default();
    summaries.iter().for_each(|summary| all.add(summary.counts));
    println!("{:>12}  seeds", summaries.len());
    all.named().iter().for_each(|(name, count)| println!("{count:>12}  {name}"));
    let broken: Vec<u64> = summaries.iter().filter(|s| !s.violations.is_empty()).map(|s| s.seed).collect();
    println!("{:>12}  seeds that broke a promise {broken:?}", broken.len());
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Progress, and for a seed that broke a promise all that is needed to look into it.
fn tell(summary: &Summary, outcome: &Outcome) {
    let Counts { simulated_ms, lives, records, commits, .. } = summary.counts;
    let (seed, broken) = (summary.seed, summary.violations.len());
    eprintln!("seed {seed}: {simulated_ms} ms, {lives} lives, {records} records, {commits} commits, {broken} broken");
    if broken > 0 {
        for violation in summary.violations.iter().take(10) {
            eprintln!("FAILED seed {seed}: {violation}");
        }
        let options = serde_json::to_string(&outcome.options).unwrap_or_default();
        eprintln!("       seed {seed}: options {options}");
        eprintln!("       again with: cargo xtask sim --seed {seed} --history run.jsonl --trace run.log");
    }
}

fn keep(args: &SeedsArgs, outcome: &Outcome) -> Result<(), String> {
    let mut history = Vec::new();
    history::write(&outcome.history, &mut history).map_err(|error| error.to_string())?;
    let trace = outcome.trace.join("\n").into_bytes();
    for (path, bytes) in [(&args.history, history), (&args.trace, trace)] {
        if let Some(path) = path {
            std::fs::write(path, bytes).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
    }
    Ok(())
}

/// Checks the history in a file.
///
/// # Errors
/// A file that cannot be read, or is no history.
pub fn check_file(path: &Path) -> Result<ExitCode, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let events = history::read(bytes.as_slice()).map_err(|error| format!("{}: {error}", path.display()))?;
    let violations = check(&events);
    violations.iter().for_each(|violation| println!("{violation}"));
    println!("{} events, {} broken promises", events.len(), violations.len());
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
