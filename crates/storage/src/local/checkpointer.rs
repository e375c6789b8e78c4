//! Taking a checkpoint, step by step: capture, wait for the log, pack, write, rename, read back, give free.
//!
//! The state is captured under the lock in one go; everything after that is one disk operation at a time, the lock free. A
//! checkpoint that cannot be written is given up and tried again when the log has grown as much again; only when it is unknown which names a directory holds
//! does the lane end. Deliberately not here: the file formats (`checkpoint.rs`, `pack.rs`), removing files (`recycler.rs`).

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::checkpoint::{self, CHECKPOINT_DIR, Head, Retained, checkpoint_path};
use super::index::Home;
use super::lane::{CheckpointWish, Lane, Position};
use super::ops::{DiskOp, OpOutput};
use super::options::planted;
use super::pack::{self, PACK_DIR, PackEntry, PackFile, PackRef, pack_path};
use crate::disk::{FileId, is_unreadable};
use crate::planted::PlantedBug;

/// Batches are gathered up to this size before a pack is written on.
const PACK_WRITE_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    WaitDurable,
    CreatePack,
    Gather,
    WritePack,
    SyncPack,
    SyncPackDir,
    Create,
    Write,
    Sync,
    Rename,
    SyncDir,
    ReadBack,
}

/// A batch to be packed: what its entry will be, and where it lies now.
#[derive(Debug, Clone, Copy)]
struct Item {
    entry: PackEntry,
    from: Position,
}

#[derive(Debug)]
struct Job {
    stage: Stage,
    head: Head,
    state: BytesMut,
    items: Vec<Item>,
    /// The next item to be gathered.
    next: usize,
    buffer: BytesMut,
    pack: Option<FileId>,
    pack_id: u64,
    pack_ref: Option<PackRef>,
    written: u64,
    file: Option<FileId>,
    bytes: Bytes,
}

/// The checkpointer's state between two operations.
#[derive(Debug)]
pub(super) struct Checkpointer {
    job: Option<Job>,
    next_number: u64,
    next_pack: u64,
}

impl Checkpointer {
    pub(super) fn new(next_number: u64, next_pack: u64) -> Checkpointer {
        Checkpointer { job: None, next_number, next_pack }
    }

    /// Begins a checkpoint if one is due. `true` if one is under way.
    pub(super) fn begin(&mut self, lane: &mut Lane) -> bool {
        if self.job.is_some() {
            return true;
        }
        let grown = lane.log_bytes_since_checkpoint >= lane.options.checkpoint_bytes;
        if lane.failed.is_some() || (lane.wish == CheckpointWish::None && !grown) || lane.clean_stop.is_some() {
            return false;
        }
        self.job = Some(self.capture(lane));
        true
    }

    fn capture(&mut self, lane: &mut Lane) -> Job {
        let clean = lane.wish == CheckpointWish::Clean;
        lane.wish = CheckpointWish::None;
        lane.log_bytes_since_checkpoint = 0;
        if std::mem::take(&mut lane.packs_thinned) {
            lane.find_live_packs();
        }
        let items: Vec<Item> = unpacked(lane);
        let packs = lane.live_packs.iter().filter_map(|id| lane.packs.get(id)).map(|p| p.reference).collect();
        let head = Head {
            number: self.next_number,
            clean,
            incarnation: lane.options.incarnation,
            position: lane.writer.end,
            next_lsn: lane.next_lsn,
            next_generation: lane.writer.next_generation,
            packs,
        };
        self.next_number += 1;
        let pack_id = self.next_pack;
        self.next_pack += u64::from(!items.is_empty());
        Job {
            stage: Stage::WaitDurable,
            head,
            state: checkpoint::encode_state(&lane.fold),
            items,
            next: 0,
            buffer: BytesMut::new(),
            pack: None,
            pack_id,
            pack_ref: None,
            written: 0,
            file: None,
            bytes: Bytes::new(),
        }
    }

