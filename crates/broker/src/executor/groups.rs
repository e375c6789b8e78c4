//! Asking group shards: route, decide, gather the records, hold answers back until they are durable.
//!
//! Deliberately not here: what requests mean to a group (`core`), and versions of the protocol (`api`).

use pagemark_core::coordinator::{Answer, GroupShard, OffsetToCommit, Request};
use pagemark_core::effects::{Effects, ReplyTo};
use pagemark_core::time::MonoMs;
use pagemark_storage::engine::{Append, Lsn, Room, ShardId};
use pagemark_wire::ErrorCode;
use pagemark_wire::types::{Offset, PartitionKey, TopicId};
use tokio::sync::oneshot;

use super::group_shard::{OwnedGroupShard, Phase};
use super::turn::{Executor, OwnedPartition, Pending};

/// An append outstanding for longer, or a deadline seen later than this, is a stall: nobody is expired then (G-9).
const STALL_MS: u64 = 1_000;

/// Takes the answer of a group shard; called exactly once.
pub type GroupAnswer = Box<dyn FnOnce(Answer) + Send>;

/// One request to one group shard.
pub struct GroupWork {
    /// Number of the partition of `__consumer_offsets` that the group belongs to.
    pub shard: u32,
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub answer: GroupAnswer,
}

impl Executor {
    /// Asks the shard, or says why it cannot be asked.
    pub(super) fn ask_group(&mut self, work: GroupWork) {
        let GroupWork { shard: number, request, answer } = work;
        let is_outdated =
            matches!(&request, Request::Commit(commit) if self.names_a_topic_that_is_gone(&commit.offsets));
        let Some(shard) = self.group_shards.get_mut(&number) else {
            return answer(GroupShard::unavailable(&request, ErrorCode::CoordinatorNotAvailable));
        };
        match &shard.phase {
            Phase::Loading { .. } => return answer(GroupShard::while_loading(&request)),
            Phase::Broken => return answer(GroupShard::unavailable(&request, ErrorCode::CoordinatorNotAvailable)),
            Phase::Ready => {}
        }
        if is_outdated {
            return answer(GroupShard::while_loading(&request)); // retried, and then told what there is
        }
        if self.headroom.room == Room::Exhausted && matches!(request, Request::Commit(_)) {
            return answer(GroupShard::unavailable(&request, ErrorCode::CoordinatorNotAvailable));
        }
        let to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        shard.parked.insert(to, answer);
        let effects = shard.core.handle(self.now, to, request);
        self.carry_out(number, effects);
    }

    /// Whether a topic was deleted between the look at its name and now. Its offsets have been removed by then, and what were
    /// written after that would stay, or take the place of a commit for a topic that has the name since (O-62).
    fn names_a_topic_that_is_gone(&self, offsets: &[OffsetToCommit]) -> bool {
        let view = self.registry.view();
        offsets.iter().any(|offset| offset.topic_id != TopicId::ZERO && view.by_id(offset.topic_id).is_none())
    }

    /// Appends and replays the records of a decision and sends its replies, or keeps them until they are durable.
    pub(super) fn carry_out(&mut self, number: u32, effects: Effects) {
        let Some(shard) = self.group_shards.get_mut(&number) else { return };
        let Some(OwnedPartition { state, .. }) = self.partitions.get_mut(&shard.partition.key) else { return };
        for batch in shard.take_in(state, effects, self.now) {
            let partition = shard.partition.key;
            self.turn.append(shard.partition.shard, Append::new(partition, batch));
        }
    }

