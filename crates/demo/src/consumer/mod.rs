//! A consumer process: reads sales, writes a commission for each to a SQLite database, and commits in one of four ways.
//!
//! It may be killed at any moment; what that costs depends on the way. With [`CommitKind::Database`] the database alone says
//! where to go on, and the commit to the broker is advice that is checked: it may be behind, never ahead, and never behind
//! one that the broker has confirmed. Deliberately not here: who starts and kills it.

mod listener;
pub mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use pagemark_client::{Admin, AutoOffsetReset, CommitError, Consumer, ConsumerError, Record, TopicPartition};

use self::listener::Places;
use self::talk::{Hand, Orders, Report, Step};
use crate::ledger::{Entry, Ledger};
use crate::sales::Sale;

/// How long one question for records lasts.
const POLL: Duration = Duration::from_millis(100);
/// How long it may take to say goodbye: its broker may be gone as well.
const FAREWELL: Duration = Duration::from_secs(10);
/// Most rows of one transaction, when nobody gives the steps.
const BATCH: usize = 500;

/// When a consumer says that it is done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum CommitKind {
    /// By itself every auto.commit.interval.ms: whatever was received, worked on or not
    AutoReceived,
    /// By itself every auto.commit.interval.ms: what was worked on
    AutoProcessed,
    /// By a call after each record
    Manual,
    /// In the database, in the transaction that writes the row
    Database,
}

/// Arguments of the consumer process.
#[derive(Debug, Clone, clap::Args)]
pub struct ConsumerArgs {
    /// Where a broker is
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: String,
    /// What to read
    #[arg(long)]
    pub topic: String,
    /// In which group
    #[arg(long)]
    pub group: String,
    /// What to call itself
    #[arg(long)]
    pub name: String,
    /// Where the commissions go
    #[arg(long, value_name = "FILE")]
    pub database: PathBuf,
    /// When it says that it is done with a record
    #[arg(long, value_enum)]
    pub commit: CommitKind,
    /// How soon the group gives its partitions to others when it is gone
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    pub session_timeout_ms: u64,
    /// How often it commits by itself, if it does
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub auto_commit_interval_ms: u64,
    /// Most records of one poll
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub max_poll_records: usize,
    /// Wait for a word on standard input before each record, and tell what happens on standard output
    #[arg(long)]
    pub stepwise: bool,
}

/// Runs one until it is told to end; `false` if it met a contradiction.
///
/// # Errors
/// Why it cannot go on.
pub async fn run(args: ConsumerArgs) -> Result<bool> {
    let worker = Worker::new(args)?;
    let mut ended = worker.orders.ended();
    tokio::select! {
        worked = work(worker) => worked,
        () = async { talk::end(&mut ended).await; tokio::time::sleep(FAREWELL).await } => {
            Err(anyhow!("it was told to end, but the broker does not answer"))
        }
    }
}

async fn work(mut worker: Worker) -> Result<bool> {
    match worker.work().await {
        Ok(true) => worker.consumer.close().await,
        Ok(false) => {} // a step that ends in a crash
        Err(Stop::Contradiction(what)) => {
            worker.complain(&what)?;
            return Ok(false);
        }
        Err(Stop::Failed(error)) => return Err(error),
    }
    Ok(true)
}

/// Why a worker cannot go on.
enum Stop {
    /// What it read cannot be true together with what it read before.
    Contradiction(String),
    /// Anything else.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Failed(error.into())
    }
}

struct Worker {
    args: ConsumerArgs,
    consumer: Consumer,
    ledger: Arc<Mutex<Ledger>>,
    orders: Orders,
    /// Partitions whose start was told.
    started: BTreeSet<TopicPartition>,
    in_hand: Hand,
    /// What the broker is to be told: next offsets that are in the database.
    due: BTreeMap<TopicPartition, i64>,
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    fn new(args: ConsumerArgs) -> Result<Worker> {
        let ledger = Ledger::open(&args.database, &args.group, &args.topic, &args.name)?;
        let ledger = Arc::new(Mutex::new(ledger));
        let session = Duration::from_millis(args.session_timeout_ms);
        let is_auto = matches!(args.commit, CommitKind::AutoReceived | CommitKind::AutoProcessed);
        let mut builder = Consumer::builder(&args.bootstrap)
            .group_id(&args.group)
            .client_id(&args.name)
            .session_timeout(session)
            .heartbeat_interval(session / 6)
            .max_poll_records(args.max_poll_records)
            .enable_auto_commit(is_auto)
            .auto_commit_interval(Duration::from_millis(args.auto_commit_interval_ms));
        builder = if args.commit == CommitKind::Database {
            let admin = Admin::builder(&args.bootstrap).client_id(&args.name).api_timeout(session).build()?;
            builder.rebalance_listener(Places::new(&args, admin, Arc::clone(&ledger)))
        } else {
            builder.auto_offset_reset(AutoOffsetReset::Earliest)
        };
        let mut consumer = builder.build()?;
        consumer.subscribe([&args.topic])?;
        let orders = Orders::new(args.stepwise)?;
        let (started, in_hand, due) = (BTreeSet::new(), Hand::new(), BTreeMap::new());
        Ok(Worker { args, consumer, ledger, orders, started, in_hand, due })
    }

    /// Until it is told to end (`true`), or has taken a step behind which it must not go (`false`).
    async fn work(&mut self) -> Result<bool, Stop> {
        while let Some(step) = self.orders.next().await {
            let Some(records) = self.next_records().await? else { break };
            let entries = records.iter().map(read).collect::<Result<Vec<Entry>, Stop>>()?;
            if !entries.is_empty() {
                self.write(&entries)?;
            }
            if step == Step::Row {
                Report::Waiting.tell();
                self.orders.end().await;
                return Ok(false);
            }
            self.commit(&records).await?;
            if self.orders.is_stepwise() {
                Report::Waiting.tell();
            }
        }
        Ok(true)
    }

