//! The scenarios: what is done to a broker, one after another, and which figures come of it.
//!
//! The disk is synced before each, so that none pays for what an earlier one left to be written. Deliberately not here: the
//! order of the brokers (`mod.rs`), and the load itself (`xtask/load`).

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::Value;

use super::figures::{Figure, Figures, short};
use super::first;
use super::load::LoadProgram;
use super::server::{Peer, Server};
use super::settle;
use crate::admin;
use crate::scale::process::cost;

/// Partitions of each topic that records go to.
const PARTITIONS: i32 = 12;
/// Size of a record's value where throughput is measured.
const RECORD_BYTES: usize = 1024;
/// Partitions that each of many groups commits.
const GROUP_PARTITIONS: i32 = 10;

/// One thing that is done to every broker. They run in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// From the process's start to the first acknowledged record.
    Start,
    /// Memory and CPU while nobody asks for anything.
    Idle,
    /// Synchronous commits of 1, 16 and 256 groups.
    Commit,
    /// How long records are on their way at a steady rate.
    Latency,
    /// As many records as go in.
    Produce,
    /// As many records as come out.
    Consume,
    /// Many groups with committed offsets, asked for after a restart.
    Groups,
}

/// How much of everything.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Sizes {
    /// Before anything is counted, seconds.
    pub warm_up_s: f64,
    /// That are counted, seconds.
    pub seconds: f64,
    /// That a produce may write at most in either of the two.
    pub most_mib: u32,
    /// That are read.
    pub read_mib: u32,
    /// How often they are read and counted.
    pub passes: u32,
    /// How long an idle broker is left alone, and then how long it is watched, seconds.
    pub idle_s: (u64, u64),
    /// Of the many.
    pub groups: u32,
}

impl Sizes {
    /// What counts.
    pub const FULL: Sizes = Sizes {
        warm_up_s: 4.0,
        seconds: 8.0,
        most_mib: 2048,
        read_mib: 512,
        passes: 4,
        idle_s: (5, 20),
        groups: 10_000,
    };
    /// For trying out.
    pub const QUICK: Sizes =
        Sizes { warm_up_s: 0.5, seconds: 1.0, most_mib: 64, read_mib: 32, passes: 1, idle_s: (1, 2), groups: 500 };
}

/// One broker's turn in one round.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The broker, started just now.
    pub server: Server,
    /// Which it is.
    pub peer: Peer,
    /// The round, from 1.
    pub round: u32,
    /// What loads it.
    pub load: &'a LoadProgram,
    /// How much.
    pub sizes: Sizes,
    /// Where figures go.
    pub figures: &'a mut Figures,
}