    /// Puts the shard's answers behind the write that they wait for; after a failed write the shard is given up.
    pub(super) fn hand_over_groups(&mut self, shard: ShardId, appended: &Result<Lsn, String>) {
        let Some(group_shard) = self.group_shards.get_mut(&shard.0) else { return };
        match appended {
            Ok(lsn) => {
                let end = group_shard.handed_over(self.now.mono);
                self.pending.push_back(Pending::group(*lsn, shard.0, end));
            }
            Err(_) => group_shard.give_up(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// The shard's log is durable up to `end`: lets go of what waited for it.
    pub(super) fn group_durable(&mut self, number: u32, end: Offset) {
        if let Some(shard) = self.group_shards.get_mut(&number) {
            shard.durable(end);
            shard.partition.wake();
        }
    }

    /// Does what is due in every shard whose deadline has passed. A shard that is stalled expires nobody: one whose append
    /// takes long, or an executor that comes late itself and so may not have seen the heartbeats that came in time (G-9).
    pub(super) fn group_deadlines(&mut self) {
        let now = self.now.mono;
        let due: Vec<u32> = self.group_shards.iter().filter(|(_, s)| s.is_due(now)).map(|(n, _)| *n).collect();
        for number in due {
            let Some(shard) = self.group_shards.get_mut(&number) else { continue };
            let begun = [shard.outstanding_since(), shard.deadline];
            let stalled = begun.iter().flatten().any(|since| now.0.saturating_sub(since.0) > STALL_MS);
            let effects = shard.core.on_deadline(self.now, stalled);
            self.carry_out(number, effects);
        }
        for shard in self.group_shards.values_mut() {
            shard.refuse_late_commits(now);
        }
    }

    /// The earliest deadline of all shards.
    pub(super) fn next_group_deadline(&self) -> Option<MonoMs> {
        self.group_shards.values().flat_map(|s| [s.deadline, s.commit_deadline(), s.sweep_deadline()]).flatten().min()
    }

    /// One step of the sweep of one shard, if one is due: lets offsets go that have expired, and groups of which nothing is left
    /// (O-50 to O-55). The next shard, or the next step, has the next turn.
    pub(super) fn expire_offsets(&mut self) {
        let now = self.now;
        let next = now.mono.plus(self.configs.settings().offsets_retention_check_interval_ms.unsigned_abs());
        let due = |shard: &&mut OwnedGroupShard| shard.sweep_deadline().is_some_and(|at| at <= now.mono);
        let Some(shard) = self.group_shards.values_mut().find(due) else { return };
        if self.headroom.room != Room::Enough {
            shard.next_sweep = next; // tombstones can wait, and the room is kept for commits
            return;
        }
        let view = self.registry.view();
        let expired = shard.core.expire(now, &|name, id, partition| {
            let topic = if id == TopicId::ZERO { view.by_name(name)?.id() } else { id };
            self.engine.extent(PartitionKey { topic, partition }).ok().map(|log| log.log_start)
        });
        if expired.done {
            shard.next_sweep = next;
        }
        if !expired.effects.is_empty() {
            let (offsets, groups) = (expired.offsets, expired.groups);
            tracing::info!(shard = shard.number, offsets, groups, "committed offsets have expired");
            self.metrics.expired(offsets, groups);
            let number = shard.number;
            self.carry_out(number, expired.effects);
            if let Some(shard) = self.group_shards.get_mut(&number) {
                shard.swept_to_the_end();
            }
        }
    }

    /// Removes what groups committed for a deleted topic. `done` is told once that is durable.
    pub(super) fn remove_offsets(&mut self, topic: TopicId, name: &str, done: oneshot::Sender<()>) {
        let ready: Vec<u32> =
            self.group_shards.iter().filter(|(_, s)| matches!(s.phase, Phase::Ready)).map(|(n, _)| *n).collect();
        for number in ready {
            let Some(shard) = self.group_shards.get_mut(&number) else { continue };
            let effects = shard.core.topic_deleted(self.now, topic, name);
            if !effects.is_empty() {
                self.carry_out(number, effects);
            }
        }
        self.turn.signals.push(done);
    }

    /// Reads a piece of the log of one shard that is loading, if any, and opens the shard at the end of it.
    pub(super) fn load_some(&mut self) {
        let loading = self.group_shards.values_mut().find(|s| matches!(s.phase, Phase::Loading { .. }));
        let Some(shard) = loading else { return };
        let number = shard.number;
        if shard.load_slice(self.engine.as_ref()) {
            let view = self.registry.view();
            // A view without the offsets topic is not the view of this cluster: nothing is dropped for its sake.
            let is_published = view.by_id(shard.partition.key.topic).is_some();
            let is_known = is_published && self.engine.facts_are_whole();
            let exists = |id: TopicId| !is_known || view.by_id(id).is_some();
            let dropped = shard.core.drop_offsets_of_missing_topics(self.now, &exists);
            self.carry_out(number, dropped);
            let Some(shard) = self.group_shards.get_mut(&number) else { return };
            let started = shard.core.finish_load(self.now);
            shard.phase = Phase::Ready;
            shard.next_sweep = self.now.mono;
            self.carry_out(number, started);
        }
    }

    /// Whether a shard is still reading its log.
    pub(super) fn is_loading(&self) -> bool {
        self.group_shards.values().any(|s| matches!(s.phase, Phase::Loading { .. }))
    }
}

impl OwnedGroupShard {
    fn is_due(&self, now: MonoMs) -> bool {
        matches!(self.phase, Phase::Ready) && self.deadline.is_some_and(|d| d <= now)
    }
}
