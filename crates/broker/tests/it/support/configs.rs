//! Asking for configs and changing them, in few words.

use std::collections::BTreeMap;

use pagemark_wire::messages::describe_configs_request::DescribeConfigsResource;
use pagemark_wire::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use pagemark_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use pagemark_wire::messages::*;

use super::client::Client;
use pagemark_wire::messages::text;

/// Types of resources.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;

/// Operations of IncrementalAlterConfigs.
pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;
pub const SUBTRACT: i8 = 3;

/// A change of one config: (config, operation, value).
pub type Step<'a> = (&'a str, i8, Option<&'a str>);

/// A request for these resources; no keys for all of them.
pub fn describe_request(resources: &[(i8, &str)], keys: &[&str]) -> DescribeConfigsRequest {
    let keys: Vec<StrBytes> = keys.iter().map(|key| text(*key)).collect();
    let resource = |(kind, name): &(i8, &str)| {
        DescribeConfigsResource::default()
            .with_resource_type(*kind)
            .with_resource_name(text(*name))
            .with_configuration_keys((!keys.is_empty()).then(|| keys.clone()))
    };
    DescribeConfigsRequest::default()
        .with_resources(resources.iter().map(resource).collect())
        .with_include_synonyms(true)
}

/// A change of one resource.
pub fn steps(kind: i8, name: &str, steps: &[Step]) -> AlterConfigsResource {
    let step = |(name, operation, value): &(&str, i8, Option<&str>)| {
        AlterableConfig::default().with_name(text(*name)).with_config_operation(*operation).with_value(value.map(text))
    };
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(steps.iter().map(step).collect())
}

/// A request that gives one resource these configs and no others.
pub fn whole_request(kind: i8, name: &str, configs: &[(&str, Option<&str>)]) -> AlterConfigsRequest {
    let config = |(name, value): &(&str, Option<&str>)| {
        alter_configs_request::AlterableConfig::default().with_name(text(*name)).with_value(value.map(text))
    };
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.iter().map(config).collect());
    AlterConfigsRequest::default().with_resources(vec![resource])
}

impl Client {
    /// What DescribeConfigs says of one resource, version 4.
    pub fn describe(&mut self, kind: i8, name: &str, keys: &[&str]) -> DescribeConfigsResult {
        self.ask(4, &describe_request(&[(kind, name)], keys)).results.remove(0)
    }

    /// What DescribeConfigs says of one config.
    pub fn config(&mut self, kind: i8, name: &str, key: &str) -> DescribeConfigsResourceResult {
        let mut answer = self.describe(kind, name, &[key]);
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        answer.configs.remove(0)
    }

    /// The value of one config and where it comes from.
    pub fn value(&mut self, kind: i8, name: &str, key: &str) -> (Option<String>, i8) {
        let config = self.config(kind, name, key);
        (config.value.map(|value| value.to_string()), config.config_source)
    }

    /// Changes configs, version 1; gives code and message of each resource.
    pub fn alter(&mut self, resources: Vec<AlterConfigsResource>) -> Vec<(i16, String)> {
        let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
        self.altered(&request)
    }

    /// What became of a request to change configs.
    pub fn altered(&mut self, request: &IncrementalAlterConfigsRequest) -> Vec<(i16, String)> {
        let plain = |r: incremental_alter_configs_response::AlterConfigsResourceResponse| {
            assert_eq!(r.error_message.is_some(), r.error_code != 0, "Q-83");
            (r.error_code, r.error_message.map(|m| m.to_string()).unwrap_or_default())
        };
        self.ask(1, request).responses.into_iter().map(plain).collect()
    }

    /// Changes configs of one resource and gives the code.
    pub fn alter_one(&mut self, kind: i8, name: &str, changes: &[Step]) -> i16 {
        self.alter(vec![steps(kind, name, changes)]).remove(0).0
    }

    /// The topic's own configs.
    pub fn own_configs(&mut self, topic: &str) -> BTreeMap<String, String> {
        let configs = self.describe(TOPIC, topic, &[]).configs.into_iter();
        let own = configs.filter(|config| config.config_source == 1);
        own.map(|c| (c.name.to_string(), c.value.map(|v| v.to_string()).unwrap_or_default())).collect()
    }
}
