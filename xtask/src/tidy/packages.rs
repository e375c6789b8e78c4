//! Rules for what the project depends on: how many packages, under which licences, and none in two versions unnoticed.
//!
//! Deliberately not here: known vulnerabilities, which need a database from outside.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// Most packages in Cargo.lock.
const PACKAGES: usize = 400;
/// Licences that a package may be used under.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "0BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
];

/// One crate per rule: what each may be built from, of ours and of what waits or does IO. Tests may use more.
const BOUNDARIES: [(&str, &[&str]); 7] = [
    ("pagemark-wire", &[]),
    ("pagemark-core", &["pagemark-wire"]),
    // rustix: the room on a file system.
    ("pagemark-storage", &["pagemark-wire", "pagemark-core", "rustix"]),
    ("pagemark-broker", &["pagemark-wire", "pagemark-core", "pagemark-storage", "tokio", "axum"]),
    ("pagemark-client", &["pagemark-wire", "pagemark-core", "tokio"]),
    // rustix: signals to its processes.
    ("pagemark-demo", &["pagemark-client", "tokio", "rustix"]),
    // rustix: the limit on open files is the process's.
    ("pagemark", &["pagemark-broker", "pagemark-client", "pagemark-demo", "pagemark-storage", "tokio", "rustix"]),
];
/// What is not for everybody, besides our own crates.
const GUARDED: [&str; 5] = ["tokio", "axum", "hyper", "mio", "rustix"];

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
    broken.extend(packages.iter().flat_map(crossed_boundaries));
    for (name, found) in versions.iter().filter(|(_, found)| found.len() > 1) {
        eprintln!("note: {name} comes in {} versions: {}", found.len(), found.join(", "));
    }
    Ok(broken)
}

/// Dependencies that a crate of ours may not have.
fn crossed_boundaries(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = BOUNDARIES.iter().find(|(owner, _)| *owner == name) else { return Vec::new() };
    let is_guarded = |dependency: &str| dependency.starts_with("pagemark") || GUARDED.contains(&dependency);
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    dependencies
        .iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|dependency| is_guarded(dependency) && !allowed.contains(dependency))
        .map(|dependency| {
            format!(
                "{name} must not depend on {dependency}: see ARCHITECTURE.md, and move the code to the crate that may"
            )
        })
        .collect()
}

/// Whether a licence expression can be met by the licences above: every part of an AND, one of an OR.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let one = |word: &str| LICENCES.contains(&word.trim());
    expression.split(" AND ").all(|part| part.split(" OR ").any(one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(packages: Value) -> Value {
        json!({ "packages": packages })
    }

    #[test]
    fn a_crate_that_reaches_over_its_boundary_is_named_with_what_to_do() {
        let reaches = |kind: Value| {
            let dependency = json!({"name": "tokio", "kind": kind});
            metadata(json!([{"name": "pagemark-core", "license": "MIT", "dependencies": [dependency]}]))
        };
        let broken = check(&reaches(Value::Null)).unwrap();
        assert_eq!(broken.len(), 1);
        assert!(broken[0].starts_with("pagemark-core must not depend on tokio: "), "{broken:?}");
        assert!(check(&reaches(json!("dev"))).unwrap().is_empty());
        let ours = json!([{"name": "pagemark-wire", "license": "MIT", "dependencies": [{"name": "pagemark-core"}]}]);
        assert_eq!(check(&metadata(ours)).unwrap().len(), 1);
    }

    #[test]
    fn too_many_packages_and_foreign_licences_are_named() {
        let many: Vec<Value> = (0..=PACKAGES).map(|n| json!({"name": format!("p{n}"), "license": "ISC"})).collect();
        assert!(check(&metadata(many.into())).unwrap()[0].starts_with("401 packages, at most 400"));
        let foreign = json!([{"name": "p", "license": "GPL-3.0-only"}, {"name": "q"}]);
        assert_eq!(check(&metadata(foreign)).unwrap().len(), 2);
    }

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
