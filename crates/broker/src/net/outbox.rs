//! The answers of one connection, given in any order, written in the order of the requests (P-5).
//!
//! Every request takes a [`ReplySlot`]. A slot that is dropped without an answer closes the connection, so no request can
//! end in silence. Answers are counted, and charged to the memory budget, until they are written (invariant 40).
//! Deliberately not here: sockets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use pagemark_wire::frame::Frame;
use tokio::sync::Notify;

use super::budget::Charge;

/// No further request is taken on while answers of more than so many bytes wait for the client to read.
pub const HELD_BYTES: usize = 1 << 20;

/// What becomes of one request.
#[derive(Debug)]
enum Outcome {
    /// Still being worked on.
    Pending,
    /// Write this frame, whose bytes are charged until then.
    Write(Frame, Option<Charge>),
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
    /// Bytes of answers that are given and not yet written.
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
    /// Woken, all of them, when slots were freed or answers written.
    freed: Notify,
    /// Woken, all of them, when the connection is gone.
    gone: Notify,
}

/// What [`Outbox::take`] found.
#[derive(Debug, Default)]
pub struct Ready {
    /// The pieces of whole frames, in order.
    pub pieces: Vec<Bytes>,
    /// Close after writing them.
    pub close: bool,
    /// They count as held until this is dropped.
    held: Held,
}

/// Answers that are being written.
#[derive(Debug, Default)]
struct Held {
    outbox: Option<Arc<Outbox>>,
    bytes: usize,
    charges: Vec<Charge>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.charges.clear();
        if let Some(outbox) = &self.outbox {
            let mut inner = outbox.lock();
            inner.held_bytes = inner.held_bytes.saturating_sub(self.bytes); // none are left once it is closed
            drop(inner);
            outbox.freed.notify_waiters();
        }
    }
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

    /// Whether the client waits for nothing: every request is answered and every answer written.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.slots.is_empty() && inner.held_bytes == 0
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

    /// Takes what can be written now. Its bytes are held until it is dropped.
    pub fn take(self: &Arc<Outbox>) -> Ready {
        let mut inner = self.lock();
        let mut ready = Ready::default();
        while !ready.close {
            match inner.slots.front() {
                None | Some(Outcome::Pending) => break,
                Some(_) => {}
            }
            match inner.slots.pop_front() {
                Some(Outcome::Write(frame, charge)) => {
                    ready.held.bytes += frame.len();
                    ready.held.charges.extend(charge);
                    ready.pieces.extend(frame.into_pieces());
                }
                Some(Outcome::Close) => ready.close = true,
                Some(Outcome::Nothing | Outcome::Pending) | None => {}
            }
            inner.front += 1;
        }
        drop(inner);
        ready.held.outbox = Some(Arc::clone(self));
        self.freed.notify_waiters();
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
        self.freed.notify_waiters();
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
        if let Outcome::Write(frame, _) = &outcome {
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
    /// What the request's bytes cost, given back when this is dropped or answered.
    charge: Option<Charge>,
}

impl ReplySlot {
    /// Waits until nobody is there any more to get the answer.
    pub async fn unwanted(&self) {
        self.outbox.gone().await;
    }

    /// Waits until an answer may be large: when it would be the next to be written, or when answers of no more than so many
    /// bytes are held already. Whatever is held behind the next one can wait for nothing else, so this cannot wait for ever.
    pub async fn turn(&self, held_limit_bytes: usize) {
        loop {
            let freed = self.outbox.freed.notified();
            if self.is_turn(held_limit_bytes) {
                return;
            }
            freed.await;
        }
    }

    /// Whether [`ReplySlot::turn`] need not wait.
    #[must_use]
    pub fn is_turn(&self, held_limit_bytes: usize) -> bool {
        let inner = self.outbox.lock();
        inner.closed || inner.front == self.number || inner.held_bytes <= held_limit_bytes
    }

    /// From now on the answer is charged this, too.
    pub fn add_charge(&mut self, charge: Charge) {
        match &mut self.charge {
            Some(own) => own.absorb(charge),
            none => *none = Some(charge),
        }
    }

    /// Answers with a whole frame, length prefix included. From now on it is charged instead of the request.
    pub fn write(mut self, frame: impl Into<Frame>) {
        let frame = frame.into();
        let mut charge = self.charge.take();
        if let Some(charge) = &mut charge {
            charge.resize(frame.len());
        }
        self.settle(Outcome::Write(frame, charge));
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
        assert!(outbox.take().pieces.is_empty());
        first.write(Bytes::from_static(b"1"));
        assert_eq!(outbox.take().pieces, [&b"1"[..], b"2"]);
        third.nothing();
        assert!(outbox.take().pieces.is_empty());
        assert!(outbox.is_idle());
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
        assert_eq!(ready.pieces, [&b"1"[..]]);
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
    fn answers_are_held_and_charged_until_they_are_written_invariant_40() {
        let budget = crate::net::budget::MemoryBudget::new(1000);
        let outbox = Arc::new(Outbox::default());
        let mut charge = budget.charge();
        charge.resize(500);
        outbox.reserve_charged(charge).write(Bytes::from(vec![0; 100]));
        assert_eq!(budget.used_bytes(), 100, "the answer instead of the request");
        let ready = outbox.take();
        assert_eq!(ready.pieces.len(), 1);
        assert!(!outbox.has_room(32, 99));
        assert!(!outbox.is_idle());
        assert_eq!(budget.used_bytes(), 100);
        drop(ready);
        assert!(outbox.has_room(32, 0));
        assert!(outbox.is_idle());
        assert_eq!(budget.used_bytes(), 0);
        let written_late = outbox.reserve();
        written_late.write(Bytes::from(vec![0; 100]));
        let ready = outbox.take();
        outbox.close();
        drop(ready);
        assert!(outbox.has_room(32, 0));
    }

    #[test]
    fn a_large_answer_waits_while_others_are_held_unless_they_wait_for_it() {
        let outbox = Arc::new(Outbox::default());
        let (first, second, third) = (outbox.reserve(), outbox.reserve(), outbox.reserve());
        assert!([&first, &second, &third].iter().all(|slot| slot.is_turn(99)));
        second.write(Bytes::from(vec![0; 100]));
        assert!(!third.is_turn(99));
        assert!(first.is_turn(99));
        first.nothing();
        let ready = outbox.take();
        assert!(third.is_turn(99), "the next");
        let fourth = outbox.reserve();
        assert!(!fourth.is_turn(99), "still being written");
        drop(ready);
        assert!(fourth.is_turn(99));
    }

    #[test]
    fn answers_after_the_end_are_forgotten() {
        let outbox = Arc::new(Outbox::default());
        let slot = outbox.reserve();
        outbox.close();
        slot.write(Bytes::from_static(b"late"));
        assert!(outbox.take().pieces.is_empty());
    }
}
