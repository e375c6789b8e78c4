//! What consumers tell each other through the group: the subscription inside a JoinGroup's metadata (G-25).
//!
//! To a broker these bytes are the members' own affair, with one exception: the topics a member of protocol type `consumer`
//! subscribes to, which tell whether an offset is still in use.
//! Deliberately not here: owned partitions, generation and rack behind the user data, and assignments; only members read those.

use bytes::Bytes;

use crate::internal::{InternalError, Reader};

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
        let mut reader = Reader::new(bytes);
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
}
