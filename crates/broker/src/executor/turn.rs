//! The loop of one executor, turn by turn.
//!
//! Deliberately not here: what each kind of work does (`produce`, `groups`).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use pagemark_core::coordinator::GroupSettings;
use pagemark_core::partition::PartitionState;
use pagemark_core::time::{MonoMs, Now};
use pagemark_storage::engine::{
    Append, AtomicGroup, Engine, EngineError, Headroom, Lsn, Progress, ShardEpoch, ShardId,
};
use pagemark_wire::types::{Offset, PartitionKey};
use tokio::sync::oneshot;

use super::allowance::{Allowance, Look};
use super::group_shard::{OwnedGroupShard, Phase};
use super::mailbox::Mailbox;
use super::produce::{Produced, alone};
use super::trim::Trimmed;
use super::{Census, Work};
use crate::host::{Host, tokio_deadline};
use crate::metadata::broker_config::BrokerConfigs;
use crate::metadata::registry::TopicRegistry;
use crate::metrics::Metrics;
use crate::partitions::Partition;
use crate::progress::ProgressHub;
use crate::watched::Watcher;

/// How often producers are looked through for those that are to be forgotten.
const SWEEP_MS: u64 = 600_000;

/// What every executor is made of.
#[derive(Clone)]
pub struct ExecutorParts {
    /// Where batches go.
    pub engine: Arc<dyn Engine>,
    /// When they are durable.
    pub progress: Arc<ProgressHub>,
    /// Which topics exist.
    pub registry: Arc<TopicRegistry>,
    /// Clocks.
    pub host: Arc<dyn Host>,
    /// Settings of groups.
    pub groups: Arc<GroupSettings>,
    /// Shards with a number below this are those of the offsets topic.
    pub group_shards: u32,
    /// The settings of the moment.
    pub configs: Arc<BrokerConfigs>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How much they may take together.
    pub allowance: Arc<Allowance>,
}

/// What waits for a write to be durable, in order of writes.
pub(super) struct Pending {
    lsn: Lsn,
    what: Waiting,
}

enum Waiting {
    Produced(Vec<Produced>),
    Group { shard: u32, end: Offset },
    Trimmed(Trimmed),
    Signals(Vec<oneshot::Sender<()>>),
}

impl Pending {
    pub fn produced(lsn: Lsn, produced: Vec<Produced>) -> Pending {
        Pending { lsn, what: Waiting::Produced(produced) }
    }

    pub fn group(lsn: Lsn, shard: u32, end: Offset) -> Pending {
        Pending { lsn, what: Waiting::Group { shard, end } }
    }

    pub fn trimmed(lsn: Lsn, trimmed: Trimmed) -> Pending {
        Pending { lsn, what: Waiting::Trimmed(trimmed) }
    }
}

/// What one turn has gathered so far.
#[derive(Default)]
pub(super) struct Turn {
    appends: BTreeMap<ShardId, Vec<AtomicGroup>>,
    pub produced: BTreeMap<ShardId, Vec<Produced>>,
    /// Told when all of the turn's writes are durable.
    pub signals: Vec<oneshot::Sender<()>>,
}

impl Turn {
    /// Adds a batch to the shard's next append.
    pub fn append(&mut self, shard: ShardId, append: Append) {
        self.appends.entry(shard).or_default().push(alone(append));
    }
}

/// A partition in the hands of its executor.
pub(super) struct OwnedPartition {
    pub partition: Arc<Partition>,
    pub state: PartitionState,
    /// First offset that may be read, as far as that is durable.
    pub log_start: Offset,
}

