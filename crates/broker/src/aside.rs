//! Work that may take long, in a place where it keeps nobody waiting.
//!
//! A worker of the runtime serves many connections; whoever reads from a disk or computes over a large batch must not hold it.
//! Deliberately not here: which work is long, which its callers know.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Does it here and now, while the other tasks of this worker go on elsewhere.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if has_workers() { tokio::task::block_in_place(work) } else { work() }
}

fn has_workers() -> bool {
    Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// A queue before work that only so many may do at a time: first come, first served.
#[derive(Debug)]
pub struct Turns(Semaphore);

impl Turns {
    /// Turns for so many at a time.
    #[must_use]
    pub const fn of(workers: usize) -> Turns {
        Turns(Semaphore::const_new(workers))
    }

    /// Waits for a turn, which ends when it is dropped.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.0.acquire().await.ok() // never closed
    }
}

/// Does it on a thread for such work. `None` if it panicked. Where the runtime has one worker only, as in a simulation, it is
/// done here and now: which of two threads is faster is nothing that could be replayed.
pub async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if has_workers() { tokio::task::spawn_blocking(work).await.ok() } else { Some(work()) }
}
