//! Which packs and segments there are, and when one may go.
//!
//! A file that nothing living lies in any more is still needed by the checkpoints that were captured before that. So it waits until
//! the older of the two kept ones was captured later, and then until no reader holds it. Deliberately not here: the log's files,
//! which are used again (`recycler.rs`), but where segments lie in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::Dropped;
use super::keeper::Hole;
use super::log_file::LogFile;
use super::ops::DiskOp;
use super::pack::{PackFile, PackRef, pack_path};
use super::segment::{SegmentFile, segment_path};

/// A pack that something living lies in.
#[derive(Debug)]
struct LivePack {
    file: Arc<PackFile>,
    live_bytes: u64,
}

/// A file that holds data.
#[derive(Debug)]
pub(super) enum Stored {
    Pack(Arc<PackFile>),
    Segment(Arc<SegmentFile>),
    /// A log file that a checkpoint refers to whose segments are none of ours: the same data lies elsewhere, or there as well.
    Log(Arc<LogFile>),
}

/// What tells one file from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Pack(u64),
    Segment(u64),
    Log(u64),
}

impl Stored {
    fn name(&self) -> Name {
        match self {
            Stored::Pack(pack) => Name::Pack(pack.reference.id),
            Stored::Segment(segment) => Name::Segment(segment.number),
            Stored::Log(log) => Name::Log(log.header.generation),
        }
    }
}

#[derive(Debug)]
struct Dying {
    /// No checkpoint of this number or a higher one refers to it.
    free_at: u64,
    bytes: u64,
    file: Stored,
}

/// All of them but the segments, which their partitions know.
#[derive(Debug)]
pub(super) struct Files {
    packs: BTreeMap<u64, LivePack>,
    dying: BTreeMap<Name, Dying>,
    dying_bytes: u64,
    /// Nothing needs them but perhaps a reader.
    retiring: Vec<Stored>,
    /// The number of the checkpoint that will be captured next.
    pub next_checkpoint: u64,
}

impl Files {
    pub(super) fn new(next_checkpoint: u64) -> Files {
        let (packs, dying, retiring) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Files { packs, dying, dying_bytes: 0, retiring, next_checkpoint }
    }

    pub(super) fn pack(&self, id: u64) -> Option<&Arc<PackFile>> {
        self.packs.get(&id).map(|pack| &pack.file)
    }

    pub(super) fn pack_count(&self) -> usize {
        self.packs.len() + self.dying.keys().filter(|name| matches!(name, Name::Pack(_))).count()
    }

    pub(super) fn references(&self) -> Vec<PackRef> {
        self.packs.values().map(|pack| pack.file.reference).collect()
    }

    /// Number, length and living bytes of every pack that has some.
    pub(super) fn live_packs(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.packs.iter().map(|(id, pack)| (*id, pack.file.reference.len, pack.live_bytes))
    }

    /// Takes a pack with so many living bytes; one with none waits for its end at once.
    pub(super) fn add_pack(&mut self, file: Arc<PackFile>, live_bytes: u64) {
        let id = file.reference.id;
        self.packs.insert(id, LivePack { file, live_bytes });
        self.take_from_pack(id, 0);
    }

    /// So many bytes in a pack are living now.
    pub(super) fn add_to_pack(&mut self, id: u64, bytes: u64) {
        if let Some(pack) = self.packs.get_mut(&id) {
            pack.live_bytes += bytes;
        }
    }

    /// So many bytes in a pack are needed no more.
    pub(super) fn take_from_pack(&mut self, id: u64, bytes: u64) {
        let Some(pack) = self.packs.get_mut(&id) else { return };
        pack.live_bytes = pack.live_bytes.saturating_sub(bytes);
        if pack.live_bytes == 0
            && let Some(pack) = self.packs.remove(&id)
        {
            self.dies(Stored::Pack(pack.file.clone()), pack.file.reference.len);
        }
    }

    /// Nothing lies in this file any more.
    pub(super) fn dies(&mut self, file: Stored, bytes: u64) {
        let name = file.name();
        self.lives(name);
        self.dying.insert(name, Dying { free_at: self.next_checkpoint, bytes, file });
        self.dying_bytes += bytes;
    }

    /// Takes note of what partitions gave up.
    pub(super) fn take(&mut self, dropped: Dropped) {
        for (pack, bytes) in dropped.packs {
            self.take_from_pack(pack, bytes);
        }
        for (file, bytes) in dropped.segments {
            self.dies(Stored::Segment(file), bytes);
        }
    }

    /// A segment was given up, but something was appended to it meanwhile.
    pub(super) fn lives_again(&mut self, number: u64) {
        self.lives(Name::Segment(number));
    }

    fn lives(&mut self, name: Name) {
        if let Some(known) = self.dying.remove(&name) {
            self.dying_bytes -= known.bytes;
        }
    }

    /// Bytes of files that only checkpoints need.
    pub(super) fn dying_bytes(&self) -> u64 {
        self.dying_bytes
    }

    /// All checkpoints that a recovery may choose were captured with this number or a higher one.
    pub(super) fn release(&mut self, oldest: u64) {
        let (free, dying) = std::mem::take(&mut self.dying).into_iter().partition(|(_, d)| d.free_at <= oldest);
        self.dying = dying;
        let free: BTreeMap<Name, Dying> = free;
        self.dying_bytes -= free.values().map(|d| d.bytes).sum::<u64>();
        for d in free.values() {
            if let Stored::Segment(segment) = &d.file {
                segment.leave();
            }
        }
        self.retiring.extend(free.into_values().map(|d| d.file));
    }

    pub(super) fn retiring_count(&self) -> usize {
        self.retiring.len()
    }

    /// Takes one file that no reader holds any more. `is_log`: whether the log needs its file of a generation.
    pub(super) fn retire(&mut self, is_log: impl Fn(u64) -> bool) -> Option<Retired> {
        let unused = |file: &Stored| match file {
            Stored::Pack(pack) => Arc::strong_count(pack) == 1,
            Stored::Segment(segment) => {
                Arc::strong_count(segment) == 1 && segment.in_log_at().is_none_or(|(log, _)| log.is_unread())
            }
            Stored::Log(_) => true,
        };
        let at = self.retiring.iter().position(unused)?;
        Some(match self.retiring.swap_remove(at) {
            Stored::Pack(pack) => {
                Retired::File(vec![DiskOp::Close(pack.file), DiskOp::Remove(pack_path(pack.reference.id))])
            }
            Stored::Segment(segment) => match segment.in_log_at() {
                Some((log, _)) => {
                    let (number, generation) = (segment.number, log.header.generation);
                    let punched = log.has_living() || is_log(generation);
                    Retired::Lodger { number, generation, hole: punched.then(|| Hole::segment(segment)) }
                }
                // Its log file was not found at the start.
                None if segment.generation().is_some() => Retired::Segment(segment.number, Vec::new()),
                None => {
                    let close = segment.known().map(DiskOp::Close);
                    let remove = DiskOp::Remove(segment_path(segment.number));
                    Retired::Segment(segment.number, close.into_iter().chain([remove]).collect())
                }
            },
            Stored::Log(_) => Retired::File(Vec::new()),
        })
    }
}

/// What is gone, and what removes it.
#[derive(Debug)]
pub(super) enum Retired {
    File(Vec<DiskOp>),
    /// A segment of this number.
    Segment(u64, Vec<DiskOp>),
    /// A segment in a log file, which goes with its last one and until then has a hole in its place.
    Lodger {
        number: u64,
        generation: u64,
        hole: Option<Hole>,
    },
}
