//! A stock Apache Kafka as one KRaft node, with the configuration that its distribution comes with.
//!
//! Its classes come from Maven, its Java options are those of its own start script. Deliberately not here: tuning it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::maven::{self, KAFKA_VERSION};

/// The broker, and the log backend that its distribution comes with.
const CLASSES: &[(&str, &str, &str)] = &[
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.5"),
    ("org.apache.logging.log4j", "log4j-core", "2.25.5"),
];

/// Options of the stock start script.
const JAVA: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

/// Any id will do: each node is alone and new.
const CLUSTER_ID: &str = "cGFnZW1hcmstYmVuY2gtMQ";

const LOGGING: &str = "appender.e.type = Console
appender.e.name = e
appender.e.target = SYSTEM_ERR
appender.e.layout.type = PatternLayout
appender.e.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = INFO
rootLogger.appenderRef.e.ref = e
";

/// An installed Kafka.
#[derive(Debug, Clone)]
pub struct Kafka {
    jars: PathBuf,
}

impl Kafka {
    /// Fetches it if it is not there.
    pub fn install() -> Result<Kafka> {
        Ok(Kafka { jars: maven::jars("kafka", CLASSES)? })
    }

    /// Formats a new folder, and gives the command that runs a node on it. `settings` are lines of its properties.
    pub fn prepare(&self, port: u16, folder: &Path, settings: &[&str]) -> Result<Command> {
        let properties = folder.join("server.properties");
        if !properties.exists() {
            std::fs::write(folder.join("log4j2.properties"), LOGGING)?;
            std::fs::write(&properties, self::properties(port, folder, settings))?;
            let mut format = self.java(folder);
            format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&properties);
            let output = format.stdin(Stdio::null()).output().context("java cannot be run")?;
            if !output.status.success() {
                bail!("Kafka cannot format its folder: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        let mut serve = self.java(folder);
        serve.arg("kafka.Kafka").arg(properties);
        Ok(serve)
    }

    fn java(&self, folder: &Path) -> Command {
        let mut java = Command::new("java");
        java.args(JAVA);
        java.arg(format!("-Dlog4j2.configurationFile={}", folder.join("log4j2.properties").display()));
        java.arg("-cp").arg(self.jars.join("*"));
        java
    }
}

/// What a node of its own needs to say; all else is Kafka's default. One copy of the internal topics is what the stock
/// `config/server.properties` says, too.
fn properties(port: u16, folder: &Path, settings: &[&str]) -> String {
    let controller = port + 1;
    let data = folder.join("data");
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n",
        data.display()
    );
    settings.iter().for_each(|line| text.extend([line, "\n"]));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_added_is_the_only_difference() {
        let stock = properties(9092, Path::new("/d"), &[]);
        let flushing = properties(9092, Path::new("/d"), &["log.flush.interval.messages=1"]);
        assert_eq!(flushing.strip_prefix(&stock), Some("log.flush.interval.messages=1\n"));
        assert!(stock.contains("CONTROLLER://127.0.0.1:9093\n"), "{stock}");
    }
}
