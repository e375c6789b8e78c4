//! A disk that fills up: seen by counting before a write fails, gone on with by the reserve, and over when something is deleted.

use std::sync::Arc;

use pagemark_storage::contract::{TestBatch, partition, single};
use pagemark_storage::disk::Disk;
use pagemark_storage::engine::{Engine, LogStore, Room, ShardEpoch, ShardId};
use pagemark_storage::local::{LocalOptions, ManualEngine};
use pagemark_wire::types::{LeaderEpoch, Offset};

use crate::memory_disk::{Cut, MemoryDisk};

const CAPACITY: u64 = 600 << 10;
const RESERVE: u64 = 96 << 10;
const LAST: u64 = RESERVE / 4;

fn options() -> LocalOptions {
    LocalOptions {
        first_file_bytes: 8192,
        log_file_bytes: 8192,
        checkpoint_bytes: 16 << 10,
        reserved_bytes: RESERVE,
        ..LocalOptions::default()
    }
}

/// An engine on a disk, owner of two partitions of topic 1, the second of which takes the commits.
struct Life {
    manual: ManualEngine,
    ends: [i64; 2],
}

impl Life {
    fn new(disk: &Arc<MemoryDisk>) -> Life {
        Life::with(disk, options())
    }

    fn with(disk: &Arc<MemoryDisk>, options: LocalOptions) -> Life {
        let manual = ManualEngine::open(disk.clone(), options).unwrap();
        let keys = [partition(1, 0), partition(1, 1)];
        manual.engine().create(keys[0].topic, 2, LeaderEpoch(0)).unwrap();
        let opened = manual.engine().open(ShardId(1), ShardEpoch(1), &keys).unwrap();
        let life = Life { manual, ends: [opened[0].log_end.0, opened[1].log_end.0] };
        life.work();
        life
    }

    fn work(&self) {
        while self.manual.step_flush() {}
        self.manual.run_background();
        assert_eq!(self.manual.engine().progress().failed, None, "no write of the log ever met the disk's end");
    }

    fn append(&mut self, p: usize, payload: usize) {
        self.append_only(p, payload);
        self.work();
    }

    fn append_only(&mut self, p: usize, payload: usize) {
        let batch = TestBatch { payload, ..TestBatch::at(self.ends[p]) };
        self.manual.engine().append(ShardId(1), ShardEpoch(1), &[single(partition(1, p as i32), batch)]).unwrap();
        self.ends[p] += 1;
        while self.manual.step_flush() {}
    }

    fn room(&self) -> Room {
        self.manual.engine().headroom().room
    }

    fn trim(&self, p: i32, start: i64) {
        self.manual.engine().advance_start(ShardId(1), ShardEpoch(1), partition(1, p), Offset(start)).unwrap();
        self.work();
    }
}

fn has_reserve(disk: &MemoryDisk) -> bool {
    has_last(disk) && disk.files().contains(&("reserve".to_owned(), (RESERVE - LAST) as usize))
}

fn has_last(disk: &MemoryDisk) -> bool {
    disk.files().contains(&("reserve.last".to_owned(), LAST as usize))
}

#[test]
fn a_disk_that_fills_up_is_seen_before_a_write_fails_and_is_gone_on_with() {
    let disk = Arc::new(MemoryDisk::new(1));
    disk.set_capacity(CAPACITY);
    let mut life = Life::new(&disk);
    assert!(has_reserve(&disk));
    assert_eq!(life.manual.engine().headroom().reserved_bytes, RESERVE);
    // As a broker lets in: records while there is room, commits until there is none.
    let mut scarce = 0;
    while life.room() != Room::Exhausted {
        match life.room() {
            Room::Enough => life.append(0, 900),
            _ => {
                assert!(!has_reserve(&disk), "its place is for what goes on");
                life.append(1, 100);
                scarce += 1;
            }
        }
    }
    assert!(scarce > 100, "commits went on for long: {scarce}");
    let ends = life.ends;
    for cut in [Cut::Kill, Cut::Power] {
        drop(life);
        disk.restart(cut);
        life = Life::new(&disk);
        assert_eq!(life.ends, ends, "{cut:?}");
        assert_ne!(life.room(), Room::Enough, "a start frees a log file or two, no more: {cut:?}");
    }
    life.trim(0, ends[0]);
    assert_eq!(life.room(), Room::Enough, "free again: {}", disk.space().unwrap().usable_bytes);
    assert!(has_reserve(&disk));
    life.append(0, 900);
}

