//! The commands, one file each, and what those have in common that talk to a broker.
//!
//! Deliberately not here: how they connect (`connect.rs`), how they answer (`output/`).

pub mod serve;
pub mod topic;

use std::future::Future;

use clap::Args;
use pagemark_client::Admin;

use crate::connect::Connection;
use crate::exit::Failure;
use crate::host;
use crate::output::{self, Answer, Output};

/// How a command ended: well, or with what went wrong.
pub type Done = Result<(), Vec<Failure>>;

/// Options of every command that asks a broker and answers.
#[derive(Debug, Clone, Args)]
pub struct Common {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub output: Output,
}

impl Common {
    /// Connects, asks, answers.
    pub async fn answer<F>(self, ask: impl FnOnce(Admin) -> F) -> Done
    where
        F: Future<Output = Result<Answer, Failure>>,
    {
        let admin = self.connection.admin().await.map_err(|failure| vec![failure])?;
        let as_of = host::now();
        let answer = ask(admin).await.map_err(|failure| vec![failure])?;
        output::print(&answer, self.output.format, as_of).map_err(|failure| vec![failure])?;
        if answer.failures.is_empty() { Ok(()) } else { Err(answer.failures) }
    }
}

/// Runs a command that waits for brokers.
pub fn waiting(command: impl Future<Output = Done>) -> Done {
    // Two threads: a reader that does not keep up with the output must not keep a member of a group from its heartbeats.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| vec![Failure::failed(format!("cannot start threads: {error}"))])?;
    let done = runtime.block_on(command);
    runtime.shutdown_background(); // a thread may wait for standard input
    done
}
