//! Faults that a simulated disk can be told to show, when each strikes, and how often each kind did in each part of the disk.
//!
//! Only faults of the fault model: a call that fails says so. Deliberately not here: bit rot, misdirected writes.

use std::io;

use super::state::{DiskState, Op, parent};

/// A directory of the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `log/`
    Log,
    /// `packs/`
    Packs,
    /// `segments/`
    Segments,
    /// `checkpoints/`
    Checkpoints,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 4] = [Part::Log, Part::Packs, Part::Segments, Part::Checkpoints];

    /// The part that a file lies in.
    #[must_use]
    pub fn of(path: &str) -> Option<Part> {
        Part::of_dir(parent(path))
    }

    fn of_dir(dir: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.dir() == dir)
    }

    fn dir(self) -> &'static str {
        match self {
            Part::Log => "log",
            Part::Packs => "packs",
            Part::Segments => "segments",
            Part::Checkpoints => "checkpoints",
        }
    }
}

/// What goes wrong. A part that is named limits it to calls there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The process or machine dies within the call: it is done in part, and every later call fails.
    Crash,
    /// A `sync_data` fails with EIO: part of what was pending reached the medium, and the rest counts as written from now
    /// on, so that another sync would succeed without it.
    SyncError(Option<Part>),
    /// A `sync_dir` fails with EIO: the oldest of the directory's changes may have reached the medium, the others wait on.
    DirSyncError(Option<Part>),
    /// A write fails with EIO, done in part.
    WriteError(Option<Part>),
    /// Calls that need space fail, up to the I/O numbered `until`.
    DiskFull {
        /// First I/O at which there is space again.
        until: u64,
        /// Whether the disk says so when it is asked. If not, a quota ends before the disk does.
        told: bool,
    },
    /// One call that needs space fails.
    NoSpace(Part),
    /// A read fails with EIO, and may succeed the next time. The first `skip` reads of that part pass.
    BadSector {
        /// Where.
        part: Part,
        /// Reads that pass.
        skip: u64,
    },
    /// A read or an opening fails for a reason that says nothing about what is stored, such as a lack of memory.
    ReadRefused {
        /// Where.
        part: Part,
        /// Calls that pass.
        skip: u64,
    },
}

/// A fault and the I/O from which on it strikes, at the first call it fits; once, but for a full disk. Reads are no I/Os, but
/// come after some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Number of the I/O, from 0.
    pub from_io: u64,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// How often faults struck, by kind and part. What lies in none of the parts is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Struck([[u64; 4]; Struck::KINDS.len()]);

impl Struck {
    /// The kinds that are counted.
    pub const KINDS: [&'static str; 7] =
        ["crash", "sync_error", "dir_sync_error", "write_error", "disk_full", "bad_sector", "read_refused"];

    pub(super) fn note(&mut self, kind: FaultKind, part: Option<Part>) {
        let kind = match kind {
            FaultKind::Crash => 0,
            FaultKind::SyncError(_) => 1,
            FaultKind::DirSyncError(_) => 2,
            FaultKind::WriteError(_) => 3,
            FaultKind::DiskFull { .. } | FaultKind::NoSpace(_) => 4,
            FaultKind::BadSector { .. } => 5,
            FaultKind::ReadRefused { .. } => 6,
        };
        if let Some(part) = part {
            self.0[kind][part as usize] += 1;
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Struck) {
        self.0.iter_mut().flatten().zip(other.0.iter().flatten()).for_each(|(count, more)| *count += more);
    }

    /// How often one kind struck, anywhere.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> u64 {
        self.all().filter(|(of, ..)| *of == kind).map(|(.., count)| count).sum()
    }

    /// Kind, part and count of each.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Part, u64)> {
        let of_kind = |(kind, counts): (&'static str, [u64; 4])| {
            Part::ALL.into_iter().zip(counts).map(move |(part, count)| (kind, part, count))
        };
        Struck::KINDS.into_iter().zip(self.0).flat_map(of_kind)
    }
}

/// The part that an I/O happens in.
pub(super) fn part_of(op: &Op, state: &DiskState) -> Option<Part> {
    match op {
        Op::Write { ino, .. } | Op::Sync { ino } => state.part_of(*ino),
        Op::Create { path, .. } | Op::Remove(path) | Op::Rename { to: path, .. } => Part::of(path),
        Op::SyncDir(dir) | Op::CreateDir(dir) => Part::of_dir(dir),
    }
}

/// The fault that strikes I/O number `index`, if any. One that strikes once is used up.
pub(super) fn strike(faults: &mut Vec<Fault>, index: u64, op: &Op, state: &DiskState) -> Option<FaultKind> {
    faults.retain(|fault| !matches!(fault.kind, FaultKind::DiskFull { until, .. } if until <= index));
    let within = |part: Option<Part>| part.is_none() || part_of(op, state) == part;
    let hit = faults.iter().position(|fault| {
        fault.from_io <= index
            && match fault.kind {
                FaultKind::Crash => true,
                FaultKind::SyncError(part) => matches!(op, Op::Sync { .. }) && within(part),
                FaultKind::DirSyncError(part) => matches!(op, Op::SyncDir(_)) && within(part),
                FaultKind::WriteError(part) => matches!(op, Op::Write { .. }) && within(part),
                FaultKind::DiskFull { .. } => state.needs_space(op),
                FaultKind::NoSpace(part) => state.needs_space(op) && within(Some(part)),
                FaultKind::BadSector { .. } | FaultKind::ReadRefused { .. } => false,
            }
    })?;
    let kind = faults[hit].kind;
    if !matches!(kind, FaultKind::DiskFull { .. }) {
        faults.remove(hit);
    }
    Some(kind)
}

/// Whether the disk says that there is no space before I/O number `index`.
pub(super) fn is_full(faults: &[Fault], index: u64) -> bool {
    let full = |fault: &Fault| match fault.kind {
        FaultKind::DiskFull { until, told } => told && (fault.from_io..until).contains(&index),
        _ => false,
    };
    faults.iter().any(full)
}

/// The fault that strikes a read or an opening of a file after `ios` I/Os, and what the caller is told.
pub(super) fn strike_read(
    faults: &mut Vec<Fault>,
    ios: u64,
    part: Option<Part>,
    opening: bool,
) -> Option<(FaultKind, io::Error)> {
    for at in 0..faults.len() {
        let fault = &mut faults[at];
        let (of, skip, code) = match &mut fault.kind {
            FaultKind::BadSector { part, skip } if !opening => (*part, skip, EIO),
            FaultKind::ReadRefused { part, skip } => (*part, skip, ENOMEM),
            _ => continue,
        };
        if fault.from_io > ios || Some(of) != part {
            continue;
        }
        if *skip == 0 {
            return Some((faults.remove(at).kind, io::Error::from_raw_os_error(code)));
        }
        *skip -= 1;
    }
    None
}

const EIO: i32 = 5;
const ENOMEM: i32 = 12;
