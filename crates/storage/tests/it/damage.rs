//! Damaged bytes: each is found, none is served, and what lies around them stays (invariants 11 and 38).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use pagemark_storage::contract::{TestBatch, partition, single};
use pagemark_storage::engine::{Engine, EngineError, LogStore, MetaStore, ShardEpoch, ShardId, Write};
use pagemark_storage::local::{LocalEngine, LocalOptions, ManualEngine, OpenError};
use pagemark_storage::planted::PlantedBug;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey};

use crate::memory_disk::{Cut, MemoryDisk};

const PARTITIONS: i32 = 4;

fn options() -> LocalOptions {
    LocalOptions {
        first_file_bytes: 8192,
        log_file_bytes: 8192,
        checkpoint_bytes: u64::MAX,
        block_bytes: 400,
        segment_bytes: 600,
        // Of the four partitions the two with larger batches get segments.
        segment_min_bytes: 290,
        ..LocalOptions::default()
    }
}

fn open(disk: &Arc<MemoryDisk>) -> Result<ManualEngine, OpenError> {
    ManualEngine::open(disk.clone(), options())
}

struct Writer {
    manual: ManualEngine,
    epoch: u64,
}

impl Writer {
    fn new(disk: &Arc<MemoryDisk>) -> Writer {
        let manual = open(disk).unwrap();
        manual.engine().create(partition(1, 0).topic, PARTITIONS as u32, LeaderEpoch(0)).unwrap();
        let mut writer = Writer { manual, epoch: 0 };
        writer.take();
        writer
    }

    fn take(&mut self) {
        self.epoch += 1;
        let keys: Vec<_> = (0..PARTITIONS).map(|p| partition(1, p)).collect();
        self.manual.engine().open(ShardId(1), ShardEpoch(self.epoch), &keys).unwrap();
    }

    fn append(&self, key: PartitionKey, base: i64, payload: usize) {
        let batch = TestBatch { payload, ..TestBatch::at(base) };
        self.manual.engine().append(ShardId(1), ShardEpoch(self.epoch), &[single(key, batch)]).unwrap();
    }

    fn flush(&self) {
        while self.manual.step_flush() {}
    }

    fn checkpoint(&self) {
        self.manual.request_checkpoint();
        self.flush();
        self.manual.run_background();
    }
}

fn read(engine: &LocalEngine, key: PartitionKey) -> Result<Vec<Bytes>, EngineError> {
    engine.read(key, Offset(0), usize::MAX, Offset(i64::MAX)).map(|slice| slice.batches)
}

/// Batches in packs of two checkpoints and in the log behind them, settings, and an idle mark at the end.
fn small_directory() -> (Arc<MemoryDisk>, BTreeMap<PartitionKey, Vec<Bytes>>) {
    let disk = Arc::new(MemoryDisk::new(3));
    let writer = Writer::new(&disk);
    for round in 0..5 {
        for p in 0..PARTITIONS {
            writer.append(partition(1, p), round, 60 + 10 * p as usize);
        }
        let value = Bytes::from(vec![b'v'; 20]);
        writer.manual.engine().txn(&[], vec![Write::Put(format!("key{round}"), value)]).unwrap();
        writer.flush();
        if round < 3 {
            writer.checkpoint();
        }
    }
    assert!(writer.manual.write_idle_mark());
    let engine = writer.manual.engine();
    let keys = (0..PARTITIONS).map(|p| partition(1, p));
    let model = keys.map(|key| (key, read(&engine, key).unwrap())).collect();
    (disk, model)
}

