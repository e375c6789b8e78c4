//! Reading what a Fetch is answered with, within its limits and what memory is left for answers.
//!
//! Deliberately not here: when (`wait`), and what a partition is refused for (`plan`).

use std::ops::Range;

use pagemark_storage::engine::{EngineError, ReadSlice};
use pagemark_wire::ErrorCode;
use pagemark_wire::fetch_answer::{FetchAnswer, PartitionAnswer, TopicAnswer};
use pagemark_wire::records::BatchHeader;
use pagemark_wire::types::{Offset, PartitionKey};

use super::plan::{Plan, Standing, Wanted, read_error};
use crate::broker::{Broker, Client};
use crate::net::budget::Charge;

/// Where batches may be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Only where nobody has to wait.
    Memory,
    /// Also the disk.
    Anywhere,
}

/// What was read. The batches lie where the engine has them, until they are written to the socket.
pub(super) struct Found {
    pub bytes: usize,
    /// What they cost.
    charge: Charge,
    /// To be answered at once, whatever there is: an error, or logs that diverge.
    urgent: bool,
    /// Some of it is on the disk, and was not to be read from there.
    on_disk: bool,
    /// The first partition that has something and got nothing, for want of room.
    pub starved: Option<PartitionKey>,
    partitions: Vec<PartitionAnswer>,
}

impl Found {
    /// Reads what there is now. Partitions take their turn in the order asked for, but the one that went short the last time
    /// comes first: limits that are too small for all of them starve none. `None` if something is not in memory, and
    /// nothing else may be read.
    pub(super) fn read(broker: &Broker, client: &Client, plan: &Plan, from: From) -> Option<Found> {
        let mut found = Found {
            bytes: 0,
            charge: broker.budget.charge(),
            urgent: false,
            on_disk: false,
            starved: None,
            partitions: Vec::with_capacity(plan.wanted.len()),
        };
        let begin = client.starved().and_then(|key| plan.wanted.iter().position(|w| w.is(key))).unwrap_or(0);
        let (last, first) = plan.wanted.split_at(begin);
        for wanted in first.iter().chain(last) {
            let answer = found.read_one(broker, plan, wanted, from);
            if found.on_disk {
                return None;
            }
            found.partitions.push(answer);
        }
        found.partitions.rotate_right(begin);
        Some(found)
    }

    /// Whether this is enough to answer now (P-32).
    pub(super) fn answers(&self, plan: &Plan) -> bool {
        self.urgent || self.bytes >= plan.min_bytes || plan.max_wait.is_zero() || plan.wanted.is_empty()
    }

    /// The answer, and what its records cost.
    pub(super) fn answer(self, plan: &Plan) -> (FetchAnswer, Charge) {
        let mut partitions = self.partitions.into_iter();
        let topics = plan.topics.iter().map(|topic| TopicAnswer {
            name: topic.name.clone(),
            id: topic.id,
            partitions: partitions.by_ref().take(topic.partitions).collect(),
        });
        (FetchAnswer { error: ErrorCode::None, topics: topics.collect() }, self.charge)
    }

    fn read_one(&mut self, broker: &Broker, plan: &Plan, wanted: &Wanted, from: From) -> PartitionAnswer {
        self.try_read(broker, plan, wanted, from).unwrap_or_else(|code| {
            self.urgent = true;
            let fenced = matches!(code, ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch);
            let partition = wanted.partition.as_ref().ok().filter(|_| fenced);
            let leader = partition.map(|p| (broker.settings.node_id, p.leader_epoch()));
            PartitionAnswer { leader, ..PartitionAnswer::nothing(wanted.index, code) }
        })
    }

    fn try_read(
        &mut self,
        broker: &Broker,
        plan: &Plan,
        wanted: &Wanted,
        from: From,
    ) -> Result<PartitionAnswer, ErrorCode> {
        let Standing { partition, extent, diverging } = Standing::of(broker, plan, wanted)?;
        let end = extent.durable_end;
        let answer = PartitionAnswer {
            high_watermark: end,
            last_stable_offset: end,
            log_start: extent.log_start,
            diverging,
            ..PartitionAnswer::nothing(wanted.index, ErrorCode::None)
        };
        self.urgent |= diverging.is_some(); // with nothing read (P-41)
        if diverging.is_some() || wanted.fetch_offset == end {
            return Ok(answer);
        }
        let wished = plan.max_bytes.saturating_sub(self.bytes).min(wanted.max_bytes);
        let room = self.charge.grow_for_answer(wished);
        let read = self.read_within(broker, partition.key, wanted.fetch_offset..end, room, from);
        let bytes = read.as_ref().map_or(0, |slice| slice.as_ref().map_or(0, |slice| slice.bytes));
        self.charge.resize(self.bytes + bytes); // what was read, no longer what might have been
        let Some(slice) = read.map_err(|error| read_error(&error))? else {
            self.starved.get_or_insert(partition.key);
            return Ok(answer);
        };
        // The log may have begun later since it was looked at: what follows is not what was asked for (P-37).
        let first = slice.batches.first().and_then(|batch| BatchHeader::parse(batch).ok());
        if first.is_none_or(|header| header.base_offset > wanted.fetch_offset) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        plan.check_codecs(&slice.batches)?;
        self.bytes += bytes;
        Ok(PartitionAnswer { batches: slice.batches, ..answer })
    }

    /// The first batch of the answer is returned whole whatever the limits say (P-33); later partitions keep to them. `None` if
    /// there is no room for one batch.
    fn read_within(
        &mut self,
        broker: &Broker,
        key: PartitionKey,
        offsets: Range<Offset>,
        room: usize,
        from: From,
    ) -> Result<Option<ReadSlice>, EngineError> {
        if room == 0 && self.bytes > 0 {
            return Ok(None);
        }
        let slice = match from {
            From::Anywhere => Some(broker.engine.read(key, offsets.start, room, offsets.end)?),
            From::Memory => broker.engine.read_cached(key, offsets.start, room, offsets.end)?,
        };
        self.on_disk |= slice.is_none();
        Ok(slice.filter(|slice| slice.bytes <= room || self.bytes == 0))
    }
}
