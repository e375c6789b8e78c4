//! Bytes on a socket: for what no well-behaved client sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::frame::{encode_request, parse_response};
use pagemark_wire::messages::Decodable;
use pagemark_wire::messages::Request;

use super::PATIENCE;

/// A socket to the broker.
pub struct Raw {
    pub stream: TcpStream,
}

/// What a broker did after something was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// It closed without a word.
    Closed,
    /// It sent this frame, the length taken off.
    Answered(Bytes),
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the broker accepts");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Raw { stream }
    }

    /// Sends bytes as they are. A broker that has closed already is no error here.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("sending: {error}")
            }
            _ => {}
        }
    }

    /// Sends a request and does not wait.
    pub fn request<Q: Request>(&mut self, version: i16, request: &Q) {
        let frame = encode_request(Q::API, version, 1, Some("raw"), request).expect("it can be encoded");
        self.send(&frame);
    }

    /// The next thing that happens.
    pub fn reaction(&mut self) -> Reaction {
        let mut prefix = [0; 4];
        match self.stream.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return Reaction::Closed;
            }
            Err(error) => panic!("neither an answer nor a close: {error}"),
        }
        let mut frame = vec![0; i32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame).expect("a whole frame");
        Reaction::Answered(frame.into())
    }

    /// The answer to a request of this kind that was sent with correlation id 1.
    pub fn answer<Q: Request>(&mut self, version: i16) -> Q::Answer {
        match self.reaction() {
            Reaction::Answered(frame) => decode(Q::API, version, &frame),
            Reaction::Closed => panic!("{:?} version {version}: the connection was closed", Q::API),
        }
    }
}

/// Reads a response, which must have correlation id 1 and nothing behind its end.
pub fn decode<A: Decodable>(api: Api, version: i16, frame: &Bytes) -> A {
    let (correlation_id, mut body) = parse_response(api, version, frame).expect("a response");
    assert_eq!(correlation_id, 1);
    let answer = A::decode(&mut body, version).expect("a response that decodes");
    assert!(body.is_empty(), "{api:?} version {version}: {} bytes behind the answer", body.len());
    answer
}

/// A frame: the length, and what it counts.
pub fn framed(contents: &[u8]) -> Vec<u8> {
    let mut frame = (contents.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(contents);
    frame
}

/// A request with a header of our own and these bytes as its body.
pub fn request_with_body(key: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut contents = Vec::new();
    contents.extend_from_slice(&key.to_be_bytes());
    contents.extend_from_slice(&version.to_be_bytes());
    contents.extend_from_slice(&1i32.to_be_bytes());
    contents.extend_from_slice(&3i16.to_be_bytes());
    contents.extend_from_slice(b"raw");
    if flexible {
        contents.push(0);
    }
    contents.extend_from_slice(body);
    framed(&contents)
}

/// A well-formed request as bytes, with correlation id 1.
pub fn encoded<Q: Request>(version: i16, request: &Q) -> Vec<u8> {
    encode_request(Q::API, version, 1, Some("raw"), request).expect("it can be encoded").to_vec()
}
