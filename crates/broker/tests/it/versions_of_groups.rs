//! The group APIs in every version that is served: answers that decode to their last byte and make sense.

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::messages::join_group_request::JoinGroupRequestProtocol;
use pagemark_wire::messages::leave_group_request::MemberIdentity;
use pagemark_wire::messages::offset_fetch_request::OffsetFetchRequestTopic;
use pagemark_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use pagemark_wire::messages::*;
use uuid::Uuid;

use crate::support::Rig;
use crate::support::client::*;
use crate::versions::{ORDERS, ask, each_version, rig};

#[test]
fn commits_are_taken_and_told_in_every_version() {
    let (rig, id) = rig();
    each_version(Api::OffsetCommit, |version| {
        let offset = 100 + i64::from(version);
        let mut request = commit_request("readers", &[(ORDERS, 1, offset, "note")]);
        request.topics[0].topic_id = id;
        if version >= 6 {
            request.topics[0].partitions[0].committed_leader_epoch = 0;
        }
        let answer = ask(&rig, version, &request);
        let (name, told_id) = if version >= 10 { ("", id) } else { (ORDERS, Uuid::nil()) };
        assert_eq!((answer.topics[0].name.as_str(), answer.topics[0].topic_id), (name, told_id), "{version}");
        assert_eq!(answer.topics[0].partitions[0].partition_index, 1);
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        let told = rig.client().committed("readers", ORDERS, 1);
        assert_eq!((told.committed_offset, told.metadata.as_deref()), (offset, Some("note")));
        assert_eq!(told.committed_leader_epoch, if version >= 6 { 0 } else { -1 }, "O-22");
    });
    each_version(Api::OffsetFetch, |version| {
        if version >= 8 {
            let mut request = committed_request("readers", Some(&[(ORDERS, 1)]));
            request.groups[0].topics.as_mut().unwrap()[0].topic_id = id;
            let answer = ask(&rig, version, &request);
            let group = &answer.groups[0];
            assert_eq!((group.group_id.as_str(), group.error_code), ("readers", 0));
            assert_eq!(group.topics[0].partitions[0].committed_offset, 110);
            return;
        }
        let topic = OffsetFetchRequestTopic::default().with_name(topic_name(ORDERS)).with_partition_indexes(vec![1, 0]);
        let request = OffsetFetchRequest::default().with_group_id(group_id("readers")).with_topics(Some(vec![topic]));
        let answer = ask(&rig, version, &request);
        assert_eq!((answer.error_code, answer.topics[0].name.as_str()), (0, ORDERS));
        let told = &answer.topics[0].partitions;
        assert_eq!((told[0].partition_index, told[0].committed_offset, told[0].error_code), (1, 110, 0));
        assert_eq!(told[0].committed_leader_epoch, if version >= 5 { 0 } else { -1 });
        assert_eq!((told[1].partition_index, told[1].committed_offset, told[1].error_code), (0, -1, 0), "O-26");
        assert_eq!(told[1].metadata.as_deref(), Some(""), "Q-22");
    });
}

#[test]
fn find_coordinator_names_this_broker_in_every_version_p_27() {
    let rig = Rig::memory();
    each_version(Api::FindCoordinator, |version| {
        let here = (BrokerId(0), "127.0.0.1", i32::from(rig.address.port()));
        if version >= 4 {
            let keys = vec![text("g1"), text("g2")];
            let answer = ask(&rig, version, &FindCoordinatorRequest::default().with_coordinator_keys(keys));
            let named: Vec<_> = answer.coordinators.iter().map(|c| c.key.as_str()).collect();
            assert_eq!(named, ["g1", "g2"]);
            for one in &answer.coordinators {
                assert_eq!((one.error_code, (one.node_id, one.host.as_str(), one.port)), (0, here));
            }
        } else {
            let answer = ask(&rig, version, &FindCoordinatorRequest::default().with_key(text("g1")));
            assert_eq!((answer.error_code, (answer.node_id, answer.host.as_str(), answer.port)), (0, here));
        }
    });
}

fn join_request(group: &str, member_id: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"m"));
    JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(-1)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// A group of one member, at generation 1: its id.
