//! What the disk promises, and what it does not: each claim could fail over a few hundred seeds.

use super::*;

/// A write of one byte value over some sectors.
fn fill(value: u8, sectors: usize) -> Vec<u8> {
    vec![value; sectors * SECTOR_BYTES]
}

/// A disk with a durable file "a" of four sectors of 1.
fn with_file() -> DiskState {
    let disk = SimDisk::new(DiskState::new(), 0);
    let file = disk.create("a").expect("empty disk");
    disk.write_at(file, 0, &fill(1, 4)).expect("no fault");
    disk.sync_data(file).expect("no fault");
    disk.sync_dir("").expect("no fault");
    disk.state()
}

fn read(state: &DiskState, path: &str) -> Option<Bytes> {
    state.contents().into_iter().find(|(name, _)| name == path).map(|(_, bytes)| bytes)
}

fn after_cut(state: &DiskState, seed: u64) -> DiskState {
    let mut cut = state.clone();
    cut.power_cut(&mut Rng::new(seed));
    cut
}

/// First bytes of the sectors of file "a".
fn sectors(state: &DiskState) -> Vec<u8> {
    read(state, "a").map_or_else(Vec::new, |bytes| bytes.chunks(SECTOR_BYTES).map(|s| s[0]).collect())
}

#[test]
fn synced_bytes_under_a_synced_name_outlive_every_power_cut() {
    let state = with_file();
    assert!(!state.has_pending());
    for seed in 0..100 {
        assert_eq!(sectors(&after_cut(&state, seed)), [1, 1, 1, 1]);
    }
}

#[test]
fn unsynced_sectors_end_each_on_its_own_as_any_version() {
    let disk = SimDisk::new(with_file(), 0);
    let file = disk.open("a").expect("is there");
    disk.write_at(file, 0, &fill(2, 4)).expect("no fault");
    disk.write_at(file, 0, &fill(3, 4)).expect("no fault");
    let seen: std::collections::BTreeSet<Vec<u8>> =
        (0..4000).map(|seed| sectors(&after_cut(&disk.state(), seed))).collect();
    assert!(seen.contains(&vec![1, 1, 1, 1]), "all lost");
    assert!(seen.contains(&vec![3, 3, 3, 3]), "all kept");
    assert!(seen.iter().any(|s| s[0] == 1 && s[3] == 3), "reordered: the later kept, the earlier lost");
    assert!(seen.iter().any(|s| s.contains(&2)), "a version in between");
    assert!(seen.len() > 60, "sectors are independent: {} of 81 seen", seen.len());
}

#[test]
fn a_sector_is_never_torn() {
    let disk = SimDisk::new(with_file(), 0);
    let file = disk.open("a").expect("is there");
    disk.write_at(file, 100, &fill(9, 2)).expect("no fault");
    for seed in 0..300 {
        let bytes = read(&after_cut(&disk.state(), seed), "a").expect("durable name");
        let first = &bytes[..SECTOR_BYTES];
        assert!(first.iter().all(|b| *b == 1) || (first[99] == 1 && first[100..].iter().all(|b| *b == 9)));
    }
}

#[test]
fn an_unsynced_length_may_be_kept_without_the_bytes_and_the_bytes_without_the_length() {
    let disk = SimDisk::new(with_file(), 0);
    let file = disk.open("a").expect("is there");
    disk.write_at(file, 4 * 512, &fill(7, 1)).expect("no fault");
    disk.write_at(file, 5 * 512, &fill(7, 1)).expect("no fault");
    let ends: std::collections::BTreeSet<Vec<u8>> =
        (0..500).map(|seed| sectors(&after_cut(&disk.state(), seed))).collect();
    assert!(ends.contains(&vec![1, 1, 1, 1]), "length lost");
    assert!(ends.contains(&vec![1, 1, 1, 1, 7]), "the length in between");
    assert!(ends.contains(&vec![1, 1, 1, 1, 0, 7]), "length kept, one sector lost");
}

#[test]
fn bytes_beyond_a_lost_length_do_not_come_back_when_the_file_grows_again() {
    let disk = SimDisk::new(with_file(), 0);
    let file = disk.open("a").expect("is there");
    disk.write_at(file, 4 * 512, &[7; 100]).expect("no fault");
    disk.write_at(file, 4 * 512 + 100, &[7; 900]).expect("no fault");
    for seed in 0..300 {
        let cut = after_cut(&disk.state(), seed);
        let again = SimDisk::new(cut, 0);
        let file = again.open("a").expect("is there");
        let len = again.len(file).expect("open");
        again.write_at(file, 4096, &[8]).expect("no fault");
        let gap = again.read_at(file, len, 4096 - len as usize).expect("within the file");
        assert!(gap.iter().all(|b| *b == 0), "seed {seed}, length {len}");
    }
}

