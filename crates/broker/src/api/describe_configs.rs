//! DescribeConfigs (key 32), versions 1 to 4: the configs of topics and brokers, with where each value comes from.
//!
//! v1 added synonyms (KIP-226), v3 types and documentation (KIP-569), v4 is flexible. Groups and client metrics have no
//! configs here and are shown so. A resource that is named twice is answered once: a request must not be answered with
//! many times its size. Deliberately not here: log levels of a broker (type 8), which cannot be changed from outside.

use std::collections::BTreeSet;

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::describe_configs_request::DescribeConfigsResource;
use pagemark_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use pagemark_wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse, StrBytes};

use super::config_resource::{ResourceType, broker_layer};
use super::{Call, text};
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::metadata::admin::AdminError;
use crate::metadata::broker_config::BrokerLayer;
use crate::metadata::config_view::{ConfigEntry, all_brokers_entries, broker_entries, topic_entries};
use crate::metadata::name::check_topic_name;

/// So many resources are described at once; for more, no other request is kept waiting.
const FEW: usize = 32;

/// Answers from the published view.
pub fn handle(call: Call, _out: &mut Outgoing, request: DescribeConfigsRequest) {
    if request.resources.len() <= FEW {
        answer(call, &request);
    } else {
        call.answer_aside(move |call| answer(call, &request));
    }
}

fn answer(call: Call, request: &DescribeConfigsRequest) {
    let show = Show {
        version: call.version,
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let mut seen = BTreeSet::new();
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_message(Some(StrBytes::default()));
        results.push(match describe(&call.broker, resource, &mut seen) {
            Ok(entries) => answer.with_configs(entries.into_iter().map(|entry| show.entry(entry)).collect()),
            Err((code, why)) => answer.with_error_code(code.code()).with_error_message(Some(text(why))),
        });
    }
    call.reply.send(&DescribeConfigsResponse::default().with_results(results));
}

fn describe<'r>(
    broker: &Broker,
    resource: &'r DescribeConfigsResource,
    seen: &mut BTreeSet<(ResourceType, Option<BrokerLayer>, &'r str)>,
) -> Result<Vec<ConfigEntry>, AdminError> {
    let name = resource.resource_name.as_str();
    let kind = ResourceType::of(resource.resource_type)?;
    let layer = match kind {
        ResourceType::Broker => Some(broker_layer(name, broker.settings.node_id)?),
        _ => None,
    };
    let identity = if layer.is_some() { "" } else { name };
    if !seen.insert((kind, layer, identity)) {
        return Err((ErrorCode::InvalidRequest, "the request names this resource twice".to_owned()));
    }
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    let keys: BTreeSet<&str> = keys.iter().map(StrBytes::as_str).collect();
    // Both null and nothing mean all, as in Kafka.
    let wanted = |name: &str| keys.is_empty() || keys.contains(name);
    let brokers = broker.configs.current();
    match (kind, layer) {
        (ResourceType::Topic, _) => {
            check_topic_name(name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
            let view = broker.registry.view();
            let topic = view
                .by_name(name)
                .ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")))?;
            Ok(topic_entries(&topic.record.configs, &brokers, wanted))
        }
        (ResourceType::Broker, Some(BrokerLayer::All)) => Ok(all_brokers_entries(&brokers, wanted)),
        (ResourceType::Broker, _) => Ok(broker_entries(&brokers, wanted)),
        (ResourceType::ClientMetrics | ResourceType::Group, _) if name.is_empty() => {
            Err((ErrorCode::InvalidRequest, "the name of this resource must not be empty".to_owned()))
        }
        (ResourceType::ClientMetrics | ResourceType::Group, _) => Ok(Vec::new()),
    }
}

/// How much of an entry is shown.
struct Show {
    version: i16,
    synonyms: bool,
    documentation: bool,
}

impl Show {
    fn entry(&self, entry: ConfigEntry) -> DescribeConfigsResourceResult {
        let synonym = |s: crate::metadata::config_view::Synonym| {
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_static_str(s.name))
                .with_value(s.value.map(text))
                .with_source(s.source as i8)
        };
        let documentation = self.documentation.then(|| text(entry.documentation()));
        let synonyms = if self.synonyms { entry.synonyms } else { Vec::new() };
        let shown = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(entry.name))
            .with_value(entry.value.map(text))
            .with_read_only(entry.is_read_only)
            .with_config_source(entry.source as i8)
            .with_synonyms(synonyms.into_iter().map(synonym).collect());
        if self.version < 3 {
            return shown;
        }
        shown.with_config_type(entry.config_type as i8).with_documentation(documentation)
    }
}
