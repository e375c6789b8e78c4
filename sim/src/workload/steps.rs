//! The single steps of a run, each with the judgement of its answer.
//!
//! Deliberately not here: lives and restarts.

use bytes::Bytes;
use pagemark_core::partition::SequenceVerdict;
use pagemark_storage::engine::{
    Append, AtomicGroup, Compare, EngineError, Keep, Locate, LogStore, Lsn, MetaStore, Room, ShardEpoch, Ticket,
    TxnOutcome, Write,
};
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, ProducerId, TopicId};

use super::Workload;
use super::client::{
    COMMIT_PARTITIONS, Clients, GROUPS, PRODUCERS, Sent, TOPIC_NAMES, TOPIC_PARTITIONS, record_like_restart, records,
};
use crate::batch::{Source, build};
use crate::check::{Kind, Violation, describe, violation};
use crate::observe::{partitions_of, shard_of};
use crate::oracle::{Change, NEVER};

type Done = Result<(), Violation>;
type Records = Vec<(Vec<u8>, Vec<u8>)>;

impl Workload {
    /// One thing that a client wants, or nothing, then some work of the engine.
    pub(super) fn step(&mut self) -> Done {
        self.look_at_room()?;
        match self.rng.below(100) {
            0..30 => self.produce()?,
            30..42 => self.commit()?,
            42..46 => self.produce_atomically()?,
            46..54 => self.read_somewhere()?,
            54..57 => self.locate_somewhere()?,
            57..62 => self.retry()?,
            62..67 => self.change_facts()?,
            67..69 => self.take_ids()?,
            69..72 => self.make_topic()?,
            72..73 => self.delete_topic()?,
            82..85 => self.trim()?,
            85..86 if self.rng.chance(1, 4) => {
                self.delete_topic()?;
                self.make_topic()?;
            }
            73..75 => self.reopen()?,
            75..78 => self.rig.write_idle_mark(),
            78..82 => self.burst()?,
            _ => {}
        }
        if self.rng.chance(1, self.plan.retention_1_in) {
            self.retain()?;
        }
        for _ in 0..self.rng.below(4) {
            self.rig.step_flush();
        }
        if self.rng.chance(1, self.plan.background_1_in) {
            for _ in 0..1 + self.rng.below(8) {
                self.rig.step_background();
            }
        }
        if self.rng.chance(1, self.plan.settle_1_in) {
            self.rig.settle();
        }
        Ok(())
    }

    /// Where room is scarce somebody makes some, now and then.
    fn look_at_room(&mut self) -> Done {
        let room = self.rig.engine.headroom().room;
        self.totals.relieved += u64::from(room == Room::Enough && self.room != Room::Enough);
        self.totals.scarce += u64::from(room == Room::Scarce);
        self.totals.exhausted += u64::from(room == Room::Exhausted);
        self.room = room;
        if room == Room::Enough || self.plan.capacity_bytes.is_none() || !self.rng.chance(1, self.plan.relief_1_in) {
            return Ok(());
        }
        match self.rng.below(3) {
            0 => self.delete_topic(),
            _ => self.trim(),
        }
    }

    /// Whether a broker would let this in.
    fn has_room_for(&mut self, topic: TopicId, bytes: usize) -> bool {
        let headroom = self.rig.engine.headroom();
        let has = match (self.plan.capacity_bytes, topic == Clients::commit_topic()) {
            (None, _) => true,
            (_, true) => headroom.room != Room::Exhausted,
            (_, false) => headroom.spare_bytes >= bytes as u64,
        };
        self.totals.refused += u64::from(!has);
        has
    }

    /// Some appends that go into one flush, whose write is perhaps done and whose sync is not.
    pub(super) fn burst(&mut self) -> Done {
        for _ in 0..2 + self.rng.below(4) {
            let Some(partition) = self.clients.any_partition(&mut self.rng) else { return Ok(()) };
            let (unit, partitions) = (self.oracle.units().len(), self.clients.owned.len());
            let records = record_like_restart(&mut self.rng, unit, partitions);
            self.append(&[(partition, Source::PLAIN, records)])?;
        }
        Ok(())
    }

