//! The responses' schemas, for clients: a broker's lengths are believed no more than a client's.
//!
//! Same data as `schema.rs` has for requests; a test walks every response that Kafka's own encoder wrote. Deliberately not
//! here: responses that no client of ours reads, and versions that are not served.

use super::schema::{BLOB, BOOL, Field, I8, I16, I32, I32S, I64, Kind, TEXT, UUID, field};
use crate::api::Api;

/// The schema of a response's body; `None` if it has none yet. By number, so that a response may be known before its API is
/// served.
pub(super) fn response(api: Api) -> Option<&'static [Field]> {
    Some(match api.key() {
        0 => PRODUCE,
        1 => FETCH,
        2 => LIST_OFFSETS,
        3 => METADATA,
        8 => OFFSET_COMMIT,
        9 => OFFSET_FETCH,
        10 => FIND_COORDINATOR,
        11 => JOIN_GROUP,
        12 => HEARTBEAT,
        13 => LEAVE_GROUP,
        14 => SYNC_GROUP,
        15 => DESCRIBE_GROUPS,
        16 => LIST_GROUPS,
        18 => API_VERSIONS,
        19 => CREATE_TOPICS,
        20 => DELETE_TOPICS,
        21 => DELETE_RECORDS,
        22 => INIT_PRODUCER_ID,
        23 => OFFSET_FOR_LEADER_EPOCH,
        32 => DESCRIBE_CONFIGS,
        33 | 44 => ALTER_CONFIGS,
        35 => DESCRIBE_LOG_DIRS,
        37 => CREATE_PARTITIONS,
        42 => DELETE_GROUPS,
        47 => OFFSET_DELETE,
        60 => DESCRIBE_CLUSTER,
        69 => CONSUMER_GROUP_DESCRIBE,
        75 => DESCRIBE_TOPIC_PARTITIONS,
        _ => return None,
    })
}

const fn array(name: &'static str, element: &'static Kind) -> Field {
    field(name, Kind::Array(element))
}

const THROTTLE: Field = field("throttleTimeMs", I32);
const ERROR: Field = field("errorCode", I16);
const MESSAGE: Field = field("errorMessage", TEXT).null_from(0);

const LEADER: Kind = Kind::Struct(&[field("leaderId", I32), field("leaderEpoch", I32)]);
const ENDPOINT: Kind =
    Kind::Struct(&[field("nodeId", I32), field("host", TEXT), field("port", I32), field("rack", TEXT).null_from(0)]);
const PARTITION_ERROR: Kind = Kind::Struct(&[field("partitionIndex", I32), ERROR]);

const PRODUCE: &[Field] = &[
    array(
        "responses",
        &Kind::Struct(&[
            field("name", TEXT).to(12),
            field("topicId", UUID).from(13),
            array(
                "partitionResponses",
                &Kind::Struct(&[
                    field("index", I32),
                    ERROR,
                    field("baseOffset", I64),
                    field("logAppendTimeMs", I64).from(2),
                    field("logStartOffset", I64).from(5),
                    array(
                        "recordErrors",
                        &Kind::Struct(&[field("batchIndex", I32), field("batchIndexErrorMessage", TEXT).null_from(8)]),
                    )
                    .from(8),
                    MESSAGE.from(8),
                    field("currentLeader", LEADER).from(10).tag(0),
                ]),
            ),
        ]),
    ),
    THROTTLE.from(1),
    array("nodeEndpoints", &ENDPOINT).from(10).tag(0),
];

const FETCH: &[Field] = &[
    THROTTLE.from(1),
    ERROR.from(7),
    field("sessionId", I32).from(7),
    array(
        "responses",
        &Kind::Struct(&[
            field("topic", TEXT).to(12),
            field("topicId", UUID).from(13),
            array(
                "partitions",
                &Kind::Struct(&[
                    field("partitionIndex", I32),
                    ERROR,
                    field("highWatermark", I64),
                    field("lastStableOffset", I64).from(4),
                    field("logStartOffset", I64).from(5),
                    field("divergingEpoch", Kind::Struct(&[field("epoch", I32), field("endOffset", I64)]))
                        .from(12)
                        .tag(0),
                    field("currentLeader", LEADER).from(12).tag(1),
                    field("snapshotId", Kind::Struct(&[field("endOffset", I64), field("epoch", I32)])).from(12).tag(2),
                    array("abortedTransactions", &Kind::Struct(&[field("producerId", I64), field("firstOffset", I64)]))
                        .from(4)
                        .null_from(4),
                    field("preferredReadReplica", I32).from(11),
                    field("records", BLOB).null_from(0),
                ]),
            ),
        ]),
    ),
    array("nodeEndpoints", &ENDPOINT).from(16).tag(0),
];

