//! Opening a data directory: checkpoint, replay, rewrite of the recovered tail, and which files are used for what.
//!
//! Nothing found behind the checkpoint is visible before it was written again and synced: after a process was killed it may sit
//! in the page cache alone, and a sync that failed before may have marked those pages clean. Writing never goes on in a
//! recovered file: behind its cut may lie valid records that nobody was told of.
//! Deliberately not here: judging the log (`replay.rs`), threads, the lock on the directory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pagemark_core::partition::ProducerTable;
use pagemark_wire::types::PartitionKey;

use super::OpenError;
use super::block_cache::BlockCache;
use super::candidates::{self, Candidate, Directory, Readable};
use super::checkpoint::{self, CHECKPOINT_DIR, COPIES, Head, Retained, State, checkpoint_path};
use super::checkpointer::{Chain, Checkpointer};
use super::files::{Files, Stored};
use super::flusher::Flusher;
use super::fold::{Fold, Owners};
use super::index::Dropped;
use super::keeper::Hole;
use super::lane::{CheckpointWish, EngineStats, Lane, Position, Writer};
use super::log_file::{FIRST_RECORD_AT, FileHeader, HeaderFound, LOG_DIR, LogFile, ReadySlot, slot_of, slot_path};
use super::ops::DiskOp;
use super::options::{LocalOptions, planted};
use super::pack::PACK_DIR;
use super::recycler::Background;
use super::replay::{Replay, ReplayError};
use super::reserve::{give_up_at_start, look_at_start};
use super::scan::FoundFile;
use super::segment::SEGMENT_DIR;
use super::space::Space;
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

pub(super) fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |error| OpenError::Io { doing, error }
}

/// How far numbers of segments jump where the newest checkpoint was passed over: none is given twice.
const SKIPPED_SEGMENTS: u64 = 1 << 20;
/// How far generations jump for each log file whose header could not be read, but may be one day: none is given twice.
const SKIPPED_GENERATIONS: u64 = 1 << 20;

const DIRS: [&str; 4] = [LOG_DIR, PACK_DIR, SEGMENT_DIR, CHECKPOINT_DIR];

/// Opens what is in `disk`, or makes an empty one. Until it is clear that the start is not refused, nothing is changed.
pub(super) fn open(disk: &dyn Disk, options: &Arc<LocalOptions>) -> Result<Recovered, OpenError> {
    let mut found = Directory::look(disk)?;
    if found.numbers.is_empty() {
        initialise(disk, options, &found)?;
        found = Directory::look(disk)?;
    }
    let Readable { mut candidates, lost, single } = candidates::read(disk, &found)?;
    if candidates.is_empty() {
        return Err(OpenError::NoValidCheckpoint);
    }
    let incarnations = candidates.iter().map(|c| c.head.incarnation).collect();
    let oldest = candidates.iter().map(|c| c.head.position.generation).min().unwrap_or(0);
    let log = find_log_files(disk, incarnations, oldest)?;
    candidates.iter_mut().for_each(|candidate| candidate.find_logs(&log.files));
    let candidates = choose(disk, options, candidates, &lost, found.last_number(), &log)?;
    assemble(disk, options, candidates, single, &found, log)
}

/// Puts the candidate that recovery begins with in front: the newest of those that miss least, in the log and of files. Another
/// one stays in reserve.
fn choose(
    disk: &dyn Disk,
    options: &LocalOptions,
    candidates: Vec<Candidate>,
    lost: &BTreeSet<u64>,
    newest: u64,
    log: &LogDir,
) -> Result<Vec<Candidate>, OpenError> {
    if candidates[0].head.number == newest && candidates.iter().all(|c| c.defects() == 0) {
        return Ok(candidates);
    }
    // Of older checkpoints the log that follows may have been given free, in part.
    let mut ranked = Vec::new();
    for candidate in candidates {
        let (head, mut fold) = (&candidate.head, candidate.fold.clone());
        candidates::place_blocks(&mut fold, &candidate.packs);
        let mut trial = log.replay(disk, options, fold, head);
        trial.run().map_err(replay_error)?;
        let damage = trial.damaged_records + u64::from(trial.metadata_damaged);
        ranked.push(((damage, candidate.defects()), candidate));
    }
    let newest_is_read = ranked.iter().any(|(_, c)| c.head.number == newest);
    ranked.sort_by_key(|(misses, _)| *misses);
    for (_, unused) in ranked.drain(ranked.len().min(2)..) {
        unused.packs.iter().for_each(|(pack, _)| disk.close(pack.file));
    }
    let ((damage, _), basis) = &ranked[0];
    if *damage > 0 && !newest_is_read {
        let older = basis.head.number;
        let lost = lost.range(older + 1..).map(|number| checkpoint_path(*number, 0)).collect::<Vec<_>>().join(", ");
        let why = format!(
            "checkpoint {newest} cannot be used: both files of a checkpoint are damaged or missing ({lost}, and the same with .copy)"
        );
        return Err(OpenError::CheckpointLost { why, older });
    }
    Ok(ranked.into_iter().map(|(_, candidate)| candidate).collect())
}

