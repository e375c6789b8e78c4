//! Data in segments, packs and the log reads as one log, and segments are written so that no failure costs more than it must.

use std::sync::Arc;

use bytes::Bytes;
use pagemark_storage::contract::{TestBatch, partition, single};
use pagemark_storage::disk::Disk;
use pagemark_storage::engine::{
    Engine, EngineError, Locate, LogStore, MetaStore, SegmentLimit, ShardEpoch, ShardId, Write,
};
use pagemark_storage::local::{LocalOptions, ManualEngine, OpenError};
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey};

use crate::memory_disk::{Cut, MemoryDisk};
use crate::support::{Random, checkpoint, flush};

const NO_BOUND: Offset = Offset(i64::MAX);

fn options() -> LocalOptions {
    LocalOptions {
        first_file_bytes: 16 << 10,
        log_file_bytes: 16 << 10,
        checkpoint_bytes: u64::MAX,
        tail_cache_bytes: 2000,
        block_bytes: 700,
        segment_bytes: 6000,
        segment_min_bytes: 1200,
        moved_bytes: 3000,
        whole_checkpoint_every: 4,
        index_cache_bytes: 400,
        ..LocalOptions::default()
    }
}

fn keys() -> Vec<PartitionKey> {
    (0..3).map(|p| partition(1, p)).collect()
}

fn append(manual: &ManualEngine, p: i32, base: i64, payload: usize) {
    let batch = TestBatch { payload, max_timestamp_ms: 1000 + base, ..TestBatch::at(base) };
    manual.engine().append(ShardId(1), ShardEpoch(1), &[single(partition(1, p), batch)]).unwrap();
    flush(manual);
}

/// An engine with one topic of three partitions, opened.
fn begin(disk: &Arc<MemoryDisk>) -> ManualEngine {
    begin_with(disk, options())
}

fn begin_with(disk: &Arc<MemoryDisk>, options: LocalOptions) -> ManualEngine {
    let manual = ManualEngine::open(disk.clone(), options).unwrap();
    manual.engine().create(keys()[0].topic, 3, LeaderEpoch(0)).unwrap();
    manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
    manual
}

fn again(disk: &Arc<MemoryDisk>, cut: Cut) -> ManualEngine {
    again_with(disk, cut, options())
}

fn again_with(disk: &Arc<MemoryDisk>, cut: Cut, options: LocalOptions) -> ManualEngine {
    disk.restart(cut);
    let manual = ManualEngine::open(disk.clone(), options).unwrap();
    manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
    manual
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with("segments/")).collect()
}

fn count(manual: &ManualEngine, p: i32) -> Result<usize, EngineError> {
    manual.engine().read(partition(1, p), Offset(0), usize::MAX, NO_BOUND).map(|slice| slice.batches.len())
}

/// Whether no more than two checkpoints are kept.
fn newest_is_whole(disk: &MemoryDisk) -> bool {
    disk.list("checkpoints").unwrap().len() <= 4
}

/// Reads and searches of every kind give what an engine without any files gives.
fn compare(manual: &ManualEngine, model: &MemoryEngine, random: &mut Random) {
    let engine = manual.engine();
    for key in keys() {
        let (found, expected) = (engine.extent(key).unwrap(), model.extent(key).unwrap());
        let ends = |e: pagemark_storage::engine::Extent| (e.log_start, e.durable_end, e.log_end);
        assert_eq!(ends(found), ends(expected), "{key}");
        assert!(found.bytes >= expected.bytes, "{key}: {found:?} holds less than {expected:?}");
        let length = (expected.log_end.0 - expected.log_start.0) as u64;
        for _ in 0..6 {
            let from = expected.log_start.plus(random.below(length + 2) as i64);
            let bound = if random.below(2) == 0 { NO_BOUND } else { from.plus(random.below(60) as i64) };
            let max_bytes = [0, 300, 1500, 5000, 1 << 30][random.below(5) as usize];
            let read = |engine: &dyn Engine| engine.read(key, from, max_bytes, bound).unwrap().batches;
            assert!(read(&*engine) == read(model), "{key} from {from} below {bound}, {max_bytes} bytes");
            let bound = if random.below(2) == 0 {
                NO_BOUND
            } else {
                Offset(random.below(expected.log_end.0 as u64 + 1) as i64)
            };
            let time = Locate::Time(1000 + random.below(900) as i64);
            for what in [Locate::MaxTimestamp, time] {
                let find =
                    |engine: &dyn Engine| -> Option<Bytes> { engine.locate(key, what, Offset(0)..bound).unwrap() };
                assert!(find(&*engine) == find(model), "{key} {what:?} below {bound}");
            }
        }
    }
}