/// What the reserve took counted twice until the next look, two syncs later: records were let in that had no place. What it gave up
/// counted as neither held nor free: a commit in between found the disk full.
#[test]
fn records_and_commits_find_what_is_there_while_the_reserve_is_taken_and_given_up_r_98() {
    let disk = Arc::new(MemoryDisk::new(11));
    disk.set_capacity(CAPACITY);
    let manual = ManualEngine::open(disk.clone(), options()).unwrap();
    while manual.step_background() {
        let reserve = disk.files().into_iter().filter(|(path, _)| path.starts_with("reserve"));
        let left = disk.free() + reserve.map(|(_, bytes)| bytes as u64).sum::<u64>();
        assert!(manual.engine().headroom().spare_bytes <= left.saturating_sub(RESERVE + LAST) / 2);
    }
    assert!(has_reserve(&disk));
    drop(manual);
    disk.restart(Cut::Kill);
    let life = Life::new(&disk);
    let (other, free) = (disk.create("other").unwrap(), disk.free());
    disk.allocate(other, free - LAST + 1000).unwrap();
    life.manual.look_at_room();
    while has_reserve(&disk) {
        assert!(life.manual.step_background());
    }
    let batch = TestBatch { payload: 100, ..TestBatch::at(life.ends[1]) };
    life.manual.engine().append(ShardId(1), ShardEpoch(1), &[single(partition(1, 1), batch)]).unwrap();
    assert_eq!(life.room(), Room::Scarce, "there is more than the whole reserve");
}

#[test]
fn what_others_write_counts_too_and_is_forgotten_when_it_goes() {
    let disk = Arc::new(MemoryDisk::new(2));
    disk.set_capacity(CAPACITY);
    let life = Life::new(&disk);
    let unreserved = disk.space().unwrap().usable_bytes;
    let take = |name: &str, bytes: u64| {
        let file = disk.create(name).unwrap();
        disk.allocate(file, bytes).unwrap();
        life.manual.look_at_room();
        life.work();
        file
    };
    let other = take("other", unreserved - LAST - 8000);
    assert_eq!(life.room(), Room::Enough, "the reserve is ours");
    take("more", 9000);
    assert_eq!(life.room(), Room::Scarce, "the log needs some place until somebody looks again");
    assert!(!has_reserve(&disk) && has_last(&disk));
    disk.remove("other").unwrap();
    disk.close(other);
    life.manual.look_at_room();
    life.work();
    assert_eq!(life.room(), Room::Enough);
    assert!(has_reserve(&disk));
}

/// Somebody else takes everything that is free, and what is given up then, until nothing is.
fn fill(disk: &Arc<MemoryDisk>, life: &Life) {
    for number in 0.. {
        let free = disk.space().unwrap().usable_bytes;
        if free == 0 {
            return;
        }
        let file = disk.create(&format!("other-{number}")).unwrap();
        disk.allocate(file, free).unwrap();
        life.manual.look_at_room();
        life.work();
    }
}

#[test]
fn on_a_disk_without_a_free_byte_what_is_deleted_makes_room_without_a_restart() {
    let disk = Arc::new(MemoryDisk::new(4));
    disk.set_capacity(CAPACITY);
    let mut life = Life::new(&disk);
    while life.room() == Room::Enough {
        life.append(0, 900);
    }
    fill(&disk, &life);
    assert_eq!(life.room(), Room::Exhausted);
    assert!(has_last(&disk), "nobody else got that");
    life.trim(0, life.ends[0]);
    assert_eq!(life.room(), Room::Enough, "{} free", disk.space().unwrap().usable_bytes);
    assert!(has_reserve(&disk));
    life.append(0, 900);
}

#[test]
fn a_checkpoint_that_somebody_takes_the_room_from_does_not_keep_what_is_deleted() {
    let disk = Arc::new(MemoryDisk::new(8));
    disk.set_capacity(CAPACITY);
    let mut life = Life::with(&disk, LocalOptions { ready_files: 8, ..options() });
    while life.room() == Room::Enough {
        life.append(0, 900);
    }
    (0..12).for_each(|_| life.append_only(0, 900));
    life.manual.request_checkpoint();
    let packs = || disk.files().iter().filter(|(path, _)| path.starts_with("packs/")).count();
    let before = packs();
    while packs() == before {
        assert!(life.manual.step_background());
    }
    let taken = life.manual.engine().stats().checkpoints;
    fill(&disk, &life);
    assert_eq!(life.manual.engine().stats().checkpoints, taken, "it met the end of the disk");
    assert!(has_last(&disk));
    life.trim(0, life.ends[0]);
    assert_eq!(life.room(), Room::Enough, "{} free", disk.space().unwrap().usable_bytes);
    assert!(has_reserve(&disk));
}

#[test]
fn an_engine_starts_on_a_disk_without_a_free_byte_and_what_is_deleted_makes_room() {
    // A power loss takes one name and leaves another, and it did take the reserve's.
    for (cut, seed) in [(Cut::Kill, 0)].into_iter().chain((0..8).map(|seed| (Cut::Power, seed))) {
        let disk = Arc::new(MemoryDisk::new(seed));
        disk.set_capacity(CAPACITY);
        let mut life = Life::new(&disk);
        while life.room() == Room::Enough {
            life.append(0, 900);
        }
        fill(&disk, &life);
        let ends = life.ends;
        drop(life);
        disk.restart(cut);
        assert!(has_last(&disk), "{cut:?} {seed}: nobody else gets that");
        // The file that was ready to be written into is gone as well.
        for (path, _) in disk.files() {
            if path.starts_with("log/") && disk.bytes(&path).iter().all(|byte| *byte == 0) {
                disk.remove(&path).unwrap();
            }
        }
        let free = disk.space().unwrap().usable_bytes;
        let more = disk.create("more").unwrap();
        disk.allocate(more, free).unwrap();
        let life = Life::new(&disk);
        assert_eq!(life.ends, ends, "{cut:?} {seed}");
        assert_ne!(life.room(), Room::Enough, "{cut:?} {seed}");
        let slice = life.manual.engine().read(partition(1, 0), Offset(0), 1, Offset(ends[0])).unwrap();
        assert_eq!(slice.batches.len(), 1);
        life.trim(0, ends[0]);
        assert_eq!(life.room(), Room::Enough, "{cut:?} {seed}: {} free", disk.space().unwrap().usable_bytes);
    }
}

