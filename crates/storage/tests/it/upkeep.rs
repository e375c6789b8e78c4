//! What starts and stops leave behind, and starts on a disk with sectors that cannot be read (invariants 11, 38 and 39).

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pagemark_storage::contract::{TestBatch, partition, single};
use pagemark_storage::disk::{Disk, FORMAT_VERSION, FileId, RealDisk};
use pagemark_storage::engine::{Engine, EngineError, LogStore, ShardEpoch, ShardId};
use pagemark_storage::local::{LocalEngine, LocalOptions, ManualEngine, OpenError};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey};

use crate::memory_disk::{Cut, MemoryDisk};

const EIO: i32 = 5;
const EMFILE: i32 = 24;

fn options() -> LocalOptions {
    LocalOptions {
        first_file_bytes: 8192,
        log_file_bytes: 8192,
        checkpoint_bytes: u64::MAX,
        // So that each checkpoint stands by itself.
        whole_checkpoint_every: 1,
        ..LocalOptions::default()
    }
}

/// A disk on which reads of some files fail, and, when told to, everything that needs a new handle.
struct Failing {
    disk: Arc<MemoryDisk>,
    paths: Mutex<BTreeMap<FileId, String>>,
    unreadable: Mutex<Vec<String>>,
    /// Files that somebody took away: the handles of packs and segments are lent, and cannot be had again.
    gone: Mutex<Vec<String>>,
    changes: AtomicU32,
    reads: AtomicU32,
}

impl Failing {
    fn new(disk: &Arc<MemoryDisk>, unreadable: &[&str]) -> Arc<Failing> {
        Arc::new(Failing {
            disk: disk.clone(),
            paths: Mutex::default(),
            unreadable: Mutex::new(unreadable.iter().map(ToString::to_string).collect()),
            gone: Mutex::default(),
            changes: AtomicU32::new(0),
            reads: AtomicU32::new(0),
        })
    }

    fn known(&self, path: &str, file: io::Result<FileId>) -> io::Result<FileId> {
        let file = file?;
        self.paths.lock().unwrap().insert(file, path.to_string());
        Ok(file)
    }

    fn is_there(&self, path: &str) -> io::Result<()> {
        if self.gone.lock().unwrap().iter().any(|gone| gone == path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    /// How many files are open.
    fn open_files(&self) -> usize {
        self.paths.lock().unwrap().len()
    }

    fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Disk for Failing {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.change();
        self.disk.create_dir(path)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create(&self, path: &str) -> io::Result<FileId> {
        self.change();
        self.known(path, self.disk.create(path))
    }
    fn open(&self, path: &str) -> io::Result<FileId> {
        self.is_there(path)?;
        self.known(path, self.disk.open(path))
    }
    fn close(&self, file: FileId) {
        self.paths.lock().unwrap().remove(&file);
        self.disk.close(file);
    }
    fn len(&self, file: FileId) -> io::Result<u64> {
        self.disk.len(file)
    }
    fn read_at(&self, file: FileId, offset: u64, length: usize) -> io::Result<Bytes> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let paths = self.paths.lock().unwrap();
        let path = paths.get(&file);
        path.map_or(Ok(()), |path| self.is_there(path))?;
        if path.is_some_and(|path| self.unreadable.lock().unwrap().contains(path)) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.disk.read_at(file, offset, length)
    }
    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change();
        self.disk.write_at(file, offset, bytes)
    }
    fn sync_data(&self, file: FileId) -> io::Result<()> {
        self.disk.sync_data(file)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change();
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.change();
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

/// The engine in a life, owner of all partitions of one topic.
struct Life {
    manual: ManualEngine,
}

impl Life {
    fn new(disk: Arc<dyn Disk>, partitions: i32) -> Life {
        let manual = ManualEngine::open(disk, options()).unwrap();
        manual.engine().create(partition(1, 0).topic, partitions as u32, LeaderEpoch(0)).unwrap();
        let keys: Vec<_> = (0..partitions).map(|p| partition(1, p)).collect();
        manual.engine().open(ShardId(1), ShardEpoch(1), &keys).unwrap();
        Life { manual }
    }

    fn append(&self, p: i32, base: i64) {
        let batch = single(partition(1, p), TestBatch { payload: 300, ..TestBatch::at(base) });
        self.manual.engine().append(ShardId(1), ShardEpoch(1), &[batch]).unwrap();
        while self.manual.step_flush() {}
    }

    fn checkpoint(&self) {
        self.manual.request_checkpoint();
        while self.manual.step_flush() {}
        self.manual.run_background();
    }
}

fn read(engine: &LocalEngine, key: PartitionKey) -> Result<usize, EngineError> {
    engine.read(key, Offset(0), usize::MAX, Offset(i64::MAX)).map(|slice| slice.batches.len())
}

fn files_in(disk: &MemoryDisk, dir: &str) -> Vec<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with(dir)).collect()
}

/// The files of two checkpoints.
fn both(numbers: [u32; 2]) -> Vec<String> {
    let files = |number| ["ckpt", "copy"].map(|ending| format!("checkpoints/{number:08}.{ending}"));
    numbers.into_iter().flat_map(files).collect()
}

/// Makes both files of a checkpoint unreadable.
fn rot(disk: &MemoryDisk, number: u32) {
    ["ckpt", "copy"].iter().for_each(|ending| disk.flip(&format!("checkpoints/{number:08}.{ending}"), 40, 1));
}

/// Three batches in three packs, checkpoints 3 and 4.
fn three_packs() -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new(7));
    let life = Life::new(disk.clone(), 1);
    for base in 0..3 {
        life.append(0, base);
        life.checkpoint();
    }
    drop(life);
    disk.restart(Cut::Kill);
    assert_eq!(files_in(&disk, "checkpoints/"), both([3, 4]));
    disk
}

