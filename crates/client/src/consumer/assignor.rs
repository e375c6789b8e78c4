//! Who reads what: the assignors, which a group's leader runs for all its members.
//!
//! Pure: the same subscriptions give the same assignment, whoever computes it. Deliberately not here: racks, and the
//! protocol around it.

use std::collections::{BTreeMap, BTreeSet};

use pagemark_wire::consumer_protocol::MemberSubscription;

use crate::partition::TopicPartition;

/// How a group shares its partitions. A group uses one that all its members offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// `range`: of each topic, members in order get neighbouring partitions. On each rebalance everybody gives up everything.
    Range,
    /// `cooperative-sticky`: evenly, and what a member has it keeps. On a rebalance only what moves is given up.
    CooperativeSticky,
}

impl Assignor {
    /// Kafka's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// By Kafka's name.
    pub(super) fn from_name(name: &str) -> Option<Assignor> {
        [Assignor::Range, Assignor::CooperativeSticky].into_iter().find(|assignor| assignor.name() == name)
    }
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its place in the order: the instance id of a static member, else the member id.
    pub(super) order: (bool, String),
    pub(super) subscription: MemberSubscription,
}

/// Members by their ids.
pub(super) type Members = BTreeMap<String, Member>;
/// What each member gets.
pub(super) type Assignments = BTreeMap<String, BTreeSet<TopicPartition>>;

/// Shares the partitions of the topics, given with their numbers of partitions. Every member is in the result.
pub(super) fn assign(assignor: Assignor, members: &Members, topics: &BTreeMap<String, i32>) -> Assignments {
    match assignor {
        Assignor::Range => range(members, topics),
        Assignor::CooperativeSticky => cooperative_sticky(members, topics),
    }
}

fn empty(members: &Members) -> Assignments {
    members.keys().map(|id| (id.clone(), BTreeSet::new())).collect()
}

fn subscribes(member: &Member, topic: &str) -> bool {
    member.subscription.topics.iter().any(|subscribed| subscribed == topic)
}

fn range(members: &Members, topics: &BTreeMap<String, i32>) -> Assignments {
    let mut assignments = empty(members);
    for (topic, partitions) in topics {
        let mut readers: Vec<(&String, &Member)> = members.iter().filter(|(_, m)| subscribes(m, topic)).collect();
        readers.sort_by(|(a, left), (b, right)| (&left.order, a).cmp(&(&right.order, b)));
        let count = readers.len() as i32;
        let mut next = 0;
        for ((id, _), at) in readers.into_iter().zip(0..) {
            let share = partitions / count + i32::from(at < partitions % count);
            let own = (next..next + share).map(|partition| TopicPartition::new(topic, partition));
            assignments.entry(id.clone()).or_default().extend(own);
            next += share;
        }
    }
    assignments
}

fn cooperative_sticky(members: &Members, topics: &BTreeMap<String, i32>) -> Assignments {
    let owners = owners(members, topics);
    let mut shares = Shares::new(members);
    for (partition, owner) in &owners {
        shares.give(owner, partition);
    }
    let all = topics.iter().flat_map(|(topic, count)| (0..*count).map(|p| TopicPartition::new(topic, p)));
    for partition in all.filter(|partition| !owners.contains_key(partition)) {
        if let Some(least) = shares.least(&partition.topic) {
            shares.own[least].insert(partition);
        }
    }
    shares.balance();
    // What another member still holds is withheld until that one has given it up and joined again.
    let mut assignments = Assignments::new();
    for (id, mut own) in shares.ids.into_iter().zip(shares.own) {
        own.retain(|partition| owners.get(partition).is_none_or(|owner| owner == id));
        assignments.insert(id.clone(), own);
    }
    assignments
}

/// Who holds what, as the members say. Of several who claim a partition the one of the latest generation has it; of two of
/// the same generation neither does, since nobody knows which.
fn owners(members: &Members, topics: &BTreeMap<String, i32>) -> BTreeMap<TopicPartition, String> {
    let mut claims: BTreeMap<TopicPartition, Vec<(i32, &String)>> = BTreeMap::new();
    for (id, member) in members {
        for (topic, partitions) in &member.subscription.owned {
            let count = topics.get(topic).copied().unwrap_or(0);
            let there = partitions.iter().filter(|p| subscribes(member, topic) && (0..count).contains(*p));
            for partition in there.collect::<BTreeSet<_>>() {
                let claim = (member.subscription.generation, id);
                claims.entry(TopicPartition::new(topic, *partition)).or_default().push(claim);
            }
        }
    }
    let latest = |mut claims: Vec<(i32, &String)>| {
        claims.sort();
        let (generation, owner) = claims.pop()?;
        let is_disputed = claims.last().is_some_and(|(other, _)| *other == generation);
        (!is_disputed).then(|| owner.clone())
    };
    claims.into_iter().filter_map(|(partition, claims)| Some((partition, latest(claims)?))).collect()
}

