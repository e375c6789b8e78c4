//! `pagemark group reset`: sets committed offsets, after showing what that will repeat or skip.
//!
//! A dry run until `--execute`. A group with members is refused: their next commits would win. What was written is read back.
//! Deliberately not here: resetting a group that runs, which Kafka's protocol has no call for.

mod file;
mod plan;
mod preview;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pagemark_client::{Admin, Code, Error, OffsetAndMetadata, TopicPartition};

use self::plan::{Plan, To};
use crate::commands::{Common, Done};
use crate::connect::Properties;
use crate::exit::Failure;
use crate::host;
use crate::output::{Answer, counted, escaped, say};
use crate::target::Target;
use crate::times::{parse_duration, parse_time};

/// How often a group is looked at that is to become empty.
const LOOK_EVERY: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "Examples:
  pagemark group reset billing --to-earliest
      A dry run: shows for each partition what would be read again or SKIPPED, and changes nothing
  pagemark group reset billing --to-datetime 2026-11-26T10:00:00.000Z --execute
  pagemark group reset billing -t orders:0 --shift-by -1 --execute
      One record again
  pagemark group reset billing --by-duration PT1H --execute --wait-empty 5m
      As soon as the last member has left
  pagemark group reset billing --to-group audit --execute
  pagemark group reset billing --from-file offsets.csv --execute
      Lines of TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET, as kafka-consumer-groups --export writes them

Without -t, the partitions for which the group has committed something. Offsets outside a log become its nearest end.
NEW-OFFSET is the NEXT offset that the group will read. Counts are of offsets; transaction markers and compacted records
are among them. Exit code 5: the group has members.";

/// Arguments of `pagemark group reset`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Reset {
    /// Which group
    group: String,
    /// Which partitions: TOPIC, or TOPIC:0,2,5-7. May be repeated
    #[arg(short, value_name = "TOPIC[:PARTITIONS]")]
    target: Vec<Target>,
    #[command(flatten)]
    to: Targets,
    /// Write it; without this it is a dry run
    #[arg(long)]
    execute: bool,
    /// Change nothing; that is the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Wait for up to this long until the group has no members
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "execute")]
    wait_empty: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// Where to: exactly one of these.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Targets {
    /// The first record there is
    #[arg(long)]
    to_earliest: bool,
    /// Behind the last record
    #[arg(long)]
    to_latest: bool,
    /// This offset, in every partition
    #[arg(long, value_name = "N")]
    to_offset: Option<i64>,
    /// The first record at or after this time, UTC unless it says otherwise
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to_datetime: Option<String>,
    /// The first record that is at most this old, such as PT1H or 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    by_duration: Option<Duration>,
    /// This many further on, or back if it is negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Where it is; where nothing is committed, behind the last record
    #[arg(long)]
    to_current: bool,
    /// What a file says
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Where another group is
    #[arg(long, value_name = "GROUP")]
    to_group: Option<String>,
}

impl Targets {
    fn read(&self, group: &str) -> Result<To, Failure> {
        let now = host::now();
        let ago = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Ok(match self {
            Targets { to_earliest: true, .. } => To::Earliest,
            Targets { to_latest: true, .. } => To::Latest,
            Targets { to_current: true, .. } => To::Current,
            Targets { to_offset: Some(offset), .. } => To::Offset(*offset),
            Targets { shift_by: Some(by), .. } => To::ShiftBy(*by),
            Targets { to_datetime: Some(time), .. } => To::Time(parse_time(time, now).map_err(Failure::usage)?),
            Targets { by_duration: Some(duration), .. } => {
                To::Time(now.as_millisecond().saturating_sub(ago(*duration)).max(0))
            }
            Targets { from_file: Some(path), .. } => To::Listed(file::read(path, group)?),
            Targets { to_group: Some(other), .. } => To::Group(other.clone()),
            _ => return Err(Failure::usage("say where to, such as --to-earliest")),
        })
    }
}

/// A group as far as a reset must know it.
struct Standing {
    /// Empty if there is no such group.
    state: String,
    /// `None` if this client cannot see them.
    members: Option<usize>,
}

impl Standing {
    fn is_active(&self) -> bool {
        !matches!(self.state.as_str(), "" | "Empty" | "Dead")
    }

    /// `Stable with 2 members`.
    fn words(&self) -> String {
        match self.members {
            Some(count) => format!("{} with {}", self.state, counted(count as i64, "member")),
            None => self.state.clone(),
        }
    }
}

