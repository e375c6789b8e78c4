//! The engine under test: the real one, moved one disk operation at a time.
//!
//! Deliberately not here: which operation comes when.

use std::sync::Arc;

use pagemark_storage::engine::{Engine, EngineError};
use pagemark_storage::local::{EngineStats, LocalEngine, LocalOptions, ManualEngine};

use crate::disk::SimDisk;

/// An engine on a simulated disk.
pub struct Rig {
    /// Its disk.
    pub disk: Arc<SimDisk>,
    /// The engine as its callers see it.
    pub engine: Arc<LocalEngine>,
    manual: ManualEngine,
}

impl Rig {
    /// Opens what is on the disk.
    ///
    /// # Errors
    /// Why the engine refused.
    pub fn open(disk: Arc<SimDisk>, options: LocalOptions) -> Result<Rig, String> {
        let manual = ManualEngine::open(disk.clone(), options).map_err(|error| error.to_string())?;
        Ok(Rig { disk, engine: manual.engine(), manual })
    }

    /// One disk operation of a flush, beginning one if there is something to flush. `false` if there was nothing to do.
    pub fn step_flush(&self) -> bool {
        self.manual.begin_flush() && self.manual.run_one_op()
    }

    /// One disk operation of the background. `false` if it had nothing to do.
    pub fn step_background(&self) -> bool {
        self.manual.step_background()
    }

    /// What is written when nothing has been for a while; nothing if something is pending.
    pub fn write_idle_mark(&self) {
        self.manual.write_idle_mark();
    }

    /// Flushes until nothing is pending.
    pub fn settle(&self) {
        while self.manual.step_flush() {}
    }

    /// Stops cleanly.
    ///
    /// # Errors
    /// As [`Engine::close`].
    pub fn close(&self) -> Result<(), EngineError> {
        self.engine.close()
    }

    /// What the engine counted in this life.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.engine.stats()
    }
}
