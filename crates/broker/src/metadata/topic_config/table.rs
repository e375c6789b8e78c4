//! The one definition of every topic config: Kafka's name, default, what is allowed, whose setting it inherits, what it does.
//!
//! These are all that Kafka 4.3 knows (P-28b). Deliberately not here: what takes effect of them (`effective.rs`).

use crate::settings::{Allowed, COMPRESSION_TYPE, GZIP_LEVEL, MESSAGE_LIMIT_BYTES, ZSTD_LEVEL};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct TopicConfigSpec {
    /// Kafka's name.
    pub name: &'static str,
    /// Default where neither the topic nor the broker says anything.
    pub default: &'static str,
    /// What is allowed here.
    pub allowed: Allowed,
    /// The broker setting whose value a topic inherits that says nothing, unless that is without a value in Kafka too.
    pub broker_setting: Option<&'static str>,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Whether it does that here.
    pub effect: Effect,
}

/// What a config does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What its documentation says, from the moment it is set.
    Applied,
    /// It is kept and shown, and changes nothing, for this reason.
    Kept(&'static str),
    /// Other values ask for what is not done here, and are refused; this is done instead.
    Fixed(&'static str),
}

impl TopicConfigSpec {
    /// What DescribeConfigs tells about it.
    #[must_use]
    pub fn documentation(&self) -> String {
        match self.effect {
            Effect::Applied => self.doc.to_owned(),
            Effect::Kept(why) => format!("{} Kept and shown, without effect here: {why}.", self.doc),
            Effect::Fixed(instead) => format!("{} Only '{}' is possible here: {instead}.", self.doc, self.default),
        }
    }
}

/// The row of a config.
#[must_use]
pub fn spec(name: &str) -> Option<&'static TopicConfigSpec> {
    TOPIC_CONFIGS.iter().find(|spec| spec.name == name)
}

const INT_MAX: i64 = i32::MAX as i64;

const fn from(min: i64) -> Allowed {
    Allowed::Whole { min, max: i64::MAX, unit: "" }
}

const fn ms(min: i64) -> Allowed {
    Allowed::Whole { min, max: i64::MAX, unit: "ms" }
}

const fn int(min: i64, max: i64) -> Allowed {
    Allowed::Whole { min, max, unit: "" }
}

const NO_CLEANER: &str = "there is no log cleaner yet";
const EVERY_WRITE: &str = "every write is flushed before it is acknowledged";
const NO_INDEX_FILES: &str = "the index of all batches is in memory";
const ONE_COPY: &str = "there is one copy of every partition";
const NO_TIERS: &str = "there is no tiered storage";
const BY_SIZE: &str = "segments are cut by their size and age alone";

use Effect::{Applied, Fixed, Kept};

macro_rules! topic_configs {
    ($($name:literal = $default:literal, $allowed:expr, $broker:expr, $effect:expr, $doc:literal;)*) => {
        /// Every topic config, by name.
        pub const TOPIC_CONFIGS: &[TopicConfigSpec] = &[$(TopicConfigSpec {
            name: $name,
            default: $default,
            allowed: $allowed,
            broker_setting: $broker,
            doc: $doc,
            effect: $effect,
        },)*];
    };
}

