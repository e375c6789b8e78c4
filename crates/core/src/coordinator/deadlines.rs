//! Which group wants to be woken when: one entry a group, however many timers run in it.
//!
//! An entry may be earlier than the group's first timer, never later. So a heartbeat, which only puts a timer off, costs
//! nothing here; the group is woken once for nothing and then entered anew.
//! Deliberately not here: the timers themselves, which stand where they belong in the group.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::time::MonoMs;

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: BTreeSet<(MonoMs, Arc<str>)>,
}

impl Deadlines {
    pub(crate) fn first(&self) -> Option<MonoMs> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Sees to it that the group is woken at `at` or earlier. `scheduled` is the group's present entry.
    pub(crate) fn ensure(&mut self, group: &Arc<str>, scheduled: &mut Option<MonoMs>, at: Option<MonoMs>) {
        let Some(at) = at else { return };
        if scheduled.is_some_and(|present| present <= at) {
            return;
        }
        self.remove(group, scheduled);
        self.queue.insert((at, Arc::clone(group)));
        *scheduled = Some(at);
    }

    pub(crate) fn remove(&mut self, group: &Arc<str>, scheduled: &mut Option<MonoMs>) {
        if let Some(present) = scheduled.take() {
            self.queue.remove(&(present, Arc::clone(group)));
        }
    }

    /// Takes out the groups whose entry is due, in order of entry and id.
    pub(crate) fn take_due(&mut self, now: MonoMs) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        while self.queue.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.queue.pop_first().map(|(_, group)| group));
        }
        due
    }
}
