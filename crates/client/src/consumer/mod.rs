//! The consumer: records out, offsets in.
//!
//! Four tasks share a [`state`]: the handle's own, which asks for records; the group's; the fetcher's; the committer's.
//! Nothing is lost by dropping a future of this API. Names and defaults of settings are Kafka's where nothing else is said.
//! Deliberately not here: the group protocol of KIP-848, fetch sessions, subscribing by pattern, and finding out by leader
//! epochs that a log was cut (KIP-320).

mod assignor;
mod commit_queue;
mod committer;
mod error;
mod fetcher;
mod gate;
mod group;
mod heartbeat;
mod listener;
mod membership;
mod record;
mod rest;
mod settings;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::offsets::{self, OffsetAndMetadata};
use crate::partition::TopicPartition;

pub use assignor::Assignor;
use commit_queue::Offsets;
pub use committer::CommitHandle;
pub use error::{CommitError, ConsumerError, NotAssigned};
pub use listener::{PartitionSet, Rebalance, RebalanceListener};
pub use record::Record;
use settings::ConsumerSettings;
pub use settings::{AutoOffsetReset, ConsumerBuilder};
use state::{Commit, Gate, Position, Shared};

/// A consumer.
///
/// The safe pattern is the short one: [`recv`](Consumer::recv) a record, process it,
/// [`store_offset`](Consumer::store_offset). What is stored is committed by itself every `auto.commit.interval.ms`, before a
/// partition is given up, and by [`close`](Consumer::close). A record that was not stored is never committed, so a crash
/// repeats at most what was processed since the last commit, and loses nothing.
///
/// ```no_run
/// # async fn handle(_: &pagemark_client::Record) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use pagemark_client::{AutoOffsetReset, Consumer};
///
/// let mut consumer = Consumer::builder("127.0.0.1:9092")
///     .group_id("billing")
///     .auto_offset_reset(AutoOffsetReset::Earliest)
///     .build()?;
/// consumer.subscribe(["orders"])?;
/// loop {
///     let record = consumer.recv().await?;
///     handle(&record).await?;
///     consumer.store_offset(&record)?;
/// }
/// # }
/// ```
///
/// With [`enable_auto_commit(false)`](ConsumerBuilder::enable_auto_commit) the application commits what it has stored:
///
/// ```no_run
/// # async fn handle(_: &pagemark_client::Record) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(mut consumer: pagemark_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
/// for record in consumer.poll(std::time::Duration::from_millis(200)).await? {
///     handle(&record).await?;
///     consumer.store_offset(&record)?;
/// }
/// consumer.commit_sync().await?;
/// # Ok(())
/// # }
/// ```
///
/// A consumer that is dropped is a crash: it commits nothing and does not leave its group.
#[derive(Debug)]
pub struct Consumer {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    settings: Arc<ConsumerSettings>,
    group: Option<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Consumer {
    /// Begins with `bootstrap.servers`: `host:port`, with commas between them.
    #[must_use]
    pub fn builder(bootstrap_servers: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(bootstrap_servers)
    }

    /// Reads these topics as a member of the group, instead of those subscribed to before. Partitions come with the next
    /// [`poll`](Consumer::poll) or [`recv`](Consumer::recv).
    ///
    /// # Errors
    /// [`Error::Invalid`] without a `group.id`, or if partitions were chosen by [`assign`](Consumer::assign).
    pub fn subscribe<T: AsRef<str>>(&mut self, topics: impl IntoIterator<Item = T>) -> Result<(), Error> {
        if self.group.is_none() {
            return Err(Error::Invalid("a consumer without group.id cannot subscribe; it can assign".to_owned()));
        }
        let mut state = self.shared.lock();
        if state.is_manual && !state.partitions.is_empty() {
            return Err(Error::Invalid("partitions were assigned by hand; unsubscribe first".to_owned()));
        }
        state.is_manual = false;
        state.subscription = topics.into_iter().map(|topic| topic.as_ref().to_owned()).collect();
        state.rejoin = true;
        state.last_poll = Instant::now();
        drop(state);
        self.shared.group.notify_one();
        Ok(())
    }

    /// Gives up all partitions and leaves the group, at the next [`poll`](Consumer::poll). Partitions that were assigned by
    /// hand go at once; commits of theirs that were asked for are still made.
    pub fn unsubscribe(&mut self) {
        let mut state = self.shared.lock();
        state.subscription.clear();
        if std::mem::take(&mut state.is_manual) {
            state.partitions.clear();
        }
        drop(state);
        self.shared.group.notify_one();
    }

    /// Reads these partitions and no others, without being a member of a group. With a `group.id` it begins where that
    /// group left off, and commits for it. What was stored of partitions that go, and not committed, is forgotten; commits
    /// that were asked for are made.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the consumer has subscribed.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<(), Error> {
        let wanted: PartitionSet = partitions.into_iter().collect();
        let mut state = self.shared.lock();
        if !state.subscription.is_empty() || state.is_in_group() {
            return Err(Error::Invalid("the consumer has subscribed".to_owned()));
        }
        state.is_manual = true;
        self.cluster.want(wanted.iter().map(|partition| &*partition.topic));
        state.partitions.retain(|partition, _| wanted.contains(partition));
        state.assign(wanted, |partition| self.settings.beginning(partition));
        drop(state);
        self.shared.fetcher.notify_one();
        Ok(())
    }

