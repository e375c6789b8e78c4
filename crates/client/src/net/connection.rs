//! One connection to one broker: any number of requests under way, answered in order (P-5).
//!
//! A reader task and a writer task share a queue of who waits for what. A caller that is dropped while it waits leaves its
//! place in the queue, and its answer is thrown away; nothing else notices. A connection that breaks, or whose broker does
//! not answer or read in time, is closed for good: everybody who waits on it is told, and what still waits to be written
//! never leaves, since those who asked for it may ask again elsewhere.
//! Deliberately not here: connecting again, and telling which broker to ask.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::frame::{self, LENGTH_PREFIX_LEN};
use pagemark_wire::messages::{ApiVersionsRequest, ApiVersionsResponse, decode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

use crate::code::Code;
use crate::error::Error;
use pagemark_wire::messages::{Request, text};

/// The largest answer that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// Why a request has no answer. Named by what the caller should do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// Try another connection: this one is broken, or was never made. The request may have been carried out if it was sent.
    #[error("{why}")]
    Broken {
        /// What happened.
        why: String,
        /// Whether the request may have reached the broker.
        sent: bool,
    },
    /// Ask a newer broker, or for something else.
    #[error("the broker does not serve {0:?} in a version that this client speaks")]
    Unsupported(Api),
    /// Ask for something else: the request cannot be written.
    #[error("{0}")]
    Unsendable(String),
    /// Give up on this broker.
    #[error("{0}")]
    Protocol(String),
}

impl CallError {
    /// Whether the request may have been carried out.
    pub(crate) fn may_be_done(&self) -> bool {
        matches!(self, CallError::Broken { sent: true, .. } | CallError::Protocol(_))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        match error {
            CallError::Broken { why, .. } => Error::Unavailable(why),
            CallError::Unsupported(api) => Error::Unsupported { api },
            CallError::Unsendable(why) => Error::Invalid(why),
            CallError::Protocol(why) => Error::Protocol(why),
        }
    }
}

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    /// What this client calls itself.
    pub client_id: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an ordinary answer.
    pub request_timeout: Duration,
}

/// An open connection, or one that was open.
#[derive(Debug)]
pub(crate) struct Connection {
    client_id: String,
    next: AtomicI32,
    link: Arc<Link>,
    versions: Vec<(i16, i16, i16)>,
}

/// What the callers, the reader and the writer share.
#[derive(Debug)]
struct Link {
    state: Mutex<LinkState>,
}

#[derive(Debug)]
struct LinkState {
    /// Frames on their way to the writer; `None` once the connection is closed.
    outgoing: Option<mpsc::UnboundedSender<Outgoing>>,
    /// Who waits, in the order of the requests.
    waiting: VecDeque<Waiting>,
    /// Reader and writer, to be ended.
    tasks: Vec<AbortHandle>,
    /// Why the connection was closed.
    why: String,
}

/// A frame on its way to the writer. There are no more of them than callers who wait, for an answer or for `written`.
#[derive(Debug)]
struct Outgoing {
    frame: Bytes,
    /// Who wants to know when the socket has it.
    written: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    api: Api,
    version: i16,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
}

impl Connection {
    /// Connects and finds out what the broker serves.
    pub(crate) async fn open(host: &str, port: u16, dial: &Dial) -> Result<Connection, CallError> {
        let broken = |why: String| CallError::Broken { why: format!("{host}:{port}: {why}"), sent: false };
        let connecting = tokio::time::timeout(dial.connect_timeout, TcpStream::connect((host, port)));
        let stream = connecting.await.map_err(|_| broken("no connection in time".to_owned()))?;
        let stream = stream.map_err(|error| broken(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| broken(error.to_string()))?;
        let (from, to) = stream.into_split();
        let (outgoing, frames) = mpsc::unbounded_channel();
        let state =
            LinkState { outgoing: Some(outgoing), waiting: VecDeque::new(), tasks: Vec::new(), why: String::new() };
        let link = Arc::new(Link { state: Mutex::new(state) });
        link.run([tokio::spawn(read(from, Arc::clone(&link))), tokio::spawn(write(to, frames, Arc::clone(&link)))]);
        let client_id = dial.client_id.clone();
        let mut connection = Connection { client_id, next: AtomicI32::new(0), link, versions: Vec::new() };
        connection.negotiate(dial.request_timeout).await?;
        Ok(connection)
    }

    /// Whether requests can still be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.link.lock().outgoing.is_some()
    }

