//! The acts, a file each, and what they have in common.
//!
//! Deliberately not here: the closing table (`closing.rs`).

pub mod commits;
pub mod crash;
pub mod rebalance;

use std::collections::BTreeMap;

use anyhow::Result;
use pagemark_client::OffsetSpec;

use crate::show::{aligned, indented};
use crate::stage::Stage;

/// Something that must be so, found out on the way.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// Whether it is.
    pub holds: bool,
}

impl Check {
    /// Both must be equal.
    pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Check {
        let holds = expected == found;
        let difference = if holds { String::new() } else { format!(": expected {expected:?}, found {found:?}") };
        Check { what: format!("{what}{difference}"), holds }
    }
}

/// A group as its broker sees it, in the columns of Kafka's own tool, and LAST-DONE.
async fn group_table(stage: &Stage, group: &str, topic: &str) -> Result<String> {
    let ends = stage.offsets(topic, OffsetSpec::Latest).await?;
    let committed = stage.committed(group, topic).await?;
    let mut owners = BTreeMap::new();
    for member in stage.admin.describe_group(group).await?.members {
        for partition in member.assignment.iter().filter(|partition| &*partition.topic == topic) {
            owners.insert(partition.partition, member.client_id.clone());
        }
    }
    let head = ["TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "LAST-DONE", "CONSUMER"];
    let mut rows = vec![head.map(str::to_owned)];
    for (partition, end) in ends {
        let next = committed.get(&partition);
        let or_dash = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        rows.push([
            topic.to_owned(),
            partition.to_string(),
            or_dash(next.copied()),
            end.to_string(),
            (end - next.unwrap_or(&0)).to_string(),
            or_dash(next.map(|next| next - 1)),
            owners.remove(&partition).unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    Ok(indented(&aligned(&rows)))
}
