//! Offsets that nobody will continue from: Kafka's rule says when they are old enough (O-50 to O-54), and unless that rule is
//! to count alone, an offset that still marks data stays (O-50a). A group of which nothing is left goes later (O-55).
//!
//! Deliberately not here: when groups are looked at, and which time counts (`coordinator/expiry.rs`); offsets of open
//! transactions.

use std::collections::BTreeSet;

use pagemark_wire::internal::OffsetCommit;
use pagemark_wire::types::{Offset, PartitionIndex};

use super::delete::{keeping_the_group, tombstones};
use crate::coordinator::{GroupState, LogStarts, OffsetRetention, SubscribedTopics, Turn};
use crate::effects::CoordinatorRecord;
use crate::group::{Group, Metadata};
use crate::time::WallMs;

/// Which offsets of a group may expire, and since when their time counts.
enum Rule {
    /// All, since each was committed: a group that never had members, or whose record does not say since when it has none.
    SinceCommit,
    /// All, since the group has no members.
    SinceEmpty(i64),
    /// Those of topics that no member is subscribed to, since each was committed.
    Unsubscribed(BTreeSet<String>),
}

impl Group {
    /// What is to be written because the time is `wall`: tombstones, and a record of the group if they are its last offsets or
    /// if there were none for long enough.
    pub(crate) fn expire(&self, turn: &Turn<'_>, wall: WallMs, log_starts: &LogStarts<'_>) -> Vec<CoordinatorRecord> {
        let Some(rule) = self.expiry_rule() else { return Vec::new() };
        if self.offsets.is_empty() {
            return self.expire_itself(turn, wall);
        }
        let settings = turn.settings;
        let gone = |topic: &str, partition: PartitionIndex, commit: &OffsetCommit| {
            let since_ms = match &rule {
                Rule::SinceCommit => commit.commit_timestamp_ms,
                Rule::SinceEmpty(since_ms) => *since_ms,
                Rule::Unsubscribed(subscribed) if subscribed.contains(topic) => return false,
                Rule::Unsubscribed(_) => commit.commit_timestamp_ms,
            };
            let expires_ms = since_ms.saturating_add(settings.offsets_retention_ms);
            wall.0 >= commit.expire_timestamp_ms.unwrap_or(expires_ms)
                && match settings.offset_retention {
                    OffsetRetention::Time => true,
                    OffsetRetention::WhileData => {
                        log_starts(topic, commit.topic_id, partition).is_some_and(|start: Offset| commit.offset < start)
                    }
                }
        };
        let records = tombstones(self, gone);
        if records.len() == self.offsets.len() && self.may_go(turn) && settings.group_empty_retention_ms == 0 {
            return self.with_itself(records);
        }
        keeping_the_group(self, turn, records)
    }

    fn expiry_rule(&self) -> Option<Rule> {
        match (self.state(), self.subscribed_topics()) {
            (GroupState::Empty, _) if self.protocol_type().is_empty() => Some(Rule::SinceCommit),
            (GroupState::Empty, _) => {
                let since_ms = self.recorded().map_or(-1, |recorded| recorded.current_state_timestamp_ms);
                Some(if since_ms < 0 { Rule::SinceCommit } else { Rule::SinceEmpty(since_ms) })
            }
            (GroupState::Stable, Some(SubscribedTopics::Topics(topics))) => Some(Rule::Unsubscribed(topics)),
            _ => None,
        }
    }

    /// A group without offsets and members goes when it has been so for long enough. Its record says since when: whatever takes
    /// the last offset writes one.
    fn expire_itself(&self, turn: &Turn<'_>, wall: WallMs) -> Vec<CoordinatorRecord> {
        let Some(recorded) = self.recorded().filter(|_| self.may_go(turn)) else { return Vec::new() };
        let since_ms = recorded.current_state_timestamp_ms;
        if since_ms < 0 {
            return vec![self.empty_record(turn, recorded.protocol_type.clone(), recorded.generation)];
        }
        let is_over = wall.0 >= since_ms.saturating_add(turn.settings.group_empty_retention_ms);
        if is_over { self.with_itself(Vec::new()) } else { Vec::new() }
    }

    /// Whether nobody has or wants a place in the group.
    fn may_go(&self, turn: &Turn<'_>) -> bool {
        let nobody_comes = self.roster.pending.first_lapse().is_none_or(|lapse| lapse <= turn.now.mono);
        self.state() == GroupState::Empty && nobody_comes
    }

    fn with_itself(&self, mut records: Vec<CoordinatorRecord>) -> Vec<CoordinatorRecord> {
        if self.metadata != Metadata::Absent {
            records.push(CoordinatorRecord { key: self.metadata_key(), value: None });
        }
        records
    }
}
