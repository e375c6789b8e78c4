//! What is remembered of deleted topics: the leader epoch that the next topic of the name begins at.
//!
//! Leader epochs never repeat among the topics of one name. So whoever still holds an epoch of a deleted topic is told apart
//! from those who read its successor: a commit of his is refused (O-7), and his log is seen to have ended.
//! A fact in the engine for each name that is free and was not always so, up to a number of them. Beyond it the name deleted
//! first is forgotten, and a floor takes its place: the epoch that every name begins at of which nothing is remembered. So
//! memory is bounded and nothing is ever given twice, after however long.
//! Deliberately not here: names that are taken, which are told by the topic's own record; when topics come and go (`admin`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pagemark_storage::engine::{Engine, Lsn, Write};
use pagemark_wire::types::LeaderEpoch;

use crate::metadata::record::{FORMER_TOPIC_PREFIX, FORMER_TOPICS_FLOOR_KEY, FirstEpochRecord};

/// Names remembered at most.
const MOST_NAMES: usize = 10_000;

/// The names that are free again, as the engine has them.
#[derive(Debug, Default)]
pub struct FormerTopics {
    names: BTreeMap<String, (Lsn, LeaderEpoch)>,
    /// The same names, those deleted first in front.
    in_order: BTreeSet<(Lsn, String)>,
    floor: LeaderEpoch,
}

impl FormerTopics {
    /// Reads them at a start.
    ///
    /// # Errors
    /// A sentence, if a fact cannot be read.
    pub fn load(engine: &dyn Engine) -> Result<FormerTopics, String> {
        let mut former = FormerTopics::default();
        let read = |key: &str, value: &Bytes| -> Result<LeaderEpoch, String> {
            let record: FirstEpochRecord = serde_json::from_slice(value)
                .map_err(|error| format!("the stored fact {key} is not readable: {error}"))?;
            Ok(LeaderEpoch(record.first_epoch))
        };
        for (key, stored) in engine.scan(FORMER_TOPIC_PREFIX) {
            let first = read(&key, &stored.value)?;
            former.remember(key[FORMER_TOPIC_PREFIX.len()..].to_owned(), first, stored.revision);
        }
        if let Some(stored) = engine.get(FORMER_TOPICS_FLOOR_KEY) {
            former.floor = read(FORMER_TOPICS_FLOOR_KEY, &stored.value)?;
        }
        Ok(former)
    }

    /// The leader epoch that a new topic of this name begins at.
    #[must_use]
    pub fn first_epoch(&self, name: &str) -> LeaderEpoch {
        self.names.get(name).map_or(self.floor, |(_, first)| *first)
    }

    /// What is to be written, in one step with the topic's own removal, when a topic goes that has come as far as `last`.
    #[must_use]
    pub fn writes_of_deletion(&self, name: &str, last: LeaderEpoch) -> Vec<Write> {
        let mut writes = vec![put(format!("{FORMER_TOPIC_PREFIX}{name}"), following(last))];
        if let Some(forgotten) = self.to_be_forgotten(MOST_NAMES) {
            writes.push(Write::Delete(format!("{FORMER_TOPIC_PREFIX}{forgotten}")));
            writes.push(put(FORMER_TOPICS_FLOOR_KEY.to_owned(), self.floor.max(self.first_epoch(forgotten))));
        }
        writes
    }

    /// Takes note of a deletion, whose writes were accepted at `lsn`.
    pub fn deleted(&mut self, name: String, last: LeaderEpoch, lsn: Lsn) {
        if let Some(forgotten) = self.to_be_forgotten(MOST_NAMES).map(str::to_owned) {
            self.floor = self.floor.max(self.first_epoch(&forgotten));
            self.forget(&forgotten);
        }
        self.remember(name, following(last), lsn);
    }

    /// What is to be written in one step with a new topic: its own record remembers the epoch from then on.
    #[must_use]
    pub fn writes_of_creation(&self, name: &str) -> Vec<Write> {
        let known = self.names.contains_key(name);
        known.then(|| Write::Delete(format!("{FORMER_TOPIC_PREFIX}{name}"))).into_iter().collect()
    }

    /// Takes note of a creation, whose writes were accepted.
    pub fn created(&mut self, name: &str) {
        self.forget(name);
    }

    /// Which name makes room for another one.
    fn to_be_forgotten(&self, most: usize) -> Option<&str> {
        let (_, first) = self.in_order.first().filter(|_| self.names.len() >= most)?;
        Some(first)
    }

    fn remember(&mut self, name: String, first: LeaderEpoch, lsn: Lsn) {
        self.forget(&name);
        self.in_order.insert((lsn, name.clone()));
        self.names.insert(name, (lsn, first));
    }

    fn forget(&mut self, name: &str) {
        if let Some((name, (lsn, _))) = self.names.remove_entry(name) {
            self.in_order.remove(&(lsn, name));
        }
    }
}

fn following(last: LeaderEpoch) -> LeaderEpoch {
    LeaderEpoch(last.0.saturating_add(1))
}

fn put(key: String, first: LeaderEpoch) -> Write {
    let record = FirstEpochRecord { first_epoch: first.0 };
    Write::Put(key, Bytes::from(serde_json::to_vec(&record).expect("an epoch's record is plain data")))
}

#[cfg(test)]
mod tests {
    use pagemark_storage::engine::MetaStore;
    use pagemark_storage::engine::TxnOutcome;
    use pagemark_storage::memory::MemoryEngine;

    use super::*;

    fn delete(engine: &MemoryEngine, former: &mut FormerTopics, name: &str, last: i32) {
        let writes = former.writes_of_deletion(name, LeaderEpoch(last));
        let TxnOutcome::Accepted(ticket) = engine.txn(&[], writes).unwrap() else { panic!("it has no condition") };
        former.deleted(name.to_owned(), LeaderEpoch(last), ticket.0);
    }

    fn first_epochs(former: &FormerTopics, names: &[String]) -> Vec<i32> {
        names.iter().map(|name| former.first_epoch(name).0).collect()
    }

    #[test]
    fn a_name_begins_above_its_last_epoch_also_when_it_had_to_be_forgotten_r_96() {
        let engine = MemoryEngine::new();
        let mut former = FormerTopics::load(&engine).unwrap();
        let names: Vec<String> = (0..MOST_NAMES + 3).map(|n| format!("topic-{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            delete(&engine, &mut former, name, if n < 3 { 7 - n as i32 } else { 0 });
        }
        assert_eq!(
            first_epochs(&former, &names[..4]),
            [8, 8, 8, 1],
            "three are forgotten: the greatest of them counts"
        );
        assert_eq!(former.first_epoch("never-heard-of").0, 8, "it may be one of those");
        assert_eq!(engine.scan(FORMER_TOPIC_PREFIX).len(), MOST_NAMES, "bounded");

        let read = FormerTopics::load(&engine).unwrap();
        assert_eq!(first_epochs(&read, &names), first_epochs(&former, &names), "the same after a restart");
        assert_eq!(read.in_order, former.in_order);
    }

    #[test]
    fn a_name_that_is_taken_is_told_by_its_topic_alone_r_96() {
        let engine = MemoryEngine::new();
        let mut former = FormerTopics::load(&engine).unwrap();
        assert_eq!(former.writes_of_creation("orders"), []);
        delete(&engine, &mut former, "orders", 4);
        assert_eq!(former.first_epoch("orders").0, 5);
        engine.txn(&[], former.writes_of_creation("orders")).unwrap();
        former.created("orders");
        assert_eq!(engine.scan(FORMER_TOPIC_PREFIX), []);
        assert_eq!(former.first_epoch("others").0, 0);
    }
}
