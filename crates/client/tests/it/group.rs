//! The consumer and its coordinator when they disagree, or are interrupted at the wrong moment.
//!
//! Each test is a bug that was there. Deliberately not here: what a real broker shows; that is in `main.rs`.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pagemark_client::*;
use pagemark_wire::api::Api;
use pagemark_wire::consumer_protocol::Assignment;
use pagemark_wire::messages::{JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest};
use tokio::sync::Notify;

use super::Heard;
use super::coordinator::{Asked, Coordinator, Held, TOPIC, partition};
use super::support::{receive, run};

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const FENCED_INSTANCE_ID: i16 = 82;

/// A consumer that has all partitions, and what its listener hears.
async fn joined(coordinator: &Coordinator, builder: ConsumerBuilder) -> (Consumer, Heard) {
    let heard = Heard::default();
    let mut consumer = builder.rebalance_listener(heard.clone()).build().expect("legal settings");
    consumer.subscribe([TOPIC]).expect("it has a group");
    while heard.all().is_empty() {
        consumer.poll(Duration::from_millis(5)).await.expect("no error");
    }
    assert!(coordinator.count(Api::SyncGroup) == 1 && !consumer.assignment().is_empty());
    let assignment = consumer.assignment();
    assignment.iter().for_each(|partition| consumer.seek(partition, 0).expect("assigned")); // what was polled is dropped
    (consumer, heard)
}

/// What was heard, without the partitions.
fn words(heard: &Heard) -> Vec<&'static str> {
    heard.all().into_iter().map(|(what, _)| what).collect()
}

/// Waits until something else was heard.
async fn until_heard(heard: &Heard, what: &[&str]) {
    while words(heard) != what {
        tokio::task::yield_now().await;
    }
}

/// Does something while the application asks for records.
async fn while_polling<T>(consumer: &mut Consumer, doing: impl Future<Output = T>) -> T {
    let polling = async {
        loop {
            consumer.poll(Duration::from_millis(5)).await.expect("no error");
        }
    };
    tokio::select! { done = doing => done, () = polling => unreachable!("it polls forever") }
}

/// The member id of a join.
fn who(join: &Asked) -> String {
    join.read::<JoinGroupRequest>().member_id.to_string()
}

/// Makes the consumer join again; its join. Heartbeats are answered meanwhile: what goes over their connection waits for them.
async fn demand_rejoin(heartbeats: &mut Held, joins: &mut Held) -> Asked {
    loop {
        tokio::select! {
            join = joins.next() => return join,
            heartbeat = heartbeats.next() => heartbeat.refuse(REBALANCE_IN_PROGRESS),
        }
    }
}

#[test]
fn a_close_that_is_dropped_leaves_no_ghost_in_the_group() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let (mut consumer, _) = joined(&coordinator, coordinator.consumer()).await;
        let record = consumer.recv().await.expect("a record");
        consumer.store_offset(&record).expect("assigned");
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let unanswered = tokio::select! {
            () = consumer.close() => panic!("its commit was not answered"),
            commit = commits.next() => commit,
        };
        drop(unanswered);
        coordinator.until_alone().await;
    });
}

#[test]
fn a_static_member_that_unsubscribes_is_out_and_may_assign() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let (mut consumer, heard) = joined(&coordinator, coordinator.consumer().group_instance_id("i")).await;
        consumer.unsubscribe();
        while consumer.assign([partition(0)]).is_err() {
            consumer.poll(Duration::from_millis(5)).await.expect("no error");
        }
        assert_eq!(words(&heard), ["assigned", "revoked"]);
        assert_eq!(receive(&mut consumer, 2).await.len(), 2);
        consumer.close().await;
        assert_eq!(coordinator.count(Api::LeaveGroup), 0, "its place waits for it (G-32)");
        assert_eq!(words(&heard), ["assigned", "revoked"], "what was assigned by hand is not the listener's");
    });
}

#[test]
fn an_application_that_unsubscribes_and_never_polls_again_is_out_in_time() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let builder = coordinator.consumer().max_poll_interval(Duration::from_secs(1));
        let (mut consumer, heard) = joined(&coordinator, builder).await;
        consumer.unsubscribe();
        coordinator.until_asked(Api::LeaveGroup, 1).await;
        until_heard(&heard, &["assigned", "lost"]).await;
        consumer.close().await;
    });
}

