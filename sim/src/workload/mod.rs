//! A run: clients, owners and an engine over a simulated disk, one seeded step after the other, through several lives.
//!
//! Every answer is held against the oracle at once, and everything asked for, acknowledged or read is noted in it, with the
//! number of the I/O before which it happened. One run yields every crash point of its seed: the disk keeps its state at
//! each I/O. Deliberately not here: crashing at those points (`explore.rs`).

mod client;
mod plan;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pagemark_storage::engine::{Engine, EngineError, Keep, LogStore, Lsn, MetaStore, Room, ShardEpoch};
use pagemark_wire::types::{Offset, PartitionKey};

pub use client::Clients;
pub use plan::{End, Life, Plan, keep_all, tiny_options};

use crate::check::{Kind, Violation, check, guarded, violation};
use crate::disk::{CrashPoint, DiskState, Ino, Op, SimDisk, Struck};
use crate::observe::observe;
use crate::oracle::{Change, Oracle};
use crate::rig::Rig;
use crate::rng::Rng;

/// What a log file begins with (`docs/formats/log.md`).
const LOG_FILE_MAGIC: &[u8] = b"PMLOG";

/// What a run did, to show that it did enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Those among them that hold only changes.
    pub incremental_checkpoints: u64,
    /// Pieces appended to segments.
    pub chunks: u64,
    /// Segments sealed.
    pub segments_sealed: u64,
    /// Segments whose data stayed in the log's files.
    pub segments_kept: u64,
    /// Log files that were used again, divided by the log files there are: rounds through them.
    pub recycled_rounds: u64,
    /// Batches appended.
    pub appended: u64,
    /// Retries recognised as duplicates.
    pub duplicates: u64,
    /// Batches sent again after a restart lost them.
    pub resent: u64,
    /// Batches read.
    pub read: u64,
    /// Topics deleted.
    pub deleted: u64,
    /// Topics made under the name of one that was deleted.
    pub recreated: u64,
    /// Those among them whose predecessor was deleted in an earlier life.
    pub recreated_later: u64,
    /// Logs that were made to begin later.
    pub trimmed: u64,
    /// Partitions that an unreadable sector took out of service.
    pub quarantined: u64,
    /// Faults that struck.
    pub struck: Struck,
    /// Lives that a fault ended.
    pub failed_lives: u64,
    /// Restarts.
    pub restarts: u64,
    /// Steps at which room was scarce.
    pub scarce: u64,
    /// Steps at which there was none.
    pub exhausted: u64,
    /// Writes that were refused for want of room.
    pub refused: u64,
    /// How often there was enough again.
    pub relieved: u64,
}

impl Totals {
    /// Adds another run's counts.
    pub fn add(&mut self, other: Totals) {
        self.checkpoints += other.checkpoints;
        self.incremental_checkpoints += other.incremental_checkpoints;
        self.chunks += other.chunks;
        self.segments_sealed += other.segments_sealed;
        self.segments_kept += other.segments_kept;
        self.recycled_rounds += other.recycled_rounds;
        self.appended += other.appended;
        self.duplicates += other.duplicates;
        self.resent += other.resent;
        self.read += other.read;
        self.deleted += other.deleted;
        self.recreated += other.recreated;
        self.recreated_later += other.recreated_later;
        self.trimmed += other.trimmed;
        self.quarantined += other.quarantined;
        self.struck.add(other.struck);
        self.failed_lives += other.failed_lives;
        self.restarts += other.restarts;
        self.scarce += other.scarce;
        self.exhausted += other.exhausted;
        self.refused += other.refused;
        self.relieved += other.relieved;
    }
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The truth.
    pub oracle: Oracle,
    /// The disk at each I/O, and the I/O.
    pub points: Vec<CrashPoint>,
    /// When a call was made to fail: the number of the I/O after it, or soon after.
    pub faults: Vec<u64>,
    /// What was done.
    pub totals: Totals,
    /// A promise broken while nothing had crashed; the run ended there.
    pub violation: Option<Violation>,
}

