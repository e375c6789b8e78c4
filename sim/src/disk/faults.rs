//! Faults that a simulated disk can be told to show, and when each strikes.
//!
//! Only faults of the fault model: a call that fails says so. Deliberately not here: bit rot, misdirected writes.

use super::state::{DiskState, Op};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The process or machine dies within the call: it is done in part, and every later call fails.
    Crash,
    /// A `sync_data` fails with EIO: part of what was pending reached the medium, and the rest counts as written from now
    /// on, so that another sync would succeed without it.
    SyncError,
    /// The same of a segment's `sync_data`: those are rare among all syncs.
    SegmentSyncError,
    /// A `sync_dir` fails with EIO: the oldest of the directory's changes may have reached the medium, the others wait on.
    DirSyncError,
    /// A write fails with EIO, done in part.
    WriteError,
    /// Calls that need space fail, up to the I/O numbered `until`.
    DiskFull {
        /// First I/O at which there is space again.
        until: u64,
    },
}

/// A fault and the I/O from which on it strikes, at the first call it fits; once, but for a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Number of the I/O, from 0.
    pub from_io: u64,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// The fault that strikes I/O number `index`, if any. One that strikes once is used up.
pub(super) fn strike(faults: &mut Vec<Fault>, index: u64, op: &Op, state: &DiskState) -> Option<FaultKind> {
    faults.retain(|fault| !matches!(fault.kind, FaultKind::DiskFull { until } if until <= index));
    let hit = faults.iter().position(|fault| {
        fault.from_io <= index
            && match fault.kind {
                FaultKind::Crash => true,
                FaultKind::SyncError => matches!(op, Op::Sync { .. }),
                FaultKind::SegmentSyncError => matches!(op, Op::Sync { ino } if state.lies_in(*ino, "segments")),
                FaultKind::DirSyncError => matches!(op, Op::SyncDir(_)),
                FaultKind::WriteError => matches!(op, Op::Write { .. }),
                FaultKind::DiskFull { .. } => state.needs_space(op),
            }
    })?;
    let kind = faults[hit].kind;
    if !matches!(kind, FaultKind::DiskFull { .. }) {
        faults.remove(hit);
    }
    Some(kind)
}

/// Whether there is no space before I/O number `index`.
pub(super) fn is_full(faults: &[Fault], index: u64) -> bool {
    let full =
        |fault: &Fault| matches!(fault.kind, FaultKind::DiskFull { until } if (fault.from_io..until).contains(&index));
    faults.iter().any(full)
}