fn replay_error(error: ReplayError) -> OpenError {
    match error {
        ReplayError::Io(error) => OpenError::Io { doing: "reading the log", error },
        ReplayError::UnknownRecord(kind) => OpenError::UnknownRecord { kind },
    }
}

/// The files in one of our directories, none if it is not there.
pub(super) fn list(disk: &dyn Disk, dir: &str) -> Result<Vec<String>, OpenError> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(io_error("listing a directory")),
    }
}

/// Makes the directories and their names durable, and removes what a crashed checkpoint left half written.
fn prepare(disk: &dyn Disk, found: &Directory) -> Result<(), OpenError> {
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
fn initialise(disk: &dyn Disk, options: &LocalOptions, found: &Directory) -> Result<(), OpenError> {
    for dir in [LOG_DIR, PACK_DIR, SEGMENT_DIR] {
        if !list(disk, dir)?.is_empty() {
            return Err(OpenError::NoValidCheckpoint);
        }
    }
    prepare(disk, found)?;
    let head = Head {
        number: 1,
        previous: 0,
        clean: true,
        incarnation: options.incarnation,
        position: Position { generation: 0, offset: FIRST_RECORD_AT },
        next_lsn: 1,
        next_generation: 1,
        next_pack: 1,
        next_segment: 1,
        packs: Vec::new(),
    };
    let mut state = State::default();
    Fold::default().meta.put(&mut state.meta, None);
    let bytes = checkpoint::encode(&head, &state);
    let tmp = |copy| format!("{}.tmp", checkpoint_path(1, copy));
    let write = || -> io::Result<()> {
        for copy in 0..COPIES.len() {
            let file = disk.create(&tmp(copy))?;
            disk.write_at(file, 0, &bytes)?;
            disk.sync_data(file)?;
            disk.close(file);
        }
        for copy in 0..COPIES.len() {
            disk.rename(&tmp(copy), &checkpoint_path(1, copy))?;
        }
        disk.sync_dir(CHECKPOINT_DIR)?;
        let file = disk.create(&slot_path(1))?;
        disk.write_at(file, 0, &vec![0; options.first_file_bytes.max(FIRST_RECORD_AT) as usize])?;
        disk.sync_data(file)?;
        disk.close(file);
        disk.sync_dir(LOG_DIR)
    };
    write().map_err(io_error("making an empty data directory"))
}

/// What is in the log's directory.
#[derive(Default)]
struct LogDir {
    used: BTreeMap<u64, FoundFile>,
    /// The same, for the segments whose data lies in them.
    files: BTreeMap<u64, Arc<LogFile>>,
    /// Zero-filled and never used.
    blank: Vec<(u64, FileId, u64)>,
    /// Whether the zeros are known to be on stable storage: a killed process leaves them in the cache, and a file whose zeros
    /// may vanish proves nothing by being shorter later.
    blank_synced: bool,
    next_slot: u64,
    /// The generation of a file whose records cannot be told from garbage, and which may follow a checkpoint.
    illegible: Option<u64>,
    /// Files whose headers the disk did not give; no record of theirs is needed.
    unread: u64,
}

impl LogDir {
    /// A replay of what follows a checkpoint.
    fn replay<'a>(&'a self, disk: &'a dyn Disk, options: &'a LocalOptions, fold: Fold, head: &Head) -> Replay<'a> {
        let mut replay = Replay::new(disk, options, &self.used, fold, head.position, head.next_lsn);
        replay.end_is_illegible = self.illegible.is_some_and(|generation| generation >= head.position.generation);
        replay
    }

    /// No file has this generation or a higher one.
    fn next_generation(&self) -> u64 {
        let greatest = self.used.keys().last().copied().max(self.illegible);
        let next = greatest.map_or(0, |generation| generation.saturating_add(1));
        next.saturating_add(self.unread * SKIPPED_GENERATIONS)
    }
}

