//! Whatever clients do, and however often the broker dies in between: what must hold all the same.
//!
//! A handful of actors, with all the mistakes that real clients make and some that only attackers do, against a shard whose
//! disk is slow and whose process is killed with some of the unflushed log lost. Checked along the way:
//!
//! * the state is what a replay of the log gives, compacted or not (invariant 1);
//! * an acknowledged commit is durable, and a fetch finds the latest one there was when it was asked (12, 13), whole (14);
//! * a commit by someone fenced never lands (16);
//! * a group's generation never decreases, and a new one is never one that was told before (24);
//! * whoever is told an assignment of a generation is told the one its leader gave (25);
//! * every request is answered exactly once, unless the process died first (37).

use std::collections::{BTreeMap, BTreeSet};

use pagemark_core::coordinator::*;
use pagemark_wire::ErrorCode;
use pagemark_wire::internal::{CoordinatorKey, OffsetCommit};
use pagemark_wire::types::{Generation, Offset, PartitionIndex};
use proptest::prelude::*;

use crate::driver::*;

const GROUPS: [&str; 2] = ["g", "h"];
const PARTITIONS: i32 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// What a well-behaved client would do next.
    Behave {
        group: usize,
        actor: usize,
    },
    Join {
        group: usize,
        actor: usize,
        known_id: bool,
        old: bool,
        protocol: usize,
    },
    Sync {
        group: usize,
        actor: usize,
        generation_off: i32,
    },
    Heartbeat {
        group: usize,
        actor: usize,
    },
    Leave {
        group: usize,
        actor: usize,
    },
    Commit {
        group: usize,
        actor: usize,
        generation_off: i32,
        partition: i32,
    },
    Reset {
        group: usize,
        partition: i32,
    },
    Fetch {
        group: usize,
    },
    DeleteTopic,
    DeleteGroup {
        group: usize,
    },
    DeleteOffset {
        group: usize,
        partition: i32,
    },
    Pass {
        ms: u64,
        stalled: bool,
    },
    Flush,
    /// How much of the unflushed log survives, in percent.
    Kill {
        kept: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let group = 0..GROUPS.len();
    // Actors 0 and 1 are dynamic, 2 and 3 static; two of each may act as one another would not expect.
    let actor = 0..4usize;
    let off = prop_oneof![8 => Just(0), 1 => -2..3];
    prop_oneof![
        40 => (group.clone(), actor.clone()).prop_map(|(group, actor)| Step::Behave { group, actor }),
        2 => (group.clone(), actor.clone(), any::<bool>(), any::<bool>(), 0..3usize)
            .prop_map(|(group, actor, known_id, old, protocol)| Step::Join { group, actor, known_id, old, protocol }),
        2 => (group.clone(), actor.clone(), off.clone())
            .prop_map(|(group, actor, generation_off)| Step::Sync { group, actor, generation_off }),
        2 => (group.clone(), actor.clone()).prop_map(|(group, actor)| Step::Heartbeat { group, actor }),
        1 => (group.clone(), actor.clone()).prop_map(|(group, actor)| Step::Leave { group, actor }),
        4 => (group.clone(), actor, off, 0..PARTITIONS).prop_map(|(group, actor, generation_off, partition)| {
            Step::Commit { group, actor, generation_off, partition }
        }),
        1 => (group.clone(), 0..PARTITIONS).prop_map(|(group, partition)| Step::Reset { group, partition }),
        2 => group.clone().prop_map(|group| Step::Fetch { group }),
        1 => Just(Step::DeleteTopic),
        1 => (group.clone(), 0..PARTITIONS).prop_map(|(group, partition)| Step::DeleteOffset { group, partition }),
        1 => group.prop_map(|group| Step::DeleteGroup { group }),
        3 => (prop_oneof![4 => 0..4_000u64, 1 => 5_000..70_000u64], any::<bool>(), any::<bool>())
            .prop_map(|(ms, a, b)| Step::Pass { ms, stalled: a && b }),
        8 => Just(Step::Flush),
        1 => (0..=100usize).prop_map(|kept| Step::Kill { kept }),
    ]
}

