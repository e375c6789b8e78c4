//! The requests' schemas as data: which field, of which kind, in which versions, null from which version on.
//!
//! Kafka publishes these in its message specifications; a test encodes every request in every version with the codec and
//! holds the two against each other. Deliberately not here: versions that are not served, defaults, responses.

use crate::api::Api;

/// What a field is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// This many bytes, any value.
    Fixed(usize),
    /// UTF-8.
    Text,
    /// UTF-8 that names a topic; other bytes are replaced rather than refused.
    TopicName,
    /// Bytes.
    Blob,
    /// A structure.
    Struct(&'static [Field]),
    /// Any number of these.
    Array(&'static Kind),
}

impl Kind {
    /// Fewest bytes that a value of this kind takes.
    pub(super) fn least_size(&self, version: i16, flexible: bool) -> usize {
        match self {
            Kind::Fixed(size) => *size,
            Kind::Text | Kind::TopicName => {
                if flexible {
                    1
                } else {
                    2
                }
            }
            Kind::Blob | Kind::Array(_) => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Kind::Struct(fields) => {
                let plain = fields.iter().filter(|f| f.tag.is_none() && f.in_version(version));
                plain.map(|f| f.least_size(version, flexible)).sum::<usize>() + usize::from(flexible)
            }
        }
    }
}

/// One field of a structure.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    first: i16,
    last: i16,
    nullable_from: i16,
    pub(super) tag: Option<u32>,
}

impl Field {
    pub(super) fn in_version(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub(super) fn nullable_in(&self, version: i16) -> bool {
        version >= self.nullable_from
    }

    /// Fewest bytes that it takes. A structure that may be null begins with a byte that says whether it is.
    fn least_size(&self, version: i16, flexible: bool) -> usize {
        match self.kind {
            Kind::Struct(_) if self.nullable_in(version) => 1,
            kind => kind.least_size(version, flexible),
        }
    }

    pub(super) const fn from(mut self, first: i16) -> Field {
        self.first = first;
        self
    }

    pub(super) const fn to(mut self, last: i16) -> Field {
        self.last = last;
        self
    }

    pub(super) const fn null_from(mut self, version: i16) -> Field {
        self.nullable_from = version;
        self
    }

    pub(super) const fn tag(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }
}

pub(super) const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, first: 0, last: i16::MAX, nullable_from: i16::MAX, tag: None }
}

pub(super) const BOOL: Kind = Kind::Fixed(1);
pub(super) const I8: Kind = Kind::Fixed(1);
pub(super) const I16: Kind = Kind::Fixed(2);
pub(super) const I32: Kind = Kind::Fixed(4);
pub(super) const I64: Kind = Kind::Fixed(8);
pub(super) const UUID: Kind = Kind::Fixed(16);
pub(super) const TEXT: Kind = Kind::Text;
const TOPIC: Kind = Kind::TopicName;
pub(super) const BLOB: Kind = Kind::Blob;
pub(super) const I32S: Kind = Kind::Array(&I32);
const TEXTS: Kind = Kind::Array(&TEXT);
const TOPICS: Kind = Kind::Array(&TOPIC);

/// The schema of a request's body.
pub(super) fn request(api: Api) -> &'static [Field] {
    match api {
        Api::Produce => PRODUCE,
        Api::Fetch => FETCH,
        Api::ListOffsets => LIST_OFFSETS,
        Api::Metadata => METADATA,
        Api::OffsetCommit => OFFSET_COMMIT,
        Api::OffsetFetch => OFFSET_FETCH,
        Api::FindCoordinator => FIND_COORDINATOR,
        Api::JoinGroup => JOIN_GROUP,
        Api::Heartbeat => HEARTBEAT,
        Api::LeaveGroup => LEAVE_GROUP,
        Api::SyncGroup => SYNC_GROUP,
        Api::DescribeGroups => DESCRIBE_GROUPS,
        Api::ConsumerGroupDescribe => CONSUMER_GROUP_DESCRIBE,
        Api::ListGroups => LIST_GROUPS,
        Api::ApiVersions => API_VERSIONS,
        Api::CreateTopics => CREATE_TOPICS,
        Api::DeleteTopics => DELETE_TOPICS,
        Api::DeleteRecords => DELETE_RECORDS,
        Api::InitProducerId => INIT_PRODUCER_ID,
        Api::OffsetForLeaderEpoch => OFFSET_FOR_LEADER_EPOCH,
        Api::DescribeConfigs => DESCRIBE_CONFIGS,
        Api::AlterConfigs => ALTER_CONFIGS,
        Api::DescribeLogDirs => DESCRIBE_LOG_DIRS,
        Api::DeleteGroups => DELETE_GROUPS,
        Api::OffsetDelete => OFFSET_DELETE,
        Api::IncrementalAlterConfigs => INCREMENTAL_ALTER_CONFIGS,
        Api::DescribeTopicPartitions => DESCRIBE_TOPIC_PARTITIONS,
        Api::DescribeCluster => DESCRIBE_CLUSTER,
        Api::CreatePartitions => CREATE_PARTITIONS,
    }
}