/// Files whose generation is below `oldest` are needed by no checkpoint.
fn find_log_files(disk: &dyn Disk, mut incarnations: BTreeSet<u64>, oldest: u64) -> Result<LogDir, OpenError> {
    let doing = "reading a log file's header";
    let mut dir = LogDir { next_slot: 1, ..LogDir::default() };
    let mut headless = Vec::new();
    for name in list(disk, LOG_DIR)? {
        let Some(slot) = slot_of(&name) else { continue };
        dir.next_slot = dir.next_slot.max(slot + 1);
        let file = disk.open(&slot_path(slot)).map_err(io_error("opening a log file"))?;
        let len = disk.len(file).map_err(io_error(doing))?;
        let (head, unread) = match disk.read_at(file, 0, len.min(FIRST_RECORD_AT) as usize) {
            // Neither blank nor a header.
            Err(error) if is_unreadable(&error) => (Bytes::from_static(&[0xff]), Some(error)),
            read => (read.map_err(io_error(doing))?, None),
        };
        match FileHeader::decode(&head) {
            HeaderFound::NewerFormat(found) => return Err(OpenError::NewerFormat { found }),
            HeaderFound::Valid(header) => {
                incarnations.insert(header.incarnation);
                if len > header.capacity {
                    disk.lend(file); // segments lie in it, and there may be many such files
                }
                dir.used.insert(header.generation, FoundFile { slot, file, len, header });
            }
            HeaderFound::Blank | HeaderFound::Damaged => {
                headless.push((slot, file, len, head.iter().all(|b| *b == 0), unread));
            }
        }
    }
    for (slot, file, len, blank, unread) in headless {
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
                // It may be the end of the log, of a life that no other file tells of.
                let needed = claimed_generation(disk, file, len).map_err(io_error(doing))?.filter(|g| *g >= oldest);
                dir.unread += u64::from(unread.is_some());
                if let Some(error) = unread.filter(|_| needed.is_some()) {
                    return Err(OpenError::Io { doing, error });
                }
                tracing::error!(slot, ?needed, "a log file's header is damaged; the file is left alone");
                dir.illegible = dir.illegible.max(needed);
                disk.close(file);
            }
        }
    }
    let file = |found: &FoundFile| Arc::new(LogFile::new(found.slot, found.file, found.header, found.len));
    dir.files = dir.used.iter().map(|(generation, found)| (*generation, file(found))).collect();
    Ok(dir)
}

