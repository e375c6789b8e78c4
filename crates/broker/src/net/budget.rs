//! One budget of memory for all bytes received and not yet dealt with, and for all answers not yet written.
//!
//! What a client announces costs nothing; only bytes that arrived are charged, until their request is answered; from then on
//! its answer is, until the client has taken it. Small frames are let through even when the budget is spent, so that
//! heartbeats and commits are not starved by large produces (G-9). Answers with records keep to one half of it, so that slow
//! consumers do not starve producers.
//! Deliberately not here: the log's own caches, which have limits of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Shared by all connections.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    released: Notify,
}

/// Bytes charged to the budget; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget { limit_bytes, used_bytes: AtomicUsize::new(0), released: Notify::new() })
    }

    /// Bytes charged at the moment.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Charges nothing yet.
    #[must_use]
    pub fn charge(self: &Arc<MemoryBudget>) -> Charge {
        Charge { budget: Arc::clone(self), bytes: 0 }
    }

    /// Waits until there is room for at least one more byte of someone who is charged `own_bytes` already. Those do not
    /// count, or a request larger than the budget would wait for itself.
    pub async fn room(&self, own_bytes: usize) {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.used_bytes().saturating_sub(own_bytes) < self.limit_bytes {
                return;
            }
            released.await;
        }
    }
}

impl Charge {
    /// Charges up to `wished_bytes` more for an answer, as many as leave half of the budget to requests; returns how many.
    pub fn grow_for_answer(&mut self, wished_bytes: usize) -> usize {
        let limit = self.budget.limit_bytes / 2;
        let granted = |used: usize| wished_bytes.min(limit.saturating_sub(used));
        let used = &self.budget.used_bytes;
        let before = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used + granted(used)));
        let granted = granted(before.unwrap_or_else(|same| same)); // there is no condition on it
        self.bytes += granted;
        granted
    }

    /// Takes over what another is charged.
    pub fn absorb(&mut self, mut other: Charge) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Charges `bytes` in all, more or less than before.
    pub fn resize(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.budget.used_bytes.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.budget.used_bytes.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.budget.released.notify_waiters();
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.resize(0);
    }
}
