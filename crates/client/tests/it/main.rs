//! The client against a broker: ours by default, any other by `PAGEMARK_TEST_BOOTSTRAP=HOST:PORT`, such as Apache Kafka.
//!
//! Every test passes against both. Only those of `group.rs` have a coordinator of their own, written by hand, since no broker
//! makes the mistakes and the pauses that they are about. Deliberately not here: what can be tested without a broker.

mod coordinator;
mod group;
mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pagemark_client::*;
use pagemark_wire::api::Api;
use support::{Proxy, Rig, numbers, receive, run};

#[test]
fn topics_are_created_described_listed_and_deleted() {
    run(async {
        let rig = Rig::start("topics").await;
        let admin = &rig.admin;
        let missing = admin.describe_topic(rig.name()).await.expect_err("not there yet");
        assert_eq!(missing.code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
        admin.validate_topic(&NewTopic::new(rig.name()).partitions(3)).await.expect("legal");
        let name = rig.topic(3).await;
        let topic = admin.describe_topic(name).await.expect("there");
        assert_eq!(topic.partitions.len(), 3);
        assert!(topic.partitions.iter().all(|p| p.leader.is_some() && p.replicas.len() == 1), "{topic:?}");
        assert!(admin.list_topics().await.expect("a list").contains(&topic));
        let again = admin.create_topic(NewTopic::new(name)).await.expect_err("it exists");
        assert_eq!(again.code(), Some(Code::TOPIC_ALREADY_EXISTS));
        let illegal = admin.create_topic(NewTopic::new("no/slash")).await.expect_err("an illegal name");
        assert_eq!(illegal.code(), Some(Code(17)));
        admin.delete_topic(name).await.expect("deleted");
        let gone = admin.delete_topic(name).await.expect_err("gone");
        assert_eq!(gone.code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
        let cluster = admin.describe_cluster().await.expect("a cluster");
        assert!(cluster.brokers.len() == 1 && cluster.cluster_id.is_some());
    });
}

#[test]
fn what_is_repeated_after_a_lost_answer_is_written_once_and_in_order() {
    run(async {
        let rig = Rig::start("idempotence").await;
        let topic = rig.topic(1).await;
        let proxy = Proxy::to(&rig.bootstrap).await;
        let producer = Producer::builder(&proxy.bootstrap).batch_size(2_000).build().expect("legal settings");
        let first = producer.send(ProducerRecord::to(topic).value("0")).await.expect("taken in");
        assert_eq!(first.await.expect("written").offset, Some(0));
        proxy.lose_answers(Api::Produce, 3);
        let mut deliveries = Vec::new();
        for n in 1..200 {
            let record = ProducerRecord::to(topic).value(n.to_string());
            deliveries.push(producer.send(record).await.expect("taken in"));
        }
        for (delivery, n) in deliveries.into_iter().zip(1..) {
            assert_eq!(delivery.await.expect("written").offset, Some(n));
        }
        assert_eq!(proxy.lost(), 3);
        let end = rig.admin.list_offsets([(rig.partition(0), OffsetSpec::Latest)]).await.expect("an end");
        assert_eq!(end[&rig.partition(0)].offset, Some(200));
        producer.close().await;
    });
}

#[test]
fn a_record_that_cannot_be_written_says_what_to_do() {
    run(async {
        let rig = Rig::start("refused").await;
        let topic = NewTopic::new(rig.name()).partitions(1).config("max.message.bytes", "1000");
        rig.admin.create_topic(topic).await.expect("created");
        let producer = rig.producer();
        let record = || ProducerRecord::to(rig.name()).partition(0);
        let large = producer.send(record().value(vec![b'x'; 5_000])).await.expect("taken in").await;
        assert!(matches!(large, Err(ProduceError::Refused { code: Code::MESSAGE_TOO_LARGE, .. })), "{large:?}");
        let small = producer.send(record().value("small")).await.expect("taken in").await;
        assert_eq!(small.expect("written").offset, Some(0));
        // Records that are too large only together are written, each where it belongs.
        let lingering = Producer::builder(&rig.bootstrap).linger(Duration::from_secs(3600));
        let lingering = lingering.delivery_timeout(Duration::from_secs(7200)).build().expect("legal settings");
        let mut deliveries = Vec::new();
        for _ in 0..20 {
            deliveries.push(lingering.send(record().value(vec![b'x'; 100])).await.expect("taken in"));
        }
        lingering.flush().await;
        for (delivery, offset) in deliveries.into_iter().zip(1..) {
            assert_eq!(delivery.await.expect("written").offset, Some(offset));
        }
        let huge = producer.send(record().value(vec![b'x'; 2 << 20])).await;
        assert!(matches!(huge, Err(ProduceError::TooLarge { .. })));
        let nowhere = producer.send(record().partition(7)).await;
        assert!(matches!(nowhere, Err(ProduceError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, .. })));
        let impatient = Producer::builder(&rig.bootstrap).max_block(Duration::from_millis(200));
        let impatient = impatient.build().expect("legal settings");
        let unknown = impatient.send(ProducerRecord::to("there-is-no-such-topic")).await;
        assert!(matches!(unknown, Err(ProduceError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, .. })));
    });
}