/// Every other life leaves data in the log's files.
fn options_of_life(life: u64) -> LocalOptions {
    let kept_batch_bytes = if life.is_multiple_of(2) { 0 } else { u64::MAX };
    let segment_min_bytes = if kept_batch_bytes == 0 { 200 } else { options().segment_min_bytes };
    LocalOptions { kept_batch_bytes, segment_min_bytes, segment_bytes: 16 << 10, ..options() }
}

#[test]
fn segments_packs_and_log_read_as_one() {
    let mut kept = 0;
    for seed in 1..=12_u64 {
        let mut life = seed;
        let disk = Arc::new(MemoryDisk::new(seed));
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
        let model = MemoryEngine::new();
        model.create(keys()[0].topic, 3, LeaderEpoch(0)).unwrap();
        model.open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
        let mut manual = begin_with(&disk, options_of_life(life));
        for step in 0..220 {
            let key = keys()[random.below(3) as usize];
            let extent = model.extent(key).unwrap();
            match random.below(20) {
                0..12 => {
                    let records = 1 + random.below(4) as i32;
                    let (payload, max_timestamp_ms) = (random.below(300) as usize, 1000 + random.below(900) as i64);
                    let base = extent.log_end.0;
                    let batch = TestBatch { records, payload, max_timestamp_ms, ..TestBatch::at(base) };
                    for engine in [&*manual.engine() as &dyn Engine, &model] {
                        engine.append(ShardId(1), ShardEpoch(1), &[single(key, batch)]).unwrap();
                    }
                }
                12 => {
                    let start = extent
                        .log_start
                        .plus(random.below((extent.log_end.0 - extent.log_start.0) as u64 + 1) as i64 / 2);
                    for engine in [&*manual.engine() as &dyn Engine, &model] {
                        engine.advance_start(ShardId(1), ShardEpoch(1), key, start).unwrap();
                    }
                }
                13..16 => checkpoint(&manual),
                16 => {
                    // A checkpoint that does not come to its end.
                    manual.request_checkpoint();
                    flush(&manual);
                    (0..random.below(25)).for_each(|_| _ = manual.step_background());
                }
                17 => {
                    flush(&manual);
                    kept += manual.engine().stats().segments_kept;
                    drop(manual);
                    life += 1;
                    let cut = if random.below(2) == 0 { Cut::Kill } else { Cut::Power };
                    manual = again_with(&disk, cut, options_of_life(life));
                }
                _ => {}
            }
            if step % 8 == 0 {
                flush(&manual);
                compare(&manual, &model, &mut random);
            }
        }
        flush(&manual);
        manual.engine().close().unwrap();
        let manual = again(&disk, Cut::Power);
        compare(&manual, &model, &mut random);
        assert!(!segments(&disk).is_empty(), "seed {seed}");
    }
    assert!(kept > 30, "{kept} times data stayed in the log's files");
}

#[test]
fn after_a_failed_sync_a_segment_is_never_written_again() {
    let disk = Arc::new(MemoryDisk::new(1));
    let manual = begin(&disk);
    append(&manual, 0, 0, 1300);
    checkpoint(&manual);
    let [first] = &segments(&disk)[..] else { panic!("{:?}", segments(&disk)) };
    append(&manual, 0, 1, 1300);
    let before = manual.engine().stats().checkpoints;
    manual.request_checkpoint();
    // The sync of the segment is the first of the checkpoint.
    disk.fail_syncs(1);
    manual.run_background();
    assert_eq!(manual.engine().stats().checkpoints, before, "it was given up");
    let as_left = disk.bytes(first);
    checkpoint(&manual);
    assert_eq!(segments(&disk).len(), 2, "the data went into another file");
    assert_eq!(disk.bytes(first), as_left);
    drop(manual);
    let manual = again(&disk, Cut::Power);
    assert_eq!(count(&manual, 0), Ok(2));
}

