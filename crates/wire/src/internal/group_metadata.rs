//! Value of a classic group: versions 0 to 4 are read; 3 is written, or 4 where 3 cannot say it (O-72).
//!
//! A group at rest (no members, or everyone has an assignment) is written as Kafka 4.3 writes it, as version 3. Between the
//! end of a join and the leader's assignment Kafka writes nothing, so a crash there takes the generation back to one that
//! members have already seen superseded. We write that state as well, as version 4 with a tagged field of our own,
//! [`COMPLETING_TAG`]; readers that do not know it see a group whose assignments are empty.
//! Deliberately not here: the protocols that members offered but the group did not choose; they are not stored.

use bytes::Bytes;

use super::read::Reader;
use super::write::Writer;
use super::{InternalError, TooLong};
use crate::types::Generation;

const NEWEST: i16 = 4;

/// Number of the tagged field that marks a group as waiting for its leader's assignment. Its one byte is 1.
pub const COMPLETING_TAG: u32 = 10_000;

/// A classic group as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// `consumer`, `connect` ...; empty if it never had one (G-38).
    pub protocol_type: String,
    /// The generation.
    pub generation: Generation,
    /// The protocol chosen; null without members.
    pub protocol: Option<String>,
    /// Member id of the leader; null without members.
    pub leader: Option<String>,
    /// Wall clock when it came into this state, milliseconds since 1970, -1 if unknown; version 2 on.
    pub current_state_timestamp_ms: i64,
    /// Its members.
    pub members: Vec<MemberMetadata>,
    /// The leader has not yet given the assignment of this generation.
    pub completing: bool,
}

/// One member as stored. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static; version 3 on.
    pub group_instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// Its rebalance timeout; version 1 on, the session timeout before.
    pub rebalance_timeout_ms: i32,
    /// Its session timeout.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

impl GroupMetadata {
    /// Reads a value.
    ///
    /// # Errors
    /// [`InternalError`].
    pub fn parse(bytes: &[u8]) -> Result<GroupMetadata, InternalError> {
        let mut reader = Reader::new(bytes);
        let version = match reader.i16()? {
            version @ 0..=NEWEST => version,
            version if version > NEWEST => return Err(InternalError::NewerVersion(version)),
            _ => return Err(InternalError::Malformed("a version is negative")),
        };
        let compact = version >= 4;
        let protocol_type = reader.string(compact)?;
        let generation = Generation(reader.i32()?);
        let protocol = reader.nullable_string(compact)?;
        let leader = reader.nullable_string(compact)?;
        let current_state_timestamp_ms = if version >= 2 { reader.i64()? } else { -1 };
        let mut members = Vec::new();
        for _ in 0..reader.count(compact)? {
            members.push(MemberMetadata::parse(&mut reader, version)?);
        }
        let mut completing = false;
        if compact {
            reader.tags(|tag, data| {
                completing |= tag == COMPLETING_TAG && data == [1];
                Ok(())
            })?;
        }
        Ok(GroupMetadata {
            protocol_type,
            generation,
            protocol,
            leader,
            current_state_timestamp_ms,
            members,
            completing,
        })
    }

    /// Writes version 3, or version 4 if the group is completing or a text is too long for version 3.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        if !self.completing
            && let Ok(bytes) = self.encode_v3()
        {
            return bytes;
        }
        self.encode_v4()
    }

    fn encode_v3(&self) -> Result<Bytes, TooLong> {
        let mut writer = Writer::default();
        writer.i16(3);
        writer.string(&self.protocol_type)?;
        writer.i32(self.generation.0);
        writer.nullable_string(self.protocol.as_deref())?;
        writer.nullable_string(self.leader.as_deref())?;
        writer.i64(self.current_state_timestamp_ms);
        writer.count(self.members.len());
        for member in &self.members {
            writer.string(&member.member_id)?;
            writer.nullable_string(member.group_instance_id.as_deref())?;
            writer.string(&member.client_id)?;
            writer.string(&member.client_host)?;
            writer.i32(member.rebalance_timeout_ms);
            writer.i32(member.session_timeout_ms);
            writer.bytes(&member.subscription);
            writer.bytes(&member.assignment);
        }
        Ok(writer.finish())
    }

    fn encode_v4(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.i16(4);
        writer.compact_string(&self.protocol_type);
        writer.i32(self.generation.0);
        writer.compact_nullable_string(self.protocol.as_deref());
        writer.compact_nullable_string(self.leader.as_deref());
        writer.i64(self.current_state_timestamp_ms);
        writer.compact_count(self.members.len());
        for member in &self.members {
            writer.compact_string(&member.member_id);
            writer.compact_nullable_string(member.group_instance_id.as_deref());
            writer.compact_string(&member.client_id);
            writer.compact_string(&member.client_host);
            writer.i32(member.rebalance_timeout_ms);
            writer.i32(member.session_timeout_ms);
            writer.compact_bytes(&member.subscription);
            writer.compact_bytes(&member.assignment);
            writer.uvarint(0);
        }
        if self.completing {
            writer.uvarint(1);
            writer.uvarint(COMPLETING_TAG);
            writer.uvarint(1);
            writer.raw(&[1]);
        } else {
            writer.uvarint(0);
        }
        writer.finish()
    }
}

