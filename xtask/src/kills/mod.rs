//! `cargo xtask kills`: the broker is killed again and again with a produce and a commit without an answer at each kill.
//!
//! An oracle outside the broker (`oracle.rs`) knows what was acknowledged and what was only sent. After every restart each
//! committed offset must be the last acknowledged one or a later one whose answer was lost; every acknowledged record must be
//! readable at its offset, unchanged; what was seen once must stay; and batches sent again must not be stored twice.
//! Deliberately not here: foreign clients, which are `story`.

mod load;
mod oracle;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use pagemark_client::blocking::Connection;

use self::load::{Commits, Producer};
use self::oracle::{CommitBook, PartitionBook, SentBatch};
use crate::broker::{Broker, BrokerCommand, await_end, free_ports, kill_9};
use crate::rng::Rng;
use crate::table::Report;
use crate::wait::{self, Progress};
use crate::{admin, workspace};

const TOPIC: &str = "oracle";
const PARTITIONS: i32 = 4;
const GROUPS: [&str; 3] = ["red", "green", "blue"];

/// Batches a producer may have under way: so many a broker remembers.
const BATCHES_UNDER_WAY: u64 = 5;

/// Kill the broker with a produce and a commit unanswered, restart it, and compare with an oracle.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "crash-kills",
    after_help = "Examples:\n  cargo xtask kills\n  cargo xtask kills --cycles 500 --seed 7\n  \
        cargo xtask kills --cycles 3 --broker '/path/to/another --shape-of=scripts/broker'"
)]
pub struct Args {
    /// Kills that found both a produce and a commit without an answer
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// The broker's port; a free one by default
    #[arg(long)]
    port: Option<u16>,
    /// Command of the shape of scripts/broker
    #[arg(long)]
    broker: Option<String>,
    /// Names the run: requests and moments of kills
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report goes as JSON
    #[arg(long)]
    report: Option<PathBuf>,
}

/// A commit that was sent: the group, and what for which partition.
type SentCommit = (&'static str, Commits);

/// Two connections, each with the requests on it that have no answer, oldest first.
struct Burst {
    producing: Connection,
    produces: VecDeque<i32>,
    committing: Connection,
    commits: VecDeque<SentCommit>,
}

/// What has been counted.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    cycles: u32,
    produces_acknowledged: u64,
    produces_unanswered: u64,
    produces_found: u64,
    commits_acknowledged: u64,
    commits_unanswered: u64,
    commits_found: u64,
    records: u64,
    ready_ms: Vec<u64>,
}

struct Run {
    folder: PathBuf,
    port: u16,
    broker: Broker,
    rng: Rng,
    producers: Vec<(Producer, i32)>,
    partitions: Vec<PartitionBook>,
    commits: BTreeMap<(&'static str, i32), CommitBook>,
    /// Never the same twice, so that it is plain which commit is found.
    next_commit: i64,
    tally: Tally,
}

/// Runs all cycles; whether everything held.
pub fn run(args: &Args) -> Result<bool> {
    let seed = Rng::seed_or_now(args.seed);
    let began = Instant::now();
    let mut run = Run::set(args, seed)?;
    println!("{} cycles, seed {seed}, in {}", args.cycles, run.folder.display());
    let broken = run.cycles(args.cycles).err();
    let mut report = Report::default();
    report.equal("what broke", "nothing".to_owned(), broken.map_or("nothing".to_owned(), |error| format!("{error:#}")));
    report.equal("kills with a produce and a commit unanswered", args.cycles, run.tally.cycles);
    run.tally.tell(&mut report);
    report.fact("seconds", began.elapsed().as_secs());
    report.fact("seed", seed);
    if report.holds() {
        run.broker.stop()?;
    } else {
        println!("the broker's folder is left as it is: {}", run.folder.display());
    }
    let path = args.report.clone().unwrap_or_else(|| run.folder.join("report.json"));
    std::fs::write(&path, format!("{:#}\n", report.json()))?;
    println!("{}\n(as JSON in {})", report.text(), path.display());
    Ok(report.holds())
}

impl Run {
    fn set(args: &Args, seed: u64) -> Result<Run> {
        let command = BrokerCommand::given_or_ours(args.broker.as_deref())?;
        let folder = workspace::scratch("kills")?;
        let rng = Rng::new(seed);
        let port = args.port.map_or_else(|| free_ports(&mut Rng::new(Rng::seed_or_now(None))), Ok)?;
        let broker = Broker::start(command, port, &folder.join("broker"), &[])?;
        let mut connection = admin::connect(port)?;
        admin::create_topic(&mut connection, TOPIC, PARTITIONS)?;
        let mut producers = Vec::new();
        for _ in 0..PARTITIONS {
            producers.push((Producer::new(&mut connection)?, 0));
        }
        for group in GROUPS {
            admin::await_coordinator(&mut connection, group)?;
            admin::committed(&mut connection, group, TOPIC, PARTITIONS)?;
        }
        let keys = GROUPS.into_iter().flat_map(|group| (0..PARTITIONS).map(move |partition| (group, partition)));
        Ok(Run {
            folder,
            port,
            broker,
            rng,
            producers,
            partitions: vec![PartitionBook::default(); PARTITIONS as usize],
            commits: keys.map(|key| (key, CommitBook::new())).collect(),
            next_commit: 0,
            tally: Tally::default(),
        })
    }

