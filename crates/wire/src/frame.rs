//! Frames: the length in front, the request header, the response header.
//!
//! A frame is an int32 length and that many bytes: header, then body. Deliberately not here: reading from a socket, which
//! is the broker's, and bodies, which are `messages`.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::api::Api;
use crate::guard::cursor::Cursor;

/// Bytes of the length in front of each frame.
pub const LENGTH_PREFIX_LEN: usize = 4;

/// Why a frame cannot be answered: close the connection (P-1, P-7, P-9).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length in front is not positive, or beyond the limit (P-1).
    #[error("frame length {length} is outside 1 to {limit}{}", hint.map(|h| format!(": {h}")).unwrap_or_default())]
    Length {
        /// The length given.
        length: i32,
        /// The limit, `socket.request.max.bytes`.
        limit: usize,
        /// What the bytes look like, if they are not Kafka's protocol at all.
        hint: Option<&'static str>,
    },
    /// The frame ends within the header, or the header's tags are malformed.
    #[error("the frame's header is malformed")]
    Header,
    /// An API that is not served, or not in this version (P-7). Worth a line in the log: the client sees only a close.
    #[error("api key {api_key} version {api_version} is not served")]
    Unsupported {
        /// The number of the API asked for.
        api_key: i16,
        /// The version asked for.
        api_version: i16,
        /// Who asked, as far as it could be read.
        client_id: Option<StrBytes>,
    },
}

/// The header of a request that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api: Api,
    /// In which version, one that is served. For [`Request::ApiVersionsUnsupported`] see there.
    pub version: i16,
    /// To be repeated in the response.
    pub correlation_id: i32,
    /// What the client calls itself; untrusted. Bytes that are not UTF-8 are replaced.
    pub client_id: Option<StrBytes>,
}

/// A request as far as its header tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// One that is served, with its body not yet looked at.
    Served {
        /// Its header.
        header: RequestHeader,
        /// What follows the header.
        body: Bytes,
    },
    /// ApiVersions in a version that we do not have: answer a version 0 body with UNSUPPORTED_VERSION (P-11).
    ApiVersionsUnsupported {
        /// The version asked for.
        version: i16,
        /// To be repeated in the response.
        correlation_id: i32,
    },
}

/// A whole frame that is to be written, in pieces that lie wherever they are: the records of a Fetch are never moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    first: Bytes,
    rest: Vec<Bytes>,
    len: usize,
}

impl Frame {
    /// A frame that begins with `first`, its length included, and goes on with `rest`.
    #[must_use]
    pub fn in_pieces(first: Bytes, rest: Vec<Bytes>) -> Frame {
        let len = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
        Frame { first, rest, len }
    }

    /// Length in bytes, that of the prefix included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The pieces in order.
    pub fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.first).chain(self.rest)
    }
}

impl From<Bytes> for Frame {
    fn from(whole: Bytes) -> Self {
        Frame::in_pieces(whole, Vec::new())
    }
}

/// Judges the length in front of a frame, as it came (P-1).
///
/// # Errors
/// [`FrameError::Length`] if it is not in 1 to `limit` (`socket.request.max.bytes`).
pub fn frame_length(prefix: [u8; LENGTH_PREFIX_LEN], limit: usize) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(bytes) if bytes > 0 && bytes <= limit => Ok(bytes),
        _ => Err(FrameError::Length { length, limit, hint: foreign_protocol(prefix) }),
    }
}

/// What the first bytes of a connection look like when they are not Kafka's protocol.
fn foreign_protocol(prefix: [u8; LENGTH_PREFIX_LEN]) -> Option<&'static str> {
    match &prefix {
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PRI " => Some("this looks like an HTTP client"),
        [0x16, 0x03, _, _] => Some("this looks like a TLS client on a plaintext listener"),
        _ => None,
    }
}

/// Reads the header of a request from a whole frame, without the length in front.
///
/// # Errors
/// Any but [`FrameError::Length`].
pub fn parse_request(frame: &Bytes) -> Result<Request, FrameError> {
    let head: &[u8; 8] = frame.first_chunk().ok_or(FrameError::Header)?;
    let api_key = i16::from_be_bytes([head[0], head[1]]);
    let version = i16::from_be_bytes([head[2], head[3]]);
    let correlation_id = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let api = match Api::from_key(api_key) {
        Some(Api::ApiVersions) if !Api::ApiVersions.info().serves(version) => {
            return Ok(Request::ApiVersionsUnsupported { version, correlation_id }); // the rest may have any format
        }
        Some(api) if api.info().serves(version) => api,
        _ => {
            let client_id = client_id(&mut Cursor::at(frame, 8), frame).unwrap_or_default();
            return Err(FrameError::Unsupported { api_key, api_version: version, client_id });
        }
    };
    let mut cursor = Cursor::at(frame, 8);
    let client_id = client_id(&mut cursor, frame)?;
    if api.info().is_flexible(version) {
        cursor.skip_tags().map_err(|_| FrameError::Header)?;
    }
    let body = frame.slice(cursor.position()..);
    Ok(Request::Served { header: RequestHeader { api, version, correlation_id, client_id }, body })
}