#[test]
fn a_stalled_application_loses_its_partitions_in_the_middle_of_a_rebalance_too() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let builder = coordinator.consumer().max_poll_interval(Duration::from_secs(1));
        let builder = builder.partition_assignment_strategy([Assignor::Range]);
        let (consumer, heard) = joined(&coordinator, builder).await;
        let mut heartbeats = coordinator.hold(Api::Heartbeat);
        heartbeats.next().await.refuse(REBALANCE_IN_PROGRESS);
        drop(heartbeats);
        coordinator.until_asked(Api::LeaveGroup, 1).await;
        until_heard(&heard, &["assigned", "lost"]).await;
        consumer.close().await;
    });
}

/// Whoever commits without a generation is let through where a group has no members (O-9): so would the fenced be.
async fn a_member_that_is_unknown_loses_everything(call: Api) {
    let coordinator = Coordinator::start(1).await;
    let (mut consumer, heard) = joined(&coordinator, coordinator.consumer()).await;
    let record = consumer.recv().await.expect("a record");
    let (mut heartbeats, mut joins) = (coordinator.hold(Api::Heartbeat), coordinator.hold(Api::JoinGroup));
    let syncs = (call == Api::SyncGroup).then(|| coordinator.hold(call));
    let join = demand_rejoin(&mut heartbeats, &mut joins).await;
    drop(heartbeats);
    match syncs {
        None => join.refuse(UNKNOWN_MEMBER_ID),
        Some(mut syncs) => {
            join.usual();
            syncs.next().await.refuse(UNKNOWN_MEMBER_ID);
        }
    }
    let again = joins.next().await;
    assert_eq!(who(&again), "", "it joins as a stranger");
    until_heard(&heard, &["assigned", "lost"]).await;
    assert_eq!(consumer.assignment(), PartitionSet::new());
    assert_eq!(consumer.store_offset(&record), Err(NotAssigned(partition(0))));
    again.usual();
    drop(joins);
    while_polling(&mut consumer, until_heard(&heard, &["assigned", "lost", "assigned"])).await;
    consumer.close().await;
}

#[test]
fn a_member_whose_join_finds_it_unknown_loses_everything() {
    run(a_member_that_is_unknown_loses_everything(Api::JoinGroup));
}

#[test]
fn a_member_whose_sync_finds_it_unknown_loses_everything() {
    run(a_member_that_is_unknown_loses_everything(Api::SyncGroup));
}

#[test]
fn what_was_to_be_committed_goes_nowhere_once_the_member_is_unknown() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let (consumer, heard) = joined(&coordinator, coordinator.consumer()).await;
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let commit = consumer.commit_async_offsets([(partition(0), 5.into())]).expect("assigned");
        let first = commits.next().await;
        let mut heartbeats = coordinator.hold(Api::Heartbeat);
        first.refuse(COORDINATOR_LOAD_IN_PROGRESS); // again in a while
        let answering = async {
            loop {
                tokio::select! {
                    heartbeat = heartbeats.next() => heartbeat.refuse(UNKNOWN_MEMBER_ID),
                    again = commits.next() => {
                        assert_eq!(again.read::<OffsetCommitRequest>().generation_id_or_member_epoch, 1);
                        again.refuse(COORDINATOR_LOAD_IN_PROGRESS);
                    }
                }
            }
        };
        tokio::select! {
            outcome = commit => assert_eq!(outcome, Err(CommitError::Lost(partition(0)))),
            () = answering => {}
        }
        until_heard(&heard, &["assigned", "lost"]).await;
        consumer.close().await;
    });
}

#[test]
fn what_is_said_of_the_old_generation_while_a_join_is_under_way_means_nothing() {
    run(async {
        let coordinator = Coordinator::start(2).await;
        let (mut consumer, heard) = joined(&coordinator, coordinator.consumer()).await;
        let (mut heartbeats, mut joins) = (coordinator.hold(Api::Heartbeat), coordinator.hold(Api::JoinGroup));
        let join = demand_rejoin(&mut heartbeats, &mut joins).await;
        let id = who(&join);
        heartbeats.next().await.refuse(ILLEGAL_GENERATION); // the coordinator is at the next one already
        heartbeats.next().await.refuse(UNKNOWN_MEMBER_ID);
        heartbeats.next().await.refuse(REBALANCE_IN_PROGRESS);
        let late = heartbeats.next().await; // so all of this was heard
        let mut syncs = coordinator.hold(Api::SyncGroup);
        join.lead(7);
        late.refuse(ILLEGAL_GENERATION); // of generation 1, whenever it arrives
        let sync = syncs.next().await;
        let request: SyncGroupRequest = sync.read();
        assert_eq!((request.member_id.to_string(), request.generation_id), (id.clone(), 7));
        sync.usual();
        drop(heartbeats);
        let heard_so_far = coordinator.count(Api::Heartbeat);
        while_polling(&mut consumer, coordinator.until_asked(Api::Heartbeat, heard_so_far + 3)).await;
        assert_eq!((words(&heard), consumer.assignment().len()), (vec!["assigned"], 2));
        assert!(!joins.is_waiting(), "no reason to join again");
        consumer.close().await;
    });
}

