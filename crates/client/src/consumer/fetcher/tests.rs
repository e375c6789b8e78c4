//! The fetcher against a broker that is written by hand: what fails holds up nothing that works.

use pagemark_wire::api::Api;
use pagemark_wire::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse};
use pagemark_wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use pagemark_wire::messages::{ListOffsetsRequest, ListOffsetsResponse, ProducerId};
use pagemark_wire::records::{BatchBuilder, BatchHeader};
use pagemark_wire::types::{LeaderEpoch, Offset, ProducerEpoch};

use super::*;
use crate::consumer::NotAssigned;
use crate::consumer::{Consumer, ConsumerBuilder};
use crate::fake::{Asked, Fake, Reply, TOPIC, TOPIC_ID};

const TRANSACTIONAL: u8 = 1 << 4;
const CONTROL: u8 = 1 << 5;

/// One record of producer `id` at `offset`; its key's second number tells a marker's kind.
fn batch(id: i64, offset: i64, attributes: u8, kind: u8) -> Bytes {
    let mut builder = BatchBuilder::new(0).placed_at(Offset(offset), LeaderEpoch(0)).produced_by(
        pagemark_wire::types::ProducerId(id),
        ProducerEpoch(0),
        0,
    );
    builder.push(Some(&[0, 0, 0, kind]), Some(b""));
    let mut bytes = builder.finish().to_vec();
    bytes[22] |= attributes;
    sealed(bytes)
}

fn hidden(aborted: &[(i64, i64)], isolation: IsolationLevel, batches: &[Bytes]) -> Vec<bool> {
    let one = |&(id, first): &(i64, i64)| {
        AbortedTransaction::default().with_producer_id(ProducerId(id)).with_first_offset(first)
    };
    let answer = PartitionData::default().with_aborted_transactions(Some(aborted.iter().map(one).collect()));
    let mut aborted = Aborted::new(&answer, isolation);
    batches.iter().map(|batch| aborted.hides(&BatchHeader::parse(batch).unwrap(), batch)).collect()
}

#[test]
fn read_committed_hides_markers_and_what_was_aborted_and_nothing_else_p_38() {
    let (abort, commit) = (0, 1);
    let batches = [
        batch(1, 0, TRANSACTIONAL, 0), // aborted
        batch(2, 1, TRANSACTIONAL, 0), // committed
        batch(-1, 2, 0, 0),            // of no transaction
        batch(1, 3, TRANSACTIONAL | CONTROL, abort),
        batch(1, 4, TRANSACTIONAL, 0), // the same producer's next one
        batch(2, 5, TRANSACTIONAL | CONTROL, commit),
        batch(1, 6, TRANSACTIONAL | CONTROL, commit),
    ];
    let read_committed = hidden(&[(1, 0)], IsolationLevel::ReadCommitted, &batches);
    assert_eq!(read_committed, [true, false, false, true, false, true, true]);
    let read_uncommitted = hidden(&[(1, 0)], IsolationLevel::ReadUncommitted, &batches);
    assert_eq!(read_uncommitted, [false, false, false, true, false, true, true]);
}

const DAY: Duration = Duration::from_secs(86_400);

/// A batch of records from `first` to the one before `end`, and behind it a hole up to `next`.
fn batch_of(first: i64, end: i64, next: i64) -> Bytes {
    let mut builder = BatchBuilder::new(0).placed_at(Offset(first), LeaderEpoch(0));
    (first..end).for_each(|_| builder.push(None, Some(b"v")));
    let mut bytes = builder.finish().to_vec();
    let last_offset_delta = (next - 1 - first) as i32;
    bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
    sealed(bytes)
}

/// With the checksum that fits.
fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    bytes.into()
}

/// A consumer that rests for a day after a failure: whatever comes did not wait for a rest to end.
fn builder(fake: &Fake) -> ConsumerBuilder {
    let mut builder = Consumer::builder(&fake.bootstrap());
    (builder.client.retry_backoff, builder.client.retry_backoff_max) = (DAY, DAY);
    builder
}