/// A run under way.
struct Workload {
    plan: Plan,
    rng: Rng,
    oracle: Oracle,
    clients: Clients,
    rig: Rig,
    /// Number of this life, from 0.
    life: u64,
    /// I/Os of earlier lives.
    ios_before: u64,
    /// Which batch lies where, for judging reads.
    by_base: BTreeMap<(PartitionKey, Offset), usize>,
    points: Vec<CrashPoint>,
    faults: Vec<u64>,
    totals: Totals,
    /// How much room there was at the last step.
    room: Room,
}

/// Does what the plan says and keeps everything.
#[must_use]
pub fn run(plan: &Plan) -> Run {
    let lives = plan.lives.clone();
    let mut workload = match Workload::start(plan.clone()) {
        Ok(workload) => workload,
        Err(violation) => return Run::failed(violation),
    };
    let mut outcome = Ok(());
    for (number, life) in lives.iter().enumerate() {
        outcome = guarded(|| {
            workload.live(*life)?;
            match lives.get(number + 1) {
                Some(next) => workload.restart(life.end, number as u64 + 1, *next),
                None => workload.end(life.end),
            }
        });
        if outcome.is_err() {
            break;
        }
    }
    workload.finish(outcome.err())
}

impl Run {
    fn failed(violation: Violation) -> Run {
        let (oracle, totals) = (Oracle::default(), Totals::default());
        Run { oracle, points: Vec::new(), faults: Vec::new(), totals, violation: Some(violation) }
    }
}

impl Workload {
    fn start(plan: Plan) -> Result<Workload, Violation> {
        let disk = disk_of(DiskState::new(), &plan, 0);
        let rig = Rig::open(disk, plan.options(1)).map_err(|e| violation(Kind::Refused, e))?;
        let faults = plan.lives.first().map_or([None; 3], |life| life.faults);
        faults.into_iter().flatten().for_each(|fault| rig.disk.inject(fault));
        Ok(Workload {
            rng: Rng::fork(plan.seed, 2),
            plan,
            oracle: Oracle::new(Clients::commit_topic()),
            clients: Clients::default(),
            rig,
            life: 0,
            ios_before: 0,
            by_base: BTreeMap::new(),
            points: Vec::new(),
            faults: Vec::new(),
            totals: Totals::default(),
            room: Room::Enough,
        })
    }

    fn now(&self) -> u64 {
        self.ios_before + self.rig.disk.counts().ios
    }

    fn live(&mut self, life: Life) -> Result<(), Violation> {
        for _ in 0..life.steps {
            let (before, began) = (self.rig.disk.counts(), self.now());
            self.step()?;
            self.note_progress();
            self.note_faults(before.struck, began)?;
            if self.rig.disk.counts().faults > before.faults {
                self.faults.push(self.now());
            }
            if let Some(reason) = self.rig.engine.progress().failed {
                if self.rig.disk.counts().faults == 0 {
                    return Err(violation(Kind::Misbehaved, format!("the log failed without a fault: {reason}")));
                }
                self.totals.failed_lives += 1;
                return self.after_failure();
            }
        }
        if life.end == End::Clean { Ok(()) } else { self.last_minute() }
    }

    /// What could not be read when it was to be moved is quarantined, and no more than that.
    pub(super) fn note_faults(&mut self, before: Struck, began: u64) -> Result<(), Violation> {
        let struck = self.rig.disk.counts().struck.of_kind(BAD_SECTOR) - before.of_kind(BAD_SECTOR);
        if struck == 0 {
            return Ok(());
        }
        let new: Vec<PartitionKey> = quarantined(&*self.rig.engine, self.clients.owned.keys())
            .filter(|key| !self.oracle.is_excused(*key))
            .collect();
        if new.len() as u64 > struck {
            return Err(violation(Kind::Quarantined, format!("{struck} sectors could not be read, and {new:?}")));
        }
        self.totals.quarantined += new.len() as u64;
        new.into_iter().for_each(|key| self.oracle.excuse(began, key));
        Ok(())
    }

