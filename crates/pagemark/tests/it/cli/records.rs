//! `pagemark produce` and `pagemark consume`.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::time::Duration;

use pagemark_client::{Admin, Assignor, AutoOffsetReset, Consumer};
use rustix::process::{Pid, Signal, kill_process};

use super::{Session, block_on};

fn committed(session: &Session, group: &str) -> Option<i64> {
    let all = session.admin(async |admin| admin.list_group_offsets(group).await.expect("an answer"));
    all.get(&("orders", 0).into()).map(|committed| committed.offset)
}

#[test]
fn what_is_produced_is_consumed_byte_for_byte() {
    let mut session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    session.feed(&["produce", "-t", "orders", "-K", ":", "-H", "from=till", "-z", "zstd"], "k1:v1\nk2:v:2\nno key\n\n");
    session.feed(&["produce", "-t", "orders:0", "-K", "=>", "-Z"], "k3=>\n=>v3\nlast, no line end");
    session.run(&["consume", "-t", "orders", "-e"]);
    session.run(&["consume", "-t", "orders", "-e", "-f", "%p/%o %k(%K) %s(%S) %h\\n"]);
    session.run(&["consume", "-t", "orders:0", "-e", "--from", "-2"]);
    session.run(&["consume", "-t", "orders", "-c", "1", "--from", "1"]);
    session.run(&["consume", "-t", "orders", "-e", "--from", "end"]);
    session.run(&["consume", "-t", "missing", "-e"]);
    session.run(&["consume", "-t", "orders:1", "-e"]);
    session.feed(&["produce", "-t", "missing"], "x\n");
    session.feed(&["produce", "-t", "orders:1"], "x\n");
    session.run(&["produce", "-t", "orders", "-z", "brotli"]);
    session.check("records");
}

#[test]
fn records_are_found_by_time_and_written_as_json() {
    let mut session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    session.fill("orders", 0, 0..5);
    session.run(&["consume", "-t", "orders", "-e", "-J", "--from", "@2023-11-14T22:13:23Z"]);
    session.run(&["consume", "-t", "orders", "-e", "-J", "--from", "@-1h"]);
    session.check("records_by_time");
}

#[test]
fn a_record_that_is_not_acknowledged_costs_the_exit_code_and_is_counted() {
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1", "--config", "max.message.bytes=1000"], "");
    let input = format!("small\n{}\nsmall too\n", "x".repeat(2_000_000));
    let output = session.quietly(&["produce", "-t", "orders"], &input);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("pagemark: 1 of 3 records were not acknowledged; the first: "), "{said}");
    let output = session.quietly(&["consume", "-t", "orders", "-e"], "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "small\nsmall too\n");
}

#[test]
fn a_group_goes_on_behind_what_was_printed_e_1() {
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    session.fill("orders", 0, 0..10);
    let read = |arguments: &[&str]| {
        let output = session.quietly(&[&["consume", "-t", "orders", "-G", "billing"], arguments].concat(), "");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(read(&["-c", "4"]), ["value 0", "value 1", "value 2", "value 3"]);
    assert_eq!(committed(&session, "billing"), Some(4));
    assert_eq!(read(&["-e"]).len(), 6);
    assert_eq!(committed(&session, "billing"), Some(10));
    assert!(read(&["-e"]).is_empty());
    // A partition chosen by hand goes on there as well.
    session.fill("orders", 0, 10..11);
    let output = session.quietly(&["consume", "-t", "orders:0", "-G", "billing", "-e"], "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "value 10\n");
    assert_eq!(committed(&session, "billing"), Some(11));
    // Where nothing is committed, --from decides.
    let output = session.quietly(&["consume", "-t", "orders", "-G", "late", "--from", "-2", "-e"], "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "value 9\nvalue 10\n");
    assert_eq!(committed(&session, "late"), Some(11));
}

#[test]
fn what_nobody_read_is_not_committed() {
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    session.fill("orders", 0, 0..10);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = session.command(&["consume", "-t", "orders", "-G", "billing"]);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "a reader that leaves is no failure");
    assert_eq!(committed(&session, "billing"), None);
}

#[test]
fn a_partition_that_is_named_twice_is_read_once() {
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    session.fill("orders", 0, 0..2);
    let output = session.quietly(&["consume", "-t", "orders:0", "-t", "orders", "-e"], "");
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"value 0\nvalue 1\n"[..]));
}

