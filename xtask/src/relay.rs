//! A relay between clients and the broker that sees, from outside, what has been asked and not been answered.
//!
//! It cuts the stream into frames, reads API and correlation id, and passes every byte on unchanged. It can end the broker's
//! process at a moment of its choosing: right after it passed on a Produce, a little later, when the answer to one has
//! come and before any client sees it, or when a Produce and a commit both wait. While the broker is down nobody listens on
//! the relay's port either, so clients meet what they would meet without it. Who wants to know what was asked and what came
//! of it gives it an [`Ear`]. Deliberately not here: the meaning of any request.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker;

const PRODUCE: i16 = 0;
const OFFSET_COMMIT: i16 = 8;
const FRAME_LIMIT_BYTES: usize = 128 * 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(2);

/// When to end the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Right after a Produce was passed on.
    AfterRequest,
    /// So long after a Produce was passed on, if it has no answer by then; else after the next one.
    AfterDelay(Duration),
    /// When the answer to a Produce has come; no client sees it.
    InsteadOfAnswer,
    /// So long after a Produce and a commit were both without an answer, if they are by then; else when that is so again.
    BothUnanswered(Duration),
}

/// A request and what came of it.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Before it was passed on, in microseconds since the relay was made.
    pub begun_us: u64,
    /// When its answer had come, or the connection had ended.
    pub ended_us: u64,
    /// The frame, with its length in front.
    pub request: &'a [u8],
    /// Its answer's frame; none came before the connection ended.
    pub answer: Option<&'a [u8]>,
}

/// Is told of every request when its outcome is known, one connection's in order, and before the client sees an answer.
pub type Ear = Arc<dyn Fn(&Exchange<'_>) + Send + Sync>;

/// What ends the broker.
type Blow = Box<dyn FnOnce() + Send>;

/// What was under way when the broker was ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Produce requests that the broker never answered.
    pub produces: u64,
    /// OffsetCommit requests that the broker never answered.
    pub commits: u64,
    /// Answers to Produce requests that were given and did not reach the client.
    pub withheld: u64,
}

#[derive(Debug)]
struct Asked {
    api_key: i16,
    correlation: i32,
    sent: bool,
    at_kill: bool,
    begun_us: u64,
    /// Empty where nobody listens.
    frame: Vec<u8>,
}

/// One client's connection: requests without an answer, oldest first.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Asked>,
    muted: bool,
}

#[derive(Default)]
struct State {
    is_open: bool,
    is_listening: bool,
    next_line: u64,
    lines: BTreeMap<u64, Line>,
    order: Option<(Blow, Moment)>,
    fired: bool,
    found: Found,
    disorders: u64,
}