const LIST_OFFSETS: &[Field] = &[
    THROTTLE.from(2),
    array(
        "topics",
        &Kind::Struct(&[
            field("name", TEXT),
            array(
                "partitions",
                &Kind::Struct(&[
                    field("partitionIndex", I32),
                    ERROR,
                    field("timestamp", I64).from(1),
                    field("offset", I64).from(1),
                    field("leaderEpoch", I32).from(4),
                ]),
            ),
        ]),
    ),
];

const METADATA: &[Field] = &[
    THROTTLE.from(3),
    array(
        "brokers",
        &Kind::Struct(&[
            field("nodeId", I32),
            field("host", TEXT),
            field("port", I32),
            field("rack", TEXT).from(1).null_from(1),
        ]),
    ),
    field("clusterId", TEXT).from(2).null_from(2),
    field("controllerId", I32).from(1),
    array(
        "topics",
        &Kind::Struct(&[
            ERROR,
            field("name", TEXT).null_from(12),
            field("topicId", UUID).from(10),
            field("isInternal", BOOL).from(1),
            array(
                "partitions",
                &Kind::Struct(&[
                    ERROR,
                    field("partitionIndex", I32),
                    field("leaderId", I32),
                    field("leaderEpoch", I32).from(7),
                    field("replicaNodes", I32S),
                    field("isrNodes", I32S),
                    field("offlineReplicas", I32S).from(5),
                ]),
            ),
            field("topicAuthorizedOperations", I32).from(8),
        ]),
    ),
    field("clusterAuthorizedOperations", I32).from(8).to(10),
    ERROR.from(13),
];

const OFFSET_COMMIT: &[Field] = &[
    THROTTLE.from(3),
    array(
        "topics",
        &Kind::Struct(&[
            field("name", TEXT).to(9),
            field("topicId", UUID).from(10),
            array("partitions", &PARTITION_ERROR),
        ]),
    ),
];

const OFFSET_FETCH_TOPIC: Kind = Kind::Struct(&[
    field("name", TEXT).to(9),
    field("topicId", UUID).from(10),
    array(
        "partitions",
        &Kind::Struct(&[
            field("partitionIndex", I32),
            field("committedOffset", I64),
            field("committedLeaderEpoch", I32).from(5),
            field("metadata", TEXT).null_from(0),
            ERROR,
        ]),
    ),
]);

const OFFSET_FETCH: &[Field] = &[
    THROTTLE.from(3),
    array("topics", &OFFSET_FETCH_TOPIC).to(7),
    ERROR.from(2).to(7),
    array("groups", &Kind::Struct(&[field("groupId", TEXT), array("topics", &OFFSET_FETCH_TOPIC), ERROR])).from(8),
];

const FIND_COORDINATOR: &[Field] = &[
    THROTTLE.from(1),
    ERROR.to(3),
    MESSAGE.from(1).to(3),
    field("nodeId", I32).to(3),
    field("host", TEXT).to(3),
    field("port", I32).to(3),
    array(
        "coordinators",
        &Kind::Struct(&[
            field("key", TEXT),
            field("nodeId", I32),
            field("host", TEXT),
            field("port", I32),
            ERROR,
            MESSAGE,
        ]),
    )
    .from(4),
];

const JOIN_GROUP: &[Field] = &[
    THROTTLE.from(2),
    ERROR,
    field("generationId", I32),
    field("protocolType", TEXT).from(7).null_from(7),
    field("protocolName", TEXT).null_from(7),
    field("leader", TEXT),
    field("skipAssignment", BOOL).from(9),
    field("memberId", TEXT),
    array(
        "members",
        &Kind::Struct(&[
            field("memberId", TEXT),
            field("groupInstanceId", TEXT).from(5).null_from(5),
            field("metadata", BLOB),
        ]),
    ),
];

const HEARTBEAT: &[Field] = &[THROTTLE.from(1), ERROR];

const LEAVE_GROUP: &[Field] = &[
    THROTTLE.from(1),
    ERROR,
    array("members", &Kind::Struct(&[field("memberId", TEXT), field("groupInstanceId", TEXT).null_from(3), ERROR]))
        .from(3),
];

const SYNC_GROUP: &[Field] = &[
    THROTTLE.from(1),
    ERROR,
    field("protocolType", TEXT).from(5).null_from(5),
    field("protocolName", TEXT).from(5).null_from(5),
    field("assignment", BLOB),
];