/// Bounds a wait that never comes near its bound.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it happens in time")
}

/// Answers a Fetch with one record for each partition, at the offset that was asked for, or with a code.
fn fetched(asked: &Asked, code: impl Fn(i32) -> i16) -> Reply {
    let request: FetchRequest = asked.read();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let records = match code(wanted.partition) {
                0 => batch(-1, wanted.fetch_offset, 0, 0),
                _ => Bytes::new(),
            };
            let data = PartitionData::default().with_partition_index(wanted.partition).with_records(Some(records));
            data.with_error_code(code(wanted.partition))
        });
        let partitions = partitions.collect();
        FetchableTopicResponse::default().with_topic_id(topic.topic_id).with_partitions(partitions)
    });
    asked.answer(&FetchResponse::default().with_responses(topics.collect()))
}

/// Answers a Fetch of one partition with a code and these bytes.
fn answered(asked: &Asked, code: i16, records: Bytes) -> Reply {
    let request: FetchRequest = asked.read();
    let data = PartitionData::default().with_error_code(code).with_records(Some(records));
    let topic = FetchableTopicResponse::default().with_topic_id(request.topics[0].topic_id);
    asked.answer(&FetchResponse::default().with_responses(vec![topic.with_partitions(vec![data])]))
}

/// The offset from which a Fetch of one partition wants to read.
fn wanted(asked: &Asked) -> i64 {
    asked.read::<FetchRequest>().topics[0].partitions[0].fetch_offset
}

/// Answers a ListOffsets of one partition.
fn listed(asked: &Asked, offset: i64) -> Reply {
    let found = ListOffsetsPartitionResponse::default().with_offset(offset);
    let found = ListOffsetsTopicResponse::default().with_name(topic_name(TOPIC)).with_partitions(vec![found]);
    asked.answer(&ListOffsetsResponse::default().with_topics(vec![found]))
}

/// A consumer that reads partition 0 from `offset` on.
fn reading(builder: ConsumerBuilder, offset: i64) -> Consumer {
    let mut consumer = builder.build().unwrap();
    let partition = TopicPartition::new(TOPIC, 0);
    consumer.assign([partition.clone()]).unwrap();
    consumer.seek(&partition, offset).unwrap();
    consumer
}

/// The log's start moves past the reader: what it has fetched already was there, and is the application's.
#[tokio::test]
async fn records_that_were_fetched_are_handed_out_before_the_place_behind_them_is_judged() {
    let fake = Fake::start(1, |asked| match asked.api {
        Api::Fetch => Some(match wanted(asked) {
            0 => answered(asked, 0, batch_of(0, 10, 10)),
            50 => answered(asked, 0, batch_of(50, 51, 51)),
            10 => answered(asked, 1, Bytes::new()),
            _ => Reply::Silence,
        }),
        Api::ListOffsets => Some(listed(asked, 50)),
        _ => None,
    });
    let fake = fake.await;
    let mut consumer = reading(builder(&fake).auto_offset_reset(AutoOffsetReset::Earliest), 0);
    soon(fake.until_asked(Api::Fetch, 2)).await;
    for offset in (0..10).chain([50]) {
        assert_eq!(soon(consumer.recv()).await.unwrap().offset, offset);
        soon(tokio::task::yield_now()).await;
    }
    let mut consumer = reading(builder(&fake), 0);
    for offset in 0..10 {
        assert_eq!(soon(consumer.recv()).await.unwrap().offset, offset);
    }
    let partition = TopicPartition::new(TOPIC, 0);
    assert_eq!(soon(consumer.recv()).await, Err(ConsumerError::OutOfRange { partition, offset: 10 }));
}