fn joined(rig: &Rig, group: &str, version: i16) -> String {
    let mut request = join_request(group, "");
    if version >= 1 {
        request.rebalance_timeout_ms = 30_000;
    }
    let mut answer = ask(rig, version, &request);
    if version >= 4 {
        assert_eq!(answer.error_code, 79, "version {version} (G-10)");
        assert_eq!(answer.protocol_name.is_none(), version >= 7);
        request.member_id = answer.member_id.clone();
        answer = ask(rig, version, &request);
    }
    assert_eq!((answer.error_code, answer.generation_id), (0, 1), "version {version} (Q-15a, Q-18)");
    assert_eq!((answer.leader.as_str(), answer.members.len()), (answer.member_id.as_str(), 1), "Q-16");
    assert_eq!(answer.members[0].metadata, "m");
    assert_eq!(answer.protocol_name.as_deref(), Some("range"));
    assert_eq!(answer.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
    answer.member_id.to_string()
}

fn sync_request(group: &str, member: &str, version: i16) -> SyncGroupRequest {
    let mine = SyncGroupRequestAssignment::default().with_member_id(text(member)).with_assignment(Bytes::from("mine"));
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(1)
        .with_member_id(text(member))
        .with_assignments(vec![mine]);
    if version < 5 {
        return request;
    }
    request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")))
}

#[test]
fn a_membership_works_in_every_version_of_its_apis_p_15() {
    let rig = Rig::memory();
    each_version(Api::JoinGroup, |version| {
        let group = format!("join-{version}");
        let member = joined(&rig, &group, version);
        assert_eq!(ask(&rig, 3, &sync_request(&group, &member, 3)).assignment, "mine");
    });
    each_version(Api::SyncGroup, |version| {
        let group = format!("sync-{version}");
        let member = joined(&rig, &group, 5);
        let answer = ask(&rig, version, &sync_request(&group, &member, version));
        assert_eq!((answer.error_code, answer.assignment), (0, Bytes::from("mine")), "version {version}");
        assert_eq!(answer.protocol_name.as_deref(), (version >= 5).then_some("range"));
    });
    let heartbeat = |group: &str, member: &str| {
        HeartbeatRequest::default().with_group_id(group_id(group)).with_generation_id(1).with_member_id(text(member))
    };
    each_version(Api::Heartbeat, |version| {
        let group = format!("heartbeat-{version}");
        let member = joined(&rig, &group, 5);
        ask(&rig, 3, &sync_request(&group, &member, 3));
        assert_eq!(ask(&rig, version, &heartbeat(&group, &member)).error_code, 0);
        assert_eq!(ask(&rig, version, &heartbeat(&group, "stranger")).error_code, 25);
    });
    each_version(Api::LeaveGroup, |version| {
        let group = format!("leave-{version}");
        let member = joined(&rig, &group, 5);
        let request = LeaveGroupRequest::default().with_group_id(group_id(&group));
        let request = if version >= 3 {
            request.with_members(vec![
                MemberIdentity::default().with_member_id(text(&member)),
                MemberIdentity::default().with_member_id(text("stranger")),
            ])
        } else {
            request.with_member_id(text(&member))
        };
        let answer = ask(&rig, version, &request);
        assert_eq!(answer.error_code, 0);
        if version >= 3 {
            assert_eq!(answer.members.iter().map(|m| m.error_code).collect::<Vec<_>>(), [0, 25], "G-24");
        }
        assert_eq!(ask(&rig, 4, &heartbeat(&group, &member)).error_code, 25);
    });
}

#[test]
fn groups_are_described_and_listed_in_every_version() {
    let rig = Rig::memory();
    let member = joined(&rig, "readers", 5);
    ask(&rig, 3, &sync_request("readers", &member, 3));
    each_version(Api::DescribeGroups, |version| {
        let groups = vec![group_id("readers"), group_id("nobody")];
        let answer = ask(&rig, version, &DescribeGroupsRequest::default().with_groups(groups));
        let readers = &answer.groups[0];
        assert_eq!((readers.error_code, readers.group_state.as_str()), (0, "Stable"));
        assert_eq!((readers.protocol_type.as_str(), readers.protocol_data.as_str()), ("consumer", "range"));
        let one = &readers.members[0];
        assert_eq!((one.member_id.as_str(), one.client_id.as_str()), (&*member, "raw"));
        assert_eq!((one.client_host.as_str(), &one.member_assignment[..]), ("/127.0.0.1", &b"mine"[..]), "G-35");
        assert_eq!(readers.authorized_operations, i32::MIN);
        let nobody = (answer.groups[1].error_code, answer.groups[1].group_state.as_str());
        assert_eq!(nobody, if version >= 6 { (69, "Dead") } else { (0, "Dead") }, "G-35");
    });
    each_version(Api::ListGroups, |version| {
        let mut request = ListGroupsRequest::default();
        if version >= 4 {
            request.states_filter = vec![text("stable")];
        }
        if version >= 5 {
            request.types_filter = vec![text("Classic")];
        }
        let answer = ask(&rig, version, &request);
        assert_eq!((answer.error_code, answer.groups.len()), (0, 1));
        let group = &answer.groups[0];
        assert_eq!((group.group_id.as_str(), group.protocol_type.as_str()), ("readers", "consumer"));
        assert_eq!(group.group_state.as_str(), if version >= 4 { "Stable" } else { "" });
        assert_eq!(group.group_type.as_str(), if version >= 5 { "classic" } else { "" });
        if version >= 4 {
            request.states_filter = vec![text("Empty")];
            assert_eq!(ask(&rig, version, &request).groups, [], "G-36");
        }
    });
}
