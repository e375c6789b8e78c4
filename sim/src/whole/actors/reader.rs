//! Somebody who reads here and there, and at the end everything.
//!
//! Deliberately not here: groups.

use std::rc::Rc;

use super::{AUDIT, BILLING, OPERATORS, ORDERS, SCRATCH, pause};
use crate::rng::Rng;
use crate::whole::calls;
use crate::whole::link::Link;
use crate::whole::world::{Stage, World};

/// Error codes of a topic that is gone.
const GONE: [i16; 2] = [3, 100];

/// Reads until everything has been said, and then says the last word.
pub async fn run(world: Rc<World>, name: String, mut rng: Rng) {
    let mut link = Link::new(&world, name);
    while world.stage.get() < Stage::LastWord {
        pause(&mut rng, 300).await;
        let name = [ORDERS, AUDIT, SCRATCH][rng.index(3)];
        let Some(topic) = world.topic(name) else { continue };
        let partition = rng.below(world.options.partitions as u64) as i32;
        let _ = match rng.below(4) {
            0 if name != SCRATCH => calls::bounds(&world, &mut link, name, topic, partition).await.map(|_| ()),
            1 => {
                let group = [BILLING, OPERATORS][rng.index(2)];
                calls::look(&world, &mut link, group, &[(name.to_owned(), partition)]).await.map(|_| ())
            }
            _ => {
                let from = rng.below(200) as i64;
                calls::fetch(&world, &mut link, topic, partition, from).await.map(|_| ())
            }
        };
    }
    last_word(&world, &mut link, &mut rng).await;
    world.stage.set(Stage::Over);
}

async fn last_word(world: &World, link: &mut Link, rng: &mut Rng) {
    let topics = world.topics.borrow().clone();
    for (name, topic) in topics {
        for partition in 0..world.options.partitions {
            let mut from = 0;
            loop {
                match calls::fetch(world, link, topic, partition, from).await {
                    Ok(found) if found.code == 0 => {
                        from = found.records.last().map_or(from, |(offset, _)| offset + 1);
                        if from >= found.high_watermark {
                            break;
                        }
                    }
                    // A deletion that nobody heard the end of may have come after the topic was looked up.
                    Ok(found) if name == SCRATCH && GONE.contains(&found.code) => break,
                    Ok(found) if found.code == 1 => match calls::bounds(world, link, &name, topic, partition).await {
                        Ok(Some((start, _))) => from = start.max(from + 1),
                        Ok(None) | Err(_) => pause(rng, 50).await,
                    },
                    _ => pause(rng, 50).await,
                }
            }
            for group in [BILLING, OPERATORS] {
                while !matches!(calls::look(world, link, group, &[(name.clone(), partition)]).await, Ok(Some(_))) {
                    pause(rng, 50).await;
                }
            }
        }
    }
}
