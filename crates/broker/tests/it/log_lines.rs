//! What an operator reads when a client is turned away: one line, that says who and what, and nothing that a client can forge
//! (Q-79, Q-84).
//!
//! Deliberately not here: which requests close a connection (`hostile_frames.rs`).

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::raw::framed;
use crate::support::simulated::simulated;

/// Warnings and errors of this thread, one text each.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).expect("texts take everything");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is logged while a broker reads this and closes.
fn logged(bytes: &[u8]) -> Vec<String> {
    let lines = Arc::new(Lines::default());
    simulated(&[], async |broker| {
        let mut client = broker.client().await;
        let _listening = tracing::subscriber::set_default(Arc::clone(&lines));
        client.socket.write_all(bytes).await.unwrap();
        client.closed().await;
    });
    std::mem::take(&mut *lines.0.lock().unwrap())
}

/// A request from a client whose name would begin a line of its own and paint the terminal.
fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let name = b"evil\n2026 INFO all is well \x1b[31m";
    let head = [key.to_be_bytes(), version.to_be_bytes()].concat();
    let name_len = (name.len() as i16).to_be_bytes();
    framed(&[&head[..], &[0, 0, 0, 1], &name_len, name, body].concat())
}

#[test]
fn a_request_that_closes_its_connection_costs_one_clear_line_q_79_q_84() {
    let no_such_api = (request(9999, 3, b""), ["api_key=9999", "api_version=3"]);
    let no_such_version = (request(3, 99, b""), ["api_key=3", "api_version=99"]);
    let malformed = (request(3, 1, &(-2i32).to_be_bytes()), ["api=Metadata", "version=1"]);
    for (bytes, wanted) in [no_such_api, no_such_version, malformed] {
        let lines = logged(&bytes);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(wanted.iter().all(|part| lines[0].contains(part)), "{}", lines[0]);
        assert!(lines[0].contains(r"evil\n2026 INFO all is well"), "who it was, escaped: {}", lines[0]);
        assert!(!lines[0].chars().any(char::is_control), "{:?}", lines[0]);
    }
}
