//! Joining, syncing, heartbeats and leaving, rule by rule (G-5, G-10..G-13, G-19..G-25, G-35, G-36).

use bytes::Bytes;
use pagemark_core::coordinator::*;
use pagemark_wire::ErrorCode;
use pagemark_wire::types::Generation;

use crate::driver::*;

#[test]
fn g10_q15_a_newcomer_of_version_4_is_first_given_an_id_and_then_let_in_with_it() {
    let mut driver = Driver::quick();
    let first = driver.join(JoinRequest { requires_known_member_id: true, ..consumer("g", "") });
    assert_eq!(first.error, ErrorCode::MemberIdRequired);
    assert_eq!(first.member_id, "client-uuid1");
    assert_eq!((first.protocol, first.generation), (None, Generation(-1)));
    let second = driver.join(consumer("g", "client-uuid1"));
    assert_eq!((second.error, second.member_id.as_str()), (ErrorCode::None, "client-uuid1"));
}

#[test]
fn g10_q15a_a_newcomer_of_an_old_version_is_let_in_directly() {
    let mut driver = Driver::quick();
    let answer = driver.join(consumer("g", ""));
    assert_eq!((answer.error, answer.member_id.as_str()), (ErrorCode::None, "client-uuid1"));
    assert_eq!(answer.generation, Generation(1), "Q-18: generations start at 1");
}

