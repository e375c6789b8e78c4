//! kill -9, again and again, while a produce and a commit of librdkafka's wait for their answers.
//!
//! Deliberately not here: what the clients and the truth are (`scene`, `truth`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::scene::{Crew, Plan, Scene};
use super::{Common, finish};
use crate::bench::load::LoadProgram;
use crate::broker::kill_9;
use crate::relay::{Found, Moment};
use crate::rng::Rng;
use crate::table::Report;
use crate::wait::Progress;

/// Kill the broker with a produce and a commit unanswered, restart it, and compare everything.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kills; with none it is only seen that a healthy broker passes
    #[arg(long, default_value_t = 50)]
    pub cycles: u64,
    #[command(flatten)]
    pub common: Common,
}

/// Records and commits after the last kill.
const HEALTHY: (u64, u64) = (100, 30);
/// Of fewer crashes than this, chance alone may let more than a quarter miss.
const FEW: u64 = 200;

/// The clients.
pub const CREW: Crew<'_> = Crew { name: "w", producers: 2, consumers: 3, session_timeout_ms: 10_000 };

/// What the kills met.
#[derive(Debug, Default)]
pub struct Kills {
    /// How many there were.
    pub done: u64,
    with_both: u64,
    with_produce: u64,
    with_commit: u64,
}

impl Kills {
    /// Counts one.
    pub fn note(&mut self, found: Found) {
        self.done += 1;
        self.with_produce += u64::from(found.produces > 0);
        self.with_commit += u64::from(found.commits > 0);
        self.with_both += u64::from(found.produces > 0 && found.commits > 0);
    }

    /// Into the report; three quarters must have met both, and half where chance weighs more.
    pub fn tell(&self, report: &mut Report) {
        let least = if self.done < FEW { self.done / 2 } else { (self.done * 3).div_ceil(4) };
        let least = i64::try_from(least).unwrap_or(i64::MAX);
        report.at_least("with a produce and a commit unanswered", least, self.with_both as i64);
        self.tell_facts(report);
    }

    /// Into the report, for whom it does not matter.
    pub fn tell_facts(&self, report: &mut Report) {
        report.fact("with both unanswered", self.with_both);
        report.fact("with a produce unanswered", self.with_produce);
        report.fact("with a commit unanswered", self.with_commit);
    }
}

/// Most strike at once when both wait, some a little later.
pub fn moment(rng: &mut Rng) -> Moment {
    let delay = if rng.below(4) == 0 { Duration::from_micros(rng.below(1500)) } else { Duration::ZERO };
    Moment::BothUnanswered(delay)
}

/// Runs the rig; whether everything held.
pub fn run(args: &Args) -> Result<bool> {
    let begun = Instant::now();
    let (folder, mut rng) = args.common.begin("kill", args.cycles)?;
    let program = LoadProgram::build()?;
    let plan = Plan {
        peer: args.common.peer(),
        bin: args.common.bin.clone(),
        settings: Vec::new(),
        folder: folder.join("broker"),
    };
    let mut scene = Scene::set(&plan)?;
    let workers = scene.hire(&program, CREW)?;
    let mut kills = Kills::default();
    let told = cycles(args.cycles, &mut scene, &mut kills, &mut rng).and_then(|()| {
        scene.work(HEALTHY.0, HEALTHY.1)?;
        scene.leave(workers)
    });
    let mut report = Report::default();
    report.equal("kills", args.cycles, kills.done);
    kills.tell(&mut report);
    finish(&args.common, scene, told, report, begun)
}

fn cycles(wanted: u64, scene: &mut Scene, kills: &mut Kills, rng: &mut Rng) -> Result<()> {
    let mut progress = Progress::new();
    while kills.done < wanted {
        let number = kills.done + 1;
        let work = (rng.within(1..30), rng.within(1..15));
        scene.work(work.0, work.1).with_context(|| format!("before kill {number}"))?;
        let pid = i32::try_from(scene.server.pid())?;
        kills.note(scene.strike("kill -9", move || kill_9(pid), moment(rng))?);
        scene.start_again().with_context(|| format!("after kill {number}"))?;
        scene.compare().with_context(|| format!("after kill {number}"))?;
        progress.show(|| format!("{number} of {wanted} kills, {} records", scene.truth().records()));
    }
    progress.end();
    Ok(())
}
