//! Opening a data directory: checkpoint, replay, rewrite of the recovered tail, and which files are used for what.
//!
//! Nothing found behind the checkpoint is visible before it was written again and synced: after a process was killed it may sit
//! in the page cache alone, and a sync that failed before may have marked those pages clean. Writing never goes on in a
//! recovered file: behind its cut may lie valid records that nobody was told of.
//! Deliberately not here: judging the log (`replay.rs`), threads, the lock on the directory.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use pagemark_core::partition::ProducerTable;
use pagemark_wire::types::PartitionKey;

use super::OpenError;
use super::checkpoint::{self, CHECKPOINT_DIR, Head, Retained, Unreadable, checkpoint_of, checkpoint_path};
use super::checkpointer::Checkpointer;
use super::flusher::Flusher;
use super::fold::{Fold, Owners};
use super::index::{BatchEntry, Home};
use super::lane::{CheckpointWish, EngineStats, Lane, Position, Writer};
use super::log_file::{FIRST_RECORD_AT, FileHeader, HeaderFound, LOG_DIR, LogFile, ReadySlot, slot_of, slot_path};
use super::ops::DiskOp;
use super::options::{LocalOptions, planted};
use super::pack::{self, PACK_DIR, PackEntry, PackFile, pack_of, pack_path};
use super::recycler::Background;
use super::replay::{Replay, ReplayError};
use super::scan::FoundFile;
use super::tail_cache::TailCache;
use crate::disk::{Disk, FileId, is_unreadable};
use crate::planted::PlantedBug;

/// What opening a directory found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoverySummary {
    /// The last life ended with a close, and nothing was written since.
    pub clean: bool,
    /// The newest checkpoint was unreadable; the one before it was used.
    pub fell_back: bool,
    /// Log records read behind the checkpoint.
    pub records_replayed: u64,
    /// Bytes that were written again and synced before anything was visible.
    pub tail_bytes_rewritten: u64,
    /// Acknowledged log records that could not be read any more.
    pub damaged_records: u64,
    /// Topics or settings may have been among them.
    pub metadata_damaged: bool,
    /// Partitions that may not be used, with the reason.
    pub quarantined: Vec<(PartitionKey, Arc<str>)>,
}

/// An engine's parts, ready to run.
pub(super) struct Recovered {
    pub lane: Lane,
    pub flusher: Flusher,
    pub background: Background,
    pub summary: RecoverySummary,
}

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |error| OpenError::Io { doing, error }
}

/// A checkpoint that was read whole, and the packs it refers to with their indexes.
struct Candidate {
    head: Head,
    fold: Fold,
    packs: Vec<(PackFile, Option<Vec<PackEntry>>)>,
}

const DIRS: [&str; 3] = [LOG_DIR, PACK_DIR, CHECKPOINT_DIR];

/// Opens what is in `disk`, or makes an empty one. Until it is clear that the start is not refused, nothing is changed.
pub(super) fn open(disk: &dyn Disk, options: &Arc<LocalOptions>) -> Result<Recovered, OpenError> {
    let mut found = find_checkpoints(disk)?;
    if found.numbers.is_empty() {
        initialise(disk, options, &found)?;
        found = find_checkpoints(disk)?;
    }
    let mut candidates = Vec::new();
    for number in found.numbers.iter().rev() {
        candidates.extend(read_checkpoint(disk, *number)?);
        if candidates.len() == 2 {
            break;
        }
    }
    if candidates.is_empty() {
        return Err(OpenError::NoValidCheckpoint);
    }
    // The newest whose packs can all be indexed, else the newest.
    let whole = |c: &Candidate| c.packs.iter().all(|(_, index)| index.is_some());
    let chosen = candidates.iter().position(whole).unwrap_or(0);
    let incarnations = candidates.iter().map(|c| c.head.incarnation).collect();
    let files = find_log_files(disk, incarnations)?;
    assemble(disk, options, candidates, chosen, &found, files)
}

