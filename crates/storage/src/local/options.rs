//! What a local engine is started with: sizes, and one number that tells its lives apart.
//!
//! Plain data; the disk and the threads are given separately. Deliberately not here: Kafka's property names.

use crate::planted::PlantedBug;

/// Sizes and limits of a local engine. The defaults are for production; a simulation uses tiny ones.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Size of the very first log file, bytes. Small, so that a first start is instant.
    pub first_file_bytes: u64,
    /// Size of every later log file, bytes. A record that does not fit into one gets a larger file of its own.
    pub log_file_bytes: u64,
    /// How many zero-filled log files are kept ready.
    pub ready_files: usize,
    /// A checkpoint is taken when the log has grown by so many bytes since the last.
    pub checkpoint_bytes: u64,
    /// How many bytes of the log's end stay in memory to be read.
    pub tail_cache_bytes: usize,
    /// Largest log record, bytes.
    pub max_record_bytes: usize,
    /// How long nothing must have been written before an idle mark is, milliseconds (production only).
    pub idle_mark_ms: u64,
    /// A number that differs from one start to the next; it is written into file headers for people to read.
    pub incarnation: u64,
    /// Which planted bug is active. Has no effect without the feature `planted-bugs`.
    pub planted: Option<PlantedBug>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        LocalOptions {
            first_file_bytes: 4 << 20,
            log_file_bytes: 64 << 20,
            ready_files: 1,
            checkpoint_bytes: 48 << 20,
            tail_cache_bytes: 64 << 20,
            max_record_bytes: 32 << 20,
            idle_mark_ms: 50,
            incarnation: 0,
            planted: None,
        }
    }
}

/// Whether this wrong turn is to be taken.
#[cfg(feature = "planted-bugs")]
pub(super) fn planted(options: &LocalOptions, bug: PlantedBug) -> bool {
    options.planted == Some(bug)
}

/// Whether this wrong turn is to be taken: never, in this build.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(super) fn planted(_: &LocalOptions, _: PlantedBug) -> bool {
    false
}
