//! The command line as a whole: every command is a line here, and a file in `commands/`.
//!
//! Deliberately not here: options of commands; those stand in their files.

use clap::{Parser, Subcommand};

use crate::commands;
use crate::exit::EXIT_CODES;

/// A Kafka-compatible event-streaming broker that never loses a bookmark.
#[derive(Debug, Parser)]
#[command(name = "pagemark", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker until it is told to stop
    Serve(commands::serve::Serve),
    /// Play the guide's story: consumers are killed, and no sale is lost or counted twice
    Demo(pagemark_demo::DemoArgs),
    /// A consumer of the demo
    #[command(name = pagemark_demo::CONSUMER_COMMAND, hide = true)]
    DemoConsumer(pagemark_demo::ConsumerArgs),
    /// Create, list, describe and delete topics
    Topic(commands::topic::Topic),
    /// Write records, one a line
    Produce(commands::produce::Produce),
    /// Read records, alone or in a group
    Consume(Box<commands::consume::Consume>),
    /// List, describe, check, reset and delete groups and their offsets
    #[command(alias = "groups")]
    Group(commands::group::Group),
    /// Print a script that lets a shell complete commands and options
    Completions(commands::completions::Completions),
    /// Print a manual page
    Man(commands::man::ManPage),
    /// Print docs/cli.md
    #[command(hide = true)]
    Reference,
}
