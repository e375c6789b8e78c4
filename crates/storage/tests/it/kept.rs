//! Data that stays in the log's files as segments: it is not copied, it holds its file, and it gives its place back.

use std::sync::Arc;

use pagemark_storage::contract::{TestBatch, partition, single};
use pagemark_storage::disk::Disk;
use pagemark_storage::engine::{EngineError, LogStore, ShardEpoch, ShardId};
use pagemark_storage::local::{LocalOptions, ManualEngine};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey};

use crate::memory_disk::{Cut, MemoryDisk};
use crate::support::{checkpoint, flush};

const NO_BOUND: Offset = Offset(i64::MAX);
/// Records of a batch of this payload, with their heads, fill a log file by threes.
const LARGE: usize = 18_000;

fn options() -> LocalOptions {
    LocalOptions {
        first_file_bytes: 64 << 10,
        log_file_bytes: 64 << 10,
        checkpoint_bytes: u64::MAX,
        tail_cache_bytes: 2000,
        segment_min_bytes: 12_000,
        kept_batch_bytes: 10_000,
        whole_checkpoint_every: 1,
        ..LocalOptions::default()
    }
}

fn keys() -> Vec<PartitionKey> {
    (0..3).map(|p| partition(1, p)).collect()
}

fn begin(disk: &Arc<MemoryDisk>) -> ManualEngine {
    let manual = ManualEngine::open(disk.clone(), options()).unwrap();
    manual.engine().create(keys()[0].topic, 3, LeaderEpoch(0)).unwrap();
    own(&manual);
    manual
}

fn own(manual: &ManualEngine) {
    manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
}

fn again(disk: &Arc<MemoryDisk>, cut: Cut) -> ManualEngine {
    disk.restart(cut);
    let manual = ManualEngine::open(disk.clone(), options()).unwrap();
    own(&manual);
    manual
}

/// Appends one batch to each of these partitions, and makes them durable.
fn append(manual: &ManualEngine, partitions: &[i32], payload: usize) {
    for p in partitions {
        let base = manual.engine().extent(partition(1, *p)).unwrap().log_end.0;
        let batch = TestBatch { payload, max_timestamp_ms: 1000 + base, ..TestBatch::at(base) };
        manual.engine().append(ShardId(1), ShardEpoch(1), &[single(partition(1, *p), batch)]).unwrap();
    }
    flush(manual);
}

fn begin_at(manual: &ManualEngine, p: i32, start: i64) {
    manual.engine().advance_start(ShardId(1), ShardEpoch(1), partition(1, p), Offset(start)).unwrap();
    flush(manual);
}

fn count(manual: &ManualEngine, p: i32) -> Result<usize, EngineError> {
    manual.engine().read(partition(1, p), Offset(0), usize::MAX, NO_BOUND).map(|slice| slice.batches.len())
}

fn counts(manual: &ManualEngine) -> [usize; 3] {
    [0, 1, 2].map(|p| count(manual, p).unwrap())
}

fn files(disk: &MemoryDisk, dir: &str) -> Vec<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with(dir)).collect()
}

/// Small things that fill the log, so that its files go on, and checkpoints, so that nothing holds those that are not needed.
fn move_on(manual: &ManualEngine) {
    for _ in 0..4 {
        (0..4).for_each(|_| append(manual, &[2], 8_000));
        checkpoint(manual);
    }
}

#[test]
fn large_batches_stay_in_the_log_and_survive_power_cuts_there() {
    let disk = Arc::new(MemoryDisk::new(1));
    let mut manual = begin(&disk);
    for round in 1..=4 {
        (0..3).for_each(|_| append(&manual, &[0, 1, 2], LARGE));
        checkpoint(&manual);
        checkpoint(&manual);
        assert_eq!((files(&disk, "segments/").len(), files(&disk, "packs/").len()), (0, 0), "nothing was copied");
        assert_eq!(counts(&manual), [3 * round; 3]);
        drop(manual);
        manual = again(&disk, Cut::Power);
        let summary = manual.engine().recovery_summary().clone();
        assert!(summary.quarantined.is_empty() && !summary.fell_back, "{summary:?}");
        assert_eq!(counts(&manual), [3 * round; 3]);
    }
    assert_eq!(manual.engine().extent(keys()[1]).unwrap().log_end, Offset(12));
}

