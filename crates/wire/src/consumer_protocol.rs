//! What consumers tell each other through the group: subscriptions inside a JoinGroup's metadata, assignments inside a
//! SyncGroup (G-25).
//!
//! To a broker these bytes are the members' own affair, with one exception: the topics a member of protocol type `consumer`
//! subscribes to, which tell whether an offset is still in use ([`Subscription`]). Members read and write the whole of it
//! ([`MemberSubscription`], [`Assignment`]). Deliberately not here: racks, and what an assignor makes of all this.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::internal::{InternalError, Reader, TooLong, Writer};

/// The beginning of a `ConsumerProtocolSubscription`, which is the same in versions 0 to 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Version of the schema; later ones only append fields.
    pub version: i16,
    /// Topics subscribed to, in the member's order.
    pub topics: Vec<String>,
    /// The assignor's own bytes, untouched.
    pub user_data: Option<Bytes>,
}

impl Subscription {
    /// Reads a subscription.
    ///
    /// # Errors
    /// [`InternalError::Malformed`]; then the member counts as subscribed to everything (G-25).
    pub fn parse(bytes: &Bytes) -> Result<Subscription, InternalError> {
        Subscription::read(bytes, &mut Reader::new(bytes))
    }

    fn read(bytes: &Bytes, reader: &mut Reader<'_>) -> Result<Subscription, InternalError> {
        let version = reader.i16()?;
        if version < 0 {
            return Err(InternalError::Malformed("a version is negative"));
        }
        let mut topics = Vec::new();
        for _ in 0..reader.count(false)? {
            topics.push(reader.string(false)?);
        }
        let user_data = reader.nullable_bytes()?.map(|data| bytes.slice_ref(data));
        Ok(Subscription { version, topics, user_data })
    }
}

/// Partitions by topic, as both formats carry them.
pub type Partitions = BTreeMap<String, Vec<i32>>;

/// A whole `ConsumerProtocolSubscription`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberSubscription {
    /// Topics subscribed to.
    pub topics: Vec<String>,
    /// The assignor's own bytes.
    pub user_data: Option<Bytes>,
    /// Partitions that the member holds (version 1).
    pub owned: Partitions,
    /// Generation in which it got them, -1 for none or unknown (version 2).
    pub generation: i32,
}

impl MemberSubscription {
    /// The version that is written: the last one that every assignor in use reads.
    const VERSION: i16 = 2;

    /// Reads a subscription of any version. What older versions lack is empty, or -1.
    ///
    /// # Errors
    /// [`InternalError::Malformed`].
    pub fn parse(bytes: &Bytes) -> Result<MemberSubscription, InternalError> {
        let mut reader = Reader::new(bytes);
        let Subscription { version, topics, user_data } = Subscription::read(bytes, &mut reader)?;
        let owned = if version >= 1 { read_partitions(&mut reader)? } else { Partitions::new() };
        let generation = if version >= 2 { reader.i32()? } else { -1 };
        Ok(MemberSubscription { topics, user_data, owned, generation })
    }

    /// The subscription as bytes.
    ///
    /// # Errors
    /// [`TooLong`] if a topic's name exceeds 32,767 bytes.
    pub fn to_bytes(&self) -> Result<Bytes, TooLong> {
        let mut writer = Writer::default();
        writer.i16(Self::VERSION);
        writer.count(self.topics.len());
        self.topics.iter().try_for_each(|topic| writer.string(topic))?;
        write_nullable(&mut writer, self.user_data.as_deref());
        write_partitions(&mut writer, &self.owned)?;
        writer.i32(self.generation);
        Ok(writer.finish())
    }
}

/// A `ConsumerProtocolAssignment`: what one member gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Its partitions.
    pub partitions: Partitions,
    /// The assignor's own bytes.
    pub user_data: Option<Bytes>,
}

impl Assignment {
    /// The version that is written.
    const VERSION: i16 = 1;

    /// Reads an assignment of any version; no bytes at all mean no partitions.
    ///
    /// # Errors
    /// [`InternalError::Malformed`].
    pub fn parse(bytes: &Bytes) -> Result<Assignment, InternalError> {
        if bytes.is_empty() {
            return Ok(Assignment::default());
        }
        let mut reader = Reader::new(bytes);
        if reader.i16()? < 0 {
            return Err(InternalError::Malformed("a version is negative"));
        }
        let partitions = read_partitions(&mut reader)?;
        let user_data = reader.nullable_bytes()?.map(|data| bytes.slice_ref(data));
        Ok(Assignment { partitions, user_data })
    }