#[tokio::test]
async fn a_damaged_batch_is_fetched_once_and_told_when_the_application_comes_to_it() {
    let fake = Fake::start(1, |asked| match asked.api {
        Api::Fetch if wanted(asked) == 0 => {
            let mut records = batch_of(0, 2, 2).to_vec();
            records.extend([0; 100]);
            Some(answered(asked, 0, records.into()))
        }
        Api::Fetch if wanted(asked) == 2 => Some(answered(asked, 0, vec![0; 100].into())),
        Api::Fetch => Some(answered(asked, 0, batch_of(5, 6, 6))),
        _ => None,
    });
    let fake = fake.await;
    let mut consumer = reading(builder(&fake), 0);
    soon(fake.until_asked(Api::Fetch, 1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await; // whatever time it has, it does not ask again
    assert_eq!(fake.asked(Api::Fetch).len(), 1);
    assert_eq!(soon(consumer.poll(DAY)).await.unwrap().len(), 2);
    let partition = TopicPartition::new(TOPIC, 0);
    let told = soon(consumer.recv()).await;
    assert!(matches!(&told, Err(ConsumerError::Damaged { offset: 2, .. })), "{told:?}");
    consumer.seek(&partition, 5).unwrap();
    assert_eq!(soon(consumer.recv()).await.unwrap().offset, 5);
}

/// Compaction has removed the last record of a batch. A reader that waits until its position is the log's end must
/// get there.
#[tokio::test]
async fn the_position_passes_a_hole_at_the_end_of_a_batch() {
    let fake = Fake::start(1, |asked| match asked.api {
        Api::Fetch if wanted(asked) == 0 => Some(answered(asked, 0, batch_of(0, 2, 4))),
        Api::Fetch => Some(Reply::Silence),
        _ => None,
    });
    let fake = fake.await;
    let mut consumer = reading(builder(&fake), 0);
    let partition = TopicPartition::new(TOPIC, 0);
    for position in [1, 4] {
        soon(consumer.recv()).await.unwrap();
        assert_eq!(consumer.position(&partition), Ok(Some(position)));
    }
}

/// All of it was aborted, and it fills the buffer: there is room again although the application has got nothing.
#[tokio::test]
async fn records_that_nobody_sees_do_not_keep_the_next_from_coming() {
    let fake = Fake::start(1, |asked| match asked.api {
        Api::Fetch if wanted(asked) == 0 => Some(answered(asked, 0, batch(1, 0, CONTROL, 0))),
        Api::Fetch => Some(answered(asked, 0, batch_of(1, 2, 2))),
        _ => None,
    });
    let fake = fake.await;
    let mut consumer = reading(builder(&fake).max_partition_fetch_bytes(1), 0);
    soon(fake.until_asked(Api::Fetch, 1)).await;
    assert_eq!(soon(consumer.recv()).await.unwrap().offset, 1);
}

/// A consumer that tries again after a moment.
fn brisk(fake: &Fake) -> ConsumerBuilder {
    let mut builder = Consumer::builder(&fake.bootstrap());
    let moment = Duration::from_millis(1);
    (builder.client.retry_backoff, builder.client.retry_backoff_max) = (moment, moment);
    builder
}

/// Nothing says that the log under a position is another one, except the topic's id.
#[tokio::test]
async fn a_topic_that_was_made_again_is_read_from_its_beginning() {
    let again = Arc::new(tokio::sync::Notify::new());
    let (gate, mut id) = (Arc::clone(&again), TOPIC_ID);
    let fake = Fake::start(1, move |asked| match asked.api {
        Api::Metadata => Some(asked.metadata_of(id, asked.port, 1, |_| true)),
        Api::ListOffsets => Some(listed(asked, 0)),
        Api::Fetch => {
            let request: FetchRequest = asked.read();
            Some(match (request.topics[0].topic_id == TOPIC_ID, wanted(asked)) {
                (true, 500) => answered(asked, 0, batch_of(500, 501, 501)),
                (true, _) => {
                    let gone = answered(asked, 100, Bytes::new());
                    let is_first = std::mem::replace(&mut id, Uuid::from_u128(8)) == TOPIC_ID;
                    if is_first { gone.after(&gate) } else { gone }
                }
                (false, 0) => answered(asked, 0, batch_of(0, 1000, 1000)),
                (false, _) => Reply::Silence,
            })
        }
        _ => None,
    });
    let fake = fake.await;
    let mut consumer = reading(brisk(&fake).auto_offset_reset(AutoOffsetReset::Earliest), 500);
    let old = soon(consumer.recv()).await.unwrap();
    assert_eq!(old.offset, 500);
    again.notify_one();
    assert_eq!(soon(consumer.recv()).await.unwrap().offset, 0);
    assert_eq!(consumer.store_offset(&old), Err(NotAssigned(old.partition.clone())), "it is of another log");
}

#[tokio::test]
async fn a_partition_without_a_place_to_begin_says_so() {
    let fake = Fake::start(1, |_| None).await;
    let mut consumer = builder(&fake).build().unwrap();
    let partition = TopicPartition::new(TOPIC, 0);
    consumer.assign([partition.clone()]).unwrap();
    assert_eq!(soon(consumer.recv()).await, Err(ConsumerError::NoOffset { partition }));
}

#[tokio::test]
async fn an_error_without_a_code_is_not_the_end() {
    let mut count = 0;
    let fake = Fake::start(1, move |asked| {
        let is_fetch = asked.api == Api::Fetch;
        count += i32::from(is_fetch);
        is_fetch.then(|| if count == 1 { answered(asked, -1, Bytes::new()) } else { fetched(asked, |_| 0) })
    });
    let fake = fake.await;
    let mut consumer = reading(brisk(&fake), 0);
    assert_eq!(soon(consumer.recv()).await.unwrap().offset, 0);
}

#[tokio::test]
async fn what_a_broker_cannot_read_for_long_is_damaged_and_what_lies_behind_can_be_sought() {
    for code in [2, 56] {
        let cannot = move |asked: &Asked| match asked.api {
            Api::Fetch if wanted(asked) == 0 => Some(answered(asked, code, Bytes::new())),
            Api::Fetch => Some(fetched(asked, |_| 0)),
            _ => None,
        };
        let fake = Fake::start(1, cannot).await;
        let mut consumer = reading(brisk(&fake).api_timeout(Duration::from_millis(20)), 0);
        let told = soon(consumer.recv()).await;
        assert!(matches!(&told, Err(ConsumerError::Damaged { offset: 0, .. })), "{told:?}");
        consumer.seek(&TopicPartition::new(TOPIC, 0), 5).unwrap();
        assert_eq!(soon(consumer.recv()).await.unwrap().offset, 5);
    }
}

/// An answer has room for one partition, and the application is as fast as the broker.
#[tokio::test]
async fn a_small_answer_starves_no_partition_q_49() {
    let fake = Fake::start(3, |asked| {
        let mut is_first = true;
        (asked.api == Api::Fetch).then(|| filled(asked, |_| std::mem::take(&mut is_first)))
    });
    let fake = fake.await;
    let mut consumer = builder(&fake).build().unwrap();
    let partitions = [0, 1, 2].map(|partition| TopicPartition::new(TOPIC, partition));
    consumer.assign(partitions.clone()).unwrap();
    partitions.iter().for_each(|partition| consumer.seek(partition, 0).unwrap());
    let mut seen = [0; 3];
    for _ in 0..12 {
        seen[soon(consumer.recv()).await.unwrap().partition.partition as usize] += 1;
    }
    assert!(seen.iter().all(|count| *count >= 3), "{seen:?}");
}

/// Answers a Fetch with one record for each partition for which there is room, asked about in order.
fn filled(asked: &Asked, mut has_room: impl FnMut(i32) -> bool) -> Reply {
    let request: FetchRequest = asked.read();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let records = if has_room(wanted.partition) { batch(-1, wanted.fetch_offset, 0, 0) } else { Bytes::new() };
            PartitionData::default().with_partition_index(wanted.partition).with_records(Some(records))
        });
        let partitions = partitions.collect();
        FetchableTopicResponse::default().with_topic_id(topic.topic_id).with_partitions(partitions)
    });
    asked.answer(&FetchResponse::default().with_responses(topics.collect()))
}

