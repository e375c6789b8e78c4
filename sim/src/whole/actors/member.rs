//! A member of the group that consumes, by hand: joins, reads from the committed offset on, processes, commits, and now and
//! then leaves, dies or stalls.
//!
//! Deliberately not here: the project's own consumer; this one does nothing that a history does not show.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::consumer_protocol::{Assignment, MemberSubscription, Partitions};
use pagemark_wire::messages::join_group_request::JoinGroupRequestProtocol;
use pagemark_wire::messages::leave_group_request::MemberIdentity;
use pagemark_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use pagemark_wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, group_id, text,
};

use uuid::Uuid;

use super::{BILLING, ORDERS, pause};
use crate::history::{Bookmark, What};
use crate::rng::Rng;
use crate::whole::calls::{self, Committer, PATIENCE, Position};
use crate::whole::host::now_us;
use crate::whole::link::Link;
use crate::whole::world::{Credentials, World};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_MEMBER_ID: i16 = 25;
const MEMBER_ID_REQUIRED: i16 = 79;
const FENCED_INSTANCE_ID: i16 = 82;
/// The coordinator loads, or cannot work: ask again.
const NOT_NOW: [i16; 3] = [14, 15, 16];

struct Member {
    world: Rc<World>,
    link: Link,
    rng: Rng,
    id: String,
    instance: Option<String>,
    generation: i32,
    /// The next offset to read, by partition.
    positions: BTreeMap<i32, i64>,
    /// Offsets that were processed and not committed.
    uncommitted: BTreeMap<i32, i64>,
    /// The last moment at which the broker certainly took this member for one, with no rebalance to take part in.
    heard_us: u64,
    /// The last of the broker's lives that certainly knew this member.
    known_in: u64,
    /// When the last heartbeat was sent.
    beat_us: u64,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stay,
    Rejoin,
}

/// Consumes until everything has been said.
pub async fn run(world: Rc<World>, name: String, rng: Rng) {
    let instance = world.options.static_members.then(|| name.clone());
    let link = Link::new(&world, name);
    let mut member = Member {
        world,
        link,
        rng,
        id: String::new(),
        instance,
        generation: -1,
        positions: BTreeMap::new(),
        uncommitted: BTreeMap::new(),
        heard_us: 0,
        known_in: 0,
        beat_us: 0,
    };
    while !member.world.over() {
        if member.enter().await {
            while !member.world.over() && member.round().await == Next::Stay {}
        } else {
            pause(&mut member.rng, 200).await;
        }
    }
}

impl Member {
    fn session_us(&self) -> u64 {
        self.world.options.session_ms * 1_000
    }

    fn known_since(&mut self, begun_us: u64) {
        self.heard_us = begun_us;
        self.known_in = self.world.lives.get();
    }

    /// Joins the group's next generation and learns where to begin.
    async fn enter(&mut self) -> bool {
        let begun = now_us();
        let Some(joined) = self.join().await else { return false };
        self.known_since(begun);
        self.generation = joined.generation_id;
        self.world.generation.set(self.world.generation.get().max(self.generation));
        let (group, member) = (BILLING.to_owned(), self.id.clone());
        self.world.tell(&self.link.name, begun, What::Joined { group, member, generation: self.generation });
        let Some(partitions) = self.sync(&joined).await else { return false };
        self.uncommitted.clear();
        self.positions.clear();
        let places: Vec<_> = partitions.iter().map(|partition| (ORDERS.to_owned(), *partition)).collect();
        loop {
            if let Ok(Some(found)) = calls::look(&self.world, &mut self.link, BILLING, &places).await {
                let start = |bookmark: Option<Bookmark>| bookmark.map_or(0, |bookmark| bookmark.offset);
                self.positions = partitions.iter().copied().zip(found.into_iter().map(start)).collect();
                return true;
            }
            if self.world.over() || self.heartbeat().await == Next::Rejoin {
                return false;
            }
            pause(&mut self.rng, 100).await;
        }
    }

