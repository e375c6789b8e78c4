//! The reserve: two files without content that keep others from taking the last room on the disk.
//!
//! A machine like the others: it looks how much is free, gives up a part when it is needed and takes it again when there is enough. A
//! start gives up what an earlier life held, so that its first look is the truth. Nothing here ever ends the lane.
//! Deliberately not here: when which part goes (`space.rs`).

use std::io;

use super::lane::Lane;
use super::ops::{DiskOp, OpOutput};
use super::space::Part;
use crate::disk::{Disk, FileId, is_full};

impl Part {
    /// Its file, in the data directory.
    fn path(self) -> &'static str {
        match self {
            Part::First => "reserve",
            Part::Last => "reserve.last",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Whether a part is still there: somebody may have removed it.
    Check(Part),
    Measure,
    Create(Part),
    Allocate(Part, FileId),
    /// It is held. Somebody else would have its place after a power loss if that took its length or its name away.
    Sync(FileId),
    Close(FileId),
    SyncDir,
    /// What was made of it is of no use.
    Abandon(Part, FileId),
    Remove(Part),
}

/// The part of the background that looks after the room.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    step: Option<Step>,
    /// This file system has no reserves.
    hopeless: bool,
    /// Somebody else took the place just now: it is not tried again before another look is due.
    refused: bool,
}

/// Gives back what an earlier life held.
pub(super) fn give_up_at_start(disk: &dyn Disk) {
    for part in [Part::First, Part::Last] {
        match disk.remove(part.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = part.path(), "the reserve of an earlier start could not be given up");
            }
            _ => {}
        }
    }
}

/// Takes the first look.
pub(super) fn look_at_start(disk: &dyn Disk, lane: &mut Lane) {
    lane.space.look_begins();
    match disk.space() {
        Ok(found) => {
            lane.space.measured(found);
            // The background takes the reserve.
            lane.space.due = true;
        }
        Err(error) => tracing::warn!(%error, "the file system does not say how much room there is"),
    }
}

/// The first step of a look: those of these parts that are held, and then the room itself.
fn check_from(lane: &Lane, parts: &[Part]) -> Step {
    parts.iter().find(|part| lane.space.held(**part) > 0).map_or(Step::Measure, |part| Step::Check(*part))
}

impl Reserve {
    /// The next operation, if there is anything to do.
    pub(super) fn poll(&mut self, lane: &mut Lane) -> Option<DiskOp> {
        if self.step.is_none() && lane.space.due {
            self.step = Some(check_from(lane, &[Part::First, Part::Last]));
            self.refused = false;
        }
        Some(match self.step? {
            Step::Check(part) => DiskOp::Length(part.path().to_owned()),
            Step::Measure => {
                lane.space.look_begins();
                DiskOp::Space
            }
            Step::Create(part) => DiskOp::Create(part.path().to_owned()),
            Step::Allocate(part, file) => DiskOp::Allocate { file, bytes: lane.space.size_of(part) },
            Step::Sync(file) => DiskOp::Sync(file),
            Step::SyncDir => DiskOp::SyncDir(""),
            Step::Close(file) | Step::Abandon(_, file) => DiskOp::Close(file),
            Step::Remove(part) => DiskOp::Remove(part.path().to_owned()),
        })
    }

    /// Takes the result of the operation that [`Reserve::poll`] gave.
    pub(super) fn done(&mut self, lane: &mut Lane, result: io::Result<OpOutput>) {
        let Some(step) = self.step.take() else { return };
        self.step = match (step, result) {
            (Step::Check(part), result) => {
                let gone = match result {
                    Ok(OpOutput::Length(length)) => length != lane.space.held(part),
                    Ok(_) => false,
                    Err(error) => error.kind() == io::ErrorKind::NotFound,
                };
                let next = if part == Part::First { check_from(lane, &[Part::Last]) } else { Step::Measure };
                Some(if gone { Step::Remove(part) } else { next })
            }
            (Step::Measure, Ok(OpOutput::Space(found))) => {
                lane.space.measured(found);
                lane.make_room();
                let taken = lane.space.takes().filter(|_| !self.hopeless && !self.refused && !lane.closed);
                lane.space.gives_up().map(Step::Remove).or(taken.map(Step::Create))
            }
            (Step::Measure, _) => {
                // Said at the start already. What is lent goes all the same, so that nothing waits for it for ever.
                lane.space.due = false;
                let given_up = lane.space.gives_up();
                lane.space.lent &= given_up.is_some();
                given_up.map(Step::Remove)
            }
            (Step::Create(part), Ok(OpOutput::File(file))) => Some(Step::Allocate(part, file)),
            (Step::Create(_), Err(error)) => {
                self.fails(&error);
                None
            }
            (Step::Create(_), Ok(_)) => None,
            (Step::Allocate(part, file), Ok(_)) => {
                lane.space.took(part);
                Some(Step::Sync(file))
            }
            (Step::Allocate(part, file), Err(error)) => {
                self.fails(&error);
                Some(Step::Abandon(part, file))
            }
            (Step::Abandon(part, _), _) => Some(Step::Remove(part)),
            // If one fails it is held all the same, as long as no power is lost.
            (Step::Sync(file), _) => Some(Step::Close(file)),
            (Step::Close(_), _) => Some(Step::SyncDir),
            (Step::SyncDir, _) => Some(Step::Measure),
            (Step::Remove(part), result) => {
                match result {
                    // Somebody may have removed it by hand.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(%error, path = part.path(), "a part of the reserve could not be given up");
                        self.hopeless = true;
                        lane.space.lost(part);
                    }
                    _ => lane.space.gave_up(part),
                }
                Some(Step::Measure)
            }
        };
    }

    fn fails(&mut self, error: &io::Error) {
        if is_full(error) {
            self.refused = true;
        } else {
            self.hopeless = true;
            tracing::warn!(%error, "no room on the disk can be reserved; it is counted all the same");
        }
    }
}
