//! The disk as the engine sees it: a handful of calls, and one implementation over the real file system.
//!
//! This is the only file that opens files. The simulated disk of the `sim` crate implements the same trait and runs the same
//! engine code, so every call here is one point at which a crash is tried. Paths are relative to the data directory, with
//! `/` between parts; directories are made by [`Disk::create_dir`]. Deliberately not here: buffering, caching, mmap.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::{Bytes, BytesMut};

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
}

/// The files below one real directory.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    files: RwLock<BTreeMap<FileId, Arc<File>>>,
    next_id: AtomicU64,
}

impl RealDisk {
    /// Takes a directory, which is made (and its name made durable) if it is not there.
    ///
    /// # Errors
    /// As the file system says.
    pub fn new(root: &Path) -> io::Result<RealDisk> {
        if !root.is_dir() {
            fs::create_dir_all(root)?;
            if let Some(parent) = root.parent().filter(|p| !p.as_os_str().is_empty()) {
                sync_directory(parent)?;
            }
        }
        Ok(RealDisk { root: root.to_path_buf(), files: RwLock::default(), next_id: AtomicU64::new(1) })
    }

    fn file(&self, file: FileId) -> io::Result<Arc<File>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&file).cloned().ok_or_else(|| io::Error::other("the file is closed"))
    }

    fn keep(&self, file: File) -> FileId {
        let id = FileId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(file));
        id
    }

    #[expect(clippy::disallowed_methods, reason = "this is the file that opens files")]
    fn open_with(&self, path: &str, create: bool) -> io::Result<FileId> {
        let file = OpenOptions::new().read(true).write(true).create_new(create).open(self.root.join(path))?;
        Ok(self.keep(file))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the file that opens files")]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        match fs::create_dir(self.root.join(path)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
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

    fn create(&self, path: &str) -> io::Result<FileId> {
        self.open_with(path, true)
    }

    fn open(&self, path: &str) -> io::Result<FileId> {
        self.open_with(path, false)
    }

    fn close(&self, file: FileId) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&file);
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        Ok(self.file(file)?.metadata()?.len())
    }

    fn read_at(&self, file: FileId, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(length);
        self.file(file)?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.freeze())
    }

    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(file)?.write_all_at(bytes, offset)
    }

    fn sync_data(&self, file: FileId) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_directory(&self.root.join(dir))
    }
}

/// Version of everything in a data directory. A directory of a newer one is refused and left alone.
pub const FORMAT_VERSION: u32 = 1;

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
        let text = format!("pid {}\nincarnation {incarnation:016x}\nformat {FORMAT_VERSION}\n", std::process::id());
        file.set_len(0).map_err(io_error)?;
        file.write_all_at(text.as_bytes(), 0).map_err(io_error)?;
        file.flush().map_err(io_error)?;
        Ok(DirLock { _file: file })
    }
}