    /// Whether an unreadable sector explains this answer.
    fn is_excused(&self, error: &EngineError) -> bool {
        matches!(error, EngineError::Quarantined { partition, .. } if self.oracle.is_excused(*partition))
    }

    /// What a sudden end finds: topics that come and go, requests without an answer, a flush half done.
    fn last_minute(&mut self) -> Result<(), Violation> {
        if self.rng.chance(1, 3) {
            self.delete_topic()?;
        }
        if self.rng.chance(1, 3) {
            self.make_topic()?;
        }
        for _ in 0..1 + self.rng.below(8) {
            if self.rng.chance(1, 4) {
                self.burst()?
            } else {
                self.produce()?
            }
            if self.rng.chance(1, 2) {
                self.rig.step_flush();
            }
        }
        self.note_progress();
        Ok(())
    }

    /// A failed engine takes nothing and acknowledges nothing, whatever is done with it (invariant 39).
    fn after_failure(&mut self) -> Result<(), Violation> {
        let durable = self.rig.engine.progress().durable;
        for _ in 0..20 {
            if self.rig.engine.reserve_ids("after-failure", 1).is_ok() {
                return Err(violation(Kind::NotStopped, "a failed engine accepted a write"));
            }
            self.rig.step_flush();
            self.rig.step_background();
            let progress = self.rig.engine.progress();
            if progress.failed.is_none() || progress.durable != durable {
                return Err(violation(Kind::NotStopped, format!("a failed engine went on: {progress:?}")));
            }
            self.read_somewhere()?;
        }
        Ok(())
    }

    fn note_progress(&mut self) {
        let durable = self.rig.engine.progress().durable;
        self.oracle.durable(self.now(), durable);
    }

    fn is_durable(&self, lsn: Lsn) -> bool {
        self.rig.engine.progress().durable >= lsn
    }

    /// Ends the life as planned; a failed engine is killed.
    fn end(&mut self, end: End) -> Result<(), Violation> {
        if end == End::Clean && self.rig.engine.progress().failed.is_none() {
            let (before, began) = (self.rig.disk.counts().struck, self.now());
            self.oracle.closing(began);
            match self.rig.close() {
                Ok(()) => self.note_progress(),
                Err(EngineError::Stopped(why)) if self.plan.capacity_bytes.is_some() && why.contains("no room") => {}
                Err(reason) if self.rig.engine.progress().failed.is_none() && self.rig.disk.counts().faults == 0 => {
                    return Err(violation(Kind::Misbehaved, format!("closing: {reason}")));
                }
                Err(_) => {}
            }
            self.note_faults(before, began)?;
        }
        self.totals.struck.add(self.rig.disk.counts().struck);
        let stats = self.rig.stats();
        self.totals.checkpoints += stats.checkpoints;
        self.totals.incremental_checkpoints += stats.incremental_checkpoints;
        self.totals.chunks += stats.chunks;
        self.totals.segments_sealed += stats.segments_sealed;
        self.totals.segments_kept += stats.segments_kept;
        self.ios_before += self.rig.disk.counts().ios;
        self.points.append(&mut self.rig.disk.take_recording());
        Ok(())
    }

