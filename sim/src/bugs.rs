//! Tests the test: with a bug planted in the engine the explorer must find it, with one in the server the storms, and soon.
//!
//! Without the feature `planted-bugs` there are no such bugs, and asking for one is an error. Deliberately not here: the bugs,
//! which stand where the code would be wrong.

use pagemark_core::planted::PlantedBug as ServerBug;
use pagemark_storage::planted::PlantedBug;

use crate::campaign::{Failure, Limits, explore_seed};
use crate::history::check::Violation;
use crate::whole::{self, options::Options};

/// Crash points of each seed: few, because another seed meets other mixtures.
const POINTS_PER_SEED: u64 = 150;

/// How a hunt for a bug ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunt {
    /// Crash points explored, the last of which showed it.
    pub points: u64,
    /// Runs made.
    pub seeds: u64,
    /// What showed it.
    pub caught: Option<Failure>,
}

/// The bug of this name.
///
/// # Errors
/// What names there are, or that the feature is missing.
pub fn by_name(name: &str) -> Result<PlantedBug, String> {
    check_planted()?;
    PlantedBug::ALL.into_iter().find(|bug| format!("{bug:?}").eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<String> = PlantedBug::ALL.iter().map(|bug| format!("{bug:?}")).collect();
        format!("no planted bug is called {name}; there are {}", names.join(", "))
    })
}

/// # Errors
/// If the bugs are not compiled in.
pub fn check_planted() -> Result<(), String> {
    if cfg!(feature = "planted-bugs") { Ok(()) } else { Err("planted bugs need --features planted-bugs".to_owned()) }
}

/// Explores seed after seed until a promise is broken or `points` crash points were not enough.
#[must_use]
pub fn hunt(planted: Option<PlantedBug>, points: u64) -> Hunt {
    let mut hunt = Hunt { points: 0, seeds: 0, caught: None };
    while hunt.caught.is_none() && hunt.points < points {
        hunt.seeds += 1;
        let limits = Limits { points: POINTS_PER_SEED.min(points - hunt.points), failures: 1 };
        let report = explore_seed(hunt.seeds, limits, planted);
        hunt.points += report.points;
        hunt.caught = report.failures.into_iter().next();
        if report.points == 0 {
            break;
        }
    }
    hunt
}

/// Runs the whole server through seed after seed with this bug, until a promise is broken or `seeds` were not enough.
/// Gives how many it took, and what showed it.
#[must_use]
pub fn hunt_in_storms(bug: ServerBug, seeds: u64) -> (u64, Option<Violation>) {
    for seed in 1..=seeds {
        let outcome = whole::run_with(Options::of(seed), Some(bug));
        if let Some(violation) = outcome.violations.into_iter().next() {
            return (seed, Some(violation));
        }
    }
    (seeds, None)
}

/// Head of the table of bugs in the server.
pub const STORM_TABLE_HEAD: &str = "| Bug | Invariant | after seeds | What was seen |\n|---|---|---|---|";

/// One line of that table.
#[must_use]
pub fn storm_table_row(bug: ServerBug, seeds: u64, caught: Option<&Violation>) -> String {
    match caught {
        None => format!("| {bug:?} | **not caught** | {seeds} | |"),
        Some(violation) => format!("| {bug:?} | {} | {seeds} | {} |", violation.invariant, shorten(&violation.text)),
    }
}

/// Head of the table in `docs/planted-bugs.md`.
pub const TABLE_HEAD: &str =
    "| Bug | Caught as | after crash points | of seeds | What was seen |\n|---|---|---|---|---|";

/// One line of that table.
#[must_use]
pub fn table_row(bug: PlantedBug, hunt: &Hunt) -> String {
    let (kind, seen) = match &hunt.caught {
        None => ("**not caught**".to_owned(), String::new()),
        Some(failure) => {
            let place = failure.case.map_or("in the run itself".to_owned(), |case| format!("`{case}`"));
            (format!("{:?}", failure.violation.kind), format!("{place}: {}", shorten(&failure.violation.detail)))
        }
    };
    format!("| {bug:?} | {kind} | {} | {} | {seen} |", hunt.points, hunt.seeds)
}

fn shorten(detail: &str) -> String {
    let words: String = detail.chars().take(140).map(|c| if c == '|' { '/' } else { c }).collect();
    if detail.chars().count() > 140 { format!("{words}...") } else { words }
}
