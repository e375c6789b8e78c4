//! The crash explorer at work: a healthy engine keeps every promise at some hundred crash points, and every planted bug is
//! caught. The long campaign is the binary's (`pagemark-sim crash`).

use pagemark_core::planted::PlantedBug as ServerBug;
use pagemark_sim::bugs::{hunt, hunt_in_storms};
use pagemark_sim::campaign::{Limits, Report, explore_seed};
use pagemark_sim::disk::{Fault, FaultKind, Part, Struck};
use pagemark_sim::explore::IMAGES;
use pagemark_sim::workload::{Plan, Totals, run};
use pagemark_storage::planted::PlantedBug;

#[test]
fn a_healthy_engine_keeps_every_promise_at_every_crash_point_tried() {
    let mut report = Report::default();
    for seed in 1..=4 {
        report.add(explore_seed(seed, Limits { points: 100, failures: 3 }, None));
    }
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(report.points >= 380 && report.effort.images == report.points * IMAGES);
    assert!(report.effort.fell_back >= 20, "the newest checkpoint rots now and then: {:?}", report.effort);
    assert!(report.effort.interrupted >= report.points, "each third image has its recovery interrupted");
}

#[test]
fn a_run_does_enough_to_be_worth_crashing() {
    let seeds: Vec<u64> = (1..=24).collect();
    let totals: Vec<_> = seeds.iter().map(|seed| run(&Plan::of(*seed, None)).totals).collect();
    let idle = totals.iter().filter(|totals| totals.checkpoints < 2).count();
    assert!(idle <= 2, "{idle} seeds take no checkpoints to speak of");
    let going_round = seeds.iter().zip(&totals).filter(|(seed, _)| !Plan::of(**seed, None).keeps());
    let whole = going_round.map(|(_, totals)| totals).filter(|totals| totals.failed_lives == 0);
    let rounds: Vec<u64> = whole.map(|totals| totals.recycled_rounds).collect();
    assert!(rounds.iter().filter(|rounds| **rounds >= 3).count() >= 3, "rounds through the log files: {rounds:?}");
    let sum = |of: fn(&pagemark_sim::workload::Totals) -> u64| totals.iter().map(of).sum::<u64>();
    assert!(sum(|t| t.chunks) > 500 && sum(|t| t.segments_sealed) > 50, "data moves into segments: {totals:?}");
    assert!(sum(|t| t.segments_kept) > 100, "data stays in the log's files: {totals:?}");
    assert!(sum(|t| t.incremental_checkpoints) > 100, "checkpoints hold changes: {totals:?}");
    assert!(sum(|t| t.trimmed) > 100, "logs are made to begin later");
    assert!(sum(|t| t.recreated) > 40 && sum(|t| t.recreated_later) > 5, "topics come back over restarts");
    assert!(sum(|t| t.deleted) > 20 && sum(|t| t.duplicates) > 100 && sum(|t| t.read) > 1_000);
    assert!(sum(|t| t.resent) > 5, "restarts lose batches that their producers send again");
    assert!(sum(|t| t.failed_lives) > 2, "faults end lives");
}

/// A kind of fault that never strikes some part proves nothing about it.
#[test]
fn every_kind_of_fault_strikes_every_part_in_runs_and_in_recoveries() {
    let (mut runs, mut recoveries) = (Struck::default(), Struck::default());
    for seed in 1..=60 {
        let report = explore_seed(seed, Limits { points: 20, failures: 1 }, None);
        assert!(report.failures.is_empty(), "{}", report.failures[0]);
        runs.add(report.totals.struck);
        recoveries.add(report.effort.struck);
    }
    for ((kind, part, in_runs), (.., in_recoveries)) in runs.all().zip(recoveries.all()) {
        // A crash in a run is what explores it; a full disk comes and goes.
        assert!(in_runs > 0 || kind == "crash", "{kind} in {part:?}: {runs:?}");
        // A recovery writes to the log alone, and reads no segments.
        let happens = match kind {
            "bad_sector" | "read_refused" => part != Part::Segments,
            "disk_full" => false,
            _ => part == Part::Log,
        };
        assert!(in_recoveries > 0 || !happens, "{kind} in {part:?}: {recoveries:?}");
    }
}

#[test]
fn on_a_small_disk_counting_keeps_the_log_from_its_end_r_98() {
    let mut totals = Totals::default();
    for plan in (1..=80).map(|seed| Plan::of(seed, None)).filter(|plan| plan.capacity_bytes.is_some()) {
        let run = run(&plan);
        assert_eq!(run.violation, None, "seed {}", plan.seed);
        totals.add(run.totals);
    }
    assert!(totals.scarce > 1_000 && totals.refused > 1_000 && totals.relieved > 30, "{totals:?}");
    assert!(totals.exhausted > 10 && totals.failed_lives == 0, "{totals:?}");
}

