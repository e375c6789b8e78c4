//! How long a log keeps its data: from a topic's configuration and the time to where the log is to begin (R-80..R-83).
//!
//! A plan, nothing more: it asks whoever knows the log where one rule would let it begin, and says which answer counts. Deliberately
//! not here: where stored pieces end (the engine says), how often anybody asks (the broker), compaction.

use pagemark_wire::types::Offset;

use crate::time::WallMs;

/// What a topic's configuration says of its data's age and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How old records may become, milliseconds; `None` for ever.
    pub retention_ms: Option<u64>,
    /// How much of a log is kept at least, bytes; `None` for all.
    pub retention_bytes: Option<u64>,
}

/// One thing that must be kept. What lies wholly before it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// At least so many bytes at the log's end.
    Bytes(u64),
    /// Everything from the first piece on with a timestamp at or after this, milliseconds since 1970.
    Since(i64),
}

/// Where a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// First offset that may be read.
    pub log_start: Offset,
    /// End of what is durable.
    pub high_watermark: Offset,
}

/// A log is to begin later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Where.
    pub start: Offset,
    /// The rule that asks for it.
    pub rule: Rule,
}

impl Retention {
    /// Whether nothing ever goes.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.retention_ms.is_none() && self.retention_bytes.is_none()
    }

    /// Where a log is to begin, if later than now: what lies below its start is gone already, then size counts, then time, and
    /// nothing ever goes from the high watermark on. `point` says where one rule alone would let the log begin.
    pub fn plan(&self, now: WallMs, log: Standing, mut point: impl FnMut(Rule) -> Option<Offset>) -> Option<Cut> {
        let mut cut: Option<Cut> = None;
        for rule in self.rules(now) {
            let least = cut.map_or(log.log_start, |cut| cut.start);
            let start = point(rule).map(|start| start.min(log.high_watermark)).filter(|start| *start > least);
            cut = start.map(|start| Cut { start, rule }).or(cut);
        }
        cut
    }

    fn rules(&self, now: WallMs) -> impl Iterator<Item = Rule> {
        let bytes = self.retention_bytes.map(Rule::Bytes);
        let since = self.retention_ms.map(|ms| Rule::Since(now.0.saturating_sub_unsigned(ms)));
        [bytes, since].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallMs = WallMs(1_000_000);
    const LOG: Standing = Standing { log_start: Offset(10), high_watermark: Offset(100) };

    /// Plans over a log of which the size rule leaves what is behind `size`, and the time rule what is behind `time`.
    fn plan(retention: Retention, size: Option<i64>, time: Option<i64>) -> Option<(i64, bool)> {
        let point = |rule| match rule {
            Rule::Bytes(_) => size.map(Offset),
            Rule::Since(_) => time.map(Offset),
        };
        retention.plan(NOW, LOG, point).map(|cut| (cut.start.0, matches!(cut.rule, Rule::Since(_))))
    }

    #[test]
    fn the_rule_that_lets_most_go_counts_and_size_comes_first_r_82() {
        let both = Retention { retention_ms: Some(1_000), retention_bytes: Some(500) };
        assert_eq!(plan(both, Some(20), Some(30)), Some((30, true)));
        assert_eq!(plan(both, Some(40), Some(30)), Some((40, false)));
        assert_eq!(plan(both, Some(30), Some(30)), Some((30, false)));
        assert_eq!(plan(both, None, Some(30)), Some((30, true)));
        assert_eq!(plan(both, Some(20), None), Some((20, false)));
        assert_eq!(plan(both, None, None), None);
    }

    #[test]
    fn nothing_goes_from_the_high_watermark_on_and_no_start_goes_back_r_82() {
        let both = Retention { retention_ms: Some(1_000), retention_bytes: Some(500) };
        assert_eq!(plan(both, Some(500), None), Some((100, false)));
        assert_eq!(plan(both, Some(10), Some(9)), None);
    }

    #[test]
    fn what_is_kept_for_ever_is_kept_r_83() {
        let all = Retention { retention_ms: None, retention_bytes: None };
        assert!(all.keeps_all());
        assert_eq!(plan(all, Some(50), Some(50)), None);
        let by_size = Retention { retention_bytes: Some(5), ..all };
        assert_eq!(plan(by_size, Some(50), Some(60)), Some((50, false)));
    }

    #[test]
    fn age_is_counted_back_from_now_whatever_the_numbers_r_80() {
        let rules = |ms, now| {
            let retention = Retention { retention_ms: Some(ms), retention_bytes: None };
            retention.rules(WallMs(now)).collect::<Vec<_>>()
        };
        assert_eq!(rules(400, 1_000), [Rule::Since(600)]);
        assert_eq!(rules(0, 1_000), [Rule::Since(1_000)]);
        assert_eq!(rules(2_000, 1_000), [Rule::Since(-1_000)]);
        assert_eq!(rules(u64::MAX, -5), [Rule::Since(i64::MIN)], "no overflow");
    }
}
