//! The sender against a broker that is written by hand: what it says of a record is true, whatever the broker does.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use pagemark_wire::api::Api;
use tokio::sync::Semaphore;

use super::*;
use crate::fake::{Asked, Fake, Reply, Sent, TOPIC};
use crate::producer::accumulator::{Limits, Parts};
use crate::producer::{Delivery, Producer, ProducerBuilder, ProducerRecord};

const DAY: Duration = Duration::from_secs(86_400);

/// Settings under which nothing waits for long.
fn builder(fake: &Fake) -> ProducerBuilder {
    let mut builder = Producer::builder(&fake.bootstrap()).linger(Duration::ZERO);
    builder.client.retry_backoff = Duration::from_millis(1);
    builder
}

fn record(partition: i32) -> ProducerRecord {
    ProducerRecord::to(TOPIC).partition(partition).value("value")
}

/// Bounds a wait that never comes near its bound.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it happens in time")
}

/// Answers each Produce with the next of these codes, then with 0.
fn answering(codes: &'static [i16]) -> impl FnMut(&Asked) -> Option<Reply> {
    let mut codes = codes.iter();
    move |asked| {
        let code = if asked.api == Api::Produce { codes.next() } else { None };
        code.map(|code| asked.produced(|_| *code))
    }
}

#[tokio::test]
async fn what_is_under_way_when_the_producer_is_dropped_may_be_written_and_what_waits_is_not() {
    let fake = Fake::start(1, |asked| (asked.api == Api::Produce).then_some(Reply::Silence)).await;
    let producer = builder(&fake).build().unwrap();
    let under_way = producer.send(record(0)).await.unwrap();
    soon(fake.until_asked(Api::Produce, 1)).await;
    let waiting = producer.send(record(0)).await.unwrap();
    drop(producer);
    let outcome = soon(under_way).await;
    assert!(matches!(outcome, Err(ProduceError::Unknown(_))), "{outcome:?}");
    let outcome = soon(waiting).await;
    assert!(matches!(outcome, Err(ProduceError::NotWritten(_))), "{outcome:?}");
}

#[tokio::test]
async fn what_waits_to_be_repeated_when_the_producer_is_dropped_may_be_written() {
    let fake = Fake::start(1, answering(&[7])).await;
    let mut builder = builder(&fake);
    (builder.client.retry_backoff, builder.client.retry_backoff_max) = (DAY, DAY);
    let producer = builder.build().unwrap();
    let delivery = producer.send(record(0)).await.unwrap();
    while !producer.shared.accumulator().holds_doubtful() {
        tokio::task::yield_now().await;
    }
    drop(producer);
    let outcome = soon(delivery).await;
    assert!(matches!(outcome, Err(ProduceError::Unknown(_))), "{outcome:?}");
}

/// A leader says these after it has appended: it waited for followers too long (7), they were too few by then (20), it was
/// deposed meanwhile (6), its disk failed (56).
#[tokio::test]
async fn a_number_that_a_leader_may_have_appended_is_never_used_for_other_records() {
    for codes in [&[7, 10], &[20, 10], &[6, 10], &[56, 10], &[7, 45], &[-1_i16][..]] {
        let fake = Fake::start(1, answering(codes)).await;
        let producer = builder(&fake).build().unwrap();
        let outcome = soon(producer.send(record(0)).await.unwrap()).await;
        assert!(matches!(outcome, Err(ProduceError::Unknown(_))), "{codes:?}: {outcome:?}");
        soon(producer.send(record(0)).await.unwrap()).await.expect("written");
        let numbers: Vec<_> = fake.sent().iter().map(|sent| (sent.producer_id, sent.sequence)).collect();
        let (last, before) = numbers.split_last().unwrap();
        assert!(!before.contains(last) && last.1 == 0, "{codes:?}: {numbers:?}");
        assert_eq!(before, vec![before[0]; codes.len()], "a repetition keeps its number");
    }
}

#[tokio::test]
async fn a_number_that_was_refused_before_anything_was_appended_is_used_again() {
    for codes in [&[19_i16, 10][..], &[3, 87], &[10]] {
        let fake = Fake::start(1, answering(codes)).await;
        let producer = builder(&fake).build().unwrap();
        let outcome = soon(producer.send(record(0)).await.unwrap()).await;
        assert!(matches!(outcome, Err(ProduceError::Refused { .. })), "{codes:?}: {outcome:?}");
        soon(producer.send(record(0)).await.unwrap()).await.expect("written");
        let sent = fake.sent();
        assert_eq!(sent.len(), codes.len() + 1);
        assert!(sent.iter().all(|batch| *batch == sent[0]), "{codes:?}: {sent:?}");
    }
}