/// What is in the checkpoints' directory.
struct FoundCheckpoints {
    /// Ascending.
    numbers: Vec<u64>,
    /// What a crash left half written.
    half_written: Vec<String>,
}

/// The files in one of our directories, none if it is not there.
fn list(disk: &dyn Disk, dir: &str) -> Result<Vec<String>, OpenError> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(io_error("listing a directory")),
    }
}

fn find_checkpoints(disk: &dyn Disk) -> Result<FoundCheckpoints, OpenError> {
    let names = list(disk, CHECKPOINT_DIR)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| checkpoint_of(name)).collect();
    numbers.sort_unstable();
    let half_written = names.iter().filter(|name| name.ends_with(".tmp"));
    Ok(FoundCheckpoints {
        numbers,
        half_written: half_written.map(|name| format!("{CHECKPOINT_DIR}/{name}")).collect(),
    })
}

/// Makes the directories and their names durable, and removes what a crashed checkpoint left half written.
fn prepare(disk: &dyn Disk, found: &FoundCheckpoints) -> Result<(), OpenError> {
    for dir in DIRS {
        disk.create_dir(dir).map_err(io_error("making the directories"))?;
    }
    for dir in [""].into_iter().chain(DIRS) {
        disk.sync_dir(dir).map_err(io_error("making the directories durable"))?;
    }
    for path in &found.half_written {
        disk.remove(path).map_err(io_error("removing a half-written checkpoint"))?;
    }
    Ok(())
}

/// A directory without a checkpoint is new only if it is empty: the first checkpoint is durable before any other file is made.
fn initialise(disk: &dyn Disk, options: &LocalOptions, found: &FoundCheckpoints) -> Result<(), OpenError> {
    for dir in [LOG_DIR, PACK_DIR] {
        if !list(disk, dir)?.is_empty() {
            return Err(OpenError::NoValidCheckpoint);
        }
    }
    prepare(disk, found)?;
    let position = Position { generation: 0, offset: FIRST_RECORD_AT };
    let incarnation = options.incarnation;
    let head =
        Head { number: 1, clean: true, incarnation, position, next_lsn: 1, next_generation: 1, packs: Vec::new() };
    let bytes = checkpoint::encode(&head, &checkpoint::encode_state(&Fold::default()));
    let path = checkpoint_path(1);
    let tmp = format!("{path}.tmp");
    let write = || -> io::Result<()> {
        let file = disk.create(&tmp)?;
        disk.write_at(file, 0, &bytes)?;
        disk.sync_data(file)?;
        disk.close(file);
        disk.rename(&tmp, &path)?;
        disk.sync_dir(CHECKPOINT_DIR)?;
        let file = disk.create(&slot_path(1))?;
        disk.write_at(file, 0, &vec![0; options.first_file_bytes.max(FIRST_RECORD_AT) as usize])?;
        disk.sync_data(file)?;
        disk.close(file);
        disk.sync_dir(LOG_DIR)
    };
    write().map_err(io_error("making an empty data directory"))
}

