//! The operators: they create the topics, delete records, topics, groups and offsets, and commit for a group without members.
//!
//! Deliberately not here: anything that touches the group that consumes; its records and offsets are nobody's but its own.

use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use super::producer::Producer;
use super::{AUDIT, OPERATORS, ORDERS, SCRATCH, pause};
use crate::history::Bookmark;
use crate::rng::Rng;
use crate::whole::calls::{self, Committer, Position};
use crate::whole::link::{Link, Lost};
use crate::whole::world::World;

/// A partition that no topic has.
const NOWHERE: i32 = 99;

/// Works until the storm is over.
pub async fn run(world: Rc<World>, name: String, mut rng: Rng) {
    let busy = world.begin();
    let mut eyes = Link::new(&world, format!("{name}-watching"));
    let mut filler = Producer::new(&world, format!("{name}-filling"), rng.clone());
    let mut link = Link::new(&world, name);
    for topic in [ORDERS, AUDIT] {
        let Some(id) = create(&world, &mut link, &mut rng, topic).await else { return };
        begin_later(&world, (&mut link, &mut filler), &mut rng, topic, id).await;
        world.topics.borrow_mut().insert(topic.to_owned(), id);
    }
    create_anew(&world, &mut link, &mut rng).await;
    while world.stormy() {
        pause(&mut rng, 500).await;
        let _ = work(&world, &mut link, &mut eyes, &mut rng).await;
    }
    drop(busy);
}

async fn work(world: &World, link: &mut Link, eyes: &mut Link, rng: &mut Rng) -> Result<(), Lost> {
    let partition = rng.below(world.options.partitions as u64) as i32;
    let name = [AUDIT, SCRATCH][rng.index(2)];
    match rng.below(20) {
        0 => {
            // Whatever became of it, nobody uses the old id any more.
            world.topics.borrow_mut().remove(SCRATCH);
            let _ = calls::delete_topic(world, link, SCRATCH).await;
            create_anew(world, link, rng).await;
        }
        1 => drop(calls::delete_group(world, link, OPERATORS).await?),
        2 => drop(calls::delete_offset(world, link, OPERATORS, name, partition).await?),
        3..6 => {
            if let Some(topic) = world.topic(AUDIT) {
                let end = calls::bounds(world, link, AUDIT, topic, partition).await?.map_or(0, |(_, end)| end);
                let to = rng.below(end.max(0) as u64 + 2) as i64;
                calls::trim(world, link, AUDIT, topic, partition, to).await?;
            }
        }
        6..9 => {
            let id = by_id(world, rng, name);
            drop(calls::look_at(world, link, OPERATORS, &[(name.to_owned(), partition)], id).await?);
        }
        // Somebody looks while it is being written: what is shown must stay, too.
        _ => {
            let wait = Duration::from_millis(rng.below(20));
            let id = by_id(world, rng, name);
            let position = [(name.to_owned(), partition)];
            let looking = async {
                tokio::time::sleep(wait).await;
                calls::look_at(world, eyes, OPERATORS, &position, id).await
            };
            tokio::join!(biased; commit(world, link, rng, name, partition), looking).0?;
        }
    }
    Ok(())
}

/// A topic's id, where it is to be named by that.
fn by_id(world: &World, rng: &mut Rng, name: &str) -> Option<Uuid> {
    if rng.chance(1, 2) { world.topic(name) } else { None }
}

/// Some positions at once, one of them now and then nowhere: what is refused changes nothing, the rest counts (15).
async fn commit(world: &World, link: &mut Link, rng: &mut Rng, name: &str, partition: i32) -> Result<(), Lost> {
    let who = Committer { group: OPERATORS.to_owned(), generation: -1, ..Committer::default() };
    let mut position = |partition| -> Position {
        let bookmark = Bookmark { offset: rng.below(1_000) as i64, metadata: format!("set-{}", world.number()) };
        (name.to_owned(), partition, bookmark)
    };
    let mut positions = vec![position(partition)];
    if world.number().is_multiple_of(3) {
        positions.push(position(NOWHERE));
    }
    let id = by_id(world, rng, name);
    let codes = calls::commit_for(world, link, &who, &positions, id).await?;
    if codes.get(1) == Some(&0) {
        world.accuse(15, format!("a commit for {name}-{NOWHERE}, which does not exist, was acknowledged"));
    }
    Ok(())
}

async fn create_anew(world: &World, link: &mut Link, rng: &mut Rng) {
    if let Some(id) = create(world, link, rng, SCRATCH).await {
        world.topics.borrow_mut().insert(SCRATCH.to_owned(), id);
    }
}

/// Creates a topic, and goes on until it is there.
async fn create(world: &World, link: &mut Link, rng: &mut Rng, name: &str) -> Option<Uuid> {
    while !world.over() {
        let _ = calls::create_topic(link, name, world.options.partitions).await;
        if let Ok(Some(id)) = calls::topic_id(link, name).await {
            return Some(id);
        }
        pause(rng, 200).await;
    }
    None
}

/// Fills the logs of a topic that nobody uses yet, and lets them begin where they end.
async fn begin_later(
    world: &World,
    (link, filler): (&mut Link, &mut Producer),
    rng: &mut Rng,
    name: &str,
    topic: Uuid,
) {
    for partition in 0..world.options.partitions {
        while !world.over() {
            let Ok(Some((start, end))) = calls::bounds(world, link, name, topic, partition).await else {
                pause(rng, 100).await;
                continue;
            };
            if start >= world.options.first_offset {
                break;
            }
            if end >= world.options.first_offset {
                let _ = calls::trim(world, link, name, topic, partition, end).await;
            } else {
                filler.send(topic, partition).await;
            }
        }
    }
}
