//! How long to wait before trying again: twice as long each time, up to a limit, and never all clients at once.
//!
//! Deliberately not here: waiting itself, and giving up.

use std::time::Duration;

use crate::host;

/// How often something failed in a row.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits begin at `least` and end at `most`.
    pub(crate) fn new(least: Duration, most: Duration) -> Backoff {
        Backoff { least, most, failures: 0 }
    }

    /// It failed; how long to wait: up to a fifth more or less than the doubling says.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_with(jitter())
    }

    /// How long to wait after so many failures in a row, for whoever counts them elsewhere.
    pub(crate) fn after(mut self, failures: u32) -> Duration {
        self.failures = failures.saturating_sub(1);
        self.next_with(jitter())
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn next_with(&mut self, jitter: f64) -> Duration {
        let doubled = self.least.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.most).mul_f64(0.8 + 0.4 * jitter)
    }
}

fn jitter() -> f64 {
    f64::from(host::random() % 1000) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut waits = || backoff.next_with(0.5).as_millis();
        assert_eq!([waits(), waits(), waits(), waits(), waits(), waits()], [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next_with(0.0).as_millis(), 80);
        assert_eq!(backoff.next_with(1.0).as_millis(), 240);
        for (failures, least, most) in [(0, 80, 120), (1, 80, 120), (2, 160, 240), (99, 800, 1200)] {
            assert!((least..=most).contains(&backoff.clone().after(failures).as_millis()), "{failures}");
        }
    }
}
