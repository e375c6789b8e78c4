//! Room on the disk, by accounting: how much is left before a write would fail, who may still use it, and what checkpoints need of it.
//!
//! What is left is what the file system says to be free, with the reserve (`reserve.rs`) and without what the log holds and packs
//! do not yet, since that will need its place once more. A checkpoint is only begun when its place is there, and moves more than it
//! must only where nobody else wants to be. Admission reads one number. `docs/design/0012-disk-full.md` draws the lines.
//! Deliberately not here: who is refused what (the broker).

use super::lane::{CheckpointWish, Lane};
use crate::disk;
use crate::engine::{Headroom, Room};

/// What is kept for the very last: a quarter of the reserve if that is less.
const LAST_BYTES: u64 = 64 << 20;
/// The reserve takes at most this part of the whole file system.
const MOST_OF_ALL: u64 = 4;
/// So much written to the log asks for another look.
const LOOK_AGAIN_BYTES: u64 = 1 << 20;
/// After a checkpoint failed for another reason than room, what is dead asks for none before so many looks: twice as many each time.
const LOOKS_AFTER_A_FAILURE: u64 = 64;
/// It is doubled so often at most.
const MOST_FAILURES: u32 = 6;
/// And so many flushes, where little is written.
const LOOK_AGAIN_FLUSHES: u32 = 16;

/// The parts of the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Given up when room gets scarce, for commits and for what frees room.
    First,
    /// Given up only for a checkpoint that has no other place, and taken again after it.
    Last,
}

/// A checkpoint that is under way.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    /// Log bytes that it covers and the one before does not.
    covered: u64,
    /// The place that was counted for it.
    place: u64,
    /// How much of that it has not written yet.
    to_write: u64,
}

/// What is known of the room, behind the lane's lock.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// How large the reserve is to be at most; 0 for "nothing is ever refused".
    configured: u64,
    /// And how large on a file system of this size.
    wanted: u64,
    /// How large its parts are.
    held: [u64; 2],
    /// What the file system said last.
    free: Option<u64>,
    /// Log bytes accepted in this life; so many when the flush under way began; and so many as the disk has for sure.
    accepted: u64,
    taken: u64,
    landed: u64,
    /// What the disk had for sure when the look under way began, and when the last one did: more may be missing in what it found.
    look_from: u64,
    looked_from: u64,
    /// Log bytes that no complete checkpoint covers.
    unpacked: u64,
    under_way: Option<UnderWay>,
    room: Room,
    /// Flushes since the last look.
    flushes: u32,
    /// Looks taken so far.
    pub looks: u64,
    /// Somebody should look again.
    pub due: bool,
    /// Something has died since a checkpoint was begun.
    died: bool,
    /// A checkpoint waits for so many bytes.
    put_off: Option<u64>,
    /// So many checkpoints in a row found less room than was counted.
    doubt: u32,
    /// So many in a row failed for another reason than room, and before so many looks were taken what is dead asks for none.
    failures: u32,
    rests_until: u64,
    /// What was deleted since lets the next one begin without doubt.
    pardoned: bool,
    /// The one that was put off is to be counted anew.
    again: bool,
    /// The last one met the disk's end, and nobody has looked yet whether the reserve would do.
    met_the_end: bool,
    /// The last part of the reserve is for the checkpoint that is under way or about to begin.
    pub lent: bool,
}

impl Space {
    /// `unpacked`: what the log holds at the start.
    pub(super) fn new(configured: u64, unpacked: u64) -> Space {
        Space { configured, wanted: configured, unpacked, due: true, ..Space::default() }
    }

    /// What the seam tells.
    pub(super) fn told(&self) -> Headroom {
        // What is accepted is written twice: into the log, and into a pack or segment.
        let spare = match (self.room, self.left()) {
            (Room::Enough, Some(left)) if self.wanted > 0 => left.saturating_sub(self.scarce_line()) / 2,
            (Room::Enough, _) => u64::MAX,
            _ => 0,
        };
        Headroom { room: self.room, spare_bytes: spare, free_bytes: self.free, reserved_bytes: self.held.iter().sum() }
    }

    /// A log record was accepted.
    pub(super) fn accepted(&mut self, bytes: u64) {
        self.accepted += bytes;
        self.unpacked += bytes;
        let soon = if self.wanted == 0 { LOOK_AGAIN_BYTES } else { LOOK_AGAIN_BYTES.min(self.wanted / 16) };
        self.due |= self.not_seen() >= soon;
        self.judge();
    }

