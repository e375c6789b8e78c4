//! SyncGroup (key 14), versions 0 to 5: the leader brings the assignment, everybody gets their part.
//!
//! v3 static members, v4 is flexible, v5 names protocol type and name, which must be the group's (G-22).
//! Deliberately not here: all decisions (`core::group`).

use pagemark_core::coordinator::{Answer, Request, SyncRequest};
use pagemark_wire::messages::{SyncGroupRequest, SyncGroupResponse};
use pagemark_wire::types::Generation;

use super::{Call, Reply, text, wrong_kind};
use crate::executor::Outgoing;

/// Asks the group's shard; a follower's answer waits for the leader.
pub fn handle(call: Call, out: &mut Outgoing, request: SyncGroupRequest) {
    let group_id = request.group_id.to_string();
    let check = (request.protocol_type.map(|t| t.to_string()), request.protocol_name.map(|n| n.to_string()));
    let sync = SyncRequest {
        group_id: group_id.clone(),
        generation: Generation(request.generation_id),
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(|id| id.to_string()),
        protocol_check: (call.version >= 5).then_some(check),
        assignments: request.assignments.into_iter().map(|a| (a.member_id.to_string(), a.assignment)).collect(),
    };
    call.ask_group(out, &group_id, Request::Sync(sync), respond);
}

fn respond(reply: Reply, version: i16, answer: Answer) {
    let Answer::Sync(sync) = answer else { return wrong_kind("SyncGroup", &answer) };
    let mut response = SyncGroupResponse::default().with_error_code(sync.error.code()).with_assignment(sync.assignment);
    if version >= 5 {
        response.protocol_type = sync.protocol_type.map(text);
        response.protocol_name = sync.protocol.map(text);
    }
    reply.send(&response);
}
