//! Very many partitions: what they cost when they are made, written to, checkpointed, and opened again.
//!
//! The same load runs twice, with no checkpoint in it and with one after the other; the second time the broker is killed
//! under it. Deliberately not here: large logs (`log.rs`).

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pagemark_client::blocking::Connection;
use pagemark_demo::show::grouped;
use pagemark_wire::api::Api;
use pagemark_wire::messages::{MetadataRequest, MetadataResponse};

use super::compare::{Compared, Sample, compare};
use super::load::{self, Latencies, Load, Log, Shared, Until};
use super::process::{cost, newest_checkpoint};
use super::{Args, kill};
use crate::admin;
use crate::broker::{Broker, BrokerCommand, free_ports};
use crate::rng::Rng;
use crate::table::Report;
use crate::wait::Progress;

const PARTITIONS_OF_A_TOPIC: u32 = 1000;
const RECORD_BYTES: usize = 1024;
/// As `--set pagemark.checkpoint.bytes`: never, and so often that one follows the other.
const CHECKPOINT_NEVER: &str = "pagemark.checkpoint.bytes=1099511627776";
/// What is kept of the disk follows the size of checkpoints unless it is said, and they may be as large as a disk here.
const RESERVE: &str = "pagemark.log.reserved.bytes=268435456";
const CHECKPOINT_OFTEN: &str = "pagemark.checkpoint.bytes=4194304";

/// A slow machine may need longer than it was given until enough is written for a checkpoint.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_OPEN_FILES: u64 = 20_000;
const MOST_LATER: f64 = 3.0;

/// Runs the scenario in this folder.
pub fn run(args: &Args, folder: &Path, rng: &mut Rng, report: &mut Report) -> Result<()> {
    let command = BrokerCommand::given_or_ours(args.broker.as_deref())?;
    let port = free_ports(&mut Rng::new(u64::from(std::process::id())))?;
    let mut progress = Progress::new();
    let mut broker = Broker::start(command, port, folder, &[CHECKPOINT_NEVER.to_owned(), RESERVE.to_owned()])?;
    let mut logs = create(port, args.partitions, report)?;
    let sample = Sample { partitions: 200.min(logs.len()), places: 4, record_bytes: RECORD_BYTES };
    let load = |until| Load { producers: args.producers, window: 4, records: 1, record_bytes: RECORD_BYTES, until };

    progress.show(|| format!("one record into each of {} partitions", logs.len()));
    load::run(port, &mut logs, load(Until::OnceEach), &Shared::default())?;
    let time = Duration::from_secs(args.seconds);
    let without = load::run(port, &mut logs, load(Until::Time(time)), &Shared::default())?;
    tell_acks(report, "without checkpoints", &without);
    tell_cost(args, report, "without checkpoints", broker.pid())?;
    broker.stop()?;
    broker.start_again_with(&[CHECKPOINT_OFTEN.to_owned(), RESERVE.to_owned()])?;
    let found = compare(port, &mut logs, sample, rng).context("after a clean stop")?;
    tell_start(report, "clean stop", &broker, &found);
    report.equal("partitions: records nobody was told of after a clean stop", 0, found.unacknowledged);

    let data = folder.join("data");
    let before = newest_checkpoint(&data);
    let with = loaded_until_killed(port, &mut logs, load(Until::Killed), &broker, |shared| {
        let begun = Instant::now();
        let goes_on = || begun.elapsed() < time || (begun.elapsed() < PATIENCE && newest_checkpoint(&data) == before);
        while goes_on() {
            std::thread::sleep(Duration::from_millis(100));
            let bytes = shared.bytes.load(Ordering::Relaxed) as i64;
            progress.show(|| format!("{} bytes, checkpoint {}", grouped(bytes), newest_checkpoint(&data)));
        }
        tell_cost(args, report, "with checkpoints", broker.pid())
    })?;
    progress.end();
    let checkpoints = newest_checkpoint(&data) - before;
    report.at_least("partitions: checkpoints completed during the load", 1, checkpoints as i64);
    tell_acks(report, "with checkpoints", &with);
    broker.start_again()?;
    let found = compare(port, &mut logs, sample, rng).context("after kill -9")?;
    tell_start(report, "kill -9", &broker, &found);
    let ratio = with.percentile_ms(99) / without.percentile_ms(99).max(0.01);
    let ratio = (ratio * 10.0).round() / 10.0;
    report.fact("partitions: ack p99 with checkpoints, times that without", ratio);
    if !args.no_goals {
        report.at_most("partitions: ack p99 with checkpoints, times that without", MOST_LATER, ratio);
    }
    broker.stop()
}

