//! docs/clients.txt as tables: which suites of foreign clients pass, and what does not and why.
//!
//! The format stands in that file. Deliberately not here: running anything.

use anyhow::{Context, Result, bail, ensure};

/// One suite of a foreign client.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Suite {
    name: String,
    client: String,
    what: String,
    run: String,
    passed: u64,
    kafka: String,
    /// Scenario and reason.
    fails: Vec<(String, String)>,
    skips: Vec<(String, String)>,
}

/// Reads the file.
pub fn parse(text: &str) -> Result<Vec<Suite>> {
    let mut suites: Vec<Suite> = Vec::new();
    for (number, line) in joined(text) {
        let place = || format!("docs/clients.txt:{number}");
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            suites.push(Suite { name: name.to_owned(), ..Suite::default() });
            continue;
        }
        let suite = suites.last_mut().with_context(|| format!("{}: a [section] comes first", place()))?;
        let (key, value) = line.split_once(" = ").with_context(|| format!("{}: key = value is wanted", place()))?;
        let value = value.trim().to_owned();
        match key.split_once(' ').unwrap_or((key, "")) {
            ("client", "") => suite.client = value,
            ("what", "") => suite.what = value,
            ("run", "") => suite.run = value,
            ("kafka", "") => suite.kafka = value,
            ("passed", "") => {
                suite.passed = value.parse().with_context(|| format!("{}: a number is wanted", place()))?
            }
            ("fails", scenario) if !scenario.is_empty() => suite.fails.push((scenario.to_owned(), value)),
            ("skips", scenario) if !scenario.is_empty() => suite.skips.push((scenario.to_owned(), value)),
            _ => bail!("{}: {key:?} is none of the keys that the file's head names", place()),
        }
    }
    for suite in &suites {
        let told = [&suite.client, &suite.what, &suite.run, &suite.kafka];
        ensure!(told.iter().all(|text| !text.is_empty()), "docs/clients.txt: [{}] lacks a key", suite.name);
    }
    Ok(suites)
}

/// Lines with what continues them, without comments and empty lines; each with the number of its first.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if line.starts_with(' ') => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push((number + 1, line.trim_end().to_owned())),
        }
    }
    lines
}

/// The tables.
pub fn tables(suites: &[Suite]) -> String {
    if suites.is_empty() {
        return "No suite of a foreign client has been recorded yet.\n".to_owned();
    }
    let mut text = "| Suite | Client | What it does | Passed | Failed | Skipped | With Kafka | Last run |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for suite in suites {
        let Suite { name, client, what, run, passed, kafka, fails, skips } = suite;
        let (failed, skipped) = (fails.len(), skips.len());
        text.push_str(&format!("| {name} | {client} | {what} | {passed} | {failed} | {skipped} | {kafka} | {run} |\n"));
    }
    let not_passed: String = suites.iter().map(not_passed).collect();
    if !not_passed.is_empty() {
        text.push_str("\nWhat does not pass:\n\n| Suite | Scenario | Result | Why |\n|---|---|---|---|\n");
        text.push_str(&not_passed);
    }
    text
}

fn not_passed(suite: &Suite) -> String {
    let row = |result: &str, (scenario, why): &(String, String)| {
        format!("| {} | {scenario} | {result} | {why} |\n", suite.name)
    };
    let fails = suite.fails.iter().map(|entry| row("fails", entry));
    let skips = suite.skips.iter().map(|entry| row("skipped", entry));
    fails.chain(skips).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# head\n\n[kcat-smoke]\nclient = kcat 1.7.1\nwhat = everything\n  that it can\nrun = today\n\
                       passed = 21\nkafka = 22 passed\nfails query-time = not there\n";

    #[test]
    fn a_suite_is_shown_with_its_counts_and_what_fails() {
        let text = tables(&parse(ONE).unwrap());
        assert!(text.contains("| kcat-smoke | kcat 1.7.1 | everything that it can | 21 | 1 | 0 | 22 passed | today |"));
        assert!(text.ends_with("| kcat-smoke | query-time | fails | not there |\n"), "{text}");
    }

    #[test]
    fn what_the_file_gets_wrong_is_named_with_its_line() {
        let error = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(error("client = kcat\n").starts_with("docs/clients.txt:1: a [section]"));
        assert!(error("[a]\nclent = kcat\n").starts_with("docs/clients.txt:2: \"clent\""));
        assert!(error("[a]\nclient = kcat\n").contains("[a] lacks a key"));
    }
}
