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
    resting: BTreeMap<Who, (Backoff, Instant)>,
}

impl<Who: Ord> Rests<Who> {
    /// Rests begin at `least` and end at `most`.
    pub(super) fn new(least: Duration, most: Duration) -> Rests<Who> {
        Rests { least, most, resting: BTreeMap::new() }
    }

    /// Somebody failed. A second failure during a rest changes nothing.
    pub(super) fn failed(&mut self, who: Who, now: Instant) {
        let new = || (Backoff::new(self.least, self.most), now);
        let (backoff, until) = self.resting.entry(who).or_insert_with(new);
        if *until <= now {
            *until = now + backoff.next();
        }
    }

    /// Somebody is well again.
    pub(super) fn succeeded(&mut self, who: &Who) {
        self.resting.remove(who);
    }

    pub(super) fn is_resting(&self, who: &Who, now: Instant) -> bool {
        self.resting.get(who).is_some_and(|(_, until)| *until > now)
    }

    /// When the next rest ends.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.resting.values().map(|(_, until)| *until).filter(|until| *until > now).min()
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
        rests.failed('a', start);
        rests.failed('a', start); // still the same rest
        let first = rests.next(start).expect("a rest");
        assert!((start + second / 2..start + second * 3 / 2).contains(&first));
        assert!(rests.is_resting(&'a', start) && !rests.is_resting(&'b', start));
        assert!(!rests.is_resting(&'a', first) && rests.next(first).is_none());
        rests.failed('a', first);
        assert!(rests.is_resting(&'a', first + second * 3 / 2), "twice as long");
        rests.succeeded(&'a');
        assert!(!rests.is_resting(&'a', first));
    }
}
