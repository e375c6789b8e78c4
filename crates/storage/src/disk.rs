//! The disk as the engine sees it: a handful of calls, and one implementation over the real file system.
//!
//! This is the only file that opens files. The simulated disk of the `sim` crate implements the same trait and runs the same
//! engine code, so every call here is one point at which a crash is tried. Paths are relative to the data directory, with
//! `/` between parts; directories are made by [`Disk::create_dir`]. Deliberately not here: buffering, caching, mmap.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use rustix::fs::FallocateFlags;
use rustix::process::{Resource, getrlimit};

use crate::read_buffers::ReadBuffers;

/// Whether this is the build that only pretends to sync, so that the rig that cuts the power can be seen to find it out.
const WITHOUT_FSYNC: bool = cfg!(feature = "without-fsync");

/// An open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// Blocking calls on the files below one data directory.
///
/// What is promised, and no more: bytes written are durable after [`Disk::sync_data`] of that file has returned success;
/// a created, renamed or removed name is durable after [`Disk::sync_dir`] of its directory. Without them a power cut may keep
/// any part, in units of 512-byte sectors. After a failed `sync_data` nothing is known of the bytes written since the last
/// successful one, and calling it again proves nothing.
pub trait Disk: Send + Sync {
    /// Makes a directory if it is not there. Its name is durable after `sync_dir` of the parent ("" is the data directory).
    ///
    /// # Errors
    /// As the file system says.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Names of the files in a directory, sorted, directories left out.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Length of a file that need not be open, bytes.
    ///
    /// # Errors
    /// `NotFound`, or as the file system says.
    fn length(&self, path: &str) -> io::Result<u64> {
        let file = self.open(path)?;
        let length = self.len(file);
        self.close(file);
        length
    }
    /// Makes a new, empty file, open for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists`, or as the file system says.
    fn create(&self, path: &str) -> io::Result<FileId>;
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or as the file system says.
    fn open(&self, path: &str) -> io::Result<FileId>;
    /// Closes a file. The id means nothing afterwards.
    fn close(&self, file: FileId);
    /// Length of a file in bytes.
    ///
    /// # Errors
    /// As the file system says.
    fn len(&self, file: FileId) -> io::Result<u64>;
    /// Reads exactly `length` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, or as the file system says.
    fn read_at(&self, file: FileId, offset: u64, length: usize) -> io::Result<Bytes>;
    /// Writes all of `bytes`, growing the file if need be. On error any part may have been written.
    ///
    /// # Errors
    /// As the file system says.
    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's bytes and length durable (fdatasync).
    ///
    /// # Errors
    /// As the file system says. Never to be retried.
    fn sync_data(&self, file: FileId) -> io::Result<()>;
    /// Gives a file another name in the same directory, replacing what had it.
    ///
    /// # Errors
    /// As the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file's name. Open ids go on working.
    ///
    /// # Errors
    /// As the file system says; a missing file is `NotFound`.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the file system says. Never to be retried.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// How large the file system is and how much room it has, where that is known.
    ///
    /// # Errors
    /// `Unsupported`, or as the file system says.
    fn space(&self) -> io::Result<Space> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Takes the place of so many bytes for a new file, whatever is read from there.
    ///
    /// # Errors
    /// `StorageFull`, `Unsupported`, or as the file system says.
    fn allocate(&self, _file: FileId, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Gives the place of some bytes in the middle of a file back, which are zeros afterwards. Nothing is promised of a crash.
    ///
    /// # Errors
    /// `Unsupported`, or as the file system says.
    fn punch(&self, _file: FileId, _offset: u64, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// A file is only read from now on, and seldom: it need not stay open.
    fn lend(&self, _file: FileId) {}
}

/// A file system's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still fill.
    pub usable_bytes: u64,
}

/// Whether an error says that what is stored cannot be read, today or ever: a bad sector, a checksum of the file system, a
/// file that ends too early. Unlike a lack of handles or memory, which passes.
#[must_use]
pub fn is_unreadable(error: &io::Error) -> bool {
    // EIO, ENODATA (a medium error of some drivers), EBADMSG (a wrong checksum), EILSEQ, EUCLEAN (a damaged structure).
    const CODES: [i32; 5] = [5, 61, 74, 84, 117];
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

/// Whether an error says that there is no room: on the disk, or in this user's quota.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error says that a file's bytes cannot be had: they are unreadable, or the file is gone.
#[must_use]
pub fn is_lost(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_unreadable(error)
}

/// Files in here are mostly only read: there may be very many, and their handles are lent.
const LENT_DIRS: [&str; 2] = ["packs/", "segments/"];
/// How many handles of such files stay open at least beyond those in use.
const LENT_HANDLES: usize = 64;
/// And at most.
const MOST_LENT_HANDLES: usize = 4096;
/// So many more may be opened before somebody looks which to give back.
const LENT_BEFORE_A_LOOK: u64 = 32;

/// The files below one real directory.
///
/// Handles of directories stay open from [`Disk::create_dir`] on, so that making names durable needs no handle that may not
/// be had. Of the files below `packs/` and `segments/`, and those that were lent, only those used last keep theirs, as many as an eighth of what the process
/// may have open; the others are opened again when they are read.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    files: RwLock<BTreeMap<FileId, Arc<Entry>>>,
    dirs: Mutex<BTreeMap<String, Arc<File>>>,
    next_id: AtomicU64,
    clock: AtomicU64,
    opened: AtomicU64,
    lent_handles: usize,
    read_buffers: Arc<ReadBuffers>,
}

/// What an id means.
#[derive(Debug)]
struct Entry {
    state: Mutex<EntryState>,
    used: AtomicU64,
}

#[derive(Debug)]
struct EntryState {
    /// Where it is opened again; `None` once that name was removed.
    path: Option<String>,
    handle: Option<Arc<File>>,
    /// Written since the last successful sync: the handle must see whether that succeeds.
    dirty: bool,
    /// It may be closed while nobody uses it.
    lendable: bool,
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EntryState {
    fn lent(&self) -> bool {
        self.handle.is_some() && !self.dirty && self.lendable && self.path.is_some()
    }
}

impl RealDisk {
    /// Takes a directory, which is made if it is not there. Its name is durable afterwards.
    ///
    /// # Errors
    /// As the file system says.
    pub fn new(root: &Path) -> io::Result<RealDisk> {
        let root = std::path::absolute(root)?;
        let there = root.is_dir();
        let parents = parents_of_new(&root, |path| path.is_dir());
        fs::create_dir_all(&root)?;
        for parent in parents {
            match open_directory(&parent) {
                Ok(_) if WITHOUT_FSYNC => {}
                Ok(directory) => directory.sync_all()?,
                // Not ours to look into: then it was not we either who just made the name.
                Err(error) if there && error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        let dirs = BTreeMap::from([(String::new(), Arc::new(open_directory(&root)?))]);
        Ok(RealDisk {
            root,
            files: RwLock::default(),
            dirs: Mutex::new(dirs),
            next_id: AtomicU64::new(1),
            clock: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            lent_handles: lent_handles(getrlimit(Resource::Nofile).current),
            read_buffers: Arc::default(),
        })
    }

    fn entry(&self, file: FileId) -> io::Result<Arc<Entry>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&file).cloned().ok_or_else(|| io::Error::other("the file is closed"))
    }

