//! Heartbeat (key 12), versions 0 to 4: a member is alive, and learns whether its group rebalances.
//!
//! v3 static members, v4 is flexible. Deliberately not here: all decisions (`core::group`).

use pagemark_core::coordinator::{Answer, HeartbeatRequest as Beat, Request};
use pagemark_wire::messages::{HeartbeatRequest, HeartbeatResponse};
use pagemark_wire::types::Generation;

use super::{Call, Reply, wrong_kind};
use crate::executor::Outgoing;

/// Asks the group's shard.
pub fn handle(call: Call, out: &mut Outgoing, request: HeartbeatRequest) {
    let group_id = request.group_id.to_string();
    let beat = Beat {
        group_id: group_id.clone(),
        generation: Generation(request.generation_id),
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(|id| id.to_string()),
    };
    call.ask_group(out, &group_id, Request::Heartbeat(beat), respond);
}

fn respond(reply: Reply, _version: i16, answer: Answer) {
    let Answer::Heartbeat(error) = answer else { return wrong_kind("Heartbeat", &answer) };
    reply.send(&HeartbeatResponse::default().with_error_code(error.code()));
}
