//! Rules for what the project depends on: how many packages, under which licences, and none in two versions unnoticed.
//!
//! Deliberately not here: known vulnerabilities, which need a database from outside.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// Most packages in Cargo.lock.
const PACKAGES: usize = 400;
/// Licences that a package may be used under.
const LICENCES: [&str; 10] = [
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "0BSD",
    "Unlicense",
    "Apache-2.0 WITH LLVM-exception",
];

/// Judges what `cargo metadata` says. Packages in several versions are shown, not forbidden: they are others' choice.
pub fn check(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut broken = Vec::new();
    if packages.len() > PACKAGES {
        broken.push(format!("{} packages, at most {PACKAGES}: find one that does not earn its place", packages.len()));
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        versions.entry(name).or_default().push(package["version"].as_str().unwrap_or_default());
        let licence = package["license"].as_str().unwrap_or("none");
        if !allowed(licence) {
            broken.push(format!("package {name} is licensed {licence}: use another, or add the licence knowingly"));
        }
    }
    for (name, found) in versions.iter().filter(|(_, found)| found.len() > 1) {
        eprintln!("note: {name} comes in {} versions: {}", found.len(), found.join(", "));
    }
    Ok(broken)
}

/// Whether a licence expression can be met by the licences above: every part of an AND, one of an OR.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let one = |word: &str| LICENCES.contains(&word.trim());
    expression.split(" AND ").all(|part| part.split(" OR ").any(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_alternatives_one_must_be_allowed_and_of_conditions_all() {
        assert!(allowed("MIT OR Apache-2.0"));
        assert!(allowed("MIT/Apache-2.0"));
        assert!(allowed("GPL-3.0 OR MIT"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!allowed("GPL-3.0"));
        assert!(!allowed("MIT AND GPL-3.0"));
        assert!(!allowed("none"));
    }
}
