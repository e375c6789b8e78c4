//! A topic's configuration: which configs there are, which values are legal, what a topic inherits, and what takes effect.
//!
//! Every name that Kafka 4.3 knows is accepted and kept (P-28b). A value that asks for something this broker does not do is
//! refused, never ignored. CreateTopics and the APIs that alter configs judge by the same function.
//! Deliberately not here: who may change a config, and when it is durable (`metadata/configs`).

mod effective;
mod table;

use std::collections::BTreeMap;

pub use effective::TopicConfig;
pub use table::{Effect, TOPIC_CONFIGS, TopicConfigSpec, spec};

use crate::settings;

/// Reads one config entry of a topic: the value as it is to be kept.
///
/// # Errors
/// A sentence that says what is wrong and what would be right.
pub fn read_config(name: &str, value: &str) -> Result<String, String> {
    let Some(spec) = spec(name) else { return Err(unknown_name(name)) };
    spec.allowed.canonical(value).ok_or_else(|| {
        let allowed = spec.allowed.in_words();
        match spec.effect {
            Effect::Fixed(instead) => {
                format!("Invalid value {} for configuration {name}: {instead}; allowed: {allowed}", shown(value))
            }
            Effect::Applied | Effect::Kept(_) => {
                format!("Invalid value {} for configuration {name}; allowed: {allowed}", shown(value))
            }
        }
    })
}

/// Judges all values that a topic is to have together.
///
/// # Errors
/// As [`read_config`].
pub fn check_together(configs: &BTreeMap<String, String>) -> Result<(), String> {
    let number = |name: &str| {
        let default = spec(name).map_or("", |spec| spec.default);
        configs.get(name).map_or(default, String::as_str).parse::<i64>().ok()
    };
    let (least, most) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    match (least, most) {
        (Some(least), Some(most)) if least > most => {
            Err(format!("min.compaction.lag.ms ({least}) must not exceed max.compaction.lag.ms ({most})"))
        }
        _ => Ok(()),
    }
}

/// What to say of a name that nobody knows.
#[must_use]
pub fn unknown_name(name: &str) -> String {
    // A request may bring such names by the thousand: only those are compared that may be meant.
    const MOST_TYPED_WRONG: usize = 3;
    let similar = TOPIC_CONFIGS.iter().filter(|spec| spec.name.len().abs_diff(name.len()) <= MOST_TYPED_WRONG);
    match settings::nearest(&shown(name), similar.map(|spec| spec.name)) {
        Some(near) => format!("Unknown topic config name: {}; did you mean {near}?", shown(name)),
        None => format!("Unknown topic config name: {}", shown(name)),
    }
}

/// As much of a text of a client's as a message should hold: it may have 32 KiB.
#[must_use]
pub fn shown(text: &str) -> String {
    const MOST_CHARS: usize = 64;
    text.chars().take(MOST_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_refused_and_never_ignored_r_23() {
        let tiered = read_config("remote.storage.enable", "true").unwrap_err();
        assert!(tiered.contains("no tiered storage"), "{tiered}");
        assert!(read_config("max.message.bytes", "99999999999").is_err());
        assert!(read_config("retention.msec", "1").unwrap_err().contains("retention.ms"));
        for name in ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"] {
            for good in ["*", "", "0:1,12:3"] {
                assert_eq!(read_config(name, good), Ok(good.to_owned()));
            }
        }
        assert_eq!(read_config("cleanup.policy", "compact, delete "), Ok("compact,delete".to_owned()));
        assert_eq!(read_config("cleanup.policy", ""), Ok(String::new()), "R-83");
        assert!(read_config("cleanup.policy", "compact,,delete").is_err());
        assert_eq!(read_config("min.insync.replicas", "2"), Ok("2".to_owned()), "P-28a");
    }

    #[test]
    fn no_config_whatever_is_accepted_unread() {
        for spec in TOPIC_CONFIGS {
            assert!(read_config(spec.name, "no such value").is_err(), "{}", spec.name);
        }
    }

    #[test]
    fn lags_of_compaction_that_contradict_each_other_are_refused() {
        let configs = |least: &str, most: &str| {
            BTreeMap::from([
                ("min.compaction.lag.ms".to_owned(), least.to_owned()),
                ("max.compaction.lag.ms".to_owned(), most.to_owned()),
            ])
        };
        assert!(check_together(&configs("9", "5")).is_err());
        assert_eq!(check_together(&configs("5", "5")), Ok(()));
        assert_eq!(check_together(&BTreeMap::new()), Ok(()));
    }

    #[test]
    fn a_long_text_of_a_client_is_not_repeated_whole() {
        assert!(read_config("retention.ms", &"\u{e4}".repeat(30_000)).unwrap_err().len() < 400);
        assert!(read_config(&"x".repeat(30_000), "1").unwrap_err().len() < 400);
    }
}