#[test]
fn offsets_are_found_at_both_ends_and_by_time() {
    run(async {
        let rig = Rig::start("offsets").await;
        let topic = rig.topic(2).await;
        let producer = rig.producer();
        for n in 0..3 {
            let record = ProducerRecord::to(topic).partition(0).value("x").timestamp_ms(1_700_000_000_000 + n);
            producer.send(record).await.expect("taken in").await.expect("written");
        }
        rig.fill(1, 0..5).await;
        let offset = async |partition, spec| {
            let found = rig.admin.list_offsets([(rig.partition(partition), spec)]).await.expect("found");
            found[&rig.partition(partition)].offset
        };
        assert_eq!(offset(0, OffsetSpec::Earliest).await, Some(0));
        assert_eq!(offset(0, OffsetSpec::Latest).await, Some(3));
        assert_eq!(offset(1, OffsetSpec::Latest).await, Some(5));
        assert_eq!(offset(0, OffsetSpec::Timestamp(1_700_000_000_001)).await, Some(1));
        assert_eq!(offset(0, OffsetSpec::Timestamp(1_700_000_000_003)).await, None);
    });
}

#[test]
fn records_arrive_as_they_were_sent_in_every_codec_q_52() {
    run(async {
        let rig = Rig::start("codecs").await;
        let topic = rig.topic(1).await;
        let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        for codec in codecs {
            let producer = Producer::builder(&rig.bootstrap).compression(codec).build().expect("legal settings");
            let record = ProducerRecord::to(topic).key("key").timestamp_ms(1_700_000_000_000);
            let full = record.clone().value(codec.name().repeat(10_000)).header("h", "1").header("h", "");
            let first = producer.send(full).await.expect("taken in");
            let tombstone = producer.send(record).await.expect("taken in");
            producer.flush().await;
            first.await.expect("written");
            tombstone.await.expect("written");
        }
        let mut consumer = rig.manual();
        let records = receive(&mut consumer, 10).await;
        for (pair, codec) in records.chunks(2).zip(codecs) {
            let [full, tombstone] = pair else { panic!("{pair:?}") };
            assert_eq!(full.value.as_deref(), Some(codec.name().repeat(10_000).as_bytes()));
            let headers: Vec<_> = full.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            assert_eq!(headers, [("h", Some(&b"1"[..])), ("h", Some(&b""[..]))]);
            assert_eq!((tombstone.value.as_deref(), tombstone.key()), (None, &b"key"[..]));
            assert_eq!((full.timestamp_ms, full.topic()), (1_700_000_000_000, topic));
        }
        assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        consumer.close().await;
    });
}

/// The story: records 0 to 3 are processed and committed, then the consumer is gone; the next one begins at 4 (E-1).
#[test]
fn after_a_crash_reading_goes_on_exactly_at_the_committed_offset() {
    run(async {
        let rig = Rig::start("crash").await;
        rig.topic(1).await;
        rig.fill(0, 0..10).await;
        let mut consumer = rig.manual();
        let records = receive(&mut consumer, 6).await;
        consumer.store_offset(&records[3]).expect("assigned");
        consumer.commit_sync().await.expect("committed");
        consumer.store_offset(&records[5]).expect("assigned"); // processed, and never committed
        drop(consumer);
        assert_eq!(rig.committed(0).await, Some(4));
        let mut next = rig.manual();
        assert_eq!(numbers(&receive(&mut next, 6).await), [4, 5, 6, 7, 8, 9]);
        let committed = next.committed(&[rig.partition(0)]).await.expect("an answer");
        assert_eq!(committed[&rig.partition(0)].offset, 4);
        assert_eq!(next.position(&rig.partition(0)), Ok(Some(10)));
        next.close().await;
    });
}

