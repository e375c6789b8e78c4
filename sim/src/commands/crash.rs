//! Exploring crash points of the storage engine, replaying one, and showing that planted bugs are caught.
//!
//! Deliberately not here: anything that decides; that is `campaign` and `bugs`.

use std::process::ExitCode;

use clap::ValueEnum;
use pagemark_core::planted::PlantedBug as ServerBug;
use pagemark_sim::bugs;
use pagemark_sim::campaign::{Limits, Report, explore_seed, replay, trace};
use pagemark_sim::explore::{Case, IMAGES};
use pagemark_storage::planted::PlantedBug;

use super::in_parallel;

#[derive(Debug, clap::Args)]
pub struct CrashArgs {
    /// How many crash points, over as many seeds as it takes.
    #[arg(long, default_value_t = 5_000)]
    points: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Crash points of one seed at most; a run has one to two thousand.
    #[arg(long, default_value_t = 1_000)]
    points_per_seed: u64,
    /// Replay one case only: SEED:POINT:IMAGE, or SEED for the run without a crash.
    #[arg(long)]
    replay: Option<String>,
    /// With --replay: print so many I/Os of the run before the crash.
    #[arg(long, default_value_t = 0)]
    trace: usize,
    /// Plant a bug. Needs the feature planted-bugs.
    #[arg(long)]
    bug: Option<String>,
    /// Stop a seed after this many failures.
    #[arg(long, default_value_t = 5)]
    max_failures: usize,
    /// How to print the outcome.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// Explores, or replays.
pub fn crash(args: &CrashArgs) -> Result<ExitCode, String> {
    let planted = args.bug.as_deref().map(bugs::by_name).transpose()?;
    if let Some(text) = &args.replay {
        return replay_one(text, planted, args.trace);
    }
    let report = explore_all(args, planted);
    match args.output {
        Output::Text => print!("{}", summary(&report)),
        Output::Json => println!("{}", json(&report)),
    }
    let bug = args.bug.as_ref().map_or(String::new(), |name| format!(" --bug {name}"));
    for failure in &report.failures {
        eprintln!("FAILED {failure}{bug}");
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn replay_one(text: &str, planted: Option<PlantedBug>, traced: usize) -> Result<ExitCode, String> {
    let wrong = || format!("--replay takes SEED:POINT:IMAGE or SEED, not {text}");
    let numbers: Vec<u64> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let case = match numbers[..] {
        [seed] => Case { seed, point: u64::MAX, image: 0 },
        [seed, point, image] if image < IMAGES => Case { seed, point, image },
        _ => return Err(wrong()),
    };
    if traced > 0 {
        trace(case, planted, traced).iter().for_each(|line| println!("{line}"));
    }
    match replay(case, planted) {
        Ok(()) => {
            println!("{text}: every promise is kept");
            Ok(ExitCode::SUCCESS)
        }
        Err(violation) => {
            println!("{text}: {violation}");
            Ok(ExitCode::from(1))
        }
    }
}

/// Explores seeds until there are enough crash points. Which seeds, and how far, does not depend on the number of threads.
fn explore_all(args: &CrashArgs, planted: Option<PlantedBug>) -> Report {
    let mut total = Report::default();
    let mut seed = args.seed;
    while total.points < args.points {
        let missing = args.points - total.points;
        let seeds = missing.div_ceil(args.points_per_seed.max(1)).max(1);
        let limits = Limits { points: args.points_per_seed.min(missing.div_ceil(seeds)), failures: args.max_failures };
        for report in explore_seeds(seed, seeds, limits, planted) {
            total.add(report);
        }
        seed += seeds;
    }
    total
}

fn explore_seeds(first: u64, count: u64, limits: Limits, planted: Option<PlantedBug>) -> Vec<Report> {
    in_parallel(first, count, |seed| {
        let report = explore_seed(seed, limits, planted);
        let (points, of, broken) = (report.points, report.points_of_runs, report.failures.len());
        eprintln!("seed {seed}: {points} of {of} crash points, {broken} broken");
        report
    })
}

/// The counts, name and number.
fn counts(report: &Report) -> Vec<(&'static str, u64)> {
    vec![
        ("seeds", report.seeds),
        ("crash_points", report.points),
        ("images_opened", report.effort.images),
        ("engines_opened", report.effort.opens),
        ("recoveries_interrupted", report.effort.interrupted),
        ("starts_from_the_older_checkpoint", report.effort.fell_back),
        ("batches_compared", report.effort.batches),
        ("batches_appended", report.totals.appended),
        ("batches_read", report.totals.read),
        ("retries_recognised", report.totals.duplicates),
        ("lost_batches_resent", report.totals.resent),
        ("topics_deleted", report.totals.deleted),
        ("topics_made_again", report.totals.recreated),
        ("topics_made_again_after_a_restart", report.totals.recreated_later),
        ("logs_trimmed", report.totals.trimmed),
        ("restarts_within_runs", report.totals.restarts),
        ("lives_ended_by_faults", report.totals.failed_lives),
        ("partitions_quarantined", report.totals.quarantined),
        ("recoveries_that_bore_a_fault", report.effort.lived_on),
        ("checkpoints", report.totals.checkpoints),
        ("incremental_checkpoints", report.totals.incremental_checkpoints),
        ("chunks_appended", report.totals.chunks),
        ("segments_sealed", report.totals.segments_sealed),
        ("segments_kept", report.totals.segments_kept),
        ("recycled_rounds", report.totals.recycled_rounds),
        ("violations", report.failures.len() as u64),
    ]
}

fn summary(report: &Report) -> String {
    let mut text = String::new();
    for (name, count) in counts(report) {
        text.push_str(&format!("{:>12}  {}\n", count, name.replace('_', " ")));
    }
    for (kind, count) in report.by_kind() {
        text.push_str(&format!("{count:>12}  of them {kind:?}\n"));
    }
    text.push_str("      in runs  in recoveries\n");
    for ((kind, part, runs), (.., recoveries)) in report.totals.struck.all().zip(report.effort.struck.all()) {
        text.push_str(&format!("{runs:>12}   {recoveries:>12}  {} in {part:?}\n", kind.replace('_', " ")));
    }
    text
}

fn json(report: &Report) -> serde_json::Value {
    let mut object: serde_json::Map<_, _> =
        counts(report).into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    let kinds = report.by_kind().into_iter().map(|(kind, count)| (format!("{kind:?}"), count.into()));
    object.insert("violations_by_kind".to_owned(), kinds.collect::<serde_json::Map<_, _>>().into());
    for (place, struck) in [("faults_in_runs", report.totals.struck), ("faults_in_recoveries", report.effort.struck)] {
        let counts =
            struck.all().map(|(kind, part, count)| (format!("{kind}_in_{part:?}").to_lowercase(), count.into()));
        object.insert(place.to_owned(), counts.collect::<serde_json::Map<_, _>>().into());
    }
    let failures = report.failures.iter().map(|failure| {
        serde_json::json!({
            "seed": failure.seed,
            "replay": failure.case.map(|case| case.to_string()),
            "kind": format!("{:?}", failure.violation.kind),
            "detail": failure.violation.detail,
        })
    });
    object.insert("failures".to_owned(), failures.collect::<Vec<_>>().into());
    object.into()
}

/// Prints the tables of planted bugs.
pub fn print_bugs(points: u64, storms: u64) -> Result<ExitCode, String> {
    bugs::check_planted()?;
    let mut all_caught = true;
    println!("{}", bugs::TABLE_HEAD);
    for bug in PlantedBug::ALL {
        let hunt = bugs::hunt(Some(bug), points);
        all_caught &= hunt.caught.is_some();
        println!("{}", bugs::table_row(bug, &hunt));
        eprintln!("{bug:?}: {} crash points", hunt.points);
    }
    println!("\n{}", bugs::STORM_TABLE_HEAD);
    for bug in ServerBug::ALL {
        let (seeds, caught) = bugs::hunt_in_storms(bug, storms);
        all_caught &= caught.is_some();
        println!("{}", bugs::storm_table_row(bug, seeds, caught.as_ref()));
    }
    Ok(if all_caught { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