/// `None` if it is damaged, or lies where the disk cannot read.
fn read_checkpoint(disk: &dyn Disk, number: u64) -> Result<Option<Candidate>, OpenError> {
    let read = || -> io::Result<Bytes> {
        let file = disk.open(&checkpoint_path(number))?;
        let bytes = disk.len(file).and_then(|len| disk.read_at(file, 0, len as usize));
        disk.close(file);
        bytes
    };
    let bytes = match read() {
        Err(error) if is_unreadable(&error) => {
            tracing::error!(number, %error, "a checkpoint cannot be read");
            return Ok(None);
        }
        bytes => bytes.map_err(io_error("reading a checkpoint"))?,
    };
    let (head, fold) = match checkpoint::decode(&bytes) {
        Ok((head, fold)) if head.number == number => (head, fold),
        Ok(_) | Err(Unreadable::Damaged) => {
            tracing::error!(number, "a checkpoint is damaged");
            return Ok(None);
        }
        Err(Unreadable::NewerFormat(found)) => return Err(OpenError::NewerFormat { found }),
    };
    let mut packs = Vec::new();
    for reference in &head.packs {
        let file = match disk.open(&pack_path(reference.id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_unreadable(&error) => {
                tracing::error!(pack = reference.id, %error, "a pack is missing");
                packs.push((PackFile { file: FileId(0), reference: *reference }, None));
                continue;
            }
            Err(error) => return Err(OpenError::Io { doing: "opening a pack", error }),
        };
        let index = match pack::read_index(disk, file, reference) {
            Err(error) if is_unreadable(&error) => None,
            read => read.map_err(io_error("reading a pack's index"))?,
        };
        if index.is_none() {
            tracing::error!(pack = reference.id, "a pack's index is damaged or cannot be read");
        }
        packs.push((PackFile { file, reference: *reference }, index));
    }
    Ok(Some(Candidate { head, fold, packs }))
}

/// What is in the log's directory.
struct LogDir {
    used: BTreeMap<u64, FoundFile>,
    /// Zero-filled and never used.
    blank: Vec<(u64, FileId, u64)>,
    /// Whether the zeros are known to be on stable storage: a killed process leaves them in the cache, and a file whose zeros
    /// may vanish proves nothing by being shorter later.
    blank_synced: bool,
    next_slot: u64,
}

fn find_log_files(disk: &dyn Disk, mut incarnations: BTreeSet<u64>) -> Result<LogDir, OpenError> {
    let doing = "reading a log file's header";
    let mut dir = LogDir { used: BTreeMap::new(), blank: Vec::new(), blank_synced: false, next_slot: 1 };
    let mut headless = Vec::new();
    for name in list(disk, LOG_DIR)? {
        let Some(slot) = slot_of(&name) else { continue };
        dir.next_slot = dir.next_slot.max(slot + 1);
        let file = disk.open(&slot_path(slot)).map_err(io_error("opening a log file"))?;
        let len = disk.len(file).map_err(io_error(doing))?;
        let head = match disk.read_at(file, 0, len.min(FIRST_RECORD_AT) as usize) {
            // Neither blank nor a header.
            Err(error) if is_unreadable(&error) => Bytes::from_static(&[0xff]),
            read => read.map_err(io_error(doing))?,
        };
        match FileHeader::decode(&head) {
            HeaderFound::NewerFormat(found) => return Err(OpenError::NewerFormat { found }),
            HeaderFound::Valid(header) => {
                incarnations.insert(header.incarnation);
                dir.used.insert(header.generation, FoundFile { slot, file, len, header });
            }
            HeaderFound::Blank | HeaderFound::Damaged => {
                headless.push((slot, file, len, head.iter().all(|b| *b == 0)));
            }
        }
    }
    for (slot, file, len, blank) in headless {
        let guessed = match guess_header(disk, file, len, &incarnations) {
            Err(error) if is_unreadable(&error) => None,
            guessed => guessed.map_err(io_error(doing))?,
        };
        match guessed {
            Some(header) => {
                dir.used.insert(header.generation, FoundFile { slot, file, len, header });
            }
            None if blank => dir.blank.push((slot, file, len)),
            None => {
                tracing::error!(slot, "a log file's header and first record are damaged; the file is left alone");
                disk.close(file);
            }
        }
    }
    Ok(dir)
}

/// The header of a file that has none but begins with a valid record of a known life: both copies have rotted.
fn guess_header(
    disk: &dyn Disk,
    file: FileId,
    len: u64,
    incarnations: &BTreeSet<u64>,
) -> io::Result<Option<FileHeader>> {
    use super::record::{self, HEAD_LEN, Head as RecordHead, Parsed, Seal};
    if len < FIRST_RECORD_AT + HEAD_LEN as u64 {
        return Ok(None);
    }
    let room = usize::try_from(len - FIRST_RECORD_AT).unwrap_or(usize::MAX);
    let Some(head) = RecordHead::peek(&disk.read_at(file, FIRST_RECORD_AT, HEAD_LEN)?, room) else { return Ok(None) };
    let bytes = disk.read_at(file, FIRST_RECORD_AT, head.len)?;
    let (generation, first_lsn) = (head.generation, head.lsn);
    let made_it = |i: &&u64| matches!(record::parse(&bytes, Seal::new(**i, generation), true), Parsed::Valid(_));
    Ok(incarnations.iter().find(made_it).map(|incarnation| {
        tracing::error!(generation, "a log file's header has rotted");
        let incarnation = *incarnation;
        FileHeader { generation, first_lsn, durable_lsn: 0, capacity: len, incarnation, filled: false }
    }))
}

fn assemble(
    disk: &dyn Disk,
    options: &Arc<LocalOptions>,
    candidates: Vec<Candidate>,
    chosen: usize,
    found: &FoundCheckpoints,
    mut log: LogDir,
) -> Result<Recovered, OpenError> {
    let last_number = found.numbers.last().copied().unwrap_or(1);
    let mut summary = RecoverySummary::default();
    let retained = retained(&candidates);
    let (basis, packs) = open_basis(disk, options, candidates, chosen);
    let Candidate { head, fold, .. } = basis;
    summary.fell_back = head.number != last_number;
    let mut replay = Replay::new(disk, options, &log.used, fold, head.position, head.next_lsn);
    replay.run().map_err(|error| match error {
        ReplayError::Io(error) => OpenError::Io { doing: "reading the log", error },
        ReplayError::UnknownRecord(kind) => OpenError::UnknownRecord { kind },
    })?;
    prepare(disk, found)?;
    log.blank_synced = log.blank.iter().all(|(_, file, _)| disk.sync_data(*file).is_ok());
    let later_file = log.used.range(head.next_generation..).next().is_some();
    summary.clean =
        head.clean && !summary.fell_back && replay.changes == 0 && replay.damaged_records == 0 && !later_file;
    summary.records_replayed = replay.records;
    summary.damaged_records = replay.damaged_records;
    summary.metadata_damaged = replay.metadata_damaged;
    if !planted(options, PlantedBug::TailExposedBeforeRewrite) {
        summary.tail_bytes_rewritten = rewrite_tail(disk, &replay, &log.used)?;
    }
    let Replay { mut fold, at, next_lsn, .. } = replay;
    let quarantined = fold.partitions().filter_map(|(key, p)| Some((key, p.quarantined.clone()?)));
    summary.quarantined = quarantined.collect();
    let (mut garbage, greatest_pack) = sweep_packs(disk, &packs)?;
    // Damaged ones, and those that a life left behind because it ended too early.
    let rest = found.numbers.iter().filter(|number| retained.iter().all(|r| r.number != **number));
    garbage.extend(rest.map(|number| DiskOp::Remove(checkpoint_path(*number))));
    for (slot, file, _) in log.blank.iter().filter(|(_, _, len)| !usable(options, *len)) {
        garbage.extend([DiskOp::Close(*file), DiskOp::Remove(slot_path(*slot))]);
    }
    let next_pack = packs.keys().copied().chain(retained.iter().flat_map(|r| r.packs.iter().copied()));
    let next_pack = next_pack.max().unwrap_or(0).max(greatest_pack) + 1;
    let checkpointer = Checkpointer::new(last_number + 1, next_pack);
    if summary.metadata_damaged {
        fold.meta.skip_ids();
    }
    let mut lane = build_lane(options, fold, (at, next_lsn, head.next_generation), log, retained, packs);
    reuse_retired(&mut lane);
    if !summary.clean {
        lane.begin_epochs();
        lane.wish = CheckpointWish::Wanted;
    }
    let mut flusher = Flusher::default();
    flush_at_start(disk, &mut lane, &mut flusher)?;
    Ok(Recovered { lane, flusher, background: Background::new(checkpointer, garbage), summary })
}

/// The checkpoint that recovery begins with, its indexes restored, and the packs of all candidates, each opened once.
fn open_basis(
    disk: &dyn Disk,
    options: &LocalOptions,
    candidates: Vec<Candidate>,
    chosen: usize,
) -> (Candidate, BTreeMap<u64, Arc<PackFile>>) {
    let mut packs = BTreeMap::new();
    let mut basis = None;
    for (i, mut candidate) in candidates.into_iter().enumerate() {
        if i == chosen {
            restore_indexes(&mut candidate, options);
        }
        for (pack, _) in std::mem::take(&mut candidate.packs) {
            match packs.entry(pack.reference.id) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Arc::new(pack));
                }
                // Opened for the other checkpoint as well; once is enough.
                Entry::Occupied(_) => disk.close(pack.file),
            }
        }
        if i == chosen {
            basis = Some(candidate);
        }
    }
    (basis.expect("one of the candidates was chosen"), packs)
}

