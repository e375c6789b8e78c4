//! The simulations' command line: crash the engine at every I/O, run the whole server through storms, check a history.
//!
//! Deliberately not here: anything that decides.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{crash, seeds};

/// Runs Pagemark on simulated disks, networks and time, and checks what comes of it.
#[derive(Debug, Parser)]
#[command(name = "pagemark-sim")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Explore crash points. Exit code 1 if a promise is broken.
    Crash(crash::CrashArgs),
    /// Run the whole server through storms, a seed each. Exit code 1 if a promise is broken.
    Seeds(seeds::SeedsArgs),
    /// Check a history, one JSON object a line. Exit code 1 if it shows a broken promise.
    History {
        /// The file.
        file: PathBuf,
    },
    /// Show for every planted bug after how many crash points or seeds it is caught, as tables. Needs the feature planted-bugs.
    Bugs {
        /// Crash points to try for each bug.
        #[arg(long, default_value_t = 3_000)]
        points: u64,
        /// Seeds of the whole server to try for each bug that is not the engine's.
        #[arg(long, default_value_t = 100)]
        storms: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Crash(args) => crash::crash(&args),
        Command::Seeds(args) => seeds::run(&args),
        Command::History { file } => seeds::check_file(&file),
        Command::Bugs { points, storms } => crash::print_bugs(points, storms),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("{message}");
        ExitCode::from(2)
    })
}
