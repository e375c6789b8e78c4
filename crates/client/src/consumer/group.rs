//! The task that keeps this consumer in its group: joins, gives partitions up, takes partitions on.
//!
//! Partitions are given up and taken on only while the application asks for records (the gate, `gate.rs`): what it got before, it
//! has then processed or dropped. Heartbeats go on meanwhile, from a task of their own. An application that does not ask
//! for `max.poll.interval.ms` loses its partitions. Deliberately not here: the calls themselves.

use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::assignor::Assignor;
use super::error::ConsumerError;
use super::heartbeat;
use super::listener::{AnyListener, PartitionSet, Rebalance};
use super::membership::{Counts, GroupError, LEAVE_PATIENCE, Membership, Synced};
use super::state::{Joining, Position, Shared};
use crate::error::Error;
use crate::net::Backoff;

pub(super) struct Group {
    membership: Arc<Membership>,
    shared: Arc<Shared>,
    listener: Option<Box<dyn AnyListener>>,
    rebalance: Rebalance,
    /// Topics as they were when the group was joined: those subscribed to, and of its leader those of all members.
    counts: Counts,
    /// When these are to be compared with what is there.
    look_again_at: Instant,
    /// The join that is under way, if any. It goes on while the consumer closes, so that it is left where it can be left.
    joining: JoinSet<Result<Synced, GroupError>>,
    heartbeats: AbortHandle,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.heartbeats.abort();
        if !self.shared.lock().is_closing {
            self.shared.fail(ConsumerError::Fatal(Error::Closed)); // a listener has panicked: nobody keeps the group any more
        }
    }
}

impl Group {
    pub(super) fn new(membership: Membership, listener: Option<Box<dyn AnyListener>>) -> Group {
        let membership = Arc::new(membership);
        let shared = Arc::clone(&membership.shared);
        let heartbeats = tokio::spawn(heartbeat::run(Arc::clone(&membership))).abort_handle();
        let rebalance = Rebalance { shared: Arc::clone(&shared), cluster: Arc::clone(&membership.cluster) };
        let (counts, look_again_at, joining) = (Counts::new(), Instant::now(), JoinSet::new());
        Group { membership, shared, listener, rebalance, counts, look_again_at, joining, heartbeats }
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
                    if self.shared.lock().is_lost {
                        self.lose().await; // the listener hears it now, not after the wait
                    }
                    self.membership.sleep_unless_closing(Instant::now() + backoff.next()).await;
                }
                Err(GroupError::Fatal(error)) => {
                    self.shared.fail(error);
                    self.shared.lock().subscription.clear();
                    self.lose().await;
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
            (_, true, _) if self.membership.is_stalled() => self.drop_out().await,
            (_, true, false) => self.unsubscribe().await,
            (_, false, false) => self.shared.group.notified().await,
            (_, false, true) if self.membership.is_stalled() => self.shared.group.notified().await,
            (_, true, true) if !rejoin => return self.stay().await,
            (_, _, true) => return self.join().await,
        }
        Ok(())
    }

    /// The application does not ask for records any more: its partitions go to others, if they have not gone already.
    async fn drop_out(&mut self) {
        if self.shared.lock().is_lost {
            return self.lose().await;
        }
        tracing::warn!(group = self.membership.group, "no poll within max.poll.interval.ms: leaving the group");
        self.shared.lock().is_lost = true;
        self.membership.leave("no poll within max.poll.interval.ms").await;
        self.lose().await;
    }

    /// Waits for a reason to do something.
    async fn stay(&mut self) -> Result<(), GroupError> {
        let looking = async {
            tokio::time::sleep_until(self.look_again_at).await;
            self.membership.cluster.refresh_now().await
        };
        tokio::select! {
            () = self.shared.group.notified() => {}
            () = tokio::time::sleep_until(self.membership.stalls_at()) => {}
            looked = looking => {
                looked?;
                let found = self.membership.counts(self.counts.keys().map(String::as_str));
                if found != self.counts {
                    self.shared.lock().rejoin = true;
                }
                self.compare_with(found);
            }
        }
        Ok(())
    }

    /// What topics are compared with from now on. If one is missing it is looked for soon again.
    fn compare_with(&mut self, counts: Counts) {
        let settings = self.membership.cluster.settings();
        let is_incomplete = counts.values().any(Option::is_none);
        let age = if is_incomplete { settings.retry_backoff_max } else { settings.metadata_max_age };
        (self.counts, self.look_again_at) = (counts, Instant::now() + age);
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
        let topics: Vec<String> = {
            let mut state = self.shared.lock();
            let topics: Vec<String> = state.subscription.iter().cloned().collect();
            if topics.is_empty() {
                return Ok(()); // unsubscribed meanwhile
            }
            // What changes from here on is a reason to join again. That the group rebalances is none.
            state.rejoin = false;
            topics
        };
        let joined = self.join_with(topics).await;
        if joined.is_err() {
            self.shared.lock().rejoin = true;
        }
        joined
    }

    /// Joins, and takes on what this member gets in the next generation. Returns early for what is more urgent.
    async fn join_with(&mut self, topics: Vec<String>) -> Result<(), GroupError> {
        let (membership, joining) = (Arc::clone(&self.membership), Joining::begin(&self.shared));
        membership.cluster.want(topics.iter().map(String::as_str));
        tokio::select! {
            refreshed = membership.cluster.refresh_now() => drop(refreshed?),
            () = self.membership.interrupted() => return Ok(()),
        }
        self.compare_with(membership.counts(topics.iter().map(String::as_str)));
        self.joining.spawn(async move { membership.next_assignment(joining, &topics).await });
        let Synced { partitions, counts } = tokio::select! {
            Some(joined) = self.joining.join_next() => match joined {
                Ok(synced) => synced?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
            () = self.membership.interrupted() => return Ok(()),
        };
        if let Some(counts) = counts {
            self.compare_with(counts);
        }
        self.take_assignment(partitions).await;
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
            return self.drop_out().await;
        }
        if !revoked.is_empty() {
            self.revoke(&revoked).await;
            self.shared.lock().rejoin = true;
        }
        if self.shared.lock().is_lost {
            return; // and these with the others
        }
        if !added.is_empty() {
            self.shared.lock().assign(added.iter().cloned(), |_| Position::Undecided);
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
        self.membership.commit(partitions).await;
        if let Some(listener) = &mut self.listener {
            listener.on_revoked(&self.rebalance, partitions).await;
        }
        self.membership.drain_commits().await;
        self.shared.lock().partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// The group went on without us.
    async fn lose(&mut self) {
        self.joining.shutdown().await;
        let lost = {
            let mut state = self.shared.lock();
            state.member.generation = -1;
            state.is_lost = false;
            state.rejoin = false;
            let lost = state.assignment();
            state.partitions.clear();
            lost
        };
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
        let (is_lost, is_manual, owned) = {
            let state = self.shared.lock();
            (state.is_lost, state.is_manual, state.assignment())
        };
        if is_lost {
            self.lose().await;
        } else if is_manual || owned.is_empty() {
            self.membership.commit(&owned).await; // what was assigned by hand is not the listener's
        } else {
            self.revoke(&owned).await;
        }
        tokio::time::timeout(LEAVE_PATIENCE, self.membership.leavable()).await.ok(); // its session ends by itself
        self.joining.shutdown().await;
        self.membership.leave("closed").await;
    }
}
