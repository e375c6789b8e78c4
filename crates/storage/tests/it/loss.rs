//! Bytes that are gone, and bytes that lie: what a client wrote is never taken for the log's own records, a log file that was
//! taken away is never taken for the end of the log, and what was doubted once stays so until somebody looks at it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use pagemark_storage::contract::{TestBatch, partition, single};
use pagemark_storage::engine::{
    Append, AtomicGroup, Engine, EngineError, LogStore, MetaStore, ShardEpoch, ShardId, Write,
};
use pagemark_storage::local::{LocalOptions, ManualEngine, RecoverySummary};
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionKey};

use crate::memory_disk::{Cut, MemoryDisk};
use crate::support::{checkpoint, flush};

const PARTITIONS: i32 = 3;
const HEAD_LEN: usize = 32;
const FLUSH: u8 = 1;
const GROUP: u8 = 2;
const META: u8 = 3;
const CREATE_TOPIC: u8 = 4;

fn options() -> LocalOptions {
    LocalOptions {
        first_file_bytes: 65_536,
        log_file_bytes: 65_536,
        checkpoint_bytes: u64::MAX,
        incarnation: 0x1234_5678_9abc_def0,
        ..LocalOptions::default()
    }
}

fn open(disk: &Arc<MemoryDisk>) -> ManualEngine {
    disk.restart(Cut::Kill);
    ManualEngine::open(disk.clone(), options()).unwrap()
}

fn keys() -> Vec<PartitionKey> {
    (0..PARTITIONS).map(|p| partition(1, p)).collect()
}

fn append(manual: &ManualEngine, p: i32, base: i64) {
    let groups = vec![single(partition(1, p), TestBatch::at(base))];
    manual.engine().append(ShardId(1), ShardEpoch(1), &groups).unwrap();
    flush(manual);
}

/// A topic in a checkpoint with one batch in each partition, and one more of each behind it.
fn small_directory() -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new(3));
    let manual = open(&disk);
    manual.engine().create(keys()[0].topic, PARTITIONS as u32, LeaderEpoch(0)).unwrap();
    manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
    (0..PARTITIONS).for_each(|p| append(&manual, p, 0));
    checkpoint(&manual);
    (0..PARTITIONS).for_each(|p| append(&manual, p, 1));
    disk
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn logs(disk: &MemoryDisk) -> Vec<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with("log/")).collect()
}

/// What a log file says of itself, if it was begun.
fn generation(disk: &MemoryDisk, path: &str) -> Option<u64> {
    let bytes = disk.bytes(path);
    (bytes.len() >= 32).then(|| u64_at(&bytes, 24)).filter(|generation| *generation > 0)
}

/// The log file of the highest generation.
fn newest_log(disk: &MemoryDisk) -> String {
    logs(disk).into_iter().max_by_key(|path| generation(disk, path)).unwrap()
}

/// Place and length of all records of a kind in a file.
fn records(disk: &MemoryDisk, path: &str, kind: u8) -> Vec<(usize, usize)> {
    let (bytes, mut at, mut found) = (disk.bytes(path), 4096, Vec::new());
    while at + HEAD_LEN <= bytes.len() && u64_at(&bytes, at + 16) == u64_at(&bytes, 24) {
        let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize + 8;
        if bytes[at + 24] == kind {
            found.push((at, len));
        }
        at += len.next_multiple_of(8);
    }
    found
}

fn flip(disk: &MemoryDisk, path: &str, at: usize) {
    disk.flip(path, at, 1);
}

fn quarantined(summary: &RecoverySummary) -> Vec<i32> {
    summary.quarantined.iter().map(|(key, _)| key.partition.0).collect()
}

