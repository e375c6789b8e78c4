//! The first record of a broker that was just started: asked for again and again, a millisecond apart, until it is
//! acknowledged.
//!
//! Raw frames: a client library waits a tenth of a second and more between two attempts, which would be measured.
//! Deliberately not here: load.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pagemark_client::blocking::Connection;
use pagemark_wire::api::Api;
use pagemark_wire::messages::{
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, TopicName,
    metadata_request::MetadataRequestTopic,
    produce_request::{PartitionProduceData, TopicProduceData},
    text,
};
use pagemark_wire::records::BatchBuilder;

use super::server::Server;
use crate::wait;

const TOPIC: &str = "first";
const PAUSE: Duration = Duration::from_millis(1);
/// How long a broker may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a record is acknowledged with acks=all; its topic comes into being on the way. Milliseconds since the start.
pub fn record(server: &mut Server) -> Result<f64> {
    loop {
        if attempt(server.port).unwrap_or(false) {
            return Ok(server.begun.elapsed().as_secs_f64() * 1e3);
        }
        server.ensure_runs()?;
        ensure!(server.begun.elapsed() < PATIENCE, "no record was taken for {} s", PATIENCE.as_secs());
        sleep(PAUSE);
    }
}

/// Over one connection until it breaks or the record is taken.
fn attempt(port: u16) -> Result<bool> {
    let mut connection =
        Connection::connect(SocketAddr::from(([127, 0, 0, 1], port)), "bench", Duration::from_secs(10))?;
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text(TOPIC))));
    let metadata = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
    for _ in 0..5_000 {
        let answer: MetadataResponse = connection.call(Api::Metadata, 9, &metadata)?;
        if answer.topics.first().is_some_and(|topic| topic.error_code == 0) && produce(&mut connection)? == 0 {
            return Ok(true);
        }
        sleep(PAUSE);
    }
    Ok(false)
}

/// The error code of one record.
fn produce(connection: &mut Connection) -> Result<i16> {
    let mut batch = BatchBuilder::new(wait::now_ms());
    batch.push(None, Some(b"first"));
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.finish()));
    let data = TopicProduceData::default().with_name(TopicName(text(TOPIC))).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
    let answer: ProduceResponse = connection.call(Api::Produce, 9, &request)?;
    let answer = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    Ok(answer.context("Produce was answered with nothing")?.error_code)
}
