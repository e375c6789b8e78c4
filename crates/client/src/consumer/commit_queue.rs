//! The order of commits: one under way, the rest behind it, none overtakes another.
//!
//! What waits is gathered into one request, in which the later commit of a partition counts. A repetition goes before
//! everything that came after. A value that never waits. Deliberately not here: sending, and judging answers.

use std::collections::BTreeMap;

use crate::partition::TopicPartition;

/// What is committed, by partition.
pub(super) type Offsets<V> = BTreeMap<TopicPartition, V>;

/// Commits of `V` that wait and the one under way; `T` is told the outcome.
#[derive(Debug)]
pub(super) struct CommitQueue<V, T> {
    under_way: Option<Gathered<V, T>>,
    waiting: Gathered<V, T>,
}

#[derive(Debug)]
struct Gathered<V, T> {
    offsets: Offsets<V>,
    /// Who waits, and for which partitions.
    tickets: Vec<(Vec<TopicPartition>, T)>,
}

impl<V, T> Gathered<V, T> {
    fn new() -> Gathered<V, T> {
        Gathered { offsets: Offsets::new(), tickets: Vec::new() }
    }
}

impl<V, T> CommitQueue<V, T> {
    pub(super) fn new() -> CommitQueue<V, T> {
        CommitQueue { under_way: None, waiting: Gathered::new() }
    }

    /// A commit behind all others. Without offsets it waits for those before it and nothing else.
    pub(super) fn push(&mut self, offsets: Offsets<V>, ticket: T) {
        self.waiting.tickets.push((offsets.keys().cloned().collect(), ticket));
        self.waiting.offsets.extend(offsets);
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_none() && self.waiting.tickets.is_empty()
    }

    /// What to send now; `None` while something is under way, or if nothing waits.
    pub(super) fn next(&mut self) -> Option<&Offsets<V>> {
        if self.under_way.is_some() || self.waiting.tickets.is_empty() {
            return None;
        }
        let gathered = std::mem::replace(&mut self.waiting, Gathered::new());
        Some(&self.under_way.insert(gathered).offsets)
    }

    /// The outcome of what was under way, by partition: tells each who waits its first error.
    pub(super) fn settle<E: Clone>(&mut self, errors: &BTreeMap<TopicPartition, E>) -> Vec<(T, Result<(), E>)> {
        let Some(gathered) = self.under_way.take() else { return Vec::new() };
        let outcome = |partitions: &[TopicPartition]| match partitions.iter().find_map(|p| errors.get(p)) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        };
        gathered.tickets.into_iter().map(|(partitions, ticket)| (ticket, outcome(&partitions))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(given: &[(i32, i64)]) -> Offsets<i64> {
        given.iter().map(|(p, offset)| (TopicPartition::new("t", *p), *offset)).collect()
    }

    fn none() -> BTreeMap<TopicPartition, &'static str> {
        BTreeMap::new()
    }

    #[test]
    fn one_commit_is_under_way_and_the_next_waits_for_its_outcome_o20() {
        let mut queue = CommitQueue::new();
        queue.push(offsets(&[(0, 5)]), 'a');
        assert_eq!(queue.next(), Some(&offsets(&[(0, 5)])));
        queue.push(offsets(&[(0, 6)]), 'b');
        assert_eq!(queue.next(), None);
        assert_eq!(queue.settle(&none()), [('a', Ok(()))]);
        assert_eq!(queue.next(), Some(&offsets(&[(0, 6)])));
        assert!(!queue.is_empty());
        assert_eq!(queue.settle(&none()), [('b', Ok(()))]);
        assert!(queue.is_empty() && queue.next().is_none());
    }

    #[test]
    fn what_waits_goes_together_and_the_later_commit_counts_even_if_it_is_lower() {
        let mut queue = CommitQueue::new();
        queue.push(offsets(&[(0, 1)]), 'a');
        queue.next();
        queue.push(offsets(&[(0, 9), (1, 1)]), 'b');
        queue.push(offsets(&[(0, 4)]), 'c'); // a rewind
        queue.push(Offsets::new(), 'd');
        queue.settle(&none());
        assert_eq!(queue.next(), Some(&offsets(&[(0, 4), (1, 1)])));
        assert_eq!(queue.settle(&none()), [('b', Ok(())), ('c', Ok(())), ('d', Ok(()))]);
    }

    #[test]
    fn each_who_waits_hears_of_its_own_partitions_only() {
        let mut queue = CommitQueue::new();
        queue.push(offsets(&[(0, 1)]), 'a');
        queue.push(offsets(&[(1, 1), (2, 1)]), 'b');
        queue.next();
        let errors = BTreeMap::from([(TopicPartition::new("t", 2), "refused")]);
        assert_eq!(queue.settle(&errors), [('a', Ok(())), ('b', Err("refused"))]);
    }

    #[test]
    fn an_empty_commit_waits_for_those_before_it() {
        let mut queue = CommitQueue::new();
        queue.push(offsets(&[(0, 1)]), 'a');
        queue.next();
        queue.push(Offsets::new(), 'b');
        assert_eq!(queue.next(), None);
        queue.settle(&none());
        assert_eq!(queue.next(), Some(&Offsets::new()));
        assert_eq!(queue.settle(&none()), [('b', Ok(()))]);
    }
}
