//! The outside world of a simulated broker: clocks that the simulation moves, and randomness that its seed determines.
//!
//! Deliberately not here: sockets (`network`), the disk (`disk`).

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pagemark_broker::host::Host;
use pagemark_core::planted::PlantedBug;
use pagemark_core::time::{MonoMs, Now, WallMs};
use uuid::Uuid;

use crate::rng::Rng;

/// The wall clock's reading when a simulation begins: some day in 2026.
const BEGIN_MS: i64 = 1_780_000_000_000;

/// One life's view of the machine.
pub struct SimHost {
    /// How far the wall clock has jumped, milliseconds. The machine's, so that it outlives the process.
    jumped_ms: Arc<AtomicI64>,
    rng: Mutex<Rng>,
    planted: Option<PlantedBug>,
}

impl SimHost {
    /// A host whose randomness is this life's own.
    #[must_use]
    pub fn new(jumped_ms: Arc<AtomicI64>, rng: Rng, planted: Option<PlantedBug>) -> SimHost {
        SimHost { jumped_ms, rng: Mutex::new(rng), planted }
    }
}

/// Microseconds since the simulation began.
#[must_use]
pub fn now_us() -> u64 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_micros() as u64)
}

impl Host for SimHost {
    fn now(&self) -> Now {
        let mono = now_us() / 1_000;
        Now { mono: MonoMs(mono), wall: WallMs(BEGIN_MS + mono as i64 + self.jumped_ms.load(Ordering::Relaxed)) }
    }

    fn planted(&self) -> Option<PlantedBug> {
        self.planted
    }

    fn fresh_uuid(&self) -> Uuid {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let (high, low) = (rng.next(), rng.next());
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid()
    }
}
