//! Names: which key is ours, which is Kafka's, which is nobody's; and how keys are written in the environment.
//!
//! Deliberately not here: values.

use super::table::KEYS;
use super::value::KeySpec;

/// Names under which Kafka also takes a setting; the first wins nothing against the second when both are given.
const OTHER_NAMES: &[(&str, &str)] = &[("log.dir", "log.dirs"), ("broker.id", "node.id")];

/// Kafka's keys whose continuation is free: they belong to plug-ins.
const PLUG_IN_PREFIXES: &[&str] = &["config.providers.", "rlmm.config.", "rsm.config."];

const KAFKA_KEYS: &str = include_str!("kafka_keys.txt");

/// What a key is.
#[derive(Debug, Clone, Copy)]
pub enum Known {
    /// A setting of ours.
    Ours(&'static KeySpec),
    /// Another name of one of ours, which yields to the first name.
    OtherName(&'static KeySpec),
    /// A setting of Apache Kafka 4.3 that we have no use for.
    KafkaOnly,
    /// Nobody's.
    Unknown,
}

/// What `key` is.
#[must_use]
pub fn lookup(key: &str) -> Known {
    if let Some(spec) = KEYS.iter().find(|spec| spec.name == key) {
        return Known::Ours(spec);
    }
    if let Some((_, name)) = OTHER_NAMES.iter().find(|(other, _)| *other == key) {
        let spec = KEYS.iter().find(|spec| spec.name == *name).expect("other names stand for rows of the table");
        return Known::OtherName(spec);
    }
    if is_kafkas(key) { Known::KafkaOnly } else { Known::Unknown }
}

/// Whether Kafka knows the key: by name, for one listener (`listener.name.NAME.`, perhaps one mechanism of it), or as a plug-in's.
fn is_kafkas(key: &str) -> bool {
    if kafka_keys().any(|known| known == key) || PLUG_IN_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
        return true;
    }
    let Some((_, rest)) = key.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let of_mechanism = rest.split_once('.').map(|(_, last)| last);
    kafka_keys().any(|known| known == rest || Some(known) == of_mechanism)
}

pub(super) fn kafka_keys() -> impl Iterator<Item = &'static str> {
    KAFKA_KEYS.lines().filter(|line| !line.starts_with('#'))
}

/// The known key that looks most like `key`, if any looks like it at all.
pub(super) fn nearest_key(key: &str) -> Option<&'static str> {
    nearest(key, KEYS.iter().map(|spec| spec.name).chain(kafka_keys()))
}

/// Which of `names` looks most like `word`, if any looks like it at all; of equals the first.
#[must_use]
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(f64, &'a str)> = None;
    for name in names {
        let score = strsim::normalized_damerau_levenshtein(name, word);
        if score >= 0.6 && best.is_none_or(|(least, _)| score > least) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

/// How the key is written in the environment: `log.dirs` is `PAGEMARK_LOG_DIRS`, `pagemark.http.listener` is `PAGEMARK_HTTP_LISTENER`.
#[must_use]
pub fn environment_name(key: &str) -> String {
    let short = key.strip_prefix("pagemark.").unwrap_or(key);
    format!("PAGEMARK_{}", short.replace(['.', '-'], "_").to_ascii_uppercase())
}

/// The key that an environment variable stands for, if any.
pub(super) fn key_of_environment(name: &str) -> Option<&'static str> {
    let others = OTHER_NAMES.iter().map(|(other, _)| *other);
    KEYS.iter().map(|spec| spec.name).chain(others).chain(kafka_keys()).find(|key| environment_name(key) == name)
}

/// Whether an environment variable begins like ours and is not: what our own scripts and tracing use, and what Kubernetes
/// puts into every container when a service is called "pagemark".
pub(super) fn is_foreign_environment(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("PAGEMARK_") else { return true };
    matches!(rest, "BIN" | "LOG" | "CONFIG" | "PORT")
        || rest.starts_with("PORT_")
        || rest.contains("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.contains("_PORT_")
        || rest.ends_with("_PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_share_an_environment_variable() {
        let mut keys: Vec<&str> = KEYS.iter().map(|spec| spec.name).chain(kafka_keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut names: Vec<String> = keys.iter().map(|key| environment_name(key)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), keys.len());
    }

    #[test]
    fn no_setting_looks_like_what_kubernetes_sets() {
        for key in KEYS.iter().map(|spec| spec.name).chain(kafka_keys()) {
            assert!(!is_foreign_environment(&environment_name(key)), "{key}");
        }
        for name in
            ["PAGEMARK_PORT", "PAGEMARK_PORT_9092_TCP_ADDR", "PAGEMARK_SERVICE_HOST", "PAGEMARK_HTTP_SERVICE_PORT"]
        {
            assert!(is_foreign_environment(name), "{name}");
        }
    }

    #[test]
    fn settings_of_one_listener_and_of_its_mechanisms_are_kafkas() {
        for key in [
            "listener.name.external.ssl.keystore.location",
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config",
            "rsm.config.anything",
            "process.roles",
            "controller.quorum.voters",
        ] {
            assert!(matches!(lookup(key), Known::KafkaOnly), "{key}");
        }
        for key in ["listener.name.external", "listener.name.external.nonsense", "nonsense", ""] {
            assert!(matches!(lookup(key), Known::Unknown), "{key}");
        }
    }

    #[test]
    fn every_setting_without_our_prefix_is_one_that_kafka_knows() {
        for spec in KEYS.iter().filter(|spec| !spec.name.starts_with("pagemark.")) {
            assert!(kafka_keys().any(|known| known == spec.name), "{} is not a name of Kafka's", spec.name);
        }
    }

    #[test]
    fn a_typing_error_finds_its_word() {
        assert_eq!(nearest_key("log.dris"), Some("log.dirs"));
        assert_eq!(nearest_key("num.partition"), Some("num.partitions"));
        assert_eq!(nearest_key("auto.create.topic.enable"), Some("auto.create.topics.enable"));
        assert_eq!(nearest_key("pagemark.http.listeners"), Some("pagemark.http.listener"));
        assert_eq!(nearest_key("zzz"), None);
    }
}