#[test]
fn stops_leave_two_checkpoints_and_nothing_else_to_remove() {
    let disk = Arc::new(MemoryDisk::new(1));
    for _ in 0..20 {
        let manual = ManualEngine::open(disk.clone(), options()).unwrap();
        manual.engine().close().unwrap();
        drop(manual);
        // The removals were made durable as well.
        disk.restart(Cut::Power);
    }
    assert_eq!(files_in(&disk, "checkpoints/").len(), 4);
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        LocalEngine::open(dir.path(), options()).unwrap().close().unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 4);
}

#[test]
fn lives_that_were_killed_after_a_checkpoint_leave_no_files_for_ever() {
    let disk = Arc::new(MemoryDisk::new(1));
    for base in 0..12 {
        let life = Life::new(disk.clone(), 1);
        life.append(0, base);
        life.manual.request_checkpoint();
        let before = life.manual.engine().stats().checkpoints;
        while life.manual.engine().stats().checkpoints == before {
            assert!(life.manual.step_background());
        }
        drop(life);
        disk.restart(Cut::Kill);
    }
    assert!(files_in(&disk, "checkpoints/").len() > 4, "nothing that was free was removed yet");
    let manual = ManualEngine::open(disk.clone(), options()).unwrap();
    manual.run_background();
    assert_eq!(files_in(&disk, "checkpoints/").len(), 4);
}

#[test]
fn what_lies_below_a_log_start_leaves_the_disk_and_never_comes_back() {
    let disk = Arc::new(MemoryDisk::new(7));
    let mut life = Life::new(disk.clone(), 2);
    for base in 0..3 {
        life.append(0, base);
        life.append(1, base);
        life.checkpoint();
    }
    assert_eq!(files_in(&disk, "packs/").len(), 3);
    for (p, start) in [(0, 3), (1, 2)] {
        let key = partition(1, p);
        life.manual.engine().advance_start(ShardId(1), ShardEpoch(1), key, Offset(start)).unwrap();
        while life.manual.step_flush() {}
    }
    life.checkpoint();
    life.checkpoint();
    assert_eq!(files_in(&disk, "packs/").len(), 1, "the last batch of one partition is still needed");
    for cut in [Cut::Kill, Cut::Power] {
        drop(life);
        disk.restart(cut);
        life = Life { manual: ManualEngine::open(disk.clone(), options()).unwrap() };
        let engine = life.manual.engine();
        let starts = [0, 1].map(|p| engine.extent(partition(1, p)).unwrap());
        assert_eq!(starts.map(|extent| (extent.log_start.0, extent.log_end.0)), [(3, 3), (2, 3)], "{cut:?}");
        assert_eq!([0, 1].map(|p| read(&engine, partition(1, p)).unwrap()), [0, 1], "{cut:?}");
        life.checkpoint();
    }
}

