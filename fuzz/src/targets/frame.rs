//! Frames: the length in front and the header, of requests and of responses (P-1, P-2).
//!
//! Deliberately not here: bodies (`request.rs`).

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::frame::{Request, frame_length, parse_request, parse_response};

/// Reads the bytes as what a socket brings, as a frame, and as a response of every API.
pub(crate) fn run(bytes: &[u8]) {
    if let Some(prefix) = bytes.first_chunk() {
        let length = frame_length(*prefix, 1 << 20);
        assert!(length.is_err() || length.is_ok_and(|length| (1..=1 << 20).contains(&length)));
    }
    let frame = Bytes::copy_from_slice(bytes);
    if let Ok(Request::Served { header, body }) = parse_request(&frame) {
        assert!(header.api.info().serves(header.version), "{header:?}");
        assert!(frame.ends_with(&body));
    }
    for info in Api::ALL {
        if let Ok((_, body)) = parse_response(info.api, info.highest, &frame) {
            assert!(frame.ends_with(&body));
        }
    }
}
