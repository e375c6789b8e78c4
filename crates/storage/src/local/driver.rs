//! Who executes the machines' disk operations: two threads in production, or a test, one operation at a time.
//!
//! This is the only file of the crate that knows threads and waiting. Everything it drives is a plain value, so a run by hand is
//! the same code, without clock, thread or random source; two equal runs make equal calls to the disk.
//!
//! By hand ([`ManualEngine`]):
//!
//! ```text
//! let manual = ManualEngine::open(disk, options)?;      recovery itself runs inside open, call by call on `disk`
//! let engine = manual.engine();                         Arc<LocalEngine>: append, read, txn ... as in production
//! manual.step_flush()                                   one whole flush; false: nothing was pending
//! manual.begin_flush()                                  takes what is pending; true while a flush is under way
//! manual.run_one_op()                                   the next disk call of that flush; false: none under way (any more)
//! manual.step_background()                              one disk call of checkpoint, recycling or zero-filling; false: idle
//! manual.request_checkpoint(); manual.run_background()  a checkpoint, and whatever else is due (flush first)
//! manual.write_idle_mark()                              what production writes after 50 ms without writes
//! engine.close()                                        flush, last checkpoint, clean mark; drives itself
//! drop(manual), drop(engine)                            as a kill: nothing more is written
//! ```
//!
//! Deliberately not here: any decision about what to write.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::flusher::Flusher;
use super::lane::CheckpointWish;
use super::ops::DiskOp;
use super::options::LocalOptions;
use super::recycler::Background;
use super::{Core, LocalEngine, OpenError};
use crate::disk::Disk;
use crate::engine::EngineError;

/// While flushes come in, the background looks for something to do once in this time, unless it is in the middle of something or the
/// room has to be looked at: woken by each of thousands of flushes a second, it would find nothing nearly always.
const REST: Duration = Duration::from_millis(20);

/// The two machines.
pub(super) struct Machines {
    pub flusher: Flusher,
    pub background: Background,
}

/// Who drives them.
pub(super) enum Driver {
    Threads(Threads),
    Manual(Mutex<Machines>),
}

/// Production: one thread each.
pub(super) struct Threads {
    core: Arc<Core>,
    stop: Arc<AtomicBool>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Driver {
    /// Starts the threads.
    pub(super) fn start(core: &Arc<Core>, machines: Machines) -> io::Result<Driver> {
        let threads = Threads { core: core.clone(), stop: Arc::default(), handles: Mutex::default() };
        let Machines { flusher, background } = machines;
        let (core_of_flusher, stop) = (core.clone(), threads.stop.clone());
        threads.spawn("log-flusher", move || run_flusher(&core_of_flusher, flusher, &stop))?;
        let (core_of_background, stop) = (core.clone(), threads.stop.clone());
        threads.spawn("log-background", move || run_background(&core_of_background, background, &stop))?;
        Ok(Driver::Threads(threads))
    }

    /// Refuses new writes, makes everything durable, takes the last checkpoint, and ends the threads.
    pub(super) fn close(&self, core: &Core) -> Result<(), EngineError> {
        {
            let mut lane = core.lane();
            // Whoever else calls this waits for the same end and hears the same of it.
            if !lane.closed {
                lane.closed = true;
                lane.wish = CheckpointWish::Clean;
            }
        }
        match self {
            Driver::Threads(threads) => {
                core.flusher_wakes.notify_all();
                core.background_wakes.notify_all();
                let mut lane = core.lane();
                while lane.failed.is_none() && lane.clean_stop.is_none() {
                    lane = core.moved.wait(lane).unwrap_or_else(PoisonError::into_inner);
                }
                drop(lane);
                threads.stop();
            }
            Driver::Manual(machines) => {
                let machines = &mut *machines.lock().unwrap_or_else(PoisonError::into_inner);
                while machines.flush_op(core) || machines.flusher.begin(&mut core.lane()) {}
                while core.lane().clean_stop.is_none() && machines.background_op(core) {}
            }
        }
        let lane = core.lane();
        match (&lane.failed, &lane.clean_stop) {
            (None, Some(Ok(()))) => Ok(()),
            (Some(reason), _) | (None, Some(Err(reason))) => Err(EngineError::Stopped(reason.clone())),
            (None, None) => Err(EngineError::Stopped("the last checkpoint was not finished".into())),
        }
    }
}

impl Machines {
    /// One operation of the flush under way.
    fn flush_op(&mut self, core: &Core) -> bool {
        flush_op(core, &mut self.flusher)
    }

    fn background_op(&mut self, core: &Core) -> bool {
        background_op(core, &mut self.background)
    }
}

fn flush_op(core: &Core, flusher: &mut Flusher) -> bool {
    let op = flusher.poll(&mut core.lane());
    let Some(op) = op else { return false };
    let result = op.execute(&*core.disk);
    let announce = flusher.done(&mut core.lane(), result);
    if announce {
        core.announce();
    }
    true
}

fn background_op(core: &Core, background: &mut Background) -> bool {
    let op = background.poll(&mut core.lane());
    let Some(op) = op else { return false };
    execute_background(core, background, &op);
    true
}

fn execute_background(core: &Core, background: &mut Background, op: &DiskOp) {
    let result = op.execute(&*core.disk);
    let mut lane = core.lane();
    background.done(&mut lane, result);
    let (failed, stopped) = (lane.failed.is_some(), lane.clean_stop.is_some());
    drop(lane);
    if failed {
        core.announce();
    } else if stopped {
        core.moved.notify_all();
    }
}

impl Threads {
    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let core = self.core.clone();
        let guarded = move || {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                core.lane().fail("one of the engine's threads panicked");
                core.announce();
            }
        };
        let handle = std::thread::Builder::new().name(name.to_string()).spawn(guarded)?;
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok(())
    }

    fn stop(&self) {
        {
            // Under the lock, so that no thread is between its last look and its sleep.
            let _lane = self.core.lane();
            self.stop.store(true, Ordering::Relaxed);
        }
        self.core.flusher_wakes.notify_all();
        self.core.background_wakes.notify_all();
        for handle in self.handles.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A listener may hold the last reference, which is then dropped by a thread of the engine: it ends by itself.
            if handle.thread().id() != std::thread::current().id() {
                // A panic of the thread has been reported by itself.
                let _ = handle.join();
            }
        }
    }
}

