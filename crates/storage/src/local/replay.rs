//! Replay of the log from a checkpoint on, and the judgement of the first record that is missing.
//!
//! The rules, in order, where record n is not valid at its place in generation g:
//! 1. The lowest generation above g that begins with a valid record n goes on: the file was full, or a recovery cut it here.
//! 2. If no valid record and no later header behind says that n was durable, and nothing of the file was taken away, this is the
//!    end: a torn tail that nobody was told of.
//! 3. Otherwise acknowledged data has rotted, or is gone. What lies behind is kept. If the record's head is legible, its partitions are
//!    quarantined; if not, all are for which no later record proves that they end where they seemed to.
//!
//! Deliberately not here: making the recovered tail durable (`recovery.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use pagemark_wire::types::{Offset, PartitionKey};

use super::fold::{self, Fold};
use super::index::BatchEntry;
use super::lane::Position;
use super::log_file::FIRST_RECORD_AT;
use super::options::{LocalOptions, planted};
use super::record::{ALIGN, Body, Kind, Parsed, Record};
use super::scan::{FoundFile, LogScan};
use crate::disk::Disk;
use crate::engine::Lsn;
use crate::planted::PlantedBug;

/// Why a replay cannot be finished.
#[derive(Debug)]
pub(super) enum ReplayError {
    Io(io::Error),
    /// A record of a kind that this version does not know.
    UnknownRecord(u8),
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> ReplayError {
        ReplayError::Io(error)
    }
}

/// How far sequence numbers jump where unknown many records are gone: none is given twice, and the next start sees the gap.
const SKIPPED_LSNS: u64 = 1_000_000_000;

/// A place that no file has, like that of an empty directory's checkpoint.
const NOWHERE: Position = Position { generation: 0, offset: FIRST_RECORD_AT };

/// A record that is not known to be durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct TailPiece {
    pub lsn: u64,
    pub at: Position,
    pub len: usize,
}