const PRODUCE: &[Field] = &[
    field("transactionalId", TEXT).null_from(3),
    field("acks", I16),
    field("timeoutMs", I32),
    field(
        "topicData",
        Kind::Array(&Kind::Struct(&[
            field("name", TOPIC).to(12),
            field("topicId", UUID).from(13),
            field(
                "partitionData",
                Kind::Array(&Kind::Struct(&[field("index", I32), field("records", BLOB).null_from(0)])),
            ),
        ])),
    ),
];

const FETCH: &[Field] = &[
    field("clusterId", TEXT).from(12).null_from(12).tag(0),
    field("replicaId", I32).to(14),
    field("replicaState", Kind::Struct(&[field("replicaId", I32), field("replicaEpoch", I64)])).from(15).tag(1),
    field("maxWaitMs", I32),
    field("minBytes", I32),
    field("maxBytes", I32),
    field("isolationLevel", I8),
    field("sessionId", I32).from(7),
    field("sessionEpoch", I32).from(7),
    field(
        "topics",
        Kind::Array(&Kind::Struct(&[
            field("topic", TOPIC).to(12),
            field("topicId", UUID).from(13),
            field(
                "partitions",
                Kind::Array(&Kind::Struct(&[
                    field("partition", I32),
                    field("currentLeaderEpoch", I32).from(9),
                    field("fetchOffset", I64),
                    field("lastFetchedEpoch", I32).from(12),
                    field("logStartOffset", I64).from(5),
                    field("partitionMaxBytes", I32),
                    field("replicaDirectoryId", UUID).from(17).tag(0),
                    field("highWatermark", I64).from(18).tag(1),
                ])),
            ),
        ])),
    ),
    field(
        "forgottenTopicsData",
        Kind::Array(&Kind::Struct(&[
            field("topic", TOPIC).to(12),
            field("topicId", UUID).from(13),
            field("partitions", I32S),
        ])),
    )
    .from(7),
    field("rackId", TEXT).from(11),
];

const LIST_OFFSETS: &[Field] = &[
    field("replicaId", I32),
    field("isolationLevel", I8).from(2),
    field(
        "topics",
        Kind::Array(&Kind::Struct(&[
            field("name", TOPIC),
            field(
                "partitions",
                Kind::Array(&Kind::Struct(&[
                    field("partitionIndex", I32),
                    field("currentLeaderEpoch", I32).from(4),
                    field("timestamp", I64),
                ])),
            ),
        ])),
    ),
    field("timeoutMs", I32).from(10),
];

const METADATA: &[Field] = &[
    field("topics", Kind::Array(&Kind::Struct(&[field("topicId", UUID).from(10), field("name", TOPIC).null_from(10)])))
        .null_from(1),
    field("allowAutoTopicCreation", BOOL).from(4),
    field("includeClusterAuthorizedOperations", BOOL).from(8).to(10),
    field("includeTopicAuthorizedOperations", BOOL).from(8),
];

