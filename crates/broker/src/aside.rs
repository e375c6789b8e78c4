//! Work that may take long, in a place where it keeps nobody waiting.
//!
//! A worker of the runtime serves many connections; whoever reads from a disk or computes over a large batch must not hold it.
//! Deliberately not here: which work is long, which its callers know.

use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

/// Reads of the disk that are under way at a time, for all connections together.
const DISK_READS: usize = 16;

/// Does it here and now, while the other tasks of this worker go on elsewhere.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    let has_workers = || Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_workers() { tokio::task::block_in_place(work) } else { work() }
}

/// Those who wait to read from the disk: first come, first served.
#[derive(Debug, Clone)]
pub struct DiskQueue(Arc<Semaphore>);

impl Default for DiskQueue {
    fn default() -> Self {
        DiskQueue(Arc::new(Semaphore::new(DISK_READS)))
    }
}

impl DiskQueue {
    /// A queue of one connection, in which one waits at a time.
    #[must_use]
    pub fn of_one() -> DiskQueue {
        DiskQueue(Arc::new(Semaphore::new(1)))
    }

    /// Waits for a turn, which ends when it is dropped.
    pub async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.0.acquire().await.ok() // never closed
    }
}

/// Does it on a thread for such work. `None` if it panicked.
pub async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
