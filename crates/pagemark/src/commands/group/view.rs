//! Groups as commands see them: state, members, and for each partition what is committed beside where the log ends.
//!
//! Commits are read before log ends, so that a lag is never negative because of the moment. Deliberately not here: how it
//! is shown.

use std::collections::{BTreeMap, BTreeSet};

use pagemark_client::{
    Admin, Code, Error, GroupDescription, GroupListing, GroupMember, IsolationLevel, OffsetAndMetadata, OffsetSpec,
    Topic, TopicPartition,
};

use crate::exit::Failure;
use crate::nearest::is_meant;
use crate::output::{Cell, Column, Part, counted, escaped};

/// A group.
#[derive(Debug, Clone)]
pub struct View {
    pub id: String,
    pub state: String,
    /// `classic`, `consumer` and so on; empty if the broker does not say.
    pub group_type: String,
    pub protocol_type: String,
    pub assignor: String,
    pub coordinator: Option<i32>,
    /// `None` if this client cannot see them.
    pub members: Option<Vec<GroupMember>>,
    pub rows: Vec<Row>,
}

/// A partition of a group: committed, or assigned to a member, or both.
#[derive(Debug, Clone)]
pub struct Row {
    pub partition: TopicPartition,
    /// What is committed: the NEXT offset to read.
    pub committed: Option<OffsetAndMetadata>,
    pub log: Log,
    /// Which of the members has it.
    pub member: Option<usize>,
}

/// What is known of a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// From its first record to behind its last.
    Known { start: i64, end: i64 },
    /// There is no such topic any more, or not yet.
    NoTopic,
    /// The topic has fewer partitions.
    NoPartition,
    /// Nobody leads it at the moment.
    NoLeader,
    /// The brokers do not say, because of this code if they named one.
    Unknown(Option<Code>),
}

/// How far a group is behind: for people, to whom `7+` means at least 7, and for programs, which get null and the 7 apart.
pub const LAG_COLUMNS: [Column; 3] = [Column::words("LAG"), Column::data("lag"), Column::data("lag_at_least")];

impl View {
    /// `consumer/range`, as far as there is one.
    pub fn protocol(&self) -> Option<String> {
        let parts = [self.protocol_type.as_str(), self.assignor.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join("/"))
    }

    /// How far it is behind; `None` if nobody can say of one of its partitions, or if it has none (O-41).
    pub fn lag(&self) -> Option<i64> {
        self.lag_at_least().filter(|_| self.rows.iter().all(|row| row.adds().is_some()))
    }

    /// The same without the partitions of which nobody can say; `None` if there are no others.
    pub fn lag_at_least(&self) -> Option<i64> {
        self.rows.iter().filter_map(Row::adds).reduce(i64::saturating_add)
    }

    /// Its lag under [`LAG_COLUMNS`].
    pub fn lag_cells(&self) -> [Cell; 3] {
        let words = match (self.lag(), self.lag_at_least()) {
            (Some(lag), _) => lag.into(),
            (None, Some(least)) => Cell::Words(format!("{least}+")),
            (None, None) => Cell::Words("-".to_owned()),
        };
        [words, self.lag().into(), self.lag_at_least().into()]
    }

    /// A part with its lag as facts.
    pub fn with_lag(&self, part: Part) -> Part {
        LAG_COLUMNS.into_iter().zip(self.lag_cells()).fold(part, |part, (column, cell)| part.fact(column, cell))
    }

    /// Which partitions make the lag unknown, if any do.
    pub fn not_counted(&self) -> Option<String> {
        let unknown: Vec<&Row> = self.rows.iter().filter(|row| row.adds().is_none()).collect();
        let with_commit = unknown.iter().filter(|row| row.committed.is_some()).count();
        let kinds = [(unknown.len() - with_commit, "without a commit"), (with_commit, "whose log end is not known")];
        let there = kinds.into_iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> =
            there.map(|(count, what)| format!("{} {what}", counted(count as i64, "partition"))).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Partitions that members have and for which nothing is committed: nobody can say how far behind these are.
    pub fn without_commit(&self) -> usize {
        self.rows.iter().filter(|row| row.committed.is_none()).count()
    }
}

impl Row {
    /// How many offsets lie between the commit and the end; 0 if the commit is beyond it.
    pub fn lag(&self) -> Option<i64> {
        let Log::Known { end, .. } = self.log else { return None };
        self.committed.as_ref().map(|committed| end.saturating_sub(committed.offset).max(0))
    }

    /// What it adds to the lag of its group; `None` if nobody can say. Where there is nothing to read, nobody is behind,
    /// wherever a consumer begins.
    pub fn adds(&self) -> Option<i64> {
        match self.log {
            Log::NoTopic | Log::NoPartition => Some(0),
            Log::Known { start, end } if start == end && self.committed.is_none() => Some(0),
            Log::Known { .. } | Log::NoLeader | Log::Unknown(_) => self.lag(),
        }
    }

