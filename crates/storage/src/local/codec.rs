//! Little-endian numbers and byte strings, for everything the local engine keeps on disk.
//!
//! Reading never trusts a length: what is not there is `None`. Deliberately not here: any layout; each format has its file.

use bytes::{BufMut, BytesMut};
use pagemark_wire::types::{PartitionIndex, PartitionKey, TopicId};
use uuid::Uuid;

/// Reads from the front of a byte string.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn topic(&mut self) -> Option<TopicId> {
        self.array().map(|b| TopicId(Uuid::from_bytes(b)))
    }

    pub(super) fn partition(&mut self) -> Option<PartitionKey> {
        let topic = self.topic()?;
        let partition = PartitionIndex(i32::try_from(self.u32()?).ok()?);
        Some(PartitionKey { topic, partition })
    }

    /// A byte string behind its length.
    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// A text behind its length.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.sized()?).ok()
    }

    /// `Some` if everything was read.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

pub(super) fn put_topic(out: &mut BytesMut, topic: TopicId) {
    out.put_slice(topic.0.as_bytes());
}

pub(super) fn put_partition(out: &mut BytesMut, key: PartitionKey) {
    put_topic(out, key.topic);
    // Partitions of a topic are made as 0..n, so the number is never negative.
    out.put_u32_le(key.partition.0 as u32);
}

pub(super) fn put_sized(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).expect("no field exceeds a log record's 32 MiB"));
    out.put_slice(bytes);
}
