//! Restarts: a group is found as it was, and whoever waits is answered (G-3, G-4, G-7, G-8, O-73, E-27).

use pagemark_core::coordinator::*;
use pagemark_core::effects::{After, ReplyTo};
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{CoordinatorKey, GroupMetadata, OffsetCommit};
use pagemark_wire::types::{Generation, LeaderEpoch, Offset, PartitionIndex};

use crate::driver::*;

#[test]
fn a_stable_group_survives_a_restart_without_a_rebalance() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 3);
    driver.commit_one("g", &members[1], 3 - 1, 17);
    driver.restart_all();
    assert_eq!(driver.state("g"), GroupState::Stable);
    for member in &members {
        assert_eq!(driver.heartbeat("g", member, 2), ErrorCode::None);
        assert_eq!(driver.sync("g", member, 2, &[]).assignment, *member.as_bytes());
    }
    assert_eq!(driver.committed("g"), 17);
    let again = driver.join(consumer("g", &members[1]));
    assert_eq!((again.error, again.generation), (ErrorCode::None, Generation(2)), "G-19: nothing new, nothing moves");
}

#[test]
fn g7_after_a_load_every_member_has_a_whole_session_again() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    driver.pass(9_000);
    driver.restart_all();
    driver.pass(9_999);
    assert_eq!(driver.heartbeat("g", &members[0], 1), ErrorCode::None);
    driver.pass(10_000);
    assert_eq!(driver.heartbeat("g", &members[0], 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_generation_once_told_is_never_given_again() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let tokens: Vec<u64> = members.iter().map(|member| driver.send_join(consumer("g", member))).collect();
    assert_eq!(driver.join_answer(tokens[0]).generation, Generation(3));
    driver.restart_all();
    assert_eq!(driver.state("g"), GroupState::CompletingRebalance, "the log knows of generation 3");
    let follower = driver.send_sync("g", &members[1], 3, &[]);
    assert_eq!(driver.sync("g", &members[0], 3, &[(&members[1], "x")]).error, ErrorCode::None);
    assert_eq!(driver.sync_answer(follower).assignment, "x");
    driver.assert_state_is_replay();
}

#[test]
fn g8_g17_a_generation_is_told_only_when_it_is_durable() {
    let mut driver = Driver::quick();
    driver.flush_at_once = false;
    let token = driver.send_join(consumer("g", ""));
    assert!(driver.is_parked(token));
    driver.restart(0);
    driver.flush_at_once = true;
    assert_eq!(driver.join(consumer("g", "")).error, ErrorCode::None, "nobody was told of the first generation 1");
}

#[test]
fn g8_what_shows_the_membership_waits_for_its_last_record() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let tokens: Vec<u64> = members.iter().map(|member| driver.send_join(consumer("g", member))).collect();
    tokens.into_iter().for_each(|token| assert_eq!(driver.join_answer(token).error, ErrorCode::None));
    driver.flush_at_once = false;
    let leader = driver.send_sync("g", &members[0], 3, &[(&members[1], "x")]);
    let end = After::Position(Offset(driver.log.len() as i64));
    let heartbeat = HeartbeatRequest {
        group_id: "g".into(),
        generation: Generation(3),
        member_id: members[1].clone(),
        group_instance_id: None,
    };
    let shows_membership = [
        Request::Sync(sync("g", &members[1], 3, &[])),
        Request::Join(consumer("g", &members[1])),
        Request::Heartbeat(heartbeat),
        Request::Leave(LeaveRequest { group_id: "g".into(), members: Vec::new() }),
        Request::Commit(commit("g", &members[1], 2, vec![to_commit("sales", 0, 1)])),
        Request::Describe(DescribeRequest { group_id: "g".into() }),
        Request::List(ListRequest::default()),
        Request::DeleteGroup(DeleteGroupRequest { group_id: "g".into() }),
        Request::DeleteOffsets(DeleteOffsetsRequest { group_id: "g".into(), partitions: Vec::new() }),
    ];
    for (at, request) in shows_membership.into_iter().enumerate() {
        let effects = driver.shard.handle(driver.now, ReplyTo(1_000 + at as u64), request.clone());
        assert_eq!(effects.replies[0].after, end, "{request:?}");
    }
    assert!(driver.is_parked(leader));
}

