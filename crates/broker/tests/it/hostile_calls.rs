//! Requests that are well formed and still wrong (bad-input rows 50 to 73).

use bytes::Bytes;
use pagemark_wire::messages::join_group_request::JoinGroupRequestProtocol;
use pagemark_wire::messages::*;

use crate::support::batches::batch;
use crate::support::client::*;
use crate::support::raw::{Raw, Reaction};
use crate::support::{Rig, until};

#[test]
fn commits_to_places_that_are_not_there_are_refused_one_by_one_row_54_e_25() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 3, &[]);
    for version in 2..=9 {
        let group = format!("readers-{version}");
        let offsets = [("orders", 0, 4, ""), ("nobody", 0, 4, ""), ("orders", 5, 4, ""), ("orders", -1, 4, "")];
        let answer = client.ask(version, &commit_request(&group, &offsets));
        let codes: Vec<i16> = answer.topics.iter().map(|t| t.partitions[0].error_code).collect();
        assert_eq!(codes, [0, 3, 3, 3], "version {version} (E-30)");
        assert_eq!(client.committed(&group, "orders", 0).committed_offset, 4, "the known one is stored");
        assert_eq!(client.committed(&group, "orders", 5).committed_offset, -1);
    }
    let nothing_left = client.ask(8, &commit_request("nobody", &[("nobody", 0, 1, "")]));
    assert_eq!(nothing_left.topics[0].partitions[0].error_code, 3);
    let listed = client.ask(4, &ListGroupsRequest::default()).groups;
    assert!(listed.iter().all(|g| g.group_id.as_str() != "nobody"), "the coordinator was not asked (O-4)");
}

#[test]
fn metadata_is_measured_in_utf_16_units_row_55_e_26_o_6() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    let two_bytes_each = "\u{e4}".repeat(4096);
    let (emoji, too_many_emoji) = ("\u{1f600}".repeat(2048), "\u{1f600}".repeat(2049));
    for (text, code) in
        [("x".repeat(4096), 0), ("x".repeat(4097), 12), (two_bytes_each, 0), (emoji, 0), (too_many_emoji, 12)]
    {
        let group = format!("g-{}", text.len());
        let answer = client.ask(8, &commit_request(&group, &[("orders", 0, 7, &text), ("orders", 1, 8, "short")]));
        let codes: Vec<i16> = answer.topics.iter().map(|t| t.partitions[0].error_code).collect();
        assert_eq!(codes, [code, 0], "{} bytes", text.len());
        let told = client.committed(&group, "orders", 0);
        let expected = if code == 0 { (7, Some(&*text)) } else { (-1, Some("")) };
        assert_eq!((told.committed_offset, told.metadata.as_deref()), expected);
        assert_eq!(client.committed(&group, "orders", 1).committed_offset, 8, "invariant 15");
    }
}

#[test]
fn odd_but_legal_commits_are_taken_as_they_are_rows_50_52_53_o_7() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    assert_eq!(client.commit("", "orders", 0, 3), 0, "the empty group is legal here (G-5)");
    assert_eq!(client.committed("", "orders", 0).committed_offset, 3);
    for offset in [1_000_000_000_000_000, 0, -1, -5, 2] {
        assert_eq!(client.commit("g", "orders", 0, offset), 0);
        assert_eq!(client.committed("g", "orders", 0).committed_offset, offset);
    }
    let mut null_metadata = commit_request("g", &[("orders", 0, 9, "")]);
    null_metadata.topics[0].partitions[0].committed_metadata = None;
    assert_eq!(client.ask(8, &null_metadata).topics[0].partitions[0].error_code, 0);
    assert_eq!(client.committed("g", "orders", 0).metadata.as_deref(), Some(""), "Q-22");
}

#[test]
fn a_commit_too_large_for_the_log_is_refused_for_good_and_the_group_lives_on_o_19() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 3_000, &[]);
    let note = "x".repeat(4096);
    let offsets: Vec<(&str, i32, i64, &str)> = (0..3_000).map(|p| ("orders", p, 1, &*note)).collect();
    let answer = client.ask(8, &commit_request("g", &offsets));
    assert!(answer.topics.iter().all(|t| t.partitions[0].error_code == 28));
    assert_eq!(client.committed("g", "orders", 0).committed_offset, -1, "all or nothing (O-18)");
    assert_eq!(client.commit("g", "orders", 0, 5), 0);
    assert_eq!(client.committed("g", "orders", 0).committed_offset, 5);
}

