//! The disk as the engine sees it: a handful of calls, and one implementation over the real file system.
//!
//! This is the only file that opens files. The simulated disk of the `sim` crate implements the same trait and runs the same
//! engine code, so every call here is one point at which a crash is tried. Paths are relative to the data directory, with
//! `/` between parts; directories are made by [`Disk::create_dir`]. Deliberately not here: buffering, caching, mmap.

use std::io;

use bytes::Bytes;

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
