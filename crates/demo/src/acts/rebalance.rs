//! Act 2: two consumers share four partitions; one is killed; the other has all four, each where it was left.
//!
//! Deliberately not here: ways to commit (`commits.rs`).

use std::collections::BTreeMap;

use anyhow::Result;
use pagemark_client::OffsetSpec;
use tokio::time::Instant;

use super::{Check, group_table};
use crate::audit::Audit;
use crate::consumer::talk::Step;
use crate::player::Player;
use crate::sales::Sale;
use crate::show::{Ink, aligned, indented};
use crate::stage::Stage;

/// What is read.
pub const TOPIC: &str = "sales-4";
/// Who reads it.
pub const GROUP: &str = "commission-4";

const PARTITIONS: i32 = 4;
/// How many records the consumers work on before one is killed: half in each of their partitions.
const CARLS: usize = 6;
const DORAS: usize = 10;

const SHARES: &str = "\
A topic can have several partitions, each a log with offsets of its own. The
consumers of a group share them: every partition has one reader at a time.

";

/// Plays it.
pub async fn play(stage: &Stage, audit: &Audit, sales: &[Sale]) -> Result<Vec<Check>> {
    let show = &stage.show;
    show.heading("ACT 2   Two consumers share four partitions, and one dies").await?;
    show.say(SHARES).await?;
    stage.create_topic(TOPIC, PARTITIONS).await?;
    let (mut carl, mut dora) = share(stage).await?;
    stage.produce(TOPIC, sales).await?;
    for (player, records) in [(&mut carl, CARLS), (&mut dora, DORAS)] {
        player.finish().await?;
        while player.written.len() < records {
            player.step(Step::Record).await?;
        }
    }
    let records = stage.offsets(TOPIC, OffsetSpec::Latest).await?.values().sum::<i64>();
    let text = format!(
        "\nNow there are {records} sales. Whose sale is in which partition depends on the\n\
         customer. carl has worked on {} of them, dora on {}, and the broker knows:\n\n",
        carl.written.len(),
        dora.written.len(),
    );
    show.say(&text).await?;
    show.say(&group_table(stage, GROUP, TOPIC).await?).await?;

    let (pid, had) = (dora.pid(), dora.partitions.clone());
    dora.kill_9().await?;
    show.say_in(Ink::Red, &format!("\n    kill -9 {pid}    (dora)")).await?;
    let left_at = stage.committed(GROUP, TOPIC).await?;
    let taken = take_over(stage, &mut carl, &had, &left_at).await?;
    finish(stage, audit, &mut carl, records).await?;
    carl.leave().await?;
    let expected = had.keys().map(|partition| (*partition, left_at.get(partition).copied().unwrap_or(0))).collect();
    let ends = stage.offsets(TOPIC, OffsetSpec::Latest).await?;
    Ok(vec![
        Check::equal("act 2: the survivor goes on where the dead one's commits are", &expected, &taken),
        Check::equal("act 2: at the end everything is committed", &ends, &stage.committed(GROUP, TOPIC).await?),
    ])
}

/// A consumer that has all partitions, and another that comes and gets half of them. Both wait for records then.
async fn share(stage: &Stage) -> Result<(Player, Player)> {
    let mut carl = Player::start(&stage.role(TOPIC, GROUP, "carl"))?;
    carl.allow(Step::Record).await?;
    carl.gather(PARTITIONS as usize).await?;
    tell(stage, &carl).await?;
    let mut dora = Player::start(&stage.role(TOPIC, GROUP, "dora"))?;
    dora.allow(Step::Record).await?;
    let half = PARTITIONS as usize / 2;
    dora.gather(half).await?;
    carl.gather(PARTITIONS as usize - half).await?;
    tell(stage, &dora).await?;
    tell(stage, &carl).await?;
    Ok((carl, dora))
}

async fn tell(stage: &Stage, player: &Player) -> Result<()> {
    let partitions: Vec<String> = player.partitions.keys().map(ToString::to_string).collect();
    let (name, pid, partitions) = (&player.name, player.pid(), partitions.join(", "));
    stage.show.say(&format!("    {name} (process {pid}) has partitions {partitions} of {TOPIC}")).await
}

/// Lets the survivor work on until it has all partitions; where it began with those of the dead one.
async fn take_over(
    stage: &Stage,
    survivor: &mut Player,
    had: &BTreeMap<i32, i64>,
    left_at: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>> {
    let show = &stage.show;
    show.say("\nThe group misses dora after session.timeout.ms. Meanwhile carl goes on with\nhis own partitions.\n\n")
        .await?;
    let (began, before) = (Instant::now(), survivor.written.len());
    while survivor.partitions.len() < PARTITIONS as usize {
        if survivor.is_waiting {
            show.pause().await;
            survivor.allow(Step::Record).await?;
        }
        survivor.hear().await?;
    }
    let (waited, meanwhile) = (began.elapsed().as_secs_f64(), survivor.written.len() - before);
    show.say(&format!("    after {waited:.1} s and {meanwhile} more records carl has all {PARTITIONS}\n\n")).await?;
    let mut rows = vec![["PARTITION", "DORA HAD COMMITTED", "CARL RESUMES AT"].map(str::to_owned)];
    let mut taken = BTreeMap::new();
    for partition in had.keys() {
        let at = survivor.partitions.get(partition).copied().unwrap_or(-1);
        taken.insert(*partition, at);
        let left = left_at.get(partition).map_or_else(|| "nothing".to_owned(), ToString::to_string);
        rows.push([format!("{TOPIC}-{partition}"), left, at.to_string()]);
    }
    show.say(&indented(&aligned(&rows))).await?;
    Ok(taken)
}

/// Lets the survivor work on all that is left.
async fn finish(stage: &Stage, audit: &Audit, survivor: &mut Player, records: i64) -> Result<()> {
    survivor.finish().await?;
    let rows = || anyhow::Ok(audit.rows_by_consumer(GROUP, TOPIC)?.values().sum::<i64>());
    while rows()? < records {
        survivor.step(Step::Record).await?;
    }
    let by = audit.rows_by_consumer(GROUP, TOPIC)?;
    let by: Vec<String> = by.iter().map(|(name, rows)| format!("{rows} by {name}")).collect();
    stage.show.say(&format!("\nAll the rest is done. Rows in the database: {}.\n\n", by.join(", "))).await?;
    stage.show.say(&group_table(stage, GROUP, TOPIC).await?).await
}