#[test]
fn g18_after_a_load_who_does_not_sync_is_still_removed() {
    let mut driver = Driver::quick();
    let leader = driver.join(consumer("g", "")).member_id;
    driver.restart_all();
    for _ in 0..10 {
        driver.pass(6_000);
        driver.heartbeat("g", &leader, 1);
    }
    assert_eq!(driver.state("g"), GroupState::Empty);
}

#[test]
fn e27_a_commit_not_answered_is_there_or_not_never_half() {
    for survives in [false, true] {
        let mut driver = Driver::quick();
        driver.commit(commit("g", "", -1, vec![to_commit("sales", 0, 1), to_commit("sales", 1, 1)]));
        driver.flush_at_once = false;
        driver.send(Request::Commit(commit("g", "", -1, vec![to_commit("sales", 0, 2), to_commit("sales", 1, 2)])));
        driver.restart(if survives { 4 } else { 2 });
        let expected = if survives { 2 } else { 1 };
        assert!(driver.fetch("g", "sales", &[0, 1]).iter().all(|p| p.offset.0 == expected));
    }
}

fn one_of_each() -> Vec<Request> {
    let offsets = vec![to_commit("sales", 0, 1), to_commit("sales", 1, 1)];
    let topic = FetchTopic { name: "sales".into(), current_id: None, partitions: vec![PartitionIndex(0)] };
    let leaving = LeavingMember { member_id: "m".into(), group_instance_id: None, reason: None };
    vec![
        Request::Join(consumer("g", "m")),
        Request::Sync(sync("g", "m", 1, &[])),
        Request::Heartbeat(HeartbeatRequest {
            group_id: "g".into(),
            generation: Generation(1),
            member_id: "m".into(),
            group_instance_id: None,
        }),
        Request::Leave(LeaveRequest { group_id: "g".into(), members: vec![leaving] }),
        Request::Commit(commit("g", "m", 1, offsets)),
        Request::Fetch(FetchOffsetsRequest { group_id: "g".into(), topics: Some(vec![topic]), require_stable: false }),
        Request::Describe(DescribeRequest { group_id: "g".into() }),
        Request::List(ListRequest::default()),
        Request::DeleteGroup(DeleteGroupRequest { group_id: "g".into() }),
        Request::DeleteOffsets(DeleteOffsetsRequest { group_id: "g".into(), partitions: Vec::new() }),
    ]
}

/// Every error that an answer carries.
fn errors(answer: Answer) -> Vec<ErrorCode> {
    match answer {
        Answer::Join(join) => vec![join.error],
        Answer::Sync(sync) => vec![sync.error],
        Answer::Heartbeat(error) => vec![error],
        Answer::Leave(leave) => leave.members.iter().map(|m| m.error).chain([leave.error]).collect(),
        Answer::Commit(commit) => commit.offsets.iter().map(|o| o.error).collect(),
        Answer::Fetch(fetch) => {
            let partitions = fetch.topics.iter().flat_map(|topic| &topic.partitions);
            assert!(partitions.clone().all(|p| p.offset == Offset::NONE));
            partitions.map(|p| p.error).chain([fetch.error]).collect()
        }
        Answer::Describe(describe) => vec![describe.error],
        Answer::List(list) => vec![list.error],
        Answer::DeleteGroup(error) => vec![error],
        Answer::DeleteOffsets(deleted) => vec![deleted.error],
    }
}

#[test]
fn g4_while_loading_heartbeats_are_fine_and_all_else_is_to_be_tried_again() {
    for request in one_of_each() {
        let expected = match request {
            Request::Heartbeat(_) => ErrorCode::None,
            _ => ErrorCode::CoordinatorLoadInProgress,
        };
        let errors = errors(GroupShard::while_loading(&request));
        assert!(!errors.is_empty() && errors.iter().all(|error| *error == expected), "{request:?}");
    }
}

