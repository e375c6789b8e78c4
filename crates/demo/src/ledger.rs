//! The database of commissions: a row for each sale, and the next offset to read, in one transaction.
//!
//! Two transactions are offered, since the difference is what the demo shows: [`Ledger::write_with_offsets`], after which rows
//! and offsets cannot disagree, and [`Ledger::write_rows`], which knows nothing of offsets and takes the same sale twice.
//! Deliberately not here: Kafka's protocol, and judging what the table says (`audit.rs`).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::sales::{Sale, commission_cents};

/// How long another process may hold the database.
const PATIENCE: Duration = Duration::from_secs(60);

const SCHEMA: &str = r#"
CREATE TABLE IF NOT EXISTS commissions (
    "group" TEXT NOT NULL, topic TEXT NOT NULL, "partition" INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    sale_id INTEGER NOT NULL, customer TEXT NOT NULL, amount_cents INTEGER NOT NULL, commission_cents INTEGER NOT NULL,
    consumer TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS commissions_by_record ON commissions ("group", topic, "partition", "offset");
-- The next offset to read, and the highest one that the broker has confirmed.
CREATE TABLE IF NOT EXISTS offsets (
    "group" TEXT NOT NULL, topic TEXT NOT NULL, "partition" INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL DEFAULT 0, PRIMARY KEY ("group", topic, "partition"));
CREATE TABLE IF NOT EXISTS complaints (who TEXT NOT NULL, what TEXT NOT NULL);
"#;

/// A sale and the record that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// What it says.
    pub sale: Sale,
}

/// The database, seen by one consumer of one group and topic.
#[derive(Debug)]
pub struct Ledger {
    database: Connection,
    group: String,
    topic: String,
    consumer: String,
}

/// Opens the database, and makes it if it is not there.
///
/// # Errors
/// As the database has them.
pub fn open(path: &Path) -> Result<Connection> {
    let database = Connection::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    database.busy_timeout(PATIENCE)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.execute_batch(SCHEMA)?;
    Ok(database)
}

impl Ledger {
    /// The database at this path for one consumer.
    ///
    /// # Errors
    /// As the database has them.
    pub fn open(path: &Path, group: &str, topic: &str, consumer: &str) -> Result<Ledger> {
        let (group, topic, consumer) = (group.to_owned(), topic.to_owned(), consumer.to_owned());
        Ok(Ledger { database: open(path)?, group, topic, consumer })
    }

    /// The next offset to read, by the database; 0 if there is nothing yet.
    ///
    /// # Errors
    /// As the database has them.
    pub fn next_offset(&self, partition: i32) -> Result<i64> {
        next_offset(&self.database, &self.group, &self.topic, partition)
    }

    /// Writes rows, and where each partition goes on, in one transaction. Rows that are there already are compared and left
    /// alone; how many were new.
    ///
    /// # Errors
    /// A contradiction: a record that is not the one it was, or one that skips others. Nothing is written then.
    pub fn write_with_offsets(&mut self, entries: &[Entry]) -> Result<usize> {
        let (group, topic) = (&self.group, &self.topic);
        let tx = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut new = 0;
        for entry in entries {
            let expected = next_offset(&tx, group, topic, entry.partition)?;
            let Entry { partition, offset, .. } = *entry;
            if offset < expected {
                check_same(&tx, group, topic, entry)?;
                continue;
            }
            ensure!(offset == expected, "{topic}-{partition}: offset {offset} came where {expected} was due");
            insert(&tx, group, topic, &self.consumer, entry)?;
            tx.prepare(
                r#"INSERT INTO offsets ("group", topic, "partition", next_offset) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset"#,
            )?
            .execute(params![group, topic, partition, offset + 1])?;
            new += 1;
        }
        tx.commit()?;
        Ok(new)
    }

    /// Writes rows and nothing else.
    ///
    /// # Errors
    /// As the database has them.
    pub fn write_rows(&mut self, entries: &[Entry]) -> Result<()> {
        let tx = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for entry in entries {
            insert(&tx, &self.group, &self.topic, &self.consumer, entry)?;
        }
        Ok(tx.commit()?)
    }

    /// The highest next offset that the broker has confirmed.
    ///
    /// # Errors
    /// As the database has them.
    pub fn acknowledged(&self, partition: i32) -> Result<i64> {
        let query = r#"SELECT acknowledged FROM offsets WHERE "group" = ?1 AND topic = ?2 AND "partition" = ?3"#;
        let mut query = self.database.prepare(query)?;
        let found = query.query_row(params![self.group, self.topic, partition], |row| row.get(0)).optional()?;
        Ok(found.unwrap_or(0))
    }

