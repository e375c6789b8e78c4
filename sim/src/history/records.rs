//! Records: what was acknowledged is there, each offset means one record for ever, and each producer's order holds
//! (invariants 2 to 7 and 28).
//!
//! Deliberately not here: contents of batches; a value stands for its record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::check::Violation;
use super::{Event, Outcome, Place, What};

/// All violations.
pub(super) fn check(history: &[Event]) -> Vec<Violation> {
    let mut log = Log::default();
    for event in history {
        log.take(event);
    }
    log.final_words();
    log.processed();
    log.violations
}

/// A record that was sent.
struct Sent<'a> {
    place: &'a Place,
    actor: &'a str,
    /// Its number among those that the actor sent there.
    order: usize,
    outcome: Outcome,
}

#[derive(Default)]
struct Log<'a> {
    sent: HashMap<&'a str, Sent<'a>>,
    sent_by: HashMap<(&'a str, &'a Place), usize>,
    /// What each offset was ever seen to hold.
    seen: BTreeMap<(&'a Place, i64), &'a str>,
    at: HashMap<&'a str, i64>,
    /// Start and end of each partition: the latest moments at which each value was known.
    bounds: HashMap<(&'a Place, bool), Vec<Bound>>,
    trimmed: HashMap<&'a Place, i64>,
    settled: bool,
    last_word: BTreeMap<&'a Place, BTreeMap<i64, &'a str>>,
    processed: BTreeMap<&'a str, BTreeSet<(&'a Place, i64)>>,
    consumed: BTreeMap<&'a str, BTreeSet<&'a str>>,
    violations: Vec<Violation>,
}

/// A bound as somebody saw it.
struct Bound {
    ended_us: u64,
    offset: i64,
}

impl<'a> Log<'a> {
    fn take(&mut self, event: &'a Event) {
        match &event.what {
            What::Produced { place, values, outcome, base_offset } => {
                self.produced(event, place, values, *outcome, *base_offset);
            }
            What::Read { place, records, log_start, high_watermark, .. } => {
                self.bound(event, place, false, *log_start);
                self.bound(event, place, true, *high_watermark);
                if self.settled {
                    self.last_word.entry(place).or_default();
                }
                for (offset, value) in records {
                    self.holds(place, *offset, value, &event.actor);
                    if *offset >= *high_watermark {
                        let text =
                            format!("{place:?}: offset {offset} was read, the high watermark was {high_watermark}");
                        self.violations.push(Violation::new(7, text));
                    }
                    if self.settled {
                        self.last_word.entry(place).or_default().insert(*offset, value);
                    }
                }
                self.in_order(place, records);
            }
            What::Bound { place, end, offset } => self.bound(event, place, *end, *offset),
            What::Trimmed { place, to, outcome } if !matches!(outcome, Outcome::Refused(_)) => {
                let most = self.trimmed.entry(place).or_default();
                *most = (*most).max(*to);
            }
            What::Processed { group, place, offset, value } => {
                self.holds(place, *offset, value, &event.actor);
                self.processed.entry(group).or_default().insert((place, *offset));
                self.consumed.entry(group).or_default().insert(&place.topic);
            }
            What::Settled => self.settled = true,
            _ => {}
        }
    }

    fn produced(
        &mut self,
        event: &'a Event,
        place: &'a Place,
        values: &'a [String],
        outcome: Outcome,
        base: Option<i64>,
    ) {
        for (index, value) in values.iter().enumerate() {
            let order = self.sent_by.entry((&event.actor, place)).or_default();
            *order += 1;
            let sent = Sent { place, actor: &event.actor, order: *order, outcome };
            self.sent.insert(value, sent);
            if let Some(base) = base {
                self.holds(place, base + index as i64, value, &event.actor);
            }
        }
    }

    /// An offset holds one value, for everybody and for ever; a value lies at one offset (3, 5).
    fn holds(&mut self, place: &'a Place, offset: i64, value: &'a str, actor: &str) {
        let known = *self.seen.entry((place, offset)).or_insert(value);
        if known != value {
            let text = format!("{place:?}: offset {offset} was '{known}' and is '{value}' to {actor}");
            self.violations.push(Violation::new(3, text));
        }
        let first = *self.at.entry(value).or_insert(offset);
        if first != offset {
            let text = format!("{place:?}: '{value}' lies at {first} and at {offset}");
            self.violations.push(Violation::new(5, text));
        }
    }

