//! `cargo xtask`: everything the project does to itself, each a command with `--help`.
//!
//! These are tools: they start processes, wait and measure, so they read clocks and start threads, which the broker's own
//! crates may not. Deliberately not here: anything that a user of the broker needs.
#![allow(clippy::disallowed_methods)]

mod admin;
mod bench;
mod broker;
mod compatibility;
mod crash;
mod fuzz;
mod golden;
mod kcat;
mod maven;
mod python;
mod relay;
mod rng;
mod scale;
mod settings_docs;
mod sim;
mod story;
mod table;
mod test;
mod tidy;
mod wait;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tools of the project. `cargo xtask test` is the whole truth.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Test(test::Args),
    Tidy(tidy::Args),
    Story(story::Args),
    Crash(crash::Args),
    Scale(scale::Args),
    Bench(bench::Args),
    Sim(sim::Args),
    SettingsDocs(settings_docs::Args),
    Golden(golden::Args),
    Fuzz(fuzz::Args),
    Compatibility(compatibility::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Tidy(args) => tidy::run(&args),
        Command::Story(args) => story::run(&args),
        Command::Crash(args) => crash::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::SettingsDocs(args) => settings_docs::run(&args),
        Command::Golden(args) => golden::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Compatibility(args) => compatibility::run(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
