//! DescribeCluster (key 60), versions 0 to 2: the brokers and the cluster's id (KIP-700).
//!
//! v1 asks for brokers or controllers (KIP-919), v2 for fenced brokers too (KIP-1073), of which there are none. Controllers are
//! not to be found at a broker's address, as in Kafka. Deliberately not here: racks.

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::describe_cluster_response::DescribeClusterBroker;
use pagemark_wire::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{Call, text};
use crate::executor::Outgoing;

/// Numbers for what is asked for.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Bits of all operations on a cluster that Kafka knows: without an authorizer everybody may do them.
const ALL_OPERATIONS: i32 = 8096;

/// Answers at once.
pub fn handle(call: Call, _out: &mut Outgoing, request: DescribeClusterRequest) {
    let refused = |code: ErrorCode, why: String| {
        DescribeClusterResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(why)))
            .with_controller_id(BrokerId(-1))
    };
    let asked = if call.version == 0 { BROKERS } else { request.endpoint_type };
    let answer = match asked {
        BROKERS => {
            let node = BrokerId(call.broker.settings.node_id);
            let broker = DescribeClusterBroker::default()
                .with_broker_id(node)
                .with_host(text(&call.client.advertised.host))
                .with_port(i32::from(call.client.advertised.port))
                .with_rack(None);
            let answer = DescribeClusterResponse::default();
            let answer = match request.include_cluster_authorized_operations {
                true => answer.with_cluster_authorized_operations(ALL_OPERATIONS),
                false => answer,
            };
            answer
                .with_error_message(None)
                .with_cluster_id(text(&call.broker.cluster_id))
                .with_controller_id(node)
                .with_brokers(vec![broker])
        }
        CONTROLLERS => {
            let why = "this is the address of a broker, not of a controller: ask for brokers";
            refused(ErrorCode::MismatchedEndpointType, why.to_owned())
        }
        other => refused(ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
    };
    call.reply.send(&answer);
}