const DESCRIBE_GROUPS: &[Field] = &[
    THROTTLE.from(1),
    array(
        "groups",
        &Kind::Struct(&[
            ERROR,
            MESSAGE.from(6),
            field("groupId", TEXT),
            field("groupState", TEXT),
            field("protocolType", TEXT),
            field("protocolData", TEXT),
            array(
                "members",
                &Kind::Struct(&[
                    field("memberId", TEXT),
                    field("groupInstanceId", TEXT).from(4).null_from(4),
                    field("clientId", TEXT),
                    field("clientHost", TEXT),
                    field("memberMetadata", BLOB),
                    field("memberAssignment", BLOB),
                ]),
            ),
            field("authorizedOperations", I32).from(3),
        ]),
    ),
];

const MEMBERS_PARTITIONS: Kind = Kind::Struct(&[array(
    "topicPartitions",
    &Kind::Struct(&[field("topicId", UUID), field("topicName", TEXT), field("partitions", I32S)]),
)]);

const CONSUMER_GROUP_DESCRIBE: &[Field] = &[
    THROTTLE,
    array(
        "groups",
        &Kind::Struct(&[
            ERROR,
            MESSAGE,
            field("groupId", TEXT),
            field("groupState", TEXT),
            field("groupEpoch", I32),
            field("assignmentEpoch", I32),
            field("assignorName", TEXT),
            array(
                "members",
                &Kind::Struct(&[
                    field("memberId", TEXT),
                    field("instanceId", TEXT).null_from(0),
                    field("rackId", TEXT).null_from(0),
                    field("memberEpoch", I32),
                    field("clientId", TEXT),
                    field("clientHost", TEXT),
                    array("subscribedTopicNames", &TEXT),
                    field("subscribedTopicRegex", TEXT).null_from(0),
                    field("assignment", MEMBERS_PARTITIONS),
                    field("targetAssignment", MEMBERS_PARTITIONS),
                    field("memberType", I8).from(1),
                ]),
            ),
            field("authorizedOperations", I32),
        ]),
    ),
];

const LIST_GROUPS: &[Field] = &[
    THROTTLE.from(1),
    ERROR,
    array(
        "groups",
        &Kind::Struct(&[
            field("groupId", TEXT),
            field("protocolType", TEXT),
            field("groupState", TEXT).from(4),
            field("groupType", TEXT).from(5),
        ]),
    ),
];

const API_VERSIONS: &[Field] = &[
    ERROR,
    array("apiKeys", &Kind::Struct(&[field("apiKey", I16), field("minVersion", I16), field("maxVersion", I16)])),
    THROTTLE.from(1),
    array(
        "supportedFeatures",
        &Kind::Struct(&[field("name", TEXT), field("minVersion", I16), field("maxVersion", I16)]),
    )
    .from(3)
    .tag(0),
    field("finalizedFeaturesEpoch", I64).from(3).tag(1),
    array(
        "finalizedFeatures",
        &Kind::Struct(&[field("name", TEXT), field("maxVersionLevel", I16), field("minVersionLevel", I16)]),
    )
    .from(3)
    .tag(2),
    field("zkMigrationReady", BOOL).from(3).tag(3),
];

const CREATE_TOPICS: &[Field] = &[
    THROTTLE.from(2),
    array(
        "topics",
        &Kind::Struct(&[
            field("name", TEXT),
            field("topicId", UUID).from(7),
            ERROR,
            MESSAGE.from(1),
            field("topicConfigErrorCode", I16).from(5).tag(0),
            field("numPartitions", I32).from(5),
            field("replicationFactor", I16).from(5),
            array(
                "configs",
                &Kind::Struct(&[
                    field("name", TEXT),
                    field("value", TEXT).null_from(0),
                    field("readOnly", BOOL),
                    field("configSource", I8),
                    field("isSensitive", BOOL),
                ]),
            )
            .from(5)
            .null_from(5),
        ]),
    ),
];

const DELETE_TOPICS: &[Field] = &[
    THROTTLE.from(1),
    array(
        "responses",
        &Kind::Struct(&[field("name", TEXT).null_from(6), field("topicId", UUID).from(6), ERROR, MESSAGE.from(5)]),
    ),
];

const INIT_PRODUCER_ID: &[Field] = &[THROTTLE, ERROR, field("producerId", I64), field("producerEpoch", I16)];

