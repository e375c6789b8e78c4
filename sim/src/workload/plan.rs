//! What one seed stands for: how long a run is, how it is interrupted, which faults it meets.
//!
//! Every seed draws its own mixture, because a mixture of everything at once hides what only shows without the rest.
//! Deliberately not here: the single steps, which the run draws as it goes.

use pagemark_storage::local::LocalOptions;
use pagemark_storage::planted::PlantedBug;

use crate::disk::{Fault, FaultKind, Part};
use crate::rng::Rng;

/// How an engine's life ends within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is closed.
    Clean,
    /// The process is killed: the page cache stays.
    Kill,
    /// The power goes.
    PowerCut,
}

/// One life of the engine: from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Steps of the workload.
    pub steps: u32,
    /// What comes then.
    pub end: End,
    /// Faults, counted in I/Os of this life.
    pub faults: [Option<Fault>; 3],
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// The engine's lives, one after the other on one disk.
    pub lives: Vec<Life>,
    /// One in so many steps does background work; the others leave it waiting.
    pub background_1_in: u64,
    /// One in so many steps goes on with a flush until it is done, so that clients wait for their answers.
    pub settle_1_in: u64,
    /// One in so many steps cuts all logs down to a size or an age, as retention does.
    pub retention_1_in: u64,
    /// All that the disk holds, if it is small. Then there are no faults, and clients are let in as a broker lets them in.
    pub capacity_bytes: Option<u64>,
    /// One in so many steps makes room on a small disk when it is scarce.
    pub relief_1_in: u64,
    /// The bug planted, if any.
    pub planted: Option<PlantedBug>,
}

/// Steps of a run over all its lives. Enough for three rounds through the recycled log files.
const STEPS: u32 = 2_000;

impl Plan {
    /// What this seed stands for.
    #[must_use]
    pub fn of(seed: u64, planted: Option<PlantedBug>) -> Plan {
        let mut rng = Rng::fork(seed, 1);
        let faulty = rng.chance(1, 2);
        let count = if faulty { 4 + rng.below(5) as u32 } else { 2 + rng.below(3) as u32 };
        let lives = (0..count)
            .map(|_| Life {
                steps: STEPS / count,
                end: [End::Clean, End::Kill, End::PowerCut][rng.index(3)],
                faults: if faulty { faults(&mut rng, STEPS / count) } else { [None; 3] },
            })
            .collect();
        let background_1_in = [1, 1, 2, 2, 3, 6][rng.index(6)];
        let settle_1_in = 3 + rng.below(12);
        let retention_1_in = [40, 150, 1_000][rng.index(3)];
        // What came later is drawn apart, so that the other seeds stand for what they stood for.
        let mut of_disk = Rng::fork(seed, 5);
        let small = !faulty && planted.is_none() && of_disk.chance(1, 2);
        let capacity_bytes = small.then(|| (320 << 10) + of_disk.below(160 << 10));
        let relief_1_in = [6, 12, 40, 160][of_disk.index(4)];
        Plan { seed, lives, background_1_in, settle_1_in, retention_1_in, capacity_bytes, relief_1_in, planted }
    }

    /// Whether every other life leaves data in the log's files. Where none does, these go round.
    #[must_use]
    pub fn keeps(&self) -> bool {
        Rng::fork(self.seed, 6).chance(1, 3)
    }

    /// What the engine of a life is opened with.
    #[must_use]
    pub fn options(&self, incarnation: u64) -> LocalOptions {
        let mut options = tiny_options(incarnation, self.planted);
        if self.keeps() && incarnation.is_multiple_of(2) {
            keep_all(&mut options);
        }
        match self.capacity_bytes {
            Some(_) => LocalOptions { reserved_bytes: 64 << 10, ..options },
            None => options,
        }
    }
}

/// Mostly one that may end the life, and some that it must bear.
fn faults(rng: &mut Rng, steps: u32) -> [Option<Fault>; 3] {
    let first = rng.chance(5, 6).then(|| fault(rng, steps));
    [first, bearable(rng, steps), bearable(rng, steps)]
}

fn fault(rng: &mut Rng, steps: u32) -> Fault {
    let from_io = 20 + rng.below(u64::from(steps));
    let kind = match rng.below(8) {
        0..3 => FaultKind::SyncError(None),
        3 => FaultKind::SyncError(Some(Part::Segments)),
        4 => FaultKind::DirSyncError(Some(Part::ALL[rng.index(4)])),
        5 => FaultKind::WriteError(None),
        _ => FaultKind::DiskFull { until: from_io + 5 + rng.below(60), told: from_io.is_multiple_of(3) },
    };
    Fault { from_io, kind }
}

fn bearable(rng: &mut Rng, steps: u32) -> Option<Fault> {
    let from_io = 20 + rng.below(u64::from(steps));
    // The log's writes and syncs end a life; those of the other parts a checkpoint, and reads nothing.
    let (part, written) = (Part::ALL[rng.index(4)], Part::ALL[1 + rng.index(3)]);
    let skip = rng.below(6);
    let kind = match rng.below(7) {
        0 => return None,
        1 => FaultKind::WriteError(Some(written)),
        2 => FaultKind::SyncError(Some(written)),
        3 => FaultKind::NoSpace(part),
        4 | 5 => FaultKind::BadSector { part, skip },
        _ => FaultKind::ReadRefused { part, skip },
    };
    Some(Fault { from_io, kind })
}

/// Leaves nearly everything in the log's files.
pub fn keep_all(options: &mut LocalOptions) {
    options.kept_batch_bytes = 0;
    options.segment_min_bytes /= 8;
}

/// An engine so small that a run of a second goes round its files several times.
#[must_use]
pub fn tiny_options(incarnation: u64, planted: Option<PlantedBug>) -> LocalOptions {
    LocalOptions {
        first_file_bytes: 8 << 10,
        log_file_bytes: 12 << 10,
        ready_files: 2,
        large_flush_bytes: 1 << 10,
        checkpoint_bytes: 12 << 10,
        block_bytes: 1 << 10,
        segment_bytes: 12 << 10,
        segment_min_bytes: 2 << 10,
        kept_batch_bytes: u64::MAX,
        most_log_files: 24,
        moved_bytes: 6 << 10,
        whole_checkpoint_every: 4,
        index_cache_bytes: 2 << 10,
        tail_cache_bytes: 12 << 10,
        max_record_bytes: 64 << 10,
        reserved_bytes: 4 << 10,
        incarnation,
        planted,
        ..LocalOptions::default()
    }
}
