//! What groups read: subscriptions of consumers, and the records of `__consumer_offsets` (G-25, O-70 to O-73).
//!
//! What was read is written and read again, and must be the same. Deliberately not here: what a group makes of it.

use bytes::Bytes;
use pagemark_wire::consumer_protocol::{Assignment, MemberSubscription, Subscription};
use pagemark_wire::internal::{CoordinatorKey, GroupMetadata, MemberMetadata, OffsetCommit};
use pagemark_wire::types::{Generation, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::owned;
use crate::files::unhex;

/// Reads the bytes as a subscription, as a broker and as a member do, and as an assignment.
pub(crate) fn consumer_protocol(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(subscription) = Subscription::parse(&bytes) {
        let read: usize = subscription.topics.iter().map(|topic| topic.len() + 2).sum();
        assert!(read <= bytes.len(), "topics of {read} bytes in {}", bytes.len());
    }
    if let Ok(read) = MemberSubscription::parse(&bytes) {
        let written = read.to_bytes().expect("it came with lengths of 16 bits");
        assert_eq!(MemberSubscription::parse(&written), Ok(read));
    }
    if let Ok(read) = Assignment::parse(&bytes) {
        let written = read.to_bytes().expect("it came with lengths of 16 bits");
        assert_eq!(Assignment::parse(&written), Ok(read));
    }
}

/// Reads the bytes as a key and as either value.
pub(crate) fn consumer_offsets(bytes: &[u8]) {
    let _ = CoordinatorKey::parse(bytes);
    if let Ok(commit) = OffsetCommit::parse(bytes)
        && let Ok(again) = commit.encode()
    {
        assert_eq!(OffsetCommit::parse(&again).map(without_loss), Ok(without_loss(commit)));
    }
    if let Ok(group) = GroupMetadata::parse(bytes) {
        let again = GroupMetadata::parse(&group.encode());
        assert_eq!(again.as_ref(), Ok(&group));
    }
}

/// A commit with an expiry is written in a version that has neither leader epoch nor topic id.
fn without_loss(commit: OffsetCommit) -> OffsetCommit {
    match commit.expire_timestamp_ms {
        None => commit,
        Some(_) => OffsetCommit { leader_epoch: LeaderEpoch::NONE, topic_id: TopicId::default(), ..commit },
    }
}

/// Subscriptions that Kafka 4.3's own ConsumerProtocol wrote, versions 0 to 3, and an assignment.
pub(crate) fn subscriptions_and_assignments() -> Vec<Vec<u8>> {
    let written = [
        "0000000000020001610007622d746f706963000000020908",
        "0001000000020001610007622d746f706963000000020908000000010001610000000100000001",
        "0002000000020001610007622d746f70696300000002090800000001000161000000010000000100000005",
        "0003000000020001610007622d746f7069630000000209080000000100016100000001000000010000000500047261636b",
        "000300000001000573616c657300000003000000000000000100000002ffffffff",
    ];
    owned(written.map(unhex).into())
}

/// Keys, commits and groups of every version that we write.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let commit = OffsetCommit {
        offset: Offset(47),
        leader_epoch: LeaderEpoch(3),
        metadata: "m\u{e9}ta".to_owned(),
        commit_timestamp_ms: 1_700_000_000_000,
        expire_timestamp_ms: None,
        topic_id: TopicId::default(),
    };
    let expiring = OffsetCommit { expire_timestamp_ms: Some(1_700_000_900_000), ..commit.clone() };
    let written = [
        CoordinatorKey::encode_offset_commit("readers", "orders", PartitionIndex(3)),
        CoordinatorKey::encode_group_metadata("readers"),
        commit.encode(),
        expiring.encode(),
    ];
    let mut all: Vec<Bytes> = written.map(|bytes| bytes.expect("short texts")).into();
    all.extend([group(true), group(false)].map(|group| group.encode()));
    owned(all)
}

fn group(completing: bool) -> GroupMetadata {
    let member = MemberMetadata {
        member_id: "c-1".to_owned(),
        group_instance_id: Some("inst".to_owned()),
        client_id: "c".to_owned(),
        client_host: "/10.0.0.1".to_owned(),
        rebalance_timeout_ms: 300_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(&[1, 2, 3]),
        assignment: Bytes::from_static(&[4, 5]),
    };
    GroupMetadata {
        protocol_type: "consumer".to_owned(),
        generation: Generation(9),
        protocol: Some("range".to_owned()),
        leader: Some("c-1".to_owned()),
        current_state_timestamp_ms: 1_700_000_000_456,
        members: vec![member.clone(), MemberMetadata { group_instance_id: None, ..member }],
        completing,
    }
}
