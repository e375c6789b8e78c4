//! The end of the log in memory: the very buffers that were written, kept to be read without a copy.
//!
//! Deliberately not here: anything that is not durable yet; chunks come in when their flush is complete.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// Flushed pieces of log files, newest kept, oldest dropped beyond a budget.
#[derive(Debug)]
pub(super) struct TailCache {
    chunks: BTreeMap<(u64, u64), Bytes>,
    order: VecDeque<(u64, u64)>,
    bytes: usize,
    budget: usize,
}

impl TailCache {
    pub(super) fn new(budget: usize) -> TailCache {
        TailCache { chunks: BTreeMap::new(), order: VecDeque::new(), bytes: 0, budget }
    }

    pub(super) fn push(&mut self, generation: u64, offset: u64, chunk: Bytes) {
        self.bytes += chunk.len();
        if let Some(replaced) = self.chunks.insert((generation, offset), chunk) {
            self.bytes -= replaced.len();
        } else {
            self.order.push_back((generation, offset));
        }
        while self.bytes > self.budget {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.chunks.remove(&oldest).map_or(0, |c| c.len());
        }
    }

    /// The bytes at a place, if all of them are here.
    pub(super) fn get(&self, generation: u64, offset: u64, len: usize) -> Option<Bytes> {
        let ((_, at), chunk) = self.chunks.range((generation, 0)..=(generation, offset)).next_back()?;
        let from = usize::try_from(offset - at).ok()?;
        let end = from.checked_add(len).filter(|end| *end <= chunk.len())?;
        Some(chunk.slice(from..end))
    }

    /// Drops what lies before a place: nobody asks for it any more.
    pub(super) fn forget_below(&mut self, generation: u64, offset: u64) {
        while let Some(key) = self.order.front().copied() {
            let len = self.chunks.get(&key).map_or(0, Bytes::len);
            if (key.0, key.1 + len as u64) > (generation, offset) {
                break;
            }
            self.order.pop_front();
            self.chunks.remove(&key);
            self.bytes -= len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> TailCache {
        let mut cache = TailCache::new(20);
        cache.push(1, 4096, Bytes::from_static(b"0123456789"));
        cache.push(2, 100, Bytes::from_static(b"abcdefghij"));
        cache
    }

    #[test]
    fn gives_only_what_lies_whole_in_one_piece() {
        let cache = cache();
        assert_eq!(cache.get(1, 4098, 3).unwrap(), "234");
        assert_eq!(cache.get(2, 100, 10).unwrap(), "abcdefghij");
        assert_eq!(cache.get(1, 4098, 9), None);
        assert_eq!(cache.get(2, 99, 1), None, "an earlier generation's piece is not near it");
        assert_eq!(cache.get(3, 0, 1), None);
    }

    #[test]
    fn drops_the_oldest_beyond_its_budget_and_what_is_below_a_place() {
        let mut cache = cache();
        cache.push(2, 110, Bytes::from_static(b"k"));
        assert_eq!(cache.get(1, 4096, 1), None);
        assert!(cache.get(2, 100, 10).is_some());
        cache.forget_below(2, 110);
        assert_eq!(cache.get(2, 100, 1), None);
        assert_eq!(cache.get(2, 110, 1).unwrap(), "k");
    }
}
