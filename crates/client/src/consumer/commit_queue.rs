//! The order of commits: one request under way, the rest behind it; of a partition none overtakes another.
//!
//! What waits is gathered into one request, in which the later commit of a partition counts. What a request leaves without
//! an outcome goes back to what waits, and holds nothing else up. Each commit has its own time limit, whatever took its
//! place. A value that never waits. Deliberately not here: sending, judging answers, and when to try again.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::partition::TopicPartition;

/// What is committed, by partition.
pub(super) type Offsets<V> = BTreeMap<TopicPartition, V>;
/// What became of it, by partition.
pub(super) type Outcomes<E> = BTreeMap<TopicPartition, Result<(), E>>;

/// Commits of `V` that wait and those under way; `T` is told the outcome, the first `E` if there is one.
#[derive(Debug)]
pub(super) struct CommitQueue<V, T, E> {
    under_way: Option<Gathered<V, T, E>>,
    waiting: Gathered<V, T, E>,
    /// What waits is to be sent as soon as nothing is under way.
    is_due: bool,
}

#[derive(Debug)]
struct Gathered<V, T, E> {
    offsets: Offsets<V>,
    waiters: Vec<Waiter<T, E>>,
}

#[derive(Debug)]
struct Waiter<T, E> {
    /// Partitions without an outcome.
    open: BTreeSet<TopicPartition>,
    error: Option<E>,
    ticket: T,
    /// When it is given up.
    deadline: Instant,
}

impl<V, T, E> Gathered<V, T, E> {
    fn new() -> Gathered<V, T, E> {
        Gathered { offsets: Offsets::new(), waiters: Vec::new() }
    }
}

impl<V, T, E: Clone> CommitQueue<V, T, E> {
    pub(super) fn new() -> CommitQueue<V, T, E> {
        CommitQueue { under_way: None, waiting: Gathered::new(), is_due: false }
    }

    /// A commit behind all others. Without offsets it waits for what is under way and nothing else.
    pub(super) fn push(&mut self, offsets: Offsets<V>, ticket: T, deadline: Instant) {
        self.waiting.waiters.push(Waiter { open: offsets.keys().cloned().collect(), error: None, ticket, deadline });
        self.waiting.offsets.extend(offsets);
        self.is_due = true;
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_none() && self.waiting.waiters.is_empty()
    }

    /// What is left is to be tried again.
    pub(super) fn retry(&mut self) {
        self.is_due = true;
    }

    /// What to send now, and until when anybody waits for it; `None` while something is under way, or if nothing is due.
    /// What is left goes with what is new.
    pub(super) fn next(&mut self) -> Option<(&Offsets<V>, Instant)> {
        if self.under_way.is_some() || !self.is_due {
            return None;
        }
        let deadline = self.waiting.waiters.iter().map(|waiter| waiter.deadline).max()?;
        self.is_due = false;
        let gathered = std::mem::replace(&mut self.waiting, Gathered::new());
        Some((&self.under_way.insert(gathered).offsets, deadline))
    }

    /// Gives up what waits and whose time is over, each with the error it has or with `late`. What nobody waits for any more
    /// is not sent.
    pub(super) fn expire(&mut self, now: Instant, late: impl Fn() -> E) -> Vec<(T, Result<(), E>)> {
        let waiters = std::mem::take(&mut self.waiting.waiters);
        let is_late = |waiter: &Waiter<T, E>| waiter.deadline <= now && !waiter.open.is_empty();
        let (late_ones, left): (Vec<_>, Vec<_>) = waiters.into_iter().partition(is_late);
        self.waiting.waiters = left;
        if !late_ones.is_empty() {
            let waiters = &self.waiting.waiters;
            self.waiting.offsets.retain(|partition, _| waiters.iter().any(|waiter| waiter.open.contains(partition)));
        }
        late_ones.into_iter().map(|waiter| (waiter.ticket, Err(waiter.error.unwrap_or_else(&late)))).collect()
    }

