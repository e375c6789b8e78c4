//! Which tests cite which rule: found in the sources' text, as a reader would with `git grep`.
//!
//! A test cites a rule in its name (`..._p_9`, `g25_...`, `..._rows_50_52_53`, `..._invariant_14`) or in a comment or message
//! within it or right above it (`P-9`, `rows 50 and 52`, `invariant 14`). What stands between tests is the file's.
//! A file's opening lines, `//!`, say what it is about and prove nothing: they do not count.
//! Deliberately not here: which rules there are (`rules.rs`); what is no rule's name is not asked for.

use std::collections::{BTreeMap, BTreeSet};

/// Letters of rules that are written with a dash.
const LETTERS: &str = "PRGOQET";

/// Where a rule is cited: path, and test, or none for the file's own helpers and checks.
pub type Place = (String, Option<String>);

/// All citations, by the name of the rule.
#[derive(Debug, Default)]
pub struct Citations(BTreeMap<String, BTreeSet<Place>>);

impl Citations {
    /// Looks through one file by its path in the repository.
    pub fn read(&mut self, path: &str, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        let Some(from) = tests_begin(path, &lines) else { return };
        let mut at = from;
        while at < lines.len() {
            let Some((name, first, end)) = test_at(&lines, at) else {
                self.take(path, None, &lines[at..=at]);
                at += 1;
                continue;
            };
            cited_in_name(&name).into_iter().for_each(|rule| self.add(rule, path, Some(&name)));
            self.take(path, Some(&name), &lines[first.max(from)..end]);
            at = end;
        }
    }

    /// Where this rule is cited.
    pub fn of(&self, rule: &str) -> impl Iterator<Item = &Place> {
        self.0.get(rule).into_iter().flatten()
    }

    fn take(&mut self, path: &str, test: Option<&String>, lines: &[&str]) {
        for line in lines.iter().filter(|line| !line.trim_start().starts_with("//!")) {
            cited_in_text(line).into_iter().for_each(|rule| self.add(rule, path, test));
        }
    }

    fn add(&mut self, rule: String, path: &str, test: Option<&String>) {
        self.0.entry(rule).or_default().insert((path.to_owned(), test.cloned()));
    }
}

/// The line from which on a file consists of tests; none if it has none.
fn tests_begin(path: &str, lines: &[&str]) -> Option<usize> {
    // Engines, crashes and real processes are checked by these programs rather than by tests.
    let checks = ["sim/", "crates/storage/src/contract.rs", "xtask/src/crash/", "xtask/src/story/"];
    let is_tests = path.contains("/tests/") || path.ends_with("/tests.rs");
    if is_tests || checks.iter().any(|prefix| path.starts_with(prefix)) {
        return Some(0);
    }
    lines.iter().position(|line| line.trim() == "#[cfg(test)]")
}

/// The test whose comment or attribute begins at this line: its name, its first line, and the line behind its last.
fn test_at(lines: &[&str], at: usize) -> Option<(String, usize, usize)> {
    let is_above = |line: &str| line.starts_with("//") && !line.starts_with("//!") || line.starts_with("#[");
    let function = (at..lines.len()).find(|i| !is_above(lines[*i].trim_start()))?;
    let is_test = |line: &&str| ["#[test]", "#[tokio::test"].iter().any(|a| line.trim_start().starts_with(a));
    lines[at..function].iter().find(|line| is_test(line))?;
    let (indent, rest) = lines[function].split_at(lines[function].find("fn ")?);
    let name = rest[3..].split(['(', '<']).next()?.to_owned();
    let indent = &indent[..indent.len() - indent.trim_start().len()];
    let close = format!("{indent}}}");
    let length = lines[function..].iter().position(|line| **line == close)?;
    Some((name, at, function + length + 1))
}

