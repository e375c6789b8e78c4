//! A topic's configuration: which names there are, which values are legal, and what takes effect on a produce.
//!
//! Every name that Kafka 4.3 knows is accepted and kept (P-28b). A value that asks for something this broker does not do is
//! refused, never ignored. Deliberately not here: retention and compaction, which are accepted but not yet carried out.

use std::collections::BTreeMap;

use pagemark_core::time::WallMs;
use pagemark_wire::records::{BatchRules, DEFAULT_MAX_DECOMPRESSED_BYTES, DEFAULT_SEGMENT_BYTES, TimestampType};

use crate::settings::{self, Settings};

/// Names of Kafka 4.3's topic configs.
pub const KNOWN_NAMES: [&str; 34] = [
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.copy.lag.bytes",
    "remote.copy.lag.ms",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
];

/// Most bytes that a batch may have and still fit into one log record with its frame.
pub const MAX_MESSAGE_BYTES_LIMIT: i64 = 32 * 1024 * 1024 - 4096;

/// What of a topic's configuration decides about a produced batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceConfig {
    max_message_bytes: usize,
    segment_bytes: usize,
    timestamp_type: TimestampType,
    timestamp_before_max_ms: i64,
    timestamp_after_max_ms: i64,
    compacted: bool,
}

impl ProduceConfig {
    /// The broker's defaults, overridden by the topic's own values.
    #[must_use]
    pub fn of(settings: &Settings, configs: &BTreeMap<String, String>) -> ProduceConfig {
        let number = |name: &str, default: i64| configs.get(name).and_then(|v| v.parse().ok()).unwrap_or(default);
        let own_time = configs.get("message.timestamp.type").map(String::as_str);
        let append_time = match own_time {
            Some(kind) => kind == "LogAppendTime",
            None => settings.log_message_timestamp_type == settings::TimestampType::LogAppendTime,
        };
        ProduceConfig {
            max_message_bytes: number("max.message.bytes", settings.message_max_bytes) as usize,
            segment_bytes: number("segment.bytes", DEFAULT_SEGMENT_BYTES as i64) as usize,
            timestamp_type: if append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            timestamp_before_max_ms: number(
                "message.timestamp.before.max.ms",
                settings.log_message_timestamp_before_max_ms,
            ),
            timestamp_after_max_ms: number(
                "message.timestamp.after.max.ms",
                settings.log_message_timestamp_after_max_ms,
            ),
            compacted: configs.get("cleanup.policy").is_some_and(|v| v.split(',').any(|p| p.trim() == "compact")),
        }
    }

    /// Whether the broker's clock gives the timestamps.
    #[must_use]
    pub fn log_append_time(&self) -> bool {
        self.timestamp_type == TimestampType::LogAppendTime
    }

    /// The rules for a batch of a Produce request of this version, at this time.
    #[must_use]
    pub fn rules(&self, produce_version: i16, has_transactional_id: bool, now: WallMs) -> BatchRules {
        BatchRules {
            produce_version,
            has_transactional_id,
            max_message_bytes: self.max_message_bytes,
            segment_bytes: self.segment_bytes,
            max_decompressed_bytes: DEFAULT_MAX_DECOMPRESSED_BYTES,
            compacted: self.compacted,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            now_ms: now.0,
        }
    }
}

/// Judges one config entry of a topic that is to be created.
///
/// # Errors
/// A sentence that says what is wrong and what would be right.
pub fn check_config(name: &str, value: Option<&str>) -> Result<(), String> {
    if !KNOWN_NAMES.contains(&name) {
        return Err(match settings::nearest(name, KNOWN_NAMES.iter().copied()) {
            Some(near) => format!("unknown topic config {name}; did you mean {near}?"),
            None => format!("unknown topic config {name}"),
        });
    }
    let Some(value) = value else { return Err(format!("{name} has no value")) };
    match name {
        "cleanup.policy" => check_cleanup_policy(value),
        "compression.type" if value == "producer" => Ok(()),
        "compression.type" => Err(refused(name, value, "batches are kept as they were sent: 'producer'")),
        "remote.storage.enable" if value == "false" => Ok(()),
        "remote.storage.enable" => Err(refused(name, value, "there is no tiered storage: 'false'")),
        "message.timestamp.type" if matches!(value, "CreateTime" | "LogAppendTime") => Ok(()),
        "message.timestamp.type" => Err(refused(name, value, "'CreateTime' or 'LogAppendTime'")),
        "max.message.bytes" => in_range(name, value, 0, MAX_MESSAGE_BYTES_LIMIT),
        "min.insync.replicas" => in_range(name, value, 1, i64::from(i32::MAX)),
        "retention.ms" | "retention.bytes" => in_range(name, value, -1, i64::MAX),
        "min.cleanable.dirty.ratio" => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
            _ => Err(refused(name, value, "a number from 0 to 1")),
        },
        "message.timestamp.before.max.ms"
        | "message.timestamp.after.max.ms"
        | "delete.retention.ms"
        | "file.delete.delay.ms"
        | "flush.messages"
        | "flush.ms"
        | "max.compaction.lag.ms"
        | "min.compaction.lag.ms"
        | "segment.jitter.ms"
        | "segment.ms"
        | "index.interval.bytes"
        | "segment.index.bytes" => in_range(name, value, 0, i64::MAX),
        "segment.bytes" => in_range(name, value, 1, i64::from(i32::MAX)),
        _ => Ok(()),
    }
}

fn check_cleanup_policy(value: &str) -> Result<(), String> {
    let known = |policy: &str| matches!(policy.trim(), "delete" | "compact");
    if value.is_empty() || value.split(',').all(known) {
        return Ok(());
    }
    Err(refused("cleanup.policy", value, "'delete', 'compact', both with a comma between, or nothing"))
}

fn in_range(name: &str, value: &str, least: i64, most: i64) -> Result<(), String> {
    match value.trim().parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(refused(name, value, &format!("a whole number from {least} to {most}"))),
    }
}

fn refused(name: &str, value: &str, allowed: &str) -> String {
    let shown: String = value.chars().take(64).collect();
    format!("{name}={shown:?} is not possible here; allowed: {allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_refused_and_never_ignored_r_23() {
        assert!(check_config("compression.type", Some("zstd")).is_err());
        assert!(check_config("remote.storage.enable", Some("true")).is_err());
        assert!(check_config("max.message.bytes", Some("99999999999")).is_err());
        assert!(check_config("retention.msec", Some("1")).unwrap_err().contains("retention.ms"));
        for name in KNOWN_NAMES.iter().filter(|n| n.contains("replicas") && n.contains("throttled")) {
            assert_eq!(check_config(name, Some("*")), Ok(()));
        }
        assert_eq!(check_config("cleanup.policy", Some("compact,delete")), Ok(()));
        assert_eq!(check_config("min.insync.replicas", Some("2")), Ok(()), "P-28a");
    }
}
