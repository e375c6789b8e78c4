//! One file's bytes, on the medium and in the page cache, sector by sector.
//!
//! Deliberately not here: names; a file may have none (removed but open) or one that is not durable yet.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::rng::Rng;

/// What a medium writes as a whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

type Sector = Arc<[u8; SECTOR_BYTES]>;

/// A file. Cloning shares the sectors.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    sectors: Vec<SectorState>,
    /// Length that reads and `len` see.
    cached_len: u64,
    /// Length on the medium.
    durable_len: u64,
    /// Lengths the file had since it was last synced, oldest first.
    pending_lens: Vec<u64>,
}

/// A sector; `None` is all zero.
#[derive(Debug, Clone, Default)]
struct SectorState {
    /// What reads see. Differs from `durable` with nothing pending after a failed sync: clean for the kernel, yet lost.
    cached: Option<Sector>,
    /// What is on the medium.
    durable: Option<Sector>,
    /// What was written since the last sync, oldest first.
    pending: Vec<Sector>,
}

/// How much of what is pending a crash keeps: drawn once a file, so that some images lose all, some nothing, and some only
/// one sector in the midst of all the others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Luck {
    /// So many of eight, each on its own.
    Keep(u64),
    /// All but the n-th that is asked about, counted round.
    LoseOne(u64),
}

impl Luck {
    /// For something of which `pending` parts are in question.
    pub(super) fn draw(rng: &mut Rng, pending: usize) -> Luck {
        match rng.below(10) {
            0 | 1 => Luck::LoseOne(rng.below(pending as u64)),
            2 => Luck::Keep(1),
            3 | 4 => Luck::Keep(4),
            5 => Luck::Keep(7),
            6 | 7 => Luck::Keep(8),
            _ => Luck::Keep(0),
        }
    }

