//! `pagemark topic list`.
//!
//! Deliberately not here: offsets and configs (`describe.rs`).

use clap::Args;
use pagemark_client::{Admin, Topic};

use super::create::replicas;
use crate::commands::{Common, Done};
use crate::exit::Failure;
use crate::output::{Answer, Cell, Column, Part, Table};

const EXAMPLES: &str = "Examples:
  pagemark topic list
  pagemark topic list --internal -o json";

/// Arguments of `pagemark topic list`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct List {
    /// Those of the brokers as well, such as __consumer_offsets
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    common: Common,
}

/// What a list shows of a topic.
pub(super) const COLUMNS: [Column; 5] = [
    Column::new("TOPIC", "topic").long(),
    Column::new("PARTITIONS", "partitions"),
    Column::new("REPLICAS", "replicas"),
    Column::new("TOPIC-ID", "topic_id").wide(),
    Column::data("internal"),
];

/// A topic's cells for [`COLUMNS`].
pub(super) fn cells(topic: &Topic) -> [Cell; 5] {
    let id = Some(topic.id.to_string()).filter(|_| !topic.id.is_nil());
    [
        topic.name.as_str().into(),
        topic.partitions.len().into(),
        replicas(topic).into(),
        id.into(),
        topic.is_internal.into(),
    ]
}

/// Runs the command.
pub async fn run(arguments: List) -> Done {
    let List { internal, common } = arguments;
    common.answer(async |admin| list(&admin, internal).await).await
}

async fn list(admin: &Admin, internal: bool) -> Result<Answer, Failure> {
    let mut table = Table::new("topics", COLUMNS);
    for topic in admin.list_topics().await?.iter().filter(|topic| internal || !topic.is_internal) {
        table.row(cells(topic));
    }
    let part = if table.is_empty() { Part::default().note("no topics") } else { Part::default() };
    Ok(Answer::one(part.with(table)))
}
