//! Deleting groups and offsets over the wire (DeleteGroups: G-37, O-36; OffsetDelete: O-35; E-19).

use pagemark_wire::api::Api;
use pagemark_wire::messages::*;

use crate::support::client::*;
use crate::support::member::{GROUP, Member};
use crate::support::{Rig, local_engine, until};
use crate::versions::{ask, each_version};

fn rig() -> Rig {
    let rig = Rig::memory();
    rig.client().create("orders", 2, &[]);
    rig.client().create("other", 1, &[]);
    rig
}

fn described_state(client: &mut Client, group: &str) -> String {
    let answer = client.ask(5, &DescribeGroupsRequest::default().with_groups(vec![group_id(group)]));
    answer.groups[0].group_state.to_string()
}

#[test]
fn groups_are_deleted_in_every_version_each_with_its_own_result_g_37_o_36() {
    let rig = rig();
    let mut member = Member::new(rig.address).with_id();
    member.join();
    member.sync(&[]);
    each_version(Api::DeleteGroups, |version| {
        let mut client = rig.client();
        assert_eq!(client.commit("a", "orders", 0, 3), 0);
        assert_eq!(client.commit("", "orders", 0, 3), 0);
        let names = ["a", "nobody", GROUP, "", "a"].map(group_id).to_vec();
        let answer = ask(&rig, version, &DeleteGroupsRequest::default().with_groups_names(names));
        let results: Vec<_> = answer.results.iter().map(|r| (r.group_id.as_str(), r.error_code)).collect();
        assert_eq!(results, [("a", 0), ("nobody", 69), (GROUP, 68), ("", 0)], "row 65");
        for group in ["a", ""] {
            assert_eq!(client.committed(group, "orders", 0).committed_offset, -1, "E-19");
        }
        assert_eq!(described_state(&mut client, "a"), "Dead");
    });
    assert_eq!(member.heartbeat(), 0, "its group is as it was");
    let none = DeleteGroupsRequest::default();
    assert_eq!(rig.client().ask(2, &none).results, []);
}

#[test]
fn offsets_are_deleted_but_for_topics_that_members_are_subscribed_to_o_35() {
    let rig = rig();
    let mut client = rig.client();
    let mut member = Member { topic: Some("orders"), ..Member::new(rig.address) }.with_id();
    member.join();
    member.sync(&[]);
    assert_eq!(member.commit(4), 0);
    let asked = [("orders", 0), ("other", 0), ("unknown", 3), ("other", 7)];
    assert_eq!(client.delete_offsets(GROUP, &asked), (0, vec![86, 0, 3, 0]));
    assert_eq!(client.committed(GROUP, "orders", 0).committed_offset, 4, "nothing of it landed");
    assert_eq!(member.leave(), 0);
    assert_eq!(client.delete_offsets(GROUP, &asked), (0, vec![0, 0, 3, 0]));
    assert_eq!(client.committed(GROUP, "orders", 0).committed_offset, -1);
    assert_eq!(described_state(&mut client, GROUP), "Empty");

    assert_eq!(client.delete_offsets("nobody", &asked), (69, vec![]), "no topics then");
    assert_eq!(client.delete_offsets("", &asked), (24, vec![]));
    let mut garbled = Member::new(rig.address).with_id();
    garbled.join();
    garbled.sync(&[]);
    assert_eq!(client.delete_offsets(GROUP, &asked), (0, vec![86, 86, 3, 86]), "who knows what it reads (G-25)");
}

#[test]
fn what_was_deleted_stays_deleted_over_kills_and_what_was_not_stays_o_36_invariant_13() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    rig.client().create("orders", 2, &[]);
    drop(rig);
    for round in 0..6 {
        let rig = Rig::local(dir.path());
        let mut client = rig.client();
        for group in ["gone", "kept"] {
            let told = [0, 1].map(|partition| client.committed(group, "orders", partition).committed_offset);
            let left = if round > 0 && group == "kept" { [-1, round + 99] } else { [-1, -1] };
            assert_eq!(told, left, "{group} in round {round}");
            for partition in 0..2 {
                assert_eq!(client.commit(group, "orders", partition, 100 + round), 0);
            }
        }
        assert_eq!(client.delete_groups(&["gone"]), [0]);
        assert_eq!(client.delete_offsets("kept", &[("orders", 0)]), (0, vec![0]));
        drop(client);
        if round % 2 == 0 { rig.kill() } else { rig.stop() }
    }
}

#[test]
fn while_groups_load_a_deletion_is_to_be_tried_again_g_4() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    rig.client().create("orders", 1, &[]);
    for offset in [3, 4] {
        assert_eq!(rig.client().commit("g", "orders", 0, offset), 0);
    }
    rig.kill();
    let slow = crate::support::engines::SlowReads::over(local_engine(dir.path()));
    let rig = Rig::at_once(std::sync::Arc::clone(&slow) as _, &[]);
    let mut client = rig.client();
    assert_eq!(client.delete_groups(&["g"]), [14]);
    assert_eq!(client.delete_offsets("g", &[("orders", 0)]), (14, vec![]));
    slow.let_go();
    until("it is deleted", || client.delete_groups(&["g"]) == [0]);
}
