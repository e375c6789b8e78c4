//! The table for people: `--help` text and docs/settings.md.
//!
//! Deliberately not here: the words; they stand at each row of `table.rs`.

use std::fmt::Write as _;

use super::names::environment_name;
use super::table::KEYS;

/// All settings as plain text, for `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Settings, each given as key=value in the properties file, as PAGEMARK_KEY in the environment, or with --set key=value:\n",
    );
    for spec in KEYS {
        let default = if spec.default.is_empty() { "empty" } else { spec.default };
        let _ = write!(text, "\n  {} (default: {default})\n      {}\n", spec.name, spec.paragraph());
        let _ = writeln!(text, "      Allowed: {}.", spec.allowed.in_words());
    }
    text
}

/// All settings as a page of documentation: the whole of docs/settings.md.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    for spec in KEYS {
        let default = if spec.default.is_empty() { "*(empty)*".to_owned() } else { format!("`{}`", spec.default) };
        let _ = write!(
            text,
            "\n### `{}`\n\n{}\n\n- Default: {default}\n- Allowed: {}\n- Environment: `{}`\n",
            spec.name,
            spec.paragraph(),
            spec.allowed.in_words(),
            environment_name(spec.name),
        );
    }
    text
}

const HEAD: &str = "<!-- Written by `cargo xtask settings-docs` from crates/broker/src/settings/table.rs; change that. -->
# Settings

Settings carry Apache Kafka's property names wherever Kafka has the setting; our own begin with `pagemark.`.
They are read from three places, and the later wins:

1. a file in Java's properties syntax: `pagemark serve --config server.properties` (UTF-8; `key=value`, `#` comments, lines
   continued with a backslash),
2. the environment: `log.dirs` is `PAGEMARK_LOG_DIRS`, `pagemark.http.listener` is `PAGEMARK_HTTP_LISTENER`,
3. the command line: `pagemark serve --set log.dirs=/var/lib/pagemark --set num.partitions=4`.

A setting that Apache Kafka 4.3 knows and Pagemark has no use for is accepted with one warning line, so that a file written for
Kafka starts. Any other unknown name is refused, with the nearest known one. A value that is not allowed is refused with its
source and what is allowed; nothing is ever silently replaced by a default.

## All of them
";