    fn restart(&mut self, end: End, number: u64, next: Life) -> Result<(), Violation> {
        self.end(end)?;
        self.life = number;
        self.totals.restarts += 1;
        let mut state = self.rig.disk.state();
        state.kill(&mut self.rng);
        if end == End::PowerCut {
            state.power_cut(&mut self.rng);
        }
        let disk = disk_of(state, &self.plan, number);
        let before = self.ios_before;
        let options = self.plan.options(number + 1);
        self.rig = match Rig::open(disk.clone(), options) {
            Ok(rig) => rig,
            Err(reason) => {
                self.points.append(&mut disk.take_recording());
                return Err(violation(Kind::Refused, format!("restart after {end:?}: {reason}")));
            }
        };
        let seen = observe(&*self.rig.engine, ShardEpoch(1)).map_err(|e| violation(Kind::Misbehaved, e))?;
        let view = self.oracle.view(before);
        let prefix = check(&view, &seen)?;
        let kept = view.alive[..prefix].to_vec();
        let now = self.now();
        self.oracle.survived(now, &kept);
        for unit in kept {
            self.oracle.exposed(now, unit);
        }
        for (key, partition) in &seen.partitions {
            self.oracle.epoch_seen(now, *key, partition.leader_epoch());
        }
        self.clients.load(&seen);
        let units = self.oracle.units();
        self.by_base.retain(|_, unit| units[*unit].dead == crate::oracle::NEVER);
        next.faults.into_iter().flatten().for_each(|fault| disk.inject(fault));
        self.send_lost_again()
    }

    /// Producers whose batches went down with the last life send them again, in order, with the same sequence numbers.
    fn send_lost_again(&mut self) -> Result<(), Violation> {
        let sent = std::mem::take(&mut self.clients.sent);
        for ((id, partition), batches) in sent {
            for batch in batches {
                let lost = self.oracle.units()[batch.unit].dead != crate::oracle::NEVER;
                self.send_again(id, partition, &batch, lost)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, violation: Option<Violation>) -> Run {
        self.points.append(&mut self.rig.disk.take_recording());
        self.totals.recycled_rounds = recycled_rounds(&self.points);
        Run { oracle: self.oracle, points: self.points, faults: self.faults, totals: self.totals, violation }
    }

    /// Asks the engine for something and notes both, the asking first: an I/O within the call may be where it all ends.
    fn ask<T>(
        &mut self,
        change: Change,
        call: impl FnOnce(&dyn Engine) -> Result<(T, Lsn), EngineError>,
    ) -> Result<Option<(usize, T)>, Violation> {
        let now = self.now();
        let unit = self.oracle.submit(now, change);
        match call(&*self.rig.engine) {
            Ok((value, lsn)) => {
                self.oracle.accepted(unit, lsn);
                Ok(Some((unit, value)))
            }
            Err(EngineError::Stopped(_)) if self.rig.disk.counts().faults > 0 => {
                self.oracle.refused(unit);
                Ok(None)
            }
            Err(error) if self.is_excused(&error) => {
                self.oracle.refused(unit);
                Ok(None)
            }
            Err(error) => {
                self.oracle.refused(unit);
                Err(violation(Kind::Misbehaved, error.to_string()))
            }
        }
    }
}

/// The kind of fault that may cost a partition its service.
const BAD_SECTOR: &str = "bad_sector";

/// Those of some partitions that may not be used.
pub(crate) fn quarantined<'a>(
    engine: &dyn Engine,
    keys: impl Iterator<Item = &'a PartitionKey>,
) -> impl Iterator<Item = PartitionKey> {
    let refuses = |key: &&PartitionKey| {
        matches!(engine.trim_point(**key, Keep::Bytes(u64::MAX)), Err(EngineError::Quarantined { .. }))
    };
    keys.filter(refuses).copied()
}

/// Rounds through the log files: how many were begun in a file used before, over the most that there were at once.
fn recycled_rounds(points: &[CrashPoint]) -> u64 {
    let mut begun: BTreeSet<Ino> = BTreeSet::new();
    let (mut again, mut files) = (0, 1);
    for point in points {
        if let Op::Write { ino, offset: 0, bytes } = &point.op
            && bytes.starts_with(LOG_FILE_MAGIC)
        {
            again += u64::from(!begun.insert(*ino));
            files = files.max(point.before.list("log").map_or(0, |names| names.len() as u64));
        }
    }
    again / files
}

fn disk_of(state: DiskState, plan: &Plan, life: u64) -> Arc<SimDisk> {
    let disk = SimDisk::new(state, Rng::fork(plan.seed, 100 + life).next());
    Arc::new(disk.with_capacity(plan.capacity_bytes).recording())
}
