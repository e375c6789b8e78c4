//! Value of a committed offset: versions 0 to 4 are read, 4 is written, or 1 when the commit brings its own expiry (O-71).
//!
//! Deliberately not here: unknown tagged fields; compaction keeps the record's bytes as they are (O-73).

use bytes::Bytes;
use uuid::Uuid;

use super::read::Reader;
use super::write::Writer;
use super::{InternalError, TooLong};
use crate::types::{LeaderEpoch, Offset, TopicId};

const NEWEST: i16 = 4;

/// A committed offset as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommit {
    /// Next offset to read, as the client said it.
    pub offset: Offset,
    /// -1 if unknown; version 3 on.
    pub leader_epoch: LeaderEpoch,
    /// The client's text.
    pub metadata: String,
    /// Wall clock at the commit, milliseconds since 1970.
    pub commit_timestamp_ms: i64,
    /// When this commit expires by its own wish, milliseconds since 1970; version 1 only.
    pub expire_timestamp_ms: Option<i64>,
    /// Which incarnation of the topic; zero if not stored; version 4 on.
    pub topic_id: TopicId,
}

impl OffsetCommit {
    /// Reads a value.
    ///
    /// # Errors
    /// [`InternalError`].
    pub fn parse(bytes: &[u8]) -> Result<OffsetCommit, InternalError> {
        let mut reader = Reader::new(bytes);
        let version = match reader.i16()? {
            version @ 0..=NEWEST => version,
            version if version > NEWEST => return Err(InternalError::NewerVersion(version)),
            _ => return Err(InternalError::Malformed("a version is negative")),
        };
        let compact = version >= 4;
        let offset = Offset(reader.i64()?);
        let leader_epoch = if version >= 3 { LeaderEpoch(reader.i32()?) } else { LeaderEpoch::NONE };
        let metadata = reader.string(compact)?;
        let commit_timestamp_ms = reader.i64()?;
        let expire_timestamp_ms = if version == 1 { Some(reader.i64()?).filter(|expire| *expire != -1) } else { None };
        let mut topic_id = TopicId::ZERO;
        if compact {
            reader.tags(|tag, data| {
                if tag == 0 {
                    topic_id = TopicId(Uuid::from_bytes(Reader::new(data).uuid()?));
                }
                Ok(())
            })?;
        }
        Ok(OffsetCommit { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id })
    }

    /// Writes version 4, or version 1 if there is an expiry, which then takes the place of leader epoch and topic id.
    ///
    /// # Errors
    /// [`TooLong`] if the metadata does not fit version 1.
    pub fn encode(&self) -> Result<Bytes, TooLong> {
        let mut writer = Writer::default();
        if let Some(expire_timestamp_ms) = self.expire_timestamp_ms {
            writer.i16(1);
            writer.i64(self.offset.0);
            writer.string(&self.metadata)?;
            writer.i64(self.commit_timestamp_ms);
            writer.i64(expire_timestamp_ms);
            return Ok(writer.finish());
        }
        writer.i16(4);
        writer.i64(self.offset.0);
        writer.i32(self.leader_epoch.0);
        writer.compact_string(&self.metadata);
        writer.i64(self.commit_timestamp_ms);
        if self.topic_id == TopicId::ZERO {
            writer.uvarint(0);
        } else {
            writer.uvarint(1);
            writer.uvarint(0);
            writer.uvarint(16);
            writer.raw(self.topic_id.0.as_bytes());
        }
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::testing::hex;

    fn sample() -> OffsetCommit {
        OffsetCommit {
            offset: Offset(0x0102_0304_0506_0708),
            leader_epoch: LeaderEpoch(7),
            metadata: "méta".to_owned(),
            commit_timestamp_ms: 1_700_000_000_123,
            expire_timestamp_ms: None,
            topic_id: TopicId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)),
        }
    }

    const V4: &str = "0004010203040506070800000007066dc3a974610000018bcfe5687b0100100102030405060708090a0b0c0d0e0f10";

    #[test]
    fn o71_the_value_written_is_byte_for_byte_that_of_kafka_4_3() {
        assert_eq!(sample().encode().unwrap(), hex(V4));
        let expiring = OffsetCommit { expire_timestamp_ms: Some(1_700_000_600_123), ..sample() };
        let v1 = hex("0001010203040506070800056dc3a974610000018bcfe5687b0000018bcfee903b");
        assert_eq!(expiring.encode().unwrap(), v1);
    }

    #[test]
    fn o71_a_commit_taken_from_a_live_kafka_4_3_1_reads_and_writes_the_same() {
        let live = hex("0004000000000000000400000000056e6f7465000001a2074d063701001057800530f0994175911ca9dde6a9133e");
        let parsed = OffsetCommit::parse(&live).unwrap();
        assert_eq!(parsed.offset, Offset(4));
        assert_eq!(parsed.metadata, "note");
        assert_eq!(parsed.leader_epoch, LeaderEpoch(0));
        assert_eq!(parsed.topic_id.to_string(), "57800530-f099-4175-911c-a9dde6a9133e");
        assert_eq!(parsed.encode().unwrap(), live);
        let simple = hex("0004000000000000004dffffffff01000001a2074d065301001057800530f0994175911ca9dde6a9133e");
        assert_eq!(OffsetCommit::parse(&simple).unwrap().encode().unwrap(), simple);
    }

    #[test]
    fn o71_every_old_version_is_read() {
        let no_epoch = OffsetCommit { leader_epoch: LeaderEpoch::NONE, topic_id: TopicId::ZERO, ..sample() };
        for version in ["0000", "0002"] {
            let bytes = hex(&format!("{version}010203040506070800056dc3a974610000018bcfe5687b"));
            assert_eq!(OffsetCommit::parse(&bytes).unwrap(), no_epoch);
        }
        let v1 = hex("0001010203040506070800056dc3a974610000018bcfe5687b0000018bcfee903b");
        let expiring = OffsetCommit { expire_timestamp_ms: Some(1_700_000_600_123), ..no_epoch };
        assert_eq!(OffsetCommit::parse(&v1).unwrap(), expiring);
        let v3 = hex("000301020304050607080000000700056dc3a974610000018bcfe5687b");
        assert_eq!(OffsetCommit::parse(&v3).unwrap(), OffsetCommit { topic_id: TopicId::ZERO, ..sample() });
        assert_eq!(OffsetCommit::parse(&hex(V4)).unwrap(), sample());
    }

    #[test]
    fn o73_unknown_tags_are_skipped() {
        let before_tags = V4.strip_suffix("0100100102030405060708090a0b0c0d0e0f10").unwrap();
        let with_tag_5 = format!("{before_tags}0200100102030405060708090a0b0c0d0e0f10050199");
        assert_eq!(OffsetCommit::parse(&hex(&with_tag_5)).unwrap(), sample());
    }

    #[test]
    fn o73_a_newer_version_is_told_apart_from_a_broken_value() {
        assert_eq!(OffsetCommit::parse(&hex("0005")), Err(InternalError::NewerVersion(5)));
        assert!(matches!(OffsetCommit::parse(&hex("ffff")), Err(InternalError::Malformed(_))));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_answered_without_panic() {
        let whole = hex(V4);
        for len in 0..whole.len() {
            assert!(OffsetCommit::parse(&whole[..len]).is_err(), "cut at {len}");
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] ^= flip;
                let _ = OffsetCommit::parse(&bytes);
            }
        }
    }
}
