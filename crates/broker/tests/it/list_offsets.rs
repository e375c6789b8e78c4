//! ListOffsets: the ends, and offsets by time.

use pagemark_wire::messages::*;

use crate::support::Rig;
use crate::support::batches::{THEN_MS, batch_at, compressed};
use crate::support::client::*;

#[test]
fn positions_are_those_of_the_rules_r_60() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let of = |client: &mut Client, timestamp: i64| {
        let found = client.list_offset("orders", 0, timestamp);
        assert_eq!(found.error_code, 0, "{timestamp}");
        (found.offset, found.timestamp, found.leader_epoch)
    };
    for (timestamp, expected) in [(-1, 0), (-2, 0), (-4, 0)] {
        assert_eq!(of(&mut client, timestamp), (expected, -1, 0), "an empty log, {timestamp}");
    }
    for timestamp in [-3, -5, 0] {
        assert_eq!(of(&mut client, timestamp), (-1, -1, -1), "an empty log, {timestamp}");
    }
    client.produced("orders", 0, batch_at(&[THEN_MS + 10, THEN_MS + 30]));
    client.produced("orders", 0, compressed(&batch_at(&[THEN_MS + 20, THEN_MS + 30, THEN_MS + 5]), 4));
    assert_eq!(of(&mut client, -1), (5, -1, 0));
    assert_eq!(of(&mut client, -2), (0, -1, 0));
    assert_eq!(of(&mut client, -3), (1, THEN_MS + 30, 0), "the first that reached it (R-62)");
    assert_eq!(of(&mut client, -4), (0, -1, 0));
    assert_eq!(of(&mut client, -5), (-1, -1, -1));
}

#[test]
fn by_time_the_first_record_in_offset_order_is_found_r_61_invariant_10() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let batches: [&[i64]; 4] = [&[10, 30, 20], &[5, 40], &[40, 15], &[50]];
    for (at, times) in batches.iter().enumerate() {
        let times: Vec<i64> = times.iter().map(|t| THEN_MS + t).collect();
        client.produced("orders", 0, compressed(&batch_at(&times), at as u8));
    }
    let all: Vec<i64> = batches.concat();
    for target in 0..=51 {
        let expected = all.iter().position(|t| *t >= target);
        let found = client.list_offset("orders", 0, THEN_MS + target);
        let expected = expected.map_or((-1, -1, -1), |at| (at as i64, THEN_MS + all[at], 0));
        assert_eq!((found.offset, found.timestamp, found.leader_epoch), expected, "target {target}");
        assert_eq!(found.error_code, 0, "none is no error");
    }
}

#[test]
fn special_values_below_their_version_and_unknown_ones_get_35_r_60() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    for version in 1..=11 {
        for (timestamp, since) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11), (-7, 99), (i64::MIN, 99)] {
            let answer = client.ask(version, &list_offsets_request("orders", 0, timestamp));
            let found = &answer.topics[0].partitions[0];
            assert_eq!(found.error_code, if version >= since { 0 } else { 35 }, "{timestamp} in version {version}");
            if found.error_code != 0 {
                assert_eq!((found.offset, found.timestamp), (-1, -1));
            }
        }
    }
}

#[test]
fn places_that_are_not_there_get_3_one_by_one_r_63() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let mut request = list_offsets_request("orders", 0, -1);
    for (topic, partition) in [("orders", 1), ("orders", -1), ("nobody", 0)] {
        request.topics.extend(list_offsets_request(topic, partition, -1).topics);
    }
    let answer: ListOffsetsResponse = client.ask(9, &request);
    let codes: Vec<i16> = answer.topics.iter().map(|t| t.partitions[0].error_code).collect();
    assert_eq!(codes, [0, 3, 3, 3]);
    assert!(answer.topics[1..].iter().all(|t| t.partitions[0].offset == -1));
}