impl MemberMetadata {
    fn parse(reader: &mut Reader<'_>, version: i16) -> Result<MemberMetadata, InternalError> {
        let compact = version >= 4;
        let member_id = reader.string(compact)?;
        let group_instance_id = if version >= 3 { reader.nullable_string(compact)? } else { None };
        let client_id = reader.string(compact)?;
        let client_host = reader.string(compact)?;
        let rebalance_timeout_ms = if version >= 1 { Some(reader.i32()?) } else { None };
        let session_timeout_ms = reader.i32()?;
        let subscription = Bytes::copy_from_slice(reader.bytes(compact)?);
        let assignment = Bytes::copy_from_slice(reader.bytes(compact)?);
        if compact {
            reader.tags(|_, _| Ok(()))?;
        }
        Ok(MemberMetadata {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::testing::hex;

    fn sample() -> GroupMetadata {
        let first = MemberMetadata {
            member_id: "c-1".into(),
            group_instance_id: Some("inst".into()),
            client_id: "c".into(),
            client_host: "/10.0.0.1".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(&[1, 2, 3]),
            assignment: Bytes::from_static(&[4, 5]),
        };
        let second = MemberMetadata {
            member_id: "d-2".into(),
            group_instance_id: None,
            client_id: String::new(),
            client_host: "/10.0.0.2".into(),
            rebalance_timeout_ms: 6_000,
            session_timeout_ms: 6_000,
            subscription: Bytes::new(),
            assignment: Bytes::new(),
        };
        GroupMetadata {
            protocol_type: "consumer".into(),
            generation: Generation(9),
            protocol: Some("range".into()),
            leader: Some("c-1".into()),
            current_state_timestamp_ms: 1_700_000_000_456,
            members: vec![first, second],
            completing: false,
        }
    }

    const V0: &str = "00000008636f6e73756d657200000009000572616e67650003632d31000000020003632d3100016300092f31302e302e302e31\
        0000afc8000000030102030000000204050003642d32000000092f31302e302e302e32000017700000000000000000";
    const V1: &str = "00010008636f6e73756d657200000009000572616e67650003632d31000000020003632d3100016300092f31302e302e302e31\
        000493e00000afc8000000030102030000000204050003642d32000000092f31302e302e302e3200001770000017700000000000000000";
    const V2: &str = "00020008636f6e73756d657200000009000572616e67650003632d310000018bcfe569c8000000020003632d310001630009\
        2f31302e302e302e31000493e00000afc8000000030102030000000204050003642d32000000092f31302e302e302e32\
        00001770000017700000000000000000";
    const V3: &str = "00030008636f6e73756d657200000009000572616e67650003632d310000018bcfe569c8000000020003632d310004696e7374\
        00016300092f31302e302e302e31000493e00000afc8000000030102030000000204050003642d32ffff000000092f31302e302e302e32\
        00001770000017700000000000000000";
    const V4: &str = "000409636f6e73756d6572000000090672616e676504632d310000018bcfe569c80304632d3105696e737402630a\
        2f31302e302e302e31000493e00000afc8040102030304050004642d3200010a2f31302e302e302e32000017700000177001010000";

    /// A group of one static member, taken from `__consumer_offsets` of a running Apache Kafka 4.3.1.
    const LIVE: &str = "00030008636f6e73756d657200000001000572616e6765002769312d34653463323332652d643035302d343436652d623036372d\
        646230363635326561643765000001a2074d054400000001002769312d34653463323332652d643035302d343436652d623036372d64623036\
        3635326561643765000269310002636c000a2f3132372e302e302e31000493e00000afc80000001b000300000001000573616c6573ffffffff\
        00000000ffffffffffff00000021000300000001000573616c657300000003000000000000000100000002ffffffff";

    #[test]
    fn o72_the_value_written_is_byte_for_byte_that_of_kafka_4_3() {
        assert_eq!(sample().encode(), hex(V3));
        assert_eq!(sample().encode_v4(), hex(V4));
        let empty = GroupMetadata {
            protocol_type: String::new(),
            generation: Generation(0),
            protocol: None,
            leader: None,
            current_state_timestamp_ms: 5,
            members: Vec::new(),
            completing: false,
        };
        assert_eq!(empty.encode(), hex("0003000000000000ffffffff000000000000000500000000"));
        assert_eq!(empty.encode_v4(), hex("00040100000000000000000000000000050100"));
    }

    #[test]
    fn o72_a_group_taken_from_a_live_kafka_4_3_1_reads_and_writes_the_same() {
        let parsed = GroupMetadata::parse(&hex(LIVE)).unwrap();
        assert_eq!(parsed.generation, Generation(1));
        assert_eq!(parsed.leader.as_deref(), Some("i1-4e4c232e-d050-446e-b067-db06652ead7e"));
        assert_eq!(parsed.members[0].client_host, "/127.0.0.1");
        assert_eq!(parsed.members[0].group_instance_id.as_deref(), Some("i1"));
        assert_eq!(parsed.encode(), hex(LIVE));
        let created = hex("0003000000000000ffffffff000001a2074d053600000000");
        assert_eq!(GroupMetadata::parse(&created).unwrap().encode(), created);
        let emptied = hex("00030008636f6e73756d657200000002ffffffff000001a2074d092900000000");
        assert_eq!(GroupMetadata::parse(&emptied).unwrap().encode(), emptied);
    }

    #[test]
    fn o72_every_old_version_is_read() {
        let mut expected = sample();
        assert_eq!(GroupMetadata::parse(&hex(V4)).unwrap(), expected);
        assert_eq!(GroupMetadata::parse(&hex(V3)).unwrap(), expected);
        expected.members[0].group_instance_id = None;
        assert_eq!(GroupMetadata::parse(&hex(V2)).unwrap(), expected);
        expected.current_state_timestamp_ms = -1;
        assert_eq!(GroupMetadata::parse(&hex(V1)).unwrap(), expected);
        expected.members[0].rebalance_timeout_ms = 45_000;
        assert_eq!(GroupMetadata::parse(&hex(V0)).unwrap(), expected);
    }

    #[test]
    fn a_completing_group_is_version_4_with_our_tag_and_reads_back() {
        let completing = GroupMetadata { completing: true, ..sample() };
        let bytes = completing.encode();
        assert_eq!(bytes[..2], [0, 4]);
        assert_eq!(GroupMetadata::parse(&bytes).unwrap(), completing);
        // The same bytes but for the tag are what Kafka writes, so that its readers take it as a group of this generation.
        let untagged = hex(V4);
        assert_eq!(bytes[..untagged.len() - 1], untagged[..untagged.len() - 1]);
    }

    #[test]
    fn a_text_too_long_for_version_3_is_written_as_version_4() {
        let mut long = sample();
        long.members[0].client_id = "x".repeat(40_000);
        let bytes = long.encode();
        assert_eq!(bytes[..2], [0, 4]);
        assert_eq!(GroupMetadata::parse(&bytes).unwrap(), long);
    }

    #[test]
    fn o73_a_newer_version_is_told_apart_from_a_broken_value() {
        assert_eq!(GroupMetadata::parse(&hex("0005")), Err(InternalError::NewerVersion(5)));
        assert!(matches!(GroupMetadata::parse(&hex("8000")), Err(InternalError::Malformed(_))));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_answered_without_panic() {
        for whole in [hex(V3), hex(V4)] {
            for len in 0..whole.len() {
                assert!(GroupMetadata::parse(&whole[..len]).is_err(), "cut at {len}");
            }
            for at in 0..whole.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = whole.to_vec();
                    bytes[at] ^= flip;
                    let _ = GroupMetadata::parse(&bytes);
                }
            }
        }
    }

    #[test]
    fn a_claimed_number_of_members_allocates_nothing() {
        let bytes = hex("0003000000000000ffffffff00000000000000057fffffff");
        assert!(matches!(GroupMetadata::parse(&bytes), Err(InternalError::Malformed(_))));
    }
}
