//! The commands as processes against a broker as a process: what they print, byte for byte, and how they end.
//!
//! Each test plays a session and compares it with a file in `golden/`; `UPDATE_GOLDEN=1` writes the files anew.
//! Everything runs as if in a terminal of 80 columns, and standard output is none.

mod groups;
mod help;
mod records;
mod resets;
mod topics;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pagemark_client::{Admin, Producer, ProducerRecord};
use regex::Regex;

use super::process::{Broker, started_with};

/// A broker, and what was asked of it so far.
pub struct Session {
    pub broker: Broker,
    _directory: tempfile::TempDir,
    transcript: String,
}

impl Session {
    pub fn start() -> Session {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = ["group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=4"];
        let broker = started_with(directory.path(), &settings);
        Session { broker, _directory: directory, transcript: String::new() }
    }

    /// The command with its arguments, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pagemark(arguments);
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.broker.1);
        command
    }

    /// Runs a command without noting it.
    pub fn quietly(&self, arguments: &[&str], input: &str) -> Output {
        feed(self.command(arguments), input)
    }

    /// Runs a command and notes what it printed and how it ended.
    pub fn run(&mut self, arguments: &[&str]) {
        self.feed(arguments, "");
    }

    /// The same with this on its standard input.
    pub fn feed(&mut self, arguments: &[&str], input: &str) {
        let output = self.quietly(arguments, input);
        self.note(arguments, &output);
    }

    /// Notes a command that has run.
    pub fn note(&mut self, arguments: &[&str], output: &Output) {
        let quoted = |argument: &&str| match argument.contains([' ', '\n', '\u{1b}']) || argument.is_empty() {
            true => format!("{argument:?}"),
            false => (*argument).to_owned(),
        };
        let arguments: Vec<String> = arguments.iter().map(quoted).collect();
        writeln!(self.transcript, "$ pagemark {}", arguments.join(" ")).expect("memory");
        self.transcript.push_str(&String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            writeln!(self.transcript, "[stderr] {line}").expect("memory");
        }
        if output.status.code() != Some(0) {
            writeln!(self.transcript, "[exit {}]", output.status.code().expect("not killed")).expect("memory");
        }
        self.transcript.push('\n');
    }

    /// Compares the session with its file.
    pub fn check(self, name: &str) {
        compare(name, &self.masked());
    }

    /// What differs from run to run is replaced, with the same width where columns depend on it.
    fn masked(&self) -> String {
        let masks = [
            (r#"(as_of"?): "?[0-9TZ:.-]+"?"#, "$1: NOW"),
            (r"reader-[0-9a-f]{3}…", "reader-000…"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "00000000-0000-4000-8000-000000000000"),
        ];
        let mut text = self.transcript.replace(&self.broker.1, "127.0.0.1:PORT");
        for (pattern, with) in masks {
            text = Regex::new(pattern).expect("a pattern").replace_all(&text, with).into_owned();
        }
        text
    }

    /// Runs something with an admin client.
    pub fn admin<T>(&self, work: impl AsyncFnOnce(&Admin) -> T) -> T {
        block_on(async { work(&Admin::builder(&self.broker.1).build().expect("legal settings")).await })
    }

    /// Writes records with fixed times into a partition: number n at 2023-11-14T22:13:20Z plus n seconds.
    pub fn fill(&self, topic: &str, partition: i32, range: std::ops::Range<i64>) {
        block_on(async {
            let producer = Producer::builder(&self.broker.1).build().expect("legal settings");
            for n in range {
                let record = ProducerRecord::to(topic).partition(partition).key(format!("order-{n}"));
                let record = record.value(format!("value {n}")).timestamp_ms(1_700_000_000_000 + n * 1_000);
                producer.send(record).await.expect("taken in").await.expect("written");
            }
        });
    }
}

/// The command with its arguments, away from the settings of whoever runs the tests.
pub fn pagemark(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagemark"));
    command.args(arguments).env("COLUMNS", "80").env_remove("KAFKA_BOOTSTRAP_SERVERS");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command with this on its standard input.
pub fn feed(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().expect("it can be run");
    // It may end without reading it all.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("legal settings");
    runtime.block_on(future)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(format!("{name}.txt"))
}

/// Compares with a golden file, or writes it.
pub fn compare(name: &str, actual: &str) {
    let path = golden(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("golden/ can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; UPDATE_GOLDEN=1 writes it anew.\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}
