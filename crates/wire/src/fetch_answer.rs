//! The response to a Fetch, versions 4 to 18, encoded around its record batches: they are referred to, never copied.
//!
//! What stands around them goes into one buffer; the frame is slices of that buffer and the batches themselves in turns, for a
//! vectored write. `kafka-protocol` copies every record once more, so it only serves as the check of this (in the tests). Fields
//! that a broker of one node never sets have no place here: throttle time, session, preferred replica, snapshot, endpoints.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::ErrorCode;
use crate::api::Api;
use crate::frame::{EncodeError, Frame, LENGTH_PREFIX_LEN};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};

/// First version with the log start offset.
const LOG_START: i16 = 5;
/// First version with an error and a session on top.
const SESSIONS: i16 = 7;
/// First version that names the replica to read from.
const PREFERRED_REPLICA: i16 = 11;
/// First flexible version.
const FLEXIBLE: i16 = 12;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;

/// What stands at the most around the records of a partition in any version, but for aborted transactions.
const PARTITION_BYTES: usize = 96;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct FetchAnswer {
    /// What is wrong with the request as a whole; versions before 7 cannot say it.
    pub error: ErrorCode,
    /// By topic, in the order asked for.
    pub topics: Vec<TopicAnswer>,
}

/// One topic of an answer.
#[derive(Debug, Clone, Default)]
pub struct TopicAnswer {
    /// Its name, told up to version 12.
    pub name: StrBytes,
    /// Its id, told from version 13 on.
    pub id: TopicId,
    /// By partition, in the order asked for.
    pub partitions: Vec<PartitionAnswer>,
}

/// One partition of an answer.
#[derive(Debug, Clone)]
pub struct PartitionAnswer {
    /// Which one.
    pub index: PartitionIndex,
    /// What is wrong with it.
    pub error: ErrorCode,
    /// Offset behind the last record that may be read; [`Offset::NONE`] with an error.
    pub high_watermark: Offset,
    /// Offset behind the last record that no open transaction can take back; [`Offset::NONE`] with an error.
    pub last_stable_offset: Offset,
    /// First offset that may be read; [`Offset::NONE`] with an error.
    pub log_start: Offset,
    /// The last epoch that the reader and this log have in common, and where it ends (P-41); told from version 12 on.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Who leads, by node id, and since which epoch, where the reader was wrong about it; told from version 12 on.
    pub leader: Option<(i32, LeaderEpoch)>,
    /// Transactions that were aborted, with the first offset of each; `None` for who reads uncommitted (P-38).
    pub aborted: Option<Vec<(ProducerId, Offset)>>,
    /// Whole record batches in offset order; no records are empty ones, never null (P-36).
    pub batches: Vec<Bytes>,
}

impl PartitionAnswer {
    /// The answer for a partition of which nothing is known or read.
    #[must_use]
    pub fn nothing(index: PartitionIndex, error: ErrorCode) -> PartitionAnswer {
        PartitionAnswer {
            index,
            error,
            high_watermark: Offset::NONE,
            last_stable_offset: Offset::NONE,
            log_start: Offset::NONE,
            diverging: None,
            leader: None,
            aborted: None,
            batches: Vec::new(),
        }
    }
}

impl FetchAnswer {
    /// The whole response frame in a version.
    ///
    /// # Errors
    /// [`EncodeError`] if a topic's name or all of it is too long for the format.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<Frame, EncodeError> {
        let failed = |reason: &str| EncodeError { api: Api::Fetch, version, reason: reason.to_owned() };
        let partitions = || self.topics.iter().flat_map(|t| &t.partitions);
        let names: usize = self.topics.iter().map(|t| 32 + t.name.len()).sum();
        let capacity = 32 + names + partitions().count() * PARTITION_BYTES;
        let mut out = Output { version, head: BytesMut::with_capacity(capacity), cuts: Vec::new(), records_len: 0 };
        out.answer(self, correlation_id).ok_or_else(|| failed("something is too long"))?;
        let length = out.head.len() - LENGTH_PREFIX_LEN + out.records_len;
        let length = i32::try_from(length).map_err(|_| failed("over 2 GiB"))?;
        out.head[..LENGTH_PREFIX_LEN].copy_from_slice(&length.to_be_bytes());
        let with_records = partitions().filter(|p| !p.batches.is_empty());
        Ok(woven(&out.head.freeze(), &out.cuts, with_records))
    }
}

