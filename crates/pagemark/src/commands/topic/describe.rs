//! `pagemark topic describe`.
//!
//! Deliberately not here: who reads a topic (`pagemark group describe -t`).

use std::collections::BTreeMap;

use clap::Args;
use pagemark_client::{
    Admin, ConfigResource, ConfigSource, IsolationLevel, ListedOffset, OffsetSpec, Topic, TopicPartition,
};

use super::create::replicas;
use crate::commands::{Common, Done, about_topic};
use crate::exit::Failure;
use crate::output::{Answer, Cell, Column, Part, Table};

const EXAMPLES: &str = "Examples:
  pagemark topic describe orders
  pagemark topic describe orders --configs
      Every config, not only those that were set
  pagemark topic describe orders payments -o json";

/// Arguments of `pagemark topic describe`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Describe {
    /// Which topics
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Show every config, with its default
    #[arg(long)]
    configs: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub async fn run(arguments: Describe) -> Done {
    let Describe { names, configs, common } = arguments;
    common.answer(async |admin| describe(&admin, &names, configs).await).await
}

async fn describe(admin: &Admin, names: &[String], configs: bool) -> Result<Answer, Failure> {
    let mut found = admin.describe_topics(names.iter().map(String::as_str)).await?;
    let (mut parts, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match found.remove(name) {
            Some(Ok(topic)) => parts.push(part(admin, &topic, configs).await?),
            Some(Err(error)) => failures.push(about_topic(admin, error, name).await),
            None => {} // named twice
        }
    }
    Ok(Answer::list("topics", parts).failing(failures))
}

async fn part(admin: &Admin, topic: &Topic, all_configs: bool) -> Result<Part, Failure> {
    let id = Some(topic.id.to_string()).filter(|_| !topic.id.is_nil());
    Ok(Part::default()
        .fact(Column::new("TOPIC", "topic"), topic.name.as_str())
        .fact(Column::new("TOPIC-ID", "topic_id"), id)
        .fact(Column::new("PARTITIONS", "partition_count"), topic.partitions.len())
        .fact(Column::new("REPLICAS", "replicas"), replicas(topic))
        .with(partitions(admin, topic).await?)
        .with(configs(admin, &topic.name, all_configs).await?))
}

async fn partitions(admin: &Admin, topic: &Topic) -> Result<Table, Failure> {
    let led: Vec<TopicPartition> = topic
        .partitions
        .iter()
        .filter(|partition| partition.leader.is_some())
        .map(|partition| TopicPartition::new(&topic.name, partition.index))
        .collect();
    let start = offsets(admin, &led, OffsetSpec::Earliest).await?;
    let end = offsets(admin, &led, OffsetSpec::Latest).await?;
    let columns = [
        Column::new("PARTITION", "partition"),
        Column::new("LEADER", "leader"),
        Column::new("LEADER-EPOCH", "leader_epoch"),
        Column::new("REPLICAS", "replicas"),
        Column::new("ISR", "isr"),
        Column::new("LOG-START-OFFSET", "log_start_offset"),
        Column::new("LOG-END-OFFSET", "log_end_offset"),
    ];
    let mut table = Table::new("partitions", columns);
    for partition in &topic.partitions {
        let at = TopicPartition::new(&topic.name, partition.index);
        let offset = |of: &BTreeMap<_, ListedOffset>| Cell::from(of.get(&at).and_then(|listed| listed.offset));
        table.row([
            partition.index.into(),
            partition.leader.into(),
            Some(partition.leader_epoch).filter(|epoch| *epoch >= 0).into(),
            partition.replicas.clone().into(),
            partition.in_sync.clone().into(),
            offset(&start),
            offset(&end),
        ]);
    }
    Ok(table)
}

async fn offsets(
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<BTreeMap<TopicPartition, ListedOffset>, Failure> {
    let wanted = partitions.iter().map(|partition| (partition.clone(), spec));
    Ok(admin.list_offsets_with(IsolationLevel::ReadUncommitted, wanted).await?)
}

async fn configs(admin: &Admin, topic: &str, all: bool) -> Result<Table, Failure> {
    let columns = [
        Column::new("CONFIG", "name"),
        Column::new("VALUE", "value"),
        Column::new("SOURCE", "source"),
        Column::data("is_sensitive"),
    ];
    let mut table = Table::new("configs", columns);
    for (name, entry) in admin.describe_configs(&ConfigResource::Topic(topic.to_owned())).await? {
        if !all && entry.source != ConfigSource::Set {
            continue;
        }
        let source = match entry.source {
            ConfigSource::Set => Some("topic"),
            ConfigSource::BrokerSet => Some("broker"),
            ConfigSource::BrokerFile => Some("broker file"),
            ConfigSource::Default => Some("default"),
            ConfigSource::Unknown => None,
        };
        table.row([name.into(), entry.value.into(), Cell::words(source), entry.is_sensitive.into()]);
    }
    Ok(table)
}
