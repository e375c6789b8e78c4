//! `pagemark`: the one binary. Arguments in, exit codes out.
//!
//! Exit codes: 0 done, 1 it could not be done, 2 wrong arguments, 74 the disk failed (start it again, it recovers).
//! Deliberately not here: what the commands do (`commands/`).

mod commands;
mod open_files;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A Kafka-compatible event-streaming broker that never loses a bookmark.
#[derive(Debug, Parser)]
#[command(name = "pagemark", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker until it is told to stop
    Serve(commands::serve::Serve),
    /// Play the guide's story: consumers are killed, and no sale is lost or counted twice
    Demo(pagemark_demo::DemoArgs),
    /// A consumer of the demo
    #[command(name = pagemark_demo::CONSUMER_COMMAND, hide = true)]
    DemoConsumer(pagemark_demo::ConsumerArgs),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(serve) => commands::serve::run(serve),
        Command::Demo(demo) => pagemark_demo::run(&demo),
        Command::DemoConsumer(consumer) => pagemark_demo::run_consumer(consumer),
    }
}
