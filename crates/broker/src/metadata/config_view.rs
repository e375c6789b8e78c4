//! Configs as they are shown: each with its value, where the value comes from, and what it hides.
//!
//! Deliberately not here: numbers and versions of the wire (`api/describe_configs`, `api/create_topics`).

use std::collections::BTreeMap;

use super::broker_config::BrokerConfig;
use super::topic_config::{TOPIC_CONFIGS, TopicConfigSpec};
use crate::settings::{self, Allowed, ConfigType, KEYS, KeySpec};

/// Where a value comes from, with Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// The topic's own.
    Topic = 1,
    /// Changed for this broker while it ran.
    Broker = 2,
    /// Changed for all brokers while they ran.
    AllBrokers = 3,
    /// Given when the broker started.
    Start = 4,
    /// Nobody said anything.
    Default = 5,
}

/// One value that counts, or would count if those before it were not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// The name it has there.
    pub name: &'static str,
    /// The value; `None` for "not set".
    pub value: Option<String>,
    /// Where.
    pub source: ConfigSource,
}

/// One config.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: &'static str,
    /// The value that counts; `None` for "not set".
    pub value: Option<String>,
    /// Where that comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed while the broker runs.
    pub is_read_only: bool,
    /// Its type.
    pub config_type: ConfigType,
    /// All that say something, the one that counts first.
    pub synonyms: Vec<Synonym>,
    described_by: DescribedBy,
}

/// The row of a table that says what a config does.
#[derive(Debug, Clone, Copy)]
enum DescribedBy {
    Topic(&'static TopicConfigSpec),
    Setting(&'static KeySpec),
}

impl ConfigEntry {
    /// What it does.
    #[must_use]
    pub fn documentation(&self) -> String {
        match self.described_by {
            DescribedBy::Topic(spec) => spec.documentation(),
            DescribedBy::Setting(setting) => setting.paragraph(),
        }
    }
}

/// The configs of a topic that are `wanted`, by name.
pub fn topic_entries(
    own: &BTreeMap<String, String>,
    brokers: &BrokerConfig,
    wanted: impl Fn(&str) -> bool,
) -> Vec<ConfigEntry> {
    TOPIC_CONFIGS.iter().filter(|spec| wanted(spec.name)).map(|spec| topic_entry(spec, own, brokers)).collect()
}

fn topic_entry(spec: &'static TopicConfigSpec, own: &BTreeMap<String, String>, brokers: &BrokerConfig) -> ConfigEntry {
    let own = own.get(spec.name).cloned();
    let mut synonyms = Vec::new();
    if let Some(value) = &own {
        synonyms.push(Synonym { name: spec.name, value: Some(value.clone()), source: ConfigSource::Topic });
    }
    match spec.broker_setting.map(|name| (name, settings::spec(name))) {
        None => {}
        Some((name, None)) => {
            let value = Some(spec.default.to_owned());
            synonyms.push(Synonym { name, value, source: ConfigSource::Default });
        }
        Some((_, Some(setting))) => {
            synonyms.extend(setting_values(setting, brokers));
            if spec.name == "retention.ms" {
                let coarser = ["log.retention.minutes", "log.retention.hours"].into_iter().filter_map(settings::spec);
                synonyms.extend(coarser.flat_map(|s| setting_values(s, brokers)));
                // As in Kafka, where the unit that counts by default is another one than the name says.
                synonyms.retain(|s| s.source != ConfigSource::Default);
            }
        }
    }
    ConfigEntry {
        name: spec.name,
        value: Some(own.unwrap_or_else(|| spec.inherited(&brokers.settings))),
        source: synonyms.first().map_or(ConfigSource::Default, |s| s.source),
        is_read_only: false,
        config_type: spec.allowed.config_type(),
        synonyms,
        described_by: DescribedBy::Topic(spec),
    }
}

/// The settings of this broker that are `wanted`, in the order of the docs.
pub fn broker_entries(brokers: &BrokerConfig, wanted: impl Fn(&str) -> bool) -> Vec<ConfigEntry> {
    let entry = |setting: &'static KeySpec| {
        let synonyms = setting_values(setting, brokers);
        let counts = synonyms.first().cloned();
        entry_of(
            setting,
            counts.as_ref().map_or(ConfigSource::Default, |s| s.source),
            counts.and_then(|s| s.value),
            synonyms,
        )
    };
    KEYS.iter().filter(|setting| wanted(setting.name)).map(entry).collect()
}

/// What was changed for all brokers, of what is `wanted`.
pub fn all_brokers_entries(brokers: &BrokerConfig, wanted: impl Fn(&str) -> bool) -> Vec<ConfigEntry> {
    let entry = |setting: &'static KeySpec| {
        let value = Some(brokers.for_all.get(setting.name)?.clone());
        let synonym = Synonym { name: setting.name, value: value.clone(), source: ConfigSource::AllBrokers };
        Some(entry_of(setting, ConfigSource::AllBrokers, value, vec![synonym]))
    };
    KEYS.iter().filter(|setting| wanted(setting.name)).filter_map(entry).collect()
}

