//! `pagemark`: the one binary. Arguments in, exit codes out.
//!
//! Exit codes are documented in `exit.rs`, those of `serve` in its file. Deliberately not here: what the commands do
//! (`commands/`), and how answers are written (`output/`).

mod cli;
mod commands;
mod connect;
mod exit;
mod host;
mod nearest;
mod open_files;
mod output;
mod target;
mod times;

use std::process::ExitCode;

use clap::Parser;

use cli::{Arguments, Command};
use exit::Failure;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(serve) => return commands::serve::run(serve),
        Command::Demo(demo) => return pagemark_demo::run(&demo),
        Command::DemoConsumer(consumer) => return pagemark_demo::run_consumer(consumer),
        Command::Topic(topic) => commands::waiting(commands::topic::run(topic)),
        Command::Produce(produce) => commands::waiting(commands::produce::run(produce)),
        Command::Consume(consume) => commands::waiting(commands::consume::run(*consume)),
        Command::Group(group) => commands::waiting(commands::group::run(group)),
        Command::Completions(completions) => commands::completions::run(&completions),
        Command::Man(man) => commands::man::run(&man),
        Command::Reference => commands::man::reference(),
    };
    ended(done)
}

/// Says what went wrong; the first failure's exit code is the process's.
fn ended(done: Result<(), Vec<Failure>>) -> ExitCode {
    let Err(failures) = done else { return ExitCode::SUCCESS };
    failures.iter().for_each(|failure| output::say(&failure.message));
    failures.first().map_or(ExitCode::SUCCESS, |failure| ExitCode::from(failure.exit as u8))
}
