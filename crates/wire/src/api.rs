//! The table of what Pagemark serves: which Kafka APIs, in which versions, and from which version on they are flexible.
//!
//! The table is our own although `kafka-protocol` has one too, so that a new version of that crate never widens what we
//! advertise by itself (P-21c). An API that is not served is absent from [`Api::ALL`] and so from ApiVersions (P-16); one
//! that our client asks of other brokers stands in a list of its own behind it.
//! Deliberately not here: what the requests contain (`guard`, `messages`) and who answers them (`broker`).

/// What is known of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiInfo {
    /// Which API.
    pub api: Api,
    /// Its number on the wire.
    pub key: i16,
    /// Kafka's name for it.
    pub name: &'static str,
    /// Lowest version that ApiVersions shows; below `lowest` only for Produce (P-14).
    pub advertised_lowest: i16,
    /// Lowest version really served.
    pub lowest: i16,
    /// Highest version, served and advertised.
    pub highest: i16,
    /// First version with tagged fields and compact lengths (P-2, P-3).
    pub first_flexible: i16,
}

impl ApiInfo {
    /// Whether requests of this version are answered.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        (self.lowest..=self.highest).contains(&version)
    }

    /// Whether this version has tagged fields and compact lengths.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.first_flexible
    }

    /// Whether a response of this version has tags in its header; ApiVersions never has (P-4).
    #[must_use]
    pub fn has_response_header_tags(&self, version: i16) -> bool {
        self.is_flexible(version) && self.api != Api::ApiVersions
    }
}

