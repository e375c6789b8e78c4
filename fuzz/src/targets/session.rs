//! A session: the bytes that one connection sends, into the dispatcher of a whole broker in memory.
//!
//! Time is simulated, so whoever waits for days is answered at once. Every request gets one answer, in order, that its
//! client can read, or the connection closes; a Produce with acks=0 gets none; and when all is answered no byte is charged
//! any more (P-5, P-6, P-7, invariants 37 and 40). Deliberately not here: sockets, and a disk that fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pagemark_broker::broker::{Broker, Client};
use pagemark_broker::dispatch::dispatch;
use pagemark_broker::host::Host;
use pagemark_broker::net::outbox::{HELD_BYTES, Outbox};
use pagemark_broker::server::Server;
use pagemark_broker::settings::{Address, Settings, SettingsSources};
use pagemark_core::time::{MonoMs, Now, WallMs};
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::api::Api;
use pagemark_wire::frame::{Request, frame_length, parse_request, parse_response};
use pagemark_wire::messages::{Decodable, ProduceRequest, decode};
use pagemark_wire::with_message_types;
use uuid::Uuid;

mod flows;

pub(crate) use flows::seeds;

/// Requests under way at a time, as connections have it.
const AHEAD: usize = 32;
/// Frames of a session; more only take time.
const MAX_FRAMES: usize = 64;
/// In simulated time: longer than any wait that a request can ask for, several times over.
const PATIENCE: Duration = Duration::from_secs(400 * 24 * 3600);

/// Sends the bytes and judges what comes back.
pub(crate) fn run(bytes: &[u8]) {
    let frames = frames(bytes);
    if !frames.is_empty() {
        on_a_broker(async |broker| judge(&converse(broker, &frames).await, &frames));
    }
}

/// Runs something on a new broker in memory.
fn on_a_broker<T>(work: impl AsyncFnOnce(&Arc<Broker>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let host = Arc::new(SimulatedHost { started: tokio::time::Instant::now(), given: AtomicU64::new(0) });
        let server = Server::start(settings(), Arc::new(MemoryEngine::new()), host, 1).await.expect("it starts");
        while server.broker().executors.census().await.loading_shards > 0 {}
        work(server.broker()).await
    })
}

fn settings() -> Settings {
    let set = ["listeners=PLAINTEXT://127.0.0.1:0", "pagemark.http.listener=", "offsets.topic.num.partitions=1"];
    let sources = SettingsSources { file: None, env: Vec::new(), set: set.map(str::to_owned).into() };
    Settings::load(sources).expect("legal settings").settings
}

/// The frames, without their lengths. One whose length is wrong gets what is left, so that less is lost to changed lengths.
fn frames(bytes: &[u8]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut frames = Vec::new();
    while let Some(prefix) = rest.first_chunk::<4>()
        && frames.len() < MAX_FRAMES
    {
        let length = frame_length(*prefix, 1 << 20).unwrap_or(usize::MAX);
        rest.advance(4);
        frames.push(rest.split_to(length.min(rest.len())));
    }
    frames
}

/// What came back of a session.
#[derive(Default)]
struct Heard {
    /// Whole answers, without their lengths.
    frames: Vec<Bytes>,
    /// The beginning of one.
    unread: BytesMut,
    closed: bool,
}

/// Does what a connection does. A client sends requests with odd numbers when those before are answered, even ones at once.
async fn converse(broker: &Arc<Broker>, frames: &[Bytes]) -> Heard {
    let advertised = Address { host: "127.0.0.1".to_owned(), port: 9092 };
    let client = Arc::new(Client::new("/127.0.0.1".to_owned(), advertised));
    let outbox = Arc::new(Outbox::default());
    let mut heard = Heard::default();
    let mut outgoing = broker.executors.outgoing();
    for frame in frames {
        let waits = asked(frame).is_some_and(|(_, _, correlation_id)| correlation_id % 2 != 0);
        while (waits && !outbox.is_idle() || !outbox.has_room(AHEAD, HELD_BYTES)) && !heard.closed {
            broker.executors.send(&mut outgoing);
            listen(&outbox, &mut heard).await;
        }
        if heard.closed {
            break;
        }
        let mut charge = broker.budget.charge();
        charge.resize(frame.len());
        dispatch(broker, &client, &mut outgoing, frame, outbox.reserve_charged(charge));
    }
    broker.executors.send(&mut outgoing);
    while !outbox.is_idle() && !heard.closed {
        listen(&outbox, &mut heard).await;
    }
    if !heard.closed {
        assert_eq!(broker.budget.used_bytes(), 0, "all is answered, and bytes are still charged");
    }
    outbox.close();
    heard
}

