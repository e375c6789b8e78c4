//! Reads orders as a member of a group until Ctrl-C: `cargo run -p pagemark-client --example consume -- 127.0.0.1:9092`.
//!
//! Run it twice to see the partitions shared; end one with kill -9 to see the other go on where it left off.

use pagemark_client::{AutoOffsetReset, Consumer, PartitionSet, Rebalance, RebalanceListener};

/// Says what comes and goes.
struct Say;

impl RebalanceListener for Say {
    async fn on_assigned(&mut self, _: &Rebalance, partitions: &PartitionSet) {
        partitions.iter().for_each(|partition| println!("assigned {partition}"));
    }

    async fn on_revoked(&mut self, _: &Rebalance, partitions: &PartitionSet) {
        partitions.iter().for_each(|partition| println!("revoked {partition}"));
    }

    async fn on_lost(&mut self, partitions: &PartitionSet) {
        partitions.iter().for_each(|partition| println!("lost {partition}"));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let mut consumer = Consumer::builder(&bootstrap)
        .group_id("billing")
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .rebalance_listener(Say)
        .build()?;
    consumer.subscribe(["orders"])?;
    loop {
        let record = tokio::select! {
            record = consumer.recv() => record?, // safe to drop, so safe to select on
            _ = tokio::signal::ctrl_c() => break,
        };
        println!("{} offset {}: {}", record.partition, record.offset, String::from_utf8_lossy(record.value()));
        consumer.store_offset(&record)?; // processed: the next commit covers it
    }
    consumer.close().await; // commits what was stored, and leaves the group
    Ok(())
}