/// A sender that has not begun yet, with what it shares.
fn at_rest(fake: &Fake, limits: Limits) -> (Sender, Arc<Shared>) {
    let mut client = crate::cluster::ClientSettings::new(&fake.bootstrap());
    client.retry_backoff = Duration::from_millis(1);
    let shared = Arc::new(Shared {
        accumulator: Mutex::new(Accumulator::new(limits, Arc::new(Semaphore::new(0)))),
        wake: Notify::new(),
        fatal: Mutex::default(),
        is_closed: AtomicBool::new(false),
        short_of_room: AtomicUsize::new(0),
    });
    let settings = SenderSettings {
        acks: Acks::All,
        compression: Compression::None,
        idempotent: true,
        max_request_bytes: 1 << 20,
    };
    (Sender::new(Cluster::new(client).unwrap(), Arc::clone(&shared), settings), shared)
}

fn append(shared: &Shared, partition: i32, created: Instant) -> Delivery {
    let value = Bytes::from_static(b"value");
    let parts = Parts { timestamp_ms: 0, key: None, value: Some(&value), headers: &[], bytes: 50 };
    shared.accumulator().append(&TopicPartition::new(TOPIC, partition), &parts, created).0
}

/// One partition's batch times out without an answer, which costs the producer its id, in the very moment in which
/// another one's is due: that one must not leave as nobody's, for then a repetition would be written twice.
#[tokio::test]
async fn an_idempotent_producer_sends_nothing_without_a_number() {
    let fake = Fake::start(2, |_| None).await;
    let limits = Limits { batch_bytes: 300, linger: Duration::ZERO, delivery_timeout: Duration::from_secs(60) };
    let (mut sender, shared) = at_rest(&fake, limits);
    sender.cluster.topic(TOPIC, Instant::now() + limits.delivery_timeout).await.unwrap();
    sender.identity = Some(Identity { id: ProducerId(77), epoch: ProducerEpoch(0) });
    let old = append(&shared, 0, Instant::now() - limits.delivery_timeout);
    {
        let mut accumulator = shared.accumulator();
        let (partition, mut batch) = accumulator.drain(Instant::now(), false).due.pop().unwrap();
        accumulator.number(&partition, &mut batch, sender.identity.unwrap());
        batch.may_be_written = true;
        accumulator.put_back(&partition, batch, Instant::now());
    }
    let young = append(&shared, 1, Instant::now());
    let task = tokio::spawn(sender.run());
    let outcome = soon(old).await;
    assert!(matches!(outcome, Err(ProduceError::Unknown(_))), "{outcome:?}");
    soon(young).await.expect("written");
    assert_eq!(
        fake.sent(),
        [Sent { partition: 1, producer_id: 1, sequence: 0, records: 1, bytes: fake.sent()[0].bytes }]
    );
    task.abort();
}

#[tokio::test]
async fn delivery_timeout_bounds_every_wait_and_says_what_is_known() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    // An answer that does not come, over a connection that was good: who knows.
    let mut is_first = true;
    let once =
        move |asked: &Asked| (asked.api == Api::Produce && !std::mem::take(&mut is_first)).then_some(Reply::Silence);
    let fake = Fake::start(1, once).await;
    let producer = builder(&fake).delivery_timeout(TIMEOUT).build().unwrap();
    soon(producer.send(record(0)).await.unwrap()).await.expect("written");
    let outcome = soon(producer.send(record(0)).await.unwrap()).await;
    assert!(matches!(outcome, Err(ProduceError::Unknown(_))), "{outcome:?}");
    // The same, and what waits behind it.
    let outcome = soon(producer.send(record(0)).await.unwrap()).await;
    assert!(matches!(outcome, Err(ProduceError::NotWritten(_))), "{outcome:?}");
    // A producer id that does not come.
    let fake = Fake::start(1, |asked| (asked.api == Api::InitProducerId).then_some(Reply::Silence)).await;
    let producer = builder(&fake).delivery_timeout(TIMEOUT).build().unwrap();
    let outcome = soon(producer.send(record(0)).await.unwrap()).await;
    assert!(matches!(outcome, Err(ProduceError::NotWritten(_))), "{outcome:?}");
    // A leader that cannot be reached: no request has left. Port 9 is nobody's.
    let fake = Fake::start(1, |asked| (asked.api == Api::Metadata).then(|| asked.metadata(9, 1, |_| true))).await;
    let producer = builder(&fake).delivery_timeout(TIMEOUT).build().unwrap();
    let outcome = soon(producer.send(record(0)).await.unwrap()).await;
    assert!(matches!(&outcome, Err(ProduceError::NotWritten(_))), "{outcome:?}");
    assert_eq!(fake.sent(), []);
}