#[test]
fn an_interrupted_consumer_has_committed_exactly_what_it_printed() {
    // Ctrl-C, and what supervisors send.
    for (group, signal) in [("billing", Signal::INT), ("audit", Signal::TERM)] {
        let session = Session::start();
        session.quietly(&["topic", "create", "orders", "-p", "1"], "");
        session.fill("orders", 0, 0..10);
        let mut child = session.command(&["consume", "-t", "orders", "-G", group]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        for n in 0..10 {
            assert_eq!(lines.next().expect("ten of them").unwrap(), format!("value {n}"));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(committed(&session, group), Some(10));
        // It has left its group: nobody waits for its session to end.
        let described = session.admin(async |admin| admin.describe_group(group).await.expect("there"));
        assert_eq!(described.state, "Empty");
    }
}

#[test]
fn a_consumer_whose_output_nobody_takes_can_be_ended_and_has_not_committed() {
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    session.quietly(&["produce", "-t", "orders"], &"x".repeat(500_000));
    let mut child = session.command(&["consume", "-t", "orders", "-G", "billing"]).spawn().unwrap();
    let mut output = child.stdout.take().expect("piped");
    // With the first byte here, the others are on their way, and more of them than a pipe holds.
    output.read_exact(&mut [0]).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(committed(&session, "billing"), None);
}

#[test]
fn an_interrupted_producer_says_how_far_it_came_and_does_not_claim_success() {
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    let mut child = session.command(&["produce", "-t", "orders"]).spawn().unwrap();
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"first\nsecond\nhalf a li").unwrap();
    let read = session.quietly(&["consume", "-t", "orders", "-c", "2"], "");
    assert_eq!(String::from_utf8(read.stdout).unwrap(), "first\nsecond\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said, "pagemark: interrupted before the end of the input: 2 records acknowledged\n");
}

#[test]
fn a_group_whose_place_is_gone_is_told_how_to_find_another_e_14() {
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    session.fill("orders", 0, 0..3);
    session.admin(async |admin| {
        admin.alter_group_offsets("billing", [(("orders", 0).into(), 77.into())]).await.expect("nobody is there");
    });
    let output = session.quietly(&["consume", "-t", "orders", "-G", "billing", "-c", "1"], "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("is at offset 77, which the log does not have") && said.contains("group reset"), "{said}");
    assert_eq!(committed(&session, "billing"), Some(77));
}

/// While its group rebalances a member has no partitions. It once took that for the end of all of them.
#[test]
fn a_rebalance_is_not_the_end_of_what_there_is_to_read() {
    const EACH: usize = 2000;
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "2"], "");
    for partition in ["orders:0", "orders:1"] {
        // More than what a pipe holds that nobody reads from.
        session.quietly(&["produce", "-t", partition], &format!("{}\n", "x".repeat(1_000)).repeat(EACH));
    }
    block_on(async {
        let admin = Admin::builder(&session.broker.1).build().unwrap();
        let member = || {
            let builder = Consumer::builder(&session.broker.1).group_id("billing").enable_auto_commit(false);
            let builder = builder.auto_offset_reset(AutoOffsetReset::Earliest);
            let assignors = [Assignor::CooperativeSticky, Assignor::Range];
            let mut member = builder.partition_assignment_strategy(assignors).build().unwrap();
            member.subscribe(["orders"]).unwrap();
            member
        };
        let mut slow = member();
        while slow.assignment().len() != 2 {
            slow.poll(Duration::from_millis(20)).await.unwrap();
        }
        let heartbeats = "heartbeat.interval.ms=20";
        let arguments = ["consume", "-t", "orders", "-G", "billing", "-e", "-X", heartbeats];
        let mut reader = session.command(&arguments).spawn().unwrap();
        while slow.assignment().len() != 1 {
            slow.poll(Duration::from_millis(20)).await.unwrap();
        }
        // From here on `slow` gives nothing up: a rebalance that the third one begins waits for it.
        let third = member();
        while admin.describe_group("billing").await.unwrap().state != "PreparingRebalance" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
        let mut printed = 0;
        // When the reader has printed some, it commits that and gives up its partition.
        while admin.list_group_offsets("billing").await.unwrap().is_empty() {
            lines.next().unwrap().unwrap();
            printed += 1;
        }
        let rest = tokio::task::spawn_blocking(move || lines.count());
        for _ in 0..50 {
            assert_eq!(reader.try_wait().unwrap(), None, "ended in the middle of a rebalance");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // In this order: with `third` still there the reader would rightly end with the one partition that it shares.
        third.close().await;
        slow.close().await;
        assert_eq!(reader.wait().unwrap().code(), Some(0));
        assert_eq!(printed + rest.await.unwrap(), 2 * EACH);
    });
}
