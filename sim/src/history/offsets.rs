//! Committed offsets: each is a register that holds what was last written, and nothing else ever (invariants 12 to 18).
//!
//! Every commit's metadata is like no other, so what is read names the write it came from. A write certainly took effect
//! before the first answer that shows it, its own or a reader's; this is enough to tell a lost or revived commit without
//! trying orders. Deliberately not here: expiry, which histories are too short for.

use std::collections::{BTreeMap, HashMap};

use super::check::Violation;
use super::{Bookmark, Event, Outcome, What};

/// All violations.
pub(super) fn check(history: &[Event]) -> Vec<Violation> {
    let mut registers: BTreeMap<Key<'_>, Register<'_>> = BTreeMap::new();
    for event in history {
        match &event.what {
            What::Committed { group, topic, topic_id, partition, bookmark, outcome, .. } => {
                let topic_id = topic_id.as_deref();
                let write = Write { topic_id, ..Write::new(event, Some(bookmark), *outcome) };
                registers.entry((group, topic, *partition)).or_default().writes.push(write);
            }
            What::Looked { group, topic, partition, found, .. } => {
                registers.entry((group, topic, *partition)).or_default().reads.push((event, found.as_ref()));
            }
            _ => {}
        }
    }
    for event in history {
        let What::Removed { group, topic, partition, outcome } = &event.what else { continue };
        for ((of_group, of_topic, of_partition), register) in &mut registers {
            let meant = group.as_deref().is_none_or(|g| g == *of_group)
                && topic.as_deref().is_none_or(|t| t == *of_topic)
                && partition.is_none_or(|p| p == *of_partition);
            if meant {
                register.writes.push(Write::new(event, None, *outcome));
            }
        }
    }
    registers.iter_mut().flat_map(|(key, register)| register.check(*key)).collect()
}

type Key<'a> = (&'a str, &'a str, i32);

/// A commit, or a removal.
struct Write<'a> {
    value: Option<&'a Bookmark>,
    /// The topic's id, if that was committed for.
    topic_id: Option<&'a str>,
    outcome: Outcome,
    begun_us: u64,
    /// When it had certainly taken effect; never, as far as is known.
    done_us: u64,
    actor: &'a str,
}

impl<'a> Write<'a> {
    fn new(event: &'a Event, value: Option<&'a Bookmark>, outcome: Outcome) -> Write<'a> {
        let done_us = if outcome == Outcome::Done { event.ended_us } else { u64::MAX };
        Write { value, topic_id: None, outcome, begun_us: event.begun_us, done_us, actor: &event.actor }
    }
}

#[derive(Default)]
struct Register<'a> {
    writes: Vec<Write<'a>>,
    reads: Vec<(&'a Event, Option<&'a Bookmark>)>,
}

impl Register<'_> {
    fn check(&mut self, key: Key<'_>) -> Vec<Violation> {
        let by_metadata: HashMap<&str, usize> = self
            .writes
            .iter()
            .enumerate()
            .filter_map(|(at, write)| Some((write.value?.metadata.as_str(), at)))
            .collect();
        let mut violations = Vec::new();
        for (event, found) in &self.reads {
            let Some(found) = found else { continue };
            let Some(&at) = by_metadata.get(found.metadata.as_str()) else {
                violations.push(Violation::new(13, format!("{key:?} holds {found:?}, which nobody committed")));
                continue;
            };
            let write = &mut self.writes[at];
            write.done_us = write.done_us.min(event.ended_us);
            if write.value != Some(found) {
                let text = format!("{key:?} holds {found:?}, what was committed is {:?}", write.value);
                violations.push(Violation::new(14, text));
            }
            if let Outcome::Refused(code) = write.outcome {
                let text = format!("{key:?} holds {found:?} of {}, which was refused with {code}", write.actor);
                violations.push(Violation::new(16, text));
            }
            if let (Some(of), What::Looked { topic_id: Some(asked), .. }) = (write.topic_id, &event.what)
                && of != asked
            {
                let text = format!("{key:?} of topic {asked} holds {found:?}, which was committed for topic {of}");
                violations.push(Violation::new(18, text));
            }
            if event.ended_us < write.begun_us {
                violations.push(Violation::new(13, format!("{key:?} held {found:?} before it was committed")));
            }
        }
        for (event, found) in &self.reads {
            violations.extend(self.stale(key, event, *found));
        }
        violations
    }

    /// A read is stale if every write that it can come from was certainly overwritten before it began (12, 17, 18).
    fn stale(&self, key: Key<'_>, event: &Event, found: Option<&Bookmark>) -> Option<Violation> {
        let overwritten = |from_us: u64| {
            let by = |write: &&Write<'_>| {
                from_us < write.begun_us && write.done_us < event.begun_us && write.outcome_may_be_done()
            };
            self.writes.iter().find(by)
        };
        let mut sources = self.writes.iter().filter(|w| w.value == found && w.outcome_may_be_done());
        let by = match found {
            Some(_) => overwritten(sources.next()?.done_us)?,
            None => {
                // Nothing was there at first, too. Whatever removal had no certain end may have come last.
                let first = self.writes.iter().find(|w| w.value.is_some() && w.done_us < event.begun_us)?;
                if sources.any(|removal| removal.begun_us < event.ended_us && overwritten(removal.done_us).is_none()) {
                    return None;
                }
                first
            }
        };
        let number = if found.is_none() { 17 } else { 12 };
        let text = format!(
            "{key:?} was {found:?} to {} at {} us, though {} had set {:?} by {} us",
            event.actor, event.begun_us, by.actor, by.value, by.done_us
        );
        Some(Violation::new(number, text))
    }
}

impl Write<'_> {
    fn outcome_may_be_done(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused(_))
    }
}