#[test]
fn with_the_two_newest_checkpoints_rotten_the_one_before_is_found() {
    let disk = three_packs();
    rot(&disk, 4);
    let manual = ManualEngine::open(disk.clone(), options()).unwrap();
    assert!(manual.engine().recovery_summary().fell_back);
    // Killed when checkpoint 5 is complete and 4 is not removed yet.
    manual.request_checkpoint();
    while !files_in(&disk, "checkpoints/").contains(&"checkpoints/00000005.copy".to_string()) {
        assert!(manual.step_background());
    }
    drop(manual);
    disk.restart(Cut::Kill);
    rot(&disk, 5);
    assert_eq!(files_in(&disk, "checkpoints/").len(), 6);
    let manual = ManualEngine::open(disk.clone(), options()).unwrap();
    assert_eq!(read(&manual.engine(), partition(1, 0)).unwrap(), 3);
    manual.run_background();
    let left = files_in(&disk, "checkpoints/");
    assert_eq!(left, both([3, 6]), "the rotten ones are gone");
}

/// The next checkpoint took the place of the good one, and left the one that misses something as the only other.
#[test]
fn a_checkpoint_that_a_start_passed_over_goes_before_the_one_that_it_chose() {
    let disk = three_packs();
    let newest_pack = files_in(&disk, "packs/").pop().unwrap();
    disk.flip(&newest_pack, disk.bytes(&newest_pack).len() - 5, 1);
    let manual = ManualEngine::open(disk.clone(), options()).unwrap();
    assert!(manual.engine().recovery_summary().fell_back);
    manual.request_checkpoint();
    let before = manual.engine().stats().checkpoints;
    while manual.engine().stats().checkpoints == before {
        assert!(manual.step_background());
    }
    // Also if all of them are still there at the next start.
    let killed = Arc::new(disk.copy());
    killed.restart(Cut::Kill);
    assert_eq!(files_in(&killed, "checkpoints/").len(), 6);
    assert!(!ManualEngine::open(killed.clone(), options()).unwrap().engine().recovery_summary().fell_back);
    manual.run_background();
    drop(manual);
    assert_eq!(files_in(&disk, "checkpoints/"), both([3, 5]));
    for disk in [disk, killed] {
        disk.restart(Cut::Kill);
        rot(&disk, 5);
        let manual = ManualEngine::open(disk.clone(), options()).unwrap();
        assert_eq!(read(&manual.engine(), partition(1, 0)).unwrap(), 3);
    }
}

#[test]
fn a_checkpoint_whose_copy_is_gone_or_cut_soon_has_two_files_again() {
    for cut in [None, Some(40)] {
        let disk = three_packs();
        ManualEngine::open(disk.clone(), options()).unwrap().engine().close().unwrap();
        disk.restart(Cut::Kill);
        let copy = files_in(&disk, "checkpoints/").pop().unwrap();
        match cut {
            None => disk.delete(&copy),
            Some(length) => disk.truncate(&copy, length),
        }
        let manual = ManualEngine::open(disk.clone(), options()).unwrap();
        assert!(manual.engine().recovery_summary().clean);
        manual.run_background();
        let stats = manual.engine().stats();
        assert_eq!((stats.checkpoints, stats.incremental_checkpoints), (1, 0), "{cut:?}: at once, and whole");
    }
}

#[test]
fn a_checkpoint_that_reads_back_wrong_goes_when_the_next_one_is_complete() {
    let disk = three_packs();
    let failing = Failing::new(&disk, &["checkpoints/00000005.copy.tmp"]);
    let manual = ManualEngine::open(failing, options()).unwrap();
    manual.run_background();
    assert_eq!(files_in(&disk, "checkpoints/").len(), 6, "a start might choose it");
    manual.request_checkpoint();
    manual.run_background();
    assert_eq!(files_in(&disk, "checkpoints/"), both([4, 6]));
}

