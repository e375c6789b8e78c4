//! FindCoordinator (key 10), versions 0 to 6: which broker coordinates a group.
//!
//! v1 added the key type, v3 is flexible, v4 takes several keys (KIP-699), v6 knows share groups. On one broker the answer is
//! always this one, at once: the offsets topic exists from the start (P-27).
//! Deliberately not here: transaction coordinators (type 1); they answer COORDINATOR_NOT_AVAILABLE until there are any.

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::find_coordinator_response::Coordinator;
use pagemark_wire::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, StrBytes};

use super::{Call, text};
use crate::executor::Outgoing;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Names this broker for every group.
pub fn handle(call: Call, _out: &mut Outgoing, request: FindCoordinatorRequest) {
    let (error, message) = judge(request.key_type, call.version);
    let node = BrokerId(call.broker.settings.node_id);
    let address = &call.client.advertised;
    if call.version >= 4 {
        let coordinator = |key: StrBytes| {
            let answer = Coordinator::default().with_key(key).with_error_code(error.code());
            if error.is_none() {
                answer.with_node_id(node).with_host(text(&address.host)).with_port(i32::from(address.port))
            } else {
                answer.with_node_id(BrokerId(-1)).with_port(-1).with_error_message(message.map(text))
            }
        };
        let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
        return call.reply.send(&FindCoordinatorResponse::default().with_coordinators(coordinators));
    }
    let answer = FindCoordinatorResponse::default().with_error_code(error.code());
    call.reply.send(&if error.is_none() {
        answer.with_node_id(node).with_host(text(&address.host)).with_port(i32::from(address.port))
    } else {
        let message = if call.version >= 1 { message.map(text) } else { None };
        answer.with_node_id(BrokerId(-1)).with_port(-1).with_error_message(message)
    });
}

fn judge(key_type: i8, version: i16) -> (ErrorCode, Option<&'static str>) {
    match key_type {
        GROUP => (ErrorCode::None, None),
        _ if version == 0 => (ErrorCode::None, None),
        TRANSACTION => (ErrorCode::CoordinatorNotAvailable, Some("transactions are not served by this broker yet")),
        _ => (ErrorCode::InvalidRequest, Some("the coordinator key type is unknown")),
    }
}
