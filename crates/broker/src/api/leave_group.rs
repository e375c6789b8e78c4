//! LeaveGroup (key 13), versions 0 to 5: members leave, or an administrator removes them.
//!
//! v3 takes several members, each with its own result (KIP-345), v4 is flexible, v5 a reason (KIP-800).
//! Deliberately not here: all decisions (`core::group`).

use pagemark_core::coordinator::{Answer, LeaveAnswer, LeaveRequest, LeavingMember, Request};
use pagemark_wire::messages::leave_group_response::MemberResponse;
use pagemark_wire::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::{Call, Reply, text, wrong_kind};
use crate::executor::Outgoing;

/// Asks the group's shard.
pub fn handle(call: Call, out: &mut Outgoing, request: LeaveGroupRequest) {
    let group_id = request.group_id.to_string();
    let members = if call.version >= 3 {
        let leaving = request.members.into_iter().map(|m| LeavingMember {
            member_id: m.member_id.to_string(),
            group_instance_id: m.group_instance_id.map(|id| id.to_string()),
            reason: m.reason.map(|r| r.to_string()),
        });
        leaving.collect()
    } else {
        vec![LeavingMember { member_id: request.member_id.to_string(), group_instance_id: None, reason: None }]
    };
    let leave = LeaveRequest { group_id: group_id.clone(), members };
    call.ask_group(out, &group_id, Request::Leave(leave), respond);
}

fn respond(reply: Reply, version: i16, answer: Answer) {
    let Answer::Leave(leave) = answer else { return wrong_kind("LeaveGroup", &answer) };
    reply.send(&response(version, leave));
}

fn response(version: i16, leave: LeaveAnswer) -> LeaveGroupResponse {
    let answer = LeaveGroupResponse::default();
    if version < 3 {
        let first = leave.members.first().map(|m| m.error).filter(|_| leave.error.is_none());
        return answer.with_error_code(first.unwrap_or(leave.error).code());
    }
    let members = leave
        .members
        .into_iter()
        .map(|m| {
            MemberResponse::default()
                .with_member_id(text(m.member_id))
                .with_group_instance_id(m.group_instance_id.map(text))
                .with_error_code(m.error.code())
        })
        .collect();
    answer.with_error_code(leave.error.code()).with_members(members)
}
