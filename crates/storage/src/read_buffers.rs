//! The memory that files are read into, used again.
//!
//! Fresh memory of a mebibyte costs more than reading a mebibyte from the page cache: the kernel gives it page by page, each
//! filled with zeros first. So large buffers come back when the last slice of them is dropped, and wait for the next read.
//! Deliberately not here: what is in them (`local/read.rs`), and the memory of answers (the broker's budget).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Smaller reads are not worth keeping anything for: the allocator has such pieces at hand.
const SMALLEST_BYTES: usize = 64 << 10;
/// Sizes are multiples of this.
const STEP_BYTES: usize = 128 << 10;
/// What waits has at most so many bytes together.
const KEPT_BYTES: usize = 24 << 20;

/// The buffers that wait.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they came back.
    buffers: VecDeque<Box<[u8]>>,
    bytes: usize,
}

/// A buffer that somebody reads from; it comes back in the end.
struct Lent {
    buffer: Box<[u8]>,
    length: usize,
    to: Arc<ReadBuffers>,
}

impl ReadBuffers {
    /// Reads exactly `length` bytes of a file.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, or as the file system says.
    pub(crate) fn read(self: &Arc<ReadBuffers>, file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
        if length < SMALLEST_BYTES {
            let mut bytes = BytesMut::zeroed(length);
            file.read_exact_at(&mut bytes, offset)?;
            return Ok(bytes.freeze());
        }
        let mut lent = Lent { buffer: self.waiting().take(length), length, to: Arc::clone(self) };
        file.read_exact_at(&mut lent.buffer[..length], offset)?;
        Ok(Bytes::from_owner(lent))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// A buffer for so many bytes: the smallest that is no more than twice as large, so that what a slice holds stays bounded.
    fn take(&mut self, length: usize) -> Box<[u8]> {
        let size = length.next_multiple_of(STEP_BYTES);
        // Of several the one that came back last: it may still be in the processor's cache.
        let sizes = self.buffers.iter().map(|buffer| buffer.len()).enumerate().rev();
        let best = sizes.filter(|(_, of)| (length..=2 * size).contains(of)).min_by_key(|(_, of)| *of);
        match best.and_then(|(at, _)| self.buffers.remove(at)) {
            Some(buffer) => {
                self.bytes -= buffer.len();
                buffer
            }
            None => vec![0; size].into(),
        }
    }

    /// Keeps a buffer. What has waited longest goes if they are too many.
    fn put(&mut self, buffer: Box<[u8]>) {
        self.bytes += buffer.len();
        self.buffers.push_back(buffer);
        while self.bytes > KEPT_BYTES {
            let Some(oldest) = self.buffers.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.to.waiting().put(buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_buffer_is_used_again_when_its_last_slice_is_gone() {
        let file = file_of(&[7; 300 << 10]);
        let buffers = Arc::new(ReadBuffers::default());
        let whole = buffers.read(&file, 0, 200 << 10).unwrap();
        let (slice, address) = (whole.slice(5..10), whole.as_ptr());
        drop(whole);
        let other = buffers.read(&file, 0, 200 << 10).unwrap();
        assert_ne!(other.as_ptr(), address, "a slice of the first is still held");
        drop(slice);
        let again = buffers.read(&file, 1, 190 << 10).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (address, 190 << 10), "of another length, but one size");
        assert!(again.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_file_that_ends_too_early_says_so_and_the_buffer_comes_back() {
        let file = file_of(&[7; 100 << 10]);
        let buffers = Arc::new(ReadBuffers::default());
        for length in [100, 200 << 10] {
            let error = buffers.read(&file, (100 << 10) - 1, length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(buffers.waiting().bytes, 256 << 10);
    }

    #[test]
    fn a_read_gets_the_smallest_buffer_that_fits_and_none_that_is_much_too_large() {
        let mut waiting = Waiting::default();
        [8, 3, 4, 1].into_iter().for_each(|steps| waiting.put(vec![0; steps * STEP_BYTES].into()));
        let mut take = |bytes| waiting.take(bytes).len() / STEP_BYTES;
        assert_eq!(take(2 * STEP_BYTES), 3);
        assert_eq!(take(2 * STEP_BYTES - 1), 4);
        assert_eq!(
            take(2 * STEP_BYTES),
            2,
            "a new one, for there are only larger ones than twice that and smaller ones"
        );
        assert_eq!((waiting.bytes / STEP_BYTES, waiting.buffers.len()), (9, 2));
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut waiting = Waiting::default();
        assert_eq!(KEPT_BYTES / STEP_BYTES, 192);
        (1..=200).for_each(|n| waiting.put(vec![n as u8; STEP_BYTES].into()));
        assert_eq!((waiting.bytes, waiting.buffers.len()), (KEPT_BYTES, KEPT_BYTES / STEP_BYTES));
        assert_eq!(waiting.buffers[0][0], 9);
        waiting.put(vec![0; 2 * KEPT_BYTES].into());
        assert_eq!((waiting.bytes, waiting.buffers.len()), (0, 0), "one that is larger than all may be is not kept");
    }
}