/// Whether a blank file was filled to its end.
fn usable(options: &LocalOptions, len: u64) -> bool {
    (len == options.log_file_bytes || len == options.first_file_bytes) && len > FIRST_RECORD_AT
}

/// The checkpoints that a next recovery may choose, older first.
fn retained(candidates: &[Candidate]) -> Vec<Retained> {
    let one = |c: &Candidate| Retained {
        number: c.head.number,
        position: c.head.position,
        packs: c.head.packs.iter().map(|p| p.id).collect(),
    };
    candidates.iter().rev().map(one).collect()
}

/// Gives the partitions of a checkpoint their batches back, from the packs' indexes.
fn restore_indexes(candidate: &mut Candidate, options: &LocalOptions) {
    for (pack, index) in &candidate.packs {
        for e in index.iter().flatten() {
            let Ok(partition) = candidate.fold.partition_mut(e.key) else { continue };
            if e.last < partition.log_start {
                continue;
            }
            let home = Home::Pack { pack: pack.reference.id, offset: e.offset };
            let (base, last, max_timestamp_ms) = (e.base, e.last, e.max_timestamp_ms);
            let (len, crc, max_so_far_ms) = (e.len, e.crc, max_timestamp_ms);
            partition.index.push(BatchEntry { base, last, max_timestamp_ms, max_so_far_ms, lsn: 0, home, len, crc });
        }
    }
    if planted(options, PlantedBug::DuplicateWindowLost) {
        candidate.fold.partitions_mut().for_each(|(_, p)| p.producers = ProducerTable::default());
    }
}

