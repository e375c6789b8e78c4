//! One connection per broker and purpose, made when it is needed and again when it broke.
//!
//! Answers come in order (P-5), so a request that waits at the broker, as a Fetch or a JoinGroup does, would hold up
//! everything behind it: each such purpose is a [`Lane`] of its own. Whoever waits while somebody else connects takes what
//! comes of that, good or bad, so that a broker that is gone costs everybody one attempt and not each his own in turn.
//! Deliberately not here: repeating a request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
    /// How many attempts to connect have failed.
    failures: AtomicU64,
    state: tokio::sync::Mutex<SlotState>,
}

#[derive(Debug)]
struct SlotState {
    connection: Option<Arc<Connection>>,
    backoff: Backoff,
    /// Why the last attempt failed, and when the next one may begin.
    failed: Option<(CallError, Instant)>,
}

impl Slot {
    /// The open connection, if there is one at the moment; none while one is being made.
    fn peek(&self) -> Option<Arc<Connection>> {
        self.state.try_lock().ok()?.connection.clone().filter(|connection| connection.is_open())
    }
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
        state.slots.get(&(address, lane))?.peek()
    }

    /// Those who are connected first, then known brokers, then those to begin with; the first that answers.
    async fn any(&self, lane: Lane) -> Result<Arc<Connection>, CallError> {
        let mut candidates: Vec<_> = self.lock().addresses.values().cloned().collect();
        if !candidates.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % candidates.len();
            candidates.rotate_left(turn);
        }
        candidates.extend(self.bootstrap.iter().cloned());
        {
            let state = self.lock();
            let peek = |address: &(String, u16)| state.slots.get(&(address.clone(), lane))?.peek();
            candidates.sort_by_key(|address| peek(address).is_none());
        }
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
                let state = SlotState { connection: None, backoff: self.backoff.clone(), failed: None };
                Arc::new(Slot { failures: AtomicU64::new(0), state: tokio::sync::Mutex::new(state) })
            });
            Arc::clone(slot)
        };
        let (seen, count) = (slot.failures.load(Ordering::Acquire), &slot.failures);
        let mut slot = slot.state.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(connection));
        }
        slot.connection = None;
        if let Some((error, not_before)) = &slot.failed {
            if count.load(Ordering::Acquire) > seen {
                return Err(error.clone()); // of the attempt that was waited for
            }
            tokio::time::sleep_until(*not_before).await;
        }
        match Connection::open(&address.0, address.1, &self.dial).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                slot.connection = Some(Arc::clone(&connection));
                slot.backoff.reset();
                slot.failed = None;
                Ok(connection)
            }
            Err(error) => {
                let not_before = Instant::now() + slot.backoff.next();
                slot.failed = Some((error.clone(), not_before));
                count.fetch_add(1, Ordering::Release);
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
    use std::time::Duration;

    use super::*;
    use crate::fake::Fake;

    /// A pool that begins with a broker that hangs up at once, and goes on with a good one; how often the former was tried.
    async fn pool(good: &Fake) -> (Arc<Pool>, (String, u16), Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bad = ("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let tried = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tried);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let second = Duration::from_secs(1);
        let dial = Dial { client_id: "tester".to_owned(), connect_timeout: second, request_timeout: second };
        let backoff = Backoff::new(Duration::from_millis(1), second);
        let bootstrap = vec![bad.clone(), ("127.0.0.1".to_owned(), good.port)];
        (Arc::new(Pool::new(bootstrap, dial, backoff)), bad, tried)
    }

    #[tokio::test]
    async fn whoever_is_connected_is_asked_first() {
        let good = Fake::start(1, |_| None).await;
        let (pool, _, tried) = pool(&good).await;
        for _ in 0..3 {
            assert!(pool.get(To::Any, Lane::Control).await.unwrap().is_open());
        }
        assert_eq!(tried.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn those_who_wait_for_an_attempt_take_what_comes_of_it() {
        let good = Fake::start(1, |_| None).await;
        let (pool, bad, tried) = pool(&good).await;
        let tries = || pool.open(bad.clone(), Lane::Control);
        let all = tokio::join!(tries(), tries(), tries(), tries());
        assert!(all.0.is_err() && all.1.is_err() && all.2.is_err() && all.3.is_err());
        assert_eq!(tried.load(Ordering::Relaxed), 1);
        assert!(tries().await.is_err());
        assert_eq!(tried.load(Ordering::Relaxed), 2, "whoever comes later tries again");
    }

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
