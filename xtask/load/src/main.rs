//! The load of `cargo xtask bench`: one measurement a run, told as one line of JSON; and clients for `cargo xtask crash`.
//!
//! Records go through librdkafka, a client that belongs to neither broker. Commits do not: a synchronous commit costs
//! librdkafka more than it costs a broker, so that it would measure the client. They are raw frames, encoded by a crate that
//! is not ours, one request under way on each connection; the same for every broker. Deliberately not here: starting
//! brokers, creating topics, and comparing.

mod commits;
mod frames;
mod groups;
mod latency;
mod meter;
mod records;
mod work;

use anyhow::Result;
use clap::{Parser, Subcommand};
use meter::Meter;
use serde_json::Value;

#[derive(Parser)]
#[command(about = "One measurement of a broker on 127.0.0.1, as one line of JSON")]
struct Cli {
    /// The broker's port
    #[arg(long)]
    port: u16,
    /// The broker's process, whose CPU time is told
    #[arg(long)]
    pid: i32,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Produce as much as goes in, with acks=all and idempotence
    Produce(records::Produce),
    /// Produce so much, to be read
    Fill(records::Fill),
    /// Read a topic whole, again and again
    Consume(records::Consume),
    /// Produce at a steady rate and read, and tell how long records were on their way
    Latency(latency::Latency),
    /// Commit, one request under way for each group
    Commit(commits::Commit),
    /// Let many groups commit once
    GroupsMake(groups::Make),
    /// After a restart, ask for what they committed until all is answered
    GroupsRead(groups::Read),
    /// Produce and consume until standard input ends, whatever becomes of the broker
    Work(work::Work),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let meter = Meter::new(cli.pid);
    let told: Value = match cli.what {
        What::Produce(what) => what.run(cli.port, &meter)?,
        What::Fill(what) => what.run(cli.port)?,
        What::Consume(what) => what.run(cli.port, &meter)?,
        What::Latency(what) => what.run(cli.port, &meter)?,
        What::Commit(what) => what.run(cli.port, &meter)?,
        What::GroupsMake(what) => what.run(cli.port)?,
        What::GroupsRead(what) => what.run(cli.port)?,
        What::Work(what) => what.run(cli.port)?,
    };
    println!("{told}");
    Ok(())
}