#[test]
fn g10_an_id_handed_out_lapses_after_the_session_timeout() {
    let mut driver = Driver::quick();
    let first = driver.join(JoinRequest { requires_known_member_id: true, ..consumer("g", "") });
    driver.pass(9_999);
    assert_eq!(driver.state("g"), GroupState::Empty);
    driver.pass(1);
    assert_eq!(driver.state("g"), GroupState::Dead, "nothing is left of the group");
    assert_eq!(driver.join(consumer("g", &first.member_id)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn g11_an_unknown_member_id_is_refused_also_where_there_is_no_group() {
    let mut driver = Driver::quick();
    assert_eq!(driver.join(consumer("g", "stranger")).error, ErrorCode::UnknownMemberId);
    assert_eq!(driver.state("g"), GroupState::Dead, "no group comes of it");
    driver.stable("g", 1);
    assert_eq!(driver.join(consumer("g", "stranger")).error, ErrorCode::UnknownMemberId);
}

#[test]
fn g12_a_join_must_fit_the_groups_protocols() {
    let mut driver = Driver::quick();
    driver.stable("g", 1);
    let inconsistent = [
        JoinRequest { protocol_type: "connect".into(), ..consumer("g", "") },
        JoinRequest { protocol_type: String::new(), ..consumer("g", "") },
        JoinRequest { protocols: Vec::new(), ..consumer("g", "") },
        JoinRequest { protocols: vec![protocol("sticky", "sales")], ..consumer("g", "") },
    ];
    for request in inconsistent {
        assert_eq!(driver.join(request).error, ErrorCode::InconsistentGroupProtocol);
    }
    assert_eq!(driver.state("g"), GroupState::Stable, "the group does not notice");
}

#[test]
fn g12_an_empty_group_accepts_any_type_but_not_none() {
    let mut driver = Driver::quick();
    let member = driver.stable("g", 1).remove(0);
    assert_eq!(driver.leave("g", &[(&member, None)]), [ErrorCode::None]);
    let nothing = JoinRequest { protocols: Vec::new(), ..consumer("g", "") };
    assert_eq!(driver.join(nothing).error, ErrorCode::InconsistentGroupProtocol);
    let connect = JoinRequest { protocol_type: "connect".into(), ..consumer("g", "") };
    let answer = driver.join(connect);
    assert_eq!((answer.error, answer.protocol_type.as_deref()), (ErrorCode::None, Some("connect")));
}

#[test]
fn g13_a_full_group_refuses_newcomers_and_keeps_its_members() {
    let mut driver = Driver::new(GroupSettings { group_max_size: 2, ..settings() });
    let members = driver.stable("g", 2);
    assert_eq!(driver.join(consumer("g", "")).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(driver.join(consumer("g", &members[1])).error, ErrorCode::None);
    assert_eq!(driver.state("g"), GroupState::Stable);
}

#[test]
fn g13_while_preparing_the_first_to_come_win() {
    let mut driver = Driver::new(GroupSettings { group_max_size: 2, ..settings() });
    let members = driver.stable("g", 2);
    assert_eq!(driver.leave("g", &[(&members[0], None)]), [ErrorCode::None]);
    let token = driver.send_join(consumer("g", &members[1]));
    assert_eq!(driver.join_answer(token).error, ErrorCode::None);
    // Back to two members, and a rebalance in which a newcomer takes the place of one that is late.
    let newcomer = driver.send_join(consumer("g", ""));
    let other = driver.send_join(consumer("g", ""));
    assert!(driver.is_parked(newcomer) && driver.is_parked(other));
    assert_eq!(driver.join(consumer("g", &members[1])).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(driver.join_answer(newcomer).generation, driver.join_answer(other).generation);
}

#[test]
fn g13_ids_handed_out_count_with_the_members_until_they_lapse() {
    let mut driver = Driver::new(GroupSettings { group_max_size: 3, ..settings() });
    driver.stable("g", 1);
    let newcomer = || JoinRequest { requires_known_member_id: true, ..consumer("g", "") };
    for _ in 0..2 {
        assert_eq!(driver.join(newcomer()).error, ErrorCode::MemberIdRequired);
    }
    assert_eq!(driver.join(newcomer()).error, ErrorCode::GroupMaxSizeReached);
    driver.pass(10_000);
    assert_eq!(driver.join(newcomer()).error, ErrorCode::MemberIdRequired);
}

#[test]
fn g10_there_is_an_end_to_the_ids_that_a_group_hands_out() {
    let mut driver = Driver::quick();
    let newcomer = || JoinRequest { requires_known_member_id: true, ..consumer("g", "") };
    let first = driver.join(newcomer()).member_id;
    for _ in 1..10_000 {
        assert_eq!(driver.join(newcomer()).error, ErrorCode::MemberIdRequired);
    }
    assert_eq!(driver.join(newcomer()).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(driver.join(consumer("g", &first)).error, ErrorCode::None, "an id that comes back makes room");
    assert_eq!(driver.join(newcomer()).error, ErrorCode::MemberIdRequired);
}

#[test]
fn g17_q16_only_the_leader_gets_the_members_itself_included() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 3);
    let tokens: Vec<u64> = members.iter().map(|member| driver.send_join(consumer("g", member))).collect();
    let answers: Vec<JoinAnswer> = tokens.into_iter().map(|token| driver.join_answer(token)).collect();
    let leader = answers[0].leader.clone();
    assert_eq!(leader, members[0]);
    for answer in answers {
        assert_eq!((answer.generation, &answer.leader), (answers_generation(), &leader));
        let listed: Vec<&str> = answer.members.iter().map(|member| member.member_id.as_str()).collect();
        if answer.member_id == leader {
            let mut expected: Vec<&str> = members.iter().map(String::as_str).collect();
            expected.sort_unstable();
            assert_eq!(listed, expected);
            assert_eq!(answer.members[0].metadata, protocol("range", "sales").1);
        } else {
            assert!(listed.is_empty());
        }
    }
}

fn answers_generation() -> Generation {
    Generation(3)
}

#[test]
fn g17_q17_the_protocol_is_the_one_most_members_prefer_among_those_common_to_all() {
    let mut driver = Driver::new(GroupSettings { group_initial_rebalance_delay_ms: 100, ..settings() });
    let offers = [["a", "b", "c"], ["b", "a", "x"], ["b", "x", "a"]];
    let mut tokens = Vec::new();
    for names in offers {
        let protocols = names.iter().map(|name| protocol(name, "sales")).collect();
        tokens.push(driver.send_join(JoinRequest { protocols, ..consumer("g", "") }));
    }
    driver.pass(200);
    for token in tokens {
        assert_eq!(driver.join_answer(token).protocol.as_deref(), Some("b"));
    }
}

#[test]
fn g19_a_follower_with_nothing_new_gets_the_current_answer() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let again = driver.join(consumer("g", &members[1]));
    assert_eq!((again.error, again.generation), (ErrorCode::None, Generation(2)));
    assert_eq!(again.leader, members[0]);
    assert_eq!(driver.state("g"), GroupState::Stable);
}

#[test]
fn g19_the_leader_or_changed_metadata_starts_a_rebalance() {
    for changed in [false, true] {
        let mut driver = Driver::quick();
        let members = driver.stable("g", 2);
        let mut request = consumer("g", &members[usize::from(changed)]);
        if changed {
            request.protocols = vec![protocol("range", "other")];
        }
        let token = driver.send_join(request);
        assert!(driver.is_parked(token));
        assert_eq!(driver.state("g"), GroupState::PreparingRebalance);
    }
}

#[test]
fn g19_while_completing_a_lost_answer_is_given_again_and_a_change_starts_anew() {
    let mut driver = Driver::quick();
    let leader = driver.join(consumer("g", "")).member_id;
    let again = driver.join(consumer("g", &leader));
    assert_eq!((again.generation, again.members.len()), (Generation(1), 1));
    assert_eq!(driver.state("g"), GroupState::CompletingRebalance);
    let changed = JoinRequest { protocols: vec![protocol("range", "other")], ..consumer("g", &leader) };
    assert_eq!(driver.join(changed).generation, Generation(2));
}

#[test]
fn g19_a_second_join_of_a_parked_member_takes_over_and_the_first_is_answered_too() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let first = driver.send_join(consumer("g", &members[0]));
    let second = driver.send_join(consumer("g", &members[0]));
    assert_eq!(driver.join_answer(first).error, ErrorCode::RebalanceInProgress);
    assert_eq!(driver.join(consumer("g", &members[1])).error, ErrorCode::None);
    assert_eq!(driver.join_answer(second).error, ErrorCode::None);
}

#[test]
fn g20_a_heartbeat_is_checked_in_order_and_says_whether_to_join_again() {
    let mut driver = Driver::quick();
    assert_eq!(driver.heartbeat("g", "stranger", 1), ErrorCode::UnknownMemberId);
    let leader = driver.join(consumer("g", "")).member_id;
    assert_eq!(driver.heartbeat("g", "stranger", 9), ErrorCode::UnknownMemberId, "25 comes before 22");
    assert_eq!(driver.heartbeat("g", &leader, 9), ErrorCode::IllegalGeneration);
    assert_eq!(driver.heartbeat("g", &leader, 1), ErrorCode::None, "CompletingRebalance");
    driver.sync("g", &leader, 1, &[]);
    assert_eq!(driver.heartbeat("g", &leader, 1), ErrorCode::None, "Stable");
    driver.send_join(consumer("g", ""));
    assert_eq!(driver.heartbeat("g", &leader, 1), ErrorCode::RebalanceInProgress);
    assert_eq!(driver.heartbeat_as("g", &leader, Some("i"), 1), ErrorCode::UnknownMemberId, "unknown instance");
}

#[test]
fn g20_a_heartbeat_resets_the_timer_also_while_preparing() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    driver.send_join(consumer("g", &members[0]));
    for _ in 0..5 {
        driver.pass(9_000);
        assert_eq!(driver.heartbeat("g", &members[1], 2), ErrorCode::RebalanceInProgress);
    }
    assert_eq!(driver.describe("g").members.len(), 2);
}

#[test]
fn g21_a_silent_member_is_removed_and_the_others_rebalance() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    driver.pass(6_000);
    assert_eq!(driver.heartbeat("g", &members[0], 2), ErrorCode::None);
    driver.pass(3_999);
    assert_eq!(driver.state("g"), GroupState::Stable);
    driver.pass(1);
    assert_eq!(driver.heartbeat("g", &members[0], 2), ErrorCode::RebalanceInProgress);
    assert_eq!(driver.heartbeat("g", &members[1], 2), ErrorCode::UnknownMemberId);
    let answer = driver.join(consumer("g", &members[0]));
    assert_eq!((answer.generation, answer.members.len()), (Generation(3), 1));
}

