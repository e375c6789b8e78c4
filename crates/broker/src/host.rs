//! What the outside world gives a broker besides sockets and a disk: the time, randomness, the machine's limits.
//!
//! The only file that reads a clock or a random source, so that a simulation can put its own in their place.
//! Deliberately not here: waiting; tokio's timers do that, and a simulation runs those on simulated time.

use std::time::SystemTime;

use pagemark_core::planted::PlantedBug;
use pagemark_core::time::{MonoMs, Now, WallMs};
use uuid::Uuid;

/// The outside world, as far as decisions depend on it.
pub trait Host: Send + Sync + 'static {
    /// Both clocks at this moment.
    fn now(&self) -> Now;
    /// A random UUID of version 4: topic ids, member ids, the cluster's id.
    fn fresh_uuid(&self) -> Uuid;
    /// The bug that a simulation has planted. Has no effect without the feature `planted-bugs`.
    fn planted(&self) -> Option<PlantedBug> {
        None
    }
    /// How many connections this process can hold and still open the files it needs.
    fn most_connections(&self) -> usize {
        usize::MAX
    }
}

/// The machine this process runs on.
#[derive(Debug)]
pub struct RealHost {
    started: tokio::time::Instant,
    most_connections: usize,
}

impl RealHost {
    /// A host whose monotonic clock starts now.
    #[must_use]
    pub fn new() -> RealHost {
        RealHost { started: tokio::time::Instant::now(), most_connections: usize::MAX }
    }

    /// The same where only so many connections leave enough open files to the log.
    #[must_use]
    pub fn with_most_connections(mut self, connections: usize) -> RealHost {
        self.most_connections = connections;
        self
    }
}

impl Default for RealHost {
    fn default() -> Self {
        RealHost::new()
    }
}

impl Host for RealHost {
    #[allow(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let mono = self.started.elapsed().as_millis() as u64;
        Now { mono: MonoMs(mono), wall: WallMs(wall) }
    }

    #[allow(clippy::disallowed_methods, reason = "this is where randomness comes from")]
    fn fresh_uuid(&self) -> Uuid {
        Uuid::new_v4()
    }

    fn most_connections(&self) -> usize {
        self.most_connections
    }
}

/// The tokio moment at which the monotonic clock of `host` will show `deadline`.
#[must_use]
pub fn tokio_deadline(now: Now, deadline: MonoMs) -> tokio::time::Instant {
    tokio::time::Instant::now() + std::time::Duration::from_millis(deadline.0.saturating_sub(now.mono.0))
}
