//! The surroundings of commands: the clock, and the signals that end them.
//!
//! In one place, so that everything else takes the time as an argument. Deliberately not here: the broker's own host.

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Waits until somebody wants this to end: Ctrl-C, or the SIGTERM of a supervisor.
pub async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        tokio::signal::ctrl_c().await.ok();
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