    /// The handle of a file, opened again if it was given back. `writes`: it is not given back before a sync.
    fn file(&self, file: FileId, writes: bool) -> io::Result<Arc<File>> {
        let entry = self.entry(file)?;
        entry.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut state = entry.state();
        state.dirty |= writes;
        if let Some(handle) = &state.handle {
            return Ok(handle.clone());
        }
        let path = state.path.as_ref().ok_or_else(|| io::Error::other("the file was removed"))?;
        let handle = Arc::new(self.open_with(path, false)?);
        state.handle = Some(handle.clone());
        drop(state);
        self.give_back();
        Ok(handle)
    }

    fn keep(&self, path: &str, handle: File) -> FileId {
        let id = FileId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let lendable = LENT_DIRS.iter().any(|dir| path.starts_with(dir));
        let state = EntryState { path: Some(path.to_owned()), handle: Some(Arc::new(handle)), dirty: false, lendable };
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        let entry = Arc::new(Entry { state: Mutex::new(state), used });
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
        self.give_back();
        id
    }

    /// Closes the handles that were lent longest ago and are above the limit. Who reads from one right now keeps it so long.
    fn give_back(&self) {
        if self.opened.fetch_add(1, Ordering::Relaxed) % LENT_BEFORE_A_LOOK != LENT_BEFORE_A_LOOK - 1 {
            return;
        }
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let mut lent: Vec<(u64, &Arc<Entry>)> = files
            .values()
            .filter(|entry| entry.state().lent())
            .map(|entry| (entry.used.load(Ordering::Relaxed), entry))
            .collect();
        if lent.len() > self.lent_handles {
            lent.sort_unstable_by_key(|(used, _)| *used);
            let above = lent.len() - self.lent_handles;
            for (_, entry) in &lent[..above] {
                let mut state = entry.state();
                if state.lent() {
                    state.handle = None;
                }
            }
        }
    }

