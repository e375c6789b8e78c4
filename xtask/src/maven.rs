//! Kafka's own classes, fetched by Maven's ordinary client into a folder below the target folder, once.
//!
//! Deliberately not here: what is done with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// The Kafka that everything is held against.
pub const KAFKA_VERSION: &str = "4.3.1";

/// A folder with the jars of these artifacts, each as group, name and version, and of all they need. Fetched again when the
/// list changes.
pub fn jars(name: &str, wanted: &[(&str, &str, &str)]) -> Result<PathBuf> {
    let folder = workspace::cache(name)?.join(KAFKA_VERSION);
    let stamp = folder.join("complete");
    let pom = pom(name, wanted);
    if std::fs::read_to_string(&stamp).is_ok_and(|had| had == pom) {
        return Ok(folder);
    }
    for program in ["mvn", "java"] {
        ensure!(workspace::has_program(program), "there is no {program} on the path");
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("pom.xml"), &pom)?;
    copy_dependencies(&folder)?;
    std::fs::write(stamp, pom)?;
    Ok(folder)
}

fn pom(name: &str, wanted: &[(&str, &str, &str)]) -> String {
    let dependency = |(group, artifact, version): &(&str, &str, &str)| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    let wanted: String = wanted.iter().map(dependency).collect();
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>pagemark</groupId><artifactId>{name}</artifactId>\
         <version>1</version><packaging>pom</packaging><dependencies>{wanted}</dependencies></project>"
    )
}

fn copy_dependencies(folder: &Path) -> Result<()> {
    let mut mvn = Command::new("mvn");
    mvn.args(["-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"]);
    mvn.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", folder.display())).current_dir(folder);
    mvn.stdout(std::io::stderr()); // where results go, nothing else may
    ensure!(mvn.status().context("mvn cannot be run")?.success(), "Maven cannot fetch Kafka's classes; see above");
    Ok(())
}