#[test]
fn a_commit_that_meets_the_next_generation_is_repeated_in_it() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let (consumer, heard) = joined(&coordinator, coordinator.consumer()).await;
        let (mut heartbeats, mut joins) = (coordinator.hold(Api::Heartbeat), coordinator.hold(Api::JoinGroup));
        let join = demand_rejoin(&mut heartbeats, &mut joins).await;
        drop(heartbeats);
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let commit = consumer.commit_async_offsets([(partition(0), 5.into())]).expect("assigned");
        commits.next().await.refuse(ILLEGAL_GENERATION);
        let again = commits.next().await; // so it did not give up
        join.lead(7);
        again.refuse(ILLEGAL_GENERATION);
        let committed = loop {
            let again = commits.next().await;
            if again.read::<OffsetCommitRequest>().generation_id_or_member_epoch == 7 {
                break again;
            }
            again.refuse(ILLEGAL_GENERATION);
        };
        committed.settle_commit(|_| 0);
        assert_eq!(commit.await, Ok(()));
        assert_eq!(words(&heard), ["assigned"]);
        consumer.close().await;
    });
}

#[test]
fn whoever_fell_behind_takes_its_old_place_again() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let (mut consumer, heard) = joined(&coordinator, coordinator.consumer()).await;
        let (mut heartbeats, mut joins) = (coordinator.hold(Api::Heartbeat), coordinator.hold(Api::JoinGroup));
        heartbeats.next().await.refuse(ILLEGAL_GENERATION);
        let join = joins.next().await;
        assert_ne!(who(&join), "", "under another id it would leave a member behind that nobody is");
        join.usual();
        drop((heartbeats, joins));
        while_polling(&mut consumer, until_heard(&heard, &["assigned", "lost", "assigned"])).await;
        consumer.close().await;
    });
}

/// Under an empty id it would get its place back, and fence the one that has fenced it.
#[test]
fn a_commit_that_is_fenced_ends_the_consumer() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let (mut consumer, heard) = joined(&coordinator, coordinator.consumer().group_instance_id("i")).await;
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let commit = consumer.commit_async_offsets([(partition(0), 5.into())]).expect("assigned");
        commits.next().await.refuse(FENCED_INSTANCE_ID);
        assert_eq!(commit.await, Err(CommitError::Lost(partition(0))));
        assert_eq!(consumer.recv().await, Err(ConsumerError::Fenced));
        until_heard(&heard, &["assigned", "lost"]).await;
        consumer.close().await;
        assert_eq!(coordinator.count(Api::JoinGroup), 1);
    });
}

/// Stops at the first partition.
struct Panics;

impl RebalanceListener for Panics {
    async fn on_assigned(&mut self, _: &Rebalance, _: &PartitionSet) {
        panic!("the listener's own");
    }
}

#[test]
fn a_listener_that_panics_ends_the_consumer_and_not_only_its_heartbeats() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let mut consumer = coordinator.consumer().rebalance_listener(Panics).build().expect("legal settings");
        consumer.subscribe([TOPIC]).expect("it has a group");
        assert_eq!(consumer.recv().await, Err(ConsumerError::Fatal(Error::Closed)));
        consumer.close().await;
    });
}

#[test]
fn a_subscription_that_changes_during_a_join_counts() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let mut consumer = coordinator.consumer().build().expect("legal settings");
        let mut joins = coordinator.hold(Api::JoinGroup);
        consumer.subscribe(["other"]).expect("it has a group");
        joins.next().await.usual(); // the one that gets it its id
        let join = joins.next().await;
        consumer.subscribe([TOPIC]).expect("it has a group");
        join.usual();
        drop(joins);
        assert_eq!(receive(&mut consumer, 1).await[0].partition, partition(0));
        consumer.close().await;
    });
}