#[test]
fn what_a_checkpoint_that_was_passed_over_had_appended_is_left_alone() {
    let disk = Arc::new(MemoryDisk::new(2));
    let manual = begin(&disk);
    for base in 0..3 {
        append(&manual, 0, base, 1300);
        checkpoint(&manual);
    }
    let [first] = &segments(&disk)[..] else { panic!("{:?}", segments(&disk)) };
    let whole = disk.bytes(first);
    let newest = |disk: &MemoryDisk| {
        disk.files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with(".ckpt")).max().unwrap()
    };
    let rotten = newest(&disk);
    disk.flip(&rotten, 40, 1);
    disk.flip(&rotten.replace("ckpt", "copy"), 40, 1);
    drop(manual);
    let manual = again(&disk, Cut::Kill);
    assert!(manual.engine().recovery_summary().fell_back);
    assert_eq!(count(&manual, 0), Ok(3), "the log has what the older checkpoint lacks");
    append(&manual, 0, 3, 1300);
    checkpoint(&manual);
    assert_eq!(disk.bytes(first), whole);
    assert_eq!(segments(&disk).len(), 2);
    assert_eq!(count(&manual, 0), Ok(4));
}

#[test]
fn a_segment_that_is_missing_is_named_at_the_start_and_a_rotten_one_at_the_first_read() {
    let disk = Arc::new(MemoryDisk::new(3));
    let manual = begin(&disk);
    for base in 0..2 {
        (0..3).for_each(|p| append(&manual, p, base, 1300));
        checkpoint(&manual);
    }
    checkpoint(&manual);
    drop(manual);
    let all = segments(&disk);
    assert_eq!(all.len(), 3);
    disk.delete(&all[0]);
    let len = disk.bytes(&all[1]).len();
    disk.flip(&all[1], len - 60, 1);
    let manual = again(&disk, Cut::Kill);
    let summary = manual.engine().recovery_summary().clone();
    let [(key, reason)] = &summary.quarantined[..] else { panic!("{summary:?}") };
    assert!(*key == partition(1, 0) && reason.contains(&all[0]), "{summary:?}");
    assert!(matches!(count(&manual, 1), Err(EngineError::Quarantined { .. })));
    assert_eq!(count(&manual, 2), Ok(2));
    checkpoint(&manual);
    drop(manual);
    let summary = again(&disk, Cut::Kill).engine().recovery_summary().clone();
    assert_eq!(summary.quarantined.len(), 2, "both stay so: {summary:?}");
}

#[test]
fn a_chain_of_checkpoints_bears_one_rotten_file_of_each() {
    let disk = Arc::new(MemoryDisk::new(4));
    let manual = begin(&disk);
    for base in 0..6 {
        append(&manual, (base % 2) as i32, base / 2, 200);
        manual.engine().txn(&[], vec![Write::Put(format!("k{}", base % 4), Bytes::from(vec![base as u8]))]).unwrap();
        checkpoint(&manual);
    }
    assert!(manual.engine().stats().incremental_checkpoints >= 3);
    // Four of them hang on one another.
    while newest_is_whole(&disk) {
        append(&manual, 2, manual.engine().extent(partition(1, 2)).unwrap().log_end.0, 10);
        checkpoint(&manual);
    }
    let facts = manual.engine().scan("");
    drop(manual);
    let files: Vec<String> =
        disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with("checkpoints/")).collect();
    assert!(files.len() > 4, "a chain is longer than the two that may be chosen: {files:?}");
    for (i, path) in files.iter().enumerate() {
        if (i / 2 + i) % 2 == 0 {
            disk.flip(path, 50, 1);
        }
    }
    let manual = again(&disk, Cut::Kill);
    assert!(!manual.engine().recovery_summary().fell_back);
    assert_eq!((count(&manual, 0), count(&manual, 1)), (Ok(3), Ok(3)));
    assert_eq!(manual.engine().scan(""), facts);
}

/// Long chains.
fn chained() -> LocalOptions {
    LocalOptions { whole_checkpoint_every: 16, ..options() }
}

