//! One disk operation as a value, and what came of it: the only way the engine's machines touch the disk.
//!
//! A machine is polled for its next operation, somebody executes it, and the machine is told the result. Who executes is a
//! matter of `driver.rs`. Deliberately not here: any order of operations.

use std::io;

use bytes::Bytes;

use crate::disk::{Disk, FileId};

/// One call of [`Disk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskOp {
    /// Makes a file.
    Create(String),
    /// Closes a file.
    Close(FileId),
    /// Writes bytes.
    Write {
        /// Which file.
        file: FileId,
        /// Where.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Reads bytes.
    Read {
        /// Which file.
        file: FileId,
        /// Where.
        offset: u64,
        /// How many.
        length: usize,
    },
    /// Makes a file's bytes durable.
    Sync(FileId),
    /// Makes a directory's names durable.
    SyncDir(&'static str),
    /// Gives a file another name.
    Rename {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// Removes a name.
    Remove(String),
}

/// What an operation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpOutput {
    /// Nothing but success.
    Done,
    /// A file.
    File(FileId),
    /// Bytes.
    Bytes(Bytes),
}

impl DiskOp {
    /// Does it.
    ///
    /// # Errors
    /// What the disk said.
    pub fn execute(&self, disk: &dyn Disk) -> io::Result<OpOutput> {
        match self {
            DiskOp::Create(path) => return disk.create(path).map(OpOutput::File),
            DiskOp::Read { file, offset, length } => return disk.read_at(*file, *offset, *length).map(OpOutput::Bytes),
            DiskOp::Close(file) => disk.close(*file),
            DiskOp::Write { file, offset, bytes } => disk.write_at(*file, *offset, bytes)?,
            DiskOp::Sync(file) => disk.sync_data(*file)?,
            DiskOp::SyncDir(dir) => disk.sync_dir(dir)?,
            DiskOp::Rename { from, to } => disk.rename(from, to)?,
            DiskOp::Remove(path) => disk.remove(path)?,
        }
        Ok(OpOutput::Done)
    }

    /// Whether a failure leaves unknown which names are there, so that nothing may be built on it. A file that could not be
    /// written or synced can simply be left unused.
    pub(super) fn decides_names(&self) -> bool {
        matches!(self, DiskOp::SyncDir(_) | DiskOp::Rename { .. })
    }
}
