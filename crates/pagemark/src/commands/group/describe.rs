//! `pagemark group describe`: Kafka's columns first and under Kafka's names, then what it never shows.
//!
//! Deliberately not here: what needs a history of commits, such as when the last one was.

use std::time::Duration;

use clap::Args;
use pagemark_client::{Admin, IsolationLevel};

use super::absent;
use super::select::Selection;
use super::view::{self, LAG_COLUMNS, View, member_cells};
use crate::commands::{Common, Done};
use crate::exit::Failure;
use crate::output::{Answer, Cell, Column, Part, Table};
use crate::target::{Target, covers};
use crate::times::parse_duration;

const EXAMPLES: &str = "Examples:
  pagemark group describe billing
  pagemark group describe billing --members
  pagemark group describe billing -t orders:0 --verbose
  pagemark group describe -r '^bill' --lagging -o json
  pagemark group describe billing --watch 2s

CURRENT-OFFSET is the NEXT offset that the group will read; LAST-DONE is the
one before it, the last that is done. LAG is LOG-END-OFFSET less CURRENT-OFFSET,
as Kafka counts it, and never below 0; 7+ is at least 7, and - is not known.
Exit code 1: one of the groups, or what -t names, does not exist.";

/// Arguments of `pagemark group describe`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Describe {
    #[command(flatten)]
    selection: Selection,
    /// Show members with what is assigned to them
    #[arg(long)]
    members: bool,
    /// Show offsets; that is the default
    #[arg(long)]
    offsets: bool,
    /// Show the state of each group in one line
    #[arg(long)]
    state: bool,
    /// Show offsets and members, with every column
    #[arg(long)]
    verbose: bool,
    /// Only these partitions: TOPIC, or TOPIC:0,2,5-7. May be repeated
    #[arg(short, value_name = "TOPIC[:PARTITIONS]")]
    target: Vec<Target>,
    /// Only partitions with a lag, or with one that nobody knows
    #[arg(long)]
    lagging: bool,
    /// Show it again and again, with this much time between, until Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    watch: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub async fn run(mut arguments: Describe) -> Done {
    arguments.common.output.verbose(arguments.verbose);
    let common = arguments.common.clone();
    match arguments.watch {
        None => common.answer(async |admin| describe(&admin, &arguments).await).await,
        Some(every) => common.watch(every, async |admin| describe(&admin, &arguments).await).await,
    }
}

async fn describe(admin: &Admin, arguments: &Describe) -> Result<Answer, Failure> {
    let (groups, all) = arguments.selection.resolve(admin).await?;
    let (mut views, mut failures) = view::load(admin, &groups, &all, IsolationLevel::ReadUncommitted).await?;
    let absent = absent::absent(admin, &arguments.target, &view::partitions(&views)).await?;
    failures.extend(absent::failures(&absent));
    for view in &mut views {
        view.rows.retain(|row| covers(&arguments.target, &row.partition));
    }
    if arguments.state {
        return Ok(Answer::one(Part::table(states(&views))).failing(failures));
    }
    let shows_offsets = arguments.offsets || arguments.verbose || !arguments.members;
    let shows_members = arguments.members || arguments.verbose;
    let part = |view: &View| {
        let mut part = facts(view);
        if shows_offsets {
            let table = offsets(view, arguments.lagging);
            if table.is_empty() {
                part = part.note(if arguments.lagging { "nothing lags" } else { "no offsets" });
            }
            part = part.with(table);
        }
        if let Some(rows) = view.not_counted() {
            part = part.note(format!("not counted: {rows}"));
        }
        if shows_members {
            part = part.with(members(view));
        }
        if view.members.is_none() {
            let kind = &view.group_type;
            part = part.note(format!("members are not shown: this client cannot describe a group of type {kind}"));
        }
        part
    };
    Ok(Answer::list("groups", views.iter().map(part).collect()).failing(failures))
}

