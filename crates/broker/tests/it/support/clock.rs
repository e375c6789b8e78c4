//! A host whose clocks a test can put forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pagemark_broker::host::{Host, RealHost};
use pagemark_core::time::{MonoMs, Now, WallMs};

/// Both clocks of the machine, so much later. Whoever waits for a time is not woken by putting it forward.
pub struct LaterHost {
    real: RealHost,
    later_ms: AtomicU64,
}

impl LaterHost {
    pub fn new(later_ms: u64) -> Arc<LaterHost> {
        Arc::new(LaterHost { real: RealHost::new(), later_ms: AtomicU64::new(later_ms) })
    }

    /// Lets so much time be over.
    pub fn pass(&self, ms: u64) {
        self.later_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// How much later it is than on the machine.
    pub fn later_ms(&self) -> u64 {
        self.later_ms.load(Ordering::SeqCst)
    }
}

impl Host for LaterHost {
    fn now(&self) -> Now {
        let (now, later_ms) = (self.real.now(), self.later_ms());
        Now { mono: MonoMs(now.mono.0 + later_ms), wall: WallMs(now.wall.0 + later_ms as i64) }
    }

    fn fresh_uuid(&self) -> uuid::Uuid {
        self.real.fresh_uuid()
    }
}
