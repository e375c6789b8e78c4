//! HTTP for operators: `/metrics`, `/healthz`, `/readyz`, and nothing else.
//!
//! `healthz` says whether the process should be left alone, `readyz` whether clients should be sent here: not while group
//! shards are loading, and not after the disk has failed. Deliberately not here: any way to change something.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use pagemark_storage::engine::{Headroom, Room};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::executor::Census;
use crate::metrics::{Metrics, gauge};
use crate::server::Phase;
use crate::watched::Watcher;

/// Serves until told to stop.
pub async fn serve(broker: Arc<Broker>, listener: TcpListener, phase: Watcher<Phase>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(broker);
    let stopped = async move {
        let _ = phase.wait_for(|phase| *phase >= Phase::Finishing).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the HTTP listener has ended");
    }
}

async fn healthz(State(broker): State<Arc<Broker>>) -> (StatusCode, String) {
    match broker.engine.progress().failed {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("the log has failed: {why}\n")),
    }
}

async fn readyz(State(broker): State<Arc<Broker>>) -> (StatusCode, String) {
    if let Some(why) = broker.engine.progress().failed {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("the log has failed: {why}\n"));
    }
    match broker.executors.census().await.loading_shards {
        0 => (StatusCode::OK, "ok\n".to_owned()),
        loading => (StatusCode::SERVICE_UNAVAILABLE, format!("{loading} group shards are loading\n")),
    }
}

async fn metrics(State(broker): State<Arc<Broker>>) -> impl IntoResponse {
    let snapshot = Snapshot {
        counters: Arc::clone(&broker.metrics),
        census: broker.executors.census().await,
        topics: broker.registry.view().iter().len(),
        buffered_bytes: broker.budget.used_bytes(),
        durable_lsn: broker.engine.progress().durable.0,
        headroom: broker.engine.headroom(),
        failed: broker.engine.progress().failed.is_some(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            body,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// All figures at one moment.
#[derive(Debug)]
struct Snapshot {
    counters: Arc<Metrics>,
    census: Census,
    topics: usize,
    buffered_bytes: usize,
    durable_lsn: u64,
    headroom: Headroom,
    failed: bool,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.counters.encode(&mut encoder)?;
        let scarcity = match self.headroom.room {
            Room::Enough => 0,
            Room::Scarce => 1,
            Room::Exhausted => 2,
        };
        for (name, help, value) in [
            ("pagemark_topics", "Topics, internal ones included", self.topics as u64),
            ("pagemark_partitions", "Partitions", self.census.partitions as u64),
            (
                "pagemark_group_shards_loading",
                "Group shards that still read their log",
                self.census.loading_shards as u64,
            ),
            ("pagemark_groups", "Consumer groups", self.census.groups as u64),
            ("pagemark_group_members", "Members of all groups", self.census.members as u64),
            ("pagemark_committed_offsets", "Committed offsets held", self.census.offsets as u64),
            ("pagemark_buffered_bytes", "Bytes received and not yet dealt with", self.buffered_bytes as u64),
            ("pagemark_durable_lsn", "Log sequence number up to which everything is durable", self.durable_lsn),
            ("pagemark_disk_free_bytes", "Bytes free on the disk, as last seen", self.headroom.free_bytes.unwrap_or(0)),
            ("pagemark_disk_reserved_bytes", "Bytes kept for when the disk gets full", self.headroom.reserved_bytes),
            ("pagemark_disk_scarce", "1 if records are refused for want of room, 2 if commits are, too", scarcity),
            ("pagemark_log_failed", "1 if the log has failed and nothing is accepted any more", u64::from(self.failed)),
        ] {
            gauge(&mut encoder, name, help, value)?;
        }
        Ok(())
    }
}