    /// The next operation; `None` while the log is not durable up to the captured position.
    pub(super) fn poll(&mut self, lane: &mut Lane) -> Option<DiskOp> {
        let job = self.job.as_mut()?;
        job.advance(lane);
        job.next_op(lane)
    }

    /// Takes the result of the operation that [`Checkpointer::poll`] gave. Operations that clean up go to `garbage`.
    /// `true` if the last checkpoint of this life is durable now.
    pub(super) fn done(
        &mut self,
        lane: &mut Lane,
        op: &DiskOp,
        result: io::Result<OpOutput>,
        garbage: &mut Vec<DiskOp>,
    ) -> bool {
        let Some(job) = &mut self.job else { return false };
        let result = match result {
            Err(error) if job.stage == Stage::Gather && is_unreadable(&error) => {
                job.leave_out(lane, "a durable batch cannot be read");
                return false;
            }
            other => other,
        };
        let outcome = result.map_err(|e| e.to_string()).and_then(|output| job.take(output));
        match outcome {
            Ok(false) => {}
            Ok(true) => {
                let job = self.job.take().expect("it was here a moment ago");
                let clean = job.head.clean;
                job.install(lane, garbage);
                return clean;
            }
            Err(reason) => {
                let job = self.job.take().expect("it was here a moment ago");
                if op.decides_names() {
                    lane.fail(&format!("a checkpoint's name is not known to be durable: {reason}"));
                } else {
                    job.give_up(lane, &reason, garbage);
                }
            }
        }
        false
    }
}

/// The batches whose only home is the log, by partition and offset. They are the last of each index.
fn unpacked(lane: &Lane) -> Vec<Item> {
    let mut items = Vec::new();
    for (key, partition) in lane.fold.partitions() {
        let entries = &partition.index.entries;
        let first = entries.partition_point(|e| matches!(e.home, Home::Pack { .. }));
        for e in &entries[first..] {
            let Home::Log { generation, offset } = e.home else { continue };
            let (base, last, max_timestamp_ms) = (e.base, e.last, e.max_timestamp_ms);
            let entry = PackEntry { key, base, last, max_timestamp_ms, offset: 0, len: e.len, crc: e.crc };
            items.push(Item { entry, from: Position { generation, offset } });
        }
    }
    items
}

impl Job {
    /// Moves on over the stages that need no operation.
    fn advance(&mut self, lane: &mut Lane) {
        let hasty = planted(&lane.options, PlantedBug::CheckpointWithoutWaitingForDurable);
        if self.stage == Stage::WaitDurable && (hasty || lane.durable + 1 >= self.head.next_lsn) {
            self.stage = if self.items.is_empty() { Stage::Create } else { Stage::CreatePack };
        }
        if self.stage == Stage::Gather {
            while self.next < self.items.len() && self.buffer.len() < PACK_WRITE_BYTES {
                let item = self.items[self.next];
                let cached = lane.tail.get(item.from.generation, item.from.offset, item.entry.len as usize);
                match cached {
                    Some(batch) => self.gather(&batch),
                    None if lane.files.contains_key(&item.from.generation) => return,
                    // Left out of an earlier checkpoint, and its file was used again since.
                    None => self.leave_out(lane, "the file that held a batch is gone"),
                }
            }
            self.stage = Stage::WritePack;
            if self.next == self.items.len() {
                self.close_pack();
            }
        }
        if self.stage == Stage::SyncDir && planted(&lane.options, PlantedBug::LogFreedByNewestCheckpoint) {
            self.stage = Stage::ReadBack;
        }
        if self.stage == Stage::SyncPack && planted(&lane.options, PlantedBug::PackNotSynced) {
            self.stage = Stage::SyncPackDir;
        }
    }

    /// Adds a batch as it is. Should it have rotted, its entry keeps the checksum it ought to have, so that it still shows.
    fn gather(&mut self, batch: &[u8]) {
        self.items[self.next].entry.offset = self.written + self.buffer.len() as u64;
        self.buffer.extend_from_slice(batch);
        self.next += 1;
    }