const OFFSET_COMMIT: &[Field] = &[
    field("groupId", TEXT),
    field("generationIdOrMemberEpoch", I32),
    field("memberId", TEXT),
    field("groupInstanceId", TEXT).from(7).null_from(7),
    field("retentionTimeMs", I64).to(4),
    field(
        "topics",
        Kind::Array(&Kind::Struct(&[
            field("name", TOPIC).to(9),
            field("topicId", UUID).from(10),
            field(
                "partitions",
                Kind::Array(&Kind::Struct(&[
                    field("partitionIndex", I32),
                    field("committedOffset", I64),
                    field("committedLeaderEpoch", I32).from(6),
                    field("committedMetadata", TEXT).null_from(0),
                ])),
            ),
        ])),
    ),
];

const OFFSET_FETCH_TOPICS: Kind = Kind::Array(&Kind::Struct(&[
    field("name", TOPIC).to(9),
    field("topicId", UUID).from(10),
    field("partitionIndexes", I32S),
]));

const OFFSET_FETCH: &[Field] = &[
    field("groupId", TEXT).to(7),
    field("topics", OFFSET_FETCH_TOPICS).to(7).null_from(2),
    field(
        "groups",
        Kind::Array(&Kind::Struct(&[
            field("groupId", TEXT),
            field("memberId", TEXT).from(9).null_from(9),
            field("memberEpoch", I32).from(9),
            field("topics", OFFSET_FETCH_TOPICS).null_from(8),
        ])),
    )
    .from(8),
    field("requireStable", BOOL).from(7),
];

const FIND_COORDINATOR: &[Field] =
    &[field("key", TEXT).to(3), field("keyType", I8).from(1), field("coordinatorKeys", TEXTS).from(4)];

const JOIN_GROUP: &[Field] = &[
    field("groupId", TEXT),
    field("sessionTimeoutMs", I32),
    field("rebalanceTimeoutMs", I32).from(1),
    field("memberId", TEXT),
    field("groupInstanceId", TEXT).from(5).null_from(5),
    field("protocolType", TEXT),
    field("protocols", Kind::Array(&Kind::Struct(&[field("name", TEXT), field("metadata", BLOB)]))),
    field("reason", TEXT).from(8).null_from(8),
];

const HEARTBEAT: &[Field] = &[
    field("groupId", TEXT),
    field("generationId", I32),
    field("memberId", TEXT),
    field("groupInstanceId", TEXT).from(3).null_from(3),
];

const LEAVE_GROUP: &[Field] = &[
    field("groupId", TEXT),
    field("memberId", TEXT).to(2),
    field(
        "members",
        Kind::Array(&Kind::Struct(&[
            field("memberId", TEXT),
            field("groupInstanceId", TEXT).null_from(3),
            field("reason", TEXT).from(5).null_from(5),
        ])),
    )
    .from(3),
];

const SYNC_GROUP: &[Field] = &[
    field("groupId", TEXT),
    field("generationId", I32),
    field("memberId", TEXT),
    field("groupInstanceId", TEXT).from(3).null_from(3),
    field("protocolType", TEXT).from(5).null_from(5),
    field("protocolName", TEXT).from(5).null_from(5),
    field("assignments", Kind::Array(&Kind::Struct(&[field("memberId", TEXT), field("assignment", BLOB)]))),
];

const DESCRIBE_GROUPS: &[Field] = &[field("groups", TEXTS), field("includeAuthorizedOperations", BOOL).from(3)];

const CONSUMER_GROUP_DESCRIBE: &[Field] = &[field("groupIds", TEXTS), field("includeAuthorizedOperations", BOOL)];

const LIST_GROUPS: &[Field] = &[field("statesFilter", TEXTS).from(4), field("typesFilter", TEXTS).from(5)];

const API_VERSIONS: &[Field] =
    &[field("clientSoftwareName", TEXT).from(3), field("clientSoftwareVersion", TEXT).from(3)];

const CREATE_TOPICS: &[Field] = &[
    field(
        "topics",
        Kind::Array(&Kind::Struct(&[
            field("name", TOPIC),
            field("numPartitions", I32),
            field("replicationFactor", I16),
            field("assignments", Kind::Array(&Kind::Struct(&[field("partitionIndex", I32), field("brokerIds", I32S)]))),
            field("configs", Kind::Array(&Kind::Struct(&[field("name", TEXT), field("value", TEXT).null_from(0)]))),
        ])),
    ),
    field("timeoutMs", I32),
    field("validateOnly", BOOL),
];

