//! The order of commits: one request under way, the rest behind it; of a partition none overtakes another.
//!
//! What waits is gathered into one request, in which the later commit of a partition counts. What a request leaves without
//! an outcome goes back to what waits, and holds nothing else up. A value that never waits. Deliberately not here: sending,
//! judging answers, and when to try again.

use std::collections::{BTreeMap, BTreeSet};

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
    pub(super) fn push(&mut self, offsets: Offsets<V>, ticket: T) {
        self.waiting.waiters.push(Waiter { open: offsets.keys().cloned().collect(), error: None, ticket });
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

    /// What to send now; `None` while something is under way, or if nothing is due. What is left goes with what is new.
    pub(super) fn next(&mut self) -> Option<&Offsets<V>> {
        if self.under_way.is_some() || self.waiting.waiters.is_empty() || !self.is_due {
            return None;
        }
        self.is_due = false;
        let gathered = std::mem::replace(&mut self.waiting, Gathered::new());
        Some(&self.under_way.insert(gathered).offsets)
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
    use super::*;

    fn offsets(given: &[(i32, i64)]) -> Offsets<i64> {
        given.iter().map(|(p, offset)| (TopicPartition::new("t", *p), *offset)).collect()
    }

    type Queue = CommitQueue<i64, char, &'static str>;

    fn good(partitions: &[i32]) -> Outcomes<&'static str> {
        partitions.iter().map(|p| (TopicPartition::new("t", *p), Ok(()))).collect()
    }

    #[test]
    fn one_commit_is_under_way_and_the_next_waits_for_its_outcome_o20() {
        let mut queue = Queue::new();
        queue.push(offsets(&[(0, 5)]), 'a');
        assert_eq!(queue.next(), Some(&offsets(&[(0, 5)])));
        queue.push(offsets(&[(0, 6)]), 'b');
        assert_eq!(queue.next(), None);
        assert_eq!(queue.settle(&good(&[0])), [('a', Ok(()))]);
        assert_eq!(queue.next(), Some(&offsets(&[(0, 6)])));
        assert!(!queue.is_empty());
        assert_eq!(queue.settle(&good(&[0])), [('b', Ok(()))]);
        assert!(queue.is_empty() && queue.next().is_none());
    }

    #[test]
    fn what_waits_goes_together_and_the_later_commit_counts_even_if_it_is_lower() {
        let mut queue = Queue::new();
        queue.push(offsets(&[(0, 1)]), 'a');
        queue.next();
        queue.push(offsets(&[(0, 9), (1, 1)]), 'b');
        queue.push(offsets(&[(0, 4)]), 'c'); // a rewind
        queue.push(Offsets::new(), 'd');
        queue.settle(&good(&[0]));
        assert_eq!(queue.next(), Some(&offsets(&[(0, 4), (1, 1)])));
        assert_eq!(queue.settle(&good(&[0, 1])), [('b', Ok(())), ('c', Ok(())), ('d', Ok(()))]);
    }

    #[test]
    fn each_who_waits_hears_of_its_own_partitions_only() {
        let mut queue = Queue::new();
        queue.push(offsets(&[(0, 1)]), 'a');
        queue.push(offsets(&[(1, 1), (2, 1)]), 'b');
        queue.next();
        let mut outcomes = good(&[0, 1]);
        outcomes.insert(TopicPartition::new("t", 2), Err("refused"));
        assert_eq!(queue.settle(&outcomes), [('a', Ok(())), ('b', Err("refused"))]);
    }

    #[test]
    fn an_empty_commit_waits_for_what_is_under_way() {
        let mut queue = Queue::new();
        queue.push(offsets(&[(0, 1)]), 'a');
        queue.next();
        queue.push(Offsets::new(), 'b');
        assert_eq!(queue.next(), None);
        queue.settle(&good(&[0]));
        assert_eq!(queue.next(), Some(&Offsets::new()));
        assert_eq!(queue.settle(&good(&[])), [('b', Ok(()))]);
    }

    #[test]
    fn what_has_no_outcome_goes_with_the_next_and_holds_nobody_up() {
        let mut queue = Queue::new();
        queue.push(offsets(&[(0, 1), (1, 1)]), 'a');
        queue.next();
        assert_eq!(queue.settle(&good(&[1])), []);
        assert!(queue.next().is_none() && !queue.is_empty(), "it is not due");
        queue.push(offsets(&[(1, 2)]), 'b');
        assert_eq!(queue.next(), Some(&offsets(&[(0, 1), (1, 2)])));
        assert_eq!(queue.settle(&good(&[1])), [('b', Ok(()))]);
        queue.retry();
        assert_eq!(queue.next(), Some(&offsets(&[(0, 1)])));
        assert_eq!(queue.settle(&good(&[0])), [('a', Ok(()))]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_later_commit_takes_the_place_of_one_without_an_outcome() {
        let mut queue = Queue::new();
        queue.push(offsets(&[(0, 9)]), 'a');
        queue.next();
        queue.push(offsets(&[(0, 4)]), 'b');
        assert_eq!(queue.settle(&good(&[])), []);
        assert_eq!(queue.next(), Some(&offsets(&[(0, 4)])));
        assert_eq!(queue.settle(&good(&[0])), [('a', Ok(())), ('b', Ok(()))]);
    }

    #[test]
    fn an_error_is_kept_until_the_rest_has_its_outcome() {
        let mut queue = Queue::new();
        queue.push(offsets(&[(0, 1), (1, 1)]), 'a');
        queue.next();
        assert_eq!(queue.settle(&BTreeMap::from([(TopicPartition::new("t", 0), Err("refused"))])), []);
        queue.retry();
        assert_eq!(queue.next(), Some(&offsets(&[(1, 1)])));
        assert_eq!(queue.settle(&good(&[1])), [('a', Err("refused"))]);
    }
}
