//! The task that commits, in order: one request at a time, repeated until each partition has its outcome.
//!
//! A partition that has to wait for its outcome keeps no other waiting. Only offsets of partitions that are still assigned as
//! they were leave this consumer, also on a repetition: what was lost meanwhile belongs to another. What the application
//! itself gave up, assigned by hand, is still committed. Deliberately not here: which offsets were processed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ConsumerSettings;
use super::commit_queue::{Offsets, Outcomes};
use super::error::CommitError;
use super::membership::COMMIT_PATIENCE;
use super::state::{Commit, Phase, Shared};
use crate::cluster::Cluster;
use crate::code::Code;
use crate::net::Backoff;
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

/// Puts a commit behind all others, to be given up at `deadline`.
pub(super) fn enqueue(shared: &Shared, offsets: Offsets<Commit>, deadline: Instant) -> CommitHandle {
    let (ticket, outcome) = oneshot::channel();
    shared.lock().queue.push(offsets, Some(ticket), deadline);
    shared.commits.notify_one();
    CommitHandle { outcome }
}

pub(super) struct Committing {
    pub(super) cluster: Arc<Cluster>,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<ConsumerSettings>,
    pub(super) group: String,
}

/// Why a commit has no outcome that never left.
const NOT_SENT: &str = "it waited behind other commits";

/// What keeps a commit from its outcome.
#[derive(Debug, Default)]
struct Obstacle {
    /// In words.
    why: String,
    /// It is in the way of every partition: the coordinator is not there, or the group is on its way.
    is_general: bool,
}

impl Committing {
    pub(super) async fn run(self) {
        let interval = self.settings.auto_commit.unwrap_or(Duration::from_secs(3600));
        let mut auto = tokio::time::interval(interval);
        auto.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let client = self.cluster.settings();
        let mut backoff = Backoff::new(client.retry_backoff, client.retry_backoff_max);
        let (mut why, mut again_at) = (NOT_SENT.to_owned(), None);
        loop {
            let late = self.shared.lock().queue.expire(Instant::now(), || CommitError::Unavailable(why.clone()));
            self.tell(late);
            let next = self.shared.lock().queue.next().map(|(offsets, deadline)| (offsets.clone(), deadline));
            if let Some((offsets, deadline)) = next {
                match self.attempt(offsets, deadline).await {
                    None => {
                        backoff.reset();
                        (why, again_at) = (NOT_SENT.to_owned(), None);
                    }
                    Some(obstacle) => {
                        why = obstacle.why;
                        if obstacle.is_general {
                            tokio::time::sleep(backoff.next()).await;
                            self.shared.lock().queue.retry();
                        } else if again_at.is_none() {
                            again_at = Some(Instant::now() + backoff.next());
                        }
                    }
                }
                continue;
            }
            self.shared.drained.notify_one();
            let again = async {
                match again_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.commits.notified() => {}
                _ = auto.tick() => self.auto_commit(),
                () = again => {
                    again_at = None;
                    self.shared.lock().queue.retry();
                }
            }
        }
    }

    /// Commits what was processed, if that is the consumer's to do.
    fn auto_commit(&self) {
        if self.settings.auto_commit.is_none() {
            return;
        }
        let deadline = self.cluster.deadline();
        let mut state = self.shared.lock();
        let offsets = state.uncommitted();
        if !offsets.is_empty() {
            state.queue.push(offsets, None, deadline);
        }
    }

    /// Commits once, and tells those whose partitions all have their outcome. What keeps the others, if there are any.
    async fn attempt(&self, mut left: Offsets<Commit>, deadline: Instant) -> Option<Obstacle> {
        let mut outcomes = Outcomes::new();
        let member = self.keep_owned(&mut left, &mut outcomes);
        let mut obstacle = Obstacle::default();
        if !left.is_empty() {
            let plain = left.iter().map(|(partition, commit)| (partition.clone(), commit.offset.clone())).collect();
            let settings = self.cluster.settings();
            let patience = (deadline - Instant::now()).max(COMMIT_PATIENCE.min(settings.api_timeout));
            let timeout = settings.request_timeout.min(patience);
            match offsets::commit(&self.cluster, &self.group, &member, &plain, timeout).await {
                Ok(codes) => {
                    obstacle = self.judge(&codes, &member, &left, &mut outcomes);
                    self.refuse_what_is_gone(&codes, &mut outcomes).await;
                }
                Err(error) if error.is_retriable() => {
                    obstacle = Obstacle { why: error.to_string(), is_general: true };
                }
                Err(error) => {
                    let error = CommitError::Unavailable(error.to_string());
                    outcomes.extend(left.keys().map(|partition| (partition.clone(), Err(error.clone()))));
                }
            }
        }
        let told = self.shared.lock().queue.settle(&outcomes);
        self.tell(told);
        let is_left = left.keys().any(|partition| !outcomes.contains_key(partition));
        is_left.then_some(obstacle)
    }

