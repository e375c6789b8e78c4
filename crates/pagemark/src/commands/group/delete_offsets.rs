//! `pagemark group delete-offsets`.
//!
//! Deliberately not here: setting offsets (`reset/`).

use clap::Args;
use pagemark_client::{Admin, Error, TopicPartition};

use super::absent;
use super::view::asking_about_group;
use crate::commands::{Common, Done};
use crate::exit::Failure;
use crate::output::{Answer, Cell, Column, Part, Table};
use crate::target::Target;

const EXAMPLES: &str = "Examples:
  pagemark group delete-offsets billing -t orders
  pagemark group delete-offsets billing -t orders:0,1 -t payments
They are deleted at once. Exit code 1: there is no such group, topic or
partition; 5: a member of the group reads the topic.";

/// Arguments of `pagemark group delete-offsets`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeleteOffsets {
    /// Which group
    group: String,
    /// Whose offsets: TOPIC, or TOPIC:0,2,5-7. May be repeated
    #[arg(short, required = true, value_name = "TOPIC[:PARTITIONS]")]
    target: Vec<Target>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub async fn run(arguments: DeleteOffsets) -> Done {
    let DeleteOffsets { group, target, common } = arguments;
    common.answer(async |admin| delete(&admin, &group, &target).await).await
}

async fn delete(admin: &Admin, group: &str, targets: &[Target]) -> Result<Answer, Failure> {
    let committed = match admin.list_group_offsets(group).await {
        Ok(committed) => committed,
        Err(error) => return Err(asking_about_group(admin, error, group).await),
    };
    let absent = absent::absent(admin, targets, &committed.keys().cloned().collect()).await?;
    let is_there = |partition: &TopicPartition| !absent.iter().any(|absent| absent.denies(partition));
    let named = targets.iter().flat_map(|target| {
        let listed = target.partitions.iter().flatten();
        listed.map(|partition| TopicPartition::new(&target.topic, *partition))
    });
    let of_topics = committed.keys().filter(|partition| targets.iter().any(|target| target.covers(partition))).cloned();
    let chosen: Vec<TopicPartition> = named.filter(is_there).chain(of_topics).collect();
    let codes = match admin.delete_group_offsets(group, chosen).await {
        Ok(codes) => codes,
        Err(error) => return Err(asking_about_group(admin, error, group).await),
    };
    let columns = [
        Column::new("TOPIC", "topic").long(),
        Column::new("PARTITION", "partition"),
        Column::new("WAS", "was"),
        Column::new("DELETED", "deleted"),
    ];
    let mut table = Table::new("offsets", columns);
    let mut failures: Vec<Failure> = absent::failures(&absent).collect();
    for (partition, code) in codes {
        let was = committed.get(&partition).map(|committed| committed.offset);
        let done = code.is_none();
        table.row([
            Cell::from(&*partition.topic),
            partition.partition.into(),
            was.into(),
            (done && was.is_some()).into(),
        ]);
        if !done {
            let error = Error::Refused { code, message: String::new() };
            failures.push(Failure::from(error).about(&partition));
        }
    }
    let part = if table.is_empty() && failures.is_empty() {
        Part::default().note("nothing is committed there")
    } else {
        Part::default()
    };
    Ok(Answer::one(part.with(table)).failing(failures))
}
