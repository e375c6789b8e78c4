//! `cargo xtask golden`: writes the golden bytes anew with Apache Kafka's own classes, fetched through Maven.
//!
//! The bytes are checked in, so only who adds an API or a version runs this; the wire crate's tests say when.
//! Deliberately not here: what is written, which is Golden.java's, and what is compared with it (crates/wire/tests).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// The Kafka whose encoder is believed.
const KAFKA_VERSION: &str = "4.3.1";

/// Write the golden bytes of crates/wire/tests/golden anew (needs mvn and java 17).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  cargo xtask golden   # after naming an API in crates/wire/tests/golden/Golden.java"
)]
pub struct Args {}

/// Writes them.
pub fn run(_: &Args) -> Result<bool> {
    for program in ["mvn", "java"] {
        ensure!(workspace::has_program(program), "there is no {program} on the path");
    }
    let classes = kafka_clients()?;
    let folder = workspace::root().join("crates/wire/tests/golden");
    let mut java = Command::new("java");
    java.arg("-cp").arg(classes.join("*")).arg("Golden.java").current_dir(&folder);
    ensure!(java.status().context("java cannot be run")?.success(), "Golden.java failed; see above");
    println!("{} written; look at what changed with git diff", folder.display());
    Ok(true)
}

/// A folder with Kafka's client classes and what they need, fetched once.
fn kafka_clients() -> Result<PathBuf> {
    let folder = workspace::cache("golden")?.join(KAFKA_VERSION);
    let stamp = folder.join("complete");
    if stamp.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder)?;
    let wanted = [("org.apache.kafka", "kafka-clients", KAFKA_VERSION), ("org.slf4j", "slf4j-nop", "1.7.36")];
    let wanted = wanted.map(|(group, artifact, version)| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    });
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>pagemark</groupId><artifactId>golden</artifactId>\
         <version>1</version><packaging>pom</packaging><dependencies>{}</dependencies></project>",
        wanted.concat()
    );
    std::fs::write(folder.join("pom.xml"), pom)?;
    let mut mvn = Command::new("mvn");
    mvn.args(["-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"]);
    mvn.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", folder.display())).current_dir(&folder);
    ensure!(mvn.status().context("mvn cannot be run")?.success(), "Maven cannot fetch Kafka's classes; see above");
    std::fs::write(stamp, "")?;
    Ok(folder)
}