    /// The outcome of what was under way: each who has no partition without one any more. The rest waits for a
    /// [`retry`](CommitQueue::retry), or for the next commit; a later commit of the same partition takes its place.
    pub(super) fn settle(&mut self, outcomes: &Outcomes<E>) -> Vec<(T, Result<(), E>)> {
        let Some(gathered) = self.under_way.take() else { return Vec::new() };
        let (mut told, mut left) = (Vec::new(), Vec::new());
        for mut waiter in gathered.waiters {
            let mut errors = waiter.open.iter().filter_map(|partition| outcomes.get(partition)?.as_ref().err());
            let first = errors.next().cloned();
            waiter.error = waiter.error.or(first);
            waiter.open.retain(|partition| !outcomes.contains_key(partition));
            match waiter.error {
                error if waiter.open.is_empty() => told.push((waiter.ticket, error.map_or(Ok(()), Err))),
                error => left.push(Waiter { error, ..waiter }),
            }
        }
        for (partition, offset) in
            gathered.offsets.into_iter().filter(|(partition, _)| !outcomes.contains_key(partition))
        {
            self.waiting.offsets.entry(partition).or_insert(offset);
        }
        left.append(&mut self.waiting.waiters);
        self.waiting.waiters = left;
        told
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn offsets(given: &[(i32, i64)]) -> Offsets<i64> {
        given.iter().map(|(p, offset)| (TopicPartition::new("t", *p), *offset)).collect()
    }

    type Queue = CommitQueue<i64, char, &'static str>;

    fn good(partitions: &[i32]) -> Outcomes<&'static str> {
        partitions.iter().map(|p| (TopicPartition::new("t", *p), Ok(()))).collect()
    }

    /// A commit that has all the time it needs.
    fn push(queue: &mut Queue, offsets: Offsets<i64>, ticket: char) {
        queue.push(offsets, ticket, Instant::now() + Duration::from_secs(3600));
    }

    fn next(queue: &mut Queue) -> Option<Offsets<i64>> {
        queue.next().map(|(offsets, _)| offsets.clone())
    }

    #[test]
    fn one_commit_is_under_way_and_the_next_waits_for_its_outcome_o20() {
        let mut queue = Queue::new();
        push(&mut queue, offsets(&[(0, 5)]), 'a');
        assert_eq!(next(&mut queue), Some(offsets(&[(0, 5)])));
        push(&mut queue, offsets(&[(0, 6)]), 'b');
        assert_eq!(next(&mut queue), None);
        assert_eq!(queue.settle(&good(&[0])), [('a', Ok(()))]);
        assert_eq!(next(&mut queue), Some(offsets(&[(0, 6)])));
        assert!(!queue.is_empty());
        assert_eq!(queue.settle(&good(&[0])), [('b', Ok(()))]);
        assert!(queue.is_empty() && next(&mut queue).is_none());
    }

    #[test]
    fn what_waits_goes_together_and_the_later_commit_counts_even_if_it_is_lower() {
        let mut queue = Queue::new();
        push(&mut queue, offsets(&[(0, 1)]), 'a');
        next(&mut queue);
        push(&mut queue, offsets(&[(0, 9), (1, 1)]), 'b');
        push(&mut queue, offsets(&[(0, 4)]), 'c'); // a rewind
        push(&mut queue, Offsets::new(), 'd');
        queue.settle(&good(&[0]));
        assert_eq!(next(&mut queue), Some(offsets(&[(0, 4), (1, 1)])));
        assert_eq!(queue.settle(&good(&[0, 1])), [('b', Ok(())), ('c', Ok(())), ('d', Ok(()))]);
    }

    #[test]
    fn each_who_waits_hears_of_its_own_partitions_only() {
        let mut queue = Queue::new();
        push(&mut queue, offsets(&[(0, 1)]), 'a');
        push(&mut queue, offsets(&[(1, 1), (2, 1)]), 'b');
        next(&mut queue);
        let mut outcomes = good(&[0, 1]);
        outcomes.insert(TopicPartition::new("t", 2), Err("refused"));
        assert_eq!(queue.settle(&outcomes), [('a', Ok(())), ('b', Err("refused"))]);
    }