/// What the first record of a file without a header says of its generation. Nothing proves it.
fn claimed_generation(disk: &dyn Disk, file: FileId, len: u64) -> io::Result<Option<u64>> {
    use super::record::{HEAD_LEN, Head as RecordHead};
    let room = usize::try_from(len.saturating_sub(FIRST_RECORD_AT)).unwrap_or(usize::MAX);
    if room < HEAD_LEN {
        return Ok(None);
    }
    let head = RecordHead::peek(&disk.read_at(file, FIRST_RECORD_AT, HEAD_LEN)?, room);
    Ok(head.map(|head| head.generation))
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
    single: bool,
    found: &Directory,
    mut log: LogDir,
) -> Result<Recovered, OpenError> {
    let mut summary = RecoverySummary::default();
    let retained: Vec<Retained> = candidates.iter().rev().map(Candidate::retained).collect();
    let next_generation = candidates.iter().map(|c| c.head.next_generation).max().unwrap_or(1);
    let (basis, stored) = open_basis(disk, options, candidates, found);
    summary.fell_back = basis.head.number != found.last_number();
    let Basis { head, mut fold, chain, known_bad } = basis;
    if summary.fell_back && !planted(options, PlantedBug::AppendAfterFallback) {
        // What was appended since may belong to the checkpoint that was passed over.
        end_segments(&mut fold);
    }
    let mut replay = log.replay(disk, options, fold, &head);
    replay.run().map_err(replay_error)?;
    let damaged = replay.damaged_records > 0 || replay.metadata_damaged;
    if replay.gap {
        refuse_younger(&head, &stored, found, &log)?;
        // What was appended since may belong to a checkpoint that is gone.
        end_segments(&mut replay.fold);
    }
    prepare(disk, found)?;
    // Also what is written again may need some place, where a file system never writes in place.
    give_up_at_start(disk);
    let blank_synced = log.blank.iter().all(|(_, file, _)| disk.sync_data(*file).is_ok());
    let later_file = log.used.range(head.next_generation..).next().is_some();
    let undamaged = !damaged && replay.damaged_flushes == 0;
    summary.clean = head.clean && !summary.fell_back && replay.changes == 0 && undamaged && !later_file;
    summary.records_replayed = replay.records;
    summary.damaged_records = replay.damaged_records;
    summary.metadata_damaged = replay.metadata_damaged;
    if !planted(options, PlantedBug::TailExposedBeforeRewrite) {
        summary.tail_bytes_rewritten = rewrite_tail(disk, &replay, &log.used)?;
    }
    let Replay { mut fold, at, next_lsn, .. } = replay;
    let quarantined = fold.partitions().filter_map(|(key, p)| Some((key, p.quarantined.clone()?)));
    summary.quarantined = quarantined.collect();
    let mut garbage =
        found.left_over(&retained, &stored.needed_packs, &stored.needed_segments, damaged.then_some(&head));
    garbage.extend(unusable_blanks(options, &log));
    if summary.metadata_damaged {
        fold.meta.skip_ids();
    }
    // Changes go on only from a state that is exactly what the chain says.
    let exact = summary.clean && summary.quarantined.len() == known_bad && !single;
    let checkpointer = Checkpointer::new(if exact { chain } else { Chain::default() });
    let next_generation = next_generation.max(log.next_generation());
    log.blank_synced = blank_synced;
    let mut lane = build_lane(options, fold, (at, next_lsn, next_generation), log, retained, stored);
    reuse_retired(&mut lane);
    begin_life(&mut lane, &summary, single, (!damaged).then_some(at));
    look_at_start(disk, &mut lane);
    if lane.space.is_scarce() {
        remove(disk, &mut garbage);
    }
    let mut flusher = Flusher::default();
    flush_at_start(disk, &mut lane, &mut flusher)?;
    Ok(Recovered { lane, flusher, background: Background::new(checkpointer, garbage), summary })
}

/// Removes the log files that were made ready for other sizes.
fn unusable_blanks(options: &LocalOptions, log: &LogDir) -> Vec<DiskOp> {
    let unusable = log.blank.iter().filter(|(_, _, len)| !usable(options, *len));
    unusable.flat_map(|(slot, file, _)| [DiskOp::Close(*file), DiskOp::Remove(slot_path(*slot))]).collect()
}

fn end_segments(fold: &mut Fold) {
    let segments = fold.partitions_mut().flat_map(|(_, p)| &mut p.index.segments);
    segments.for_each(|segment| segment.open = false);
}

/// Where the log does not reach a checkpoint, packs and segments that are younger hold acknowledged data that checkpoints refer to
/// which are gone: no crash leaves both. So it is when old checkpoints are put in the place of damaged ones.
fn refuse_younger(head: &Head, stored: &StoredAtStart, found: &Directory, log: &LogDir) -> Result<(), OpenError> {
    // Data that stays in a log file has an index there; if no checkpoint knows of it, one that is gone did.
    let unknown = |log: &&Arc<LogFile>| log.keeps() && Arc::strong_count(log) == 1;
    let kept = log.files.range(head.position.generation..).map(|(_, log)| log).find(unknown);
    let kept = kept.map(|log| format!("{} and perhaps other log files", slot_path(log.slot)));
    let younger = found.younger(head, &stored.needed_packs, &stored.needed_segments);
    let named: Vec<String> = younger.into_iter().chain(kept).collect();
    if named.is_empty() {
        return Ok(());
    }
    let younger = named.join(", ");
    let why = format!(
        "newer checkpoints than {} are gone: there are younger packs and segments ({younger}; to go on without what they hold, move them out of the data directory)",
        found.last_number()
    );
    Err(OpenError::CheckpointLost { why, older: head.number })
}

/// The state that recovery begins with.
struct Basis {
    head: Head,
    fold: Fold,
    chain: Chain,
    /// Partitions in quarantine.
    known_bad: usize,
}

