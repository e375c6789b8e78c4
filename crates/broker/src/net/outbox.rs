//! The answers of one connection, given in any order, written in the order of the requests (P-5).
//!
//! Every request takes a [`ReplySlot`]. A slot that is dropped without an answer closes the connection, so no request can
//! end in silence. Deliberately not here: sockets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use super::budget::Charge;

/// What becomes of one request.
#[derive(Debug)]
enum Outcome {
    /// Still being worked on.
    Pending,
    /// Write these bytes, frame by frame.
    Write(Bytes),
    /// Write nothing (acks=0, P-6).
    Nothing,
    /// Write what comes before, then close.
    Close,
}

#[derive(Debug, Default)]
struct Inner {
    /// Number of the slot at the front of `slots`.
    front: u64,
    slots: VecDeque<Outcome>,
    /// Bytes of answers that are given and not yet taken to be written.
    held_bytes: usize,
    /// The connection is gone; answers are thrown away.
    closed: bool,
}

/// Ordered answers of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    /// Woken when the front may have become writable.
    writable: Notify,
    /// Woken when slots were freed.
    freed: Notify,
    /// Woken, all of them, when the connection is gone.
    gone: Notify,
}

/// What [`Outbox::take`] found.
#[derive(Debug, Default)]
pub struct Ready {
    /// Whole frames, in order.
    pub frames: Vec<Bytes>,
    /// Close after writing them.
    pub close: bool,
}

impl Outbox {
    /// Reserves the next place in the order of answers.
    #[must_use]
    pub fn reserve(self: &Arc<Outbox>) -> ReplySlot {
        let mut inner = self.lock();
        inner.slots.push_back(Outcome::Pending);
        let number = inner.front + inner.slots.len() as u64 - 1;
        ReplySlot { outbox: Arc::clone(self), number, done: false, charge: None }
    }

    /// As [`Outbox::reserve`], for a request whose bytes stay charged until it is answered.
    #[must_use]
    pub fn reserve_charged(self: &Arc<Outbox>, charge: Charge) -> ReplySlot {
        let mut slot = self.reserve();
        slot.charge = Some(charge);
        slot
    }

    /// Requests that have no written answer yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.lock().slots.len()
    }

    /// Whether another request may be taken on: fewer than `limit` are outstanding, and a client that does not read its
    /// answers has not let more than `held_limit_bytes` of them pile up.
    #[must_use]
    pub fn has_room(&self, limit: usize, held_limit_bytes: usize) -> bool {
        let inner = self.lock();
        inner.slots.len() < limit && inner.held_bytes <= held_limit_bytes
    }

    /// Waits until [`Outbox::has_room`].
    pub async fn room(&self, limit: usize, held_limit_bytes: usize) {
        loop {
            let freed = self.freed.notified();
            if self.has_room(limit, held_limit_bytes) {
                return;
            }
            freed.await;
        }
    }

    /// Waits until [`Outbox::take`] may find something.
    pub async fn wait(&self) {
        self.writable.notified().await;
    }

    /// Takes what can be written now.
    pub fn take(&self) -> Ready {
        let mut inner = self.lock();
        let mut ready = Ready::default();
        while !ready.close {
            match inner.slots.front() {
                None | Some(Outcome::Pending) => break,
                Some(_) => {}
            }
            match inner.slots.pop_front() {
                Some(Outcome::Write(frame)) => {
                    inner.held_bytes -= frame.len();
                    ready.frames.push(frame);
                }
                Some(Outcome::Close) => ready.close = true,
                Some(Outcome::Nothing | Outcome::Pending) | None => {}
            }
            inner.front += 1;
        }
        drop(inner);
        self.freed.notify_one();
        ready
    }

    /// The connection is gone: forget all answers, also those to come.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.front += inner.slots.len() as u64;
        inner.slots.clear();
        inner.held_bytes = 0;
        drop(inner);
        self.freed.notify_one();
        self.writable.notify_one();
        self.gone.notify_waiters();
    }

    /// Waits until [`Outbox::close`] was called.
    async fn gone(&self) {
        let gone = self.gone.notified();
        tokio::pin!(gone);
        gone.as_mut().enable();
        if !self.is_closed() {
            gone.await;
        }
    }

    /// Whether [`Outbox::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn settle(&self, number: u64, outcome: Outcome) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        if let Outcome::Write(frame) = &outcome {
            inner.held_bytes += frame.len();
        }
        let place = number - inner.front;
        inner.slots[place as usize] = outcome;
        drop(inner);
        if place == 0 {
            self.writable.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while holding the outbox")
    }
}

/// The duty to answer one request. Dropping it unanswered closes the connection.
#[derive(Debug)]
pub struct ReplySlot {
    outbox: Arc<Outbox>,
    number: u64,
    done: bool,
    /// What the request's bytes cost, given back when this is dropped.
    charge: Option<Charge>,
}

impl ReplySlot {
    /// Waits until nobody is there any more to get the answer.
    pub async fn unwanted(&self) {
        self.outbox.gone().await;
    }

    /// Answers with a whole frame, length prefix included.
    pub fn write(mut self, frame: Bytes) {
        self.settle(Outcome::Write(frame));
    }

    /// The request gets no answer, and that is right (acks=0).
    pub fn nothing(mut self) {
        self.settle(Outcome::Nothing);
    }

    /// Closes the connection once all earlier answers are written.
    pub fn close(mut self) {
        self.settle(Outcome::Close);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.done = true;
        self.outbox.settle(self.number, outcome);
    }
}

impl Drop for ReplySlot {
    fn drop(&mut self) {
        if !self.done {
            self.outbox.settle(self.number, Outcome::Close);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_request_order_whatever_order_they_come_in() {
        let outbox = Arc::new(Outbox::default());
        let (first, second, third) = (outbox.reserve(), outbox.reserve(), outbox.reserve());
        second.write(Bytes::from_static(b"2"));
        assert!(outbox.take().frames.is_empty());
        first.write(Bytes::from_static(b"1"));
        assert_eq!(outbox.take().frames, [&b"1"[..], b"2"]);
        third.nothing();
        assert!(outbox.take().frames.is_empty());
        assert_eq!(outbox.outstanding(), 0);
    }

    #[test]
    fn a_slot_dropped_unanswered_closes_the_connection_after_earlier_answers() {
        let outbox = Arc::new(Outbox::default());
        let (first, second) = (outbox.reserve(), outbox.reserve());
        drop(second);
        assert!(!outbox.take().close);
        first.write(Bytes::from_static(b"1"));
        let ready = outbox.take();
        assert!(ready.close);
        assert_eq!(ready.frames, [&b"1"[..]]);
    }

    #[test]
    fn a_client_that_reads_no_answers_gets_no_further_requests_taken_on() {
        let outbox = Arc::new(Outbox::default());
        let (first, second) = (outbox.reserve(), outbox.reserve());
        second.write(Bytes::from(vec![0; 100]));
        assert!(!outbox.has_room(32, 99));
        assert!(outbox.has_room(32, 100));
        assert!(!outbox.has_room(2, 100));
        first.nothing();
        let _ = outbox.take();
        assert!(outbox.has_room(1, 0));
    }

    #[test]
    fn answers_after_the_end_are_forgotten() {
        let outbox = Arc::new(Outbox::default());
        let slot = outbox.reserve();
        outbox.close();
        slot.write(Bytes::from_static(b"late"));
        assert!(outbox.take().frames.is_empty());
    }
}
