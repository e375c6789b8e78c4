//! A broker on simulated time: the clock jumps to the next timer whenever nobody has anything to do, so that hours take
//! milliseconds and a measured wait is exact. The sockets are real.

use std::sync::Arc;

use bytes::Bytes;
use pagemark_broker::metadata::registry::Topic;
use pagemark_broker::server::Server;
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::frame::{LENGTH_PREFIX_LEN, encode_request};
use pagemark_wire::messages::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::raw::decode;
use super::{releasing, settings, start};

/// A broker to which time means nothing.
pub struct Simulated {
    server: Server,
}

/// A connection to it.
pub struct SimulatedClient {
    pub socket: TcpStream,
}

/// Runs a scenario against a broker in memory with these settings.
pub fn simulated<T>(changes: &[&str], scenario: impl AsyncFnOnce(Simulated) -> T) -> T {
    simulated_on(&Arc::new(MemoryEngine::new()), changes, scenario)
}

/// The same over an engine that may make nothing durable by itself; it does until the broker has started.
pub fn simulated_on<T>(engine: &Arc<MemoryEngine>, changes: &[&str], scenario: impl AsyncFnOnce(Simulated) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let server = releasing(engine, || {
        runtime.block_on(async {
            let server = start(Arc::clone(engine) as _, settings(changes)).await;
            while server.broker().executors.census().await.loading_shards > 0 {}
            server
        })
    });
    runtime.block_on(scenario(Simulated { server }))
}

impl Simulated {
    /// A published topic.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.server.broker().registry.view().by_name(name).cloned()
    }

    pub async fn client(&self) -> SimulatedClient {
        let address = ("127.0.0.1", self.server.listening[0].1.port);
        SimulatedClient { socket: TcpStream::connect(address).await.expect("the broker accepts") }
    }
}

impl SimulatedClient {
    pub async fn ask<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Answer {
        self.send(version, request).await;
        self.receive::<Q>(version).await
    }

    pub async fn send<Q: Request>(&mut self, version: i16, request: &Q) {
        let frame = encode_request(Q::API, version, 1, Some("tester"), request).expect("it can be encoded");
        self.socket.write_all(&frame).await.expect("it can be sent");
    }

    pub async fn receive<Q: Request>(&mut self, version: i16) -> Q::Answer {
        let mut prefix = [0; LENGTH_PREFIX_LEN];
        self.socket.read_exact(&mut prefix).await.expect("an answer");
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.socket.read_exact(&mut frame).await.expect("a whole answer");
        decode(Q::API, version, &Bytes::from(frame))
    }

    /// Waits until the broker closes, and says how long that took.
    pub async fn closed(&mut self) -> std::time::Duration {
        let begun = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let _ = self.socket.read_to_end(&mut rest).await; // a reset is a close too
        assert!(rest.is_empty(), "nothing comes before the close");
        begun.elapsed()
    }
}