#[test]
fn small_batches_are_copied_as_ever_and_go_before_what_stays() {
    let disk = Arc::new(MemoryDisk::new(2));
    let manual = begin(&disk);
    (0..40).for_each(|_| append(&manual, &[0], 500));
    checkpoint(&manual);
    assert_eq!(files(&disk, "segments/").len(), 1);
    (0..3).for_each(|_| append(&manual, &[0], LARGE));
    checkpoint(&manual);
    (0..40).for_each(|_| append(&manual, &[0], 500));
    checkpoint(&manual);
    assert_eq!(files(&disk, "segments/").len(), 2, "one before what stays, and one behind");
    assert_eq!((count(&manual, 0), manual.engine().stats().segments_kept), (Ok(83), 2), "they lie in two files");
    drop(manual);
    assert_eq!(count(&again(&disk, Cut::Power), 0), Ok(83));
}

#[test]
fn a_log_file_is_held_by_what_lies_in_it_and_the_rest_of_its_place_is_given_back() {
    let disk = Arc::new(MemoryDisk::new(3));
    let mut manual = begin(&disk);
    let first = files(&disk, "log/")[0].clone();
    append(&manual, &[0, 1], LARGE);
    checkpoint(&manual);
    move_on(&manual);
    assert_eq!(disk.punched(), 0);
    begin_at(&manual, 0, 1);
    move_on(&manual);
    let mut given = disk.punched();
    assert!((LARGE as u64 - 8192..LARGE as u64 + 200).contains(&given), "{given} bytes of {first}");
    assert_eq!((count(&manual, 0), count(&manual, 1)), (Ok(0), Ok(1)));
    for cut in [Cut::Kill, Cut::Power] {
        drop(manual);
        manual = again(&disk, cut);
        manual.run_background();
        given = disk.punched(); // with the rest of the file that the start left
        move_on(&manual);
        assert_eq!(count(&manual, 1), Ok(1));
        assert!(files(&disk, "log/").contains(&first), "something lives in it");
    }
    begin_at(&manual, 1, 1);
    move_on(&manual);
    assert!(!files(&disk, "log/").contains(&first), "it is not used again, for it has a hole");
    assert_eq!(disk.punched(), given, "for the last one the file goes");
}

#[test]
fn a_log_file_that_is_missing_or_has_lost_its_end_takes_its_partitions_out_of_service_alone() {
    for missing in [true, false] {
        let disk = Arc::new(MemoryDisk::new(4));
        let manual = begin(&disk);
        let first = files(&disk, "log/")[0].clone();
        append(&manual, &[0], LARGE);
        checkpoint(&manual);
        move_on(&manual);
        append(&manual, &[1], LARGE);
        checkpoint(&manual);
        drop(manual);
        match missing {
            true => disk.delete(&first),
            false => disk.truncate(&first, 64 << 10),
        }
        let manual = again(&disk, Cut::Kill);
        let summary = manual.engine().recovery_summary().clone();
        let [(key, reason)] = &summary.quarantined[..] else { panic!("{summary:?}") };
        assert!(*key == keys()[0] && (reason.contains("generation") || reason.contains(&first)), "{summary:?}");
        assert!(matches!(count(&manual, 0), Err(EngineError::Quarantined { .. })));
        assert_eq!(count(&manual, 1), Ok(1));
    }
}