    /// The last offset that was done, which is one before the committed one.
    pub fn last_done(&self) -> Option<i64> {
        self.committed.as_ref().map(|committed| committed.offset - 1).filter(|offset| *offset >= 0)
    }

    /// How far the commit is beyond the end, if it is.
    pub fn ahead_by(&self) -> Option<i64> {
        let (Log::Known { end, .. }, Some(committed)) = (self.log, &self.committed) else { return None };
        Some(committed.offset.saturating_sub(end)).filter(|ahead| *ahead > 0)
    }

    /// How many offsets were deleted before they were read, if any.
    pub fn below_log_start(&self) -> Option<i64> {
        let (Log::Known { start, .. }, Some(committed)) = (self.log, &self.committed) else { return None };
        Some(start.saturating_sub(committed.offset)).filter(|below| *below > 0)
    }

    /// What a person should know about it.
    pub fn note(&self) -> Option<String> {
        match (self.log, self.ahead_by(), self.below_log_start()) {
            (Log::Known { .. }, Some(ahead), _) => Some(format!("commit is {ahead} beyond the end")),
            (Log::Known { start, .. }, _, Some(below)) => {
                Some(format!("log starts at {start}: {below} deleted unread"))
            }
            (log, ..) => log.trouble(),
        }
    }
}

impl Log {
    /// Why it is not known where it begins and ends, if it is not.
    pub fn trouble(self) -> Option<String> {
        match self {
            Log::Known { .. } => None,
            Log::NoTopic => Some("no such topic".to_owned()),
            Log::NoPartition => Some("no such partition".to_owned()),
            Log::NoLeader => Some("no leader".to_owned()),
            Log::Unknown(None) => Some("not known".to_owned()),
            Log::Unknown(Some(code)) => Some(format!("not known: {code}")),
        }
    }

    /// Whether it may well be there, and only nobody can say at the moment.
    pub fn may_be_there(self) -> bool {
        matches!(self, Log::NoLeader | Log::Unknown(_))
    }

    /// Where it begins, if known.
    pub fn start(self) -> Option<i64> {
        if let Log::Known { start, .. } = self { Some(start) } else { None }
    }

    /// Where it ends, if known.
    pub fn end(self) -> Option<i64> {
        if let Log::Known { end, .. } = self { Some(end) } else { None }
    }
}

/// Reads groups, all at a time. Those that are not there, or cannot be read, come back as failures.
///
/// # Errors
/// If topics or log ends cannot be read.
pub async fn load(
    admin: &Admin,
    groups: &[String],
    all: &[GroupListing],
    isolation: IsolationLevel,
) -> Result<(Vec<View>, Vec<Failure>), Failure> {
    let listed: BTreeMap<&str, &GroupListing> = all.iter().map(|group| (group.group_id.as_str(), group)).collect();
    let mut described = admin.describe_groups(groups.iter().map(String::as_str)).await;
    let mut committed = admin.list_groups_offsets(groups.iter().map(String::as_str)).await;
    let (mut views, mut failures) = (Vec::new(), Vec::new());
    for group in groups {
        let found = described.remove(group).unwrap_or_else(|| Err(not_found()));
        let view = seen(found, listed.get(group.as_str()).copied());
        match view.and_then(|view| Ok((view, committed.remove(group).unwrap_or_else(|| Err(not_found()))?))) {
            Ok((view, committed)) => views.push(with_rows(view, committed)),
            Err(error) => failures.push(about_group(error, group, listed.keys().copied())),
        }
    }
    let logs = logs(admin, &partitions(&views), isolation).await?;
    for row in views.iter_mut().flat_map(|view| &mut view.rows) {
        row.log = logs.get(&row.partition).copied().unwrap_or(Log::Unknown(None));
    }
    Ok((views, failures))
}

/// Every partition that one of these groups has to do with.
pub fn partitions(views: &[View]) -> BTreeSet<TopicPartition> {
    views.iter().flat_map(|view| view.rows.iter().map(|row| row.partition.clone())).collect()
}

/// An error about a group, with the group that may have been meant if it is not there.
pub fn about_group<'a>(error: Error, group: &str, there: impl IntoIterator<Item = &'a str>) -> Failure {
    let hint = match error.code() {
        Some(Code::GROUP_ID_NOT_FOUND) => is_meant(group, there),
        _ => String::new(),
    };
    Failure::from(error).about(format!("group {}", escaped(group))).hinting(&hint)
}

/// The same, where it is not known yet which groups there are.
pub async fn asking_about_group(admin: &Admin, error: Error, group: &str) -> Failure {
    let all = match error.code() {
        Some(Code::GROUP_ID_NOT_FOUND) => admin.list_groups().await.unwrap_or_default(), // no more than a hint
        _ => Vec::new(),
    };
    about_group(error, group, all.iter().map(|listed| listed.group_id.as_str()))
}

