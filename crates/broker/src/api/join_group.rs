//! JoinGroup (key 11), versions 0 to 9 (0 and 1 really work: P-15).
//!
//! v1 added the rebalance timeout, v4 answers a newcomer with an id to come back with (KIP-394), v5 static members
//! (KIP-345), v6 is flexible, v7 tells the protocol type, v8 a reason (KIP-800), v9 can spare the leader the assignment.
//! Deliberately not here: all decisions (`core::group`).

use bytes::Bytes;
use pagemark_core::coordinator::{Answer, JoinAnswer, JoinRequest, Request};
use pagemark_wire::messages::join_group_response::JoinGroupResponseMember;
use pagemark_wire::messages::{JoinGroupRequest, JoinGroupResponse};

use super::{Call, Reply, text, wrong_kind};
use crate::executor::Outgoing;

/// Asks the group's shard; the answer may take as long as the rebalance.
pub fn handle(call: Call, out: &mut Outgoing, request: JoinGroupRequest) {
    let group_id = request.group_id.to_string();
    let version = call.version;
    let join = JoinRequest {
        group_id: group_id.clone(),
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(|id| id.to_string()),
        client_id: call.client_id.to_string(),
        client_host: call.client.host.clone(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms },
        protocol_type: request.protocol_type.to_string(),
        // Copied: a group must not keep the whole frame alive for the sake of a few bytes of it.
        protocols: request
            .protocols
            .into_iter()
            .map(|p| (p.name.to_string(), Bytes::copy_from_slice(&p.metadata)))
            .collect(),
        requires_known_member_id: version >= 4,
        supports_skip_assignment: version >= 9,
        fresh_member_uuid: call.broker.host.fresh_uuid().to_string(),
    };
    call.ask_group(out, &group_id, Request::Join(join), respond);
}

fn respond(reply: Reply, version: i16, answer: Answer) {
    let Answer::Join(join) = answer else { return wrong_kind("JoinGroup", &answer) };
    reply.send(&response(version, join));
}

fn response(version: i16, join: JoinAnswer) -> JoinGroupResponse {
    let protocol = join.protocol.map(text);
    // Up to version 6 the protocol's name cannot be null.
    let protocol = if version < 7 { Some(protocol.unwrap_or_default()) } else { protocol };
    let members = join
        .members
        .into_iter()
        .map(|m| {
            JoinGroupResponseMember::default()
                .with_member_id(text(m.member_id))
                .with_group_instance_id(if version >= 5 { m.group_instance_id.map(text) } else { None })
                .with_metadata(m.metadata)
        })
        .collect();
    JoinGroupResponse::default()
        .with_error_code(join.error.code())
        .with_generation_id(join.generation.0)
        .with_protocol_type(if version >= 7 { join.protocol_type.map(text) } else { None })
        .with_protocol_name(protocol)
        .with_leader(text(join.leader))
        .with_skip_assignment(join.skip_assignment)
        .with_member_id(text(join.member_id))
        .with_members(members)
}
