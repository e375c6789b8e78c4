//! Accepting connections on one listener.
//!
//! Deliberately not here: what a connection does (`connection`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connection;
use super::network::Listener;
use crate::broker::{Broker, Client};
use crate::server::Phase;
use crate::settings::Address;
use crate::watched::Watcher;

/// How long to wait after `accept` failed for want of file handles.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Accepts until told to stop. `advertised` is what clients of this listener are told to connect to.
pub async fn accept(broker: Arc<Broker>, listener: impl Listener, advertised: Address, phase: Watcher<Phase>) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Finishing) => return,
            accepted = listener.accept() => accepted,
        };
        let (read, write, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file handles, mostly: those connected go on, newcomers wait.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let most = broker.configs.settings().max_connections.min(broker.host.most_connections());
        let Some(place) = Place::below(most, &broker) else {
            tracing::warn!(client = %peer, most, "max.connections or the limit on open files is reached; closing a new connection");
            continue;
        };
        let client = Client::new(format!("/{}", peer.ip()), advertised.clone());
        let broker = Arc::clone(&broker);
        let phase = phase.clone();
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase == Phase::Closed) => {}
                () = connection::serve(broker, client, read, write) => {}
            }
        });
    }
}

/// The place of one connection among those that there may be, until it is dropped, however the connection ends.
struct Place(Arc<Broker>);

impl Place {
    fn below(most: usize, broker: &Arc<Broker>) -> Option<Place> {
        let open = &broker.metrics.connections;
        let more = |count| (count < most).then_some(count + 1);
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok().then(|| Place(Arc::clone(broker)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