/// A crash may tear a write anywhere, also within the zeros that pad its last record. That record is whole then, and a start that
/// looked for the next one behind the end of the file took the file for one that somebody had shortened.
#[test]
fn a_write_that_was_torn_within_its_padding_is_no_damage() {
    for payload in 9000..9008 {
        for missing in 0..8 {
            let disk = Arc::new(MemoryDisk::new(7));
            let life = Life::new(disk.clone(), 1);
            let batch = single(partition(1, 0), TestBatch { payload, ..TestBatch::at(0) });
            life.manual.engine().append(ShardId(1), ShardEpoch(1), &[batch]).unwrap();
            while life.manual.step_flush() {}
            drop(life);
            disk.restart(Cut::Kill);
            // A record that fits no file of the usual size has one of its own, which ends with it.
            let (path, length) = disk.files().into_iter().find(|(_, length)| *length > 9000).unwrap();
            let padding = disk.bytes(&path).iter().rev().take_while(|byte| **byte == 0).count();
            if missing <= padding.min(7) {
                disk.truncate(&path, length - missing);
                let manual = ManualEngine::open(disk.clone(), options()).unwrap();
                let found = manual.engine().recovery_summary().clone();
                assert_eq!((found.damaged_records, found.quarantined), (0, Vec::new()), "{payload} {missing}");
                assert_eq!(read(&manual.engine(), partition(1, 0)).unwrap(), 1);
            }
        }
    }
}

#[test]
fn a_refused_start_changes_nothing() {
    let half_written = |disk: &MemoryDisk| disk.create("checkpoints/00000009.ckpt.tmp").unwrap();
    let rotten = three_packs();
    for path in files_in(&rotten, "checkpoints/") {
        rotten.flip(&path, 40, 1);
    }
    half_written(&rotten);
    let newer = three_packs();
    half_written(&newer);
    let path = "checkpoints/00000004.ckpt";
    let mut bytes = newer.bytes(path);
    bytes[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let covered = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&crc.to_le_bytes());
    for (at, (new, old)) in bytes.iter().zip(newer.bytes(path)).enumerate() {
        newer.flip(path, at, new ^ old);
    }
    let disk = Failing::new(&rotten, &[]);
    assert!(matches!(ManualEngine::open(disk.clone(), options()), Err(OpenError::NoValidCheckpoint)));
    assert_eq!(disk.changes.load(Ordering::Relaxed), 0);
    let disk = Failing::new(&newer, &[]);
    assert!(matches!(ManualEngine::open(disk.clone(), options()), Err(OpenError::NewerFormat { .. })));
    assert_eq!(disk.changes.load(Ordering::Relaxed), 0);
}

#[test]
fn sectors_that_cannot_be_read_take_no_more_than_what_they_hold() {
    let [first, second, third] = &files_in(&three_packs(), "packs/")[..] else { panic!("three packs") };
    for (paths, falls_back, readable) in [
        (vec!["checkpoints/00000003.ckpt"], false, true),
        (vec!["checkpoints/00000004.ckpt"], false, true),
        (vec!["checkpoints/00000004.copy"], false, true),
        (vec!["checkpoints/00000004.ckpt", "checkpoints/00000004.copy"], true, true),
        // Both checkpoints refer to it.
        (vec![first.as_str()], false, false),
        (vec![second.as_str()], false, false),
        // Only the newest does: with the one before, the log still has what it held.
        (vec![third.as_str()], true, true),
    ] {
        let path = paths.join(" and ");
        let manual = ManualEngine::open(Failing::new(&three_packs(), &paths), options())
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let engine = manual.engine();
        assert_eq!(engine.recovery_summary().fell_back, falls_back, "{path}");
        match read(&engine, partition(1, 0)) {
            Ok(batches) => assert!(readable && batches == 3, "{path}: {batches}"),
            Err(error) => assert!(!readable && matches!(error, EngineError::Quarantined { .. }), "{path}: {error}"),
        }
    }
}

/// A sector that could not be read once took acknowledged data for ever: the start removed the pack whose index lay there.
#[test]
fn a_pack_whose_index_cannot_be_read_is_not_thrown_away() {
    let disk = three_packs();
    let first = files_in(&disk, "packs/")[0].clone();
    let mut life = Life { manual: ManualEngine::open(Failing::new(&disk, &[&first]), options()).unwrap() };
    for cut in [Cut::Kill, Cut::Power] {
        assert!(matches!(read(&life.manual.engine(), partition(1, 0)), Err(EngineError::Quarantined { .. })));
        (0..3).for_each(|_| life.checkpoint());
        assert!(files_in(&disk, "packs/").contains(&first), "before {cut:?}");
        drop(life);
        disk.restart(cut);
        life = Life { manual: ManualEngine::open(disk.clone(), options()).unwrap() };
    }
}

