//! `cargo xtask compatibility`: writes COMPATIBILITY.md, which says what a Kafka client meets here and what shows it.
//!
//! Everything in it comes from somewhere else: the table of APIs, docs/rules.md, the tests' own citations of rules, and
//! docs/clients.txt. A test fails when the page is out of date. Deliberately not here: opinions.

mod citations;
mod clients;
mod rules;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use pagemark_wire::Api;

use self::citations::Citations;
use self::rules::{Rule, Section};
use crate::tidy::tracked_files;
use crate::workspace;

const PAGE: &str = "COMPATIBILITY.md";

/// Write COMPATIBILITY.md anew: APIs, deviations, foreign clients, rules with their tests.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  cargo xtask compatibility   # after changing a rule, a test's citations or docs/clients.txt"
)]
pub struct Args {}

/// Writes it.
pub fn run(_: &Args) -> Result<bool> {
    let path = workspace::root().join(PAGE);
    std::fs::write(&path, page()?).with_context(|| format!("{} cannot be written", path.display()))?;
    println!("{} written", path.display());
    Ok(true)
}

/// The page as it should be.
fn page() -> Result<String> {
    let read = |path: &str| {
        std::fs::read_to_string(workspace::root().join(path)).with_context(|| format!("{path} cannot be read"))
    };
    let sections = rules::parse(&read("docs/rules.md")?);
    let mut citations = Citations::default();
    for path in tracked_files()?.iter().filter(|path| path.ends_with(".rs")) {
        if let Ok(text) = read(path) {
            citations.read(path, &text);
        }
    }
    let parts = [
        "<!-- Written by `cargo xtask compatibility`. Change what it is made of, and run that again. -->\n\n\
         # Compatibility\n\nWhat a client of Apache Kafka 4.3 meets here: the APIs, where Pagemark leaves Kafka on purpose, \
         what foreign clients'\nown suites say, and which test shows which rule.\n"
            .to_owned(),
        format!("## APIs\n\n{}", apis(&read("crates/wire/tests/golden/apis.txt")?)),
        format!("## Where Pagemark differs from Kafka\n\n{}", deviations(&sections)),
        format!("## Foreign clients\n\n{}", clients::tables(&clients::parse(&read("docs/clients.txt")?)?)),
        format!("## Rules and their tests\n\n{}", rules_and_tests(&sections, &citations)),
    ];
    Ok(parts.join("\n"))
}

/// Kafka's APIs with our versions beside Kafka's.
fn apis(kafkas: &str) -> String {
    let served = |key: &str| Api::ALL.iter().find(|info| info.key.to_string() == key);
    let mut rows = String::new();
    let mut count = 0;
    for line in kafkas.lines() {
        let [key, name, lowest, highest] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let ours = served(key).map_or_else(
            || "-".to_owned(),
            |info| {
                count += 1;
                let told = format!("{} to {}", info.lowest, info.highest);
                match info.advertised_lowest < info.lowest {
                    true => format!("{told}, advertised from {} (P-14)", info.advertised_lowest),
                    false => told,
                }
            },
        );
        rows.push_str(&format!("| {key} | {name} | {lowest} to {highest} | {ours} |\n"));
    }
    let all = kafkas.lines().count();
    format!(
        "{count} of the {all} APIs that a Kafka 4.3.1 broker may show to clients are served. What is not served is absent from\n\
         ApiVersions. Each version served is held against bytes of Kafka's own encoder, both ways (Q-80).\n\n\
         | Key | API | Kafka 4.3.1 | Pagemark |\n|---|---|---|---|\n{rows}"
    )
}

fn deviations(sections: &[Section]) -> String {
    let rules = sections.iter().flat_map(|section| &section.rules).filter(|rule| rule.is_deviation());
    let row = |rule: &Rule| format!("| {} | {} |\n", rule.name, rule.text.replace(" | ", ": "));
    let rows: String = rules.map(row).collect();
    format!("Lines of [docs/rules.md](docs/rules.md) with a **≠**.\n\n| Rule | What holds |\n|---|---|\n{rows}")
}

fn rules_and_tests(sections: &[Section], citations: &Citations) -> String {
    let rules: Vec<&Rule> = sections.iter().flat_map(|section| &section.rules).collect();
    let without: Vec<&&Rule> = rules.iter().filter(|rule| citations.of(&rule.name).next().is_none()).collect();
    let waiting = without.iter().filter(|rule| rule.is_not_there_yet()).count();
    let mut text = format!(
        "{} rules, {} of them cited by at least one test. Of the other {}, {waiting} are not there yet.\n\
         What each says: [docs/rules.md](docs/rules.md). A file without a name behind it has the citation in its helpers or checks.\n",
        rules.len(),
        rules.len() - without.len(),
        without.len(),
    );
    for section in sections.iter().filter(|section| !section.rules.is_empty()) {
        text.push_str(&format!("\n### {}\n\n| Rule | Tests |\n|---|---|\n", section.title));
        for rule in &section.rules {
            text.push_str(&format!("| {} | {} |\n", rule.name, tests_of(rule, citations)));
        }
    }
    text
}

/// The tests that cite a rule, by file.
fn tests_of(rule: &Rule, citations: &Citations) -> String {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, test) in citations.of(&rule.name) {
        let tests = files.entry(path).or_default();
        tests.extend(test.as_deref());
    }
    if files.is_empty() {
        return if rule.is_not_there_yet() { "none: not there yet" } else { "**none**" }.to_owned();
    }
    let told = files.iter().map(|(path, tests)| {
        let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        let file = format!("[{}]({path})", short(path));
        if tests.is_empty() { file } else { format!("{file}: {}", tests.join(", ")) }
    });
    told.collect::<Vec<_>>().join("; ")
}

/// `crates/broker/tests/it/fetch.rs` as `broker/fetch`.
fn short(path: &str) -> String {
    let parts = path.trim_end_matches(".rs").split('/');
    let kept = parts.filter(|part| !["crates", "src", "tests", "it"].contains(part));
    kept.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        let found = std::fs::read_to_string(workspace::root().join(PAGE)).unwrap_or_default();
        let wanted = page().unwrap();
        let differs = wanted.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
        assert!(wanted == found, "{PAGE} is out of date; run: cargo xtask compatibility. First line: {differs:#?}");
    }

    #[test]
    fn paths_are_shown_without_what_they_all_have() {
        assert_eq!(short("crates/broker/tests/it/fetch.rs"), "broker/fetch");
        assert_eq!(short("sim/src/check.rs"), "sim/check");
        assert_eq!(short("crates/wire/src/guard/tests.rs"), "wire/guard");
    }
}
