//! Many crash points over many seeds, counted.
//!
//! Deliberately not here: threads and printing (`main.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pagemark_storage::planted::PlantedBug;

use crate::check::{Kind, Violation};
use crate::disk::CrashPoint;
use crate::explore::{Case, Effort, IMAGES, explore};
use crate::rng::Rng;
use crate::workload::{Plan, Run, Totals, run};

/// A broken promise with the case that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Seed of the run.
    pub seed: u64,
    /// The crash and image, or `None` if the run itself went wrong.
    pub case: Option<Case>,
    /// What was broken.
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.case {
            Some(case) => write!(f, "{}\n    replay: --replay {case}", self.violation),
            None => write!(f, "{} (in the run itself)\n    replay: --replay {}", self.violation, self.seed),
        }
    }
}

/// What was explored and found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Runs made.
    pub seeds: u64,
    /// Crash points explored.
    pub points: u64,
    /// Crash points that the runs had.
    pub points_of_runs: u64,
    /// What the runs did.
    pub totals: Totals,
    /// What exploring did.
    pub effort: Effort,
    /// Everything found, in order of seeds and points.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Adds what another seed gave.
    pub fn add(&mut self, other: Report) {
        self.seeds += other.seeds;
        self.points += other.points;
        self.points_of_runs += other.points_of_runs;
        self.totals.add(other.totals);
        self.effort.add(other.effort);
        self.failures.extend(other.failures);
    }

    /// How many failures there are of each kind.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<Kind, u64> {
        let mut counts = BTreeMap::new();
        for failure in &self.failures {
            *counts.entry(failure.violation.kind).or_default() += 1;
        }
        counts
    }
}

/// How far to go with one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Crash points at most, spread over the run; all of them if there are no more.
    pub points: u64,
    /// Failures after which it is enough.
    pub failures: usize,
}

/// Runs one seed and crashes it.
#[must_use]
pub fn explore_seed(seed: u64, limits: Limits, planted: Option<PlantedBug>) -> Report {
    let finished = run(&Plan::of(seed, planted));
    let mut report = begin_report(seed, &finished);
    let heavy = |point: &CrashPoint| (HEAVY_SECTORS..ZEROING).contains(&point.before.sectors_to_sync(&point.op));
    let heavy: Vec<u64> = (0..).zip(&finished.points).filter(|(_, point)| heavy(point)).map(|(n, _)| n).collect();
    let points = choose(seed, finished.points.len() as u64, limits.points, &[near_faults(&finished), heavy]);
    for point in points {
        if report.failures.len() >= limits.failures {
            break;
        }
        report.points += 1;
        for image in 0..IMAGES {
            let case = Case { seed, point, image };
            if let Err(violation) = explore(&finished, case, planted, &mut report.effort) {
                report.failures.push(Failure { seed, case: Some(case), violation });
            }
        }
    }
    report
}

/// Runs one seed and opens one image of it.
///
/// # Errors
/// The promise found broken.
pub fn replay(case: Case, planted: Option<PlantedBug>) -> Result<(), Violation> {
    let finished = run(&Plan::of(case.seed, planted));
    if case.point >= finished.points.len() as u64 {
        return finished.violation.map_or(Ok(()), Err);
    }
    explore(&finished, case, planted, &mut Effort::default())
}

/// The last I/Os of a run up to a crash point, the one that it dies in last.
#[must_use]
pub fn trace(case: Case, planted: Option<PlantedBug>, count: usize) -> Vec<String> {
    let finished = run(&Plan::of(case.seed, planted));
    let end = finished.points.len().min(usize::try_from(case.point).unwrap_or(usize::MAX).saturating_add(1));
    let shown = end.saturating_sub(count)..end;
    shown
        .map(|number| {
            let point = &finished.points[number];
            let fault = if finished.faults.contains(&(number as u64 + 1)) {
                "  (a fault struck here or just before)"
            } else {
                ""
            };
            format!("{number:>6}  {}{fault}", point.before.describe(&point.op))
        })
        .collect()
}

fn begin_report(seed: u64, finished: &Run) -> Report {
    let failure = finished.violation.clone().map(|violation| Failure { seed, case: None, violation });
    Report {
        seeds: 1,
        points_of_runs: finished.points.len() as u64,
        totals: finished.totals,
        failures: failure.into_iter().collect(),
        ..Report::default()
    }
}

/// I/Os after a fault in which its consequences are most likely to show: until the next checkpoint covers them.
const AFTER_FAULT: u64 = 80;

/// Sectors that a sync has to write for a power cut before it to be of special interest, and those of a file just filled with
/// zeros, which is of none.
const HEAVY_SECTORS: usize = 3;
const ZEROING: usize = 24;

/// Crash points soon after a fault.
fn near_faults(run: &Run) -> Vec<u64> {
    let near = |point: &u64| run.faults.iter().any(|fault| (*fault..fault + AFTER_FAULT).contains(point));
    (0..run.points.len() as u64).filter(near).collect()
}

/// Numbers of crash points: up to a third from each of the lists of special ones, the rest spread over the run.
fn choose(seed: u64, available: u64, wanted: u64, special: &[Vec<u64>]) -> Vec<u64> {
    if available <= wanted {
        return (0..available).collect();
    }
    let mut chosen = BTreeSet::new();
    for list in special {
        chosen.extend(sample(seed, list.len() as u64, wanted / 3).into_iter().map(|index| list[index as usize]));
    }
    let others: Vec<u64> = (0..available).filter(|point| !chosen.contains(point)).collect();
    let rest = wanted.saturating_sub(chosen.len() as u64);
    chosen.extend(sample(seed, others.len() as u64, rest).into_iter().map(|index| others[index as usize]));
    chosen.into_iter().collect()
}

/// Numbers of crash points, evenly spread with a random offset each; all if there are no more than asked for.
fn sample(seed: u64, available: u64, wanted: u64) -> Vec<u64> {
    if available <= wanted {
        return (0..available).collect();
    }
    let mut rng = Rng::fork(seed, 4);
    (0..wanted)
        .map(|i| {
            let (from, to) = (i * available / wanted, (i + 1) * available / wanted);
            from + rng.below(to - from)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_over_the_run_without_repeats() {
        let points = sample(1, 1_000, 100);
        assert_eq!(points.len(), 100);
        assert!(points.windows(2).all(|w| w[0] < w[1]));
        assert!(points[0] < 10 && points[99] >= 990);
        assert_eq!(sample(1, 5, 100), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn special_crash_points_get_their_third_and_none_is_tried_twice() {
        let points = choose(1, 1_000, 90, &[(700..780).collect(), Vec::new()]);
        assert_eq!(points.len(), 90);
        assert!(points.windows(2).all(|w| w[0] < w[1]));
        assert!((30..45).contains(&points.iter().filter(|p| (700..780).contains(*p)).count()));
        assert_eq!(choose(1, 5, 100, &[vec![3]]), [0, 1, 2, 3, 4]);
    }
}