const DELETE_RECORDS: &[Field] = &[
    THROTTLE,
    array(
        "topics",
        &Kind::Struct(&[
            field("name", TEXT),
            array("partitions", &Kind::Struct(&[field("partitionIndex", I32), field("lowWatermark", I64), ERROR])),
        ]),
    ),
];

const OFFSET_FOR_LEADER_EPOCH: &[Field] = &[
    THROTTLE.from(2),
    array(
        "topics",
        &Kind::Struct(&[
            field("topic", TEXT),
            array(
                "partitions",
                &Kind::Struct(&[
                    ERROR,
                    field("partition", I32),
                    field("leaderEpoch", I32).from(1),
                    field("endOffset", I64),
                ]),
            ),
        ]),
    ),
];

const DESCRIBE_CONFIGS: &[Field] = &[
    THROTTLE,
    array(
        "results",
        &Kind::Struct(&[
            ERROR,
            MESSAGE,
            field("resourceType", I8),
            field("resourceName", TEXT),
            array(
                "configs",
                &Kind::Struct(&[
                    field("name", TEXT),
                    field("value", TEXT).null_from(0),
                    field("readOnly", BOOL),
                    field("isDefault", BOOL).to(0),
                    field("configSource", I8).from(1),
                    field("isSensitive", BOOL),
                    array(
                        "synonyms",
                        &Kind::Struct(&[field("name", TEXT), field("value", TEXT).null_from(0), field("source", I8)]),
                    )
                    .from(1),
                    field("configType", I8).from(3),
                    field("documentation", TEXT).from(3).null_from(3),
                ]),
            ),
        ]),
    ),
];

/// AlterConfigs and IncrementalAlterConfigs answer alike.
const ALTER_CONFIGS: &[Field] = &[
    THROTTLE,
    array("responses", &Kind::Struct(&[ERROR, MESSAGE, field("resourceType", I8), field("resourceName", TEXT)])),
];

const DESCRIBE_LOG_DIRS: &[Field] = &[
    THROTTLE,
    ERROR.from(3),
    array(
        "results",
        &Kind::Struct(&[
            ERROR,
            field("logDir", TEXT),
            array(
                "topics",
                &Kind::Struct(&[
                    field("name", TEXT),
                    array(
                        "partitions",
                        &Kind::Struct(&[
                            field("partitionIndex", I32),
                            field("partitionSize", I64),
                            field("offsetLag", I64),
                            field("isFutureKey", BOOL),
                        ]),
                    ),
                ]),
            ),
            field("totalBytes", I64).from(4),
            field("usableBytes", I64).from(4),
        ]),
    ),
];

const CREATE_PARTITIONS: &[Field] =
    &[THROTTLE, array("results", &Kind::Struct(&[field("name", TEXT), ERROR, MESSAGE]))];

const DELETE_GROUPS: &[Field] = &[THROTTLE, array("results", &Kind::Struct(&[field("groupId", TEXT), ERROR]))];

const OFFSET_DELETE: &[Field] =
    &[ERROR, THROTTLE, array("topics", &Kind::Struct(&[field("name", TEXT), array("partitions", &PARTITION_ERROR)]))];

const DESCRIBE_CLUSTER: &[Field] = &[
    THROTTLE,
    ERROR,
    MESSAGE,
    field("endpointType", I8).from(1),
    field("clusterId", TEXT),
    field("controllerId", I32),
    array(
        "brokers",
        &Kind::Struct(&[
            field("brokerId", I32),
            field("host", TEXT),
            field("port", I32),
            field("rack", TEXT).null_from(0),
            field("isFenced", BOOL).from(2),
        ]),
    ),
    field("clusterAuthorizedOperations", I32),
];

const DESCRIBE_TOPIC_PARTITIONS: &[Field] = &[
    THROTTLE,
    array(
        "topics",
        &Kind::Struct(&[
            ERROR,
            field("name", TEXT).null_from(0),
            field("topicId", UUID),
            field("isInternal", BOOL),
            array(
                "partitions",
                &Kind::Struct(&[
                    ERROR,
                    field("partitionIndex", I32),
                    field("leaderId", I32),
                    field("leaderEpoch", I32),
                    field("replicaNodes", I32S),
                    field("isrNodes", I32S),
                    array("eligibleLeaderReplicas", &I32).null_from(0),
                    array("lastKnownElr", &I32).null_from(0),
                    field("offlineReplicas", I32S),
                ]),
            ),
            field("topicAuthorizedOperations", I32),
        ]),
    ),
    field("nextCursor", Kind::Struct(&[field("topicName", TEXT), field("partitionIndex", I32)])).null_from(0),
];
