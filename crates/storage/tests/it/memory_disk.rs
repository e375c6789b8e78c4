//! A disk in memory that can be cut: what the process sees, what is durable, and which sectors lie between.
//!
//! Small on purpose; the full fault model is the simulation's. Directories themselves are durable at once here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use pagemark_storage::disk::{Disk, FileId, Space};

const SECTOR: usize = 512;

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The page cache stays.
    Kill,
    /// Only what was synced stays for sure.
    Power,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that would be written back; a failed sync empties this without writing.
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum NameOp {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

impl NameOp {
    fn dir(&self) -> &str {
        let (NameOp::Link(path, _) | NameOp::Unlink(path) | NameOp::Rename(path, _)) = self;
        path.rsplit_once('/').map_or("", |(dir, _)| dir)
    }

    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameOp::Link(path, inode) => {
                names.insert(path, inode);
            }
            NameOp::Unlink(path) => {
                names.remove(&path);
            }
            NameOp::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameOp>,
    open: BTreeMap<u64, usize>,
    next_file: u64,
    ops: u64,
    cut_at: Option<u64>,
    fail_syncs: u32,
    bad_first_sector: Option<String>,
    capacity: Option<u64>,
    claimed: Option<u64>,
    punched: u64,
    random: u64,
}

const EIO: i32 = 5;

/// The disk.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    state: Mutex<State>,
}

impl State {
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn tick(&mut self) -> io::Result<()> {
        self.ops += 1;
        if self.cut_at.is_some_and(|at| self.ops > at) { Err(io::Error::other("cut")) } else { Ok(()) }
    }

