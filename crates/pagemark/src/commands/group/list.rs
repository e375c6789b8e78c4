//! `pagemark group list`.
//!
//! Deliberately not here: members and offsets (`describe.rs`).

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use pagemark_client::{Admin, GroupListing, IsolationLevel};

use super::view::{self, LAG_COLUMNS};
use crate::commands::{Common, Done};
use crate::exit::Failure;
use crate::output::{Answer, Cell, Column, Part, Table};

/// Kafka's names of the states of groups, of all types.
const STATES: [&str; 8] =
    ["Stable", "Empty", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling", "NotReady", "Dead"];
/// Kafka's names of the types of groups.
const TYPES: [&str; 4] = ["classic", "consumer", "share", "streams"];

const EXAMPLES: &str = "Examples:
  pagemark group list
  pagemark group list --state empty --type consumer
  pagemark group list --sort lag -o json

A LAG of 7+ is at least 7, and - is not known at all; those come last.";

/// Arguments of `pagemark group list`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct List {
    /// Only groups in one of these states, with commas between them. May be repeated
    #[arg(long, value_name = "STATE", value_delimiter = ',', ignore_case = true)]
    #[arg(value_parser = PossibleValuesParser::new(STATES))]
    state: Vec<String>,
    /// Only groups of one of these types, with commas between them. May be repeated
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', ignore_case = true)]
    #[arg(value_parser = PossibleValuesParser::new(TYPES))]
    group_type: Vec<String>,
    /// In which order; by lag, the farthest behind comes first
    #[arg(long, value_enum, default_value = "name")]
    sort: Sort,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Name,
    Lag,
}

/// Runs the command.
pub async fn run(arguments: List) -> Done {
    let List { state, group_type, sort, common } = arguments;
    common.answer(async |admin| list(&admin, &state, &group_type, sort).await).await
}

async fn list(admin: &Admin, states: &[String], types: &[String], sort: Sort) -> Result<Answer, Failure> {
    let is_among = |wanted: &[String], value: &str| {
        wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let all = admin.list_groups().await?;
    let chosen = all.iter().filter(|group| is_among(states, &group.state) && is_among(types, &group.group_type));
    let chosen: Vec<&GroupListing> = chosen.collect();
    let said = |text: &str| Cell::from(Some(text.to_owned()).filter(|text| !text.is_empty()));
    let mut columns = vec![
        Column::new("GROUP", "group").long(),
        Column::new("TYPE", "type"),
        Column::new("STATE", "state"),
        Column::new("PROTOCOL", "protocol"),
    ];
    let cells = |group: &GroupListing| {
        vec![group.group_id.as_str().into(), said(&group.group_type), said(&group.state), said(&group.protocol_type)]
    };
    let (mut rows, mut failures): (Vec<Vec<Cell>>, _) = (Vec::new(), Vec::new());
    if sort == Sort::Lag {
        columns.extend(LAG_COLUMNS);
        let ids: Vec<String> = chosen.iter().map(|group| group.group_id.clone()).collect();
        let (mut views, failed) = view::load(admin, &ids, &all, IsolationLevel::ReadUncommitted).await?;
        failures = failed;
        views.sort_by_key(|view| std::cmp::Reverse(view.lag_at_least()));
        let by_id: BTreeMap<&str, &GroupListing> =
            chosen.iter().map(|group| (group.group_id.as_str(), *group)).collect();
        let known = views.iter().filter_map(|view| Some((view, by_id.get(view.id.as_str())?)));
        rows.extend(known.map(|(view, group)| [cells(group), view.lag_cells().to_vec()].concat()));
    } else {
        rows.extend(chosen.iter().map(|group| cells(group)));
    }
    let mut table = Table::new("groups", columns);
    rows.into_iter().for_each(|row| table.row(row));
    let part = if table.is_empty() { Part::default().note("no groups") } else { Part::default() };
    Ok(Answer::one(part.with(table)).failing(failures))
}
