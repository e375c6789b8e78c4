//! What is there after a stop and after a kill: everything acknowledged, and nothing else (the Ack and Order promises).

use std::path::Path;

use bytes::Bytes;

use crate::support::batches::*;
use crate::support::client::*;
use crate::support::{Rig, local_engine};

/// Everything that a restart must not change.
#[derive(Debug, PartialEq)]
struct Seen {
    topics: Vec<(String, uuid::Uuid)>,
    records: Vec<Bytes>,
    committed: Vec<(i64, i32, Option<String>)>,
}

fn look(client: &mut Client) -> Seen {
    let listed = client.ask(12, &pagemark_wire::messages::MetadataRequest::default().with_topics(None));
    let topics = listed.topics.iter().map(|t| (t.name.as_ref().unwrap().to_string(), t.topic_id)).collect();
    let records = (0..3).map(|p| client.read("orders", p, 0)).collect();
    let committed = (0..3)
        .map(|p| client.committed("readers", "orders", p))
        .map(|c| (c.committed_offset, c.committed_leader_epoch, c.metadata.map(|m| m.to_string())))
        .collect();
    Seen { topics, records, committed }
}

fn epoch(client: &mut Client) -> i32 {
    client.ask(12, &metadata_request(&["orders"])).topics[0].partitions[0].leader_epoch
}

/// Writes a little of everything.
fn write(client: &mut Client, round: i32) {
    for partition in 0..3 {
        let plain = batch(&[&format!("round {round}"), "second"]);
        let sent = if partition == 0 { plain } else { compressed(&plain, 2 + partition as u8) };
        client.produced("orders", partition, sent);
        client.produced("orders", partition, idempotent(40 + i64::from(partition), 0, round * 2, 2));
        let offset = i64::from(round) * 4 + i64::from(partition);
        let note = format!("note {round}");
        let mut request = commit_request("readers", &[("orders", partition, offset, &note)]);
        request.topics[0].partitions[0].committed_leader_epoch = round;
        assert_eq!(client.ask(8, &request).topics[0].partitions[0].error_code, 0);
    }
}

#[test]
fn all_that_was_acknowledged_is_there_after_every_kill_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 3, &[]);
    drop((client, rig.kill()));
    let mut before: Option<(Seen, i32)> = None;
    for round in 0..6 {
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        let epoch_now = epoch(&mut client);
        if let Some((seen, epoch_before)) = &before {
            assert_eq!(&look(&mut client), seen, "round {round} (invariant 2)");
            assert!(epoch_now > *epoch_before || round % 2 == 0, "grown by an unclean restart (R-53)");
            assert!(epoch_now >= *epoch_before, "P-26");
            let ends = (0..3).map(|p| client.end("orders", p)).collect::<Vec<_>>();
            assert_eq!(ends, [i64::from(round) * 4; 3], "the high watermark is where it was (invariant 7)");
        }
        write(&mut client, round);
        before = Some((look(&mut client), epoch_now));
        drop(client);
        if round % 2 == 0 { rig.kill() } else { rig.stop() }
    }
}

#[test]
fn duplicates_are_still_recognised_after_a_kill_r_36() {
    for clean in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        client.create("orders", 1, &[]);
        for sequence in 0..6 {
            assert_eq!(client.produced("orders", 0, idempotent(5, 2, sequence, 1)), i64::from(sequence));
        }
        drop(client);
        if clean {
            rig.stop()
        } else {
            rig.kill()
        }
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        for sequence in 1..6 {
            assert_eq!(client.produced("orders", 0, idempotent(5, 2, sequence, 1)), i64::from(sequence));
        }
        assert_eq!(client.produce("orders", 0, idempotent(5, 2, 0, 1)).error_code, 45, "the sixth last");
        assert_eq!(client.produce("orders", 0, idempotent(5, 1, 6, 1)).error_code, 47, "the epoch is known too");
        assert_eq!(client.end("orders", 0), 6);
        assert_eq!(client.produced("orders", 0, idempotent(5, 2, 6, 1)), 6);
    }
}

#[test]
fn records_carry_the_epoch_that_they_were_written_under_r_25() {
    let dir = tempfile::tempdir().unwrap();
    let mut epochs = Vec::new();
    for round in 0..3 {
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        if round == 0 {
            client.create("orders", 1, &[]);
        }
        epochs.push(epoch(&mut client));
        client.produced("orders", 0, batch(&["x"]));
        let stamped: Vec<i32> = headers(&client.read("orders", 0, 0)).iter().map(|h| h.leader_epoch.0).collect();
        assert_eq!(stamped, epochs);
        let earliest = client.list_offset("orders", 0, -2).leader_epoch;
        let latest = client.list_offset("orders", 0, -1).leader_epoch;
        assert_eq!((earliest, latest), (epochs[0], epochs[round]));
        drop(client);
        rig.kill();
    }
    assert!(epochs.windows(2).all(|w| w[0] < w[1]));
}

/// What opening the directory says about how the last life ended.
fn ended_cleanly(dir: &Path) -> bool {
    local_engine(dir).recovery_summary().clean
}

#[test]
fn a_stop_leaves_nothing_to_recover_and_a_kill_does() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    rig.client().create("orders", 1, &[]);
    rig.client().produced("orders", 0, batch(&["x"]));
    rig.stop();
    assert!(ended_cleanly(dir.path()));
    let rig = Rig::local(dir.path());
    rig.client().produced("orders", 0, batch(&["y"]));
    rig.kill();
    let rig = Rig::on(local_engine(dir.path()), &[]);
    assert_eq!(rig.client().end("orders", 0), 2);
    rig.stop();
    assert!(ended_cleanly(dir.path()));
}

#[test]
fn a_stop_while_requests_are_parked_ends_them_and_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let mut parked = rig.client();
    parked.send(12, &fetch_request("orders", 0, 0).with_max_wait_ms(600_000));
    let partition = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[0].clone();
    crate::support::until("it is parked", || partition.waiting_fetches() == 1);
    rig.stop();
    assert!(parked.connection.receive().is_err(), "closed");
    assert!(ended_cleanly(dir.path()));
}

#[test]
fn a_deleted_topic_stays_deleted_and_its_offsets_stay_away_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    let old = client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["x"]));
    assert_eq!(client.commit("readers", "orders", 0, 1), 0);
    assert_eq!(client.delete("orders"), 0);
    drop(client);
    rig.kill();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    assert_eq!(client.ask(12, &metadata_request(&["orders"])).topics[0].error_code, 3);
    assert_ne!(client.create("orders", 1, &[]), old);
    assert_eq!(client.end("orders", 0), 0);
    assert_eq!(client.committed("readers", "orders", 0).committed_offset, -1, "invariant 18");
}

#[test]
fn the_number_of_offsets_partitions_is_that_of_the_directory_whatever_the_settings_say_g_1() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    for group in 0..20 {
        assert_eq!(client.commit(&format!("group-{group}"), "orders", 0, 100 + group), 0);
    }
    drop(client);
    rig.kill();
    for partitions in [1, 50] {
        let setting = format!("offsets.topic.num.partitions={partitions}");
        let rig = Rig::on(local_engine(dir.path()), &[&setting]);
        let mut client = rig.client();
        for group in 0..20 {
            let told = client.committed(&format!("group-{group}"), "orders", 0);
            assert_eq!(told.committed_offset, 100 + group, "with {setting} (invariant 17)");
        }
        let listed = client.ask(4, &pagemark_wire::messages::ListGroupsRequest::default());
        assert_eq!((listed.error_code, listed.groups.len()), (0, 20));
        drop(client);
        rig.kill();
    }
}
