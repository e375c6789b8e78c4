//! The write buffers that are alive, in bytes, whoever holds them.
//!
//! Readers are given slices of the buffers that the log was written from. A slice keeps its whole buffer, so what a slow reader
//! costs is not the length of its slice; this counts what it is. Deliberately not here: what follows from it (`read.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// The count of all buffers.
#[derive(Debug, Default)]
pub(super) struct Buffers(AtomicUsize);

/// One buffer, as long as any piece of it is held.
#[derive(Debug)]
pub(super) struct Buffer {
    all: Arc<Buffers>,
    bytes: usize,
}

/// A piece of a buffer that was or will be written.
pub(super) struct Piece {
    pub bytes: BytesMut,
    pub _of: Arc<Buffer>,
}

impl Buffers {
    /// Counts another buffer of this capacity.
    pub(super) fn take(self: &Arc<Buffers>, bytes: usize) -> Arc<Buffer> {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Buffer { all: Arc::clone(self), bytes })
    }

    /// Bytes of all buffers that somebody holds.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
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

    #[test]
    fn a_buffer_counts_until_the_last_slice_of_it_is_gone() {
        let buffers = Arc::new(Buffers::default());
        let mut slab = BytesMut::zeroed(1000);
        let buffer = buffers.take(1000);
        let first = Piece { bytes: slab.split_to(600), _of: buffer.clone() }.shared();
        let second = Piece { bytes: slab, _of: buffer }.shared();
        let slice = second.slice(10..20);
        drop((first, second));
        assert_eq!(buffers.bytes(), 1000);
        drop(slice);
        assert_eq!(buffers.bytes(), 0);
    }
}
