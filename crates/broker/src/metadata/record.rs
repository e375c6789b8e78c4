//! How facts are written into the engine's keyed state: the keys, and JSON values that a person can read.
//!
//! Unknown fields of a value are refused rather than dropped, so that an older broker never silently forgets what a newer one
//! wrote. Deliberately not here: when they are written (`admin`).

use std::collections::BTreeMap;

use pagemark_wire::types::{LeaderEpoch, TopicId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::metadata::broker_config::BrokerLayer;

/// Prefix of the keys that hold topics; the topic's name follows.
pub const TOPIC_PREFIX: &str = "topic/";
/// Prefix of the keys that hold what is remembered of deleted topics; the topic's name follows.
pub const FORMER_TOPIC_PREFIX: &str = "former-topic/";
/// Key that holds what is remembered of all deleted topics that have no key of their own any more.
pub const FORMER_TOPICS_FLOOR_KEY: &str = "former-topics";
/// Prefix of the keys that hold changed settings of one broker; its number follows.
pub const BROKER_CONFIG_PREFIX: &str = "broker-config/";
/// Key that holds changed settings of all brokers.
pub const BROKERS_CONFIG_KEY: &str = "broker-config-default";
/// Key that holds the cluster's id.
pub const CLUSTER_KEY: &str = "cluster";
/// Counter from which producer ids are reserved.
pub const PRODUCER_ID_COUNTER: &str = "producer-id";

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRecord {
    /// Identity of this incarnation (P-26b).
    pub id: Uuid,
    /// Number of partitions.
    pub partitions: u32,
    /// Replication factor as asked for; every partition has one durable copy on this node.
    pub replication_factor: i16,
    /// Configuration that differs from the broker's, by Kafka's names.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
    /// The first leader epoch of this incarnation: above those of all former topics of its name. Not written where it
    /// is 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_epoch: i32,
}

/// Where the leader epochs of the next topic of a name begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstEpochRecord {
    /// That epoch.
    pub first_epoch: i32,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterRecord {
    /// Stable for the life of the cluster (P-26a); 22 characters of base64 in Kafka's way.
    pub cluster_id: String,
}

/// Settings that were changed while brokers ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfigRecord {
    /// The values, by Kafka's names.
    pub configs: BTreeMap<String, String>,
}

/// Key of the changed settings of a layer.
#[must_use]
pub fn broker_config_key(layer: BrokerLayer, node_id: i32) -> String {
    match layer {
        BrokerLayer::This => format!("{BROKER_CONFIG_PREFIX}{node_id}"),
        BrokerLayer::All => BROKERS_CONFIG_KEY.to_owned(),
    }
}

/// Key of the topic of this name.
#[must_use]
pub fn topic_key(name: &str) -> String {
    format!("{TOPIC_PREFIX}{name}")
}

impl TopicRecord {
    /// The id in the protocol's type.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        TopicId(self.id)
    }

    /// The first leader epoch in the protocol's type.
    #[must_use]
    pub fn first_leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.first_epoch)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(epoch: &i32) -> bool {
    *epoch == 0
}

/// A UUID in Kafka's way of writing it: base64 for URLs, without padding.
#[must_use]
pub fn kafka_uuid(id: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    // 128 bits are 21 digits of 6 bits and one of 2, the latter padded with zeros at its low end.
    let digit = |i: u32| if i < 21 { (bits >> (122 - 6 * i)) & 63 } else { (bits & 3) << 4 };
    (0..22).map(|i| char::from(ALPHABET[digit(i) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_as_kafka_writes_them() {
        assert_eq!(kafka_uuid(Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(kafka_uuid(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(kafka_uuid(Uuid::from_u128(u128::MAX)), "_____________________w");
    }

    #[test]
    fn a_topic_survives_the_way_through_its_record() {
        let record = TopicRecord {
            id: Uuid::from_u128(7),
            partitions: 12,
            replication_factor: 1,
            configs: BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]),
            first_epoch: 0,
        };
        for record in [TopicRecord { first_epoch: 3, ..record.clone() }, record] {
            let bytes = serde_json::to_vec(&record).unwrap();
            assert_eq!(serde_json::from_slice::<TopicRecord>(&bytes).unwrap(), record);
            let names_it = String::from_utf8(bytes).unwrap().contains("first_epoch");
            assert_eq!(names_it, record.first_epoch != 0, "older releases read the record of a name that is new");
        }
    }
}
