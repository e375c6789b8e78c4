//! A long log in a few partitions: how soon the broker answers after it was killed, and whether all of it is there.
//!
//! Deliberately not here: many partitions (`partitions.rs`).

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pagemark_demo::show::grouped;

use super::compare::{Sample, compare};
use super::load::{self, Load, Log, Shared, Until};
use super::process::{bytes_below, cost, newest_checkpoint};
use super::{Args, kill};
use crate::admin;
use crate::broker::{Broker, BrokerCommand, free_ports};
use crate::rng::Rng;
use crate::table::Report;
use crate::wait::Progress;

const TOPIC: &str = "long";
const PARTITIONS: i32 = 12;
const RECORD_BYTES: usize = 4096;
const RECORDS_OF_A_REQUEST: i64 = 60; // a quarter of a MiB
const MOST_READY_MS: u64 = 2000;

/// Runs the scenario in this folder.
pub fn run(args: &Args, folder: &Path, rng: &mut Rng, report: &mut Report) -> Result<()> {
    let command = BrokerCommand::given_or_ours(args.broker.as_deref())?;
    let port = free_ports(&mut Rng::new(u64::from(std::process::id()) + 1))?;
    let mut broker = Broker::start(command, port, folder, &[])?;
    admin::create_topic(&mut admin::connect(port)?, TOPIC, PARTITIONS)?;
    let log =
        |partition: i32| Log { topic: TOPIC.to_owned(), partition, number: partition as u32, acknowledged: 0, sent: 0 };
    let mut logs: Vec<Log> = (0..PARTITIONS).map(log).collect();
    let bytes = args.mib << 20;
    let load = Load {
        producers: args.producers,
        window: 4,
        records: RECORDS_OF_A_REQUEST,
        record_bytes: RECORD_BYTES,
        until: Until::Bytes(bytes),
    };
    let begun = Instant::now();
    write(port, &mut logs, load, bytes)?;
    let mib_per_s = args.mib as f64 / begun.elapsed().as_secs_f64();
    report.fact("log: MiB written", args.mib);
    report.fact("log: MiB a second", mib_per_s.round());
    let before = cost(broker.pid())?;
    report.fact("log: most RSS while writing, MiB", before.most_rss_mib);
    report.fact("log: checkpoints", newest_checkpoint(&folder.join("data")));
    report.fact("log: MiB on disk", bytes_below(&folder.join("data")) >> 20);

    kill(&broker)?;
    broker.start_again()?;
    report.fact("log: ready after kill -9, ms", broker.ready_ms());
    if !args.no_goals {
        report.at_most("log: ready after kill -9, ms", MOST_READY_MS, broker.ready_ms());
    }
    let sample = Sample { partitions: 4 * PARTITIONS as usize, places: 20, record_bytes: RECORD_BYTES };
    let found = compare(port, &mut logs, sample, rng).context("after kill -9")?;
    report.equal("log: records in doubt after kill -9", 0, found.unacknowledged);
    report.fact("log: records", found.total);
    report.fact("log: records compared", found.records);
    let after = cost(broker.pid())?;
    report.fact("log: RSS after the restart, MiB", after.rss_kib / 1024);
    report.fact("log: open files after the restart", after.open_files);
    broker.stop()
}

/// Writes all of it, and shows how far it is.
fn write(port: u16, logs: &mut [Log], load: Load, bytes: u64) -> Result<()> {
    let shared = Shared::default();
    let mut progress = Progress::new();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| load::run(port, logs, load, &shared));
        while !writing.is_finished() {
            let written = shared.bytes.load(Ordering::Relaxed);
            progress.show(|| format!("{} of {} MiB", grouped((written >> 20) as i64), grouped((bytes >> 20) as i64)));
            std::thread::sleep(Duration::from_millis(50));
        }
        progress.end();
        writing.join().expect("the producers do not panic")
    })?;
    Ok(())
}