#[test]
fn g21_a_member_parked_in_join_or_sync_does_not_expire() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let parked = driver.send_join(consumer("g", &members[0]));
    for _ in 0..4 {
        driver.pass(9_000);
        driver.heartbeat("g", &members[1], 2);
    }
    assert!(driver.is_parked(parked));
    driver.join(consumer("g", &members[1]));
    assert_eq!(driver.join_answer(parked).generation, Generation(3));
    let parked = driver.send_sync("g", &members[1], 3, &[]);
    for _ in 0..4 {
        driver.pass(9_000);
        assert_eq!(driver.heartbeat("g", &members[0], 3), ErrorCode::None);
    }
    assert!(driver.is_parked(parked));
    driver.sync("g", &members[0], 3, &[(&members[1], "late")]);
    assert_eq!(driver.sync_answer(parked).assignment, "late");
}

#[test]
fn g21_a_newcomer_is_not_kept_waiting_for_more_than_five_minutes() {
    let mut driver = Driver::quick();
    let long = |member: &str| JoinRequest {
        rebalance_timeout_ms: 3_600_000,
        session_timeout_ms: 1_800_000,
        ..consumer("g", member)
    };
    let leader = driver.join(long("")).member_id;
    driver.sync("g", &leader, 1, &[]);
    let newcomer = driver.send_join(long(""));
    driver.pass(299_999);
    assert!(driver.is_parked(newcomer));
    driver.pass(1);
    assert_eq!(driver.join_answer(newcomer).error, ErrorCode::UnknownMemberId);
}