    /// The next records, up to `max.poll.records`; none if none come in time. While partitions move it waits beyond its
    /// time: until they are committed, and the listener is done.
    ///
    /// Safe to drop: records are handed out all at once, at the very end.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<Record>, ConsumerError> {
        self.next(self.settings.max_poll_records, Some(Instant::now() + timeout)).await
    }

    /// The next record. Waits for as long as it takes. Safe to drop.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub async fn recv(&mut self) -> Result<Record, ConsumerError> {
        loop {
            if let Some(record) = self.next(1, None).await?.pop() {
                return Ok(record);
            }
        }
    }

    async fn next(&mut self, max: usize, deadline: Option<Instant>) -> Result<Vec<Record>, ConsumerError> {
        let _polling = Polling::begin(&self.shared);
        let too_late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(too_late);
        let mut is_late = false;
        loop {
            {
                let mut state = self.shared.lock();
                if state.gate == Gate::Wanted {
                    state.gate = Gate::Passed;
                    self.shared.group.notify_one();
                }
                if state.gate == Gate::Shut || state.fatal.is_some() {
                    let taken = state.take(max);
                    self.shared.fetcher.notify_one(); // there is room, also where nothing was for the application
                    if is_late || !matches!(&taken, Ok(records) if records.is_empty()) {
                        state.stop_polling(); // under the same lock, so that the gate is shut from here on
                        return taken;
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.shared.app.notified() => {}
                () = &mut too_late, if !is_late => is_late = true,
            }
        }
    }

    /// Says that a record, and every record of its partition before it, is processed. The next commit will say that reading
    /// goes on at the record behind it: 1 is added here.
    ///
    /// # Errors
    /// [`NotAssigned`] if the partition was lost since: let go of the record, another consumer processes it again.
    pub fn store_offset(&self, record: &Record) -> Result<(), NotAssigned> {
        self.shared.lock().store_offset(record)
    }

    /// Commits what was stored, behind all commits before, and waits for the outcome. Safe to drop: the commit is made all
    /// the same.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit_sync(&self) -> Result<(), CommitError> {
        self.commit_async().await
    }

    /// Commits what was stored, behind all commits before. Await the handle to know the outcome, or drop it.
    ///
    /// Of a partition a later commit is sent only when the one before has its answer. One that got no answer in time may
    /// still be on its way over a connection that was given up, and then reach the broker after a later one.
    pub fn commit_async(&self) -> CommitHandle {
        let offsets = self.shared.lock().uncommitted();
        self.enqueue(offsets)
    }

    /// Commits these offsets, each the NEXT to be read, whatever was stored.
    ///
    /// # Errors
    /// [`CommitError::Lost`] if a partition is not assigned to this consumer; [`CommitError`].
    pub async fn commit_sync_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<(), CommitError> {
        self.commit_async_offsets(offsets)?.await
    }

    /// As [`commit_sync_offsets`](Consumer::commit_sync_offsets), without waiting.
    ///
    /// # Errors
    /// [`CommitError::Lost`] if a partition is not assigned to this consumer; nothing is committed then.
    pub fn commit_async_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<CommitHandle, CommitError> {
        let commits = self.shared.lock().commits(offsets)?;
        Ok(self.enqueue(commits))
    }

    fn enqueue(&self, offsets: Offsets<Commit>) -> CommitHandle {
        if self.settings.group_id.is_some() {
            return committer::enqueue(&self.shared, offsets, self.cluster.deadline());
        }
        let (ticket, outcome) = tokio::sync::oneshot::channel();
        ticket.send(Err(CommitError::NoGroup)).ok(); // the receiver is here
        CommitHandle { outcome }
    }

    /// The partitions that this consumer has.
    #[must_use]
    pub fn assignment(&self) -> PartitionSet {
        self.shared.lock().assignment()
    }

    /// The next offset that this consumer will hand out of a partition; `None` until it is known.
    ///
    /// # Errors
    /// [`NotAssigned`].
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<i64>, NotAssigned> {
        Ok(self.shared.lock().get(partition)?.next)
    }

    /// What the group has committed, as its coordinator says now: for each partition the NEXT offset to read. Partitions
    /// without a commit are absent.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a `group.id`; [`Error::Unavailable`].
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, Error> {
        let group = self.settings.group_id.as_ref().ok_or_else(|| Error::Invalid("there is no group.id".to_owned()))?;
        let attempt = || offsets::fetch_committed(&self.cluster, group, partitions);
        self.cluster.retrying(self.cluster.deadline(), attempt).await
    }

    /// Reads on at this offset. What was stored of the partition and not committed is forgotten.
    ///
    /// # Errors
    /// [`NotAssigned`].
    pub fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<(), NotAssigned> {
        self.shared.seek(partition, Position::At(offset))
    }

    /// Reads on at the first record there is.
    ///
    /// # Errors
    /// [`NotAssigned`].
    pub fn seek_to_beginning(&self, partition: &TopicPartition) -> Result<(), NotAssigned> {
        self.shared.seek(partition, Position::Reset(AutoOffsetReset::Earliest))
    }

    /// Reads on behind the last record.
    ///
    /// # Errors
    /// [`NotAssigned`].
    pub fn seek_to_end(&self, partition: &TopicPartition) -> Result<(), NotAssigned> {
        self.shared.seek(partition, Position::Reset(AutoOffsetReset::Latest))
    }

    /// Hands out nothing of these partitions until they are resumed.
    ///
    /// # Errors
    /// [`NotAssigned`] for the first that is not; those before it are paused.
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<(), NotAssigned> {
        self.set_paused(partitions, true)
    }

    /// Hands out records of these partitions again.
    ///
    /// # Errors
    /// [`NotAssigned`] for the first that is not; those before it are resumed.
    pub fn resume<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<(), NotAssigned> {
        self.set_paused(partitions, false)
    }

    fn set_paused<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        is_paused: bool,
    ) -> Result<(), NotAssigned> {
        partitions.into_iter().try_for_each(|partition| self.shared.set_paused(partition, is_paused))
    }

    /// Ends in good order: commits what was stored if auto-commit is on, waits for all commits before, tells the listener,
    /// leaves the group. A static
    /// member does not leave: its partitions wait for it until its session ends. Dropped before it is done, it is as if the
    /// consumer was dropped.
    pub async fn close(mut self) {
        self.shared.lock().is_closing = true;
        self.shared.group.notify_one();
        if let Some(group) = &mut self.group {
            group.await.ok(); // it ends by itself, or it has panicked and is gone
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.tasks.iter().chain(&self.group).for_each(JoinHandle::abort);
    }
}

/// The application asks for records. Ends also when the future that asks is dropped.
struct Polling<'a> {
    shared: &'a Shared,
}

impl<'a> Polling<'a> {
    fn begin(shared: &'a Shared) -> Polling<'a> {
        let mut state = shared.lock();
        state.is_polling = true;
        state.last_poll = Instant::now();
        if state.member.generation < 0 {
            shared.group.notify_one(); // it may have waited for us
        }
        drop(state);
        Polling { shared }
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.shared.lock().stop_polling();
    }
}
