//! `cargo xtask sim`: the whole server through storms on simulated disks, networks and time, a seed each.
//!
//! Deliberately not here: the simulation; this builds it and hands the arguments on.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::cargo;

/// Run the whole server under simulation; a seed that breaks a promise is named with what replays it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask sim --seeds 2000\n  cargo xtask sim --seed 4711 --history run.jsonl --trace run.log"
)]
pub struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write what the first seed's clients saw here, one JSON object a line
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Write the first seed's requests, answers and I/Os here
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl Args {
    /// So many seeds, always the same.
    pub fn of(seeds: u64) -> Args {
        Args { seeds, seed: 1, history: None, trace: None }
    }
}

/// Runs them. `false` if one broke a promise.
pub fn run(args: &Args) -> Result<bool> {
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--package", "pagemark-sim", "--", "seeds"]);
    command.args(["--seeds", &args.seeds.to_string(), "--seed", &args.seed.to_string()]);
    for (flag, path) in [("--history", &args.history), ("--trace", &args.trace)] {
        if let Some(path) = path {
            command.arg(flag).arg(std::path::absolute(path)?);
        }
    }
    Ok(command.status().context("cargo cannot be run")?.success())
}
