//! From a frame to the handler of its API.
//!
//! Decoding happens here, guarded against hostile lengths; whatever cannot be decoded closes the connection (P-9).
//! Deliberately not here: reading frames (`net`), handling them (`api`).

use std::sync::Arc;

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::frame::{FrameError, Request, parse_request};
use pagemark_wire::messages::{self, Decodable};

use crate::api::{self, Call, Reply};
use crate::broker::{Broker, Client};
use crate::executor::Outgoing;
use crate::net::outbox::ReplySlot;

/// Handles one frame: an answer will come out of `slot`, or the connection closes.
pub fn dispatch(broker: &Arc<Broker>, client: &Arc<Client>, out: &mut Outgoing, frame: &Bytes, slot: ReplySlot) {
    let (header, body) = match parse_request(frame) {
        Ok(Request::Served { header, body }) => (header, body),
        Ok(Request::ApiVersionsUnsupported { correlation_id, .. }) => {
            return slot.write(api::api_versions::unsupported_version(correlation_id));
        }
        Err(error) => {
            report(client, &error);
            return slot.close();
        }
    };
    broker.metrics.request(header.api);
    let call = Call {
        broker: Arc::clone(broker),
        client: Arc::clone(client),
        client_id: header.client_id.clone().unwrap_or_default(),
        version: header.version,
        reply: Reply::new(slot, &header),
    };
    let api = header.api;
    match api {
        Api::Produce => run(call, out, api, body, api::produce::handle),
        Api::Fetch => run(call, out, api, body, api::fetch::handle),
        Api::ListOffsets => run(call, out, api, body, api::list_offsets::handle),
        Api::Metadata => run(call, out, api, body, api::metadata::handle),
        Api::OffsetCommit => run(call, out, api, body, api::offset_commit::handle),
        Api::OffsetFetch => run(call, out, api, body, api::offset_fetch::handle),
        Api::FindCoordinator => run(call, out, api, body, api::find_coordinator::handle),
        Api::JoinGroup => run(call, out, api, body, api::join_group::handle),
        Api::Heartbeat => run(call, out, api, body, api::heartbeat::handle),
        Api::LeaveGroup => run(call, out, api, body, api::leave_group::handle),
        Api::SyncGroup => run(call, out, api, body, api::sync_group::handle),
        Api::DescribeGroups => run(call, out, api, body, api::describe_groups::handle),
        Api::ListGroups => run(call, out, api, body, api::list_groups::handle),
        Api::ApiVersions => run(call, out, api, body, api::api_versions::handle),
        Api::CreateTopics => run(call, out, api, body, api::create_topics::handle),
        Api::DeleteTopics => run(call, out, api, body, api::delete_topics::handle),
        Api::DeleteRecords => run(call, out, api, body, api::delete_records::handle),
        Api::InitProducerId => run(call, out, api, body, api::init_producer_id::handle),
        Api::DescribeLogDirs => run(call, out, api, body, api::describe_log_dirs::handle),
        Api::DescribeTopicPartitions => run(call, out, api, body, api::describe_topic_partitions::handle),
        Api::DescribeCluster => run(call, out, api, body, api::describe_cluster::handle),
        Api::CreatePartitions => run(call, out, api, body, api::create_partitions::handle),
        Api::OffsetForLeaderEpoch => run(call, out, api, body, api::offset_for_leader_epoch::handle),
        Api::DeleteGroups => run(call, out, api, body, api::delete_groups::handle),
        Api::OffsetDelete => run(call, out, api, body, api::offset_delete::handle),
        Api::IncrementalAlterConfigs => run(call, out, api, body, api::incremental_alter_configs::handle),
        Api::AlterConfigs => run(call, out, api, body, api::alter_configs::handle),
        Api::DescribeConfigs => run(call, out, api, body, api::describe_configs::handle),
        Api::ConsumerGroupDescribe => call.reply.close(), // not served, so no frame is taken for it
    }
}

fn run<R: Decodable>(call: Call, out: &mut Outgoing, api: Api, body: Bytes, handler: fn(Call, &mut Outgoing, R)) {
    match messages::decode::<R>(api, call.version, body) {
        Ok(decoded) => {
            call.broker.metrics.trailing_bytes(decoded.trailing_bytes);
            handler(call, out, decoded.message);
        }
        Err(error) => {
            tracing::warn!(client = %call.client.host, client_id = ?shown(&call.client_id), api = ?api, version = call.version,
                %error, "malformed request; closing the connection");
            call.reply.close();
        }
    }
}

/// One clear line for the operator: the client sees only a closed connection.
fn report(client: &Client, error: &FrameError) {
    match error {
        FrameError::Unsupported { api_key, api_version, client_id } => {
            tracing::warn!(client = %client.host, client_id = ?client_id.as_deref().map(shown), api_key, api_version,
                "this API or version is not served; closing the connection");
        }
        FrameError::Header | FrameError::Length { .. } => {
            tracing::warn!(client = %client.host, %error, "not a Kafka request; closing the connection");
        }
    }
}

/// As much of a client's name for itself as a line of the log should hold: it may have 32 KiB.
fn shown(client_id: &str) -> &str {
    const MOST_CHARS: usize = 64;
    client_id.char_indices().nth(MOST_CHARS).map_or(client_id, |(end, _)| &client_id[..end])
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_long_client_id_is_cut_between_characters() {
        assert_eq!(shown("consumer-1"), "consumer-1");
        assert_eq!(shown(&"\u{e4}".repeat(64)), "\u{e4}".repeat(64));
        assert_eq!(shown(&"\u{e4}".repeat(32_000)), "\u{e4}".repeat(64));
    }
}