#[test]
fn g22_sync_gives_everybody_exactly_what_the_leader_gave_q17() {
    let mut driver = Driver::quick();
    let leader = driver.join(consumer("g", "")).member_id;
    let other = driver.send_join(consumer("g", ""));
    driver.join(consumer("g", &leader));
    let other = driver.join_answer(other).member_id;
    let parked = driver.send_sync("g", &other, 2, &[]);
    assert!(driver.is_parked(parked));
    let own = driver.sync("g", &leader, 2, &[(&leader, "\u{0}odd bytes"), ("stranger", "lost")]);
    assert_eq!(own.assignment, "\u{0}odd bytes");
    assert_eq!((own.protocol_type.as_deref(), own.protocol.as_deref()), (Some("consumer"), Some("range")));
    let others = driver.sync_answer(parked);
    assert_eq!((others.error, others.assignment), (ErrorCode::None, Bytes::new()), "forgotten: empty bytes");
    assert_eq!(driver.sync("g", &leader, 2, &[(&leader, "other")]).assignment, "\u{0}odd bytes", "stable: as stored");
    driver.assert_state_is_replay();
}

#[test]
fn g22_sync_is_checked_like_a_heartbeat_and_for_its_protocol() {
    let mut driver = Driver::quick();
    assert_eq!(driver.sync("g", "stranger", 1, &[]).error, ErrorCode::UnknownMemberId);
    let leader = driver.join(consumer("g", "")).member_id;
    assert_eq!(driver.sync("g", &leader, 2, &[]).error, ErrorCode::IllegalGeneration);
    let mut checked = |member: &str, protocol_type: Option<&str>, name: Option<&str>| {
        let check = Some((protocol_type.map(Into::into), name.map(Into::into)));
        let request = SyncRequest { protocol_check: check, ..sync("g", member, 1, &[]) };
        let Answer::Sync(answer) = driver.ask(Request::Sync(request)) else { panic!("not a sync's answer") };
        answer.error
    };
    assert_eq!(checked("stranger", None, Some("range")), ErrorCode::InconsistentGroupProtocol, "null comes first");
    assert_eq!(checked("stranger", Some("consumer"), None), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(checked("stranger", Some("connect"), Some("range")), ErrorCode::UnknownMemberId);
    assert_eq!(checked(&leader, Some("connect"), Some("range")), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(checked(&leader, Some("consumer"), Some("sticky")), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(checked(&leader, Some("consumer"), Some("range")), ErrorCode::None);
}

#[test]
fn g22_while_preparing_sync_says_join_again() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    driver.send_join(consumer("g", ""));
    assert_eq!(driver.sync("g", &members[0], 1, &[]).error, ErrorCode::RebalanceInProgress);
}

#[test]
fn g22_g3_an_assignment_too_large_to_store_is_refused_and_the_group_rebalances() {
    let mut driver = Driver::new(GroupSettings { append_max_bytes: 2_000, ..settings() });
    let leader = driver.join(consumer("g", "")).member_id;
    let newcomer = driver.send_join(consumer("g", ""));
    driver.join(consumer("g", &leader));
    let other = driver.join_answer(newcomer).member_id;
    let parked = driver.send_sync("g", &other, 2, &[]);
    let large = "x".repeat(2_000);
    assert_eq!(driver.sync("g", &leader, 2, &[(&leader, &large)]).error, ErrorCode::MessageTooLarge);
    assert_eq!(driver.sync_answer(parked).error, ErrorCode::MessageTooLarge);
    assert_eq!(driver.state("g"), GroupState::PreparingRebalance);
}

/// It is kept as numbers: looked up in every member at every join, many joins were quadratic work.
#[test]
fn g12_what_the_members_can_do_follows_those_who_join_again_and_those_who_leave() {
    let mut driver = Driver::quick();
    let with = |member: &str, names: &[&str]| {
        let protocols = names.iter().map(|name| protocol(name, "sales")).collect();
        JoinRequest { protocols, ..consumer("g", member) }
    };
    let first = driver.join(with("", &["range", "range", "sticky"])).member_id;
    let second = driver.send_join(with("", &["range"]));
    assert!(driver.is_parked(second), "a name given twice counts once");
    assert_eq!(driver.join(with("", &["sticky"])).error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(driver.join(with(&first, &["range", "hash"])).error, ErrorCode::None);
    let second = driver.join_answer(second).member_id;
    assert_eq!(driver.join(with("", &["hash"])).error, ErrorCode::InconsistentGroupProtocol);
    driver.leave("g", &[(&second, None)]);
    assert_eq!(driver.join(with("", &["sticky"])).error, ErrorCode::InconsistentGroupProtocol);
    let third = driver.send_join(with("", &["hash"]));
    assert!(driver.is_parked(third));
}

#[test]
fn g3_a_join_that_makes_the_groups_record_too_large_is_refused() {
    let mut driver = Driver::new(GroupSettings { append_max_bytes: 2_000, ..settings() });
    driver.stable("g", 1);
    let large = JoinRequest { protocols: vec![("range".into(), vec![0; 1_000].into())], ..consumer("g", "") };
    assert_eq!(driver.join(large).error, ErrorCode::MessageTooLarge);
    assert_eq!(driver.state("g"), GroupState::Stable);
}

#[test]
fn g23_a_rebalance_sends_parked_syncs_back_to_joining() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let tokens: Vec<u64> = members.iter().map(|member| driver.send_join(consumer("g", member))).collect();
    tokens.into_iter().for_each(|token| assert_eq!(driver.join_answer(token).error, ErrorCode::None));
    let parked = driver.send_sync("g", &members[1], 3, &[]);
    driver.send_join(consumer("g", ""));
    assert_eq!(driver.sync_answer(parked).error, ErrorCode::RebalanceInProgress);
}

#[test]
fn g24_each_leaver_is_answered_for_itself() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 3);
    let entries = [(members[1].as_str(), None), ("stranger", None), ("", Some("nobody")), ("", None)];
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(driver.leave("g", &entries), [ErrorCode::None, unknown, unknown, unknown]);
    assert_eq!(driver.state("g"), GroupState::PreparingRebalance);
    assert_eq!(driver.leave("absent", &[("m", None)]), [unknown]);
}

