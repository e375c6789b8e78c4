//! The driver: runs a target on inputs that `mutate` makes, in a process that may die of it.
//!
//! `cargo xtask fuzz` starts it, watches it, and begins again one by one where it died or hung. What it prints is for that:
//! `at N` before execution N, now and then, and `failed FILE` for a panic. Deliberately not here: watching.
#![allow(clippy::disallowed_methods, reason = "a tool: it writes files")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use pagemark_fuzz::{TARGETS, Target, mutate, target};

/// How many bytes of addresses this process gets: reserving for what an input claims ends it, touched or not.
const ADDRESS_SPACE_BYTES: u64 = 4 << 30;

#[derive(Parser)]
#[command(about = "Runs fuzz targets; `cargo xtask fuzz` is the way to call it")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print each target: name, weight, what it is
    List,
    /// Run a target on the inputs of a range of executions
    Run(Run),
    /// Run a target once on the bytes of a file
    Replay {
        /// Which
        target: String,
        /// Where the bytes are
        file: PathBuf,
    },
    /// Write a target's seeds into a folder, for libFuzzer
    Seeds {
        /// Which
        target: String,
        /// Where to
        folder: PathBuf,
    },
}

#[derive(clap::Args)]
struct Run {
    /// Which
    target: String,
    /// What the inputs are made from
    #[arg(long)]
    seed: u64,
    /// The first execution
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many
    #[arg(long)]
    executions: u64,
    /// Most memory in use at any time, MiB
    #[arg(long)]
    rss_mib: u64,
    /// Where inputs that fail are written
    #[arg(long)]
    artifacts: PathBuf,
    /// Write every input before it is run, and look at the memory after each
    #[arg(long)]
    one_by_one: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::List => {
            TARGETS.iter().for_each(|t| println!("{}\t{}\t{}", t.name, t.weight, t.what));
            Ok(true)
        }
        Command::Replay { target, file } => {
            (named(&target)?.run)(&std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?);
            Ok(true)
        }
        Command::Seeds { target, folder } => {
            std::fs::create_dir_all(&folder)?;
            for (number, seed) in (named(&target)?.seeds)().iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{number}")), seed)?;
            }
            Ok(true)
        }
        Command::Run(args) => execute(named(&args.target)?, &args),
    }
}

fn named(name: &str) -> Result<&'static Target> {
    match target(name) {
        Some(target) => Ok(target),
        None => bail!("there is no target {name}; there are {}", TARGETS.each_ref().map(|t| t.name).join(", ")),
    }
}

fn execute(target: &Target, args: &Run) -> Result<bool> {
    limit_addresses()?;
    let seeds = (target.seeds)();
    // The slower a target, the more often it says how far it is.
    let stride = if args.one_by_one { 1 } else { (target.weight * 16).next_power_of_two() };
    for execution in args.from..args.from + args.executions {
        let input = mutate::input(args.seed, execution, &seeds);
        if execution % stride == 0 {
            println!("at {execution}");
        }
        if args.one_by_one {
            std::fs::write(args.artifacts.join(format!("{}.last", target.name)), &input)?;
        }
        if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
            println!("failed {}", keep(&args.artifacts, target.name, args.seed, execution, &input)?.display());
            return Ok(false);
        }
        if (execution + 1) % stride == 0 {
            check_memory(args)?;
        }
    }
    check_memory(args)?;
    println!("at {}", args.from + args.executions);
    Ok(true)
}

fn keep(folder: &Path, name: &str, seed: u64, execution: u64, input: &[u8]) -> Result<PathBuf> {
    let path = folder.join(format!("{name}-{seed}-{execution}"));
    std::fs::write(&path, input).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

fn limit_addresses() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::As);
    limit.current = Some(ADDRESS_SPACE_BYTES);
    setrlimit(Resource::As, limit).context("the address space cannot be limited")
}

/// Ends the process like an allocation that fails would, if it ever had more memory than it may.
fn check_memory(args: &Run) -> Result<()> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(()) };
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(|rest| rest.trim().trim_end_matches(" kB"));
    let peak_mib = peak.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024;
    if peak_mib > args.rss_mib {
        eprintln!("{peak_mib} MiB of memory were in use, {} are allowed", args.rss_mib);
        std::process::abort();
    }
    Ok(())
}
