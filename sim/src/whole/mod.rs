//! The whole server under simulation: the real broker and engine, simulated network, disk and time, clients that write down
//! what they see, and trouble.
//!
//! A run is a pure function of its seed: a storm in which things go wrong, a calm in which everything begun must come to its
//! end, a last power cut, and then all is read once more. What the clients saw is checked afterwards (`crate::history`).
//! Deliberately not here: foreign clients, real disks, real kills; those have rigs of their own.

pub mod actors;
pub mod calls;
pub mod host;
pub mod life;
pub mod link;
pub mod network;
pub mod options;
pub mod storm;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod world;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};

use pagemark_core::planted::PlantedBug;
use turmoil::Sim;

use crate::history::check::{Violation, check};
use crate::history::{Event, What};
use crate::rng::Rng;
use actors::{admin, judge, member, producer, reader, zombie};
use life::Machine;
use options::Options;
use storm::{BROKER, CLIENTS, Storm};
use trace::Trace;
use world::{Stage, World};

/// How long the calm may take until all that was begun has come to its end, milliseconds.
const CALM_MS: u64 = 120_000;
/// How long reading everything at the end may take, milliseconds.
const LAST_WORD_MS: u64 = 60_000;

/// What came of a run.
pub struct Outcome {
    /// What the run consisted of.
    pub options: Options,
    /// What the clients saw.
    pub history: Vec<Event>,
    /// Every request, answer and I/O.
    pub trace: Vec<String>,
    /// What happened to the broker, with the microsecond.
    pub news: Vec<(u64, String)>,
    /// How often things went wrong.
    pub troubles: usize,
    /// Lives of the broker.
    pub lives: u64,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    run_with(Options::of(seed), None)
}

/// Runs with these options, and perhaps with a bug planted in the server.
#[must_use]
pub fn run_with(options: Options, planted: Option<PlantedBug>) -> Outcome {
    catch_panics();
    let trace = Arc::new(Trace::default());
    let machine = Rc::new(Machine::new(options.clone(), planted, Arc::clone(&trace)));
    let world = World::new(options.clone(), Rc::clone(&machine.lives), Arc::clone(&trace));
    let mut sim = build(&options, &machine, &world);
    let mut storm = Storm::new(Rc::clone(&machine));
    drive(&mut sim, &mut storm, &machine, &world);
    world.tell_unanswered(sim.elapsed().as_micros() as u64);
    drop(sim);
    let history = world.history.take();
    let mut violations = check(&history);
    violations.extend(world.violations.take());
    violations.extend(machine.complaints.take().into_iter().map(|text| Violation { invariant: 38, text }));
    violations.extend(PANICS.take().into_iter().map(|text| Violation { invariant: 41, text }));
    Outcome {
        options,
        history,
        trace: trace.take(),
        news: machine.news.take(),
        troubles: storm.struck.len(),
        lives: machine.lives.get(),
        violations,
    }
}

fn build(options: &Options, machine: &Rc<Machine>, world: &Rc<World>) -> Sim<'static> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(options.seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(Duration::from_secs(3_600))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(100))
        .max_message_latency(Duration::from_millis(options.latency_ms))
        .tcp_capacity(1 << 16)
        .build();
    let of_host = Rc::clone(machine);
    sim.host(BROKER, move || {
        let machine = Rc::clone(&of_host);
        // A life that ended by itself leaves connections that only go with its runtime.
        machine.network.take().close();
        async move {
            life::live(machine).await;
            Ok(())
        }
    });
    let mut casts = CLIENTS.map(|_| Vec::new());
    for (at, actor) in cast(options, world).into_iter().enumerate() {
        casts[at % CLIENTS.len()].push(actor);
    }
    for (client, cast) in CLIENTS.into_iter().zip(casts) {
        let cast = RefCell::new(cast);
        sim.host(client, move || {
            let mine: Vec<Actor> = cast.take();
            async move {
                let tasks: Vec<_> = mine.into_iter().map(tokio::task::spawn_local).collect();
                for task in tasks {
                    let _ = task.await; // a panic has been noted
                }
                Ok(())
            }
        });
    }
    sim
}

type Actor = Pin<Box<dyn Future<Output = ()>>>;

/// Those who take part, each with randomness of its own.
fn cast(options: &Options, world: &Rc<World>) -> Vec<Actor> {
    let mut cast: Vec<Actor> = Vec::new();
    let mut part = 10;
    let mut rng = || {
        part += 1;
        Rng::fork(options.seed, part)
    };
    cast.push(Box::pin(admin::run(Rc::clone(world), "admin".into(), rng())));
    cast.push(Box::pin(reader::run(Rc::clone(world), "reader".into(), rng())));
    cast.push(Box::pin(judge::run(Rc::clone(world), "judge".into(), rng())));
    for n in 0..options.producers {
        cast.push(Box::pin(producer::run(Rc::clone(world), format!("producer-{n}"), rng())));
    }
    for n in 0..options.members {
        cast.push(Box::pin(member::run(Rc::clone(world), format!("member-{n}"), rng())));
    }
    for n in 0..options.zombies {
        cast.push(Box::pin(zombie::run(Rc::clone(world), format!("zombie-{n}"), rng())));
    }
    cast
}

fn drive(sim: &mut Sim<'_>, storm: &mut Storm, machine: &Machine, world: &World) {
    let options = &machine.options;
    let elapsed_ms = |sim: &Sim<'_>| sim.elapsed().as_millis() as u64;
    while elapsed_ms(sim) < options.storm_ms {
        step(sim, world);
        let now = elapsed_ms(sim);
        storm.tick(sim, now);
    }
    storm.end(sim);
    world.stage.set(Stage::Calm);
    note(world, sim, What::Calm);
    if !wait(sim, storm, world, Stage::LastWord, options.storm_ms + CALM_MS) {
        return not_live(world, "what was begun in the storm has not come to its end");
    }
    let now = elapsed_ms(sim);
    storm.end_life(sim, now, true);
    if !wait(sim, storm, world, Stage::Over, now + LAST_WORD_MS) {
        not_live(world, "what is stored cannot be read at the end");
    }
}

/// Steps until a stage is reached; `false` if that takes too long.
fn wait(sim: &mut Sim<'_>, storm: &mut Storm, world: &World, stage: Stage, until_ms: u64) -> bool {
    while world.stage.get() < stage {
        let now = sim.elapsed().as_millis() as u64;
        if now > until_ms {
            return false;
        }
        storm.look_after(sim, now);
        step(sim, world);
    }
    true
}

fn step(sim: &mut Sim<'_>, world: &World) {
    if let Err(error) = sim.step() {
        world.accuse(41, format!("a simulated machine failed: {error}"));
    }
}

fn not_live(world: &World, what: &str) {
    world.accuse(27, format!("{what}; {} are busy", world.busy.get()));
    world.stage.set(Stage::Over);
}

fn note(world: &World, sim: &Sim<'_>, what: What) {
    let now_us = sim.elapsed().as_micros() as u64;
    world.history.borrow_mut().push(Event { begun_us: now_us, ended_us: now_us, actor: "simulation".to_owned(), what });
}

thread_local! {
    /// Panics of tasks of the run in this thread: the runtime keeps them to itself.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on, panics within a simulation are noted.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}