fn facts(view: &View) -> Part {
    let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let part = Part::default()
        .fact(Column::new("GROUP", "group"), view.id.as_str())
        .fact(Column::new("STATE", "state"), said(&view.state))
        .fact(Column::new("TYPE", "type"), said(&view.group_type))
        .fact(Column::new("PROTOCOL", "protocol"), view.protocol())
        .fact(Column::new("MEMBERS", "member_count"), view.members.as_ref().map(Vec::len))
        .fact(Column::new("COORDINATOR", "coordinator"), view.coordinator);
    view.with_lag(part)
}

fn states(views: &[View]) -> Table {
    let columns = [
        Column::new("GROUP", "group").long(),
        Column::new("COORDINATOR", "coordinator"),
        Column::new("ASSIGNMENT-STRATEGY", "assignment_strategy"),
        Column::new("STATE", "state"),
        Column::new("#MEMBERS", "member_count"),
    ];
    let mut table = Table::new("groups", columns.into_iter().chain(LAG_COLUMNS));
    for view in views {
        let strategy = Some(view.assignor.clone()).filter(|assignor| !assignor.is_empty());
        let cells = [
            view.id.as_str().into(),
            view.coordinator.into(),
            strategy.into(),
            view.state.as_str().into(),
            view.members.as_ref().map(Vec::len).into(),
        ];
        table.row(cells.into_iter().chain(view.lag_cells()));
    }
    table
}

fn offsets(view: &View, only_lagging: bool) -> Table {
    let columns = [
        Column::new("TOPIC", "topic").long(),
        Column::new("PARTITION", "partition"),
        Column::new("LEADER-EPOCH", "leader_epoch").wide(),
        Column::new("CURRENT-OFFSET", "current_offset"),
        Column::new("LOG-START-OFFSET", "log_start_offset").wide(),
        Column::new("LOG-END-OFFSET", "log_end_offset"),
        Column::new("LAG", "lag"),
        Column::new("CONSUMER-ID", "consumer_id").long(),
        Column::new("HOST", "host").long(),
        Column::new("CLIENT-ID", "client_id").long(),
        Column::new("LAST-DONE", "last_done"),
        Column::new("METADATA", "metadata").wide(),
        Column::data("ahead_by"),
        Column::data("below_log_start"),
        Column::new("NOTE", "note").optional(),
    ];
    let mut table = Table::new("offsets", columns);
    for row in &view.rows {
        if only_lagging && row.adds() == Some(0) {
            continue;
        }
        let committed = row.committed.as_ref();
        let [consumer_id, host, client_id] = member_cells(view, row);
        let metadata = committed.map(|committed| committed.metadata.clone()).filter(|metadata| !metadata.is_empty());
        table.row([
            Cell::from(&*row.partition.topic),
            row.partition.partition.into(),
            committed.and_then(|committed| committed.leader_epoch).into(),
            committed.map(|committed| committed.offset).into(),
            row.log.start().into(),
            row.log.end().into(),
            row.lag().into(),
            consumer_id,
            host,
            client_id,
            row.last_done().into(),
            metadata.into(),
            row.ahead_by().into(),
            row.below_log_start().into(),
            Cell::words(row.note()),
        ]);
    }
    table
}

fn members(view: &View) -> Table {
    let columns = [
        Column::new("CONSUMER-ID", "consumer_id").long(),
        Column::new("GROUP-INSTANCE-ID", "group_instance_id").long().optional(),
        Column::new("MEMBER-EPOCH", "member_epoch").optional(),
        Column::new("HOST", "host").long(),
        Column::new("CLIENT-ID", "client_id").long(),
        Column::new("#PARTITIONS", "partition_count"),
        Column::new("ASSIGNMENT", "assignment").wide(),
    ];
    let mut table = Table::new("members", columns);
    for member in view.members.iter().flatten() {
        let assigned: Vec<String> = member.assignment.iter().map(ToString::to_string).collect();
        table.row([
            member.member_id.as_str().into(),
            member.instance_id.clone().into(),
            member.epoch.into(),
            member.client_host.as_str().into(),
            member.client_id.as_str().into(),
            member.assignment.len().into(),
            assigned.into(),
        ]);
    }
    table
}