macro_rules! apis {
    ($($(#[$doc:meta])* $name:ident = $key:literal, advertise $advertised:literal, serve $lowest:literal to $highest:literal,
        flexible from $flexible:literal;)*
        => $($(#[$asked_doc:meta])* $asked:ident = $asked_key:literal, ask $asked_lowest:literal to $asked_highest:literal,
        flexible from $asked_flexible:literal;)*) => {
        /// A Kafka API that is served, or that our client asks of others.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum Api { $($(#[$doc])* $name = $key,)* $($(#[$asked_doc])* $asked = $asked_key,)* }

        impl Api {
            /// Every API that is served, by number.
            pub const ALL: &'static [ApiInfo] = &[$(*Api::$name.info(),)*];

            /// Every API that our client asks of brokers, but that is not served.
            pub const ASKED: &'static [ApiInfo] = &[$(*Api::$asked.info(),)*];

            /// What is known of it.
            #[must_use]
            pub const fn info(self) -> &'static ApiInfo {
                match self { $(Api::$name => const { &ApiInfo {
                    api: Api::$name,
                    key: $key,
                    name: stringify!($name),
                    advertised_lowest: $advertised,
                    lowest: $lowest,
                    highest: $highest,
                    first_flexible: $flexible,
                } },)* $(Api::$asked => const { &ApiInfo {
                    api: Api::$asked,
                    key: $asked_key,
                    name: stringify!($asked),
                    advertised_lowest: $asked_lowest,
                    lowest: $asked_lowest,
                    highest: $asked_highest,
                    first_flexible: $asked_flexible,
                } },)* }
            }

            /// The API with this number, if it is served.
            #[must_use]
            pub fn from_key(key: i16) -> Option<Api> {
                match key { $($key => Some(Api::$name),)* _ => None }
            }
        }
    };
}

apis! {
    /// Appends record batches. Versions 0 to 2 are shown but not served: librdkafka needs to see them (P-14).
    Produce = 0, advertise 0, serve 3 to 13, flexible from 9;
    /// Reads record batches.
    Fetch = 1, advertise 4, serve 4 to 18, flexible from 12;
    /// Finds offsets: earliest, latest, by time.
    ListOffsets = 2, advertise 1, serve 1 to 11, flexible from 6;
    /// Names brokers, topics and partition leaders.
    Metadata = 3, advertise 0, serve 0 to 13, flexible from 9;
    /// Stores a group's offsets.
    OffsetCommit = 8, advertise 2, serve 2 to 10, flexible from 8;
    /// Reads a group's offsets.
    OffsetFetch = 9, advertise 1, serve 1 to 10, flexible from 6;
    /// Names the broker that coordinates a group.
    FindCoordinator = 10, advertise 0, serve 0 to 6, flexible from 3;
    /// Enters a group, or a group's next generation.
    JoinGroup = 11, advertise 0, serve 0 to 9, flexible from 6;
    /// Keeps a member of a group alive.
    Heartbeat = 12, advertise 0, serve 0 to 4, flexible from 4;
    /// Leaves a group.
    LeaveGroup = 13, advertise 0, serve 0 to 5, flexible from 4;
    /// Hands out the assignment of a generation.
    SyncGroup = 14, advertise 0, serve 0 to 5, flexible from 4;
    /// Shows groups with their members.
    DescribeGroups = 15, advertise 0, serve 0 to 6, flexible from 5;
    /// Shows which groups there are.
    ListGroups = 16, advertise 0, serve 0 to 5, flexible from 3;
    /// Shows this table.
    ApiVersions = 18, advertise 0, serve 0 to 4, flexible from 3;
    /// Creates topics.
    CreateTopics = 19, advertise 2, serve 2 to 7, flexible from 5;
    /// Deletes topics.
    DeleteTopics = 20, advertise 1, serve 1 to 6, flexible from 4;
    /// Lets logs begin later.
    DeleteRecords = 21, advertise 0, serve 0 to 2, flexible from 2;
    /// Gives an idempotent producer its id.
    InitProducerId = 22, advertise 0, serve 0 to 5, flexible from 2;
    /// Tells where a leader epoch ended.
    OffsetForLeaderEpoch = 23, advertise 2, serve 2 to 4, flexible from 4;
    /// Shows the configs of topics and brokers.
    DescribeConfigs = 32, advertise 1, serve 1 to 4, flexible from 4;
    /// Gives topics and brokers these configs and no others.
    AlterConfigs = 33, advertise 0, serve 0 to 2, flexible from 2;
    /// Shows how large partitions are on disk.
    DescribeLogDirs = 35, advertise 1, serve 1 to 4, flexible from 2;
    /// Gives topics more partitions.
    CreatePartitions = 37, advertise 0, serve 0 to 3, flexible from 2;
    /// Deletes groups with their offsets.
    DeleteGroups = 42, advertise 0, serve 0 to 2, flexible from 2;
    /// Changes single configs of topics and brokers.
    IncrementalAlterConfigs = 44, advertise 0, serve 0 to 1, flexible from 1;
    /// Deletes some of a group's offsets.
    OffsetDelete = 47, advertise 0, serve 0 to 0, flexible from 32767;
    /// Names the brokers of the cluster.
    DescribeCluster = 60, advertise 0, serve 0 to 2, flexible from 0;
    /// Shows topics with their partitions, in portions.
    DescribeTopicPartitions = 75, advertise 0, serve 0 to 0, flexible from 0;
    =>
    /// Shows groups of KIP-848 with their members.
    ConsumerGroupDescribe = 69, ask 0 to 1, flexible from 0;
}

impl Api {
    /// Its number on the wire.
    #[must_use]
    pub fn key(self) -> i16 {
        self as i16
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;

    use super::*;

    #[test]
    fn the_codec_still_has_every_version_we_serve_p_21c() {
        for info in Api::ALL.iter().chain(Api::ASKED) {
            let key = ApiKey::try_from(info.key).expect("the codec knows the key");
            let has = key.valid_versions();
            let last = match info.api {
                // The newest version of these is our own (`messages/own.rs`).
                Api::OffsetCommit | Api::OffsetFetch | Api::ListOffsets => has.max + 1,
                _ => has.max,
            };
            assert!(has.min <= info.lowest && info.highest <= last, "{}: codec has {has:?}", info.name);
            for version in info.lowest..=info.highest {
                assert_eq!(key.request_header_version(version) == 2, info.is_flexible(version), "{}", info.name);
                let tags = key.response_header_version(version) == 1;
                assert_eq!(tags, info.has_response_header_tags(version), "{} {version}", info.name);
            }
        }
    }

    #[test]
    fn the_table_is_sorted_and_found_by_key() {
        assert!(Api::ALL.windows(2).all(|w| w[0].key < w[1].key));
        for info in Api::ALL {
            assert_eq!(Api::from_key(info.key), Some(info.api));
            assert_eq!(info.api.info(), info);
            assert_eq!(info.api.key(), info.key);
            assert!(info.advertised_lowest <= info.lowest && info.lowest <= info.highest);
        }
        for info in Api::ASKED {
            assert_eq!((Api::from_key(info.key), info.api.info()), (None, info), "nobody is served with it");
        }
        assert_eq!(Api::from_key(9999), None);
        assert_eq!(Api::from_key(-1), None);
    }

    #[test]
    fn only_produce_shows_more_than_it_serves_p_14() {
        for info in Api::ALL {
            assert_eq!(info.advertised_lowest < info.lowest, info.api == Api::Produce);
        }
    }
}