    /// Whether the next part is kept.
    pub(super) fn keeps(&mut self, rng: &mut Rng) -> bool {
        match self {
            Luck::Keep(of_8) => rng.chance(*of_8, 8),
            Luck::LoseOne(left) => {
                let kept = *left != 0;
                *left = left.wrapping_sub(1);
                kept
            }
        }
    }
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.cached_len
    }

    pub(super) fn read(&self, offset: u64, length: usize) -> Option<Bytes> {
        let end = offset.checked_add(length as u64)?;
        if end > self.cached_len {
            return None;
        }
        let mut out = BytesMut::with_capacity(length);
        let mut at = offset as usize;
        while out.len() < length {
            let within = at % SECTOR_BYTES;
            let take = (SECTOR_BYTES - within).min(length - out.len());
            match &self.sectors[at / SECTOR_BYTES].cached {
                Some(sector) => out.extend_from_slice(&sector[within..within + take]),
                None => out.resize(out.len() + take, 0),
            }
            at += take;
        }
        Some(out.freeze())
    }

    /// Writes those sectors of the range that `takes` says, and lets the file grow to the end of the last of them.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], mut takes: impl FnMut() -> bool) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset as usize + done;
            let within = at % SECTOR_BYTES;
            let take = (SECTOR_BYTES - within).min(bytes.len() - done);
            if takes() {
                self.write_sector(at / SECTOR_BYTES, within, &bytes[done..done + take]);
                self.grow((at + take) as u64);
            }
            done += take;
        }
    }

    fn write_sector(&mut self, index: usize, within: usize, bytes: &[u8]) {
        if self.sectors.len() <= index {
            self.sectors.resize_with(index + 1, SectorState::default);
        }
        let sector = &mut self.sectors[index];
        let mut data = sector.cached.as_deref().copied().unwrap_or([0; SECTOR_BYTES]);
        data[within..within + bytes.len()].copy_from_slice(bytes);
        let data = Arc::new(data);
        sector.cached = Some(data.clone());
        sector.pending.push(data);
    }

    fn grow(&mut self, len: u64) {
        if len > self.cached_len {
            self.cached_len = len;
            self.pending_lens.push(len);
        }
    }

    /// Everything pending reaches the medium. A sector that an earlier failed sync left clean is not pending.
    pub(super) fn sync(&mut self) {
        for sector in &mut self.sectors {
            if let Some(newest) = sector.pending.pop() {
                sector.durable = Some(newest);
                sector.pending.clear();
            }
        }
        if let Some(newest) = self.pending_lens.pop() {
            self.durable_len = newest;
            self.pending_lens.clear();
        }
    }

    /// Any part of what is pending reaches the medium, each sector on its own; the page cache and what is pending stay.
    pub(super) fn sync_in_part(&mut self, rng: &mut Rng) {
        let mut luck = Luck::draw(rng, self.pending_sectors());
        for sector in &mut self.sectors {
            if !sector.pending.is_empty() && luck.keeps(rng) {
                let version = pick_version(rng, sector.pending.len());
                sector.durable = Some(sector.pending[version].clone());
                sector.pending.drain(..=version);
                // What is durable now may be the newest; then the sector is clean.
            }
        }
        if !self.pending_lens.is_empty() && luck.keeps(rng) {
            let version = pick_version(rng, self.pending_lens.len());
            self.durable_len = self.pending_lens[version];
            self.pending_lens.drain(..=version);
        }
    }

    /// A failed sync: any part of what is pending reached the medium, and all of it counts as written from now on.
    pub(super) fn sync_failing(&mut self, rng: &mut Rng) {
        self.sync_in_part(rng);
        for sector in &mut self.sectors {
            sector.pending.clear();
        }
        // The length is metadata of the file system's journal, which a failed data write does not lose.
        self.durable_len = self.cached_len;
        self.pending_lens.clear();
    }

    /// The power goes: what is pending reaches the medium in part, and the page cache is what the medium holds.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        self.sync_in_part(rng);
        let len = self.durable_len as usize;
        self.sectors.resize_with(len.div_ceil(SECTOR_BYTES), SectorState::default);
        for sector in &mut self.sectors {
            sector.pending.clear();
            sector.cached = sector.durable.clone();
        }
        self.cut_last_sector(len % SECTOR_BYTES);
        self.pending_lens.clear();
        self.cached_len = self.durable_len;
    }

    fn cut_last_sector(&mut self, kept: usize) {
        if kept == 0 {
            return;
        }
        let Some(last) = self.sectors.last_mut() else { return };
        if let Some(data) = &last.durable
            && data[kept..].iter().any(|b| *b != 0)
        {
            let mut cut = **data;
            cut[kept..].fill(0);
            last.durable = Some(Arc::new(cut));
            last.cached = last.durable.clone();
        }
    }

    /// The kernel throws clean pages away when it likes; those that a failed sync left clean are then as on the medium.
    pub(super) fn evict_lost(&mut self, rng: &mut Rng) {
        let mut luck = Luck::draw(rng, self.sectors.len());
        for sector in &mut self.sectors {
            let lost = sector.pending.is_empty() && !same(&sector.cached, &sector.durable);
            if lost && !luck.keeps(rng) {
                sector.cached = sector.durable.clone();
            }
        }
    }

    /// A sector rots: one byte of it is another one, in the cache and on the medium.
    pub(super) fn rot(&mut self, offset: u64) {
        let Some(sector) = self.sectors.get_mut(offset as usize / SECTOR_BYTES) else { return };
        let flip = |data: &mut Sector| Arc::make_mut(data)[offset as usize % SECTOR_BYTES] ^= 0x10;
        sector.cached.iter_mut().chain(&mut sector.durable).chain(&mut sector.pending).for_each(flip);
    }

    /// How many sectors wait to be written.
    pub(super) fn pending_sectors(&self) -> usize {
        self.sectors.iter().filter(|sector| !sector.pending.is_empty()).count()
    }

    /// Whether a power cut could change anything.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending_lens.is_empty() || self.sectors.iter().any(|s| !s.pending.is_empty())
    }

    /// Whether some sector is lost without anyone knowing: cached, not durable, not pending.
    pub(super) fn has_lost(&self) -> bool {
        self.sectors.iter().any(|s| s.pending.is_empty() && !same(&s.cached, &s.durable))
    }
}

fn same(a: &Option<Sector>, b: &Option<Sector>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (Some(data), None) | (None, Some(data)) => data.iter().all(|byte| *byte == 0),
    }
}

/// One of the versions, the newest in half of the cases.
fn pick_version(rng: &mut Rng, versions: usize) -> usize {
    if rng.chance(1, 2) { versions - 1 } else { rng.index(versions) }
}
