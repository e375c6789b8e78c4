//! An idempotent producer: each batch is sent until its outcome is certain, and now and then twice on purpose.
//!
//! Deliberately not here: several batches in flight.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use pagemark_wire::messages::{InitProducerIdRequest, ProducerId as WireProducerId};
use pagemark_wire::records::BatchBuilder;
use pagemark_wire::types::{ProducerEpoch, ProducerId};
use uuid::Uuid;

use super::{AUDIT, ORDERS, SCRATCH, pause};
use crate::history::{Outcome, What};
use crate::rng::Rng;
use crate::whole::calls::{self, PATIENCE};
use crate::whole::host::now_us;
use crate::whole::link::{Link, Lost};
use crate::whole::world::World;

/// Error codes of a topic that is gone.
const GONE: [i16; 2] = [3, 100];
/// Error codes after which the same batch may be sent again: the broker could not say, or not now.
const AGAIN: [i16; 5] = [5, 6, 7, 15, 56];

/// Who sends batches.
pub struct Producer {
    world: Rc<World>,
    link: Link,
    rng: Rng,
    id: Option<(ProducerId, ProducerEpoch)>,
    sequences: HashMap<(Uuid, i32), i32>,
}

/// Produces until the storm is over.
pub async fn run(world: Rc<World>, name: String, rng: Rng) {
    let _busy = world.begin();
    let mut producer = Producer::new(&world, name, rng);
    while producer.world.stormy() {
        pause(&mut producer.rng, 200).await;
        let name = [ORDERS, ORDERS, ORDERS, AUDIT, SCRATCH][producer.rng.index(5)];
        let Some(topic) = producer.world.topic(name) else { continue };
        let partition = producer.rng.below(producer.world.options.partitions as u64) as i32;
        producer.send(topic, partition).await;
    }
}

impl Producer {
    /// One that has no id yet.
    pub fn new(world: &Rc<World>, name: String, rng: Rng) -> Producer {
        let (world, link) = (Rc::clone(world), Link::new(world, name));
        Producer { world, link, rng, id: None, sequences: HashMap::new() }
    }

    /// Sends one batch.
    pub async fn send(&mut self, topic: Uuid, partition: i32) {
        let Some((id, epoch)) = self.identity().await else { return };
        let count = 1 + self.rng.below(4) as i32;
        let values: Vec<String> = (0..count).map(|_| format!("{}-{}", self.link.name, self.world.number())).collect();
        let sequence = *self.sequences.entry((topic, partition)).or_insert(0);
        let mut batch = BatchBuilder::new(1_780_000_000_000).produced_by(id, epoch, sequence);
        let filler = vec![b'.'; self.rng.index(600)];
        values.iter().for_each(|value| batch.push(Some(&filler), Some(value.as_bytes())));
        let batch = batch.finish();
        let begun = now_us();
        let (outcome, base) = self.until_certain(topic, partition, &batch).await;
        let (place, base_offset) = (calls::place(topic, partition), (outcome == Outcome::Done).then_some(base));
        self.world.tell(&self.link.name, begun, What::Produced { place, values, outcome, base_offset });
        match outcome {
            Outcome::Done => {
                self.sequences.insert((topic, partition), sequence + count);
                if self.rng.chance(1, 20) {
                    self.send_again(topic, partition, &batch, base).await;
                }
            }
            // What may be written must not be followed by the same numbers: they begin anew under the next epoch.
            _ => {
                self.id = self.id.filter(|(_, epoch)| epoch.0 < i16::MAX).map(|(id, e)| (id, ProducerEpoch(e.0 + 1)));
                self.sequences.clear();
            }
        }
    }

    async fn until_certain(&mut self, topic: Uuid, partition: i32, batch: &Bytes) -> (Outcome, i64) {
        let mut may_be_written = false;
        loop {
            if self.rng.chance(1, 50) {
                self.link.cut();
            }
            let refused = |code| if may_be_written { Outcome::Unknown } else { Outcome::Refused(code) };
            match calls::produce(&mut self.link, topic, partition, batch.clone()).await {
                Ok((0, base)) => return (Outcome::Done, base),
                Ok((code, _)) if AGAIN.contains(&code) => may_be_written |= code != 6,
                Ok((code, _)) if GONE.contains(&code) => return (refused(code), -1),
                Ok((code, _)) => {
                    self.world.accuse(5, format!("{}: an idempotent batch was answered with {code}", self.link.name));
                    return (refused(code), -1);
                }
                Err(Lost { sent }) => may_be_written |= sent,
            }
            if self.world.over() {
                return (Outcome::Unknown, -1);
            }
            pause(&mut self.rng, 100).await;
        }
    }

    /// A copy that comes late gets the answer of the first (invariant 5).
    async fn send_again(&mut self, topic: Uuid, partition: i32, batch: &Bytes, base: i64) {
        match calls::produce(&mut self.link, topic, partition, batch.clone()).await {
            Ok((0, again)) if again != base => {
                let text = format!("{}: a batch at {base} was acknowledged again at {again}", self.link.name);
                self.world.accuse(5, text);
            }
            _ => {}
        }
    }

    async fn identity(&mut self) -> Option<(ProducerId, ProducerEpoch)> {
        if self.id.is_none() {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(WireProducerId(-1))
                .with_producer_epoch(-1);
            let answer = self.link.ask(5, &request, PATIENCE).await.ok().filter(|answer| answer.error_code == 0)?;
            let epoch = answer.producer_epoch.max(self.world.options.first_epoch);
            self.id = Some((ProducerId(answer.producer_id.0), ProducerEpoch(epoch)));
            self.sequences.clear();
        }
        self.id
    }
}