#[test]
fn any_flipped_byte_is_found_and_takes_nothing_else_with_it() {
    let (disk, model) = small_directory();
    for dir in ["packs/", "segments/", "checkpoints/", "log/"] {
        assert!(disk.files().iter().any(|(path, _)| path.starts_with(dir)), "{dir}");
    }
    let mut quarantined = [0; PARTITIONS as usize + 1];
    for (path, len) in disk.files() {
        // Zero-filled space is long and says nothing; a sample of it will do.
        let bytes = disk.bytes(&path);
        for at in (0..len).filter(|at| bytes[*at] != 0 || at % 16 == 3) {
            let damaged = Arc::new(disk.copy());
            damaged.flip(&path, at, 0x41);
            damaged.restart(Cut::Kill);
            let manual = open(&damaged).unwrap_or_else(|e| panic!("{path} at {at}: start refused: {e}"));
            let engine = manual.engine();
            let summary = engine.recovery_summary().clone();
            let mut hit = 0;
            for (key, log) in &model {
                match read(&engine, *key) {
                    Ok(found) => assert_eq!(found, *log, "{path} at {at}: {key} {summary:?}"),
                    Err(EngineError::Quarantined { .. }) => hit += 1,
                    Err(e) => panic!("{path} at {at}: {e}"),
                }
            }
            let known = engine.scan("key").len();
            assert!(known == 5 || summary.metadata_damaged, "{path} at {at}: {known} settings, {summary:?}");
            quarantined[hit] += 1;
        }
    }
    let [none, one, more @ ..] = quarantined;
    assert!(one > 100, "the damage was seen: {quarantined:?}");
    assert!(more.iter().sum::<i32>() * 10 < none + one, "one flipped byte hardly ever hits more: {quarantined:?}");
}

#[test]
fn a_rotten_batch_in_the_log_quarantines_its_partition_and_no_other() {
    let (disk, model) = small_directory();
    let (path, at) = find(&disk, &model[&partition(1, 2)][4][70..]);
    disk.flip(&path, at, 1);
    disk.restart(Cut::Kill);
    let manual = open(&disk).unwrap();
    let summary = manual.engine().recovery_summary().clone();
    assert_eq!(summary.damaged_records, 1);
    assert_eq!(summary.quarantined.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [partition(1, 2)]);
    let opened = manual.engine().open(ShardId(1), ShardEpoch(1), &[partition(1, 2)]).unwrap();
    assert!(opened[0].quarantined.is_some());
    assert!(!summary.metadata_damaged);
    // It stays so, also after the damaged log was given free.
    for _ in 0..3 {
        manual.request_checkpoint();
        while manual.step_flush() {}
        manual.run_background();
    }
    manual.engine().close().unwrap();
    let again = open(&disk).unwrap().engine();
    assert!(matches!(read(&again, partition(1, 2)), Err(EngineError::Quarantined { .. })));
    assert_eq!(read(&again, partition(1, 1)).unwrap(), model[&partition(1, 1)]);
}

/// Where some bytes lie on a disk.
fn find(disk: &MemoryDisk, needle: &[u8]) -> (String, usize) {
    for (path, _) in disk.files() {
        if path.starts_with("log/")
            && let Some(at) = disk.bytes(&path).windows(needle.len()).position(|w| w == needle)
        {
            return (path, at);
        }
    }
    panic!("the bytes are nowhere");
}

/// With the header of the newest log file, which alone told of its life, everything in it was taken for garbage: acknowledged
/// records were gone without a word, and their offsets were given again.
#[test]
fn a_log_file_whose_life_nobody_knows_is_damage_and_not_the_end() {
    let disk = Arc::new(MemoryDisk::new(5));
    let life = |incarnation| {
        let manual = ManualEngine::open(disk.clone(), LocalOptions { incarnation, ..options() }).unwrap();
        manual.engine().create(partition(1, 0).topic, PARTITIONS as u32, LeaderEpoch(0)).unwrap();
        let mut writer = Writer { manual, epoch: 0 };
        writer.take();
        writer
    };
    let writer = life(1);
    writer.append(partition(1, 0), 0, 50);
    writer.flush();
    writer.checkpoint();
    drop(writer);
    disk.restart(Cut::Kill);
    let writer = life(2);
    let known: Vec<_> = disk.files();
    writer.append(partition(1, 0), 1, 50);
    writer.flush();
    drop(writer);
    let (newest, _) = find(&disk, &TestBatch { payload: 50, ..TestBatch::at(1) }.build());
    assert!(known.iter().any(|(path, _)| *path == newest));
    // Both copies of the header.
    [30, 2048 + 30].iter().for_each(|at| disk.flip(&newest, *at, 1));
    for incarnation in 3..6 {
        disk.restart(Cut::Kill);
        let manual = ManualEngine::open(disk.clone(), LocalOptions { incarnation, ..options() }).unwrap();
        let engine = manual.engine();
        let read = read(&engine, partition(1, 0));
        assert!(matches!(read, Err(EngineError::Quarantined { .. })), "{read:?} {:?}", engine.recovery_summary());
        // Once told it is known: it costs nothing that is written afterwards.
        let told = engine.recovery_summary().metadata_damaged;
        assert_eq!(told, incarnation == 3);
        engine.txn(&[], vec![Write::Put("after".into(), Bytes::from_static(b"it"))]).unwrap();
        manual.request_checkpoint();
        while manual.step_flush() {}
        manual.run_background();
    }
}

