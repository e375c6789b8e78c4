//! Memory that was used and waits to be used again.
//!
//! Fresh memory of a mebibyte costs more than copying a mebibyte: the kernel gives it page by page, each filled with zeros
//! first, and takes it back each time. Deliberately not here: who gives and takes (`read_buffers.rs`, `local/buffers.rs`).

use std::collections::VecDeque;

/// Sizes are multiples of this.
const STEP_BYTES: usize = 128 << 10;
/// Smaller ones are not worth keeping: the allocator has such pieces at hand.
const SMALLEST_BYTES: usize = 64 << 10;

/// The size of a buffer for so many bytes, if it is to be kept when it is not needed any more.
pub(crate) fn size_for(bytes: usize) -> Option<usize> {
    (bytes >= SMALLEST_BYTES).then(|| bytes.next_multiple_of(STEP_BYTES))
}

/// Buffers that wait, with their sizes, in the order in which they came back.
#[derive(Debug)]
pub(crate) struct Spare<B> {
    buffers: VecDeque<(usize, B)>,
    bytes: usize,
    most_bytes: usize,
}

impl<B> Spare<B> {
    /// None yet. Those that wait will have at most so many bytes together.
    pub(crate) fn new(most_bytes: usize) -> Spare<B> {
        Spare { buffers: VecDeque::new(), bytes: 0, most_bytes }
    }

    /// A buffer of this size or more, with its size: the smallest that is no more than half as large again, so that what a slice
    /// of it holds stays bounded.
    pub(crate) fn take(&mut self, size: usize) -> Option<(usize, B)> {
        // Of several the one that came back last: it may still be in the processor's cache.
        let sizes = self.buffers.iter().map(|(of, _)| *of).enumerate().rev();
        let (at, of) = sizes.filter(|(_, of)| (size..=size + size / 2).contains(of)).min_by_key(|(_, of)| *of)?;
        self.bytes -= of;
        self.buffers.remove(at)
    }

    /// Keeps a buffer. What has waited longest goes if they are too many.
    pub(crate) fn put(&mut self, size: usize, buffer: B) {
        if size > self.most_bytes {
            return;
        }
        self.bytes += size;
        self.buffers.push_back((size, buffer));
        while self.bytes > self.most_bytes {
            let Some((oldest, _)) = self.buffers.pop_front() else { return };
            self.bytes -= oldest;
        }
    }

    /// Lets all go.
    pub(crate) fn clear(&mut self) {
        self.buffers.clear();
        self.bytes = 0;
    }

    /// Bytes of those that wait.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gets_the_smallest_that_fits_and_none_that_is_much_too_large() {
        let mut spare = Spare::new(100);
        [8, 5, 6, 3].into_iter().for_each(|size| spare.put(size, ()));
        assert_eq!(spare.take(4), Some((5, ())));
        assert_eq!(spare.take(4), Some((6, ())));
        assert_eq!(spare.take(4), None, "there are only larger ones than half as large again and smaller ones");
        assert_eq!((spare.bytes, spare.buffers.len()), (11, 2));
    }

    #[test]
    fn of_one_size_the_last_that_came_goes_first() {
        let mut spare = Spare::new(100);
        ["first", "second"].into_iter().for_each(|name| spare.put(5, name));
        assert_eq!([spare.take(5), spare.take(5)], [Some((5, "second")), Some((5, "first"))]);
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut spare = Spare::new(192);
        (1..=200).for_each(|n| spare.put(1, n));
        assert_eq!((spare.bytes, spare.buffers.len(), spare.buffers[0]), (192, 192, (1, 9)));
        spare.put(193, 0);
        assert_eq!((spare.bytes, spare.buffers.len()), (192, 192), "one that is larger than all may be is not kept");
        spare.put(192, 0);
        assert_eq!((spare.bytes, spare.buffers.len()), (192, 1));
        spare.clear();
        assert_eq!((spare.bytes, spare.take(192)), (0, None));
    }
}