    fn wrong(&self, detail: String) -> Violation {
        violation(Kind::Misbehaved, detail)
    }

    pub(super) fn produce(&mut self) -> Done {
        let Some(partition) = self.clients.any_partition(&mut self.rng) else { return Ok(()) };
        let source = match self.rng.below(PRODUCERS + 1) {
            PRODUCERS => Source::PLAIN,
            producer => self.clients.source(ProducerId(1_000 + producer as i64), partition),
        };
        let records = records(&mut self.rng, self.oracle.units().len());
        self.append(&[(partition, source, records)])
    }

    /// One group of batches for several partitions of a topic: all of them or none.
    fn produce_atomically(&mut self) -> Done {
        let Some(first) = self.clients.any_partition(&mut self.rng) else { return Ok(()) };
        let mut parts = Vec::new();
        for index in 0..TOPIC_PARTITIONS as i32 {
            if self.rng.chance(2, 3) {
                let partition = PartitionKey { topic: first.topic, partition: PartitionIndex(index) };
                parts.push((partition, Source::PLAIN, records(&mut self.rng, self.oracle.units().len())));
            }
        }
        if parts.is_empty() { Ok(()) } else { self.append(&parts) }
    }

    /// An offset of a group as a record, with its history in the same atomic group.
    fn commit(&mut self) -> Done {
        self.ensure_commit_topic()?;
        let group = self.rng.index(GROUPS.len());
        let Some(of) = self.clients.any_partition(&mut self.rng) else { return Ok(()) };
        self.clients.committed += 1;
        let key = format!("{}/{of}", GROUPS[group]).into_bytes();
        let value = format!("{} of unit {}", self.clients.committed, self.oracle.units().len()).into_bytes();
        let home = |index: usize| PartitionKey {
            topic: Clients::commit_topic(),
            partition: PartitionIndex(index as i32 % COMMIT_PARTITIONS as i32),
        };
        let mut parts = vec![(home(group), Source::PLAIN, vec![(key.clone(), value.clone())])];
        if self.rng.chance(1, 2) {
            parts.push((home(group + 1), Source::PLAIN, vec![(key, value)]));
        }
        self.append(&parts)
    }

    fn ensure_commit_topic(&mut self) -> Done {
        let topic = Clients::commit_topic();
        match self.clients.shard_epochs.contains_key(&topic) {
            true => Ok(()),
            false => self.create(topic, COMMIT_PARTITIONS),
        }
    }

    /// Gives the records their offsets, as a partition's owner does, and appends them as one atomic group.
    fn append(&mut self, parts: &[(PartitionKey, Source, Records)]) -> Done {
        let time_ms = self.clients.time_ms(&mut self.rng);
        let topic = parts[0].0.topic;
        let batches: Vec<(PartitionKey, Bytes)> = parts
            .iter()
            .map(|(key, source, records)| {
                let owned = &self.clients.owned[key];
                (*key, build(owned.log_end, owned.leader_epoch, *source, time_ms, records))
            })
            .collect();
        if !self.has_room_for(topic, batches.iter().map(|(_, batch)| batch.len()).sum()) {
            return Ok(());
        }
        let epoch = self.clients.shard_epochs[&topic];
        let group =
            AtomicGroup(batches.iter().map(|(partition, batch)| Append::new(*partition, batch.clone())).collect());
        let asked = self.ask(Change::Group(batches.clone()), |engine| {
            engine.append(shard_of(topic), epoch, &[group]).map(|ticket| ((), ticket.0))
        })?;
        let Some((unit, ())) = asked else { return Ok(()) };
        self.totals.appended += batches.len() as u64;
        for ((key, batch), (_, source, records)) in batches.iter().zip(parts) {
            let header = BatchHeader::parse(batch).expect("built here");
            let owned = self.clients.owned.get_mut(key).expect("appended to just now");
            owned.log_end = header.next_offset();
            owned.producers.replay(&header);
            self.by_base.insert((*key, header.base_offset), unit);
            if source.id != ProducerId::NONE {
                let sent = Sent { unit, sequence: source.sequence, records: records.clone(), base: header.base_offset };
                self.clients.keep(source.id, *key, sent);
            }
        }
        Ok(())
    }

