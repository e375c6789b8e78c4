//! The simulated network as the broker sees it.
//!
//! A process that dies leaves its connections in the order in which its runtime drops its tasks, and that depends on the numbers
//! which tasks get: on whatever else this process has run. So the halves of a dying life are kept and then closed in the order
//! in which they were opened. Deliberately not here: how long messages take and which are lost; the simulation says.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use pagemark_broker::net::network::{Listener, Network, ReadHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpListener;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The network of the simulation that runs in this thread, as one life of the broker has it.
#[derive(Clone, Default)]
pub struct SimNetwork(Arc<Connections>);

/// What becomes of a life's connections.
#[derive(Default)]
struct Connections {
    accepted: AtomicU64,
    closed: AtomicU64,
    /// What was dropped since the life began to die.
    left: Mutex<Option<Left>>,
}

/// What nobody holds any more, by its number.
type Left = BTreeMap<HalfNumber, Box<dyn Send>>;
/// A connection's number and [`READS`] or [`WRITES`].
type HalfNumber = (u64, u8);

const READS: u8 = 0;
const WRITES: u8 = 1;

impl SimNetwork {
    /// From now on the halves that are dropped stay open until [`SimNetwork::close`].
    pub fn dies(&self) {
        self.left().get_or_insert_default();
    }

    /// Closes what a dying life has left. To be called on the broker's machine: elsewhere nobody hears of it.
    pub fn close(&self) {
        let left = self.left().take();
        for half in left.into_iter().flatten() {
            drop(half);
            self.0.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many halves it has closed.
    pub fn closed(&self) -> u64 {
        self.0.closed.load(Ordering::Relaxed)
    }

    fn left(&self) -> MutexGuard<'_, Option<Left>> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for SimNetwork {
    type Listener = SimListener;

    async fn bind(&self, _host: &str, port: u16) -> io::Result<SimListener> {
        Ok(SimListener { listener: TcpListener::bind(("0.0.0.0", port)).await?, port, network: self.clone() })
    }
}

/// A port of the broker's machine.
pub struct SimListener {
    listener: TcpListener,
    port: u16,
    network: SimNetwork,
}

impl Listener for SimListener {
    type Read = SimHalf<OwnedReadHalf>;
    type Write = SimHalf<OwnedWriteHalf>;

    fn port(&self) -> io::Result<u16> {
        Ok(self.port)
    }

    async fn accept(&self) -> io::Result<(Self::Read, Self::Write, SocketAddr)> {
        let (socket, peer) = self.listener.accept().await?;
        let (read, write) = socket.into_split();
        let number = self.network.0.accepted.fetch_add(1, Ordering::Relaxed);
        let of = |half| (number, half);
        Ok((SimHalf::new(read, of(READS), &self.network), SimHalf::new(write, of(WRITES), &self.network), peer))
    }
}

/// One half of a connection, as the broker holds it.
pub struct SimHalf<H: Send + 'static> {
    half: Option<H>,
    number: HalfNumber,
    network: SimNetwork,
}

impl<H: Send + 'static> SimHalf<H> {
    fn new(half: H, number: HalfNumber, network: &SimNetwork) -> SimHalf<H> {
        SimHalf { half: Some(half), number, network: network.clone() }
    }

    fn half(&mut self) -> Pin<&mut H>
    where
        H: Unpin,
    {
        Pin::new(self.half.as_mut().expect("a half is there until it is dropped"))
    }
}

impl<H: Send + 'static> Drop for SimHalf<H> {
    fn drop(&mut self) {
        let half = self.half.take();
        if let Some(left) = &mut *self.network.left() {
            left.insert(self.number, Box::new(half));
        }
    }
}

impl AsyncRead for SimHalf<OwnedReadHalf> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.half().poll_read(cx, buffer)
    }
}

impl ReadHalf for SimHalf<OwnedReadHalf> {
    /// This network cannot tell.
    async fn closed(&self) {
        std::future::pending().await
    }
}

impl AsyncWrite for SimHalf<OwnedWriteHalf> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.half().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half().poll_shutdown(cx)
    }
}