impl Drop for Threads {
    /// As a kill: the threads end, nothing more is written.
    fn drop(&mut self) {
        self.stop();
    }
}

fn run_flusher(core: &Core, mut flusher: Flusher, stop: &AtomicBool) {
    let (idle, buffers) = {
        let lane = core.lane();
        (Duration::from_millis(lane.options.idle_mark_ms), Arc::clone(&lane.writer.buffers))
    };
    let mut marked = false;
    loop {
        let mut lane = core.lane();
        loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if flusher.begin(&mut lane) {
                marked = false;
                break;
            }
            if marked || lane.closed {
                lane = core.flusher_wakes.wait(lane).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (back, timeout) = core.flusher_wakes.wait_timeout(lane, idle).unwrap_or_else(PoisonError::into_inner);
            lane = back;
            if timeout.timed_out() && !lane.closed {
                marked = true;
                flusher.begin_idle_mark(&mut lane);
                break;
            }
        }
        drop(lane);
        if marked {
            buffers.let_go();
        }
        while flush_op(core, &mut flusher) {}
    }
}

fn run_background(core: &Core, mut background: Background, stop: &AtomicBool) {
    let buffers = Arc::clone(&core.lane().writer.buffers);
    let mut seen_flushes = 0;
    loop {
        let mut lane = core.lane();
        let op = loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if let Some(op) = background.poll(&mut lane) {
                break op;
            }
            let flushes = std::mem::replace(&mut seen_flushes, lane.stats.flushes);
            let rests = flushes != seen_flushes && !background.waits_for_flush() && !lane.space.is_scarce();
            lane.background_rests = rests;
            // A reader that lets go of a file wakes nobody, hence the limit.
            let limit = if rests { REST } else { Duration::from_secs(1) };
            let woken = core.background_wakes.wait_timeout(lane, limit);
            let (back, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            lane = back;
            if timeout.timed_out() && !rests {
                // Others use the disk as well; and buffers may have come back since the flusher let them go.
                lane.space.due = true;
                drop(lane);
                buffers.let_go();
                lane = core.lane();
            }
        };
        drop(lane);
        execute_background(core, &mut background, &op);
    }
}

/// An engine that moves only when told to, on any disk. For simulations and tests.
pub struct ManualEngine {
    engine: Arc<LocalEngine>,
}

impl ManualEngine {
    /// Opens what is on a disk (recovering it), or makes an empty engine there. All disk calls happen in the caller's thread.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(disk: Arc<dyn Disk>, options: LocalOptions) -> Result<ManualEngine, OpenError> {
        LocalEngine::open_manual(disk, options).map(|engine| ManualEngine { engine })
    }

    /// The engine itself.
    #[must_use]
    pub fn engine(&self) -> Arc<LocalEngine> {
        self.engine.clone()
    }

    fn with<T>(&self, step: impl FnOnce(&Core, &mut Machines) -> T) -> T {
        let Driver::Manual(machines) = &self.engine.driver else { unreachable!("opened by hand") };
        step(&self.engine.core, &mut machines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what is pending into a flush. `true` if one is under way now, begun by this call or before.
    pub fn begin_flush(&self) -> bool {
        self.with(|core, machines| machines.flusher.begin(&mut core.lane()))
    }

    /// Does the next disk call of the flush under way; the last one announces progress. `false` if none is under way.
    pub fn run_one_op(&self) -> bool {
        self.with(|core, machines| machines.flush_op(core))
    }

    /// Does one whole flush, or the rest of the one under way. `false` if there was nothing to do.
    pub fn step_flush(&self) -> bool {
        self.with(|core, machines| {
            let begun = machines.flusher.begin(&mut core.lane());
            while machines.flush_op(core) {}
            begun
        })
    }

    /// Does one disk call of the background. `false` if there is nothing to do, or it has to wait for a flush.
    pub fn step_background(&self) -> bool {
        self.with(|core, machines| machines.background_op(core))
    }

    /// Does everything the background has to do.
    pub fn run_background(&self) {
        while self.step_background() {}
    }

    /// Asks for a checkpoint; the background takes it.
    pub fn request_checkpoint(&self) {
        self.engine.request_checkpoint();
    }

    /// Wants the background to look at how much room there is, as it does every second in production.
    pub fn look_at_room(&self) {
        self.engine.core.lane().space.due = true;
    }

    /// Writes what production writes when nothing was written for a while. `false` if it was there, or something is pending.
    pub fn write_idle_mark(&self) -> bool {
        self.with(|core, machines| {
            let begun = !machines.flusher.in_flight() && machines.flusher.begin_idle_mark(&mut core.lane());
            if begun {
                machines.flush_op(core);
            }
            begun
        })
    }
}