#[tokio::test]
async fn a_producer_that_may_not_write_says_so_of_every_record() {
    let fake = Fake::start(1, |asked| {
        let refused = pagemark_wire::messages::InitProducerIdResponse::default().with_error_code(31);
        (asked.api == Api::InitProducerId).then(|| asked.answer(&refused))
    });
    let fake = fake.await;
    let producer = builder(&fake).build().unwrap();
    let outcome = soon(producer.send(record(0)).await.unwrap()).await;
    assert!(matches!(outcome, Err(ProduceError::Fatal(_))), "{outcome:?}");
    let outcome = producer.send(record(0)).await.map(drop);
    assert!(matches!(outcome, Err(ProduceError::Fatal(_))), "{outcome:?}");
    // One that had passed the check before the producer failed is not sent as nobody's either.
    let late = append(&producer.shared, 0, Instant::now());
    producer.shared.wake.notify_one();
    let outcome = soon(late).await;
    assert!(matches!(outcome, Err(ProduceError::Fatal(_))), "{outcome:?}");
    assert_eq!(fake.sent(), []);
}

/// With acks=0 nothing is answered, so only the socket says how fast a broker is: what it has not taken stays in
/// `buffer.memory`, and [`Producer::send`] waits when that is full.
#[tokio::test]
async fn without_acks_a_broker_that_does_not_read_makes_send_wait() {
    let fake = Fake::start(1, |asked| (asked.api == Api::Produce).then_some(Reply::Deaf)).await;
    let builder = builder(&fake).acks(Acks::None).enable_idempotence(false).buffer_memory(2 << 20);
    let producer = builder.build().unwrap();
    let value = Bytes::from(vec![b'x'; 256 << 10]);
    let mut taken = 0;
    let large = || ProducerRecord::to(TOPIC).partition(0).value(value.clone());
    while let Ok(delivery) = tokio::time::timeout(Duration::from_secs(1), producer.send(large())).await {
        taken += value.len();
        drop(delivery.expect("taken in"));
        assert!(taken < 64 << 20, "nobody reads, and {taken} bytes were taken in");
    }
}

/// Larger requests than a broker takes would cost the connection each time, and so never be written.
#[tokio::test]
async fn a_request_holds_no_more_than_max_request_size_whatever_is_due() {
    const LIMIT: usize = 10_000;
    let fake = Fake::start(50, |_| None).await;
    let producer = builder(&fake).linger(DAY).delivery_timeout(2 * DAY).max_request_size(LIMIT).build().unwrap();
    let mut deliveries = Vec::new();
    for partition in 0..50 {
        let record = ProducerRecord::to(TOPIC).partition(partition).value(vec![b'x'; 4_000]);
        deliveries.push(producer.send(record).await.unwrap());
    }
    soon(producer.flush()).await;
    for delivery in deliveries {
        soon(delivery).await.expect("written");
    }
    let asked = fake.asked(Api::Produce);
    let sizes: Vec<_> =
        asked.iter().map(|asked| asked.batches().iter().map(|sent| sent.bytes).sum::<usize>()).collect();
    assert!(sizes.iter().all(|bytes| (8_000..LIMIT).contains(bytes)), "{sizes:?}");
}

#[test]
fn requests_are_filled_with_what_is_oldest_first() {
    let (start, memory) = (Instant::now(), Arc::new(Semaphore::new(0)));
    let limits = Limits { batch_bytes: 1, linger: Duration::ZERO, delivery_timeout: DAY };
    let mut accumulator = Accumulator::new(limits, memory);
    for (partition, age) in [(0, 3), (1, 1), (2, 4), (3, 2)] {
        let value = Bytes::from(vec![b'x'; if partition == 3 { 500 } else { 10 }]);
        let parts = Parts { timestamp_ms: 0, key: None, value: Some(&value), headers: &[], bytes: 50 };
        let created = start + Duration::from_secs(10 - age);
        drop(accumulator.append(&TopicPartition::new(TOPIC, partition), &parts, created));
    }
    let due = accumulator.drain(start + Duration::from_secs(10), false).due;
    let requests = requests(due, 200);
    let order: Vec<Vec<_>> =
        requests.iter().map(|batches| batches.iter().map(|(p, _)| p.partition).collect()).collect();
    assert_eq!(order, [vec![2, 0], vec![3], vec![1]]);
}

