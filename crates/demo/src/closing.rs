//! The closing table: rows against records for every group that promises one row for each, and what the acts found out.
//!
//! Deliberately not here: the SQL (`audit.rs`).

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::acts::commits::{self, Cost};
use crate::acts::{Check, crash, rebalance};
use crate::audit::{Account, Audit};
use crate::show::{Ink, aligned};
use crate::stage::Stage;

/// Groups whose rows must be exactly one for each record.
const EXACT: [(&str, &str); 3] =
    [(crash::GROUP, crash::TOPIC), (rebalance::GROUP, rebalance::TOPIC), (commits::DATABASE_GROUP, commits::TOPIC)];

const COUNTS: &str = "\
RECORDS is where the logs end, asked from the broker (ListOffsets); every record
is read again for EXPECTED, the commissions in cents. The rest is SQL on the
database.

";

/// Everything that was found out.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Whether all of it is as it must be.
    pub holds: bool,
    checks: Vec<Check>,
    groups: Vec<Account>,
    crashes: Vec<Cost>,
    /// Where broker and database are, if they were kept.
    pub directory: Option<PathBuf>,
}

/// What is wrong with a group's rows, a line each.
fn complaints_of(audit: &Audit, account: &Account) -> Result<Vec<String>> {
    let Account { group, topic, .. } = account;
    let (doubled, missing) = audit.faults(group, topic)?;
    let doubled = doubled.iter().map(|place| (place, "has more than one row"));
    let missing = missing.iter().map(|place| (place, "has no row"));
    let told = doubled.chain(missing);
    Ok(told
        .map(|(p, what)| format!("{topic}-{}, offset {}: sale {} {what}", p.partition, p.offset, p.sale_id))
        .collect())
}

/// Counts, and shows what was counted.
pub async fn close(stage: &Stage, audit: &mut Audit, mut checks: Vec<Check>, crashes: Vec<Cost>) -> Result<Verdict> {
    let show = &stage.show;
    show.heading("CLOSING  Is every sale in the database exactly once?").await?;
    show.say(COUNTS).await?;
    audit.read_log(stage, crash::TOPIC).await?;
    audit.read_log(stage, rebalance::TOPIC).await?;
    let mut groups = Vec::new();
    let mut wrong = Vec::new();
    for (group, topic) in EXACT {
        let account = audit.account(stage, group, topic).await?;
        wrong.extend(complaints_of(audit, &account)?);
        groups.push(account);
    }
    checks.push(Check::equal("no consumer met a contradiction", &Vec::new(), &audit.complaints()?));
    let table = table(&groups);
    for (line, account) in table.lines().zip(std::iter::once(None).chain(groups.iter().map(Some))) {
        match account {
            Some(account) => show.say_in(if account.is_right() { Ink::Green } else { Ink::Red }, line).await?,
            None => show.say(line).await?,
        }
    }
    show.say("\n").await?;
    for line in wrong {
        show.say_in(Ink::Red, &line).await?;
    }
    for check in &checks {
        let (mark, ink) = if check.holds { ("ok   ", Ink::Green) } else { ("WRONG", Ink::Red) };
        show.say(&format!("{} {}", show.ink(ink, mark), check.what)).await?;
    }
    let holds = groups.iter().all(Account::is_right) && checks.iter().all(|check| check.holds);
    show.say("\n").await?;
    match holds {
        true => show.say_in(Ink::Green, "Every sale is there exactly once, to the cent.").await?,
        false => show.say_in(Ink::Red, "This does not add up.").await?,
    }
    Ok(Verdict { holds, checks, groups, crashes, directory: None })
}

fn table(groups: &[Account]) -> String {
    let head = ["GROUP", "RECORDS", "ROWS", "SALES", "DOUBLED", "MISSING", "EXPECTED", "FOUND", ""];
    let mut rows = vec![head.map(str::to_owned)];
    for account in groups {
        let Account { records, rows: found, sales, doubled, missing, expected_cents, found_cents, .. } = account;
        let numbers = [records, found, sales, doubled, missing, expected_cents, found_cents].map(ToString::to_string);
        let [records, found, sales, doubled, missing, expected, cents] = numbers;
        let mark = if account.is_right() { "ok" } else { "WRONG" }.to_owned();
        rows.push([account.group.clone(), records, found, sales, doubled, missing, expected, cents, mark]);
    }
    aligned(&rows)
}
