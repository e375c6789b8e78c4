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
        let ((at_generation, at), chunk) = self.chunks.range(..=(generation, offset)).next_back()?;
        let from = usize::try_from(offset - at).ok().filter(|_| *at_generation == generation)?;
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
