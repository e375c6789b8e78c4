//! A reset as it is answered: what happens to each partition, and the sums.
//!
//! Deliberately not here: deciding anything.

use std::collections::BTreeMap;

use pagemark_client::TopicPartition;

use super::Standing;
use super::plan::{Effect, Plan};
use super::preview::{Glimpse, Seen};
use crate::output::{Answer, Cell, Column, Part, Table, counted};

/// The answer to a dry run, or to a reset that was made.
pub(super) fn answer(
    group: &str,
    standing: &Standing,
    plan: &Plan,
    seen: &BTreeMap<TopicPartition, Seen>,
    executed: bool,
) -> Answer {
    let (mut replayed, mut skipped, mut begun) = (0, 0, 0);
    for row in &plan.rows {
        match row.effect() {
            Effect::Replay(count) => replayed += count,
            Effect::Skip(count) => skipped += count,
            Effect::Begin => begun += 1,
            Effect::Nothing => {}
        }
    }
    let state = Some(standing.state.clone()).filter(|state| !state.is_empty());
    let mut part = Part::default()
        .fact(Column::new("GROUP", "group"), group)
        .fact(Column::new("STATE", "state"), state)
        .fact(Column::new("MEMBERS", "member_count"), standing.members)
        .fact(Column::data("executed"), executed)
        .fact(Column::data("replayed"), replayed)
        .fact(Column::data("skipped"), skipped)
        .with(table(plan, seen));
    let begins = match begun {
        0 => String::new(),
        _ => format!(", {} to begin at a first offset", counted(begun, "partition")),
    };
    let title = if executed { "done" } else { "dry run" };
    let again = counted(replayed, "offset");
    part = part.note(format!("{title}: {again} to be read again, {skipped} SKIPPED{begins}."));
    part = match (executed, standing.is_active()) {
        (true, _) => part,
        (false, false) => part.note("Apply with --execute."),
        (false, true) => {
            let words = standing.words();
            part.note(format!("The group is {words}: stop them, then --execute, or --execute --wait-empty 5m."))
        }
    };
    Answer::one(part)
}

fn table(plan: &Plan, seen: &BTreeMap<TopicPartition, Seen>) -> Table {
    let columns = [
        Column::new("TOPIC", "topic").long(),
        Column::new("PARTITION", "partition"),
        Column::new("FROM", "from_offset"),
        Column::new("NEW-OFFSET", "new_offset"),
        Column::words("EFFECT"),
        Column::data("effect"),
        Column::data("offsets"),
        Column::new("SPAN", "span").optional(),
        Column::new("FIRST-RECORD", "first_record").long().optional(),
        Column::new("NOTE", "note").optional(),
    ];
    let mut table = Table::new("partitions", columns);
    for row in &plan.rows {
        let effect = row.effect();
        let (words, name, count) = match effect {
            Effect::Replay(count) => (format!("replay {count}"), "replay", Some(count)),
            Effect::Skip(count) => (format!("SKIP {count}"), "skip", Some(count)),
            Effect::Begin => ("begin".to_owned(), "begin", None),
            Effect::Nothing => ("none".to_owned(), "none", Some(0)),
        };
        let seen = seen.get(&row.partition).cloned().unwrap_or_default();
        let time = |glimpse: &Option<Glimpse>| glimpse.as_ref().and_then(|glimpse| glimpse.timestamp_ms);
        let span = match (time(&seen.first), time(&seen.last)) {
            (Some(first), Some(last)) => Cell::Span(first, last),
            _ => Cell::Absent,
        };
        table.row([
            Cell::from(&*row.partition.topic),
            row.partition.partition.into(),
            row.from.into(),
            row.to.into(),
            Cell::Words(words),
            name.into(),
            count.into(),
            span,
            seen.first.map(first_record).into(),
            Cell::words(row.note()),
        ]);
    }
    for (partition, from, log) in &plan.left {
        table.row([
            Cell::from(&*partition.topic),
            partition.partition.into(),
            (*from).into(),
            Cell::Absent,
            Cell::Absent,
            "none".into(),
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
            Cell::Words(format!("{}, left as it is", log.trouble().unwrap_or_default())),
        ]);
    }
    table
}

/// `key=order-1`, or how the value begins where there is no key.
fn first_record(glimpse: Glimpse) -> String {
    match (glimpse.key, glimpse.value) {
        (Some(key), _) => format!("key={key}"),
        (None, Some(value)) => format!("value={value}"),
        (None, None) => format!("offset={}", glimpse.offset),
    }
}
