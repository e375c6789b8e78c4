//! What the program can be told to do, a file for each kind of simulation.
//!
//! The only place with threads: each takes whole seeds, and results are put in order of seeds, so that the outcome does not
//! depend on them. Deliberately not here: anything that decides.

pub mod crash;
pub mod seeds;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Does it for so many seeds on all cores, and gives what came of it in the order of the seeds.
fn in_parallel<T: Send>(first: u64, count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(count);
    let next = AtomicU64::new(0);
    let done: Mutex<Vec<(u64, T)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    let outcome = work(first + index);
                    done.lock().expect("a thread that panics ends the program").push((index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("the threads are done");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}
