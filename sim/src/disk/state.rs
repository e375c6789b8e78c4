//! What survives the process: files, names, and what of them is on the medium already.
//!
//! A name is an entry of its directory, durable after that directory was synced. Until then each change of a name is kept
//! or lost on its own at a power cut, in the order made; a rename is one change, so its target is the old file or the new
//! one, never missing. Deliberately not here: open files, which are the process's, and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::faults::Part;
use super::inode::{Inode, Luck, SECTOR_BYTES};
use crate::rng::Rng;

/// Identity of a file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ino(u64);

/// A call that changes something, checked to be possible.
#[derive(Debug, Clone)]
pub enum Op {
    /// `create_dir`
    CreateDir(String),
    /// `create`
    Create {
        /// Its name.
        path: String,
        /// The file it makes.
        ino: Ino,
    },
    /// `write_at`
    Write {
        /// Which file.
        ino: Ino,
        /// From which byte.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// `sync_data`
    Sync {
        /// Which file.
        ino: Ino,
    },
    /// `rename`
    Rename {
        /// The name it had.
        from: String,
        /// The name it gets.
        to: String,
        /// Which file.
        ino: Ino,
    },
    /// `remove`
    Remove(String),
    /// `sync_dir`
    SyncDir(String),
}

impl Op {
    /// How many parts it has that are done each on its own.
    fn sectors(&self) -> usize {
        match self {
            Op::Write { offset, bytes, .. } => (*offset as usize % SECTOR_BYTES + bytes.len()).div_ceil(SECTOR_BYTES),
            _ => 1,
        }
    }
}

/// Names and directories, on the medium or in the cache.
#[derive(Debug, Clone, Default)]
struct Names {
    files: BTreeMap<String, Ino>,
    dirs: BTreeSet<String>,
}

/// One change of a directory.
#[derive(Debug, Clone)]
enum NameChange {
    Link(String, Ino),
    Unlink(String),
    Rename(String, String, Ino),
    MakeDir(String),
}

impl NameChange {
    fn dir(&self) -> &str {
        match self {
            NameChange::Link(path, _)
            | NameChange::Unlink(path)
            | NameChange::MakeDir(path)
            | NameChange::Rename(path, _, _) => parent(path),
        }
    }
}

impl Names {
    fn change(&mut self, change: &NameChange) {
        match change {
            NameChange::Link(path, ino) => {
                self.files.insert(path.clone(), *ino);
            }
            NameChange::Unlink(path) => {
                self.files.remove(path);
            }
            NameChange::Rename(from, to, ino) => {
                if self.files.get(from) == Some(ino) {
                    self.files.remove(from);
                }
                self.files.insert(to.clone(), *ino);
            }
            NameChange::MakeDir(path) => {
                self.dirs.insert(path.clone());
            }
        }
    }
}

/// Disk and page cache. A clone is a snapshot that shares what does not change afterwards.
#[derive(Debug, Clone, Default)]
pub struct DiskState {
    inodes: BTreeMap<Ino, Arc<Inode>>,
    cached: Arc<Names>,
    durable: Arc<Names>,
    pending: Vec<NameChange>,
    next_ino: u64,
}

/// The directory that a path lies in; "" is the data directory.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl DiskState {
    /// An empty data directory.
    #[must_use]
    pub fn new() -> DiskState {
        DiskState::default()
    }

