//! What the three APIs about configs have in common: types of resources, names of brokers, and the answer for each resource.
//!
//! Deliberately not here: what the configs are, and changing them (`metadata`).

use std::collections::{BTreeMap, BTreeSet};

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::StrBytes;

use crate::broker::Broker;
use crate::metadata::admin::AdminError;
use crate::metadata::broker_config::BrokerLayer;
use crate::metadata::configs::{ConfigChange, ConfigResource};

/// A type of resource that has configs in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ResourceType {
    Topic,
    Broker,
    ClientMetrics,
    Group,
}

impl ResourceType {
    /// The type with this number.
    ///
    /// # Errors
    /// INVALID_REQUEST for a number that is nobody's, or log levels.
    pub(super) fn of(number: i8) -> Result<ResourceType, AdminError> {
        match number {
            2 => Ok(ResourceType::Topic),
            4 => Ok(ResourceType::Broker),
            16 => Ok(ResourceType::ClientMetrics),
            32 => Ok(ResourceType::Group),
            8 => Err((
                ErrorCode::InvalidRequest,
                "log levels are set with PAGEMARK_LOG when the broker starts".to_owned(),
            )),
            _ => Err((ErrorCode::InvalidRequest, format!("Unknown resource type {number}"))),
        }
    }
}

/// Which brokers a name stands for: an id this one, nothing all of them.
///
/// # Errors
/// INVALID_REQUEST for anything else.
pub(super) fn broker_layer(name: &str, node_id: i32) -> Result<BrokerLayer, AdminError> {
    if name.is_empty() {
        return Ok(BrokerLayer::All);
    }
    let refused = |why: String| Err((ErrorCode::InvalidRequest, why));
    match name.parse::<i32>() {
        Ok(id) if id == node_id => Ok(BrokerLayer::This),
        Ok(id) => refused(format!("Unexpected broker id, expected {node_id} or empty string, but received {id}")),
        Err(_) => refused("Broker id must be an integer".to_owned()),
    }
}

/// One resource of a request that changes configs, as far as it could be read.
pub(super) struct Asked {
    pub(super) resource_type: i8,
    pub(super) name: StrBytes,
    pub(super) change: Result<ConfigChange, AdminError>,
}

/// Changes what can be changed, and gives a result for each resource in the order of the request.
pub(super) async fn alter(broker: &Broker, asked: Vec<Asked>, validate_only: bool) -> Vec<Result<(), AdminError>> {
    let mut count = BTreeMap::new();
    let resources: Vec<Result<ConfigResource, AdminError>> = asked.iter().map(|a| resource(broker, a)).collect();
    for resource in resources.iter().flatten() {
        *count.entry(resource.clone()).or_insert(0) += 1;
    }
    let mut known = Vec::with_capacity(asked.len());
    let mut changes = Vec::new();
    for (resource, asked) in resources.into_iter().zip(asked) {
        let judged = resource.and_then(|resource| match count.get(&resource) {
            Some(2..) => Err((ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned())),
            _ => asked.change.map(|change| (resource, change)),
        });
        match judged {
            Ok(change) => {
                changes.push(change);
                known.push(Ok(()));
            }
            Err(error) => known.push(Err(error)),
        }
    }
    let mut altered = broker.admin.alter_configs(changes, validate_only).await.into_iter();
    let settle =
        |known: Result<(), AdminError>| known.and_then(|()| altered.next().expect("one result for each change"));
    known.into_iter().map(settle).collect()
}

fn resource(broker: &Broker, asked: &Asked) -> Result<ConfigResource, AdminError> {
    let refused = |why: &str| Err((ErrorCode::InvalidRequest, why.to_owned()));
    match ResourceType::of(asked.resource_type)? {
        ResourceType::Topic if asked.name.is_empty() => refused("Default topic resources are not allowed."),
        ResourceType::Topic => Ok(ConfigResource::Topic(asked.name.to_string())),
        ResourceType::Broker => broker_layer(&asked.name, broker.settings.node_id).map(ConfigResource::Broker),
        ResourceType::ClientMetrics => refused("client metrics are not collected here: there is nothing to configure"),
        ResourceType::Group => refused("groups have no configs of their own here: clients set theirs when they join"),
    }
}

/// Checks that no config is named twice and that none `lacks_value`.
///
/// # Errors
/// INVALID_REQUEST.
pub(super) fn check_names<'c>(configs: impl Iterator<Item = (&'c StrBytes, bool)>) -> Result<(), AdminError> {
    let mut seen = BTreeSet::new();
    for (name, lacks_value) in configs {
        if !seen.insert(name.as_str()) {
            return Err((ErrorCode::InvalidRequest, "Error due to duplicate config keys".to_owned()));
        }
        if lacks_value {
            let name = crate::metadata::topic_config::shown(name);
            return Err((ErrorCode::InvalidRequest, format!("Null value not supported for : {name}")));
        }
    }
    Ok(())
}
