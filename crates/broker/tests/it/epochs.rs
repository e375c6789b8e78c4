//! Leader epochs: what a consumer that lost sight of a partition is told of them (KIP-320, P-26, P-40, P-41).

use pagemark_wire::api::Api;

use crate::support::Rig;
use crate::support::batches::batch;
use crate::support::client::*;
use crate::versions::{ask, each_version};

fn present_epoch(client: &mut Client) -> i32 {
    client.ask(12, &metadata_request(&["orders"])).topics[0].partitions[0].leader_epoch
}

#[test]
fn an_epochs_end_is_told_in_every_version_r_54_p_40() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a", "b"]));
    let ours = present_epoch(&mut client);
    each_version(Api::OffsetForLeaderEpoch, |version| {
        let end = |topic: &str, current: i32, epoch: i32| {
            let answer = ask(&rig, version, &epoch_request(topic, current, epoch));
            assert_eq!(answer.topics[0].topic.as_str(), topic);
            let told = &answer.topics[0].partitions[0];
            (told.error_code, told.leader_epoch, told.end_offset)
        };
        for current in [-1, ours] {
            assert_eq!(end("orders", current, ours), (0, ours, 2));
            assert_eq!(end("orders", current, ours + 1), (0, -1, -1), "newer than ours");
            assert_eq!(end("orders", current, -1), (0, -1, -1));
        }
        assert_eq!(end("orders", ours + 1, ours), (75, -1, -1), "we may be behind");
        assert_eq!(end("unknown", -1, ours), (3, -1, -1));
    });
    let mut request = epoch_request("orders", -1, ours);
    request.topics[0].partitions[0].partition = 9;
    assert_eq!(client.ask(4, &request).topics[0].partitions[0].error_code, 3);
}

#[test]
fn each_unclean_start_ends_an_epoch_where_its_log_ended_and_the_history_stays_r_53_r_54() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends: Vec<(i32, i64)> = Vec::new();
    for round in 0..5 {
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        if round == 0 {
            client.create("orders", 1, &[]);
        }
        let ours = present_epoch(&mut client);
        assert!(ends.last().is_none_or(|(last, _)| ours > *last), "it grows (P-26)");
        for (epoch, end) in &ends {
            assert_eq!(client.epoch_end("orders", ours, *epoch), (0, *epoch, *end), "in round {round}");
        }
        if let Some((stale, _)) = ends.last() {
            assert_eq!(client.epoch_end("orders", *stale, *stale).0, 74, "who missed the restart is told (P-40)");
        }
        for _ in 0..=round {
            client.produced("orders", 0, batch(&["x"]));
        }
        let end = client.end("orders", 0);
        assert_eq!(client.epoch_end("orders", ours, ours), (0, ours, end), "as far as it may have read");
        ends.push((ours, end));
        drop(client);
        rig.kill();
    }
}

#[test]
fn a_reader_under_an_epoch_that_never_was_is_out_of_range_p_41() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a", "b"]));
    let ours = present_epoch(&mut client);
    for offset in [0, 2, 3] {
        let mut request = fetch_request("orders", 0, offset).with_max_wait_ms(600_000);
        request.topics[0].partitions[0].last_fetched_epoch = ours + 5;
        let answer = client.ask(12, &request).responses.remove(0).partitions.remove(0);
        assert_eq!((answer.error_code, answer.diverging_epoch.end_offset), (1, -1), "at {offset}");
    }
}