/// The handle of the pack that the other checkpoint needs was kept open for ever.
#[test]
fn a_pack_whose_index_cannot_be_read_holds_no_handle_unless_it_is_needed() {
    let disk = three_packs();
    let open_files = |unreadable: &[&str]| {
        let failing = Failing::new(&disk.copy().into(), unreadable);
        let manual = ManualEngine::open(failing.clone(), options()).unwrap();
        assert_eq!(manual.engine().recovery_summary().fell_back, !unreadable.is_empty());
        failing.open_files()
    };
    let newest = files_in(&disk, "packs/").pop().unwrap();
    assert_eq!(open_files(&[]), open_files(&[&newest]) + 1, "the newest pack is not read from");
}

/// Every checkpoint was given up, and the log grew for ever.
#[test]
fn a_file_that_somebody_took_away_ends_its_partition_and_no_checkpoint() {
    for (dir, segment_min_bytes) in [("packs/", 1 << 20), ("segments/", 0)] {
        for life_between in [false, true] {
            let disk = Arc::new(MemoryDisk::new(5));
            let mut failing = Failing::new(&disk, &[]);
            let options = LocalOptions { tail_cache_bytes: 0, segment_min_bytes, ..options() };
            let mut manual = ManualEngine::open(failing.clone(), options.clone()).unwrap();
            let (first, second) = (partition(1, 0), partition(1, 1));
            manual.engine().create(first.topic, 2, LeaderEpoch(0)).unwrap();
            manual.engine().open(ShardId(1), ShardEpoch(1), &[first, second]).unwrap();
            let mut life = Life { manual };
            life.append(0, 0);
            life.checkpoint();
            if life_between {
                life.manual.engine().close().unwrap();
                drop(life);
                failing = Failing::new(&disk, &[]);
                manual = ManualEngine::open(failing.clone(), options.clone()).unwrap();
                manual.engine().open(ShardId(1), ShardEpoch(1), &[first, second]).unwrap();
                life = Life { manual };
            }
            let all = files_in(&disk, dir);
            let [file] = &all[..] else { panic!("{all:?}") };
            failing.gone.lock().unwrap().push(file.clone());
            let before = life.manual.engine().stats().checkpoints;
            for round in 0..12 {
                life.append(1, round);
                if round == 0 {
                    life.append(0, 1);
                }
                life.checkpoint();
                assert_eq!(life.manual.engine().stats().checkpoints, before + 1 + round as u64, "{dir} {life_between}");
            }
            let engine = life.manual.engine();
            assert!(matches!(read(&engine, first), Err(EngineError::Quarantined { .. })), "{dir} {life_between}");
            assert_eq!(read(&engine, second), Ok(12), "{dir} {life_between}");
        }
    }
}

/// Checkpoints came only with new data, so that a broker at rest, or one whose disk is full, never gave back what was deleted.
#[test]
fn what_was_deleted_leaves_the_disk_when_nothing_is_written_any_more() {
    let disk = Arc::new(MemoryDisk::new(7));
    let options = LocalOptions { checkpoint_bytes: 2000, ..options() };
    let manual = ManualEngine::open(disk.clone(), options).unwrap();
    let engine = manual.engine();
    engine.create(partition(1, 0).topic, 1, LeaderEpoch(0)).unwrap();
    engine.open(ShardId(1), ShardEpoch(1), &[partition(1, 0)]).unwrap();
    let life = Life { manual };
    (0..10).for_each(|base| life.append(0, base));
    life.checkpoint();
    assert_eq!(files_in(&disk, "packs/").len(), 1);
    engine.delete(partition(1, 0).topic).unwrap();
    while life.manual.step_flush() {}
    life.manual.run_background();
    assert_eq!(files_in(&disk, "packs/"), Vec::<String>::new());
}

