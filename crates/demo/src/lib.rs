//! `pagemark demo`: the guide's story, played with real processes. A broker, consumers that are killed, a database that is
//! counted at the end.
//!
//! It speaks to its broker by Kafka's protocol alone, and every number it prints was read from the broker or the database.
//! Deliberately not here: a broker; it starts one from the program it is part of.

mod acts;
mod audit;
mod closing;
mod consumer;
mod ledger;
mod place;
mod player;
pub mod sales;
pub mod show;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::acts::{commits, crash, rebalance};
use crate::audit::Audit;
use crate::closing::Verdict;
pub use crate::consumer::{CommitKind, ConsumerArgs};
use crate::show::{Ink, Show};
use crate::stage::{SESSION_TIMEOUT_MS, Stage};

/// The program's command that is a consumer process.
pub const CONSUMER_COMMAND: &str = "demo-consumer";

/// What was counted is not what must be there.
const EXIT_CHECK_FAILED: u8 = 4;
/// A contradiction that a consumer met.
const EXIT_CONTRADICTION: u8 = 3;
/// 128 and the number of SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Names the sales.
const SEED: u64 = 4;

const HELP: &str = "Examples:
  pagemark demo
      The story, in half a minute
  pagemark demo --keep
      ... and then a look into what it left behind
  pagemark demo --sabotage delete
      ... with one row deleted before the end: does the closing table notice?
  pagemark demo --output json
      What was found out, as JSON, and nothing else

Exit codes:
  0    everything adds up
  1    it could not be played; the message says why
  2    wrong arguments
  4    the closing table does not add up
  130  ended with Ctrl-C, or by another signal";

/// Arguments of `pagemark demo`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub struct DemoArgs {
    /// Keep the directory, and say how to look into it
    #[arg(long)]
    keep: bool,
    /// Damage one row before the closing table, to see that it notices
    #[arg(long, value_enum, value_name = "HOW")]
    sabotage: Option<Sabotage>,
    /// The story to read, or what was found out as JSON
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Pause after each line, in milliseconds [default: 140 on a terminal, 0 elsewhere]
    #[arg(long, value_name = "MS")]
    pace: Option<u64>,
}

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sabotage {
    /// It is gone
    Delete,
    /// It is there twice
    Double,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// To read
    Text,
    /// For programs
    Json,
}

/// Plays the demo.
#[must_use]
pub fn run(args: &DemoArgs) -> ExitCode {
    told(block_on(run_until_told_to_end(args)))
}

/// Runs a consumer process of the demo.
#[must_use]
pub fn run_consumer(args: ConsumerArgs) -> ExitCode {
    told(block_on(async {
        Ok(if consumer::run(args).await? { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONTRADICTION) })
    }))
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let done = runtime.block_on(future);
    runtime.shutdown_background(); // whoever still waits for input does not keep the process
    done
}

fn told(code: Result<ExitCode>) -> ExitCode {
    code.unwrap_or_else(|error| {
        use std::io::Write as _;
        // Not `eprintln`, which panics when nobody holds the other end.
        let _ = writeln!(std::io::stderr(), "pagemark: {error:#}");
        ExitCode::FAILURE
    })
}

/// Plays, and clears the stage however that ends.
async fn run_until_told_to_end(args: &DemoArgs) -> Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (mut hangup, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let show = Show::new(args.pace.map(Duration::from_millis), args.output == Output::Json);
    let stage = Stage::set(program, show.clone()).await?;
    let played = tokio::select! {
        played = play(&stage, args) => played.map(Some),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
        _ = hangup.recv() => Ok(None),
        _ = quit.recv() => Ok(None),
    };
    let directory = stage.clear(args.keep && matches!(played, Ok(Some(_)))).await?;
    let Some(mut verdict) = played? else { return Ok(ExitCode::from(EXIT_INTERRUPTED)) };
    verdict.directory = directory;
    if args.output == Output::Json {
        show::print(&format!("{}\n", serde_json::to_string_pretty(&verdict)?))?;
    }
    if let Some(path) = &verdict.directory {
        show.say(&how_to_look(&path.display().to_string())).await?;
    }
    Ok(if verdict.holds { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CHECK_FAILED) })
}

async fn play(stage: &Stage, args: &DemoArgs) -> Result<Verdict> {
    introduce(stage, args).await?;
    let mut audit = Audit::open(&stage.database())?;
    let all = sales::generate(1, 90, SEED);
    let (for_crash, rest) = all.split_at(10);
    let (for_rebalance, for_commits) = rest.split_at(70);
    let mut checks = crash::play(stage, &audit, for_crash).await?;
    checks.extend(rebalance::play(stage, &audit, for_rebalance).await?);
    let costs = commits::play(stage, &mut audit, for_commits).await?;
    checks.extend(commits::checks(&costs));
    if let Some(sabotage) = args.sabotage {
        damage(stage, &audit, sabotage).await?;
    }
    closing::close(stage, &mut audit, checks, costs).await
}

async fn introduce(stage: &Stage, args: &DemoArgs) -> Result<()> {
    let show = &stage.show;
    show.say_in(Ink::Bold, "Pagemark demo: consumers are killed, and no sale is lost or counted twice").await?;
    let directory = stage.directory().display();
    let end = if args.keep { "kept" } else { "removed" };
    let text = format!(
        "
A broker (process {}) runs on {}, from this same program.
Its data and a SQLite database are in a directory that is {end} at the end:
{directory}
session.timeout.ms is {SESSION_TIMEOUT_MS}, so that a dead consumer is missed soon. Everything
else is as it always is. Every number below was read from the broker or from the
database, as it came.
",
        stage.broker_pid(),
        stage.bootstrap
    );
    show.say(&text).await
}

/// Does what a bug would do.
async fn damage(stage: &Stage, audit: &Audit, sabotage: Sabotage) -> Result<()> {
    let (group, topic) = (rebalance::GROUP, rebalance::TOPIC);
    let place = audit.damage(group, topic, sabotage == Sabotage::Delete)?;
    let what = match sabotage {
        Sabotage::Delete => "deleted",
        Sabotage::Double => "doubled",
    };
    let line = format!("\nSabotage: in {group} the row of sale {} is {what}.", place.sale_id);
    stage.show.say_in(Ink::Red, &line).await
}

fn how_to_look(directory: &str) -> String {
    format!(
        "
Kept: {directory}
Look into it:
  pagemark serve --set log.dirs={directory}/broker
  sqlite3 {directory}/commissions.db 'SELECT * FROM commissions'
"
    )
}