    /// A flush takes all that was accepted.
    pub(super) fn flush_begins(&mut self) {
        self.taken = self.accepted;
    }

    /// Log bytes that the last look may not have seen.
    fn not_seen(&self) -> u64 {
        self.accepted - self.looked_from
    }

    /// Somebody asks the file system now.
    pub(super) fn look_begins(&mut self) {
        self.look_from = self.landed;
    }

    /// A flush is complete. Others write to the disk and remove from it as well; while room is scarce that is to be seen soon.
    pub(super) fn flushed(&mut self) {
        self.landed = self.taken;
        self.flushes += 1;
        if self.flushes >= LOOK_AGAIN_FLUSHES || self.room != Room::Enough {
            self.due = true;
        }
    }

    /// A checkpoint begins that covers all that was accepted, and for which so much place was counted.
    pub(super) fn checkpoint_begins(&mut self, place: u64) {
        self.under_way = Some(UnderWay { covered: self.unpacked, place, to_write: place });
    }

    /// It has written so much.
    pub(super) fn checkpoint_wrote(&mut self, bytes: u64) {
        if let Some(under_way) = &mut self.under_way {
            under_way.to_write = under_way.to_write.saturating_sub(bytes);
        }
        self.wrote(bytes);
    }

    /// The background has written so much.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.free = self.free.map(|free| free.saturating_sub(bytes));
        self.due = true;
    }

    /// It is complete.
    pub(super) fn checkpoint_done(&mut self) {
        if let Some(UnderWay { covered, .. }) = self.under_way.take() {
            self.unpacked = self.unpacked.saturating_sub(covered);
        }
        self.doubt = 0;
        (self.failures, self.rests_until) = (0, 0);
        self.pardoned = false;
        self.checkpoint_ended();
    }

    /// It was given up; `full`: for want of room, though enough had been counted.
    pub(super) fn checkpoint_gave_up(&mut self, full: bool) {
        if let Some(UnderWay { place, .. }) = self.under_way.take().filter(|_| full) {
            // What was removed will be free again; without doubt the same would be tried for ever.
            self.doubt = (self.doubt + 1).min(32);
            self.pardoned = false;
            self.put_off = Some(place);
            self.met_the_end = true;
        }
        if !full {
            self.rests_until = self.looks + (LOOKS_AFTER_A_FAILURE << self.failures);
            self.failures = (self.failures + 1).min(MOST_FAILURES);
        }
        self.checkpoint_ended();
    }

    fn checkpoint_ended(&mut self) {
        self.lent = false;
        self.due = true;
    }

    pub(super) fn measured(&mut self, found: disk::Space) {
        if found.total_bytes > 0 {
            self.wanted = self.configured.min(found.total_bytes / MOST_OF_ALL);
        }
        self.free = Some(found.usable_bytes);
        self.looked_from = self.look_from;
        self.flushes = 0;
        self.looks += 1;
        self.due = false;
        self.judge();
    }

    /// Whether there is place for a checkpoint of so many bytes. If not, it is put off until there is.
    pub(super) fn admits(&mut self, bytes: u64) -> bool {
        if self.has_place(bytes) {
            return true;
        }
        self.put_off = Some(bytes);
        self.again = false;
        self.lend(bytes);
        false
    }

    /// Lends the reserve to a checkpoint of so many bytes if that helps.
    fn lend(&mut self, bytes: u64) {
        let held = self.held.iter().sum();
        self.lent = held > 0 && self.place_after(bytes, held);
        self.due |= self.lent;
    }

    pub(super) fn has_place(&self, bytes: u64) -> bool {
        self.place_after(bytes, 0)
    }

    /// Whether so many bytes would have their place if so much more were free.
    fn place_after(&self, bytes: u64, given_up: u64) -> bool {
        let Some(free) = self.free else { return true };
        let bytes = bytes.saturating_mul(1 << if self.pardoned { 0 } else { self.doubt });
        bytes.saturating_add(self.last_bytes() / 8) <= free.saturating_add(given_up)
    }

    /// A checkpoint waits for room.
    pub(super) fn puts_off(&self) -> bool {
        self.put_off.is_some()
    }

    /// Something was deleted. If it lay in the log, a checkpoint needs less than was counted and makes more room.
    pub(super) fn something_died(&mut self) {
        self.died = true;
        self.rests_until = 0;
        self.due |= self.is_scarce();
        if self.put_off.take().is_some() {
            self.pardoned = true;
            self.again = true;
            self.due = true;
        }
    }

    /// The last checkpoint failed for another reason than room: one that is begun now would fail as well.
    fn rests(&self) -> bool {
        self.looks < self.rests_until
    }

    /// What was found before counts no more.
    pub(super) fn begins_anew(&mut self) {
        self.put_off = None;
        self.doubt = 0;
    }

    /// A checkpoint that was put off has its place now, as far as one can say. If it has not, the reserve may still be lent to it,
    /// and is not any more when all of it was given up in vain.
    fn has_place_again(&mut self) -> bool {
        let Some(bytes) = self.put_off else { return std::mem::take(&mut self.again) };
        let met_the_end = std::mem::take(&mut self.met_the_end);
        if self.has_place(bytes) {
            self.put_off = None;
            return true;
        }
        if met_the_end {
            self.lend(bytes);
        }
        self.lent &= self.held != [0, 0];
        false
    }

    /// How much a checkpoint may move of what need not move.
    pub(super) fn spare_for_moves(&self) -> u64 {
        match (self.free, self.left()) {
            (Some(free), Some(left)) => match self.room {
                Room::Enough => left.saturating_sub(self.scarce_line()),
                // What is moved now makes room later.
                Room::Scarce | Room::Exhausted => free.saturating_sub(self.unpacked) / 2,
            },
            _ => u64::MAX,
        }
    }

    /// Whether the next log file can be filled with zeros, and what the log holds still finds its place.
    pub(super) fn may_fill(&self, bytes: u64) -> bool {
        self.free.is_none_or(|free| free >= bytes.saturating_add(self.to_come()))
    }

    pub(super) fn is_scarce(&self) -> bool {
        self.room != Room::Enough
    }

    /// What the log holds and packs do not yet, and what was written into it since the last look.
    fn to_come(&self) -> u64 {
        let to_pack = match self.under_way {
            Some(UnderWay { covered, to_write, .. }) => self.unpacked.saturating_sub(covered).saturating_add(to_write),
            None => self.unpacked,
        };
        to_pack.saturating_add(self.not_seen())
    }

    /// Bytes that may still be written, the reserve included.
    fn left(&self) -> Option<u64> {
        let there = self.free?.saturating_add(self.held.iter().sum());
        Some(there.saturating_sub(self.to_come()))
    }

    fn last_bytes(&self) -> u64 {
        LAST_BYTES.min(self.wanted / 4)
    }

    /// With less left than this, records are refused: the reserve, and so much as the log may grow before anybody looks.
    fn scarce_line(&self) -> u64 {
        self.wanted + self.last_bytes()
    }

    /// And with less than this commits are.
    fn exhausted_line(&self) -> u64 {
        2 * self.last_bytes()
    }

    /// While the first part of the reserve is held, commits cannot have it: with less than this beside it they wait until it is given
    /// up. The log would meet the end of the disk in front of it.
    fn beside_line(&self) -> u64 {
        self.last_bytes() + self.last_bytes() / 2
    }

    /// Draws the lines anew. The way back is a little longer than the way there, so that nobody is refused and let in by turns.
    fn judge(&mut self) {
        let Some(left) = self.left() else { return };
        let back = |line: u64, is_below: bool| if is_below { line + line / 16 } else { line };
        let was_exhausted = self.room == Room::Exhausted;
        let first = self.held(Part::First);
        let blocked = first > 0 && left < back(self.beside_line(), was_exhausted).saturating_add(first);
        let room = if blocked || left < back(self.exhausted_line(), was_exhausted) {
            Room::Exhausted
        } else if left < back(self.scarce_line(), self.room != Room::Enough) {
            Room::Scarce
        } else {
            Room::Enough
        };
        if room == self.room {
            return;
        }
        let (left_mib, reserve_mib) = (left >> 20, self.wanted >> 20);
        match room {
            Room::Enough => tracing::info!(left_mib, "there is room on the disk again; everything is taken"),
            Room::Scarce => tracing::warn!(
                left_mib,
                reserve_mib,
                "the disk is nearly full: records and new topics are refused, commits go on in the reserve; delete topics or records, shorten a retention, or enlarge the disk"
            ),
            Room::Exhausted => tracing::error!(
                left_mib,
                reserve_mib,
                "the disk is full: records, new topics and commits are refused; delete topics or records, shorten a retention, or enlarge the disk"
            ),
        }
        self.room = room;
        // The reserve may have to be given up before anything else can be written.
        self.due |= room != Room::Enough;
    }

    /// How large a part of the reserve is to be.
    pub(super) fn size_of(&self, part: Part) -> u64 {
        match part {
            Part::First => self.wanted - self.last_bytes(),
            Part::Last => self.last_bytes(),
        }
    }

    pub(super) fn held(&self, part: Part) -> u64 {
        self.held[part as usize]
    }

    /// A part was taken: what it holds is free no more, before anybody looks again.
    pub(super) fn took(&mut self, part: Part) {
        let bytes = self.size_of(part);
        self.held[part as usize] = bytes;
        self.free = self.free.map(|free| free.saturating_sub(bytes));
    }

    /// A part was given up: what it held is free.
    pub(super) fn gave_up(&mut self, part: Part) {
        let bytes = self.lost(part);
        self.free = self.free.map(|free| free.saturating_add(bytes));
    }

    /// Nobody knows what became of a part of so many bytes.
    pub(super) fn lost(&mut self, part: Part) -> u64 {
        std::mem::take(&mut self.held[part as usize])
    }

    /// The part that is to be given up now.
    pub(super) fn gives_up(&self) -> Option<Part> {
        // Where others were quicker the last part alone may not do.
        let not_enough = self.held(Part::Last) == 0 && self.put_off.is_some_and(|bytes| !self.has_place(bytes));
        let goes = |part: &Part| match part {
            Part::First => self.is_scarce() || (self.lent && not_enough) || self.is_outgrown(*part),
            Part::Last => self.lent || self.is_outgrown(*part),
        };
        [Part::First, Part::Last].into_iter().filter(|part| self.held(*part) > 0).find(goes)
    }

    /// The file system was enlarged: a part is to be taken anew, larger, and all of the reserve has its place. A little larger is
    /// not worth it; some file systems say another size each time.
    fn is_outgrown(&self, part: Part) -> bool {
        let (held, line) = (self.held(part), self.scarce_line());
        !self.lent && held + held / 16 < self.size_of(part) && self.left().is_some_and(|left| left >= line + line / 16)
    }

    /// The part that may be taken: there is that much beyond everything else, and as much again as nobody looks.
    pub(super) fn takes(&self) -> Option<Part> {
        let spare = self.free.unwrap_or(0).saturating_sub(self.to_come());
        if self.wanted == 0 || self.lent {
            return None;
        }
        if self.held(Part::Last) == 0 {
            return (spare >= self.exhausted_line()).then_some(Part::Last);
        }
        let whole = self.held(Part::First) == 0 && !self.is_scarce() && spare >= self.wanted;
        whole.then_some(Part::First)
    }
}