/// What a replay is doing, and what it found.
pub(super) struct Replay<'a> {
    disk: &'a dyn Disk,
    options: &'a LocalOptions,
    files: &'a BTreeMap<u64, FoundFile>,
    scan: Option<LogScan<'a>>,
    pub fold: Fold,
    /// Where the next record would be.
    pub at: Position,
    /// Its sequence number.
    pub next_lsn: u64,
    /// What is known to be durable.
    pub durable_lsn: u64,
    pub tail: Vec<TailPiece>,
    pub records: u64,
    /// Records other than flush records.
    pub changes: u64,
    pub damaged_records: u64,
    /// Of flush records, which hold nothing.
    pub damaged_flushes: u64,
    pub metadata_damaged: bool,
    /// There is a file that may hold what follows, and nobody can tell.
    pub end_is_illegible: bool,
    /// The log does not go on from where it began: the place is gone, or many records in a row that filled the rest of a file.
    pub gap: bool,
    suspects: BTreeSet<PartitionKey>,
    evidence: Option<u64>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        disk: &'a dyn Disk,
        options: &'a LocalOptions,
        files: &'a BTreeMap<u64, FoundFile>,
        fold: Fold,
        at: Position,
        next_lsn: u64,
    ) -> Replay<'a> {
        let scan = files.get(&at.generation).map(|found| LogScan::new(disk, *found, options));
        Replay {
            disk,
            options,
            files,
            scan,
            fold,
            at,
            next_lsn,
            durable_lsn: next_lsn.saturating_sub(1),
            tail: Vec::new(),
            records: 0,
            changes: 0,
            damaged_records: 0,
            damaged_flushes: 0,
            metadata_damaged: false,
            end_is_illegible: false,
            gap: false,
            suspects: BTreeSet::new(),
            evidence: None,
        }
    }

    /// Replays to the end of the log.
    pub(super) fn run(&mut self) -> Result<(), ReplayError> {
        loop {
            let (at, lsn) = (self.at.offset, self.next_lsn);
            let parsed = self.scan.as_mut().map_or(Ok(Parsed::Invalid), |scan| scan.record(at, lsn))?;
            match parsed {
                Parsed::Valid(record) => self.take(record),
                Parsed::Unknown(kind) => return Err(ReplayError::UnknownRecord(kind)),
                Parsed::Invalid => {
                    if !self.step_over()? {
                        break;
                    }
                }
            }
        }
        self.judge_partitions();
        Ok(())
    }

    fn go_to(&mut self, generation: u64, offset: u64) {
        if self.at.generation != generation {
            self.scan = self.files.get(&generation).map(|found| LogScan::new(self.disk, *found, self.options));
        }
        self.at = Position { generation, offset };
    }

    fn take(&mut self, record: Record) {
        let (lsn, at) = (self.next_lsn, self.at);
        self.tail.push(TailPiece { lsn, at, len: record.size });
        self.records += 1;
        self.next_lsn += 1;
        self.at.offset += record.size as u64;
        if !matches!(record.body, Body::Flush { .. }) {
            self.changes += 1;
        }
        match record.body {
            Body::Flush { durable_lsn } => self.known_durable(durable_lsn),
            Body::Group(batches) => {
                for (key, offset, batch) in batches {
                    let at = Position { generation: at.generation, offset: at.offset + offset as u64 };
                    self.take_batch(key, &batch, lsn, at);
                }
            }
            Body::Meta(changes) => changes.into_iter().for_each(|c| self.fold.meta.apply(Lsn(lsn), c)),
            Body::CreateTopic { topic, partitions, first_epoch } => self.fold.create(topic, partitions, first_epoch),
            Body::DeleteTopic { topic } => {
                self.fold.delete(topic);
                self.suspects.retain(|key| key.topic != topic);
            }
            Body::LeaderEpochs(entries) => {
                for (key, epoch) in entries {
                    let Ok(partition) = self.fold.partition_mut(key) else {
                        self.topic_is_lost(key);
                        continue;
                    };
                    if epoch.start == partition.log_end {
                        self.suspects.remove(&key);
                    }
                    partition.begin_epoch(epoch);
                }
            }
            Body::LogStart { .. } if planted(self.options, PlantedBug::LogStartNotReplayed) => {}
            Body::LogStart { partition, start } => self.take_start(lsn, partition, start),
        }
    }

    /// Whatever a recovery shows is durable, so that a log start takes effect at once.
    fn take_start(&mut self, lsn: u64, key: PartitionKey, start: Offset) {
        let Ok(partition) = self.fold.partition_mut(key) else { return self.topic_is_lost(key) };
        if start > partition.log_end {
            return partition.quarantine(key, "the log begins behind its end");
        }
        if self.fold.advance_start(lsn, key, start).is_ok() {
            self.fold.settle(lsn);
        }
    }

    fn known_durable(&mut self, durable_lsn: u64) {
        // Never beyond what was read: a damaged log must not make its unread part look durable.
        self.durable_lsn = self.durable_lsn.max(durable_lsn.min(self.next_lsn.saturating_sub(1)));
        let durable_lsn = self.durable_lsn;
        self.tail.retain(|piece| piece.lsn > durable_lsn);
    }

    fn take_batch(&mut self, key: PartitionKey, batch: &Bytes, lsn: u64, at: Position) {
        let Ok(partition) = self.fold.partition_mut(key) else { return self.topic_is_lost(key) };
        let Some(header) = fold::whole_batch(&batch.clone().into()) else {
            return partition.quarantine(key, "the log holds something that is not a batch");
        };
        if header.last_offset() < partition.log_start {
            return;
        }
        let entry = BatchEntry::new(&header, crc32c::crc32c(batch), lsn, at);
        if header.base_offset < partition.log_end {
            let known = partition.index.find(header.base_offset).map(|entry| entry.crc);
            if known != Some(entry.crc) {
                partition.quarantine(key, "two different batches claim the same offset");
            }
            return;
        }
        if header.base_offset == partition.log_end {
            self.suspects.remove(&key);
        }
        partition.accept(&header, entry);
    }

    /// A record is of a partition that does not exist: that which made it is gone. Nothing is made up in its place.
    fn topic_is_lost(&mut self, key: PartitionKey) {
        if !std::mem::replace(&mut self.metadata_damaged, true) {
            tracing::error!(partition = %key, "the log holds records of a partition whose creation has been lost");
        }
    }

    /// Record `next_lsn` is not at its place. `false` if this is the end of the log.
    fn step_over(&mut self) -> Result<bool, ReplayError> {
        let expected = self.next_lsn;
        let later = self.files.range(self.at.generation + 1..).filter(|(_, f)| f.header.first_lsn == expected);
        let later: Vec<u64> = later.map(|(generation, _)| *generation).collect();
        for generation in &later {
            let mut scan = LogScan::new(self.disk, self.files[generation], self.options);
            if scan.record(FIRST_RECORD_AT, expected)? != Parsed::Invalid {
                self.known_durable(self.files[generation].header.durable_lsn);
                self.go_to(*generation, FIRST_RECORD_AT);
                return Ok(true);
            }
        }
        // A file that was begun with this very record is where it would be, not behind the cut.
        let place =
            later.first().map_or(self.at, |generation| Position { generation: *generation, offset: FIRST_RECORD_AT });
        let cut_short = self.is_cut_short(place);
        if self.evidence(place)? < expected && !cut_short && !std::mem::take(&mut self.end_is_illegible) {
            return Ok(false);
        }
        self.go_to(place.generation, place.offset);
        self.step_over_damage(cut_short)
    }

    /// Whether the file that must hold a place is gone, or has lost its end. A checkpoint's position was durable with its file's
    /// name, and a filled file had all its bytes before its header was written; so no crash leaves either behind. A file that was
    /// only just begun may be of any length.
    fn is_cut_short(&self, place: Position) -> bool {
        let Some(found) = self.files.get(&place.generation) else { return place.generation != NOWHERE.generation };
        let was_reached = place == self.at;
        // The padding behind a file's last record may be missing as well.
        (was_reached && found.len.next_multiple_of(ALIGN as u64) < place.offset)
            || (found.header.filled && found.len < found.header.capacity)
    }

    /// The greatest sequence number that anything at or behind a place says to be durable.
    fn evidence(&mut self, place: Position) -> Result<u64, ReplayError> {
        if let Some(known) = self.evidence {
            return Ok(known);
        }
        let mut greatest = 0;
        for (generation, found) in self.files.range(place.generation..) {
            let mut scan = LogScan::new(self.disk, *found, self.options);
            let from = if *generation == place.generation { place.offset } else { FIRST_RECORD_AT };
            greatest = greatest.max(scan.greatest_durable(from)?);
            if *generation > self.at.generation {
                // A file is begun only when everything in front of its first record is synced.
                greatest = greatest.max(found.header.durable_lsn).max(found.header.first_lsn.saturating_sub(1));
            }
        }
        self.evidence = Some(greatest);
        Ok(greatest)
    }

    fn step_over_damage(&mut self, cut_short: bool) -> Result<bool, ReplayError> {
        let (at, lsn) = (self.at, self.next_lsn);
        let legible = self.scan.as_mut().map_or(Ok(None), |scan| scan.legible(at.offset, lsn))?;
        if let Some(legible) = legible {
            if legible.kind == Kind::Flush {
                self.step_over_flush(Position { offset: at.offset + legible.size as u64, ..at });
                return Ok(true);
            }
            self.damaged_records += 1;
            tracing::error!(
                generation = at.generation,
                offset = at.offset,
                lsn,
                "an acknowledged log record has rotted"
            );
            self.metadata_damaged |= legible.kind != Kind::Group;
            for key in legible.partitions {
                match self.fold.partition_mut(key) {
                    Ok(partition) => partition.quarantine(key, "acknowledged records have rotted in the log"),
                    Err(_) => self.topic_is_lost(key),
                }
            }
            self.at.offset += legible.size as u64;
            self.next_lsn += 1;
            return Ok(true);
        }
        let next = self.find_next(at, lsn)?;
        if let Some((to, record)) = &next
            && *to == (Position { generation: at.generation, offset: at.offset + super::record::FLUSH_LEN as u64 })
            && record.lsn == lsn + 1
            && !cut_short
        {
            // Nothing but a flush record is so small.
            self.step_over_flush(*to);
            return Ok(true);
        }
        self.damaged_records += 1;
        tracing::error!(
            generation = at.generation,
            offset = at.offset,
            lsn,
            cut_short,
            "acknowledged log records have rotted illegibly, or a log file is missing or shorter than it was"
        );
        self.metadata_damaged = true;
        let goes_on = |(to, record): &(Position, Record)| to.generation == at.generation || record.lsn == lsn + 1;
        self.gap |= cut_short || next.as_ref().is_some_and(|next| !goes_on(next));
        self.suspects.extend(self.fold.partitions().map(|(key, _)| key));
        let Some((to, record)) = next else {
            self.next_lsn = self.evidence.unwrap_or(lsn).max(lsn).saturating_add(SKIPPED_LSNS);
            if cut_short {
                self.at = NOWHERE;
            }
            return Ok(false);
        };
        self.next_lsn = record.lsn;
        self.go_to(to.generation, to.offset);
        Ok(true)
    }

    /// A flush record has rotted: nothing is lost, and the log goes on.
    fn step_over_flush(&mut self, next: Position) {
        tracing::warn!(
            generation = self.at.generation,
            offset = self.at.offset,
            "a flush record in the log has rotted"
        );
        self.damaged_flushes += 1;
        self.at = next;
        self.next_lsn += 1;
    }

    fn find_next(&self, at: Position, lsn: u64) -> Result<Option<(Position, Record)>, ReplayError> {
        for (generation, found) in self.files.range(at.generation..) {
            let mut scan = LogScan::new(self.disk, *found, self.options);
            let from = if *generation == at.generation { at.offset } else { FIRST_RECORD_AT };
            if let Some((offset, record)) = scan.next_valid(from, lsn)? {
                return Ok(Some((Position { generation: *generation, offset }, record)));
            }
        }
        Ok(None)
    }

    /// Quarantines what is not proven: suspects that no later record cleared, and partitions with a hole.
    fn judge_partitions(&mut self) {
        for (key, partition) in self.fold.partitions_mut() {
            if self.suspects.contains(&key) {
                partition.quarantine(key, "acknowledged records of it may have rotted in the log");
            }
            if !partition.index.is_continuous(partition.log_start, partition.log_end) {
                partition.quarantine(key, "batches are missing");
            }
        }
    }
}
