//! The simulated network as the broker sees it.
//!
//! Deliberately not here: how long messages take and which are lost; the simulation says.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use pagemark_broker::net::network::{Listener, Network, ReadHalf};
use tokio::io::{AsyncRead, ReadBuf};
use turmoil::net::TcpListener;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The network of the simulation that runs in this thread.
pub struct SimNetwork;

impl Network for SimNetwork {
    type Listener = SimListener;

    async fn bind(&self, _host: &str, port: u16) -> io::Result<SimListener> {
        Ok(SimListener { listener: TcpListener::bind(("0.0.0.0", port)).await?, port })
    }
}

/// A port of the broker's machine.
pub struct SimListener {
    listener: TcpListener,
    port: u16,
}

impl Listener for SimListener {
    type Read = SimReadHalf;
    type Write = OwnedWriteHalf;

    fn port(&self) -> io::Result<u16> {
        Ok(self.port)
    }

    async fn accept(&self) -> io::Result<(SimReadHalf, OwnedWriteHalf, SocketAddr)> {
        let (socket, peer) = self.listener.accept().await?;
        let (read, write) = socket.into_split();
        Ok((SimReadHalf(read), write, peer))
    }
}

/// What a client sends.
pub struct SimReadHalf(OwnedReadHalf);

impl AsyncRead for SimReadHalf {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl ReadHalf for SimReadHalf {
    /// This network cannot tell.
    async fn closed(&self) {
        std::future::pending().await
    }
}
