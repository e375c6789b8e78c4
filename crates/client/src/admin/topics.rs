//! Topics: create, delete, list, describe.
//!
//! Deliberately not here: their configs and records.

use std::collections::BTreeMap;

use pagemark_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use pagemark_wire::messages::delete_topics_request::DeleteTopicState;
use pagemark_wire::messages::{CreateTopicsRequest, DeleteTopicsRequest};

use super::Admin;
use crate::cluster::{Lane, To, Topic};
use crate::code::Code;
use crate::error::{Error, refuse};
use pagemark_wire::messages::{text, topic_name};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    name: String,
    partitions: i32,
    replication_factor: i16,
    configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's own number of partitions and replicas.
    #[must_use]
    pub fn new(name: &str) -> NewTopic {
        NewTopic { name: name.to_owned(), partitions: -1, replication_factor: -1, configs: Vec::new() }
    }

    /// How many partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> NewTopic {
        self.partitions = partitions;
        self
    }

    /// How many replicas of each.
    #[must_use]
    pub fn replication_factor(mut self, replicas: i16) -> NewTopic {
        self.replication_factor = replicas;
        self
    }

    /// A config of the topic, such as `retention.ms`.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> NewTopic {
        self.configs.push((name.to_owned(), value.to_owned()));
        self
    }

    fn to_wire(&self) -> CreatableTopic {
        let config = |(name, value): &(String, String)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        CreatableTopic::default()
            .with_name(topic_name(&self.name))
            .with_num_partitions(self.partitions)
            .with_replication_factor(self.replication_factor)
            .with_configs(self.configs.iter().map(config).collect())
    }
}

impl Admin {
    /// Creates a topic; when this returns, producers and consumers find it.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Code::TOPIC_ALREADY_EXISTS`] if it exists. That is also the answer to a repetition of our
    /// own, if the first attempt did it and its answer was lost.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<(), Error> {
        self.create(&topic, false).await?;
        // Another broker may not know it yet.
        self.cluster.topic(&topic.name, self.deadline()).await.map(drop)
    }

    /// Checks what [`Admin::create_topic`] would say, and changes nothing.
    ///
    /// # Errors
    /// As [`Admin::create_topic`].
    pub async fn validate_topic(&self, topic: &NewTopic) -> Result<(), Error> {
        self.create(topic, true).await
    }

    async fn create(&self, topic: &NewTopic, validate_only: bool) -> Result<(), Error> {
        let timeout_ms = self.timeout_ms();
        self.retrying(|| async move {
            let request = |_| {
                CreateTopicsRequest::default()
                    .with_topics(vec![topic.to_wire()])
                    .with_timeout_ms(timeout_ms)
                    .with_validate_only(validate_only)
            };
            let answer = self.cluster.call(To::Any, Lane::Control, request).await?;
            let found = answer.topics.first().ok_or_else(|| Error::Protocol("no answer about the topic".to_owned()))?;
            refuse(found.error_code, found.error_message.as_ref())
        })
        .await
    }

    /// Deletes a topic with all its records and all offsets that groups committed for it.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Code::UNKNOWN_TOPIC_OR_PARTITION`] if there is none.
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let timeout_ms = self.timeout_ms();
        let request = |version| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
            match version {
                6.. => request.with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name(name)))]),
                _ => request.with_topic_names(vec![topic_name(name)]),
            }
        };
        self.settling(|| async {
            let answer = self.cluster.call(To::Any, Lane::Control, request).await?;
            let found = answer.responses.first();
            let found = found.ok_or_else(|| Error::Protocol("no answer about the topic".to_owned()))?;
            refuse(found.error_code, found.error_message.as_ref())
        })
        .await
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nobody answers.
    pub async fn list_topics(&self) -> Result<Vec<Topic>, Error> {
        let metadata = self.retrying(|| self.cluster.refresh_all()).await?;
        Ok(metadata.topics.values().cloned().collect())
    }

    /// One topic with its partitions.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Code::UNKNOWN_TOPIC_OR_PARTITION`] if there is none.
    pub async fn describe_topic(&self, name: &str) -> Result<Topic, Error> {
        let found = self.describe_topics([name]).await?.remove(name);
        found.unwrap_or_else(|| Err(Error::refused(Code::UNKNOWN_TOPIC_OR_PARTITION)))
    }

    /// Several topics with their partitions, each for itself.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nobody answers.
    pub async fn describe_topics<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, Result<Topic, Error>>, Error> {
        let names: Vec<&str> = names.into_iter().collect();
        self.cluster.want(names.iter().copied());
        let metadata = self.retrying(|| self.cluster.refresh_now()).await?;
        let one = |name: &str| match metadata.topics.get(name) {
            Some(topic) => Ok(topic.clone()),
            None => {
                Err(Error::refused(metadata.missing.get(name).copied().unwrap_or(Code::UNKNOWN_TOPIC_OR_PARTITION)))
            }
        };
        Ok(names.into_iter().map(|name| (name.to_owned(), one(name))).collect())
    }
}