#[test]
fn auto_commit_commits_what_was_processed_and_nothing_that_was_only_received() {
    run(async {
        let rig = Rig::start("auto").await;
        rig.topic(1).await;
        rig.fill(0, 0..10).await;
        let interval = Duration::from_millis(50);
        let mut auto = rig.subscribed(rig.consumer().auto_commit_interval(interval));
        let records = receive(&mut auto, 8).await;
        auto.store_offset(&records[2]).expect("assigned");
        while rig.committed(0).await != Some(3) {
            tokio::task::yield_now().await;
        }
        auto.store_offset(&records[4]).expect("assigned");
        auto.close().await; // commits what was stored since
        assert_eq!(rig.committed(0).await, Some(5));

        let mut manual = rig.manual();
        let records = receive(&mut manual, 3).await;
        assert_eq!(numbers(&records), [5, 6, 7]);
        manual.store_offset(&records[2]).expect("assigned");
        manual.close().await; // commits nothing by itself
        assert_eq!(rig.committed(0).await, Some(5));
    });
}

/// What was heard, and of which partitions.
type Event = (&'static str, BTreeSet<i32>);

/// Notes what a listener hears.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Heard {
    fn note(&self, what: &'static str, partitions: &PartitionSet) {
        let partitions = partitions.iter().map(|partition| partition.partition).collect();
        self.0.lock().expect("no panic").push((what, partitions));
    }

    fn all(&self) -> Vec<Event> {
        self.0.lock().expect("no panic").clone()
    }
}

impl RebalanceListener for Heard {
    async fn on_assigned(&mut self, _: &Rebalance, partitions: &PartitionSet) {
        self.note("assigned", partitions);
    }

    async fn on_revoked(&mut self, rebalance: &Rebalance, partitions: &PartitionSet) {
        rebalance.commit_sync().await.expect("a commit is accepted before partitions are given up");
        self.note("revoked", partitions);
    }

    async fn on_lost(&mut self, partitions: &PartitionSet) {
        self.note("lost", partitions);
    }
}

/// Polls all consumers in turn until it is so.
async fn poll_until(consumers: &mut [&mut Consumer], mut is_so: impl FnMut(&[&mut Consumer], Vec<Record>) -> bool) {
    loop {
        let mut records = Vec::new();
        for consumer in consumers.iter_mut() {
            records.extend(consumer.poll(Duration::from_millis(20)).await.expect("no error"));
        }
        if is_so(consumers, records) {
            return;
        }
    }
}

fn shares(consumers: &[&mut Consumer]) -> Vec<usize> {
    consumers.iter().map(|consumer| consumer.assignment().len()).collect()
}

