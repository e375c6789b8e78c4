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
pub const MAX_MESSAGE_BYTES_LIMIT: i64 = settings::MESSAGE_LIMIT_BYTES;

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

/// Reads one config entry of a topic that is to be created: the value as it is to be kept, which is as whoever uses it reads
/// it, without the spaces and signs that Kafka overlooks.
///
/// # Errors
/// A sentence that says what is wrong and what would be right.
pub fn read_config(name: &str, value: Option<&str>) -> Result<String, String> {
    if !KNOWN_NAMES.contains(&name) {
        return Err(match settings::nearest(name, KNOWN_NAMES.iter().copied()) {
            Some(near) => format!("unknown topic config {name}; did you mean {near}?"),
            None => format!("unknown topic config {name}"),
        });
    }
    let Some(value) = value else { return Err(format!("{name} has no value")) };
    let value = value.trim();
    let whole = |least: i64, most: i64| read_whole(name, value, least, most);
    match name {
        "cleanup.policy" => read_cleanup_policy(value),
        "compression.type" => one_of(name, value, &["producer"], "batches are kept as they were sent: 'producer'"),
        "compression.gzip.level" if value == "-1" => Ok(value.to_owned()),
        "compression.gzip.level" => whole(1, 9),
        "compression.lz4.level" => whole(1, 17),
        "compression.zstd.level" => whole(-131_072, 22),
        "remote.storage.enable" => {
            let read = read_switch(name, value)?;
            one_of(name, &read, &["false"], "there is no tiered storage: 'false'")
        }
        "preallocate" | "remote.log.copy.disable" | "remote.log.delete.on.disable" => read_switch(name, value),
        "message.timestamp.type" => {
            one_of(name, value, &["CreateTime", "LogAppendTime"], "'CreateTime' or 'LogAppendTime'")
        }
        "max.message.bytes" => whole(0, MAX_MESSAGE_BYTES_LIMIT),
        "min.insync.replicas" | "segment.bytes" => whole(1, i64::from(i32::MAX)),
        "index.interval.bytes" | "segment.index.bytes" => whole(0, i64::from(i32::MAX)),
        "retention.ms" | "retention.bytes" => whole(-1, i64::MAX),
        "local.retention.ms" | "local.retention.bytes" | "remote.copy.lag.ms" | "remote.copy.lag.bytes" => {
            whole(-2, i64::MAX)
        }
        "min.cleanable.dirty.ratio" => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(value.to_owned()),
            _ => Err(refused(name, value, "a number from 0 to 1")),
        },
        "leader.replication.throttled.replicas" | "follower.replication.throttled.replicas" => {
            read_throttled_replicas(name, value)
        }
        // The rest are times and counts; `whole` refuses whatever is not a number.
        _ => whole(0, i64::MAX),
    }
}

fn read_cleanup_policy(value: &str) -> Result<String, String> {
    let policies: Vec<&str> = value.split(',').map(str::trim).collect();
    if value.is_empty() || policies.iter().all(|policy| matches!(*policy, "delete" | "compact")) {
        return Ok(policies.join(","));
    }
    Err(refused("cleanup.policy", value, "'delete', 'compact', both with a comma between, or nothing"))
}

fn read_throttled_replicas(name: &str, value: &str) -> Result<String, String> {
    let is_number = |text: &str| text.trim().parse::<u32>().is_ok();
    let is_replica = |entry: &str| entry.split_once(':').is_some_and(|(p, broker)| is_number(p) && is_number(broker));
    if matches!(value, "" | "*" | "none") || value.split(',').all(is_replica) {
        return Ok(value.to_owned());
    }
    Err(refused(name, value, "partition:broker, several separated by commas, or '*', or nothing"))
}

fn read_switch(name: &str, value: &str) -> Result<String, String> {
    let value = value.to_ascii_lowercase();
    one_of(name, &value, &["true", "false"], "'true' or 'false'")
}

fn one_of(name: &str, value: &str, words: &[&str], allowed: &str) -> Result<String, String> {
    if words.contains(&value) { Ok(value.to_owned()) } else { Err(refused(name, value, allowed)) }
}

fn read_whole(name: &str, value: &str, least: i64, most: i64) -> Result<String, String> {
    match value.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number.to_string()),
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
        assert!(read_config("compression.type", Some("zstd")).is_err());
        assert!(read_config("remote.storage.enable", Some("true")).is_err());
        assert!(read_config("max.message.bytes", Some("99999999999")).is_err());
        assert!(read_config("retention.msec", Some("1")).unwrap_err().contains("retention.ms"));
        for name in KNOWN_NAMES.iter().filter(|n| n.contains("replicas") && n.contains("throttled")) {
            for good in ["*", "", "0:1,12:3"] {
                assert_eq!(read_config(name, Some(good)), Ok(good.to_owned()));
            }
        }
        assert_eq!(read_config("cleanup.policy", Some("compact, delete ")), Ok("compact,delete".to_owned()));
        assert_eq!(read_config("min.insync.replicas", Some("2")), Ok("2".to_owned()), "P-28a");
    }

    #[test]
    fn no_config_whatever_is_accepted_unread() {
        for name in KNOWN_NAMES {
            assert!(read_config(name, Some("no such value")).is_err(), "{name}");
            assert!(read_config(name, None).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_kept_is_what_takes_effect() {
        assert_eq!(read_config("preallocate", Some(" TRUE")), Ok("true".to_owned()));
        let kept = |name: &str, value: &str| (name.to_owned(), read_config(name, Some(value)).unwrap());
        let configs = BTreeMap::from([
            kept("max.message.bytes", " +2000000 "),
            kept("message.timestamp.type", " LogAppendTime"),
            kept("cleanup.policy", " compact "),
        ]);
        let produce = ProduceConfig::of(&Settings::default(), &configs);
        assert_eq!(produce.max_message_bytes, 2_000_000);
        assert!(produce.log_append_time() && produce.compacted);
    }
}
