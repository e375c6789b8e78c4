//! One blocking connection, for tools and tests without a runtime: requests out, as many as one likes, and answers back
//! in the same order (P-5).
//!
//! Versions are the caller's choice: nothing is negotiated here. Deliberately not here: reconnecting, and telling which
//! broker to ask.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::frame::{self, EncodeError, FrameError, LENGTH_PREFIX_LEN};
use pagemark_wire::guard::Malformed;
use pagemark_wire::messages::{Decodable, Encodable, decode_response};

/// The largest answer that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// Number of a request on its connection, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Correlation(pub i32);

/// Why a connection did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Connect anew: the connection is broken, or nothing came in time. Requests without an answer may have been carried out.
    #[error("the connection is broken: {0}")]
    Broken(#[from] io::Error),
    /// Send something else: the request cannot be written in this version. The connection is as it was.
    #[error(transparent)]
    Unsendable(#[from] EncodeError),
    /// Give up on this broker: it does not speak the protocol.
    #[error("the broker does not keep to the protocol: {0}")]
    Protocol(String),
}

impl From<FrameError> for ConnectionError {
    fn from(error: FrameError) -> ConnectionError {
        ConnectionError::Protocol(error.to_string())
    }
}

impl From<Malformed> for ConnectionError {
    fn from(error: Malformed) -> ConnectionError {
        ConnectionError::Protocol(error.to_string())
    }
}

/// An answer as it came, with the request it belongs to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which request.
    pub correlation: Correlation,
    /// Which API was asked.
    pub api: Api,
    /// In which version.
    pub version: i16,
    /// What the answer says, undecoded.
    pub body: Bytes,
}

impl Answer {
    /// The answer as a value; `A` must be the response type of the API.
    ///
    /// # Errors
    /// [`ConnectionError::Protocol`] if it is not one.
    pub fn decode<A: Decodable>(&self) -> Result<A, ConnectionError> {
        Ok(decode_response(self.api, self.version, self.body.clone())?)
    }
}

/// A connection to one broker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    client_id: String,
    next: i32,
    /// Requests without an answer, oldest first.
    waiting: VecDeque<(Correlation, Api, i16)>,
}

