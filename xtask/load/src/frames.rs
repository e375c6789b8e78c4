//! Raw frames over sockets: many connections served by one thread, one request under way on each.
//!
//! The thread waits for whichever answers first, so that a slow answer keeps nobody else waiting. Deliberately not here:
//! what is asked, and judging the answers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use rustix::event::epoll::{self, EventData, EventFlags};

/// The largest answer that is believed, bytes.
const ANSWER_LIMIT_BYTES: usize = 1 << 24;
/// How long a broker may say nothing at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection, and what has come of the next answer.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Connection {
    /// Connects to this port of 127.0.0.1.
    pub fn open(port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, came: Vec::new() })
    }

    /// Sends a frame that [`frame`] made.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame)
    }

    /// Reads once; gives the answer, from its header on, if that was the last of it.
    pub fn receive(&mut self) -> io::Result<Option<Bytes>> {
        let mut buffer = [0; 16 << 10];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.came.extend_from_slice(&buffer[..count]);
        let Some(prefix) = self.came.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > ANSWER_LIMIT_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer of more than 16 MiB"));
        }
        if self.came.len() < 4 + length {
            return Ok(None);
        }
        let answer = Bytes::from(std::mem::take(&mut self.came)).slice(4..4 + length);
        Ok(Some(answer))
    }
}

/// A request as it goes over the wire, its length in front.
pub fn frame<R: Encodable>(api: ApiKey, version: i16, request: &R) -> Result<Vec<u8>> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("load")));
    let mut bytes = BytesMut::from(&[0; 4][..]);
    header.encode(&mut bytes, api.request_header_version(version))?;
    request.encode(&mut bytes, version)?;
    let length = u32::try_from(bytes.len() - 4)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.into())
}

/// What an answer says.
pub fn parse<A: Decodable>(api: ApiKey, version: i16, mut answer: Bytes) -> Result<A> {
    ResponseHeader::decode(&mut answer, api.response_header_version(version))?;
    A::decode(&mut answer, version)
}

/// What the connections of a [`drive`] are for. `at` is a connection's number.
pub trait Work {
    /// The next request of this connection; it has no more to do if there is none.
    fn next(&mut self, at: usize) -> Result<Option<Vec<u8>>>;
    /// The answer to it.
    fn answered(&mut self, at: usize, answer: Bytes) -> Result<()>;
}

/// Keeps one request under way on each connection until none has more to do.
pub fn drive(connections: &mut [Connection], work: &mut impl Work) -> Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut under_way = 0;
    for (at, connection) in connections.iter_mut().enumerate() {
        epoll::add(&poll, &connection.stream, EventData::new_u64(at as u64), EventFlags::IN)?;
        if let Some(frame) = work.next(at)? {
            connection.send(&frame)?;
            under_way += 1;
        }
    }
    let mut events = Vec::with_capacity(connections.len().max(1));
    let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    while under_way > 0 {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&patience))?;
        ensure!(!events.is_empty(), "nothing came for {} s", PATIENCE.as_secs());
        for event in &events {
            let at = event.data.u64() as usize;
            let connection = connections.get_mut(at).context("an event of no connection")?;
            let Some(answer) = connection.receive()? else { continue };
            work.answered(at, answer)?;
            match work.next(at)? {
                Some(frame) => connection.send(&frame)?,
                None => under_way -= 1,
            }
        }
    }
    Ok(())
}
