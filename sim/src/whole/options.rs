//! What a run consists of, all of it drawn from the seed: who takes part, what goes wrong and how often, how large files are.
//!
//! Every seed leaves some faults out and overdoes others, so that rare combinations come up. Deliberately not here: when each
//! fault strikes (`storm`).

use pagemark_storage::local::LocalOptions;
use serde::Serialize;

use crate::rng::Rng;
use crate::workload::{keep_all, tiny_options};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The process is killed.
    Kill,
    /// The power goes.
    PowerCut,
    /// The process is killed, or the power goes, within a call of the disk.
    CrashWithinIo,
    /// The broker is stopped as an operator would.
    Stop,
    /// Messages between a client and the broker wait for some time.
    Hold,
    /// Messages between a client and the broker are lost: its connections hang.
    Cut,
    /// The wall clock jumps, up to a year.
    ClockJump,
    /// Every call of the disk takes long.
    SlowDisk,
    /// A call of the disk fails.
    DiskError,
    /// The disk has no room for some time.
    DiskFull,
}

impl Trouble {
    const ALL: [Trouble; 10] = [
        Trouble::Kill,
        Trouble::PowerCut,
        Trouble::CrashWithinIo,
        Trouble::Stop,
        Trouble::Hold,
        Trouble::Cut,
        Trouble::ClockJump,
        Trouble::SlowDisk,
        Trouble::DiskError,
        Trouble::DiskFull,
    ];
}

/// A run's options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Options {
    /// What all of it was drawn from.
    pub seed: u64,
    /// How long things go wrong, milliseconds.
    pub storm_ms: u64,
    /// Longest way of a message, milliseconds.
    pub latency_ms: u64,
    /// How long a call of the disk takes at most, microseconds.
    pub disk_us: u64,
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
    /// Mean time between two troubles, milliseconds.
    pub trouble_every_ms: u64,
    /// Partitions of each topic.
    pub partitions: i32,
    /// Idempotent producers.
    pub producers: usize,
    /// Members of the group.
    pub members: usize,
    /// Whether members keep their place by a name of their own.
    pub static_members: bool,
    /// Those who commit with what they saw of members.
    pub zombies: usize,
    /// How long a member may be silent, milliseconds.
    pub session_ms: u64,
    /// A member does something unusual in so many of a thousand rounds.
    pub churn: u64,
    /// Partitions of the offsets topic.
    pub shards: i32,
    /// The logs of the topics that are not made anew begin at this offset or a later one: a 0 that comes from nowhere shows.
    pub first_offset: i64,
    /// Producers begin with this epoch; from the greatest one on they need another id.
    pub first_epoch: i16,
    /// How large files are: a shift to the smallest sizes.
    pub size_shift: u32,
}

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Options {
        let mut rng = Rng::fork(seed, 0);
        let mut troubles: Vec<Trouble> = Trouble::ALL.into_iter().filter(|_| rng.chance(1, 2)).collect();
        if troubles.is_empty() && rng.chance(9, 10) {
            troubles.push(Trouble::PowerCut);
        }
        Options {
            seed,
            storm_ms: 10_000 + rng.below(30_000),
            latency_ms: [1, 2, 10, 100][rng.index(4)],
            disk_us: [50, 500, 5_000][rng.index(3)],
            troubles,
            trouble_every_ms: 500 + rng.below(5_000),
            partitions: 1 + rng.below(4) as i32,
            producers: 1 + rng.index(3),
            members: 1 + rng.index(4),
            static_members: rng.chance(1, 3),
            zombies: rng.index(3),
            session_ms: 2_000 + rng.below(8_000),
            churn: [0, 5, 50][rng.index(3)],
            shards: 1 + rng.below(3) as i32,
            size_shift: rng.below(5) as u32,
            first_offset: [0, 1, 100][rng.index(3)],
            first_epoch: [0, i16::MAX - 3, i16::MAX][rng.index(3)],
        }
    }

    /// The engine's options in a life of the broker.
    #[must_use]
    pub fn engine(&self, life: u64) -> LocalOptions {
        let tiny = tiny_options(life, None);
        let mut options = LocalOptions {
            first_file_bytes: tiny.first_file_bytes << self.size_shift,
            log_file_bytes: tiny.log_file_bytes << self.size_shift,
            checkpoint_bytes: tiny.checkpoint_bytes << self.size_shift,
            segment_bytes: tiny.segment_bytes << self.size_shift,
            ..tiny
        };
        if self.seed.is_multiple_of(2) && life.is_multiple_of(2) {
            keep_all(&mut options);
        }
        options
    }

    /// The broker's settings.
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        vec![
            "listeners=PLAINTEXT://127.0.0.1:9092".to_owned(),
            "pagemark.http.listener=".to_owned(),
            // Not a part of what the machine at hand has.
            format!("pagemark.memory.budget.bytes={}", 256 << 20),
            format!("offsets.topic.num.partitions={}", self.shards),
            "group.min.session.timeout.ms=100".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            "auto.create.topics.enable=false".to_owned(),
            // The clock may jump by a year: neither may that make records illegal, nor old enough to be removed.
            format!("log.message.timestamp.after.max.ms={}", i64::MAX),
            "log.retention.ms=-1".to_owned(),
        ]
    }
}
