//! DescribeGroups and ListGroups: the group as others see it (G-35, G-36).
//!
//! Deliberately not here: permissions.

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::MemberMetadata;

use crate::coordinator::{DescribeAnswer, DescribedMember, GroupState, ListRequest, ListedGroup};
use crate::group::{Group, stored_member};

impl Group {
    /// The group in detail.
    pub(crate) fn describe(&self) -> DescribeAnswer {
        let state = self.state();
        let stable = self.recorded().filter(|_| state == GroupState::Stable);
        let members = self.roster.members.iter().map(|(member_id, member)| {
            let stored = stable.and_then(|recorded| stored_member(recorded, member_id));
            let field = |of: fn(&MemberMetadata) -> &Bytes| stored.map(of).cloned().unwrap_or_default();
            DescribedMember {
                member_id: member_id.clone(),
                group_instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                metadata: field(|member| &member.subscription),
                assignment: field(|member| &member.assignment),
            }
        });
        DescribeAnswer {
            error: ErrorCode::None,
            group_id: self.id.to_string(),
            state,
            protocol_type: self.protocol_type().to_owned(),
            protocol: stable.and_then(|recorded| recorded.protocol.clone()).unwrap_or_default(),
            members: members.collect(),
        }
    }

    /// The group as a line of a list, if the filters let it through.
    pub(crate) fn list(&self, request: &ListRequest) -> Option<ListedGroup> {
        let state = self.state();
        let passes = |filter: &[String], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let shown = passes(&request.states, state.as_str()) && passes(&request.types, GROUP_TYPE);
        shown.then(|| ListedGroup {
            group_id: self.id.to_string(),
            protocol_type: self.protocol_type().to_owned(),
            state,
            group_type: GROUP_TYPE,
        })
    }
}

/// All groups here speak the classic protocol.
const GROUP_TYPE: &str = "classic";
