//! A broker's error code as a client meets it: any number, known by name if Kafka has one for it.
//!
//! `pagemark_wire::ErrorCode` has only what our own broker answers; a client must be able to read every broker's answer.
//! Deliberately not here: what to do about a code; that depends on the call.

use std::fmt;

use pagemark_wire::messages::ResponseError;

/// An error code of the Kafka protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub i16);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl Code { $($(#[$doc])* pub const $name: Code = Code($code);)* }
    };
}

codes! {
    /// Something went wrong at the broker for which there is no code.
    UNKNOWN_SERVER_ERROR = -1;
    /// No error.
    NONE = 0;
    /// The offset lies outside the log.
    OFFSET_OUT_OF_RANGE = 1;
    /// A batch does not fit its checksum.
    CORRUPT_MESSAGE = 2;
    /// No such topic or partition.
    UNKNOWN_TOPIC_OR_PARTITION = 3;
    /// The partition has no leader at the moment.
    LEADER_NOT_AVAILABLE = 5;
    /// The broker was too slow.
    REQUEST_TIMED_OUT = 7;
    /// A batch exceeds the topic's `max.message.bytes`.
    MESSAGE_TOO_LARGE = 10;
    /// The coordinator is still reading its log.
    COORDINATOR_LOAD_IN_PROGRESS = 14;
    /// There is no coordinator at the moment.
    COORDINATOR_NOT_AVAILABLE = 15;
    /// The coordinator is another broker.
    NOT_COORDINATOR = 16;
    /// A batch exceeds the topic's `segment.bytes`.
    RECORD_LIST_TOO_LARGE = 18;
    /// The generation is not the group's.
    ILLEGAL_GENERATION = 22;
    /// The group's id is not one that this request takes, such as the empty one.
    INVALID_GROUP_ID = 24;
    /// The group does not know the member.
    UNKNOWN_MEMBER_ID = 25;
    /// The group rebalances.
    REBALANCE_IN_PROGRESS = 27;
    /// Not allowed for this topic.
    TOPIC_AUTHORIZATION_FAILED = 29;
    /// Not allowed for this group.
    GROUP_AUTHORIZATION_FAILED = 30;
    /// The version of the request is not supported.
    UNSUPPORTED_VERSION = 35;
    /// The topic exists.
    TOPIC_ALREADY_EXISTS = 36;
    /// A producer's sequence number is not the next one.
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45;
    /// The broker had the batch already.
    DUPLICATE_SEQUENCE_NUMBER = 46;
    /// A newer incarnation of the producer exists.
    INVALID_PRODUCER_EPOCH = 47;
    /// The broker cannot read or write the partition's disk.
    KAFKA_STORAGE_ERROR = 56;
    /// The broker does not know the producer any more.
    UNKNOWN_PRODUCER_ID = 59;
    /// The group has members.
    NON_EMPTY_GROUP = 68;
    /// No such group.
    GROUP_ID_NOT_FOUND = 69;
    /// Our idea of the leader is older than the broker's.
    FENCED_LEADER_EPOCH = 74;
    /// Our idea of the leader is newer than the broker's.
    UNKNOWN_LEADER_EPOCH = 75;
    /// Join again with the member id given.
    MEMBER_ID_REQUIRED = 79;
    /// Another member has the instance id.
    FENCED_INSTANCE_ID = 82;
    /// A member of the group subscribes to the topic.
    GROUP_SUBSCRIBED_TO_TOPIC = 86;
    /// No topic has this id.
    UNKNOWN_TOPIC_ID = 100;
    /// The topic id and name do not belong together.
    INCONSISTENT_TOPIC_ID = 103;
}

impl Code {
    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Code::NONE
    }

    /// Whether the same request may succeed in a while, as Kafka sees it.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        ResponseError::try_from_code(self.0).is_some_and(|error| error.is_retriable())
    }

    /// Whether metadata is out of date: ask for it again before the request is repeated.
    #[must_use]
    pub(crate) fn is_stale_metadata(self) -> bool {
        matches!(self.0, 3 | 5 | 6 | 9 | 56 | 72 | 74 | 75 | 78 | 100 | 103)
    }

    /// Whether it is about the coordinator as a whole, whatever it was asked.
    #[must_use]
    pub(crate) fn is_of_coordinator(self) -> bool {
        self == Code::COORDINATOR_LOAD_IN_PROGRESS || self.is_stale_coordinator()
    }

    /// Whether it is about the member that asks, and its generation.
    #[must_use]
    pub(crate) fn is_of_membership(self) -> bool {
        matches!(
            self,
            Code::ILLEGAL_GENERATION | Code::UNKNOWN_MEMBER_ID | Code::REBALANCE_IN_PROGRESS | Code::FENCED_INSTANCE_ID
        )
    }

    /// Whether the coordinator must be looked up again.
    #[must_use]
    pub(crate) fn is_stale_coordinator(self) -> bool {
        self == Code::COORDINATOR_NOT_AVAILABLE || self == Code::NOT_COORDINATOR
    }
}

impl fmt::Display for Code {
    /// Kafka's name and number: `UNKNOWN_TOPIC_OR_PARTITION (3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match ResponseError::try_from_code(self.0) {
            None => "NoError".to_owned(),
            Some(ResponseError::Unknown(_)) => "Unknown".to_owned(),
            Some(error) => format!("{error:?}"),
        };
        for (at, letter) in name.char_indices() {
            if at > 0 && letter.is_ascii_uppercase() {
                f.write_str("_")?;
            }
            write!(f, "{}", letter.to_ascii_uppercase())?;
        }
        write!(f, " ({})", self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_shown_by_kafkas_names_and_unknown_ones_by_number() {
        assert_eq!(Code::UNKNOWN_TOPIC_OR_PARTITION.to_string(), "UNKNOWN_TOPIC_OR_PARTITION (3)");
        assert_eq!(Code::NONE.to_string(), "NO_ERROR (0)");
        assert_eq!(Code(9999).to_string(), "UNKNOWN (9999)");
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retriable_q_44() {
        for code in [2, 3, 5, 6, 7, 14, 15, 16, 19, 20, 56] {
            assert!(Code(code).is_retriable(), "{}", Code(code));
        }
        for code in [0, 1, 10, 17, 22, 25, 27, 29, 32, 45, 47, 82, 87, 9999] {
            assert!(!Code(code).is_retriable(), "{}", Code(code));
        }
    }
}
