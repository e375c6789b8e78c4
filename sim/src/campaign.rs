//! Many crash points over many seeds, counted.
//!
//! Deliberately not here: threads and printing (`main.rs`).

use std::collections::BTreeMap;
use std::fmt;

use pagemark_storage::planted::PlantedBug;

use crate::check::{Kind, Violation};
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
    let points = choose(seed, finished.points.len() as u64, limits.points, &finished.faults);
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

/// Numbers of crash points: spread over the run, and up to half of them soon after a fault, if there was one.
fn choose(seed: u64, available: u64, wanted: u64, faults: &[u64]) -> Vec<u64> {
    if available <= wanted || faults.is_empty() {
        return sample(seed, available, wanted);
    }
    let near: Vec<u64> = (0..available).filter(|p| faults.iter().any(|f| *f <= *p && *p < f + AFTER_FAULT)).collect();
    let of_near = sample(seed, near.len() as u64, wanted / 2);
    let mut chosen: Vec<u64> = of_near.iter().map(|index| near[*index as usize]).collect();
    chosen.extend(sample(seed, available, wanted - chosen.len() as u64));
    chosen.sort_unstable();
    chosen.dedup();
    chosen
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
    fn a_run_with_a_fault_is_crashed_more_often_soon_after_it() {
        let near = |points: &[u64]| points.iter().filter(|p| (700..780).contains(*p)).count();
        let points = choose(1, 1_000, 100, &[700]);
        assert!(points.windows(2).all(|w| w[0] < w[1]) && points.len() > 90);
        assert!(near(&points) >= 50 && near(&choose(1, 1_000, 100, &[])) < 10);
    }
}