/// The packs and segments that are there, and which are needed.
struct StoredAtStart {
    files: Files,
    next_segment: u64,
    needed_packs: BTreeSet<u64>,
    needed_segments: BTreeSet<u64>,
}

/// The checkpoint that recovery begins with, which is the first candidate, its data in place, and the files of all, each opened once.
fn open_basis(
    disk: &dyn Disk,
    options: &LocalOptions,
    candidates: Vec<Candidate>,
    found: &Directory,
) -> (Basis, StoredAtStart) {
    let next_pack = candidates.iter().map(|c| c.head.next_pack).max().unwrap_or(1).max(found.last_pack() + 1);
    let next_segment = candidates.iter().map(|c| c.head.next_segment).max().unwrap_or(1).max(found.last_segment() + 1);
    let mut files = Files::new(found.last_number() + 1);
    // Those in the log leave no name behind.
    let unknown = if candidates[0].head.number == found.last_number() { 0 } else { SKIPPED_SEGMENTS };
    let next_segment = next_segment + unknown;
    let (mut needed_packs, mut needed_segments) = (BTreeSet::new(), BTreeSet::new());
    let mut candidates = candidates.into_iter();
    let basis = candidates.next().expect("no candidate is an error before this");
    let Candidate { head, mut fold, packs, chain, missing } = basis;
    let known_bad = fold.partitions().filter(|(_, p)| p.quarantined.is_some()).count();
    for (key, reason) in missing {
        if let Ok(partition) = fold.partition_mut(key) {
            partition.quarantine(key, &reason);
        }
    }
    let live = candidates::place_blocks(&mut fold, &packs);
    needed_segments.extend(fold.partitions().flat_map(|(_, p)| &p.index.segments).map(|s| s.file.number));
    for (pack, index) in packs {
        let id = pack.reference.id;
        let live_bytes = match index {
            Some(_) => live.get(&id).copied().unwrap_or(0),
            // Nobody knows what lies in it. The sector may be read again one day, or somebody may get the data out by hand.
            None if found.has_pack(id) => 1,
            None => continue,
        };
        needed_packs.insert(id);
        files.add_pack(Arc::new(pack), live_bytes);
    }
    for other in candidates {
        for (pack, index) in other.packs {
            if index.is_none() {
                needed_packs.insert(pack.reference.id);
                disk.close(pack.file);
                continue;
            }
            match needed_packs.insert(pack.reference.id) {
                true => files.add_pack(Arc::new(pack), 0),
                // Opened for the other checkpoint as well; once is enough.
                false => disk.close(pack.file),
            }
        }
        for segment in other.fold.partitions().flat_map(|(_, p)| &p.index.segments) {
            if needed_segments.insert(segment.file.number) {
                let (file, bytes) = match segment.file.in_log_at() {
                    // What the first one has elsewhere, or what it has dropped: nobody can tell.
                    Some((log, _)) => (Stored::Log(Arc::clone(log)), 0),
                    None => (Stored::Segment(Arc::clone(&segment.file)), segment.bytes),
                };
                files.dies(file, bytes);
            }
        }
    }
    if planted(options, PlantedBug::DuplicateWindowLost) {
        fold.partitions_mut().for_each(|(_, p)| p.producers = ProducerTable::default());
    }
    fold.next_pack = next_pack;
    files.take(std::mem::take::<Dropped>(&mut fold.dropped));
    let stored = StoredAtStart { files, next_segment, needed_packs, needed_segments };
    (Basis { head, fold, chain, known_bad }, stored)
}