/// Writes everything that is not known to be durable again, in place, and syncs it. Gives the number of bytes.
fn rewrite_tail(disk: &dyn Disk, replay: &Replay<'_>, files: &BTreeMap<u64, FoundFile>) -> Result<u64, OpenError> {
    let mut rewritten = 0;
    let mut touched = BTreeSet::new();
    let mut rewrite = || -> io::Result<()> {
        for piece in &replay.tail {
            let Some(found) = files.get(&piece.at.generation) else { continue };
            if touched.insert(piece.at.generation) {
                let header = match disk.read_at(found.file, 0, FIRST_RECORD_AT as usize) {
                    Err(error) if is_unreadable(&error) => found.header.encode().freeze(),
                    read => read?,
                };
                disk.write_at(found.file, 0, &header)?;
            }
            let whole = piece.len.min((found.len - piece.at.offset) as usize);
            let bytes = disk.read_at(found.file, piece.at.offset, whole)?;
            disk.write_at(found.file, piece.at.offset, &bytes)?;
            rewritten += whole as u64;
        }
        touched.iter().try_for_each(|generation| disk.sync_data(files[generation].file))
    };
    rewrite().map_err(io_error("making the recovered end of the log durable"))?;
    Ok(rewritten)
}

/// Removals of packs that no checkpoint refers to, and the greatest number among them.
fn sweep_packs(disk: &dyn Disk, packs: &BTreeMap<u64, Arc<PackFile>>) -> Result<(VecDeque<DiskOp>, u64), OpenError> {
    let mut garbage = VecDeque::new();
    let mut greatest = 0;
    for id in list(disk, PACK_DIR)?.iter().filter_map(|name| pack_of(name)) {
        greatest = greatest.max(id);
        if !packs.contains_key(&id) {
            garbage.push_back(DiskOp::Remove(pack_path(id)));
        }
    }
    Ok((garbage, greatest))
}

