//! What goes wrong, and when: kills, power cuts, failing and full disks, lost messages, clocks that jump.
//!
//! It stands outside the simulated machines and looks once a tick. Deliberately not here: which kinds of trouble a run has
//! (`options`), how long it lasts (`mod.rs`).

use std::rc::Rc;
use std::sync::atomic::Ordering;

use turmoil::Sim;

use super::life::Machine;
use super::options::Trouble;
use crate::disk::{Fault, FaultKind, Part};
use crate::rng::Rng;

/// The broker's machine on the network.
pub const BROKER: &str = "broker";
/// Those whose messages can be held and lost.
pub const CLIENTS: [&str; 3] = ["client-0", "client-1", "client-2"];

/// What stands between a client and the broker at the moment.
#[derive(Debug, Clone, Copy)]
enum Wall {
    Held,
    Cut,
}

/// Who makes things go wrong.
pub struct Storm {
    machine: Rc<Machine>,
    rng: Rng,
    next_ms: u64,
    /// When the broker is started again, if it does not run.
    start_ms: Option<u64>,
    walls: Vec<(usize, Wall, u64)>,
    slow_until_ms: Option<u64>,
    /// How often each kind of trouble struck.
    pub struck: Vec<(u64, Trouble)>,
}

impl Storm {
    /// Nothing has gone wrong yet.
    #[must_use]
    pub fn new(machine: Rc<Machine>) -> Storm {
        let rng = Rng::fork(machine.options.seed, 1);
        Storm {
            machine,
            rng,
            next_ms: 1_000,
            start_ms: None,
            walls: Vec::new(),
            slow_until_ms: None,
            struck: Vec::new(),
        }
    }

    /// What happens at this moment of the storm.
    pub fn tick(&mut self, sim: &mut Sim<'_>, now_ms: u64) {
        self.look_after(sim, now_ms);
        self.lift(sim, now_ms);
        if now_ms < self.next_ms {
            return;
        }
        self.next_ms = now_ms + self.rng.below(2 * self.machine.options.trouble_every_ms) + 1;
        let troubles = &self.machine.options.troubles;
        if !troubles.is_empty() {
            let trouble = troubles[self.rng.index(troubles.len())];
            self.strike(sim, trouble, now_ms);
        }
    }

    /// Nothing goes wrong any more, and the broker runs or is about to.
    pub fn end(&mut self, sim: &mut Sim<'_>) {
        self.lift(sim, u64::MAX);
        // A disk that was told to fail later must not: the process that has it goes.
        if self.start_ms.is_none() {
            self.end_life(sim, 0, false);
        }
        self.start_ms = Some(0);
    }

    /// Starts the broker when it is time, and notices when it is gone.
    pub fn look_after(&mut self, sim: &mut Sim<'_>, now_ms: u64) {
        if let Some(at) = self.start_ms {
            if now_ms >= at {
                self.start_ms = None;
                sim.bounce(BROKER);
            }
            return;
        }
        let crashed = self.machine.disk.borrow().as_ref().is_some_and(|disk| disk.crashed());
        if crashed {
            let power = self.rng.chance(1, 2);
            self.end_life(sim, now_ms, power);
        } else if !sim.is_host_running(BROKER) {
            // It ended by itself; its supervisor starts it again.
            self.end_life(sim, now_ms, false);
        }
    }

    fn strike(&mut self, sim: &mut Sim<'_>, trouble: Trouble, now_ms: u64) {
        self.struck.push((now_ms, trouble));
        self.machine.trace.note(&format!("{now_ms} ms: {trouble:?}"));
        let running = self.start_ms.is_none();
        let ios = self.machine.disk.borrow().as_ref().map_or(0, |disk| disk.counts().ios);
        let soon = ios + self.rng.below(30);
        match trouble {
            Trouble::Kill if running => self.end_life(sim, now_ms, false),
            Trouble::PowerCut if running => self.end_life(sim, now_ms, true),
            Trouble::CrashWithinIo => self.inject(soon, FaultKind::Crash),
            Trouble::Stop if running => self.machine.stop.notify_one(),
            Trouble::Hold => self.build(sim, now_ms, Wall::Held),
            Trouble::Cut => self.build(sim, now_ms, Wall::Cut),
            Trouble::ClockJump => {
                let most = [60_000, 86_400_000, 31_536_000_000][self.rng.index(3)];
                let by = self.rng.below(2 * most) as i64 - most as i64;
                self.machine.jumped_ms.fetch_add(by, Ordering::Relaxed);
            }
            Trouble::SlowDisk => {
                self.machine.disk_us.set(self.machine.options.disk_us * (10 + self.rng.below(90)));
                self.slow_until_ms = Some(now_ms + 100 + self.rng.below(3_000));
            }
            Trouble::DiskError => {
                let kind = match self.rng.below(5) {
                    0 => FaultKind::SyncError(None),
                    1 => FaultKind::SyncError(Some(Part::ALL[self.rng.index(4)])),
                    2 => FaultKind::DirSyncError(Some(Part::ALL[self.rng.index(4)])),
                    3 => FaultKind::WriteError(None),
                    _ => FaultKind::NoSpace(Part::ALL[self.rng.index(4)]),
                };
                self.inject(soon, kind);
            }
            Trouble::DiskFull => {
                let until = soon + 5 + self.rng.below(200);
                let told = self.rng.chance(2, 3);
                self.inject(soon, FaultKind::DiskFull { until, told });
            }
            Trouble::Kill | Trouble::PowerCut | Trouble::Stop => {}
        }
    }

    fn inject(&self, from_io: u64, kind: FaultKind) {
        if let Some(disk) = self.machine.disk.borrow().as_ref() {
            self.machine.meddled.set(true);
            disk.inject(Fault { from_io, kind });
        }
    }

    /// The process dies, or with the power the machine; it is started again after a while.
    pub fn end_life(&mut self, sim: &mut Sim<'_>, now_ms: u64, power: bool) {
        let network = self.machine.network.borrow().clone();
        network.dies();
        sim.crash(BROKER);
        if let Some(disk) = self.machine.disk.borrow_mut().take() {
            let mut left = disk.state();
            if power {
                left.power_cut(&mut self.rng)
            } else {
                left.kill(&mut self.rng)
            }
            *self.machine.left.borrow_mut() = left;
        }
        let (life, closed) = (self.machine.lives.get(), network.closed());
        self.machine.trace.note(&format!("{now_ms} ms: life {life} is over, power: {power}, halves closed: {closed}"));
        self.start_ms = Some(now_ms + 1 + self.rng.below(2_000));
    }

    fn build(&mut self, sim: &Sim<'_>, now_ms: u64, wall: Wall) {
        let client = self.rng.index(CLIENTS.len());
        if self.walls.iter().any(|(of, ..)| *of == client) {
            return;
        }
        match wall {
            Wall::Held => sim.hold(CLIENTS[client], BROKER),
            Wall::Cut => sim.partition(CLIENTS[client], BROKER),
        }
        self.walls.push((client, wall, now_ms + 100 + self.rng.below(8_000)));
    }

    fn lift(&mut self, sim: &Sim<'_>, now_ms: u64) {
        self.walls.retain(|(client, wall, until)| {
            if now_ms < *until {
                return true;
            }
            match wall {
                Wall::Held => sim.release(CLIENTS[*client], BROKER),
                Wall::Cut => sim.repair(CLIENTS[*client], BROKER),
            }
            false
        });
        if self.slow_until_ms.is_some_and(|until| now_ms >= until) {
            self.slow_until_ms = None;
            self.machine.disk_us.set(self.machine.options.disk_us);
        }
    }
}
