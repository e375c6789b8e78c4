//! Searches by time: the first batch that reached a time, and the first with the greatest timestamp.
//!
//! Of a segment, and of a block, it is known how late its latest batch is. So the search looks into the most promising piece first,
//! a segment for its blocks and a block for its batches, until the most promising one is a batch. What a log start or a bound has
//! cut off does not count, also where it gave a piece its greatest timestamp. Deliberately not here: the record within the batch.

use std::ops::Range;

use bytes::Bytes;
use pagemark_wire::types::{Offset, PartitionKey};

use super::Core;
use super::block::Block;
use super::read::{self, BlockFile, Source};
use super::segment::Segment;
use crate::engine::{EngineError, Locate};

/// Something that may hold what is looked for.
struct Candidate {
    base: Offset,
    max_timestamp_ms: i64,
    what: What,
}

enum What {
    Segment(Segment),
    Block(BlockFile, Block),
    Logged(super::index::BatchEntry, Source),
    Batch(Bytes),
}

/// A search under way.
struct Search<'a> {
    core: &'a Core,
    key: PartitionKey,
    what: Locate,
    /// Batches that end below do not count, nor those that reach above.
    within: Range<Offset>,
    candidates: Vec<Candidate>,
}

/// The batch that holds what is looked for.
pub(super) fn locate(
    core: &Core,
    key: PartitionKey,
    what: Locate,
    within: Range<Offset>,
) -> Result<Option<Bytes>, EngineError> {
    let mut search = Search { core, key, what, within, candidates: Vec::new() };
    search.ask()?;
    while let Some(candidate) = search.take_best() {
        match candidate.what {
            What::Batch(batch) => return Ok(Some(batch)),
            What::Logged(entry, source) => return read::fetch(core, key, &entry, &source).map(Some),
            What::Segment(segment) => {
                let file = BlockFile::Segment(segment.file.clone());
                for block in read::blocks_of(core, key, &segment)?.iter() {
                    search.add_block(&file, *block);
                }
            }
            What::Block(file, block) => search.look_into(&file, &block)?,
        }
    }
    Ok(None)
}

impl Search<'_> {
    /// Asks the partition. No disk, under the lock.
    fn ask(&mut self) -> Result<(), EngineError> {
        let lane = self.core.lane();
        let partition = read::readable(&lane, self.key)?;
        self.within.start = self.within.start.max(partition.durable_start);
        for segment in &partition.index.segments {
            self.add(segment.base, segment.end.plus(-1), segment.max_timestamp_ms, || What::Segment(segment.clone()));
        }
        for packed in &partition.index.packed {
            let file = lane.stored.pack(packed.pack);
            self.add_block(&file.map_or(BlockFile::Missing, |f| BlockFile::Pack(f.clone())), packed.block);
        }
        if let Some(entry) = partition.index.locate(self.what, self.within.clone(), lane.durable) {
            self.add(entry.base, entry.last, entry.max_timestamp_ms, || What::Logged(*entry, lane.source(entry)));
        }
        Ok(())
    }

    fn add(&mut self, base: Offset, last: Offset, max_timestamp_ms: i64, what: impl FnOnce() -> What) {
        let late_enough = match self.what {
            Locate::Time(time_ms) => max_timestamp_ms >= time_ms,
            Locate::MaxTimestamp => true,
        };
        if late_enough && last >= self.within.start && base < self.within.end {
            self.candidates.push(Candidate { base, max_timestamp_ms, what: what() });
        }
    }

    fn add_block(&mut self, file: &BlockFile, block: Block) {
        self.add(block.base, block.last, block.max_timestamp_ms, || What::Block(file.clone(), block));
    }

    fn look_into(&mut self, file: &BlockFile, block: &Block) -> Result<(), EngineError> {
        let bytes = read::read_file(self.core, self.key, file, block.at, block.len as usize)?;
        for (header, batch) in read::batches(self.core, self.key, block, &bytes)? {
            if header.last_offset() < self.within.end {
                let (base, last) = (header.base_offset, header.last_offset());
                self.add(base, last, header.max_timestamp_ms, || What::Batch(batch));
            }
        }
        Ok(())
    }

    /// The first one, or the first of the latest.
    fn take_best(&mut self) -> Option<Candidate> {
        let latest = |c: &Candidate| match self.what {
            Locate::Time(_) => 0,
            Locate::MaxTimestamp => c.max_timestamp_ms,
        };
        let order =
            |(_, c): &(usize, &Candidate)| (std::cmp::Reverse(latest(c)), c.base, matches!(c.what, What::Batch(_)));
        let (at, _) = self.candidates.iter().enumerate().min_by_key(order)?;
        Some(self.candidates.swap_remove(at))
    }
}
