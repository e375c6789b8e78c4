//! Counters of what happened, for `/metrics`.
//!
//! Plain atomics, so that counting costs nothing on the hot path; the names and texts for Prometheus stand here too.
//! Deliberately not here: serving them (`http`), figures of single groups.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use pagemark_wire::api::Api;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// What looks wrong about a commit, though it may be meant (O-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// The offset lies beyond the high watermark.
    BeyondEnd,
    /// It lies below the log start.
    BelowStart,
    /// It is negative.
    Negative,
    /// The group had committed a later one.
    GoesBack,
    /// It was read from a former topic of the name. The only one that is refused.
    FormerTopic,
}

/// The oddities in the order of their values, each with its name in the metrics and a text.
const ODDITIES: [(Oddity, &str, &str); 5] = [
    (Oddity::BeyondEnd, "pagemark_commits_beyond_end", "Offsets committed beyond the high watermark"),
    (Oddity::BelowStart, "pagemark_commits_below_start", "Offsets committed below the log start"),
    (Oddity::Negative, "pagemark_commits_negative", "Negative offsets committed"),
    (Oddity::GoesBack, "pagemark_commits_going_back", "Offsets committed below the one committed before"),
    (Oddity::FormerTopic, "pagemark_commits_of_former_topics", "Commits refused because of a deleted topic's epoch"),
];

/// All counters of a broker.
#[derive(Debug)]
pub struct Metrics {
    requests: Vec<AtomicU64>,
    trailing_bytes: AtomicU64,
    produced_bytes: AtomicU64,
    produced_records: AtomicU64,
    fetched_bytes: AtomicU64,
    reads: AtomicU64,
    trimmed_by_time: AtomicU64,
    trimmed_by_size: AtomicU64,
    commits: [AtomicU64; ODDITIES.len()],
    expired_offsets: AtomicU64,
    expired_groups: AtomicU64,
    /// Connections open now.
    pub connections: AtomicUsize,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            requests: Api::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            trailing_bytes: AtomicU64::new(0),
            produced_bytes: AtomicU64::new(0),
            produced_records: AtomicU64::new(0),
            fetched_bytes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            trimmed_by_time: AtomicU64::new(0),
            trimmed_by_size: AtomicU64::new(0),
            commits: Default::default(),
            expired_offsets: AtomicU64::new(0),
            expired_groups: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        }
    }
}

impl Metrics {
    /// A request came.
    pub fn request(&self, api: Api) {
        if let Some(at) = Api::ALL.iter().position(|info| info.api == api) {
            self.requests[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request had bytes behind its end (P-9).
    pub fn trailing_bytes(&self, bytes: usize) {
        if bytes > 0 {
            self.trailing_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// A batch passed its checks.
    pub fn produced(&self, bytes: usize, records: i32) {
        self.produced_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.produced_records.fetch_add(u64::try_from(records).unwrap_or(0), Ordering::Relaxed);
    }

    /// Records of batches that passed their checks so far.
    #[must_use]
    pub fn produced_records(&self) -> u64 {
        self.produced_records.load(Ordering::Relaxed)
    }

    /// Something was read from a socket, whole requests or parts of one.
    pub fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Times that something was read from a socket so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Bytes of batches were read for a consumer.
    pub fn fetched(&self, bytes: usize) {
        self.fetched_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Retention let a log begin later.
    pub fn retained(&self, by_time: bool) {
        let counter = if by_time { &self.trimmed_by_time } else { &self.trimmed_by_size };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A commit looks wrong in this way.
    pub fn commit(&self, oddity: Oddity) {
        self.commits[oddity as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// So many offsets have expired, and so many groups of which nothing was left (O-50, O-55).
    pub fn expired(&self, offsets: usize, groups: usize) {
        self.expired_offsets.fetch_add(offsets as u64, Ordering::Relaxed);
        self.expired_groups.fetch_add(groups as u64, Ordering::Relaxed);
    }

    /// Writes all of them.
    ///
    /// # Errors
    /// Only if the encoder cannot take more text.
    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut requests = encoder.encode_descriptor(
            "pagemark_requests",
            "Requests received, by Kafka API",
            None,
            MetricType::Counter,
        )?;
        for (info, count) in Api::ALL.iter().zip(&self.requests) {
            let labels = [("api", info.name)];
            let mut family = requests.encode_family(&labels)?;
            family.encode_counter::<NoLabelSet, _, u64>(&count.load(Ordering::Relaxed), None)?;
        }
        counter(encoder, "pagemark_socket_reads", "Times that something was read from a socket", &self.reads)?;
        counter(encoder, "pagemark_request_trailing_bytes", "Bytes behind the end of requests", &self.trailing_bytes)?;
        counter(encoder, "pagemark_produced_bytes", "Bytes of batches that passed their checks", &self.produced_bytes)?;
        counter(encoder, "pagemark_produced_records", "Records that passed their checks", &self.produced_records)?;
        counter(encoder, "pagemark_fetched_bytes", "Bytes of batches read for consumers", &self.fetched_bytes)?;
        for (oddity, name, help) in ODDITIES {
            counter(encoder, name, help, &self.commits[oddity as usize])?;
        }
        let (offsets, groups) = (&self.expired_offsets, &self.expired_groups);
        counter(encoder, "pagemark_offsets_expired", "Committed offsets that have expired", offsets)?;
        counter(encoder, "pagemark_groups_expired", "Groups that went because nothing was left of them", groups)?;
        let (by_time, by_size) = (&self.trimmed_by_time, &self.trimmed_by_size);
        counter(encoder, "pagemark_logs_trimmed_by_time", "Times that a log was cut because of its age", by_time)?;
        counter(encoder, "pagemark_logs_trimmed_by_size", "Times that a log was cut because of its size", by_size)?;
        gauge(encoder, "pagemark_connections", "Connections open", self.connections.load(Ordering::Relaxed) as u64)
    }
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &AtomicU64,
) -> Result<(), std::fmt::Error> {
    let counter = prometheus_client::metrics::counter::ConstCounter::new(value.load(Ordering::Relaxed));
    let encoder: MetricEncoder<'_> = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
    counter.encode(encoder)
}

/// Writes one figure that goes up and down.
///
/// # Errors
/// Only if the encoder cannot take more text.
pub fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
    let gauge = prometheus_client::metrics::gauge::ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let encoder: MetricEncoder<'_> = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(encoder)
}
