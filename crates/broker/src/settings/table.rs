//! The one definition of every setting: field, Kafka's name, default, what is allowed, and what it does.
//!
//! To add one: add a row. The struct, the checks, the help text and docs/settings.md (`cargo xtask settings-docs`) follow.
//! Deliberately not here: rules between settings (`listeners.rs`), keys of Kafka's that we have no use for (`kafka_keys.txt`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::{Problem, SettingError};
use super::listeners::{Address, Endpoint};
use super::sources::Given;
use super::value::{Allowed, KeySpec, TimestampType, Value};

const MS: Allowed = Allowed::Whole { min: 0, max: i64::MAX, unit: "ms" };
const MS_INT: Allowed = Allowed::Whole { min: 0, max: INT_MAX, unit: "ms" };
const INT_MAX: i64 = i32::MAX as i64;
const COUNT: Allowed = Allowed::Whole { min: 1, max: INT_MAX, unit: "" };

const RETENTION: Allowed = Allowed::WholeOr { other: -1, min: 1, max: i64::MAX, unit: "ms" };
const RETENTION_INT: Allowed = Allowed::WholeOr { other: -1, min: 1, max: INT_MAX, unit: "" };

/// The largest `message.max.bytes`: a batch and its frame must fit in a log record of 32 MiB.
pub const MESSAGE_LIMIT_BYTES: i64 = 32 * 1024 * 1024 - 4096;

/// The most partitions of `__consumer_offsets`: each is a shard of its own, with a number below those of ordinary partitions.
pub(crate) const OFFSETS_PARTITIONS_LIMIT: i64 = 10_000;

/// What `compression.type` may be.
pub(crate) const COMPRESSION_TYPE: Allowed =
    Allowed::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]);
/// What `compression.gzip.level` may be.
pub(crate) const GZIP_LEVEL: Allowed = Allowed::WholeOr { other: -1, min: 1, max: 9, unit: "" };
/// What `compression.zstd.level` may be.
pub(crate) const ZSTD_LEVEL: Allowed = Allowed::Whole { min: -131_072, max: 22, unit: "" };

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $kind:ty = $name:literal, $default:literal, $allowed:expr;)+) => {
        /// All settings, checked. Fields are named like their keys, with underscores for dots.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $field: $kind,)+
            /// What was given, as text, by the name in the table. The rest are defaults.
            pub(super) given: BTreeMap<&'static str, String>,
        }

        /// Every setting, in the order of the docs.
        pub const KEYS: &[KeySpec] =
            &[$(KeySpec { name: $name, default: $default, allowed: $allowed, doc: &[$($doc),+] },)+];

        impl Settings {
            /// Takes what was given and the defaults for the rest. Where a value is not allowed, says so and goes on with the default.
            pub(super) fn from_given(given: &Given, errors: &mut Vec<SettingError>) -> Settings {
                Settings {
                    $($field: read_or_default($name, $default, &$allowed, given, errors),)+
                    given: given.iter().map(|(name, (value, _))| (*name, value.clone())).collect(),
                }
            }
        }
    };
}

fn read_or_default<V: Value>(
    name: &str,
    default: &str,
    allowed: &Allowed,
    given: &Given,
    errors: &mut Vec<SettingError>,
) -> V {
    if let Some((value, source)) = given.get(name) {
        if let Some(read) = V::read(value, allowed) {
            return read;
        }
        errors.push(SettingError {
            key: name.to_owned(),
            value: value.clone(),
            source: source.clone(),
            problem: Problem::BadValue { allowed: allowed.in_words() },
        });
    }
    V::read(default, allowed).expect("every default is allowed: a test reads them all")
}

