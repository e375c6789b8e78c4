//! The task that keeps this consumer in its group: joins, gives partitions up, takes partitions on.
//!
//! Partitions are given up and taken on only while the application asks for records (the gate, `gate.rs`): what it got before, it
//! has then processed or dropped. Heartbeats go on meanwhile, from a task of their own. An application that does not ask
//! for `max.poll.interval.ms` loses its partitions. Deliberately not here: the calls themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::assignor::Assignor;
use super::error::ConsumerError;
use super::listener::{AnyListener, PartitionSet, Rebalance};
use super::membership::{GroupError, Membership};
use super::state::{Position, Shared};
use crate::code::Code;
use crate::net::Backoff;

pub(super) struct Group {
    membership: Arc<Membership>,
    shared: Arc<Shared>,
    listener: Option<Box<dyn AnyListener>>,
    rebalance: Rebalance,
    /// Partitions of the topics subscribed to, as they were when the group was joined.
    counts: BTreeMap<String, Option<usize>>,
    heartbeats: AbortHandle,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

impl Group {
    pub(super) fn new(membership: Membership, listener: Option<Box<dyn AnyListener>>) -> Group {
        let membership = Arc::new(membership);
        let shared = Arc::clone(&membership.shared);
        let heartbeats = tokio::spawn(heartbeats(Arc::clone(&membership))).abort_handle();
        let rebalance = Rebalance { shared: Arc::clone(&shared) };
        Group { membership, shared, listener, rebalance, counts: BTreeMap::new(), heartbeats }
    }

    pub(super) async fn run(mut self) {
        let settings = self.membership.cluster.settings();
        let mut backoff = Backoff::new(settings.retry_backoff, settings.retry_backoff_max);
        loop {
            if self.shared.lock().is_closing {
                return self.close().await;
            }
            match self.step().await {
                Ok(()) => backoff.reset(),
                Err(GroupError::Retry(error)) => {
                    tracing::debug!(group = self.membership.group, %error, "the group call failed; trying again");
                    self.membership.sleep_unless_closing(Instant::now() + backoff.next()).await;
                }
                Err(GroupError::Fatal(error)) => {
                    self.lose().await;
                    self.shared.fail(error);
                    self.shared.lock().subscription.clear();
                }
            }
        }
    }

    /// The next thing that has to be done, or waiting for one.
    async fn step(&mut self) -> Result<(), GroupError> {
        let (is_lost, is_joined, rejoin, has_topics) = {
            let state = self.shared.lock();
            (state.is_lost, state.member.generation >= 0, state.rejoin, !state.subscription.is_empty())
        };
        match (is_lost, is_joined, has_topics) {
            (true, ..) => self.lose().await,
            (_, true, false) => self.unsubscribe().await,
            (_, false, false) => self.shared.group.notified().await,
            (_, false, true) if self.membership.is_stalled() => self.shared.group.notified().await,
            (_, true, true) if !rejoin => return self.stay().await,
            (_, _, true) => return self.join().await,
        }
        Ok(())
    }

    /// Waits for a reason to do something.
    async fn stay(&mut self) -> Result<(), GroupError> {
        if self.membership.is_stalled() {
            tracing::warn!(group = self.membership.group, "no poll within max.poll.interval.ms: leaving the group");
            self.membership.leave("no poll within max.poll.interval.ms").await;
            self.shared.lock().is_lost = true;
            return Ok(());
        }
        let cluster = &self.membership.cluster;
        let is_incomplete = self.counts.values().any(Option::is_none);
        let age =
            if is_incomplete { cluster.settings().retry_backoff_max } else { cluster.settings().metadata_max_age };
        tokio::select! {
            () = self.shared.group.notified() => {}
            () = tokio::time::sleep_until(self.membership.stalls_at()) => {}
            () = tokio::time::sleep(age) => {
                cluster.refresh_now().await?;
                if self.counts_now() != self.counts {
                    self.shared.lock().rejoin = true;
                }
            }
        }
        Ok(())
    }

    fn counts_now(&self) -> BTreeMap<String, Option<usize>> {
        let (metadata, _) = self.membership.cluster.metadata();
        let state = self.shared.lock();
        let count = |topic: &String| metadata.topics.get(topic).map(|topic| topic.partitions.len());
        state.subscription.iter().map(|topic| (topic.clone(), count(topic))).collect()
    }

