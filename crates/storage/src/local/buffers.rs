//! The write buffers: how many bytes of them are alive, whoever holds them, and their memory, used again.
//!
//! Readers are given slices of the buffers that the log was written from. A slice keeps its whole buffer, so what a slow reader
//! costs is not the length of its slice; this counts what it is. Buffers that nobody holds any more wait for the log to come
//! back to them.
//! Deliberately not here: what follows from their number (`read.rs`), and what files are read into (`read_buffers.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::spare::{Spare, size_for};

/// All buffers.
#[derive(Debug)]
pub(super) struct Buffers {
    alive_bytes: AtomicUsize,
    waiting: Mutex<Spare<BytesMut>>,
}

/// One buffer, as long as any piece of it is held.
#[derive(Debug)]
pub(super) struct Buffer {
    all: Arc<Buffers>,
    bytes: usize,
    /// An empty piece of it, which has the whole of it again when it is the last.
    memory: BytesMut,
}

/// A piece of a buffer that was or will be written.
#[derive(Debug)]
pub(super) struct Piece {
    pub bytes: BytesMut,
    #[expect(dead_code, reason = "held, and dropped behind the bytes: the last piece gives the buffer back")]
    pub of: Arc<Buffer>,
}

impl Buffers {
    /// None yet. Those that wait will have at most so many bytes together.
    pub(super) fn new(most_waiting_bytes: usize) -> Arc<Buffers> {
        Arc::new(Buffers { alive_bytes: AtomicUsize::new(0), waiting: Mutex::new(Spare::new(most_waiting_bytes)) })
    }

    /// Another buffer, empty, with room for so many bytes at least.
    pub(super) fn take(self: &Arc<Buffers>, bytes: usize) -> (BytesMut, Arc<Buffer>) {
        let kept = size_for(bytes);
        let waiting = kept.and_then(|size| self.waiting().take(size));
        let bytes = kept.unwrap_or(bytes);
        let (bytes, mut buffer) = waiting.unwrap_or_else(|| (bytes, BytesMut::with_capacity(bytes)));
        self.alive_bytes.fetch_add(bytes, Ordering::Relaxed);
        let memory = buffer.split_to(0);
        (buffer, Arc::new(Buffer { all: Arc::clone(self), bytes, memory }))
    }

    /// Bytes of all buffers that somebody holds.
    pub(super) fn bytes(&self) -> usize {
        self.alive_bytes.load(Ordering::Relaxed)
    }

    /// Gives back the memory of those that wait.
    pub(super) fn let_go(&self) {
        self.waiting().clear();
    }

    /// Bytes of those that wait.
    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting().bytes()
    }

    fn waiting(&self) -> MutexGuard<'_, Spare<BytesMut>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.all.alive_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        let mut memory = std::mem::take(&mut self.memory);
        if size_for(self.bytes) == Some(self.bytes) && memory.try_reclaim(self.bytes) {
            self.all.waiting().put(self.bytes, memory);
        }
    }
}

impl Piece {
    /// The piece as something to be shared and sliced without copying.
    pub(super) fn shared(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 512 << 10;

    /// Two pieces of one new buffer, as the log makes them.
    fn two(buffers: &Arc<Buffers>, bytes: usize) -> (Bytes, Bytes) {
        let (mut slab, buffer) = buffers.take(bytes);
        slab.resize(bytes, 7);
        let first = Piece { bytes: slab.split_to(bytes / 2), of: buffer.clone() }.shared();
        (first, Piece { bytes: slab, of: buffer }.shared())
    }

    #[test]
    fn a_buffer_counts_until_the_last_slice_of_it_is_gone() {
        let buffers = Buffers::new(4 << 20);
        let (first, second) = two(&buffers, SIZE);
        let slice = second.slice(10..20);
        drop((first, second));
        assert_eq!((buffers.bytes(), buffers.waiting_bytes()), (SIZE, 0));
        drop(slice);
        assert_eq!((buffers.bytes(), buffers.waiting_bytes()), (0, SIZE));
    }

    #[test]
    fn its_memory_is_used_again_and_no_sooner() {
        let buffers = Buffers::new(4 << 20);
        let (first, second) = two(&buffers, 1_000_000);
        let address = first.as_ptr();
        drop(first);
        let (other, _other) = buffers.take(1_000_000);
        assert_ne!(other.as_ptr(), address);
        drop(second);
        let (again, _again) = buffers.take(1_010_000);
        assert_eq!(
            (again.as_ptr(), again.len(), again.capacity()),
            (address, 0, 1 << 20),
            "of another length, but one size"
        );
    }

    #[test]
    fn small_ones_do_not_wait() {
        let buffers = Buffers::new(4 << 20);
        drop(two(&buffers, 4096));
        assert_eq!((buffers.bytes(), buffers.waiting_bytes()), (0, 0));
    }

    #[test]
    fn what_waits_is_let_go() {
        let buffers = Buffers::new(4 << 20);
        drop(two(&buffers, SIZE));
        buffers.let_go();
        assert_eq!(buffers.waiting_bytes(), 0);
    }
}
