//! The facts of the cluster: which topics there are, under which ids, and what this cluster is called.
//!
//! `record` is how facts are written into the engine's keyed state; `registry` is the published view that every request reads;
//! `admin`
//! changes both, one change at a time; `configs` and `grow` are its parts for configurations and
//! further partitions, `former` is what it remembers of deleted topics. Deliberately not here: offsets and groups, which live in
//! `__consumer_offsets`.

pub mod admin;
pub mod broker_config;
pub mod config_view;
pub mod configs;
pub mod former;
pub mod grow;
pub mod name;
pub mod record;
pub mod registry;
pub mod topic_config;

/// The topic that holds committed offsets and group metadata, in Kafka's own record formats.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