/// Rules in the name of a test.
fn cited_in_name(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split('_').collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let next = || words.get(at + 1).and_then(|w| number(w));
        match kind(word) {
            Some(kind) => {
                let numbers = words[at + 1..].iter().filter(|w| **w != "and").map_while(|w| number(w));
                found.extend(numbers.map(|n| format!("{kind} {n}")));
            }
            None if is_letter(word) => found.extend(next().map(|n| format!("{}-{n}", word.to_uppercase()))),
            None if word.is_char_boundary(1) && is_letter(&word[..1]) => {
                found.extend(number(&word[1..]).map(|n| format!("{}-{n}", word[..1].to_uppercase())));
            }
            None => {}
        }
    }
    found
}

fn is_letter(word: &str) -> bool {
    word.len() == 1 && LETTERS.contains(&word.to_uppercase())
}

fn kind(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "row" | "rows" => Some("row"),
        "invariant" | "invariants" => Some("invariant"),
        _ => None,
    }
}

/// Digits with at most one small letter behind them, and nothing else.
fn number(word: &str) -> Option<&str> {
    let digits = word.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(word);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(word)
}

/// Rules in a comment or a message.
fn cited_in_text(line: &str) -> Vec<String> {
    let is_apart = |c: char| !(c.is_alphanumeric() || c == '-' || c == '_');
    let words: Vec<&str> = line.split(is_apart).filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if let Some(kind) = kind(word) {
            let numbers = words[at + 1..].iter().filter(|w| **w != "and").map_while(|w| number(w));
            found.extend(numbers.map(|n| format!("{kind} {n}")));
        }
        if let Some((letter, rest)) = word.split_once('-')
            && is_letter(letter)
            && letter.bytes().all(|b| b.is_ascii_uppercase())
        {
            found.extend(number(rest).map(|_| (*word).to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cite_rules_rows_and_invariants() {
        assert_eq!(cited_in_name("limits_hold_p_33_p_34"), ["P-33", "P-34"]);
        assert_eq!(cited_in_name("o72_the_value_of_4_3"), ["O-72"]);
        assert_eq!(cited_in_name("odd_commits_rows_50_52_and_53_o_7"), ["row 50", "row 52", "row 53", "O-7"]);
        assert_eq!(cited_in_name("searched_r_61_invariant_10_and_p_21c"), ["R-61", "invariant 10", "P-21c"]);
        assert_eq!(cited_in_name("version_3_is_e_and_4_is_not"), ["E-4"; 0]);
    }

    #[test]
    fn comments_and_messages_cite_them_too() {
        assert_eq!(
            cited_in_text("    // Row 14 (P-9), rows 8, 9 and 10; invariant 4."),
            ["row 14", "P-9", "row 8", "row 9", "row 10", "invariant 4"]
        );
        assert_eq!(cited_in_text("UTF-8, KIP-848, x-P-9, row by row"), [""; 0]);
    }

    #[test]
    fn a_test_has_what_is_in_it_and_above_it_and_the_file_has_the_rest() {
        let attribute = ["#[te", "st]"].concat();
        let text = format!(
            "//! About P-1.\n// P-2\nfn helper() {{}}\n\n// P-3\n{attribute}\nfn one_p_4() {{\n    let _ = \"P-5\";\n}}\n// P-6\n"
        );
        let mut citations = Citations::default();
        citations.read("crates/a/tests/it/b.rs", &text);
        let place = |rule: &str| citations.of(rule).cloned().collect::<Vec<_>>();
        let path = || "crates/a/tests/it/b.rs".to_owned();
        assert_eq!(place("P-1"), []);
        for rule in ["P-2", "P-6"] {
            assert_eq!(place(rule), [(path(), None)], "{rule}");
        }
        for rule in ["P-3", "P-4", "P-5"] {
            assert_eq!(place(rule), [(path(), Some("one_p_4".to_owned()))], "{rule}");
        }
    }

    #[test]
    fn code_that_is_no_test_cites_in_vain() {
        let mut citations = Citations::default();
        citations.read("crates/a/src/b.rs", "// P-1\n#[cfg(test)]\nmod tests {\n    // P-2\n}\n");
        assert_eq!((citations.of("P-1").count(), citations.of("P-2").count()), (0, 1));
    }
}
