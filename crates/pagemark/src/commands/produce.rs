//! `pagemark produce`: a record a line from standard input.
//!
//! Ends with success only if every record was acknowledged. Deliberately not here: records that hold line ends.

use std::collections::VecDeque;

use clap::Args;
use pagemark_client::{Delivery, ProduceError, Producer, ProducerRecord};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::{Done, about_topic};
use crate::connect::{Connection, Properties, codec_named};
use crate::exit::Failure;
use crate::host;
use crate::output::{counted, escaped, say};
use crate::target::Target;

/// Records whose outcome is waited for at most; memory stays flat.
const UNDER_WAY: usize = 10_000;
/// Longest line. The broker's own limit comes far earlier.
const LINE_BYTES: u64 = 100 * 1024 * 1024;

const EXAMPLES: &str = "Examples:
  printf 'first\\nsecond\\n' | pagemark produce -t orders
  printf 'order-1:42.00\\n' | pagemark produce -t orders -K :
  pagemark produce -t orders:0 -H source=till-7 -z zstd < orders.txt
  printf 'order-1:\\n' | pagemark produce -t orders -K : -Z
      A tombstone: a key without a value

Exit code 1 if any record was not acknowledged, or if it was interrupted before
the end of the input; how many were is said.";

/// Arguments of `pagemark produce`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Produce {
    /// Where to: TOPIC, or TOPIC:PARTITION
    #[arg(short, value_name = "TOPIC[:PARTITION]")]
    target: Target,
    /// What stands between key and value; a line without it is a value
    #[arg(short = 'K', long, value_name = "SEPARATOR")]
    key_separator: Option<String>,
    /// A header of every record. May be repeated
    #[arg(short = 'H', long, value_name = "KEY=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// How to compress: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC", value_parser = |name: &str| codec_named(name))]
    compression: Option<pagemark_client::Compression>,
    /// Send what is empty as null: an empty value is a tombstone
    #[arg(short = 'Z', long)]
    null: bool,
    #[command(flatten)]
    connection: Connection,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command.
pub async fn run(arguments: Produce) -> Done {
    produce(arguments).await.map_err(|failure| vec![failure])
}

async fn produce(arguments: Produce) -> Result<(), Failure> {
    let partition = match arguments.target.partitions.as_ref().map(|all| all.iter().collect::<Vec<_>>()) {
        None => None,
        Some(all) => match all[..] {
            [partition] => Some(*partition),
            _ => return Err(Failure::usage("records go to one partition, or wherever their keys say")),
        },
    };
    let properties = arguments.connection.properties()?;
    let producer = open(&properties, &arguments, partition).await?;
    let mut tally = Tally::default();
    let mut input = BufReader::with_capacity(64 * 1024, tokio::io::stdin());
    let read = tokio::select! {
        read = send_all(&mut input, &producer, &arguments, partition, &mut tally) => read,
        () = host::interrupted() => Err(Failure::failed("interrupted before the end of the input")),
    };
    // What was taken in is sent, however reading ended.
    producer.flush().await;
    tally.settle(0).await;
    match (read, tally.judged()) {
        (Ok(()), judged) => judged,
        (Err(failure), judged) => {
            let refused = judged.err().map(|judged| format!("; {}", judged.message)).unwrap_or_default();
            let done = counted(i64::try_from(tally.acknowledged).unwrap_or(i64::MAX), "record");
            Err(Failure { message: format!("{}: {done} acknowledged{refused}", failure.message), ..failure })
        }
    }
}

/// A producer for a topic that is there: otherwise it would wait for it to come.
async fn open(properties: &Properties, arguments: &Produce, partition: Option<i32>) -> Result<Producer, Failure> {
    let name = &arguments.target.topic;
    let admin = properties.admin().await?;
    let topic = match admin.describe_topic(name).await {
        Ok(topic) => topic,
        Err(error) => return Err(about_topic(&admin, error, name).await),
    };
    if let Some(partition) = partition.filter(|at| topic.partitions.iter().all(|found| found.index != *at)) {
        let (name, count) = (escaped(name), counted(topic.partitions.len() as i64, "partition"));
        return Err(Failure::failed(format!("{name} has {count}, and no {partition}")));
    }
    let builder = properties.producer()?;
    let builder = match arguments.compression {
        Some(codec) => builder.compression(codec),
        None => builder,
    };
    Ok(builder.build()?)
}

async fn send_all(
    input: &mut (impl AsyncBufRead + Unpin),
    producer: &Producer,
    arguments: &Produce,
    partition: Option<i32>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut *input).take(LINE_BYTES).read_until(b'\n', &mut line).await;
        let unreadable = |error| Failure::failed(format!("standard input cannot be read: {error}"));
        if read.map_err(unreadable)? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == LINE_BYTES {
            return Err(Failure::failed(format!("line {} is longer than {LINE_BYTES} bytes", tally.taken + 1)));
        }
        tally.taken += 1;
        let record = record(&line, arguments, partition);
        match producer.send(record).await {
            Ok(delivery) => tally.under_way.push_back(delivery),
            Err(error @ ProduceError::TooLarge { .. }) => tally.failed(error),
            Err(error) => {
                tally.failed(error);
                return Ok(()); // it will not get better
            }
        }
        tally.settle(UNDER_WAY).await;
    }
}

/// A line as a record.
fn record(line: &[u8], arguments: &Produce, partition: Option<i32>) -> ProducerRecord {
    let separator = arguments.key_separator.as_deref().map(str::as_bytes).filter(|separator| !separator.is_empty());
    let found = separator.and_then(|separator| {
        let at = line.windows(separator.len()).position(|window| window == separator)?;
        Some((&line[..at], &line[at + separator.len()..]))
    });
    let (key, value) = match found {
        Some((key, value)) => (Some(key), value),
        None => (None, line),
    };
    let is_kept = |bytes: &[u8]| !arguments.null || !bytes.is_empty();
    let mut record = ProducerRecord::to(&arguments.target.topic);
    if let Some(key) = key.filter(|key| is_kept(key)) {
        record = record.key(key.to_vec());
    }
    if is_kept(value) {
        record = record.value(value.to_vec());
    }
    if let Some(partition) = partition {
        record = record.partition(partition);
    }
    for (name, value) in &arguments.header {
        record = record.header(name, value.clone());
    }
    record
}

/// What became of the records.
#[derive(Debug, Default)]
struct Tally {
    /// Lines read.
    taken: u64,
    acknowledged: u64,
    refused: u64,
    under_way: VecDeque<Delivery>,
    /// Why the first one was not acknowledged.
    why: Option<ProduceError>,
}

impl Tally {
    /// Waits until at most so many are without an outcome.
    async fn settle(&mut self, at_most: usize) {
        while self.under_way.len() > at_most {
            let Some(delivery) = self.under_way.pop_front() else { return };
            match delivery.await {
                Ok(_) => self.acknowledged += 1,
                Err(error) => self.failed(error),
            }
        }
    }

    fn failed(&mut self, error: ProduceError) {
        self.refused += 1;
        if self.why.is_none() {
            say(&format!("a record was not acknowledged: {error}"));
            self.why = Some(error);
        }
    }

    fn judged(&self) -> Result<(), Failure> {
        let Some(why) = &self.why else { return Ok(()) };
        let (refused, taken) = (self.refused, self.refused + self.acknowledged);
        Err(Failure::failed(format!("{refused} of {taken} records were not acknowledged; the first: {why}")))
    }
}
