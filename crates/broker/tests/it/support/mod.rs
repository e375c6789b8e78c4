//! A broker to test with, on free ports and any engine; ends like a stop or like a kill.

pub mod batches;
pub mod client;
pub mod clock;
pub mod configs;
pub mod engines;
pub mod member;
pub mod raw;
pub mod simulated;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pagemark_broker::broker::Broker;
use pagemark_broker::host::{Host, RealHost};
use pagemark_broker::server::Server;
use pagemark_broker::settings::{Settings, SettingsSources};
use pagemark_storage::engine::Engine;
use pagemark_storage::local::{LocalEngine, LocalOptions};
use pagemark_storage::memory::MemoryEngine;
use tokio::runtime::Runtime;

pub use client::Client;

/// Longest wait for anything. Nothing comes near it unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker.
pub struct Rig {
    // Dropped first: clients of the server end with its tasks.
    server: Option<Server>,
    runtime: Runtime,
    /// Where Kafka clients connect.
    pub address: SocketAddr,
    /// Where HTTP is served.
    pub http: SocketAddr,
}

/// The settings of a test broker, with these changes.
pub fn settings(changes: &[&str]) -> Settings {
    let defaults = [
        "listeners=PLAINTEXT://127.0.0.1:0",
        "pagemark.http.listener=127.0.0.1:0",
        "offsets.topic.num.partitions=4",
        "group.initial.rebalance.delay.ms=0",
        "group.min.session.timeout.ms=100",
    ];
    let set = defaults.iter().chain(changes).map(ToString::to_string).collect();
    let sources = SettingsSources { file: None, env: Vec::new(), set };
    Settings::load(sources).expect("the test's settings are legal").settings
}

/// An engine on a directory, with small files.
pub fn local_engine(dir: &Path) -> Arc<LocalEngine> {
    let options =
        LocalOptions { first_file_bytes: 1 << 20, log_file_bytes: 1 << 20, ready_files: 0, ..LocalOptions::default() };
    LocalEngine::open(dir, options).expect("the directory can be opened")
}

impl Rig {
    /// A broker in memory.
    pub fn memory() -> Rig {
        Rig::on(Arc::new(MemoryEngine::new()), &[])
    }

    /// A broker in memory with some settings changed.
    pub fn with(changes: &[&str]) -> Rig {
        Rig::on(Arc::new(MemoryEngine::new()), changes)
    }

    /// A broker on a directory.
    pub fn local(dir: &Path) -> Rig {
        Rig::on(local_engine(dir), &[])
    }

    /// A broker on any engine, with its groups loaded.
    pub fn on(engine: Arc<dyn Engine>, changes: &[&str]) -> Rig {
        let rig = Rig::at_once(engine, changes);
        rig.wait_for_load();
        rig
    }

    /// Waits until all groups are loaded.
    pub fn wait_for_load(&self) {
        until("the groups are loaded", || self.block_on(self.broker().executors.census()).loading_shards == 0);
    }

    /// A broker on any engine, which may still be loading its groups.
    pub fn at_once(engine: Arc<dyn Engine>, changes: &[&str]) -> Rig {
        let runtime = runtime();
        let server = runtime.block_on(start(engine, settings(changes)));
        Rig::around(runtime, server)
    }

    /// A broker on any engine whose clocks are these, with its groups loaded.
    pub fn by_clock(engine: Arc<dyn Engine>, host: Arc<dyn Host>, changes: &[&str]) -> Rig {
        let runtime = runtime();
        let server = runtime.block_on(Server::start(settings(changes), engine, host, 2)).expect("the broker starts");
        let rig = Rig::around(runtime, server);
        rig.wait_for_load();
        rig
    }

    /// A broker whose engine makes nothing durable by itself.
    pub fn released_by_hand(changes: &[&str]) -> (Rig, Arc<MemoryEngine>) {
        let engine = Arc::new(MemoryEngine::released_by_hand());
        let rig = releasing(&engine, || Rig::on(Arc::clone(&engine) as _, changes));
        (rig, engine)
    }

    fn around(runtime: Runtime, server: Server) -> Rig {
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let address = local(server.listening[0].1.port);
        let http = local(server.http.as_ref().map_or(0, |a| a.port));
        Rig { server: Some(server), runtime, address, http }
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The broker within.
    pub fn broker(&self) -> &Arc<Broker> {
        self.server().broker()
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it was not stopped")
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).expect("it happens in time")
    }

    /// Stops it as an operator would.
    pub fn stop(mut self) {
        let server = self.server.take().expect("it was not stopped");
        self.block_on(server.stop()).expect("a healthy broker stops cleanly");
    }

    /// Ends it as a kill would: nothing is finished, nothing is written any more.
    pub fn kill(self) {}
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

pub async fn start(engine: Arc<dyn Engine>, settings: Settings) -> Server {
    Server::start(settings, engine, Arc::new(RealHost::new()), 2).await.expect("the broker starts")
}

/// Runs something that needs the disk while the disk is released again and again.
pub fn releasing<T: Send>(engine: &MemoryEngine, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        until("the work is done", || {
            engine.release();
            working.is_finished()
        });
        working.join().expect("the work goes well")
    })
}

/// Looks again and again, without sleeping, until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = deadline();
    while !is_so() {
        assert!(!passed(deadline), "this did not happen: {what}");
        std::thread::yield_now();
    }
}

#[allow(clippy::disallowed_methods, reason = "a bound that fails the test, never one that it waits for")]
fn deadline() -> std::time::Instant {
    std::time::Instant::now() + PATIENCE
}

#[allow(clippy::disallowed_methods, reason = "a bound that fails the test, never one that it waits for")]
fn passed(deadline: std::time::Instant) -> bool {
    std::time::Instant::now() > deadline
}