impl Connection {
    /// Connects. `timeout` bounds this, and from then on every wait for the broker.
    ///
    /// # Errors
    /// [`ConnectionError::Broken`] if nobody answers there.
    pub fn connect(address: SocketAddr, client_id: &str, timeout: Duration) -> Result<Connection, ConnectionError> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Connection { stream, client_id: client_id.to_owned(), next: 0, waiting: VecDeque::new() })
    }

    /// Sends a request and does not wait. A Produce with acks=0 is not for this: it has no answer.
    ///
    /// # Errors
    /// [`ConnectionError::Broken`] or [`ConnectionError::Unsendable`].
    pub fn send<Q: Encodable>(&mut self, api: Api, version: i16, request: &Q) -> Result<Correlation, ConnectionError> {
        let correlation = Correlation(self.next);
        let bytes = frame::encode_request(api, version, correlation.0, Some(&self.client_id), request)?;
        self.next = self.next.wrapping_add(1);
        self.waiting.push_back((correlation, api, version));
        self.stream.write_all(&bytes)?;
        Ok(correlation)
    }

    /// Waits for the answer to the oldest request that has none.
    ///
    /// # Errors
    /// [`ConnectionError::Broken`] also if nothing is waited for; [`ConnectionError::Protocol`] if the answer is another one's.
    pub fn receive(&mut self) -> Result<Answer, ConnectionError> {
        let Some(&(correlation, api, version)) = self.waiting.front() else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "no request is waiting for an answer").into());
        };
        let bytes = self.read_frame()?;
        let (found, body) = frame::parse_response(api, version, &bytes)?;
        if found != correlation.0 {
            let what = format!("answer {found} came where {} was due", correlation.0);
            return Err(ConnectionError::Protocol(what));
        }
        self.waiting.pop_front();
        Ok(Answer { correlation, api, version, body })
    }

    /// Sends a request and waits for its answer; those of earlier requests must have been received.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Connection::receive`].
    pub fn call<Q: Encodable, A: Decodable>(
        &mut self,
        api: Api,
        version: i16,
        request: &Q,
    ) -> Result<A, ConnectionError> {
        if !self.waiting.is_empty() {
            let what = "answers to earlier requests have to be received first";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what).into());
        }
        self.send(api, version, request)?;
        self.receive()?.decode()
    }

    /// Number of requests without an answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    /// The socket, for what is not a request.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Tells the broker that nothing more will be sent; answers can still be received.
    ///
    /// # Errors
    /// [`ConnectionError::Broken`].
    pub fn finish_sending(&self) -> Result<(), ConnectionError> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    fn read_frame(&mut self) -> Result<Bytes, ConnectionError> {
        let mut prefix = [0; LENGTH_PREFIX_LEN];
        self.stream.read_exact(&mut prefix)?;
        let length = frame::frame_length(prefix, ANSWER_LIMIT_BYTES)?;
        // Grows with what arrives, never by what is announced.
        let mut bytes = Vec::new();
        (&mut self.stream).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use pagemark_wire::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = Connection::connect(listener.local_addr().unwrap(), "tester", SECOND).unwrap();
        let (broker, _) = listener.accept().unwrap();
        (connection, broker)
    }

    fn answer<R: Encodable>(broker: &mut TcpStream, api: Api, version: i16, correlation: i32, body: &R) {
        broker.write_all(&frame::encode_response(api, version, correlation, body).unwrap()).unwrap();
    }

    #[test]
    fn many_requests_may_be_under_way_and_their_answers_come_in_order_p_5() {
        let (mut connection, mut broker) = pair();
        connection.send(Api::ApiVersions, 3, &ApiVersionsRequest::default()).unwrap();
        connection.send(Api::Metadata, 12, &MetadataRequest::default()).unwrap();
        assert_eq!(connection.unanswered(), 2);
        answer(&mut broker, Api::ApiVersions, 3, 0, &ApiVersionsResponse::default().with_error_code(35));
        answer(&mut broker, Api::Metadata, 12, 1, &MetadataResponse::default().with_throttle_time_ms(7));
        let first: ApiVersionsResponse = connection.receive().unwrap().decode().unwrap();
        let second = connection.receive().unwrap();
        assert_eq!((first.error_code, second.correlation), (35, Correlation(1)));
        assert_eq!(second.decode::<MetadataResponse>().unwrap().throttle_time_ms, 7);
        assert!(matches!(connection.receive(), Err(ConnectionError::Broken(_))));
    }

    #[test]
    fn what_is_sent_is_a_request_that_a_broker_can_read() {
        let (mut connection, mut broker) = pair();
        connection.send(Api::Metadata, 12, &MetadataRequest::default()).unwrap();
        connection.finish_sending().unwrap();
        let mut sent = Vec::new();
        broker.read_to_end(&mut sent).unwrap();
        let parsed = frame::parse_request(&Bytes::from(sent).slice(LENGTH_PREFIX_LEN..)).unwrap();
        let frame::Request::Served { header, .. } = parsed else { panic!("{parsed:?}") };
        assert_eq!((header.api, header.version, header.correlation_id), (Api::Metadata, 12, 0));
        assert_eq!(header.client_id.as_deref(), Some("tester"));
    }

    #[test]
    fn an_answer_out_of_turn_is_told_from_a_broken_connection() {
        let (mut connection, mut broker) = pair();
        connection.send(Api::Metadata, 12, &MetadataRequest::default()).unwrap();
        answer(&mut broker, Api::Metadata, 12, 9, &MetadataResponse::default());
        assert!(matches!(connection.receive(), Err(ConnectionError::Protocol(_))));
        drop(broker);
        assert!(matches!(connection.receive(), Err(ConnectionError::Broken(_))));
    }

    #[test]
    fn an_answer_cut_short_or_of_an_absurd_length_is_an_error() {
        for bytes in [&[0u8, 0, 0, 9, 1][..], &[0xff, 0xff, 0xff, 0xff], &[0x7f, 0, 0, 0], &[0, 0]] {
            let (mut connection, mut broker) = pair();
            connection.send(Api::Metadata, 12, &MetadataRequest::default()).unwrap();
            broker.write_all(bytes).unwrap();
            drop(broker);
            assert!(connection.receive().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_call_does_not_take_the_answer_of_an_earlier_request() {
        let (mut connection, _broker) = pair();
        connection.send(Api::Metadata, 12, &MetadataRequest::default()).unwrap();
        let called = connection.call::<_, MetadataResponse>(Api::Metadata, 12, &MetadataRequest::default());
        assert!(matches!(called, Err(ConnectionError::Broken(_))));
        assert_eq!(connection.unanswered(), 1);
    }
}
