//! The log of a run: every request, every answer and every I/O with its simulated time, so that two runs can be compared.
//!
//! Deliberately not here: what it means; that is the history.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pagemark_storage::disk::{Disk, FileId, Space};

use super::host::now_us;
use crate::disk::SimDisk;

/// Lines, in the order in which things happened.
#[derive(Debug, Default)]
pub struct Trace(Mutex<Vec<String>>);

impl Trace {
    /// Adds a line.
    pub fn note(&self, what: &str) {
        let line = format!("{:>12} {what}", now_us());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// All lines.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A disk that notes every call which changes something.
pub struct TracedDisk {
    disk: Arc<SimDisk>,
    trace: Arc<Trace>,
}

impl TracedDisk {
    /// The same disk, with notes.
    #[must_use]
    pub fn new(disk: Arc<SimDisk>, trace: Arc<Trace>) -> TracedDisk {
        TracedDisk { disk, trace }
    }

    fn noted<T>(&self, what: &str, result: io::Result<T>) -> io::Result<T> {
        let end = result.as_ref().err().map_or(String::new(), |error| format!(": {error}"));
        self.trace.note(&format!("disk {what}{end}"));
        result
    }
}

impl Disk for TracedDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.noted(&format!("create_dir {path}"), self.disk.create_dir(path))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &str) -> io::Result<FileId> {
        self.noted(&format!("create {path}"), self.disk.create(path))
    }

    fn open(&self, path: &str) -> io::Result<FileId> {
        self.noted(&format!("open {path}"), self.disk.open(path))
    }

    fn close(&self, file: FileId) {
        self.disk.close(file);
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        self.disk.len(file)
    }

    fn read_at(&self, file: FileId, offset: u64, length: usize) -> io::Result<Bytes> {
        self.noted(&format!("read {} {offset} {length}", file.0), self.disk.read_at(file, offset, length))
    }

    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let what = format!("write {} {offset} {} {:08x}", file.0, bytes.len(), crc32c::crc32c(bytes));
        self.noted(&what, self.disk.write_at(file, offset, bytes))
    }

    fn sync_data(&self, file: FileId) -> io::Result<()> {
        self.noted(&format!("sync {}", file.0), self.disk.sync_data(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.noted(&format!("rename {from} {to}"), self.disk.rename(from, to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.noted(&format!("remove {path}"), self.disk.remove(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.noted(&format!("sync_dir {dir}"), self.disk.sync_dir(dir))
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }

    fn allocate(&self, file: FileId, bytes: u64) -> io::Result<()> {
        self.noted(&format!("allocate {} {bytes}", file.0), self.disk.allocate(file, bytes))
    }
}