#[test]
fn a_batch_that_cannot_be_read_ends_its_partition_and_no_checkpoint() {
    let disk = Arc::new(MemoryDisk::new(5));
    let failing = Failing::new(&disk, &[]);
    let manual = {
        let options = LocalOptions { tail_cache_bytes: 0, ..options() };
        ManualEngine::open(failing.clone(), options).unwrap()
    };
    let engine = manual.engine();
    engine.create(partition(1, 0).topic, 2, LeaderEpoch(0)).unwrap();
    engine.open(ShardId(1), ShardEpoch(1), &[partition(1, 0), partition(1, 1)]).unwrap();
    let life = Life { manual };
    life.append(0, 0);
    let broken = engine.stats().log_files;
    let bad = files_in(&disk, "log/").into_iter().find(|path| disk.bytes(path)[0] != 0).unwrap();
    // The next batches go into other files: one fills what is left.
    for base in 0..40 {
        life.append(1, base);
    }
    assert!(engine.stats().log_files > broken);
    failing.unreadable.lock().unwrap().push(bad);
    for round in 0..3 {
        life.checkpoint();
        assert_eq!(engine.stats().checkpoints, round + 1);
    }
    assert!(matches!(read(&engine, partition(1, 0)), Err(EngineError::Quarantined { .. })));
    engine.close().unwrap();
    drop((engine, life));
    disk.restart(Cut::Power);
    let manual = ManualEngine::open(disk, options()).unwrap();
    assert!(manual.engine().recovery_summary().clean);
    assert!(matches!(read(&manual.engine(), partition(1, 0)), Err(EngineError::Quarantined { .. })));
}

#[test]
fn an_unclean_start_uses_a_log_file_again_that_nothing_needs() {
    let disk = Arc::new(MemoryDisk::new(9));
    let life = Life::new(disk.clone(), 1);
    for base in 0..60 {
        life.append(0, base);
        // So that every file is filled with zeros before it is written.
        life.manual.run_background();
    }
    life.checkpoint();
    life.append(0, 60);
    // The checkpoint that gives the files below the one before free, and no more.
    life.manual.request_checkpoint();
    while life.manual.engine().stats().checkpoints < 2 {
        assert!(life.manual.step_background());
    }
    drop(life);
    disk.restart(Cut::Kill);
    let logs = files_in(&disk, "log/").len();
    for _ in 0..4 {
        // Killed before the background did anything.
        drop(ManualEngine::open(disk.clone(), options()).unwrap());
        disk.restart(Cut::Kill);
        assert_eq!(files_in(&disk, "log/").len(), logs);
    }
}

#[test]
fn everybody_who_closes_hears_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(dir.path(), options()).unwrap();
    engine.create(partition(1, 0).topic, 1, LeaderEpoch(0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                engine.close().unwrap();
                assert_eq!(std::fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 4, "it is done");
            });
        }
    });
    let disk = Arc::new(MemoryDisk::new(2));
    let manual = ManualEngine::open(disk.clone(), options()).unwrap();
    manual.engine().create(partition(1, 0).topic, 1, LeaderEpoch(0)).unwrap();
    disk.cut_after(0);
    for _ in 0..2 {
        assert!(
            matches!(manual.engine().close(), Err(EngineError::Stopped(_))),
            "the second close hears of the failure"
        );
    }
}

#[test]
fn a_handle_that_cannot_be_had_is_no_damage() {
    /// No file can be opened for want of handles.
    struct Full(RealDisk);
    impl Disk for Full {
        fn create_dir(&self, path: &str) -> io::Result<()> {
            self.0.create_dir(path)
        }
        fn list(&self, dir: &str) -> io::Result<Vec<String>> {
            self.0.list(dir)
        }
        fn create(&self, path: &str) -> io::Result<FileId> {
            self.0.create(path)
        }
        fn open(&self, _: &str) -> io::Result<FileId> {
            Err(io::Error::from_raw_os_error(EMFILE))
        }
        fn close(&self, file: FileId) {
            self.0.close(file);
        }
        fn len(&self, file: FileId) -> io::Result<u64> {
            self.0.len(file)
        }
        fn read_at(&self, file: FileId, offset: u64, length: usize) -> io::Result<Bytes> {
            self.0.read_at(file, offset, length)
        }
        fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write_at(file, offset, bytes)
        }
        fn sync_data(&self, file: FileId) -> io::Result<()> {
            self.0.sync_data(file)
        }
        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, path: &str) -> io::Result<()> {
            self.0.remove(path)
        }
        fn sync_dir(&self, dir: &str) -> io::Result<()> {
            self.0.sync_dir(dir)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let open = |path| ManualEngine::open(Arc::new(RealDisk::new(path).unwrap()), options());
    open(dir.path()).unwrap().engine().close().unwrap();
    let full = ManualEngine::open(Arc::new(Full(RealDisk::new(dir.path()).unwrap())), options());
    assert!(matches!(full, Err(OpenError::Io { .. })), "refused, to be tried again");
    assert!(open(dir.path()).unwrap().engine().recovery_summary().clean, "and nothing was given up");
}

