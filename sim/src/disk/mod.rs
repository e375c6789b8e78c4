//! A disk in memory that keeps every promise of [`Disk`] and not one more.
//!
//! Each file is two images: what is on the medium, and what the page cache shows. Bytes written and not yet synced are kept
//! per 512-byte sector, every version of them, so that a power cut can end each sector at any of them (`state.rs`). Names
//! are durable separately from the bytes they name. A call that changes something is one I/O; a crash is tried at each of
//! them, and what reads saw before it belongs to it, so that a crash at a read would be the same case with less to prove.
//! Deliberately not here: time. Everything completes at once; the interleaving is chosen by who calls.

mod faults;
mod inode;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pagemark_storage::disk::{Disk, FileId, Space};

pub use faults::{Fault, FaultKind, Part, Struck};
pub use inode::SECTOR_BYTES;
pub use state::{DiskState, Ino, Op};

use crate::rng::Rng;

/// Calls after a crash that get an error; a process that makes more of them does not know that it is dead.
const CALLS_SINCE_CRASH: u64 = 10_000;

/// The disk just before an I/O, and that I/O: enough to make every image that a crash within it can leave.
#[derive(Debug, Clone)]
pub struct CrashPoint {
    /// Disk and page cache before it.
    pub before: DiskState,
    /// The I/O under way.
    pub op: Op,
}

/// What a simulated disk has been asked to do, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls that change something: the numbering of crash points.
    pub ios: u64,
    /// Of these, the successful `sync_data`.
    pub syncs: u64,
    /// Calls made to fail.
    pub faults: u64,
    /// The same by kind and part.
    pub struck: Struck,
}

/// A simulated disk in use by one process. All of it is in its [`DiskState`] but the process's open files.
#[derive(Debug)]
pub struct SimDisk {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: DiskState,
    rng: Rng,
    open: BTreeMap<FileId, Ino>,
    next_file: u64,
    counts: Counts,
    faults: Vec<Fault>,
    crashed: bool,
    calls_since_crash: u64,
    recording: Option<Vec<CrashPoint>>,
    capacity_bytes: Option<u64>,
}

impl SimDisk {
    /// A process's view of this disk. `seed` decides what a failing or crashing call leaves behind.
    #[must_use]
    pub fn new(state: DiskState, seed: u64) -> SimDisk {
        SimDisk::with_faults(state, seed, Vec::new())
    }

    /// The same with faults to come.
    #[must_use]
    pub fn with_faults(state: DiskState, seed: u64, faults: Vec<Fault>) -> SimDisk {
        SimDisk {
            inner: Mutex::new(Inner {
                state,
                rng: Rng::new(seed),
                open: BTreeMap::new(),
                next_file: 1,
                counts: Counts::default(),
                faults,
                crashed: false,
                calls_since_crash: 0,
                recording: None,
                capacity_bytes: None,
            }),
        }
    }

    /// The same with room for so many bytes of files.
    #[must_use]
    pub fn with_capacity(self, bytes: Option<u64>) -> SimDisk {
        self.lock().capacity_bytes = bytes;
        self
    }

    /// Keeps a [`CrashPoint`] of every I/O from now on.
    #[must_use]
    pub fn recording(self) -> SimDisk {
        self.lock().recording = Some(Vec::new());
        self
    }

    /// The crash points kept so far, the n-th for the n-th I/O; none if recording was not asked for.
    #[must_use]
    pub fn take_recording(&self) -> Vec<CrashPoint> {
        self.lock().recording.take().unwrap_or_default()
    }

    /// What has been asked so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Whether a [`FaultKind::Crash`] has struck: every call fails since.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Disk and page cache as they are, open files forgotten: what a killed process leaves.
    #[must_use]
    pub fn state(&self) -> DiskState {
        self.lock().state.clone()
    }

