//! Act 1: one consumer works on records 0 to 3 and is killed; the next one begins at 4.
//!
//! Deliberately not here: several partitions (`rebalance.rs`).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use pagemark_client::OffsetSpec;
use tokio::time::Instant;

use super::{Check, group_table};
use crate::audit::Audit;
use crate::consumer::talk::{Report, Step};
use crate::player::Player;
use crate::sales::Sale;
use crate::show::{Ink, aligned, indented, money};
use crate::stage::{SESSION_TIMEOUT_MS, Stage};

/// What is read.
pub const TOPIC: &str = "sales";
/// Who reads it.
pub const GROUP: &str = "commission";

/// The record after which the first consumer is killed.
const LAST_DONE: i64 = 3;

const OFFSETS: &str = "\
A topic is a log: records are added at its end and numbered from 0. The number
is a record's offset. A shop writes its sales to the topic:
";

const JOINS: &str = "\
For each record it writes the commission of 5 % and the next offset to a
database, in one transaction. Then it commits the offset to the broker.

";

const NEXT: &str = "\
CURRENT-OFFSET is what the group has committed: the NEXT offset to read.
LAST-DONE is one less. The database says the same: next is ";

/// Plays it.
pub async fn play(stage: &Stage, audit: &Audit, sales: &[Sale]) -> Result<Vec<Check>> {
    let show = &stage.show;
    show.heading(&format!("ACT 1   A consumer dies after record {LAST_DONE}")).await?;
    show.say(OFFSETS).await?;
    stage.create_topic(TOPIC, 1).await?;
    produce(stage, sales).await?;

    let mut anna = Player::start(&stage.role(TOPIC, GROUP, "anna"))?;
    show.say(&format!("\nA consumer, anna (process {}), joins the group {GROUP}.", anna.pid())).await?;
    show.say(JOINS).await?;
    while anna.written.last().is_none_or(|(_, offset)| *offset < LAST_DONE) {
        let heard = anna.step(Step::Record).await?;
        tell(stage, audit, &anna.name, &heard).await?;
    }
    let pid = anna.pid();
    anna.kill_9().await?;
    show.say_in(Ink::Red, &format!("    kill -9 {pid}")).await?;
    let committed = stage.committed(GROUP, TOPIC).await?;
    let next = *committed.get(&0).context("nothing is committed")?;
    show.say(&format!("\nanna is dead. LAST-DONE {}, committed offset {next}:\n", next - 1)).await?;
    show.say(&group_table(stage, GROUP, TOPIC).await?).await?;
    show.say(&format!("\n{NEXT}{}.", audit.next_offset(GROUP, TOPIC, 0)?)).await?;
    let resumed = resume(stage, audit, next).await?;
    Ok(vec![
        Check::equal("act 1: after record 3 the committed offset is the next one", &(LAST_DONE + 1), &next),
        Check::equal("act 1: the next consumer begins exactly there", &BTreeMap::from([(0, next)]), &resumed),
    ])
}

async fn produce(stage: &Stage, sales: &[Sale]) -> Result<()> {
    let mut rows = vec![["OFFSET", "SALE", "DATE", "STORE", "CUSTOMER", "PAID"].map(str::to_owned)];
    for (sale, written) in sales.iter().zip(stage.produce(TOPIC, sales).await?) {
        let offset = written.offset.context("the broker says no offset")?;
        let (date, store, customer) = (sale.date.clone(), sale.store.clone(), sale.customer.clone());
        rows.push([offset.to_string(), sale.sale_id.to_string(), date, store, customer, money(sale.amount_cents)]);
    }
    stage.show.say(&format!("\n{}", indented(&aligned(&rows)))).await
}

/// A line for each record that was worked on, as database and broker have it.
async fn tell(stage: &Stage, audit: &Audit, name: &str, heard: &[Report]) -> Result<()> {
    for report in heard {
        let Report::Written { partition, offset } = *report else { continue };
        let (sale, paid, earned) = audit.row(GROUP, TOPIC, partition, offset)?;
        let next = heard.iter().find_map(|report| match report {
            Report::Committed { partition: of, next } if *of == partition => Some(*next),
            _ => None,
        });
        let next = next.map_or_else(|| "not committed".to_owned(), |next| format!("committed {next}"));
        let (paid, earned) = (money(paid), money(earned));
        let line =
            format!("    {name}  offset {offset}  sale {sale:>2}  {paid:>6}  earns {earned:>5}  row written, {next}");
        stage.show.say(&line).await?;
    }
    Ok(())
}

/// The second consumer, from its start to the log's end; where it began.
async fn resume(stage: &Stage, audit: &Audit, next: i64) -> Result<BTreeMap<i32, i64>> {
    let show = &stage.show;
    let began = Instant::now();
    let mut bela = Player::start(&stage.role(TOPIC, GROUP, "bela"))?;
    let seconds = SESSION_TIMEOUT_MS as f64 / 1000.0;
    let text = format!(
        "\nAnother consumer, bela (process {}), joins. anna could not say goodbye, so\n\
         the group waits for her until session.timeout.ms is over. That is {seconds} s here,\n\
         so that the demo is short, and 45 s by default.\n\n",
        bela.pid()
    );
    show.say(&text).await?;
    bela.allow(Step::Record).await?;
    bela.gather(1).await?;
    let resumed = bela.partitions.clone();
    let waited = began.elapsed().as_secs_f64();
    for (partition, at) in &resumed {
        let verdict = if *at == next { Ink::Green } else { Ink::Red };
        let line = format!("    after {waited:.1} s bela has {TOPIC}-{partition} and resumes at {at}");
        show.say_in(verdict, &line).await?;
    }
    let heard = bela.finish().await?;
    tell(stage, audit, &bela.name, &heard).await?;
    let end = stage.offsets(TOPIC, OffsetSpec::Latest).await?.get(&0).copied().unwrap_or(0);
    while bela.written.last().is_none_or(|(_, offset)| offset + 1 < end) {
        let heard = bela.step(Step::Record).await?;
        tell(stage, audit, &bela.name, &heard).await?;
    }
    bela.leave().await?;
    Ok(resumed)
}
