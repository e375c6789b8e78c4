//! `cargo xtask story`: real sales through real clients, everything killed at random, nothing lost.
//!
//! kcat sells, two consumers, librdkafka's or our own, write commissions to one SQLite database with their offsets in the same transaction,
//! and the broker and the consumers are killed again and again. At the end sums, log ends and committed offsets must be
//! exactly what the data file says. Deliberately not here: a kill within every second, which is `crash`.

mod consumers;
mod feeder;
mod sales;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pagemark_demo::show::grouped;
use serde::Deserialize;

use self::consumers::{Consumers, Job, Kind, Runner};
use self::feeder::Feeder;
use self::sales::Sale;
use crate::broker::{Broker, BrokerCommand};
use crate::kcat::Kcat;
use crate::python::Python;
use crate::relay::{Found, Moment, Relay};
use crate::rng::Rng;
use crate::table::Report;
use crate::wait::Progress;
use crate::{admin, broker, workspace};

const PARTITIONS: i32 = 12;
const TOPIC: &str = "sales";
const GROUP: &str = "commissions";

/// How long things may stand still before the run is given up.
const STANDSTILL: Duration = Duration::from_secs(120);

/// Sell, kill, restart, and compare every cent with the data file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask story                               # made-up sales\n  \
    cargo xtask story --data sales.jsonl.gz         # your own: JSON lines with sale_id, customer, amount_cents\n  \
    cargo xtask story --consumers pagemark          # with our own consumers instead of librdkafka's\n  \
    cargo xtask story --sales 3000 --kills 2 --broker '/path/to/another --shape-of=scripts/broker'")]
pub struct Args {
    /// File of JSON lines, gzipped if its name ends in .gz
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many sales to make up, without --data
    #[arg(long, default_value_t = 20_000)]
    sales: u64,
    /// How often the broker is killed
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Whose consumers read them
    #[arg(long, value_enum, default_value = "librdkafka")]
    consumers: Kind,
    /// Lines fed per second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// The clients' port, the broker gets the next one; free ones by default
    #[arg(long)]
    port: Option<u16>,
    /// Command of the shape of scripts/broker
    #[arg(long)]
    broker: Option<String>,
    /// Names the run: made-up sales and moments of kills
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report goes as JSON
    #[arg(long)]
    report: Option<PathBuf>,
}

/// What the kills found under way.
#[derive(Debug, Default)]
struct Kills {
    done: usize,
    unanswered: usize,
    withheld: usize,
    without: usize,
    with_commit: usize,
    ready_ms: Vec<u64>,
    each: Vec<String>,
}

/// All that takes part.
struct Scene {
    folder: PathBuf,
    broker_port: u16,
    broker: Broker,
    relay: Relay,
    sales: Arc<Vec<Sale>>,
    rng: Rng,
    progress: Progress,
}