/// Who gets what, while it is being shared. Members go by their place in the order of their ids.
struct Shares<'a> {
    ids: Vec<&'a String>,
    own: Vec<BTreeSet<TopicPartition>>,
    /// Who subscribes to a topic.
    readers: BTreeMap<&'a str, BTreeSet<usize>>,
}

impl<'a> Shares<'a> {
    fn new(members: &'a Members) -> Shares<'a> {
        let mut readers: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (at, member) in members.values().enumerate() {
            for topic in &member.subscription.topics {
                readers.entry(topic).or_default().insert(at);
            }
        }
        Shares { ids: members.keys().collect(), own: vec![BTreeSet::new(); members.len()], readers }
    }

    fn give(&mut self, id: &String, partition: &TopicPartition) {
        if let Ok(at) = self.ids.binary_search(&id) {
            self.own[at].insert(partition.clone());
        }
    }

    /// Of those who read a topic the one with the fewest partitions, and of several the first.
    fn least(&self, topic: &str) -> Option<usize> {
        self.readers.get(topic)?.iter().copied().min_by_key(|at| (self.own[*at].len(), *at))
    }

    /// Moves partitions from members with many to members with few, as long as that makes it more even. Each move lowers the
    /// sum of the squares, so it ends.
    fn balance(&mut self) {
        while let Some((from, partition, to)) = self.find_move() {
            self.own[from].remove(&partition);
            self.own[to].insert(partition);
        }
    }

    /// A partition that is to move, from whom and to whom. Whether it may depends on its topic alone.
    fn find_move(&self) -> Option<(usize, TopicPartition, usize)> {
        let mut least = BTreeMap::new();
        let mut by_load: Vec<usize> = (0..self.own.len()).collect();
        by_load.sort_by_key(|at| std::cmp::Reverse(self.own[*at].len()));
        for from in by_load {
            let own = &self.own[from];
            let mut topic = None;
            // The last ones first, so that what was given first stays.
            for partition in own.iter().rev() {
                if topic.replace(&*partition.topic) == Some(&*partition.topic) {
                    continue; // judged already
                }
                let to = *least.entry(&*partition.topic).or_insert_with(|| self.least(&partition.topic));
                if let Some(to) = to.filter(|to| own.len() >= self.own[*to].len() + 2) {
                    return Some((from, partition.clone(), to));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use pagemark_wire::consumer_protocol::Partitions;

    use super::*;

    /// Members given as (id, topics, owned partitions of topic "t", generation).
    fn members(given: &[(&str, &[&str], &[i32], i32)]) -> Members {
        let member = |(id, topics, owned, generation): &(&str, &[&str], &[i32], i32)| {
            let mut subscription = MemberSubscription { generation: *generation, ..MemberSubscription::default() };
            subscription.topics = topics.iter().map(ToString::to_string).collect();
            if !owned.is_empty() {
                subscription.owned = Partitions::from([("t".to_owned(), owned.to_vec())]);
            }
            ((*id).to_owned(), Member { order: (true, (*id).to_owned()), subscription })
        };
        given.iter().map(member).collect()
    }

    fn topics(given: &[(&str, i32)]) -> BTreeMap<String, i32> {
        given.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
    }

    fn shown(assignments: &Assignments) -> String {
        let one = |(id, own): (&String, &BTreeSet<TopicPartition>)| {
            let own: Vec<String> = own.iter().map(ToString::to_string).collect();
            format!("{id}:{}", own.join(","))
        };
        assignments.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn sticky(given: &[(&str, &[&str], &[i32], i32)], topics_given: &[(&str, i32)]) -> String {
        shown(&assign(Assignor::CooperativeSticky, &members(given), &topics(topics_given)))
    }

    #[test]
    fn range_gives_neighbours_and_the_first_members_one_more_g59() {
        let both: &[&str] = &["t", "u"];
        let range = |given: &[(&str, &[&str], &[i32], i32)], t: &[(&str, i32)]| {
            shown(&assign(Assignor::Range, &members(given), &topics(t)))
        };
        assert_eq!(
            range(&[("a", both, &[], -1), ("b", both, &[], -1)], &[("t", 3), ("u", 3)]),
            "a:t-0,t-1,u-0,u-1 b:t-2,u-2"
        );
        assert_eq!(
            range(&[("a", &["t"], &[], -1), ("b", both, &[], -1)], &[("t", 2), ("u", 2)]),
            "a:t-0 b:t-1,u-0,u-1"
        );
        assert_eq!(range(&[("a", &["t"], &[], -1), ("b", &["t"], &[], -1)], &[("t", 1)]), "a:t-0 b:");
    }

    #[test]
    fn range_sorts_static_members_by_their_instance_ids() {
        let mut given = members(&[("x", &["t"], &[], -1), ("y", &["t"], &[], -1)]);
        given.get_mut("x").expect("there").order = (false, "second".to_owned());
        given.get_mut("y").expect("there").order = (false, "first".to_owned());
        assert_eq!(shown(&assign(Assignor::Range, &given, &topics(&[("t", 2)]))), "x:t-1 y:t-0");
    }

    #[test]
    fn sticky_shares_evenly_what_nobody_has() {
        let t: &[&str] = &["t"];
        assert_eq!(sticky(&[("a", t, &[], -1), ("b", t, &[], -1)], &[("t", 5)]), "a:t-0,t-2,t-4 b:t-1,t-3");
    }

    #[test]
    fn what_moves_is_withheld_until_its_owner_has_given_it_up() {
        let t: &[&str] = &["t"];
        assert_eq!(sticky(&[("a", t, &[0, 1, 2, 3], 1), ("b", t, &[], -1)], &[("t", 4)]), "a:t-0,t-1 b:");
        assert_eq!(sticky(&[("a", t, &[0, 1], 2), ("b", t, &[], 2)], &[("t", 4)]), "a:t-0,t-1 b:t-2,t-3");
    }

    #[test]
    fn what_is_even_stays_as_it_is() {
        let t: &[&str] = &["t"];
        assert_eq!(sticky(&[("a", t, &[1, 3], 4), ("b", t, &[0, 2, 4], 4)], &[("t", 5)]), "a:t-1,t-3 b:t-0,t-2,t-4");
        // The survivors take what the dead one had, and give nothing up.
        assert_eq!(sticky(&[("a", t, &[1, 3], 4)], &[("t", 5)]), "a:t-0,t-1,t-2,t-3,t-4");
    }

    #[test]
    fn the_latest_generation_wins_a_dispute_and_a_draw_has_no_winner() {
        let t: &[&str] = &["t"];
        assert_eq!(sticky(&[("a", t, &[0], 1), ("b", t, &[0], 2)], &[("t", 1)]), "a: b:t-0");
        assert_eq!(sticky(&[("a", t, &[0, 1], 2), ("b", t, &[0, 1], 2)], &[("t", 2)]), "a:t-0 b:t-1");
    }

    #[test]
    fn members_get_only_what_they_subscribe_to_and_what_exists() {
        assert_eq!(
            sticky(
                &[("a", &["t"], &[0, 7], 1), ("b", &["t", "u"], &[], 1), ("c", &["gone"], &[], 1)],
                &[("t", 2), ("u", 2)]
            ),
            "a:t-0,t-1 b:u-0,u-1 c:"
        );
    }

    /// Each move looked at every partition of every member: minutes, for a group of this size, and the members would be out
    /// of it by then.
    #[test]
    fn a_large_group_is_shared_at_once() {
        let held: Vec<i32> = (0..2000).collect();
        let ids: Vec<String> = (0..500).map(|n| format!("m{n:03}")).collect();
        let (both, one): (&[&str], &[&str]) = (&["big", "t"], &["t"]);
        let given = ids.iter().enumerate().map(|(at, id)| {
            let is_first = at == 0;
            (id.as_str(), if is_first { both } else { one }, if is_first { &held[..] } else { &[] }, 1)
        });
        let given: Vec<_> = given.collect();
        let shared = assign(Assignor::CooperativeSticky, &members(&given), &topics(&[("big", 8000), ("t", 2000)]));
        assert_eq!(shared["m000"].len(), 8000, "what only it reads");
        assert!(shared.values().skip(1).all(BTreeSet::is_empty), "the rest has to be given up first");
    }

    #[test]
    fn any_group_ends_up_even_with_nobody_holding_what_another_holds() {
        for seed in 0..300u32 {
            let random = |n: u32, below: u32| (seed.wrapping_mul(2_654_435_761).rotate_left(n * 5 % 32) >> 3) % below;
            let count = 1 + random(1, 6) as i32;
            let partitions = random(2, 20) as i32;
            let owned: Vec<Vec<i32>> = (0..count)
                .map(|m| (0..partitions).filter(|p| random(*p as u32, count as u32 + 1) as i32 == m).collect())
                .collect();
            let ids: Vec<String> = (0..count).map(|m| format!("m{m}")).collect();
            let t: &[&str] = &["t"];
            let mut given: Vec<_> =
                ids.iter().zip(&owned).map(|(id, own)| (id.as_str(), t, own.as_slice(), 1)).collect();
            let first = assign(Assignor::CooperativeSticky, &members(&given), &topics(&[("t", partitions)]));
            // The second round, after what had to be given up was given up, assigns everything.
            let kept: Vec<Vec<i32>> = first.values().map(|own| own.iter().map(|p| p.partition).collect()).collect();
            given = ids.iter().zip(&kept).map(|(id, own)| (id.as_str(), t, own.as_slice(), 2)).collect();
            let second = assign(Assignor::CooperativeSticky, &members(&given), &topics(&[("t", partitions)]));
            let all: Vec<_> = second.values().flatten().collect();
            assert_eq!(all.len(), partitions as usize, "seed {seed}");
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "seed {seed}");
            let loads: Vec<usize> = second.values().map(BTreeSet::len).collect();
            assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "seed {seed}: {loads:?}");
        }
    }
}