async fn standing(admin: &Admin, group: &str) -> Result<Standing, Error> {
    match admin.describe_group(group).await {
        Ok(found) => Ok(Standing { state: found.state, members: Some(found.members.len()) }),
        Err(error) if matches!(error.code(), Some(Code::GROUP_ID_NOT_FOUND | Code::INVALID_GROUP_ID)) => {
            let listed = admin.list_groups().await?.into_iter().find(|listed| listed.group_id == group);
            Ok(Standing { state: listed.map(|listed| listed.state).unwrap_or_default(), members: None })
        }
        Err(error) => Err(error),
    }
}

/// Runs the command.
pub async fn run(arguments: Reset) -> Done {
    let common = arguments.common.clone();
    let properties = common.connection.properties().map_err(|failure| vec![failure])?;
    let to = arguments.to.read(&arguments.group).map_err(|failure| vec![failure])?;
    common.answer(async |admin| reset(&admin, &properties, &arguments, &to).await).await
}

async fn reset(admin: &Admin, properties: &Properties, arguments: &Reset, to: &To) -> Result<Answer, Failure> {
    let group = &arguments.group;
    let about = |error: Error| Failure::from(error).about(format!("group {}", escaped(group)));
    if !arguments.execute {
        let standing = standing(admin, group).await.map_err(about)?;
        let plan = plan::make(admin, group, &arguments.target, to).await?;
        let seen = preview::read(properties, &plan).await?;
        return Ok(show::answer(group, &standing, &plan, &seen, false));
    }
    let deadline = arguments.wait_empty.map(|patience| tokio::time::Instant::now() + patience);
    loop {
        let standing = wait_until_empty(admin, group, deadline).await?;
        // Now, since the last member may have committed when it left.
        let plan = plan::make(admin, group, &arguments.target, to).await?;
        let seen = preview::read(properties, &plan).await?;
        match admin.alter_group_offsets(group, changes(&plan)).await {
            Ok(()) => {}
            // Somebody has joined meanwhile. Nothing was written then (O-11).
            Err(error) if error.code() == Some(Code::UNKNOWN_MEMBER_ID) && deadline.is_some() => continue,
            Err(error) if error.code() == Some(Code::UNKNOWN_MEMBER_ID) => {
                let group = escaped(group);
                return Err(Failure::refused(format!(
                    "group {group}: a member has joined meanwhile; nothing was changed"
                )));
            }
            Err(error) => return Err(about(error)),
        }
        let failures = read_back(admin, group, &plan).await.map_err(about)?;
        return Ok(show::answer(group, &standing, &plan, &seen, true).failing(failures));
    }
}

fn changes(plan: &Plan) -> impl Iterator<Item = (TopicPartition, OffsetAndMetadata)> {
    let changed = plan.rows.iter().filter(|row| row.from != Some(row.to));
    changed.map(|row| (row.partition.clone(), row.to.into()))
}

/// The group once it has no members.
///
/// # Errors
/// Refused, if it has some and nobody wants to wait, or does not become empty in time.
async fn wait_until_empty(
    admin: &Admin,
    group: &str,
    deadline: Option<tokio::time::Instant>,
) -> Result<Standing, Failure> {
    let mut has_said = false;
    loop {
        let found = standing(admin, group).await?;
        if !found.is_active() {
            return Ok(found);
        }
        let (name, words) = (escaped(group), found.words());
        match deadline {
            None => {
                let advice = "stop them first, or let this wait for it with --wait-empty 5m";
                return Err(Failure::refused(format!("group {name} is {words}: {advice}. Nothing was changed")));
            }
            Some(deadline) if tokio::time::Instant::now() >= deadline => {
                return Err(Failure::refused(format!("group {name} is still {words}. Nothing was changed")));
            }
            Some(_) if !has_said => {
                say(&format!("group {name} is {words}; waiting until it has none"));
                has_said = true;
            }
            Some(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether what was written is there now.
async fn read_back(admin: &Admin, group: &str, plan: &Plan) -> Result<Option<Failure>, Error> {
    let now = admin.list_group_offsets(group).await?;
    let wrong = plan.rows.iter().find(|row| now.get(&row.partition).map(|found| found.offset) != Some(row.to));
    Ok(wrong.map(|row| {
        let found = now.get(&row.partition).map_or("nothing".to_owned(), |found| found.offset.to_string());
        let (partition, to) = (&row.partition, row.to);
        Failure::failed(format!(
            "{partition}: {to} was written, and {found} is there now: somebody else commits for this group"
        ))
    }))
}
