//! One life of the broker: the real server over the real engine, on a simulated network and a simulated disk.
//!
//! The engine's two machines are moved by two tasks that let simulated time pass before each call of the disk. Deliberately not
//! here: when a life ends from outside (`storm`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use pagemark_broker::server::Server;
use pagemark_broker::settings::{Settings, SettingsSources};
use pagemark_core::planted::PlantedBug;
use pagemark_storage::local::ManualEngine;
use tokio::sync::Notify;

use super::host::{SimHost, now_us};
use super::network::SimNetwork;
use super::options::Options;
use super::trace::{Trace, TracedDisk};
use crate::disk::{DiskState, SimDisk};
use crate::rng::Rng;

/// How often the engine is looked at while it has nothing to do.
const IDLE: Duration = Duration::from_millis(1);
/// After so long without a write the log is marked idle, in looks.
const IDLE_MARK_LOOKS: u32 = 50;
/// So many looks of the background are a second, after which it looks for room on the disk.
const ROOM_LOOKS: u32 = 1_000;

/// The machine that the broker runs on; it outlives every process.
pub struct Machine {
    /// The run's options.
    pub options: Options,
    /// The bug that is planted in the server.
    pub planted: Option<PlantedBug>,
    /// What the last process left on the disk.
    pub left: RefCell<DiskState>,
    /// The disk of the process that runs.
    pub disk: RefCell<Option<Arc<SimDisk>>>,
    /// The connections of the process that runs.
    pub network: RefCell<SimNetwork>,
    /// Whether something was made to go wrong with the disk of the process that runs.
    pub meddled: Cell<bool>,
    /// How many processes there have been.
    pub lives: Rc<Cell<u64>>,
    /// How long a call of the disk takes at most now, microseconds.
    pub disk_us: Cell<u64>,
    /// How far the wall clock has jumped, milliseconds.
    pub jumped_ms: Arc<AtomicI64>,
    /// Asks the process to stop.
    pub stop: Notify,
    /// Why a process did not start or did not stop well, although nothing was wrong with the machine.
    pub complaints: RefCell<Vec<String>>,
    /// What happened last, for people.
    pub news: RefCell<Vec<(u64, String)>>,
    /// The run's log.
    pub trace: Arc<Trace>,
}

impl Machine {
    /// A new machine with an empty disk.
    #[must_use]
    pub fn new(options: Options, planted: Option<PlantedBug>, trace: Arc<Trace>) -> Machine {
        Machine {
            disk_us: Cell::new(options.disk_us),
            options,
            planted,
            left: RefCell::new(DiskState::new()),
            disk: RefCell::default(),
            network: RefCell::default(),
            meddled: Cell::new(false),
            lives: Rc::default(),
            jumped_ms: Arc::default(),
            stop: Notify::new(),
            complaints: RefCell::default(),
            news: RefCell::default(),
            trace,
        }
    }

    fn tell(&self, what: impl Into<String>) {
        let what = what.into();
        self.trace.note(&what);
        self.news.borrow_mut().push((now_us(), what));
    }

    /// Somebody did what must not happen; what was brought about from outside is no reason to complain.
    fn complain(&self, what: String) {
        if !self.meddled.get() {
            self.complaints.borrow_mut().push(what);
        }
    }
}

/// Closes what a killed life has left, once its tasks are gone: the runtime drops this future behind them.
struct CloseLast(SimNetwork);

impl Drop for CloseLast {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Runs until the broker is asked to stop, or ends by itself. A kill drops it at any await.
pub async fn live(machine: Rc<Machine>) {
    let network = CloseLast(machine.network.borrow().clone());
    let life = machine.lives.get() + 1;
    machine.lives.set(life);
    let seed = Rng::fork(machine.options.seed, 1_000 + life).next();
    machine.meddled.set(false);
    let disk = Arc::new(SimDisk::new(machine.left.borrow().clone(), seed));
    *machine.disk.borrow_mut() = Some(Arc::clone(&disk));
    let traced = Arc::new(TracedDisk::new(disk, Arc::clone(&machine.trace)));
    let manual = match ManualEngine::open(traced, machine.options.engine(life)) {
        Ok(manual) => Rc::new(manual),
        Err(error) => return did_not_start(&machine, &error.to_string()),
    };
    let flusher = tokio::task::spawn_local(flush(Rc::clone(&machine), Rc::clone(&manual), Rng::fork(seed, 1)));
    let background = tokio::task::spawn_local(upkeep(Rc::clone(&machine), Rc::clone(&manual), Rng::fork(seed, 2)));
    let sources = SettingsSources { file: None, env: Vec::new(), set: machine.options.settings() };
    let settings = Settings::load(sources).expect("the simulation's settings are legal").settings;
    let host = Arc::new(SimHost::new(Arc::clone(&machine.jumped_ms), Rng::fork(seed, 3), machine.planted));
    let server = match Server::start_on(&network.0, settings, manual.engine(), host, 2).await {
        Ok(server) => server,
        Err(error) => return did_not_start(&machine, &error.to_string()),
    };
    machine.tell(format!("life {life} serves"));
    tokio::select! {
        biased;
        why = server.failed() => {
            machine.tell(format!("life {life} has failed: {why}"));
            machine.complain(format!("the broker failed though nothing was wrong: {why}"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        () = machine.stop.notified() => {
            flusher.abort();
            background.abort();
            // The engine drives itself to its end from here on.
            let stopping = async { stop_by_hand(server, &manual).await };
            match tokio::time::timeout(Duration::from_secs(60), stopping).await {
                Ok(Ok(())) => machine.tell(format!("life {life} has stopped")),
                Ok(Err(error)) => {
                    machine.tell(format!("life {life} did not stop well: {error}"));
                    machine.complain(format!("the broker did not stop well: {error}"));
                }
                Err(_) => machine.complain("the broker did not stop in a minute".to_owned()),
            }
        }
    }
}

/// Stops the server while its last writes are flushed by hand.
async fn stop_by_hand(server: Server, manual: &ManualEngine) -> Result<(), pagemark_storage::engine::EngineError> {
    let stopping = server.stop();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            biased;
            stopped = &mut stopping => return stopped,
            () = tokio::time::sleep(IDLE) => { manual.step_flush(); }
        }
    }
}

fn did_not_start(machine: &Machine, why: &str) {
    machine.tell(format!("life {} did not start: {why}", machine.lives.get()));
    machine.complain(format!("the broker does not start: {why}"));
}

async fn flush(machine: Rc<Machine>, manual: Rc<ManualEngine>, mut rng: Rng) {
    let mut idle = 0;
    loop {
        if !manual.begin_flush() {
            tokio::time::sleep(IDLE).await;
            idle += 1;
            if idle == IDLE_MARK_LOOKS {
                manual.write_idle_mark();
            }
            continue;
        }
        idle = 0;
        let mut more = true;
        while more {
            pass(&machine, &mut rng).await;
            more = manual.run_one_op();
        }
    }
}

async fn upkeep(machine: Rc<Machine>, manual: Rc<ManualEngine>, mut rng: Rng) {
    let mut looks = 0_u32;
    loop {
        pass(&machine, &mut rng).await;
        if !manual.step_background() {
            tokio::time::sleep(IDLE).await;
            looks += 1;
            if looks.is_multiple_of(ROOM_LOOKS) {
                manual.look_at_room();
            }
        }
    }
}

/// The time that a call of the disk takes.
async fn pass(machine: &Machine, rng: &mut Rng) {
    tokio::time::sleep(Duration::from_micros(1 + rng.below(machine.disk_us.get()))).await;
}
