//! A client's connection to the broker: one request at a time, given up when no answer comes.
//!
//! Deliberately not here: what is asked (`calls`), and asking again.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::frame::{LENGTH_PREFIX_LEN, encode_request, parse_response};
use pagemark_wire::messages::{Request, decode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;

use super::world::World;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Whether the request may have reached the broker.
    pub sent: bool,
}

/// A connection, or the intention to have one.
pub struct Link {
    /// Whose.
    pub name: String,
    world: Rc<World>,
    stream: Option<TcpStream>,
    correlation_id: i32,
}

impl Link {
    /// Not connected yet.
    #[must_use]
    pub fn new(world: &Rc<World>, name: impl Into<String>) -> Link {
        Link { name: name.into(), world: Rc::clone(world), stream: None, correlation_id: 0 }
    }

    /// Gives the connection up; what is under way may be carried out yet.
    pub fn cut(&mut self) {
        self.stream = None;
    }

    /// Asks, and waits for the answer that long. Without one the connection is given up.
    pub async fn ask<Q: Request>(&mut self, version: i16, request: &Q, patience: Duration) -> Result<Q::Answer, Lost> {
        self.correlation_id += 1;
        let api = Q::API;
        let frame = encode_request(api, version, self.correlation_id, Some(&self.name), request)
            .expect("the simulation asks only what can be written");
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let digest = crc32c::crc32c(&frame);
        self.world.trace.note(&format!("{} > {api:?} {version} {} {digest:08x}", self.name, frame.len()));
        let answer = tokio::time::timeout(patience, exchange(&mut stream, &frame)).await;
        let Ok(Ok(answer)) = answer else {
            self.world.trace.note(&format!("{} < nothing", self.name));
            return Err(Lost { sent: true });
        };
        let digest = crc32c::crc32c(&answer);
        self.world.trace.note(&format!("{} < {api:?} {} {digest:08x}", self.name, answer.len()));
        let (correlation_id, body) = match parse_response(api, version, &answer) {
            Ok(parsed) => parsed,
            Err(error) => return Err(self.nonsense(&format!("{api:?}: {error}"))),
        };
        if correlation_id != self.correlation_id {
            return Err(self.nonsense(&format!("{api:?}: answer {correlation_id} to {}", self.correlation_id)));
        }
        match decode_response(api, version, body) {
            Ok(answer) => {
                self.stream = Some(stream);
                Ok(answer)
            }
            Err(error) => Err(self.nonsense(&format!("{api:?}: {error}"))),
        }
    }

    async fn connect(&self) -> Result<TcpStream, Lost> {
        let connecting = TcpStream::connect(("broker", 9092));
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            _ => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(Lost { sent: false })
            }
        }
    }

    fn nonsense(&self, what: &str) -> Lost {
        self.world.accuse(37, format!("{} was answered nonsense: {what}", self.name));
        Lost { sent: true }
    }
}

async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> std::io::Result<Bytes> {
    stream.write_all(frame).await?;
    let mut prefix = [0; LENGTH_PREFIX_LEN];
    stream.read_exact(&mut prefix).await?;
    let mut answer = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut answer).await?;
    Ok(answer.into())
}
