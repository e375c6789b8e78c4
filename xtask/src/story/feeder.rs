//! kcat as the producer: lines go to its input at a steady rate, and never further than a gate allows.
//!
//! The gate keeps the feed from running out while a slow broker is still coming back: every kill is to find sales under way.
//! Deliberately not here: kcat itself, which is used unmodified, idempotent and without a time limit for messages.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::sales::Sale;
use crate::kcat::Kcat;

const TICK: Duration = Duration::from_millis(10);

/// A kcat that is being fed.
#[derive(Debug)]
pub struct Feeder {
    child: Child,
    fed: Arc<AtomicUsize>,
    gate: Arc<(Mutex<usize>, Condvar)>,
    thread: Option<thread::JoinHandle<std::io::Result<()>>>,
}

impl Feeder {
    /// Starts kcat; nothing is fed beyond `gate` lines.
    pub fn start(
        kcat: &Kcat,
        bootstrap: &str,
        topic: &str,
        sales: Arc<Vec<Sale>>,
        rate: u64,
        gate: usize,
        log: &Path,
    ) -> Result<Feeder> {
        let mut child = kcat
            .command(bootstrap)
            .args(["-E", "-P", "-t", topic, "-K", "\t"])
            .args(["-X", "enable.idempotence=true", "-X", "message.timeout.ms=0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()
            .context("kcat cannot be run")?;
        let input = child.stdin.take().expect("its input is a pipe");
        let fed = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new((Mutex::new(gate), Condvar::new()));
        let (counter, limit) = (Arc::clone(&fed), Arc::clone(&gate));
        let thread = thread::spawn(move || feed(input, &sales, rate, &counter, &limit));
        Ok(Feeder { child, fed, gate, thread: Some(thread) })
    }

    /// Lines fed so far.
    pub fn fed(&self) -> usize {
        self.fed.load(Ordering::Acquire)
    }

    /// Moves the gate.
    pub fn allow(&self, lines: usize) {
        *self.gate.0.lock().expect("nobody panics holding it") = lines;
        self.gate.1.notify_all();
    }

    /// How kcat ended, once it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        if let Some(thread) = self.thread.take() {
            self.allow(usize::MAX); // a thread waiting at the gate finds the pipe broken
            thread.join().expect("feeding does not panic").context("kcat stopped reading")?;
        }
        Ok(Some(status))
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Writes all lines and closes the input, which tells kcat to deliver what it has and end.
fn feed(
    mut input: ChildStdin,
    sales: &[Sale],
    rate: u64,
    fed: &AtomicUsize,
    gate: &(Mutex<usize>, Condvar),
) -> std::io::Result<()> {
    let mut next = 0;
    let (mut began, mut since) = (Instant::now(), 0);
    while next < sales.len() {
        let limit = *gate
            .1
            .wait_while(gate.0.lock().expect("nobody panics holding it"), |limit| *limit <= next)
            .expect("as above");
        let due = since + usize::try_from(began.elapsed().as_millis() as u64 * rate / 1000).unwrap_or(usize::MAX);
        if due > limit {
            // Time spent at the gate is not made up for afterwards.
            (began, since) = (Instant::now(), limit);
        }
        let mut lines = String::new();
        let end = due.min(limit).min(sales.len()).max(next);
        for sale in &sales[next..end] {
            lines.push_str(&sale.customer);
            lines.push('\t');
            lines.push_str(&sale.line);
            lines.push('\n');
        }
        input.write_all(lines.as_bytes())?;
        next = end;
        fed.store(next, Ordering::Release);
        thread::sleep(TICK);
    }
    Ok(())
}