    pub(super) fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.cached.dirs.contains(dir)
    }

    pub(super) fn lookup(&self, path: &str) -> Option<Ino> {
        self.cached.files.get(path).copied()
    }

    /// Names of the files in a directory, sorted; `None` if there is no such directory.
    #[must_use]
    pub fn list(&self, dir: &str) -> Option<Vec<String>> {
        let inside = |path: &&String| parent(path) == dir;
        self.has_dir(dir).then(|| {
            self.cached.files.keys().filter(inside).map(|p| p[p.rfind('/').map_or(0, |i| i + 1)..].to_owned()).collect()
        })
    }

    /// All files with what the page cache shows of them, for comparing two disks.
    #[must_use]
    pub fn contents(&self) -> Vec<(String, Bytes)> {
        let read = |ino: &Ino| self.read(*ino, 0, self.len(*ino) as usize).unwrap_or_default();
        self.cached.files.iter().map(|(path, ino)| (path.clone(), read(ino))).collect()
    }

    /// An operation in a few words.
    #[must_use]
    pub fn describe(&self, op: &Op) -> String {
        let name = |ino: &Ino| {
            let named = self.cached.files.iter().find(|(_, of)| *of == ino);
            named.map_or_else(|| format!("{ino:?}"), |(path, _)| path.clone())
        };
        match op {
            Op::CreateDir(path) => format!("create_dir {path}"),
            Op::Create { path, .. } => format!("create {path}"),
            Op::Write { ino, offset, bytes } => format!("write {} at {offset}, {} bytes", name(ino), bytes.len()),
            Op::Sync { ino } => format!("sync_data {}", name(ino)),
            Op::Rename { from, to, .. } => format!("rename {from} to {to}"),
            Op::Remove(path) => format!("remove {path}"),
            Op::SyncDir(dir) => format!("sync_dir {dir:?}"),
        }
    }

    pub(super) fn len(&self, ino: Ino) -> u64 {
        self.inodes.get(&ino).map_or(0, |inode| inode.len())
    }

    pub(super) fn read(&self, ino: Ino, offset: u64, length: usize) -> Option<Bytes> {
        self.inodes.get(&ino)?.read(offset, length)
    }

    pub(super) fn reserve_ino(&mut self) -> Ino {
        self.next_ino += 1;
        Ino(self.next_ino)
    }

    pub(super) fn needs_space(&self, op: &Op) -> bool {
        match op {
            // A directory may have to grow for a name.
            Op::CreateDir(_) | Op::Create { .. } | Op::Rename { .. } => true,
            Op::Write { .. } => self.grows_by(op) > 0,
            Op::Sync { .. } | Op::Remove(_) | Op::SyncDir(_) => false,
        }
    }

    /// How many more bytes there would be.
    pub(super) fn grows_by(&self, op: &Op) -> u64 {
        match op {
            Op::Write { ino, offset, bytes } => (offset + bytes.len() as u64).saturating_sub(self.len(*ino)),
            _ => 0,
        }
    }

    /// Bytes of all files that have a name, and of these.
    pub(super) fn used_bytes(&self, open: impl Iterator<Item = Ino>) -> u64 {
        let files: BTreeSet<Ino> = self.cached.files.values().copied().chain(open).collect();
        files.into_iter().map(|ino| self.len(ino)).sum()
    }

    /// How many sectors a sync would write: the more, the more ways there are to lose some of them.
    #[must_use]
    pub fn sectors_to_sync(&self, op: &Op) -> usize {
        match op {
            Op::Sync { ino } => self.inodes.get(ino).map_or(0, |inode| inode.pending_sectors()),
            _ => 0,
        }
    }

    /// Whether a power cut could change anything.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty() || self.inodes.values().any(|inode| inode.has_pending())
    }

    /// Whether a failed sync left bytes that look written and are not.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.inodes.values().any(|inode| inode.has_lost())
    }

    /// Does the whole of it, in the page cache or, for a sync, on the medium.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::CreateDir(path) => self.change(NameChange::MakeDir(path.clone())),
            Op::Create { path, ino } => {
                self.inodes.insert(*ino, Arc::new(Inode::default()));
                self.change(NameChange::Link(path.clone(), *ino));
            }
            Op::Write { ino, offset, bytes } => self.with(*ino, |inode| inode.write(*offset, bytes, || true)),
            Op::Sync { ino } => self.with(*ino, Inode::sync),
            Op::Rename { from, to, ino } => self.change(NameChange::Rename(from.clone(), to.clone(), *ino)),
            Op::Remove(path) => self.change(NameChange::Unlink(path.clone())),
            Op::SyncDir(dir) => self.settle_names(dir, |_| true),
        }
    }

    /// What a crash within the call leaves: of a write any sectors, of a sync any part, of the rest all or nothing.
    pub fn apply_partially(&mut self, op: &Op, rng: &mut Rng) {
        let mut luck = Luck::draw(rng, op.sectors());
        match op {
            Op::Write { ino, offset, bytes } => {
                self.with(*ino, |inode| inode.write(*offset, bytes, || luck.keeps(rng)));
            }
            Op::Sync { ino } => self.with(*ino, |inode| inode.sync_in_part(rng)),
            _ if luck.keeps(rng) => self.apply(op),
            _ => {}
        }
    }

    /// What a call that fails leaves: a write is done in part; a sync is done in part and forgets the rest. Names are not
    /// forgotten, because file systems keep them in a journal: the oldest changes are durable, the others go on waiting.
    pub(super) fn apply_failing(&mut self, op: &Op, rng: &mut Rng) {
        match op {
            Op::Sync { ino } => self.with(*ino, |inode| inode.sync_failing(rng)),
            Op::SyncDir(dir) => {
                let mut oldest = rng.index(self.pending.len() + 1);
                let durable = Arc::make_mut(&mut self.durable);
                self.pending.retain(|change| {
                    let settled = change.dir() == dir && oldest > 0;
                    if settled {
                        oldest -= 1;
                        durable.change(change);
                    }
                    !settled
                });
            }
            _ => self.apply_partially(op, rng),
        }
    }

    /// The part that a file lies in.
    pub(super) fn part_of(&self, ino: Ino) -> Option<Part> {
        self.cached.files.iter().find(|(_, of)| **of == ino).and_then(|(path, _)| Part::of(path))
    }

    /// A byte of a file rots, if there is such a file.
    pub fn rot(&mut self, path: &str, offset: u64) {
        if let Some(inode) = self.lookup(path).and_then(|ino| self.inodes.get_mut(&ino)) {
            Arc::make_mut(inode).rot(offset);
        }
    }

    /// The process dies, the machine lives: the page cache stays, but for clean pages, which may be read anew.
    pub fn kill(&mut self, rng: &mut Rng) {
        for inode in self.inodes.values_mut() {
            if inode.has_lost() {
                Arc::make_mut(inode).evict_lost(rng);
            }
        }
        self.drop_nameless();
    }

    /// The power goes: whatever is pending is kept in part, whatever was only in the page cache is gone.
    pub fn power_cut(&mut self, rng: &mut Rng) {
        let dirs: BTreeSet<String> = self.pending.iter().map(|change| change.dir().to_owned()).collect();
        for dir in dirs {
            let mut luck = Luck::draw(rng, self.pending.len());
            self.settle_names(&dir, |_| luck.keeps(rng));
        }
        let durable = Arc::make_mut(&mut self.durable);
        let mut reachable = BTreeSet::new();
        for dir in &durable.dirs {
            // In order, so that a directory comes after the one it lies in.
            if parent(dir).is_empty() || reachable.contains(parent(dir)) {
                reachable.insert(dir.clone());
            }
        }
        durable.files.retain(|path, _| parent(path).is_empty() || reachable.contains(parent(path)));
        durable.dirs = reachable;
        self.cached = self.durable.clone();
        self.drop_nameless();
        for inode in self.inodes.values_mut() {
            if inode.has_pending() || inode.has_lost() {
                Arc::make_mut(inode).power_cut(rng);
            }
        }
    }

    fn change(&mut self, change: NameChange) {
        Arc::make_mut(&mut self.cached).change(&change);
        self.pending.push(change);
    }

    /// Makes those pending changes of a directory durable that `keeps` says, and forgets the others of it.
    fn settle_names(&mut self, dir: &str, mut keeps: impl FnMut(&NameChange) -> bool) {
        let durable = Arc::make_mut(&mut self.durable);
        self.pending.retain(|change| {
            if change.dir() != dir {
                return true;
            }
            if keeps(change) {
                durable.change(change);
            }
            false
        });
    }

    fn with(&mut self, ino: Ino, change: impl FnOnce(&mut Inode)) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            change(Arc::make_mut(inode));
        }
    }

    fn drop_nameless(&mut self) {
        let mut named: BTreeSet<Ino> = self.cached.files.values().chain(self.durable.files.values()).copied().collect();
        named.extend(self.pending.iter().filter_map(|change| match change {
            NameChange::Link(_, ino) | NameChange::Rename(_, _, ino) => Some(*ino),
            NameChange::Unlink(_) | NameChange::MakeDir(_) => None,
        }));
        self.inodes.retain(|ino, _| named.contains(ino));
    }
}
