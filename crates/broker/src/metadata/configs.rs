//! Changing configs: of topics, and those settings of brokers that may change while they run.
//!
//! A resource is judged with everything it is to have in the end, by the function that judges a creation, and then changed in
//! one step or not at all. The change is durable before anybody acts by it, and takes effect with the next request after the
//! answer. Deliberately not here: versions and numbers of the wire (`api/alter_configs`, `api/incremental_alter_configs`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pagemark_storage::engine::{Lsn, Ticket, TxnOutcome, Write};
use pagemark_wire::ErrorCode;

use super::admin::{AdminError, TopicAdmin, storage_error};
use super::broker_config::{BrokerConfig, BrokerLayer};
use super::name::check_topic_name;
use super::record::{BrokerConfigRecord, TopicRecord, broker_config_key, topic_key};
use super::registry::{Topic, TopicsView};
use super::topic_config::{self, TopicConfig, TopicConfigSpec, shown};
use crate::settings::{self, Allowed, KeySpec, Known};

/// What has configs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// This broker, or all brokers.
    Broker(BrokerLayer),
}

/// What is to become of a resource's configs.
#[derive(Debug, Clone)]
pub enum ConfigChange {
    /// These and no others.
    Whole(BTreeMap<String, String>),
    /// Each of these; the rest stays.
    Steps(Vec<(String, ConfigStep)>),
}

/// What is to become of one config.
#[derive(Debug, Clone)]
pub enum ConfigStep {
    /// This value.
    Set(String),
    /// None of its own.
    Delete,
    /// A list with these added that it does not have.
    Append(String),
    /// A list without these.
    Subtract(String),
}

/// Longest value of a config, in bytes: what a text of the protocol can carry.
const MAX_VALUE_LEN: usize = i16::MAX as usize;

impl TopicAdmin {
    /// Changes configs; each resource gets its own result, in the order given, and must be named once. All that are legal
    /// wait for the disk once. With `validate_only` nothing changes.
    pub async fn alter_configs(
        &self,
        changes: Vec<(ConfigResource, ConfigChange)>,
        validate_only: bool,
    ) -> Vec<Result<(), AdminError>> {
        let _turn = self.one_at_a_time.lock().await;
        let view = self.registry.view();
        let before = self.configs.current();
        let mut brokers = BrokerConfig::clone(&before);
        let mut topics = Vec::new();
        let mut last = Ticket(Lsn(0));
        let mut results = Vec::with_capacity(changes.len());
        for (resource, change) in changes {
            results.push(match resource {
                ConfigResource::Topic(name) => self.judge_topic(&view, &name, change).and_then(|(topic, record)| {
                    if !validate_only {
                        last = self.put(topic_key(&name), &record)?;
                        topics.push((topic.id(), record));
                    }
                    Ok(())
                }),
                ConfigResource::Broker(layer) => judge_broker(&brokers, layer, change).and_then(|configs| {
                    if !validate_only {
                        let record = BrokerConfigRecord { configs: configs.clone() };
                        last = self.put(broker_config_key(layer, before.settings.node_id), &record)?;
                        brokers = brokers.with(layer, configs);
                    }
                    Ok(())
                }),
            });
        }
        if last.0 == Lsn(0) {
            return results;
        }
        if let Err(error) = self.progress.durable(last).await.map_err(storage_error) {
            return results.into_iter().map(|result| result.and(Err(error.clone()))).collect();
        }
        self.publish_configs(topics, brokers);
        results
    }

    fn judge_topic<'v>(
        &self,
        view: &'v TopicsView,
        name: &str,
        change: ConfigChange,
    ) -> Result<(&'v Topic, TopicRecord), AdminError> {
        check_topic_name(name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
        let topic = view
            .by_name(name)
            .ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")))?;
        let settings = self.configs.settings();
        let inherited = |spec: &'static TopicConfigSpec| (spec.allowed, spec.inherited(&settings));
        let look_up = |name: &str| topic_config::spec(name).map(inherited);
        let asked = apply(&topic.record.configs, change, look_up)?;
        let invalid = |why: String| (ErrorCode::InvalidConfig, why);
        let mut configs = BTreeMap::new();
        for (name, value) in asked {
            // A value that was stored before is kept although a newer version may have stored it.
            let value = match topic.record.configs.get(&name) {
                Some(kept) if *kept == value => value,
                _ => topic_config::read_config(&name, &value).map_err(invalid)?,
            };
            configs.insert(name, value);
        }
        topic_config::check_together(&configs).map_err(invalid)?;
        if topic.is_internal() && configs.get("cleanup.policy").map(String::as_str) != Some("compact") {
            let why =
                "cleanup.policy of an internal topic stays 'compact': anything else would remove committed offsets";
            return Err(invalid(why.to_owned()));
        }
        Ok((topic, TopicRecord { configs, ..topic.record.clone() }))
    }

    /// Writes a fact; durable with the engine's next flush.
    pub(super) fn put(&self, key: String, record: &impl serde::Serialize) -> Result<Ticket, AdminError> {
        let value = Bytes::from(serde_json::to_vec(record).expect("a fact is plain data"));
        match self.engine.txn(&[], vec![Write::Put(key, value)]).map_err(storage_error)? {
            TxnOutcome::Accepted(ticket) => Ok(ticket),
            TxnOutcome::Refused => unreachable!("a step without conditions is never refused"),
        }
    }

    fn publish_configs(&self, changed: Vec<(pagemark_wire::types::TopicId, TopicRecord)>, brokers: BrokerConfig) {
        let inherits_anew = brokers.settings != self.configs.current().settings;
        let settings = std::sync::Arc::clone(&brokers.settings);
        self.configs.publish(brokers);
        let mut records: BTreeMap<_, _> = changed.into_iter().collect();
        let mut topics = Vec::new();
        for topic in self.registry.view().iter() {
            let record = records.remove(&topic.id());
            if record.is_none() && !inherits_anew {
                continue;
            }
            let record = record.unwrap_or_else(|| topic.record.clone());
            let config = TopicConfig::of(&settings, &record.configs);
            let (name, partitions) = (topic.name.clone(), topic.partitions.clone());
            topics.push(Topic { name, record, config, partitions });
        }
        self.publish(topics);
    }
}

