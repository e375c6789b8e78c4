//! `pagemark group lag`: how far groups are behind, and a check for scripts and monitors.
//!
//! Deliberately not here: lag in seconds. Kafka's protocol tells when a record was made, not when it was read, so seconds
//! would be a guess.

use clap::{Args, ValueEnum};
use pagemark_client::{Admin, IsolationLevel};

use super::absent::absent;
use super::select::Selection;
use super::view::{self, View};
use crate::commands::{Common, Done};
use crate::exit::Failure;
use crate::output::{Answer, Cell, Column, Part, Table, escaped};
use crate::target::{Target, covers};

const EXAMPLES: &str = "Examples:
  pagemark group lag billing
  pagemark group lag billing shipping --fail-over 10000
      Exit code 4 if either is more than 10000 offsets behind, summed up
  pagemark group lag billing --isolation committed
      Up to the first open transaction, as far as read_committed consumers go

A LAG of 7+ is at least 7, and - is not known at all: of a partition that has
records and no commit only the consumer knows where it will begin, and nobody
knows how long a log is that has no leader. --fail-over fails for these with
exit code 1, unless what is known is too much already. Exit code 1 is also for a
group that does not exist, and for a topic or a partition of -t that no group
reads, so that a check never passes for a name that is misspelt.";

/// Arguments of `pagemark group lag`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Lag {
    #[command(flatten)]
    selection: Selection,
    /// Only these partitions: TOPIC, or TOPIC:0,2,5-7. May be repeated
    #[arg(short, value_name = "TOPIC[:PARTITIONS]")]
    target: Vec<Target>,
    /// Which end of the log counts
    #[arg(long, value_enum, default_value = "uncommitted")]
    isolation: Isolation,
    /// Exit with code 4 if a group is more than this many offsets behind
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(i64).range(0..))]
    fail_over: Option<i64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Isolation {
    /// The last stable offset
    Committed,
    /// The high watermark, as Kafka's tools count
    Uncommitted,
}

/// Runs the command.
pub async fn run(arguments: Lag) -> Done {
    let common = arguments.common.clone();
    common.answer(async |admin| lag(&admin, &arguments).await).await
}

async fn lag(admin: &Admin, arguments: &Lag) -> Result<Answer, Failure> {
    let isolation = match arguments.isolation {
        Isolation::Committed => IsolationLevel::ReadCommitted,
        Isolation::Uncommitted => IsolationLevel::ReadUncommitted,
    };
    let (groups, all) = arguments.selection.resolve(admin).await?;
    let (mut views, mut failures) = view::load(admin, &groups, &all, isolation).await?;
    let read = view::partitions(&views);
    for view in &mut views {
        let has_none = view.rows.is_empty();
        view.rows.retain(|row| covers(&arguments.target, &row.partition));
        let Some(limit) = arguments.fail_over else { continue };
        let group = escaped(&view.id);
        if let Some(lag) = view.lag_at_least().filter(|lag| *lag > limit) {
            failures.push(Failure::check(format!("group {group} is {lag} behind, which is more than {limit}")));
        }
        let nothing = || has_none.then(|| "no commit and no member's partition".to_owned());
        if let Some(unknown) = view.not_counted().or_else(nothing) {
            failures.push(Failure::failed(format!("group {group}: {unknown}, so its lag is not known")));
        }
    }
    if !views.is_empty() {
        let absent = absent(admin, &arguments.target, &read).await?;
        failures.extend(absent.iter().map(|absent| {
            let why = absent.why.as_deref().unwrap_or("no commit and no member there");
            Failure::failed(format!("{}: {why}", absent.name()))
        }));
    }
    Ok(Answer::list("groups", views.iter().map(part).collect()).failing(failures))
}

fn part(view: &View) -> Part {
    let columns = [
        Column::new("TOPIC", "topic").long(),
        Column::new("PARTITION", "partition"),
        Column::new("CURRENT-OFFSET", "current_offset"),
        Column::new("LOG-END-OFFSET", "log_end_offset"),
        Column::new("LAG", "lag"),
        Column::new("NOTE", "note").optional(),
    ];
    let mut table = Table::new("offsets", columns);
    for row in &view.rows {
        table.row([
            Cell::from(&*row.partition.topic),
            row.partition.partition.into(),
            row.committed.as_ref().map(|committed| committed.offset).into(),
            row.log.end().into(),
            row.lag().into(),
            Cell::words(row.note()),
        ]);
    }
    let part = view.with_lag(Part::default().fact(Column::new("GROUP", "group"), view.id.as_str()));
    let part = part.fact(Column::data("partitions_without_commit"), view.without_commit()).with(table);
    match view.not_counted() {
        Some(rows) => part.note(format!("not counted: {rows}")),
        None => part,
    }
}