#[test]
fn a_second_member_takes_half_and_the_first_keeps_the_rest_without_a_pause() {
    run(async {
        let rig = Rig::start("cooperative").await;
        rig.topic(4).await;
        let (heard_a, heard_b) = (Heard::default(), Heard::default());
        let listening = |heard: &Heard| rig.consumer().enable_auto_commit(false).rebalance_listener(heard.clone());
        let mut a = rig.subscribed(listening(&heard_a));
        poll_until(&mut [&mut a], |c, _| shares(c) == [4]).await;
        for partition in 0..4 {
            rig.fill(partition, 0..5).await;
        }
        let first = receive(&mut a, 20).await;
        first.iter().for_each(|record| a.store_offset(record).expect("assigned")); // committed by the listener
        let mut b = rig.subscribed(listening(&heard_b));
        poll_until(&mut [&mut a, &mut b], |c, _| shares(c) == [2, 2]).await;
        let revoked = match &heard_a.all()[..] {
            [("assigned", all), ("revoked", revoked)] if all.len() == 4 && revoked.len() == 2 => revoked.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(heard_b.all().last(), Some(&("assigned", revoked.clone())));
        for partition in 0..4 {
            rig.fill(partition, 5..8).await;
        }
        let mut seen = Vec::new();
        poll_until(&mut [&mut a, &mut b], |_, records| {
            seen.extend(records.iter().map(|r| (r.partition.partition, numbers(std::slice::from_ref(r))[0])));
            seen.len() >= 12
        })
        .await;
        seen.sort_unstable();
        let expected: Vec<_> = (0..4).flat_map(|partition| (5..8).map(move |n| (partition, n))).collect();
        assert_eq!(seen, expected, "nothing again, nothing lost");

        // A record of a partition that went is not this consumer's to commit.
        let gone = first.iter().find(|record| revoked.contains(&record.partition.partition)).expect("there is one");
        assert_eq!(a.store_offset(gone), Err(NotAssigned(gone.partition.clone())));
        let explicit = a.commit_sync_offsets([(gone.partition.clone(), 1.into())]).await;
        assert_eq!(explicit, Err(CommitError::Lost(gone.partition.clone())));

        b.close().await; // leaves: the first gets everything back, and at once
        poll_until(&mut [&mut a], |c, _| shares(c) == [4]).await;
        assert!(heard_b.all().iter().all(|(what, _)| *what != "lost"));
        a.close().await;
    });
}

#[test]
fn with_range_everything_is_given_up_and_shared_anew_and_a_crashed_members_share_goes_over() {
    run(async {
        let rig = Rig::start("range").await;
        rig.topic(4).await;
        let heard = Heard::default();
        let range = || rig.consumer().enable_auto_commit(false).partition_assignment_strategy([Assignor::Range]);
        let mut a = rig.subscribed(range().rebalance_listener(heard.clone()));
        poll_until(&mut [&mut a], |c, _| shares(c) == [4]).await;
        let mut b = rig.subscribed(range());
        poll_until(&mut [&mut a, &mut b], |c, _| shares(c) == [2, 2]).await;
        let heard_so_far: Vec<_> = heard.all().iter().map(|(what, all)| (*what, all.len())).collect();
        assert_eq!(heard_so_far, [("assigned", 4), ("revoked", 4), ("assigned", 2)]);
        for partition in 0..4 {
            rig.fill(partition, 0..3).await;
        }
        // b crashes with two of its records processed and committed.
        let records = receive(&mut b, 2).await;
        records.iter().for_each(|record| b.store_offset(record).expect("assigned"));
        b.commit_sync().await.expect("committed");
        drop(b);
        let mut seen = BTreeSet::new();
        poll_until(&mut [&mut a], |_, records| {
            seen.extend(records.iter().map(|record| (record.partition.clone(), record.offset)));
            seen.len() >= 10
        })
        .await;
        let again = records.iter().filter(|r| seen.contains(&(r.partition.clone(), r.offset))).count();
        assert_eq!((seen.len(), again), (10, 0), "the survivor has the rest, and nothing that was committed");
        a.close().await;
    });
}

#[test]
fn a_static_member_that_restarts_gets_its_partitions_back_and_nobody_else_notices() {
    run(async {
        let rig = Rig::start("static").await;
        rig.topic(4).await;
        let builder = |id: &str| rig.consumer().group_instance_id(id);
        let heard = Heard::default();
        let mut a = rig.subscribed(builder("a"));
        poll_until(&mut [&mut a], |c, _| shares(c) == [4]).await;
        let mut b = rig.subscribed(builder("b").rebalance_listener(heard.clone()));
        poll_until(&mut [&mut a, &mut b], |c, _| shares(c) == [2, 2]).await;
        let (before, events) = (a.assignment(), heard.all());
        a.close().await; // does not leave
        let mut again = rig.subscribed(builder("a"));
        poll_until(&mut [&mut again, &mut b], |c, _| shares(c)[0] > 0).await;
        assert_eq!(again.assignment(), before);
        assert_eq!(heard.all(), events, "nobody else notices");

        // Another one under the same name ends the first (G-32).
        let mut third = rig.subscribed(builder("a"));
        let fenced = loop {
            third.poll(Duration::from_millis(20)).await.expect("no error");
            if let Err(error) = again.poll(Duration::from_millis(20)).await {
                break error;
            }
        };
        assert_eq!(fenced, ConsumerError::Fenced);
        third.close().await;
        b.close().await;
    });
}

#[test]
fn where_nothing_is_committed_the_policy_decides_e_12() {
    run(async {
        let rig = Rig::start("reset").await;
        let topic = rig.topic(1).await;
        let producer = rig.producer();
        let hour = 3_600_000;
        for (n, age) in [3 * hour, hour / 2, 0].into_iter().enumerate() {
            let sent = ProducerRecord::to(topic).value(n.to_string()).timestamp_ms(now_ms() - age);
            producer.send(sent).await.expect("taken in").await.expect("written");
        }
        let partition = rig.partition(0);
        let with = |policy| {
            let builder = Consumer::builder(&rig.bootstrap).auto_offset_reset(policy);
            let mut consumer = builder.build().expect("legal settings");
            consumer.assign([partition.clone()]).expect("not subscribed");
            consumer
        };
        assert_eq!(receive(&mut with(AutoOffsetReset::Earliest), 1).await[0].offset, 0);
        let hours = |n: u64| AutoOffsetReset::ByDuration(Duration::from_secs(n * 3600));
        assert_eq!(receive(&mut with(hours(1)), 1).await[0].offset, 1);
        assert_eq!(receive(&mut with(hours(100)), 1).await[0].offset, 0);
        for policy in [AutoOffsetReset::Latest, AutoOffsetReset::ByDuration(Duration::ZERO)] {
            let mut consumer = with(policy);
            while consumer.position(&partition) != Ok(Some(3)) {
                assert_eq!(consumer.poll(Duration::from_millis(10)).await, Ok(Vec::new()), "{policy:?}");
            }
        }
        // None: an error, until the application seeks.
        let mut none = rig.subscribed(rig.consumer().auto_offset_reset(AutoOffsetReset::None));
        assert_eq!(none.recv().await, Err(ConsumerError::NoOffset { partition: partition.clone() }));
        none.seek(&partition, 1).expect("assigned");
        assert_eq!(numbers(&receive(&mut none, 2).await), [1, 2]);
        none.seek_to_beginning(&partition).expect("assigned");
        assert_eq!(numbers(&receive(&mut none, 1).await), [0]);
        none.close().await;
    });
}

#[allow(clippy::disallowed_methods, reason = "records with a history")]
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

#[test]
fn an_offset_outside_the_log_is_reset_by_the_policy_or_told_e_14() {
    run(async {
        let rig = Rig::start("range-of-log").await;
        rig.topic(1).await;
        rig.fill(0, 0..3).await;
        let partition = rig.partition(0);
        let mut earliest = rig.subscribed(rig.consumer());
        receive(&mut earliest, 3).await;
        earliest.seek(&partition, 1_000).expect("assigned");
        assert_eq!(numbers(&receive(&mut earliest, 1).await), [0]);
        earliest.close().await;
        rig.admin.alter_group_offsets(rig.name(), [(partition.clone(), 77.into())]).await.expect("nobody is there");
        let mut none = rig.subscribed(rig.consumer().auto_offset_reset(AutoOffsetReset::None));
        assert_eq!(none.recv().await, Err(ConsumerError::OutOfRange { partition, offset: 77 }));
        none.close().await;
    });
}

/// The log under its name is another one, which was filled past the place where the consumer was.
#[test]
fn a_topic_that_is_deleted_and_made_again_is_read_from_its_beginning() {
    run(async {
        let rig = Rig::start("again").await;
        let name = rig.topic(1).await;
        rig.fill(0, 0..5).await;
        let builder = Consumer::builder(&rig.bootstrap).auto_offset_reset(AutoOffsetReset::Earliest);
        let mut consumer = builder.build().expect("legal settings");
        consumer.assign([rig.partition(0)]).expect("not subscribed");
        assert_eq!(numbers(&receive(&mut consumer, 5).await), [0, 1, 2, 3, 4]);
        rig.admin.delete_topic(name).await.expect("deleted");
        rig.topic(1).await;
        rig.fill(0, 10..20).await;
        assert_eq!(numbers(&receive(&mut consumer, 10).await), (10..20).collect::<Vec<_>>());
    });
}

#[test]
fn commits_keep_their_order_also_when_answers_are_lost_o_20() {
    run(async {
        let rig = Rig::start("commits").await;
        rig.topic(1).await;
        rig.fill(0, 0..60).await;
        let proxy = Proxy::to(&rig.bootstrap).await;
        let builder = Consumer::builder(&proxy.bootstrap)
            .group_id(rig.name())
            .enable_auto_commit(false)
            .auto_offset_reset(AutoOffsetReset::Earliest);
        let mut consumer = rig.subscribed(builder);
        let records = receive(&mut consumer, 60).await;
        proxy.lose_answers(Api::OffsetCommit, 2);
        let mut handles = Vec::new();
        for record in &records {
            consumer.store_offset(record).expect("assigned");
            handles.push(consumer.commit_async());
            tokio::task::yield_now().await;
        }
        let back = [(rig.partition(0), OffsetAndMetadata::from(7))];
        handles.push(consumer.commit_async_offsets(back).expect("assigned"));
        let last = handles.pop().expect("there is one");
        last.await.expect("committed");
        assert_eq!(rig.committed(0).await, Some(7), "the last commit counts, though it is the lowest");
        for handle in handles {
            handle.await.expect("committed before the last one was");
        }
        assert_eq!(proxy.lost(), 2);
        consumer.close().await;
    });
}

#[test]
fn nothing_is_lost_when_a_poll_is_dropped_or_a_partition_pauses() {
    run(async {
        let rig = Rig::start("dropped").await;
        rig.topic(2).await;
        rig.fill(0, 0..100).await;
        rig.fill(1, 0..1).await;
        let mut consumer = rig.subscribed(rig.consumer().max_poll_records(7));
        receive(&mut consumer, 1).await;
        consumer.seek(&rig.partition(0), 0).expect("assigned");
        consumer.pause([&rig.partition(1)]).expect("assigned");
        let mut seen = Vec::new();
        while seen.len() < 100 {
            let polled = tokio::time::timeout(Duration::from_micros(50), consumer.poll(Duration::from_secs(1))).await;
            seen.extend(polled.unwrap_or(Ok(Vec::new())).expect("no error"));
        }
        assert!(seen.iter().all(|record| record.partition == rig.partition(0)));
        assert_eq!(numbers(&seen), (0..100).collect::<Vec<_>>());
        consumer.seek(&rig.partition(1), 0).expect("assigned");
        consumer.resume([&rig.partition(1)]).expect("assigned");
        assert_eq!(receive(&mut consumer, 1).await[0].partition, rig.partition(1));
        consumer.close().await;
    });
}

#[test]
fn groups_are_listed_described_and_altered_only_when_nobody_is_there() {
    run(async {
        let rig = Rig::start("groups").await;
        rig.topic(2).await;
        let (admin, group) = (&rig.admin, rig.name());
        let missing = admin.describe_group(group).await.expect_err("not there yet");
        assert_eq!(missing.code(), Some(Code::GROUP_ID_NOT_FOUND));
        let mut consumer = rig.subscribed(rig.consumer().client_id("reader"));
        poll_until(&mut [&mut consumer], |c, _| shares(c) == [2]).await;
        let described = admin.describe_group(group).await.expect("there");
        assert_eq!((described.state.as_str(), described.assignor.as_str()), ("Stable", "cooperative-sticky"));
        let [member] = &described.members[..] else { panic!("{described:?}") };
        assert_eq!((member.client_id.as_str(), &member.assignment), ("reader", &consumer.assignment()));
        let listed = admin.list_groups().await.expect("a list");
        assert!(listed.iter().any(|listing| listing.group_id == group && listing.protocol_type == "consumer"));
        let offsets =
            || [(rig.partition(0), OffsetAndMetadata { offset: 5, leader_epoch: None, metadata: "m".to_owned() })];
        let refused = admin.alter_group_offsets(group, offsets()).await.expect_err("a member is there");
        assert_eq!(refused.code(), Some(Code::UNKNOWN_MEMBER_ID)); // O-11
        consumer.close().await;
        admin.alter_group_offsets(group, offsets()).await.expect("nobody is there");
        let found = admin.list_group_offsets(group).await.expect("an answer");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), offsets());
    });
}

