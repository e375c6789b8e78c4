//! What the database says of a group, against what the log says: by SQL, with the log's records in a table beside the rows.
//!
//! The number of records comes from where the log begins and ends (ListOffsets), and every one of them is read again. Deliberately not
//! here: what anybody believed to have written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pagemark_client::{AutoOffsetReset, Consumer, OffsetSpec, TopicPartition};
use rusqlite::{Connection, Params, Row, params};
use serde::Serialize;

use crate::ledger;
use crate::sales::{Sale, commission_cents};
use crate::stage::Stage;

/// How long reading a log may take.
const PATIENCE: Duration = Duration::from_secs(30);

const LOG: &str = r#"
CREATE TEMP TABLE log (
    topic TEXT NOT NULL, "partition" INTEGER NOT NULL, "offset" INTEGER NOT NULL, sale_id INTEGER NOT NULL,
    commission_cents INTEGER NOT NULL, PRIMARY KEY (topic, "partition", "offset"));
"#;

/// The rows of a group, and the log's records that they are about.
const ROWS: &str = r#"FROM commissions WHERE "group" = ?1 AND topic = ?2"#;
const WITHOUT_ROW: &str = r#"FROM log WHERE topic = ?2 AND NOT EXISTS (
    SELECT * FROM commissions AS c WHERE c."group" = ?1 AND c.topic = log.topic AND c."partition" = log."partition"
    AND c."offset" = log."offset" AND c.sale_id = log.sale_id)"#;
const BY_RECORD: &str = r#"GROUP BY "partition", "offset" HAVING count(*) > 1"#;

/// What a group's database holds of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Whose rows.
    pub group: String,
    /// Of which topic.
    pub topic: String,
    /// Records in the topic's logs.
    pub records: i64,
    /// Rows in the database.
    pub rows: i64,
    /// Different sales among them.
    pub sales: i64,
    /// Rows beyond the first of a record.
    pub doubled: i64,
    /// Records without a row.
    pub missing: i64,
    /// Commissions of all records.
    pub expected_cents: i64,
    /// Commissions of all rows.
    pub found_cents: i64,
}

impl Account {
    /// Whether there is exactly one right row for each record.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let counts = [self.rows, self.sales].iter().all(|count| *count == self.records);
        counts && self.doubled == 0 && self.missing == 0 && self.expected_cents == self.found_cents
    }
}

/// A database that is looked at.
#[derive(Debug)]
pub struct Audit {
    database: Connection,
}

impl Audit {
    /// Opens the database beside those who write to it.
    ///
    /// # Errors
    /// As the database has them.
    pub fn open(path: &Path) -> Result<Audit> {
        let database = ledger::open(path)?;
        database.execute_batch(LOG)?;
        Ok(Audit { database })
    }

    /// Reads all records of a topic, so that rows can be held against them.
    ///
    /// # Errors
    /// What the broker says; a log that does not hold what its ends promise.
    pub async fn read_log(&mut self, stage: &Stage, topic: &str) -> Result<()> {
        let (from, to) = bounds(stage, topic).await?;
        let records: i64 = to.values().sum::<i64>() - from.values().sum::<i64>();
        let sales = read_all(&stage.bootstrap, topic, &to).await?;
        ensure!(
            sales.len() as i64 == records,
            "{topic} has {records} records by its ends, and {} to read",
            sales.len()
        );
        let tx = self.database.transaction()?;
        for (partition, offset, sale) in sales {
            let earns = commission_cents(sale.amount_cents);
            let row = params![topic, partition, offset, sale.sale_id, earns];
            tx.execute("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5)", row)?;
        }
        Ok(tx.commit()?)
    }

    /// Holds a group's rows against the records of a topic that was read.
    ///
    /// # Errors
    /// What the broker or the database say.
    pub async fn account(&self, stage: &Stage, group: &str, topic: &str) -> Result<Account> {
        let (from, to) = bounds(stage, topic).await?;
        let by = params![group, topic];
        let doubled = format!("SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n {ROWS} {BY_RECORD})");
        let expected = "SELECT coalesce(sum(commission_cents), 0) FROM log WHERE topic = ?1";
        Ok(Account {
            group: group.to_owned(),
            topic: topic.to_owned(),
            records: to.values().sum::<i64>() - from.values().sum::<i64>(),
            rows: self.number(&format!("SELECT count(*) {ROWS}"), by)?,
            sales: self.number(&format!("SELECT count(DISTINCT sale_id) {ROWS}"), by)?,
            doubled: self.number(&doubled, by)?,
            missing: self.number(&format!("SELECT count(*) {WITHOUT_ROW}"), by)?,
            expected_cents: self.number(expected, [topic])?,
            found_cents: self.number(&format!("SELECT coalesce(sum(commission_cents), 0) {ROWS}"), by)?,
        })
    }

