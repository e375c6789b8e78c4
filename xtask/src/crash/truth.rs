//! What must be true after a crash, kept outside the broker: what was acknowledged, what was seen, and what had no answer.
//!
//! An answer that was lost may have been a yes or a no, so either is right, once; from the next look on it is settled. What
//! has been seen is never taken back. Everything also goes into the history, which the checker judges at the end.
//! Deliberately not here: sockets.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use bytes::Bytes;
use pagemark_wire::api::Api;

use super::history::{Bookmark, Event, History, Outcome, Place, What};
use super::wire::{Heard, records_of, understand};
use crate::relay::Exchange;
use crate::table::Report;

/// The only topic.
pub const TOPIC: &str = "crash";

/// All that is known.
#[derive(Debug, Default)]
pub struct Truth {
    partitions: BTreeMap<i32, Log>,
    registers: BTreeMap<(String, i32), Register>,
    /// Members that have been told what they have, and in which generation the last time.
    pub members: BTreeMap<String, i32>,
    /// Whether an answer's high watermark may be older than its records: Apache Kafka looks at it first, and reads then.
    pub watermark_lags: bool,
    /// What has happened.
    pub history: History,
    /// What was wrong already when it came over the wire.
    pub complaints: Vec<String>,
    /// What has been counted.
    pub tally: Tally,
}

/// What has been counted.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Records whose produce was acknowledged.
    pub records_acknowledged: u64,
    /// Batches whose answer did not come.
    pub batches_unanswered: u64,
    /// Batches of these that a look found.
    pub batches_found: u64,
    /// Offsets whose commit was acknowledged.
    pub commits_acknowledged: u64,
    /// Offsets whose commit had no answer.
    pub commits_unanswered: u64,
    /// Offsets that a look found to come from one of these.
    pub commits_found: u64,
    /// Offsets whose commit was refused, by error code.
    pub commits_refused: BTreeMap<i16, u64>,
    /// Acknowledged commits below an earlier one.
    pub commits_backwards: u64,
    /// The longest that each API took to answer, microseconds, by its number.
    pub slowest_us: BTreeMap<i16, u64>,
    /// Records that were refused, by error code.
    pub records_refused: BTreeMap<i16, u64>,
}

impl Tally {
    /// Into the report.
    pub fn tell(&self, report: &mut Report) {
        for (name, count) in [
            ("records acknowledged", self.records_acknowledged),
            ("batches unanswered", self.batches_unanswered),
            ("of these batches found afterwards", self.batches_found),
            ("offsets committed and acknowledged", self.commits_acknowledged),
            ("offsets unanswered", self.commits_unanswered),
            ("of these offsets found afterwards", self.commits_found),
        ] {
            report.fact(name, count);
        }
        let name = |key: i16| Api::from_key(key).map_or(key.to_string(), |api| format!("{api:?}"));
        let slowest = self.slowest_us.iter().map(|(key, us)| format!("{} {}", name(*key), us.div_ceil(1000)));
        report.fact("slowest answers, ms", slowest.collect::<Vec<_>>().join(", "));
        report.fact("records refused, by code", format!("{:?}", self.records_refused));
        report.fact("offsets refused, by code", format!("{:?}", self.commits_refused));
    }
}

/// One partition.
#[derive(Debug, Default)]
struct Log {
    /// Its bytes, as far as they have been looked at.
    bytes: Vec<u8>,
    /// Its values, likewise.
    values: Vec<String>,
    /// Where each value is known to be.
    at: HashMap<String, i64>,
    /// What was acknowledged behind them.
    acknowledged: BTreeMap<i64, String>,
    /// Batches without an answer.
    unanswered: Vec<Vec<String>>,
}

/// One group's offset in one partition.
#[derive(Debug, Default)]
struct Register {
    settled: Option<Bookmark>,
    unanswered: Vec<Bookmark>,
}

impl Truth {
    /// Takes in what went over the wire.
    pub fn hear(&mut self, exchange: &Exchange<'_>) {
        if let Some(&[high, low]) = exchange.request.get(4..6).filter(|_| exchange.answer.is_some()) {
            let slowest = self.tally.slowest_us.entry(i16::from_be_bytes([high, low])).or_default();
            *slowest = (*slowest).max(exchange.ended_us - exchange.begun_us);
        }
        match understand(exchange) {
            Ok(all) => all.into_iter().for_each(|heard| self.take(exchange, heard)),
            Err(error) => self.complaints.push(format!("an exchange cannot be understood: {error:#}")),
        }
    }

