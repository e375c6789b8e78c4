//! What of a topic's configuration takes effect, as typed values: its own where it has one, the broker's where not.
//!
//! Produce reads the rules for batches here, retention what is to be kept, the storage engine how large a segment is.
//! Deliberately not here: retention and compaction themselves.

use std::collections::BTreeMap;

use pagemark_core::partition::Retention;
use pagemark_core::time::WallMs;
use pagemark_storage::engine::SegmentLimit;
use pagemark_wire::records::{BatchRules, Compression, DEFAULT_MAX_DECOMPRESSED_BYTES, Effort, TimestampType};

use super::table::TopicConfigSpec;
use crate::settings::{self, Settings};

/// Kafka's default of `segment.ms`: a log that grows slowly has its old data in a segment of its own after so long.
const DEFAULT_SEGMENT_MS: i64 = 7 * 24 * 3_600_000;

/// The effective configuration of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicConfig {
    max_message_bytes: usize,
    segment_bytes: usize,
    segment_ms: i64,
    stored_with: Option<Effort>,
    timestamp_type: TimestampType,
    timestamp_before_max_ms: i64,
    timestamp_after_max_ms: i64,
    retention_ms: i64,
    retention_bytes: i64,
    is_deleting: bool,
    is_compacted: bool,
}

impl TopicConfig {
    /// The broker's values, overridden by the topic's own.
    #[must_use]
    pub fn of(settings: &Settings, own: &BTreeMap<String, String>) -> TopicConfig {
        let number = |name: &str, inherited: i64| own.get(name).and_then(|v| v.parse().ok()).unwrap_or(inherited);
        let append_time = match own.get("message.timestamp.type") {
            Some(kind) => kind == "LogAppendTime",
            None => settings.log_message_timestamp_type == settings::TimestampType::LogAppendTime,
        };
        let codec = Compression::of_topic(own.get("compression.type").unwrap_or(&settings.compression_type));
        let stored_with = codec.map(|codec| Effort {
            codec,
            level: match codec {
                Compression::Gzip => Some(number("compression.gzip.level", settings.compression_gzip_level) as i32),
                Compression::Zstd => Some(number("compression.zstd.level", settings.compression_zstd_level) as i32),
                Compression::None | Compression::Snappy | Compression::Lz4 => None,
            },
        });
        let policies = own.get("cleanup.policy").unwrap_or(&settings.log_cleanup_policy);
        let has_policy = |policy: &str| policies.split(',').any(|p| p.trim() == policy);
        TopicConfig {
            max_message_bytes: number("max.message.bytes", settings.message_max_bytes) as usize,
            segment_bytes: number("segment.bytes", settings.log_segment_bytes) as usize,
            segment_ms: number("segment.ms", DEFAULT_SEGMENT_MS),
            stored_with,
            timestamp_type: if append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            timestamp_before_max_ms: number(
                "message.timestamp.before.max.ms",
                settings.log_message_timestamp_before_max_ms,
            ),
            timestamp_after_max_ms: number(
                "message.timestamp.after.max.ms",
                settings.log_message_timestamp_after_max_ms,
            ),
            retention_ms: number("retention.ms", settings.retention_ms()),
            retention_bytes: number("retention.bytes", settings.log_retention_bytes),
            is_deleting: has_policy("delete"),
            is_compacted: has_policy("compact"),
        }
    }

    /// Whether the broker's clock gives the timestamps.
    #[must_use]
    pub fn log_append_time(&self) -> bool {
        self.timestamp_type == TimestampType::LogAppendTime
    }

    /// `compression.type` where it is not `producer`: how batches are stored, however they came.
    #[must_use]
    pub fn stored_with(&self) -> Option<Effort> {
        self.stored_with
    }

    /// Where segments end: `segment.bytes` and `segment.ms`.
    #[must_use]
    pub fn segment_limit(&self) -> SegmentLimit {
        SegmentLimit { bytes: self.segment_bytes as u64, ms: self.segment_ms }
    }

    /// `retention.ms`: how old records may become, in milliseconds; `None` if age removes nothing.
    #[must_use]
    pub fn retention_ms(&self) -> Option<u64> {
        u64::try_from(self.retention_ms).ok().filter(|_| self.is_deleting)
    }

    /// `retention.bytes`: how large a partition may become; `None` if size removes nothing.
    #[must_use]
    pub fn retention_bytes(&self) -> Option<u64> {
        u64::try_from(self.retention_bytes).ok().filter(|_| self.is_deleting)
    }

    /// Whether `cleanup.policy` has `delete`.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.is_deleting
    }

    /// How long and how much is kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention { retention_ms: self.retention_ms(), retention_bytes: self.retention_bytes() }
    }

    /// Whether `cleanup.policy` has `compact`, so that every record needs a key.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.is_compacted
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
            compacted: self.is_compacted,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            now_ms: now.0,
        }
    }
}

impl TopicConfigSpec {
    /// The value that a topic inherits that has none of its own, as text.
    #[must_use]
    pub fn inherited(&self, settings: &Settings) -> String {
        if self.name == "retention.ms" {
            // The only one that the broker may say in three units.
            return settings.retention_ms().to_string();
        }
        let setting = self.broker_setting.and_then(settings::spec);
        setting.map_or(self.default, |setting| settings.text(setting)).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TOPIC_CONFIGS, read_config};
    use super::*;

    fn with(own: &[(&str, &str)]) -> TopicConfig {
        let kept = |(name, value): &(&str, &str)| ((*name).to_owned(), read_config(name, value).unwrap());
        TopicConfig::of(&Settings::default(), &own.iter().map(kept).collect())
    }

    #[test]
    fn what_is_kept_is_what_takes_effect() {
        let config = with(&[
            ("max.message.bytes", " +2000000 "),
            ("message.timestamp.type", " LogAppendTime"),
            ("cleanup.policy", " compact "),
        ]);
        assert_eq!(config.max_message_bytes, 2_000_000);
        assert!(config.log_append_time() && config.is_compacted());
    }

    #[test]
    fn the_defaults_of_the_table_are_those_that_take_effect() {
        let defaults = TOPIC_CONFIGS.iter().map(|spec| (spec.name, spec.default)).collect::<Vec<_>>();
        assert_eq!(with(&defaults), with(&[]));
        for spec in TOPIC_CONFIGS {
            assert_eq!(spec.inherited(&Settings::default()), spec.default, "{}", spec.name);
        }
    }

    #[test]
    fn retention_removes_only_where_the_policy_says_delete_r_83() {
        let retention = |own: &[(&str, &str)]| {
            let config = with(own);
            (config.retention_ms(), config.retention_bytes())
        };
        assert_eq!(retention(&[]), (Some(604_800_000), None));
        assert_eq!(retention(&[("retention.ms", "0"), ("retention.bytes", "5")]), (Some(0), Some(5)));
        assert_eq!(retention(&[("retention.ms", "-1"), ("retention.bytes", "-7")]), (None, None));
        assert_eq!(retention(&[("cleanup.policy", ""), ("retention.bytes", "5")]), (None, None));
        assert_eq!(retention(&[("cleanup.policy", "compact"), ("retention.bytes", "5")]), (None, None));
        assert_eq!(retention(&[("cleanup.policy", "compact,delete")]).0, Some(604_800_000));
    }
}
