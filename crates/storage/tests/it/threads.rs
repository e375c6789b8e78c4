//! The production driver under load: many writers and readers at once, while log files are packed and used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use pagemark_storage::contract::{TestBatch, partition, single, wait_durable};
use pagemark_storage::engine::{Engine, LogStore, ShardEpoch, ShardId};
use pagemark_storage::local::{LocalEngine, LocalOptions};
use pagemark_wire::types::{LeaderEpoch, Offset};

const WRITERS: i32 = 4;
const BATCHES: i64 = 400;

fn batch(base: i64) -> TestBatch {
    TestBatch { payload: 200 + (base % 700) as usize, ..TestBatch::at(base) }
}

#[test]
fn readers_see_right_bytes_while_files_are_packed_and_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        first_file_bytes: 16 << 10,
        log_file_bytes: 32 << 10,
        checkpoint_bytes: 48 << 10,
        block_bytes: 2000,
        segment_bytes: 64 << 10,
        segment_min_bytes: 10_000,
        moved_bytes: 40_000,
        whole_checkpoint_every: 3,
        index_cache_bytes: 1000,
        tail_cache_bytes: 10_000,
        ..LocalOptions::default()
    };
    let engine = LocalEngine::open(dir.path(), options.clone()).unwrap();
    engine.create(partition(1, 0).topic, WRITERS as u32, LeaderEpoch(0)).unwrap();
    let durable: Vec<AtomicI64> = (0..WRITERS).map(|_| AtomicI64::new(0)).collect();
    let writing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                let (engine, durable) = (&engine, &durable);
                scope.spawn(move || {
                    let (key, shard) = (partition(1, w), ShardId(w as u32));
                    engine.open(shard, ShardEpoch(1), &[key]).unwrap();
                    for base in 0..BATCHES {
                        let ticket = engine.append(shard, ShardEpoch(1), &[single(key, batch(base))]).unwrap();
                        if base % 8 == 7 {
                            wait_durable(&**engine, ticket);
                            durable[w as usize].store(base + 1, Ordering::Release);
                        }
                    }
                })
            })
            .collect();
        for reader in 0..2 {
            let (engine, durable, writing) = (&engine, &durable, &writing);
            scope.spawn(move || {
                let mut random = 77_i64 + reader;
                while writing.load(Ordering::Acquire) {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let w = (random >> 33).rem_euclid(i64::from(WRITERS));
                    let end = durable[w as usize].load(Ordering::Acquire);
                    if end == 0 {
                        std::thread::yield_now();
                        continue;
                    }
                    let from = (random >> 40).rem_euclid(end);
                    let slice = engine.read(partition(1, w as i32), Offset(from), 4000, Offset(end)).unwrap();
                    assert!(!slice.batches.is_empty(), "{from} lies below {end}");
                    for (bytes, base) in slice.batches.iter().zip(from..) {
                        assert_eq!(*bytes, batch(base).build());
                    }
                }
            });
        }
        writers.into_iter().for_each(|w| w.join().unwrap());
        writing.store(false, Ordering::Release);
    });
    assert!(engine.stats().checkpoints >= 3, "{:?}", engine.stats());
    engine.close().unwrap();
    drop(engine);
    let engine: Arc<LocalEngine> = LocalEngine::open(dir.path(), options).unwrap();
    assert!(engine.recovery_summary().clean);
    for w in 0..WRITERS {
        let slice = engine.read(partition(1, w), Offset(0), usize::MAX, Offset(i64::MAX)).unwrap();
        assert_eq!(slice.batches.len() as i64, BATCHES);
    }
}

#[test]
fn dropping_without_a_close_ends_the_threads_and_writes_no_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(dir.path(), LocalOptions::default()).unwrap();
    let ticket = engine.create(partition(1, 0).topic, 1, LeaderEpoch(0)).unwrap();
    wait_durable(&*engine, ticket);
    drop(engine);
    // The directory's lock is given back only after the threads have ended.
    let again = LocalEngine::open(dir.path(), LocalOptions::default()).unwrap();
    assert!(!again.recovery_summary().clean);
}
