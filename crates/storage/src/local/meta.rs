//! The cluster's facts: a small keyed state that changes in atomic steps, and counters that never repeat.
//!
//! One step is one log record; its sequence number is the revision of what it set. The whole state is in every checkpoint.
//! Deliberately not here: what the keys mean, and when a step is durable (`lane.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{self, Reader};
use crate::engine::{Compare, Lsn, Versioned, Write};

/// How far every counter jumps when numbers that were given may have been forgotten.
const SKIPPED_IDS: i64 = 1_000_000_000;
/// The counter that says where counters begin that are not known.
const UNKNOWN_COUNTERS: &str = "";

/// One change, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetaChange {
    Delete(String),
    Put(String, Bytes),
    /// The next number that a counter will give.
    Counter(String, i64),
}

impl MetaChange {
    pub(super) fn put(&self, out: &mut BytesMut) {
        match self {
            MetaChange::Delete(key) => {
                out.put_u8(0);
                codec::put_sized(out, key.as_bytes());
            }
            MetaChange::Put(key, value) => {
                out.put_u8(1);
                codec::put_sized(out, key.as_bytes());
                codec::put_sized(out, value);
            }
            MetaChange::Counter(key, next) => {
                out.put_u8(2);
                codec::put_sized(out, key.as_bytes());
                out.put_i64_le(*next);
            }
        }
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Option<MetaChange> {
        let op = r.u8()?;
        let key = r.text()?.to_string();
        match op {
            0 => Some(MetaChange::Delete(key)),
            1 => Some(MetaChange::Put(key, Bytes::copy_from_slice(r.sized()?))),
            2 => Some(MetaChange::Counter(key, r.i64()?)),
            _ => None,
        }
    }

    /// Bytes it takes in a log record.
    pub(crate) fn len(&self) -> usize {
        match self {
            MetaChange::Delete(key) => 5 + key.len(),
            MetaChange::Put(key, value) => 9 + key.len() + value.len(),
            MetaChange::Counter(key, _) => 13 + key.len(),
        }
    }
}

impl From<Write> for MetaChange {
    fn from(write: Write) -> MetaChange {
        match write {
            Write::Put(key, value) => MetaChange::Put(key, value),
            Write::Delete(key) => MetaChange::Delete(key),
        }
    }
}

/// The state itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeyedState {
    values: BTreeMap<String, Versioned>,
    counters: BTreeMap<String, i64>,
    /// Names of both kinds that were changed since the last checkpoint was captured.
    changed: BTreeSet<String>,
}

impl KeyedState {
    pub(crate) fn get(&self, key: &str) -> Option<Versioned> {
        self.values.get(key).cloned()
    }

    pub(crate) fn scan(&self, prefix: &str) -> Vec<(String, Versioned)> {
        let from = self.values.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    pub(crate) fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => !self.values.contains_key(key),
            Compare::Revision(key, revision) => self.values.get(key).is_some_and(|v| v.revision == *revision),
        }
    }

    /// The number that this counter gives next, from 0.
    pub(crate) fn next_id(&self, counter: &str) -> i64 {
        self.counters.get(counter).or_else(|| self.counters.get(UNKNOWN_COUNTERS)).copied().unwrap_or(0)
    }

    /// Facts were lost: no counter, also none that was forgotten altogether, must give a number again that it gave before.
    pub(super) fn skip_ids(&mut self) {
        tracing::error!(
            skipped = SKIPPED_IDS,
            "topics or settings may have been lost with damaged log records; every counter of ids jumps ahead"
        );
        self.counters.entry(UNKNOWN_COUNTERS.to_string()).or_insert(0);
        self.counters.values_mut().for_each(|next| *next = next.saturating_add(SKIPPED_IDS));
    }

    pub(crate) fn apply(&mut self, revision: Lsn, change: MetaChange) {
        let (MetaChange::Delete(key) | MetaChange::Put(key, _) | MetaChange::Counter(key, _)) = &change;
        if !self.changed.contains(key) {
            self.changed.insert(key.clone());
        }
        match change {
            MetaChange::Delete(key) => {
                self.values.remove(&key);
            }
            MetaChange::Put(key, value) => {
                self.values.insert(key, Versioned { revision, value });
            }
            MetaChange::Counter(key, next) => {
                self.counters.insert(key, next);
            }
        }
    }

    /// The names that were changed since this was called last.
    pub(super) fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }

    /// A checkpoint that was to hold these changes was given up.
    pub(super) fn give_back_changed(&mut self, names: BTreeSet<String>) {
        self.changed.extend(names);
    }

    /// Writes it into a checkpoint, all of it or these names alone.
    pub(super) fn put(&self, out: &mut BytesMut, only: Option<&BTreeSet<String>>) {
        let wanted = |name: &String| only.is_none_or(|names| names.contains(name));
        let gone: Vec<&String> = only.into_iter().flatten().filter(|name| !self.values.contains_key(*name)).collect();
        out.put_u64_le(gone.len() as u64);
        gone.iter().for_each(|name| codec::put_sized(out, name.as_bytes()));
        let count = |all: usize, has: &dyn Fn(&String) -> bool| match only {
            Some(names) => names.iter().filter(|name| has(name)).count(),
            None => all,
        };
        out.put_u64_le(count(self.values.len(), &|name| self.values.contains_key(name)) as u64);
        for (key, versioned) in self.values.iter().filter(|(key, _)| wanted(key)) {
            codec::put_sized(out, key.as_bytes());
            out.put_u64_le(versioned.revision.0);
            codec::put_sized(out, &versioned.value);
        }
        out.put_u64_le(count(self.counters.len(), &|name| self.counters.contains_key(name)) as u64);
        for (key, next) in self.counters.iter().filter(|(key, _)| wanted(key)) {
            codec::put_sized(out, key.as_bytes());
            out.put_i64_le(*next);
        }
    }

    /// How many bytes [`KeyedState::put`] writes at most: of all of it, or of what was changed since the last capture.
    pub(super) fn stored_bytes(&self, changed: bool) -> u64 {
        let of = |name: &String| {
            let value = self.values.get(name).map_or(0, |versioned| versioned.value.len());
            (2 * (4 + name.len()) + 8 + 4 + value + 8) as u64
        };
        let names = if changed { self.changed.iter().map(of).sum() } else { 0 };
        let all = || self.values.keys().chain(self.counters.keys()).map(of).sum();
        24 + if changed { names } else { all() }
    }

    /// Takes over what a checkpoint holds.
    pub(super) fn restore(&mut self, r: &mut Reader<'_>) -> Option<()> {
        for _ in 0..r.u64()? {
            self.values.remove(r.text()?);
        }
        for _ in 0..r.u64()? {
            let key = r.text()?.to_string();
            let revision = Lsn(r.u64()?);
            self.values.insert(key, Versioned { revision, value: Bytes::copy_from_slice(r.sized()?) });
        }
        for _ in 0..r.u64()? {
            let key = r.text()?.to_string();
            self.counters.insert(key, r.i64()?);
        }
        Some(())
    }
}