    /// The broker has confirmed the commit of this next offset.
    ///
    /// # Errors
    /// As the database has them.
    pub fn note_acknowledged(&self, partition: i32, next: i64) -> Result<()> {
        let update = r#"UPDATE offsets SET acknowledged = max(acknowledged, ?4)
                        WHERE "group" = ?1 AND topic = ?2 AND "partition" = ?3"#;
        self.database.prepare(update)?.execute(params![self.group, self.topic, partition, next])?;
        Ok(())
    }

    /// Writes down something that must not be.
    ///
    /// # Errors
    /// As the database has them.
    pub fn complain(&self, what: &str) -> Result<()> {
        self.database.execute("INSERT INTO complaints VALUES (?1, ?2)", params![self.consumer, what])?;
        Ok(())
    }
}

pub(crate) fn next_offset(database: &Connection, group: &str, topic: &str, partition: i32) -> Result<i64> {
    let query = r#"SELECT next_offset FROM offsets WHERE "group" = ?1 AND topic = ?2 AND "partition" = ?3"#;
    let mut query = database.prepare(query)?;
    Ok(query.query_row(params![group, topic, partition], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn insert(tx: &Transaction<'_>, group: &str, topic: &str, consumer: &str, entry: &Entry) -> Result<()> {
    let Entry { partition, offset, sale } = entry;
    let earned = commission_cents(sale.amount_cents);
    let row =
        params![group, topic, partition, offset, sale.sale_id, sale.customer, sale.amount_cents, earned, consumer];
    tx.prepare("INSERT INTO commissions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(row)?;
    Ok(())
}

/// A record that is met again must be the record it was.
fn check_same(tx: &Transaction<'_>, group: &str, topic: &str, entry: &Entry) -> Result<()> {
    let query = r#"SELECT sale_id, amount_cents FROM commissions
                   WHERE "group" = ?1 AND topic = ?2 AND "partition" = ?3 AND "offset" = ?4"#;
    let Entry { partition, offset, sale } = entry;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let had: Option<(i64, i64)> =
        tx.prepare(query)?.query_row(params![group, topic, partition, offset], read).optional()?;
    if had != Some((sale.sale_id, sale.amount_cents)) {
        bail!("{topic}-{partition}, offset {offset}: was {had:?}, is now {sale:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sales::generate;

    fn entries(offsets: std::ops::Range<i64>) -> Vec<Entry> {
        let all = generate(1, 100, 1);
        offsets.map(|offset| Entry { partition: 0, offset, sale: all[offset as usize].clone() }).collect()
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("l.db"), "g", "t", "anna").unwrap();
        (folder, ledger)
    }

    fn rows(ledger: &Ledger) -> i64 {
        ledger.database.query_row("SELECT count(*) FROM commissions", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn rows_and_the_next_offset_are_written_together_and_repetitions_change_nothing() {
        let (_folder, mut ledger) = ledger();
        assert_eq!(ledger.write_with_offsets(&entries(0..4)).unwrap(), 4);
        assert_eq!(ledger.next_offset(0).unwrap(), 4);
        assert_eq!(ledger.write_with_offsets(&entries(2..6)).unwrap(), 2);
        assert_eq!((rows(&ledger), ledger.next_offset(0).unwrap()), (6, 6));
        assert_eq!(ledger.next_offset(1).unwrap(), 0);
    }

    #[test]
    fn a_gap_or_a_record_that_changed_writes_nothing() {
        let (_folder, mut ledger) = ledger();
        ledger.write_with_offsets(&entries(0..3)).unwrap();
        let gap = [entries(3..4), entries(5..6)].concat();
        let said = ledger.write_with_offsets(&gap).unwrap_err().to_string();
        assert_eq!(said, "t-0: offset 5 came where 4 was due");
        let mut other = entries(1..2);
        other[0].sale.sale_id = 77;
        assert!(ledger.write_with_offsets(&other).is_err());
        assert_eq!((rows(&ledger), ledger.next_offset(0).unwrap()), (3, 3));
    }

    #[test]
    fn without_offsets_a_repetition_is_a_second_row() {
        let (_folder, mut ledger) = ledger();
        ledger.write_rows(&entries(0..2)).unwrap();
        ledger.write_rows(&entries(1..2)).unwrap();
        assert_eq!((rows(&ledger), ledger.next_offset(0).unwrap()), (3, 0));
    }

    #[test]
    fn what_was_acknowledged_only_grows() {
        let (_folder, mut ledger) = ledger();
        ledger.write_with_offsets(&entries(0..4)).unwrap();
        for next in [3, 4, 2] {
            ledger.note_acknowledged(0, next).unwrap();
        }
        assert_eq!(ledger.acknowledged(0).unwrap(), 4);
    }
}
