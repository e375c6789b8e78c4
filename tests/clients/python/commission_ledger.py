"""The database of commissions: rows and offsets in one transaction, so that they cannot disagree.

Not here: Kafka."""

import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS commissions (
    "partition" INTEGER NOT NULL, "offset" INTEGER NOT NULL, sale_id INTEGER NOT NULL, customer TEXT NOT NULL,
    amount_cents INTEGER NOT NULL, commission_cents INTEGER NOT NULL, PRIMARY KEY ("partition", "offset")) WITHOUT ROWID;
-- The next offset to read, and the highest one that the broker has confirmed.
CREATE TABLE IF NOT EXISTS offsets (
    "partition" INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS complaints (who TEXT NOT NULL, what TEXT NOT NULL);
"""


class Contradiction(Exception):
    """What was read cannot be true together with what was read before."""


def open_ledger(path):
    """Opens the database, making it if it is not there. Transactions are begun by hand."""
    ledger = sqlite3.connect(path, timeout=60, isolation_level=None)
    ledger.execute("PRAGMA journal_mode=WAL")
    ledger.execute("PRAGMA synchronous=NORMAL")
    ledger.executescript(SCHEMA)
    return ledger


def next_offset(ledger, partition):
    """The next offset to read, by the database."""
    row = ledger.execute('SELECT next_offset FROM offsets WHERE "partition" = ?', (partition,)).fetchone()
    return row[0] if row else 0


def commission_cents(amount_cents):
    """5 %, rounded half up."""
    return (amount_cents * 5 + 50) // 100


def write(ledger, sales_by_partition):
    """Writes {partition: [(offset, sale), ...]} and the offsets they lead to; returns {partition: next offset}."""
    leads_to = {}
    ledger.execute("BEGIN IMMEDIATE")
    try:
        for partition, sales in sales_by_partition.items():
            expected = next_offset(ledger, partition)
            for offset, sale in sales:
                if offset < expected:
                    check_same(ledger, partition, offset, sale)
                    continue
                if offset > expected:
                    raise Contradiction(f"partition {partition}: offset {offset} came where {expected} was due")
                amount = sale["amount_cents"]
                row = (partition, offset, sale["sale_id"], sale["customer"], amount, commission_cents(amount))
                ledger.execute("INSERT INTO commissions VALUES (?, ?, ?, ?, ?, ?)", row)
                expected += 1
            ledger.execute(
                'INSERT INTO offsets ("partition", next_offset) VALUES (?, ?) '
                'ON CONFLICT ("partition") DO UPDATE SET next_offset = excluded.next_offset',
                (partition, expected),
            )
            leads_to[partition] = expected
        ledger.execute("COMMIT")
    except BaseException:
        ledger.execute("ROLLBACK")
        raise
    return leads_to


def check_same(ledger, partition, offset, sale):
    """A record met again must be the record it was."""
    had = ledger.execute(
        'SELECT sale_id, amount_cents FROM commissions WHERE "partition" = ? AND "offset" = ?', (partition, offset)
    ).fetchone()
    if had != (sale["sale_id"], sale["amount_cents"]):
        raise Contradiction(f"partition {partition}, offset {offset}: was {had}, is now {sale}")


def acknowledged(ledger, partition):
    """The highest offset whose commit the broker has confirmed."""
    row = ledger.execute('SELECT acknowledged FROM offsets WHERE "partition" = ?', (partition,)).fetchone()
    return row[0] if row else 0


def note_acknowledged(ledger, partition, offset):
    """The broker has confirmed this commit."""
    ledger.execute(
        'UPDATE offsets SET acknowledged = max(acknowledged, ?) WHERE "partition" = ?', (offset, partition)
    )


def complain(ledger, who, what):
    """Something that must not be."""
    ledger.execute("INSERT INTO complaints VALUES (?, ?)", (who, what))
