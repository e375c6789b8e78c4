//! One partition of `__consumer_offsets` and all groups in it.
//!
//! Deliberately not here: what a request means to a group (`group/`).

use std::sync::Arc;

use pagemark_wire::ErrorCode;
use pagemark_wire::types::{Offset, TopicId};

use super::{Answer, GroupSettings, GroupState, Request};
use crate::effects::{Effects, Reply, ReplyTo};
use crate::time::{MonoMs, Now};

/// What became of a record given to [`GroupShard::replay`]; everything but `Applied` deserves one line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// It is part of the state now.
    Applied,
    /// A record type that this broker does not know, skipped (O-73).
    UnknownType(i16),
    /// A key that cannot be read, skipped.
    MalformedKey,
    /// The value is of a newer version: calls that need it are answered COORDINATOR_NOT_AVAILABLE (O-73).
    NewerVersion(i16),
    /// The value of a known key cannot be read: treated as a newer version is.
    MalformedValue,
}

/// One group in numbers, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupSummary<'a> {
    /// Its id.
    pub group_id: &'a str,
    /// Its state.
    pub state: GroupState,
    /// Number of members, joining ones included.
    pub members: usize,
    /// Number of committed offsets.
    pub offsets: usize,
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupShard {
    settings: Arc<GroupSettings>,
}

impl GroupShard {
    /// An empty shard, to be filled by [`GroupShard::replay`] and opened by [`GroupShard::finish_load`].
    #[must_use]
    pub fn new(settings: Arc<GroupSettings>) -> GroupShard {
        GroupShard { settings }
    }

    /// Decides about a request. The records handed back must be appended and replayed before anything else is asked.
    /// A reply may come later, from another call: a member waits parked for its group.
    pub fn handle(&mut self, now: Now, to: ReplyTo, request: Request) -> Effects {
        let _ = (now, to, request, &self.settings);
        todo!()
    }

    /// Takes one record of the shard's partition into the state. `offset` is its offset.
    pub fn replay(&mut self, offset: Offset, key: &[u8], value: Option<&[u8]>) -> Replayed {
        let _ = (offset, key, value);
        todo!()
    }

    /// Opens the shard once everything is replayed: every timer runs from full length (G-7).
    pub fn finish_load(&mut self, now: Now) -> Effects {
        let _ = now;
        todo!()
    }

    /// The answer while the log is still being read: heartbeats are fine, all else is to be tried again (G-4).
    #[must_use]
    pub fn while_loading(request: &Request) -> Answer {
        match request {
            Request::Heartbeat(_) => Answer::Heartbeat(ErrorCode::None),
            _ => Answer::to_refused(request, ErrorCode::CoordinatorLoadInProgress),
        }
    }

    /// The answer to a request that cannot be served: this one error everywhere (G-3, O-19).
    #[must_use]
    pub fn unavailable(request: &Request, code: ErrorCode) -> Answer {
        Answer::to_refused(request, code)
    }

    /// Refuses everyone who is parked; for a shard about to be thrown away.
    pub fn abandon(&mut self, code: ErrorCode) -> Vec<Reply> {
        let _ = code;
        todo!()
    }

    /// When [`GroupShard::on_deadline`] wants to be called; may be early, never late.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonoMs> {
        todo!()
    }

    /// Does what is due by `now`. When `stalled` (an append has been outstanding for over a second) nobody is expired and
    /// what is due is put off (G-9).
    pub fn on_deadline(&mut self, now: Now, stalled: bool) -> Effects {
        let _ = (now, stalled);
        todo!()
    }

    /// A topic is gone: so are its offsets, in every group; the groups stay (O-60, O-61).
    pub fn topic_deleted(&mut self, now: Now, topic: TopicId, name: &str) -> Effects {
        let _ = (now, topic, name);
        todo!()
    }

    /// After a load: removes offsets whose stored topic id names no topic any more, should a deletion have been cut short.
    pub fn drop_offsets_of_missing_topics(&mut self, now: Now, exists: &dyn Fn(TopicId) -> bool) -> Effects {
        let _ = (now, exists);
        todo!()
    }

    /// Every group in numbers, by id.
    pub fn summaries(&self) -> impl Iterator<Item = GroupSummary<'_>> {
        std::iter::empty()
    }

    /// The durable state in a canonical text: equal for equal states, whatever way led there.
    #[must_use]
    pub fn dump(&self) -> String {
        todo!()
    }
}