    /// A producer that heard no answer sends one of its last batches again: it is a duplicate.
    fn retry(&mut self) -> Done {
        let keys: Vec<_> = self.clients.sent.keys().copied().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let (id, partition) = keys[self.rng.index(keys.len())];
        let batches = &self.clients.sent[&(id, partition)];
        let batch = batches[self.rng.index(batches.len())].clone();
        self.send_again(id, partition, &batch, false)
    }

    /// Sends a batch again. It must be judged a duplicate with its old offset, or, if it was lost, be the next.
    pub(super) fn send_again(&mut self, id: ProducerId, partition: PartitionKey, sent: &Sent, lost: bool) -> Done {
        let Some(owned) = self.clients.owned.get(&partition) else { return Ok(()) };
        let source = Source { sequence: sent.sequence, ..self.clients.source(id, partition) };
        let header = BatchHeader::parse(&build(owned.log_end, owned.leader_epoch, source, 0, &sent.records))
            .expect("built here");
        match owned.producers.judge(&header) {
            SequenceVerdict::Duplicate(span) if !lost && span.base_offset == sent.base => {
                self.totals.duplicates += 1;
                if lost { Ok(()) } else { self.still_known(id, partition, sent) }
            }
            SequenceVerdict::Next if lost => {
                self.totals.resent += 1;
                self.append(&[(partition, source, sent.records.clone())])
            }
            other => {
                let fate = if lost { "lost" } else { "kept" };
                let detail =
                    format!("{partition}: a retry of sequence {}, which was {fate}, is {other:?}", sent.sequence);
                Err(violation(Kind::ProducerState, detail))
            }
        }
    }

    /// A restart empties what clients remember; what survived goes back.
    fn still_known(&mut self, id: ProducerId, partition: PartitionKey, sent: &Sent) -> Done {
        let known = self.clients.sent.get(&(id, partition));
        if known.is_none_or(|batches| batches.iter().all(|batch| batch.unit != sent.unit)) {
            self.clients.keep(id, partition, sent.clone());
        }
        Ok(())
    }

    /// Reads from some offset on, as far as it is durable. What it gives is exposed from now on.
    pub(super) fn read_somewhere(&mut self) -> Done {
        let keys: Vec<PartitionKey> = self.clients.owned.keys().copied().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let key = keys[self.rng.index(keys.len())];
        let extent = self.rig.engine.extent(key).map_err(|e| self.wrong(format!("extent of {key}: {e}")))?;
        self.check_start(key, extent.log_start)?;
        let readable = extent.durable_end.0 - extent.log_start.0;
        let from = extent.log_start.plus(self.rng.below(readable as u64 + 1) as i64);
        let limit = self.rng.index(8_000);
        let slice = match self.rig.engine.read(key, from, limit, extent.durable_end) {
            Ok(slice) => slice,
            Err(EngineError::Io(_)) if self.rig.disk.counts().faults > 0 => return Ok(()),
            Err(error) if self.is_excused(&error) => return Ok(()),
            Err(error) => return Err(self.wrong(format!("reading {key} from {from}: {error}"))),
        };
        if slice.batches.is_empty() && from < extent.durable_end {
            return Err(self.wrong(format!("reading {key} from {from} of {} gave nothing", extent.durable_end)));
        }
        let mut next = from;
        for batch in &slice.batches {
            next = self.expose(key, next, batch)?;
        }
        Ok(())
    }

