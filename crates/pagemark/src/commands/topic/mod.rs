//! `pagemark topic`: create, list, describe, delete.
//!
//! Deliberately not here: altering configs and partitions.

mod create;
mod delete;
mod describe;
mod list;

use clap::{Args, Subcommand};

use super::Done;

/// Arguments of `pagemark topic`.
#[derive(Debug, Args)]
pub struct Topic {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a topic
    Create(create::Create),
    /// List topics
    List(list::List),
    /// Show topics with their partitions and configs
    Describe(describe::Describe),
    /// Delete topics with their records and all offsets committed for them
    Delete(delete::Delete),
}

/// Runs the command.
pub async fn run(topic: Topic) -> Done {
    match topic.command {
        Command::Create(arguments) => create::run(arguments).await,
        Command::List(arguments) => list::run(arguments).await,
        Command::Describe(arguments) => describe::run(arguments).await,
        Command::Delete(arguments) => delete::run(arguments).await,
    }
}
