//! How far the engine has come, as something to wait for.
//!
//! The engine's thread tells; executors and the few requests that wait by themselves listen.
//! Deliberately not here: what is released when (`executor`).

use std::sync::Arc;

use pagemark_storage::engine::{Engine, EngineError, Progress, ProgressListener, Ticket};

use crate::watched::{Watched, Watcher};

/// The engine's progress of the moment, for any number of waiters.
#[derive(Clone)]
pub struct ProgressHub {
    latest: Watched<Progress>,
    /// Its failure once more, for those who would be woken by each flush only to see that there is none.
    failure: Watched<Option<Arc<str>>>,
}

impl ProgressListener for ProgressHub {
    fn progressed(&self, progress: &Progress) {
        advance(&self.latest, progress);
        if let Some(why) = &progress.failed {
            self.failure.set(Some(Arc::clone(why)));
        }
    }
}

/// Takes a report in. Reports come from several threads and may come late: progress never goes back, a failure never ends.
fn advance(latest: &Watched<Progress>, report: &Progress) {
    latest.change(|known| {
        known.durable = known.durable.max(report.durable);
        if known.failed.is_none() {
            known.failed.clone_from(&report.failed);
        }
    });
}

impl ProgressHub {
    /// Begins to listen to the engine.
    #[must_use]
    pub fn new(engine: &Arc<dyn Engine>) -> Arc<ProgressHub> {
        let hub = ProgressHub { latest: Watched::new(engine.progress()), failure: Watched::new(None) };
        engine.watch(Arc::new(hub.clone()));
        hub.progressed(&engine.progress());
        Arc::new(hub)
    }

    /// A view that tells when it has changed.
    #[must_use]
    pub fn subscribe(&self) -> Watcher<Progress> {
        self.latest.watch()
    }

    /// A view that tells when the engine has failed, and why.
    #[must_use]
    pub fn failure(&self) -> Watcher<Option<Arc<str>>> {
        self.failure.watch()
    }

    /// Waits until the write with this ticket is durable.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if the engine failed before; whether the write is durable is unknown then.
    pub async fn durable(&self, Ticket(lsn): Ticket) -> Result<(), EngineError> {
        let progress = self.subscribe().wait_for(|p| p.durable >= lsn || p.failed.is_some()).await;
        match progress.failed {
            Some(why) if progress.durable < lsn => Err(EngineError::Stopped(why)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use pagemark_storage::engine::Lsn;

    use super::*;

    #[test]
    fn a_report_that_comes_late_hides_neither_progress_nor_a_failure() {
        let report = |durable, failed: Option<&str>| Progress { durable: Lsn(durable), failed: failed.map(Arc::from) };
        let latest = Watched::new(report(0, None));
        advance(&latest, &report(7, None));
        advance(&latest, &report(7, Some("gone")));
        advance(&latest, &report(5, None));
        assert_eq!(latest.watch().look(), report(7, Some("gone")));
    }
}