/// The client id: never compact, any negative length is null (P-2).
fn client_id(cursor: &mut Cursor<'_>, frame: &Bytes) -> Result<Option<StrBytes>, FrameError> {
    let length = cursor.i16().map_err(|_| FrameError::Header)?;
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let bytes = cursor.take(length).map_err(|_| FrameError::Header)?;
    Ok(Some(match StrBytes::from_utf8(frame.slice_ref(bytes)) {
        Ok(text) => text,
        Err(_) => StrBytes::from_string(String::from_utf8_lossy(bytes).into_owned()),
    }))
}

/// A value that cannot be written in the version asked for: a bug of ours, or a text longer than its field can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{api:?} version {version} cannot be encoded: {reason}")]
pub struct EncodeError {
    /// Which API.
    pub api: Api,
    /// In which version.
    pub version: i16,
    /// What the codec said.
    pub reason: String,
}

/// A whole response frame: length, correlation id, tags where the version has them (P-3, P-4), body.
///
/// # Errors
/// [`EncodeError`] if the body holds what this version cannot carry.
pub fn encode_response<R: Encodable>(
    api: Api,
    version: i16,
    correlation_id: i32,
    body: &R,
) -> Result<Bytes, EncodeError> {
    let mut header = [0; 5];
    header[..4].copy_from_slice(&correlation_id.to_be_bytes());
    let header_len = if api.info().has_response_header_tags(version) { 5 } else { 4 };
    encode_frame(api, version, &header[..header_len], body)
}

/// A whole request frame: length, header, body. `client_id` longer than 32,767 bytes is an error.
///
/// # Errors
/// [`EncodeError`] if the body holds what this version cannot carry.
pub fn encode_request<R: Encodable>(
    api: Api,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &R,
) -> Result<Bytes, EncodeError> {
    let mut header = Vec::with_capacity(16 + client_id.map_or(0, str::len));
    header.put_i16(api.key());
    header.put_i16(version);
    header.put_i32(correlation_id);
    match client_id.map(|id| (i16::try_from(id.len()), id)) {
        None => header.put_i16(-1),
        Some((Ok(length), id)) => {
            header.put_i16(length);
            header.put_slice(id.as_bytes());
        }
        Some((Err(_), _)) => return Err(EncodeError { api, version, reason: "the client id is too long".to_owned() }),
    }
    if api.info().is_flexible(version) {
        header.put_u8(0); // no tags
    }
    encode_frame(api, version, &header, body)
}

fn encode_frame<R: Encodable>(api: Api, version: i16, header: &[u8], body: &R) -> Result<Bytes, EncodeError> {
    let failed = |reason: String| EncodeError { api, version, reason };
    let body_len = body.compute_size(version).map_err(|e| failed(e.to_string()))?;
    let mut frame = BytesMut::with_capacity(LENGTH_PREFIX_LEN + header.len() + body_len);
    frame.put_i32(0);
    frame.put_slice(header);
    body.encode(&mut frame, version).map_err(|e| failed(e.to_string()))?;
    let length = i32::try_from(frame.len() - LENGTH_PREFIX_LEN).map_err(|_| failed("over 2 GiB".to_owned()))?;
    frame[..LENGTH_PREFIX_LEN].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// Splits a response frame, without the length in front, into its correlation id and its body.
///
/// # Errors
/// [`FrameError::Header`] if it ends within the header.
pub fn parse_response(api: Api, version: i16, frame: &Bytes) -> Result<(i32, Bytes), FrameError> {
    let head: &[u8; 4] = frame.first_chunk().ok_or(FrameError::Header)?;
    let mut cursor = Cursor::at(frame, 4);
    if api.info().has_response_header_tags(version) {
        cursor.skip_tags().map_err(|_| FrameError::Header)?;
    }
    Ok((i32::from_be_bytes(*head), frame.slice(cursor.position()..)))
}

#[cfg(test)]
mod tests;
