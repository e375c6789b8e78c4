//! A member of a group that does by hand what a consumer does by itself.

use std::net::SocketAddr;

use bytes::Bytes;
use pagemark_wire::messages::join_group_request::JoinGroupRequestProtocol;
use pagemark_wire::messages::leave_group_request::MemberIdentity;
use pagemark_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use pagemark_wire::messages::*;

use super::client::*;

/// The group that members are in.
pub const GROUP: &str = "readers";

/// A member with the connection that it waits on.
pub struct Member {
    pub client: Client,
    pub id: StrBytes,
    pub instance: Option<StrBytes>,
    pub generation: i32,
    /// The topic it subscribes to; without one its metadata is not readable.
    pub topic: Option<&'static str>,
    pub session_timeout_ms: i32,
}

impl Member {
    /// Somebody who has no id yet.
    pub fn new(address: SocketAddr) -> Member {
        Member {
            client: Client::connect(address),
            id: text(""),
            instance: None,
            generation: -1,
            topic: None,
            session_timeout_ms: 30_000,
        }
    }

    /// A new process of a static member.
    pub fn instance(address: SocketAddr, instance: &str) -> Member {
        Member { instance: Some(text(instance)), ..Member::new(address) }
    }

    fn metadata(&self) -> Bytes {
        let Some(topic) = self.topic else { return Bytes::from("meta") };
        let mut metadata = vec![0, 1, 0, 0, 0, 1, 0, topic.len() as u8];
        metadata.extend_from_slice(topic.as_bytes());
        metadata.extend_from_slice(&[0xff; 4]);
        metadata.into()
    }

    pub fn join_request(&self) -> JoinGroupRequest {
        let protocol =
            |name: &str| JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(self.metadata());
        JoinGroupRequest::default()
            .with_group_id(group_id(GROUP))
            .with_session_timeout_ms(self.session_timeout_ms)
            .with_rebalance_timeout_ms(30_000)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol("range"), protocol("roundrobin")])
    }

    /// Asks for an id, which version 4 and up hand out first (G-10).
    pub fn with_id(mut self) -> Member {
        let answer = self.client.ask(9, &self.join_request());
        assert_eq!(answer.error_code, 79);
        assert!(answer.member_id.starts_with("tester-"), "{} (Q-15)", answer.member_id);
        self.id = answer.member_id;
        self
    }

    pub fn send_join(&mut self) {
        self.client.send(9, &self.join_request());
    }

    pub fn joined(&mut self) -> JoinGroupResponse {
        let answer = self.client.receive::<JoinGroupRequest>();
        assert_eq!(answer.error_code, 0);
        self.generation = answer.generation_id;
        self.id = answer.member_id.clone();
        answer
    }

    pub fn join(&mut self) -> JoinGroupResponse {
        self.send_join();
        self.joined()
    }

    pub fn sync_request(&self, assignments: &[(&StrBytes, &'static str)]) -> SyncGroupRequest {
        let assignment = |(id, bytes): &(&StrBytes, &'static str)| {
            SyncGroupRequestAssignment::default().with_member_id((*id).clone()).with_assignment(Bytes::from(*bytes))
        };
        SyncGroupRequest::default()
            .with_group_id(group_id(GROUP))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments.iter().map(assignment).collect())
    }

    /// Brings these assignments, or none, and gives the own one.
    pub fn sync(&mut self, assignments: &[(&StrBytes, &'static str)]) -> Bytes {
        let answer = self.client.ask(5, &self.sync_request(assignments));
        assert_eq!(answer.error_code, 0);
        answer.assignment
    }

    pub fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(GROUP))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone());
        self.client.ask(4, &request).error_code
    }

    pub fn commit(&mut self, offset: i64) -> i16 {
        let request = commit_request(GROUP, &[("orders", 0, offset, "")])
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone());
        self.client.ask(8, &request).topics[0].partitions[0].error_code
    }

    pub fn leave(&mut self) -> i16 {
        let me = MemberIdentity::default()
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_reason(Some(text("done")));
        let request = LeaveGroupRequest::default().with_group_id(group_id(GROUP)).with_members(vec![me]);
        self.client.ask(5, &request).members[0].error_code
    }
}