/// The newest checkpoint left data in the log, and cannot be read or misses a pack. The one before it leaves the same data there anew;
/// when what the other one said of it is forgotten, no hole may be made.
#[test]
fn what_a_checkpoint_that_was_passed_over_left_in_the_log_is_not_given_back() {
    for misses_a_pack in [true, false] {
        let disk = Arc::new(MemoryDisk::new(5));
        let manual = begin(&disk);
        for _ in 0..3 {
            append(&manual, &[2], 100);
            checkpoint(&manual);
        }
        append(&manual, &[0, 1], LARGE);
        append(&manual, &[2], 100);
        checkpoint(&manual);
        assert!(manual.engine().stats().segments_kept >= 2);
        drop(manual);
        let newest = |dir: &str| files(&disk, dir).into_iter().filter(|path| !path.ends_with(".copy")).max().unwrap();
        match misses_a_pack {
            true => disk.delete(&newest("packs/")),
            false => {
                let checkpoint = newest("checkpoints/");
                [checkpoint.clone(), checkpoint.replace("ckpt", "copy")].iter().for_each(|path| disk.flip(path, 40, 1));
            }
        }
        let mut manual = again(&disk, Cut::Kill);
        assert!(manual.engine().recovery_summary().fell_back);
        for _ in 0..3 {
            manual.run_background();
            let rests = disk.punched();
            move_on(&manual);
            assert_eq!((count(&manual, 0), count(&manual, 1), disk.punched()), (Ok(1), Ok(1), rests));
            drop(manual);
            manual = again(&disk, Cut::Power);
        }
    }
}

/// A checkpoint that has its name and is then given up may be chosen by the next start; its data stays with the next one as well.
#[test]
fn what_a_checkpoint_that_was_given_up_left_in_the_log_is_not_given_back() {
    let disk = Arc::new(MemoryDisk::new(6));
    let manual = begin(&disk);
    append(&manual, &[2], 100);
    checkpoint(&manual);
    append(&manual, &[0, 1], LARGE);
    manual.request_checkpoint();
    let named = |disk: &MemoryDisk| disk.list("checkpoints").unwrap().iter().filter(|n| n.ends_with(".copy")).count();
    let before = named(&disk);
    while named(&disk) == before {
        assert!(manual.step_background());
    }
    let newest = files(&disk, "checkpoints/").into_iter().filter(|path| path.ends_with(".ckpt")).max().unwrap();
    disk.flip(&newest, 50, 1);
    let done = manual.engine().stats().checkpoints;
    manual.run_background();
    assert_eq!(manual.engine().stats().checkpoints, done, "it reads back with other bytes");
    move_on(&manual);
    move_on(&manual);
    assert_eq!((count(&manual, 0), count(&manual, 1), disk.punched()), (Ok(1), Ok(1), 0));
    drop(manual);
    let manual = again(&disk, Cut::Power);
    assert_eq!((count(&manual, 0), count(&manual, 1)), (Ok(1), Ok(1)));
}

/// The system tells of an error once for each handle. Indexes have one of their own, so the flusher is told of what concerns it.
#[test]
fn an_index_that_cannot_be_synced_costs_a_checkpoint_and_not_the_log() {
    let disk = Arc::new(MemoryDisk::new(7));
    let manual = begin(&disk);
    append(&manual, &[0, 1], LARGE);
    manual.request_checkpoint();
    // The sync of the index is the first of the checkpoint.
    disk.fail_syncs(1);
    manual.run_background();
    assert_eq!((manual.engine().stats().checkpoints, manual.engine().progress().failed), (0, None));
    append(&manual, &[0, 1], LARGE);
    checkpoint(&manual);
    assert_eq!(manual.engine().stats().checkpoints, 1);
    drop(manual);
    let manual = again(&disk, Cut::Power);
    assert_eq!((count(&manual, 0), count(&manual, 1)), (Ok(2), Ok(2)));
}

/// A start leaves the file that it finds half full; what stays in there must not hold the rest of it.
#[test]
fn the_rest_of_a_file_that_was_left_early_is_given_back() {
    let disk = Arc::new(MemoryDisk::new(8));
    let manual = begin(&disk);
    append(&manual, &[0], LARGE);
    checkpoint(&manual);
    drop(manual);
    let manual = again(&disk, Cut::Power);
    manual.run_background();
    let rest = (64 << 10) - 4096 - LARGE as u64;
    assert!((rest - 5000..rest).contains(&disk.punched()), "{} of {rest}", disk.punched());
    assert_eq!(count(&manual, 0), Ok(1));
    append(&manual, &[0], LARGE);
    checkpoint(&manual);
    drop(manual);
    assert_eq!(count(&again(&disk, Cut::Power), 0), Ok(2));
}