    /// Tells everybody who has this name open what became of it.
    fn renamed(&self, from: &str, to: Option<&str>) {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        for entry in files.values() {
            let mut state = entry.state();
            if state.path.as_deref() == Some(from) {
                state.path = to.map(str::to_owned);
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the file that opens files")]
    fn open_with(&self, path: &str, create: bool) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(create).open(self.root.join(path))
    }

    fn directory(&self, dir: &str) -> io::Result<Arc<File>> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = dirs.get(dir) {
            return Ok(open.clone());
        }
        let open = Arc::new(open_directory(&self.root.join(dir))?);
        dirs.insert(dir.to_owned(), open.clone());
        Ok(open)
    }

    #[cfg(test)]
    fn open_handles(&self) -> usize {
        let files = self.files.read().unwrap();
        files.values().filter(|entry| entry.state().handle.is_some()).count()
    }
}

/// How many handles of packs and segments stay open in a process that may have so many open; `None`: as many as it likes.
#[must_use]
pub fn lent_handles(limit: Option<u64>) -> usize {
    let eighth = limit.map_or(MOST_LENT_HANDLES, |limit| usize::try_from(limit / 8).unwrap_or(MOST_LENT_HANDLES));
    eighth.clamp(LENT_HANDLES, MOST_LENT_HANDLES)
}

/// The directories that must be synced so that `root` (absolute) is durable: its parent, and the parent of each that is new.
fn parents_of_new(root: &Path, is_dir: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut parents = Vec::new();
    for parent in root.ancestors().skip(1) {
        parents.push(parent.to_path_buf());
        if is_dir(parent) {
            break;
        }
    }
    parents
}

#[expect(clippy::disallowed_methods, reason = "this is the file that opens files")]
fn open_directory(path: &Path) -> io::Result<File> {
    File::open(path)
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        match fs::create_dir(self.root.join(path)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        self.directory(path).map(|_| ())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(dir))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // Names we give are plain ASCII; others are nobody's business here.
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }

    fn length(&self, path: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.root.join(path))?.len())
    }

    fn create(&self, path: &str) -> io::Result<FileId> {
        self.open_with(path, true).map(|handle| self.keep(path, handle))
    }

    fn open(&self, path: &str) -> io::Result<FileId> {
        self.open_with(path, false).map(|handle| self.keep(path, handle))
    }

    fn close(&self, file: FileId) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&file);
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        Ok(self.file(file, false)?.metadata()?.len())
    }

    fn read_at(&self, file: FileId, offset: u64, length: usize) -> io::Result<Bytes> {
        self.read_buffers.read(&*self.file(file, false)?, offset, length)
    }

    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(file, true)?.write_all_at(bytes, offset)
    }

    fn sync_data(&self, file: FileId) -> io::Result<()> {
        // One caller writes and syncs a file, in turn: nothing is written meanwhile.
        let synced = self.file(file, true)?;
        if !WITHOUT_FSYNC {
            synced.sync_data()?;
        }
        self.entry(file)?.state().dirty = false;
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))?;
        self.renamed(to, None);
        self.renamed(from, Some(to));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.renamed(path, None);
        fs::remove_file(self.root.join(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let directory = self.directory(dir)?;
        if WITHOUT_FSYNC { Ok(()) } else { directory.sync_all() }
    }

    fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::statvfs(&self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { total_bytes: bytes(found.f_blocks), usable_bytes: bytes(found.f_bavail) })
    }

    fn allocate(&self, file: FileId, bytes: u64) -> io::Result<()> {
        let file = self.file(file, true)?;
        Ok(rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, bytes)?)
    }

    fn lend(&self, file: FileId) {
        if let Ok(entry) = self.entry(file) {
            entry.state().lendable = true;
        }
    }

    fn punch(&self, file: FileId, offset: u64, bytes: u64) -> io::Result<()> {
        let file = self.file(file, false)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&*file, hole, offset, bytes)?)
    }
}

/// Version of everything in a data directory. A directory of a newer one is refused and left alone.
pub const FORMAT_VERSION: u32 = 4;

const LOCK_FILE: &str = "LOCK";

