//! A position in bytes that never goes past their end.
//!
//! Deliberately not here: what the bytes are; `walk.rs` knows that.

/// Something wrong at a position; the caller knows the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) at: usize,
    /// What.
    pub(crate) reason: &'static str,
}

/// Reads from the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// From `position` on, which must not be past the end.
    pub(crate) fn at(bytes: &'a [u8], position: usize) -> Cursor<'a> {
        debug_assert!(position <= bytes.len());
        Cursor { bytes, position }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    pub(crate) fn fault(&self, reason: &'static str) -> Fault {
        Fault { at: self.position, reason }
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        if length > self.remaining() {
            return Err(self.fault("a length goes past the end"));
        }
        let start = self.position;
        self.position += length;
        Ok(&self.bytes[start..self.position])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let at = self.position;
        let taken = self.take(N).map_err(|_| Fault { at, reason: "the bytes end within a number" })?;
        Ok(std::array::from_fn(|i| taken[i]))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Fault> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Fault> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned varint of at most 32 bits in at most 5 bytes.
    pub(crate) fn varint(&mut self) -> Result<u32, Fault> {
        let start = self.position;
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                return Err(Fault { at: start, reason: "a varint exceeds 32 bits" });
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault { at: start, reason: "a varint exceeds 5 bytes" })
    }

    /// How many tagged fields follow; each takes at least two bytes.
    pub(crate) fn tag_count(&mut self) -> Result<usize, Fault> {
        let count = self.varint()? as usize;
        if count > self.remaining() / 2 {
            return Err(self.fault("more tagged fields than bytes"));
        }
        Ok(count)
    }

    /// Skips a block of tagged fields, whatever they are.
    pub(crate) fn skip_tags(&mut self) -> Result<(), Fault> {
        for _ in 0..self.tag_count()? {
            self.varint()?;
            let size = self.varint()? as usize;
            self.take(size)?;
        }
        Ok(())
    }
}
