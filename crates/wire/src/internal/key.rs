//! Keys: which record this is and what it is about (O-70). Never flexible.
//!
//! Deliberately not here: the fields of keys whose records nobody here reads; they are recognised by their number alone.

use bytes::Bytes;

use super::read::Reader;
use super::write::Writer;
use super::{InternalError, TooLong};
use crate::types::PartitionIndex;

const OFFSET_COMMIT_OLD: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

/// Key of a record in `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoordinatorKey {
    /// Types 0 and 1: the committed offset of one partition.
    OffsetCommit {
        /// The group.
        group: String,
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
    },
    /// Type 2: a classic group.
    GroupMetadata {
        /// The group.
        group: String,
    },
    /// Any other type: to be skipped, and kept (O-73).
    Unknown {
        /// The number.
        record_type: i16,
    },
}

impl CoordinatorKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`InternalError::Malformed`] if the bytes break the format of their type.
    pub fn parse(bytes: &[u8]) -> Result<CoordinatorKey, InternalError> {
        let mut reader = Reader::new(bytes);
        let key = match reader.i16()? {
            OFFSET_COMMIT_OLD | OFFSET_COMMIT => CoordinatorKey::OffsetCommit {
                group: reader.string(false)?,
                topic: reader.string(false)?,
                partition: PartitionIndex(reader.i32()?),
            },
            GROUP_METADATA => CoordinatorKey::GroupMetadata { group: reader.string(false)? },
            record_type => return Ok(CoordinatorKey::Unknown { record_type }),
        };
        // Compaction tells keys apart by their bytes, so that no two texts may be the same key.
        reader.finish()?;
        Ok(key)
    }

    /// Key of a committed offset, as type 1.
    ///
    /// # Errors
    /// [`TooLong`] if a name does not fit.
    pub fn encode_offset_commit(group: &str, topic: &str, partition: PartitionIndex) -> Result<Bytes, TooLong> {
        let mut writer = Writer::default();
        writer.i16(OFFSET_COMMIT);
        writer.string(group)?;
        writer.string(topic)?;
        writer.i32(partition.0);
        Ok(writer.finish())
    }

    /// Key of a classic group.
    ///
    /// # Errors
    /// [`TooLong`] if the name does not fit.
    pub fn encode_group_metadata(group: &str) -> Result<Bytes, TooLong> {
        let mut writer = Writer::default();
        writer.i16(GROUP_METADATA);
        writer.string(group)?;
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::testing::hex;

    #[test]
    fn o70_keys_are_byte_for_byte_those_of_kafka_4_3() {
        let key = CoordinatorKey::encode_offset_commit("grüp", "sales", PartitionIndex(3)).unwrap();
        assert_eq!(key, hex("000100056772c3bc70000573616c657300000003"));
        let group = CoordinatorKey::encode_group_metadata("grüp").unwrap();
        assert_eq!(group, hex("000200056772c3bc70"));
        let (g, t) = ("grüp".to_owned(), "sales".to_owned());
        let parsed = CoordinatorKey::parse(&key).unwrap();
        assert_eq!(parsed, CoordinatorKey::OffsetCommit { group: g.clone(), topic: t, partition: PartitionIndex(3) });
        assert_eq!(CoordinatorKey::parse(&group).unwrap(), CoordinatorKey::GroupMetadata { group: g });
    }

    #[test]
    fn o70_the_old_type_0_names_a_committed_offset_too() {
        let parsed = CoordinatorKey::parse(&hex("000000016700017400000000")).unwrap();
        let expected =
            CoordinatorKey::OffsetCommit { group: "g".into(), topic: "t".into(), partition: PartitionIndex(0) };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn o73_other_types_are_recognised_by_number_without_reading_on() {
        for record_type in [3i16, 5, 10, 16, 23, 999, -1] {
            let parsed = CoordinatorKey::parse(&record_type.to_be_bytes()).unwrap();
            assert_eq!(parsed, CoordinatorKey::Unknown { record_type });
        }
    }

    #[test]
    fn lengths_that_lie_are_refused_and_nothing_is_allocated_for_them() {
        for bytes in
            ["", "00", "0001", "00017fff", "0001ffff", "0001800061", "0002000261", "00020001ff", "000200016100"]
        {
            assert!(CoordinatorKey::parse(&hex(bytes)).is_err(), "{bytes}");
        }
    }

    #[test]
    fn names_too_long_for_the_format_are_refused_at_writing() {
        let long = "x".repeat(32_768);
        assert_eq!(CoordinatorKey::encode_group_metadata(&long), Err(TooLong(32_768)));
        assert!(CoordinatorKey::encode_group_metadata(&long[1..]).is_ok());
    }
}
