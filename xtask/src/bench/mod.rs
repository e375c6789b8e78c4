//! `cargo xtask bench`: Pagemark and Apache Kafka side by side, on this machine, now.
//!
//! Brokers take turns: in each round every one runs all scenarios on a fresh directory of the same disk, and the rounds
//! change who begins. What counts is the median over the rounds, and our ratio to Kafka's; absolute figures are those of
//! this machine in this hour. Deliberately not here: tuning one of them for the comparison.

mod figures;
mod first;
mod floor;
mod kafka;
pub mod load;
mod machine;
mod page;
mod plot;
mod scenarios;
pub mod server;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use crate::broker::free_ports;
use crate::rng::Rng;
use crate::{wait, workspace};
use figures::{Figures, MEASURES};
use floor::Floor;
use load::LoadProgram;
use machine::{Noise, Watch};
use scenarios::{Scenario, Sizes, Turn};
use server::{Peer, Programs, Server};

/// Measure Pagemark and Apache Kafka in turns (needs java 17, mvn, make and a compiler of C and C++).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench --against kafka                # some 15 minutes; leave the machine alone\n  \
        cargo xtask bench --quick                        # to see that it works; the figures mean nothing\n  \
        cargo xtask bench --scenario commit --rounds 5\n  cargo xtask bench --write                        # docs/benchmarks.md\n\n\
        The first run fetches Kafka and builds librdkafka. What it keeps is below the target folder."
)]
pub struct Args {
    /// Against whom
    #[arg(long, value_enum, default_value_t = Against::Kafka)]
    against: Against,
    /// How often each broker has its turn [default: 3, with --quick 1]
    #[arg(long)]
    rounds: Option<u32>,
    /// Only this scenario; may be repeated
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// Only this broker; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Peer>,
    /// Little of everything, to try it out
    #[arg(long)]
    quick: bool,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Write docs/benchmarks.md and its plot anew
    #[arg(long, conflicts_with_all = ["quick", "scenario", "only"])]
    write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    /// A stock Apache Kafka, by default and with a flush for each message.
    Kafka,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// All that a run found.
#[derive(Debug, Serialize)]
struct Run {
    machine: Value,
    floor: Floor,
    sizes: Sizes,
    rounds: u32,
    turns: Vec<Told>,
    figures: Figures,
}

/// What happened around one broker's turn.
#[derive(Debug, Serialize)]
struct Told {
    peer: Peer,
    round: u32,
    #[serde(flatten)]
    noise: Noise,
    /// Why it ended early, if it did.
    broke: Option<String>,
}

/// Runs the comparison; whether nothing broke. Goals are told, and a missed one is no failure.
pub fn run(args: &Args) -> Result<bool> {
    let Against::Kafka = args.against;
    eprintln!("building, and fetching Kafka {} ...", crate::maven::KAFKA_VERSION);
    let programs = Programs::ready()?;
    let load = LoadProgram::build()?;
    let sizes = if args.quick { Sizes::QUICK } else { Sizes::FULL };
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    ensure!(rounds > 0, "--rounds 0 measures nothing");
    let folder = workspace::scratch("bench")?;
    let machine = machine::description(&folder);
    let floor = Floor::measure(&folder)?;
    let mut run = Run { machine, floor, sizes, rounds, turns: Vec::new(), figures: Figures::default() };
    for round in 1..=rounds {
        for peer in order(round, &args.only) {
            take_turn(args, &programs, &load, &folder, (peer, round), &mut run)?;
        }
    }
    match args.output {
        Output::Table => println!("{}", page::table(&run)),
        Output::Json => println!("{:#}", json!({"run": &run, "rows": page::rows(&run)})),
    }
    if args.write {
        write(&run)?;
    }
    Ok(run.turns.iter().all(|turn| turn.broke.is_none()))
}

/// Who has a turn in this round, and when: another one begins each time.
fn order(round: u32, only: &[Peer]) -> Vec<Peer> {
    let mut peers = vec![Peer::Pagemark, Peer::Kafka, Peer::KafkaFlushing];
    peers.rotate_left((round as usize - 1) % 3);
    peers.retain(|peer| only.is_empty() || only.contains(peer));
    peers
}

fn take_turn(
    args: &Args,
    programs: &Programs,
    load: &LoadProgram,
    folder: &Path,
    (peer, round): (Peer, u32),
    run: &mut Run,
) -> Result<()> {
    let chosen: Vec<Scenario> = Scenario::value_variants()
        .iter()
        .copied()
        .filter(|scenario| args.scenario.is_empty() || args.scenario.contains(scenario))
        .collect();
    let data = folder.join(format!("{round}-{}", peer.title().to_lowercase().replace(", ", "-")));
    eprintln!("round {round} of {}: {}", run.rounds, peer.title());
    make_ready(programs, peer, &data)?;
    let watch = Watch::start()?;
    let port = free_ports(&mut Rng::new(wait::now_ms() as u64))?;
    let result = Server::start(programs, peer, port, &data, &[]).and_then(|server| {
        Turn { server, peer, round, load, sizes: run.sizes, figures: &mut run.figures }.run(&chosen)
    });
    let noise = watch.end()?;
    eprintln!(
        "  others used {:.0} % of the machine; somebody waited for a CPU {:.0} % of the time{}",
        noise.foreign_percent,
        noise.pressure_percent,
        if noise.is_heavy() { " - HEAVY FOREIGN LOAD" } else { "" }
    );
    let broke = result.err().map(|error| format!("{error:#}"));
    match &broke {
        None => std::fs::remove_dir_all(&data).context("the broker's directory cannot be removed")?,
        Some(why) => eprintln!("  BROKE: {why}\n  what it left is in {}", data.display()),
    }
    run.turns.push(Told { peer, round, noise, broke });
    Ok(())
}

/// Lets nobody pay for what was done before: all is on the disk, and the page cache holds nothing in which the kernel would
/// have to look for room while records are written. Only root may empty it.
fn settle() {
    rustix::fs::sync();
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
}

/// Starts the broker once on a directory of its own, so that its program is in memory again.
fn make_ready(programs: &Programs, peer: Peer, data: &Path) -> Result<()> {
    settle();
    let folder = data.with_extension("ready");
    let mut server = Server::start(programs, peer, free_ports(&mut Rng::new(wait::now_ms() as u64))?, &folder, &[])?;
    first::record(&mut server)?;
    server.stop()?;
    std::fs::remove_dir_all(&folder).context("the directory of the start that is not counted cannot be removed")
}

fn write(run: &Run) -> Result<()> {
    let missing = |peer| MEASURES.iter().any(|measure| run.figures.median(measure.key, peer).is_none());
    ensure!(!Peer::value_variants().iter().any(|peer| missing(*peer)), "figures are missing: nothing was written");
    let docs = workspace::root().join("docs");
    std::fs::write(docs.join("benchmarks.svg"), plot::svg(&run.figures))?;
    std::fs::write(docs.join("benchmarks.md"), page::markdown(run))?;
    println!("docs/benchmarks.md and docs/benchmarks.svg are written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_another_one_begins_and_nobody_is_left_out() {
        let firsts: Vec<Peer> = (1..=3).map(|round| order(round, &[])[0]).collect();
        assert_eq!(firsts, Peer::value_variants());
        assert_eq!(order(2, &[Peer::Pagemark, Peer::Kafka]), [Peer::Kafka, Peer::Pagemark]);
    }
}