const DELETE_TOPICS: &[Field] = &[
    field("topics", Kind::Array(&Kind::Struct(&[field("name", TOPIC).null_from(6), field("topicId", UUID)]))).from(6),
    field("topicNames", TOPICS).to(5),
    field("timeoutMs", I32),
];

const DELETE_RECORDS: &[Field] = &[
    field(
        "topics",
        Kind::Array(&Kind::Struct(&[
            field("name", TOPIC),
            field("partitions", Kind::Array(&Kind::Struct(&[field("partitionIndex", I32), field("offset", I64)]))),
        ])),
    ),
    field("timeoutMs", I32),
];

const INIT_PRODUCER_ID: &[Field] = &[
    field("transactionalId", TEXT).null_from(0),
    field("transactionTimeoutMs", I32),
    field("producerId", I64).from(3),
    field("producerEpoch", I16).from(3),
];

const DESCRIBE_CONFIGS: &[Field] = &[
    field(
        "resources",
        Kind::Array(&Kind::Struct(&[
            field("resourceType", I8),
            field("resourceName", TEXT),
            field("configurationKeys", TEXTS).null_from(0),
        ])),
    ),
    field("includeSynonyms", BOOL).from(1),
    field("includeDocumentation", BOOL).from(3),
];

const ALTER_CONFIGS: &[Field] = &[
    field(
        "resources",
        Kind::Array(&Kind::Struct(&[
            field("resourceType", I8),
            field("resourceName", TEXT),
            field("configs", Kind::Array(&Kind::Struct(&[field("name", TEXT), field("value", TEXT).null_from(0)]))),
        ])),
    ),
    field("validateOnly", BOOL),
];

const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[
    field(
        "resources",
        Kind::Array(&Kind::Struct(&[
            field("resourceType", I8),
            field("resourceName", TEXT),
            field(
                "configs",
                Kind::Array(&Kind::Struct(&[
                    field("name", TEXT),
                    field("configOperation", I8),
                    field("value", TEXT).null_from(0),
                ])),
            ),
        ])),
    ),
    field("validateOnly", BOOL),
];

const CREATE_PARTITIONS: &[Field] = &[
    field(
        "topics",
        Kind::Array(&Kind::Struct(&[
            field("name", TOPIC),
            field("count", I32),
            field("assignments", Kind::Array(&Kind::Struct(&[field("brokerIds", I32S)]))).null_from(0),
        ])),
    ),
    field("timeoutMs", I32),
    field("validateOnly", BOOL),
];

const DESCRIBE_CLUSTER: &[Field] = &[
    field("includeClusterAuthorizedOperations", BOOL),
    field("endpointType", I8).from(1),
    field("includeFencedBrokers", BOOL).from(2),
];

const DESCRIBE_TOPIC_PARTITIONS: &[Field] = &[
    field("topics", Kind::Array(&Kind::Struct(&[field("name", TOPIC)]))),
    field("responsePartitionLimit", I32),
    field("cursor", Kind::Struct(&[field("topicName", TOPIC), field("partitionIndex", I32)])).null_from(0),
];

const DESCRIBE_LOG_DIRS: &[Field] =
    &[field("topics", Kind::Array(&Kind::Struct(&[field("topic", TOPIC), field("partitions", I32S)]))).null_from(0)];
const OFFSET_FOR_LEADER_EPOCH: &[Field] = &[
    field("replicaId", I32).from(3),
    field(
        "topics",
        Kind::Array(&Kind::Struct(&[
            field("topic", TOPIC),
            field(
                "partitions",
                Kind::Array(&Kind::Struct(&[
                    field("partition", I32),
                    field("currentLeaderEpoch", I32),
                    field("leaderEpoch", I32),
                ])),
            ),
        ])),
    ),
];

const DELETE_GROUPS: &[Field] = &[field("groupsNames", TEXTS)];

const OFFSET_DELETE: &[Field] = &[
    field("groupId", TEXT),
    field(
        "topics",
        Kind::Array(&Kind::Struct(&[
            field("name", TOPIC),
            field("partitions", Kind::Array(&Kind::Struct(&[field("partitionIndex", I32)]))),
        ])),
    ),
];
