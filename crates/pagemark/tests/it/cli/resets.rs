//! `pagemark group reset`.

use super::groups::with_member;
use super::{Session, feed};

fn session() -> Session {
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "3"], "");
    session.fill("orders", 0, 0..10);
    session.fill("orders", 1, 0..5);
    session.admin(async |admin| {
        let offsets = [(0, 4), (1, 2)].map(|(at, offset)| (("orders", at).into(), offset.into()));
        admin.alter_group_offsets("billing", offsets).await.expect("nobody is there");
        let offsets = [(0, 7), (2, 0)].map(|(at, offset)| (("orders", at).into(), offset.into()));
        admin.alter_group_offsets("audit", offsets).await.expect("nobody is there");
    });
    session
}

fn committed(session: &Session, group: &str) -> Vec<(i32, i64)> {
    let all = session.admin(async |admin| admin.list_group_offsets(group).await.expect("an answer"));
    all.into_iter().map(|(partition, offset)| (partition.partition, offset.offset)).collect()
}

#[test]
fn a_dry_run_shows_what_is_repeated_or_skipped_and_changes_nothing() {
    let mut session = session();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("offsets.csv");
    std::fs::write(&file, "\"orders\",0,9\n\"orders\",1,77\n").unwrap();
    session.run(&["group", "reset", "billing", "--to-earliest"]);
    session.run(&["group", "reset", "billing", "--to-latest"]);
    session.run(&["group", "reset", "billing", "--to-offset", "3"]);
    session.run(&["group", "reset", "billing", "--to-datetime", "2023-11-14T22:13:26.000"]);
    session.run(&["group", "reset", "billing", "--by-duration", "PT1H"]);
    session.run(&["group", "reset", "billing", "--shift-by", "-3"]);
    session.run(&["group", "reset", "billing", "--to-current"]);
    session.run(&["group", "reset", "billing", "--to-group", "audit"]);
    session.run(&["group", "reset", "billing", "-t", "orders:2", "--to-latest"]);
    session.run(&["group", "reset", "billing", "-t", "orders", "--to-offset", "1000", "-o", "json"]);
    let output =
        session.quietly(&["group", "reset", "billing", "--from-file", file.to_str().unwrap(), "-o", "csv"], "");
    session.note(&["group", "reset", "billing", "--from-file", "offsets.csv", "-o", "csv"], &output);
    assert_eq!(committed(&session, "billing"), [(0, 4), (1, 2)]);
    session.check("reset_dry_run");
}

#[test]
fn what_cannot_be_meant_is_refused_and_nothing_is_written() {
    let mut session = session();
    session.run(&["group", "reset", "billing", "--execute"]);
    session.run(&["group", "reset", "billing", "--to-latest", "--to-earliest"]);
    session.run(&["group", "reset", "billing", "--to-datetime", "soon", "--execute"]);
    session.run(&["group", "reset", "billing", "-t", "missing", "--to-latest", "--execute"]);
    session.run(&["group", "reset", "billing", "-t", "orders:7", "--to-latest", "--execute"]);
    session.run(&["group", "reset", "billing", "-t", "orders", "--shift-by", "1", "--execute"]);
    session.run(&["group", "reset", "nobody", "--to-latest", "--execute"]);
    session.run(&["group", "reset", "billing", "--to-group", "nobody", "--execute"]);
    session.run(&["group", "reset", "billing", "-t", "orders:0,7", "--to-group", "audit", "--execute"]);
    session.run(&["group", "reset", "billing", "--to-datetime", "1700000000", "--execute"]);
    assert_eq!(committed(&session, "billing"), [(0, 4), (1, 2)]);
    session.check("reset_refused");
}

#[test]
fn an_executed_reset_is_written_and_read_back_o_37() {
    let mut session = session();
    session.run(&["group", "reset", "billing", "--to-offset", "3", "--execute"]);
    assert_eq!(committed(&session, "billing"), [(0, 3), (1, 3)]);
    session.run(&["group", "reset", "billing", "-t", "orders:0", "--shift-by", "-1000", "--execute"]);
    assert_eq!(committed(&session, "billing"), [(0, 0), (1, 3)]);
    session.run(&["group", "reset", "new", "-t", "orders:0-1", "--to-latest", "--execute"]);
    assert_eq!(committed(&session, "new"), [(0, 10), (1, 5)]);
    session.check("reset_executed");
}

#[test]
fn a_reset_waits_for_the_last_member_to_leave_if_it_is_told_to_e_10() {
    use std::io::{BufRead, BufReader};
    let session = session();
    with_member(&session.broker.1, "billing", |member| {
        let arguments = ["group", "reset", "billing", "--to-earliest", "--execute"];
        let refused = session.quietly(&arguments, "");
        assert_eq!(refused.status.code(), Some(5));
        let impatient = session.quietly(&[&arguments[..], &["--wait-empty", "300ms"]].concat(), "");
        assert_eq!(impatient.status.code(), Some(5));
        assert_eq!(committed_within(&session), [(0, 4), (1, 2)]);

        let mut waiting = session.command(&[&arguments[..], &["--wait-empty", "30s"]].concat());
        let mut child = waiting.spawn().expect("it runs");
        let mut said = String::new();
        BufReader::new(child.stderr.take().expect("piped")).read_line(&mut said).expect("text");
        assert_eq!(said, "pagemark: group billing is Stable with 1 member; waiting until it has none\n");
        tokio::runtime::Handle::current().block_on(member.close());
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
    });
    assert_eq!(committed(&session, "billing"), [(0, 0), (1, 0)]);
}

/// As [`committed`], from within a runtime.
fn committed_within(session: &Session) -> Vec<(i32, i64)> {
    let output = feed(session.command(&["group", "describe", "billing", "-t", "orders:0-1", "-o", "csv"]), "");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("there is one").clone();
    let at = |name: &str| header.iter().position(|found| found == name).expect("the column is there");
    let (partition, offset) = (at("partition"), at("current_offset"));
    let rows = reader.records().map(|row| row.expect("a row"));
    rows.map(|row| (row[partition].parse().expect("a number"), row[offset].parse().expect("a number"))).collect()
}
