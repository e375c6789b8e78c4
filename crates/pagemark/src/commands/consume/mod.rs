//! `pagemark consume`: records to standard output.
//!
//! In a group it commits what it has printed and nothing else: a record counts as processed when standard output has taken
//! it. Deliberately not here: decoding values.

mod ends;
mod format;
mod place;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use pagemark_client::{
    Admin, Assignor, AutoOffsetReset, Consumer, ConsumerError, IsolationLevel, Record, TopicPartition,
};

use self::ends::Ends;
use self::format::Format;
use self::place::Place;
use super::Done;
use crate::connect::{Connection, Properties};
use crate::exit::{Exit, Failure};
use crate::host;
use crate::output::{escaped, say, write_out};
use crate::target::Target;

/// How long one look for records takes at most.
const LOOK: Duration = Duration::from_millis(200);
/// How long a write may take once it is to end.
const STUCK: Duration = Duration::from_secs(2);
/// How long a last commit and leaving the group may take.
const FAREWELL: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "Examples:
  pagemark consume -t orders -e
      Everything that is there now
  pagemark consume -t orders:0 --from -10 -e
      The last ten of a partition
  pagemark consume -t orders --from @2026-11-26T10:00:00Z -f '%T %p %o %k: %s\\n'
  pagemark consume -t orders -G billing
      As a member of a group, from where it left off, until Ctrl-C or SIGTERM
  pagemark consume -t orders -G billing -c 1
      The next record, and then it is done

Tokens of -f, as kcat has them:
  %s value, %S its length (-1: null), %R the same as 4 bytes
  %k key, %K its length, %h headers
  %t topic, %p partition, %o offset, %T timestamp in milliseconds
  \\n \\r \\t \\xXX, and %% for a percent sign
In a group, --from says where to begin where nothing is committed, and -e waits
until the group gives it a partition.";

/// Arguments of `pagemark consume`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Consume {
    /// What to read: TOPIC, or TOPIC:0,2,5-7. May be repeated
    #[arg(short, required = true, value_name = "TOPIC[:PARTITIONS]")]
    target: Vec<Target>,
    /// Read as a member of this group, and commit what was printed
    #[arg(short = 'G', long, value_name = "GROUP")]
    group: Option<String>,
    /// Where to begin: beginning, end, an offset N, -N for N before the end, or @TIME
    #[arg(long, value_name = "PLACE", default_value = "beginning", allow_hyphen_values = true, value_parser = Place::parse)]
    from: Place,
    /// Stop at the end: where the partitions end when this begins to read them
    #[arg(short = 'e', long)]
    exit_at_end: bool,
    /// Stop after so many records
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How to write a record
    #[arg(short, long, value_name = "FORMAT", default_value = "%s\\n", value_parser = Format::parse)]
    format: Format,
    /// Write a JSON object a line instead
    #[arg(short = 'J', long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub async fn run(arguments: Consume) -> Done {
    consume(arguments).await.map_err(|failure| vec![failure])
}

async fn consume(mut arguments: Consume) -> Result<(), Failure> {
    if arguments.json {
        arguments.format = Format::json();
    }
    let properties = arguments.connection.properties()?;
    let admin = properties.admin().await?;
    let mut reader = Reader::open(&arguments, &properties, admin).await?;
    let stuck = tokio::spawn(end_if_stuck());
    let read = tokio::select! {
        read = reader.read() => read,
        () = host::interrupted() => Ok(()),
    };
    stuck.abort();
    let left = reader.leave().await;
    read.and(left)
}

/// Ends the process if it was asked to end and cannot hear that, since whoever reads its output takes no more.
async fn end_if_stuck() {
    host::interrupted().await;
    tokio::time::sleep(STUCK).await;
    say("nobody takes the output; ended without the last commit, so records may be printed again");
    std::process::exit(Exit::Failed as i32);
}

/// A consumer with where it is to begin and to stop.
struct Reader<'a> {
    arguments: &'a Consume,
    admin: Admin,
    isolation: IsolationLevel,
    consumer: Consumer,
    ends: Ends,
    printed: u64,
}