impl Turn<'_> {
    /// Runs these scenarios, and stops the broker.
    pub fn run(&mut self, chosen: &[Scenario]) -> Result<()> {
        let ms = first::record(&mut self.server)?;
        for &scenario in chosen {
            rustix::fs::sync();
            let done = match scenario {
                Scenario::Start => {
                    self.note("start", ms, None);
                    Ok(())
                }
                Scenario::Idle => self.idle(),
                Scenario::Commit => [1, 16, 256].into_iter().try_for_each(|groups| self.commit(groups)),
                Scenario::Latency => self.latency(),
                Scenario::Produce => self.produce(),
                Scenario::Consume => self.consume(),
                Scenario::Groups => self.groups(),
            };
            done.with_context(|| format!("{scenario:?}"))?;
        }
        self.server.stop()
    }

    fn idle(&mut self) -> Result<()> {
        let (settle_s, watch_s) = self.sizes.idle_s;
        sleep(Duration::from_secs(settle_s));
        let pid = self.server.pid();
        let before = cpu_ticks(pid)?;
        sleep(Duration::from_secs(watch_s));
        // A tick is a hundredth of a second on every Linux that we run on.
        self.note("idle-cpu", (cpu_ticks(pid)? - before) as f64 / watch_s as f64, None);
        self.note("idle-rss", cost(pid as i32)?.rss_kib as f64 / 1024.0, None);
        Ok(())
    }

    fn commit(&mut self, groups: u32) -> Result<()> {
        let [rate_key, p99_key, cpu_key] = match groups {
            1 => ["commit-1", "commit-1-p99", "commit-1-cpu"],
            16 => ["commit-16", "commit-16-p99", "commit-16-cpu"],
            _ => ["commit-256", "commit-256-p99", "commit-256-cpu"],
        };
        let topic = self.topic(rate_key, GROUP_PARTITIONS)?;
        self.coordinator()?;
        let told = self.timed(&format!("commit --topic {topic} --groups {groups}"))?;
        let commits = counted(&told, "commits")?;
        self.note(rate_key, commits / number(&told, "seconds")?, Some(&told));
        self.note(p99_key, number(&told, "p99_ms")?, Some(&told));
        self.note(cpu_key, number(&told, "broker_cpu_s")? / commits * 1e3, Some(&told));
        Ok(())
    }

    fn latency(&mut self) -> Result<()> {
        let topic = self.topic("latency", PARTITIONS)?;
        let told =
            self.timed(&format!("latency --topic {topic} --partitions {PARTITIONS} --bytes 100 --rate 10000"))?;
        self.note("latency-p50", number(&told, "p50_ms")?, Some(&told));
        self.note("latency-p99", number(&told, "p99_ms")?, Some(&told));
        let each = number(&told, "broker_cpu_s")? / counted(&told, "records")?;
        self.note("latency-cpu", each * 1e5, Some(&told));
        Ok(())
    }

    fn produce(&mut self) -> Result<()> {
        settle();
        let topic = self.topic("produce", PARTITIONS)?;
        let most_mib = self.sizes.most_mib;
        let told = self.timed(&format!("produce --topic {topic} --bytes {RECORD_BYTES} --most-mib {most_mib}"))?;
        self.throughput(["produce", "produce-cpu"], &told)
    }

    fn consume(&mut self) -> Result<()> {
        let topic = self.topic("consume", PARTITIONS)?;
        let Sizes { read_mib, passes, .. } = self.sizes;
        self.load.run(&mut self.server, &format!("fill --topic {topic} --bytes {RECORD_BYTES} --mib {read_mib}"))?;
        rustix::fs::sync();
        let words = format!("consume --topic {topic} --partitions {PARTITIONS} --passes {passes}");
        let told = self.load.run(&mut self.server, &words)?;
        self.throughput(["consume", "consume-cpu"], &told)
    }

    fn throughput(&mut self, [rate_key, cpu_key]: [&'static str; 2], told: &Value) -> Result<()> {
        let bytes = counted(told, "bytes")?;
        self.note(rate_key, bytes / number(told, "seconds")? / 1e6, Some(told));
        self.note(cpu_key, number(told, "broker_cpu_s")? / bytes * 1e9, Some(told));
        Ok(())
    }

    fn groups(&mut self) -> Result<()> {
        self.server.read_all()?; // the produce before has emptied the page cache
        let topic = self.topic("groups", GROUP_PARTITIONS)?;
        self.coordinator()?;
        let groups = self.sizes.groups;
        let all = format!("--topic {topic} --groups {groups} --partitions {GROUP_PARTITIONS}");
        self.load.run(&mut self.server, &format!("groups-make --connections 32 {all}"))?;
        self.server.restart()?;
        let since_ns = self.server.begun_ns;
        let told =
            self.load.run(&mut self.server, &format!("groups-read --connections 16 --since-ns {since_ns} {all}"))?;
        self.note("groups-first", number(&told, "first_ms")?, None);
        self.note("groups-all", number(&told, "all_ms")?, None);
        Ok(())
    }

    /// Creates a topic.
    fn topic(&self, name: &'static str, partitions: i32) -> Result<&'static str> {
        admin::create_topic(&mut admin::connect(self.server.port)?, name, partitions)?;
        Ok(name)
    }

    fn coordinator(&self) -> Result<()> {
        admin::await_coordinator(&mut admin::connect(self.server.port)?, "group-0")
    }

    /// Runs the load for the time that counts, after the time that does not.
    fn timed(&mut self, words: &str) -> Result<Value> {
        let Sizes { warm_up_s, seconds, .. } = self.sizes;
        self.load.run(&mut self.server, &format!("{words} --warm-up-s {warm_up_s} --seconds {seconds}"))
    }

    /// Takes a figure, and shows it.
    fn note(&mut self, measure: &'static str, value: f64, told: Option<&Value>) {
        let client_cpu_s = told.and_then(|told| told["client_cpu_s"].as_f64());
        eprintln!("  round {} {:<16} {measure:<16} {}", self.round, self.peer.title(), short(value));
        self.figures.0.push(Figure { peer: self.peer, round: self.round, measure, value, client_cpu_s });
    }
}

/// A number of things that must not be none: something is divided by it.
fn counted(told: &Value, name: &str) -> Result<f64> {
    let count = number(told, name)?;
    ensure!(count > 0.0, "not one of the {name} was done in the time that counts");
    Ok(count)
}

fn number(told: &Value, name: &str) -> Result<f64> {
    told[name].as_f64().with_context(|| format!("the load told no {name}"))
}

/// User and system time of a process so far.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the broker is gone")?;
    super::machine::ticks(&stat, 11, 2).context("/proc/PID/stat is not as expected")
}