    fn take(&mut self, exchange: &Exchange<'_>, heard: Heard) {
        let (actor, what) = match heard {
            Heard::Produced { partition, values, outcome, base_offset } => {
                return self.produced(exchange, partition, values, outcome, base_offset);
            }
            Heard::Committed { group, member, generation, partition, bookmark, outcome } => {
                self.committed(&group, partition, &bookmark, outcome);
                (member, What::Committed { group, generation, topic: TOPIC, partition, bookmark, outcome })
            }
            Heard::Read { partition, from, records, log_start, mut high_watermark } => {
                if self.watermark_lags {
                    high_watermark = high_watermark.max(records.last().map_or(0, |(offset, _)| offset + 1));
                }
                let place = Place { topic: TOPIC, partition };
                ("consumer".to_owned(), What::Read { place, from, records, log_start, high_watermark })
            }
            Heard::Joined { group, member, generation } => (member.clone(), What::Joined { group, member, generation }),
            Heard::Assigned { group, member, generation, partitions } => {
                self.members.insert(member.clone(), generation);
                (member.clone(), What::Assigned { group, member, generation, made_in: generation, partitions })
            }
        };
        self.history.push(Event { begun_us: exchange.begun_us, ended_us: exchange.ended_us, actor, what });
    }

    fn produced(&mut self, exchange: &Exchange<'_>, partition: i32, values: Vec<String>, outcome: Outcome, base: i64) {
        for (index, value) in values.iter().enumerate() {
            let place = Place { topic: TOPIC, partition };
            let base_offset = (outcome == Outcome::Done).then_some(base + index as i64);
            let what = What::Produced { place, values: [value.clone()], outcome, base_offset };
            let actor = value.split('/').next().unwrap_or_default().to_owned();
            self.history.push(Event { begun_us: exchange.begun_us, ended_us: exchange.ended_us, actor, what });
        }
        let log = self.partitions.entry(partition).or_default();
        match outcome {
            Outcome::Done => {
                self.tally.records_acknowledged += values.len() as u64;
                let wrong = log.confirmed(base, values);
                self.complaints.extend(wrong.map(|what| format!("partition {partition}: {what}")));
            }
            Outcome::Unknown => {
                self.tally.batches_unanswered += 1;
                log.unanswered.push(values);
            }
            Outcome::Refused(code) => *self.tally.records_refused.entry(code).or_default() += values.len() as u64,
        }
    }

    fn committed(&mut self, group: &str, partition: i32, bookmark: &Bookmark, outcome: Outcome) {
        let register = self.registers.entry((group.to_owned(), partition)).or_default();
        match outcome {
            Outcome::Done => {
                self.tally.commits_acknowledged += 1;
                let before = register.settled.replace(bookmark.clone());
                self.tally.commits_backwards += u64::from(before.is_some_and(|before| before.offset > bookmark.offset));
            }
            Outcome::Unknown => {
                self.tally.commits_unanswered += 1;
                register.unanswered.push(bookmark.clone());
            }
            Outcome::Refused(code) => *self.tally.commits_refused.entry(code).or_default() += 1,
        }
    }

    /// Groups that have committed.
    pub fn groups(&self) -> Vec<String> {
        let groups: HashSet<&String> = self.registers.keys().map(|(group, _)| group).collect();
        groups.into_iter().cloned().collect()
    }

    /// Judges a partition: its bytes from offset 0 to its end. Everything that is acknowledged must have been heard by now.
    pub fn judge_log(&mut self, partition: i32, bytes: &[u8], asked_us: u64, now_us: u64) -> Result<(), String> {
        let log = self.partitions.entry(partition).or_default();
        let from = log.values.len();
        let found = log.judge(bytes)?;
        self.tally.batches_found += found;
        let records: Vec<(i64, String)> = (from as i64..).zip(log.values[from..].iter().cloned()).collect();
        let high_watermark = log.values.len() as i64;
        let place = Place { topic: TOPIC, partition };
        let what = What::Read { place, from: from as i64, records, log_start: 0, high_watermark };
        self.history.push(Event { begun_us: asked_us, ended_us: now_us, actor: "judge".to_owned(), what });
        Ok(())
    }

    /// Judges what a group has committed in a partition.
    pub fn judge_offset(
        &mut self,
        group: &str,
        partition: i32,
        found: Option<Bookmark>,
        asked_us: u64,
        now_us: u64,
    ) -> Result<(), String> {
        let register = self.registers.entry((group.to_owned(), partition)).or_default();
        let unanswered = std::mem::take(&mut register.unanswered);
        let is_lost_answer = found.as_ref().is_some_and(|found| unanswered.contains(found));
        let what = What::Looked { group: group.to_owned(), topic: TOPIC, partition, found: found.clone() };
        self.history.push(Event { begun_us: asked_us, ended_us: now_us, actor: "judge".to_owned(), what });
        if found != register.settled && !is_lost_answer {
            let settled = &register.settled;
            return Err(format!("committed is {found:?}; confirmed was {settled:?}, without an answer {unanswered:?}"));
        }
        self.tally.commits_found += u64::from(is_lost_answer && found != register.settled);
        register.settled = found;
        Ok(())
    }