fn entry_of(
    setting: &'static KeySpec,
    source: ConfigSource,
    value: Option<String>,
    synonyms: Vec<Synonym>,
) -> ConfigEntry {
    ConfigEntry {
        name: setting.name,
        value,
        source,
        is_read_only: !settings::is_dynamic(setting.name),
        config_type: setting.allowed.config_type(),
        synonyms,
        described_by: DescribedBy::Setting(setting),
    }
}

/// Every value that a setting has, the one that counts first. Only a default may be "not set", and is left out then.
fn setting_values(setting: &'static KeySpec, brokers: &BrokerConfig) -> Vec<Synonym> {
    let changed = |layer: &BTreeMap<String, String>| layer.get(setting.name).cloned();
    let may_be_unset = matches!(setting.allowed, Allowed::Optional(_));
    let default = Some(setting.default.to_owned()).filter(|text| !(may_be_unset && text.is_empty()));
    let layers = [
        (ConfigSource::Broker, changed(&brokers.for_this)),
        (ConfigSource::AllBrokers, changed(&brokers.for_all)),
        (ConfigSource::Start, brokers.started_with.given(setting.name).map(str::to_owned)),
        (ConfigSource::Default, default),
    ];
    let synonym = |(source, value): (ConfigSource, Option<String>)| {
        value.map(|value| Synonym { name: setting.name, value: Some(value), source })
    };
    layers.into_iter().filter_map(synonym).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::broker_config::{BrokerConfigs, BrokerLayer};
    use super::*;
    use crate::settings::{Settings, SettingsSources};

    fn brokers(set: &[&str]) -> BrokerConfig {
        let sources = SettingsSources { file: None, env: [], set: set.iter().map(|s| (*s).to_owned()).collect() };
        let settings = Arc::new(Settings::load(sources).unwrap().settings);
        let none = pagemark_storage::memory::MemoryEngine::new();
        BrokerConfig::clone(&BrokerConfigs::load(settings, &none).unwrap().current())
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn plain(entry: &ConfigEntry) -> Vec<(&str, &str, i8)> {
        entry.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap_or("-"), s.source as i8)).collect()
    }

    #[test]
    fn a_topics_config_shows_everything_that_it_hides_in_order() {
        let brokers = brokers(&["message.max.bytes=4000"])
            .with(BrokerLayer::All, map(&[("message.max.bytes", "3000")]))
            .with(BrokerLayer::This, map(&[("message.max.bytes", "2000")]));
        let one =
            |own: &[(&str, &str)]| topic_entries(&map(own), &brokers, |name| name == "max.message.bytes").remove(0);
        let own = one(&[("max.message.bytes", "1000")]);
        let hidden = [
            ("message.max.bytes", "2000", 2),
            ("message.max.bytes", "3000", 3),
            ("message.max.bytes", "4000", 4),
            ("message.max.bytes", "1048588", 5),
        ];
        assert_eq!(plain(&own), [&[("max.message.bytes", "1000", 1)], &hidden[..]].concat());
        assert_eq!((own.value.as_deref(), own.source), (Some("1000"), ConfigSource::Topic));
        let inherited = one(&[]);
        assert_eq!(plain(&inherited), hidden);
        assert_eq!((inherited.value.as_deref(), inherited.source), (Some("2000"), ConfigSource::Broker));
    }

    #[test]
    fn retention_in_hours_is_shown_in_milliseconds() {
        let one =
            |set: &[&str]| topic_entries(&BTreeMap::new(), &brokers(set), |name| name == "retention.ms").remove(0);
        let default = one(&[]);
        assert_eq!((default.value.as_deref(), default.source as i8), (Some("604800000"), 5));
        assert_eq!(plain(&default), []);
        let hours = one(&["log.retention.hours=2"]);
        assert_eq!((hours.value.as_deref(), hours.source as i8), (Some("7200000"), 4));
        assert_eq!(plain(&hours), [("log.retention.hours", "2", 4)]);
    }

    #[test]
    fn a_broker_shows_its_settings_and_which_may_change() {
        let entries = broker_entries(&brokers(&["node.id=3"]), |_| true);
        assert_eq!(entries.len(), KEYS.len());
        let named = |name: &str| entries.iter().find(|e| e.name == name).unwrap();
        assert_eq!(plain(named("node.id")), [("node.id", "3", 4), ("node.id", "0", 5)]);
        assert!(named("node.id").is_read_only && !named("max.connections").is_read_only);
        assert_eq!((named("log.retention.ms").value.as_deref(), plain(named("log.retention.ms")).len()), (None, 0));
    }
}