/// One executor.
pub(super) struct Executor {
    mailbox: Arc<Mailbox<Work>>,
    pub engine: Arc<dyn Engine>,
    pub registry: Arc<TopicRegistry>,
    host: Arc<dyn Host>,
    progress: Watcher<Progress>,
    failure: Watcher<Option<Arc<str>>>,
    pub group_settings: Arc<GroupSettings>,
    group_shard_count: u32,
    pub configs: Arc<BrokerConfigs>,
    pub metrics: Arc<Metrics>,
    next_sweep: MonoMs,
    /// Both clocks as read at the start of the turn.
    pub now: Now,
    /// How much room there was at the start of the turn.
    pub headroom: Headroom,
    pub allowance: Arc<Allowance>,
    pub look: Look,
    pub partitions: HashMap<PartitionKey, OwnedPartition>,
    epochs: HashMap<ShardId, ShardEpoch>,
    pub group_shards: BTreeMap<u32, OwnedGroupShard>,
    pub next_reply: u64,
    pub turn: Turn,
    pub pending: VecDeque<Pending>,
    pub last_lsn: Lsn,
    stopping: Option<oneshot::Sender<()>>,
}

impl Executor {
    pub fn new(mailbox: Arc<Mailbox<Work>>, parts: ExecutorParts) -> Executor {
        let now = parts.host.now();
        Executor {
            mailbox,
            now,
            headroom: Headroom::default(),
            allowance: parts.allowance,
            look: Look::default(),
            progress: parts.progress.subscribe(),
            failure: parts.progress.failure(),
            engine: parts.engine,
            registry: parts.registry,
            host: parts.host,
            group_settings: parts.groups,
            group_shard_count: parts.group_shards,
            configs: parts.configs,
            metrics: parts.metrics,
            next_sweep: now.mono.plus(SWEEP_MS),
            partitions: HashMap::new(),
            epochs: HashMap::new(),
            group_shards: BTreeMap::new(),
            next_reply: 0,
            turn: Turn::default(),
            pending: VecDeque::new(),
            last_lsn: Lsn(0),
            stopping: None,
        }
    }

    /// Works until told to stop.
    pub async fn run(mut self) {
        let mut work = Vec::new();
        loop {
            self.wait().await;
            self.now = self.host.now();
            self.headroom = Headroom::default();
            self.look = self.allowance.look(|| {
                self.headroom = self.engine.headroom();
                self.headroom.spare_bytes
            });
            self.mailbox.drain(&mut work);
            for item in work.drain(..) {
                self.take(item);
            }
            self.load_some();
            self.group_deadlines();
            self.expire_offsets();
            self.sweep_producers();
            self.hand_over();
            self.release();
            if self.pending.is_empty()
                && let Some(done) = self.stopping.take()
            {
                self.end();
                let _ = done.send(());
                return;
            }
        }
    }

    async fn wait(&mut self) {
        if self.is_loading() {
            tokio::task::yield_now().await;
            return;
        }
        let deadline = self.next_group_deadline();
        let due = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(tokio_deadline(self.host.now(), at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.mailbox.filled() => {}
            // Flushes of others do not wake one that waits for none.
            () = self.progress.changed(), if !self.pending.is_empty() => {}
            () = self.failure.changed() => {}
            () = due => {}
        }
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Produce(produce) => self.produce(produce),
            Work::Group(group) => self.ask_group(group),
            Work::Trim(trim) => self.trim(trim),
            Work::Retain(retain) => self.retain(retain),
            Work::Own { partitions, done } => {
                let _ = done.send(self.own(partitions));
            }
            Work::Disown { partitions, done } => {
                // What this turn has decided about them so far is handed over first, while they are still ours.
                self.hand_over();
                for partition in partitions {
                    self.partitions.remove(&partition.key);
                }
                let _ = done.send(());
            }
            Work::RemoveOffsets { topic, name, done } => self.remove_offsets(topic, &name, done),
            Work::Census { done } => {
                let _ = done.send(self.census());
            }
            Work::Stop { done } => self.stopping = Some(done),
        }
    }