#[test]
fn a_commit_that_can_only_wait_keeps_no_other_waiting() {
    run(async {
        let coordinator = Coordinator::start(2).await;
        let (consumer, _) = joined(&coordinator, coordinator.consumer()).await;
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let stuck = |index: i32| if index == 0 { 7 } else { 0 };
        let first = consumer.commit_async_offsets([(partition(0), 5.into())]).expect("assigned");
        commits.next().await.settle_commit(stuck);
        for offset in 1..4 {
            let other = consumer.commit_async_offsets([(partition(1), offset.into())]).expect("assigned");
            let answering = async {
                loop {
                    commits.next().await.settle_commit(stuck);
                }
            };
            tokio::select! { done = other => done.expect("committed"), () = answering => {} }
        }
        drop(commits);
        assert_eq!(first.await, Ok(()), "it was repeated all the while");
        consumer.close().await;
    });
}

/// The topic was made anew with one partition less.
#[test]
fn a_commit_of_a_partition_that_is_gone_is_refused_at_once() {
    run(async {
        let coordinator = Coordinator::start(2).await;
        let (consumer, _) = joined(&coordinator, coordinator.consumer()).await;
        coordinator.set_partitions(1);
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let gone = consumer.commit_async_offsets([(partition(1), 5.into())]).expect("assigned");
        commits.next().await.refuse(3);
        drop(commits);
        assert_eq!(gone.await, Err(CommitError::Refused(Code::UNKNOWN_TOPIC_OR_PARTITION)));
        consumer.close().await;
    });
}

/// A consumer of generation 1, in a join whose answer it has and whose Sync it has not sent; with the Metadata it waits for.
async fn between_join_and_sync(coordinator: &Coordinator, builder: ConsumerBuilder) -> (Consumer, Asked) {
    let (mut consumer, _) = joined(coordinator, builder).await;
    let record = consumer.recv().await.expect("a record");
    consumer.store_offset(&record).expect("assigned");
    let (mut heartbeats, mut joins) = (coordinator.hold(Api::Heartbeat), coordinator.hold(Api::JoinGroup));
    let join = demand_rejoin(&mut heartbeats, &mut joins).await;
    drop(heartbeats);
    let mut metadata = coordinator.hold(Api::Metadata);
    join.usual();
    (consumer, metadata.next().await)
}

#[test]
fn a_close_between_join_and_sync_commits_and_leaves() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let (consumer, metadata) = between_join_and_sync(&coordinator, coordinator.consumer()).await;
        let mut leaves = coordinator.hold(Api::LeaveGroup);
        let (leave, ()) = tokio::join!(
            async {
                let leave = leaves.next().await;
                let request: LeaveGroupRequest = leave.read();
                leave.usual();
                request
            },
            async {
                let closing = consumer.close();
                tokio::pin!(closing);
                assert!(tokio::time::timeout(Duration::ZERO, &mut closing).await.is_err());
                metadata.usual();
                closing.await;
            }
        );
        assert_eq!(leave.members.len(), 1);
        assert!(coordinator.count(Api::OffsetCommit) > 0, "what was processed is committed");
        coordinator.until_alone().await;
    });
}

/// The others of its group wait for a leader's Sync until its session ends, since a static member does not leave.
#[test]
fn a_static_leader_that_closes_between_join_and_sync_still_says_who_reads_what() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let builder = coordinator.consumer().group_instance_id("i").enable_auto_commit(false);
        let (consumer, metadata) = between_join_and_sync(&coordinator, builder).await;
        let closing = consumer.close();
        tokio::pin!(closing);
        assert!(tokio::time::timeout(Duration::ZERO, &mut closing).await.is_err());
        metadata.usual();
        closing.await;
        assert_eq!((coordinator.count(Api::SyncGroup), coordinator.count(Api::LeaveGroup)), (2, 0));
    });
}

