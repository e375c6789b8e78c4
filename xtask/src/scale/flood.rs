//! A good client while two hundred others announce much, send little and stay (row 81): how much later its acks come, and
//! how much memory the broker takes.
//!
//! Rounds without and with the flood take turns, so that a noisy machine is noisy in both. Deliberately not here: that each
//! of the others is answered or closed in the end (the broker's own tests).

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Args;
use super::load::{self, Latencies, Load, Log, Shared, Until};
use super::process::cost;
use crate::admin;
use crate::broker::{Broker, BrokerCommand, free_ports};
use crate::rng::Rng;
use crate::table::Report;

const TOPIC: &str = "good";
const ROUNDS: u64 = 3;
const CONNECTIONS: usize = 200;
const ANNOUNCED_BYTES: i32 = 90 << 20;
const SENT_BYTES: usize = 1024;

const MOST_RSS_MIB: u64 = 256;
const MOST_LATER: f64 = 2.0;

/// Runs the scenario in this folder.
pub fn run(args: &Args, folder: &Path, _rng: &mut Rng, report: &mut Report) -> Result<()> {
    let command = BrokerCommand::given_or_ours(args.broker.as_deref())?;
    let port = free_ports(&mut Rng::new(u64::from(std::process::id()) + 2))?;
    let mut broker = Broker::start(command, port, folder, &[])?;
    admin::create_topic(&mut admin::connect(port)?, TOPIC, 1)?;
    let mut logs = [Log { topic: TOPIC.to_owned(), partition: 0, number: 0, acknowledged: 0, sent: 0 }];
    let time = Duration::from_secs_f64(args.seconds as f64 / ROUNDS as f64);
    let load = Load { producers: 1, window: 1, records: 1, record_bytes: 1024, until: Until::Time(time) };
    let (mut without, mut with) = (Latencies::default(), Latencies::default());
    for _ in 0..ROUNDS {
        without.add(load::run(port, &mut logs, load, &Shared::default())?);
        let flood = flood(port)?;
        with.add(load::run(port, &mut logs, load, &Shared::default())?);
        drop(flood);
    }
    let most_rss_mib = cost(broker.pid())?.most_rss_mib;
    report.fact("flood: most RSS, MiB", most_rss_mib);
    for (when, latencies) in [("without", &without), ("with", &with)] {
        report.fact(&format!("flood: acks {when}"), latencies.count());
        report.fact(&format!("flood: ack p99 {when}, ms"), latencies.percentile_ms(99));
    }
    let ratio = with.percentile_ms(99) / without.percentile_ms(99).max(0.01);
    let ratio = (ratio * 10.0).round() / 10.0;
    report.fact("flood: ack p99 with, times that without", ratio);
    if !args.no_goals {
        report.at_most("flood: most RSS, MiB", MOST_RSS_MIB, most_rss_mib);
        report.at_most("flood: ack p99 with, times that without", MOST_LATER, ratio);
    }
    broker.stop()
}

/// Connections that begin a Produce of 90 MiB and send no more than its first KiB.
fn flood(port: u16) -> Result<Vec<TcpStream>> {
    let mut begun = ANNOUNCED_BYTES.to_be_bytes().to_vec();
    begun.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 1]);
    begun.resize(SENT_BYTES, 7);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let one = |_| -> Result<TcpStream> {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(&begun)?;
        Ok(socket)
    };
    (0..CONNECTIONS).map(one).collect::<Result<_>>().context("the flood is taken")
}