/// Batches that linger for a day hold all the room there is: they leave, since nobody else could come.
#[tokio::test]
async fn batches_do_not_linger_while_somebody_waits_for_room_and_the_wait_has_its_bound() {
    let fake = Fake::start(1, |_| None).await;
    let builder =
        || builder(&fake).linger(DAY).delivery_timeout(2 * DAY).max_request_size(10_000).buffer_memory(10_000);
    let large = || record(0).value(vec![b'x'; 9_000]);
    let producer = builder().build().unwrap();
    let first = producer.send(large()).await.unwrap();
    let _second = soon(producer.send(large())).await.unwrap();
    soon(first).await.expect("written");
    assert_eq!(producer.shared.short_of_room.load(Ordering::Acquire), 0);

    let silent = Fake::start(1, |asked| (asked.api == Api::Produce).then_some(Reply::Silence)).await;
    let mut builder = builder().max_block(Duration::from_secs(2));
    builder.client.bootstrap_servers = silent.bootstrap();
    let producer = builder.build().unwrap();
    let _first = producer.send(large()).await.unwrap();
    let second = soon(producer.send(large())).await.map(drop);
    assert!(matches!(second, Err(ProduceError::NotWritten(_))), "{second:?}");
}

#[tokio::test]
async fn the_wait_for_metadata_has_its_bound() {
    let fake = Fake::start(1, |asked| (asked.api == Api::Metadata).then_some(Reply::Silence)).await;
    let producer = builder(&fake).max_block(Duration::from_millis(50)).build().unwrap();
    let outcome = soon(producer.send(record(0))).await.map(drop);
    assert!(matches!(outcome, Err(ProduceError::NotWritten(_))), "{outcome:?}");
}

/// The broker says of a batch that leaves for the first time that it has it already: it takes it for another one. To
/// believe it would be to lose the records.
#[tokio::test]
async fn a_duplicate_is_believed_only_of_what_may_be_written() {
    let fake = Fake::start(1, answering(&[46])).await;
    let producer = builder(&fake).build().unwrap();
    soon(producer.send(record(0)).await.unwrap()).await.expect("written");
    let ids: Vec<_> = fake.sent().iter().map(|sent| sent.producer_id).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);

    let fake = Fake::start(1, answering(&[7, 46])).await;
    let producer = builder(&fake).build().unwrap();
    let written = soon(producer.send(record(0)).await.unwrap()).await.expect("written");
    assert_eq!((written.offset, fake.sent().len()), (None, 2));
}

/// Without acks a broker that does not lead a partition has nothing to say; it closes, and the producer asks who does.
#[tokio::test]
async fn without_acks_a_connection_that_broke_makes_the_producer_ask_for_metadata() {
    let fake = Fake::start(1, |asked| (asked.api == Api::Produce).then_some(Reply::HangUp)).await;
    let producer = builder(&fake).acks(Acks::None).enable_idempotence(false).build().unwrap();
    while fake.asked(Api::Metadata).len() < 5 {
        soon(producer.send(record(0)).await.unwrap()).await.ok(); // told or lost, as it comes
    }
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let fake = Fake::start(1, |_| None).await;
    let refused: [ProducerBuilder; 5] = [
        builder(&fake).acks(Acks::Leader),
        builder(&fake).buffer_memory(1000),
        builder(&fake).buffer_memory(3 << 30),
        builder(&fake).delivery_timeout(Duration::MAX),
        builder(&fake).linger(DAY).delivery_timeout(DAY),
    ];
    for builder in refused {
        assert!(matches!(builder.clone().build(), Err(Error::Invalid(_))), "{builder:?}");
    }
}

/// Each record is small enough for the topic; only together, as the producer happened to send them, they were too large.
#[tokio::test]
async fn a_batch_that_is_too_large_is_split_until_it_is_not_and_keeps_its_order() {
    let large = |asked: &Asked| asked.produced(|sent| if sent.records > 3 { 10 } else { 0 });
    let fake = Fake::start(1, move |asked| (asked.api == Api::Produce).then(|| large(asked))).await;
    let producer = builder(&fake).linger(DAY).delivery_timeout(2 * DAY).build().unwrap();
    let mut deliveries = Vec::new();
    for n in 0..11 {
        let record = record(0).header("n", n.to_string()).timestamp_ms(1_700_000_000_000 - n);
        deliveries.push(producer.send(record).await.unwrap());
    }
    soon(producer.flush()).await;
    for (delivery, n) in deliveries.into_iter().zip(0..) {
        let delivery = delivery.await.expect("written");
        assert_eq!(delivery.offset, Some(n)); // the fake broker's offsets are our sequence numbers
    }
    let taken: Vec<_> = fake.sent().into_iter().filter(|sent| sent.records <= 3).collect();
    assert_eq!(taken.iter().map(|sent| sent.records).sum::<i32>(), 11);
    assert_eq!(producer.memory.available_permits(), producer.settings.buffer_bytes);
}