/// What was asked for is made, whatever the application does next: here it closes, dropped the handle, and never stored.
#[test]
fn a_close_waits_for_commits_of_partitions_assigned_by_hand() {
    run(async {
        let coordinator = Coordinator::start(2).await;
        let mut consumer = coordinator.consumer().build().expect("legal settings");
        consumer.assign([partition(0), partition(1)]).expect("not subscribed");
        let mut commits = coordinator.hold(Api::OffsetCommit);
        drop(consumer.commit_async_offsets([(partition(0), 5.into())]).expect("assigned"));
        let first = commits.next().await;
        drop(consumer.commit_async_offsets([(partition(1), 6.into())]).expect("assigned"));
        let closing = consumer.close();
        tokio::pin!(closing);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut closing).await.is_err());
        first.usual();
        let second =
            tokio::select! { () = &mut closing => panic!("it was not committed"), second = commits.next() => second };
        assert_eq!(offset_committed(&second), 6);
        second.usual();
        closing.await;
    });
}

fn offset_committed(commit: &Asked) -> i64 {
    commit.read::<OffsetCommitRequest>().topics[0].partitions[0].committed_offset
}

#[test]
fn a_commit_that_was_asked_for_is_made_also_if_other_partitions_are_assigned_or_none() {
    run(async {
        let coordinator = Coordinator::start(2).await;
        let mut consumer = coordinator.consumer().build().expect("legal settings");
        consumer.assign([partition(0)]).expect("not subscribed");
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let one = consumer.commit_async_offsets([(partition(0), 5.into())]).expect("assigned");
        let first = commits.next().await;
        let two = consumer.commit_async_offsets([(partition(0), 6.into())]).expect("assigned");
        consumer.assign([partition(1)]).expect("not subscribed");
        let three = consumer.commit_async_offsets([(partition(1), 7.into())]).expect("assigned");
        consumer.unsubscribe();
        assert_eq!(consumer.assignment(), PartitionSet::new());
        first.usual();
        let second = commits.next().await;
        let sent: OffsetCommitRequest = second.read();
        assert_eq!(sent.topics[0].partitions.iter().map(|p| p.committed_offset).collect::<Vec<_>>(), [6, 7]);
        second.usual();
        assert_eq!((one.await, two.await, three.await), (Ok(()), Ok(()), Ok(())));
        drop(commits);
        consumer.subscribe([TOPIC]).expect("nothing is assigned by hand any more");
        assert_eq!(receive(&mut consumer, 2).await.len(), 2);
        consumer.close().await;
    });
}

/// E-11: it is not a member, so it has lost nothing; the group's members keep it out.
#[test]
fn a_commit_by_hand_under_a_group_that_lives_is_refused_and_not_lost() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let mut consumer = coordinator.consumer().build().expect("legal settings");
        consumer.assign([partition(0)]).expect("not subscribed");
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let commit = consumer.commit_async_offsets([(partition(0), 5.into())]).expect("assigned");
        commits.next().await.refuse(UNKNOWN_MEMBER_ID);
        assert_eq!(commit.await, Err(CommitError::Refused(Code::UNKNOWN_MEMBER_ID)));
        consumer.close().await;
    });
}

/// Takes its time over partitions that go, and processes a last record meanwhile.
#[derive(Clone, Default)]
struct Slow {
    is_running: Arc<AtomicBool>,
    go_on: Arc<Notify>,
    last: Arc<Mutex<Option<Record>>>,
}

impl RebalanceListener for Slow {
    async fn on_assigned(&mut self, rebalance: &Rebalance, partitions: &PartitionSet) {
        rebalance.pause(partitions).expect("assigned");
        assert_eq!(rebalance.position(&partition(0)), Ok(None), "nobody has looked yet");
    }

    async fn on_revoked(&mut self, rebalance: &Rebalance, _: &PartitionSet) {
        self.is_running.store(true, Ordering::SeqCst);
        self.go_on.notified().await;
        let last = self.last.lock().expect("no panic").take().expect("a record");
        assert_eq!(rebalance.position(&partition(0)), Ok(Some(1)));
        rebalance.store_offset(&last).expect("still assigned");
        rebalance.commit_sync().await.expect("committed");
        rebalance.commit_sync_offsets([(partition(0), 7.into())]).await.expect("committed");
        self.is_running.store(false, Ordering::SeqCst);
    }
}

