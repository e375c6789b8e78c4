//! What is known of a cluster: brokers, topics, leaders. A value; asking is the cluster's.
//!
//! Deliberately not here: coordinators, which are not metadata.

use std::collections::BTreeMap;

use pagemark_wire::messages::MetadataResponse;
use pagemark_wire::messages::metadata_response::MetadataResponseTopic;
use uuid::Uuid;

use crate::code::Code;

/// A broker of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: i32,
    /// Where clients reach it.
    pub host: String,
    /// Where clients reach it.
    pub port: u16,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Identity of this incarnation of it; all zero if the broker has no ids.
    pub id: Uuid,
    /// Whether it belongs to the brokers.
    pub is_internal: bool,
    /// Its partitions, in order.
    pub partitions: Vec<Partition>,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// Node id of its leader, if it has one.
    pub leader: Option<i32>,
    /// How often its leadership has begun anew, -1 if unknown.
    pub leader_epoch: i32,
    /// Node ids of its replicas.
    pub replicas: Vec<i32>,
    /// Node ids of the replicas that are in sync.
    pub in_sync: Vec<i32>,
}

/// What is known of a cluster at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) cluster_id: Option<String>,
    pub(crate) controller: Option<i32>,
    pub(crate) brokers: BTreeMap<i32, Broker>,
    pub(crate) topics: BTreeMap<String, Topic>,
    /// Why a topic that was asked for is not among them.
    pub(crate) missing: BTreeMap<String, Code>,
}

impl Metadata {
    /// Takes in an answer. Topics that it does not mention stay as they were, or go if everything was asked for.
    pub(crate) fn take_in(&mut self, answer: &MetadataResponse, everything: bool) {
        self.cluster_id = answer.cluster_id.as_ref().map(ToString::to_string);
        self.controller = Some(answer.controller_id.0).filter(|id| *id >= 0);
        self.brokers = answer.brokers.iter().filter_map(broker).map(|broker| (broker.id, broker)).collect();
        if everything {
            self.topics.clear();
            self.missing.clear();
        }
        for topic in &answer.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else { continue };
            match Code(topic.error_code) {
                Code::NONE => {
                    self.missing.remove(&name);
                    let known = self.topics.remove(&name);
                    self.topics.insert(name.clone(), read_topic(name, topic, known.as_ref()));
                }
                code => {
                    self.topics.remove(&name);
                    self.missing.insert(name, code);
                }
            }
        }
    }

    /// The ids of topics, as far as they are known.
    pub(crate) fn ids<'a>(&self, topics: impl IntoIterator<Item = &'a str>) -> TopicIds {
        let known = topics.into_iter().filter_map(|name| Some((name.to_owned(), self.topics.get(name)?.id)));
        TopicIds(known.filter(|(_, id)| !id.is_nil()).collect())
    }

    /// Whether it says of a topic that it is there or why not.
    pub(crate) fn mentions(&self, topic: &str) -> bool {
        self.topics.contains_key(topic) || self.missing.contains_key(topic)
    }

    /// The leader of a partition and its epoch.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        let partitions = &self.topics.get(topic)?.partitions;
        let found = partitions.get(usize::try_from(partition).ok()?)?;
        found.leader.map(|leader| (leader, found.leader_epoch))
    }
}

/// Ids of topics for a request that names topics by one or the other, and for its answer.
#[derive(Debug)]
pub(crate) struct TopicIds(BTreeMap<String, Uuid>);

