//! The cluster as DescribeCluster tells it: the same as Metadata does (P-26, P-26a).

use pagemark_wire::messages::*;

use crate::support::Rig;
use crate::support::raw::Raw;

fn ask(rig: &Rig, version: i16, endpoint_type: i8) -> DescribeClusterResponse {
    let mut raw = Raw::connect(rig.address);
    let request = DescribeClusterRequest::default();
    raw.request(version, &if version == 0 { request } else { request.with_endpoint_type(endpoint_type) });
    raw.answer::<DescribeClusterRequest>(version)
}

#[test]
fn the_cluster_is_described_in_every_version_p_26_p_26a() {
    let rig = Rig::memory();
    for version in 0..=2 {
        let answer = ask(&rig, version, 1);
        assert_eq!((answer.error_code, &*answer.cluster_id), (0, &*rig.broker().cluster_id));
        assert_eq!((answer.controller_id, answer.endpoint_type), (BrokerId(0), 1));
        assert_eq!(answer.cluster_authorized_operations, i32::MIN, "not asked for (Q-81)");
        let broker = &answer.brokers[0];
        assert_eq!((broker.broker_id, &*broker.host), (BrokerId(0), "127.0.0.1"));
        assert_eq!((broker.port, answer.brokers.len()), (i32::from(rig.address.port()), 1));
        assert!(!broker.is_fenced);
    }
    let asked = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    assert_eq!(
        rig.client().ask(0, &asked).cluster_authorized_operations,
        8096,
        "everything, as Kafka says without ACLs"
    );
}

#[test]
fn controllers_are_not_found_at_a_brokers_address_p_29b() {
    let rig = Rig::memory();
    for version in 1..=2 {
        for (endpoint_type, code) in [(2, 114), (0, 115), (9, 115), (-1, 115)] {
            let answer = ask(&rig, version, endpoint_type);
            assert_eq!((answer.error_code, answer.brokers.len()), (code, 0));
            assert_eq!((answer.controller_id, answer.error_message.is_some()), (BrokerId(-1), true), "Q-83");
        }
    }
}
