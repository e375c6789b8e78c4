//! What checkpoints cost: how long an append waits for its durability with and without them, at ten thousand partitions; then how
//! much memory a stored GiB takes, and how long a start takes after a kill.
//!
//! `cargo run --release -p pagemark-storage --example many_partitions [DIR [GIB]]`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pagemark_storage::contract::{TestBatch, partition, single, wait_durable};
use pagemark_storage::engine::{LogStore, ShardEpoch, ShardId};
use pagemark_storage::local::{LocalEngine, LocalOptions};
use pagemark_wire::types::LeaderEpoch;

const OWNER: (ShardId, ShardEpoch) = (ShardId(0), ShardEpoch(1));

fn opened(dir: &Path, partitions: u32, options: LocalOptions) -> Arc<LocalEngine> {
    let engine = LocalEngine::open(dir, options).expect("the directory can be used");
    let ticket = engine.create(partition(1, 0).topic, partitions, LeaderEpoch(0)).expect("open");
    wait_durable(&*engine, ticket);
    let keys: Vec<_> = (0..partitions as i32).map(|p| partition(1, p)).collect();
    engine.open(OWNER.0, OWNER.1, &keys).expect("made");
    engine
}

/// Appends batches of 1 KiB, round robin, 64 for each durable answer; gives how long the answers took.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn write(engine: &LocalEngine, partitions: u64, batches: std::ops::Range<u64>) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut groups = Vec::new();
    for n in batches {
        let (p, base) = ((n % partitions) as i32, (n / partitions) as i64);
        groups.push(single(partition(1, p), TestBatch { payload: 1024 - 61, ..TestBatch::at(base) }));
        if groups.len() == 64 {
            let begun = Instant::now();
            let ticket = engine.append(OWNER.0, OWNER.1, &groups).expect("accepted");
            groups.clear();
            wait_durable(engine, ticket);
            waits.push(begun.elapsed());
        }
    }
    waits
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn main() {
    let dir = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("many-partitions"), PathBuf::from);
    if dir.to_string_lossy().starts_with('-') {
        println!("Usage: many_partitions [DIR [GIB]]: writes GIB (2) below DIR and leaves it there");
        return;
    }
    let gib: u64 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(2);
    for (name, checkpoint_bytes) in [("without", u64::MAX), ("with", 48 << 20)] {
        let options = LocalOptions { checkpoint_bytes, ..LocalOptions::default() };
        let engine = opened(&dir.join(name), 10_000, options);
        let mut waits = write(&engine, 10_000, 0..400_000);
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        println!(
            "10,000 partitions, {name} checkpoints ({}): answers p50 {:?} p99 {:?} max {:?}",
            engine.stats().checkpoints,
            at(50),
            at(99),
            at(100)
        );
    }
    let data = dir.join("large");
    let options = LocalOptions { tail_cache_bytes: 1 << 20, ..LocalOptions::default() };
    let engine = opened(&data, 16, options.clone());
    let before = resident_mib();
    write(&engine, 16, 0..gib << 20);
    println!("{gib} GiB in 16 partitions: {} MiB resident, {before} MiB before", resident_mib());
    drop(engine);
    let begun = Instant::now();
    let engine = LocalEngine::open(&data, options).expect("it opens");
    println!(
        "opened as after a kill in {:?}, {} records replayed, {} segments, {} packs",
        begun.elapsed(),
        engine.recovery_summary().records_replayed,
        engine.stats().segments,
        engine.stats().packs
    );
}
