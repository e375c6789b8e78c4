//! `cargo xtask golden`: writes the golden bytes anew with Apache Kafka's own classes, fetched through Maven.
//!
//! The bytes are checked in, so only who adds an API or a version runs this; the wire crate's tests say when.
//! Deliberately not here: what is written, which is Golden.java's, and what is compared with it (crates/wire/tests).

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{maven, workspace};

/// Kafka's encoder, and a logger that says nothing.
const CLASSES: &[(&str, &str, &str)] =
    &[("org.apache.kafka", "kafka-clients", maven::KAFKA_VERSION), ("org.slf4j", "slf4j-nop", "1.7.36")];

/// Write the golden bytes of crates/wire/tests/golden anew (needs mvn and java 17).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  cargo xtask golden   # after naming an API in crates/wire/tests/golden/Golden.java"
)]
pub struct Args {}

/// Writes them.
pub fn run(_: &Args) -> Result<bool> {
    let classes = maven::jars("golden", CLASSES)?;
    let folder = workspace::root().join("crates/wire/tests/golden");
    let mut java = Command::new("java");
    java.arg("-cp").arg(classes.join("*")).arg("Golden.java").current_dir(&folder);
    ensure!(java.status().context("java cannot be run")?.success(), "Golden.java failed; see above");
    println!("{} written; look at what changed with git diff", folder.display());
    Ok(true)
}
