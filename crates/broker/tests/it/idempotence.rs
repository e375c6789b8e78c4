//! Idempotent producers through the wire.

use pagemark_wire::messages::InitProducerIdRequest;

use crate::support::Rig;
use crate::support::batches::{batch, idempotent, split};
use crate::support::client::Client;

/// A broker with a topic, and a producer id of its own giving.
fn rig() -> (Rig, Client, i64) {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    let id = client.ask(4, &InitProducerIdRequest::default().with_transactional_id(None)).producer_id.0;
    (rig, client, id)
}

/// Error code and base offset of what comes back.
fn send(client: &mut Client, id: i64, epoch: i16, sequence: i32, count: i32) -> (i16, i64) {
    let answer = client.produce("orders", 0, idempotent(id, epoch, sequence, count));
    (answer.error_code, answer.base_offset)
}

#[test]
fn a_duplicate_of_the_last_five_batches_gets_its_first_offset_and_is_not_stored_r_30() {
    let (_rig, mut client, id) = rig();
    for i in 0..6 {
        assert_eq!(send(&mut client, id, 0, i * 10, 10), (0, i64::from(i) * 10));
    }
    for i in 1..6 {
        let answer = client.produce("orders", 0, idempotent(id, 0, i * 10, 10));
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(i) * 10), "row 41");
        assert_eq!(answer.log_append_time_ms, crate::support::batches::THEN_MS, "the batch's timestamp (P-31)");
    }
    assert_eq!(send(&mut client, id, 0, 0, 10), (45, -1), "the sixth last is forgotten (R-31)");
    assert_eq!(client.end("orders", 0), 60);
    assert_eq!(split(&client.read("orders", 0, 0)).len(), 6);
    assert_eq!(send(&mut client, id, 0, 50, 5), (45, -1), "same first, other last sequence: no duplicate");
    assert_eq!(send(&mut client, id, 0, 60, 1), (0, 60));
}

#[test]
fn the_next_sequence_number_is_the_only_one_taken_r_31_row_40() {
    let (_rig, mut client, id) = rig();
    assert_eq!(send(&mut client, id, 0, 0, 3), (0, 0));
    assert_eq!(send(&mut client, id, 0, 4, 1), (45, -1));
    assert_eq!(send(&mut client, id, 0, 2, 1), (45, -1));
    assert_eq!(send(&mut client, id, 0, 3, 1), (0, 3));
    assert_eq!(client.produce("orders", 1, idempotent(id, 0, 0, 1)).error_code, 0, "each partition counts by itself");
}

#[test]
fn sequence_numbers_wrap_to_zero_r_31() {
    let (_rig, mut client, id) = rig();
    assert_eq!(send(&mut client, id, 0, i32::MAX - 1, 2), (0, 0));
    assert_eq!(send(&mut client, id, 0, 0, 1), (0, 2));
    // A batch may go over the edge.
    let (_rig, mut client, id) = rig_at_the_edge();
    assert_eq!(send(&mut client, id, 0, i32::MAX, 3), (0, 1));
    assert_eq!(send(&mut client, id, 0, i32::MAX, 3), (0, 1), "and be recognised");
    assert_eq!(send(&mut client, id, 0, 2, 1), (0, 4));
}

fn rig_at_the_edge() -> (Rig, Client, i64) {
    let (rig, mut client, id) = rig();
    assert_eq!(send(&mut client, id, 0, i32::MAX - 1, 1), (0, 0));
    (rig, client, id)
}

#[test]
fn a_new_epoch_starts_at_zero_and_an_old_one_is_fenced_r_32() {
    let (_rig, mut client, id) = rig();
    assert_eq!(send(&mut client, id, 0, 0, 2), (0, 0));
    assert_eq!(send(&mut client, id, 1, 2, 1), (45, -1), "a new epoch does not continue");
    assert_eq!(send(&mut client, id, 1, 0, 1), (0, 2));
    assert_eq!(send(&mut client, id, 0, 2, 1), (47, -1));
    assert_eq!(send(&mut client, id, 0, 0, 2), (47, -1), "not even as a duplicate");
    assert_eq!(send(&mut client, id, 1, 1, 1), (0, 3));
}

#[test]
fn an_unknown_producer_may_start_anywhere_r_33_row_39() {
    let (_rig, mut client, _) = rig();
    assert_eq!(send(&mut client, 987_654, 3, 7, 1), (0, 0));
    assert_eq!(send(&mut client, 987_654, 3, 8, 1), (0, 1));
}

#[test]
fn five_batches_in_flight_keep_their_order_and_a_gap_stops_those_behind_it_r_34() {
    use crate::support::client::{one_of, produce_request};
    use pagemark_wire::messages::ProduceRequest;
    let (_rig, mut client, id) = rig();
    for sequence in [0, 1, 3, 4, 2] {
        client.send(9, &produce_request("orders", 0, -1, Some(idempotent(id, 0, sequence, 1))));
    }
    let codes: Vec<i16> = (0..5).map(|_| one_of(client.receive::<ProduceRequest>()).error_code).collect();
    assert_eq!(codes, [0, 0, 45, 45, 0]);
}

#[test]
fn a_retry_of_a_stored_batch_never_becomes_an_error_of_its_records_r_17() {
    // The timestamp was in the window when the batch was stored; by now it is not. The retry is still a success.
    let (rig, mut client, id) = rig();
    client.create("recent", 1, &[("message.timestamp.before.max.ms", "0"), ("message.timestamp.after.max.ms", "0")]);
    let stored = idempotent(id, 0, 0, 1);
    assert_eq!(client.produce("recent", 0, stored.clone()).error_code, 32);
    assert_eq!(client.produced("orders", 1, stored.clone()), 0);
    let damaged_retry = crate::support::batches::with_payload(&stored, 0, &[1, 2, 3]);
    assert_eq!(client.produced("orders", 1, damaged_retry), 0, "R-30 is judged before the records");
    drop(rig);
}

#[test]
fn producers_without_an_id_are_never_taken_for_duplicates() {
    let (_rig, mut client, _) = rig();
    assert_eq!(client.produced("orders", 0, batch(&["same"])), 0);
    assert_eq!(client.produced("orders", 0, batch(&["same"])), 1);
}

#[test]
fn producer_ids_are_never_given_twice_not_even_after_restarts_r_37() {
    let dir = tempfile::tempdir().unwrap();
    let mut given = std::collections::BTreeSet::new();
    for round in 0..4 {
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        for _ in 0..20 {
            let answer = client.ask(4, &InitProducerIdRequest::default().with_transactional_id(None));
            assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
            assert!(given.insert(answer.producer_id.0));
        }
        if round % 2 == 0 { rig.kill() } else { rig.stop() }
    }
}