impl Lane {
    /// After a look: a checkpoint that waited for room is wanted again when it is there, and where room is scarce so is every one that
    /// gives some free.
    pub(super) fn make_room(&mut self) {
        if self.space.has_place_again() {
            self.wish = self.wish.max(CheckpointWish::Wanted);
        }
        self.wish_for_dead_files();
    }

    /// Wants another checkpoint if much lies in files that only the retained ones still need: each frees what it drops. Where room is
    /// scarce every such file counts, and of the log those that the older of the two retained alone needs. Not soon after one failed, or
    /// every look would begin the next.
    pub(super) fn wish_for_dead_files(&mut self) {
        if self.space.rests() {
            return;
        }
        let dying = self.stored.dying_bytes();
        let wanted = if self.space.is_scarce() {
            let died = std::mem::take(&mut self.space.died);
            let newest = self.retained.last().map_or(0, |newest| newest.position.generation);
            died || dying > 0 || self.files.range(..newest).next().is_some()
        } else {
            dying >= self.options.checkpoint_bytes
        };
        if wanted {
            self.wish = self.wish.max(CheckpointWish::Wanted);
        }
    }

    /// How much the log grows between two checkpoints. Where room is scarce by one file at most, so that its files are used again soon,
    /// and by so little that the last part of the reserve has place for what is moved and for the checkpoint itself.
    pub(super) fn checkpoint_bytes(&self) -> u64 {
        let usual = self.options.checkpoint_bytes;
        if self.space.is_scarce() {
            usual.min(self.options.log_file_bytes).min(self.space.last_bytes() / 2)
        } else {
            usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn look(space: &mut Space, free: u64) {
        space.flush_begins();
        space.flushed();
        space.look_begins();
        space.measured(disk::Space { usable_bytes: free, total_bytes: 0 });
    }

    fn space(wanted: u64, free: u64) -> Space {
        let mut space = Space::new(wanted, 0);
        look(&mut space, free);
        space
    }

    #[test]
    fn the_lines_are_drawn_by_what_is_free_reserved_and_still_to_be_packed() {
        let (none, whole) = ([0, 0], [448 * MIB, 64 * MIB]);
        let room = |free, held, unpacked| {
            let mut space = Space { held, ..Space::new(512 * MIB, unpacked) };
            look(&mut space, free);
            space.room
        };
        assert_eq!(room(576 * MIB, none, 0), Room::Enough);
        assert_eq!(room(576 * MIB - 1, none, 0), Room::Scarce);
        assert_eq!(room(64 * MIB, whole, 0), Room::Enough, "nobody else can take the reserve");
        assert_eq!(room(64 * MIB - 1, whole, 0), Room::Scarce, "the log needs some place before anybody looks again");
        assert_eq!(room(164 * MIB, whole, 101 * MIB), Room::Scarce, "the log's batches need another place");
        assert_eq!(room(128 * MIB, none, 0), Room::Scarce);
        assert_eq!(room(128 * MIB - 1, none, 0), Room::Exhausted);
    }

    /// The simulation met it where a checkpoint had just ended: the reserve was whole again, commits were taken on the strength of it,
    /// and the log came to the disk's end before anybody had given it up.
    #[test]
    fn commits_are_not_taken_into_a_reserve_that_is_still_held_r_98() {
        let mut space = Space { held: [12 * MIB, 4 * MIB], ..Space::new(16 * MIB, 0) };
        look(&mut space, 4 * MIB);
        assert_eq!((space.room, space.due), (Room::Enough, false));
        space.accepted(MIB / 2);
        assert_eq!(
            (space.room, space.due),
            (Room::Scarce, true),
            "it is to be given up, and there is some room until then"
        );
        space.accepted(MIB / 2 + 1);
        assert_eq!((space.room, space.gives_up()), (Room::Exhausted, Some(Part::First)));
        space.gave_up(Part::First);
        look(&mut space, 15 * MIB);
        assert_eq!(space.room, Room::Scarce, "now it is theirs");
    }

    /// While it was taken its bytes counted twice, as free and as held, and records were let in that had no place. While it was
    /// given up they counted as neither, and a commit that came before the next look was refused.
    #[test]
    fn what_is_left_stays_the_same_while_the_reserve_is_taken_or_given_up_r_98() {
        let mut space = space(16 * MIB, 40 * MIB);
        for part in [Part::Last, Part::First] {
            space.took(part);
            assert_eq!((space.left(), space.told().spare_bytes), (Some(40 * MIB), 10 * MIB), "{part:?}");
        }
        assert_eq!(space.free, Some(24 * MIB));
        look(&mut space, MIB);
        assert_eq!((space.room, space.gives_up()), (Room::Exhausted, Some(Part::First)));
        space.gave_up(Part::First);
        space.accepted(1);
        assert_eq!(space.room, Room::Scarce, "commits have it before anybody looks");
        space.gave_up(Part::Last);
        assert_eq!((space.free, space.left()), (Some(17 * MIB), Some(17 * MIB - 2)));
        assert_eq!(space.told().reserved_bytes, 0);
    }

    #[test]
    fn on_a_disk_that_was_enlarged_the_reserve_grows_without_a_restart() {
        let mut space = Space::new(512 * MIB, 0);
        let look = |space: &mut Space, free, total| {
            space.measured(disk::Space { usable_bytes: free * MIB, total_bytes: total * MIB });
        };
        look(&mut space, 300, 400);
        for part in [Part::Last, Part::First] {
            assert_eq!(space.takes(), Some(part));
            space.took(part);
        }
        assert_eq!((space.told().reserved_bytes, space.gives_up(), space.takes()), (100 * MIB, None, None));
        look(&mut space, 200, 401);
        assert_eq!(space.gives_up(), None, "not for so little: a file system may say something else each time");
        look(&mut space, 500, 4000);
        assert_eq!((space.room, space.gives_up()), (Room::Enough, None), "it would have no place");
        look(&mut space, 3800, 4000);
        for part in [Part::First, Part::Last] {
            assert_eq!(space.gives_up(), Some(part));
            space.gave_up(part);
        }
        for part in [Part::Last, Part::First] {
            assert_eq!((space.gives_up(), space.takes()), (None, Some(part)));
            space.took(part);
        }
        assert_eq!((space.told().reserved_bytes, space.gives_up(), space.takes()), (512 * MIB, None, None));
    }

    #[test]
    fn after_a_failed_checkpoint_what_is_dead_asks_for_none_longer_each_time_until_something_is_deleted() {
        let mut space = space(16 * MIB, 10 * MIB);
        for rest in [64, 128, 256] {
            space.checkpoint_begins(MIB);
            space.checkpoint_gave_up(false);
            for _ in 0..rest {
                assert!(space.rests());
                look(&mut space, 10 * MIB);
            }
            assert!(!space.rests(), "after {rest} looks");
        }
        space.checkpoint_gave_up(false);
        assert!(space.rests());
        space.something_died();
        assert!(!space.rests());
    }

    #[test]
    fn what_is_accepted_counts_at_once_and_asks_for_another_look() {
        let mut space = space(16 * MIB, 21 * MIB);
        assert!(!space.due);
        assert_eq!(space.told().spare_bytes, MIB / 2);
        space.accepted(MIB / 2);
        assert_eq!(space.room, Room::Enough, "half for the log, half for a pack");
        space.accepted(1);
        assert_eq!((space.room, space.told().spare_bytes), (Room::Scarce, 0));
        space.accepted(MIB);
        assert!(space.due);
    }

    #[test]
    fn what_lies_in_memory_when_somebody_looks_is_not_forgotten() {
        let mut space = space(16 * MIB, 40 * MIB);
        space.accepted(MIB);
        space.flush_begins();
        space.accepted(MIB);
        space.look_begins();
        space.flushed();
        let found = disk::Space { usable_bytes: 40 * MIB, total_bytes: 0 };
        space.measured(found);
        assert_eq!(space.left(), Some(36 * MIB), "the flush was complete only after the look");
        space.look_begins();
        space.measured(disk::Space { usable_bytes: 39 * MIB, ..found });
        assert_eq!(space.left(), Some(36 * MIB));
    }

    #[test]
    fn the_way_back_is_longer_than_the_way_there() {
        let mut space = space(16 * MIB, 20 * MIB - 1);
        for (free, room) in [(20 * MIB, Room::Scarce), (22 * MIB, Room::Enough), (20 * MIB, Room::Enough)] {
            look(&mut space, free);
            assert_eq!(space.room, room, "{free}");
        }
    }

    #[test]
    fn a_small_disk_has_a_small_reserve_and_without_one_nothing_is_refused() {
        let mut small = Space::new(512 * MIB, 0);
        small.measured(disk::Space { usable_bytes: 20 * MIB, total_bytes: 40 * MIB });
        assert_eq!((small.room, small.wanted), (Room::Enough, 10 * MIB));
        let none = space(0, 0);
        assert_eq!((none.room, none.told().spare_bytes), (Room::Enough, u64::MAX));
        assert_eq!(Space::new(512 * MIB, 0).told().room, Room::Enough, "before the first look");
    }

    #[test]
    fn the_first_part_is_for_commits_and_the_last_for_a_checkpoint_without_another_place() {
        let mut space = space(16 * MIB, 40 * MIB);
        assert_eq!(space.takes(), Some(Part::Last), "it may be needed first");
        space.took(Part::Last);
        look(&mut space, 36 * MIB);
        assert_eq!(space.takes(), Some(Part::First));
        space.took(Part::First);
        look(&mut space, 4 * MIB);
        assert_eq!((space.room, space.gives_up(), space.takes()), (Room::Enough, None, None));
        look(&mut space, MIB);
        assert_eq!((space.room, space.gives_up()), (Room::Exhausted, Some(Part::First)), "nobody has it yet");
        space.gave_up(Part::First);
        look(&mut space, 13 * MIB);
        assert_eq!((space.room, space.gives_up()), (Room::Scarce, None));
        look(&mut space, 0);
        assert_eq!((space.room, space.gives_up()), (Room::Exhausted, None));
        assert!(!space.admits(8 * MIB) && !space.lent, "it would not do");
        assert!(!space.admits(MIB) && space.lent);
        assert_eq!(space.gives_up(), Some(Part::Last));
        space.gave_up(Part::Last);
        look(&mut space, 4 * MIB);
        assert!(space.has_place_again() && !space.puts_off());
        assert_eq!(space.takes(), None, "it is in use");
        space.checkpoint_done();
        look(&mut space, 9 * MIB);
        assert_eq!(space.takes(), Some(Part::Last));
    }

    #[test]
    fn a_checkpoint_that_found_less_room_than_was_counted_is_not_tried_for_ever() {
        let mut space = space(0, 100 * MIB);
        let mut tries = 0;
        while space.admits(MIB) {
            space.checkpoint_begins(MIB);
            space.checkpoint_gave_up(true);
            look(&mut space, 100 * MIB);
            tries += 1;
            assert_eq!(space.has_place_again(), space.doubt < 7);
        }
        assert_eq!(tries, 7);
        space.something_died();
        assert!(space.due && space.has_place_again() && space.admits(MIB), "it is counted anew");
        space.checkpoint_begins(MIB);
        space.checkpoint_gave_up(true);
        look(&mut space, 100 * MIB);
        assert!(!space.has_place_again() && !space.admits(MIB), "once");
        look(&mut space, 300 * MIB);
        assert!(space.has_place_again() && space.admits(MIB));
        space.checkpoint_done();
        assert_eq!(space.doubt, 0);
    }

    #[test]
    fn a_reserve_that_was_lent_in_vain_is_taken_again() {
        let mut space = space(16 * MIB, 4 * MIB);
        space.took(Part::Last);
        assert!(!space.admits(2 * MIB) && space.lent);
        assert_eq!(space.gives_up(), Some(Part::Last));
        space.gave_up(Part::Last);
        look(&mut space, MIB);
        assert!(!space.has_place_again() && !space.lent, "others were quicker, and nothing is left to lend");
        look(&mut space, 8 * MIB);
        assert!(space.has_place_again());
        assert_eq!(space.takes(), Some(Part::Last));
    }

    #[test]
    fn all_of_the_reserve_is_lent_where_the_last_part_does_not_do() {
        let mut space = space(16 * MIB, 40 * MIB);
        space.took(Part::First);
        space.took(Part::Last);
        look(&mut space, 4 * MIB);
        assert_eq!(space.room, Room::Enough);
        assert!(!space.admits(10 * MIB) && space.lent);
        assert_eq!(space.gives_up(), Some(Part::Last));
        space.gave_up(Part::Last);
        look(&mut space, 8 * MIB);
        assert!(!space.has_place_again() && space.lent);
        assert_eq!((space.gives_up(), space.takes()), (Some(Part::First), None));
        space.gave_up(Part::First);
        look(&mut space, 20 * MIB);
        assert!(space.has_place_again());
    }

    #[test]
    fn a_checkpoint_that_met_the_end_of_the_disk_may_have_the_reserve() {
        let mut space = space(16 * MIB, 6 * MIB);
        space.took(Part::Last);
        assert!(space.admits(MIB));
        space.checkpoint_begins(MIB);
        space.checkpoint_gave_up(true);
        look(&mut space, 0);
        assert!(!space.has_place_again() && space.lent, "somebody else took what there was");
    }

    #[test]
    fn what_a_checkpoint_has_still_to_write_counts_until_it_is_written() {
        let mut space = Space::new(16 * MIB, 8 * MIB);
        look(&mut space, 30 * MIB);
        assert_eq!(space.left(), Some(22 * MIB));
        space.checkpoint_begins(6 * MIB);
        assert_eq!(space.left(), Some(24 * MIB), "it was counted more closely");
        space.accepted(MIB);
        assert_eq!(space.left(), Some(22 * MIB));
        space.checkpoint_wrote(6 * MIB);
        assert_eq!(space.left(), Some(22 * MIB), "known before anybody looks");
        look(&mut space, 23 * MIB);
        assert_eq!(space.left(), Some(22 * MIB));
        space.checkpoint_done();
        assert_eq!((space.left(), space.unpacked), (Some(22 * MIB), MIB));
    }
}