/// The application would work on what it kept, and say that it is done, and nobody would commit it.
#[test]
fn a_poll_does_not_return_while_a_listener_gives_partitions_up() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let slow = Slow::default();
        let builder = coordinator.consumer().enable_auto_commit(false).rebalance_listener(slow.clone());
        let mut consumer = builder.build().expect("legal settings");
        consumer.subscribe([TOPIC]).expect("it has a group");
        while consumer.assignment().is_empty() {
            assert_eq!(consumer.poll(Duration::from_millis(5)).await, Ok(Vec::new()), "it is paused");
        }
        consumer.resume([&partition(0)]).expect("assigned");
        *slow.last.lock().expect("no panic") = Some(consumer.recv().await.expect("a record"));
        consumer.pause([&partition(0)]).expect("assigned");
        let mut commits = coordinator.hold(Api::OffsetCommit);
        consumer.unsubscribe();
        let polling = async {
            while !consumer.assignment().is_empty() {
                consumer.poll(Duration::from_millis(1)).await.expect("no error");
                assert!(!slow.is_running.load(Ordering::SeqCst), "it returned before its listener");
            }
        };
        let committing = async {
            while !slow.is_running.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // for a poll that does not wait
            slow.go_on.notify_one();
            let mut offsets = Vec::new();
            while offsets.len() < 2 {
                let commit = commits.next().await;
                offsets.push(offset_committed(&commit));
                commit.usual();
            }
            assert_eq!(offsets, [1, 7]);
        };
        tokio::join!(polling, committing);
        consumer.close().await;
    });
}

#[test]
fn a_session_that_ends_unheard_is_noticed_at_its_end_whatever_is_waited_for() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let builder = coordinator.consumer().session_timeout(Duration::from_secs(1));
        let (_consumer, heard) = joined(&coordinator, builder).await;
        let (mut heartbeats, mut lookups) = (coordinator.hold(Api::Heartbeat), coordinator.hold(Api::FindCoordinator));
        drop(heartbeats.next().await); // the connection ends
        let _unanswered = lookups.next().await;
        let lost = until_heard(&heard, &["assigned", "lost"]);
        tokio::time::timeout(Duration::from_secs(10), lost).await.expect("long before the answer was due");
    });
}

/// What the leader knew of a topic when it assigned: it alone sees to it that the others get what comes.
#[test]
fn a_leader_assigns_again_when_a_topic_comes_that_only_others_read() {
    run(async {
        let coordinator = Coordinator::start(1).await;
        let mut consumer = coordinator.consumer().build().expect("legal settings");
        let (mut joins, mut syncs) = (coordinator.hold(Api::JoinGroup), coordinator.hold(Api::SyncGroup));
        consumer.subscribe([TOPIC]).expect("it has a group");
        joins.next().await.usual(); // the one that gets it its id
        joins.next().await.lead_with(1, &["u"]);
        let sync = syncs.next().await;
        assert_eq!(given(&sync, "other"), []);
        coordinator.set_topic("u", 2);
        sync.usual();
        joins.next().await.lead_with(2, &["u"]);
        let sync = syncs.next().await;
        assert_eq!(given(&sync, "other"), [("u".to_owned(), vec![0, 1])]);
        sync.usual();
        consumer.close().await;
    });
}

/// What a leader gives to a member.
fn given(sync: &Asked, member: &str) -> Vec<(String, Vec<i32>)> {
    let request: SyncGroupRequest = sync.read();
    let given =
        request.assignments.iter().find(|given| given.member_id.as_str() == member).expect("it is in the group");
    Assignment::parse(&given.assignment).expect("an assignment").partitions.into_iter().collect()
}

/// Lines for the log, as they are written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_automatic_commit_that_is_refused_is_told_to_the_log() {
    let log = Log::default();
    let writer = Log(Arc::clone(&log.0));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _here = tracing::subscriber::set_default(subscriber); // of this thread, on which everything runs
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let coordinator = Coordinator::start(1).await;
        let builder = coordinator.consumer().auto_commit_interval(Duration::from_millis(10));
        let (mut consumer, _) = joined(&coordinator, builder).await;
        let mut commits = coordinator.hold(Api::OffsetCommit);
        let record = consumer.recv().await.expect("a record");
        consumer.store_offset(&record).expect("assigned");
        commits.next().await.refuse(TOPIC_AUTHORIZATION_FAILED);
        let again = commits.next().await; // so the first was judged
        let told = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
        assert!(
            told.contains("an automatic commit failed") && told.contains("TOPIC_AUTHORIZATION_FAILED (29)"),
            "{told}"
        );
        again.usual();
        drop(commits);
        consumer.close().await;
    });
}