/// A record as anybody can make it who knows the format, but not the secret in the file's header.
fn forged(generation: u64, lsn: u64, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut record = BytesMut::new();
    record.put_u32_le(24 + payload.len() as u32);
    record.put_u32_le(0);
    record.put_u64_le(lsn);
    record.put_u64_le(generation);
    record.put_u8(kind);
    record.put_bytes(0, 7);
    record.extend_from_slice(payload);
    let head = crc32c::crc32c_append(crc32c::crc32c(&record[0..4]), &record[8..28]);
    record[28..32].copy_from_slice(&head.to_le_bytes());
    let crc = crc32c::crc32c(&record[8..]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    record.resize(record.len().next_multiple_of(8), 0);
    record.to_vec()
}

fn batch_with(base: i64, value: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i16(0);
    body.put_i32(0);
    body.put_i64(0);
    body.put_i64(0);
    body.put_i64(-1);
    body.put_i16(0);
    body.put_i32(-1);
    body.put_i32(1);
    body.extend_from_slice(value);
    let mut batch = BytesMut::new();
    batch.put_i64(base);
    batch.put_i32(9 + body.len() as i32);
    batch.put_i32(0);
    batch.put_u8(2);
    batch.put_u32(crc32c::crc32c(&body));
    batch.extend_from_slice(&body);
    batch.freeze()
}

#[test]
fn what_looks_like_a_log_record_inside_of_a_batch_is_only_a_clients_bytes() {
    for durable in [1000, u64::MAX - 1, u64::MAX] {
        for torn in ["the flush record in front", "the batch"] {
            let disk = small_directory();
            let manual = open(&disk);
            manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
            let path = newest_log(&disk);
            let generation = u64_at(&disk.bytes(&path), 24);
            // A batch begins at a multiple of 8 and its header has 61 bytes.
            let mut value = vec![b'x'; 3 + 4096];
            value.extend(forged(generation, 1, 1, &durable.to_le_bytes()));
            value.extend(forged(generation, durable, 5, partition(1, 0).topic.0.as_bytes()));
            value.extend([b'z'; 4096]);
            let append = Append::new(partition(1, 0), batch_with(2, &value));
            manual.engine().append(ShardId(1), ShardEpoch(1), &[AtomicGroup(vec![append])]).unwrap();
            flush(&manual);
            drop(manual);
            let (at, _) = *records(&disk, &path, GROUP).last().unwrap();
            flip(&disk, &path, if torn == "the batch" { at + 600 } else { at - 8 });
            let engine = open(&disk).engine();
            let summary = engine.recovery_summary();
            assert_eq!(summary.damaged_records, 0, "{torn} {durable}: {summary:?}");
            assert!(!summary.metadata_damaged && summary.quarantined.is_empty(), "{torn} {durable}: {summary:?}");
            assert_eq!(engine.topics(), [(partition(1, 0).topic, PARTITIONS as u32)]);
            assert_eq!(engine.extent(partition(1, 0)).unwrap().durable_end, Offset(2), "nobody was told of it");
        }
    }
}

#[test]
fn what_rot_has_quarantined_stays_so_whatever_the_starts_after() {
    for illegible in [false, true] {
        let disk = small_directory();
        let path = newest_log(&disk);
        let groups = records(&disk, &path, GROUP);
        let (at, len) = groups[groups.len() - 3];
        flip(&disk, &path, at + len - 1);
        if illegible {
            flip(&disk, &path, at + 28);
        }
        for start in 0..4 {
            let engine = open(&disk).engine();
            let summary = engine.recovery_summary();
            assert_eq!(quarantined(summary), [0], "start {start}, illegible {illegible}: {summary:?}");
            let read = engine.read(partition(1, 0), Offset(0), usize::MAX, Offset(i64::MAX));
            assert!(matches!(read, Err(EngineError::Quarantined { .. })));
            assert_eq!(engine.extent(partition(1, 1)).unwrap().durable_end, Offset(2));
        }
    }
}

/// It holds nothing. A start that counted it as damage was refused when a checkpoint was lost as well, although the log had everything.
#[test]
fn a_flush_record_that_has_rotted_is_no_damage() {
    for (illegible, lost) in [(false, false), (true, false), (false, true), (true, true)] {
        let disk = small_directory();
        let path = newest_log(&disk);
        let flushes = records(&disk, &path, FLUSH);
        let (at, len) = flushes[flushes.len() - 2];
        flip(&disk, &path, at + len - 1);
        if illegible {
            flip(&disk, &path, at + 28);
        }
        if lost {
            ["ckpt", "copy"].iter().for_each(|ending| flip(&disk, &format!("checkpoints/00000002.{ending}"), 40));
        }
        let engine = open(&disk).engine();
        let summary = engine.recovery_summary();
        assert_eq!((summary.damaged_records, summary.fell_back), (0, lost), "{illegible}");
        assert!(!summary.metadata_damaged && summary.quarantined.is_empty(), "{illegible} {lost}: {summary:?}");
        for key in keys() {
            assert_eq!(engine.extent(key).unwrap().durable_end, Offset(2), "{illegible} {lost}");
        }
    }
}

#[test]
fn a_log_file_that_is_gone_is_not_a_torn_tail() {
    for length in [None, Some(0), Some(4096), Some(60_000)] {
        let disk = small_directory();
        let path = newest_log(&disk);
        match length {
            None => disk.delete(&path),
            Some(length) => disk.truncate(&path, length),
        }
        let kept = if length == Some(60_000) { 2 } else { 1 };
        for start in 0..3 {
            let manual = open(&disk);
            let engine = manual.engine();
            let summary = engine.recovery_summary();
            assert!(summary.metadata_damaged && !summary.clean, "{length:?} start {start}: {summary:?}");
            assert_eq!(quarantined(summary), [0, 1, 2], "{length:?} start {start}");
            assert_eq!(engine.extent(partition(1, 0)).unwrap().log_end, Offset(kept), "{length:?}");
            // What is written from now on is whole.
            let other = partition(10 + start, 0);
            engine.create(other.topic, 1, LeaderEpoch(0)).unwrap();
            engine.open(ShardId(2), ShardEpoch(1), &[other]).unwrap();
            engine.append(ShardId(2), ShardEpoch(1), &[single(other, TestBatch::at(0))]).unwrap();
            flush(&manual);
            assert_eq!(engine.extent(other).unwrap().durable_end, Offset(1));
        }
        let manual = open(&disk);
        assert_eq!(quarantined(manual.engine().recovery_summary()), [0, 1, 2], "and no topic made since");
        assert_eq!(manual.engine().topics().len(), 4);
        checkpoint(&manual);
        checkpoint(&manual);
        drop(manual);
        let summary = open(&disk).engine().recovery_summary().clone();
        assert!(!summary.metadata_damaged, "a checkpoint ends it: {summary:?}");
        assert_eq!(quarantined(&summary), [0, 1, 2], "but not the quarantine");
    }
}

/// The header of a file that had just been begun could not be read at the next start, which gave its generation to another. Once it
/// could be read, there were two files of one generation, and acknowledged records were taken for rotten.
#[test]
fn a_log_file_whose_header_cannot_be_read_at_one_start_harms_nothing_at_the_next() {
    let (mut ops, mut went_on, mut died) = (0, 0, true);
    while died {
        let disk = small_directory();
        disk.restart(Cut::Kill);
        disk.cut_after(ops);
        died = ManualEngine::open(disk.clone(), options()).is_err();
        for path in logs(&disk) {
            let disk = Arc::new(disk.copy());
            disk.restart(Cut::Kill);
            disk.bad_first_sector(Some(&path));
            let Ok(manual) = ManualEngine::open(disk.clone(), options()) else { continue }; // its records are needed
            manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
            append(&manual, 0, 2);
            drop(manual);
            disk.bad_first_sector(None);
            let mut generations: Vec<u64> = logs(&disk).iter().filter_map(|path| generation(&disk, path)).collect();
            generations.sort_unstable();
            let files = generations.len();
            generations.dedup();
            assert_eq!(generations.len(), files, "{path} after {ops} calls: {generations:?}");
            let engine = open(&disk).engine();
            assert_eq!(quarantined(engine.recovery_summary()), [0; 0], "{path} after {ops} calls");
            assert_eq!(engine.extent(partition(1, 0)).unwrap().durable_end, Offset(3), "{path} after {ops} calls");
            went_on += 1;
        }
        ops += 1;
    }
    assert!(went_on > 3, "{went_on} starts went on without a header");
}

#[test]
fn a_file_missing_in_the_middle_is_proven_by_its_successor() {
    let disk = small_directory();
    let middle = {
        let manual = open(&disk);
        manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
        append(&manual, 0, 2);
        newest_log(&disk)
    };
    // The next start begins a file of its own; of partition 1 it proves the end.
    let manual = open(&disk);
    manual.engine().open(ShardId(1), ShardEpoch(1), &keys()).unwrap();
    append(&manual, 0, 3);
    append(&manual, 1, 2);
    drop(manual);
    assert_ne!(newest_log(&disk), middle);
    disk.delete(&middle);
    for start in 0..2 {
        let summary = open(&disk).engine().recovery_summary().clone();
        assert!(summary.metadata_damaged, "start {start}: {summary:?}");
        assert_eq!(quarantined(&summary), [0], "start {start}");
    }
}

#[test]
fn no_id_is_given_twice_after_the_record_of_it_has_rotted() {
    let disk = small_directory();
    let manual = open(&disk);
    checkpoint(&manual);
    let first = |manual: &ManualEngine| manual.engine().reserve_ids("producers", 1000).unwrap().0;
    let mut given = vec![first(&manual), first(&manual)];
    manual.engine().txn(&[], vec![Write::Put("later".into(), Bytes::new())]).unwrap();
    flush(&manual);
    assert!(manual.write_idle_mark());
    drop(manual);
    let path = newest_log(&disk);
    let reserved = records(&disk, &path, META);
    for (at, _) in &reserved[..2] {
        flip(&disk, &path, at + 40);
    }
    for start in 0..3 {
        let manual = open(&disk);
        assert!(manual.engine().recovery_summary().metadata_damaged);
        let id = first(&manual);
        assert!(given.iter().all(|g| id >= g + 1000), "start {start} gave {id} after {given:?}");
        given.push(id);
        flush(&manual);
        assert!(manual.write_idle_mark());
    }
    let manual = open(&disk);
    checkpoint(&manual);
    manual.engine().close().unwrap();
    drop(manual);
    let manual = open(&disk);
    assert!(!manual.engine().recovery_summary().metadata_damaged);
    assert!(first(&manual) > *given.last().unwrap());
    assert!(manual.engine().reserve_ids("never seen", 1).unwrap().0 >= 1_000_000_000, "it may have been forgotten");
}

#[test]
fn a_partition_whose_creation_is_lost_is_reported_and_not_made_up() {
    let disk = small_directory();
    let manual = open(&disk);
    let late = partition(7, 5);
    manual.engine().create(late.topic, 6, LeaderEpoch(0)).unwrap();
    manual.engine().open(ShardId(2), ShardEpoch(1), &[late]).unwrap();
    manual.engine().append(ShardId(2), ShardEpoch(1), &[single(late, TestBatch::at(0))]).unwrap();
    flush(&manual);
    assert!(manual.write_idle_mark());
    drop(manual);
    let path = newest_log(&disk);
    let (at, _) = *records(&disk, &path, CREATE_TOPIC).last().unwrap();
    flip(&disk, &path, at + 40);
    let engine = open(&disk).engine();
    assert!(engine.recovery_summary().metadata_damaged);
    assert!(engine.recovery_summary().quarantined.is_empty());
    assert_eq!(engine.topics(), [(partition(1, 0).topic, PARTITIONS as u32)]);
}