/// Assigns two partitions from offset 0 on and receives records, all of partition 0.
async fn reads_partition_0(fake: &Fake) {
    let mut consumer = builder(fake).build().unwrap();
    let partitions = [0, 1].map(|partition| TopicPartition::new(TOPIC, partition));
    consumer.assign(partitions.clone()).unwrap();
    for partition in &partitions {
        consumer.seek(partition, 0).unwrap();
    }
    for offset in 0..20 {
        let record = soon(consumer.recv()).await.unwrap();
        assert_eq!((record.partition.partition, record.offset), (0, offset));
    }
}

#[tokio::test]
async fn a_partition_without_a_leader_holds_up_no_other() {
    let fake = Fake::start(2, |asked| match asked.api {
        Api::Metadata => Some(asked.metadata(asked.port, 2, |partition| partition == 0)),
        Api::Fetch => Some(fetched(asked, |_| 0)),
        _ => None,
    });
    let fake = fake.await;
    reads_partition_0(&fake).await;
    assert_eq!(fake.asked(Api::Metadata).len(), 1, "asking for the leader has its rests, too");
}

#[tokio::test]
async fn a_partition_of_which_its_leader_speaks_ill_or_not_at_all_holds_up_no_other() {
    for code in [6, 9, 56, 3] {
        let one_is_ill = move |asked: &Asked| {
            (asked.api == Api::Fetch).then(|| fetched(asked, |partition| if partition == 1 { code } else { 0 }))
        };
        reads_partition_0(&Fake::start(2, one_is_ill).await).await;
    }
    let other = TopicPartition::new(TOPIC, 1);
    let fake = Fake::start(2, |asked| (asked.api == Api::Fetch).then(|| asked.answer(&FetchResponse::default()))).await;
    let mut consumer = builder(&fake).build().unwrap();
    consumer.assign([other.clone()]).unwrap();
    consumer.seek(&other, 0).unwrap();
    soon(fake.until_asked(Api::Fetch, 1)).await;
    assert!(consumer.poll(Duration::from_millis(50)).await.unwrap().is_empty());
    assert_eq!(fake.asked(Api::Fetch).len(), 1, "an empty answer is not asked for again at once");
}

