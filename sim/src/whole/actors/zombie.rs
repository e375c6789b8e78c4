//! Somebody who commits with what was seen of a member, after the member's generation is over: nothing of it may land.
//!
//! Deliberately not here: members that are zombies without knowing it; a member that was stalled is one (`member`).

use std::rc::Rc;

use super::{BILLING, pause};
use crate::history::Bookmark;
use crate::rng::Rng;
use crate::whole::calls::{self, Committer};
use crate::whole::link::Link;
use crate::whole::world::World;

/// Tries until everything has been said.
pub async fn run(world: Rc<World>, name: String, mut rng: Rng) {
    let mut link = Link::new(&world, name);
    while !world.over() {
        pause(&mut rng, 1_000).await;
        let stale: Vec<_> =
            world.credentials.borrow().iter().filter(|c| c.generation < world.generation.get()).cloned().collect();
        if stale.is_empty() {
            continue;
        }
        let stolen = &stale[rng.index(stale.len())];
        let who = Committer {
            group: BILLING.to_owned(),
            member: stolen.member.clone(),
            instance: stolen.instance.clone(),
            generation: stolen.generation,
        };
        let poisoned = |(topic, partition): &(String, i32)| {
            let bookmark = Bookmark { offset: 1_000_000, metadata: format!("poison-{}", world.number()) };
            (topic.clone(), *partition, bookmark)
        };
        let positions: Vec<_> = stolen.partitions.iter().map(poisoned).collect();
        if !positions.is_empty() {
            let _ = calls::commit(&world, &mut link, &who, &positions).await;
        }
    }
}