    /// The assignment as bytes.
    ///
    /// # Errors
    /// [`TooLong`] if a topic's name exceeds 32,767 bytes.
    pub fn to_bytes(&self) -> Result<Bytes, TooLong> {
        let mut writer = Writer::default();
        writer.i16(Self::VERSION);
        write_partitions(&mut writer, &self.partitions)?;
        write_nullable(&mut writer, self.user_data.as_deref());
        Ok(writer.finish())
    }
}

fn read_partitions(reader: &mut Reader<'_>) -> Result<Partitions, InternalError> {
    let mut all = Partitions::new();
    for _ in 0..reader.count(false)? {
        let topic = reader.string(false)?;
        let partitions: &mut Vec<i32> = all.entry(topic).or_default();
        for _ in 0..reader.count(false)? {
            partitions.push(reader.i32()?);
        }
    }
    Ok(all)
}

fn write_partitions(writer: &mut Writer, all: &Partitions) -> Result<(), TooLong> {
    writer.count(all.len());
    for (topic, partitions) in all {
        writer.string(topic)?;
        writer.count(partitions.len());
        partitions.iter().for_each(|partition| writer.i32(*partition));
    }
    Ok(())
}

fn write_nullable(writer: &mut Writer, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => writer.bytes(bytes),
        None => writer.i32(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::testing::hex;

    // Written by Kafka 4.3's own ConsumerProtocol, which sorts the topics.
    const WRITTEN_BY_KAFKA: [&str; 4] = [
        "0000000000020001610007622d746f706963000000020908",
        "0001000000020001610007622d746f706963000000020908000000010001610000000100000001",
        "0002000000020001610007622d746f70696300000002090800000001000161000000010000000100000005",
        "0003000000020001610007622d746f7069630000000209080000000100016100000001000000010000000500047261636b",
    ];

    #[test]
    fn g25_topics_and_user_data_of_every_version_are_read() {
        for (version, text) in WRITTEN_BY_KAFKA.iter().enumerate() {
            let parsed = Subscription::parse(&hex(text)).unwrap();
            assert_eq!(parsed.version, version as i16);
            assert_eq!(parsed.topics, ["a", "b-topic"]);
            assert_eq!(parsed.user_data, Some(hex("0908")));
        }
    }

    #[test]
    fn g25_what_cannot_be_read_is_an_error_not_an_empty_subscription() {
        for text in [
            "",
            "0000",
            "ffff00000000ffffffff",
            "0000ffffffff",
            "00007fffffff",
            "000000000001000561",
            "0001000000017fff",
        ] {
            assert!(Subscription::parse(&hex(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn g25_members_read_every_version_of_a_subscription_and_write_what_kafka_writes() {
        for (version, text) in WRITTEN_BY_KAFKA.iter().enumerate() {
            let parsed = MemberSubscription::parse(&hex(text)).unwrap();
            let owned = if version >= 1 { Partitions::from([("a".to_owned(), vec![1])]) } else { Partitions::new() };
            let generation = if version >= 2 { 5 } else { -1 };
            let topics = vec!["a".to_owned(), "b-topic".to_owned()];
            let user_data = Some(hex("0908"));
            assert_eq!(parsed, MemberSubscription { topics, user_data, owned, generation });
            if version == 2 {
                assert_eq!(parsed.to_bytes().unwrap(), hex(text));
            }
        }
    }

    #[test]
    fn assignments_come_back_as_written_and_no_bytes_are_no_partitions_q17() {
        let partitions = Partitions::from([("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![])]);
        for user_data in [None, Some(hex("01"))] {
            let assignment = Assignment { partitions: partitions.clone(), user_data };
            assert_eq!(Assignment::parse(&assignment.to_bytes().unwrap()).unwrap(), assignment);
        }
        assert_eq!(Assignment::parse(&Bytes::new()).unwrap(), Assignment::default());
        assert!(Assignment::parse(&hex("00007fffffff")).is_err());
        assert!(MemberSubscription::parse(&hex("000100000000ffffffff7fffffff")).is_err());
    }
}
