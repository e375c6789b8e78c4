//! Kafka's primitive types out of a byte slice. Nothing is allocated by a claimed length: a length is first compared with
//! what is left.
//!
//! Deliberately not here: which field follows which.

use super::InternalError;

type Result<T> = std::result::Result<T, InternalError>;

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Nothing may be left over.
    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(InternalError::Malformed("bytes are left over")) }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(InternalError::Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let head = self.rest.first_chunk::<N>().ok_or(InternalError::Malformed("it ends too early"))?;
        self.rest = &self.rest[N..];
        Ok(*head)
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16]> {
        self.array()
    }

    pub(crate) fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(InternalError::Malformed("a variable-length number is too long"))
    }

    /// A text with an i16 length, or the compact form.
    pub(crate) fn string(&mut self, compact: bool) -> Result<String> {
        self.nullable_string(compact)?.ok_or(InternalError::Malformed("null where there must be a text"))
    }

    pub(crate) fn nullable_string(&mut self, compact: bool) -> Result<Option<String>> {
        let len = if compact { self.compact_len()? } else { plain_len(i32::from(self.i16()?))? };
        let Some(len) = len else { return Ok(None) };
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| InternalError::Malformed("text is not UTF-8"))?;
        Ok(Some(text.to_owned()))
    }

    /// Bytes with an i32 length, or the compact form.
    pub(crate) fn bytes(&mut self, compact: bool) -> Result<&'a [u8]> {
        let len = if compact { self.compact_len()? } else { plain_len(self.i32()?)? };
        self.take(len.ok_or(InternalError::Malformed("null where there must be bytes"))?)
    }

    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>> {
        match plain_len(self.i32()?)? {
            Some(len) => self.take(len).map(Some),
            None => Ok(None),
        }
    }

    /// Number of elements of an array, as claimed: never to be used as a capacity.
    pub(crate) fn count(&mut self, compact: bool) -> Result<usize> {
        let len = if compact { self.compact_len()? } else { plain_len(self.i32()?)? };
        len.ok_or(InternalError::Malformed("null where there must be an array"))
    }

    /// Hands every tagged field to `field`; which of them it knows is its own affair.
    pub(crate) fn tags(&mut self, mut field: impl FnMut(u32, &'a [u8]) -> Result<()>) -> Result<()> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = self.uvarint()?;
            field(tag, self.take(len as usize)?)?;
        }
        Ok(())
    }

    fn compact_len(&mut self) -> Result<Option<usize>> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }
}

fn plain_len(len: i32) -> Result<Option<usize>> {
    match len {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| InternalError::Malformed("a length is negative")),
    }
}