    /// Opens partitions shard by shard; those already open are fenced and opened anew under the next epoch.
    fn own(&mut self, partitions: Vec<Arc<Partition>>) -> Result<(), EngineError> {
        self.hand_over();
        let mut by_shard: BTreeMap<ShardId, Vec<Arc<Partition>>> = BTreeMap::new();
        for partition in partitions {
            by_shard.entry(partition.shard).or_default().push(partition);
        }
        for (shard, partitions) in by_shard {
            let epoch = ShardEpoch(self.epochs.get(&shard).map_or(1, |e| e.0 + 1));
            let keys: Vec<PartitionKey> = partitions.iter().map(|p| p.key).collect();
            let opened = self.engine.open(shard, epoch, &keys)?;
            self.epochs.insert(shard, epoch);
            for (partition, opened) in partitions.into_iter().zip(opened) {
                partition.set_opened(&opened);
                let epoch = partition.leader_epoch();
                if shard.0 < self.group_shard_count {
                    let (settings, log) = (Arc::clone(&self.group_settings), Arc::clone(&partition));
                    let timeout_ms = self.configs.settings().offsets_commit_timeout_ms.unsigned_abs().into();
                    let (start, end) = (opened.log_start, opened.log_end);
                    let group_shard = OwnedGroupShard::new(shard.0, log, settings, timeout_ms, start, end);
                    self.group_shards.insert(shard.0, group_shard);
                }
                let state = PartitionState::opened(opened.log_end, epoch, opened.producers, self.now.mono);
                let log_start = opened.log_start;
                self.partitions.insert(opened.partition, OwnedPartition { partition, state, log_start });
            }
        }
        Ok(())
    }

    /// Hands the turn's batches to the engine and puts everything that waits for them in line. The turn is empty afterwards.
    fn hand_over(&mut self) {
        let Turn { appends, mut produced, signals } = std::mem::take(&mut self.turn);
        let mut refused = Vec::new();
        for (shard, groups) in appends {
            let mut of_shard = produced.remove(&shard).unwrap_or_default();
            let appended = self.append(shard, groups, &mut of_shard).map_err(|error| {
                tracing::error!(shard = shard.0, %error, "an append was refused");
                refused.push(shard);
                error.to_string()
            });
            self.hand_over_produced(of_shard, &appended);
            if shard.0 < self.group_shard_count {
                self.hand_over_groups(shard, &appended);
            }
        }
        self.allowance.hand_over(&mut self.look);
        // A shard without an append has nothing but duplicates this turn, of batches that an earlier write of ours holds.
        for duplicates in produced.into_values() {
            self.hand_over_produced(duplicates, &Ok(self.last_lsn));
        }
        if !signals.is_empty() {
            self.pending.push_back(Pending { lsn: self.last_lsn, what: Waiting::Signals(signals) });
        }
        // Only now, when everything of this turn is in line: opening a shard anew begins with handing over.
        refused.into_iter().for_each(|shard| self.lose_shard(shard));
    }