#[test]
fn many_groups_are_asked_about_together_and_each_has_an_answer_of_its_own() {
    run(async {
        let rig = Rig::start("many").await;
        rig.topic(1).await;
        let groups: Vec<String> = (0..130).map(|n| format!("{}-{n:03}", rig.name())).collect();
        for (group, n) in groups.iter().zip(0..) {
            rig.admin.alter_group_offsets(group, [(rig.partition(0), n.into())]).await.expect("nobody is there");
        }
        let proxy = Proxy::to(&rig.bootstrap).await;
        let admin = Admin::builder(&proxy.bootstrap).build().expect("an address");
        let missing = format!("{}-missing", rig.name());
        let asked = || groups.iter().map(String::as_str).chain([missing.as_str()]);
        proxy.lose_answers(Api::OffsetFetch, 1);
        let mut committed = admin.list_groups_offsets(asked()).await;
        assert_eq!((committed.len(), proxy.lost()), (131, 1), "what was lost is asked for again");
        proxy.lose_answers(Api::DescribeGroups, 1);
        let mut described = admin.describe_groups(asked()).await;
        assert_eq!((described.len(), proxy.lost()), (131, 2));
        for (group, n) in groups.iter().zip(0..) {
            let committed = committed.remove(group).expect("an answer").expect("committed");
            assert_eq!(committed.into_iter().collect::<Vec<_>>(), [(rig.partition(0), n.into())]);
            let described = described.remove(group).expect("an answer").expect("there");
            assert_eq!((described.group_type.as_str(), described.state.as_str()), ("classic", "Empty"));
        }
        assert!(committed.remove(&missing).expect("an answer").expect("nothing").is_empty());
        let missing = described.remove(&missing).expect("an answer").expect_err("not there");
        assert_eq!(missing.code(), Some(Code::GROUP_ID_NOT_FOUND));
        // 131 groups, in 16 portions each time and a few of them twice: lookups and metadata are few, too.
        assert!(proxy.asked() < 100, "{} requests", proxy.asked());
    });
}