struct Shared {
    listen: SocketAddr,
    broker: SocketAddr,
    ear: Option<Ear>,
    made: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

/// A relay from one port of 127.0.0.1 to another.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

impl Relay {
    /// A relay with its door shut.
    pub fn new(listen_port: u16, broker_port: u16, ear: Option<Ear>) -> Relay {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let shared = Arc::new(Shared {
            listen: address(listen_port),
            broker: address(broker_port),
            ear,
            made: Instant::now(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = Arc::clone(&shared);
        thread::spawn(move || acceptor.accept_all());
        Relay(shared)
    }

    /// Begins to listen; returns when clients can connect.
    pub fn open(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.is_open = true;
        self.0.changed.notify_all();
        let limit = Duration::from_secs(10);
        let (state, _) =
            self.0.changed.wait_timeout_while(state, limit, |state| !state.is_listening).expect(NOT_POISONED);
        if state.is_listening {
            Ok(())
        } else {
            Err(io::Error::new(ErrorKind::AddrInUse, format!("nobody can listen on {}", self.0.listen)))
        }
    }

    /// Ends the broker at this moment of the next Produce, or without one after `patience`. Returns when every connection
    /// has ended, with what was under way.
    pub fn kill(&self, pid: i32, moment: Moment, patience: Duration) -> Found {
        self.strike(move || broker::kill_9(pid), moment, patience)
    }

    /// The same with another end than SIGKILL; nothing is passed on or noted while `blow` strikes.
    pub fn strike(&self, blow: impl FnOnce() + Send + 'static, moment: Moment, patience: Duration) -> Found {
        let mut state = self.0.lock();
        state.order = Some((Box::new(blow), moment));
        state.fired = false;
        state.found = Found::default();
        let (mut state, _) =
            self.0.changed.wait_timeout_while(state, patience, |state| !state.fired).expect(NOT_POISONED);
        if !state.fired {
            self.0.fire(&mut state);
        }
        let limit = Duration::from_secs(10);
        let (mut state, _) =
            self.0.changed.wait_timeout_while(state, limit, |state| !state.lines.is_empty()).expect(NOT_POISONED);
        state.fired = false;
        state.found
    }

    /// Microseconds since the relay was made.
    pub fn now_us(&self) -> u64 {
        self.0.now_us()
    }

    /// Answers that came in another order than their requests (P-5); must be 0.
    pub fn disorders(&self) -> u64 {
        self.0.lock().disorders
    }
}

const NOT_POISONED: &str = "no thread panics while it holds the state";

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NOT_POISONED)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn tell(&self, asked: &Asked, answer: Option<&[u8]>) {
        if let Some(ear) = &self.ear {
            let (begun_us, ended_us) = (asked.begun_us, self.now_us());
            ear(&Exchange { begun_us, ended_us, request: &asked.frame, answer });
        }
    }

    /// Ends the broker, notes what is under way, and shuts the door.
    fn fire(&self, state: &mut State) {
        let Some((blow, _)) = state.order.take() else { return };
        blow();
        for asked in state.lines.values_mut().flat_map(|line| &mut line.waiting) {
            asked.at_kill = asked.sent;
        }
        state.fired = true;
        state.is_open = false;
        self.changed.notify_all();
    }

    fn accept_all(self: Arc<Shared>) {
        loop {
            drop(self.changed.wait_while(self.lock(), |state| !state.is_open).expect(NOT_POISONED));
            match TcpListener::bind(self.listen).and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            {
                Ok(listener) => self.accept_while_open(&listener),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn accept_while_open(self: &Arc<Shared>, listener: &TcpListener) {
        self.lock().is_listening = true;
        self.changed.notify_all();
        while self.lock().is_open {
            match listener.accept() {
                Ok((client, _)) => {
                    let shared = Arc::clone(self);
                    thread::spawn(move || shared.carry(client));
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
        self.lock().is_listening = false;
    }

    /// One client's connection, from its start to its end.
    fn carry(self: Arc<Shared>, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(self.broker) else { return };
        let _ = (client.set_nodelay(true), broker.set_nodelay(true), client.set_nonblocking(false));
        let (Ok(client_too), Ok(broker_too)) = (client.try_clone(), broker.try_clone()) else { return };
        let line = {
            let mut state = self.lock();
            state.next_line += 1;
            let line = state.next_line;
            state.lines.insert(line, Line::default());
            line
        };
        let shared = Arc::clone(&self);
        let answers = thread::spawn(move || shared.pass_answers(line, broker_too, client_too));
        if self.pass_requests(line, client, &broker).is_ok() {
            let _ = broker.shutdown(Shutdown::Both); // the client is gone, so nobody wants the answers
        }
        let _ = answers.join();
    }

    /// Until the client ends (`Ok`) or the broker does (`Err`).
    fn pass_requests(&self, line: u64, mut client: TcpStream, mut broker: &TcpStream) -> io::Result<()> {
        while let Some(frame) = read_frame(&mut client) {
            let Some(head) = frame.get(4..12) else { return Ok(()) };
            let api_key = i16::from_be_bytes([head[0], head[1]]);
            let correlation = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            let (begun_us, kept) = (self.now_us(), self.ear.as_ref().map(|_| frame.clone()).unwrap_or_default());
            if let Some(line) = self.lock().lines.get_mut(&line) {
                let asked = Asked { api_key, correlation, sent: false, at_kill: false, begun_us, frame: kept };
                line.waiting.push_back(asked);
            }
            broker.write_all(&frame)?;
            let mut state = self.lock();
            let asked = state
                .lines
                .get_mut(&line)
                .and_then(|line| line.waiting.iter_mut().rfind(|a| a.correlation == correlation));
            if let Some(asked) = asked {
                asked.sent = true;
            }
            match api_key {
                PRODUCE => self.after_produce(state, line, correlation),
                OFFSET_COMMIT => self.after_both(state),
                _ => {}
            }
        }
        Ok(())
    }

    /// A Produce or a commit was passed on: do both wait?
    fn after_both<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        let Some((_, Moment::BothUnanswered(delay))) = state.order else { return };
        if !state.has_both() {
            return;
        }
        if !delay.is_zero() {
            drop(state);
            thread::sleep(delay);
            state = self.lock();
        }
        if matches!(state.order, Some((_, Moment::BothUnanswered(_)))) && state.has_both() {
            self.fire(&mut state);
        }
    }

    fn after_produce<'a>(&'a self, mut state: MutexGuard<'a, State>, line: u64, correlation: i32) {
        match state.order {
            Some((_, Moment::AfterRequest)) => self.fire(&mut state),
            Some((_, Moment::AfterDelay(delay))) => {
                drop(state);
                thread::sleep(delay);
                let mut state = self.lock();
                let waits = |line: &Line| line.waiting.iter().any(|asked| asked.correlation == correlation);
                if state.lines.get(&line).is_some_and(waits) {
                    self.fire(&mut state);
                }
            }
            Some((_, Moment::BothUnanswered(_))) => self.after_both(state),
            Some((_, Moment::InsteadOfAnswer)) | None => {}
        }
    }

    /// Until the broker ends the connection; then the client's side is closed, and what is left was never answered.
    fn pass_answers(&self, line: u64, mut broker: TcpStream, mut client: TcpStream) {
        while let Some(frame) = read_frame(&mut broker) {
            let Some(head) = frame.get(4..8) else { break };
            let correlation = i32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            if !self.note_answer(line, correlation, &frame) {
                continue;
            }
            if client.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = (broker.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
        let mut state = self.lock();
        let left = state.lines.get_mut(&line).map(|line| std::mem::take(&mut line.waiting)).unwrap_or_default();
        drop(state);
        left.iter().for_each(|asked| self.tell(asked, None));
        state = self.lock();
        state.lines.remove(&line);
        for asked in left.iter().filter(|asked| asked.at_kill) {
            match asked.api_key {
                PRODUCE => state.found.produces += 1,
                OFFSET_COMMIT => state.found.commits += 1,
                _ => {}
            }
        }
        self.changed.notify_all();
    }

    /// Crosses a request off; whether its answer may be passed on.
    fn note_answer(&self, line: u64, correlation: i32, answer: &[u8]) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(here) = state.lines.get_mut(&line) else { return true };
        let Some(asked) = here.waiting.pop_front() else { return true };
        if asked.correlation != correlation {
            state.disorders += 1;
        }
        let is_produce = asked.api_key == PRODUCE;
        if is_produce && matches!(state.order, Some((_, Moment::InsteadOfAnswer))) {
            here.muted = true;
            self.fire(state);
        }
        let is_muted = state.lines.get(&line).is_some_and(|line| line.muted);
        if is_muted && is_produce {
            state.found.withheld += 1;
        }
        drop(guard);
        self.tell(&asked, Some(answer));
        !is_muted
    }
}

impl State {
    /// Whether a Produce and a commit have been passed on and have no answer.
    fn has_both(&self) -> bool {
        let waits = |api_key| {
            self.lines.values().flat_map(|line| &line.waiting).any(|asked| asked.sent && asked.api_key == api_key)
        };
        waits(PRODUCE) && waits(OFFSET_COMMIT)
    }
}

/// A frame with its length in front; `None` at the end of the stream, however it ends.
fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let length = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    let length = usize::try_from(length).ok().filter(|length| *length <= FRAME_LIMIT_BYTES)?;
    stream.take(length as u64).read_to_end(&mut frame).ok()?;
    (frame.len() == length + 4).then_some(frame)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::rng::Rng;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A process to end, a "broker" of this test's own, and a client on the relay.
    fn scene() -> (Child, Relay, TcpStream, TcpStream) {
        let victim = Command::new("sleep").arg("600").spawn().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = broker::free_ports(&mut Rng::new(Rng::seed_or_now(None) ^ u64::from(victim.id()))).unwrap();
        let relay = Relay::new(port, listener.local_addr().unwrap().port(), None);
        relay.open().unwrap();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (broker, _) = listener.accept().unwrap();
        for stream in [&client, &broker] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        (victim, relay, client, broker)
    }

    fn request(api_key: i16, correlation: i32) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, 10];
        frame.extend_from_slice(&api_key.to_be_bytes());
        frame.extend_from_slice(&[0, 9]);
        frame.extend_from_slice(&correlation.to_be_bytes());
        frame.extend_from_slice(&[0xff, 0xff]);
        frame
    }

    fn answer(correlation: i32) -> Vec<u8> {
        [&[0, 0, 0, 5][..], &correlation.to_be_bytes(), &[7]].concat()
    }

    fn killer(relay: &Relay, victim: &Child, moment: Moment) -> thread::JoinHandle<Found> {
        let (again, pid) = (relay.clone(), i32::try_from(victim.id()).unwrap());
        let thread = thread::spawn(move || again.kill(pid, moment, PATIENCE));
        while relay.0.lock().order.is_none() {
            thread::yield_now();
        }
        thread
    }

    /// The broker may have read a request before the relay has taken note that it sent it.
    fn until_sent(relay: &Relay, count: usize) {
        let sent = || relay.0.lock().lines.values().flat_map(|line| &line.waiting).filter(|asked| asked.sent).count();
        while sent() < count {
            thread::yield_now();
        }
    }

    #[test]
    fn frames_pass_unchanged_both_ways() {
        let (mut victim, relay, mut client, mut broker) = scene();
        client.write_all(&request(3, 1)).unwrap();
        assert_eq!(read_frame(&mut broker).unwrap(), request(3, 1));
        broker.write_all(&answer(1)).unwrap();
        assert_eq!(read_frame(&mut client).unwrap(), answer(1));
        assert_eq!(relay.disorders(), 0);
        victim.kill().unwrap();
        victim.wait().unwrap();
    }

    #[test]
    fn a_kill_after_a_request_finds_it_unanswered_and_shuts_the_door() {
        let (mut victim, relay, mut client, mut broker) = scene();
        let killed = killer(&relay, &victim, Moment::AfterRequest);
        client.write_all(&[request(8, 1), request(3, 2), request(0, 3)].concat()).unwrap();
        assert!(!victim.wait().unwrap().success());
        for _ in 0..3 {
            read_frame(&mut broker).unwrap();
        }
        drop(broker);
        assert_eq!(killed.join().unwrap(), Found { produces: 1, commits: 1, withheld: 0 });
        assert_eq!(read_frame(&mut client), None);
    }

    #[test]
    fn a_kill_can_wait_until_a_produce_and_a_commit_wait() {
        let (mut victim, relay, mut client, mut broker) = scene();
        let killed = killer(&relay, &victim, Moment::BothUnanswered(Duration::ZERO));
        client.write_all(&request(0, 1)).unwrap();
        read_frame(&mut broker).unwrap();
        broker.write_all(&answer(1)).unwrap();
        read_frame(&mut client).unwrap();
        client.write_all(&request(8, 2)).unwrap();
        read_frame(&mut broker).unwrap();
        assert!(victim.try_wait().unwrap().is_none(), "a commit alone is no reason");
        client.write_all(&request(0, 3)).unwrap();
        victim.wait().unwrap();
        read_frame(&mut broker).unwrap();
        drop(broker);
        assert_eq!(killed.join().unwrap(), Found { produces: 1, commits: 1, withheld: 0 });
    }

    #[test]
    fn an_answer_that_still_comes_after_the_kill_is_passed_on_and_not_counted() {
        let (mut victim, relay, mut client, mut broker) = scene();
        let killed = killer(&relay, &victim, Moment::AfterRequest);
        client.write_all(&request(0, 1)).unwrap();
        victim.wait().unwrap();
        read_frame(&mut broker).unwrap();
        broker.write_all(&answer(1)).unwrap();
        drop(broker);
        assert_eq!(killed.join().unwrap(), Found::default());
        assert_eq!(read_frame(&mut client).unwrap(), answer(1));
    }

    #[test]
    fn an_answer_can_be_withheld() {
        let (mut victim, relay, mut client, mut broker) = scene();
        let killed = killer(&relay, &victim, Moment::InsteadOfAnswer);
        client.write_all(&[request(0, 1), request(0, 2)].concat()).unwrap();
        read_frame(&mut broker).unwrap();
        read_frame(&mut broker).unwrap();
        until_sent(&relay, 2);
        broker.write_all(&answer(1)).unwrap();
        assert!(!victim.wait().unwrap().success());
        drop(broker);
        assert_eq!(killed.join().unwrap(), Found { produces: 1, commits: 0, withheld: 1 });
        assert_eq!(read_frame(&mut client), None);
    }

    #[test]
    fn with_a_delay_only_a_request_that_still_waits_is_a_reason() {
        let (mut victim, relay, mut client, mut broker) = scene();
        let killed = killer(&relay, &victim, Moment::AfterDelay(Duration::from_millis(1)));
        client.write_all(&request(0, 1)).unwrap();
        victim.wait().unwrap();
        read_frame(&mut broker).unwrap();
        drop(broker);
        assert_eq!(killed.join().unwrap().produces, 1);
    }

    #[test]
    fn answers_out_of_order_are_noticed_p_5() {
        let (mut victim, relay, mut client, mut broker) = scene();
        client.write_all(&[request(3, 1), request(3, 2)].concat()).unwrap();
        read_frame(&mut broker).unwrap();
        read_frame(&mut broker).unwrap();
        broker.write_all(&[answer(2), answer(1)].concat()).unwrap();
        read_frame(&mut client).unwrap();
        read_frame(&mut client).unwrap();
        assert_eq!(relay.disorders(), 2);
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
}
