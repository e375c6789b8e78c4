//! The operators: they create the topics, delete records, topics, groups and offsets, and commit for a group without members.
//!
//! Deliberately not here: anything that touches the group that consumes; its records and offsets are nobody's but its own.

use std::rc::Rc;
use std::time::Duration;

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
    let mut link = Link::new(&world, name);
    for topic in [ORDERS, AUDIT, SCRATCH] {
        create(&world, &mut link, &mut rng, topic).await;
    }
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
            create(world, link, rng, SCRATCH).await;
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
        6..9 => drop(calls::look(world, link, OPERATORS, &[(name.to_owned(), partition)]).await?),
        // Somebody looks while it is being written: what is shown must stay, too.
        _ => {
            let wait = Duration::from_millis(rng.below(20));
            let position = [(name.to_owned(), partition)];
            let looking = async {
                tokio::time::sleep(wait).await;
                calls::look(world, eyes, OPERATORS, &position).await
            };
            tokio::join!(biased; commit(world, link, rng, name, partition), looking).0?;
        }
    }
    Ok(())
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
    let codes = calls::commit(world, link, &who, &positions).await?;
    if codes.get(1) == Some(&0) {
        world.accuse(15, format!("a commit for {name}-{NOWHERE}, which does not exist, was acknowledged"));
    }
    Ok(())
}

/// Creates a topic, and goes on until it is there.
async fn create(world: &World, link: &mut Link, rng: &mut Rng, name: &str) {
    while !world.over() {
        let _ = calls::create_topic(link, name, world.options.partitions).await;
        if let Ok(Some(id)) = calls::topic_id(link, name).await {
            world.topics.borrow_mut().insert(name.to_owned(), id);
            return;
        }
        pause(rng, 200).await;
    }
}
