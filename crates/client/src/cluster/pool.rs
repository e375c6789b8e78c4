//! One connection per broker and purpose, made when it is needed and again when it broke.
//!
//! Answers come in order (P-5), so a request that waits at the broker, as a Fetch or a JoinGroup does, would hold up
//! everything behind it: each such purpose is a [`Lane`] of its own. Deliberately not here: repeating a request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::error::Error;
use crate::net::{Backoff, CallError, Connection, Dial};

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// Whoever answers.
    Any,
    /// The broker with this node id.
    Node(i32),
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Requests that are answered at once.
    Control,
    /// Fetches, which wait for data.
    Fetch,
    /// Joins and syncs, which wait for other members.
    Join,
    /// Produces, which wait for disks.
    Produce,
}

/// The connections of one client.
#[derive(Debug)]
pub(crate) struct Pool {
    bootstrap: Vec<(String, u16)>,
    dial: Dial,
    backoff: Backoff,
    state: Mutex<PoolState>,
    /// Turns through whoever may be asked anything.
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct PoolState {
    addresses: BTreeMap<i32, (String, u16)>,
    slots: BTreeMap<((String, u16), Lane), Arc<Slot>>,
}

#[derive(Debug)]
struct Slot {
    state: tokio::sync::Mutex<SlotState>,
}

#[derive(Debug)]
struct SlotState {
    connection: Option<Arc<Connection>>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(bootstrap: Vec<(String, u16)>, dial: Dial, backoff: Backoff) -> Pool {
        Pool { bootstrap, dial, backoff, state: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// Where brokers are. A broker that moved gets new connections.
    pub(crate) fn learn(&self, brokers: impl IntoIterator<Item = (i32, String, u16)>) {
        let mut state = self.lock();
        for (node, host, port) in brokers {
            state.addresses.insert(node, (host, port));
        }
    }

    /// An open connection. Waits if the last attempt failed a moment ago. Safe to drop.
    pub(crate) async fn get(&self, to: To, lane: Lane) -> Result<Arc<Connection>, CallError> {
        match to {
            To::Node(node) => {
                let address = self.lock().addresses.get(&node).cloned();
                let why = || CallError::Broken { why: format!("broker {node} is not known"), sent: false };
                self.open(address.ok_or_else(why)?, lane).await
            }
            To::Any => self.any(lane).await,
        }
    }

    /// The open connection to a broker, if there is one at the moment.
    pub(crate) fn peek(&self, node: i32, lane: Lane) -> Option<Arc<Connection>> {
        let state = self.lock();
        let address = state.addresses.get(&node)?.clone();
        let slot = state.slots.get(&(address, lane))?.state.try_lock().ok()?; // held: it is being made
        slot.connection.clone().filter(|connection| connection.is_open())
    }

    /// Known brokers first, then those to begin with; the first that answers.
    async fn any(&self, lane: Lane) -> Result<Arc<Connection>, CallError> {
        let mut candidates: Vec<_> = self.lock().addresses.values().cloned().collect();
        if !candidates.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % candidates.len();
            candidates.rotate_left(turn);
        }
        candidates.extend(self.bootstrap.iter().cloned());
        let mut last = CallError::Broken { why: "no broker is known".to_owned(), sent: false };
        for address in candidates {
            match self.open(address, lane).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn open(&self, address: (String, u16), lane: Lane) -> Result<Arc<Connection>, CallError> {
        let slot = {
            let mut state = self.lock();
            let slot = state.slots.entry((address.clone(), lane)).or_insert_with(|| {
                let state = SlotState { connection: None, backoff: self.backoff.clone(), not_before: None };
                Arc::new(Slot { state: tokio::sync::Mutex::new(state) })
            });
            Arc::clone(slot)
        };
        let mut slot = slot.state.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(connection));
        }
        slot.connection = None;
        if let Some(not_before) = slot.not_before {
            tokio::time::sleep_until(not_before).await;
        }
        match Connection::open(&address.0, address.1, &self.dial).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                slot.connection = Some(Arc::clone(&connection));
                slot.backoff.reset();
                slot.not_before = None;
                Ok(connection)
            }
            Err(error) => {
                slot.not_before = Some(Instant::now() + slot.backoff.next());
                Err(error)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `bootstrap.servers`: `host:port`, `[ipv6]:port`, with commas between them.
pub(super) fn addresses(text: &str) -> Result<Vec<(String, u16)>, Error> {
    let one = |address: &str| {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| (host.to_owned(), port))
    };
    let all = text.split(',').map(str::trim).filter(|address| !address.is_empty());
    let all = all.map(|address| one(address).ok_or_else(|| Error::Invalid(format!("{address:?} is not HOST:PORT"))));
    match all.collect::<Result<Vec<_>, _>>()? {
        none if none.is_empty() => Err(Error::Invalid("bootstrap.servers names no address".to_owned())),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_servers_are_host_and_port_and_nothing_else() {
        let found = addresses("a:9092, [::1]:1 ,10.0.0.1:65535,").unwrap();
        let expected = [("a", 9092), ("::1", 1), ("10.0.0.1", 65535)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!(found, expected);
        for wrong in ["", ",", "a", "a:", "a:0", "a:65536", ":9092", "a:b"] {
            assert!(matches!(addresses(wrong), Err(Error::Invalid(_))), "{wrong:?}");
        }
    }
}