    /// Records with more than one row, and records with none: sale, partition, offset.
    ///
    /// # Errors
    /// As the database has them.
    pub fn faults(&self, group: &str, topic: &str) -> Result<(Vec<Place>, Vec<Place>)> {
        let columns = r#"sale_id, "partition", "offset""#;
        let order = r#"ORDER BY "partition", "offset""#;
        let doubled = self.places(&format!("SELECT {columns} {ROWS} {BY_RECORD} {order}"), group, topic)?;
        let missing = self.places(&format!("SELECT {columns} {WITHOUT_ROW} {order}"), group, topic)?;
        Ok((doubled, missing))
    }

    /// The row of a record: sale, what was paid, commission.
    ///
    /// # Errors
    /// There is none.
    pub fn row(&self, group: &str, topic: &str, partition: i32, offset: i64) -> Result<(i64, i64, i64)> {
        let query =
            format!(r#"SELECT sale_id, amount_cents, commission_cents {ROWS} AND "partition" = ?3 AND "offset" = ?4"#);
        let by = params![group, topic, partition, offset];
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = self.database.query_row(&query, by, read);
        found.with_context(|| format!("{group} has no row of {topic}-{partition}, offset {offset}"))
    }

    /// How many rows each consumer wrote for a group.
    ///
    /// # Errors
    /// As the database has them.
    pub fn rows_by_consumer(&self, group: &str, topic: &str) -> Result<BTreeMap<String, i64>> {
        let mut query = self.database.prepare(&format!("SELECT consumer, count(*) {ROWS} GROUP BY 1"))?;
        let rows = query.query_map([group, topic], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The next offset of a partition, by the database; 0 if nothing was written with its offset.
    ///
    /// # Errors
    /// As the database has them.
    pub fn next_offset(&self, group: &str, topic: &str, partition: i32) -> Result<i64> {
        ledger::next_offset(&self.database, group, topic, partition)
    }

    /// What consumers complained of.
    ///
    /// # Errors
    /// As the database has them.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let mut query = self.database.prepare("SELECT who || ': ' || what FROM complaints")?;
        let found = query.query_map([], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Damages the database on purpose: one row of a group, from the middle, is gone or there twice. Which one.
    ///
    /// # Errors
    /// The group has no rows.
    pub fn damage(&self, group: &str, topic: &str, is_deleted: bool) -> Result<Place> {
        let middle = format!(
            r#"SELECT rowid {ROWS} ORDER BY "partition", "offset" LIMIT 1 OFFSET (SELECT count(*) / 2 {ROWS})"#
        );
        let by = params![group, topic];
        let rowid = self.number(&middle, by).context("there is no row to damage")?;
        let found = self.database.query_row(
            r#"SELECT sale_id, "partition", "offset" FROM commissions WHERE rowid = ?1"#,
            [rowid],
            Place::read,
        )?;
        let change = match is_deleted {
            true => "DELETE FROM commissions WHERE rowid = ?1",
            false => "INSERT INTO commissions SELECT * FROM commissions WHERE rowid = ?1",
        };
        match self.database.execute(change, [rowid])? {
            1 => Ok(found),
            rows => bail!("{rows} rows were changed instead of one"),
        }
    }

    fn number(&self, query: &str, by: impl Params) -> Result<i64> {
        Ok(self.database.query_row(query, by, |row| row.get(0))?)
    }

    fn places(&self, query: &str, group: &str, topic: &str) -> Result<Vec<Place>> {
        let mut query = self.database.prepare(query)?;
        let found = query.query_map([group, topic], Place::read)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

/// Where a sale is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The sale.
    pub sale_id: i64,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl Place {
    fn read(row: &Row<'_>) -> rusqlite::Result<Place> {
        Ok(Place { sale_id: row.get(0)?, partition: row.get(1)?, offset: row.get(2)? })
    }
}

async fn bounds(stage: &Stage, topic: &str) -> Result<(BTreeMap<i32, i64>, BTreeMap<i32, i64>)> {
    Ok((stage.offsets(topic, OffsetSpec::Earliest).await?, stage.offsets(topic, OffsetSpec::Latest).await?))
}

/// Every record from the logs' beginnings to these ends.
async fn read_all(bootstrap: &str, topic: &str, ends: &BTreeMap<i32, i64>) -> Result<Vec<(i32, i64, Sale)>> {
    let mut consumer = Consumer::builder(bootstrap).auto_offset_reset(AutoOffsetReset::Earliest).build()?;
    let partitions: Vec<_> = ends.keys().map(|partition| TopicPartition::new(topic, *partition)).collect();
    consumer.assign(partitions.iter().cloned())?;
    let mut sales = Vec::new();
    let read = async {
        let is_read = |consumer: &Consumer, partition: &TopicPartition| {
            let end = ends.get(&partition.partition).copied().unwrap_or(0);
            consumer.position(partition).is_ok_and(|position| position.is_some_and(|position| position >= end))
        };
        while !partitions.iter().all(|partition| is_read(&consumer, partition)) {
            for record in consumer.poll(Duration::from_millis(100)).await? {
                let sale = serde_json::from_slice(record.value()).context("a record is no sale")?;
                sales.push((record.partition.partition, record.offset, sale));
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, read).await.with_context(|| format!("{topic} cannot be read to its end"))??;
    consumer.close().await;
    Ok(sales)
}
