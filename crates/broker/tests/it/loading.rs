//! While a coordinator reads its log it says so, and never that there is no offset (G-4, O-80, invariant 17).

use pagemark_wire::messages::*;

use crate::support::client::*;
use crate::support::engines::SlowReads;
use crate::support::{Rig, local_engine, until};

#[test]
fn during_a_load_everything_but_a_heartbeat_is_told_to_come_again_g_4() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    for offset in 0..50 {
        assert_eq!(client.commit("readers", "orders", 0, offset), 0);
    }
    let shard = rig.broker().group_shard("readers");
    drop(client);
    rig.kill();

    let engine = SlowReads::over(local_engine(dir.path()));
    let rig = Rig::at_once(std::sync::Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    for version in 1..=9 {
        let (code, offset) = if version >= 8 {
            let answer = client.ask(version, &committed_request("readers", Some(&[("orders", 0)])));
            let group = &answer.groups[0];
            assert!(group.topics.iter().flat_map(|t| &t.partitions).all(|p| p.error_code == 14));
            (group.error_code, -1)
        } else {
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(topic_name("orders"))
                .with_partition_indexes(vec![0]);
            let request = OffsetFetchRequest::default().with_group_id(group_id("readers"));
            let answer = client.ask(version, &request.with_topics(Some(vec![topic])));
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(answer.error_code, if version >= 2 { 14 } else { 0 }, "O-27");
            (partition.error_code, partition.committed_offset)
        };
        assert_eq!((code, offset), (14, -1), "version {version}");
    }
    let all = client.ask(8, &committed_request("readers", None));
    assert_eq!(all.groups[0].error_code, 14, "not an empty list");
    assert_eq!(client.commit("readers", "orders", 0, 1), 14);
    let groups = vec![group_id("readers")];
    let described = client.ask(6, &DescribeGroupsRequest::default().with_groups(groups));
    assert_eq!(described.groups[0].error_code, 14);
    let listed = client.ask(4, &ListGroupsRequest::default());
    assert_eq!((listed.error_code, listed.groups.len()), (14, 0), "half a list would pass for a whole one");
    let join = JoinGroupRequest::default().with_group_id(group_id("readers")).with_session_timeout_ms(30_000);
    assert_eq!(client.ask(5, &join).error_code, 14);
    let heartbeat = HeartbeatRequest::default().with_group_id(group_id("readers")).with_member_id(text("m"));
    assert_eq!(client.ask(4, &heartbeat).error_code, 0, "members survive a restart");
    assert_eq!(rig.broker().group_shard("readers"), shard);
    // Everything else is served meanwhile.
    assert_eq!(client.produced("orders", 0, crate::support::batches::batch(&["x"])), 0);
    let (status, _) = crate::http::get(&rig, "/readyz");
    assert_eq!(status, 503);

    engine.let_go();
    rig.wait_for_load();
    assert_eq!(client.committed("readers", "orders", 0).committed_offset, 49, "the load went to the end (O-80)");
    assert_eq!(client.commit("readers", "orders", 0, 1), 0);
    assert_eq!(crate::http::get(&rig, "/readyz").0, 200);
}

#[test]
fn asking_at_once_after_each_of_many_restarts_never_gives_a_wrong_offset_invariant_17() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    for offset in 1..=300 {
        client.send(8, &commit_request("readers", &[("orders", 0, offset, "")]));
        if offset % 30 == 0 {
            (0..30).for_each(|_| drop(client.receive::<OffsetCommitRequest>()));
        }
    }
    drop(client);
    rig.kill();
    for _ in 0..20 {
        let rig = Rig::at_once(local_engine(dir.path()), &[]);
        let mut client = rig.client();
        until("the offset is told", || {
            let mut answer = client.ask(8, &committed_request("readers", Some(&[("orders", 0)])));
            let group = answer.groups.remove(0);
            match group.error_code {
                14 => false,
                code => {
                    assert_eq!((code, group.topics[0].partitions[0].committed_offset), (0, 300));
                    true
                }
            }
        });
        rig.kill();
    }
}
