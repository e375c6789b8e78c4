//! The way into an executor: work is put in from anywhere, in lots, and taken out all at once.
//!
//! Deliberately not here: a bound. Every piece of work belongs to a request whose connection is bounded (see
//! `net/connection`), so the sum is.

use std::sync::Mutex;

use tokio::sync::Notify;

/// Unordered between senders, ordered for each of them.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
    filled: Notify,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Mailbox { queue: Mutex::default(), filled: Notify::new() }
    }
}

impl<T> Mailbox<T> {
    /// Puts in a lot with one wake-up; `work` is left empty.
    pub fn send(&self, work: &mut Vec<T>) {
        if work.is_empty() {
            return;
        }
        let mut queue = self.queue.lock().expect("nothing panics while holding a mailbox");
        queue.append(work);
        drop(queue);
        self.filled.notify_one();
    }

    /// Puts in one piece of work.
    pub fn send_one(&self, work: T) {
        self.queue.lock().expect("nothing panics while holding a mailbox").push(work);
        self.filled.notify_one();
    }

    /// Takes out all there is, which may be nothing. `into` must be empty; its memory is used again.
    pub fn drain(&self, into: &mut Vec<T>) {
        std::mem::swap(&mut *self.queue.lock().expect("nothing panics while holding a mailbox"), into);
    }

    /// Waits until [`Mailbox::drain`] may find something.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }
}