    /// The highest version that both sides speak.
    pub(crate) fn version(&self, api: Api) -> Result<i16, CallError> {
        let (lowest, highest) = (api.info().lowest, highest_written(api));
        let range = self.versions.iter().find(|(key, ..)| *key == api.key());
        let (_, least, most) = *range.ok_or(CallError::Unsupported(api))?;
        let version = highest.min(most);
        if version >= lowest.max(least) { Ok(version) } else { Err(CallError::Unsupported(api)) }
    }

    /// Sends a request in the highest common version and waits for the answer. Safe to drop.
    ///
    /// A broker that does not answer within `timeout` loses the connection: later answers would wait behind it.
    pub(crate) async fn call<Q: Request>(
        &self,
        make: impl FnOnce(i16) -> Q,
        timeout: Duration,
    ) -> Result<Q::Answer, CallError> {
        let version = self.version(Q::API)?;
        let body = self.ask(Q::API, version, &make(version), timeout).await?;
        decode_response(Q::API, version, body).map_err(|error| {
            self.link.close(&format!("an answer to {:?} is malformed: {error}", Q::API));
            CallError::Protocol(error.to_string())
        })
    }

    /// Sends a request that has no answer, a Produce with acks=0 (P-6), and waits until the socket has taken it: nobody can
    /// queue more than it waits for.
    ///
    /// A broker that does not read within `timeout` loses the connection.
    pub(crate) async fn tell<Q: Request>(
        &self,
        make: impl FnOnce(i16) -> Q,
        timeout: Duration,
    ) -> Result<(), CallError> {
        let version = self.version(Q::API)?;
        let (_, frame) = self.encode(Q::API, version, &make(version))?;
        let (written, is_written) = oneshot::channel();
        self.link.lock().send(Outgoing { frame, written: Some(written) })?;
        match tokio::time::timeout(timeout, is_written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CallError::Broken { why: self.link.lock().why.clone(), sent: true }),
            Err(_) => {
                let why = format!("{:?} was not read within {} ms", Q::API, timeout.as_millis());
                self.link.close(&why);
                Err(CallError::Broken { why, sent: true })
            }
        }
    }

    async fn negotiate(&mut self, timeout: Duration) -> Result<(), CallError> {
        let api = Api::ApiVersions;
        let mut version = api.info().highest;
        loop {
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                request.client_software_name = text("pagemark-client");
                request.client_software_version = text(env!("CARGO_PKG_VERSION"));
            }
            let body = self.ask(api, version, &request, timeout).await?;
            // A broker that lacks the version says so in version 0, and names the one it has (P-11).
            let refused = body.get(..2) == Some(&Code::UNSUPPORTED_VERSION.0.to_be_bytes());
            let answer: ApiVersionsResponse = decode_response(api, if refused { 0 } else { version }, body)
                .map_err(|error| CallError::Protocol(error.to_string()))?;
            self.versions = answer.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
            if !refused {
                return match Code(answer.error_code) {
                    Code::NONE => Ok(()),
                    code => Err(CallError::Protocol(format!("ApiVersions was answered with {code}"))),
                };
            }
            let lower = self.version(api).unwrap_or(0);
            if lower >= version {
                return Err(CallError::Protocol("no version of ApiVersions is accepted".to_owned()));
            }
            version = lower;
        }
    }

    async fn ask<Q: pagemark_wire::messages::Encodable>(
        &self,
        api: Api,
        version: i16,
        request: &Q,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let (correlation_id, frame) = self.encode(api, version, request)?;
        let (answer, answered) = oneshot::channel();
        {
            let mut link = self.link.lock();
            link.send(Outgoing { frame, written: None })?;
            link.waiting.push_back(Waiting { correlation_id, api, version, answer });
        }
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Broken { why: "the connection was given up".to_owned(), sent: true }),
            Err(_) => {
                let why = format!("{api:?} was not answered within {} ms", timeout.as_millis());
                self.link.close(&why);
                Err(CallError::Broken { why, sent: true })
            }
        }
    }

    fn encode<Q: pagemark_wire::messages::Encodable>(
        &self,
        api: Api,
        version: i16,
        request: &Q,
    ) -> Result<(i32, Bytes), CallError> {
        let correlation_id = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = frame::encode_request(api, version, correlation_id, Some(&self.client_id), request)
            .map_err(|error| CallError::Unsendable(error.to_string()))?;
        Ok((correlation_id, frame))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.close("the connection was given up");
    }
}