    /// What to work on next: one record if every one is a step, else what there is. None if it is to end.
    async fn next_records(&mut self) -> Result<Option<Vec<Record>>, Stop> {
        loop {
            if self.in_hand.is_empty() {
                let polled = tokio::select! {
                    biased;
                    () = self.orders.end() => return Ok(None),
                    polled = self.consumer.poll(POLL) => polled,
                };
                self.receive(polled.map_err(of_poll)?);
            }
            self.keep_assigned();
            if !self.orders.is_stepwise() {
                let count = self.in_hand.len().min(BATCH);
                return Ok(Some(self.in_hand.drain(..count).collect()));
            }
            if let Some(record) = self.in_hand.pop_front() {
                return Ok(Some(vec![record]));
            }
        }
    }

    fn receive(&mut self, records: Vec<Record>) {
        self.tell_starts(&records);
        if self.args.commit == CommitKind::AutoReceived {
            for record in &records {
                self.consumer.store_offset(record).ok(); // if it is lost, who has it now commits it
            }
        }
        let ends: BTreeMap<i32, i64> = records.iter().map(|r| (r.partition.partition, r.offset + 1)).collect();
        if self.orders.is_stepwise() {
            ends.into_iter().for_each(|(partition, next)| Report::Received { partition, next }.tell());
        }
        self.in_hand.extend(records);
    }

    /// Tells of partitions that came, once it is known where they are read on, and of those that went.
    fn tell_starts(&mut self, records: &[Record]) {
        let assignment = self.consumer.assignment();
        for gone in self.started.difference(&assignment) {
            Report::Gone { partition: gone.partition }.tell();
            self.due.remove(gone);
        }
        self.started.retain(|partition| assignment.contains(partition));
        for partition in assignment {
            let first = records.iter().find(|record| record.partition == partition).map(|record| record.offset);
            let next = first.or_else(|| self.consumer.position(&partition).ok().flatten());
            let Some(next) = next.filter(|_| !self.started.contains(&partition)) else { continue };
            Report::Started { partition: partition.partition, next }.tell();
            if self.args.commit == CommitKind::Database && next > 0 {
                self.due.insert(partition.clone(), next); // a commit may have been lost with a crash
            }
            self.started.insert(partition);
        }
    }

    /// Lets go of what another consumer has by now.
    fn keep_assigned(&mut self) {
        let assignment = self.consumer.assignment();
        self.in_hand.retain(|record| assignment.contains(&record.partition));
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), Stop> {
        if self.args.commit == CommitKind::Database {
            let written = lock(&self.ledger).write_with_offsets(entries);
            written.map_err(|error| match error.downcast::<rusqlite::Error>() {
                Ok(error) => Stop::Failed(error.into()),
                Err(contradiction) => Stop::Contradiction(contradiction.to_string()),
            })?;
        } else {
            lock(&self.ledger).write_rows(entries)?;
        }
        if self.orders.is_stepwise() {
            let written = entries.iter().map(|entry| (entry.partition, entry.offset));
            written.for_each(|(partition, offset)| Report::Written { partition, offset }.tell());
        }
        Ok(())
    }

    async fn commit(&mut self, records: &[Record]) -> Result<(), Stop> {
        match self.args.commit {
            CommitKind::AutoReceived => return Ok(()),
            CommitKind::AutoProcessed => {
                for record in records {
                    self.consumer.store_offset(record).ok(); // if it is lost, its new owner works on it again
                }
                return Ok(());
            }
            CommitKind::Manual | CommitKind::Database => {}
        }
        self.due.extend(records.iter().map(|record| (record.partition.clone(), record.offset + 1)));
        let due: Vec<_> = self.due.iter().map(|(partition, next)| (partition.clone(), (*next).into())).collect();
        if due.is_empty() {
            return Ok(());
        }
        match self.consumer.commit_sync_offsets(due).await {
            Ok(()) => self.note_committed()?,
            Err(CommitError::Lost(partition)) => drop(self.due.remove(&partition)),
            // In the database it is, and it is committed again with what comes next.
            Err(error) => eprintln!("{}: not committed: {error}", self.args.name),
        }
        Ok(())
    }

    fn note_committed(&mut self) -> Result<()> {
        for (partition, next) in std::mem::take(&mut self.due) {
            if self.args.commit == CommitKind::Database {
                lock(&self.ledger).note_acknowledged(partition.partition, next)?;
            }
            Report::Committed { partition: partition.partition, next }.tell();
        }
        Ok(())
    }

    fn complain(&self, what: &str) -> Result<()> {
        Report::Complaint(what.to_owned()).tell();
        lock(&self.ledger).complain(what)
    }
}

/// An offset outside the log means that records are lost: the database says that they were there.
fn of_poll(error: ConsumerError) -> Stop {
    match error {
        ConsumerError::OutOfRange { .. } | ConsumerError::NoOffset { .. } => Stop::Contradiction(error.to_string()),
        error => Stop::Failed(error.into()),
    }
}

fn read(record: &Record) -> Result<Entry, Stop> {
    let sale: Sale = serde_json::from_slice(record.value()).context("the record is no sale")?;
    if record.key() != sale.customer.as_bytes() {
        return Err(Stop::Failed(anyhow!("the key of offset {} is not its customer", record.offset)));
    }
    Ok(Entry { partition: record.partition.partition, offset: record.offset, sale })
}