/// The head cut in pieces, with the batches of a partition at each cut.
fn woven<'a>(head: &Bytes, cuts: &[usize], partitions: impl Iterator<Item = &'a PartitionAnswer> + Clone) -> Frame {
    let Some(first) = cuts.first() else { return Frame::from(head.clone()) };
    let mut rest = Vec::with_capacity(partitions.clone().map(|p| p.batches.len() + 1).sum());
    let ends = cuts[1..].iter().copied().chain([head.len()]);
    for ((partition, from), to) in partitions.zip(cuts).zip(ends) {
        rest.extend(partition.batches.iter().cloned());
        if *from < to {
            rest.push(head.slice(*from..to));
        }
    }
    Frame::in_pieces(head.slice(..*first), rest)
}

/// Everything but the records, and where they belong.
struct Output {
    version: i16,
    head: BytesMut,
    /// Positions in `head`, one for each partition with records.
    cuts: Vec<usize>,
    records_len: usize,
}

/// `None` where something is too long for its length field.
impl Output {
    fn answer(&mut self, answer: &FetchAnswer, correlation_id: i32) -> Option<()> {
        self.head.put_i32(0); // the frame's length, when it is known
        self.head.put_i32(correlation_id);
        self.tags(0); // of the response header
        self.head.put_i32(0); // throttle time
        if self.version >= SESSIONS {
            self.head.put_i16(answer.error.code());
            self.head.put_i32(0); // session id: none
        }
        self.count(answer.topics.len())?;
        for topic in &answer.topics {
            self.topic(topic)?;
        }
        self.tags(0);
        Some(())
    }

    fn topic(&mut self, topic: &TopicAnswer) -> Option<()> {
        if self.version >= TOPIC_IDS {
            self.head.put_slice(topic.id.0.as_bytes());
        } else {
            let length = i16::try_from(topic.name.len()).ok()?;
            if self.flexible() {
                self.count(topic.name.len())?;
            } else {
                self.head.put_i16(length);
            }
            self.head.put_slice(topic.name.as_bytes());
        }
        self.count(topic.partitions.len())?;
        for partition in &topic.partitions {
            self.partition(partition)?;
        }
        self.tags(0);
        Some(())
    }

    fn partition(&mut self, partition: &PartitionAnswer) -> Option<()> {
        self.head.put_i32(partition.index.0);
        self.head.put_i16(partition.error.code());
        self.head.put_i64(partition.high_watermark.0);
        self.head.put_i64(partition.last_stable_offset.0);
        if self.version >= LOG_START {
            self.head.put_i64(partition.log_start.0);
        }
        self.aborted(partition.aborted.as_deref())?;
        if self.version >= PREFERRED_REPLICA {
            self.head.put_i32(-1);
        }
        self.records(&partition.batches)?;
        self.partition_tags(partition);
        Some(())
    }

    fn aborted(&mut self, aborted: Option<&[(ProducerId, Offset)]>) -> Option<()> {
        match aborted {
            None if self.flexible() => self.head.put_u8(0),
            None => self.head.put_i32(-1),
            Some(aborted) => {
                self.count(aborted.len())?;
                for (producer, first) in aborted {
                    self.head.put_i64(producer.0);
                    self.head.put_i64(first.0);
                    self.tags(0);
                }
            }
        }
        Some(())
    }

    /// The length of the records, and the place where they belong.
    fn records(&mut self, batches: &[Bytes]) -> Option<()> {
        let length = batches.iter().map(Bytes::len).sum();
        self.count(length)?;
        if !batches.is_empty() {
            self.cuts.push(self.head.len());
            self.records_len += length;
        }
        Some(())
    }

    fn partition_tags(&mut self, partition: &PartitionAnswer) {
        self.tags(u8::from(partition.diverging.is_some()) + u8::from(partition.leader.is_some()));
        if !self.flexible() {
            return;
        }
        if let Some((epoch, end)) = partition.diverging {
            self.head.put_slice(&[0, 13]); // tag and length
            self.head.put_i32(epoch.0);
            self.head.put_i64(end.0);
            self.tags(0);
        }
        if let Some((node, epoch)) = partition.leader {
            self.head.put_slice(&[1, 9]);
            self.head.put_i32(node);
            self.head.put_i32(epoch.0);
            self.tags(0);
        }
    }

    fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    /// How many tags follow, in versions that have tags; fewer than 128.
    fn tags(&mut self, count: u8) {
        if self.flexible() {
            self.head.put_u8(count);
        }
    }

    /// How many elements or bytes follow.
    fn count(&mut self, count: usize) -> Option<()> {
        let count = i32::try_from(count).ok()?;
        if !self.flexible() {
            self.head.put_i32(count);
            return Some(());
        }
        let mut rest = count as u32 + 1; // compact: 0 is null
        while rest >= 0x80 {
            self.head.put_u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.head.put_u8(rest as u8);
        Some(())
    }
}