impl Link {
    fn lock(&self) -> std::sync::MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the tasks, to end them when the connection is closed; it may be already.
    fn run(&self, tasks: [JoinHandle<()>; 2]) {
        let mut state = self.lock();
        state.tasks = tasks.iter().map(JoinHandle::abort_handle).collect();
        if state.outgoing.is_none() {
            state.tasks.drain(..).for_each(|task| task.abort());
        }
    }

    /// Sends nothing more and tells everybody who waits.
    fn close(&self, why: &str) {
        let waiting = {
            let mut state = self.lock();
            if state.outgoing.take().is_some() {
                state.why = why.to_owned();
            }
            state.tasks.drain(..).for_each(|task| task.abort());
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting {
            waiting.answer.send(Err(CallError::Broken { why: why.to_owned(), sent: true })).ok();
        }
    }
}

impl LinkState {
    fn send(&mut self, frame: Outgoing) -> Result<(), CallError> {
        let sent = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.send(frame).is_ok());
        if sent { Ok(()) } else { Err(CallError::Broken { why: self.why.clone(), sent: false }) }
    }
}

async fn write(mut to: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Outgoing>, link: Arc<Link>) {
    while let Some(Outgoing { frame, written }) = frames.recv().await {
        if let Err(error) = to.write_all(&frame).await {
            return link.close(&error.to_string());
        }
        if let Some(written) = written {
            written.send(()).ok(); // a caller that is gone does not want to know
        }
    }
}

async fn read(from: OwnedReadHalf, link: Arc<Link>) {
    let mut from = BufReader::with_capacity(64 * 1024, from);
    loop {
        let taken = match read_frame(&mut from).await {
            Ok(frame) => hand_over(&link, &frame),
            Err(why) => Err(why),
        };
        if let Err(why) = taken {
            return link.close(&why);
        }
    }
}

async fn read_frame(from: &mut BufReader<OwnedReadHalf>) -> Result<Bytes, String> {
    let mut prefix = [0; LENGTH_PREFIX_LEN];
    from.read_exact(&mut prefix).await.map_err(|_| "the broker closed the connection".to_owned())?;
    let length = frame::frame_length(prefix, ANSWER_LIMIT_BYTES).map_err(|error| error.to_string())?;
    // Grows with what arrives, never by what is announced.
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    if bytes.len() < length {
        return Err("the broker closed the connection within an answer".to_owned());
    }
    Ok(bytes.into())
}

/// Gives an answer to whoever has waited longest; anybody else's is a breach of the protocol.
fn hand_over(link: &Link, frame: &Bytes) -> Result<(), String> {
    let Some(waiting) = link.lock().waiting.pop_front() else {
        return Err("the broker answered what nobody asked".to_owned());
    };
    let Waiting { correlation_id, api, version, answer } = waiting;
    let parsed = frame::parse_response(api, version, frame).map_err(|error| error.to_string());
    let parsed = match parsed {
        Ok((found, _)) if found != correlation_id => Err(format!("answer {found} came where {correlation_id} was due")),
        Ok((_, body)) => Ok(body),
        Err(why) => Err(why),
    };
    match parsed {
        Ok(body) => {
            answer.send(Ok(body)).ok(); // a caller that is gone does not want it
            Ok(())
        }
        Err(why) => {
            answer.send(Err(CallError::Protocol(why.clone()))).ok();
            Err(why)
        }
    }
}

/// The highest version in which we ask: commits name topics, of which we know the name always and the id only mostly.
fn highest_written(api: Api) -> i16 {
    match api {
        Api::OffsetCommit | Api::OffsetFetch => 9,
        _ => api.info().highest,
    }
}

#[cfg(test)]
mod tests;