/// What an actor knows of its membership in a group.
#[derive(Debug, Clone, Default)]
struct Belief {
    next: Next,
    member_id: String,
    generation: i32,
    is_leader: bool,
    members: Vec<String>,
}

/// What a well-behaved client does next.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Next {
    #[default]
    Join,
    Sync,
    Commit,
    Wait,
}

/// What a request in flight was about.
#[derive(Debug, Clone)]
enum Asked {
    Join {
        group: usize,
        actor: usize,
    },
    Sync {
        group: usize,
        actor: usize,
        generation: i32,
        member: String,
    },
    Commit {
        group: usize,
        actor: Option<usize>,
        partition: i32,
        offset: i64,
    },
    /// With what there was to find, and where in the log.
    Fetch {
        group: usize,
        expected: Vec<(usize, i64)>,
    },
    Heartbeat {
        group: usize,
        actor: usize,
    },
    Other,
}

struct World {
    driver: Driver,
    beliefs: BTreeMap<(usize, usize), Belief>,
    asked: BTreeMap<u64, Asked>,
    next_offset: i64,
    /// By group and partition: what was stored, with its place in the log; -1 for a deletion.
    history: BTreeMap<(usize, i32), Vec<(usize, i64)>>,
    /// How much of the log is in `history`.
    seen: usize,
    /// Generations told, by group, and the last one seen in the state.
    told: BTreeMap<usize, i32>,
    /// By group and generation: the leader's assignment, as first given out.
    assignments: BTreeMap<(usize, i32), BTreeMap<String, Vec<u8>>>,
}

impl World {
    fn new(delay_ms: u64) -> World {
        let settings = GroupSettings { group_initial_rebalance_delay_ms: delay_ms, group_max_size: 3, ..settings() };
        let mut driver = Driver::new(settings);
        driver.flush_at_once = false;
        World {
            driver,
            beliefs: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_offset: 1_000,
            history: BTreeMap::new(),
            seen: 0,
            told: BTreeMap::new(),
            assignments: BTreeMap::new(),
        }
    }

    fn belief(&self, group: usize, actor: usize) -> Belief {
        self.beliefs.get(&(group, actor)).cloned().unwrap_or_default()
    }

    fn instance(actor: usize) -> Option<String> {
        (actor >= 2).then(|| format!("i{actor}"))
    }

    fn act(&mut self, step: &Step) {
        self.act_quietly(step);
        assert!(self.read_log().is_empty(), "an offset changes by a commit or a deletion, by nothing else (13)");
        self.take_answers();
        self.check_generations();
    }

    fn act_quietly(&mut self, step: &Step) {
        match *step {
            Step::Behave { group, actor } => self.behave(group, actor),
            Step::Join { group, actor, known_id, old, protocol: offered } => {
                self.join(group, actor, known_id, old, offered)
            }
            Step::Sync { group, actor, generation_off } => self.sync(group, actor, generation_off),
            Step::Heartbeat { group, actor } => {
                let belief = self.belief(group, actor);
                self.ask(
                    Asked::Heartbeat { group, actor },
                    Request::Heartbeat(HeartbeatRequest {
                        group_id: GROUPS[group].into(),
                        generation: Generation(belief.generation),
                        member_id: belief.member_id,
                        group_instance_id: World::instance(actor),
                    }),
                );
            }
            Step::Leave { group, actor } => {
                let entry = LeavingMember {
                    member_id: self.belief(group, actor).member_id,
                    group_instance_id: World::instance(actor),
                    reason: None,
                };
                let request = LeaveRequest { group_id: GROUPS[group].into(), members: vec![entry] };
                self.ask(Asked::Other, Request::Leave(request));
            }
            Step::Commit { group, actor, generation_off, partition } => {
                let belief = self.belief(group, actor);
                let generation = belief.generation + generation_off;
                self.commit(group, Some(actor), &belief.member_id, generation, partition);
            }
            Step::Reset { group, partition } => self.commit(group, None, "", -1, partition),
            Step::Fetch { group } => self.fetch(group),
            Step::DeleteTopic => {
                // The topic of partition 2 alone, so that the other commits have long lives.
                let effects = self.driver.shard.topic_deleted(self.driver.now, topic_id("t2"), "t2");
                self.driver.apply(effects);
                for (group, partition, offset) in self.read_log() {
                    assert_eq!((partition, offset), (2, -1), "of group {group}: only what was deleted is (13)");
                }
            }
            Step::DeleteGroup { group } => self.delete_group(group),
            Step::DeleteOffset { group, partition } => {
                let partitions = vec![(format!("t{partition}"), PartitionIndex(0))];
                let request = DeleteOffsetsRequest { group_id: GROUPS[group].into(), partitions };
                self.ask(Asked::Other, Request::DeleteOffsets(request));
                let landed = self.read_log();
                assert!(landed.is_empty() || landed == [(group, partition, -1)], "only what was asked for (13)");
            }
            Step::Pass { ms, stalled } => self.driver.pass_with(ms, stalled),
            Step::Flush => self.driver.flush(),
            Step::Kill { kept } => self.kill(kept),
        }
    }