/// What one layer of broker configs is to be, if it may.
fn judge_broker(
    current: &BrokerConfig,
    layer: BrokerLayer,
    change: ConfigChange,
) -> Result<BTreeMap<String, String>, AdminError> {
    let inherited = |spec: &'static KeySpec| (spec.allowed, current.settings.text(spec).to_owned());
    let kept = current.layer(layer);
    let asked = apply(kept, change, |name| settings::spec(name).map(inherited))?;
    let refused = |why: String| (ErrorCode::InvalidRequest, why);
    let mut configs = BTreeMap::new();
    for (name, value) in asked {
        let value = match kept.get(&name) {
            Some(known) if *known == value => value,
            _ => read_broker_config(&name, &value).map_err(refused)?,
        };
        configs.insert(name, value);
    }
    Ok(configs)
}

fn read_broker_config(name: &str, value: &str) -> Result<String, String> {
    match settings::lookup(name) {
        Known::Ours(spec) if settings::is_dynamic(name) => match spec.allowed.canonical(value) {
            Some(zero) if name == "max.connections" && zero == "0" => {
                Err("max.connections=0 would let nobody connect who could undo it: allowed is 1 and more".to_owned())
            }
            Some(value) => Ok(value),
            None => {
                let allowed = spec.allowed.in_words();
                Err(format!("Invalid value {} for configuration {name}; allowed: {allowed}", shown(value)))
            }
        },
        Known::Ours(_) | Known::OtherName(_) => Err(format!(
            "{name} cannot change while the broker runs: give it in the properties file, the environment or with --set, and \
             start the broker again"
        )),
        Known::KafkaOnly => {
            Err(format!("Apache Kafka knows {}, Pagemark has no use for it: leave it out", shown(name)))
        }
        Known::Unknown => Err(format!("Unknown broker config name: {}", shown(name))),
    }
}

/// The configs after a change, not yet judged. `look_up` gives what is allowed for a name and the value that is inherited
/// where there is none.
fn apply(
    before: &BTreeMap<String, String>,
    change: ConfigChange,
    look_up: impl Fn(&str) -> Option<(Allowed, String)>,
) -> Result<BTreeMap<String, String>, AdminError> {
    let steps = match change {
        ConfigChange::Whole(configs) => return Ok(configs),
        ConfigChange::Steps(steps) => steps,
    };
    let mut configs = before.clone();
    for (name, step) in steps {
        match step {
            ConfigStep::Set(value) => drop(configs.insert(name, value)),
            ConfigStep::Delete => drop(configs.remove(&name)),
            ConfigStep::Append(value) => {
                let mut list = list_of(&configs, &name, "APPEND", &look_up)?;
                let mut known: BTreeSet<String> = list.iter().cloned().collect();
                list.extend(entries(&value).filter(|entry| known.insert(entry.clone())));
                let list = list.join(",");
                if list.len() > MAX_VALUE_LEN {
                    let why = format!("{name} would exceed {MAX_VALUE_LEN} bytes");
                    return Err((ErrorCode::InvalidConfig, why));
                }
                configs.insert(name, list);
            }
            ConfigStep::Subtract(value) => {
                let mut list = list_of(&configs, &name, "SUBTRACT", &look_up)?;
                let gone: BTreeSet<String> = entries(&value).collect();
                list.retain(|entry| !gone.contains(entry));
                configs.insert(name, list.join(","));
            }
        }
    }
    Ok(configs)
}

fn list_of(
    configs: &BTreeMap<String, String>,
    name: &str,
    operation: &str,
    look_up: impl Fn(&str) -> Option<(Allowed, String)>,
) -> Result<Vec<String>, AdminError> {
    match look_up(name) {
        Some((Allowed::Words(_) | Allowed::Replicas | Allowed::Endpoints, inherited)) => {
            Ok(entries(configs.get(name).unwrap_or(&inherited)).collect())
        }
        _ => {
            let why = format!("Can't {operation} to key {} because its type is not LIST.", shown(name));
            Err((ErrorCode::InvalidConfig, why))
        }
    }
}

fn entries(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned)
}
