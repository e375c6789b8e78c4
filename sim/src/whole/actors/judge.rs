//! Whoever waits, after the storm, until all that was begun has come to its end (invariant 27 and the liveness of the rest).
//!
//! Deliberately not here: how long that may take (`mod.rs`).

use std::rc::Rc;

use super::{BILLING, ORDERS, pause};
use crate::history::What;
use crate::rng::Rng;
use crate::whole::calls;
use crate::whole::host::now_us;
use crate::whole::link::{Link, Lost};
use crate::whole::world::{Stage, World};

/// Looks until the group has committed the end of every partition.
pub async fn run(world: Rc<World>, name: String, mut rng: Rng) {
    let mut link = Link::new(&world, name);
    while world.stage.get() < Stage::LastWord {
        pause(&mut rng, 200).await;
        let calm = world.stage.get() == Stage::Calm && world.busy.get() == 0;
        if calm && all_done(&world, &mut link).await == Ok(true) && all_done(&world, &mut link).await == Ok(true) {
            world.tell(&link.name, now_us(), What::Settled);
            world.stage.set(Stage::LastWord);
        }
    }
}

async fn all_done(world: &World, link: &mut Link) -> Result<bool, Lost> {
    let Some(topic) = world.topic(ORDERS) else { return Ok(false) };
    for partition in 0..world.options.partitions {
        let Some((start, end)) = calls::bounds(world, link, ORDERS, topic, partition).await? else { return Ok(false) };
        let found = calls::look(world, link, BILLING, &[(ORDERS.to_owned(), partition)]).await?;
        let committed = found.and_then(|mut all| all.remove(0)).map_or(start, |bookmark| bookmark.offset);
        if committed != end {
            return Ok(false);
        }
    }
    Ok(true)
}
