//! A disk that fills up: somebody else takes all that is free, the broker is killed on the full disk, and room comes back.
//!
//! While it is full records and topics are refused, commits and reads go on, and a start works; afterwards all goes on
//! without a restart. Deliberately not here: quotas.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::image::Image;
use super::kill::{CREW, Kills};
use super::scene::{Plan, Scene};
use super::truth::Tally;
use super::{Common, finish, skipped};
use crate::bench::load::LoadProgram;
use crate::broker::kill_9;
use crate::relay::Moment;
use crate::rng::Rng;
use crate::table::Report;
use crate::{admin, wait};

/// Size of the file system.
const IMAGE_MIB: u64 = 640;
/// What whoever takes the rest of the disk leaves.
const LEFT_BYTES: u64 = 1 << 20;
/// How long it may take until records are refused, or taken again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long they must then be.
const WATCHED: Duration = Duration::from_secs(2);
/// KAFKA_STORAGE_ERROR, for records.
const STORAGE_ERROR: i16 = 56;
/// OUT_OF_ORDER_SEQUENCE_NUMBER: the batch before it was refused.
const OUT_OF_ORDER: i16 = 45;
/// POLICY_VIOLATION, for topics.
const POLICY_VIOLATION: i16 = 44;

/// Fill the disk under the broker, kill it there, make room, and compare everything. Wants root.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often the disk fills up
    #[arg(long, default_value_t = 3)]
    cycles: u64,
    #[command(flatten)]
    common: Common,
}

/// What a full disk was seen to do.
#[derive(Debug, Default)]
struct Seen {
    filled: u64,
    topics_refused: u64,
    commits_meanwhile: u64,
    acknowledged_meanwhile: u64,
    recovered_ms: Vec<u64>,
}

struct Rig {
    scene: Scene,
    image: Image,
    seen: Seen,
    kills: Kills,
    rng: Rng,
}

/// Runs the rig; whether everything held.
pub fn run(args: &Args) -> Result<bool> {
    if let Some(why) = Image::impossible() {
        return skipped("full", &why);
    }
    let begun = Instant::now();
    let (folder, rng) = args.common.begin("full", args.cycles)?;
    let program = LoadProgram::build()?;
    let image = Image::make(&folder, IMAGE_MIB)?;
    let data = image.mount.join("data");
    let settings = vec![format!("log.dirs={}", data.display()), "pagemark.checkpoint.bytes=33554432".to_owned()];
    let (peer, bin) = (args.common.peer(), args.common.bin.clone());
    let scene = Scene::set(&Plan { peer, bin, settings, folder: folder.join("broker") })?;
    let workers = scene.hire(&program, CREW)?;
    let mut rig = Rig { scene, image, seen: Seen::default(), kills: Kills::default(), rng };
    let told = (1..=args.cycles)
        .try_for_each(|number| rig.cycle().with_context(|| format!("when the disk was full for the {number}. time")))
        .and_then(|()| rig.scene.leave(workers));
    let mut report = Report::default();
    let seen = &rig.seen;
    report.equal("the disk filled up", args.cycles, seen.filled);
    report.equal("records acknowledged on a full disk", 0, seen.acknowledged_meanwhile);
    report.equal("topics refused on a full disk (44), before and after a kill", 2 * args.cycles, seen.topics_refused);
    report.at_least("offsets committed on a full disk", i64::try_from(args.cycles)?, seen.commits_meanwhile as i64);
    let mut codes: Vec<i16> = rig.scene.truth().tally.records_refused.keys().copied().collect();
    codes.retain(|code| *code != OUT_OF_ORDER); // what was sent behind a refused batch
    report.equal("records are refused with", format!("{:?}", [STORAGE_ERROR]), format!("{codes:?}"));
    report.fact("room to the next acknowledged record, ms", seen.recovered_ms.clone());
    let holds = finish(&args.common, rig.scene, told, report, begun)?;
    rig.image.leave(!holds)?;
    Ok(holds)
}

impl Rig {
    fn cycle(&mut self) -> Result<()> {
        self.scene.work(self.rng.within(50..200), 20)?;
        let ballast = self.fill()?;
        self.seen.filled += 1;
        self.watch().context("before the kill")?;
        let pid = i32::try_from(self.scene.server.pid())?;
        self.kills.note(self.scene.strike("kill -9 on a full disk", move || kill_9(pid), Moment::AfterRequest)?);
        self.scene.start_again().context("on a full disk")?;
        self.scene.compare().context("on a full disk")?;
        self.scene.relay.open()?;
        self.watch().context("after the kill")?;
        std::fs::remove_file(&ballast)?;
        let begun = Instant::now();
        self.scene.work(1, 1).context("there is room again")?;
        self.seen.recovered_ms.push(u64::try_from(begun.elapsed().as_millis())?);
        self.scene.work(50, 20)
    }

    /// Somebody else takes all that is free, until records are refused.
    fn fill(&mut self) -> Result<PathBuf> {
        let (path, before) = (self.image.mount.join("of-somebody-else"), self.tally());
        let file = File::create(&path)?;
        // Once: what the broker then gives up is for its commits.
        let taken = wait::until(PATIENCE, || {
            let disk = statvfs(&self.image.mount).ok()?;
            let free = (disk.f_bavail * disk.f_frsize).saturating_sub(LEFT_BYTES);
            fallocate(&file, FallocateFlags::empty(), 0, free).ok()
        });
        taken.context("nobody can take what is free")?;
        let refused = wait::until(PATIENCE, || (refused(&self.tally()) > refused(&before)).then_some(()));
        refused.context("the disk is full, and no record was refused")?;
        Ok(path)
    }

    /// For a while: records and topics are refused, commits and reads go on.
    fn watch(&mut self) -> Result<()> {
        let first = self.tally();
        let refused = wait::until(PATIENCE, || (refused(&self.tally()) > refused(&first) + 5).then_some(()));
        refused.context("records are not refused")?;
        let before = self.tally();
        // After a kill librdkafka may take seconds to find its coordinator again.
        let since = || self.tally().commits_acknowledged - before.commits_acknowledged;
        let committed = wait::until(PATIENCE, || (since() > 0).then_some(()));
        committed.context("no commit is acknowledged")?;
        std::thread::sleep(WATCHED);
        let after = self.tally();
        self.seen.acknowledged_meanwhile += after.records_acknowledged - before.records_acknowledged;
        self.seen.commits_meanwhile += after.commits_acknowledged - before.commits_acknowledged;
        let mut connection = self.scene.connect()?;
        let code = admin::topic_refused(&mut connection, "no-room", 1)?;
        ensure!(code == POLICY_VIOLATION, "a new topic was answered with {code}");
        self.seen.topics_refused += 1;
        self.scene.read_all().context("reads go on")
    }

    fn tally(&self) -> Tally {
        self.scene.truth().tally.clone()
    }
}

fn refused(tally: &Tally) -> u64 {
    tally.records_refused.values().sum()
}