    async fn join(&mut self) -> Option<JoinGroupResponse> {
        let subscription = MemberSubscription { topics: vec![ORDERS.to_owned()], ..MemberSubscription::default() };
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(subscription.to_bytes().expect("a short name"));
        let session_ms = self.world.options.session_ms;
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(BILLING))
            .with_session_timeout_ms(session_ms as i32)
            .with_rebalance_timeout_ms(2 * session_ms as i32)
            .with_member_id(text(self.id.clone()))
            .with_group_instance_id(self.instance.clone().map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let patience = Duration::from_millis(2 * session_ms) + PATIENCE;
        let answer = self.link.ask(9, &request, patience).await.ok()?;
        match answer.error_code {
            0 => {
                self.id = answer.member_id.to_string();
                return Some(answer);
            }
            MEMBER_ID_REQUIRED => self.id = answer.member_id.to_string(),
            UNKNOWN_MEMBER_ID | FENCED_INSTANCE_ID => self.id.clear(),
            code if NOT_NOW.contains(&code) => {}
            code => self.world.accuse(27, format!("{}: JoinGroup was answered with {code}", self.link.name)),
        }
        None
    }

    /// Hands out the partitions if it is the leader, and gives those it has itself.
    async fn sync(&mut self, joined: &JoinGroupResponse) -> Option<Vec<i32>> {
        let begun = now_us();
        let leads = joined.leader == joined.member_id && !joined.skip_assignment;
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(BILLING))
            .with_generation_id(self.generation)
            .with_member_id(text(self.id.clone()))
            .with_group_instance_id(self.instance.clone().map(text))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(if leads { self.assign(joined) } else { Vec::new() });
        let patience = Duration::from_millis(2 * self.world.options.session_ms) + PATIENCE;
        let answer = self.link.ask(5, &request, patience).await.ok()?;
        if answer.error_code != 0 {
            self.after(answer.error_code);
            return None;
        }
        self.known_since(begun);
        let assignment = Assignment::parse(&answer.assignment).ok()?;
        let made_in = assignment.user_data.as_ref().and_then(|data| data.first_chunk()).map(|b| i32::from_be_bytes(*b));
        let partitions = assignment.partitions.get(ORDERS).cloned().unwrap_or_default();
        let places: Vec<_> = partitions.iter().map(|partition| (ORDERS.to_owned(), *partition)).collect();
        let what = What::Assigned {
            group: BILLING.to_owned(),
            // A new process takes a static member's place within a generation.
            member: self.instance.clone().unwrap_or_else(|| self.id.clone()),
            generation: self.generation,
            made_in: made_in.unwrap_or(self.generation),
            partitions: places.clone(),
        };
        self.world.tell(&self.link.name, begun, what);
        self.world.credentials.borrow_mut().push(Credentials {
            member: self.id.clone(),
            instance: self.instance.clone(),
            generation: self.generation,
            partitions: places,
        });
        Some(partitions)
    }

    fn assign(&self, joined: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        let mut members: Vec<_> = joined.members.iter().map(|member| member.member_id.clone()).collect();
        members.sort();
        let count = members.len() as i32;
        let one = |(at, member)| {
            let mine = (0..self.world.options.partitions).filter(|p| p % count == at as i32).collect();
            let stamp = Bytes::copy_from_slice(&self.generation.to_be_bytes());
            let partitions = Partitions::from([(ORDERS.to_owned(), mine)]);
            let assignment = Assignment { partitions, user_data: Some(stamp) };
            SyncGroupRequestAssignment::default()
                .with_member_id(member)
                .with_assignment(assignment.to_bytes().expect("a short name"))
        };
        members.into_iter().enumerate().map(one).collect()
    }

    /// One turn of the loop that a consumer's application has.
    async fn round(&mut self) -> Next {
        pause(&mut self.rng, 100).await;
        if self.world.stormy() && self.rng.chance(self.world.options.churn, 1_000) {
            match self.rng.below(3) {
                0 => return self.leave().await,
                1 => return self.die().await,
                _ => pause(&mut self.rng, 2 * self.world.options.session_ms).await,
            }
        }
        if now_us() - self.beat_us > self.session_us() / 4 && self.heartbeat().await == Next::Rejoin {
            return Next::Rejoin;
        }
        let Some(topic) = self.world.topic(ORDERS) else { return Next::Stay };
        for (partition, position) in self.positions.clone() {
            let Ok(found) = calls::fetch(&self.world, &mut self.link, topic, partition, position).await else {
                continue;
            };
            if found.code == OFFSET_OUT_OF_RANGE {
                self.begin_where_the_log_does(topic, partition, position).await;
            }
            for (offset, value) in found.records {
                let (group, place) = (BILLING.to_owned(), calls::place(topic, partition));
                self.world.tell(&self.link.name, now_us(), What::Processed { group, place, offset, value });
                self.positions.insert(partition, offset + 1);
                self.uncommitted.insert(partition, offset + 1);
            }
        }
        if self.uncommitted.is_empty() { Next::Stay } else { self.commit().await }
    }

    /// What nobody has committed begins where the log does, and no log begins earlier than it did.
    async fn begin_where_the_log_does(&mut self, topic: Uuid, partition: i32, position: i64) {
        if let Ok(Some((start, _))) = calls::bounds(&self.world, &mut self.link, ORDERS, topic, partition).await {
            if start <= position {
                let text = format!("{}: {position} of {ORDERS}-{partition} is out of range", self.link.name);
                self.world.accuse(7, text);
            }
            self.positions.insert(partition, start);
        }
    }

    async fn commit(&mut self) -> Next {
        let who = Committer {
            group: BILLING.to_owned(),
            member: self.id.clone(),
            instance: self.instance.clone(),
            generation: self.generation,
        };
        let position = |(partition, offset): (&i32, &i64)| -> Position {
            let metadata = format!("{}-{}", self.link.name, self.world.number());
            (ORDERS.to_owned(), *partition, Bookmark { offset: *offset, metadata })
        };
        let positions: Vec<_> = self.uncommitted.iter().map(position).collect();
        let Ok(codes) = calls::commit(&self.world, &mut self.link, &who, &positions).await else { return Next::Stay };
        if codes.iter().all(|code| *code == 0) {
            self.known_in = self.world.lives.get();
            self.uncommitted.clear();
            return Next::Stay;
        }
        let worst = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
        self.after(worst)
    }

    async fn heartbeat(&mut self) -> Next {
        let begun = now_us();
        self.beat_us = begun;
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(BILLING))
            .with_generation_id(self.generation)
            .with_member_id(text(self.id.clone()))
            .with_group_instance_id(self.instance.clone().map(text));
        let Ok(answer) = self.link.ask(4, &request, PATIENCE).await else { return Next::Stay };
        // While a coordinator loads, a heartbeat is answered well whoever sends it: only a life that knows the member counts.
        if answer.error_code == 0 && self.known_in == self.world.lives.get() {
            self.heard_us = begun;
        }
        if answer.error_code == UNKNOWN_MEMBER_ID {
            let what = What::Expelled {
                group: BILLING.to_owned(),
                member: self.id.clone(),
                heard_us_ago: now_us() - self.heard_us,
                session_us: self.session_us(),
            };
            self.world.tell(&self.link.name, begun, what);
        }
        self.after(answer.error_code)
    }

    /// What an error code means to a member.
    fn after(&mut self, code: i16) -> Next {
        match code {
            0 => Next::Stay,
            code if NOT_NOW.contains(&code) => Next::Stay,
            UNKNOWN_MEMBER_ID | FENCED_INSTANCE_ID => {
                self.id.clear();
                Next::Rejoin
            }
            _ => Next::Rejoin,
        }
    }

    async fn leave(&mut self) -> Next {
        let me = MemberIdentity::default()
            .with_member_id(text(self.id.clone()))
            .with_group_instance_id(self.instance.clone().map(text));
        let request = LeaveGroupRequest::default().with_group_id(group_id(BILLING)).with_members(vec![me]);
        let _ = self.link.ask(5, &request, PATIENCE).await;
        self.id.clear();
        pause(&mut self.rng, 1_000).await;
        Next::Rejoin
    }

    /// As a process that is killed: nobody is told, and whoever comes next knows nothing.
    async fn die(&mut self) -> Next {
        self.link.cut();
        self.id.clear();
        pause(&mut self.rng, 2 * self.world.options.session_ms).await;
        Next::Rejoin
    }
}
