//! How many durable appends of 1 KiB a second this machine's disk gives, with 1, 16 and 256 threads that each wait for theirs.
//!
//! `cargo run --release -p pagemark-storage --example durable_appends [DIR]`

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pagemark_storage::contract::{TestBatch, partition, single};
use pagemark_storage::engine::{Engine, LogStore, Progress, ProgressListener, ShardEpoch, ShardId};
use pagemark_storage::local::{LocalEngine, LocalOptions};
use pagemark_wire::types::LeaderEpoch;

const RUN: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Durable {
    lsn: Mutex<u64>,
    moved: Condvar,
}

impl ProgressListener for Durable {
    fn progressed(&self, progress: &Progress) {
        *self.lsn.lock().expect("no panic") = progress.durable.0;
        self.moved.notify_all();
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn main() {
    let dir = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("durable-appends"), PathBuf::from);
    for threads in [1, 16, 256] {
        let data = dir.join(threads.to_string());
        let engine = LocalEngine::open(&data, LocalOptions::default()).expect("the directory can be used");
        let durable = Arc::new(Durable::default());
        engine.watch(durable.clone());
        let topic = partition(1, 0).topic;
        engine.create(topic, threads, LeaderEpoch(0)).expect("open");
        let keys: Vec<_> = (0..threads as i32).map(|p| partition(1, p)).collect();
        engine.open(ShardId(0), ShardEpoch(1), &keys).expect("made");
        let before = engine.stats();
        let start = Instant::now();
        let total: u64 = std::thread::scope(|scope| {
            let workers: Vec<_> = keys
                .iter()
                .map(|key| {
                    let (engine, durable) = (&engine, &durable);
                    scope.spawn(move || {
                        let mut base = 0;
                        while start.elapsed() < RUN {
                            let batch = TestBatch { payload: 1024 - 61, ..TestBatch::at(base) };
                            let ticket =
                                engine.append(ShardId(0), ShardEpoch(1), &[single(*key, batch)]).expect("accepted");
                            let mut lsn = durable.lsn.lock().expect("no panic");
                            while *lsn < ticket.0.0 {
                                lsn = durable.moved.wait(lsn).expect("no panic");
                            }
                            base += 1;
                        }
                        base as u64
                    })
                })
                .collect();
            workers.into_iter().map(|w| w.join().expect("no panic")).sum()
        });
        let seconds = start.elapsed().as_secs_f64();
        let stats = engine.stats();
        let flushes = stats.flushes - before.flushes;
        println!(
            "{threads:>4} threads: {:>7.0} durable appends/s, {:>6.0} flushes/s, {:.1} appends a flush, {} checkpoints",
            total as f64 / seconds,
            flushes as f64 / seconds,
            total as f64 / flushes as f64,
            stats.checkpoints
        );
        engine.close().expect("closes");
    }
}