    /// Something has happened to the broker.
    pub fn happened(&mut self, what: &str, now_us: u64) {
        let what = What::Broker { happened: what.to_owned() };
        self.history.push(Event { begun_us: now_us, ended_us: now_us, actor: "rig".to_owned(), what });
    }

    /// Everything has come to its end: what is told from now on is the last word.
    pub fn settle(&mut self, now_us: u64) {
        self.history.push(Event { begun_us: now_us, ended_us: now_us, actor: "judge".to_owned(), what: What::Settled });
    }

    /// All that a partition holds at the end, whatever it should hold.
    pub fn last_words(&mut self, partition: i32, bytes: &[u8], now_us: u64) -> Result<()> {
        let records = records_of(Bytes::copy_from_slice(bytes))?;
        let high_watermark = records.last().map_or(0, |(offset, _)| offset + 1);
        let what =
            What::Read { place: Place { topic: TOPIC, partition }, from: 0, records, log_start: 0, high_watermark };
        self.history.push(Event { begun_us: now_us, ended_us: now_us, actor: "judge".to_owned(), what });
        Ok(())
    }

    /// Records that have been looked at.
    pub fn records(&self) -> u64 {
        self.partitions.values().map(|log| log.values.len() as u64).sum()
    }
}

impl Log {
    /// A batch was acknowledged here; what is wrong with that.
    fn confirmed(&mut self, base: i64, values: Vec<String>) -> Option<String> {
        for (offset, value) in (base..).zip(values) {
            let known = usize::try_from(offset).ok().and_then(|offset| self.values.get(offset));
            let known = known.or_else(|| self.acknowledged.get(&offset));
            if let Some(known) = known.filter(|known| **known != value) {
                return Some(format!("'{value}' was acknowledged at {offset}, where '{known}' is"));
            }
            let first = *self.at.entry(value.clone()).or_insert(offset);
            if first != offset {
                return Some(format!("'{value}' was acknowledged at {offset}, and is at {first}"));
            }
            if offset >= self.values.len() as i64 {
                self.acknowledged.insert(offset, value);
            }
        }
        None
    }

