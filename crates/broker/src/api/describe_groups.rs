//! DescribeGroups (key 15), versions 0 to 6: members and assignments of groups.
//!
//! v3 can ask for authorized operations, v4 static members, v5 is flexible, v6 says that a group does not exist by an error
//! instead of the state `Dead` (KIP-1043, G-35). Deliberately not here: authorized operations; there is no authorizer.

use pagemark_core::coordinator::{Answer, DescribeAnswer, DescribeRequest, GroupState, Request};
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use pagemark_wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::gather::Gather;
use super::{Call, TurnEnd, each_once, send_to_shard, text};
use crate::executor::{GroupWork, Outgoing};

/// Asks the shard of each group. Members bring their subscriptions and assignments along, so the answer may be large.
pub fn handle(call: Call, _out: &mut Outgoing, request: DescribeGroupsRequest) {
    call.ask_aside(move |call, out, end| ask(call, out, end, each_once(request.groups, GroupId::clone)));
}

fn ask(call: Call, out: &mut Outgoing, end: TurnEnd, groups: Vec<GroupId>) {
    let Call { broker, version, reply, .. } = call;
    let asked = groups.clone();
    let places = Gather::places(asked.len(), move |parts: Vec<Option<DescribeAnswer>>| {
        let _end = end;
        let lost = |id: &GroupId| {
            DescribeAnswer::error(ErrorCode::CoordinatorNotAvailable, id.to_string(), GroupState::Unknown)
        };
        let groups = parts.into_iter().zip(&asked).map(|(part, id)| part.unwrap_or_else(|| lost(id)));
        let groups = groups.map(|group| respond(version, group)).collect();
        reply.send(&DescribeGroupsResponse::default().with_groups(groups));
    });
    for (group, place) in groups.into_iter().zip(places) {
        let shard = broker.group_shard(&group);
        let request = Request::Describe(DescribeRequest { group_id: group.to_string() });
        let answer = Box::new(move |answer: Answer| {
            if let Answer::Describe(group) = answer {
                place.fill(group);
            }
        });
        send_to_shard(&broker, out, GroupWork { shard, request, answer });
    }
}

fn respond(version: i16, group: DescribeAnswer) -> DescribedGroup {
    let unknown = group.error == ErrorCode::GroupIdNotFound;
    let (error, state) = match (unknown, version) {
        (true, ..=5) => (ErrorCode::None, GroupState::Dead),
        _ => (group.error, group.state),
    };
    let message = (version >= 6 && unknown).then(|| text(format!("group {} not found", group.group_id)));
    let members = group
        .members
        .into_iter()
        .map(|m| {
            DescribedGroupMember::default()
                .with_member_id(text(m.member_id))
                .with_group_instance_id(if version >= 4 { m.group_instance_id.map(text) } else { None })
                .with_client_id(text(m.client_id))
                .with_client_host(text(m.client_host))
                .with_member_metadata(m.metadata)
                .with_member_assignment(m.assignment)
        })
        .collect();
    DescribedGroup::default()
        .with_error_code(error.code())
        .with_error_message(message)
        .with_group_id(GroupId(text(group.group_id)))
        .with_group_state(text(state.as_str()))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol))
        .with_members(members)
}
