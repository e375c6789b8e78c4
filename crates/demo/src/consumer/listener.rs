//! Where a consumer reads on when the database says so: it seeks there, and checks the broker's word against the database.
//!
//! Deliberately not here: writing to the database, except for complaints.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use pagemark_client::{Admin, PartitionSet, Rebalance, RebalanceListener};

use super::talk::Report;
use super::{ConsumerArgs, lock};
use crate::ledger::Ledger;

/// Says where each partition is read on.
pub(super) struct Places {
    group: String,
    admin: Admin,
    ledger: Arc<Mutex<Ledger>>,
}

impl Places {
    pub(super) fn new(args: &ConsumerArgs, admin: Admin, ledger: Arc<Mutex<Ledger>>) -> Places {
        Places { group: args.group.clone(), admin, ledger }
    }

    /// Next offset by the database and highest confirmed commit, in the order of the partitions.
    fn known(&self, partitions: &PartitionSet) -> Result<Vec<(i64, i64)>> {
        let ledger = lock(&self.ledger);
        let of = |partition: i32| Ok((ledger.next_offset(partition)?, ledger.acknowledged(partition)?));
        partitions.iter().map(|partition| of(partition.partition)).collect()
    }

    async fn check_broker(&self, partitions: &PartitionSet) -> Result<()> {
        // Read before asking: what is confirmed by now may not be lost afterwards.
        let before = self.known(partitions)?;
        let committed = match self.admin.list_group_offsets(&self.group).await {
            Ok(committed) => committed,
            Err(error) => {
                eprintln!("the broker does not say what is committed: {error}");
                return Ok(());
            }
        };
        let after = self.known(partitions)?;
        for ((partition, (_, confirmed)), (next, _)) in partitions.iter().zip(before).zip(after) {
            let committed = committed.get(partition).map_or(0, |found| found.offset);
            if committed > next {
                self.complain(&format!("{partition}: the broker has {committed}, the database only {next}"))?;
            }
            if committed < confirmed {
                self.complain(&format!("{partition}: {confirmed} was confirmed, the broker has {committed}"))?;
            }
        }
        Ok(())
    }

    fn complain(&self, what: &str) -> Result<()> {
        Report::Complaint(what.to_owned()).tell();
        lock(&self.ledger).complain(what)
    }

    fn seek(&self, rebalance: &Rebalance, partitions: &PartitionSet) -> Result<()> {
        for (partition, (next, _)) in partitions.iter().zip(self.known(partitions)?) {
            rebalance.seek(partition, next)?;
        }
        Ok(())
    }
}

impl RebalanceListener for Places {
    async fn on_assigned(&mut self, rebalance: &Rebalance, partitions: &PartitionSet) {
        if let Err(error) = self.check_broker(partitions).await {
            eprintln!("the broker's word cannot be checked: {error:#}");
        }
        // Without a seek it reads on where the broker says. If that is not where the database is, writing is refused.
        if let Err(error) = self.seek(rebalance, partitions) {
            eprintln!("the database does not say where to go on: {error:#}");
        }
    }
}
