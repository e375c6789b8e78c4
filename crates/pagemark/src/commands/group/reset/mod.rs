//! `pagemark group reset`: sets committed offsets, after showing what that will repeat or skip.
//!
//! A dry run until `--execute`. A group with members is refused: their next commits would win. What was written is read back.
//! Deliberately not here: resetting a group that runs, which Kafka's protocol has no call for.

mod file;
mod plan;
mod preview;
mod show;

use std::collections::BTreeMap;
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
      A dry run: shows what would be read again or SKIPPED, changes nothing
  pagemark group reset billing --to-datetime 2026-11-26T10:00:00.000Z --execute
  pagemark group reset billing -t orders:0 --shift-by -1 --execute
      One record again
  pagemark group reset billing --by-duration PT1H --execute --wait-empty 5m
      As soon as the last member has left
  pagemark group reset billing --to-group audit --execute
  pagemark group reset billing --from-file offsets.csv --execute
      Lines of TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET, as
      kafka-consumer-groups --export writes them

Without -t, the partitions for which the group has committed something. Offsets
outside a log become its nearest end. NEW-OFFSET is the NEXT offset that the
group will read. Counts are of offsets; transaction markers and compacted
records are among them. A partition without a leader is left as it is, and then
--execute has exit code 1. Exit code 5: the group has members.";

/// Arguments of `pagemark group reset`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "pagemark group reset [OPTIONS] <WHERE-TO> <GROUP>")]
pub struct Reset {
    /// Which group
    group: String,
    /// Which partitions: TOPIC, or TOPIC:0,2,5-7. May be repeated
    #[arg(short, value_name = "TOPIC[:PARTITIONS]")]
    target: Vec<Target>,
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
    to: Targets,
    #[command(flatten)]
    common: Common,
}

/// Where to: exactly one of these.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "Where to, one of")]
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
        if has_moved(&plan, &admin.list_group_offsets(group).await.map_err(about)?) {
            if deadline.is_some_and(|deadline| tokio::time::Instant::now() < deadline) {
                continue;
            }
            let group = escaped(group);
            return Err(Failure::refused(format!(
                "group {group}: somebody commits for it meanwhile; nothing was changed"
            )));
        }
        match admin.alter_group_offsets(group, changes(&plan)).await {
            Ok(()) => {}
            // Somebody has joined meanwhile. Nothing was written then (O-11).
            Err(error) if has_joined(&error) && deadline.is_some() => continue,
            Err(error) if has_joined(&error) => {
                let group = escaped(group);
                return Err(Failure::refused(format!(
                    "group {group}: a member has joined meanwhile; nothing was changed"
                )));
            }
            Err(error) => {
                let extent = match admin.list_group_offsets(group).await {
                    Ok(now) => extent(&plan, &now),
                    Err(_) => "what was written could not be read back".to_owned(),
                };
                let failure = about(error);
                return Err(Failure { message: format!("{}; {extent}", failure.message), ..failure });
            }
        }
        let wrong = read_back(admin, group, &plan).await.map_err(about)?;
        return Ok(show::answer(group, &standing, &plan, &seen, true).failing(wrong.into_iter().chain(plan.failures())));
    }
}

fn changes(plan: &Plan) -> impl Iterator<Item = (TopicPartition, OffsetAndMetadata)> {
    let changed = plan.rows.iter().filter(|row| row.is_change());
    changed.map(|row| (row.partition.clone(), row.to.into()))
}

/// Commits of a group by partition.
type Committed = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// Whether the group has committed since the plan was made, so that the plan is of yesterday.
fn has_moved(plan: &Plan, now: &Committed) -> bool {
    plan.rows.iter().any(|row| now.get(&row.partition).map(|found| found.offset) != row.from)
}

/// Whether a commit was refused because the group has members: without a generation (O-11), or in a rebalance.
fn has_joined(error: &Error) -> bool {
    let codes = [Code::UNKNOWN_MEMBER_ID, Code::ILLEGAL_GENERATION, Code::REBALANCE_IN_PROGRESS];
    error.code().is_some_and(|code| codes.contains(&code))
}

/// How far a write came that failed: brokers judge each partition by itself, and an answer may be lost on its way.
fn extent(plan: &Plan, now: &Committed) -> String {
    let changed: Vec<_> = plan.rows.iter().filter(|row| row.is_change()).collect();
    let is_set = |row: &&&plan::Row| now.get(&row.partition).map(|found| found.offset) == Some(row.to);
    match changed.iter().filter(is_set).map(|row| row.partition.to_string()).collect::<Vec<_>>() {
        set if set.is_empty() => "nothing was changed".to_owned(),
        set => format!("changed all the same: {} of {}, {}", set.len(), changed.len(), set.join(", ")),
    }
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

#[cfg(test)]
mod tests {
    use super::plan::Row;
    use super::*;

    fn plan() -> Plan {
        let row = |partition, from, to| {
            let partition = TopicPartition::new("orders", partition);
            Row { partition, from, to, asked: None, log: (0, 10) }
        };
        Plan { rows: vec![row(0, Some(4), 0), row(1, None, 2), row(2, Some(3), 3)], left: Vec::new() }
    }

    fn committed(offsets: &[(i32, i64)]) -> Committed {
        offsets.iter().map(|(at, offset)| (TopicPartition::new("orders", *at), (*offset).into())).collect()
    }

    #[test]
    fn a_plan_is_not_written_over_commits_that_it_has_not_seen() {
        assert!(!has_moved(&plan(), &committed(&[(0, 4), (2, 3), (7, 1)])));
        assert!(has_moved(&plan(), &committed(&[(0, 5), (2, 3)])));
        assert!(has_moved(&plan(), &committed(&[(0, 4), (1, 0), (2, 3)])));
        assert!(has_moved(&plan(), &committed(&[(0, 4)])));
    }

    #[test]
    fn a_write_that_failed_says_how_far_it_came() {
        assert_eq!(extent(&plan(), &committed(&[(0, 4), (2, 3)])), "nothing was changed");
        let half = extent(&plan(), &committed(&[(0, 0), (2, 3)]));
        assert_eq!(half, "changed all the same: 1 of 2, orders-0");
    }

    #[test]
    fn every_answer_that_means_members_is_a_refusal_o_11() {
        let refused = |code| Error::Refused { code, message: String::new() };
        assert!(has_joined(&refused(Code::UNKNOWN_MEMBER_ID)) && has_joined(&refused(Code::REBALANCE_IN_PROGRESS)));
        assert!(!has_joined(&refused(Code::UNKNOWN_TOPIC_OR_PARTITION)));
    }
}