#[test]
fn a_kill_keeps_the_page_cache_and_a_later_power_cut_may_still_lose_it() {
    let disk = SimDisk::new(with_file(), 0);
    let file = disk.open("a").expect("is there");
    disk.write_at(file, 0, &fill(2, 4)).expect("no fault");
    let mut state = disk.state();
    state.kill(&mut Rng::new(1));
    assert_eq!(sectors(&state), [2, 2, 2, 2]);
    assert!((0..50).any(|seed| sectors(&after_cut(&state, seed)) == [1, 1, 1, 1]), "exposed, then lost");
    let next = SimDisk::new(state, 0);
    let file = next.open("a").expect("is there");
    next.sync_data(file).expect("no fault");
    assert!((0..50).all(|seed| sectors(&after_cut(&next.state(), seed)) == [2, 2, 2, 2]), "synced by the next process");
}

#[test]
fn a_failed_sync_loses_bytes_that_a_retried_sync_claims_to_have_kept() {
    let lost = |seed| {
        let disk =
            SimDisk::with_faults(with_file(), seed, vec![Fault { from_io: 0, kind: FaultKind::SyncError(None) }]);
        let file = disk.open("a").expect("is there");
        disk.write_at(file, 0, &fill(2, 4)).expect("no fault");
        disk.sync_data(file).expect_err("injected");
        disk.sync_data(file).expect("the kernel has nothing left to write");
        assert_eq!(sectors(&disk.state()), [2, 2, 2, 2], "reads still see it");
        let mut killed = disk.state();
        killed.kill(&mut Rng::new(seed));
        assert!(sectors(&killed).iter().all(|b| [1, 2].contains(b)));
        sectors(&after_cut(&disk.state(), 0)) != [2, 2, 2, 2]
    };
    assert!((0..50).any(lost));
    assert!(!(0..50).all(lost), "part of it may have reached the medium");
}

#[test]
fn what_is_written_again_after_a_failed_sync_can_be_made_durable() {
    let disk = SimDisk::with_faults(with_file(), 5, vec![Fault { from_io: 0, kind: FaultKind::SyncError(None) }]);
    let file = disk.open("a").expect("is there");
    disk.write_at(file, 0, &fill(2, 4)).expect("no fault");
    disk.sync_data(file).expect_err("injected");
    disk.write_at(file, 0, &fill(2, 4)).expect("no fault");
    disk.sync_data(file).expect("once only");
    assert!((0..50).all(|seed| sectors(&after_cut(&disk.state(), seed)) == [2, 2, 2, 2]));
}

#[test]
fn a_created_name_without_sync_dir_may_vanish_although_its_bytes_were_synced() {
    let disk = SimDisk::new(DiskState::new(), 0);
    let file = disk.create("new").expect("empty disk");
    disk.write_at(file, 0, &fill(5, 1)).expect("no fault");
    disk.sync_data(file).expect("no fault");
    let unsynced = disk.state();
    disk.sync_dir("").expect("no fault");
    assert!((0..50).any(|seed| read(&after_cut(&unsynced, seed), "new").is_none()));
    assert!((0..50).any(|seed| read(&after_cut(&unsynced, seed), "new").is_some()));
    assert!((0..50).all(|seed| read(&after_cut(&disk.state(), seed), "new").is_some()));
}

#[test]
fn a_failed_sync_dir_promises_nothing_and_forgets_nothing() {
    let made = |seed| {
        let fault = Fault { from_io: 0, kind: FaultKind::DirSyncError(None) };
        let disk = SimDisk::with_faults(DiskState::new(), seed, vec![fault]);
        disk.create("new").expect("empty disk");
        disk.sync_dir("").expect_err("injected");
        disk
    };
    let kept = |state: &DiskState, seed| read(&after_cut(state, seed), "new").is_some();
    assert!((0..50).any(|seed| !kept(&made(seed).state(), seed)));
    assert!((0..50).any(|seed| (0..20).all(|cut| kept(&made(seed).state(), cut))), "it may have been done");
    for seed in 0..50 {
        let disk = made(seed);
        disk.sync_dir("").expect("once only");
        assert!(kept(&disk.state(), seed));
    }
}