    /// Goes on without a batch that cannot be had. Its partition is quarantined; a restart sees the hole and does the same.
    fn leave_out(&mut self, lane: &mut Lane, reason: &str) {
        let item = self.items.remove(self.next);
        // What was deleted meanwhile needs nothing.
        if let Ok(partition) = lane.fold.partition_mut(item.entry.key)
            && item.entry.last >= partition.durable_start
        {
            partition.quarantine(item.entry.key, reason);
        }
    }

    fn close_pack(&mut self) {
        let entries: Vec<PackEntry> = self.items.iter().map(|i| i.entry).collect();
        let at = self.written + self.buffer.len() as u64;
        let index_crc = pack::put_index(&mut self.buffer, at, &entries);
        let len = self.written + self.buffer.len() as u64;
        self.pack_ref = Some(PackRef { id: self.pack_id, len, index_crc });
    }

    fn next_op(&mut self, lane: &Lane) -> Option<DiskOp> {
        let (path, tmp) = self.paths();
        let pack = self.pack.unwrap_or(FileId(0));
        let file = self.file.unwrap_or(FileId(0));
        Some(match self.stage {
            Stage::WaitDurable => return None,
            Stage::CreatePack => DiskOp::Create(pack_path(self.pack_id)),
            Stage::Gather => {
                let item = self.items[self.next];
                let log = lane.files.get(&item.from.generation)?;
                DiskOp::Read { file: log.file, offset: item.from.offset, length: item.entry.len as usize }
            }
            Stage::WritePack => DiskOp::Write { file: pack, offset: self.written, bytes: self.buffer.clone().freeze() },
            Stage::SyncPack => DiskOp::Sync(pack),
            Stage::SyncPackDir => DiskOp::SyncDir(PACK_DIR),
            Stage::Create => DiskOp::Create(tmp),
            Stage::Write => DiskOp::Write { file, offset: 0, bytes: self.bytes.clone() },
            Stage::Sync => DiskOp::Sync(file),
            Stage::Rename => DiskOp::Rename { from: tmp, to: path },
            Stage::SyncDir => DiskOp::SyncDir(CHECKPOINT_DIR),
            Stage::ReadBack => DiskOp::Read { file, offset: 0, length: self.bytes.len() },
        })
    }

    fn paths(&self) -> (String, String) {
        let path = checkpoint_path(self.head.number);
        let tmp = format!("{path}.tmp");
        (path, tmp)
    }

    /// Takes what an operation gave; `true` when the checkpoint is complete.
    fn take(&mut self, output: OpOutput) -> Result<bool, String> {
        self.stage = match (self.stage, output) {
            (Stage::CreatePack, OpOutput::File(file)) => {
                self.pack = Some(file);
                pack::put_head(&mut self.buffer);
                Stage::Gather
            }
            (Stage::Gather, OpOutput::Bytes(batch)) => {
                self.gather(&batch);
                Stage::Gather
            }
            (Stage::WritePack, _) => {
                self.written += self.buffer.len() as u64;
                self.buffer.clear();
                if self.pack_ref.is_some() { Stage::SyncPack } else { Stage::Gather }
            }
            (Stage::SyncPack, _) => Stage::SyncPackDir,
            (Stage::SyncPackDir, _) => Stage::Create,
            (Stage::Create, OpOutput::File(file)) => {
                self.file = Some(file);
                self.head.packs.extend(self.pack_ref);
                self.bytes = checkpoint::encode(&self.head, &self.state).freeze();
                Stage::Write
            }
            (Stage::Write, _) => Stage::Sync,
            (Stage::Sync, _) => Stage::Rename,
            (Stage::Rename, _) => Stage::SyncDir,
            (Stage::SyncDir, _) => Stage::ReadBack,
            (Stage::ReadBack, OpOutput::Bytes(back)) => {
                return if back == self.bytes { Ok(true) } else { Err("read back with other bytes".into()) };
            }
            (stage, output) => unreachable!("{stage:?} does not give {output:?}"),
        };
        Ok(false)
    }