settings! {
    /// Where to listen. Port 0 takes any free port, which is then advertised.
    listeners: Vec<Endpoint> = "listeners", "PLAINTEXT://127.0.0.1:9092", Allowed::Endpoints;

    /// What clients are told to connect to, one for each name in `listeners`; empty means the same as `listeners`. Needed
    /// when the broker listens on a wildcard address, which nobody can connect to.
    advertised_listeners: Vec<Endpoint> = "advertised.listeners", "", Allowed::Endpoints;

    /// Which protocol each listener's name stands for. Only PLAINTEXT is served.
    listener_security_protocol_map: Vec<(String, String)> = "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL", Allowed::ProtocolMap;

    /// Allows listening beyond this machine although nobody has to show who they are. Needed for every listener whose host
    /// is not a loopback address.
    pagemark_insecure_listen: bool = "pagemark.insecure.listen", "false", Allowed::Switch;

    /// Where `/metrics`, `/healthz` and `/readyz` are served; empty for nowhere.
    pagemark_http_listener: Option<Address> = "pagemark.http.listener", "127.0.0.1:9080", Allowed::AddressOrEmpty;

    /// The directory that holds everything. Exactly one: all partitions share one log. Also accepted as `log.dir`.
    log_dirs: PathBuf = "log.dirs", "./pagemark-data", Allowed::Directory;

    /// Number of this broker, which clients see in metadata.
    node_id: i32 = "node.id", "0", Allowed::Whole { min: 0, max: INT_MAX, unit: "" };

    /// Partitions of a topic that is created without saying how many.
    num_partitions: i32 = "num.partitions", "1", COUNT;

    /// Copies of a topic that is created without saying how many. There is one node, so there is one copy; more is refused
    /// unless `pagemark.lenient.replication.factor` is on.
    default_replication_factor: i16 = "default.replication.factor", "1", Allowed::Whole { min: 1, max: 32767, unit: "" };

    /// Takes a replication factor above 1 for 1 instead of refusing it, for programs that insist on 3 (P-28).
    pagemark_lenient_replication_factor: bool = "pagemark.lenient.replication.factor", "false", Allowed::Switch;

    /// Whether a topic comes into being when a client asks for it and allows that.
    auto_create_topics_enable: bool = "auto.create.topics.enable", "true", Allowed::Switch;

    /// Whether topics may be deleted at all.
    delete_topic_enable: bool = "delete.topic.enable", "true", Allowed::Switch;

    /// The largest record batch, as sent, that is accepted.
    message_max_bytes: i64 = "message.max.bytes", "1048588",
        Allowed::Whole { min: 0, max: MESSAGE_LIMIT_BYTES, unit: "bytes" };

    /// With which codec batches are stored; `producer` for the one they came with.
    compression_type: String = "compression.type", "producer", COMPRESSION_TYPE;

    /// How hard the broker tries when it compresses with gzip; -1 for the usual.
    compression_gzip_level: i64 = "compression.gzip.level", "-1", GZIP_LEVEL;

    /// How hard the broker tries when it compresses with zstd.
    compression_zstd_level: i64 = "compression.zstd.level", "3", ZSTD_LEVEL;

    /// Whose time a record carries: the producer's or the broker's.
    log_message_timestamp_type: TimestampType = "log.message.timestamp.type", "CreateTime",
        Allowed::OneOf(&["CreateTime", "LogAppendTime"]);

    /// How far a producer's timestamp may lie in the past.
    log_message_timestamp_before_max_ms: i64 = "log.message.timestamp.before.max.ms", "9223372036854775807", MS;

    /// How far a producer's timestamp may lie in the future.
    log_message_timestamp_after_max_ms: i64 = "log.message.timestamp.after.max.ms", "3600000", MS;

    /// For how long records are kept in a topic that does not say it itself; -1 for ever. Empty for `log.retention.minutes`.
    log_retention_ms: Option<i64> = "log.retention.ms", "", Allowed::Optional(&RETENTION);

    /// The same in minutes, where `log.retention.ms` is empty; empty for `log.retention.hours`.
    log_retention_minutes: Option<i64> = "log.retention.minutes", "", Allowed::Optional(&RETENTION_INT);

    /// The same in hours, where the two above are empty.
    log_retention_hours: i64 = "log.retention.hours", "168", RETENTION_INT;

    /// The most bytes that a partition keeps in a topic that does not say it itself; a negative number for no limit.
    log_retention_bytes: i64 = "log.retention.bytes", "-1",
        Allowed::Whole { min: i64::MIN, max: i64::MAX, unit: "bytes" };

    /// The size of a segment, the unit in which old records are removed, in a topic that does not say it itself.
    log_segment_bytes: i64 = "log.segment.bytes", "1073741824",
        Allowed::Whole { min: 1024 * 1024, max: INT_MAX, unit: "bytes" };

    /// What happens to old records in a topic that does not say it itself: `delete` by age and size, `compact` by key.
    log_cleanup_policy: String = "log.cleanup.policy", "delete", Allowed::Words(&["delete", "compact"]);

    /// How often logs are looked through for records that are too old or too many.
    log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms", "300000",
        Allowed::Whole { min: 1, max: i64::MAX, unit: "ms" };

    /// How long a silent idempotent producer is remembered, so that its retries are still recognised.
    producer_id_expiration_ms: i64 = "producer.id.expiration.ms", "86400000",
        Allowed::Whole { min: 1, max: INT_MAX, unit: "ms" };

    /// The most bytes a Fetch is answered with, whatever it asks for; one batch may always exceed it.
    fetch_max_bytes: i32 = "fetch.max.bytes", "57671680", Allowed::Whole { min: 1024, max: INT_MAX, unit: "bytes" };

    /// The largest request that is read; a larger one closes its connection.
    socket_request_max_bytes: usize = "socket.request.max.bytes", "104857600",
        Allowed::Whole { min: 1, max: INT_MAX, unit: "bytes" };

    /// A connection on which nothing was sent for so long is closed; -1 for never.
    connections_max_idle_ms: i64 = "connections.max.idle.ms", "600000",
        Allowed::Whole { min: -1, max: i64::MAX, unit: "ms" };

    /// The most client connections at a time; the next one is closed at once. The limit on open files less 256 counts if it
    /// is lower.
    max_connections: usize = "max.connections", "2147483647", Allowed::Whole { min: 0, max: INT_MAX, unit: "" };

    /// The shortest session timeout a group member may ask for.
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms", "6000", MS_INT;

    /// The longest session timeout a group member may ask for.
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms", "1800000", MS_INT;

    /// How long an empty group waits for more members after the first one joined.
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms", "3000", MS_INT;

    /// The most members of one group.
    group_max_size: i32 = "group.max.size", "2147483647", COUNT;

    /// Partitions of `__consumer_offsets`. Fixed once the directory exists.
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions", "50",
        Allowed::Whole { min: 1, max: OFFSETS_PARTITIONS_LIMIT, unit: "" };

    /// The longest metadata text of a commit, in UTF-16 code units as Kafka counts.
    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes", "4096",
        Allowed::Whole { min: 0, max: INT_MAX, unit: "" };

    /// How long a commit may take to become durable; then its client is told to try again, and the commit may be there or not.
    offsets_commit_timeout_ms: i32 = "offsets.commit.timeout.ms", "5000",
        Allowed::Whole { min: 1, max: INT_MAX, unit: "ms" };

    /// How long offsets are kept that nobody uses: of a group without members since it is so, of a topic that no member is
    /// subscribed to since the commit. By default only those that mark no data any more go then
    /// (`pagemark.offsets.retention.policy`).
    offsets_retention_minutes: i64 = "offsets.retention.minutes", "10080",
        Allowed::Whole { min: 1, max: INT_MAX, unit: "" };

    /// How often groups are looked through for offsets that have expired.
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms", "600000",
        Allowed::Whole { min: 1, max: i64::MAX, unit: "ms" };

    /// Which old offsets expire: `while-data` those alone that lie below the log start, so that they mark no data any more;
    /// `time` all of them, as on Kafka.
    pagemark_offsets_retention_policy: String = "pagemark.offsets.retention.policy", "while-data",
        Allowed::OneOf(&["while-data", "time"]);

    /// How long a group is kept that has neither members nor offsets; 0 for not at all, as on Kafka.
    pagemark_group_empty_retention_ms: i64 = "pagemark.group.empty.retention.ms", "604800000", MS;

    /// Memory for requests under way, charged as bytes arrive; 0 for a quarter of what this process may use.
    pagemark_memory_budget_bytes: u64 = "pagemark.memory.budget.bytes", "0",
        Allowed::Whole { min: 0, max: i64::MAX, unit: "bytes" };

    /// Memory for the newest batches of all partitions, from which consumers that keep up are served.
    pagemark_tail_cache_bytes: u64 = "pagemark.tail.cache.bytes", "67108864",
        Allowed::Whole { min: 0, max: i64::MAX, unit: "bytes" };

    /// Size of the files of the shared log, apart from the first, which is small so that a first start is instant.
    pagemark_log_file_bytes: u64 = "pagemark.log.file.bytes", "67108864",
        Allowed::Whole { min: 64 * 1024 * 1024, max: 1 << 32, unit: "bytes" };

    /// Room on the disk that is kept back, in files without content, at most a quarter of the file system. When what else is free is used
    /// up, records and topics are refused and commits go on in it. 0 for none: then the broker ends when the disk is full. -1 for the
    /// larger of 256 MiB and twice `pagemark.checkpoint.bytes`.
    pagemark_log_reserved_bytes: i64 = "pagemark.log.reserved.bytes", "-1",
        Allowed::Whole { min: -1, max: i64::MAX, unit: "bytes" };

    /// After so many bytes of log the broker writes a checkpoint: more makes restarts slower, less makes running dearer.
    pagemark_checkpoint_bytes: u64 = "pagemark.checkpoint.bytes", "268435456",
        Allowed::Whole { min: 1024 * 1024, max: i64::MAX, unit: "bytes" };
}