/// The trial that chooses a checkpoint took such a file for the end of the log, and the start went on from the older one.
#[test]
fn without_its_newest_checkpoint_a_log_of_which_nobody_can_read_the_end_is_refused() {
    let disk = Arc::new(MemoryDisk::new(6));
    for incarnation in [1, 2] {
        let manual = ManualEngine::open(disk.clone(), LocalOptions { incarnation, ..options() }).unwrap();
        manual.engine().create(partition(1, 0).topic, PARTITIONS as u32, LeaderEpoch(0)).unwrap();
        let mut writer = Writer { manual, epoch: 0 };
        writer.take();
        let base = 2 * (incarnation as i64 - 1);
        writer.append(partition(1, 0), base, 50);
        writer.flush();
        writer.checkpoint();
        writer.append(partition(1, 0), base + 1, 50);
        writer.flush();
        drop(writer);
        disk.restart(Cut::Kill);
    }
    let (newest_log, _) = find(&disk, &TestBatch { payload: 50, ..TestBatch::at(3) }.build());
    [30, 2048 + 30].iter().for_each(|at| disk.flip(&newest_log, *at, 1));
    ["ckpt", "copy"].iter().for_each(|name| disk.flip(&format!("checkpoints/00000003.{name}"), 30, 0xff));
    let manual = ManualEngine::open(disk.clone(), LocalOptions { incarnation: 3, ..options() });
    assert!(matches!(manual.map(drop), Err(OpenError::CheckpointLost { .. })));
}

#[test]
fn a_torn_last_record_is_the_end_and_not_damage() {
    let disk = Arc::new(MemoryDisk::new(5));
    let writer = Writer::new(&disk);
    writer.append(partition(1, 0), 0, 50);
    writer.flush();
    writer.append(partition(1, 0), 1, 2000);
    assert!(writer.manual.begin_flush());
    disk.cut_after(0);
    while writer.manual.run_one_op() {}
    drop(writer);
    disk.restart(Cut::Kill);
    let manual = open(&disk).unwrap();
    assert_eq!(manual.engine().recovery_summary().damaged_records, 0);
    assert_eq!(read(&manual.engine(), partition(1, 0)).unwrap().len(), 1);
}

#[test]
fn without_any_valid_checkpoint_nothing_starts_and_nothing_is_touched() {
    let (disk, _) = small_directory();
    for (path, _) in disk.files().iter().filter(|(path, _)| path.starts_with("checkpoints/")) {
        disk.flip(path, 30, 0xff);
    }
    disk.restart(Cut::Kill);
    let before: Vec<_> = disk.files().into_iter().map(|(path, _)| disk.bytes(&path)).collect();
    assert!(matches!(open(&disk), Err(OpenError::NoValidCheckpoint)));
    let after: Vec<_> = disk.files().into_iter().map(|(path, _)| disk.bytes(&path)).collect();
    assert!(before == after);
}

#[test]
fn a_crash_at_any_call_of_the_first_start_leaves_a_directory_that_starts() {
    for cut in [Cut::Kill, Cut::Power] {
        for ops in 0..60 {
            let disk = Arc::new(MemoryDisk::new(ops + 1));
            disk.cut_after(ops);
            drop(open(&disk));
            disk.restart(cut);
            open(&disk).unwrap_or_else(|e| panic!("{cut:?} after {ops} calls: {e} (invariant 38)"));
        }
    }
}

#[test]
fn a_failed_sync_ends_the_log_for_good_and_reads_go_on() {
    let disk = Arc::new(MemoryDisk::new(7));
    let writer = Writer::new(&disk);
    writer.append(partition(1, 0), 0, 50);
    writer.flush();
    writer.append(partition(1, 0), 1, 50);
    disk.fail_syncs(1);
    writer.flush();
    let engine = writer.manual.engine();
    let progress = engine.progress();
    assert!(progress.failed.is_some());
    let refused = engine.append(ShardId(1), ShardEpoch(1), &[single(partition(1, 0), TestBatch::at(2))]);
    assert!(matches!(refused, Err(EngineError::Stopped(_))));
    assert!(!writer.manual.step_flush() && !writer.manual.run_one_op(), "nothing is tried again");
    assert_eq!(engine.progress(), progress);
    assert_eq!(read(&engine, partition(1, 0)).unwrap().len(), 1, "only what is durable (39)");
    assert!(matches!(engine.close(), Err(EngineError::Stopped(_))));
}

