//! Act 3: four consumers that commit in four ways, and the same crash for each.
//!
//! Each is killed in the middle of record 5: its row is in the database, and nothing came after. What the next one does depends
//! on the committed offset alone. Deliberately not here: transactions of Kafka.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use pagemark_client::OffsetSpec;
use serde::Serialize;

use super::Check;
use crate::audit::Audit;
use crate::consumer::CommitKind;
use crate::consumer::talk::Step;
use crate::player::{Player, Role};
use crate::sales::Sale;
use crate::show::{Ink, aligned, indented, ranges};
use crate::stage::Stage;

/// What is read.
pub const TOPIC: &str = "sales-crash";
/// The group that keeps its offset with its rows.
pub const DATABASE_GROUP: &str = "in-database";

/// The record whose row is the last thing that each of them does.
const CRASH_AT: i64 = 5;
/// How long the automatic commit is waited for: many intervals.
const PATIENCE: Duration = Duration::from_secs(30);

const KINDS: [(&str, CommitKind, u64); 4] = [
    ("auto-received", CommitKind::AutoReceived, 200),
    ("auto-processed", CommitKind::AutoProcessed, 5000),
    ("manual", CommitKind::Manual, 5000),
    (DATABASE_GROUP, CommitKind::Database, 5000),
];

const WAYS: &str = "\
When is a record done? Four groups read the same ten sales and commit in four
ways:

    auto-received   by itself, every 200 ms: whatever it was handed, done or not
    auto-processed  by itself, every 5 s: what is done
    manual          by a call after each record
    in-database     the offset is in the database, in the row's transaction

The first is what librdkafka does unless it is told otherwise, the second is
what Pagemark's own client does. Each is killed at the same moment: the row of
record 5 has just been written, and nothing came after that.

";

const MORAL: &str = "\
Committed before it is done: a crash loses records. Committed after: a crash
repeats records (at least once). Row and offset in one transaction: neither
(exactly once).";

/// What a crash cost a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Which group.
    pub group: String,
    /// What the broker had when the consumer was dead; none if nothing.
    pub committed: Option<i64>,
    /// Where the next consumer began.
    pub resumed_at: i64,
    /// Offsets with more than one row at the end.
    pub repeated: Vec<i64>,
    /// Offsets without a row at the end.
    pub lost: Vec<i64>,
}

/// Plays it.
pub async fn play(stage: &Stage, audit: &mut Audit, sales: &[Sale]) -> Result<Vec<Cost>> {
    let show = &stage.show;
    show.heading("ACT 3   The same crash, with four ways to commit").await?;
    show.say(WAYS).await?;
    stage.create_topic(TOPIC, 1).await?;
    stage.produce(TOPIC, sales).await?;
    audit.read_log(stage, TOPIC).await?;
    let roles: Vec<Role> = KINDS.iter().map(|kind| role(stage, *kind, "-1")).collect();
    crash(stage, &roles).await?;
    let mut committed = Vec::new();
    for role in &roles {
        committed.push(stage.committed(&role.group, TOPIC).await?.get(&0).copied());
    }
    show.say("\nFor each a second consumer comes and reads to the end of the log.\n\n").await?;
    let resumed = recover(stage).await?;
    let mut costs = Vec::new();
    for ((role, committed), resumed_at) in roles.iter().zip(committed).zip(resumed) {
        let (doubled, missing) = audit.faults(&role.group, TOPIC)?;
        let offsets = |places: Vec<crate::audit::Place>| places.into_iter().map(|place| place.offset).collect();
        let (repeated, lost) = (offsets(doubled), offsets(missing));
        costs.push(Cost { group: role.group.clone(), committed, resumed_at, repeated, lost });
    }
    show.say(&table(&costs)).await?;
    let in_database = audit.next_offset(DATABASE_GROUP, TOPIC, 0)?;
    show.say(&format!(
        "\n{DATABASE_GROUP} does not ask the broker where to go on: its database says so, and\n\
         has {in_database} by now.\n\n{MORAL}"
    ))
    .await?;
    Ok(costs)
}

