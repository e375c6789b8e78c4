//! All executors, as the rest of the broker holds them: whom a shard belongs to, and how to put work in.
//!
//! Deliberately not here: what the work does.

use std::sync::Arc;

use pagemark_core::partition::Cut;
use pagemark_storage::engine::{EngineError, ShardId};
use pagemark_wire::types::{PartitionKey, TopicId};
use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use super::turn::{Executor, ExecutorParts};
use super::{Census, RetainWork, Work};
use crate::partitions::Partition;
use crate::watched::Watched;

/// The mailboxes of all executors.
#[derive(Debug)]
pub struct Executors {
    mailboxes: Vec<Arc<Mailbox<Work>>>,
    /// Why an executor ended that nobody had told to.
    broken: Watched<Option<Arc<str>>>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Work::Produce(_) => "Produce",
            Work::Group(_) => "Group",
            Work::Trim(_) => "Trim",
            Work::Retain(_) => "Retain",
            Work::Own { .. } => "Own",
            Work::Disown { .. } => "Disown",
            Work::RemoveOffsets { .. } => "RemoveOffsets",
            Work::Census { .. } => "Census",
            Work::Stop { .. } => "Stop",
        })
    }
}

/// Work of one wake-up of a connection, sorted by executor and sent with one message each.
#[derive(Debug)]
pub struct Outgoing {
    lots: Vec<Vec<Work>>,
}

impl Executors {
    /// So many executors, not yet running.
    #[must_use]
    pub fn new(count: usize) -> Arc<Executors> {
        Arc::new(Executors {
            mailboxes: (0..count.max(1)).map(|_| Arc::default()).collect(),
            broken: Watched::new(None),
        })
    }

    /// Starts them all as tasks.
    pub fn start(&self, parts: &ExecutorParts) {
        for mailbox in &self.mailboxes {
            let executor = tokio::spawn(Executor::new(Arc::clone(mailbox), parts.clone()).run());
            let broken = self.broken.clone();
            tokio::spawn(async move {
                if let Err(error) = executor.await {
                    broken.set(Some(Arc::from(format!("an executor has ended: {error}"))));
                }
            });
        }
    }

    /// Waits until an executor has ended that nobody had told to: its shards answer nobody any more, so the process must end
    /// and start anew. Never returns while all is well.
    pub async fn broken(&self) -> Arc<str> {
        match self.broken.watch().wait_for(Option::is_some).await {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Index of the executor that owns a shard.
    #[must_use]
    pub fn owner_of(&self, shard: ShardId) -> usize {
        shard.0 as usize % self.mailboxes.len()
    }

    /// Empty lots for one wake-up.
    #[must_use]
    pub fn outgoing(&self) -> Outgoing {
        Outgoing { lots: self.mailboxes.iter().map(|_| Vec::new()).collect() }
    }

    /// Sends what was collected.
    pub fn send(&self, outgoing: &mut Outgoing) {
        for (mailbox, lot) in self.mailboxes.iter().zip(&mut outgoing.lots) {
            mailbox.send(lot);
        }
    }

    /// Opens partitions and waits until their owners have them.
    ///
    /// # Errors
    /// The first engine error met.
    pub async fn own(&self, partitions: Vec<Arc<Partition>>) -> Result<(), EngineError> {
        let mut waiting = Vec::new();
        for (mailbox, lot) in self.mailboxes.iter().zip(self.by_owner(partitions)) {
            let (done, answer) = oneshot::channel();
            mailbox.send_one(Work::Own { partitions: lot, done });
            waiting.push(answer);
        }
        for answer in waiting {
            answer.await.unwrap_or_else(|_| Err(EngineError::Stopped(Arc::from("the broker is shutting down"))))?;
        }
        Ok(())
    }

    /// Drops partitions and waits until nothing more is written to them.
    pub async fn disown(&self, partitions: &[Arc<Partition>]) {
        let lots = self.by_owner(partitions.to_vec());
        self.ask_all(lots.into_iter(), |partitions, done| Work::Disown { partitions, done }).await;
    }

    /// Removes what groups committed for a deleted topic, and waits for it.
    pub async fn remove_offsets_of(&self, topic: TopicId, name: &str) {
        let names = std::iter::repeat(Arc::from(name));
        self.ask_all(names, |name, done| Work::RemoveOffsets { topic, name, done }).await;
    }

    /// Has an executor look through some of its logs for data that is to go. Gives what was decided.
    pub async fn retain(&self, executor: usize, logs: Vec<Arc<Partition>>) -> Vec<(PartitionKey, Cut)> {
        let (done, answer) = oneshot::channel();
        self.mailboxes[executor].send_one(Work::Retain(RetainWork { logs, done }));
        answer.await.unwrap_or_default()
    }

    /// Numbers for the metrics, over all executors.
    pub async fn census(&self) -> Census {
        let answers = self.ask_all(std::iter::repeat(()), |(), done| Work::Census { done }).await;
        answers.into_iter().fold(Census::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }

    /// Lets every executor finish what it has in hand and stop.
    pub async fn stop(&self) {
        self.ask_all(std::iter::repeat(()), |(), done| Work::Stop { done }).await;
    }

    /// Sends one question to each executor and collects the answers of those that still run.
    async fn ask_all<I, T>(
        &self,
        inputs: impl Iterator<Item = I>,
        work: impl Fn(I, oneshot::Sender<T>) -> Work,
    ) -> Vec<T> {
        let mut waiting = Vec::new();
        for (mailbox, input) in self.mailboxes.iter().zip(inputs) {
            let (done, answer) = oneshot::channel();
            mailbox.send_one(work(input, done));
            waiting.push(answer);
        }
        let mut answers = Vec::new();
        for answer in waiting {
            answers.extend(answer.await.ok());
        }
        answers
    }

    fn by_owner(&self, partitions: Vec<Arc<Partition>>) -> Vec<Vec<Arc<Partition>>> {
        let mut lots: Vec<Vec<Arc<Partition>>> = self.mailboxes.iter().map(|_| Vec::new()).collect();
        for partition in partitions {
            lots[partition.executor].push(partition);
        }
        lots
    }
}

impl Outgoing {
    /// Adds work for an executor.
    pub fn push(&mut self, executor: usize, work: Work) {
        self.lots[executor].push(work);
    }
}
