//! `pagemark demo` as somebody runs it: the story holds, fits in 80 columns, notices damage, and leaves nothing behind.
//!
//! Deliberately not here: what each part of it does (`crates/demo`).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The demo, with its directory below this one.
fn demo(below: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagemark"));
    command.arg("demo").args(arguments).env("TMPDIR", below).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Output, String) {
    let below = tempfile::tempdir().expect("a place");
    let output = demo(below.path(), arguments).output().expect("it can be run");
    assert_eq!(std::fs::read_dir(below.path()).expect("it is there").count(), 0, "its directory is removed");
    let said = String::from_utf8(output.stdout.clone()).expect("text");
    (output, said)
}

/// The numbers and words of the line that begins so.
fn columns<'a>(said: &'a str, first: &str) -> Vec<&'a str> {
    let found = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    found.into_iter().find(|words| words.first() == Some(&first)).unwrap_or_else(|| panic!("{first} in {said}"))
}

#[test]
fn the_story_holds_and_reads_well_without_a_terminal_f16() {
    let (output, said) = run(&[]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{said}");
    // Temporary directories have names of any length.
    let long: Vec<_> = said.lines().filter(|line| line.chars().count() > 80 && !line.starts_with('/')).collect();
    assert!(long.is_empty(), "{long:?}");
    assert!(!said.contains('\x1b') && !said.contains('\r'));

    // Act 1: records from 0, killed after 3, next is 4.
    assert!(said.contains("\nanna is dead. LAST-DONE 3, committed offset 4:\n"), "{said}");
    assert!(said.contains(" s bela has sales-0 and resumes at 4\n"), "{said}");
    let row =
        |who: &str, offset: &str| said.lines().any(|line| line.trim().starts_with(&format!("{who}  offset {offset} ")));
    assert!((0..4).all(|n| row("anna", &n.to_string())) && !row("anna", "4"), "{said}");
    assert!((4..10).all(|n| row("bela", &n.to_string())) && !row("bela", "3"), "{said}");
    // Act 2: the survivor begins where the dead one's commits are.
    let taken = said.split_once("CARL RESUMES AT\n").expect("a table").1.lines().take(2);
    for (line, partition) in taken.zip(["sales-4-2", "sales-4-3"]) {
        let [named, had, at] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{said}") };
        assert!(named == partition && had == at && had.parse::<i64>().is_ok(), "{line}");
    }
    // Act 3: the same crash loses, repeats, repeats one, costs nothing.
    let crashes = said.split_once("REPEATED  LOST\n").expect("a table").1;
    assert_eq!(columns(crashes, "auto-received")[1..], ["10", "10", "-", "6..9"]);
    assert_eq!(columns(crashes, "auto-processed")[4], "-", "nothing is lost");
    assert_ne!(columns(crashes, "auto-processed")[3], "-", "something is repeated");
    assert_eq!(columns(crashes, "manual")[1..], ["5", "5", "5", "-"]);
    assert_eq!(columns(crashes, "in-database")[1..], ["5", "6", "-", "-"]);
    assert!(said.ends_with("\nEvery sale is there exactly once, to the cent.\n"), "{said}");
}

#[test]
fn a_deleted_row_is_named_and_the_exit_code_is_4_f16() {
    let (output, said) = run(&["--sabotage", "delete"]);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let closing = said.split_once("MISSING").expect("a table").1;
    let found = columns(closing, "commission-4");
    assert_eq!((found[1], found[2], found[4], found[5], found[8]), ("70", "69", "0", "1", "WRONG"));
    assert_ne!(found[6], found[7], "cents are missing");
    let sale = said.split_once("the row of sale ").expect("it is told").1.split(' ').next().unwrap();
    assert!(closing.contains(&format!(": sale {sale} has no row\n")), "{closing}");
    assert_eq!(columns(closing, "commission")[8], "ok", "the other group is as it was");
    assert!(said.ends_with("\nThis does not add up.\n"));
}

#[test]
fn a_doubled_row_is_found_also_by_a_program_and_the_exit_code_is_4_f16() {
    let (output, said) = run(&["--sabotage", "double", "-o", "json"]);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let verdict: serde_json::Value = serde_json::from_str(&said).expect("nothing but JSON");
    let group = verdict["groups"].as_array().unwrap().iter().find(|group| group["group"] == "commission-4").unwrap();
    assert_eq!((&verdict["holds"], &group["doubled"], &group["missing"]), (&false.into(), &1.into(), &0.into()));
    assert_eq!(group["rows"].as_i64().unwrap(), group["records"].as_i64().unwrap() + 1);
    assert!(group["found_cents"].as_i64() > group["expected_cents"].as_i64());
    assert!(verdict["checks"].as_array().unwrap().iter().all(|check| check["holds"] == true), "{said}");
}

#[test]
fn ctrl_c_ends_all_processes_removes_the_directory_and_has_exit_code_130() {
    let below = tempfile::tempdir().unwrap();
    let mut child = demo(below.path(), &["--pace", "20"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let processes = [process_in(&mut said, "A broker (process "), process_in(&mut said, "anna (process ")];
    interrupt(&child);
    said.read_to_string(&mut String::new()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(below.path()).unwrap().count(), 0);
    for process in processes {
        let program = std::fs::read_link(format!("/proc/{process}/exe"));
        assert!(program.is_err(), "process {process} still runs");
    }
}

#[test]
fn a_demo_that_is_killed_takes_its_processes_with_it_and_the_next_one_clears_up() {
    let below = tempfile::tempdir().unwrap();
    let mut killed = demo(below.path(), &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(killed.stdout.take().unwrap());
    let processes = [process_in(&mut said, "A broker (process "), process_in(&mut said, "anna (process ")];
    let watched = processes.map(|process| {
        let process = Pid::from_raw(process.parse().unwrap()).unwrap();
        pidfd_open(process, PidfdFlags::empty()).expect("it runs")
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    for process in watched {
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience));
        assert_eq!(ended, Ok(1), "a child outlives the demo");
    }
    let left_over = only_directory_in(below.path());

    let mut next = demo(below.path(), &["--pace", "20"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(next.stdout.take().unwrap());
    process_in(&mut said, "A broker (process ");
    assert_ne!(only_directory_in(below.path()), left_over, "it was removed");
    interrupt(&next);
    said.read_to_string(&mut String::new()).unwrap();
    assert_eq!(next.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(below.path()).unwrap().count(), 0);
}

fn only_directory_in(below: &Path) -> PathBuf {
    let all: Vec<PathBuf> =
        std::fs::read_dir(below).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let [one] = &all[..] else { panic!("{all:?}") };
    one.clone()
}

/// The process that a line names behind these words.
fn process_in(said: &mut impl BufRead, words: &str) -> String {
    let mut lines = said.lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains(words)).expect("it is told");
    let rest = line.split_once(words).map(|(_, rest)| rest.to_owned()).expect("as above");
    rest.split(')').next().unwrap_or_default().to_owned()
}

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
}

#[test]
fn the_help_names_every_exit_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_pagemark")).args(["demo", "--help"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for code in ["\n  0 ", "\n  1 ", "\n  2 ", "\n  4 ", "\n  130 "] {
        assert!(said.contains(code), "{code:?} in {said}");
    }
    let listed = Command::new(env!("CARGO_BIN_EXE_pagemark")).arg("--help").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("  demo ") && !listed.contains("demo-consumer"), "{listed}");
}