    /// All of it goes, or nothing while anybody is there; then the name begins anew, generations included.
    fn delete_group(&mut self, group: usize) {
        self.driver.flush();
        self.take_answers();
        let state = self.describe_now(group).state;
        let held = (0..PARTITIONS).filter(|partition| self.committed(group, *partition).1 != -1).count();
        self.ask(Asked::Other, Request::DeleteGroup(DeleteGroupRequest { group_id: GROUPS[group].into() }));
        let gone = self.read_log();
        assert!(gone.iter().all(|(of, _, offset)| (*of, *offset) == (group, -1)), "only its offsets go (13)");
        match state {
            GroupState::Empty | GroupState::Dead => {
                assert_eq!(gone.len(), held, "all of them");
                self.told.remove(&group);
                self.assignments.retain(|(of, _), _| *of != group);
            }
            _ => assert_eq!(gone, [], "it has members"),
        }
    }

    /// Takes the offsets written since the last time into the history: group, partition, offset.
    fn read_log(&mut self) -> Vec<(usize, i32, i64)> {
        let mut found = Vec::new();
        for at in self.seen..self.driver.log.len() {
            let record = &self.driver.log[at];
            if let Ok(CoordinatorKey::OffsetCommit { group, topic, .. }) = CoordinatorKey::parse(&record.key) {
                let group = GROUPS.iter().position(|name| *name == group).expect("the shard wrote it");
                let partition = topic[1..].parse().expect("the shard wrote it");
                let offset = record
                    .value
                    .as_ref()
                    .map_or(-1, |value| OffsetCommit::parse(value).expect("the shard wrote it").offset.0);
                self.history.entry((group, partition)).or_default().push((at, offset));
                found.push((group, partition, offset));
            }
        }
        self.seen = self.driver.log.len();
        found
    }

    /// What a group should find committed for a partition now, and from where in the log on.
    fn committed(&self, group: usize, partition: i32) -> (usize, i64) {
        let history = self.history.get(&(group, partition));
        history.and_then(|history| history.last()).copied().unwrap_or((0, -1))
    }

    fn behave(&mut self, group: usize, actor: usize) {
        match self.belief(group, actor).next {
            Next::Join => self.join(group, actor, true, false, 1),
            Next::Sync => self.sync(group, actor, 0),
            Next::Commit => self.act_quietly(&Step::Commit {
                group,
                actor,
                generation_off: 0,
                partition: actor as i32 % PARTITIONS,
            }),
            Next::Wait => self.act_quietly(&Step::Heartbeat { group, actor }),
        }
    }

