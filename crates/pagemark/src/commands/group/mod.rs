//! `pagemark group`: list, describe, lag, reset, delete, delete-offsets.
//!
//! Everything works with any broker that speaks Kafka's protocol. Deliberately not here: what needs a history of offsets.

mod absent;
mod delete;
mod delete_offsets;
mod describe;
mod lag;
mod list;
mod reset;
mod select;
mod view;

use clap::{Args, Subcommand};

use super::Done;

/// Arguments of `pagemark group`.
#[derive(Debug, Args)]
pub struct Group {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List groups
    List(list::List),
    /// Show groups with their offsets and members
    Describe(describe::Describe),
    /// Show how far groups are behind, and check it
    Lag(lag::Lag),
    /// Set the committed offsets of a group; a dry run until --execute
    Reset(reset::Reset),
    /// Delete groups without members, with all that they have committed
    Delete(delete::Delete),
    /// Delete what a group has committed for some topics
    DeleteOffsets(delete_offsets::DeleteOffsets),
}

/// Runs the command.
pub async fn run(group: Group) -> Done {
    match group.command {
        Command::List(arguments) => list::run(arguments).await,
        Command::Describe(arguments) => describe::run(arguments).await,
        Command::Lag(arguments) => lag::run(arguments).await,
        Command::Reset(arguments) => reset::run(arguments).await,
        Command::Delete(arguments) => delete::run(arguments).await,
        Command::DeleteOffsets(arguments) => delete_offsets::run(arguments).await,
    }
}
