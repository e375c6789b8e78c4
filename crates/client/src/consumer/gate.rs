//! The gate between a group and its application, and how long the group waits at it and for commits.
//!
//! Partitions move only while the application asks for records. Deliberately not here: moving them.

use tokio::time::Instant;

use super::listener::PartitionSet;
use super::membership::Membership;
use super::state::{Gate, Phase};

impl Membership {
    pub(super) fn stalls_at(&self) -> Instant {
        let state = self.shared.lock();
        let from = if state.is_polling { Instant::now() } else { state.last_poll };
        from + self.settings.max_poll_interval
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalls_at() <= Instant::now()
    }

    /// With auto-commit commits what was processed of these; waits for all commits, whoever asked for them.
    pub(super) async fn commit(&self, partitions: &PartitionSet) {
        if self.settings.auto_commit.is_some() {
            let mut state = self.shared.lock();
            let mut offsets = state.uncommitted();
            offsets.retain(|partition, _| partitions.contains(partition));
            if !offsets.is_empty() {
                state.queue.push(offsets, None, self.cluster.deadline());
            }
        }
        self.drain_commits().await;
    }

    /// Waits until nothing is to be committed any more; each commit has its own time limit.
    pub(super) async fn drain_commits(&self) {
        self.shared.commits.notify_one();
        while !self.shared.lock().queue.is_empty() {
            self.shared.drained.notified().await;
        }
    }

    /// Waits until the application asks for records; false if it does not come in time.
    pub(super) async fn pass_gate(&self) -> bool {
        {
            let mut state = self.shared.lock();
            state.gate = if state.is_polling { Gate::Passed } else { Gate::Wanted };
        }
        self.shared.app.notify_one();
        loop {
            {
                let state = self.shared.lock();
                if state.gate == Gate::Passed || state.is_closing {
                    return true;
                }
                if state.is_lost {
                    return false;
                }
            }
            if self.is_stalled() {
                return false;
            }
            tokio::select! {
                () = self.shared.group.notified() => {}
                () = tokio::time::sleep_until(self.stalls_at()) => {}
            }
        }
    }

    pub(super) fn shut_gate(&self) {
        self.shared.lock().gate = Gate::Shut;
        self.shared.app.notify_one();
    }

    /// Waits until something cannot wait for a join: the consumer closes, or is out of the group.
    pub(super) async fn interrupted(&self) {
        let is_urgent = || {
            let state = self.shared.lock();
            state.is_closing || state.is_lost
        };
        while !is_urgent() {
            self.shared.group.notified().await;
        }
    }

    /// Waits until the group can be left without keeping the others waiting. Whoever has an id can always say that it goes.
    /// One without, and a static member, which does not say so, end what they have begun.
    pub(super) async fn leavable(&self) {
        let can_leave = || {
            let state = self.shared.lock();
            let can_say_so = state.member.instance_id.is_none() && !state.member.member_id.is_empty();
            can_say_so || state.phase == Phase::Settled
        };
        while !can_leave() {
            self.shared.group.notified().await;
        }
    }

    pub(super) async fn closing(&self) {
        while !self.shared.lock().is_closing {
            self.shared.group.notified().await;
        }
    }

    pub(super) async fn sleep_unless_closing(&self, until: Instant) {
        tokio::select! { () = tokio::time::sleep_until(until) => {}, () = self.closing() => {} }
    }
}