/// Takes what is ready, waiting for it if nothing is.
async fn listen(outbox: &Arc<Outbox>, heard: &mut Heard) {
    let ready = outbox.take();
    ready.pieces.iter().for_each(|piece| heard.unread.extend_from_slice(piece));
    while let Some(length) = heard.unread.first_chunk().map(|prefix| u32::from_be_bytes(*prefix) as usize)
        && heard.unread.len() >= 4 + length
    {
        heard.unread.advance(4);
        let frame = heard.unread.split_to(length).freeze();
        heard.frames.push(frame);
    }
    heard.closed |= ready.close;
    let nothing = ready.pieces.is_empty() && !ready.close;
    drop(ready);
    if nothing && !outbox.is_idle() {
        tokio::time::timeout(PATIENCE, outbox.wait()).await.expect("a request is never answered");
    }
}

/// One answer for each request, in order, or a close.
fn judge(heard: &Heard, frames: &[Bytes]) {
    let mut answers: VecDeque<Bytes> = heard.frames.iter().cloned().collect();
    for frame in frames {
        let Some((api, version, correlation_id)) = asked(frame) else {
            assert!(heard.closed && answers.is_empty(), "what is not served closes the connection");
            return;
        };
        if api == Api::Produce && is_silent(version, frame) {
            continue;
        }
        let Some(answer) = answers.pop_front() else {
            assert!(heard.closed, "{api:?} {version} is not answered");
            return;
        };
        let (found, body) = parse_response(api, version, &answer).expect("a header");
        assert_eq!(found, correlation_id, "{api:?} {version}");
        with_message_types!(api, |Q, A| is_whole::<A>(api, version, body));
    }
    assert!(answers.is_empty() && heard.unread.is_empty(), "{} answers too many", answers.len());
}

/// Which API a request is for, in which version it is answered, and its number.
fn asked(frame: &Bytes) -> Option<(Api, i16, i32)> {
    match parse_request(frame).ok()? {
        Request::Served { header, .. } => Some((header.api, header.version, header.correlation_id)),
        Request::ApiVersionsUnsupported { correlation_id, .. } => Some((Api::ApiVersions, 0, correlation_id)),
    }
}

fn is_silent(version: i16, frame: &Bytes) -> bool {
    let Ok(Request::Served { body, .. }) = parse_request(frame) else { return false };
    decode::<ProduceRequest>(Api::Produce, version, body).is_ok_and(|decoded| decoded.message.acks == 0)
}

fn is_whole<A: Decodable>(api: Api, version: i16, mut body: Bytes) {
    let decoded = A::decode(&mut body, version);
    assert!(decoded.is_ok() && body.is_empty(), "{api:?} {version}: the answer cannot be read");
}

/// Simulated time, and ids that are the same each time.
struct SimulatedHost {
    started: tokio::time::Instant,
    given: AtomicU64,
}

impl Host for SimulatedHost {
    fn now(&self) -> Now {
        let mono_ms = self.started.elapsed().as_millis() as u64;
        Now { mono: MonoMs(mono_ms), wall: WallMs(1_700_000_000_000 + mono_ms as i64) }
    }

    fn fresh_uuid(&self) -> Uuid {
        Uuid::from_u64_pair(0x0123_4567_89ab_4def, 0x8000_0000_0000_0000 | self.given.fetch_add(1, Ordering::Relaxed))
    }
}
