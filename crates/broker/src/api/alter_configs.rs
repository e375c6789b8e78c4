//! AlterConfigs (key 33), versions 0 to 2: gives topics and brokers these configs and no others.
//!
//! v2 is flexible. Clients use IncrementalAlterConfigs where they can: whoever does not name a config here takes it away.
//! The answer leaves when the change is durable and takes effect. Deliberately not here: which values are legal
//! (`metadata/configs`).

use pagemark_wire::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use pagemark_wire::messages::alter_configs_response::AlterConfigsResourceResponse;
use pagemark_wire::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::config_resource::{Asked, alter, check_names};
use super::{Call, outcome};
use crate::executor::Outgoing;
use crate::metadata::admin::AdminError;
use crate::metadata::configs::ConfigChange;

/// Changes what can be changed; every resource has its own result.
pub fn handle(call: Call, _out: &mut Outgoing, request: AlterConfigsRequest) {
    tokio::spawn(async move {
        let asked = request.resources.iter().map(read).collect();
        let results = alter(&call.broker, asked, request.validate_only).await;
        let respond = |(resource, result): (&AlterConfigsResource, Result<(), AdminError>)| {
            let (code, message) = outcome(result);
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
        };
        let responses = request.resources.iter().zip(results).map(respond).collect();
        call.reply.send(&AlterConfigsResponse::default().with_responses(responses));
    });
}

fn read(resource: &AlterConfigsResource) -> Asked {
    let names = resource.configs.iter().map(|config| (&config.name, config.value.is_none()));
    let pair = |config: &AlterableConfig| (config.name.to_string(), config.value.as_ref().map(ToString::to_string));
    let change = check_names(names).map(|()| {
        let pairs = resource.configs.iter().map(pair);
        ConfigChange::Whole(pairs.filter_map(|(name, value)| Some((name, value?))).collect())
    });
    Asked { resource_type: resource.resource_type, name: resource.resource_name.clone(), change }
}
