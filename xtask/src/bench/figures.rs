//! What is measured, in which unit, and what we want of it; and the figures that came, with their medians and ratios.
//!
//! Deliberately not here: measuring, and showing.

use serde::Serialize;

use super::server::Peer;

/// One thing that is measured of every broker.
#[derive(Debug)]
pub struct Measure {
    /// Names it in JSON.
    pub key: &'static str,
    /// Names it in tables.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What we want of it, if it is more than to know it.
    pub goal: Option<Goal>,
}

/// What we want of a measure.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At least so many times Kafka's.
    TimesAtLeast(f64),
    /// At most so many times Kafka's.
    TimesAtMost(f64),
    /// At most so much.
    AtMost(f64),
}

impl Goal {
    /// As it is written in tables.
    pub fn text(self) -> String {
        match self {
            Goal::TimesAtLeast(times) => format!("≥ {times} ×"),
            Goal::TimesAtMost(times) => format!("≤ {times} ×"),
            Goal::AtMost(most) => format!("≤ {most}"),
        }
    }

    /// Whether it is met by our figure and Kafka's; none if one that is needed is not there.
    pub fn is_met(self, ours: Option<f64>, kafka: Option<f64>) -> Option<bool> {
        match self {
            Goal::TimesAtLeast(times) => Some(ours? >= times * kafka?),
            Goal::TimesAtMost(times) => Some(ours? <= times * kafka?),
            Goal::AtMost(most) => Some(ours? <= most),
        }
    }
}

const fn measure(key: &'static str, title: &'static str, unit: &'static str, goal: Option<Goal>) -> Measure {
    Measure { key, title, unit, goal }
}

use Goal::{AtMost, TimesAtLeast, TimesAtMost};

/// Everything that is measured, in the order of the tables. The goals hold against Kafka as it comes, which flushes nothing.
pub const MEASURES: &[Measure] = &[
    measure("commit-1", "commits, 1 group", "/s", Some(TimesAtLeast(1.0))),
    measure("commit-1-p99", "commits, 1 group: p99", "ms", None),
    measure("commit-1-cpu", "commits, 1 group: broker CPU", "s per 1,000", Some(TimesAtMost(0.1))),
    measure("commit-16", "commits, 16 groups", "/s", Some(TimesAtLeast(2.0))),
    measure("commit-16-p99", "commits, 16 groups: p99", "ms", None),
    measure("commit-16-cpu", "commits, 16 groups: broker CPU", "s per 1,000", Some(TimesAtMost(0.1))),
    measure("commit-256", "commits, 256 groups", "/s", Some(TimesAtLeast(3.0))),
    measure("commit-256-p99", "commits, 256 groups: p99", "ms", None),
    measure("commit-256-cpu", "commits, 256 groups: broker CPU", "s per 1,000", Some(TimesAtMost(0.1))),
    measure("produce", "produce, 1 KiB × 12 partitions", "MB/s", Some(TimesAtLeast(1.0))),
    measure("produce-cpu", "produce: broker CPU", "s per GB", Some(TimesAtMost(0.5))),
    measure("latency-p50", "end to end at 10,000 records/s: p50", "ms", Some(TimesAtMost(0.5))),
    measure("latency-p99", "end to end at 10,000 records/s: p99", "ms", Some(TimesAtMost(0.5))),
    measure("latency-cpu", "end to end: broker CPU", "s per 100,000", None),
    measure("consume", "consume, 1 KiB × 12 partitions", "MB/s", Some(TimesAtLeast(1.0))),
    measure("consume-cpu", "consume: broker CPU", "s per GB", None),
    measure("start", "start to first acknowledged record", "ms", Some(AtMost(50.0))),
    measure("idle-rss", "idle: resident memory", "MiB", Some(AtMost(20.0))),
    measure("idle-cpu", "idle: CPU", "%", Some(AtMost(0.2))),
    measure("groups-first", "10,000 groups × 10 partitions: first answer after a start", "ms", None),
    measure("groups-all", "10,000 groups × 10 partitions: all answers after a start", "ms", Some(AtMost(500.0))),
];

