//! docs/guide.md and README.md, done as a reader does it: every command in them is run, in order, and prints what they show.
//!
//! A block marked `console` holds commands behind `$ ` and what they print. `<words>` stand for something that differs from run
//! to run, `...` on a line of its own for any number of lines. In a block marked `console varying` all numbers may differ. A block marked `console broker` is a terminal of its own: its
//! command goes on running, and the next such block takes its place. All is run in one empty directory, with free ports
//! instead of the text's. Deliberately not here: prose, and blocks in other languages, such as the README's `sh` for programs that
//! not everybody has.

mod blocks;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use blocks::{Session, differs, sessions};

/// A reader with two terminals.
struct Reader {
    directory: tempfile::TempDir,
    broker: Option<(Child, BufReader<ChildStdout>)>,
    bootstrap: String,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop_broker();
    }
}

impl Reader {
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.directory.path()).env("PATH", path_with_our_program());
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.bootstrap).env("TMPDIR", self.directory.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, and holds what it printed against what is shown.
    fn run(&self, session: &Session) {
        let output = self.command(&session.command).output().expect("sh can be run");
        let said = String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "line {}: {} ends with {}: {said}",
            session.line,
            session.command,
            output.status
        );
        if let Some(difference) = differs(session, &said) {
            panic!("line {}: $ {}\n{difference}\nIt prints\n{said}", session.line, session.command);
        }
    }

    /// Starts a command that goes on running, and holds its first lines against what is shown.
    fn start(&mut self, session: &Session) {
        self.stop_broker();
        let mut command = self.command(&format!("exec {}", session.command));
        command.env("PAGEMARK_LISTENERS", "PLAINTEXT://127.0.0.1:0").env("PAGEMARK_HTTP_LISTENER", "127.0.0.1:0");
        command.env("PAGEMARK_GROUP_INITIAL_REBALANCE_DELAY_MS", "0").env("PAGEMARK_LOG", "off");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("sh can be run");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = String::new();
        while said.lines().count() < session.shown.len() {
            assert_ne!(output.read_line(&mut said).expect("text"), 0, "{} ends with: {said}", session.command);
        }
        self.broker = Some((child, output));
        if let Some(told) = said.split("clients are told ").nth(1) {
            self.bootstrap = told.split_whitespace().next().unwrap_or_default().to_owned();
        }
        let http =
            said.split("HTTP: http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("none").to_owned();
        let as_shown = said.replace(&self.bootstrap, "127.0.0.1:9092").replace(&http, "127.0.0.1:9080");
        if let Some(difference) = differs(session, &as_shown) {
            panic!("line {}: $ {}\n{difference}\nIt prints\n{said}", session.line, session.command);
        }
    }

    fn stop_broker(&mut self) {
        if let Some((mut child, _)) = self.broker.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn path_with_our_program() -> OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_pagemark"));
    let mut paths = vec![program.parent().expect("it is in a directory").to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(paths).expect("as they were")
}

/// Does everything, with a broker that runs already if the text says what it prints.
fn read(path: &str, broker: impl FnOnce(&str) -> Option<Session>) {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).expect("it is there");
    let sessions = sessions(&text);
    assert!(sessions.len() > 5, "{path} has commands: {}", sessions.len());
    let directory = tempfile::tempdir().expect("a directory");
    let mut reader = Reader { directory, broker: None, bootstrap: "127.0.0.1:9092".to_owned() };
    for session in broker(&text).iter().chain(&sessions) {
        if session.goes_on { reader.start(session) } else { reader.run(session) }
    }
}

#[test]
fn every_command_of_the_guide_prints_what_it_shows() {
    read("docs/guide.md", |_| None);
}

#[test]
fn the_commands_of_the_readme_print_what_it_shows() {
    read("README.md", |text| {
        let from = text.lines().position(|line| line.starts_with("pagemark ") && line.contains(" serves "));
        let line = from.expect("it says what a broker prints");
        let shown = text.lines().skip(line).take(3).map(str::to_owned).collect();
        let command = "pagemark serve".to_owned();
        Some(Session { line: line + 1, command, shown, goes_on: true, varies: false })
    });
}
