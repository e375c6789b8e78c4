//! What a broker needs of a network: a place to listen, and two halves of each connection.
//!
//! A process has the system's TCP ([`Tcp`]); a simulation brings its own, so that it is this very server that it runs.
//! Deliberately not here: HTTP, which is for people and always on the system's sockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A network on which one can listen.
pub trait Network: Send + Sync + 'static {
    /// What listening gives.
    type Listener: Listener;

    /// Listens on a host's port; 0 is any that is free.
    fn bind(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Self::Listener>> + Send;
}

/// One address that takes connections.
pub trait Listener: Send + Sync + 'static {
    /// What a client sends.
    type Read: ReadHalf;
    /// What a client is sent.
    type Write: AsyncWrite + Send + Unpin + 'static;

    /// The port it listens on.
    ///
    /// # Errors
    /// What the network says.
    fn port(&self) -> io::Result<u16>;

    /// The next connection and who it is. Cancel safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Read, Self::Write, SocketAddr)>> + Send;
}

/// The half of a connection from which requests are read.
pub trait ReadHalf: AsyncRead + Send + Sync + Unpin + 'static {
    /// Waits until the client has closed its side, without reading: bytes that came before may still be unread. A network
    /// that cannot tell never returns; the end is then seen when what came before has been read.
    fn closed(&self) -> impl Future<Output = ()> + Send;
}

/// The system's own TCP.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

impl Network for Tcp {
    type Listener = TcpListener;

    async fn bind(&self, host: &str, port: u16) -> io::Result<TcpListener> {
        TcpListener::bind((host, port)).await
    }
}

impl Listener for TcpListener {
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;

    fn port(&self) -> io::Result<u16> {
        Ok(self.local_addr()?.port())
    }

    async fn accept(&self) -> io::Result<(OwnedReadHalf, OwnedWriteHalf, SocketAddr)> {
        let (socket, peer) = TcpListener::accept(self).await?;
        // Answers are small and awaited: never wait to fill a packet.
        let _ = TcpStream::set_nodelay(&socket, true);
        let (read, write) = socket.into_split();
        Ok((read, write, peer))
    }
}

impl ReadHalf for OwnedReadHalf {
    #[cfg(target_os = "linux")]
    async fn closed(&self) {
        // Told of no urgent data, since the socket is not registered for it; only of the end, of which this interest is told too.
        let _ = self.ready(tokio::io::Interest::PRIORITY).await;
    }

    #[cfg(not(target_os = "linux"))]
    async fn closed(&self) {
        std::future::pending().await
    }
}