#[test]
fn an_unclean_start_begins_a_leader_epoch_and_a_clean_one_does_not() {
    // R-53; an epoch in which nothing was written is replaced, not kept.
    let disk = Arc::new(MemoryDisk::new(9));
    let writer = Writer::new(&disk);
    writer.append(partition(1, 0), 0, 50);
    writer.flush();
    drop(writer);
    let epochs = |manual: &ManualEngine| {
        let opened = manual.engine().open(ShardId(1), ShardEpoch(1), &[partition(1, 0)]).unwrap();
        opened[0].epochs.iter().map(|e| (e.epoch.0, e.start.0)).collect::<Vec<_>>()
    };
    disk.restart(Cut::Power);
    assert_eq!(epochs(&open(&disk).unwrap()), [(0, 0), (1, 1)]);
    disk.restart(Cut::Power);
    let manual = open(&disk).unwrap();
    assert_eq!(epochs(&manual), [(0, 0), (2, 1)]);
    manual.engine().close().unwrap();
    disk.restart(Cut::Power);
    let manual = open(&disk).unwrap();
    assert!(manual.engine().recovery_summary().clean);
    assert_eq!(epochs(&manual), [(0, 0), (2, 1)]);
}

#[test]
fn log_files_go_round_and_packs_of_deleted_topics_go_away() {
    let disk = Arc::new(MemoryDisk::new(11));
    let options = LocalOptions { checkpoint_bytes: 20_000, ..options() };
    let manual = ManualEngine::open(disk.clone(), options).unwrap();
    let engine = manual.engine();
    let key = partition(1, 0);
    engine.create(key.topic, 1, LeaderEpoch(0)).unwrap();
    engine.open(ShardId(1), ShardEpoch(1), &[key]).unwrap();
    for base in 0..400 {
        let batch = TestBatch { payload: 500, ..TestBatch::at(base) };
        engine.append(ShardId(1), ShardEpoch(1), &[single(key, batch)]).unwrap();
        while manual.step_flush() {}
        manual.run_background();
    }
    let stats = engine.stats();
    assert!(stats.checkpoints >= 8, "{stats:?}");
    assert!(stats.log_files + stats.ready_files < 20, "{stats:?}");
    assert_eq!(read(&engine, key).unwrap().len(), 400);
    engine.delete(key.topic).unwrap();
    for _ in 0..3 {
        manual.request_checkpoint();
        while manual.step_flush() {}
        manual.run_background();
    }
    assert_eq!(engine.stats().packs, 0);
    let left = disk.files().into_iter().filter(|(path, _)| path.starts_with("packs/") || path.starts_with("segments/"));
    assert_eq!(left.collect::<Vec<_>>(), []);
}

/// A flush of two batches is torn at its very beginning and the next life writes records of the same lengths: is the second
/// batch, which nobody was told of, there in the life after?
fn comes_back_from_behind_the_cut(planted: Option<PlantedBug>) -> bool {
    let disk = Arc::new(MemoryDisk::new(13));
    let writer = Writer::new(&disk);
    writer.flush();
    // As long as a leader-epochs record of four partitions, which is what the next life writes first.
    writer.append(partition(1, 0), 0, 40);
    writer.append(partition(1, 1), 0, 40);
    assert!(writer.manual.begin_flush());
    assert!(writer.manual.run_one_op(), "the write, but not the sync");
    drop(writer);
    let (path, at) = find(&disk, &TestBatch { payload: 40, ..TestBatch::at(0) }.build());
    let (group_head, flush_record) = (32 + 8 + 24, 40);
    disk.flip(&path, at - group_head - flush_record + 8, 0xff);
    let open = || {
        disk.restart(Cut::Kill);
        ManualEngine::open(disk.clone(), LocalOptions { planted, ..options() }).unwrap().engine()
    };
    drop(open());
    read(&open(), partition(1, 1)) != Ok(Vec::new())
}

#[test]
fn a_record_behind_the_cut_never_comes_back() {
    assert!(!comes_back_from_behind_the_cut(None));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn appending_behind_the_cut_would_bring_it_back() {
    assert!(comes_back_from_behind_the_cut(Some(PlantedBug::AppendBehindCut)));
}
