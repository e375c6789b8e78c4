//! The commands, one file each, and what those have in common that talk to a broker.
//!
//! Deliberately not here: how they connect (`connect.rs`), how they answer (`output/`).

pub mod completions;
pub mod consume;
pub mod group;
pub mod man;
pub mod produce;
pub mod serve;
pub mod topic;

use std::future::Future;
use std::time::Duration;

use clap::Args;
use pagemark_client::{Admin, Code, Error};

use crate::connect::Connection;
use crate::exit::Failure;
use crate::host;
use crate::nearest::is_meant;
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

    /// The same again and again, with this much time between, until Ctrl-C or until nobody reads.
    pub async fn watch<F>(self, every: Duration, mut ask: impl FnMut(Admin) -> F) -> Done
    where
        F: Future<Output = Result<Answer, Failure>>,
    {
        let admin = self.connection.admin().await.map_err(|failure| vec![failure])?;
        loop {
            let round = async {
                let as_of = host::now();
                let answer = ask(admin.clone()).await?;
                let goes_on = output::print_again(&answer, self.output.format, as_of)?;
                tokio::time::sleep(every).await;
                Ok(goes_on)
            };
            tokio::select! {
                round = round => match round {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(failure) => return Err(vec![failure]),
                },
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
}

/// An error about a topic, with the topic that may have been meant if it is not there.
pub async fn about_topic(admin: &Admin, error: Error, topic: &str) -> Failure {
    let all = match error.code() {
        Some(Code::UNKNOWN_TOPIC_OR_PARTITION) => admin.list_topics().await.unwrap_or_default(), // no more than a hint
        _ => Vec::new(),
    };
    let hint = is_meant(topic, all.iter().map(|topic| topic.name.as_str()));
    Failure::from(error).about(output::escaped(topic)).hinting(&hint)
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