#[test]
fn commits_with_a_generation_or_a_member_that_the_group_does_not_have_rows_56_57_58() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    assert_eq!(client.commit("readers", "orders", 0, 3), 0, "an empty group is there from now on (O-2)");
    for version in 2..=9 {
        let mut code = |group: &str, generation: i32, member: &str| {
            let request = commit_request(group, &[("orders", 0, 9, "")])
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(text(member));
            client.ask(version, &request).topics[0].partitions[0].error_code
        };
        assert_eq!(code("readers", 5, "stranger"), 25, "row 56, version {version} (O-10)");
        assert_eq!(
            code("nobody", 5, "stranger"),
            if version >= 9 { 69 } else { 22 },
            "row 57, version {version} (O-3)"
        );
        assert_eq!(client.committed("readers", "orders", 0).committed_offset, 3, "nothing of it landed");
    }
    for version in 2..=9 {
        let request = commit_request("readers", &[("orders", 0, 7, "")]).with_member_id(text("made-up"));
        let request = request.with_generation_id_or_member_epoch(-1);
        assert_eq!(client.ask(version, &request).topics[0].partitions[0].error_code, 0, "row 58, empty (O-9)");
    }
    let mut member = rig.client();
    let joined = member.ask(3, &join("readers", "", 10_000, &[("range", Bytes::from_static(b"m"))]));
    assert_eq!(joined.error_code, 0);
    let request = commit_request("readers", &[("orders", 0, 1, "")]).with_member_id(text("made-up"));
    let answer = client.ask(8, &request.with_generation_id_or_member_epoch(-1));
    assert_eq!(answer.topics[0].partitions[0].error_code, 25, "row 58, with members (O-11)");
    assert_eq!(client.committed("readers", "orders", 0).committed_offset, 7);
}

#[test]
fn offsets_of_very_many_partitions_are_all_told_and_a_million_are_too_many_row_90_q_23() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    assert_eq!(client.commit("readers", "orders", 0, 4), 0);
    let asked = |count: i32| {
        let mut request = committed_request("readers", Some(&[("orders", 0)]));
        request.groups[0].topics.as_mut().expect("it was given")[0].partition_indexes = (0..count).collect();
        request
    };
    for version in [8, 9] {
        let told = client.ask(version, &asked(190_000)).groups.remove(0).topics.remove(0).partitions;
        let told = told.iter().map(|p| (p.partition_index, p.committed_offset, p.error_code));
        let expected = (0..190_000).map(|index| (index, if index == 0 { 4 } else { -1 }, 0));
        assert!(told.eq(expected), "version {version}: each for itself, in the order asked");
        let mut raw = Raw::connect(rig.address);
        raw.request(version, &asked(1_000_000));
        assert_eq!(raw.reaction(), Reaction::Closed, "decoded and answered it would be forty times what was sent");
    }
    assert_eq!(client.committed("readers", "orders", 0).committed_offset, 4, "others are served on");
    until("nothing is charged any more", || rig.broker().budget.used_bytes() == 0);
}

fn join(group: &str, member: &str, session_timeout_ms: i32, protocols: &[(&str, Bytes)]) -> JoinGroupRequest {
    let protocol = |(name, metadata): &(&str, Bytes)| {
        JoinGroupRequestProtocol::default().with_name(text(*name)).with_metadata(metadata.clone())
    };
    JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(session_timeout_ms)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols.iter().map(protocol).collect())
}

#[test]
fn joins_that_cannot_be_are_refused_rows_59_to_63() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let range = || [("range", Bytes::from_static(b"m"))];
    for version in 1..=9 {
        let mut code = |request: JoinGroupRequest| client.ask(version, &request).error_code;
        assert_eq!(code(join("g", "", 1, &range())), 26, "row 59, version {version}");
        assert_eq!(code(join("g", "", 3_600_000, &range())), 26, "row 59");
        assert_eq!(code(join("g", "", 10_000, &[])), 23, "row 60");
        assert_eq!(code(join("g", "", 10_000, &range()).with_protocol_type(text(""))), 23, "row 60");
        assert_eq!(code(join("g", "stranger", 10_000, &range())), 25, "row 61");
        assert_eq!(code(join("", "", 10_000, &range())), 24, "row 62");
    }
    let heartbeat = HeartbeatRequest::default().with_group_id(group_id("nobody")).with_member_id(text("m"));
    assert_eq!(client.ask(4, &heartbeat).error_code, 25, "row 63");
    let sync = SyncGroupRequest::default().with_group_id(group_id("nobody")).with_member_id(text("m"));
    assert_eq!(client.ask(4, &sync).error_code, 25, "row 63");
    let leave = LeaveGroupRequest::default().with_group_id(group_id("nobody")).with_member_id(text("m"));
    assert_eq!(client.ask(2, &leave).error_code, 25, "row 63");
}