    fn cycles(&mut self, wanted: u32) -> Result<()> {
        let mut progress = Progress::new();
        while self.tally.cycles < wanted {
            ensure!(self.tally.kills < wanted * 3 + 10, "too many kills found nothing under way");
            self.acknowledged_work().context("before the kill")?;
            self.kill().context("at the kill")?;
            self.broker.start_again()?;
            self.tally.ready_ms.push(self.broker.ready_ms());
            self.compare().with_context(|| format!("after kill {}", self.tally.kills))?;
            let tally = &self.tally;
            progress.show(|| format!("{} of {wanted} cycles, {} kills", tally.cycles, tally.kills));
        }
        progress.end();
        self.broker.stop()?;
        self.broker.start_again()?;
        self.compare().context("after a clean stop")
    }

    /// Some of everything, with answers.
    fn acknowledged_work(&mut self) -> Result<()> {
        let mut connection = admin::connect(self.port)?;
        for partition in 0..PARTITIONS {
            for _ in 0..self.rng.below(3) {
                self.send_batch(&mut connection, partition)?;
                self.receive_batch(&mut connection, partition)?;
            }
        }
        for _ in 0..self.rng.within(1..6) {
            let sent = self.send_commit(&mut connection)?;
            self.receive_commit(&mut connection, &sent)?;
        }
        Ok(())
    }

    /// Fills two pipelines, ends the broker, and reads what answers are left in the sockets: they were given, so they count.
    fn kill(&mut self) -> Result<()> {
        let mut burst = Burst {
            producing: admin::connect(self.port)?,
            produces: VecDeque::new(),
            committing: admin::connect(self.port)?,
            commits: VecDeque::new(),
        };
        for _ in 0..self.rng.below(BATCHES_UNDER_WAY) {
            self.send_some(&mut burst)?;
        }
        self.wait_or_read(&mut burst)?;
        // Whatever was answered by now, these are not.
        self.send_some(&mut burst)?;
        kill_9(self.broker.pid());
        self.tally.kills += 1;
        ensure!(await_end(self.broker.pid()), "the broker survived SIGKILL");
        while let Some(partition) = burst.produces.front().copied() {
            if !answered(self.receive_batch(&mut burst.producing, partition))? {
                break;
            }
            burst.produces.pop_front();
        }
        while let Some(sent) = burst.commits.front() {
            if !answered(self.receive_commit(&mut burst.committing, sent))? {
                break;
            }
            burst.commits.pop_front();
        }
        self.tally.produces_unanswered += burst.produces.len() as u64;
        self.tally.commits_unanswered += burst.commits.len() as u64;
        self.tally.cycles += u32::from(!burst.produces.is_empty() && !burst.commits.is_empty());
        Ok(())
    }

    /// A batch for each partition and a few burst.commits.
    fn send_some(&mut self, burst: &mut Burst) -> Result<()> {
        for partition in 0..PARTITIONS {
            self.send_batch(&mut burst.producing, partition)?;
            burst.produces.push_back(partition);
        }
        for _ in 0..self.rng.within(1..4) {
            burst.commits.push_back(self.send_commit(&mut burst.committing)?);
        }
        Ok(())
    }

    /// So that kills strike at once, a little later, and in the midst of the answers.
    fn wait_or_read(&mut self, burst: &mut Burst) -> Result<()> {
        match self.rng.below(4) {
            0 => {}
            1 => std::thread::sleep(Duration::from_micros(self.rng.below(5000))),
            2 => {
                for _ in 0..self.rng.below(burst.produces.len() as u64 + 1) {
                    let partition = burst.produces.pop_front().expect("no more are read than were sent");
                    self.receive_batch(&mut burst.producing, partition)?;
                }
            }
            _ => {
                for _ in 0..self.rng.below(burst.commits.len() as u64 + 1) {
                    let sent = burst.commits.pop_front().expect("no more are read than were sent");
                    self.receive_commit(&mut burst.committing, &sent)?;
                }
            }
        }
        Ok(())
    }

