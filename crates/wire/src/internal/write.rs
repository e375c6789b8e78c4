//! Kafka's primitive types into a buffer.
//!
//! Deliberately not here: which field follows which.

use bytes::{BufMut, Bytes, BytesMut};

use super::TooLong;

#[derive(Default)]
pub(crate) struct Writer {
    buf: BytesMut,
}

impl Writer {
    pub(crate) fn finish(self) -> Bytes {
        self.buf.freeze()
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.buf.put_i16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.buf.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.buf.put_i64(value);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.buf.put_slice(bytes);
    }

    pub(crate) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buf.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buf.put_u8(value as u8);
    }

    pub(crate) fn string(&mut self, text: &str) -> Result<(), TooLong> {
        self.i16(i16::try_from(text.len()).map_err(|_| TooLong(text.len()))?);
        self.raw(text.as_bytes());
        Ok(())
    }

    pub(crate) fn nullable_string(&mut self, text: Option<&str>) -> Result<(), TooLong> {
        match text {
            Some(text) => self.string(text),
            None => {
                self.i16(-1);
                Ok(())
            }
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.i32(len32(bytes.len()) as i32);
        self.raw(bytes);
    }

    pub(crate) fn compact_bytes(&mut self, bytes: &[u8]) {
        self.compact_count(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn compact_string(&mut self, text: &str) {
        self.compact_bytes(text.as_bytes());
    }

    pub(crate) fn compact_nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.compact_string(text),
            None => self.uvarint(0),
        }
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.i32(len32(count) as i32);
    }

    pub(crate) fn compact_count(&mut self, count: usize) {
        self.uvarint(len32(count) + 1);
    }
}

fn len32(len: usize) -> u32 {
    assert!(len < i32::MAX as usize, "a record's parts come from requests, which are far below 2 GiB");
    len as u32
}
