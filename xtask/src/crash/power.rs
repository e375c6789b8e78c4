//! Power cuts: the broker's data lie on an ext4 file system of their own, which is shut down without flushing its journal.
//!
//! A rig that finds nothing proves nothing unless it can find something. So the same cuts can be made on a build that only
//! pretends to sync, and on Apache Kafka, which answers before it syncs; each of those cuts has a new file system, and
//! acknowledged data must be lost. Deliberately not here: torn and reordered sectors, which the simulated disk has.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::image::Image;
use super::kill::{CREW, Kills, moment};
use super::scene::{Plan, Scene};
use super::{Common, finish, skipped};
use crate::bench::load::LoadProgram;
use crate::broker::{kill_9, program_with};
use crate::rng::Rng;
use crate::table::Report;
use crate::wait::Progress;
use crate::workspace;

/// Size of the file system.
const IMAGE_MIB: u64 = 640;

/// Cut the power with a produce and a commit unanswered, start again, and compare everything. Wants root.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Power cuts
    #[arg(long, default_value_t = 20)]
    cycles: u64,
    /// Cut the power of a build that never syncs instead: it must lose in a quarter of the cuts, or the rig proves nothing
    #[arg(long)]
    without_fsync: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the rig; whether everything held, or was lost where it must be.
pub fn run(args: &Args) -> Result<bool> {
    if let Some(why) = Image::impossible() {
        return skipped("power", &why);
    }
    if args.without_fsync || args.common.against.is_some() { must_lose(args) } else { must_hold(args) }
}

fn plan(args: &Args, bin: Option<PathBuf>, folder: &Path, image: &Image) -> Plan {
    let settings = vec![format!("log.dirs={}", image.mount.join("data").display())];
    Plan { peer: args.common.peer(), bin, settings, folder: folder.join("broker") }
}

/// All cuts on one file system: what one has left, the next one meets.
fn must_hold(args: &Args) -> Result<bool> {
    let begun = Instant::now();
    let (folder, mut rng) = args.common.begin("power", args.cycles)?;
    let program = LoadProgram::build()?;
    let image = Image::make(&folder, IMAGE_MIB)?;
    let mut scene = Scene::set(&plan(args, args.common.bin.clone(), &folder, &image))?;
    let workers = scene.hire(&program, CREW)?;
    let (mut cuts, mut progress) = (Kills::default(), Progress::new());
    let cycles = || {
        while cuts.done < args.cycles {
            let number = cuts.done + 1;
            scene.work(rng.within(1..60), rng.within(1..30)).with_context(|| format!("before cut {number}"))?;
            cut(&mut scene, &image, &mut cuts, &mut rng)?;
            scene.start_again().with_context(|| format!("after cut {number}"))?;
            scene.compare().with_context(|| format!("after cut {number}"))?;
            progress.show(|| format!("{number} of {} cuts, {} records", args.cycles, scene.truth().records()));
        }
        progress.end();
        scene.leave(workers)
    };
    let told = cycles();
    let mut report = Report::default();
    report.equal("power cuts", args.cycles, cuts.done);
    cuts.tell(&mut report);
    let holds = finish(&args.common, scene, told, report, begun)?;
    image.leave(!holds)?;
    Ok(holds)
}

/// Cuts the power at a moment when a produce and a commit wait, ends the broker, and mounts what is left.
fn cut(scene: &mut Scene, image: &Image, cuts: &mut Kills, rng: &mut Rng) -> Result<()> {
    let cutter = image.arm()?;
    let (done, was_done) = channel();
    let pid = i32::try_from(scene.server.pid())?;
    // The broker first: what it would say of a disk that is gone no dead machine can say. It writes nothing in between.
    let blow = move || {
        kill_9(pid);
        let _ = done.send(cutter.cut());
    };
    cuts.note(scene.strike("power cut", blow, moment(rng))?);
    ensure!(was_done.recv().unwrap_or(false), "the power could not be cut");
    image.power_on()
}

/// Each cut on a new file system, with new clients.
fn must_lose(args: &Args) -> Result<bool> {
    let (folder, mut rng) = args.common.begin("power-lost", args.cycles)?;
    let program = LoadProgram::build()?;
    let bin = if args.without_fsync { Some(without_fsync(args)?) } else { None };
    let (mut cuts, mut lost, mut seen_by_checker) = (Kills::default(), 0_i64, 0_i64);
    for number in 1..=args.cycles {
        let folder = folder.join(number.to_string());
        std::fs::create_dir_all(&folder)?;
        let image = Image::make(&folder, IMAGE_MIB)?;
        let mut scene = Scene::set(&plan(args, bin.clone(), &folder, &image))?;
        rustix::fs::sync(); // a broker that cannot even start again would hide what it has lost
        let workers = scene.hire(&program, CREW)?;
        scene.work(rng.within(100..300), rng.within(20..60))?;
        cut(&mut scene, &image, &mut cuts, &mut rng)?;
        drop(workers);
        let broken = scene.start_again().and_then(|()| scene.compare()).err();
        lost += i64::from(broken.is_some());
        let (holds, said) = scene.judge(args.common.checker.as_deref())?;
        seen_by_checker += i64::from(!holds);
        let what = broken.map_or("nothing was lost".to_owned(), |error| format!("{error:#}"));
        println!("cut {number}: {what}\n  the checker: {}", said.lines().last().unwrap_or_default());
        drop(scene);
        image.leave(false)?;
    }
    let mut report = Report::default();
    let least = i64::try_from(args.cycles.div_ceil(4))?;
    report.at_least("cuts that lost what was acknowledged, or the rig proves nothing", least, lost);
    report.at_least("of these seen by the history's checker", least, seen_by_checker);
    cuts.tell_facts(&mut report);
    println!("{}", report.text());
    Ok(report.holds())
}

/// The build that never syncs.
fn without_fsync(args: &Args) -> Result<PathBuf> {
    if let Some(bin) = &args.common.bin {
        return Ok(bin.clone());
    }
    let built = program_with(&["without-fsync"])?;
    let kept = workspace::cache("crash-bin")?.join("pagemark-without-fsync");
    std::fs::copy(built, &kept)?; // the next build of the broker takes its place
    Ok(kept)
}
