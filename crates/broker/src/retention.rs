//! Looking through all logs for data that is too old or too much, again and again.
//!
//! Topics' configurations are read when a log is looked at, so a change counts as soon as it is answered. The logs go to their owners in lots, the
//! next lot when one is answered: however many there are, no executor has more than one lot of it in hand.
//! Deliberately not here: which data may go (`core`), how it goes (`executor/trim`).

use std::sync::Arc;
use std::time::Duration;

use pagemark_core::partition::Rule;

use crate::broker::Broker;
use crate::partitions::Partition;
use crate::server::Phase;
use crate::watched::Watcher;

/// So many logs are looked at in one turn of an executor.
const LOT: usize = 64;

/// Makes passes until the broker stops.
pub async fn run(broker: Arc<Broker>, phase: Watcher<Phase>) {
    let interval = Duration::from_millis(broker.settings.log_retention_check_interval_ms.unsigned_abs());
    let passes = async {
        loop {
            tokio::time::sleep(interval).await;
            pass(&broker).await;
        }
    };
    let stop = async move {
        let _ = phase.wait_for(|phase| *phase >= Phase::Finishing).await;
    };
    tokio::select! {
        biased;
        () = stop => {}
        () = passes => {}
    }
}

/// Looks at every log once. What is found to go is on its way to the disk afterwards.
pub async fn pass(broker: &Broker) {
    let mut lots: Vec<Vec<Arc<Partition>>> = Vec::new();
    let view = broker.registry.view();
    for topic in view.iter().filter(|topic| !topic.is_internal()) {
        if topic.config.retention().keeps_all() {
            continue;
        }
        for partition in &topic.partitions {
            if lots.len() <= partition.executor {
                lots.resize_with(partition.executor + 1, Vec::new);
            }
            let lot = &mut lots[partition.executor];
            lot.push(Arc::clone(partition));
            if lot.len() == LOT {
                retain(broker, partition.executor, std::mem::take(lot)).await;
            }
        }
    }
    for (executor, lot) in lots.into_iter().enumerate().filter(|(_, lot)| !lot.is_empty()) {
        retain(broker, executor, lot).await;
    }
}

async fn retain(broker: &Broker, executor: usize, lot: Vec<Arc<Partition>>) {
    for (partition, cut) in broker.executors.retain(executor, lot).await {
        let by_time = matches!(cut.rule, Rule::Since(_));
        broker.metrics.retained(by_time);
        tracing::debug!(%partition, start = cut.start.0, by_time, "old data is let go");
    }
}