#[test]
fn g3_o19_what_cannot_be_served_or_stored_carries_one_error_everywhere() {
    for code in [ErrorCode::CoordinatorNotAvailable, ErrorCode::MessageTooLarge, ErrorCode::InvalidCommitOffsetSize] {
        for request in one_of_each() {
            let refused = GroupShard::unavailable(&request, code);
            assert!(errors(refused.clone()).iter().all(|error| *error == code), "{request:?}");
            let mut driver = Driver::quick();
            let effects = driver.shard.handle(driver.now, ReplyTo(1), request.clone());
            for reply in effects.replies {
                let late = errors(reply.answer.refused(code));
                let kept = |error: &ErrorCode| *error == code || *error == ErrorCode::GroupIdNotFound;
                assert!(late.iter().all(kept), "{request:?}: {late:?}");
            }
        }
    }
}

#[test]
fn g3_a_shard_that_is_thrown_away_answers_everyone_who_is_parked() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let parked_join = driver.send_join(consumer("g", &members[0]));
    let leader = driver.join(consumer("h", "")).member_id;
    let newcomer = driver.send_join(consumer("h", ""));
    driver.join(consumer("h", &leader));
    let other = driver.join_answer(newcomer).member_id;
    let parked_sync = driver.send_sync("h", &other, 2, &[]);
    let replies = driver.shard.abandon(ErrorCode::CoordinatorNotAvailable);
    let told: Vec<u64> = replies.iter().map(|reply| reply.to.0).collect();
    assert_eq!(told, [parked_join, parked_sync]);
    for reply in replies {
        assert_eq!(reply.after, After::Nothing);
        assert_eq!(errors(reply.answer), [ErrorCode::CoordinatorNotAvailable]);
    }
    assert!(driver.shard.abandon(ErrorCode::CoordinatorNotAvailable).is_empty(), "each only once");
}

#[test]
fn o73_unknown_and_broken_records_are_named_and_skipped() {
    let mut driver = Driver::quick();
    assert_eq!(driver.replay(&[0, 3, 0, 1, b'g'], Some(&[0, 0])), Replayed::UnknownType(3));
    assert_eq!(driver.replay(&[0, 16], None), Replayed::UnknownType(16));
    assert_eq!(driver.replay(&[0, 1, 0x7f], Some(&[0, 0])), Replayed::MalformedKey);
    assert_eq!(driver.replay(&[], None), Replayed::MalformedKey);
    assert_eq!(driver.shard.dump(), "");
}

#[test]
fn o73_an_offset_of_a_newer_version_is_neither_told_nor_taken_for_none() {
    let mut driver = Driver::quick();
    driver.commit(commit("g", "", -1, vec![to_commit("sales", 0, 1), to_commit("sales", 1, 1)]));
    let key = CoordinatorKey::encode_offset_commit("g", "sales", PartitionIndex(0)).unwrap();
    assert_eq!(driver.replay(&key, Some(&[0, 9, 1, 2, 3])), Replayed::NewerVersion(9));
    let fetched = driver.fetch("g", "sales", &[0, 1]);
    assert_eq!((fetched[0].error, fetched[0].offset), (ErrorCode::CoordinatorNotAvailable, Offset::NONE));
    assert_eq!((fetched[1].error, fetched[1].offset), (ErrorCode::None, Offset(1)));
    let effects = driver.shard.topic_deleted(driver.now, topic_id("sales"), "sales");
    assert!(effects.records.iter().all(|record| record.key != key), "never a tombstone");
    assert_eq!(driver.commit_one("g", "", -1, 6), ErrorCode::None, "until the key is next written");
    assert_eq!(driver.committed("g"), 6);
    assert_eq!(driver.replay(&key, Some(&[0, 4, 1])), Replayed::MalformedValue);
    assert_eq!(driver.fetch("g", "sales", &[0])[0].error, ErrorCode::CoordinatorNotAvailable);
}

