//! What the command line says of itself.

use std::path::Path;

use super::{feed, pagemark};

fn printed(arguments: &[&str]) -> String {
    let output = feed(pagemark(arguments), "");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_page_about_the_command_line_is_fresh() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let fresh = printed(&["reference"]);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&page, &fresh).unwrap();
    }
    let there = std::fs::read_to_string(&page).unwrap();
    assert!(there == fresh, "docs/cli.md is out of date: pagemark reference > docs/cli.md");
    for command in fresh.split("\n## ").skip(1).filter(|text| !text.contains("\nCommands:\n")) {
        assert!(command.contains("Example"), "a command without an example: {command}");
    }
    assert!(fresh.contains("4  a check failed"));
    let wide: Vec<&str> = fresh.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "more than 80 columns: {wide:#?}");
}

#[test]
fn shells_and_manual_readers_get_what_they_ask_for() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(printed(&["completions", shell]).contains("delete-offsets"), "{shell}");
    }
    let page = printed(&["man", "group", "reset"]);
    assert!(page.contains(".TH pagemark-group-reset 1") && page.contains("to\\-earliest"), "{page}");
    assert_eq!(feed(pagemark(&["man", "nonsense"]), "").status.code(), Some(2));
    // The alias that a person guesses.
    assert_eq!(printed(&["groups", "list", "--help"]), printed(&["group", "list", "--help"]));
}
