//! Every engine keeps the seam's contract.

use std::sync::Arc;

use pagemark_storage::contract::{self, TestBatch, partition, single, wait_durable};
use pagemark_storage::engine::{Engine, Keep, LogStore, ShardEpoch, ShardId};
use pagemark_storage::local::{LocalEngine, LocalOptions};
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::types::{LeaderEpoch, Offset};

/// Small files, so that the contract alone goes through several of them.
fn small() -> LocalOptions {
    LocalOptions { first_file_bytes: 8192, log_file_bytes: 8192, checkpoint_bytes: 4096, ..LocalOptions::default() }
}

#[test]
fn the_memory_engine_keeps_the_contract() {
    contract::run_all(&|| Arc::new(MemoryEngine::new()) as Arc<dyn Engine>);
}

#[test]
fn the_local_engine_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    contract::run_all(&|| {
        made.set(made.get() + 1);
        LocalEngine::open(&dir.path().join(made.get().to_string()), small()).unwrap() as Arc<dyn Engine>
    });
}

#[test]
fn nothing_is_readable_before_it_is_durable() {
    let engine = MemoryEngine::released_by_hand();
    let key = partition(1, 0);
    engine.create(key.topic, 1, LeaderEpoch(0)).unwrap();
    engine.open(ShardId(0), ShardEpoch(1), &[key]).unwrap();
    engine.append(ShardId(0), ShardEpoch(1), &[single(key, TestBatch::at(0))]).unwrap();
    assert!(engine.read(key, Offset(0), 1 << 20, Offset(9)).unwrap().batches.is_empty());
    assert_eq!(engine.extent(key).unwrap().durable_end, Offset(0));
    engine.release();
    assert_eq!(engine.read(key, Offset(0), 1 << 20, Offset(9)).unwrap().batches.len(), 1);
}

#[test]
fn a_log_start_is_shown_when_it_is_durable_and_not_before() {
    let engine = MemoryEngine::released_by_hand();
    let key = partition(1, 0);
    engine.create(key.topic, 1, LeaderEpoch(0)).unwrap();
    engine.open(ShardId(0), ShardEpoch(1), &[key]).unwrap();
    for base in 0..3 {
        engine.append(ShardId(0), ShardEpoch(1), &[single(key, TestBatch::at(base))]).unwrap();
    }
    engine.release();
    let first = engine.advance_start(ShardId(0), ShardEpoch(1), key, Offset(2)).unwrap();
    assert_eq!(
        engine.advance_start(ShardId(0), ShardEpoch(1), key, Offset(1)),
        Ok(first),
        "not durable before that one"
    );
    assert_eq!(engine.extent(key).unwrap().log_start, Offset(0));
    assert_eq!(engine.read(key, Offset(0), 1 << 20, Offset(9)).unwrap().batches.len(), 3);
    engine.append(ShardId(0), ShardEpoch(1), &[single(key, TestBatch::at(3))]).unwrap();
    assert_eq!(engine.trim_point(key, Keep::Bytes(0)), Ok(Some(Offset(3))), "only what is durable goes");
    engine.release();
    assert_eq!(engine.extent(key).unwrap().log_start, Offset(2));
}

#[test]
fn a_second_owner_of_a_directory_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(dir.path(), small()).unwrap();
    let refused = LocalEngine::open(dir.path(), small()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    drop(engine);
    LocalEngine::open(dir.path(), small()).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("LOCK");
    std::fs::write(&lock, "pid 1\nincarnation 0\nformat 99\n").unwrap();
    let refused = LocalEngine::open(dir.path(), small()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("format 99"), "{refused}");
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), "pid 1\nincarnation 0\nformat 99\n");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_format_from_before_the_first_release_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("LOCK"), "pid 1\nincarnation 0\nformat 1\n").unwrap();
    let refused = LocalEngine::open(dir.path(), small()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("format 1") && refused.contains("Copy the data"), "{refused}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was touched");
}

#[test]
fn a_restart_finds_everything_after_a_close_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let key = partition(1, 0);
    for life in 0..6_i64 {
        let engine = LocalEngine::open(dir.path(), small()).unwrap();
        engine.create(key.topic, 1, LeaderEpoch(0)).unwrap();
        let opened = engine.open(ShardId(0), ShardEpoch(1), &[key]).unwrap();
        assert_eq!(opened[0].log_end, Offset(life * 50));
        let mut last = None;
        for i in 0..50 {
            let batch = TestBatch { payload: 300, ..TestBatch::at(life * 50 + i) };
            last = Some(engine.append(ShardId(0), ShardEpoch(1), &[single(key, batch)]).unwrap());
            if i % 7 == 0 {
                wait_durable(&*engine, last.unwrap());
            }
        }
        wait_durable(&*engine, last.unwrap());
        let slice = engine.read(key, Offset(0), usize::MAX, Offset(i64::MAX)).unwrap();
        assert_eq!(slice.batches.len() as i64, life * 50 + 50);
        for (i, batch) in slice.batches.iter().enumerate() {
            assert_eq!(*batch, TestBatch { payload: 300, ..TestBatch::at(i as i64) }.build());
        }
        assert_eq!(engine.recovery_summary().clean, life % 2 == 0, "life {life}");
        if life % 2 == 1 {
            engine.close().unwrap();
        }
    }
}
