//! What clients of a broker did and saw, written down as it happened, so that promises can be checked afterwards.
//!
//! A history is a list of [`Event`]s, one JSON object a line. It knows nothing of who wrote it: the simulation's actors do, and
//! whoever drives a real broker can. Times are the observer's own, in microseconds, from any start; what was begun before
//! another thing had ended counts as simultaneous. Deliberately not here: what is right and wrong (`check`).

pub mod check;
mod groups;
mod offsets;
mod records;
#[cfg(test)]
mod tests;

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

/// A partition, by the id of its topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The topic's id, as text.
    pub topic: String,
    /// Its number.
    pub partition: i32,
}

/// What came of something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was refused with this error code, and so must have changed nothing.
    Refused(i16),
    /// Nobody knows: it may have happened, or happen yet.
    Unknown,
}

impl Outcome {
    /// The outcome that an error code tells.
    #[must_use]
    pub fn of_code(code: i16) -> Outcome {
        if code == 0 { Outcome::Done } else { Outcome::Refused(code) }
    }
}

/// One thing that an actor did or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was begun, in microseconds.
    pub begun_us: u64,
    /// When its outcome was known.
    pub ended_us: u64,
    /// Who.
    pub actor: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// A committed offset with what travels with it. In a history no two commits of a key have the same metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookmark {
    /// The offset.
    pub offset: i64,
    /// Its metadata.
    pub metadata: String,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// Records were sent, in this order; each value is like no other of the history.
    Produced {
        /// Where to.
        place: Place,
        /// The values.
        values: Vec<String>,
        /// What came of it.
        outcome: Outcome,
        /// The offset of the first, if it was acknowledged.
        base_offset: Option<i64>,
    },
    /// Records were read.
    Read {
        /// Where from.
        place: Place,
        /// The offset asked for.
        from: i64,
        /// Offsets and values, in the order they came.
        records: Vec<(i64, String)>,
        /// The first offset, as the answer says.
        log_start: i64,
        /// The end of what can be read, as the answer says.
        high_watermark: i64,
    },
    /// Somebody looked where a partition begins, or where it ends.
    Bound {
        /// Which partition.
        place: Place,
        /// Whether it is the end.
        end: bool,
        /// The offset.
        offset: i64,
    },
    /// Records below an offset were asked to be deleted.
    Trimmed {
        /// Which partition.
        place: Place,
        /// Up to here.
        to: i64,
        /// What came of it.
        outcome: Outcome,
    },
    /// An offset was committed.
    Committed {
        /// The group.
        group: String,
        /// The member's generation, -1 for a caller that is none.
        generation: i32,
        /// The topic's name.
        topic: String,
        /// The topic's id, if the request named it by that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic_id: Option<String>,
        /// The partition.
        partition: i32,
        /// The bookmark.
        bookmark: Bookmark,
        /// What came of it.
        outcome: Outcome,
    },
    /// A committed offset was read; `None` is "there is none".
    Looked {
        /// The group.
        group: String,
        /// The topic's name.
        topic: String,
        /// The topic's id, if the request named it by that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic_id: Option<String>,
        /// The partition.
        partition: i32,
        /// What was found.
        found: Option<Bookmark>,
    },
    /// Committed offsets were asked to be removed: a topic's of all groups, a group's of all topics, or one.
    Removed {
        /// The group; all if there is none.
        group: Option<String>,
        /// The topic's name; all if there is none.
        topic: Option<String>,
        /// The partition; all if there is none.
        partition: Option<i32>,
        /// What came of it.
        outcome: Outcome,
    },
    /// A member was let into a generation of its group.
    Joined {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// The generation.
        generation: i32,
    },
    /// A member was told what it has in a generation.
    Assigned {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// The generation it asked for.
        generation: i32,
        /// The generation of the leader who made the assignment, as the leader wrote it in.
        made_in: i32,
        /// Its partitions, by the topic's name.
        partitions: Vec<(String, i32)>,
    },
    /// A member was told that it is none although the group had answered it within its session timeout.
    Expelled {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// How long ago the last heartbeat that was answered well had been begun, microseconds.
        heard_us_ago: u64,
        /// The session timeout, microseconds.
        session_us: u64,
    },
    /// A group has processed a record.
    Processed {
        /// The group.
        group: String,
        /// Where the record was.
        place: Place,
        /// Its offset.
        offset: i64,
        /// Its value.
        value: String,
    },
    /// Something happened to the broker; for people who read the history.
    Broker {
        /// What.
        happened: String,
    },
    /// From here on nothing goes wrong any more, and all that was begun must come to its end.
    Calm,
    /// All that was begun has come to its end. What is read behind this is the last word.
    Settled,
}

/// Reads a history.
///
/// # Errors
/// A line that is none of it, with its number.
pub fn read(from: impl BufRead) -> Result<Vec<Event>, String> {
    let parse = |(at, line): (usize, std::io::Result<String>)| {
        let line = line.map_err(|error| format!("line {}: {error}", at + 1))?;
        serde_json::from_str(&line).map_err(|error| format!("line {}: {error}", at + 1))
    };
    from.lines().enumerate().map(parse).collect()
}

/// Writes a history.
///
/// # Errors
/// What the writer says.
pub fn write(events: &[Event], mut to: impl Write) -> std::io::Result<()> {
    for event in events {
        serde_json::to_writer(&mut to, event)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}
