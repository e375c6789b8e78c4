//! Clients that announce much, send little, read nothing or stay for ever: others do not feel them (row 81, invariant 40).

use std::sync::atomic::Ordering;
use std::time::Duration;

use pagemark_wire::messages::*;
use tokio::io::AsyncReadExt;

use crate::support::batches::{batch, batch_of_bytes, headers};
use crate::support::client::*;
use crate::support::configs::{TOPIC, describe_request};
use crate::support::raw::{Raw, encoded, framed};
use crate::support::simulated::simulated;
use crate::support::{Rig, releasing, until};

#[test]
fn two_hundred_announcements_of_90_mib_cost_what_they_sent_and_a_good_client_is_served_row_81() {
    let rig = Rig::memory();
    let mut good = rig.client();
    good.create("orders", 1, &[]);
    let mut begun = (90i32 << 20).to_be_bytes().to_vec();
    begun.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 1]); // as if a Produce began
    begun.resize(1024, 7);
    let floods: Vec<Raw> = (0..200)
        .map(|_| {
            let mut raw = Raw::connect(rig.address);
            raw.send(&begun);
            raw
        })
        .collect();
    let budget = &rig.broker().budget;
    until("everything sent has arrived", || budget.used_bytes() >= 200 * 1024);
    for i in 0..20 {
        assert_eq!(good.produced("orders", 0, batch(&["value"])), i);
    }
    assert!(budget.used_bytes() < 300 * 1024, "{} bytes", budget.used_bytes());
    drop(floods);
    until("what was charged is given back", || budget.used_bytes() == 0);
    until("the connections are gone", || rig.broker().metrics.connections.load(Ordering::Relaxed) == 1);
}

/// Clients that begin large requests and send no more, until a budget of 300,000 bytes is spent.
fn spend_budget(rig: &Rig) -> Vec<Raw> {
    let floods = (0..6)
        .map(|_| {
            let mut raw = Raw::connect(rig.address);
            raw.send(&(50i32 << 20).to_be_bytes());
            raw.send(&[7; 60 * 1024]);
            raw
        })
        .collect();
    until("the budget is spent", || rig.broker().budget.used_bytes() >= 300_000);
    floods
}

#[test]
fn when_the_budget_is_spent_small_requests_still_pass_g_9() {
    let rig = Rig::with(&["pagemark.memory.budget.bytes=300000"]);
    let mut good = rig.client();
    good.create("orders", 1, &[]);
    let floods = spend_budget(&rig);
    assert_eq!(good.produced("orders", 0, batch(&["small"])), 0);
    assert_eq!(good.commit("readers", "orders", 0, 1), 0);
    // A large one waits for room and goes through once there is some.
    good.send(9, &produce_request("orders", 0, -1, Some(batch_of_bytes(500_000))));
    drop(floods);
    assert_eq!(one_of(good.receive::<ProduceRequest>()).base_offset, 1);
}

/// Room for all of such a request is made at once, and used to be before the budget was asked.
#[test]
fn a_large_request_waits_for_room_also_where_one_came_before_g_9() {
    let rig = Rig::with(&["pagemark.memory.budget.bytes=300000"]);
    let (mut good, mut warm) = (rig.client(), rig.client());
    good.create("orders", 2, &[]);
    assert_eq!(warm.produced("orders", 0, batch_of_bytes(500_000)), 0);
    let floods = spend_budget(&rig);
    let budget = &rig.broker().budget;
    warm.send(9, &produce_request("orders", 0, -1, Some(batch_of_bytes(500_000))));
    for offset in 0..100 {
        assert_eq!(good.produced("orders", 1, batch(&["small"])), offset);
        assert!(budget.used_bytes() < 500_000, "{} bytes", budget.used_bytes());
    }
    assert_eq!(good.end("orders", 0), 1, "it waits");
    drop(floods);
    assert_eq!(one_of(warm.receive::<ProduceRequest>()).base_offset, 1);
}

#[test]
fn a_request_larger_than_the_budget_does_not_wait_for_itself() {
    let rig = Rig::with(&["pagemark.memory.budget.bytes=300000"]);
    rig.client().create("orders", 1, &[]);
    let mut raw = Raw::connect(rig.address);
    let frame = encoded(9, &produce_request("orders", 0, -1, Some(batch_of_bytes(500_000))));
    raw.send(&frame[..350_000]);
    until("the budget is spent", || rig.broker().budget.used_bytes() == 350_000);
    raw.send(&frame[350_000..]);
    assert_eq!(one_of(raw.answer::<ProduceRequest>(9)).error_code, 0);
}

