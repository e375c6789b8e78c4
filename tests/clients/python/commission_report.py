#!/usr/bin/env python3
"""commission_report DATABASE - what the database of commissions says, as one JSON object."""

import json
import sys

import commission_ledger as ledgers


def main():
    ledger = ledgers.open_ledger(sys.argv[1])

    def one(query):
        return ledger.execute(query).fetchone()[0] or 0

    by_partition = 'SELECT "partition", count(*), min("offset"), max("offset") FROM commissions GROUP BY 1 ORDER BY 1'
    report = {
        "rows": one("SELECT count(*) FROM commissions"),
        "different_sales": one("SELECT count(DISTINCT sale_id) FROM commissions"),
        "amount_cents": one("SELECT sum(amount_cents) FROM commissions"),
        "commission_cents": one("SELECT sum(commission_cents) FROM commissions"),
        "customers": one("SELECT count(DISTINCT customer) FROM commissions"),
        "customers_in_two_partitions": one(
            'SELECT count(*) FROM (SELECT customer FROM commissions GROUP BY 1 HAVING count(DISTINCT "partition") > 1)'
        ),
        "out_of_order": one(
            'SELECT count(*) FROM (SELECT sale_id, lag(sale_id) OVER (PARTITION BY customer ORDER BY "offset") AS before '
            "FROM commissions) WHERE before >= sale_id"
        ),
        "partitions": [
            {"partition": partition, "rows": rows, "first": first, "last": last}
            for partition, rows, first, last in ledger.execute(by_partition)
        ],
        "complaints": [f"{who}: {what}" for who, what in ledger.execute("SELECT who, what FROM complaints")],
    }
    json.dump(report, sys.stdout)
    print()


if __name__ == "__main__":
    main()