/// Whether each way to commit costs what the act says of it.
pub fn checks(costs: &[Cost]) -> Vec<Check> {
    let costs_what = |kind: usize, what: &str, expected: (bool, bool)| {
        let cost = costs.iter().find(|cost| cost.group == KINDS[kind].0);
        let found = cost.map(|cost| (!cost.repeated.is_empty(), !cost.lost.is_empty()));
        Check::equal(&format!("act 3: {}: {what}", KINDS[kind].0), &Some(expected), &found)
    };
    vec![
        costs_what(0, "committed before it is done: a crash loses", (false, true)),
        costs_what(1, "committed after it is done: a crash repeats", (true, false)),
        costs_what(2, "committed after each record: a crash repeats", (true, false)),
        costs_what(3, "row and offset in one transaction: neither", (false, false)),
    ]
}

fn role(stage: &Stage, (group, commit, auto_commit_interval_ms): (&str, CommitKind, u64), end: &str) -> Role {
    let plain = stage.role(TOPIC, group, &format!("{group}{end}"));
    Role { commit, auto_commit_interval_ms, max_poll_records: 500, ..plain }
}

/// Brings each to the row of record 5 and kills it there.
async fn crash(stage: &Stage, roles: &[Role]) -> Result<()> {
    let mut players = roles.iter().map(Player::start).collect::<Result<Vec<Player>>>()?;
    for player in &mut players {
        loop {
            let next = player.written.last().map_or(0, |(_, offset)| offset + 1);
            player.step(if next < CRASH_AT { Step::Record } else { Step::Row }).await?;
            if next >= CRASH_AT {
                break;
            }
        }
    }
    let mut pids = Vec::new();
    for (player, role) in players.into_iter().zip(roles) {
        if role.commit == CommitKind::AutoReceived {
            let received = player.received.get(&0).copied().context("it received something")?;
            await_commit(stage, &role.group, received).await?;
        }
        pids.push(player.pid().to_string());
        player.kill_9().await?;
    }
    stage.show.say_in(Ink::Red, &format!("    kill -9 {}", pids.join(" "))).await
}

/// Work that takes its time: until the automatic commit has covered what was received.
async fn await_commit(stage: &Stage, group: &str, received: i64) -> Result<()> {
    let mut tries = tokio::time::interval(Duration::from_millis(20));
    let commit = async {
        while stage.committed(group, TOPIC).await?.get(&0).is_none_or(|committed| *committed < received) {
            tries.tick().await;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(PATIENCE, commit).await {
        Ok(done) => done,
        Err(_) => bail!("{group} does not commit by itself"),
    }
}

/// The second consumer of each group, from where it begins to the log's end; where that was.
async fn recover(stage: &Stage) -> Result<Vec<i64>> {
    let roles = KINDS.iter().map(|kind| role(stage, *kind, "-2"));
    let mut players = roles.map(|role| Player::start(&role)).collect::<Result<Vec<Player>>>()?;
    for player in &mut players {
        player.allow(Step::Record).await?;
    }
    let end = stage.offsets(TOPIC, OffsetSpec::Latest).await?.get(&0).copied().unwrap_or(0);
    let mut resumed = Vec::new();
    for mut player in players {
        player.gather(1).await?;
        let at = player.partitions.get(&0).copied().context("it has the partition")?;
        resumed.push(at);
        if at < end {
            player.finish().await?;
            while player.written.last().is_none_or(|(_, offset)| offset + 1 < end) {
                player.step(Step::Record).await?;
            }
        }
        player.leave().await?;
    }
    Ok(resumed)
}

fn table(costs: &[Cost]) -> String {
    let mut rows = vec![["GROUP", "COMMITTED", "RESUMED AT", "REPEATED", "LOST"].map(str::to_owned)];
    for cost in costs {
        let committed = cost.committed.map_or_else(|| "-".to_owned(), |next| next.to_string());
        let (repeated, lost) = (ranges(&cost.repeated), ranges(&cost.lost));
        rows.push([cost.group.clone(), committed, cost.resumed_at.to_string(), repeated, lost]);
    }
    indented(&aligned(&rows))
}