#[test]
fn a_group_and_its_offsets_are_deleted_only_when_nobody_reads_g_37_o_35() {
    run(async {
        let rig = Rig::start("deletion").await;
        rig.topic(2).await;
        let (admin, group) = (&rig.admin, rig.name());
        let missing = admin.delete_group(group).await.expect_err("not there yet");
        assert_eq!(missing.code(), Some(Code::GROUP_ID_NOT_FOUND));
        let missing = admin.delete_group_offsets(group, [rig.partition(0)]).await.expect_err("not there yet");
        assert_eq!(missing.code(), Some(Code::GROUP_ID_NOT_FOUND));
        admin
            .alter_group_offsets(group, [(rig.partition(0), 1.into()), (rig.partition(1), 2.into())])
            .await
            .expect("set");
        let mut consumer = rig.manual();
        poll_until(&mut [&mut consumer], |c, _| shares(c) == [2]).await;
        let refused = admin.delete_group(group).await.expect_err("a member is there");
        assert_eq!(refused.code(), Some(Code::NON_EMPTY_GROUP));
        let refused = admin.delete_group_offsets(group, [rig.partition(0)]).await.expect("the group is there");
        assert_eq!(refused[&rig.partition(0)], Code::GROUP_SUBSCRIBED_TO_TOPIC);
        assert_eq!(rig.committed(0).await, Some(1));
        consumer.close().await;
        let unknown = TopicPartition::new("no-such-topic", 0);
        let codes =
            admin.delete_group_offsets(group, [rig.partition(0), unknown.clone()]).await.expect("nobody is there");
        assert_eq!((codes[&rig.partition(0)], codes[&unknown]), (Code::NONE, Code::UNKNOWN_TOPIC_OR_PARTITION));
        assert_eq!((rig.committed(0).await, rig.committed(1).await), (None, Some(2)));
        admin.delete_group(group).await.expect("nobody is there");
        assert_eq!(rig.committed(1).await, None);
        let gone = admin.describe_group(group).await.expect_err("deleted");
        assert_eq!(gone.code(), Some(Code::GROUP_ID_NOT_FOUND));
    });
}

