//! What a decision has at hand: the time, the settings, and the list of effects it adds to.
//!
//! Deliberately not here: the group that decides.

use bytes::Bytes;
use pagemark_wire::ErrorCode;

use super::{Answer, GroupSettings};
use crate::effects::{After, CoordinatorRecord, Effects, Reply, ReplyTo};
use crate::time::{MonoMs, Now};

pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a GroupSettings,
    pub(crate) effects: Effects,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(now: Now, settings: &'a GroupSettings) -> Turn<'a> {
        Turn { now, settings, effects: Effects::default() }
    }

    pub(crate) fn reply(&mut self, to: ReplyTo, after: After, answer: Answer) {
        self.effects.replies.push(Reply { to, after, answer });
    }

    pub(crate) fn record(&mut self, key: Bytes, value: Option<Bytes>) {
        self.effects.records.push(CoordinatorRecord { key, value });
    }

    /// Adds what one request writes, which is one batch (O-18), unless all of it is too large for one append.
    pub(crate) fn records_of_request(&mut self, records: Vec<CoordinatorRecord>) -> Result<(), ErrorCode> {
        if records.iter().map(CoordinatorRecord::size).sum::<usize>() > self.settings.append_max_bytes {
            return Err(ErrorCode::MessageTooLarge);
        }
        self.effects.records.extend(records);
        Ok(())
    }

    /// The moment this many milliseconds from now; a negative delay counts as none.
    pub(crate) fn in_ms(&self, delay_ms: i32) -> MonoMs {
        self.now.mono.plus(u64::try_from(delay_ms).unwrap_or(0))
    }
}
