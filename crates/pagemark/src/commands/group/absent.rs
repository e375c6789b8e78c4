//! What `-t` names and nobody has anything to do with: most likely it is misspelt, and then it must be said.
//!
//! Deliberately not here: what that means to a command.

use std::collections::BTreeSet;

use pagemark_client::{Admin, TopicPartition};

use crate::exit::Failure;
use crate::nearest::is_meant;
use crate::output::escaped;
use crate::target::Target;

/// A topic or a partition that was named and is not among those known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    topic: String,
    /// `None` for the topic as a whole.
    partition: Option<i32>,
    /// Why it cannot be there, with what may have been meant; `None` if it exists.
    pub why: Option<String>,
}

impl Absent {
    /// As it was named: `orders`, `orders-3`.
    pub fn name(&self) -> String {
        let topic = escaped(&self.topic);
        self.partition.map_or_else(|| topic.clone(), |partition| format!("{topic}-{partition}"))
    }

    /// Whether this partition does not exist because of it.
    pub fn denies(&self, partition: &TopicPartition) -> bool {
        let is_it = self.topic == *partition.topic && self.partition.is_none_or(|at| at == partition.partition);
        is_it && self.why.is_some()
    }
}

/// What of the targets is not among the `known` partitions.
///
/// # Errors
/// If the brokers do not answer.
pub async fn absent(
    admin: &Admin,
    targets: &[Target],
    known: &BTreeSet<TopicPartition>,
) -> Result<Vec<Absent>, Failure> {
    let (mut found, mut topics) = (Vec::new(), None);
    for target in targets {
        let partitions: Option<Vec<i32>> = target.partitions.as_ref().map(|named| {
            let is_known = |at: &i32| known.contains(&TopicPartition::new(&target.topic, *at));
            named.iter().copied().filter(|at| !is_known(at)).collect()
        });
        let is_known = match &partitions {
            None => known.iter().any(|partition| target.covers(partition)),
            Some(left) => left.is_empty(),
        };
        if is_known {
            continue;
        }
        let all = match topics.take() {
            Some(all) => all,
            None => admin.list_topics().await?,
        };
        let absent = |partition, why| Absent { topic: target.topic.clone(), partition, why };
        let there = all.iter().find(|there| there.name == target.topic);
        match (there.map(|there| there.partitions.len()), partitions) {
            (None, _) => {
                let hint = is_meant(&target.topic, all.iter().map(|there| there.name.as_str()));
                found.push(absent(None, Some(format!("no such topic{hint}"))));
            }
            (Some(_), None) => found.push(absent(None, None)),
            (Some(count), Some(left)) => found.extend(left.into_iter().map(|at| {
                let is_there = usize::try_from(at).is_ok_and(|at| at < count);
                absent(Some(at), (!is_there).then(|| format!("no such partition; the topic has {count}")))
            })),
        }
        topics = Some(all);
    }
    Ok(found)
}

/// A failure for each topic or partition that does not exist.
pub fn failures(absent: &[Absent]) -> impl Iterator<Item = Failure> + '_ {
    absent.iter().filter_map(|absent| Some(Failure::failed(format!("{}: {}", absent.name(), absent.why.as_ref()?))))
}
