//! Commits and fetches, rule by rule (O-1..O-31, O-60..O-63, E-1..E-11, E-18, E-26).

use pagemark_core::coordinator::*;
use pagemark_core::effects::{After, ReplyTo};
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::OffsetCommit;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use crate::driver::*;

#[test]
fn o1_e1_e2_what_is_committed_is_what_comes_back() {
    let mut driver = Driver::quick();
    assert_eq!(driver.commit_one("g", "", -1, 4), ErrorCode::None);
    assert_eq!(driver.committed("g"), 4, "records 0 to 3 processed: resume at 4");
    assert_eq!(driver.commit_one("g", "", -1, 3), ErrorCode::None);
    assert_eq!(driver.committed("g"), 3, "committed 3: record 3 again");
}

#[test]
fn o2_g38_a_commit_without_membership_makes_a_simple_group() {
    let mut driver = Driver::quick();
    assert_eq!(driver.commit_one("g", "", -1, 4), ErrorCode::None);
    let described = driver.describe("g");
    assert_eq!((described.error, described.state), (ErrorCode::None, GroupState::Empty));
    assert_eq!(described.protocol_type, "");
    driver.assert_state_is_replay();
}

#[test]
fn o3_a_generation_without_a_group_is_refused() {
    let mut driver = Driver::quick();
    assert_eq!(driver.commit_one("g", "m", 0, 4), ErrorCode::GroupIdNotFound);
    assert_eq!(driver.state("g"), GroupState::Dead);
    assert!(driver.log.is_empty());
}

#[test]
fn o6_e26_metadata_is_measured_in_utf16_units_and_fails_alone() {
    let mut driver = Driver::quick();
    let with = |partition: i32, metadata: String| OffsetToCommit {
        metadata: Some(metadata),
        ..to_commit("sales", partition, 7)
    };
    let offsets = vec![
        with(0, "x".repeat(4_096)),
        with(1, "x".repeat(4_097)),
        with(2, "é".repeat(4_096)),
        with(3, "😀".repeat(2_048)),
        with(4, "😀".repeat(2_049)),
    ];
    let (ok, large) = (ErrorCode::None, ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(driver.commit(commit("g", "", -1, offsets)), [ok, large, ok, ok, large]);
    let fetched = driver.fetch("g", "sales", &[0, 1, 2, 3, 4]);
    assert_eq!(fetched.iter().map(|p| p.offset.0).collect::<Vec<_>>(), [7, -1, 7, 7, -1]);
    assert_eq!(fetched[2].metadata, "é".repeat(4_096));
}

#[test]
fn o6_q22_null_metadata_comes_back_as_the_empty_text() {
    let mut driver = Driver::quick();
    driver.commit(commit("g", "", -1, vec![OffsetToCommit { metadata: None, ..to_commit("sales", 0, 7) }]));
    assert_eq!(driver.fetch("g", "sales", &[0])[0].metadata, "");
}

#[test]
fn o7_o8_any_offset_is_accepted_and_returned_as_stored() {
    let mut driver = Driver::quick();
    for offset in [i64::MAX, 5, 0, -1, -100, i64::MIN] {
        assert_eq!(driver.commit_one("g", "", -1, offset), ErrorCode::None);
        assert_eq!(driver.committed("g"), offset);
    }
}

#[test]
fn o9_an_empty_group_accepts_whoever_has_no_generation() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    driver.leave("g", &[(&members[0], None)]);
    assert_eq!(driver.commit_one("g", "whatever", -1, 9), ErrorCode::None);
    assert_eq!(driver.commit_one("g", &members[0], 1, 10), ErrorCode::UnknownMemberId);
    assert_eq!(driver.committed("g"), 9);
}

#[test]
fn o10_e8_a_zombie_stores_nothing() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    assert_eq!(driver.commit_one("g", "stranger", 2, 5), ErrorCode::UnknownMemberId);
    for generation in [-1, 0, 1, 3] {
        assert_eq!(driver.commit_one("g", &members[0], generation, 5), ErrorCode::IllegalGeneration);
    }
    let as_static = CommitRequest {
        group_instance_id: Some("nobody".into()),
        ..commit("g", &members[0], 2, vec![to_commit("sales", 0, 5)])
    };
    assert_eq!(driver.commit(as_static), [ErrorCode::UnknownMemberId]);
    assert_eq!(driver.committed("g"), -1);
}

