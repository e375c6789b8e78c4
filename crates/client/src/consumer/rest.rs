//! Who rests after a failure, and until when: each by itself, so that what fails holds up nothing that works.
//!
//! Deliberately not here: waiting, and what a failure is.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::Backoff;

/// The rests of everybody who failed. Each failure in a row makes a longer one.
#[derive(Debug)]
pub(super) struct Rests<Who> {
    least: Duration,
    most: Duration,
    resting: BTreeMap<Who, Rest>,
}

#[derive(Debug)]
struct Rest {
    backoff: Backoff,
    /// The first failure in the row.
    since: Instant,
    until: Instant,
}

impl<Who: Ord> Rests<Who> {
    /// Rests begin at `least` and end at `most`.
    pub(super) fn new(least: Duration, most: Duration) -> Rests<Who> {
        Rests { least, most, resting: BTreeMap::new() }
    }

    /// Somebody failed; for how long there was nothing but failures. A second failure during a rest changes nothing.
    pub(super) fn failed(&mut self, who: Who, now: Instant) -> Duration {
        let new = || Rest { backoff: Backoff::new(self.least, self.most), since: now, until: now };
        let rest = self.resting.entry(who).or_insert_with(new);
        if rest.until <= now {
            rest.until = now + rest.backoff.next();
        }
        now - rest.since
    }

    /// Somebody is well again.
    pub(super) fn succeeded(&mut self, who: &Who) {
        self.resting.remove(who);
    }

    pub(super) fn is_resting(&self, who: &Who, now: Instant) -> bool {
        self.resting.get(who).is_some_and(|rest| rest.until > now)
    }

    /// When the next rest ends.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.resting.values().map(|rest| rest.until).filter(|until| *until > now).min()
    }

    /// Forgets all that are not wanted any more.
    pub(super) fn retain(&mut self, mut is_wanted: impl FnMut(&Who) -> bool) {
        self.resting.retain(|who, _| is_wanted(who));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rests_by_itself_and_longer_after_each_failure() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut rests = Rests::new(second, 8 * second);
        assert_eq!(rests.failed('a', start), Duration::ZERO);
        rests.failed('a', start); // still the same rest
        let first = rests.next(start).expect("a rest");
        assert!((start + second / 2..start + second * 3 / 2).contains(&first));
        assert!(rests.is_resting(&'a', start) && !rests.is_resting(&'b', start));
        assert!(!rests.is_resting(&'a', first) && rests.next(first).is_none());
        assert_eq!(rests.failed('a', first), first - start);
        assert!(rests.is_resting(&'a', first + second * 3 / 2), "twice as long");
        rests.succeeded(&'a');
        assert!(!rests.is_resting(&'a', first));
    }
}
