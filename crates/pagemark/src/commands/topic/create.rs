//! `pagemark topic create`.
//!
//! Deliberately not here: checking names and configs; the broker does, in its own words.

use clap::Args;
use pagemark_client::{Admin, Code, NewTopic, Topic};

use crate::commands::{Common, Done};
use crate::exit::Failure;
use crate::output::{Answer, Cell, Column, Part, Table};

const EXAMPLES: &str = "Examples:
  pagemark topic create orders -p 4
  pagemark topic create orders -p 4 --config retention.ms=86400000
  pagemark topic create orders --if-not-exists
Exit code 5: there is such a topic.";

/// Arguments of `pagemark topic create`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Create {
    /// The topic's name
    name: String,
    /// How many partitions; the broker's num.partitions by default
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas of each; the broker's default.replication.factor by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A config of the topic, such as retention.ms=86400000. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = config)]
    config: Vec<(String, String)>,
    /// Leave a topic of this name as it is
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    common: Common,
}

fn config(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as retention.ms=86400000")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs the command.
pub async fn run(arguments: Create) -> Done {
    let Create { name, partitions, replication_factor, config, if_not_exists, common } = arguments;
    let mut topic = NewTopic::new(&name);
    if let Some(partitions) = partitions {
        topic = topic.partitions(partitions);
    }
    if let Some(replicas) = replication_factor {
        topic = topic.replication_factor(replicas);
    }
    for (key, value) in &config {
        topic = topic.config(key, value);
    }
    common.answer(async |admin| create(&admin, &name, topic, if_not_exists).await).await
}

async fn create(admin: &Admin, name: &str, topic: NewTopic, if_not_exists: bool) -> Result<Answer, Failure> {
    let created = match admin.create_topic(topic).await {
        Ok(()) => true,
        Err(error) if if_not_exists && error.code() == Some(Code::TOPIC_ALREADY_EXISTS) => false,
        Err(error) => return Err(Failure::from(error).about(crate::output::escaped(name))),
    };
    let topic = admin.describe_topic(name).await?;
    let columns = [Column::new("CREATED", "created")];
    let mut table = Table::new("topics", super::list::COLUMNS.into_iter().chain(columns));
    table.row(super::list::cells(&topic).into_iter().chain([Cell::Flag(created)]));
    Ok(Answer::one(Part::table(table)))
}

/// How many replicas a topic's partitions have.
pub(super) fn replicas(topic: &Topic) -> usize {
    topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
}