impl TopicIds {
    /// A topic's id; nil if it is not known.
    pub(crate) fn id(&self, name: &str) -> Uuid {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The name of a topic in an answer that has its id, or, in older versions, its name. Empty if nobody has asked for it.
    pub(crate) fn name<'a>(&'a self, id: Uuid, name: &'a str) -> &'a str {
        if id.is_nil() {
            return name;
        }
        self.0.iter().find(|(_, known)| **known == id).map_or("", |(name, _)| name)
    }
}

fn broker(found: &pagemark_wire::messages::metadata_response::MetadataResponseBroker) -> Option<Broker> {
    let port = u16::try_from(found.port).ok()?;
    let rack = found.rack.as_ref().map(ToString::to_string);
    Some(Broker { id: found.node_id.0, host: found.host.to_string(), port, rack })
}

/// Partitions in order of their numbers, and without gaps: a list that has some ends before the first one. A leader whose
/// epoch is older than the one known is old news.
fn read_topic(name: String, topic: &MetadataResponseTopic, known: Option<&Topic>) -> Topic {
    let known = known.filter(|known| known.id == topic.topic_id);
    let mut found: Vec<_> = topic.partitions.iter().collect();
    found.sort_by_key(|partition| partition.partition_index);
    let in_order = found.into_iter().enumerate().take_while(|(at, p)| usize::try_from(p.partition_index) == Ok(*at));
    let partitions = in_order.map(|(at, partition)| {
        let before = known.and_then(|known| known.partitions.get(at));
        match before {
            Some(before) if (0..before.leader_epoch).contains(&partition.leader_epoch) => before.clone(),
            _ => Partition {
                index: partition.partition_index,
                leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
                leader_epoch: partition.leader_epoch,
                replicas: partition.replica_nodes.iter().map(|id| id.0).collect(),
                in_sync: partition.isr_nodes.iter().map(|id| id.0).collect(),
            },
        }
    });
    Topic { id: topic.topic_id, is_internal: topic.is_internal, partitions: partitions.collect(), name }
}

#[cfg(test)]
mod tests {
    use pagemark_wire::messages::BrokerId;
    use pagemark_wire::messages::metadata_response::MetadataResponsePartition;

    use super::*;
    use pagemark_wire::messages::topic_name;

    fn answer(partitions: &[(i32, i32, i32)]) -> MetadataResponse {
        let partition = |&(index, leader, epoch): &(i32, i32, i32)| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(leader))
                .with_leader_epoch(epoch)
        };
        let partitions = partitions.iter().map(partition).collect();
        let topic = MetadataResponseTopic::default().with_name(Some(topic_name("t"))).with_partitions(partitions);
        MetadataResponse::default().with_topics(vec![topic])
    }

    #[test]
    fn an_older_leader_epoch_is_old_news_q_31() {
        let mut metadata = Metadata::default();
        metadata.take_in(&answer(&[(0, 1, 5)]), false);
        metadata.take_in(&answer(&[(0, 2, 4)]), false);
        assert_eq!(metadata.leader("t", 0), Some((1, 5)));
        metadata.take_in(&answer(&[(0, 2, 6)]), false);
        assert_eq!(metadata.leader("t", 0), Some((2, 6)));
        metadata.take_in(&answer(&[(0, -1, 7)]), false);
        assert_eq!(metadata.leader("t", 0), None);
    }

    #[test]
    fn a_list_of_partitions_with_gaps_or_nonsense_does_no_harm() {
        let mut metadata = Metadata::default();
        metadata.take_in(&answer(&[(1, 1, 0), (0, 1, 0), (3, 1, 0), (-7, 1, 0)]), false);
        assert_eq!(metadata.topics["t"].partitions.len(), 0); // -7 comes first
        metadata.take_in(&answer(&[(1, 1, 0), (0, 1, 0), (3, 1, 0)]), false);
        assert_eq!(metadata.topics["t"].partitions.len(), 2);
        assert_eq!(metadata.leader("t", -1), None);
        assert_eq!(metadata.leader("t", 2), None);
    }

    #[test]
    fn a_topic_that_is_gone_says_why() {
        let mut metadata = Metadata::default();
        metadata.take_in(&answer(&[(0, 1, 0)]), false);
        let gone = MetadataResponseTopic::default().with_name(Some(topic_name("t"))).with_error_code(3);
        metadata.take_in(&MetadataResponse::default().with_topics(vec![gone]), false);
        assert!(metadata.topics.is_empty());
        assert_eq!(metadata.missing["t"], Code::UNKNOWN_TOPIC_OR_PARTITION);
    }
}