#[test]
fn o10_someone_who_has_only_just_joined_belongs_to_no_generation() {
    let mut driver = Driver::quick();
    driver.stable("g", 1);
    let (newcomer, _) = driver.join_new("g");
    assert_eq!(driver.commit_one("g", &newcomer, 1, 5), ErrorCode::IllegalGeneration);
}

#[test]
fn o11_e10_e11_without_membership_a_live_group_is_not_touched() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    driver.commit_one("g", &members[0], 1, 8);
    assert_eq!(driver.commit_one("g", "", -1, 0), ErrorCode::UnknownMemberId);
    assert_eq!(driver.committed("g"), 8);
}

#[test]
fn o12_e6_e7_a_member_commits_before_rejoining_but_not_between_join_and_assignment() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    let (_, newcomer) = driver.join_new("g");
    assert_eq!(driver.state("g"), GroupState::PreparingRebalance);
    assert_eq!(driver.commit_one("g", &members[0], 1, 5), ErrorCode::None, "E-6");
    driver.join(consumer("g", &members[0]));
    driver.join_answer(newcomer);
    assert_eq!(driver.commit_one("g", &members[0], 2, 6), ErrorCode::RebalanceInProgress, "E-7");
    assert_eq!(driver.commit_one("g", &members[0], 1, 6), ErrorCode::IllegalGeneration);
    assert_eq!(driver.committed("g"), 5);
}

#[test]
fn o13_a_commit_counts_as_a_heartbeat() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    for offset in 0..5 {
        driver.pass(9_000);
        assert_eq!(driver.commit_one("g", &members[0], 1, offset), ErrorCode::None);
    }
    driver.pass(10_000);
    assert_eq!(driver.commit_one("g", &members[0], 1, 9), ErrorCode::UnknownMemberId);
}

#[test]
fn o16_a_refusal_of_the_caller_is_given_for_every_partition() {
    let mut driver = Driver::quick();
    driver.stable("g", 1);
    let offsets = vec![to_commit("sales", 0, 1), to_commit("sales", 1, 1), to_commit("other", 0, 1)];
    assert_eq!(driver.commit(commit("g", "", -1, offsets)), [ErrorCode::UnknownMemberId; 3]);
}

#[test]
fn o17_a_commit_with_its_own_retention_is_stored_with_its_expiry() {
    let mut driver = Driver::quick();
    let request = CommitRequest { retention_ms: Some(60_000), ..commit("g", "", -1, vec![to_commit("sales", 0, 4)]) };
    assert_eq!(driver.commit(request), [ErrorCode::None]);
    let stored = OffsetCommit::parse(driver.log[0].value.as_ref().unwrap()).unwrap();
    assert_eq!(stored.expire_timestamp_ms, Some(driver.now.wall.0 + 60_000));
    assert_eq!(stored.commit_timestamp_ms, driver.now.wall.0);
    assert_eq!(driver.committed("g"), 4);
    driver.assert_state_is_replay();
}

#[test]
fn o18_a_commit_is_answered_only_when_all_of_it_is_durable() {
    let mut driver = Driver::quick();
    driver.flush_at_once = false;
    let offsets = vec![to_commit("sales", 0, 1), to_commit("sales", 1, 2)];
    let token = driver.send(Request::Commit(commit("g", "", -1, offsets)));
    assert_eq!(driver.batch_ends.last(), Some(&2), "one atomic batch");
    driver.durable = 1;
    driver.release();
    assert!(driver.is_parked(token));
    driver.flush();
    driver.answer(token);
}

#[test]
fn o19_a_request_too_large_to_be_atomic_is_refused_whole() {
    let mut driver = Driver::new(GroupSettings { append_max_bytes: 1_000, ..settings() });
    let mut offsets: Vec<OffsetToCommit> = (0..30).map(|partition| to_commit("sales", partition, 1)).collect();
    offsets[3].metadata = Some("x".repeat(5_000));
    let answers = driver.commit(commit("g", "", -1, offsets));
    assert_eq!(answers[3], ErrorCode::OffsetMetadataTooLarge, "O-16: keeps its own error");
    assert!(answers.iter().enumerate().all(|(at, e)| at == 3 || *e == ErrorCode::InvalidCommitOffsetSize));
    assert!(driver.log.is_empty());
}

