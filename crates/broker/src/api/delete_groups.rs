//! DeleteGroups (key 42), versions 0 to 2: groups without members go, with all their offsets (G-37, O-36).
//!
//! v2 is flexible. Each group is deleted whole or not at all, and is gone from the disk when the answer leaves.
//! Deliberately not here: which groups may be deleted (`core::group`).

use pagemark_core::coordinator::{Answer, DeleteGroupRequest, Request};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::delete_groups_response::DeletableGroupResult;
use pagemark_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use super::gather::Gather;
use super::{Call, each_once, send_to_shard};
use crate::executor::{GroupWork, Outgoing};

/// Asks the shard of each group; one named twice is answered once, as Kafka does.
pub fn handle(call: Call, out: &mut Outgoing, request: DeleteGroupsRequest) {
    let Call { broker, reply, .. } = call;
    let groups = each_once(request.groups_names, GroupId::clone);
    let asked = groups.clone();
    let places = Gather::places(groups.len(), move |parts: Vec<Option<ErrorCode>>| {
        let result = |(part, group_id): (Option<ErrorCode>, GroupId)| {
            let code = part.unwrap_or(ErrorCode::CoordinatorNotAvailable).code();
            DeletableGroupResult::default().with_group_id(group_id).with_error_code(code)
        };
        let results = parts.into_iter().zip(asked).map(result).collect();
        reply.send(&DeleteGroupsResponse::default().with_results(results));
    });
    for (group, place) in groups.into_iter().zip(places) {
        let shard = broker.group_shard(&group);
        let request = Request::DeleteGroup(DeleteGroupRequest { group_id: group.to_string() });
        let answer = Box::new(move |answer: Answer| {
            if let Answer::DeleteGroup(code) = answer {
                place.fill(code);
            }
        });
        send_to_shard(&broker, out, GroupWork { shard, request, answer });
    }
}