#[test]
fn the_newest_record_is_found_wherever_it_stands_and_topics_answer_each_for_itself() {
    run(async {
        let rig = Rig::start("newest").await;
        let topic = rig.topic(1).await;
        let producer = rig.producer();
        for n in [1, 9, 5] {
            let record = ProducerRecord::to(topic).value("x").timestamp_ms(1_700_000_000_000 + n);
            producer.send(record).await.expect("taken in").await.expect("written");
        }
        let newest = rig.admin.list_offsets([(rig.partition(0), OffsetSpec::MaxTimestamp)]).await.expect("found");
        let newest = newest[&rig.partition(0)];
        assert_eq!((newest.offset, newest.timestamp_ms), (Some(1), Some(1_700_000_000_009)));
        let wanted = [(rig.partition(0), OffsetSpec::Latest)];
        let end = rig.admin.list_offsets_with(IsolationLevel::ReadUncommitted, wanted).await.expect("found");
        assert_eq!(end[&rig.partition(0)].offset, Some(3));
        let found = rig.admin.describe_topics([topic, "no-such-topic"]).await.expect("an answer");
        assert_eq!(found[topic].as_ref().expect("there").partitions.len(), 1);
        let missing = found["no-such-topic"].as_ref().expect_err("there is none");
        assert_eq!(missing.code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
    });
}

#[test]
fn configs_are_shown_and_changed_and_topics_get_more_partitions() {
    run(async {
        let rig = Rig::start("configs").await;
        let topic = rig.topic(1).await;
        let resource = ConfigResource::Topic(topic.to_owned());
        let shown = async || rig.admin.describe_configs(&resource).await.expect("there")["retention.ms"].clone();
        assert_eq!(shown().await.source, ConfigSource::Default);
        let set = ConfigChange::Set("3600000".to_owned());
        rig.admin.alter_configs(&resource, [("retention.ms", set)]).await.expect("legal");
        // Apache Kafka answers when its controller has it; the broker that shows it may be a moment behind.
        let until = async |wanted: (Option<&str>, ConfigSource)| loop {
            let entry = shown().await;
            if (entry.value.as_deref(), entry.source) == wanted {
                break;
            }
            tokio::task::yield_now().await;
        };
        until((Some("3600000"), ConfigSource::Set)).await;
        let wrong = ConfigChange::Set("soon".to_owned());
        let refused = rig.admin.alter_configs(&resource, [("retention.ms", wrong)]).await.expect_err("not a number");
        assert_eq!(refused.code(), Some(Code(40)));
        rig.admin.alter_configs(&resource, [("retention.ms", ConfigChange::Delete)]).await.expect("legal");
        until((Some("604800000"), ConfigSource::Default)).await;
        let missing = rig.admin.describe_configs(&ConfigResource::Topic("no-such-topic".to_owned())).await;
        assert_eq!(missing.expect_err("there is none").code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));

        rig.admin.create_partitions(topic, 3).await.expect("more");
        assert_eq!(rig.admin.describe_topic(topic).await.expect("there").partitions.len(), 3);
        let fewer = rig.admin.create_partitions(topic, 2).await.expect_err("fewer");
        assert_eq!(fewer.code(), Some(Code(37)));
    });
}