/// A disk with an engine that was closed, and the numbers of the chain of seven checkpoints that it left.
fn closed_with_a_chain() -> (Arc<MemoryDisk>, Vec<String>) {
    let disk = Arc::new(MemoryDisk::new(4));
    let manual = ManualEngine::open(disk.clone(), chained()).unwrap();
    manual.engine().create(keys()[0].topic, 3, LeaderEpoch(0)).unwrap();
    manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
    // So that a change is small beside all there is.
    let facts = (0..9).map(|i| Write::Put(format!("{i}"), Bytes::from(vec![b'f'; 900])));
    manual.engine().txn(&[], facts.collect()).unwrap();
    for round in 0..30 {
        let p = round % 3;
        // Enough for a log file of its own.
        append(&manual, p, end(&manual, p), 14_000);
        checkpoint(&manual);
        if round > 7 && disk.list("checkpoints").unwrap().len() == 12 {
            break;
        }
    }
    manual.engine().close().unwrap();
    drop(manual);
    disk.restart(Cut::Power);
    let names = disk.list("checkpoints").unwrap().into_iter();
    let numbers: Vec<String> = names.filter_map(|name| name.strip_suffix(".ckpt").map(str::to_owned)).collect();
    assert_eq!(numbers.len(), 7);
    (disk, numbers)
}

fn end(manual: &ManualEngine, p: i32) -> i64 {
    manual.engine().extent(partition(1, p)).unwrap().log_end.0
}

/// Whether every batch that was acknowledged can be read.
fn is_whole(manual: &ManualEngine) -> bool {
    let end = |p| end(manual, p) as usize;
    (0..3).all(|p| count(manual, p) == Ok(end(p))) && (0..3).map(end).sum::<usize>() >= 8
}

fn rot(disk: &MemoryDisk, checkpoint: &str) {
    ["ckpt", "copy"].iter().for_each(|ending| disk.flip(&format!("checkpoints/{checkpoint}.{ending}"), 40, 1));
}

/// The start went back to a checkpoint whose log was long given free, quarantined everything, and removed what the newer ones held.
#[test]
fn a_chain_with_a_lost_link_is_refused_by_name_unless_the_log_reaches_back_far_enough() {
    let (disk, numbers) = closed_with_a_chain();
    let [whole, .., last] = &numbers[..] else { panic!("{numbers:?}") };
    let contents = || disk.files().into_iter().map(|(path, _)| disk.bytes(&path)).collect::<Vec<_>>();
    for lost in &numbers[2..5] {
        rot(&disk, lost);
        let before = contents();
        let refused = ManualEngine::open(disk.clone(), options()).map(|_| ()).unwrap_err();
        let words = refused.to_string();
        assert!(matches!(refused, OpenError::CheckpointLost { .. }), "{words}");
        let number = |name: &String| name.trim_start_matches('0').to_owned();
        for told in [&format!("checkpoints/{lost}.ckpt"), &number(last)] {
            assert!(words.contains(told), "{told} in: {words}");
        }
        assert!(contents() == before, "nothing is touched");
        // One file comes back, as from a backup.
        disk.flip(&format!("checkpoints/{lost}.copy"), 40, 1);
        let copy = Arc::new(disk.copy());
        let manual = again(&copy, Cut::Kill);
        assert!(!manual.engine().recovery_summary().fell_back);
        assert!(is_whole(&manual));
        disk.flip(&format!("checkpoints/{lost}.ckpt"), 40, 1);
    }
    // The log still has everything since the one before the last.
    rot(&disk, last);
    let manual = again(&disk, Cut::Kill);
    let summary = manual.engine().recovery_summary().clone();
    assert!(summary.fell_back && summary.quarantined.is_empty() && is_whole(&manual), "{summary:?}");
    drop(manual);
    // Without even the first of a chain there is nothing to begin with.
    let (disk, _) = closed_with_a_chain();
    rot(&disk, whole);
    assert!(matches!(ManualEngine::open(disk, options()), Err(OpenError::NoValidCheckpoint)));
}

/// The next rotten sector would have cost the directory.
#[test]
fn what_only_one_file_of_a_checkpoint_tells_is_told_by_two_again_at_once() {
    for damaged in [false, true] {
        let (disk, numbers) = closed_with_a_chain();
        if damaged {
            disk.flip(&format!("checkpoints/{}.ckpt", numbers[1]), 40, 1);
        }
        let manual = ManualEngine::open(disk.clone(), chained()).unwrap();
        assert!(manual.engine().recovery_summary().clean);
        manual.run_background();
        assert_eq!(manual.engine().stats().checkpoints, u64::from(damaged));
        checkpoint(&manual);
        let whole = manual.engine().stats().checkpoints - manual.engine().stats().incremental_checkpoints;
        assert_eq!(whole > 0, damaged, "{:?}", manual.engine().stats());
    }
}