    /// The checkpoint is durable: batches get their new homes, and what only older checkpoints needed is given free.
    fn install(self, lane: &mut Lane, garbage: &mut Vec<DiskOp>) {
        garbage.extend(self.file.map(DiskOp::Close));
        if let (Some(file), Some(reference)) = (self.pack, self.pack_ref) {
            lane.packs.insert(reference.id, Arc::new(PackFile { file, reference }));
            if rehome(lane, &self.items, reference.id) {
                lane.live_packs.insert(reference.id);
            }
        }
        let (position, number) = (self.head.position, self.head.number);
        let packs = self.head.packs.iter().map(|p| p.id).collect();
        lane.retained.push(Retained { number, position, packs });
        while lane.retained.len() > 2 {
            let oldest = lane.retained.remove(0);
            garbage.push(DiskOp::Remove(checkpoint_path(oldest.number)));
        }
        lane.tail.forget_below(position.generation, position.offset);
        lane.give_free();
        lane.wish_for_dead_packs();
        lane.stats.checkpoints += 1;
    }

    fn give_up(self, lane: &mut Lane, reason: &str, garbage: &mut Vec<DiskOp>) {
        tracing::warn!(reason, number = self.head.number, "the checkpoint was given up; it will be tried again");
        let (path, tmp) = self.paths();
        let renamed = self.stage == Stage::ReadBack;
        if renamed {
            garbage.extend(self.file.into_iter().chain(self.pack).map(DiskOp::Close));
        }
        for (file, path) in [(self.file, if renamed { path } else { tmp }), (self.pack, pack_path(self.pack_id))] {
            // A checkpoint that reads back wrong has its name: its pack must stay as long as that name might.
            if let Some(file) = file.filter(|_| !renamed) {
                garbage.push(DiskOp::Close(file));
                garbage.push(DiskOp::Remove(path));
            }
        }
        if self.head.clean {
            lane.clean_stop = Some(Err(reason.into()));
        }
    }
}

/// Points the entries at the pack. `true` if any of them is still there.
fn rehome(lane: &mut Lane, items: &[Item], pack: u64) -> bool {
    let mut live = false;
    for item in items {
        let Ok(partition) = lane.fold.partition_mut(item.entry.key) else { continue };
        let Some(at) = partition.index.find(item.entry.base) else { continue };
        partition.index.entries[at].home = Home::Pack { pack, offset: item.entry.offset };
        live = true;
    }
    live
}

impl Lane {
    /// Retires what no retained checkpoint needs: log files wholly below the older one, packs that neither refers to.
    pub(super) fn give_free(&mut self) {
        let newest = planted(&self.options, PlantedBug::LogFreedByNewestCheckpoint);
        let floor = match (self.retained.first(), self.retained.last()) {
            (_, Some(last)) if newest => last.position.generation,
            (Some(first), Some(_)) if self.retained.len() == 2 => first.position.generation,
            _ => 0,
        };
        let kept = self.files.split_off(&floor);
        self.retiring.extend(std::mem::replace(&mut self.files, kept).into_values());
        let needed = |id: &u64| self.live_packs.contains(id) || self.retained.iter().any(|r| r.packs.contains(id));
        let dead: Vec<u64> = self.packs.keys().copied().filter(|id| !needed(id)).collect();
        self.retiring_packs.extend(dead.iter().filter_map(|id| self.packs.remove(id)));
    }

    /// Wants another checkpoint if much lies in packs that only the retained ones still need: each frees what it drops.
    pub(super) fn wish_for_dead_packs(&mut self) {
        let dead = self.packs.values().filter(|p| !self.live_packs.contains(&p.reference.id));
        if dead.map(|p| p.reference.len).sum::<u64>() >= self.options.checkpoint_bytes {
            self.wish = self.wish.max(CheckpointWish::Wanted);
        }
    }

    /// Finds again which packs hold batches that are still there. After something was deleted.
    pub(super) fn find_live_packs(&mut self) {
        self.live_packs.clear();
        for (_, partition) in self.fold.partitions() {
            for entry in &partition.index.entries {
                if let Home::Pack { pack, .. } = entry.home {
                    self.live_packs.insert(pack);
                }
            }
        }
    }
}
