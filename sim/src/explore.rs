//! Opens what a crash leaves, several times for each crash point, and judges what the engine makes of it.
//!
//! Three images of each point: a killed process, a power cut, and a recovery that is itself interrupted. After each of them
//! the story goes on in one of a few ways (a later power cut, new writes and a clean stop, one more kill), because some
//! faults show only then: pages that a kill left in the cache are on no disk. Deliberately not here: making the run
//! (`workload/`), the promises (`check.rs`).

use std::fmt;
use std::sync::Arc;

use pagemark_storage::engine::{Append, AtomicGroup, LogStore, MetaStore, ShardEpoch};
use pagemark_storage::planted::PlantedBug;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, TopicId};
use uuid::Uuid;

use crate::batch::{Source, build};
use crate::check::{Kind, Violation, check, guarded, violation};
use crate::disk::{CrashPoint, DiskState, Fault, FaultKind, Part, SimDisk, Struck};
use crate::observe::{Observed, observe, partitions_of, shard_of};
use crate::oracle::View;
use crate::rig::Rig;
use crate::rng::Rng;
use crate::workload::{Run, quarantined, tiny_options};

/// Images opened of each crash point.
pub const IMAGES: u64 = 3;

/// One case: a run's seed, the I/O it dies in, and the number of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the I/O.
    pub point: u64,
    /// Number of the image, below [`IMAGES`].
    pub image: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.seed, self.point, self.image)
    }
}

/// What exploring counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effort {
    /// Images made.
    pub images: u64,
    /// Engines opened.
    pub opens: u64,
    /// Recoveries interrupted.
    pub interrupted: u64,
    /// Starts from the older checkpoint, because the newer one had rotted.
    pub fell_back: u64,
    /// Of the interrupted ones, those that read what they needed in the end, and whose life went on for a while.
    pub lived_on: u64,
    /// Faults that struck recoveries, and lives after such recoveries.
    pub struck: Struck,
    /// Batches compared.
    pub batches: u64,
}

impl Effort {
    /// Adds another's counts.
    pub fn add(&mut self, other: Effort) {
        self.images += other.images;
        self.opens += other.opens;
        self.interrupted += other.interrupted;
        self.fell_back += other.fell_back;
        self.lived_on += other.lived_on;
        self.struck.add(other.struck);
        self.batches += other.batches;
    }
}

/// Opens one image of one crash point.
///
/// # Errors
/// The first promise found broken.
pub fn explore(run: &Run, case: Case, planted: Option<PlantedBug>, effort: &mut Effort) -> Result<(), Violation> {
    let point = &run.points[case.point as usize];
    let mut story = Story {
        rng: Rng::fork(Rng::fork(case.seed, 3).next() ^ case.point, case.image),
        view: run.oracle.view(case.point),
        planted,
        effort,
        incarnation: 1_000,
    };
    story.effort.images += 1;
    guarded(|| match case.image {
        0 => story.killed(point),
        1 => story.power_cut(point),
        _ => story.interrupted(point),
    })
}

/// A case under way.
struct Story<'a> {
    rng: Rng,
    view: View<'a>,
    planted: Option<PlantedBug>,
    effort: &'a mut Effort,
    incarnation: u64,
}