    async fn join(&mut self) -> Result<(), GroupError> {
        let is_eager = self.membership.settings.assignors.contains(&Assignor::Range);
        let owned = self.shared.lock().assignment();
        if is_eager && !owned.is_empty() {
            if !self.membership.pass_gate().await {
                return Ok(()); // stalled, and found so again
            }
            self.revoke(&owned).await;
            self.membership.shut_gate();
        }
        let topics: Vec<String> = self.shared.lock().subscription.iter().cloned().collect();
        self.membership.cluster.want(topics.iter().map(String::as_str));
        self.membership.cluster.refresh_now().await?;
        self.counts = self.counts_now();
        let joining = async {
            let joined = self.membership.join().await?;
            self.membership.sync(joined).await
        };
        let assignment = tokio::select! {
            assignment = joining => assignment?,
            () = self.membership.closing() => return Ok(()),
        };
        {
            let mut state = self.shared.lock();
            state.rejoin = false;
            state.last_heard = Instant::now();
        }
        self.take_assignment(assignment).await;
        Ok(())
    }

    /// Gives up what went, takes on what came. If something went, its new owner waits for us to join again.
    async fn take_assignment(&mut self, assignment: PartitionSet) {
        let owned = self.shared.lock().assignment();
        let revoked: PartitionSet = owned.difference(&assignment).cloned().collect();
        let added: PartitionSet = assignment.difference(&owned).cloned().collect();
        tracing::info!(group = self.membership.group, ?revoked, ?added, "a new assignment");
        let needs_gate = !revoked.is_empty() || (self.listener.is_some() && !added.is_empty());
        if needs_gate && !self.membership.pass_gate().await {
            return; // stalled: everything is lost with the next step
        }
        if !revoked.is_empty() {
            self.revoke(&revoked).await;
            self.shared.lock().rejoin = true;
        }
        if !added.is_empty() {
            self.shared.lock().assign(added.iter().cloned(), &Position::Undecided);
            if let Some(listener) = &mut self.listener {
                listener.on_assigned(&self.rebalance, &added).await;
            }
            let mut state = self.shared.lock();
            for partition in &added {
                if let Ok(assigned) = state.get(partition)
                    && assigned.position == Position::Undecided
                {
                    assigned.go_to(Position::Committed);
                }
            }
        }
        self.membership.shut_gate();
        self.shared.fetcher.notify_one();
    }

    /// Gives partitions up in good order. The gate has been passed.
    async fn revoke(&mut self, partitions: &PartitionSet) {
        if self.membership.settings.auto_commit.is_some() {
            let mut state = self.shared.lock();
            let mut offsets = state.uncommitted();
            offsets.retain(|partition, _| partitions.contains(partition));
            if !offsets.is_empty() {
                state.queue.push(offsets, None);
            }
        }
        self.membership.drain_commits().await;
        if let Some(listener) = &mut self.listener {
            listener.on_revoked(&self.rebalance, partitions).await;
        }
        self.membership.drain_commits().await;
        self.shared.lock().partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// The group went on without us.
    async fn lose(&mut self) {
        let lost = {
            let mut state = self.shared.lock();
            state.is_lost = false;
            state.rejoin = false;
            let lost = state.assignment();
            state.partitions.clear();
            lost
        };
        self.membership.forget_member();
        self.membership.shut_gate();
        if !lost.is_empty() {
            tracing::warn!(group = self.membership.group, ?lost, "partitions are lost");
            if let Some(listener) = &mut self.listener {
                listener.on_lost(&lost).await;
            }
        }
    }

    async fn unsubscribe(&mut self) {
        if self.membership.pass_gate().await {
            let owned = self.shared.lock().assignment();
            self.revoke(&owned).await;
            self.membership.leave("unsubscribed").await;
        }
        self.membership.shut_gate();
    }

    async fn close(&mut self) {
        let owned = self.shared.lock().assignment();
        if !owned.is_empty() {
            self.revoke(&owned).await;
        }
        self.membership.leave("closed").await;
    }
}

/// Keeps the member alive, and hears what the coordinator wants.
async fn heartbeats(membership: Arc<Membership>) {
    let shared = Arc::clone(&membership.shared);
    loop {
        tokio::time::sleep(membership.settings.heartbeat_interval).await;
        let member = shared.lock().member.clone();
        if member.generation < 0 {
            continue;
        }
        let answer = membership.heartbeat(&member).await;
        let mut state = shared.lock();
        if state.member != member {
            continue; // of an older generation
        }
        match answer {
            Ok(Code::NONE) => state.last_heard = Instant::now(),
            Ok(Code::REBALANCE_IN_PROGRESS) => {
                state.last_heard = Instant::now();
                state.rejoin = true;
            }
            Ok(Code::ILLEGAL_GENERATION | Code::UNKNOWN_MEMBER_ID) => state.is_lost = true,
            Ok(Code::FENCED_INSTANCE_ID) => {
                state.fatal = Some(ConsumerError::Fenced);
                state.subscription.clear();
                state.is_lost = true;
            }
            // Whoever is not heard for a whole session is expired by now, and must not go on as if it were not.
            Ok(_) | Err(_) => state.is_lost |= state.last_heard + membership.settings.session_timeout <= Instant::now(),
        }
        drop(state);
        shared.group.notify_one();
        shared.app.notify_one();
    }
}