/// A group without its partitions.
fn seen(described: Result<GroupDescription, Error>, listed: Option<&GroupListing>) -> Result<View, Error> {
    match described {
        Ok(found) => Ok(View {
            id: found.group_id,
            state: found.state,
            group_type: found.group_type,
            protocol_type: found.protocol_type,
            assignor: found.assignor,
            coordinator: Some(found.coordinator),
            members: Some(found.members),
            rows: Vec::new(),
        }),
        // It may be there all the same, but not of a kind that is described to us.
        Err(error) => match (error.code(), listed) {
            (Some(Code::GROUP_ID_NOT_FOUND), Some(listed)) if !is_classic(listed) => Ok(undescribed(listed, None)),
            // The empty id, which has offsets at most: nobody can join it.
            (Some(Code::INVALID_GROUP_ID), Some(listed)) => Ok(undescribed(listed, Some(Vec::new()))),
            (Some(Code::INVALID_GROUP_ID), None) => Err(not_found()),
            _ => Err(error),
        },
    }
}

/// A group with what it has committed and what its members have.
fn with_rows(mut view: View, committed: BTreeMap<TopicPartition, OffsetAndMetadata>) -> View {
    let mut rows: BTreeMap<TopicPartition, Row> = BTreeMap::new();
    let empty = |partition: &TopicPartition| Row {
        partition: partition.clone(),
        committed: None,
        log: Log::Unknown(None),
        member: None,
    };
    for (partition, offset) in committed {
        rows.entry(partition.clone()).or_insert_with(|| empty(&partition)).committed = Some(offset);
    }
    for (at, member) in view.members.iter().flatten().enumerate() {
        for partition in &member.assignment {
            rows.entry(partition.clone()).or_insert_with(|| empty(partition)).member = Some(at);
        }
    }
    view.rows = rows.into_values().collect();
    view
}

fn is_classic(listed: &GroupListing) -> bool {
    listed.group_type.is_empty() || listed.group_type.eq_ignore_ascii_case("classic")
}

fn not_found() -> Error {
    Error::Refused { code: Code::GROUP_ID_NOT_FOUND, message: String::new() }
}

/// A group of which no more is known than what a list says.
fn undescribed(listed: &GroupListing, members: Option<Vec<GroupMember>>) -> View {
    View {
        id: listed.group_id.clone(),
        state: listed.state.clone(),
        group_type: listed.group_type.clone(),
        protocol_type: listed.protocol_type.clone(),
        assignor: String::new(),
        coordinator: None,
        members,
        rows: Vec::new(),
    }
}

/// What is known of these partitions' logs.
///
/// # Errors
/// If the brokers do not answer.
pub async fn logs(
    admin: &Admin,
    partitions: &BTreeSet<TopicPartition>,
    isolation: IsolationLevel,
) -> Result<BTreeMap<TopicPartition, Log>, Failure> {
    let names: BTreeSet<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let topics = admin.describe_topics(names).await?;
    let mut logs: BTreeMap<TopicPartition, Log> = partitions
        .iter()
        .map(|partition| (partition.clone(), place(topics.get(&*partition.topic), partition)))
        .collect();
    let led = logs.iter().filter(|(_, log)| **log == Log::Unknown(None)).map(|(partition, _)| partition.clone());
    let led: Vec<TopicPartition> = led.collect();
    let list = async |spec| {
        let wanted = led.iter().map(|partition| (partition.clone(), spec));
        admin.list_offsets_with(isolation, wanted).await
    };
    // In this order, so that no log is seen to begin behind its end because of the moment.
    let starts = list(OffsetSpec::Earliest).await?;
    let ends = list(OffsetSpec::Latest).await?;
    for (partition, log) in &mut logs {
        let offset = |of: &BTreeMap<_, pagemark_client::ListedOffset>| of.get(partition).and_then(|found| found.offset);
        if let (Some(start), Some(end)) = (offset(&starts), offset(&ends)) {
            *log = known(start, end);
        }
    }
    Ok(logs)
}

/// A log as two answers tell it, which need not fit.
fn known(start: i64, end: i64) -> Log {
    Log::Known { start: start.min(end), end }
}

/// Where a partition stands in its topic. If it has a leader its offsets are not known yet, and are to be asked for.
fn place(topic: Option<&Result<Topic, Error>>, partition: &TopicPartition) -> Log {
    let topic = match topic {
        Some(Ok(topic)) => topic,
        Some(Err(error)) => match error.code() {
            Some(Code::UNKNOWN_TOPIC_OR_PARTITION) => return Log::NoTopic,
            Some(Code::LEADER_NOT_AVAILABLE) => return Log::NoLeader,
            code => return Log::Unknown(code),
        },
        None => return Log::Unknown(None), // every topic that was asked for has an answer
    };
    match topic.partitions.iter().find(|found| found.index == partition.partition) {
        None => Log::NoPartition,
        Some(found) if found.leader.is_none() => Log::NoLeader,
        Some(_) => Log::Unknown(None),
    }
}