impl<'a> Reader<'a> {
    async fn open(arguments: &'a Consume, properties: &Properties, admin: Admin) -> Result<Reader<'a>, Failure> {
        let isolation = properties.isolation()?;
        let partitions = place::partitions(&admin, &arguments.target).await?;
        let builder = properties.consumer()?.auto_offset_reset(AutoOffsetReset::None);
        let consumer = match &arguments.group {
            Some(group) => {
                // Both, so that it can join whatever is there: consumers of Kafka offer both as well.
                let assignors = [Assignor::CooperativeSticky, Assignor::Range];
                let mut consumer = builder.group_id(group).partition_assignment_strategy(assignors).build()?;
                let by_hand = arguments.target.iter().filter(|target| target.partitions.is_some()).count();
                if by_hand == 0 {
                    consumer.subscribe(arguments.target.iter().map(|target| target.topic.as_str()))?;
                } else if by_hand == arguments.target.len() {
                    consumer.assign(partitions)?;
                } else {
                    let message =
                        "name partitions of every topic or of none: a member of a group is given its partitions";
                    return Err(Failure::usage(message));
                }
                consumer
            }
            None => {
                let mut consumer = builder.enable_auto_commit(false).build()?;
                let places = place::find(&admin, &partitions, arguments.from, isolation).await?;
                consumer.assign(partitions)?;
                for (partition, offset) in places {
                    consumer.seek(&partition, offset).ok(); // it was assigned a moment ago
                }
                consumer
            }
        };
        Ok(Reader { arguments, admin, isolation, consumer, ends: Ends::default(), printed: 0 })
    }

    /// Reads and prints until it is enough.
    async fn read(&mut self) -> Result<(), Failure> {
        loop {
            if self.arguments.exit_at_end && self.is_at_end().await? {
                return Ok(());
            }
            match self.consumer.poll(LOOK).await {
                Ok(records) => {
                    if !self.print(&records)? {
                        return Ok(());
                    }
                }
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// Prints records and says that they are processed. Whether there is a reason to go on.
    fn print(&mut self, records: &[Record]) -> Result<bool, Failure> {
        let wanted = self.arguments.count.map_or(u64::MAX, |count| count - self.printed);
        let records = &records[..records.len().min(usize::try_from(wanted).unwrap_or(usize::MAX))];
        let mut bytes = Vec::new();
        for record in records {
            self.arguments.format.write(record, &mut bytes);
        }
        if !bytes.is_empty() && !write_out(&bytes)? {
            return Ok(false); // nobody reads: these were not processed
        }
        if self.arguments.group.is_some() {
            for record in records {
                self.consumer.store_offset(record).ok(); // if it was lost, another member prints it again
            }
        }
        self.printed += records.len() as u64;
        Ok(self.arguments.count.is_none_or(|count| self.printed < count))
    }

    async fn is_at_end(&mut self) -> Result<bool, Failure> {
        let assigned = self.consumer.assignment();
        let places: BTreeMap<TopicPartition, Option<i64>> = assigned
            .into_iter()
            .map(|partition| {
                let place = self.consumer.position(&partition).ok().flatten();
                (partition, place)
            })
            .collect();
        self.ends.are_reached(&self.admin, &places, self.isolation).await
    }

    /// Goes on after an error that leaves a choice.
    async fn recover(&mut self, error: ConsumerError) -> Result<(), Failure> {
        let (partition, place) = match error {
            ConsumerError::NoOffset { partition } => (partition, self.arguments.from),
            ConsumerError::OutOfRange { partition, offset } => match &self.arguments.group {
                Some(group) => return Err(out_of_range(group, &partition, offset)),
                None => {
                    say(&format!("{partition}: offset {offset} is gone; going on where the log begins"));
                    (partition, Place::Beginning)
                }
            },
            error => return Err(Failure::failed(error.to_string())),
        };
        let found = place::find(&self.admin, std::slice::from_ref(&partition), place, self.isolation).await?;
        if let Some(offset) = found.get(&partition) {
            self.consumer.seek(&partition, *offset).ok(); // if it was lost, it is another member's to begin
        }
        Ok(())
    }

    /// Commits what was printed and leaves.
    async fn leave(self) -> Result<(), Failure> {
        let group = self.arguments.group.as_deref();
        let farewell = async {
            let committed = if group.is_some() { self.consumer.commit_sync().await } else { Ok(()) };
            self.consumer.close().await;
            committed
        };
        let name = || escaped(group.unwrap_or_default());
        match tokio::time::timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let message =
                    format!("group {}: the last commit failed, so records may be printed again: {error}", name());
                Err(Failure::failed(message))
            }
            Err(_) => Err(Failure::failed(format!("group {}: it could not be left in time", name()))),
        }
    }
}

fn out_of_range(group: &str, partition: &TopicPartition, offset: i64) -> Failure {
    let group = escaped(group);
    Failure::failed(format!(
        "{partition}: group {group} is at offset {offset}, which the log does not have. See `pagemark group describe {group}`, \
         and choose a place with `pagemark group reset {group} -t {}:{}`",
        partition.topic, partition.partition
    ))
}
