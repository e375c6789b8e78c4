//! One disk operation as a value, and what came of it: the only way the engine's machines touch the disk.
//!
//! A machine is polled for its next operation, somebody executes it, and the machine is told the result. Who executes is a
//! matter of `driver.rs`. Deliberately not here: any order of operations.

use std::{fmt, io};

use bytes::Bytes;

use super::checkpoint::Draft;
use super::keeper::Hole;
use crate::disk::{self, Disk, FileId};

/// One call of [`Disk`], or what takes as long and needs the lock as little. Shown, it says how long its bytes are, never what they are: they belong to users, and end up in logs.
#[derive(Clone)]
pub enum DiskOp {
    /// Nothing, but others get the lock meanwhile.
    Pause,
    /// Makes a checkpoint's bytes.
    Encode(Draft),
    /// Makes a file.
    Create(String),
    /// Opens a file.
    Open(String),
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
    /// Reads what a file begins with: an error if it is anything else than these bytes.
    Compare {
        /// Which file.
        file: FileId,
        /// With what.
        bytes: Bytes,
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
    /// Takes the place of so many bytes for a file.
    Allocate {
        /// Which file.
        file: FileId,
        /// How many.
        bytes: u64,
    },
    /// Gives place in a log file back.
    Punch(Hole),
    /// A file is only read from now on, and seldom: its handle need not stay open.
    Lend(FileId),
    /// Asks how long a file is.
    Length(String),
    /// Asks how much room there is.
    Space,
}

impl fmt::Debug for DiskOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskOp::Pause => f.write_str("Pause"),
            DiskOp::Encode(draft) => write!(f, "Encode(checkpoint {})", draft.number()),
            DiskOp::Create(path) => write!(f, "Create({path})"),
            DiskOp::Open(path) => write!(f, "Open({path})"),
            DiskOp::Close(FileId(file)) => write!(f, "Close(file {file})"),
            DiskOp::Write { file: FileId(file), offset, bytes } => {
                write!(f, "Write(file {file}, offset {offset}, {} bytes)", bytes.len())
            }
            DiskOp::Read { file: FileId(file), offset, length } => {
                write!(f, "Read(file {file}, offset {offset}, {length} bytes)")
            }
            DiskOp::Compare { file: FileId(file), bytes } => write!(f, "Compare(file {file}, {} bytes)", bytes.len()),
            DiskOp::Sync(FileId(file)) => write!(f, "Sync(file {file})"),
            DiskOp::SyncDir(dir) => write!(f, "SyncDir({dir})"),
            DiskOp::Rename { from, to } => write!(f, "Rename({from}, {to})"),
            DiskOp::Remove(path) => write!(f, "Remove({path})"),
            DiskOp::Allocate { file: FileId(file), bytes } => write!(f, "Allocate(file {file}, {bytes} bytes)"),
            DiskOp::Punch(hole) => write!(f, "Punch({hole})"),
            DiskOp::Lend(FileId(file)) => write!(f, "Lend(file {file})"),
            DiskOp::Length(path) => write!(f, "Length({path})"),
            DiskOp::Space => f.write_str("Space"),
        }
    }
}

/// What an operation gave. Shown, it says how long its bytes are, like [`DiskOp`].
#[derive(Clone, PartialEq, Eq)]
pub enum OpOutput {
    /// Nothing but success.
    Done,
    /// A file.
    File(FileId),
    /// Bytes.
    Bytes(Bytes),
    /// How long a file is, bytes.
    Length(u64),
    /// How much room there is.
    Space(disk::Space),
}

impl fmt::Debug for OpOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpOutput::Done => f.write_str("Done"),
            OpOutput::File(FileId(file)) => write!(f, "File({file})"),
            OpOutput::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            OpOutput::Length(length) => write!(f, "Length({length})"),
            OpOutput::Space(space) => space.fmt(f),
        }
    }
}

impl DiskOp {
    /// Does it.
    ///
    /// # Errors
    /// What the disk said.
    pub fn execute(&self, disk: &dyn Disk) -> io::Result<OpOutput> {
        match self {
            DiskOp::Create(path) => return disk.create(path).map(OpOutput::File),
            DiskOp::Open(path) => return disk.open(path).map(OpOutput::File),
            DiskOp::Read { file, offset, length } => return disk.read_at(*file, *offset, *length).map(OpOutput::Bytes),
            DiskOp::Encode(draft) => return Ok(OpOutput::Bytes(draft.encode())),
            DiskOp::Compare { file, bytes } => {
                if disk.read_at(*file, 0, bytes.len())? != *bytes {
                    return Err(io::Error::other("read back with other bytes"));
                }
            }
            DiskOp::Pause => {}
            DiskOp::Close(file) => disk.close(*file),
            DiskOp::Write { file, offset, bytes } => disk.write_at(*file, *offset, bytes)?,
            DiskOp::Sync(file) => disk.sync_data(*file)?,
            DiskOp::SyncDir(dir) => disk.sync_dir(dir)?,
            DiskOp::Rename { from, to } => disk.rename(from, to)?,
            DiskOp::Remove(path) => disk.remove(path)?,
            DiskOp::Allocate { file, bytes } => disk.allocate(*file, *bytes)?,
            DiskOp::Punch(hole) => hole.punch(disk)?,
            DiskOp::Lend(file) => disk.lend(*file),
            DiskOp::Length(path) => return disk.length(path).map(OpOutput::Length),
            DiskOp::Space => return disk.space().map(OpOutput::Space),
        }
        Ok(OpOutput::Done)
    }

    /// Whether a failure leaves unknown which names are there, so that nothing may be built on it. A file that could not be
    /// written or synced can simply be left unused.
    pub(super) fn decides_names(&self) -> bool {
        matches!(self, DiskOp::SyncDir(_) | DiskOp::Rename { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_reads_back_with_other_bytes_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk::RealDisk::new(dir.path()).unwrap();
        let file = disk.create("it").unwrap();
        disk.write_at(file, 0, b"as written").unwrap();
        let compare = |bytes: &'static [u8]| DiskOp::Compare { file, bytes: Bytes::from_static(bytes) }.execute(&disk);
        assert!(compare(b"as written").is_ok());
        assert_eq!(compare(b"as meant..").unwrap_err().to_string(), "read back with other bytes");
        assert!(compare(b"as written, and more").is_err(), "it ends before");
    }

    #[test]
    fn what_users_wrote_is_never_shown() {
        let bytes = Bytes::from(vec![b'x'; 1 << 20]);
        let write = DiskOp::Write { file: FileId(3), offset: 4096, bytes: bytes.clone() };
        assert_eq!(format!("{write:?}"), "Write(file 3, offset 4096, 1048576 bytes)");
        assert_eq!(format!("{:?}", OpOutput::Bytes(bytes)), "1048576 bytes");
    }
}