    /// Offsets of one answer go up.
    fn in_order(&mut self, place: &Place, records: &[(i64, String)]) {
        if let Some(pair) = records.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            let text = format!("{place:?}: offset {} was read behind {}", pair[1].0, pair[0].0);
            self.violations.push(Violation::new(3, text));
        }
    }

    /// Neither start nor end goes down: whoever looks later sees no less (7).
    fn bound(&mut self, event: &Event, place: &'a Place, end: bool, offset: i64) {
        let bounds = self.bounds.entry((place, end)).or_default();
        let before = bounds.iter().filter(|b| b.ended_us < event.begun_us).map(|b| b.offset).max();
        if let Some(before) = before.filter(|before| *before > offset) {
            let name = if end { "end" } else { "start" };
            let text = format!("{place:?}: its {name} was {before}, then {offset} to {}", event.actor);
            self.violations.push(Violation::new(7, text));
        }
        // What is certain for good need not be kept but for its greatest.
        if bounds.len() > 64 {
            let horizon = event.begun_us.saturating_sub(60_000_000);
            let most = bounds.iter().filter(|b| b.ended_us < horizon).map(|b| b.offset).max();
            bounds.retain(|b| b.ended_us >= horizon || Some(b.offset) == most);
        }
        bounds.push(Bound { ended_us: event.ended_us, offset });
    }

    /// After all has settled: whatever was acknowledged or read is there, in order, and nothing else (2, 4, 5, 6).
    fn final_words(&mut self) {
        if !self.settled {
            return;
        }
        let mut violations = Vec::new();
        let gone = |place: &Place, offset: i64| self.trimmed.get(place).is_some_and(|to| offset < *to);
        for (&(place, offset), &value) in &self.seen {
            let Some(last) = self.last_word.get(place) else { continue };
            if !gone(place, offset) && last.get(&offset) != Some(&value) {
                let acked = self.sent.get(value).is_some_and(|s| s.outcome == Outcome::Done);
                let how = if acked { "acknowledged" } else { "read" };
                let text = format!("{place:?}: '{value}' was {how} at {offset} and is not there at the end");
                violations.push(Violation::new(if acked { 2 } else { 4 }, text));
            }
        }
        for (place, last) in &self.last_word {
            let mut orders: HashMap<&str, usize> = HashMap::new();
            for (offset, value) in last {
                let Some(sent) = self.sent.get(value) else {
                    violations.push(Violation::new(6, format!("{place:?}: '{value}' at {offset} was never sent")));
                    continue;
                };
                if sent.place != *place {
                    violations.push(Violation::new(6, format!("{place:?}: '{value}' was sent to {:?}", sent.place)));
                }
                if let Outcome::Refused(code) = sent.outcome {
                    let text = format!("{place:?}: '{value}' at {offset} was refused with {code}");
                    violations.push(Violation::new(2, text));
                }
                let before = orders.insert(sent.actor, sent.order).unwrap_or(0);
                if before >= sent.order {
                    let text = format!("{place:?}: '{value}' of {} lies behind what it sent later", sent.actor);
                    violations.push(Violation::new(5, text));
                }
            }
        }
        self.violations.extend(violations);
    }

    /// A group that was given a topic has processed every record of it (28).
    fn processed(&mut self) {
        if !self.settled {
            return;
        }
        let mut violations = Vec::new();
        for (group, topics) in &self.consumed {
            let done = &self.processed[group];
            for (place, last) in self.last_word.iter().filter(|(place, _)| topics.contains(place.topic.as_str())) {
                for (offset, value) in last.iter().filter(|(offset, _)| !done.contains(&(*place, **offset))) {
                    let text = format!("group {group} never processed '{value}' at {place:?} {offset}");
                    violations.push(Violation::new(28, text));
                }
            }
        }
        self.violations.extend(violations);
    }
}
