//! What was expected and what was found, side by side: on paper and as JSON.
//!
//! Deliberately not here: finding anything out.

use pagemark_demo::show::aligned;
use serde_json::{Value, json};

/// One thing that was checked.
#[derive(Debug, Clone)]
pub struct Check {
    name: String,
    expected: String,
    found: String,
    holds: bool,
}

/// All that a run checked, and what it counted on the way.
#[derive(Debug, Default)]
pub struct Report {
    checks: Vec<Check>,
    facts: Vec<(String, Value)>,
}

impl Report {
    /// Both must be equal.
    pub fn equal<T: PartialEq + ToString>(&mut self, name: &str, expected: T, found: T) {
        let holds = expected == found;
        self.push(name, expected.to_string(), found.to_string(), holds);
    }

    /// At least so many are wanted.
    pub fn at_least(&mut self, name: &str, least: i64, found: i64) {
        self.push(name, format!("at least {least}"), found.to_string(), found >= least);
    }

    /// At most so much is wanted.
    pub fn at_most<T: PartialOrd + ToString>(&mut self, name: &str, most: T, found: T) {
        let holds = found <= most;
        self.push(name, format!("at most {}", most.to_string()), found.to_string(), holds);
    }

    fn push(&mut self, name: &str, expected: String, found: String, holds: bool) {
        self.checks.push(Check { name: name.to_owned(), expected, found, holds });
    }

    /// Something to know that is neither right nor wrong.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.push((name.to_owned(), value.into()));
    }

    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// Facts, then a table of checks, then the verdict.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("  {name}: {value}\n"));
        }
        let mut rows = vec![["".to_owned(), "check".to_owned(), "expected".to_owned(), "found".to_owned()]];
        rows.extend(self.checks.iter().map(|check| {
            let mark = if check.holds { "ok" } else { "FAILED" };
            [mark.to_owned(), check.name.clone(), check.expected.clone(), check.found.clone()]
        }));
        text.push_str(&aligned(&rows));
        let failed = self.checks.iter().filter(|check| !check.holds).count();
        text.push_str(&format!("{} passed, {failed} failed, 0 skipped", self.checks.len() - failed));
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|c| json!({"name": c.name, "expected": c.expected, "found": c.found, "holds": c.holds}))
            .collect();
        let facts: serde_json::Map<String, Value> = self.facts.iter().cloned().collect();
        json!({"holds": self.holds(), "facts": facts, "checks": checks})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fails_with_its_first_broken_check() {
        let mut report = Report::default();
        report.equal("rows", 3, 3);
        report.at_least("kills", 2, 2);
        report.at_most("ratio", 3.0, 2.9);
        assert!(report.holds());
        report.equal("sum", 3, 4);
        assert!(!report.holds());
        report.at_most("ratio", 3.0, 3.1);
        assert!(report.text().ends_with("3 passed, 2 failed, 0 skipped"), "{}", report.text());
        assert_eq!(
            (&report.json()["checks"][3]["holds"], &report.json()["checks"][4]["holds"]),
            (&false.into(), &false.into())
        );
    }
}
