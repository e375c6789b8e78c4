//! Waiting: for a condition, with an end; and a line that shows how far things are.
//!
//! Deliberately not here: what is waited for.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PAUSE: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer, or `limit` has passed.
pub fn until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_1970.as_millis() as i64
}

/// One line that is written over on a terminal, and now and then written anew elsewhere.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Progress {
        Progress { is_terminal: std::io::stderr().is_terminal(), shown: None }
    }

    /// Shows the line if it is time to.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        let pause = Duration::from_millis(if self.is_terminal { 200 } else { 10_000 });
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line();
        let mut stderr = std::io::stderr();
        let _ = if self.is_terminal { write!(stderr, "\r\x1b[2K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }

    /// Leaves the line, so that others can be written below.
    pub fn end(&mut self) {
        if self.is_terminal && self.shown.is_some() {
            eprintln!();
        }
        self.shown = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_an_answer_or_with_the_limit() {
        let mut left = 3;
        let answer = until(Duration::from_secs(5), || {
            left -= 1;
            (left == 0).then_some("there")
        });
        assert_eq!(answer, Some("there"));
        assert_eq!(until(Duration::ZERO, || None::<()>), None);
    }
}