#[test]
fn changes_of_names_are_kept_or_lost_each_on_its_own() {
    let disk = SimDisk::new(with_file(), 0);
    disk.create("b").expect("free name");
    disk.create("c").expect("free name");
    disk.remove("a").expect("is there");
    let seen: std::collections::BTreeSet<Vec<String>> =
        (0..600).map(|seed| after_cut(&disk.state(), seed).list("").expect("root")).collect();
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn a_rename_is_atomic() {
    let disk = SimDisk::new(with_file(), 0);
    let file = disk.create("tmp").expect("free name");
    disk.write_at(file, 0, &fill(2, 4)).expect("no fault");
    disk.sync_data(file).expect("no fault");
    disk.rename("tmp", "a").expect("is there");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let cut = after_cut(&disk.state(), seed);
        seen.insert(sectors(&cut));
        assert!(!sectors(&cut).is_empty(), "the target is never missing");
    }
    assert_eq!(seen.len(), 2, "the old file or the new one");
}

#[test]
fn a_directory_that_was_not_synced_takes_its_files_along() {
    let disk = SimDisk::new(DiskState::new(), 0);
    disk.create_dir("d").expect("no fault");
    let file = disk.create("d/x").expect("free name");
    disk.write_at(file, 0, &[1]).expect("no fault");
    disk.sync_data(file).expect("no fault");
    disk.sync_dir("d").expect("no fault");
    assert!((0..50).any(|seed| after_cut(&disk.state(), seed).list("d").is_none()));
    disk.sync_dir("").expect("no fault");
    assert!((0..50).all(|seed| after_cut(&disk.state(), seed).list("d") == Some(vec!["x".to_owned()])));
}

#[test]
fn a_crash_does_its_call_in_part_and_fails_every_later_one() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::with_faults(with_file(), seed, vec![Fault { from_io: 1, kind: FaultKind::Crash }]);
        let file = disk.open("a").expect("is there");
        disk.write_at(file, 0, &fill(2, 1)).expect("before the crash");
        disk.write_at(file, 0, &fill(3, 4)).expect_err("crashes");
        assert!(disk.crashed());
        disk.read_at(file, 0, 1).expect_err("dead");
        disk.list("").expect_err("dead");
        disk.sync_data(file).expect_err("dead");
        seen.insert(sectors(&disk.state()));
    }
    assert!(seen.contains(&vec![2, 1, 1, 1]) && seen.contains(&vec![3, 3, 3, 3]), "none and all");
    assert!(seen.len() > 10, "any sectors");
}

#[test]
fn a_full_disk_refuses_growth_only_and_recovers() {
    let fault = Fault { from_io: 0, kind: FaultKind::DiskFull { until: 3, told: true } };
    let disk = SimDisk::with_faults(with_file(), 0, vec![fault]);
    let file = disk.open("a").expect("is there");
    let error = disk.write_at(file, 4 * 512, &[1]).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.write_at(file, 0, &[1]).expect("overwriting needs no space");
    disk.create("b").expect_err("full");
    disk.create("b").expect("space again");
    assert_eq!((disk.counts().ios, disk.counts().syncs, disk.counts().faults), (4, 0, 2));
}

#[test]
fn a_recorded_crash_point_is_the_disk_before_the_call() {
    let disk = SimDisk::new(with_file(), 0).recording();
    let file = disk.open("a").expect("is there");
    disk.write_at(file, 0, &fill(2, 4)).expect("no fault");
    disk.sync_data(file).expect("no fault");
    let points = disk.take_recording();
    assert_eq!(points.len() as u64, disk.counts().ios);
    assert_eq!(sectors(&points[0].before), [1, 1, 1, 1]);
    assert!(matches!(points[0].op, Op::Write { .. }));
    assert_eq!(sectors(&points[1].before), [2, 2, 2, 2]);
    assert!(points[1].before.has_pending());
}

#[test]
fn the_same_seed_leaves_the_same_bytes() {
    let run = |seed| {
        let disk =
            SimDisk::with_faults(with_file(), seed, vec![Fault { from_io: 2, kind: FaultKind::SyncError(None) }]);
        let file = disk.open("a").expect("is there");
        for value in 2..6 {
            disk.write_at(file, 256 * u64::from(value), &fill(value, 3)).expect("no fault");
            let _ = disk.sync_data(file);
        }
        after_cut(&disk.state(), seed).contents()
    };
    assert_eq!(run(11), run(11));
    assert!((0..20).any(|seed| run(seed) != run(11)));
}