    /// Tells who asked. What goes wrong with a commit that was nobody's wish in particular is told to the log.
    fn tell(&self, outcomes: Vec<(Ticket, Result<(), CommitError>)>) {
        for (ticket, outcome) in outcomes {
            match (ticket, outcome) {
                (Some(ticket), outcome) => drop(ticket.send(outcome)), // who is gone does not want to know
                (None, Err(error)) => tracing::warn!(group = self.group, %error, "an automatic commit failed"),
                (None, Ok(())) => {}
            }
        }
    }

    /// Drops what is not ours any more; who we are at this moment.
    fn keep_owned(&self, left: &mut Offsets<Commit>, outcomes: &mut Outcomes<CommitError>) -> Committer {
        let state = self.shared.lock();
        left.retain(|partition, commit| {
            let is_owned = state.owns(partition, commit);
            if !is_owned {
                outcomes.insert(partition.clone(), Err(CommitError::Lost(partition.clone())));
            }
            is_owned
        });
        state.member.clone()
    }

    /// Notes what is settled; what keeps the rest.
    fn judge(
        &self,
        codes: &BTreeMap<TopicPartition, Code>,
        member: &Committer,
        sent: &Offsets<Commit>,
        outcomes: &mut Outcomes<CommitError>,
    ) -> Obstacle {
        let mut obstacle = Obstacle::default();
        let mut state = self.shared.lock();
        // Of an older generation of ours, or of one that may be older: the newer one may repeat it for what it kept.
        let is_past = state.member != *member || state.phase == Phase::Joining;
        for (partition, commit) in sent {
            let Some(&code) = codes.get(partition) else { continue };
            match code {
                Code::NONE => {
                    outcomes.insert(partition.clone(), Ok(()));
                    if state.owns(partition, commit)
                        && let Some(assigned) = state.partitions.get_mut(partition)
                    {
                        assigned.committed = Some(commit.offset.offset);
                    }
                }
                Code::ILLEGAL_GENERATION | Code::UNKNOWN_MEMBER_ID | Code::FENCED_INSTANCE_ID if !is_past => {
                    let error = if member.generation >= 0 {
                        state.refuse(code);
                        self.shared.group.notify_one();
                        self.shared.app.notify_one();
                        CommitError::Lost(partition.clone())
                    } else {
                        CommitError::Refused(code) // assigned by hand, and the group has members of its own (E-11)
                    };
                    outcomes.insert(partition.clone(), Err(error));
                }
                Code::REBALANCE_IN_PROGRESS if !is_past && state.phase == Phase::Settled => {
                    state.rejoin = true;
                    self.shared.group.notify_one();
                    obstacle = Obstacle { why: code.to_string(), is_general: true };
                }
                code if code.is_retriable() || code.is_of_membership() => {
                    let is_general = obstacle.is_general || code.is_of_membership() || code.is_of_coordinator();
                    obstacle = Obstacle { why: code.to_string(), is_general };
                }
                code => {
                    outcomes.insert(partition.clone(), Err(CommitError::Refused(code)));
                }
            }
        }
        obstacle
    }

    /// A partition that is unknown may be so new that the coordinator has not heard of it, or it may be gone for good.
    async fn refuse_what_is_gone(&self, codes: &BTreeMap<TopicPartition, Code>, outcomes: &mut Outcomes<CommitError>) {
        let unknown = |code: Code| code == Code::UNKNOWN_TOPIC_OR_PARTITION;
        if !codes.values().any(|code| unknown(*code)) {
            return;
        }
        let limit = self.cluster.settings().retry_backoff_max;
        let Ok(Ok(metadata)) = tokio::time::timeout(limit, self.cluster.refresh_now()).await else { return };
        for (partition, code) in codes.iter().filter(|(_, code)| unknown(**code)) {
            let count = metadata.topics.get(&*partition.topic).map_or(0, |topic| topic.partitions.len());
            if usize::try_from(partition.partition).is_ok_and(|index| index >= count) {
                outcomes.insert(partition.clone(), Err(CommitError::Refused(*code)));
            }
        }
    }
}