/// Nobody noticed before somebody read there, and the newest checkpoint was taken although the one before needed none of it.
#[test]
fn a_segment_that_is_shorter_than_it_was_is_found_at_the_start() {
    let disk = Arc::new(MemoryDisk::new(3));
    let manual = begin(&disk);
    for base in 0..3 {
        (0..3).for_each(|p| append(&manual, p, base, 1300));
        checkpoint(&manual);
    }
    let [first, ..] = &segments(&disk)[..] else { panic!("{:?}", segments(&disk)) };
    let len = disk.bytes(first).len();
    drop(manual);
    let shortened = |by: usize| {
        let disk = Arc::new(disk.copy());
        disk.truncate(first, len - by);
        let manual = again(&disk, Cut::Kill);
        let summary = manual.engine().recovery_summary().clone();
        (manual, summary)
    };
    // The log still has what the last checkpoint moved.
    let (manual, summary) = shortened(1);
    assert!(summary.fell_back && summary.quarantined.is_empty(), "{summary:?}");
    assert!((0..3).all(|p| count(&manual, p) == Ok(3)));
    let (manual, summary) = shortened(len - 100);
    let [(key, reason)] = &summary.quarantined[..] else { panic!("{summary:?}") };
    assert!(*key == partition(1, 0) && reason.contains(first) && reason.contains("100 bytes"), "{summary:?}");
    assert!((1..3).all(|p| count(&manual, p) == Ok(3)));
}

/// It was noted as dead after it had come to life again, and its file then stayed until the next start.
#[test]
fn a_segment_that_a_log_start_passed_while_it_grew_goes_when_its_data_goes() {
    let disk = Arc::new(MemoryDisk::new(3));
    let manual = begin(&disk);
    (0..4).for_each(|base| append(&manual, 0, base, 500));
    checkpoint(&manual);
    assert_eq!(segments(&disk).len(), 1);
    (4..8).for_each(|base| append(&manual, 0, base, 500));
    manual.request_checkpoint();
    flush(&manual);
    while !disk.files().iter().any(|(path, _)| path.ends_with(".tmp")) {
        assert!(manual.step_background());
    }
    let start = |offset| {
        manual.engine().advance_start(ShardId(1), ShardEpoch(1), partition(1, 0), Offset(offset)).unwrap();
        flush(&manual);
    };
    start(5);
    manual.run_background();
    assert_eq!((segments(&disk).len(), count(&manual, 0).unwrap()), (1, 3));
    (0..2).for_each(|_| checkpoint(&manual));
    start(8);
    (0..3).for_each(|_| checkpoint(&manual));
    assert_eq!(segments(&disk), Vec::<String>::new());
}

#[test]
fn segments_end_at_their_topics_size_and_age() {
    for (limit, expected) in [
        (SegmentLimit { bytes: u64::MAX, ms: i64::MAX }, 1),
        (SegmentLimit { bytes: 1, ms: i64::MAX }, 4),
        (SegmentLimit { bytes: u64::MAX, ms: 1 }, 2),
    ] {
        let disk = Arc::new(MemoryDisk::new(5));
        let manual = begin(&disk);
        manual.engine().limit_segments(keys()[0].topic, Some(limit));
        for base in 0..4 {
            append(&manual, 0, base, 1300);
            checkpoint(&manual);
        }
        assert_eq!(segments(&disk).len(), expected, "{limit:?}");
        drop(manual);
        assert_eq!(count(&again(&disk, Cut::Kill), 0), Ok(4), "{limit:?}");
    }
}

