//! Groups: one owner of a partition in a generation, generations that only grow, and nothing from those that are over
//! (invariants 16, 23 to 26).
//!
//! Deliberately not here: whether a rebalance ends (27), which shows in a history that never settles.

use std::collections::{BTreeMap, HashMap};

use super::check::Violation;
use super::{Event, Outcome, What};

/// All violations.
pub(super) fn check(history: &[Event]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut owners: HashMap<(&str, i32, &str, i32), &str> = HashMap::new();
    let mut generations = Generations::default();
    for event in history {
        if let What::Joined { group, generation, .. } = &event.what {
            generations.saw(group, *generation, event);
        }
    }
    for event in history {
        match &event.what {
            What::Joined { group, member, generation } => {
                if let Some(later) = generations.certain_before(group, event.begun_us).filter(|g| g > generation) {
                    let text = format!("{member} joined generation {generation} of {group} after {later} had begun");
                    violations.push(Violation::new(24, text));
                }
            }
            What::Assigned { group, member, generation, made_in, partitions } => {
                if made_in != generation {
                    let text =
                        format!("{member} got for generation {generation} of {group} what was made in {made_in}");
                    violations.push(Violation::new(25, text));
                }
                for (topic, partition) in partitions {
                    let owner = *owners.entry((group, *generation, topic, *partition)).or_insert(member);
                    if owner != member {
                        let text = format!(
                            "{topic}-{partition} is {owner}'s and {member}'s in generation {generation} of {group}"
                        );
                        violations.push(Violation::new(23, text));
                    }
                }
            }
            What::Expelled { group, member, heard_us_ago, session_us } if heard_us_ago < session_us => {
                let text = format!("{member} of {group} was removed {heard_us_ago} us after it was heard of");
                violations.push(Violation::new(26, text));
            }
            What::Committed { group, generation, outcome: Outcome::Done, .. } if *generation >= 0 => {
                if let Some(later) = generations.certain_before(group, event.begun_us).filter(|g| g > generation) {
                    let text = format!(
                        "{} committed in generation {generation} of {group} after {later} had begun",
                        event.actor
                    );
                    violations.push(Violation::new(16, text));
                }
            }
            _ => {}
        }
    }
    violations
}

/// When each generation of a group had certainly begun.
#[derive(Default)]
struct Generations<'a> {
    begun: BTreeMap<&'a str, BTreeMap<i32, u64>>,
}

impl<'a> Generations<'a> {
    fn saw(&mut self, group: &'a str, generation: i32, event: &Event) {
        let at = self.begun.entry(group).or_default().entry(generation).or_insert(u64::MAX);
        *at = (*at).min(event.ended_us);
    }

    /// The last generation that had begun before this moment.
    fn certain_before(&self, group: &str, moment_us: u64) -> Option<i32> {
        let generations = self.begun.get(group)?;
        generations.iter().rev().find(|(_, begun_us)| **begun_us < moment_us).map(|(generation, _)| *generation)
    }
}
