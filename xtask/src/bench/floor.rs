//! What this machine allows at best: how long its disk takes for a small flush, and what a message costs that nothing is done with.
//!
//! A goal that lies below these no broker can meet here, and the page should say so. Deliberately not here: brokers.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Flushes timed.
const FLUSHES: usize = 2_000;
/// Messages sent there and back.
const MESSAGES: u32 = 20_000;
/// A commit and its answer are about as large, bytes.
const MESSAGE_BYTES: usize = 128;

/// The best that there is.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Floor {
    /// 512 bytes of a zero-filled file are written over and flushed by `fdatasync`: the median, microseconds.
    pub flush_us: f64,
    /// A message is received over loopback and sent back, nothing done with it: from its sender's view, microseconds.
    pub exchange_us: f64,
    /// What that costs the one who sends it back, microseconds of CPU.
    pub exchange_cpu_us: f64,
}

impl Floor {
    /// Measures, with files in this folder.
    pub fn measure(folder: &Path) -> Result<Floor> {
        let flush_us = flush(&folder.join("floor"))?;
        let (exchange_us, exchange_cpu_us) = exchange().context("loopback")?;
        Ok(Floor { flush_us, exchange_us, exchange_cpu_us })
    }
}

fn flush(path: &Path) -> Result<f64> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    file.write_all_at(&vec![0; FLUSHES * 512], 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(FLUSHES);
    for n in 0..FLUSHES as u64 {
        let begun = Instant::now();
        file.write_all_at(&[1; 512], n * 512)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    times.sort_unstable();
    Ok(micros(times[FLUSHES / 2]))
}

fn exchange() -> Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let (mut served, _) = listener.accept()?;
    for end in [&stream, &served] {
        end.set_nodelay(true)?;
    }
    let server = thread::spawn(move || -> std::io::Result<Duration> {
        let (mut message, before) = ([0; MESSAGE_BYTES], cpu_of_this_thread());
        for _ in 0..MESSAGES {
            served.read_exact(&mut message)?;
            served.write_all(&message)?;
        }
        Ok(cpu_of_this_thread() - before)
    });
    let (mut message, begun) = ([0; MESSAGE_BYTES], Instant::now());
    for _ in 0..MESSAGES {
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
    }
    let took = begun.elapsed();
    let cpu = server.join().ok().context("it panicked")??;
    Ok((micros(took / MESSAGES), micros(cpu / MESSAGES)))
}

fn cpu_of_this_thread() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_found_and_its_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let floor = Floor::measure(folder.path()).unwrap();
        assert!(floor.flush_us > 0.0 && floor.exchange_us >= floor.exchange_cpu_us, "{floor:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