/// A partition is lost and assigned again while the broker looks up where it begins; the application wants it read from
/// its end now. Each assignment has sought once, so only the assignment tells the two apart.
#[tokio::test]
async fn a_place_that_was_looked_up_for_an_earlier_assignment_is_not_used() {
    let answered = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&answered);
    let fake = Fake::start(1, move |asked| match asked.api {
        Api::ListOffsets => {
            let request: ListOffsetsRequest = asked.read();
            let is_first = request.topics[0].partitions[0].timestamp == -2;
            let found = ListOffsetsPartitionResponse::default().with_offset(if is_first { 0 } else { 50 });
            let found = ListOffsetsTopicResponse::default().with_name(topic_name(TOPIC)).with_partitions(vec![found]);
            let reply = asked.answer(&ListOffsetsResponse::default().with_topics(vec![found]));
            Some(if is_first { reply.after(&gate) } else { reply })
        }
        Api::Fetch => Some(Reply::Silence),
        _ => None,
    });
    let fake = fake.await;
    let mut consumer = builder(&fake).build().unwrap();
    let partition = TopicPartition::new(TOPIC, 0);
    consumer.assign([partition.clone()]).unwrap();
    // Metadata first, since a place that cannot be asked for rests.
    soon(consumer.cluster.refresh_now()).await.unwrap();
    consumer.seek_to_beginning(&partition).unwrap();
    soon(fake.until_asked(Api::ListOffsets, 1)).await;
    consumer.assign([]).unwrap();
    consumer.assign([partition.clone()]).unwrap();
    consumer.seek_to_end(&partition).unwrap();
    answered.notify_one();
    soon(fake.until_asked(Api::Fetch, 1)).await;
    let fetch: FetchRequest = fake.asked(Api::Fetch)[0].read();
    assert_eq!(fetch.topics[0].partitions[0].fetch_offset, 50);
}
