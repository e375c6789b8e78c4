//! Settings as text, and which of them may change while the broker runs.
//!
//! DescribeConfigs shows settings by name and text, and IncrementalAlterConfigs puts other values over those of the start.
//! A changed value makes another [`Settings`]; nothing is changed in place. Deliberately not here: where changes are kept
//! (`metadata/broker_config`).

use std::collections::BTreeMap;

use super::error::Source;
use super::sources::Given;
use super::table::{KEYS, Settings};
use super::value::KeySpec;

/// Settings that may change while the broker runs. Kafka can change these too.
const DYNAMIC: &[&str] = &[
    "compression.gzip.level",
    "compression.type",
    "compression.zstd.level",
    "log.cleanup.policy",
    "log.message.timestamp.after.max.ms",
    "log.message.timestamp.before.max.ms",
    "log.message.timestamp.type",
    "log.retention.bytes",
    "log.retention.ms",
    "log.segment.bytes",
    "max.connections",
    "message.max.bytes",
    "producer.id.expiration.ms",
];

/// Whether the setting may change while the broker runs.
#[must_use]
pub fn is_dynamic(name: &str) -> bool {
    DYNAMIC.contains(&name)
}

/// The row of a setting of ours.
#[must_use]
pub fn spec(name: &str) -> Option<&'static KeySpec> {
    KEYS.iter().find(|spec| spec.name == name)
}

impl Settings {
    /// The text that was given for a setting when the broker started, if any was.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// The text of a setting of ours: what was given, or the default.
    #[must_use]
    pub fn text(&self, spec: &'static KeySpec) -> &str {
        self.given(spec.name).unwrap_or(spec.default)
    }

    /// For how long records are kept where a topic does not say it, in milliseconds; -1 for ever. The finest unit given
    /// counts.
    #[must_use]
    pub fn retention_ms(&self) -> i64 {
        let in_ms = |count: i64, unit_ms: i64| if count < 0 { -1 } else { count.saturating_mul(unit_ms) };
        match (self.log_retention_ms, self.log_retention_minutes) {
            (Some(ms), _) => ms,
            (None, Some(minutes)) => in_ms(minutes, 60_000),
            (None, None) => in_ms(self.log_retention_hours, 3_600_000),
        }
    }

    /// Says that another number of partitions of `__consumer_offsets` counts than was given.
    pub fn keep_offsets_partitions(&mut self, partitions: i32) {
        self.offsets_topic_num_partitions = partitions;
        self.given.insert("offsets.topic.num.partitions", partitions.to_string());
    }

    /// These settings with other values put over them. What is unknown or not allowed (a newer version may have stored it)
    /// is left out with a warning.
    #[must_use]
    pub fn overridden<'a>(&self, changes: impl IntoIterator<Item = (&'a String, &'a String)>) -> Settings {
        let known = self.given.iter().map(|(name, value)| (*name, value.clone()));
        let mut texts: BTreeMap<&'static str, String> = known.collect();
        for (name, value) in changes {
            match spec(name).filter(|spec| spec.allowed.canonical(value).is_some()) {
                Some(spec) => drop(texts.insert(spec.name, value.clone())),
                None => tracing::warn!(name, value, "a stored broker config is not usable; it is left out"),
            }
        }
        let given: Given = texts.into_iter().map(|(name, value)| (name, (value, Source::Set))).collect();
        let mut errors = Vec::new();
        let settings = Settings::from_given(&given, &mut errors);
        errors.iter().for_each(|error| tracing::warn!(%error, "a stored broker config is not usable"));
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finest_unit_of_retention_counts() {
        let given = |pairs: &[(&str, &str)]| {
            let changes: BTreeMap<String, String> =
                pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Settings::default().overridden(&changes).retention_ms()
        };
        assert_eq!(given(&[]), 604_800_000);
        assert_eq!(given(&[("log.retention.hours", "1")]), 3_600_000);
        assert_eq!(given(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]), 120_000);
        assert_eq!(given(&[("log.retention.minutes", "2"), ("log.retention.ms", "3")]), 3);
        assert_eq!(given(&[("log.retention.hours", "-1")]), -1);
    }

    #[test]
    fn every_dynamic_setting_is_one_of_ours_and_takes_its_default() {
        for name in DYNAMIC {
            let spec = spec(name).expect("a row of the table");
            assert_eq!(spec.allowed.canonical(spec.default).as_deref(), Some(spec.default), "{name}");
        }
    }

    #[test]
    fn what_a_newer_version_stored_is_left_out() {
        let changes = BTreeMap::from([
            ("message.max.bytes".to_owned(), "much".to_owned()),
            ("no.such.setting".to_owned(), "1".to_owned()),
            ("max.connections".to_owned(), "7".to_owned()),
        ]);
        let settings = Settings::default().overridden(&changes);
        assert_eq!((settings.max_connections, settings.message_max_bytes), (7, 1_048_588));
    }
}
