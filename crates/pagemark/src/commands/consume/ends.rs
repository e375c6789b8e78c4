//! Where to stop: the ends of partitions as they were when reading began.
//!
//! Ends are asked for as this reader sees the log, and compared with positions, so that transaction markers and holes of
//! compaction do not keep it waiting. Deliberately not here: stopping.

use std::collections::BTreeMap;

use pagemark_client::{Admin, IsolationLevel, OffsetSpec, TopicPartition};

use crate::exit::Failure;

/// Ends as far as they were asked for.
#[derive(Debug, Default)]
pub(super) struct Ends(BTreeMap<TopicPartition, i64>);

impl Ends {
    /// Whether all these positions are at or beyond their partition's end. Partitions that are new get theirs now. No
    /// partitions are no end: a member of a group has none before its first assignment, and none while it changes.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub(super) async fn are_reached(
        &mut self,
        admin: &Admin,
        places: &BTreeMap<TopicPartition, Option<i64>>,
        isolation: IsolationLevel,
    ) -> Result<bool, Failure> {
        let unknown: Vec<_> = places.keys().filter(|partition| !self.0.contains_key(*partition)).collect();
        if !unknown.is_empty() {
            let wanted = unknown.into_iter().map(|partition| (partition.clone(), OffsetSpec::Latest));
            let found = admin.list_offsets_with(isolation, wanted).await?;
            self.0.extend(found.into_iter().filter_map(|(partition, listed)| Some((partition, listed.offset?))));
        }
        let reached = |(partition, place): (&TopicPartition, &Option<i64>)| {
            place.is_some_and(|place| self.0.get(partition).is_some_and(|end| place >= *end))
        };
        Ok(!places.is_empty() && places.iter().all(reached))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_without_partitions_is_not_at_the_end() {
        let admin = Admin::builder("127.0.0.1:1").build().expect("legal settings");
        let reached = async |places: &[(i32, Option<i64>)]| {
            let places = places.iter().map(|(at, place)| (TopicPartition::new("orders", *at), *place)).collect();
            let mut ends = Ends([0, 1].map(|at| (TopicPartition::new("orders", at), 10)).into());
            ends.are_reached(&admin, &places, IsolationLevel::ReadCommitted).await.expect("nobody is asked")
        };
        assert!(reached(&[(0, Some(10)), (1, Some(11))]).await);
        assert!(!reached(&[(0, Some(10)), (1, Some(9))]).await);
        assert!(!reached(&[(0, None)]).await);
        assert!(!reached(&[]).await);
    }
}