#[test]
fn requests_taken_on_are_charged_until_they_are_answered_invariant_40() {
    let (rig, engine) = Rig::released_by_hand(&[]);
    releasing(&engine, || rig.client().create("orders", 1, &[]));
    let budget = &rig.broker().budget;
    let mut client = rig.client();
    for _ in 0..10 {
        client.send(9, &produce_request("orders", 0, 1, Some(batch_of_bytes(100_000))));
    }
    until("all wait for the disk", || {
        rig.broker().metrics.produced_records() == 10 && budget.used_bytes() >= 1_000_000
    });
    assert!(budget.used_bytes() < 1_100_000, "{} bytes", budget.used_bytes());
    releasing(&engine, || (0..10).for_each(|_| drop(client.receive::<ProduceRequest>())));
    until("nothing is charged any more", || budget.used_bytes() == 0);
    // The bytes of a request behind one that waits are given back when it is dealt with, not when it is its turn.
    client.send(12, &fetch_request("orders", 0, 10).with_max_wait_ms(600_000).with_min_bytes(i32::MAX));
    releasing(&engine, || {
        client.send(9, &produce_request("orders", 0, 1, Some(batch_of_bytes(100_000))));
        until("it is stored", || rig.client().end("orders", 0) == 11);
    });
    until("only the fetch is charged", || (1..1000).contains(&budget.used_bytes()));
}

#[test]
fn a_group_keeps_nothing_of_a_frame_but_what_it_needs_invariant_40() {
    let rig = Rig::memory();
    let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
    let join = JoinGroupRequest::default()
        .with_group_id(group_id("g"))
        .with_session_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let mut frame = encoded(0, &join)[4..].to_vec();
    frame.resize(20 << 20, 0); // bytes behind the end are legal
    let mut raw = Raw::connect(rig.address);
    raw.send(&framed(&frame));
    assert_eq!(raw.answer::<JoinGroupRequest>(0).error_code, 0);
    until("the frame is given back", || rig.broker().budget.used_bytes() == 0);
}

#[test]
fn answers_larger_than_their_requests_are_made_one_after_the_other_invariant_40() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let names: Vec<String> = (0..100).map(|n| format!("orders-{n}")).collect();
    let topics: Vec<_> = names.iter().map(|name| new_topic(name, 1, &[])).collect();
    assert!(client.ask(7, &create_request(&topics)).topics.iter().all(|t| t.error_code == 0));
    let resources: Vec<(i8, &str)> = names.iter().map(|name| (TOPIC, name.as_str())).collect();
    let request = describe_request(&resources, &[]).with_include_documentation(true);
    let mut most_bytes = 0;
    (0..30).for_each(|_| client.send(4, &request));
    until("answers wait for the client", || rig.broker().budget.used_bytes() > 1_000_000);
    for _ in 0..30 {
        most_bytes = most_bytes.max(rig.broker().budget.used_bytes());
        assert_eq!(client.receive::<DescribeConfigsRequest>().results.len(), 100);
    }
    assert!(most_bytes < 5_000_000, "{most_bytes} bytes");
}

#[test]
fn a_fetch_ends_with_the_connection_that_sent_it_invariant_40() {
    let rig = Rig::memory();
    rig.client().create("orders", 1, &[]);
    let partition = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[0].clone();
    let mut clients: Vec<Client> = (0..10).map(|_| rig.client()).collect();
    clients.iter_mut().for_each(|c| c.send(12, &fetch_request("orders", 0, 0).with_max_wait_ms(i32::MAX)));
    until("all are parked", || partition.waiting_fetches() == 10);
    drop(clients);
    until("none is parked any more", || partition.waiting_fetches() == 0);
}

#[test]
fn fetches_end_with_their_connection_even_when_it_had_more_requests_than_are_taken_on_invariant_40() {
    let rig = Rig::memory();
    rig.client().create("orders", 1, &[]);
    let partition = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[0].clone();
    let mut client = rig.client();
    (0..40).for_each(|_| client.send(12, &fetch_request("orders", 0, 0).with_max_wait_ms(i32::MAX)));
    until("as many as are taken on are parked", || partition.waiting_fetches() == 32);
    drop(client);
    until("none is parked any more", || partition.waiting_fetches() == 0);
    until("nothing is charged any more", || rig.broker().budget.used_bytes() == 0);
}

/// A client whose fetch of the empty topic `quiet` is parked, so that whatever is answered behind it is held.
fn held_up(rig: &Rig) -> Client {
    let mut client = rig.client();
    client.create("quiet", 1, &[]);
    client.send(12, &fetch_request("quiet", 0, 0).with_max_wait_ms(600_000));
    client
}

