#!/usr/bin/env python3
"""commission_consumer - reads sales and writes commissions of 5 % to a SQLite database, each with its offset.

The database decides where to go on: rows and the next offset are written in one transaction, and on assignment the consumer
seeks to what the database says. The commit to the broker comes after and is advice: it may be behind (then it is repeated),
but never ahead of the database, and never behind a commit that the broker has confirmed. Whatever breaks that is written
down as a complaint. May be killed at any moment. Ends cleanly on SIGTERM; exit status 3 after a contradiction."""

import argparse
import json
import signal
import sys
import time

import commission_ledger as ledgers
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition


class Worker:
    """One consumer and its database."""

    def __init__(self, args):
        self.name, self.topic = args.name, args.topic
        self.ledger = ledgers.open_ledger(args.database)
        self.to_commit = {}
        self.stopping = False
        self.consumer = Consumer(
            {
                "bootstrap.servers": args.bootstrap,
                "group.id": args.group,
                "client.id": args.name,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "session.timeout.ms": 3000,
                "heartbeat.interval.ms": 500,
                "reconnect.backoff.max.ms": 1000,
                "error_cb": lambda error: self.log(f"client: {error}"),
            }
        )

    def log(self, line):
        print(f"{time.time():.3f} {self.name}: {line}", flush=True)

    def complain(self, what):
        self.log(f"COMPLAINT: {what}")
        ledgers.complain(self.ledger, self.name, what)

    def stop(self, *_):
        self.stopping = True

    def assigned(self, consumer, partitions):
        """Goes on where the database says, whatever the broker says; but the broker's word is checked."""
        self.check_broker(consumer, partitions)
        for place in partitions:
            due = ledgers.next_offset(self.ledger, place.partition)
            place.offset = due if due > 0 else OFFSET_BEGINNING
            if due > 0:
                self.to_commit[place.partition] = due
        consumer.assign(partitions)
        self.log("assigned " + ", ".join(f"{place.partition} at {place.offset}" for place in partitions))

    def revoked(self, _consumer, partitions):
        for place in partitions:
            self.to_commit.pop(place.partition, None)

    def check_broker(self, consumer, partitions):
        # Read before asking: what is confirmed by now may not be lost afterwards.
        confirmed = {place.partition: ledgers.acknowledged(self.ledger, place.partition) for place in partitions}
        try:
            answers = consumer.committed(partitions, timeout=10)
        except KafkaException as error:
            self.log(f"the broker does not say what is committed: {error}")
            return
        for answer in answers:
            if answer.error:
                continue
            committed, due = max(answer.offset, 0), ledgers.next_offset(self.ledger, answer.partition)
            if committed > due:
                self.complain(f"partition {answer.partition}: the broker has {committed}, the database only {due}")
            if committed < confirmed[answer.partition]:
                was = confirmed[answer.partition]
                self.complain(f"partition {answer.partition}: commit {was} was confirmed, the broker has {committed}")

    def commit(self):
        """Tells the broker how far the database is. If it does not answer, that is tried again with the next sales."""
        places = [TopicPartition(self.topic, partition, offset) for partition, offset in self.to_commit.items()]
        if not places:
            return
        try:
            answers = self.consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            self.log(f"not committed: {error}")
            return
        for answer in answers:
            if answer.error:
                self.log(f"partition {answer.partition} not committed: {answer.error}")
            else:
                ledgers.note_acknowledged(self.ledger, answer.partition, answer.offset)
                if self.to_commit.get(answer.partition) == answer.offset:
                    del self.to_commit[answer.partition]

    def run(self):
        self.consumer.subscribe([self.topic], on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.revoked)
        try:
            while not self.stopping:
                sales = {}
                for message in self.consumer.consume(500, timeout=0.2):
                    if message.error():
                        self.note_error(message)
                    else:
                        sale = json.loads(message.value())
                        if message.key().decode() != sale["customer"]:
                            raise ledgers.Contradiction(f"key {message.key()} does not belong to {sale}")
                        sales.setdefault(message.partition(), []).append((message.offset(), sale))
                if sales:
                    self.to_commit.update(ledgers.write(self.ledger, sales))
                self.commit()
        except ledgers.Contradiction as contradiction:
            self.complain(str(contradiction))
            return 3
        self.consumer.close()
        return 0

    def note_error(self, message):
        """With auto.offset.reset=error an offset out of range comes as an error: here that means that records are lost."""
        error = message.error()
        if error.name() == "_AUTO_OFFSET_RESET":
            raise ledgers.Contradiction(f"partition {message.partition()}: {error}")
        self.log(f"partition {message.partition()}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--bootstrap", "--topic", "--group", "--name", "--database"):
        parser.add_argument(option, required=True)
    worker = Worker(parser.parse_args())
    signal.signal(signal.SIGTERM, worker.stop)
    sys.exit(worker.run())


if __name__ == "__main__":
    main()