/// Creates the topics, and looks whether Metadata shows them all.
fn create(port: u16, partitions: u32, report: &mut Report) -> Result<Vec<Log>> {
    let mut connection = admin::connect(port)?;
    let mut logs = Vec::new();
    let begun = Instant::now();
    for first in (0..partitions).step_by(PARTITIONS_OF_A_TOPIC as usize) {
        let topic = format!("scale-{:05}", first / PARTITIONS_OF_A_TOPIC);
        let count = PARTITIONS_OF_A_TOPIC.min(partitions - first) as i32;
        admin::create_topic(&mut connection, &topic, count)?;
        logs.extend((0..count).map(|partition| Log {
            topic: topic.clone(),
            partition,
            number: first + partition as u32,
            acknowledged: 0,
            sent: 0,
        }));
    }
    report.fact("partitions: created", partitions);
    report.fact("partitions: created in ms", begun.elapsed().as_millis() as u64);
    let begun = Instant::now();
    let listed = listed(&mut connection)?;
    report.fact("partitions: listed in ms", begun.elapsed().as_millis() as u64);
    report.equal("partitions: listed by Metadata", partitions as usize, listed);
    Ok(logs)
}

/// How many partitions of ours Metadata shows, all with a leader.
fn listed(connection: &mut Connection) -> Result<usize> {
    let request = MetadataRequest::default().with_topics(None);
    let answer: MetadataResponse = connection.call(Api::Metadata, 9, &request)?;
    let ours = answer.topics.iter().filter(|topic| !topic.is_internal).flat_map(|topic| &topic.partitions);
    ensure!(ours.clone().all(|p| p.error_code == 0 && p.leader_id.0 >= 0), "a partition has no leader");
    Ok(ours.count())
}

/// Runs a load, and kills the broker under it when `watch` returns.
fn loaded_until_killed(
    port: u16,
    logs: &mut [Log],
    load: Load,
    broker: &Broker,
    watch: impl FnOnce(&Shared) -> Result<()>,
) -> Result<Latencies> {
    let shared = Shared::default();
    std::thread::scope(|scope| {
        let loaded = scope.spawn(|| load::run(port, logs, load, &shared));
        let watched = watch(&shared);
        shared.killed.store(true, Ordering::SeqCst);
        kill(broker)?;
        watched?;
        loaded.join().expect("the producers do not panic")
    })
}

fn tell_acks(report: &mut Report, when: &str, latencies: &Latencies) {
    report.fact(&format!("partitions: acks {when}"), latencies.count());
    for percent in [50, 99] {
        report.fact(&format!("partitions: ack p{percent} {when}, ms"), latencies.percentile_ms(percent));
    }
}

fn tell_cost(args: &Args, report: &mut Report, when: &str, pid: i32) -> Result<()> {
    let cost = cost(pid)?;
    report.fact(&format!("partitions: RSS {when}, MiB"), cost.rss_kib / 1024);
    report.fact(&format!("partitions: most RSS {when}, MiB"), cost.most_rss_mib);
    report.fact(&format!("partitions: open files {when}"), cost.open_files);
    if !args.no_goals {
        report.at_most(&format!("partitions: open files {when}"), MOST_OPEN_FILES, cost.open_files);
    }
    Ok(())
}

fn tell_start(report: &mut Report, after: &str, broker: &Broker, found: &Compared) {
    report.fact(&format!("partitions: ready after {after}, ms"), broker.ready_ms());
    report.fact(&format!("partitions: all ends told after {after}, ms"), found.ends_ms);
    report.fact(&format!("partitions: records compared after {after}"), found.records);
    report.fact(&format!("partitions: records after {after}"), found.total);
    report.fact(&format!("partitions: found unacknowledged after {after}"), found.unacknowledged);
}