topic_configs! {
    "cleanup.policy" = "delete", Allowed::Words(&["delete", "compact"]), Some("log.cleanup.policy"), Applied,
        "What happens to old records: 'delete' removes by age and size, 'compact' keeps the last record of each key, both \
         do both, and nothing keeps everything. With 'compact' every record needs a key. Nothing is compacted yet.";
    "compression.gzip.level" = "-1", GZIP_LEVEL, Some("compression.gzip.level"), Applied, "How hard the broker tries when it compresses with gzip.";
    "compression.lz4.level" = "9", int(1, 17), Some("compression.lz4.level"), Kept("lz4 is always at its quickest"),
        "How hard the broker tries when it compresses with lz4.";
    "compression.type" = "producer", COMPRESSION_TYPE, Some("compression.type"), Applied,
        "With which codec batches are stored; 'producer' for the one they came with.";
    "compression.zstd.level" = "3", ZSTD_LEVEL, Some("compression.zstd.level"), Applied,
        "How hard the broker tries when it compresses with zstd.";
    "delete.retention.ms" = "86400000", ms(0), Some("log.cleaner.delete.retention.ms"), Kept(NO_CLEANER),
        "How long compaction keeps tombstones, in milliseconds.";
    "file.delete.delay.ms" = "60000", ms(0), Some("log.segment.delete.delay.ms"),
        Kept("files are shared by all topics and used again"),
        "How long a file waits after it was removed from the log, in milliseconds.";
    "flush.messages" = "9223372036854775807", from(1), Some("log.flush.interval.messages"), Kept(EVERY_WRITE),
        "After how many records the log is flushed.";
    "flush.ms" = "9223372036854775807", ms(0), None, Kept(EVERY_WRITE),
        "After how many milliseconds the log is flushed.";
    "follower.replication.throttled.replicas" = "", Allowed::Replicas, None, Kept(ONE_COPY),
        "Replicas whose copying is throttled where they are followers.";
    "index.interval.bytes" = "4096", int(0, INT_MAX), Some("log.index.interval.bytes"), Kept(NO_INDEX_FILES),
        "How many bytes of log lie between two entries of the offset index.";
    "leader.replication.throttled.replicas" = "", Allowed::Replicas, None, Kept(ONE_COPY),
        "Replicas whose copying is throttled where they are leaders.";
    "local.retention.bytes" = "-2", from(-2), Some("log.local.retention.bytes"), Kept(NO_TIERS),
        "How many bytes of a tiered partition stay on this broker; -2 for what retention.bytes says.";
    "local.retention.ms" = "-2", ms(-2), Some("log.local.retention.ms"), Kept(NO_TIERS),
        "How long records of a tiered partition stay on this broker; -2 for what retention.ms says.";
    "max.compaction.lag.ms" = "9223372036854775807", ms(1), Some("log.cleaner.max.compaction.lag.ms"), Kept(NO_CLEANER),
        "After how many milliseconds a record is compacted at the latest.";
    "max.message.bytes" = "1048588", Allowed::Whole { min: 0, max: MESSAGE_LIMIT_BYTES, unit: "bytes" },
        Some("message.max.bytes"), Applied, "The largest record batch, as sent, that is accepted, in bytes.";
    "message.timestamp.after.max.ms" = "3600000", ms(0), Some("log.message.timestamp.after.max.ms"), Applied,
        "How far a producer's timestamp may lie in the future, in milliseconds.";
    "message.timestamp.before.max.ms" = "9223372036854775807", ms(0), Some("log.message.timestamp.before.max.ms"), Applied,
        "How far a producer's timestamp may lie in the past, in milliseconds.";
    "message.timestamp.type" = "CreateTime", Allowed::OneOf(&["CreateTime", "LogAppendTime"]),
        Some("log.message.timestamp.type"), Applied, "Whose time a record carries: the producer's or the broker's.";
    "min.cleanable.dirty.ratio" = "0.5", Allowed::Fraction, Some("log.cleaner.min.cleanable.ratio"), Kept(NO_CLEANER),
        "Which part of a log must be new before it is compacted.";
    "min.compaction.lag.ms" = "0", ms(0), Some("log.cleaner.min.compaction.lag.ms"), Kept(NO_CLEANER),
        "For how many milliseconds a record is not compacted.";
    "min.insync.replicas" = "1", int(1, INT_MAX), Some("min.insync.replicas"), Kept(ONE_COPY),
        "How many replicas must have a record before acks=all is answered.";
    "preallocate" = "false", Allowed::Switch, Some("log.preallocate"), Kept("files of the log are always filled in advance"),
        "Whether files are allocated before they are written.";
    "remote.log.copy.disable" = "false", Allowed::Switch, None, Kept(NO_TIERS),
        "Whether nothing more is copied to the remote tier.";
    "remote.log.delete.on.disable" = "false", Allowed::Switch, None, Kept(NO_TIERS),
        "Whether the remote tier is emptied when it is switched off.";
    "remote.storage.enable" = "false", Allowed::Off, None, Fixed(NO_TIERS),
        "Whether old segments are moved to a remote tier.";
    "retention.bytes" = "-1", from(i64::MIN), Some("log.retention.bytes"), Applied,
        "How many bytes a partition keeps at most, if cleanup.policy has 'delete'; a negative number for no limit.";
    "retention.ms" = "604800000", ms(-1), Some("log.retention.ms"), Applied,
        "For how many milliseconds records are kept, if cleanup.policy has 'delete'; -1 for ever.";
    "segment.bytes" = "1073741824", Allowed::Whole { min: 1024 * 1024, max: INT_MAX, unit: "bytes" },
        Some("log.segment.bytes"), Applied,
        "The size of a segment, in bytes: a batch may not be larger, and old records are removed by the segment.";
    "segment.index.bytes" = "10485760", int(4, INT_MAX), Some("log.index.size.max.bytes"), Kept(NO_INDEX_FILES),
        "The largest size of a segment's index, in bytes.";
    "segment.jitter.ms" = "0", ms(0), None, Kept(BY_SIZE),
        "By how much segment.ms is varied at random, so that not all segments are cut at the same moment.";
    "segment.ms" = "604800000", ms(1), None, Applied,
        "After how many milliseconds a segment is cut although it is not full.";
    "unclean.leader.election.enable" = "false", Allowed::Switch, Some("unclean.leader.election.enable"), Kept(ONE_COPY),
        "Whether a replica that lacks records may become leader.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Known, lookup};

    #[test]
    fn every_default_is_allowed_and_every_broker_setting_is_kafkas_p_28b() {
        assert!(TOPIC_CONFIGS.windows(2).all(|w| w[0].name < w[1].name), "sorted by name");
        for spec in TOPIC_CONFIGS {
            assert_eq!(spec.allowed.canonical(spec.default).as_deref(), Some(spec.default), "{}", spec.name);
            let known = spec.broker_setting.is_none_or(|name| !matches!(lookup(name), Known::Unknown));
            assert!(known, "{}", spec.name);
        }
    }

    #[test]
    fn a_topic_and_its_broker_have_the_same_default_and_type() {
        for spec in TOPIC_CONFIGS {
            let Some(setting) = spec.broker_setting.and_then(crate::settings::spec) else { continue };
            assert_eq!(spec.allowed.config_type(), setting.allowed.config_type(), "{}", spec.name);
            if spec.name != "retention.ms" {
                assert_eq!(spec.default, setting.default, "{}", spec.name);
            }
        }
    }
}
