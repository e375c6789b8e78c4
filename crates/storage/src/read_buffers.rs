//! The memory that files are read into, used again.
//!
//! Large buffers come back when the last slice of them is dropped, and wait for the next read.
//! Deliberately not here: what is in them (`local/read.rs`), and the memory of answers (the broker's budget).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::spare::{Spare, size_for};

/// What waits has at most so many bytes together.
const KEPT_BYTES: usize = 24 << 20;

/// The buffers that wait.
#[derive(Debug)]
pub(crate) struct ReadBuffers(Mutex<Spare<Box<[u8]>>>);

/// A buffer that somebody reads from; it comes back in the end.
struct Lent {
    buffer: Box<[u8]>,
    length: usize,
    to: Arc<ReadBuffers>,
}

impl Default for ReadBuffers {
    fn default() -> ReadBuffers {
        ReadBuffers(Mutex::new(Spare::new(KEPT_BYTES)))
    }
}

impl ReadBuffers {
    /// Reads exactly `length` bytes of a file.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, or as the file system says.
    pub(crate) fn read(self: &Arc<ReadBuffers>, file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
        let Some(size) = size_for(length) else {
            let mut bytes = BytesMut::zeroed(length);
            file.read_exact_at(&mut bytes, offset)?;
            return Ok(bytes.freeze());
        };
        let waiting = self.waiting().take(size);
        let buffer = waiting.map_or_else(|| vec![0; size].into(), |(_, buffer)| buffer);
        let mut lent = Lent { buffer, length, to: Arc::clone(self) };
        file.read_exact_at(&mut lent.buffer[..length], offset)?;
        Ok(Bytes::from_owner(lent))
    }

    fn waiting(&self) -> MutexGuard<'_, Spare<Box<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.to.waiting().put(buffer.len(), buffer);
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
        assert_eq!(buffers.waiting().bytes(), 256 << 10);
    }
}