#[test]
fn readers_that_keep_what_they_were_given_do_not_keep_the_log_in_memory_invariant_40() {
    const CACHE_BYTES: usize = 2 << 20;
    let options = LocalOptions { tail_cache_bytes: CACHE_BYTES, checkpoint_bytes: u64::MAX, ..LocalOptions::default() };
    let manual = ManualEngine::open(Arc::new(MemoryDisk::new(1)), options).unwrap();
    let engine = manual.engine();
    let (key, shard, epoch) = (partition(1, 0), ShardId(0), ShardEpoch(1));
    engine.create(key.topic, 1, LeaderEpoch(0)).unwrap();
    engine.open(shard, epoch, &[key]).unwrap();
    let mut kept = Vec::new();
    for offset in 0..400 {
        let batch = TestBatch { payload: 50_000, ..TestBatch::at(offset) };
        engine.append(shard, epoch, &[single(key, batch)]).unwrap();
        manual.step_flush();
        let slice = engine.read_cached(key, Offset(offset), 1, Offset(offset + 1)).unwrap().expect("just written");
        kept.push(slice.batches[0].slice(..100));
        let held = engine.stats().buffer_bytes as usize;
        assert!(held <= 3 * CACHE_BYTES + (2 << 20), "{held} bytes after {offset} batches");
    }
    assert!(engine.stats().buffer_bytes as usize > 2 * CACHE_BYTES, "readers shared buffers up to the limit");
    drop(kept);
    assert!(engine.stats().buffer_bytes as usize <= CACHE_BYTES + (1 << 20), "what is held is what the cache holds");
}

#[test]
fn batches_that_lie_next_to_each_other_are_read_with_one_call() {
    let disk = Failing::new(&Arc::new(MemoryDisk::new(1)), &[]);
    let options = LocalOptions { tail_cache_bytes: 0, checkpoint_bytes: u64::MAX, ..LocalOptions::default() };
    let manual = ManualEngine::open(disk.clone(), options).unwrap();
    let engine = manual.engine();
    let (key, other, shard, epoch) = (partition(1, 0), partition(1, 1), ShardId(0), ShardEpoch(1));
    engine.create(key.topic, 2, LeaderEpoch(0)).unwrap();
    engine.open(shard, epoch, &[key, other]).unwrap();
    for offset in 0..100 {
        let groups = vec![single(key, TestBatch::at(offset)), single(other, TestBatch::at(offset))];
        engine.append(shard, epoch, &groups).unwrap();
    }
    let far = TestBatch { payload: 10_000, ..TestBatch::at(100) };
    engine.append(shard, epoch, &[single(other, far), single(key, TestBatch::at(100))]).unwrap();
    while manual.step_flush() {}
    for (packed, most_reads) in [(false, 2), (true, 1)] {
        if packed {
            manual.request_checkpoint();
            (0..3).for_each(|_| manual.run_background());
        }
        let before = disk.reads.load(Ordering::Relaxed);
        assert!(engine.read_cached(key, Offset(0), 1 << 20, Offset(101)).unwrap().is_none(), "nothing is in memory");
        assert_eq!(disk.reads.load(Ordering::Relaxed), before, "nor was the disk asked");
        let slice = engine.read(key, Offset(0), 1 << 20, Offset(101)).unwrap();
        let expected: Vec<Bytes> = (0..101).map(|offset| TestBatch::at(offset).build()).collect();
        assert_eq!(slice.batches, expected);
        assert_eq!(slice.bytes, expected.iter().map(Bytes::len).sum::<usize>());
        let reads = disk.reads.load(Ordering::Relaxed) - before;
        assert!(reads <= most_reads, "{reads} reads, packed: {packed}");
    }
}