#[test]
fn o20_e5_the_later_commit_wins_and_a_repetition_changes_nothing() {
    let mut driver = Driver::quick();
    for offset in [10, 20, 20, 15] {
        driver.commit_one("g", "", -1, offset);
    }
    assert_eq!(driver.committed("g"), 15);
}

#[test]
fn o21_of_a_partition_named_twice_the_last_one_wins() {
    let mut driver = Driver::quick();
    let too_large = OffsetToCommit { metadata: Some("x".repeat(5_000)), ..to_commit("sales", 0, 3) };
    let offsets = vec![to_commit("sales", 0, 1), to_commit("sales", 0, 2), too_large];
    let errors = driver.commit(commit("g", "", -1, offsets));
    assert_eq!(errors, [ErrorCode::None, ErrorCode::None, ErrorCode::OffsetMetadataTooLarge]);
    assert_eq!(driver.committed("g"), 2);
    assert_eq!(driver.log.len(), 1);
}

#[test]
fn o22_offset_epoch_and_metadata_travel_together() {
    let mut driver = Driver::quick();
    let without = OffsetToCommit { leader_epoch: LeaderEpoch(-1), ..to_commit("sales", 1, 9) };
    driver.commit(commit("g", "", -1, vec![to_commit("sales", 0, 8), without]));
    let fetched = driver.fetch("g", "sales", &[0, 1]);
    assert_eq!((fetched[0].leader_epoch, fetched[0].metadata.as_str()), (LeaderEpoch(3), "at 8"));
    assert_eq!((fetched[1].leader_epoch, fetched[1].metadata.as_str()), (LeaderEpoch(-1), "at 9"));
}

#[test]
fn o26_q23_every_partition_asked_for_is_answered_whether_it_exists_or_not() {
    let mut driver = Driver::quick();
    driver.commit_one("g", "", -1, 4);
    for group in ["g", "absent"] {
        let fetched = driver.fetch(group, "sales", &[5, -3, 5]);
        assert_eq!(fetched.iter().map(|p| p.partition.0).collect::<Vec<_>>(), [5, -3, 5]);
        for partition in fetched {
            assert_eq!(partition, FetchedPartition::none(partition.partition, ErrorCode::None));
        }
    }
}

fn fetch_all(driver: &mut Driver, group: &str) -> Vec<FetchedTopic> {
    let request = FetchOffsetsRequest { group_id: group.into(), topics: None, require_stable: true };
    let Answer::Fetch(answer) = driver.ask(Request::Fetch(request)) else { panic!("not a fetch's answer") };
    assert_eq!(answer.error, ErrorCode::None);
    answer.topics
}

#[test]
fn o25_o26_o30_all_means_every_partition_with_an_offset_each_with_its_topics_id() {
    let mut driver = Driver::quick();
    assert!(fetch_all(&mut driver, "g").is_empty());
    driver.commit(commit("g", "", -1, vec![to_commit("sales", 3, 1), to_commit("sales", 1, 2), to_commit("a", 0, 3)]));
    let topics = fetch_all(&mut driver, "g");
    let told: Vec<(&str, i32, TopicId)> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p.partition.0, p.topic_id)))
        .collect();
    assert_eq!(told, [("a", 0, topic_id("a")), ("sales", 1, topic_id("sales")), ("sales", 3, topic_id("sales"))]);
}

#[test]
fn o30_o61_e18_an_offset_of_another_incarnation_is_not_told() {
    let mut driver = Driver::quick();
    driver.commit_one("g", "", -1, 4);
    let mut committed_for = |current_id: Option<TopicId>| {
        let partitions = vec![PartitionIndex(0)];
        let topics = Some(vec![FetchTopic { name: "sales".into(), current_id, partitions }]);
        let request = FetchOffsetsRequest { group_id: "g".into(), topics, require_stable: false };
        let Answer::Fetch(answer) = driver.ask(Request::Fetch(request)) else { panic!("not a fetch's answer") };
        answer.topics[0].partitions[0].offset.0
    };
    assert_eq!(committed_for(Some(topic_id("sales"))), 4);
    assert_eq!(committed_for(Some(topic_id("re-created"))), -1);
    assert_eq!(committed_for(None), -1);
}