impl Story<'_> {
    /// Killed, recovered, read; then mostly another crash, then on.
    fn killed(&mut self, point: &CrashPoint) -> Result<(), Violation> {
        let mut state = point.before.clone();
        state.apply_partially(&point.op, &mut self.rng);
        state.kill(&mut self.rng);
        let again = self.rng.chance(3, 4);
        self.recovers(state, again)
    }

    /// The power goes; recovered, read; then sometimes another crash, then on.
    fn power_cut(&mut self, point: &CrashPoint) -> Result<(), Violation> {
        let mut state = point.before.clone();
        state.apply_partially(&point.op, &mut self.rng);
        state.power_cut(&mut self.rng);
        let again = self.rng.chance(1, 2);
        self.recovers(state, again)
    }

    fn recovers(&mut self, mut state: DiskState, again: bool) -> Result<(), Violation> {
        if self.rng.chance(1, 6) {
            self.rot_checkpoint(&mut state);
        }
        let (rig, seen) = self.recover(state)?;
        if !again {
            return self.goes_on(rig, seen);
        }
        for _ in 0..self.rng.below(8) {
            // A little of the new life, none of it asked for by anyone.
            rig.step_flush();
            rig.step_background();
        }
        let mut state = rig.disk.state();
        state.kill(&mut self.rng);
        if self.rng.chance(2, 3) {
            state.power_cut(&mut self.rng);
        }
        let (rig, seen) = self.recover(state)?;
        self.goes_on(rig, seen)
    }

    /// Recovery is interrupted at any of its I/Os, once or twice, by a kill, a power cut or a call that fails.
    fn interrupted(&mut self, point: &CrashPoint) -> Result<(), Violation> {
        let mut state = point.before.clone();
        state.apply_partially(&point.op, &mut self.rng);
        self.die(&mut state);
        for _ in 0..1 + self.rng.below(2) {
            let ios = {
                let whole = self.disk(state.clone(), Vec::new());
                self.open(whole.clone())?;
                whole.counts().ios
            };
            let faults = self.recovery_faults(ios);
            let disk = self.disk(state, faults);
            self.effort.interrupted += 1;
            self.effort.opens += 1;
            let options = tiny_options(self.incarnation, self.planted);
            // A start may be refused by its disk, but it may not panic, not even while it dies.
            match guarded(|| Rig::open(disk.clone(), options).map_err(|e| violation(Kind::Refused, e))) {
                Err(broken) if broken.kind != Kind::Refused => return Err(broken),
                Ok(rig) if !disk.crashed() => self.lives_on(&rig),
                Ok(_) | Err(_) => {}
            }
            self.effort.struck.add(disk.counts().struck);
            state = disk.state();
            self.die(&mut state);
        }
        let (rig, seen) = self.recover(state)?;
        self.goes_on(rig, seen)
    }

    /// What a recovery of so many I/Os meets.
    fn recovery_faults(&mut self, ios: u64) -> Vec<Fault> {
        let from_io = self.rng.below(ios.max(1));
        let (part, skip) = (Part::ALL[self.rng.index(4)], self.rng.below(8));
        let fault = |kind| vec![Fault { from_io, kind }];
        let reading = |kind| Fault { from_io: 0, kind };
        match self.rng.below(10) {
            0 => fault(FaultKind::SyncError(None)),
            1 => fault(FaultKind::DirSyncError(None)),
            2 => fault(FaultKind::WriteError(None)),
            3 => vec![reading(FaultKind::BadSector { part, skip })],
            4 => vec![reading(FaultKind::ReadRefused { part, skip })],
            // Both files of the newest checkpoint, this time.
            5 => vec![reading(FaultKind::BadSector { part: Part::Checkpoints, skip: 0 }); 2],
            _ => fault(FaultKind::Crash),
        }
    }

    /// A recovery that bore its faults goes on, perhaps over the next checkpoint. What it could not read may be out of service.
    fn lives_on(&mut self, rig: &Rig) {
        self.effort.lived_on += 1;
        for _ in 0..self.rng.below(80) {
            rig.step_flush();
            rig.step_background();
        }
        let topics = rig.engine.topics();
        let keys: Vec<PartitionKey> = topics.iter().flat_map(|(topic, count)| partitions_of(*topic, *count)).collect();
        if rig.disk.counts().struck.of_kind("bad_sector") > 0 {
            self.view.excused.extend(quarantined(&*rig.engine, keys.iter()));
        }
    }

    /// One file of a checkpoint rots, or the whole of the newest: no more than what a start must bear.
    fn rot_checkpoint(&mut self, state: &mut DiskState) {
        let names: Vec<String> = state.list("checkpoints").unwrap_or_default();
        let names: Vec<&String> = names.iter().filter(|name| !name.ends_with(".tmp")).collect();
        if names.is_empty() {
            return;
        }
        let number = |name: &&&String| name.split('.').next().map(str::to_owned);
        let (oldest, newest) =
            (names.iter().min().and_then(|n| number(&n)), names.iter().max().and_then(|n| number(&n)));
        let pairs = |of: &Option<String>| names.iter().filter(|n| number(n) == *of).count();
        let rotten: Vec<&String> = match self.rng.chance(1, 2) {
            true if oldest != newest => names.iter().filter(|n| number(n) == newest).copied().collect(),
            _ => {
                let one = names[self.rng.index(names.len())];
                [one].into_iter().filter(|one| pairs(&number(&one)) == 2).collect()
            }
        };
        for name in rotten {
            state.rot(&format!("checkpoints/{name}"), 24);
        }
    }

    fn die(&mut self, state: &mut DiskState) {
        state.kill(&mut self.rng);
        if self.rng.chance(1, 2) {
            state.power_cut(&mut self.rng);
        }
    }

    fn disk(&mut self, state: DiskState, faults: Vec<Fault>) -> Arc<SimDisk> {
        Arc::new(SimDisk::with_faults(state, self.rng.next(), faults))
    }

    fn open(&mut self, disk: Arc<SimDisk>) -> Result<Rig, Violation> {
        self.effort.opens += 1;
        self.incarnation += 1;
        Rig::open(disk, tiny_options(self.incarnation, self.planted)).map_err(|e| violation(Kind::Refused, e))
    }

    /// Opens, reads all, judges. What was read is owed from now on.
    fn recover(&mut self, state: DiskState) -> Result<(Rig, Observed), Violation> {
        let disk = self.disk(state, Vec::new());
        let rig = self.open(disk)?;
        self.effort.fell_back += u64::from(rig.engine.recovery_summary().fell_back);
        let seen = self.look(&rig, 1)?;
        Ok((rig, seen))
    }

    fn look(&mut self, rig: &Rig, shard_epoch: u64) -> Result<Observed, Violation> {
        let seen = observe(&*rig.engine, ShardEpoch(shard_epoch)).map_err(|e| violation(Kind::Misbehaved, e))?;
        let prefix = check(&self.view, &seen)?;
        self.effort.batches += seen.partitions.values().map(|p| p.batches.len() as u64).sum::<u64>();
        let epochs: Vec<_> = seen.partitions.iter().map(|(key, p)| (*key, p.leader_epoch())).collect();
        self.view.saw(prefix, epochs);
        Ok(seen)
    }

    /// The recovered engine takes new writes; stopped and started again it is what it was (invariant 1).
    fn goes_on(&mut self, rig: Rig, seen: Observed) -> Result<(), Violation> {
        let counters = self.view.model(self.view.acked.min(self.view.alive.len())).counters;
        for (counter, least) in &counters {
            let (first, _) = rig.engine.reserve_ids(counter, 1).map_err(|e| refused("ids", &e))?;
            if first < *least {
                return Err(violation(Kind::IdTwice, format!("{counter} gave {first}, {least} were given before")));
            }
        }
        self.write_anew(&rig, &seen)?;
        let before = observe(&*rig.engine, ShardEpoch(2)).map_err(|e| violation(Kind::Misbehaved, e))?;
        rig.close().map_err(|e| violation(Kind::NotWritable, format!("closing: {e}")))?;
        let mut state = rig.disk.state();
        state.kill(&mut self.rng);
        if self.rng.chance(1, 2) {
            state.power_cut(&mut self.rng);
        }
        let disk = self.disk(state, Vec::new());
        let again = self.open(disk)?;
        let after = observe(&*again.engine, ShardEpoch(1)).map_err(|e| violation(Kind::Misbehaved, e))?;
        if before.hash() != after.hash() {
            return Err(violation(Kind::StopDiffers, first_difference(&before, &after)));
        }
        Ok(())
    }

    fn write_anew(&mut self, rig: &Rig, seen: &Observed) -> Result<(), Violation> {
        let fresh = TopicId(Uuid::from_u128(0xfeed_0000 + u128::from(self.incarnation)));
        rig.engine.create(fresh, 1, LeaderEpoch(0)).map_err(|e| refused("a new topic", &e))?;
        let opened = rig
            .engine
            .open(shard_of(fresh), ShardEpoch(1), &partitions_of(fresh, 1))
            .map_err(|e| refused("a new topic", &e))?;
        if opened.iter().any(|one| one.log_end != Offset(0)) {
            return Err(violation(Kind::Resurrected, "a new topic is not empty"));
        }
        let mut targets =
            vec![(PartitionKey { topic: fresh, partition: PartitionIndex(0) }, Offset(0), LeaderEpoch(0))];
        for (key, partition) in &seen.partitions {
            if self.rng.chance(1, 4) && partition.quarantined.is_none() {
                targets.push((*key, partition.log_end, partition.leader_epoch()));
            }
        }
        let mut last = None;
        for (partition, end, leader_epoch) in targets {
            if self.rng.chance(1, 3) {
                let start = Offset(self.rng.below(end.0 as u64 + 1) as i64);
                let trimmed = rig.engine.advance_start(shard_of(partition.topic), ShardEpoch(1), partition, start);
                trimmed.map_err(|e| refused(&format!("a log start of {partition} at {start}"), &e))?;
            }
            let value = format!("after the crash {}", self.rng.next()).into_bytes();
            let batch = build(end, leader_epoch, Source::PLAIN, 1, &[(Vec::new(), value)]);
            let group = AtomicGroup(vec![Append::new(partition, batch)]);
            let ticket = rig
                .engine
                .append(shard_of(partition.topic), ShardEpoch(1), &[group])
                .map_err(|e| refused(&format!("{partition} at {end}"), &e))?;
            last = Some(ticket);
        }
        rig.settle();
        let progress = rig.engine.progress();
        if last.is_some_and(|ticket| progress.durable < ticket.0) {
            return Err(violation(
                Kind::NotWritable,
                format!("writes after recovery do not become durable: {progress:?}"),
            ));
        }
        Ok(())
    }
}

fn refused(what: &str, error: &dyn fmt::Display) -> Violation {
    violation(Kind::NotWritable, format!("{what}: {error}"))
}

fn first_difference(before: &Observed, after: &Observed) -> String {
    if before.topics != after.topics {
        return format!("topics {:?} became {:?}", before.topics, after.topics);
    }
    if before.meta != after.meta {
        return "the facts differ".to_owned();
    }
    for (key, one) in &before.partitions {
        let Some(other) = after.partitions.get(key) else { continue };
        if one == other {
            continue;
        }
        let words = |p: &crate::observe::ObservedPartition| {
            format!(
                "start {} durable {} end {} epochs {:?} quarantined {:?}, {} batches, {:?}",
                p.log_start,
                p.durable_end,
                p.log_end,
                p.epochs,
                p.quarantined,
                p.batches.len(),
                p.producers
            )
        };
        return format!("{key}: {} became {}", words(one), words(other));
    }
    "partitions differ".to_owned()
}