    fn join(&mut self, group: usize, actor: usize, known_id: bool, old: bool, offered: usize) {
        let member = if known_id { self.belief(group, actor).member_id } else { String::new() };
        let offers = [&["a"][..], &["a", "b"], &["b", "a"]];
        let protocols = offers[offered].iter().map(|name| protocol(name, "t")).collect();
        let request = JoinRequest {
            group_instance_id: World::instance(actor),
            requires_known_member_id: !old,
            supports_skip_assignment: !old,
            protocols,
            fresh_member_uuid: self.driver.uuid(),
            ..consumer(GROUPS[group], &member)
        };
        self.beliefs.entry((group, actor)).or_default().next = Next::Wait;
        self.ask(Asked::Join { group, actor }, Request::Join(request));
    }

    fn sync(&mut self, group: usize, actor: usize, generation_off: i32) {
        let belief = self.belief(group, actor);
        let generation = belief.generation + generation_off;
        // Every member's assignment says whose it is and which try of the leader this was.
        let stamp = self.next_offset;
        self.next_offset += 1;
        let assigned: Vec<(String, String)> = match belief.is_leader {
            true => belief.members.iter().map(|m| (m.clone(), format!("{m} {generation} {stamp}"))).collect(),
            false => Vec::new(),
        };
        let assigned: Vec<(&str, &str)> = assigned.iter().map(|(m, a)| (m.as_str(), a.as_str())).collect();
        let mut request = sync(GROUPS[group], &belief.member_id, generation, &assigned);
        request.group_instance_id = World::instance(actor);
        self.beliefs.entry((group, actor)).or_default().next = Next::Wait;
        self.ask(Asked::Sync { group, actor, generation, member: belief.member_id }, Request::Sync(request));
    }

    fn commit(&mut self, group: usize, actor: Option<usize>, member: &str, generation: i32, partition: i32) {
        let offset = self.next_offset;
        self.next_offset += 1;
        let topic = format!("t{partition}");
        let mut request = commit(GROUPS[group], member, generation, vec![to_commit(&topic, 0, offset)]);
        request.group_instance_id = actor.and_then(World::instance);
        let may_land = self.may_commit(group, member, request.group_instance_id.as_deref(), generation);
        self.ask(Asked::Commit { group, actor, partition, offset }, Request::Commit(request));
        let landed = self.read_log();
        assert!(landed.is_empty() || landed == [(group, partition, offset)]);
        assert!(may_land || landed.is_empty(), "fenced never lands (16): {member} of generation {generation}");
    }

    /// By the group's own description: is this a member of the present generation, or a caller without any in an empty group?
    fn may_commit(&mut self, group: usize, member: &str, instance: Option<&str>, generation: i32) -> bool {
        let mut probe = self.describe_now(group);
        if probe.error == ErrorCode::GroupIdNotFound || probe.state == GroupState::Empty {
            return generation < 0;
        }
        probe
            .members
            .retain(|m| m.member_id == member && (instance.is_none() || m.group_instance_id.as_deref() == instance));
        let current = self.recorded_generation(group);
        !probe.members.is_empty() && Some(generation) == current && probe.state != GroupState::CompletingRebalance
    }

    /// A description as of now, durable or not.
    fn describe_now(&mut self, group: usize) -> DescribeAnswer {
        let mut answer = DescribeAnswer::error(ErrorCode::GroupIdNotFound, String::new(), GroupState::Dead);
        let found = self.driver.shard.summaries().find(|summary| summary.group_id == GROUPS[group]);
        if let Some(state) = found.map(|summary| summary.state) {
            answer.error = ErrorCode::None;
            answer.state = state;
            answer.members = self.driver.members(GROUPS[group]);
        }
        answer
    }

    /// The generation that the log's last record of the group names.
    fn recorded_generation(&self, group: usize) -> Option<i32> {
        self.driver.recorded(GROUPS[group]).map(|metadata| metadata.generation.0)
    }

    fn fetch(&mut self, group: usize) {
        let topics = (0..PARTITIONS).map(|partition| FetchTopic {
            name: format!("t{partition}"),
            current_id: Some(topic_id(&format!("t{partition}"))),
            partitions: vec![PartitionIndex(0)],
        });
        let request = FetchOffsetsRequest {
            group_id: GROUPS[group].into(),
            topics: Some(topics.collect()),
            require_stable: false,
        };
        let expected = (0..PARTITIONS).map(|partition| self.committed(group, partition)).collect();
        self.ask(Asked::Fetch { group, expected }, Request::Fetch(request));
    }

