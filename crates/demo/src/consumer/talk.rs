//! What a consumer process and whoever started it say to each other: a line of JSON for each thing that happened, a word for
//! each step it may take.
//!
//! So that a crash comes at a moment that was chosen and not at one that was hit. Deliberately not here: both sides' work.

use std::collections::VecDeque;
use std::io::Write as _;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Something that happened in a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// It has this partition now, and reads on at `next`.
    Started {
        /// Which partition.
        partition: i32,
        /// The next offset that it reads.
        next: i64,
    },
    /// It does not have this partition any more.
    Gone {
        /// Which partition.
        partition: i32,
    },
    /// It was handed everything below `next`.
    Received {
        /// Of which partition.
        partition: i32,
        /// The offset behind the last record.
        next: i64,
    },
    /// The commission's row is in the database.
    Written {
        /// The record's partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
    },
    /// The broker has confirmed that the group reads on at `next`.
    Committed {
        /// Of which partition.
        partition: i32,
        /// The next offset to read.
        next: i64,
    },
    /// It has done its step, and waits for the next one.
    Waiting,
    /// Something that must not be; it is in the database too.
    Complaint(String),
}

impl Report {
    /// Tells it. Nobody may be there to hear it, which is no reason to stop.
    pub(super) fn tell(&self) {
        let line = serde_json::to_string(self).expect("a report is JSON");
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// What a consumer may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Wait for a record, write its row, commit as its kind commits.
    Record,
    /// The same up to the row, and then nothing more: it will be ended right there.
    Row,
}

impl Step {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Step::Record => "record",
            Step::Row => "row",
        }
    }

    fn from_word(word: &str) -> Result<Step> {
        match word {
            "record" => Ok(Step::Record),
            "row" => Ok(Step::Row),
            _ => bail!("there is no step {word:?}"),
        }
    }
}

/// Says when a consumer takes a step and when it ends.
#[derive(Debug)]
pub(super) struct Orders {
    steps: Option<mpsc::UnboundedReceiver<Step>>,
    ended: watch::Receiver<bool>,
}

impl Orders {
    /// Steps come from standard input if `stepwise`, and its end is the consumer's; SIGTERM and SIGINT end it always.
    pub(super) fn new(stepwise: bool) -> Result<Orders> {
        let (end, ended) = watch::channel(false);
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let by_signal = end.clone();
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            by_signal.send_replace(true);
        });
        let steps = stepwise.then(|| {
            let (to, steps) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                let mut lines = BufReader::new(tokio::io::stdin()).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let Ok(step) = Step::from_word(&line) else { break };
                    if to.send(step).is_err() {
                        break;
                    }
                }
                end.send_replace(true);
            });
            steps
        });
        Ok(Orders { steps, ended })
    }

    /// Whether every record is a step that is waited for.
    pub(super) fn is_stepwise(&self) -> bool {
        self.steps.is_some()
    }

    /// The next step; none if it is to end.
    pub(super) async fn next(&mut self) -> Option<Step> {
        match &mut self.steps {
            None => (!*self.ended.borrow()).then_some(Step::Record),
            Some(steps) => tokio::select! {
                biased;
                step = steps.recv() => step,
                _ = self.ended.wait_for(|ended| *ended) => None,
            },
        }
    }

    /// Resolves when it is to end.
    pub(super) async fn end(&mut self) {
        end(&mut self.ended).await;
    }

    /// The same for somebody else to wait for, with [`end`].
    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}

/// Resolves when a consumer is to end.
pub(super) async fn end(ended: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to say so, which is an end too.
    let _ = ended.wait_for(|ended| *ended).await;
}

/// Records that were handed out and not worked on yet.
pub(super) type Hand = VecDeque<pagemark_client::Record>;