#[test]
fn subscriptions_and_assignments_too_large_for_the_log_are_refused_and_the_shard_lives_on_row_89() {
    let rig = Rig::with(&["offsets.topic.num.partitions=1"]);
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let huge = Bytes::from(vec![0; 40 << 20]);
    assert_eq!(client.ask(3, &join("g", "", 10_000, &[("range", huge.clone())])).error_code, 10, "G-3");
    let joined = client.ask(3, &join("g", "", 10_000, &[("range", Bytes::from_static(b"m"))]));
    assert_eq!(joined.error_code, 0);
    let mine = sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(huge);
    let sync = SyncGroupRequest::default()
        .with_group_id(group_id("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![mine]);
    assert_eq!(client.ask(3, &sync).error_code, 10, "G-22");
    assert_eq!(client.commit("another", "orders", 0, 5), 0, "other groups of the shard go on");
    let again = client.ask(3, &join("g", &joined.member_id, 10_000, &[("range", Bytes::from_static(b"m"))]));
    assert_eq!((again.error_code, again.generation_id), (0, 2), "a new rebalance");
}

#[test]
fn coordinators_of_no_known_type_are_refused_row_64_p_27() {
    let rig = Rig::memory();
    let mut client = rig.client();
    for version in 1..=6 {
        let asked = |key_type: i8| {
            let request = FindCoordinatorRequest::default().with_key_type(key_type);
            if version >= 4 { request.with_coordinator_keys(vec![text("k")]) } else { request.with_key(text("k")) }
        };
        let mut code = |key_type: i8| {
            let answer = client.ask(version, &asked(key_type));
            answer.coordinators.first().map_or(answer.error_code, |c| c.error_code)
        };
        assert_eq!((code(9), code(-1)), (42, 42), "version {version}");
        assert_eq!(code(1), 15, "no transaction coordinator yet");
    }
}

/// The error that a Fetch answer has wherever its version can say it.
fn fetch_error(answer: &FetchResponse) -> i16 {
    match answer.error_code {
        0 => answer.responses[0].partitions[0].error_code,
        code => code,
    }
}

#[test]
fn fetches_that_cannot_be_are_refused_in_every_version_rows_66_to_71() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create("orders", 1, &[]);
    client.produced("orders", 0, batch(&["a"]));
    for version in 4..=18 {
        let asked = |partition: i32, offset: i64| {
            let mut request = fetch_request("orders", partition, offset);
            if version >= 13 {
                request.topics[0].topic = topic_name("");
                request.topics[0].topic_id = id;
            }
            request
        };
        for offset in [2, 1 << 40, -1, i64::MIN] {
            let answer = client.ask(version, &asked(0, offset));
            let partition = &answer.responses[0].partitions[0];
            assert_eq!((partition.error_code, partition.high_watermark), (1, -1), "row 66, version {version}");
            assert_eq!((partition.last_stable_offset, partition.log_start_offset), (-1, -1), "P-37");
        }
        assert_eq!(fetch_error(&client.ask(version, &asked(99, 0))), 3, "row 67");
        assert_eq!(fetch_error(&client.ask(version, &asked(-1, 0))), 3, "row 67");
        if version >= 7 {
            let session = asked(0, 0).with_session_id(77).with_session_epoch(5);
            let answer = client.ask(version, &session);
            assert_eq!((answer.error_code, answer.responses.len()), (70, 0), "row 68: on top, no partitions (P-39)");
        }
        assert_eq!(fetch_error(&client.ask(version, &asked(0, 0).with_isolation_level(7))), 42, "row 69 v{version}");
        let replica = if version >= 15 {
            let state = fetch_request::ReplicaState::default().with_replica_id(BrokerId(1));
            asked(0, 0).with_replica_state(state)
        } else {
            asked(0, 0).with_replica_id(BrokerId(1))
        };
        assert_eq!(fetch_error(&client.ask(version, &replica)), 6, "row 70, version {version}");
        assert_eq!(fetch_error(&client.ask(version, &asked(0, 0).with_max_bytes(-1))), 42, "row 71, version {version}");
    }
}

#[test]
fn transactional_ids_are_refused_in_every_version_rows_72_and_73() {
    let rig = Rig::memory();
    let mut client = rig.client();
    for version in 0..=5 {
        let mut code = |id: &str, timeout_ms: i32| {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(text(id))))
                .with_transaction_timeout_ms(timeout_ms);
            let answer = client.ask(version, &request);
            assert_eq!((answer.producer_id.0, answer.producer_epoch), (-1, -1));
            answer.error_code
        };
        assert_eq!(code("", 1_000), 42, "row 72");
        assert_eq!(code("t", 0), 50, "row 73");
        assert_eq!(code("t", -1), 50, "row 73");
        assert_eq!(code("t", 900_001), 50, "row 73: more than 15 minutes");
        assert_eq!(code("t", 60_000), 15, "transactions are not served yet (T-10)");
    }
}