/// The number of batches in the next answer.
fn batches_received(client: &mut Client) -> usize {
    let answer = client.receive::<FetchRequest>();
    headers(answer.responses[0].partitions[0].records.as_ref().expect("never null")).len()
}

#[test]
fn answers_are_charged_and_records_keep_to_half_of_the_budget_invariant_40() {
    let rig = Rig::with(&["pagemark.memory.budget.bytes=400000"]);
    let mut good = rig.client();
    good.create("orders", 1, &[]);
    (0..10).for_each(|_| assert!(good.produced("orders", 0, batch_of_bytes(50_000)) >= 0));
    let budget = &rig.broker().budget;
    until("nothing is charged", || budget.used_bytes() == 0);
    let mut slow = held_up(&rig);
    (0..3).for_each(|_| slow.send(12, &fetch_request("orders", 0, 0)));
    until("three answers are held", || budget.used_bytes() >= 250_000);
    assert!(budget.used_bytes() < 260_000, "{} bytes", budget.used_bytes());
    assert_eq!(good.produced("orders", 0, batch_of_bytes(100_000)), 10, "there is room for requests");
    good.produced("quiet", 0, batch(&["wake"]));
    let received: Vec<usize> = (0..4).map(|_| batches_received(&mut slow)).collect();
    assert_eq!(received, [1, 3, 1, 1], "when half is used, the first batch and no more");
    until("nothing is charged any more", || budget.used_bytes() == 0);
}

#[test]
fn fetches_that_are_woken_together_do_not_all_hold_their_answers_at_once_invariant_40() {
    let rig = Rig::with(&["pagemark.memory.budget.bytes=100000000"]);
    let mut good = rig.client();
    good.create("orders", 1, &[]);
    let partition = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[0].clone();
    let mut slow = held_up(&rig);
    (0..20).for_each(|_| slow.send(12, &fetch_request("orders", 0, 0).with_max_wait_ms(600_000)));
    until("all are parked", || partition.waiting_fetches() == 20);
    good.produced("orders", 0, batch_of_bytes(900_000));
    until("all are woken", || partition.waiting_fetches() == 0);
    let budget = &rig.broker().budget;
    until("some answers are held", || budget.used_bytes() > 1_800_000);
    // Two of them are over the limit; two workers may have looked at the same moment.
    (0..20).for_each(|_| assert_eq!(good.end("orders", 0), 1));
    assert!(budget.used_bytes() < 4_000_000, "{} bytes", budget.used_bytes());
    good.produced("quiet", 0, batch(&["wake"]));
    (0..21).for_each(|_| assert_eq!(batches_received(&mut slow), 1));
    until("nothing is charged any more", || budget.used_bytes() == 0);
}

#[test]
fn a_client_that_takes_nothing_for_30_seconds_is_closed_invariant_40() {
    simulated(&[], async |broker| {
        let (mut patient, mut never) = (broker.client().await, broker.client().await);
        patient.ask(12, &metadata_request(&["orders"]).with_allow_auto_topic_creation(true)).await;
        for _ in 0..30 {
            let request = produce_request("orders", 0, -1, Some(batch_of_bytes(1_000_000)));
            assert_eq!(one_of(patient.ask(9, &request).await).error_code, 0);
        }
        for client in [&mut patient, &mut never] {
            client.send(12, &fetch_request("orders", 0, 0)).await;
            client.socket.readable().await.expect("the answer begins");
        }
        tokio::time::advance(Duration::from_secs(29)).await;
        let answer = patient.receive::<FetchRequest>(12).await;
        assert_eq!(headers(answer.responses[0].partitions[0].records.as_ref().unwrap()).len(), 30);
        tokio::time::advance(Duration::from_secs(2)).await;
        patient.ask(12, &metadata_request(&["orders"])).await; // by now the other one has been closed
        let mut received = Vec::new();
        let _ = never.socket.read_to_end(&mut received).await; // a reset is a close too
        assert!(received.len() < 20_000_000, "no more than was under way: {} bytes", received.len());
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_and_those_within_are_served() {
    let rig = Rig::with(&["max.connections=3"]);
    let mut within: Vec<Client> = (0..3).map(|_| rig.client()).collect();
    within.iter_mut().for_each(|c| drop(c.ask(12, &metadata_request(&[]))));
    let mut beyond = Raw::connect(rig.address);
    assert_eq!(beyond.reaction(), crate::support::raw::Reaction::Closed);
    within.pop();
    until("there is room again", || {
        let mut raw = Raw::connect(rig.address);
        raw.request(12, &metadata_request(&[]));
        raw.reaction() != crate::support::raw::Reaction::Closed
    });
    assert_eq!(within[0].ask(12, &metadata_request(&[])).brokers.len(), 1);
}