#[test]
fn o61_an_offset_stored_without_an_id_counts_for_any_incarnation_until_the_name_is_deleted() {
    let mut driver = Driver::quick();
    let nameless = OffsetToCommit { topic_id: TopicId::ZERO, ..to_commit("sales", 0, 6) };
    driver.commit(commit("g", "", -1, vec![nameless]));
    assert_eq!(driver.committed("g"), 6);
    let effects = driver.shard.topic_deleted(driver.now, topic_id("other"), "other");
    assert!(effects.is_empty());
    let effects = driver.shard.topic_deleted(driver.now, topic_id("sales"), "sales");
    driver.apply(effects);
    assert_eq!(driver.committed("g"), -1);
}

#[test]
fn o60_o63_e18_a_deleted_topic_takes_its_offsets_and_leaves_the_groups() {
    let mut driver = Driver::quick();
    let members = driver.stable("live", 1);
    driver.commit_one("live", &members[0], 1, 8);
    driver.commit(commit("simple", "", -1, vec![to_commit("sales", 0, 4), to_commit("sales", 1, 4)]));
    driver.commit(commit("both", "", -1, vec![to_commit("sales", 0, 4), to_commit("other", 0, 5)]));
    let effects = driver.shard.topic_deleted(driver.now, topic_id("sales"), "sales");
    driver.apply(effects);
    for group in ["live", "simple", "both"] {
        assert_eq!(driver.committed(group), -1, "{group}");
    }
    assert_eq!(driver.fetch("both", "other", &[0])[0].offset, Offset(5));
    assert_eq!(driver.list(&[], &[]).len(), 3);
    driver.assert_state_is_replay();
    driver.restart_all();
    assert_eq!(driver.list(&[], &[]).len(), 3, "also after a restart");
    assert_eq!(driver.committed("simple"), -1);
}

#[test]
fn o61_a_commit_for_the_new_incarnation_survives_a_late_deletion_of_the_old() {
    let mut driver = Driver::quick();
    driver.commit_one("g", "", -1, 4);
    let effects = driver.shard.topic_deleted(driver.now, topic_id("old incarnation"), "sales");
    driver.apply(effects);
    assert_eq!(driver.committed("g"), 4);
}

#[test]
fn o60_a_deletion_cut_short_by_a_crash_is_made_up_for_after_the_load() {
    let mut driver = Driver::quick();
    driver.commit(commit("g", "", -1, vec![to_commit("sales", 0, 4), to_commit("gone", 0, 5)]));
    driver.restart_all();
    let effects = driver.shard.drop_offsets_of_missing_topics(driver.now, &|id| id == topic_id("sales"));
    driver.apply(effects);
    assert_eq!(driver.fetch("g", "gone", &[0])[0].offset, Offset::NONE);
    assert_eq!(driver.committed("g"), 4);
    let again = driver.shard.drop_offsets_of_missing_topics(driver.now, &|id| id == topic_id("sales"));
    assert!(again.is_empty());
}

#[test]
fn g8_a_fetch_waits_for_the_offsets_it_shows_and_a_heartbeat_does_not() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    driver.flush_at_once = false;
    let durable = driver.durable;
    let own = commit("g", &members[0], 1, vec![to_commit("sales", 0, 5)]);
    let committed = driver.send(Request::Commit(own));
    let topics = Some(Vec::new());
    let fetch = Request::Fetch(FetchOffsetsRequest { group_id: "g".into(), topics, require_stable: false });
    let effects = driver.shard.handle(driver.now, ReplyTo(1_000), fetch);
    assert_eq!(effects.replies[0].after, After::Position(Offset(driver.log.len() as i64)));
    assert!(driver.is_parked(committed));
    assert_eq!(driver.heartbeat("g", &members[0], 1), ErrorCode::None, "Q-20: it is answered at once");
    assert_eq!(driver.state("g"), GroupState::Stable);
    assert_eq!(driver.durable, durable);
}