/// Tells the story; whether everything held.
pub fn run(args: &Args) -> Result<bool> {
    let seed = Rng::seed_or_now(args.seed);
    let sales = match &args.data {
        Some(path) => sales::read(path)?,
        None => sales::generate(args.sales, seed)?,
    };
    let (kcat, python) = (Kcat::find()?, Python::find()?);
    let folder = workspace::scratch("story")?;
    let (count, kills, kind) = (grouped(sales.len() as i64), args.kills, args.consumers);
    println!("{count} sales, {kind:?} consumers, {kills} kills, seed {seed}, in {}", folder.display());
    let began = Instant::now();
    let port = args.port.map_or_else(|| broker::free_ports(&mut Rng::new(Rng::seed_or_now(None))), Ok)?;
    let mut scene = Scene::set(args, folder, sales, seed, port)?;
    let bootstrap = format!("127.0.0.1:{port}");
    admin::create_topic(&mut admin::connect(scene.broker_port)?, TOPIC, PARTITIONS)?;
    let job = Job {
        runner: Runner::new(args.consumers, &python)?,
        bootstrap: bootstrap.clone(),
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        database: scene.folder.join("commissions.db"),
        logs: scene.folder.clone(),
    };
    let consumers = Consumers::start(&job, seed)?;
    let gate = scene.gate_after(args.kills, 0);
    let log = scene.folder.join("kcat.log");
    let sales = Arc::clone(&scene.sales);
    let mut feeder = Feeder::start(&kcat, &bootstrap, TOPIC, sales, args.rate, gate, &log)?;
    let kills = scene.kill_and_restart(args.kills, &mut feeder, &consumers)?;
    let delivered = scene.await_delivery(&mut feeder, &consumers)?;
    consumers.leave_alone();
    scene.await_consumption(&consumers)?;
    let consumer_kills = consumers.kills();
    let complaints = consumers.finish();
    let ledger = Ledger::read(&python, &job.database)?;
    let mut report = scene.judge(&kills, &ledger, &complaints)?;
    report.equal("kcat: messages given up", 0, failures_in(&log)?);
    report.equal("kcat: ended well", true, delivered);
    report.fact("consumer kills", consumer_kills);
    report.fact("seconds", began.elapsed().as_secs());
    report.fact("seed", seed);
    scene.broker.stop()?;
    let path = args.report.clone().unwrap_or_else(|| scene.folder.join("report.json"));
    std::fs::write(&path, format!("{:#}\n", report.json()))?;
    println!("{}\n(as JSON in {})", report.text(), path.display());
    Ok(report.holds())
}

fn failures_in(log: &Path) -> Result<usize> {
    let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    Ok(text.lines().filter(|line| line.contains("Delivery failed") || line.contains("Failed to produce")).count())
}

impl Scene {
    fn set(args: &Args, folder: PathBuf, sales: Vec<Sale>, seed: u64, port: u16) -> Result<Scene> {
        let broker_port = port.checked_add(1).context("the port is too high")?;
        let command = BrokerCommand::given_or_ours(args.broker.as_deref())?;
        let settings: Vec<String> = [
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
            format!("num.partitions={PARTITIONS}"),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            "group.min.session.timeout.ms=1000".to_owned(),
        ]
        .into();
        let broker = Broker::start(command, broker_port, &folder.join("broker"), &settings)?;
        let relay = Relay::new(port, broker_port, None);
        relay.open()?;
        let (rng, progress) = (Rng::new(seed), Progress::new());
        Ok(Scene { folder, broker_port, broker, relay, sales: Arc::new(sales), rng, progress })
    }

    /// How far the feed may go before kill number `done` + 1 is over.
    fn gate_after(&self, kills: usize, done: usize) -> usize {
        if done >= kills { usize::MAX } else { self.sales.len() * (done + 1) / kills }
    }

    /// Every kill has its share of the feed, and strikes at a random line of it.
    fn kill_and_restart(&mut self, kills: usize, feeder: &mut Feeder, consumers: &Consumers) -> Result<Kills> {
        let mut tally = Kills::default();
        let share = self.sales.len() / kills.max(1);
        ensure!(kills == 0 || share >= 20, "{} sales are too few for {kills} kills", self.sales.len());
        for number in 0..kills {
            let at = number * share + usize::try_from(self.rng.within(share as u64 / 10..share as u64 * 8 / 10))?;
            self.await_line(at, feeder, consumers, &tally)?;
            let (moment, armed) = (self.moment(number), Instant::now());
            let found = self.relay.kill(self.broker.pid(), moment, Duration::from_secs(60));
            let struck_after_ms = armed.elapsed().as_millis();
            ensure!(broker::await_end(self.broker.pid()), "the broker survived SIGKILL");
            tally.note(found);
            self.broker.start_again()?;
            tally.ready_ms.push(self.broker.ready_ms());
            tally.each.push(format!("line {at}, {moment:?} within {struck_after_ms} ms, {found:?}"));
            self.relay.open()?;
            feeder.allow(self.gate_after(kills, number + 1));
        }
        Ok(tally)
    }

    /// Half strike right after a request, a third a little later, the rest when the answer is there and nobody has seen it.
    fn moment(&mut self, number: usize) -> Moment {
        match number % 6 {
            5 => Moment::InsteadOfAnswer,
            1 | 3 => Moment::AfterDelay(Duration::from_micros(self.rng.within(50..3000))),
            _ => Moment::AfterRequest,
        }
    }

