//! Kafka's error codes as far as this broker gives them, each with its number on the wire.
//!
//! Deliberately not here: which situation gives which code; that is decided where the situation is known.

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// An error code of the Kafka protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode { $($(#[$doc])* $name = $code,)* }

        impl ErrorCode {
            /// The number on the wire.
            #[must_use]
            pub fn code(self) -> i16 { self as i16 }

            /// The code with this number, if this broker knows it.
            #[must_use]
            pub fn from_code(code: i16) -> Option<ErrorCode> {
                match code { $($code => Some(ErrorCode::$name),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// Something went wrong that no other code says.
    UnknownServerError = -1,
    /// No error.
    None = 0,
    /// The offset lies outside the log.
    OffsetOutOfRange = 1,
    /// Checksum or length of a batch is wrong.
    CorruptMessage = 2,
    /// No such topic or partition.
    UnknownTopicOrPartition = 3,
    /// The partition has no leader at the moment.
    LeaderNotAvailable = 5,
    /// This broker does not lead the partition.
    NotLeaderOrFollower = 6,
    /// Too slow.
    RequestTimedOut = 7,
    /// A batch exceeds `max.message.bytes`.
    MessageTooLarge = 10,
    /// Commit metadata exceeds `offset.metadata.max.bytes`.
    OffsetMetadataTooLarge = 12,
    /// The coordinator is still reading its log.
    CoordinatorLoadInProgress = 14,
    /// The coordinator cannot work at the moment.
    CoordinatorNotAvailable = 15,
    /// This broker is not the coordinator.
    NotCoordinator = 16,
    /// A topic's name is illegal, or the topic is internal.
    InvalidTopicException = 17,
    /// A record set exceeds the segment size.
    RecordListTooLarge = 18,
    /// acks is not -1, 0 or 1.
    InvalidRequiredAcks = 21,
    /// The generation is not the group's.
    IllegalGeneration = 22,
    /// The member's protocols do not fit the group's.
    InconsistentGroupProtocol = 23,
    /// The group id is illegal.
    InvalidGroupId = 24,
    /// No such member.
    UnknownMemberId = 25,
    /// The session timeout is outside the allowed range.
    InvalidSessionTimeout = 26,
    /// The group rebalances; join again.
    RebalanceInProgress = 27,
    /// A commit is too large to be stored.
    InvalidCommitOffsetSize = 28,
    /// A timestamp is outside the allowed range.
    InvalidTimestamp = 32,
    /// SASL request where there is no SASL.
    IllegalSaslState = 34,
    /// The version of the request is not supported.
    UnsupportedVersion = 35,
    /// The topic exists.
    TopicAlreadyExists = 36,
    /// An illegal number of partitions.
    InvalidPartitions = 37,
    /// An illegal replication factor.
    InvalidReplicationFactor = 38,
    /// An illegal replica assignment.
    InvalidReplicaAssignment = 39,
    /// An illegal configuration value.
    InvalidConfig = 40,
    /// The request makes no sense.
    InvalidRequest = 42,
    /// A policy forbids it.
    PolicyViolation = 44,
    /// A producer's sequence number is not the next one.
    OutOfOrderSequenceNumber = 45,
    /// A newer incarnation of the producer exists.
    InvalidProducerEpoch = 47,
    /// Not allowed in this state of the transaction.
    InvalidTxnState = 48,
    /// No such transaction for this producer id.
    InvalidProducerIdMapping = 49,
    /// A transaction timeout outside the allowed range.
    InvalidTransactionTimeout = 50,
    /// Not authorized for the transactional id.
    TransactionalIdAuthorizationFailed = 53,
    /// The disk failed.
    KafkaStorageError = 56,
    /// The group has members.
    NonEmptyGroup = 68,
    /// No such group.
    GroupIdNotFound = 69,
    /// No such fetch session.
    FetchSessionIdNotFound = 70,
    /// The fetch session's epoch is wrong.
    InvalidFetchSessionEpoch = 71,
    /// Topic deletion is switched off.
    TopicDeletionDisabled = 73,
    /// The caller's leader epoch is older than ours.
    FencedLeaderEpoch = 74,
    /// The caller's leader epoch is newer than ours.
    UnknownLeaderEpoch = 75,
    /// No such codec, or not in this version.
    UnsupportedCompressionType = 76,
    /// Join again with the member id given.
    MemberIdRequired = 79,
    /// The group has `group.max.size` members.
    GroupMaxSizeReached = 81,
    /// Another member has the instance id.
    FencedInstanceId = 82,
    /// A member of the group subscribes to the topic.
    GroupSubscribedToTopic = 86,
    /// A record or batch breaks a rule.
    InvalidRecord = 87,
    /// A transaction has yet to decide about the offset.
    UnstableOffsetCommit = 88,
    /// No topic has this id.
    UnknownTopicId = 100,
    /// The topic id and name do not belong together.
    InconsistentTopicId = 103,
    /// The caller wants a controller, this is a broker.
    MismatchedEndpointType = 114,
    /// No such type of endpoint.
    UnsupportedEndpointType = 115,
}

impl ErrorCode {
    /// Whether this says that nothing went wrong.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == ErrorCode::None
    }
}