/// Full in every life, and the disk does not say so when it is asked.
#[test]
fn a_disk_that_is_full_unseen_strikes_every_part_and_breaks_no_promise() {
    let mut struck = Struck::default();
    for seed in 1..=32 {
        let mut plan = Plan { capacity_bytes: None, ..Plan::of(seed, None) };
        for (later, life) in (seed * 131 % 500..).step_by(57).zip(&mut plan.lives) {
            let from_io = if seed.is_multiple_of(4) { 0 } else { later };
            let kind = FaultKind::DiskFull { until: from_io + 30 + seed * 11 % 100, told: false };
            life.faults = [Some(Fault { from_io, kind }), None, None];
        }
        let run = run(&plan);
        assert_eq!(run.violation, None, "seed {seed}");
        struck.add(run.totals.struck);
    }
    for (kind, part, count) in struck.all().filter(|(kind, ..)| *kind == "disk_full") {
        assert!(count >= 5, "{kind} struck {part:?} {count} times");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_last_byte() {
    let once = run(&Plan::of(5, None));
    let again = run(&Plan::of(5, None));
    assert_eq!(once.totals, again.totals);
    assert_eq!(once.points.len(), again.points.len());
    for (number, (a, b)) in once.points.iter().zip(&again.points).enumerate().step_by(97) {
        assert_eq!(a.before.contents(), b.before.contents(), "before I/O {number}");
    }
    let report = |seed| explore_seed(seed, Limits { points: 20, failures: 1 }, None);
    assert_eq!(report(5).effort, report(5).effort);
}

/// Crash points within which a planted bug must show.
const BUDGET: u64 = 2_000;

fn is_caught(bug: PlantedBug) {
    let hunt = hunt(Some(bug), BUDGET);
    assert!(hunt.caught.is_some(), "{bug:?} was not caught at {} crash points", hunt.points);
}

macro_rules! each_is_caught {
    ($($name:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $name() {
                is_caught(PlantedBug::$bug);
            }
        )*

        #[test]
        fn no_planted_bug_is_without_a_test() {
            assert_eq!(PlantedBug::ALL, [$(PlantedBug::$bug),*]);
        }
    };
}

/// Seeds within which a bug planted in the server must show.
const STORMS: u64 = 60;

macro_rules! each_is_caught_in_storms {
    ($($name:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $name() {
                let (seeds, caught) = hunt_in_storms(ServerBug::$bug, STORMS);
                assert!(caught.is_some(), "{:?} was not caught in {seeds} seeds", ServerBug::$bug);
            }
        )*

        #[test]
        fn no_bug_planted_in_the_server_is_without_a_test() {
            assert_eq!(ServerBug::ALL, [$(ServerBug::$bug),*]);
        }
    };
}

each_is_caught_in_storms! {
    a_generation_that_is_not_checked_is_caught: GenerationNotChecked,
    a_generation_that_is_not_raised_is_caught: GenerationNotRaised,
    a_commit_answered_early_is_caught: CommitAnsweredEarly,
    an_offset_read_early_is_caught: OffsetReadEarly,
    offsets_that_outlive_their_topic_are_caught: OffsetsOutliveTheirTopic,
    mixed_up_metadata_is_caught: MetadataMixedUp,
    a_deletion_of_an_offset_that_is_not_written_is_caught: OffsetDeletionNotWritten,
    a_session_cut_in_half_is_caught: SessionHalved,
    a_duplicate_that_is_appended_is_caught: DuplicateAppended,
}

each_is_caught! {
    an_acknowledgement_before_the_sync_is_caught: AckBeforeSync,
    a_directory_that_is_not_synced_is_caught: DirectoryNotSynced,
    a_failed_sync_that_is_tried_again_is_caught: FailedSyncRetried,
    a_torn_record_that_is_accepted_is_caught: TornRecordAccepted,
    a_tail_that_is_shown_before_it_was_written_again_is_caught: TailExposedBeforeRewrite,
    an_ignored_generation_is_caught: GenerationIgnored,
    a_lost_duplicate_window_is_caught: DuplicateWindowLost,
    appending_behind_the_cut_is_caught: AppendBehindCut,
    a_log_file_freed_by_the_newest_checkpoint_is_caught: LogFreedByNewestCheckpoint,
    a_pack_that_is_not_synced_is_caught: PackNotSynced,
    a_checkpoint_that_does_not_wait_for_the_log_is_caught: CheckpointWithoutWaitingForDurable,
    a_recycled_header_that_is_not_synced_is_caught: HeaderNotSyncedOnRecycle,
    a_segment_that_is_not_synced_is_caught: SegmentNotSynced,
    a_failed_sync_of_a_segment_that_is_tried_again_is_caught: SegmentSyncRetried,
    an_index_in_the_log_that_is_not_synced_is_caught: KeptIndexNotSynced,
    a_log_file_that_is_used_again_under_segments_is_caught: KeptFileUsedAgain,
    a_chain_of_checkpoints_that_is_not_kept_is_caught: ChainNotKept,
    a_change_that_no_checkpoint_holds_is_caught: ChangeForgotten,
    appending_to_segments_after_a_fallback_is_caught: AppendAfterFallback,
    a_log_start_that_is_answered_before_it_is_durable_is_caught: LogStartAnsweredEarly,
    a_log_start_that_is_shown_before_it_is_durable_is_caught: LogStartShownEarly,
    a_log_start_that_comes_back_lower_from_the_log_is_caught: LogStartNotReplayed,
    a_log_start_that_comes_back_lower_from_a_checkpoint_is_caught: LogStartNotInChanges,
}