fn build_lane(
    options: &Arc<LocalOptions>,
    fold: Fold,
    (at, next_lsn, least_generation): (Position, u64, u64),
    log: LogDir,
    retained: Vec<Retained>,
    packs: BTreeMap<u64, Arc<PackFile>>,
) -> Lane {
    let next_generation = log.used.keys().last().map_or(0, |greatest| greatest + 1).max(least_generation);
    let ready = log.blank.iter().filter(|(_, _, len)| usable(options, *len));
    let filled = log.blank_synced;
    let ready = ready.map(|(slot, file, size)| ReadySlot { slot: *slot, file: *file, size: *size, filled }).collect();
    let mut writer = Writer::new(at, next_generation, log.next_slot, ready);
    let file =
        |found: &FoundFile| LogFile { slot: found.slot, file: found.file, header: found.header, size: found.len };
    let files: BTreeMap<u64, Arc<LogFile>> = log.used.iter().map(|(g, found)| (*g, Arc::new(file(found)))).collect();
    if planted(options, PlantedBug::AppendBehindCut) {
        writer.capacity = files.get(&at.generation).map_or(0, |f| f.header.capacity);
        writer.seal = files.get(&at.generation).map_or(writer.seal, |f| f.header.seal());
    }
    let mut lane = Lane {
        options: options.clone(),
        fold,
        owners: Owners::default(),
        writer,
        next_lsn,
        durable: next_lsn - 1,
        failed: None,
        closed: false,
        files,
        retiring: Vec::new(),
        packs,
        live_packs: BTreeSet::new(),
        packs_thinned: false,
        retiring_packs: Vec::new(),
        tail: TailCache::new(options.tail_cache_bytes),
        retained,
        wish: CheckpointWish::None,
        log_bytes_since_checkpoint: 0,
        clean_stop: None,
        stats: EngineStats::default(),
    };
    lane.find_live_packs();
    lane.give_free();
    lane
}

/// Takes log files that no checkpoint needs for the records of this start, rather than making one: nobody reads in them yet.
fn reuse_retired(lane: &mut Lane) {
    while lane.writer.ready.len() < lane.options.ready_files {
        let usual = lane.options.log_file_bytes;
        let Some(at) = lane.retiring.iter().position(|log| log.size == usual && log.size > FIRST_RECORD_AT) else {
            return;
        };
        let log = lane.retiring.swap_remove(at);
        let filled = log.header.filled;
        lane.writer.ready.push(ReadySlot { slot: log.slot, file: log.file, size: log.size, filled });
    }
}

/// Makes what the start itself wrote durable before anybody sees the engine.
fn flush_at_start(disk: &dyn Disk, lane: &mut Lane, flusher: &mut Flusher) -> Result<(), OpenError> {
    while flusher.begin(lane) {
        while let Some(op) = flusher.poll(lane) {
            let result = op.execute(disk);
            flusher.done(lane, result);
        }
        if let Some(reason) = &lane.failed {
            return Err(OpenError::Io {
                doing: "writing the first record of this start",
                error: io::Error::other(reason.to_string()),
            });
        }
    }
    Ok(())
}