    /// Compares all of it and settles on it; how many batches without an answer are there.
    fn judge(&mut self, bytes: &[u8]) -> Result<u64, String> {
        let same = bytes.starts_with(&self.bytes);
        let tail = if same { &bytes[self.bytes.len()..] } else { bytes };
        let tail = records_of(Bytes::copy_from_slice(tail)).map_err(|error| format!("unreadable: {error:#}"))?;
        if !same {
            let changed =
                tail.iter().find(|(at, value)| usize::try_from(*at).is_ok_and(|at| self.values.get(at) != Some(value)));
            let (known, found) = (self.values.len(), tail.len());
            return Err(format!("{known} records were there, of which {found} are left or have changed: {changed:?}"));
        }
        let from = self.values.len() as i64;
        for (offset, (found, value)) in (from..).zip(&tail) {
            if *found != offset {
                return Err(format!("offset {found} where {offset} was due"));
            }
            let wanted = self.acknowledged.remove(&offset);
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != value) {
                return Err(format!("offset {offset}: '{wanted}' was acknowledged, it is '{value}'"));
            }
            let first = *self.at.entry(value.clone()).or_insert(offset);
            if first != offset {
                return Err(format!("'{value}' is at {first} and at {offset}"));
            }
            if wanted.is_none() && !self.unanswered.iter().any(|batch| batch.contains(value)) {
                return Err(format!("offset {offset}: nobody sent '{value}', or it was refused"));
            }
        }
        if let Some((offset, value)) = self.acknowledged.first_key_value() {
            let end = from + tail.len() as i64;
            return Err(format!("'{value}' was acknowledged at {offset}, and the log ends at {end}"));
        }
        self.values.extend(tail.into_iter().map(|(_, value)| value));
        self.bytes = bytes.to_vec();
        self.whole_batches_only()
    }

    /// Of a batch without an answer all is there or nothing.
    fn whole_batches_only(&mut self) -> Result<u64, String> {
        let mut found = 0;
        for batch in std::mem::take(&mut self.unanswered) {
            let stored = batch.iter().filter(|value| self.at.contains_key(*value)).count();
            if stored != 0 && stored != batch.len() {
                return Err(format!("{stored} of {} records of a batch are there: {:?}", batch.len(), batch.first()));
            }
            found += u64::from(stored != 0);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::records::{
        Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    };

    use super::*;

    /// A log of batches, each a list of values.
    fn log(batches: &[&[&str]]) -> Vec<u8> {
        let (mut bytes, mut offset) = (BytesMut::new(), 0);
        for values in batches {
            let record = |value: &&str| {
                let (timestamp_type, value) = (TimestampType::Creation, Some(Bytes::copy_from_slice(value.as_bytes())));
                let record = Record {
                    transactional: false,
                    control: false,
                    delete_horizon: false,
                    partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
                    producer_id: -1,
                    producer_epoch: -1,
                    timestamp_type,
                    offset,
                    sequence: -1,
                    timestamp: 0,
                    key: None,
                    value,
                    headers: Default::default(),
                };
                offset += 1;
                record
            };
            let records: Vec<Record> = values.iter().map(record).collect();
            let options = RecordEncodeOptions { version: 2, compression: Compression::None };
            RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        }
        bytes.to_vec()
    }

    fn batch(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    /// `a b` is acknowledged, `c d` and then `e` have no answer.
    fn known() -> Log {
        let mut log = Log { unanswered: vec![batch(&["c", "d"]), batch(&["e"])], ..Log::default() };
        assert_eq!(log.confirmed(0, batch(&["a", "b"])), None);
        log
    }

    #[test]
    fn acknowledged_records_must_be_there_and_batches_without_an_answer_may_whole() {
        for (found, batches) in [
            (&[&["a", "b"][..]][..], Some(0)),
            (&[&["a", "b"], &["c", "d"]], Some(1)),
            (&[&["a", "b"], &["e"], &["c", "d"]], Some(2)),
            (&[], None),
            (&[&["a"]], None),
            (&[&["a", "x"]], None),
            (&[&["a", "b"], &["c"]], None),
            (&[&["a", "b"], &["e"], &["e"]], None),
            (&[&["a", "b"], &["a", "b"]], None),
            (&[&["a", "b"], &["z"]], None),
        ] {
            assert_eq!(known().judge(&log(found)).ok(), batches, "{found:?}");
        }
    }

    #[test]
    fn what_was_seen_stays_byte_by_byte() {
        let mut seen = known();
        seen.judge(&log(&[&["a", "b"], &["e"]])).unwrap();
        assert!(seen.judge(&log(&[&["a", "b"]])).is_err(), "e is gone");
        let mut rotten = log(&[&["a", "b"], &["e"]]);
        rotten[30] ^= 1;
        assert!(seen.judge(&rotten).is_err(), "a byte of a batch's head has changed");
        assert_eq!(seen.judge(&log(&[&["a", "b"], &["e"]])), Ok(0));
    }

    #[test]
    fn a_batch_that_is_sent_again_is_acknowledged_where_it_already_is_r_30() {
        let mut seen = known();
        seen.judge(&log(&[&["a", "b"], &["c", "d"]])).unwrap();
        assert_eq!(seen.confirmed(2, batch(&["c", "d"])), None);
        assert!(seen.confirmed(4, batch(&["c", "d"])).is_some());
        assert!(seen.confirmed(1, batch(&["z"])).is_some(), "b is there");
    }

    #[test]
    fn the_last_confirmed_commit_or_one_without_an_answer_is_right() {
        let mark = |offset: i64| Bookmark { offset, metadata: format!("commit {offset}") };
        let known = || {
            let mut truth = Truth::default();
            for (offset, outcome) in [(5, Outcome::Done), (9, Outcome::Done), (7, Outcome::Unknown)] {
                truth.committed("g", 0, &mark(offset), outcome);
            }
            truth
        };
        let other = Bookmark { offset: 9, metadata: "commit 5".to_owned() };
        for (found, right) in [
            (Some(mark(9)), true),
            (Some(mark(7)), true),
            (Some(mark(5)), false),
            (Some(mark(10)), false),
            (Some(other), false),
            (None, false),
        ] {
            assert_eq!(known().judge_offset("g", 0, found.clone(), 0, 0).is_ok(), right, "{found:?}");
        }
        let mut truth = known();
        truth.judge_offset("g", 0, Some(mark(9)), 0, 0).unwrap();
        assert!(truth.judge_offset("g", 0, Some(mark(7)), 0, 0).is_err(), "what was not there once does not come back");
        assert_eq!(truth.tally.commits_backwards, 0);
        truth.committed("g", 0, &mark(8), Outcome::Done);
        assert_eq!(truth.tally.commits_backwards, 1);
    }
}
