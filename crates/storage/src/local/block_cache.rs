//! The blocks of segments that were looked up, kept up to a budget of bytes, those used longest ago given up first.
//!
//! An entry is of one length of one segment, so that one that has grown is never read by an old index. Deliberately not here:
//! reading them from disk (`segment.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block::Block;

#[derive(Debug)]
struct Cached {
    len: u64,
    blocks: Arc<Vec<Block>>,
    used: u64,
}

/// Blocks by segment.
#[derive(Debug)]
pub(super) struct BlockCache {
    segments: BTreeMap<u64, Cached>,
    by_use: BTreeMap<u64, u64>,
    clock: u64,
    bytes: usize,
    budget: usize,
}

fn size(blocks: &Arc<Vec<Block>>) -> usize {
    128 + blocks.capacity() * size_of::<Block>()
}

impl BlockCache {
    pub(super) fn new(budget: usize) -> BlockCache {
        BlockCache { segments: BTreeMap::new(), by_use: BTreeMap::new(), clock: 0, bytes: 0, budget }
    }

    /// The blocks of a segment of this length.
    pub(super) fn get(&mut self, number: u64, len: u64) -> Option<Arc<Vec<Block>>> {
        let cached = self.segments.get_mut(&number).filter(|cached| cached.len == len)?;
        self.clock += 1;
        self.by_use.remove(&cached.used);
        cached.used = self.clock;
        self.by_use.insert(self.clock, number);
        Some(cached.blocks.clone())
    }

    pub(super) fn insert(&mut self, number: u64, len: u64, blocks: Arc<Vec<Block>>) {
        self.forget(number);
        self.clock += 1;
        self.bytes += size(&blocks);
        self.by_use.insert(self.clock, number);
        self.segments.insert(number, Cached { len, blocks, used: self.clock });
        while self.bytes > self.budget && self.segments.len() > 1 {
            let Some((_, oldest)) = self.by_use.first_key_value() else { return };
            self.forget(*oldest);
        }
    }

    /// A segment has grown by these blocks.
    pub(super) fn grow(&mut self, number: u64, (from, to): (u64, u64), blocks: &[Block]) {
        let Some(known) = self.get(number, from) else { return };
        self.forget(number);
        let mut known = Arc::unwrap_or_clone(known);
        known.extend_from_slice(blocks);
        self.insert(number, to, Arc::new(known));
    }

    pub(super) fn forget(&mut self, number: u64) {
        if let Some(cached) = self.segments.remove(&number) {
            self.by_use.remove(&cached.used);
            self.bytes -= size(&cached.blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use pagemark_wire::types::Offset;

    use super::*;

    fn blocks(count: usize) -> Arc<Vec<Block>> {
        let (base, last) = (Offset(0), Offset(0));
        Arc::new(vec![Block { base, last, at: 0, max_timestamp_ms: 0, len: 0, records: 0, crc: 0 }; count])
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_newest_always_stays() {
        let mut cache = BlockCache::new(3 * size(&blocks(10)));
        (1..=3).for_each(|n| cache.insert(n, 1, blocks(10)));
        assert!(cache.get(1, 1).is_some());
        cache.insert(4, 1, blocks(10));
        assert!(cache.get(2, 1).is_none() && cache.get(1, 1).is_some());
        cache.insert(5, 1, blocks(1000));
        assert_eq!(cache.segments.len(), 1);
        assert!(cache.get(5, 2).is_none(), "of another length");
    }

    #[test]
    fn a_segment_grows_only_from_the_length_that_is_known() {
        let mut cache = BlockCache::new(1 << 20);
        cache.insert(1, 100, blocks(2));
        cache.grow(1, (90, 200), &blocks(1));
        assert_eq!(cache.get(1, 100).unwrap().len(), 2);
        cache.grow(1, (100, 200), &blocks(1));
        assert_eq!(cache.get(1, 200).unwrap().len(), 3);
        assert_eq!(cache.get(1, 100), None);
        cache.forget(1);
        assert_eq!(cache.bytes, 0);
    }
}
