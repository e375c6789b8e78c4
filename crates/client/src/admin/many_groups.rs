//! Questions about many groups: each coordinator is asked about all of its groups with few requests, several under way.
//!
//! Every group has a result of its own. Deliberately not here: what is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::Admin;
use crate::cluster::Cluster;
use crate::error::Error;

/// Most groups in one request, so that no answer grows beyond measure.
const GROUPS_PER_REQUEST: usize = 100;
/// Most requests under way.
const REQUESTS_AT_A_TIME: usize = 16;

/// A result for each group.
pub(super) type PerGroup<T> = BTreeMap<String, Result<T, Error>>;

impl Admin {
    /// Asks coordinators about their groups, and again about those whose failure may pass by itself. `ask` sends one request
    /// about these groups to this broker; it may answer about some of them only, if an old version takes no more.
    pub(super) async fn of_groups<T, F, A>(&self, groups: &[String], ask: F) -> PerGroup<T>
    where
        T: Send + 'static,
        F: Fn(Arc<Cluster>, i32, Vec<String>) -> A + Clone + Send + 'static,
        A: Future<Output = Result<PerGroup<T>, Error>> + Send + 'static,
    {
        let mut settled = PerGroup::new();
        let mut left = groups.to_vec();
        let mut retries = self.cluster.retries(self.deadline());
        loop {
            let mut failed = PerGroup::new();
            for (group, result) in self.of_groups_once(&left, &ask).await {
                match result {
                    Err(error) if error.is_retriable() => drop(failed.insert(group, Err(error))),
                    result => drop(settled.insert(group, result)),
                }
            }
            if failed.is_empty() || !retries.wait().await {
                settled.extend(failed);
                return settled;
            }
            left = failed.into_keys().collect();
        }
    }

    async fn of_groups_once<T, F, A>(&self, groups: &[String], ask: &F) -> PerGroup<T>
    where
        T: Send + 'static,
        F: Fn(Arc<Cluster>, i32, Vec<String>) -> A + Clone + Send + 'static,
        A: Future<Output = Result<PerGroup<T>, Error>> + Send + 'static,
    {
        let mut found = PerGroup::new();
        let mut by_coordinator: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for (group, coordinator) in self.cluster.coordinators(groups).await {
            match coordinator {
                Ok(node) => by_coordinator.entry(node).or_default().push(group),
                Err(error) => drop(found.insert(group, Err(error))),
            }
        }
        let mut portions = portions(by_coordinator).into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < REQUESTS_AT_A_TIME
                && let Some((node, portion)) = portions.next()
            {
                under_way.spawn(whole_portion(Arc::clone(&self.cluster), node, portion, ask.clone()));
            }
            match under_way.join_next().await {
                Some(Ok(answers)) => found.extend(answers),
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()), // nobody aborts them
                None => return found,
            }
        }
    }
}

/// Groups by coordinator, as many in one request as leave every request something to do.
fn portions(by_coordinator: BTreeMap<i32, Vec<String>>) -> Vec<(i32, Vec<String>)> {
    let mut portions = Vec::new();
    for (node, groups) in by_coordinator {
        let size = groups.len().div_ceil(REQUESTS_AT_A_TIME).min(GROUPS_PER_REQUEST);
        portions.extend(groups.chunks(size).map(|portion| (node, portion.to_vec())));
    }
    portions
}

/// Asks until there is an answer about each of these groups, or none at all.
async fn whole_portion<T, F, A>(cluster: Arc<Cluster>, node: i32, groups: Vec<String>, ask: F) -> PerGroup<T>
where
    F: Fn(Arc<Cluster>, i32, Vec<String>) -> A,
    A: Future<Output = Result<PerGroup<T>, Error>>,
{
    let mut found = PerGroup::new();
    let mut left = groups;
    while !left.is_empty() {
        let before = left.len();
        let answer = ask(Arc::clone(&cluster), node, left.clone()).await;
        let error = match answer {
            Ok(answers) => {
                left.retain(|group| !answers.contains_key(group));
                found.extend(answers);
                if left.len() < before {
                    continue;
                }
                Error::Protocol("no answer about the group".to_owned())
            }
            Err(error) => error,
        };
        for group in left.drain(..) {
            if matches!(error, Error::Unavailable(_)) {
                cluster.forget_coordinator(&group);
            }
            found.insert(group, Err(error.clone()));
        }
    }
    found
}
