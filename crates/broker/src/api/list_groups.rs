//! ListGroups (key 16), versions 0 to 5: which groups there are.
//!
//! v3 is flexible, v4 filters by state (KIP-518), v5 by type (KIP-848). Every shard is asked, since groups are spread over
//! all of them. Deliberately not here: the filters' meaning (`core`).

use pagemark_core::coordinator::{Answer, ListAnswer, ListRequest, ListedGroup as Listed, Request};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::list_groups_response::ListedGroup;
use pagemark_wire::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use super::gather::Gather;
use super::{Call, send_to_shard, text};
use crate::executor::{GroupWork, Outgoing};

/// Asks every shard.
pub fn handle(call: Call, out: &mut Outgoing, request: ListGroupsRequest) {
    let Call { broker, version, reply, .. } = call;
    let shards = broker.settings.offsets_topic_num_partitions.unsigned_abs();
    let places = Gather::places(shards as usize, move |parts| reply.send(&response(version, parts)));
    let filters = ListRequest {
        states: request.states_filter.iter().map(ToString::to_string).collect(),
        types: request.types_filter.iter().map(ToString::to_string).collect(),
    };
    for (shard, place) in (0..shards).zip(places) {
        let answer = Box::new(move |answer: Answer| {
            if let Answer::List(list) = answer {
                place.fill(list);
            }
        });
        send_to_shard(&broker, out, GroupWork { shard, request: Request::List(filters.clone()), answer });
    }
}

fn response(version: i16, parts: Vec<Option<ListAnswer>>) -> ListGroupsResponse {
    let mut error = ErrorCode::None;
    let mut groups = Vec::new();
    for part in parts {
        let part = part.unwrap_or(ListAnswer { error: ErrorCode::CoordinatorNotAvailable, groups: Vec::new() });
        if error.is_none() {
            error = part.error;
        }
        groups.extend(part.groups.into_iter().map(|g| entry(version, g)));
    }
    groups.sort_by(|a: &ListedGroup, b| a.group_id.0.as_str().cmp(b.group_id.0.as_str()));
    // With an error nothing is listed: half a list would pass for a whole one.
    let groups = if error.is_none() { groups } else { Vec::new() };
    ListGroupsResponse::default().with_error_code(error.code()).with_groups(groups)
}

fn entry(version: i16, group: Listed) -> ListedGroup {
    let listed = ListedGroup::default()
        .with_group_id(GroupId(text(group.group_id)))
        .with_protocol_type(text(group.protocol_type));
    match version {
        ..=3 => listed,
        4 => listed.with_group_state(text(group.state.as_str())),
        _ => listed.with_group_state(text(group.state.as_str())).with_group_type(text(group.group_type)),
    }
}