    /// Hands a shard's batches to the engine. A partition whose bytes have rotted since it was opened fails alone: the
    /// engine has taken nothing then, and gets the rest.
    fn append(
        &mut self,
        shard: ShardId,
        mut groups: Vec<AtomicGroup>,
        produced: &mut Vec<Produced>,
    ) -> Result<Lsn, EngineError> {
        let epoch = self.epoch_of(shard).unwrap_or(ShardEpoch(0));
        loop {
            match self.engine.append(shard, epoch, &groups) {
                Ok(ticket) => {
                    self.last_lsn = self.last_lsn.max(ticket.0);
                    return Ok(ticket.0);
                }
                Err(EngineError::Quarantined { partition, reason }) if shard.0 >= self.group_shard_count => {
                    groups.retain(|group| group.0.iter().all(|append| append.partition != partition));
                    for one in produced.extract_if(.., |one| one.partition.key == partition) {
                        one.partition.quarantine(&reason);
                        one.fail_quarantined(&reason);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets producers that wrote nothing for long. A quiet executor does it when it next wakes up.
    fn sweep_producers(&mut self) {
        if self.now.mono < self.next_sweep {
            return;
        }
        self.next_sweep = self.now.mono.plus(SWEEP_MS);
        let expiration_ms = self.configs.settings().producer_id_expiration_ms;
        for (key, OwnedPartition { partition, state, .. }) in &mut self.partitions {
            let forgotten = state.expire(self.now.mono, expiration_ms);
            let shard = partition.shard;
            let Some(epoch) = self.epochs.get(&shard).copied().filter(|_| !forgotten.is_empty()) else { continue };
            if let Err(error) = self.engine.forget_producers(shard, epoch, *key, &forgotten) {
                tracing::warn!(partition = %key, %error, "silent producers stay in the engine's memory");
            }
        }
    }

    /// After a refused append what this executor believes of the shard is wrong: ordinary partitions are read anew from
    /// the engine. A group shard has given itself up.
    fn lose_shard(&mut self, shard: ShardId) {
        if shard.0 < self.group_shard_count {
            return;
        }
        let of_shard = self.partitions.values().filter(|owned| owned.partition.shard == shard);
        let lost: Vec<Arc<Partition>> = of_shard.map(|owned| Arc::clone(&owned.partition)).collect();
        lost.iter().for_each(|p| drop(self.partitions.remove(&p.key)));
        if let Err(error) = self.own(lost) {
            tracing::error!(shard = shard.0, %error, "the shard cannot be opened again");
        }
    }

    /// Lets go of everything whose write is durable; if the engine has failed, of all the rest with an error.
    fn release(&mut self) {
        let progress = self.progress.look();
        while self.pending.front().is_some_and(|p| p.lsn <= progress.durable) {
            let pending = self.pending.pop_front().expect("the front was just seen");
            self.succeed(pending.what);
        }
        if let Some(why) = progress.failed {
            self.failure.look();
            for pending in std::mem::take(&mut self.pending) {
                self.fail(pending.what, &why);
            }
            // Nothing that a group decides can become durable any more: nobody is to wait for it, or rely on it (G-3).
            for shard in self.group_shards.values_mut().filter(|s| !matches!(s.phase, Phase::Broken)) {
                shard.give_up(pagemark_wire::ErrorCode::CoordinatorNotAvailable);
            }
        }
    }

    fn succeed(&mut self, what: Waiting) {
        match what {
            Waiting::Produced(produced) => {
                let mut woken = None;
                for one in produced {
                    if woken != Some(one.partition.key) {
                        woken = Some(one.partition.key);
                        one.partition.wake();
                    }
                    one.succeed();
                }
            }
            Waiting::Group { shard, end } => self.group_durable(shard, end),
            Waiting::Trimmed(trimmed) => self.trimmed(trimmed),
            Waiting::Signals(signals) => signals.into_iter().for_each(|s| s.send(()).unwrap_or(())),
        }
    }

    fn fail(&mut self, what: Waiting, why: &str) {
        match what {
            Waiting::Produced(produced) => produced.into_iter().for_each(|p| p.fail(why)),
            Waiting::Group { shard, .. } => {
                if let Some(shard) = self.group_shards.get_mut(&shard) {
                    shard.give_up(pagemark_wire::ErrorCode::CoordinatorNotAvailable);
                }
            }
            Waiting::Trimmed(trimmed) => trimmed.tell(Err(EngineError::Stopped(why.into()))),
            Waiting::Signals(_) => {}
        }
    }

    /// The epoch under which a shard is ours.
    pub(super) fn epoch_of(&self, shard: ShardId) -> Option<ShardEpoch> {
        self.epochs.get(&shard).copied()
    }

    /// Everybody who still waits is told that the coordinator goes away (G-3).
    fn end(&mut self) {
        for shard in self.group_shards.values_mut() {
            shard.give_up(pagemark_wire::ErrorCode::CoordinatorNotAvailable);
        }
    }

    fn census(&self) -> Census {
        let mut census = Census { partitions: self.partitions.len(), ..Census::default() };
        for shard in self.group_shards.values() {
            census.loading_shards += usize::from(matches!(shard.phase, Phase::Loading { .. }));
            for group in shard.core.summaries() {
                census.groups += 1;
                census.members += group.members;
                census.offsets += group.offsets;
            }
        }
        census
    }
}