#[test]
fn g24_leaving_with_an_id_not_yet_used_forgets_it_without_a_rebalance() {
    let mut driver = Driver::quick();
    driver.stable("g", 1);
    let pending = driver.join(JoinRequest { requires_known_member_id: true, ..consumer("g", "") }).member_id;
    assert_eq!(driver.leave("g", &[(&pending, None)]), [ErrorCode::None]);
    assert_eq!(driver.state("g"), GroupState::Stable);
    assert_eq!(driver.join(consumer("g", &pending)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn g24_g21_whoever_is_removed_while_parked_is_told() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 2);
    let parked = driver.send_join(consumer("g", &members[0]));
    assert_eq!(driver.leave("g", &[(&members[0], None)]), [ErrorCode::None]);
    assert_eq!(driver.join_answer(parked).error, ErrorCode::UnknownMemberId);
}

#[test]
fn g24_g17_when_the_last_member_leaves_the_group_is_empty_one_generation_on() {
    let mut driver = Driver::quick();
    let members = driver.stable("g", 1);
    driver.commit_one("g", &members[0], 1, 42);
    assert_eq!(driver.leave("g", &[(&members[0], None)]), [ErrorCode::None]);
    let described = driver.describe("g");
    assert_eq!((described.state, described.protocol_type.as_str()), (GroupState::Empty, "consumer"));
    assert_eq!(driver.committed("g"), 42);
    assert_eq!(driver.join(consumer("g", "")).generation, Generation(3), "2 was the empty one");
    driver.assert_state_is_replay();
}

#[test]
fn g25_the_topics_of_a_consumer_group_are_known_and_unreadable_ones_mean_everything() {
    let mut driver = Driver::quick();
    assert_eq!(driver.shard.subscribed_topics("g"), None);
    driver.stable("g", 2);
    let sales = SubscribedTopics::Topics(["sales".to_owned()].into());
    assert_eq!(driver.shard.subscribed_topics("g"), Some(sales));
    let garbage = JoinRequest { protocols: vec![("range".into(), Bytes::from_static(&[9]))], ..consumer("h", "") };
    driver.join(garbage);
    assert_eq!(driver.shard.subscribed_topics("h"), Some(SubscribedTopics::Everything));
    driver.join(JoinRequest { protocol_type: "connect".into(), ..consumer("c", "") });
    assert_eq!(driver.shard.subscribed_topics("c"), None);
}

#[test]
fn g5_an_empty_group_id_is_refused_except_for_offsets() {
    let mut driver = Driver::quick();
    let invalid = ErrorCode::InvalidGroupId;
    assert_eq!(driver.join(consumer("", "")).error, invalid);
    assert_eq!(driver.sync("", "m", 1, &[]).error, invalid);
    assert_eq!(driver.heartbeat("", "m", 1), invalid);
    assert_eq!(driver.describe("").error, invalid);
    let leave = LeaveRequest { group_id: String::new(), members: Vec::new() };
    let Answer::Leave(answer) = driver.ask(Request::Leave(leave)) else { panic!("not a leave's answer") };
    assert_eq!(answer.error, invalid);
    assert_eq!(driver.commit_one("", "", -1, 5), ErrorCode::None);
    assert_eq!(driver.committed(""), 5);
    driver.assert_state_is_replay();
}

#[test]
fn a_group_id_longer_than_a_record_can_carry_is_refused_everywhere() {
    let mut driver = Driver::quick();
    let long = "x".repeat(32_768);
    assert_eq!(driver.join(consumer(&long, "")).error, ErrorCode::InvalidGroupId);
    assert_eq!(driver.commit_one(&long, "", -1, 5), ErrorCode::InvalidGroupId);
    assert_eq!(driver.commit_one(&long[1..], "", -1, 5), ErrorCode::None);
}

#[test]
fn the_session_timeout_has_bounds() {
    let mut driver = Driver::quick();
    for session_timeout_ms in [5_999, 1_800_001, 0, -1, i32::MIN, i32::MAX] {
        let request = JoinRequest { session_timeout_ms, ..consumer("g", "") };
        assert_eq!(driver.join(request).error, ErrorCode::InvalidSessionTimeout);
    }
    let request = JoinRequest { session_timeout_ms: 6_000, rebalance_timeout_ms: i32::MIN, ..consumer("g", "") };
    assert_eq!(driver.join(request).error, ErrorCode::None);
}

#[test]
fn g35_a_group_is_described_in_full_only_when_stable() {
    let mut driver = Driver::quick();
    let unknown = driver.describe("g");
    assert_eq!((unknown.error, unknown.state), (ErrorCode::GroupIdNotFound, GroupState::Dead));
    let leader = driver.join(consumer("g", "")).member_id;
    let completing = driver.describe("g");
    assert_eq!((completing.state, completing.protocol.as_str()), (GroupState::CompletingRebalance, ""));
    assert_eq!(completing.members[0].metadata, Bytes::new());
    driver.sync("g", &leader, 1, &[(&leader, "mine")]);
    let stable = driver.describe("g");
    assert_eq!((stable.error, stable.state, stable.protocol.as_str()), (ErrorCode::None, GroupState::Stable, "range"));
    let member = &stable.members[0];
    assert_eq!((member.member_id.as_str(), member.client_host.as_str()), (leader.as_str(), "/127.0.0.1"));
    assert_eq!(member.metadata, protocol("range", "sales").1);
    assert_eq!(member.assignment, "mine");
}

#[test]
fn g36_g38_groups_are_listed_and_filtered_without_regard_to_case() {
    let mut driver = Driver::quick();
    driver.stable("alive", 1);
    driver.commit_one("simple", "", -1, 5);
    let ids = |groups: Vec<ListedGroup>| groups.into_iter().map(|group| group.group_id).collect::<Vec<_>>();
    let all = driver.list(&[], &[]);
    assert_eq!((all[0].protocol_type.as_str(), all[0].group_type), ("consumer", "classic"));
    assert_eq!((all[1].protocol_type.as_str(), all[1].state), ("", GroupState::Empty));
    assert_eq!(ids(all), ["alive", "simple"]);
    assert_eq!(ids(driver.list(&["sTABLE"], &["Classic"])), ["alive"]);
    assert_eq!(ids(driver.list(&["empty", "Stable"], &[])), ["alive", "simple"]);
    assert!(driver.list(&["nonsense"], &[]).is_empty());
    assert!(driver.list(&[], &["consumer"]).is_empty());
}
