//! How far the engine has come, as something to wait for.
//!
//! The engine's thread tells; executors and the few requests that wait by themselves listen.
//! Deliberately not here: what is released when (`executor`).

use std::sync::Arc;

use pagemark_storage::engine::{Engine, EngineError, Progress, ProgressListener, Ticket};
use tokio::sync::watch;

/// The engine's progress of the moment, for any number of waiters.
pub struct ProgressHub {
    latest: watch::Sender<Progress>,
}

struct Publish(watch::Sender<Progress>);

impl ProgressListener for Publish {
    fn progressed(&self, progress: &Progress) {
        self.0.send_replace(progress.clone());
    }
}

impl ProgressHub {
    /// Begins to listen to the engine.
    #[must_use]
    pub fn new(engine: &Arc<dyn Engine>) -> Arc<ProgressHub> {
        let latest = watch::Sender::new(engine.progress());
        engine.watch(Arc::new(Publish(latest.clone())));
        latest.send_replace(engine.progress());
        Arc::new(ProgressHub { latest })
    }

    /// A view that tells when it has changed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.latest.subscribe()
    }

    /// Waits until the write with this ticket is durable.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if the engine failed before; whether the write is durable is unknown then.
    pub async fn durable(&self, Ticket(lsn): Ticket) -> Result<(), EngineError> {
        let mut latest = self.subscribe();
        let reached = latest.wait_for(|p| p.durable >= lsn || p.failed.is_some()).await;
        let progress = reached.map_err(|_| EngineError::Stopped(Arc::from("the broker is shutting down")))?;
        match &progress.failed {
            Some(why) if progress.durable < lsn => Err(EngineError::Stopped(Arc::clone(why))),
            _ => Ok(()),
        }
    }
}
