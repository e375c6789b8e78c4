//! docs/rules.md as data: every rule with its line, and which of them leave Kafka on purpose.
//!
//! Deliberately not here: who cites them (`citations.rs`).

/// What marks a rule in which Pagemark differs from Kafka.
const DEVIATION: &str = "**≠**";

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// As it is cited: `P-9`, `row 14`, `invariant 11`.
    pub name: String,
    /// What holds, as Markdown.
    pub text: String,
}

impl Rule {
    /// Whether Kafka does it otherwise.
    pub fn is_deviation(&self) -> bool {
        self.text.contains(DEVIATION)
    }

    /// Whether the rule, or a part of it, waits for something.
    pub fn is_not_there_yet(&self) -> bool {
        self.text.contains("Not there yet") || self.text.contains("not there yet")
    }
}

/// The rules below one heading.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    pub title: String,
    pub rules: Vec<Rule>,
}

/// Reads the page.
pub fn parse(page: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), rules: Vec::new() });
        }
        let (Some(section), Some(rule)) = (sections.last_mut(), rule(line)) else { continue };
        section.rules.push(rule);
    }
    sections
}

fn rule(line: &str) -> Option<Rule> {
    let (name, text) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
    let digit = name.find(|c: char| c.is_ascii_digit())?;
    let name = match &name[..digit] {
        "" => format!("invariant {name}"),
        _ => name.to_owned(),
    };
    Some(Rule { name, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_rows_and_invariants_have_the_names_by_which_they_are_cited() {
        let page = "# Rules\n\n| P-0 | outside |\n## One\n| Rule | What holds |\n|---|---|\n| P-26a | **≠** differs |\n\
                    | row 14 | array | close |\n| 11 | damage is found |\n| T-1 | Not there yet: all |\n";
        let sections = parse(page);
        assert_eq!((sections.len(), sections[0].title.as_str()), (1, "One"));
        let names: Vec<&str> = sections[0].rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["P-26a", "row 14", "invariant 11", "T-1"]);
        assert!(sections[0].rules[0].is_deviation() && !sections[0].rules[1].is_deviation());
        assert!(sections[0].rules[3].is_not_there_yet());
    }
}