    fn kill(&mut self, kept: usize) {
        let (durable, end) = (self.driver.durable, self.driver.log.len());
        let keep = durable + (end - durable) * kept / 100;
        // What an atomic batch says is there as a whole or not at all.
        let keep = self.driver.batch_ends.iter().copied().filter(|at| *at <= keep).max().unwrap_or(0).max(durable);
        self.driver.restart(keep);
        self.asked.clear();
        // Whoever waited has lost its connection and joins again.
        self.beliefs.values_mut().filter(|b| b.next == Next::Wait).for_each(|belief| belief.next = Next::Join);
        self.seen = keep;
        self.history.values_mut().for_each(|history| history.retain(|(at, _)| *at < keep));
        self.driver.assert_state_is_replay();
        self.check_offsets();
    }

    fn ask(&mut self, asked: Asked, request: Request) {
        let token = self.driver.send(request);
        self.asked.insert(token, asked);
    }

    fn take_answers(&mut self) {
        for (token, answer) in std::mem::take(&mut self.driver.answers) {
            let asked = self.asked.remove(&token).expect("only what was asked is answered");
            self.learn(asked, answer);
        }
    }

    fn learn(&mut self, asked: Asked, answer: Answer) {
        match (asked, answer) {
            (Asked::Join { group, actor }, Answer::Join(join)) => self.learn_join(group, actor, join),
            (Asked::Sync { group, actor, generation, member }, Answer::Sync(sync)) => {
                self.learn_error(group, actor, sync.error, Next::Commit);
                if sync.error.is_none() {
                    self.check_assignment(group, generation, &member, &sync.assignment);
                }
            }
            (Asked::Heartbeat { group, actor }, Answer::Heartbeat(error)) => {
                let next = self.belief(group, actor).next;
                self.learn_error(group, actor, error, next);
            }
            (Asked::Commit { group, actor, partition, offset }, Answer::Commit(commit)) => {
                let error = commit.offsets[0].error;
                if error.is_none() {
                    let durable = self.driver.durable;
                    let found = self.history[&(group, partition)].iter().find(|(at, o)| *o == offset && *at < durable);
                    assert!(found.is_some(), "acknowledged is durable (12): {group}-{partition} at {offset}");
                }
                if let Some(actor) = actor {
                    let next = self.belief(group, actor).next;
                    self.learn_error(group, actor, error, next);
                }
            }
            (Asked::Fetch { group, expected }, Answer::Fetch(fetch)) => {
                for ((partition, topic), (at, expected)) in fetch.topics.iter().enumerate().zip(expected) {
                    let found = &topic.partitions[0];
                    assert_eq!(found.offset.0, expected, "{group}-{partition} (12)");
                    let durable = at < self.driver.durable || (at, expected) == (0, -1);
                    assert!(durable, "{group}-{partition}: what is shown is durable (G-8)");
                    if found.offset != Offset::NONE {
                        assert_eq!(found.metadata, format!("at {}", found.offset), "of one commit (14)");
                    }
                }
            }
            _ => {}
        }
    }

    fn learn_join(&mut self, group: usize, actor: usize, join: JoinAnswer) {
        if join.error == ErrorCode::MemberIdRequired {
            assert!(!join.member_id.is_empty(), "Q-15");
        }
        let belief = self.beliefs.entry((group, actor)).or_default();
        belief.member_id.clone_from(&join.member_id);
        if !join.error.is_none() {
            return self.learn_error(group, actor, join.error, Next::Join);
        }
        belief.next = Next::Sync;
        belief.generation = join.generation.0;
        belief.is_leader = join.leader == join.member_id;
        belief.members = join.members.into_iter().map(|member| member.member_id).collect();
        assert!(belief.is_leader || belief.members.is_empty(), "only the leader gets the members (Q-16)");
        let told = self.told.entry(group).or_default();
        *told = (*told).max(join.generation.0);
    }

