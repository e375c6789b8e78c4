//! The task that commits, in order: one request at a time, repeated until it has an answer.
//!
//! Only offsets of partitions that are still assigned as they were leave this consumer, also on a repetition: what was lost
//! meanwhile belongs to another. Deliberately not here: which offsets were processed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ConsumerSettings;
use super::commit_queue::Offsets;
use super::error::CommitError;
use super::state::{Commit, Shared};
use crate::cluster::Cluster;
use crate::code::Code;
use crate::offsets::{self, Committer};
use crate::partition::TopicPartition;

/// Who is told; nobody, if a commit was nobody's wish in particular.
pub(super) type Ticket = Option<oneshot::Sender<Result<(), CommitError>>>;

/// What will become of a commit. Dropping it changes nothing: the commit is made all the same.
#[derive(Debug)]
pub struct CommitHandle {
    pub(super) outcome: oneshot::Receiver<Result<(), CommitError>>,
}

impl Future for CommitHandle {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(context).map(|outcome| outcome.unwrap_or(Err(CommitError::Closed)))
    }
}

/// Puts a commit behind all others.
pub(super) fn enqueue(shared: &Shared, offsets: Offsets<Commit>) -> CommitHandle {
    let (ticket, outcome) = oneshot::channel();
    shared.lock().queue.push(offsets, Some(ticket));
    shared.commits.notify_one();
    CommitHandle { outcome }
}

pub(super) struct Committing {
    pub(super) cluster: Arc<Cluster>,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<ConsumerSettings>,
    pub(super) group: String,
}

type Errors = BTreeMap<TopicPartition, CommitError>;

impl Committing {
    pub(super) async fn run(self) {
        let interval = self.settings.auto_commit.unwrap_or(std::time::Duration::from_secs(3600));
        let mut auto = tokio::time::interval(interval);
        auto.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next = self.shared.lock().queue.next().cloned();
            match next {
                Some(offsets) => {
                    let errors = self.commit(offsets).await;
                    let told = self.shared.lock().queue.settle(&errors);
                    for (ticket, outcome) in told {
                        ticket.map(|ticket| ticket.send(outcome).ok()); // who is gone does not want to know
                    }
                }
                None => {
                    self.shared.drained.notify_one();
                    tokio::select! {
                        () = self.shared.commits.notified() => {}
                        _ = auto.tick() => self.auto_commit(),
                    }
                }
            }
        }
    }

    /// Commits what was processed, if that is the consumer's to do.
    fn auto_commit(&self) {
        if self.settings.auto_commit.is_none() {
            return;
        }
        let mut state = self.shared.lock();
        let offsets = state.uncommitted();
        if !offsets.is_empty() {
            state.queue.push(offsets, None);
        }
    }

    /// Commits until every partition has its outcome; the failures.
    async fn commit(&self, mut left: Offsets<Commit>) -> Errors {
        let mut errors = Errors::new();
        let deadline = self.cluster.deadline();
        let mut retries = self.cluster.retries(deadline);
        loop {
            let member = self.keep_owned(&mut left, &mut errors);
            if left.is_empty() {
                return errors;
            }
            let plain = left.iter().map(|(partition, commit)| (partition.clone(), commit.offset.clone())).collect();
            let timeout = self.cluster.settings().request_timeout.min(deadline - Instant::now());
            let why = match offsets::commit(&self.cluster, &self.group, &member, &plain, timeout).await {
                Ok(codes) => self.judge(codes, &member, &mut left, &mut errors),
                Err(error) if error.is_retriable() => error.to_string(),
                Err(error) => return self.fail_all(left, errors, &CommitError::Unavailable(error.to_string())),
            };
            if !left.is_empty() && !retries.wait().await {
                return self.fail_all(left, errors, &CommitError::Unavailable(why));
            }
        }
    }

    /// Drops what is not ours any more; who we are at this moment.
    fn keep_owned(&self, left: &mut Offsets<Commit>, errors: &mut Errors) -> Committer {
        let state = self.shared.lock();
        left.retain(|partition, commit| {
            let is_owned = state.owns(partition, commit);
            if !is_owned {
                errors.insert(partition.clone(), CommitError::Lost(partition.clone()));
            }
            is_owned
        });
        state.member.clone()
    }

    /// Takes what is settled out of `left`; why the rest is not.
    fn judge(
        &self,
        codes: BTreeMap<TopicPartition, Code>,
        member: &Committer,
        left: &mut Offsets<Commit>,
        errors: &mut Errors,
    ) -> String {
        let mut why = String::new();
        let mut state = self.shared.lock();
        for (partition, code) in codes {
            match code {
                Code::NONE => {
                    let Some(commit) = left.remove(&partition) else { continue };
                    if state.owns(&partition, &commit)
                        && let Some(assigned) = state.partitions.get_mut(&partition)
                    {
                        assigned.committed = Some(commit.offset.offset);
                    }
                }
                Code::ILLEGAL_GENERATION | Code::UNKNOWN_MEMBER_ID | Code::FENCED_INSTANCE_ID => {
                    // Of an older generation of ours: a newer one may repeat it for what it kept.
                    if state.member == *member {
                        left.remove(&partition);
                        errors.insert(partition.clone(), CommitError::Lost(partition));
                        state.is_lost |= member.generation >= 0;
                    }
                    why = code.to_string();
                }
                Code::REBALANCE_IN_PROGRESS => {
                    state.rejoin = true;
                    why = code.to_string();
                }
                code if code.is_retriable() => why = code.to_string(),
                code => {
                    left.remove(&partition);
                    errors.insert(partition, CommitError::Refused(code));
                }
            }
        }
        drop(state);
        self.shared.group.notify_one();
        why
    }

    fn fail_all(&self, left: Offsets<Commit>, mut errors: Errors, error: &CommitError) -> Errors {
        errors.extend(left.into_keys().map(|partition| (partition, error.clone())));
        errors
    }
}
