//! IncrementalAlterConfigs (key 44), versions 0 and 1: changes single configs of topics and brokers (KIP-339).
//!
//! v1 is flexible. Each resource changes whole or not at all, and stands for itself. The answer leaves when the change is
//! durable and takes effect. Deliberately not here: which values are legal (`metadata/configs`).

use pagemark_wire::ErrorCode;
use pagemark_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use pagemark_wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use pagemark_wire::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::config_resource::{Asked, alter, check_names};
use super::{Call, outcome};
use crate::executor::Outgoing;
use crate::metadata::admin::AdminError;
use crate::metadata::configs::{ConfigChange, ConfigStep};

/// `configOperation` that needs no value.
const DELETE: i8 = 1;

/// Changes what can be changed; every resource has its own result.
pub fn handle(call: Call, _out: &mut Outgoing, request: IncrementalAlterConfigsRequest) {
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
        call.reply.send(&IncrementalAlterConfigsResponse::default().with_responses(responses));
    });
}

fn read(resource: &AlterConfigsResource) -> Asked {
    let lacking = |config: &AlterableConfig| config.value.is_none() && config.config_operation != DELETE;
    let names = resource.configs.iter().map(|config| (&config.name, lacking(config)));
    let change = check_names(names).and_then(|()| {
        let steps: Result<Vec<_>, AdminError> = resource.configs.iter().map(step).collect();
        Ok(ConfigChange::Steps(steps?))
    });
    Asked { resource_type: resource.resource_type, name: resource.resource_name.clone(), change }
}

fn step(config: &AlterableConfig) -> Result<(String, ConfigStep), AdminError> {
    let value = config.value.as_ref().map(ToString::to_string).unwrap_or_default();
    let step = match config.config_operation {
        0 => ConfigStep::Set(value),
        DELETE => ConfigStep::Delete,
        2 => ConfigStep::Append(value),
        3 => ConfigStep::Subtract(value),
        other => {
            let why = format!("operations are SET (0), DELETE (1), APPEND (2) and SUBTRACT (3), not {other}");
            return Err((ErrorCode::InvalidRequest, why));
        }
    };
    Ok((config.name.to_string(), step))
}
