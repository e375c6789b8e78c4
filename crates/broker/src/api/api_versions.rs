//! ApiVersions (key 18), versions 0 to 4: which APIs this broker serves, in which versions.
//!
//! v1 added the throttle time, v3 is flexible and names the client's software (KIP-511) and the features (KIP-584), v4 may
//! list features whose lowest version is 0 (P-17). A version above ours is answered with version 0 and code 35 (P-11).
//! Deliberately not here: features. None is finalized; `transaction.version` comes with transactions (P-19).

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::api::Api;
use pagemark_wire::frame::encode_response;
use pagemark_wire::messages::api_versions_response::ApiVersion;
use pagemark_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::Call;
use crate::executor::Outgoing;

/// Answers with the table of [`Api::ALL`].
pub fn handle(call: Call, _out: &mut Outgoing, request: ApiVersionsRequest) {
    let named = |text: &str| is_software_name(text);
    if call.version >= 3 && !(named(&request.client_software_name) && named(&request.client_software_version)) {
        let refused = ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
        return call.reply.send(&refused);
    }
    let keys = Api::ALL.iter().map(|info| entry(info.api)).collect();
    call.reply.send(&ApiVersionsResponse::default().with_api_keys(keys));
}

/// The answer to a version that we do not have: a body of version 0 with our own range (P-11).
#[must_use]
pub fn unsupported_version(correlation_id: i32) -> Bytes {
    let body = ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(vec![entry(Api::ApiVersions)]);
    encode_response(Api::ApiVersions, 0, correlation_id, &body).expect("version 0 carries codes and ranges")
}

fn entry(api: Api) -> ApiVersion {
    let info = api.info();
    ApiVersion::default().with_api_key(info.key).with_min_version(info.advertised_lowest).with_max_version(info.highest)
}

/// Letters and digits, with `-` and `.` inside (P-12).
fn is_software_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_letters_and_digits_with_dots_and_dashes_inside_p_12() {
        for good in ["librdkafka", "a", "2.3.0", "apache-kafka-java"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }

    #[test]
    fn an_unknown_version_gets_sixteen_bytes_in_version_0_p_11() {
        let frame = unsupported_version(7);
        let expected: &[u8] = &[0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
        assert_eq!(frame, expected);
    }
}