#[test]
fn a_stop_for_whose_checkpoint_there_is_no_room_says_so_and_loses_nothing() {
    let disk = Arc::new(MemoryDisk::new(7));
    disk.set_capacity(CAPACITY);
    let mut life = Life::new(&disk);
    // More than the reserve.
    (0..130).for_each(|_| life.append_only(0, 900));
    let (file, free) = (disk.create("other").unwrap(), disk.free());
    disk.allocate(file, free).unwrap();
    let (ends, stopped) = (life.ends, life.manual.engine().close());
    assert!(stopped.unwrap_err().to_string().contains("no room for the last checkpoint"));
    drop(life);
    disk.restart(Cut::Kill);
    assert_eq!(Life::new(&disk).ends, ends);
}

/// Where a quota ends before the disk does, counting finds room that is not there.
#[test]
fn a_checkpoint_that_finds_no_room_is_not_tried_for_ever_and_leaves_segments_open() {
    let disk = Arc::new(MemoryDisk::new(6));
    disk.set_capacity(CAPACITY);
    disk.claim_free(1 << 40);
    let options = LocalOptions { segment_min_bytes: 4 << 10, checkpoint_bytes: 24 << 10, ready_files: 8, ..options() };
    let mut life = Life::with(&disk, options);
    (0..60).for_each(|_| life.append(0, 900));
    let stats = life.manual.engine().stats();
    assert!(stats.checkpoints >= 2 && stats.segments == 1, "{stats:?}");
    (0..20).for_each(|_| life.append_only(0, 900));
    let used = CAPACITY - disk.free();
    disk.set_capacity(used + 6_000);
    life.manual.request_checkpoint();
    let before = disk.ops();
    life.work();
    assert!(disk.ops() - before < 1_000, "not tried for ever: {}", disk.ops() - before);
    assert_eq!(life.manual.engine().stats().checkpoints, stats.checkpoints);
    disk.set_capacity(CAPACITY);
    (0..30).for_each(|_| life.append(0, 900));
    let after = life.manual.engine().stats();
    assert!(after.checkpoints > stats.checkpoints && after.segments == 1, "{after:?}");
}

#[test]
fn a_checkpoint_that_fails_where_room_is_scarce_is_not_tried_at_every_look_and_leaves_nothing_behind() {
    let disk = Arc::new(MemoryDisk::new(9));
    disk.set_capacity(CAPACITY);
    let mut life = Life::new(&disk);
    while life.room() == Room::Enough {
        life.append(0, 900);
    }
    (0..5).for_each(|_| life.append_only(0, 900));
    let stored = || disk.files().iter().filter(|(path, _)| !path.starts_with("log/")).count();
    let before = stored();
    disk.fail_syncs(u32::MAX);
    life.manual.request_checkpoint();
    let mut steps = 0;
    while life.manual.step_background() {
        steps += 1;
        assert!(steps < 1_000, "tried again and again");
    }
    assert_eq!(stored(), before);
    disk.fail_syncs(0);
    life.trim(0, life.ends[0]);
    assert_eq!(life.room(), Room::Enough, "what is deleted asks for the next one");
}

/// It was counted twice until it was next given up: as free, and as held.
#[test]
fn a_reserve_that_somebody_removed_by_hand_is_missed_at_the_next_look_and_made_again() {
    let disk = Arc::new(MemoryDisk::new(10));
    disk.set_capacity(CAPACITY);
    let life = Life::new(&disk);
    for gone in ["reserve", "reserve.last"] {
        assert!(has_reserve(&disk));
        disk.delete(gone);
        disk.claim_free(LAST / 2);
        life.manual.look_at_room();
        life.work();
        let headroom = life.manual.engine().headroom();
        assert!(headroom.reserved_bytes < RESERVE && headroom.room != Room::Enough, "{gone}: {headroom:?}");
        disk.claim_free(u64::MAX);
        life.manual.look_at_room();
        life.work();
        assert_eq!(life.manual.engine().headroom().reserved_bytes, RESERVE);
    }
}

#[test]
fn without_a_reserve_nothing_is_ever_refused() {
    let disk = Arc::new(MemoryDisk::new(3));
    let manual = ManualEngine::open(disk.clone(), LocalOptions { reserved_bytes: 0, ..options() }).unwrap();
    disk.set_capacity(0);
    manual.look_at_room();
    manual.run_background();
    let space = manual.engine().headroom();
    assert_eq!((space.room, space.free_bytes, space.reserved_bytes), (Room::Enough, Some(0), 0));
}
