//! The whole broker in one process, spoken to over real sockets, from its first byte to its last.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop where they stand, as tests may")]

mod commits;
mod configs;
mod configs_of_brokers;
mod deletion;
mod describe_cluster;
mod describe_log_dirs;
mod disk_full;
mod epochs;
mod expiry;
mod failure;
mod fetch;
mod flood;
mod groups;
mod hostile_batches;
mod hostile_calls;
mod hostile_frames;
mod http;
mod idempotence;
mod incarnations;
mod limits;
mod list_offsets;
mod loading;
mod log_lines;
mod metadata;
mod partitions;
mod produce;
mod restart;
mod sessions;
mod static_members;
mod support;
mod topics;
mod trimming;
mod versions;
mod versions_of_groups;
