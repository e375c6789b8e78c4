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
    /// Where flushes are so large on average, bytes, the place of the next log files is only taken, not filled.
    pub large_flush_bytes: u64,
    /// A checkpoint is taken when the log has grown by so many bytes since the last.
    pub checkpoint_bytes: u64,
    /// Blocks in packs and segments are put together up to this size, bytes.
    pub block_bytes: u64,
    /// A segment of this size is sealed, bytes, unless its topic has a limit of its own.
    pub segment_bytes: u64,
    /// So is one whose first batches are so much older than those to be added, milliseconds of their timestamps.
    pub segment_ms: i64,
    /// A partition's data is moved into its segment when so much of it lies elsewhere, bytes; below it goes into packs.
    pub segment_min_bytes: u64,
    /// A partition's data stays in the log's files where its batches have so many bytes on average, and in each file there are
    /// `segment_min_bytes` of it; else it is copied into segments.
    pub kept_batch_bytes: u64,
    /// And where there are fewer log files than this: a start looks into each.
    pub most_log_files: usize,
    /// How much of what already lies in packs a checkpoint moves at most, bytes.
    pub moved_bytes: u64,
    /// Every so many checkpoints one holds everything; those between hold what changed.
    pub whole_checkpoint_every: usize,
    /// How many bytes of segments' indexes stay in memory.
    pub index_cache_bytes: usize,
    /// How many bytes of the log's end stay in memory to be read.
    pub tail_cache_bytes: usize,
    /// Largest log record, bytes.
    pub max_record_bytes: usize,
    /// Bytes kept back for when the disk gets full, at most a quarter of it; 0: none, and nothing is ever refused.
    pub reserved_bytes: u64,
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
            large_flush_bytes: 128 << 10,
            checkpoint_bytes: 48 << 20,
            block_bytes: 64 << 10,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_min_bytes: 1 << 20,
            kept_batch_bytes: 64 << 10,
            most_log_files: 2048,
            moved_bytes: 64 << 20,
            whole_checkpoint_every: 16,
            index_cache_bytes: 32 << 20,
            tail_cache_bytes: 64 << 20,
            max_record_bytes: 32 << 20,
            reserved_bytes: 0,
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
