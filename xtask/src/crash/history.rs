//! What clients did and saw, in the lines that `pagemark-sim history` reads.
//!
//! A client sends a record or a commit again when it got no answer. In a history that is one event: begun with the first
//! try, done if any was acknowledged, unknown if any had no answer. Deliberately not here: what is right (the checker, which
//! is the simulation's).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::workspace::cargo;

/// A partition of the topic.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// The topic.
    pub topic: &'static str,
    /// Its number.
    pub partition: i32,
}

/// What came of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was refused with this code.
    Refused(i16),
    /// No answer came.
    Unknown,
}

impl Outcome {
    /// The outcome that an error code tells; none is no answer.
    pub fn of(code: Option<i16>) -> Outcome {
        match code {
            None => Outcome::Unknown,
            Some(0) => Outcome::Done,
            Some(code) => Outcome::Refused(code),
        }
    }
}

/// A committed offset and its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bookmark {
    /// The offset.
    pub offset: i64,
    /// The metadata.
    pub metadata: String,
}

/// The kinds of events.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A record was sent.
    Produced { place: Place, values: [String; 1], outcome: Outcome, base_offset: Option<i64> },
    /// Records were read.
    Read { place: Place, from: i64, records: Vec<(i64, String)>, log_start: i64, high_watermark: i64 },
    /// An offset was committed.
    Committed {
        group: String,
        generation: i32,
        topic: &'static str,
        partition: i32,
        bookmark: Bookmark,
        outcome: Outcome,
    },
    /// A committed offset was read.
    Looked { group: String, topic: &'static str, partition: i32, found: Option<Bookmark> },
    /// A member was let into a generation.
    Joined { group: String, member: String, generation: i32 },
    /// A member was told what it has. Foreign clients do not write down in which generation that was made.
    Assigned { group: String, member: String, generation: i32, made_in: i32, partitions: Vec<(String, i32)> },
    /// Something happened to the broker.
    Broker { happened: String },
    /// What comes behind this is the last word.
    Settled,
}

/// One event.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When it was begun.
    pub begun_us: u64,
    /// When its outcome was known.
    pub ended_us: u64,
    /// Who.
    pub actor: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// All that has happened.
#[derive(Debug, Default)]
pub struct History {
    events: Vec<Event>,
    /// Where a value, or a commit's partition and metadata, stands.
    tries: HashMap<String, usize>,
}

impl History {
    /// Adds an event, or joins it with an earlier try of the same.
    pub fn push(&mut self, event: Event) {
        let key = match &event.what {
            What::Produced { values: [value], .. } => value.clone(),
            What::Committed { group, partition, bookmark, .. } => format!("{group} {partition} {}", bookmark.metadata),
            _ => return self.events.push(event),
        };
        match self.tries.get(&key) {
            Some(&at) => self.events[at].join(event),
            None => {
                self.tries.insert(key, self.events.len());
                self.events.push(event);
            }
        }
    }

    /// Writes all of it, in the order in which it was begun, last words last.
    pub fn write(&mut self, to: &Path) -> Result<()> {
        self.tries.clear();
        let settled = self.events.iter().rposition(|event| matches!(event.what, What::Settled));
        self.events[..settled.unwrap_or(0)].sort_by_key(|event| event.begun_us);
        let mut file = BufWriter::new(File::create(to).with_context(|| to.display().to_string())?);
        for event in &self.events {
            serde_json::to_writer(&mut file, event)?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }
}

impl Event {
    /// Another try of the same has come to its end.
    fn join(&mut self, again: Event) {
        self.begun_us = self.begun_us.min(again.begun_us);
        let (Some(before), Some(now)) = (self.what.outcome(), again.what.outcome()) else { return };
        match (before, now) {
            (Outcome::Done, _) => {}
            (_, Outcome::Done) | (Outcome::Refused(_), _) => {
                (self.ended_us, self.what) = (again.ended_us, again.what);
            }
            (Outcome::Unknown, _) => self.ended_us = again.ended_us,
        }
    }
}

impl What {
    fn outcome(&self) -> Option<Outcome> {
        match self {
            What::Produced { outcome, .. } | What::Committed { outcome, .. } => Some(*outcome),
            _ => None,
        }
    }
}

/// Has a history judged by the checker, `pagemark-sim`: whether it holds, and what the checker says.
pub fn judge(path: &Path, checker: Option<&Path>) -> Result<(bool, String)> {
    let mut command = checker.map_or_else(cargo, Command::new);
    if checker.is_none() {
        command.args(["run", "--release", "--quiet", "--package", "pagemark-sim", "--"]);
    }
    let output = command.arg("history").arg(path).output().context("the checker cannot be run")?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(begun_us: u64, outcome: Outcome) -> Event {
        let place = Place { topic: "t", partition: 0 };
        let base_offset = (outcome == Outcome::Done).then_some(7);
        let what = What::Produced { place, values: ["a".to_owned()], outcome, base_offset };
        Event { begun_us, ended_us: begun_us + 1, actor: "p".to_owned(), what }
    }

    #[test]
    fn tries_of_the_same_record_are_one_event_and_one_yes_is_enough() {
        for (outcomes, expected, ended_us) in [
            (&[Outcome::Unknown, Outcome::Done, Outcome::Unknown][..], Outcome::Done, 21),
            (&[Outcome::Unknown, Outcome::Refused(6)], Outcome::Unknown, 21),
            (&[Outcome::Refused(6), Outcome::Unknown], Outcome::Unknown, 21),
        ] {
            let mut history = History::default();
            for (index, outcome) in outcomes.iter().enumerate() {
                history.push(sent(10 * (index as u64 + 1), *outcome));
            }
            assert_eq!(history.events.len(), 1);
            let event = &history.events[0];
            assert_eq!((event.begun_us, event.ended_us, event.what.outcome()), (10, ended_us, Some(expected)));
        }
    }

    #[test]
    fn an_event_is_a_line_that_the_checker_reads() {
        let line = serde_json::to_value(sent(1, Outcome::Refused(56))).unwrap();
        let expected = serde_json::json!({
            "begun_us": 1, "ended_us": 2, "actor": "p", "what": "produced", "place": {"topic": "t", "partition": 0},
            "values": ["a"], "outcome": {"refused": 56}, "base_offset": null
        });
        assert_eq!(line, expected);
    }
}