/// Many small files of a partition's share are worse than a copy: it needs so much in each log file.
#[test]
fn what_would_become_too_many_segments_is_copied() {
    let disk = Arc::new(MemoryDisk::new(9));
    let manual = begin(&disk);
    for _ in 0..5 {
        append(&manual, &[0], 11_000);
        (0..3).for_each(|_| append(&manual, &[1], LARGE));
    }
    checkpoint(&manual);
    let stats = manual.engine().stats();
    assert_eq!(files(&disk, "segments/").len(), 1, "of partition 0, with 11,000 bytes in each file: {stats:?}");
    assert!(stats.segments_kept >= 4, "{stats:?}");
    assert_eq!((count(&manual, 0), count(&manual, 1)), (Ok(5), Ok(15)));
}

/// When flushes have become small the log goes on in a file that was filled. Not where an idle mark stands already: that record has
/// its place, and the next file may not begin with its number.
#[test]
fn an_idle_mark_is_followed_by_its_record_in_the_same_file() {
    for marked in [true, false] {
        let disk = Arc::new(MemoryDisk::new(10));
        let options = LocalOptions { large_flush_bytes: 10_000, ..options() };
        let manual = ManualEngine::open(disk.clone(), options.clone()).unwrap();
        manual.engine().create(keys()[0].topic, 3, LeaderEpoch(0)).unwrap();
        own(&manual);
        for _ in 0..6 {
            append(&manual, &[0, 1], LARGE);
            manual.run_background();
        }
        (0..40).for_each(|_| append(&manual, &[2], 10));
        let begun = files(&disk, "log/").len();
        manual.run_background();
        if marked {
            assert!(manual.write_idle_mark());
        }
        let before = manual.engine().stats().syncs;
        append(&manual, &[2], 10);
        let more = manual.engine().stats().syncs - before;
        assert_eq!(more, if marked { 1 } else { 2 }, "a file that is begun is synced with its header: {begun} files");
        append(&manual, &[2], 10);
        drop(manual);
        disk.restart(Cut::Power);
        let manual = ManualEngine::open(disk.clone(), options).unwrap();
        own(&manual);
        assert_eq!(counts(&manual), [6, 6, 42]);
    }
}

/// What stays in the log leaves no name of its own, but its indexes tell that newer checkpoints knew of it.
#[test]
fn old_checkpoints_in_the_place_of_newer_ones_are_refused_where_all_since_stayed_in_the_log() {
    let disk = Arc::new(MemoryDisk::new(11));
    let manual = begin(&disk);
    append(&manual, &[0], LARGE);
    checkpoint(&manual);
    checkpoint(&manual);
    let backup = disk.copy();
    for round in 1..8 {
        append(&manual, &[0, 1, 2], LARGE);
        // What lay behind the old checkpoints is gone, with its log file.
        begin_at(&manual, 0, round);
        begin_at(&manual, 1, round);
        begin_at(&manual, 2, round);
        append(&manual, &[0, 1, 2], LARGE);
        begin_at(&manual, 0, round + 1);
        checkpoint(&manual);
    }
    drop(manual);
    disk.restart(Cut::Power);
    assert_eq!((files(&disk, "segments/").len(), files(&disk, "packs/").len()), (0, 0));
    let checkpoints = |disk: &MemoryDisk| files(disk, "checkpoints/");
    checkpoints(&disk).iter().for_each(|path| disk.delete(path));
    for path in checkpoints(&backup) {
        let file = disk.create(&path).unwrap();
        disk.write_at(file, 0, &backup.bytes(&path)).unwrap();
        disk.sync_data(file).unwrap();
        disk.sync_dir("checkpoints").unwrap();
        disk.close(file);
    }
    let before = disk.files();
    let refused = ManualEngine::open(disk.clone(), options()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("are gone") && refused.contains("log/"), "{refused}");
    assert_eq!(disk.files(), before, "nothing is touched");
}
