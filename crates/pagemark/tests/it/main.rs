//! The binary as a process: its exit codes, variables and a standard output that are not what one hopes for.

mod cli;
mod demo;
mod environment;
mod flood;
mod guide;
mod incarnations;
mod process;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Command, Stdio};

fn pagemark() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagemark"));
    command.arg("serve").stdin(Stdio::null());
    command
}

fn not_utf8() -> OsString {
    OsString::from_vec(vec![b'/', 0xff])
}

#[test]
fn a_variable_of_somebody_else_that_is_not_utf8_is_left_alone() {
    let output = pagemark().env("SOMEBODYS", not_utf8()).args(["--set", "nonsense=1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "only the wrong setting is complained about");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "pagemark: unknown setting nonsense=1 (--set); docs/settings.md lists all of them\n");
}

#[test]
fn a_variable_of_ours_that_is_not_utf8_is_refused_with_exit_code_2() {
    let output = pagemark().env("PAGEMARK_LOG_DIRS", not_utf8()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("environment variable PAGEMARK_LOG_DIRS) is not UTF-8"), "{said}");
}

#[test]
fn a_standard_output_that_nobody_reads_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = pagemark().arg("--list-settings").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_log_that_goes_to_no_terminal_has_no_colours() {
    let directory = tempfile::tempdir().unwrap();
    let log_dirs = format!("log.dirs={}", directory.path().display());
    let mut command = pagemark();
    command.arg("--until-stdin-ends").env_remove("PAGEMARK_LOG").env_remove("NO_COLOR");
    for setting in [&log_dirs, "listeners=PLAINTEXT://127.0.0.1:0", "pagemark.http.listener=127.0.0.1:0"] {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("data directory opened") && !said.contains('\u{1b}'), "{said:?}");
}
