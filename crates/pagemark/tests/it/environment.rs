//! Surroundings in which a broker cannot start: each costs one clear line that says what to do, and an exit code.
//!
//! Deliberately not here: settings that are wrong (`broker/src/settings`), a disk that fails later (`broker/tests/it`).

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::pagemark;

/// Starts a broker in this directory, which must fail; gives exit code and what it said.
fn refused(directory: &Path, settings: &[&str]) -> (Option<i32>, String) {
    let mut command = pagemark();
    command.env("PAGEMARK_LOG", "off");
    let directory = format!("log.dirs={}", directory.display());
    let defaults = ["listeners=PLAINTEXT://127.0.0.1:0", "pagemark.http.listener=", &directory];
    for setting in defaults.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    let output = command.output().expect("the broker can be run");
    (output.status.code(), String::from_utf8(output.stderr).expect("it writes text"))
}

#[test]
fn a_port_that_is_taken_is_named_with_the_setting_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let cases = [
        (format!("listeners=PLAINTEXT://{address}"), "listeners=PLAINTEXT://HOST:PORT"),
        (format!("pagemark.http.listener={address}"), "pagemark.http.listener=HOST:PORT (empty: no HTTP)"),
    ];
    for (setting, advice) in cases {
        let (code, said) = refused(directory.path(), &[&setting]);
        assert_eq!(code, Some(1));
        let begin = format!("pagemark: cannot listen on {address}: ");
        assert!(said.starts_with(&begin), "{said}");
        let end = format!("Is another broker running? Choose another port with --set {advice}\n");
        assert!(said.ends_with(&end), "{said}");
    }
}

#[test]
fn an_address_of_another_machine_is_not_taken_for_a_port_in_use() {
    let directory = tempfile::tempdir().unwrap();
    // From the block for documentation: no machine has it.
    let settings = ["listeners=PLAINTEXT://192.0.2.1:9092", "pagemark.insecure.listen=true"];
    let (code, said) = refused(directory.path(), &settings);
    assert_eq!(code, Some(1));
    assert!(said.contains("192.0.2.1:9092") && said.contains("This machine has no such address"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_made_or_written_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    for place in [file.clone(), file.join("below"), "/sys/pagemark".into()] {
        let (code, said) = refused(&place, &[]);
        assert_eq!(code, Some(1));
        assert!(said.starts_with(&format!("pagemark: {}: ", place.display())), "{said}");
        assert!(said.trim_end().ends_with("with --set log.dirs=PATH") && said.lines().count() == 1, "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "in the way");
}

#[test]
fn a_directory_of_a_newer_format_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let lock = directory.path().join("LOCK");
    std::fs::write(&lock, "pid 1\nincarnation 0\nformat 99\n").unwrap();
    let (code, said) = refused(directory.path(), &[]);
    assert_eq!(code, Some(1));
    let begin = format!("pagemark: {} has format 99, ", directory.path().display());
    assert!(said.starts_with(&begin) && said.ends_with("use a newer Pagemark\n"), "{said}");
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), "pid 1\nincarnation 0\nformat 99\n");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn wrong_arguments_are_told_with_the_usage_and_exit_code_2() {
    for arguments in [&["--frobnicate"][..], &["--set"], &["here"], &["--config"]] {
        let output = pagemark().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error: ") && said.contains("--help"), "{said}");
    }
    let (code, said) = refused(Path::new("unused"), &["num.partitions=many", "nonsense"]);
    assert_eq!((code, said.lines().count()), (Some(2), 2), "both at once: {said}");
    assert!(said.contains("key=value") && said.contains("num.partitions=many"), "{said}");
}

/// A broker that may have so many files open, on a free port.
fn limited(directory: &Path, open_files: u32) -> Child {
    let serve = format!(
        "ulimit -n {open_files} && exec \"$0\" serve --set listeners=PLAINTEXT://127.0.0.1:0 \
         --set pagemark.http.listener= --set log.dirs=\"$1\""
    );
    let mut command = Command::new("sh");
    command.args(["-c", &serve, env!("CARGO_BIN_EXE_pagemark")]).arg(directory).env("PAGEMARK_LOG", "off");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh can be run")
}

#[test]
fn too_few_open_files_are_told_with_the_command_that_allows_more() {
    let directory = tempfile::tempdir().unwrap();
    let output = limited(directory.path(), 300).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("300 files") && said.contains("ulimit -n 65536"), "{said}");
}

#[test]
fn connections_leave_enough_open_files_to_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = limited(directory.path(), 512);
    let said = BufReader::new(broker.stdout.take().unwrap()).lines().map(Result::unwrap);
    let listens = said.into_iter().find(|line| line.contains("listens on")).expect("it starts");
    let address = listens.rsplit(' ').next().unwrap().to_owned();
    // All of these can be open on our side; whether the broker closes one is seen by its end.
    let connections: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let closed = |mut stream: &TcpStream| matches!(stream.read(&mut [0]), Ok(0) | Err(_));
    // The last one was accepted last, so that every other one has been judged when it has.
    assert!(closed(connections.last().unwrap()), "beyond 512 - 256 - 64");
    connections.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let open = connections.iter().filter(|stream| {
        let mut stream: &TcpStream = stream;
        stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    });
    assert_eq!(open.count(), 192, "some are kept for the log, some for what is read from it");
    broker.kill().unwrap();
    broker.wait().unwrap();
}