/// Whether a blank file was filled to its end.
fn usable(options: &LocalOptions, len: u64) -> bool {
    (len == options.log_file_bytes || len == options.first_file_bytes) && len > FIRST_RECORD_AT
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

fn build_lane(
    options: &Arc<LocalOptions>,
    fold: Fold,
    (at, next_lsn, next_generation): (Position, u64, u64),
    log: LogDir,
    retained: Vec<Retained>,
    stored: StoredAtStart,
) -> Lane {
    let ready = log.blank.iter().filter(|(_, _, len)| usable(options, *len));
    let filled = log.blank_synced;
    let ready = ready
        .map(|(slot, file, size)| ReadySlot { slot: *slot, file: *file, size: *size, filled, zeroed: true })
        .collect();
    let mut writer = Writer::new(at, next_generation, log.next_slot, ready, options);
    let files = log.files;
    if planted(options, PlantedBug::AppendBehindCut) {
        writer.capacity = files.get(&at.generation).map_or(0, |f| f.header.capacity);
        writer.seal = files.get(&at.generation).map_or(writer.seal, |f| f.header.seal());
    }
    let unpacked = bytes_between(&log.used, retained.last().map_or(at, |newest| newest.position), at);
    let mut lane = Lane {
        options: options.clone(),
        fold,
        owners: Owners::default(),
        writer,
        next_lsn,
        marked: 0,
        durable: next_lsn - 1,
        failed: None,
        closed: false,
        files,
        retiring: Vec::new(),
        kept: BTreeMap::new(),
        lent: Vec::new(),
        holes: Vec::new(),
        keeps_from: next_generation,
        stored: stored.files,
        next_segment: stored.next_segment,
        blocks: Arc::new(Mutex::new(BlockCache::new(options.index_cache_bytes))),
        segment_limits: BTreeMap::new(),
        tail: TailCache::new(options.tail_cache_bytes),
        retained,
        wish: CheckpointWish::None,
        background_rests: false,
        log_bytes_since_checkpoint: 0,
        space: Space::new(options.reserved_bytes, unpacked),
        clean_stop: None,
        stats: EngineStats::default(),
    };
    lane.collect_dropped();
    lane.give_free();
    lane
}

/// What log files have from one position to another.
fn bytes_between(files: &BTreeMap<u64, FoundFile>, from: Position, to: Position) -> u64 {
    let of = |(generation, found): (&u64, &FoundFile)| {
        let begin = if *generation == from.generation { from.offset } else { FIRST_RECORD_AT };
        let end = if *generation == to.generation { to.offset } else { found.len.min(found.header.capacity) };
        end.saturating_sub(begin)
    };
    files.range(from.generation..=to.generation.max(from.generation)).map(of).sum()
}

/// What a start changes. Of an undamaged log the end is given.
fn begin_life(lane: &mut Lane, summary: &RecoverySummary, single: bool, end: Option<Position>) {
    if let Some(end) = end {
        give_rest_back(lane, end);
    }
    if !summary.clean {
        lane.begin_epochs();
    }
    // What only one file tells is soon told by two again.
    if !summary.clean || single {
        lane.wish = CheckpointWish::Wanted;
    }
}

/// Nothing is written behind the end of the log any more, and nothing is to be found there: what stays in that file does not hold it.
fn give_rest_back(lane: &mut Lane, end: Position) {
    let last = lane.files.get(&end.generation).or(lane.kept.get(&end.generation)).filter(|log| log.keeps());
    lane.holes.extend(last.map(|log| Hole::range(log, end.offset..log.header.capacity)));
}

/// Takes log files that no checkpoint needs for the records of this start, rather than making one: nobody reads in them yet.
fn reuse_retired(lane: &mut Lane) {
    while lane.writer.ready.len() < lane.options.ready_files {
        let usual = lane.options.log_file_bytes;
        let fits = |log: &Arc<LogFile>| {
            log.size == usual && log.size > FIRST_RECORD_AT && !log.keeps() && Arc::strong_count(log) == 1
        };
        let Some(at) = lane.retiring.iter().position(fits) else {
            return;
        };
        lane.writer.ready.push(lane.retiring.swap_remove(at).ready());
    }
}

/// What the start writes needs some room, and what nothing needs any more has it.
fn remove(disk: &dyn Disk, garbage: &mut VecDeque<DiskOp>) {
    for op in garbage.drain(..) {
        if let Err(error) = op.execute(disk) {
            tracing::warn!(%error, ?op, "a file that is not needed any more could not be removed");
        }
    }
}

/// Makes what the start itself wrote durable before anybody sees the engine.
fn flush_at_start(disk: &dyn Disk, lane: &mut Lane, flusher: &mut Flusher) -> Result<(), OpenError> {
    let mut kind = io::ErrorKind::Other;
    while flusher.begin(lane) {
        while let Some(op) = flusher.poll(lane) {
            let result = op.execute(disk);
            kind = result.as_ref().err().map_or(kind, io::Error::kind);
            flusher.done(lane, result);
        }
        if let Some(reason) = &lane.failed {
            let error = io::Error::new(kind, reason.to_string());
            return Err(OpenError::Io { doing: "writing the first record of this start", error });
        }
    }
    Ok(())
}