    /// Adds a fault to come.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Only a process that is dead already panics in here, and its disk outlives it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Counts, records, fails or performs one I/O.
    fn io(&mut self, op: Op) -> io::Result<()> {
        self.alive()?;
        let index = self.counts.ios;
        self.counts.ios += 1;
        if let Some(points) = &mut self.recording {
            points.push(CrashPoint { before: self.state.clone(), op: op.clone() });
        }
        let Some(kind) = faults::strike(&mut self.faults, index, &op, &self.state) else {
            if self.state.grows_by(&op) > self.free_bytes() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.counts.syncs += u64::from(matches!(op, Op::Sync { .. }));
            self.state.apply(&op);
            return Ok(());
        };
        self.counts.faults += 1;
        self.counts.struck.note(kind, faults::part_of(&op, &self.state));
        match kind {
            FaultKind::Crash => {
                self.crashed = true;
                self.state.apply_partially(&op, &mut self.rng);
                Err(dead())
            }
            FaultKind::SyncError(_) | FaultKind::DirSyncError(_) | FaultKind::WriteError(_) => {
                self.state.apply_failing(&op, &mut self.rng);
                Err(io::Error::other("simulated EIO"))
            }
            FaultKind::DiskFull { .. } | FaultKind::NoSpace(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            FaultKind::BadSector { .. } | FaultKind::ReadRefused { .. } => unreachable!("they strike reads"),
        }
    }

    fn free_bytes(&self) -> u64 {
        let used = || self.state.used_bytes(self.open.values().copied());
        self.capacity_bytes.map_or(1 << 40, |capacity| capacity.saturating_sub(used()))
    }

    /// Fails a read or an opening if it is to fail.
    fn reading(&mut self, part: Option<Part>, opening: bool) -> io::Result<()> {
        self.alive()?;
        let Some((kind, error)) = faults::strike_read(&mut self.faults, self.counts.ios, part, opening) else {
            return Ok(());
        };
        self.counts.faults += 1;
        self.counts.struck.note(kind, part);
        Err(error)
    }

    /// A dead process that goes on calling regardless is ended for good, quietly.
    fn alive(&mut self) -> io::Result<()> {
        if !self.crashed {
            return Ok(());
        }
        self.calls_since_crash += 1;
        if self.calls_since_crash > CALLS_SINCE_CRASH {
            std::panic::resume_unwind(Box::new("the disk of a dead process was called on and on"));
        }
        Err(dead())
    }

    fn ino(&self, file: FileId) -> io::Result<Ino> {
        self.open.get(&file).copied().ok_or_else(|| io::Error::other(format!("{file:?} is not open")))
    }

    fn hand_out(&mut self, ino: Ino) -> FileId {
        let id = FileId(self.next_file);
        self.next_file += 1;
        self.open.insert(id, ino);
        id
    }
}

fn dead() -> io::Error {
    io::Error::other("simulated crash")
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.to_owned())
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.alive()?;
        if inner.state.has_dir(path) {
            return Ok(());
        }
        if !inner.state.has_dir(state::parent(path)) {
            return Err(not_found(state::parent(path)));
        }
        inner.io(Op::CreateDir(path.to_owned()))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut inner = self.lock();
        inner.alive()?;
        inner.state.list(dir).ok_or_else(|| not_found(dir))
    }

    fn create(&self, path: &str) -> io::Result<FileId> {
        let mut inner = self.lock();
        inner.alive()?;
        if inner.state.lookup(path).is_some() || inner.state.has_dir(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, path.to_owned()));
        }
        if !inner.state.has_dir(state::parent(path)) {
            return Err(not_found(state::parent(path)));
        }
        let ino = inner.state.reserve_ino();
        inner.io(Op::Create { path: path.to_owned(), ino })?;
        Ok(inner.hand_out(ino))
    }

    fn open(&self, path: &str) -> io::Result<FileId> {
        let mut inner = self.lock();
        inner.alive()?;
        let ino = inner.state.lookup(path).ok_or_else(|| not_found(path))?;
        inner.reading(Part::of(path), true)?;
        Ok(inner.hand_out(ino))
    }

    fn close(&self, file: FileId) {
        self.lock().open.remove(&file);
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        let mut inner = self.lock();
        inner.alive()?;
        Ok(inner.state.len(inner.ino(file)?))
    }

    fn read_at(&self, file: FileId, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut inner = self.lock();
        inner.alive()?;
        let ino = inner.ino(file)?;
        if !inner.faults.is_empty() {
            let part = inner.state.part_of(ino);
            inner.reading(part, false)?;
        }
        inner.state.read(ino, offset, length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let ino = inner.ino(file)?;
        inner.io(Op::Write { ino, offset, bytes: Bytes::copy_from_slice(bytes) })
    }

    fn sync_data(&self, file: FileId) -> io::Result<()> {
        let mut inner = self.lock();
        let ino = inner.ino(file)?;
        inner.io(Op::Sync { ino })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.alive()?;
        assert_eq!(state::parent(from), state::parent(to), "a rename stays within its directory");
        let ino = inner.state.lookup(from).ok_or_else(|| not_found(from))?;
        inner.io(Op::Rename { from: from.to_owned(), to: to.to_owned(), ino })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.alive()?;
        if inner.state.lookup(path).is_none() {
            return Err(not_found(path));
        }
        inner.io(Op::Remove(path.to_owned()))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.alive()?;
        if !inner.state.has_dir(dir) {
            return Err(not_found(dir));
        }
        inner.io(Op::SyncDir(dir.to_owned()))
    }

    /// As much as anybody wants, or what the capacity leaves; while the disk is full and says so, nothing.
    fn space(&self) -> io::Result<Space> {
        let mut inner = self.lock();
        inner.alive()?;
        let full = faults::is_full(&inner.faults, inner.counts.ios);
        let usable_bytes = if full { 0 } else { inner.free_bytes() };
        Ok(Space { usable_bytes, total_bytes: inner.capacity_bytes.unwrap_or(0) })
    }

    fn allocate(&self, file: FileId, bytes: u64) -> io::Result<()> {
        self.write_at(file, 0, &vec![0; bytes as usize])
    }

    fn punch(&self, file: FileId, offset: u64, bytes: u64) -> io::Result<()> {
        self.write_at(file, offset, &vec![0; bytes as usize])
    }
}