/// Why a directory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process owns it: stop that one, or use another directory.
    #[error("{dir} is in use by process {pid}; stop it or choose another directory", dir = dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Whose it is, or "unknown".
        pid: String,
    },
    /// A newer Pagemark wrote it: use that one. Nothing was touched.
    #[error("{dir} has format {found}, this version reads formats up to {FORMAT_VERSION}; use a newer Pagemark", dir = dir.display())]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// The format found.
        found: u32,
    },
    /// A version before the first release wrote it. Nothing was touched.
    #[error(
        "{dir} has format {found}, which only versions before the first release wrote; this one reads format {FORMAT_VERSION}. Copy the data with a client from a broker of that version, or start on an empty directory",
        dir = dir.display()
    )]
    OlderFormat {
        /// The directory.
        dir: PathBuf,
        /// The format found.
        found: u32,
    },
    /// The file system refused.
    #[error("{dir}: {error}", dir = dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// Sole ownership of a data directory, for as long as this value lives. It ends with the process, however that ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the directory. `LOCK` then holds three lines: pid, incarnation, format version.
    ///
    /// # Errors
    /// [`LockError`]; nothing was changed then.
    #[expect(clippy::disallowed_methods, reason = "this is the file that opens files")]
    pub fn take(dir: &Path, incarnation: u64) -> Result<DirLock, LockError> {
        let io_error = |error| LockError::Io { dir: dir.to_path_buf(), error };
        let path = dir.join(LOCK_FILE);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io_error)?;
        let mut text = String::new();
        // What is there is a help to people; an unreadable file is simply written anew.
        let _ = (&mut file).take(1024).read_to_string(&mut text);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = text.lines().find_map(|l| l.strip_prefix("pid ")).unwrap_or("unknown").to_string();
                return Err(LockError::Held { dir: dir.to_path_buf(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(io_error(error)),
        }
        let format = text.lines().find_map(|l| l.strip_prefix("format ")).and_then(|f| f.trim().parse::<u32>().ok());
        if let Some(found) = format.filter(|f| *f > FORMAT_VERSION) {
            return Err(LockError::NewerFormat { dir: dir.to_path_buf(), found });
        }
        if let Some(found) = format.filter(|f| *f < FORMAT_VERSION) {
            return Err(LockError::OlderFormat { dir: dir.to_path_buf(), found });
        }
        let text = format!("pid {}\nincarnation {incarnation:016x}\nformat {FORMAT_VERSION}\n", std::process::id());
        // Over what is there, which has its place on a full disk as well.
        file.write_all_at(text.as_bytes(), 0).map_err(io_error)?;
        file.set_len(text.len() as u64).map_err(io_error)?;
        Ok(DirLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_every_new_directory_is_synced_and_the_nearest_one_always() {
        let there = |path: &Path| path == Path::new("/") || path == Path::new("/var");
        let parents = |root: &str| parents_of_new(Path::new(root), there);
        assert_eq!(parents("/var/lib/a"), [PathBuf::from("/var/lib"), PathBuf::from("/var")]);
        assert_eq!(parents("/var"), [PathBuf::from("/")]);
        assert_eq!(parents("/"), Vec::<PathBuf>::new());
        // A relative path is made absolute first, so that its parent is never the empty path.
        assert_ne!(parents(std::path::absolute("data").unwrap().to_str().unwrap())[0], PathBuf::new());
    }

    #[test]
    fn the_limit_of_the_process_says_how_many_handles_are_lent() {
        assert_eq!(
            [None, Some(100), Some(1024), Some(20_000), Some(1 << 20)].map(lent_handles),
            [4096, 64, 128, 2500, 4096]
        );
    }

    #[test]
    fn however_many_packs_need_few_handles_and_all_can_be_read() {
        let most = LENT_HANDLES + LENT_BEFORE_A_LOOK as usize;
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk { lent_handles: lent_handles(Some(1)), ..RealDisk::new(&dir.path().join("a/b")).unwrap() };
        for name in ["packs", "segments", "log"] {
            disk.create_dir(name).unwrap();
        }
        let write = |path: String, i: u32| {
            let file = disk.create(&path).unwrap();
            disk.write_at(file, 0, &i.to_le_bytes()).unwrap();
            file
        };
        let packs: Vec<FileId> = (0..300)
            .map(|i| {
                let file = write(format!("{}/{i}", ["packs", "segments"][i as usize % 2]), i);
                disk.sync_data(file).unwrap();
                file
            })
            .collect();
        assert!(disk.open_handles() <= most, "{}", disk.open_handles());
        for (i, file) in (0_u32..).zip(&packs) {
            assert_eq!(disk.read_at(*file, 0, 4).unwrap(), i.to_le_bytes()[..]);
        }
        assert!(disk.open_handles() <= most, "{}", disk.open_handles());
        // What waits for a sync keeps its handle, and so does everything that is no pack.
        for i in 0..100 {
            write(format!("packs/unsynced{i}"), i);
            write(format!("log/{i}"), i);
        }
        assert!(disk.open_handles() >= 200, "{}", disk.open_handles());
        disk.remove("packs/0").unwrap();
        assert!(disk.read_at(packs[0], 0, 4).is_err(), "its handle had been given back");
    }
}