#[test]
fn o73_a_group_of_a_newer_version_is_not_available_but_its_offsets_are() {
    let mut driver = Driver::quick();
    driver.commit_one("g", "", -1, 3);
    let key = CoordinatorKey::encode_group_metadata("g").unwrap();
    assert_eq!(driver.replay(&key, Some(&[0, 9])), Replayed::NewerVersion(9));
    let unavailable = ErrorCode::CoordinatorNotAvailable;
    assert_eq!(driver.join(consumer("g", "")).error, unavailable);
    assert_eq!(driver.heartbeat("g", "m", 1), unavailable);
    assert_eq!(driver.sync("g", "m", 1, &[]).error, unavailable);
    assert_eq!(driver.commit_one("g", "", -1, 4), unavailable);
    assert_eq!(driver.describe("g").error, unavailable);
    assert_eq!(driver.committed("g"), 3);
    assert_eq!(driver.list(&[], &[])[0].state, GroupState::Unknown);
}

#[test]
fn a_group_written_by_kafka_is_taken_over_as_it_is() {
    let mut driver = Driver::quick();
    let members = driver.stable("model", 2);
    let mut value = GroupMetadata::parse(driver.log.last().unwrap().value.as_ref().unwrap()).unwrap();
    assert!(!value.completing, "at rest the record is one that Kafka writes too");
    value.members.reverse();
    let key = CoordinatorKey::encode_group_metadata("g").unwrap();
    driver.replay(&key, Some(&value.encode()));
    let offset = OffsetCommit {
        offset: Offset(12),
        leader_epoch: LeaderEpoch(1),
        metadata: String::new(),
        commit_timestamp_ms: 1,
        expire_timestamp_ms: None,
        topic_id: topic_id("sales"),
    };
    let key = CoordinatorKey::encode_offset_commit("g", "sales", PartitionIndex(0)).unwrap();
    driver.replay(&key, Some(&offset.encode().unwrap()));
    let effects = driver.shard.finish_load(driver.now);
    assert!(effects.is_empty());
    for member in &members {
        assert_eq!(driver.sync("g", member, 2, &[]).assignment, *member.as_bytes(), "whatever the order in the record");
    }
    assert_eq!(driver.committed("g"), 12);
}

#[test]
fn a_tombstone_of_the_group_leaves_its_offsets_and_without_any_nothing_is_left() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    driver.commit_one("g", &members[0], 1, 5);
    driver.leave("g", &[(&members[0], None)]);
    let key = CoordinatorKey::encode_group_metadata("g").unwrap();
    assert_eq!(driver.replay(&key, None), Replayed::Applied);
    let offset_key = CoordinatorKey::encode_offset_commit("g", "sales", PartitionIndex(0)).unwrap();
    assert_eq!(driver.shard.summaries().count(), 1);
    assert_eq!(driver.replay(&offset_key, None), Replayed::Applied);
    assert_eq!(driver.shard.summaries().count(), 0);
    assert_eq!(driver.shard.next_deadline(), None);
}

#[test]
fn a_loaded_group_larger_than_allowed_rebalances() {
    let mut driver = Driver::quick();
    driver.stable("g", 3);
    let smaller = GroupSettings { group_max_size: 2, ..settings() };
    let mut shard = GroupShard::new(smaller.into());
    for (at, record) in driver.log.iter().enumerate() {
        shard.replay(Offset(at as i64), &record.key, record.value.as_deref());
    }
    shard.finish_load(driver.now);
    assert_eq!(shard.summaries().next().unwrap().state, GroupState::PreparingRebalance);
}

#[test]
fn summaries_count_members_and_offsets() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    driver.commit(commit("g", &members[0], 2, vec![to_commit("sales", 0, 1), to_commit("sales", 1, 1)]));
    let summary = driver.shard.summaries().next().unwrap();
    let expected = GroupSummary { group_id: "g", state: GroupState::Stable, members: 2, offsets: 2 };
    assert_eq!(summary, expected);
}