/// A batch without a timestamp counted as one of 1969, and every checkpoint sealed the segment that began with it.
#[test]
fn a_segment_that_begins_with_batches_without_timestamps_is_as_old_as_its_first_timestamp() {
    for (times, expected) in [([-1; 5], 1), ([-1, 9_000, 9_500, -1, 10_000], 1), ([-1, 9_000, 11_000, -1, 11_000], 2)] {
        let disk = Arc::new(MemoryDisk::new(5));
        let manual = begin(&disk);
        manual.engine().limit_segments(keys()[0].topic, Some(SegmentLimit { bytes: u64::MAX, ms: 1000 }));
        for (base, max_timestamp_ms) in (0..).zip(times) {
            let batch = TestBatch { payload: 1300, max_timestamp_ms, ..TestBatch::at(base) };
            manual.engine().append(ShardId(1), ShardEpoch(1), &[single(partition(1, 0), batch)]).unwrap();
            checkpoint(&manual);
        }
        assert_eq!(segments(&disk).len(), expected, "{times:?}");
        drop(manual);
        assert_eq!(count(&again(&disk, Cut::Kill), 0), Ok(5), "{times:?}");
    }
}

#[test]
fn however_often_a_broker_is_killed_its_packs_stay_few() {
    let disk = Arc::new(MemoryDisk::new(6));
    let manual = begin(&disk);
    flush(&manual);
    drop(manual);
    for base in 0..40 {
        let manual = again(&disk, Cut::Kill);
        append(&manual, 0, base, 1);
        checkpoint(&manual);
    }
    let manual = again(&disk, Cut::Kill);
    checkpoint(&manual);
    let packs = disk.files().into_iter().filter(|(path, _)| path.starts_with("packs/")).count();
    assert!(packs < 25, "{packs}");
    assert_eq!(count(&manual, 0), Ok(40));
    assert!(disk.list("segments").unwrap().len() <= 2);
}

/// The start replayed nothing, quarantined everything, and removed the packs and segments of all newer checkpoints.
#[test]
fn old_checkpoints_in_the_place_of_lost_ones_never_cost_what_was_written_since() {
    let disk = Arc::new(MemoryDisk::new(6));
    let manual = begin(&disk);
    append(&manual, 0, 0, 14_000);
    checkpoint(&manual);
    append(&manual, 1, 0, 300);
    checkpoint(&manual);
    let backup = disk.copy();
    for base in 1..12 {
        append(&manual, base % 3, end(&manual, base % 3), 14_000);
        append(&manual, 1, end(&manual, 1), 300);
        checkpoint(&manual);
    }
    drop(manual);
    disk.restart(Cut::Power);
    let in_checkpoints = |disk: &MemoryDisk| -> Vec<String> {
        disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with("checkpoints/")).collect()
    };
    let kept: Vec<_> = in_checkpoints(&disk).into_iter().map(|path| (disk.bytes(&path), path)).collect();
    let put = |path: &str, bytes: &[u8]| {
        let file = disk.create(path).unwrap();
        disk.write_at(file, 0, bytes).unwrap();
        disk.sync_data(file).unwrap();
        disk.sync_dir("checkpoints").unwrap();
        disk.close(file);
    };
    kept.iter().for_each(|(_, path)| disk.delete(path));
    in_checkpoints(&backup).iter().for_each(|path| put(path, &backup.bytes(path)));
    let contents = || disk.files().into_iter().map(|(path, _)| (disk.bytes(&path), path)).collect::<Vec<_>>();
    let before = contents();
    let refused = ManualEngine::open(disk.clone(), options()).map(|_| ()).unwrap_err();
    let words = refused.to_string();
    assert!(matches!(refused, OpenError::CheckpointLost { .. }), "{words}");
    assert!(words.contains("newer checkpoints than 3 are gone"), "{words}");
    assert!(contents() == before, "nothing is touched");
    // The lost ones come back, beside those of the backup.
    let healed = Arc::new(disk.copy());
    kept.iter().for_each(|(bytes, path)| put(path, bytes));
    assert!(is_whole(&again(&disk, Cut::Kill)));
    // Or somebody gives up what they hold, and says so.
    let younger = |path: &&String| {
        let there = backup.files().iter().any(|(known, _)| known == *path);
        !there && (path.starts_with("packs/") || path.starts_with("segments/"))
    };
    let paths: Vec<String> = healed.files().into_iter().map(|(path, _)| path).collect();
    paths.iter().filter(younger).for_each(|path| healed.delete(path));
    let manual = again(&healed, Cut::Kill);
    let summary = manual.engine().recovery_summary().clone();
    assert!(summary.metadata_damaged && summary.quarantined.len() == 3, "{summary:?}");
}