    #[test]
    fn an_empty_commit_waits_for_what_is_under_way() {
        let mut queue = Queue::new();
        push(&mut queue, offsets(&[(0, 1)]), 'a');
        next(&mut queue);
        push(&mut queue, Offsets::new(), 'b');
        assert_eq!(next(&mut queue), None);
        queue.settle(&good(&[0]));
        assert_eq!(next(&mut queue), Some(Offsets::new()));
        assert_eq!(queue.settle(&good(&[])), [('b', Ok(()))]);
    }

    #[test]
    fn what_has_no_outcome_goes_with_the_next_and_holds_nobody_up() {
        let mut queue = Queue::new();
        push(&mut queue, offsets(&[(0, 1), (1, 1)]), 'a');
        next(&mut queue);
        assert_eq!(queue.settle(&good(&[1])), []);
        assert!(next(&mut queue).is_none() && !queue.is_empty(), "it is not due");
        push(&mut queue, offsets(&[(1, 2)]), 'b');
        assert_eq!(next(&mut queue), Some(offsets(&[(0, 1), (1, 2)])));
        assert_eq!(queue.settle(&good(&[1])), [('b', Ok(()))]);
        queue.retry();
        assert_eq!(next(&mut queue), Some(offsets(&[(0, 1)])));
        assert_eq!(queue.settle(&good(&[0])), [('a', Ok(()))]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_later_commit_takes_the_place_of_one_without_an_outcome() {
        let mut queue = Queue::new();
        push(&mut queue, offsets(&[(0, 9)]), 'a');
        next(&mut queue);
        push(&mut queue, offsets(&[(0, 4)]), 'b');
        assert_eq!(queue.settle(&good(&[])), []);
        assert_eq!(next(&mut queue), Some(offsets(&[(0, 4)])));
        assert_eq!(queue.settle(&good(&[0])), [('a', Ok(())), ('b', Ok(()))]);
    }

    #[test]
    fn an_error_is_kept_until_the_rest_has_its_outcome() {
        let mut queue = Queue::new();
        push(&mut queue, offsets(&[(0, 1), (1, 1)]), 'a');
        next(&mut queue);
        assert_eq!(queue.settle(&BTreeMap::from([(TopicPartition::new("t", 0), Err("refused"))])), []);
        queue.retry();
        assert_eq!(next(&mut queue), Some(offsets(&[(1, 1)])));
        assert_eq!(queue.settle(&good(&[1])), [('a', Err("refused"))]);
    }

    /// A commit had waited for 59 s in vain; the one that took its place was given up with it, a second after it was made.
    #[test]
    fn a_commit_that_takes_anothers_place_has_its_own_time() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut queue = Queue::new();
        queue.push(offsets(&[(0, 1), (1, 1)]), 'a', start + 60 * second);
        next(&mut queue);
        queue.settle(&good(&[]));
        queue.push(offsets(&[(0, 2)]), 'b', start + 119 * second);
        assert_eq!(queue.expire(start + 59 * second, || "late"), []);
        assert_eq!(queue.expire(start + 60 * second, || "late"), [('a', Err("late"))]);
        assert_eq!(queue.next(), Some((&offsets(&[(0, 2)]), start + 119 * second)), "nobody waits for partition 1");
        assert_eq!(queue.settle(&good(&[0])), [('b', Ok(()))]);
    }

    #[test]
    fn whoever_was_replaced_does_not_wait_for_longer_than_it_wanted() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut queue = Queue::new();
        for at in 0..20 {
            queue.push(offsets(&[(0, 1)]), 'x', start + at * second);
            let late = queue.expire(start + at * second, || "late");
            assert_eq!(late, [('x', Err("late"))], "each at its time, although another took its place");
        }
        assert!(queue.is_empty() && queue.next().is_none(), "and nothing is sent");
    }
}
