//! The settings that group decisions depend on, as plain data under Kafka's names.
//!
//! Deliberately not here: where they come from; the broker reads and checks them.

use super::OffsetRetention;
use crate::planted::PlantedBug;

/// Settings of every group of a broker. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`: least session timeout a classic member may ask for.
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`: greatest session timeout a classic member may ask for.
    pub group_max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for more members; 0 disables.
    pub group_initial_rebalance_delay_ms: u64,
    /// `group.max.size`: greatest number of members of a group.
    pub group_max_size: usize,
    /// `offset.metadata.max.bytes`: longest metadata of a commit. In UTF-16 code units, whatever its name says (O-6).
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`: how old offsets become that nobody uses, milliseconds (O-50).
    pub offsets_retention_ms: i64,
    /// `pagemark.offsets.retention.policy`: what makes them stay all the same (O-50a).
    pub offset_retention: OffsetRetention,
    /// `pagemark.group.empty.retention.ms`: how long a group stays that has neither members nor offsets; 0: not at all (O-55).
    pub group_empty_retention_ms: i64,
    /// Greatest total size of the keys and values that one request may have written, in bytes (R-12, O-19).
    pub append_max_bytes: usize,
    /// Which planted bug is active. Has no effect without the feature `planted-bugs`.
    pub planted: Option<PlantedBug>,
}

impl Default for GroupSettings {
    /// Kafka's defaults, and ours where Kafka has no such setting.
    fn default() -> Self {
        GroupSettings {
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_initial_rebalance_delay_ms: 3_000,
            group_max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            offset_retention: OffsetRetention::WhileData,
            group_empty_retention_ms: 7 * 24 * 3_600_000,
            append_max_bytes: 8 << 20,
            planted: None,
        }
    }
}
