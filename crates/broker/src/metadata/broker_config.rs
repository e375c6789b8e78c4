//! The settings of the moment: those of the start, with what was changed while the broker runs put over them.
//!
//! There are two layers of changes, as in Kafka: for this broker, and for all brokers; the first wins. Both are facts in the
//! engine's keyed state and so survive a restart. Deliberately not here: which settings may change (`settings/live`), and
//! changing them (`metadata/configs`).

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use pagemark_storage::engine::MetaStore;

use crate::metadata::record::{BrokerConfigRecord, broker_config_key};
use crate::settings::Settings;

/// Which brokers a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BrokerLayer {
    /// This one.
    This,
    /// All of the cluster.
    All,
}

/// The settings at one moment.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// As given at the start.
    pub started_with: Arc<Settings>,
    /// What counts now.
    pub settings: Arc<Settings>,
    /// Changes for all brokers, by name.
    pub for_all: BTreeMap<String, String>,
    /// Changes for this broker, by name.
    pub for_this: BTreeMap<String, String>,
}

impl BrokerConfig {
    fn new(
        started_with: Arc<Settings>,
        for_all: BTreeMap<String, String>,
        for_this: BTreeMap<String, String>,
    ) -> BrokerConfig {
        let settings = if for_all.is_empty() && for_this.is_empty() {
            Arc::clone(&started_with)
        } else {
            Arc::new(started_with.overridden(for_all.iter().chain(&for_this)))
        };
        BrokerConfig { started_with, settings, for_all, for_this }
    }

    /// The changes of one layer.
    #[must_use]
    pub fn layer(&self, layer: BrokerLayer) -> &BTreeMap<String, String> {
        match layer {
            BrokerLayer::This => &self.for_this,
            BrokerLayer::All => &self.for_all,
        }
    }

    /// The same with other changes in one layer.
    #[must_use]
    pub fn with(&self, layer: BrokerLayer, changes: BTreeMap<String, String>) -> BrokerConfig {
        let (mut for_all, mut for_this) = (self.for_all.clone(), self.for_this.clone());
        match layer {
            BrokerLayer::This => for_this = changes,
            BrokerLayer::All => for_all = changes,
        }
        BrokerConfig::new(Arc::clone(&self.started_with), for_all, for_this)
    }
}

/// The settings of the moment, for everybody.
#[derive(Debug)]
pub struct BrokerConfigs {
    current: RwLock<Arc<BrokerConfig>>,
}

impl BrokerConfigs {
    /// The settings of the start with the changes that an earlier life of this broker has stored.
    ///
    /// # Errors
    /// A sentence, if what is stored is not readable.
    pub fn load(started_with: Arc<Settings>, stored: &dyn MetaStore) -> Result<BrokerConfigs, String> {
        let read = |layer: BrokerLayer| {
            let key = broker_config_key(layer, started_with.node_id);
            let Some(stored) = stored.get(&key) else { return Ok(BTreeMap::new()) };
            let record: Result<BrokerConfigRecord, _> = serde_json::from_slice(&stored.value);
            record.map(|r| r.configs).map_err(|e| format!("the stored fact '{key}' is not readable: {e}"))
        };
        let (for_all, for_this) = (read(BrokerLayer::All)?, read(BrokerLayer::This)?);
        let current = RwLock::new(Arc::new(BrokerConfig::new(started_with, for_all, for_this)));
        Ok(BrokerConfigs { current })
    }

    /// What counts at this moment.
    #[must_use]
    pub fn current(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.current.read().expect("nothing panics while holding the configs"))
    }

    /// The settings that count at this moment.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.current().settings)
    }

    /// Makes this what counts.
    pub fn publish(&self, config: BrokerConfig) {
        *self.current.write().expect("nothing panics while holding the configs") = Arc::new(config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_broker_wins_over_all_brokers_and_both_over_the_start() {
        let one = |value: &str| BTreeMap::from([("max.connections".to_owned(), value.to_owned())]);
        let start = BrokerConfig::new(Arc::new(Settings::default()), BTreeMap::new(), BTreeMap::new());
        let all = start.with(BrokerLayer::All, one("5"));
        let both = all.with(BrokerLayer::This, one("7"));
        let connections = |config: &BrokerConfig| config.settings.max_connections;
        assert_eq!((connections(&start), connections(&all), connections(&both)), (i32::MAX as usize, 5, 7));
        assert_eq!(connections(&both.with(BrokerLayer::This, BTreeMap::new())), 5);
    }
}