    /// As clients do: join again, under the old id if only the generation has passed by.
    fn learn_error(&mut self, group: usize, actor: usize, error: ErrorCode, otherwise: Next) {
        let belief = self.beliefs.entry((group, actor)).or_default();
        belief.next = match error {
            ErrorCode::None => otherwise,
            ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => Next::Join,
            _ => {
                belief.member_id.clear();
                Next::Join
            }
        };
    }

    /// All who are told an assignment of a generation are told parts of the same one, each the same every time (25).
    fn check_assignment(&mut self, group: usize, generation: i32, member: &str, assignment: &[u8]) {
        let told = self.assignments.entry((group, generation)).or_default();
        let first = told.entry(member.to_owned()).or_insert_with(|| assignment.to_vec());
        assert_eq!(first, assignment, "{member} is told the same each time (invariant 25)");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the leaders here give text");
        let stamps: BTreeSet<String> =
            told.values().filter_map(|bytes| text(bytes).rsplit_once(' ').map(|(_, stamp)| stamp.to_owned())).collect();
        assert!(stamps.len() <= 1, "one assignment a generation (25): {told:?}");
        if !assignment.is_empty() {
            assert!(text(assignment).contains(&format!(" {generation} ")), "of this generation (25)");
        }
    }

    /// What was acknowledged is durable, and what is durable survives: so it is enough to find what the log has (12).
    fn check_offsets(&mut self) {
        for (group, name) in GROUPS.iter().enumerate() {
            for partition in 0..PARTITIONS {
                let found = self.driver.fetch(name, &format!("t{partition}"), &[0])[0].offset.0;
                assert_eq!(found, self.committed(group, partition).1, "{group}-{partition} (invariants 12 and 13)");
            }
        }
    }

    fn check_generations(&mut self) {
        for group in 0..GROUPS.len() {
            let told = self.told.get(&group).copied().unwrap_or(0);
            let current = self.recorded_generation(group).unwrap_or(0);
            assert!(current >= told, "{group}: generation {current} after {told} was told (24)");
        }
    }

    /// Time goes on and the disk catches up: then everybody has an answer.
    fn settle(&mut self) {
        self.driver.flush_at_once = true;
        self.driver.flush();
        for _ in 0..20 {
            self.driver.pass(60_000);
        }
        self.take_answers();
        assert!(self.asked.is_empty(), "unanswered (invariant 37): {:?}", self.asked);
        assert!(self.driver.shard.abandon(ErrorCode::CoordinatorNotAvailable).is_empty());
        self.driver.assert_state_is_replay();
        self.check_offsets();
        for summary in self.driver.shard.summaries() {
            assert_eq!((summary.state, summary.members), (GroupState::Empty, 0), "everybody has long gone silent");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(
        delay_ms in prop_oneof![Just(0u64), Just(3_000)],
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(delay_ms);
        for step in &steps {
            world.act(step);
        }
        world.driver.assert_state_is_replay();
        world.settle();
    }

    #[test]
    fn any_bytes_may_be_replayed_and_the_shard_goes_on(
        records in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..24), prop::option::of(prop::collection::vec(any::<u8>(), 0..80))),
            0..40,
        ),
        types in prop::collection::vec(1..4u8, 40),
        versions in prop::collection::vec(0..6u8, 40),
    ) {
        let mut driver = Driver::quick();
        for (at, (mut key, value)) in records.into_iter().enumerate() {
            key.splice(0..0, [0, types[at], 0, 1, b'g']);
            let value = value.map(|mut value| {
                value.splice(0..0, [0, versions[at]]);
                value
            });
            driver.replay(&key, value.as_deref());
        }
        driver.restart_all();
        driver.join(JoinRequest { requires_known_member_id: true, ..consumer("g", "") });
        driver.commit_one("g", "", -1, 3);
        driver.describe("g");
        driver.list(&[], &[]);
        driver.assert_state_is_replay();
    }
}