    /// After a restart: everything against the oracle, then the batches without an answer once more.
    fn compare(&mut self) -> Result<()> {
        let mut connection = admin::connect(self.port)?;
        for group in GROUPS {
            let found = admin::committed(&mut connection, group, TOPIC, PARTITIONS)?;
            for (partition, found) in (0..PARTITIONS).zip(&found) {
                let book = self.commits.get_mut(&(group, partition)).expect("every pair has a book");
                let judged =
                    book.judge(found).map_err(|what| anyhow!("group {group}, partition {partition}: {what}"))?;
                self.tally.commits_found += u64::from(judged);
            }
        }
        let ends = admin::log_ends(&mut connection, TOPIC, PARTITIONS)?;
        for (partition, end) in (0..PARTITIONS).zip(ends) {
            let found = admin::all_values(&mut connection, TOPIC, partition, end)?;
            self.compare_partition(&mut connection, partition, &found)?;
        }
        self.tally.records = self.partitions.iter().map(|book| book.end() as u64).sum();
        Ok(())
    }

    fn compare_partition(&mut self, connection: &mut Connection, partition: i32, found: &[Bytes]) -> Result<()> {
        let broken = |what: String| anyhow!("partition {partition}: {what}");
        let book = &mut self.partitions[partition as usize];
        let retries = book.judge(found).map_err(broken)?;
        let (producer, _) = self.producers[partition as usize];
        for retry in retries {
            self.tally.produces_found += u64::from(retry.stored_at.is_some());
            load::send_produce(connection, TOPIC, partition, producer, &retry.batch)?;
            let (code, base_offset) = load::receive_produce(connection)?;
            ensure!(code == 0, "partition {partition}: a batch sent again was answered with error code {code}");
            book.retried(retry, base_offset).map_err(broken)?;
        }
        let end = admin::log_ends(connection, TOPIC, PARTITIONS)?[partition as usize];
        ensure!(end == book.end(), "partition {partition}: the log ends at {end}, it should at {}", book.end());
        Ok(())
    }

    fn send_batch(&mut self, connection: &mut Connection, partition: i32) -> Result<()> {
        let (producer, next_sequence) = self.producers[partition as usize];
        let values: Vec<Bytes> = (0..self.rng.within(1..12) as i32)
            .map(|index| {
                let filler = "x".repeat(self.rng.below(200) as usize);
                Bytes::from(format!("{partition}/{}/{filler}", next_sequence + index))
            })
            .collect();
        self.producers[partition as usize].1 += values.len() as i32;
        let timestamp_ms = wait::now_ms();
        let batch = SentBatch { first_sequence: next_sequence, timestamp_ms, values };
        load::send_produce(connection, TOPIC, partition, producer, &batch)?;
        self.partitions[partition as usize].sent(batch);
        Ok(())
    }

    fn receive_batch(&mut self, connection: &mut Connection, partition: i32) -> Result<()> {
        let (code, base_offset) = load::receive_produce(connection)?;
        ensure!(code == 0, "partition {partition}: a produce was answered with error code {code}");
        let book = &mut self.partitions[partition as usize];
        book.confirmed(base_offset).map_err(|what| anyhow!("partition {partition}: {what}"))?;
        self.tally.produces_acknowledged += 1;
        Ok(())
    }

    /// A commit of one group in some partitions; gives what was sent, by group.
    fn send_commit(&mut self, connection: &mut Connection) -> Result<SentCommit> {
        let group = GROUPS[self.rng.below(GROUPS.len() as u64) as usize];
        let first = self.rng.below(PARTITIONS as u64) as i32;
        let mut commits = Commits::new();
        for partition in first..PARTITIONS {
            self.next_commit += 1;
            commits.push((partition, self.next_commit));
            self.commits.get_mut(&(group, partition)).expect("every pair has a book").sent(self.next_commit);
        }
        load::send_commit(connection, TOPIC, group, &commits)?;
        Ok((group, commits))
    }

    fn receive_commit(&mut self, connection: &mut Connection, sent: &SentCommit) -> Result<()> {
        load::receive_commit(connection, sent.1.len())?;
        for (partition, _) in &sent.1 {
            self.commits.get_mut(&(sent.0, *partition)).expect("every pair has a book").confirmed();
        }
        self.tally.commits_acknowledged += 1;
        Ok(())
    }
}

/// Whether an answer came: a broken connection means none, anything else that is wrong is wrong.
fn answered(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) => match error.downcast_ref::<pagemark_client::blocking::ConnectionError>() {
            Some(pagemark_client::blocking::ConnectionError::Broken(_)) => Ok(false),
            _ => bail!(error),
        },
    }
}

impl Tally {
    fn tell(&self, report: &mut Report) {
        report.fact("kills", self.kills);
        report.fact("produces acknowledged", self.produces_acknowledged);
        report.fact("produces unanswered", self.produces_unanswered);
        report.fact("of these found after the restart", self.produces_found);
        report.fact("commits acknowledged", self.commits_acknowledged);
        report.fact("commits unanswered", self.commits_unanswered);
        report.fact("offsets that came from one of these", self.commits_found);
        report.fact("records compared after the last restart", self.records);
        report.fact("restart to first answer, ms", self.ready_ms.clone());
    }
}