    fn await_line(&mut self, line: usize, feeder: &mut Feeder, consumers: &Consumers, tally: &Kills) -> Result<()> {
        let mut still = Still::new();
        loop {
            let fed = feeder.fed();
            if fed >= line {
                return Ok(());
            }
            if let Some(status) = feeder.ended()? {
                bail!("kcat ended early: {status}; see {}", self.folder.join("kcat.log").display());
            }
            still.check(fed as i64, "the feed")?;
            let (total, kills) = (self.sales.len() as i64, tally.done);
            self.progress.show(|| {
                let consumer_kills = consumers.kills();
                format!(
                    "fed {} of {}, broker kills {kills}, consumer kills {consumer_kills}",
                    grouped(fed as i64),
                    grouped(total)
                )
            });
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Until kcat has delivered everything and ended; whether it ended well.
    fn await_delivery(&mut self, feeder: &mut Feeder, consumers: &Consumers) -> Result<bool> {
        let mut still = Still::new();
        loop {
            if let Some(status) = feeder.ended()? {
                return Ok(status.success());
            }
            let ends = admin::log_ends(&mut admin::connect(self.broker_port)?, TOPIC, PARTITIONS)?;
            still.check(ends.iter().sum::<i64>() + feeder.fed() as i64, "kcat")?;
            let fed = feeder.fed() as i64;
            self.progress.show(|| format!("fed {}, consumer kills {}", grouped(fed), consumers.kills()));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Until the group has committed all there is.
    fn await_consumption(&mut self, consumers: &Consumers) -> Result<()> {
        let mut still = Still::new();
        let mut connection = admin::connect(self.broker_port)?;
        let wanted: i64 = admin::log_ends(&mut connection, TOPIC, PARTITIONS)?.iter().sum();
        loop {
            let committed = admin::committed(&mut connection, GROUP, TOPIC, PARTITIONS)?;
            let sum: i64 = committed.iter().map(|found| found.offset.max(0)).sum();
            if sum >= wanted {
                self.progress.end();
                return Ok(());
            }
            if still.check(sum, "the consumers").is_err() {
                // Told by the checks, which say more than a standstill.
                self.progress.end();
                eprintln!("the consumers stand still at {sum} of {wanted}");
                return Ok(());
            }
            let complaints = consumers.complaints().len();
            self.progress
                .show(|| format!("committed {} of {}, complaints {complaints}", grouped(sum), grouped(wanted)));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn judge(&self, kills: &Kills, ledger: &Ledger, complaints: &[String]) -> Result<Report> {
        let mut report = Report::default();
        let totals = sales::totals(&self.sales);
        let mut connection = admin::connect(self.broker_port)?;
        let ends = admin::log_ends(&mut connection, TOPIC, PARTITIONS)?;
        let committed = admin::committed(&mut connection, GROUP, TOPIC, PARTITIONS)?;
        let committed: Vec<i64> = committed.iter().map(|found| found.offset).collect();
        report.equal("sum of the log ends", totals.sales, ends.iter().sum());
        report.equal("sum of the committed offsets", totals.sales, committed.iter().sum());
        report.equal(
            "committed offset = log end, partitions",
            12,
            ends.iter().zip(&committed).filter(|(e, c)| e == c).count(),
        );
        report.equal("rows", totals.sales, ledger.rows);
        report.equal("different sales", totals.sales, ledger.different_sales);
        report.equal("amount, cents", totals.amount_cents, ledger.amount_cents);
        report.equal("commission, cents", totals.commission_cents, ledger.commission_cents);
        let rows_by_partition: Vec<i64> = (0..PARTITIONS).map(|index| ledger.rows_of(index)).collect();
        report.equal("rows of each partition without gaps", format!("{ends:?}"), format!("{rows_by_partition:?}"));
        report.equal("customers", sales::customers(&self.sales) as i64, ledger.customers);
        report.equal("customers in two partitions", 0, ledger.customers_in_two_partitions);
        report.equal("sales of a customer out of order", 0, ledger.out_of_order);
        report.equal("what the consumers complained of", "[]".to_owned(), format!("{:?}", ledger.complaints));
        report.equal("consumers that ended by themselves", "[]".to_owned(), format!("{complaints:?}"));
        report.equal("answers out of order", 0, self.relay.disorders());
        report.at_least("kills with a produce unanswered", (kills.done * 3 / 4) as i64, kills.unanswered as i64);
        report.fact("broker kills", kills.done);
        report.fact("of these with a produce the broker never answered", kills.unanswered);
        report.fact("of these with an answered produce whose answer was lost", kills.withheld);
        report.fact("of these with a commit the broker never answered", kills.with_commit);
        report.fact("of these with neither produce", kills.without);
        report.fact("restart to first answer, ms", kills.ready_ms.clone());
        for (number, kill) in kills.each.iter().enumerate() {
            report.fact(&format!("kill {}", number + 1), kill.as_str());
        }
        Ok(report)
    }
}

impl Kills {
    fn note(&mut self, found: Found) {
        self.done += 1;
        self.unanswered += usize::from(found.produces > 0);
        self.withheld += usize::from(found.withheld > 0);
        self.without += usize::from(found.produces == 0 && found.withheld == 0);
        self.with_commit += usize::from(found.commits > 0);
    }
}

/// Notices when a number has not changed for too long.
struct Still {
    last: i64,
    since: Instant,
}

impl Still {
    fn new() -> Still {
        Still { last: i64::MIN, since: Instant::now() }
    }

    fn check(&mut self, number: i64, what: &str) -> Result<()> {
        if number != self.last {
            *self = Still { last: number, since: Instant::now() };
        }
        ensure!(self.since.elapsed() < STANDSTILL, "{what}: nothing has moved for {} s", STANDSTILL.as_secs());
        Ok(())
    }
}

/// What the database says, as tests/clients/python/commission_report.py reads it.
#[derive(Debug, Deserialize)]
struct Ledger {
    rows: i64,
    different_sales: i64,
    amount_cents: i64,
    commission_cents: i64,
    customers: i64,
    customers_in_two_partitions: i64,
    out_of_order: i64,
    partitions: Vec<PartitionRows>,
    complaints: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct PartitionRows {
    partition: i32,
    rows: i64,
    first: i64,
    last: i64,
}

impl Ledger {
    fn read(python: &Python, database: &Path) -> Result<Ledger> {
        let output =
            python.script("commission_report.py").arg(database).stderr(std::process::Stdio::inherit()).output()?;
        ensure!(output.status.success(), "the database cannot be read");
        serde_json::from_slice(&output.stdout).context("the database's report is no JSON")
    }

    /// Rows of a partition; -1 if they are not exactly offsets 0, 1, 2 and so on.
    fn rows_of(&self, partition: i32) -> i64 {
        match self.partitions.iter().find(|found| found.partition == partition) {
            None => 0,
            Some(found) if found.first == 0 && found.last + 1 == found.rows => found.rows,
            Some(_) => -1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_with_a_gap_does_not_pass_for_its_number_of_rows() {
        let ledger: Ledger = serde_json::from_str(
            r#"{"rows": 4, "different_sales": 4, "amount_cents": 0, "commission_cents": 0, "customers": 1,
                "customers_in_two_partitions": 0, "out_of_order": 0, "complaints": [],
                "partitions": [{"partition": 0, "rows": 2, "first": 0, "last": 1},
                               {"partition": 1, "rows": 2, "first": 0, "last": 2}]}"#,
        )
        .unwrap();
        assert_eq!([0, 1, 2].map(|index| ledger.rows_of(index)), [2, -1, 0]);
    }

    #[test]
    fn a_standstill_ends_with_an_error_and_movement_does_not() {
        let mut still = Still { last: 1, since: Instant::now() - STANDSTILL - Duration::from_secs(1) };
        assert!(still.check(2, "it").is_ok());
        still.since -= STANDSTILL + Duration::from_secs(1);
        assert!(still.check(2, "it").is_err());
    }
}