    /// Bytes that may still be written.
    fn free(&self) -> u64 {
        let open = self.open.values().chain(self.names.values()).copied().collect::<BTreeSet<usize>>();
        let used = open.into_iter().map(|inode| self.inodes[inode].live.len() as u64).sum();
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used))
    }

    fn inode(&mut self, file: FileId) -> io::Result<&mut Inode> {
        let inode = *self.open.get(&file.0).ok_or_else(|| io::Error::other("closed"))?;
        Ok(&mut self.inodes[inode])
    }

    fn handle(&mut self, inode: usize) -> FileId {
        self.next_file += 1;
        self.open.insert(self.next_file, inode);
        FileId(self.next_file)
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let start = sector * SECTOR;
    let end = (start + SECTOR).min(from.len());
    if start < end {
        if to.len() < end {
            to.resize(end, 0);
        }
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

impl MemoryDisk {
    pub fn new(seed: u64) -> MemoryDisk {
        MemoryDisk { state: Mutex::new(State { random: seed | 1, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Every call fails from this many calls on.
    pub fn cut_after(&self, ops: u64) {
        let mut state = self.state();
        state.cut_at = Some(state.ops + ops);
    }

    /// From now on this file's first sector cannot be read, or all can.
    pub fn bad_first_sector(&self, path: Option<&str>) {
        self.state().bad_first_sector = path.map(str::to_owned);
    }

    /// The next syncs of files fail, and drop the pages that they were to write.
    pub fn fail_syncs(&self, count: u32) {
        self.state().fail_syncs = count;
    }

    /// From now on the files' bytes and this many are all that there is.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = Some(bytes);
    }

    /// From now on it says that so many bytes are free, whatever there are: as where a quota ends before the disk does.
    pub fn claim_free(&self, bytes: u64) {
        self.state().claimed = Some(bytes);
    }

    /// Bytes that may still be written, whatever is claimed.
    pub fn free(&self) -> u64 {
        self.state().free()
    }

    /// Bytes whose place was given back.
    pub fn punched(&self) -> u64 {
        self.state().punched
    }

    /// Calls so far.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// What a next life finds.
    pub fn restart(&self, cut: Cut) {
        let state = &mut *self.state();
        state.cut_at = None;
        state.fail_syncs = 0;
        state.open.clear();
        if cut == Cut::Kill {
            return;
        }
        for i in 0..state.inodes.len() {
            let dirty: Vec<usize> = state.inodes[i].dirty.iter().copied().collect();
            for sector in dirty {
                if state.random(2) == 0 {
                    let inode = &mut state.inodes[i];
                    copy_sector(&inode.live, &mut inode.durable, sector);
                }
            }
            let inode = &mut state.inodes[i];
            inode.live = inode.durable.clone();
            inode.dirty.clear();
        }
        for op in std::mem::take(&mut state.pending_names) {
            if state.random(2) == 0 {
                op.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(String, usize)> {
        let state = self.state();
        state.names.iter().map(|(name, inode)| (name.clone(), state.inodes[*inode].live.len())).collect()
    }

    /// Changes one byte of a file, for good.
    pub fn flip(&self, path: &str, at: usize, mask: u8) {
        let state = &mut *self.state();
        let inode = &mut state.inodes[state.names[path]];
        inode.live[at] ^= mask;
        if let Some(byte) = inode.durable.get_mut(at) {
            *byte ^= mask;
        }
    }

    /// Takes a file away, for good.
    pub fn delete(&self, path: &str) {
        let state = &mut *self.state();
        state.names.remove(path).unwrap();
        state.durable_names.remove(path);
    }

    /// Takes a file's end away, for good.
    pub fn truncate(&self, path: &str, length: usize) {
        let state = &mut *self.state();
        let inode = &mut state.inodes[state.names[path]];
        inode.live.truncate(length);
        inode.durable.truncate(length);
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].live.clone()
    }

    /// Another disk with the same content.
    pub fn copy(&self) -> MemoryDisk {
        MemoryDisk { state: Mutex::new(self.state().clone()) }
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _: &str) -> io::Result<()> {
        self.state().tick()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.tick()?;
        let names = state.names.keys().filter_map(|path| path.strip_prefix(dir)?.strip_prefix('/'));
        Ok(names.map(str::to_string).collect())
    }

    fn create(&self, path: &str) -> io::Result<FileId> {
        let state = &mut *self.state();
        state.tick()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(path.to_string(), inode);
        state.pending_names.push(NameOp::Link(path.to_string(), inode));
        Ok(state.handle(inode))
    }

    fn open(&self, path: &str) -> io::Result<FileId> {
        let state = &mut *self.state();
        state.tick()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.handle(inode))
    }

    fn close(&self, file: FileId) {
        self.state().open.remove(&file.0);
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        let state = &mut *self.state();
        state.tick()?;
        Ok(state.inode(file)?.live.len() as u64)
    }

    fn read_at(&self, file: FileId, offset: u64, length: usize) -> io::Result<Bytes> {
        let state = &mut *self.state();
        state.tick()?;
        let bad = state.bad_first_sector.as_ref().and_then(|path| state.names.get(path));
        if offset < SECTOR as u64 && bad.is_some_and(|inode| state.open.get(&file.0) == Some(inode)) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let live = &state.inode(file)?.live;
        let bytes = live.get(offset as usize..offset as usize + length).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.state();
        let result = state.tick();
        let mut whole = bytes.to_vec();
        if result.is_err() {
            if state.cut_at.is_some_and(|at| state.ops > at + 1) {
                return result;
            }
            let kept = state.random(bytes.len() as u64 + 1) as usize;
            whole.truncate(kept);
        }
        let (start, end) = (offset as usize, offset as usize + whole.len());
        let grows = (end as u64).saturating_sub(state.inode(file)?.live.len() as u64);
        if grows > state.free() {
            let quota = state.claimed.is_some();
            return Err(if quota { io::ErrorKind::QuotaExceeded } else { io::ErrorKind::StorageFull }.into());
        }
        let inode = state.inode(file)?;
        if inode.live.len() < end {
            inode.live.resize(end, 0);
        }
        inode.live[start..end].copy_from_slice(&whole);
        inode.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        result
    }

    fn sync_data(&self, file: FileId) -> io::Result<()> {
        let state = &mut *self.state();
        state.tick()?;
        let fails = state.fail_syncs > 0;
        state.fail_syncs = state.fail_syncs.saturating_sub(1);
        let inode = state.inode(file)?;
        let dirty = std::mem::take(&mut inode.dirty);
        if fails {
            return Err(io::Error::other("EIO"));
        }
        for sector in dirty {
            copy_sector(&inode.live, &mut inode.durable, sector);
        }
        let (live_len, durable_len) = (inode.live.len(), inode.durable.len());
        inode.durable.resize(live_len.max(durable_len), 0);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.state();
        state.tick()?;
        let op = NameOp::Rename(from.to_string(), to.to_string());
        op.clone().apply(&mut state.names);
        state.pending_names.push(op);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let state = &mut *self.state();
        state.tick()?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.pending_names.push(NameOp::Unlink(path.to_string()));
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let state = &mut *self.state();
        state.tick()?;
        let (now, later): (Vec<NameOp>, Vec<NameOp>) =
            std::mem::take(&mut state.pending_names).into_iter().partition(|op| op.dir() == dir);
        now.into_iter().for_each(|op| op.apply(&mut state.durable_names));
        state.pending_names = later;
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.state();
        Ok(Space { usable_bytes: state.claimed.unwrap_or(state.free()), total_bytes: state.capacity.unwrap_or(0) })
    }

    fn allocate(&self, file: FileId, bytes: u64) -> io::Result<()> {
        self.write_at(file, 0, &vec![0; bytes as usize])
    }

    fn punch(&self, file: FileId, offset: u64, bytes: u64) -> io::Result<()> {
        self.state().punched += bytes;
        self.write_at(file, offset, &vec![0; bytes as usize])
    }
}