/// One figure of one round.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Of whom.
    pub peer: Peer,
    /// In which round, from 1.
    pub round: u32,
    /// Of what: a key of [`MEASURES`].
    pub measure: &'static str,
    /// In its unit.
    pub value: f64,
    /// CPU seconds that the load needed, where it was measured.
    pub client_cpu_s: Option<f64>,
}

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub struct Figures(pub Vec<Figure>);

/// The middle and the ends of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the rounds are below.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Figures {
    /// Over all rounds; none if nothing was measured.
    pub fn spread(&self, measure: &str, peer: Peer) -> Option<Spread> {
        let of = |figure: &&Figure| figure.measure == measure && figure.peer == peer;
        let mut values: Vec<f64> = self.0.iter().filter(of).map(|figure| figure.value).collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { median: f64::midpoint(low, high), least, greatest })
    }

    /// The median.
    pub fn median(&self, measure: &str, peer: Peer) -> Option<f64> {
        self.spread(measure, peer).map(|spread| spread.median)
    }

    /// Our median by that of another.
    pub fn ratio(&self, measure: &str, to: Peer) -> Option<f64> {
        let (ours, theirs) = (self.median(measure, Peer::Pagemark)?, self.median(measure, to)?);
        (theirs > 0.0).then(|| ours / theirs)
    }

    /// Whether the goal of a measure is met; none if it has none or cannot be told.
    pub fn is_met(&self, measure: &Measure) -> Option<bool> {
        let (ours, kafka) = (self.median(measure.key, Peer::Pagemark), self.median(measure.key, Peer::Kafka));
        measure.goal?.is_met(ours, kafka)
    }
}

/// A number of any size in about three digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => pagemark_demo::show::grouped(value.round() as i64),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 || v == 0.0 => format!("{value:.2}"),
        v if v >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[(Peer, &'static str, f64)]) -> Figures {
        let figure = |&(peer, measure, value)| Figure { peer, round: 1, measure, value, client_cpu_s: None };
        Figures(values.iter().map(figure).collect())
    }

    #[test]
    fn the_median_of_rounds_counts_and_ratios_are_of_medians() {
        use Peer::{Kafka, Pagemark};
        let of =
            |peer| [3.0, 100.0, 5.0].map(|value| (peer, "produce", if peer == Kafka { value * 2.0 } else { value }));
        let all = figures(&[of(Kafka), of(Pagemark)].concat());
        assert_eq!(all.spread("produce", Pagemark), Some(Spread { median: 5.0, least: 3.0, greatest: 100.0 }));
        assert_eq!(all.ratio("produce", Kafka), Some(0.5));
        assert_eq!(all.ratio("produce", Peer::KafkaFlushing), None);
        assert_eq!(figures(&[(Kafka, "start", 4.0), (Kafka, "start", 2.0)]).median("start", Kafka), Some(3.0));
    }

    #[test]
    fn a_goal_is_met_missed_or_cannot_be_told() {
        let commits = &MEASURES[0];
        let with = |ours| figures(&[(Peer::Kafka, "commit-1", 10.0), (Peer::Pagemark, "commit-1", ours)]);
        assert_eq!((with(10.0).is_met(commits), with(9.9).is_met(commits)), (Some(true), Some(false)));
        assert_eq!(figures(&[(Peer::Pagemark, "commit-1", 5.0)]).is_met(commits), None);
        assert_eq!(AtMost(50.0).is_met(Some(51.0), None), Some(false));
        assert_eq!(TimesAtMost(0.5).is_met(Some(1.0), Some(2.0)), Some(true));
    }

    #[test]
    fn no_measure_is_named_twice() {
        let mut keys: Vec<_> = MEASURES.iter().map(|measure| measure.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), MEASURES.len());
    }

    #[test]
    fn numbers_are_shortened_to_what_can_be_known() {
        assert_eq!([12345.6, 123.45, 1.234, 0.0123, 0.0].map(short), ["12,346", "123", "1.23", "0.0123", "0.00"]);
    }
}