/// Records before the committed offset's are deleted: reading goes on at the log's beginning (E-15).
#[test]
fn a_group_whose_place_was_deleted_goes_on_where_the_log_begins_e_15() {
    run(async {
        let rig = Rig::start("records").await;
        rig.topic(1).await;
        rig.fill(0, 0..10).await;
        let partition = rig.partition(0);
        rig.admin.alter_group_offsets(rig.name(), [(partition.clone(), 2.into())]).await.expect("nobody is there");
        assert_eq!(rig.admin.delete_records(&partition, Some(6)).await, Ok(6));
        let beyond = rig.admin.delete_records(&partition, Some(11)).await.expect_err("beyond the end");
        assert_eq!(beyond.code(), Some(Code::OFFSET_OUT_OF_RANGE));
        let mut consumer = rig.subscribed(rig.consumer());
        assert_eq!(numbers(&receive(&mut consumer, 4).await), [6, 7, 8, 9]);
        consumer.close().await;
        assert_eq!(rig.admin.delete_records(&partition, None).await, Ok(10));
    });
}

#[test]
fn a_group_hears_of_new_partitions_and_reads_them_from_the_beginning() {
    run(async {
        let rig = Rig::start("growth").await;
        let topic = rig.topic(1).await;
        let mut consumer = rig.subscribed(rig.consumer().metadata_max_age(Duration::from_secs(1))); // five heartbeats
        poll_until(&mut [&mut consumer], |c, _| shares(c) == [1]).await;
        rig.admin.create_partitions(topic, 2).await.expect("more");
        rig.fill(1, 0..3).await;
        assert_eq!(numbers(&receive(&mut consumer, 3).await), [0, 1, 2]);
        assert_eq!(consumer.assignment().len(), 2);
        consumer.close().await;
    });
}