/// The member that has a partition, as cells: consumer id, host, client id.
pub fn member_cells(view: &View, row: &Row) -> [Cell; 3] {
    let member = row.member.and_then(|at| view.members.as_ref()?.get(at));
    let text = |text: fn(&GroupMember) -> &String| Cell::from(member.map(|member| text(member).as_str().to_owned()));
    [text(|member| &member.member_id), text(|member| &member.client_host), text(|member| &member.client_id)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(committed: Option<i64>, log: Log) -> Row {
        let partition = TopicPartition::new("orders", 0);
        Row { partition, committed: committed.map(Into::into), log, member: None }
    }

    #[test]
    fn a_lag_is_never_negative_and_odd_places_are_said_o_41() {
        let log = Log::Known { start: 10, end: 20 };
        let cases = [
            (row(Some(15), log), Some(5), Some(14), None),
            (row(Some(20), log), Some(0), Some(19), None),
            (row(Some(25), log), Some(0), Some(24), Some("commit is 5 beyond the end")),
            (row(Some(4), log), Some(16), Some(3), Some("log starts at 10: 6 deleted unread")),
            (row(Some(0), Log::Known { start: 0, end: 0 }), Some(0), None, None),
            (row(None, log), None, None, None),
            (row(Some(4), Log::NoTopic), None, Some(3), Some("no such topic")),
            (row(Some(4), Log::NoPartition), None, Some(3), Some("no such partition")),
            (row(Some(4), Log::NoLeader), None, Some(3), Some("no leader")),
            (row(Some(4), Log::Unknown(None)), None, Some(3), Some("not known")),
            (
                row(Some(4), Log::Unknown(Some(Code::TOPIC_AUTHORIZATION_FAILED))),
                None,
                Some(3),
                Some("not known: TOPIC_AUTHORIZATION_FAILED (29)"),
            ),
        ];
        for (row, lag, last_done, note) in cases {
            assert_eq!((row.lag(), row.last_done(), row.note().as_deref()), (lag, last_done, note), "{row:?}");
        }
    }
    #[test]
    fn a_lag_that_nobody_knows_is_never_called_0_o_41() {
        let log = Log::Known { start: 10, end: 20 };
        let empty = Log::Known { start: 20, end: 20 };
        let cases = [
            (vec![row(Some(15), log), row(Some(18), log)], Some(7), Some(7), None),
            (vec![row(Some(15), log), row(Some(4), Log::NoTopic)], Some(5), Some(5), None),
            (vec![row(Some(15), log), row(None, empty)], Some(5), Some(5), None),
            (vec![], None, None, None),
            (vec![row(None, log)], None, None, Some("1 partition without a commit")),
            (vec![row(Some(4), Log::NoLeader)], None, None, Some("1 partition whose log end is not known")),
            (
                vec![row(Some(15), log), row(None, log), row(None, log), row(Some(4), Log::Unknown(None))],
                None,
                Some(5),
                Some("2 partitions without a commit, 1 partition whose log end is not known"),
            ),
            (vec![row(Some(0), Log::Known { start: 0, end: i64::MAX }); 2], Some(i64::MAX), Some(i64::MAX), None),
        ];
        for (rows, lag, least, not_counted) in cases {
            let listed = GroupListing {
                group_id: "billing".to_owned(),
                protocol_type: String::new(),
                state: String::new(),
                group_type: String::new(),
            };
            let view = View { rows, ..undescribed(&listed, None) };
            let found = (view.lag(), view.lag_at_least(), view.not_counted());
            assert_eq!(found, (lag, least, not_counted.map(str::to_owned)), "{:?}", view.rows);
        }
    }

    #[test]
    fn only_a_broker_that_says_so_makes_a_topic_missing_o_41() {
        let partition = TopicPartition::new("orders", 0);
        let refused = |code| place(Some(&Err(Error::Refused { code, message: String::new() })), &partition);
        assert_eq!(refused(Code::UNKNOWN_TOPIC_OR_PARTITION), Log::NoTopic);
        assert_eq!(refused(Code::LEADER_NOT_AVAILABLE), Log::NoLeader);
        let forbidden = Code::TOPIC_AUTHORIZATION_FAILED;
        assert_eq!(refused(forbidden), Log::Unknown(Some(forbidden)));
    }

    #[test]
    fn a_log_never_begins_behind_its_end() {
        assert_eq!(known(100, 150), Log::Known { start: 100, end: 150 });
        assert_eq!(known(150, 100), Log::Known { start: 100, end: 100 });
    }
}
