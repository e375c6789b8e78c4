//! Offsets whose topic is gone (O-60, O-61, O-63).
//!
//! Deliberately not here: OffsetDelete and DeleteGroups.

use pagemark_wire::internal::{CoordinatorKey, OffsetCommit};
use pagemark_wire::types::Generation;

use super::Stored;
use crate::coordinator::Turn;
use crate::group::{Group, Metadata};

/// Writes a tombstone for every offset that `gone` says has lost its topic. The group stays: one that the log knows by its
/// offsets alone gets a record of its own before the last of them goes (O-63).
pub(crate) fn tombstones(group: &Group, turn: &mut Turn<'_>, gone: &dyn Fn(&str, &OffsetCommit) -> bool) {
    let mut keys = Vec::new();
    for (topic, partitions) in group.offsets.iter() {
        for (partition, stored) in partitions {
            if matches!(stored, Stored::Readable(commit) if gone(topic, commit)) {
                let key = CoordinatorKey::encode_offset_commit(&group.id, topic, *partition);
                keys.push(key.expect("both names came out of such a key"));
            }
        }
    }
    if keys.len() == group.offsets.len() && !keys.is_empty() && group.metadata == Metadata::Absent {
        group.write_empty(turn, String::new(), Generation(0));
    }
    keys.into_iter().for_each(|key| turn.record(key, None));
}