    /// A batch was read, and contains the offset asked for. Returns the offset behind it.
    fn expose(&mut self, key: PartitionKey, at: Offset, batch: &Bytes) -> Result<Offset, Violation> {
        let header = BatchHeader::parse(batch).map_err(|e| self.wrong(format!("reading {key} at {at}: {e}")))?;
        let unit = self.by_base.get(&(key, header.base_offset)).copied();
        let known = unit.filter(|unit| match &self.oracle.units()[*unit].change {
            Change::Group(parts) => parts.contains(&(key, batch.clone())),
            _ => false,
        });
        let Some(unit) = known.filter(|_| header.base_offset <= at && at < header.next_offset()) else {
            return Err(self.wrong(format!("reading {key} at {at} gave {}", describe(batch))));
        };
        if !self.oracle.units()[unit].lsn.is_some_and(|lsn| self.is_durable(lsn)) {
            return Err(self.wrong(format!("reading {key} gave {} before it was durable", describe(batch))));
        }
        self.totals.read += 1;
        self.oracle.exposed(self.now(), unit);
        Ok(header.next_offset())
    }

    /// Looks for a time from some batch on, and compares with a walk over everything durable.
    fn locate_somewhere(&mut self) -> Done {
        let Some(key) = self.clients.any_partition(&mut self.rng) else { return Ok(()) };
        let extent = self.rig.engine.extent(key).map_err(|e| self.wrong(format!("extent of {key}: {e}")))?;
        let mut headers: Vec<BatchHeader> = self
            .by_base
            .range((key, Offset(0))..(key, extent.durable_end))
            .filter_map(|((_, base), unit)| match &self.oracle.units()[*unit].change {
                Change::Group(parts) => parts
                    .iter()
                    .filter_map(|(of, batch)| (*of == key).then(|| BatchHeader::parse(batch).ok())?)
                    .find(|header| header.base_offset == *base && header.last_offset() >= extent.log_start),
                _ => None,
            })
            .collect();
        let skipped = if self.rng.chance(1, 3) { self.rng.below(headers.len() as u64 + 1) as usize } else { 0 };
        let from = skipped.checked_sub(1).map_or(Offset(0), |last| headers[last].next_offset());
        headers.drain(..skipped);
        let newest = headers.iter().map(|header| header.max_timestamp_ms).max();
        let what = match self.rng.below(3) {
            0 => Locate::MaxTimestamp,
            _ => Locate::Time(newest.unwrap_or(0) - self.rng.below(3_000) as i64),
        };
        let target = if let Locate::Time(time_ms) = what { Some(time_ms) } else { newest };
        let expected = target.and_then(|t| headers.iter().find(|header| header.max_timestamp_ms >= t));
        let found = match self.rig.engine.locate(key, what, from..extent.durable_end) {
            Ok(found) => found,
            Err(EngineError::Io(_)) if self.rig.disk.counts().faults > 0 => return Ok(()),
            Err(error) if self.is_excused(&error) => return Ok(()),
            Err(error) => return Err(self.wrong(format!("locating {what:?} in {key}: {error}"))),
        };
        let base = found.as_ref().and_then(|batch| BatchHeader::parse(batch).ok()).map(|header| header.base_offset);
        if base != expected.map(|header| header.base_offset) {
            return Err(self.wrong(format!("locating {what:?} in {key} gave {base:?}, not {expected:?}")));
        }
        match (found, base) {
            (Some(batch), Some(base)) => self.expose(key, base, &batch).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// A log is to begin later: at any offset, mostly within a batch; where something as retention would cut; at its very end;
    /// where it begins already; and beyond its end, which is refused.
    fn trim(&mut self) -> Done {
        let Some(key) = self.clients.any_partition(&mut self.rng) else { return Ok(()) };
        let owned = &self.clients.owned[&key];
        let (begin, end) = (owned.log_start, owned.log_end);
        let epoch = self.clients.shard_epochs[&key.topic];
        let start = match self.rng.below(10) {
            0 => return self.trim_beyond_the_end(key, end.plus(1)),
            1 => end,
            2 => Offset(self.rng.below(begin.0 as u64 + 1) as i64),
            3..6 => match self.trim_point(key)? {
                Some(point) if begin < point && point <= end => point,
                Some(point) => return Err(self.wrong(format!("{key} from {begin} to {end} would be cut at {point}"))),
                None => return Ok(()),
            },
            _ => begin.plus(self.rng.below((end.0 - begin.0) as u64 + 1) as i64),
        };
        self.advance_start(key, epoch, start)
    }

    fn advance_start(&mut self, key: PartitionKey, epoch: ShardEpoch, start: Offset) -> Done {
        let asked = self.ask(Change::Start(key, start), |engine| {
            engine.advance_start(shard_of(key.topic), epoch, key, start).map(|ticket| ((), ticket.0))
        })?;
        if asked.is_some() {
            let owned = self.clients.owned.get_mut(&key).expect("looked at just now");
            self.totals.trimmed += u64::from(start > owned.log_start);
            owned.log_start = owned.log_start.max(start);
        }
        Ok(())
    }

    /// Cuts every log down to a size or an age, one after the other.
    fn retain(&mut self) -> Done {
        let keep = match self.rng.chance(1, 2) {
            true => Keep::Bytes(3_000 + self.rng.below(9_000)),
            false => Keep::Since(self.clients.time_ms(&mut self.rng) - 2_000 - self.rng.below(8_000) as i64),
        };
        let keys: Vec<PartitionKey> = self.clients.owned.keys().copied().collect();
        for key in keys {
            let point = self.rig.engine.trim_point(key, keep);
            let point = match point {
                Err(error) if self.is_excused(&error) => continue,
                point => point.map_err(|e| self.wrong(format!("a trim point of {key}: {e}")))?,
            };
            if let Some(point) = point {
                self.advance_start(key, self.clients.shard_epochs[&key.topic], point)?;
            }
            if self.rng.chance(1, 4) {
                let (before, began) = (self.rig.disk.counts().struck, self.now());
                self.rig.step_flush();
                self.rig.step_background();
                self.note_faults(before, began)?; // the next one may be a partition that cannot be read any more
            }
        }
        Ok(())
    }

    fn trim_point(&mut self, key: PartitionKey) -> Result<Option<Offset>, Violation> {
        let keep = match self.rng.chance(1, 2) {
            true => Keep::Bytes(self.rng.below(4_000)),
            false => Keep::Since(self.clients.time_ms(&mut self.rng) - self.rng.below(500) as i64),
        };
        match self.rig.engine.trim_point(key, keep) {
            Err(error) if self.is_excused(&error) => Ok(None),
            point => point.map_err(|e| self.wrong(format!("a trim point of {key}: {e}"))),
        }
    }

    fn trim_beyond_the_end(&mut self, key: PartitionKey, start: Offset) -> Done {
        let epoch = self.clients.shard_epochs[&key.topic];
        match self.rig.engine.advance_start(shard_of(key.topic), epoch, key, start) {
            Err(EngineError::BeyondEnd { .. } | EngineError::Stopped(_)) => Ok(()),
            Err(error) if self.is_excused(&error) => Ok(()),
            other => Err(self.wrong(format!("{key} is to begin beyond its end, at {start}: {other:?}"))),
        }
    }

    /// The log begins where the last durable request says, neither before nor later.
    fn check_start(&mut self, key: PartitionKey, shown: Offset) -> Done {
        let starts = self.oracle.units().iter().filter_map(|unit| match &unit.change {
            Change::Start(of, start) if *of == key && unit.dead == NEVER => Some((unit.lsn?, *start)),
            _ => None,
        });
        let durable = starts.filter(|(lsn, _)| self.is_durable(*lsn)).map(|(_, start)| start).max();
        let expected = durable.unwrap_or(Offset(0));
        if shown != expected {
            return Err(violation(Kind::Watermark, format!("{key} begins at {shown}, not at {expected}")));
        }
        Ok(())
    }

    fn change_facts(&mut self) -> Done {
        let key = format!("config/{}", self.rng.below(8));
        let before = self.rig.engine.get(&key);
        let compare = match (&before, self.rng.below(4)) {
            (_, 0) => Vec::new(),
            (None, 1) => vec![Compare::Revision(key.clone(), Lsn(1))],
            (Some(_), 1) => vec![Compare::Absent(key.clone())],
            (None, _) => vec![Compare::Absent(key.clone())],
            (Some(value), _) => vec![Compare::Revision(key.clone(), value.revision)],
        };
        let holds = compare.iter().all(|compare| match compare {
            Compare::Absent(_) => before.is_none(),
            Compare::Revision(_, revision) => before.as_ref().is_some_and(|value| value.revision == *revision),
        });
        let value = Bytes::from(format!("unit {} {}", self.oracle.units().len(), "x".repeat(self.rng.index(150))));
        let mut writes = match self.rng.below(5) {
            0 => vec![Write::Delete(key)],
            _ => vec![Write::Put(key, value.clone())],
        };
        if self.rng.chance(1, 3) {
            writes.push(Write::Put(format!("pair/{}", self.rng.below(3)), value));
        }
        self.txn(&compare, writes, holds)
    }

    fn txn(&mut self, compares: &[Compare], writes: Vec<Write>, holds: bool) -> Done {
        if !holds {
            return match self.rig.engine.txn(compares, writes) {
                Ok(TxnOutcome::Refused) | Err(EngineError::Stopped(_)) => Ok(()),
                other => Err(self.wrong(format!("{compares:?} does not hold, yet {other:?}"))),
            };
        }
        let asked = self.ask(Change::Meta(writes.clone()), |engine| match engine.txn(compares, writes)? {
            TxnOutcome::Accepted(Ticket(lsn)) => Ok((true, lsn)),
            TxnOutcome::Refused => Ok((false, Lsn(0))),
        })?;
        match asked {
            Some((_, false)) => Err(self.wrong(format!("{compares:?} holds, yet it was refused"))),
            _ => Ok(()),
        }
    }

    fn take_ids(&mut self) -> Done {
        let counter = ["producer-id", "member-id"][self.rng.index(2)];
        let count = 1 + self.rng.below(10) as u32;
        let given_before =
            self.oracle.units().iter().filter(|unit| unit.dead == NEVER).filter_map(|unit| match &unit.change {
                Change::Ids(of, first, count) if of == counter => Some(first + i64::from(*count)),
                _ => None,
            });
        let least = given_before.max().unwrap_or(0);
        let asked = self.ask(Change::Ids(counter.to_owned(), 0, count), |engine| {
            engine.reserve_ids(counter, count).map(|(first, ticket)| (first, ticket.0))
        })?;
        let Some((unit, first)) = asked else { return Ok(()) };
        self.oracle.ids_given(unit, first);
        if first < least {
            return Err(violation(Kind::IdTwice, format!("{counter} gave {first} after {least}")));
        }
        Ok(())
    }

    pub(super) fn make_topic(&mut self) -> Done {
        let name = TOPIC_NAMES[self.rng.index(TOPIC_NAMES.len())];
        if let Some(topic) = self.clients.topics.get(name).copied() {
            // Making it again changes nothing.
            return if self.rng.chance(1, 4) { self.create(topic, TOPIC_PARTITIONS) } else { Ok(()) };
        }
        if self.plan.capacity_bytes.is_some() && self.room != Room::Enough {
            return Ok(());
        }
        let topic = self.clients.new_topic(name);
        let deleted_in = self.clients.deleted_in.remove(name);
        self.totals.recreated += u64::from(deleted_in.is_some());
        self.totals.recreated_later += u64::from(deleted_in.is_some_and(|life| life < self.life));
        let fact = Write::Put(format!("topic/{name}"), Bytes::from(topic.to_string()));
        self.txn(&[], vec![fact], true)?;
        self.create(topic, TOPIC_PARTITIONS)
    }

    fn create(&mut self, topic: TopicId, partitions: u32) -> Done {
        let known = self.clients.shard_epochs.contains_key(&topic);
        let asked = self.ask(Change::Create(topic, partitions), |engine| {
            engine.create(topic, partitions, LeaderEpoch(0)).map(|ticket| ((), ticket.0))
        })?;
        match asked {
            Some(_) if !known => self.open_shard(topic),
            Some(_) => Ok(()),
            None => {
                self.clients.forget(topic);
                Ok(())
            }
        }
    }

    pub(super) fn delete_topic(&mut self) -> Done {
        let name = TOPIC_NAMES[self.rng.index(TOPIC_NAMES.len())];
        let Some(topic) = self.clients.topics.get(name).copied() else { return Ok(()) };
        self.txn(&[], vec![Write::Delete(format!("topic/{name}"))], true)?;
        let asked = self.ask(Change::Delete(topic), |engine| engine.delete(topic).map(|ticket| ((), ticket.0)))?;
        if asked.is_some() {
            self.totals.deleted += 1;
            self.clients.deleted_in.insert(name, self.life);
            self.clients.forget(topic);
            let key = PartitionKey { topic, partition: PartitionIndex(0) };
            let read = self.rig.engine.read(key, Offset(0), 1, Offset(1));
            if !matches!(read, Err(EngineError::UnknownPartition(_))) {
                return Err(self.wrong(format!("reading a deleted topic gives {read:?}")));
            }
        }
        Ok(())
    }

    /// A second owner opens a topic's shard; the first one is fenced.
    fn reopen(&mut self) -> Done {
        let Some(key) = self.clients.any_partition(&mut self.rng) else { return Ok(()) };
        let before = self.clients.shard_epochs[&key.topic];
        self.open_shard(key.topic)?;
        let owned = &self.clients.owned[&key];
        let batch = build(owned.log_end, owned.leader_epoch, Source::PLAIN, 0, &[(Vec::new(), b"fenced".to_vec())]);
        let group = AtomicGroup(vec![Append::new(key, batch)]);
        match self.rig.engine.append(shard_of(key.topic), before, &[group]) {
            Err(EngineError::Fenced | EngineError::Stopped(_)) => Ok(()),
            other => Err(self.wrong(format!("an owner of {key} that was replaced appends: {other:?}"))),
        }
    }

    fn open_shard(&mut self, topic: TopicId) -> Done {
        let partitions = if topic == Clients::commit_topic() { COMMIT_PARTITIONS } else { TOPIC_PARTITIONS };
        let epoch: ShardEpoch = self.clients.next_shard_epoch(topic);
        let opened = self
            .rig
            .engine
            .open(shard_of(topic), epoch, &partitions_of(topic, partitions))
            .map_err(|e| self.wrong(format!("opening topic {topic}: {e}")))?;
        for one in opened {
            let leader_epoch = one.epochs.last().map_or(LeaderEpoch::NONE, |entry| entry.epoch);
            self.oracle.epoch_seen(self.now(), one.partition, leader_epoch);
            let fresh = !self.clients.owned.contains_key(&one.partition);
            let owned = self.clients.owned.entry(one.partition).or_default();
            if fresh {
                owned.log_start = one.log_start;
                owned.log_end = one.log_end;
                owned.leader_epoch = leader_epoch;
                owned.producers = one.producers;
            } else if (owned.log_start, owned.log_end, owned.leader_epoch, &owned.producers)
                != (one.log_start, one.log_end, leader_epoch, &one.producers)
            {
                return Err(violation(
                    Kind::Misbehaved,
                    format!("{}: a second owner is given another state", one.partition),
                ));
            }
        }
        Ok(())
    }
}
