//! The accumulator driven by hand through time.

use super::*;

const LINGER: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(2);

struct Bench {
    accumulator: Accumulator,
    partition: TopicPartition,
    start: Instant,
}

fn me(id: i64) -> Identity {
    Identity { id: ProducerId(id), epoch: ProducerEpoch(0) }
}

impl Bench {
    fn new() -> Bench {
        let limits = Limits { batch_bytes: 300, linger: LINGER, delivery_timeout: TIMEOUT };
        let accumulator = Accumulator::new(limits, Arc::new(Semaphore::new(0)));
        Bench { accumulator, partition: TopicPartition::new("t", 0), start: Instant::now() }
    }

    fn append(&mut self, value: &'static str) -> Delivery {
        let value = Bytes::from_static(value.as_bytes());
        let bytes = record_bytes(None, Some(&value), &[]);
        let parts = Parts { timestamp_ms: 0, key: None, value: Some(&value), headers: &[], bytes };
        self.accumulator.append(&self.partition, &parts, self.start).0
    }

    fn drain(&mut self, after: Duration) -> Option<Batch> {
        self.accumulator.expire(self.start + after, "");
        self.accumulator.drain(self.start + after, false).due.pop().map(|(_, batch)| batch)
    }

    fn sequence(&mut self, batch: &mut Batch, identity: Identity) -> (Identity, i32) {
        self.accumulator.number(&self.partition, batch, identity);
        batch.sequenced.expect("it was numbered")
    }
}

#[test]
fn a_batch_is_due_when_it_has_lingered_or_is_full_or_flushed() {
    let mut bench = Bench::new();
    let _delivery = bench.append("one");
    assert!(bench.drain(Duration::ZERO).is_none());
    let next = bench.accumulator.drain(bench.start, false).next;
    assert_eq!(next, Some(bench.start + LINGER));
    assert_eq!(bench.drain(LINGER).expect("due").builder.record_count(), 1);

    let mut bench = Bench::new();
    let deliveries: Vec<_> = (0..20).map(|_| bench.append("twenty bytes, or so.")).collect();
    let full = bench.drain(Duration::ZERO).expect("full");
    assert!(full.builder.record_count() > 1 && full.builder.size_bytes() <= 300);
    drop(deliveries);

    let mut bench = Bench::new();
    let _delivery = bench.append("one");
    assert_eq!(bench.accumulator.flush().len(), 1);
    assert!(bench.drain(Duration::ZERO).is_some());
}

#[test]
fn one_batch_of_a_partition_is_under_way_and_a_repetition_comes_before_what_is_younger() {
    let mut bench = Bench::new();
    let _first = bench.append("first");
    let mut batch = bench.drain(LINGER).expect("due");
    assert_eq!(bench.sequence(&mut batch, me(1)), (me(1), 0));
    let _second = bench.append("second");
    assert!(bench.drain(LINGER * 2).is_none());
    let partition = bench.partition.clone();
    bench.accumulator.put_back(&partition, batch, bench.start + LINGER * 4);
    assert!(bench.drain(LINGER * 3).is_none());
    let mut again = bench.drain(LINGER * 4).expect("due again");
    assert_eq!(bench.sequence(&mut again, me(2)), (me(1), 0)); // under its own name
    bench.accumulator.done(&partition);
    let mut next = bench.drain(LINGER * 4).expect("due");
    assert_eq!(bench.sequence(&mut next, me(2)), (me(1), 1));
}

#[test]
fn numbers_of_a_refused_batch_are_used_again_and_those_of_a_lost_one_never() {
    let mut bench = Bench::new();
    let partition = bench.partition.clone();
    let _first = bench.append("refused");
    let mut batch = bench.drain(LINGER).expect("due");
    bench.sequence(&mut batch, me(1));
    bench.accumulator.take_back_numbers(&partition, &batch);
    bench.accumulator.done(&partition);
    drop(batch);
    let _second = bench.append("sent, no answer");
    let mut batch = bench.drain(LINGER).expect("due");
    assert_eq!(bench.sequence(&mut batch, me(1)), (me(1), 0));
    batch.may_be_written = true;
    bench.accumulator.put_back(&partition, batch, bench.start);
    let expired = bench.accumulator.expire(bench.start + TIMEOUT, "");
    assert_eq!(expired, Expired { next: None, lost_identity: true });
    bench.start += TIMEOUT;
    let _third = bench.append("next");
    let mut batch = bench.drain(LINGER).expect("due");
    assert_eq!(bench.sequence(&mut batch, me(2)), (me(2), 0));
}

#[tokio::test]
async fn what_times_out_says_whether_it_may_have_been_written() {
    for may_be_written in [false, true] {
        let mut bench = Bench::new();
        let delivery = bench.append("old");
        let mut batch = bench.drain(LINGER).expect("due");
        batch.may_be_written = may_be_written;
        let partition = bench.partition.clone();
        bench.accumulator.put_back(&partition, batch, bench.start);
        bench.drain(TIMEOUT);
        match delivery.await {
            Err(ProduceError::Unknown(_)) => assert!(may_be_written),
            Err(ProduceError::NotWritten(_)) => assert!(!may_be_written),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn records_without_a_key_stay_together_until_their_batch_is_gone() {
    let mut bench = Bench::new();
    let topic: Arc<str> = "t".into();
    let led = |_| true;
    assert_eq!(bench.accumulator.sticky(&topic, 4, 2, led), 2);
    assert_eq!(bench.accumulator.sticky(&topic, 4, 3, led), 2);
    bench.partition = TopicPartition::new("t", 2);
    let _delivery = bench.append("one");
    assert!(bench.drain(LINGER).is_some());
    assert_eq!(bench.accumulator.sticky(&topic, 4, 3, led), 3);
    assert_eq!(bench.accumulator.sticky(&topic, 2, 1, led), 1); // the topic shrank: re-created
}

/// They would wait for its leader until `delivery.timeout.ms`, and need not.
#[test]
fn records_without_a_key_go_where_there_is_a_leader() {
    let mut bench = Bench::new();
    let topic: Arc<str> = "t".into();
    assert_eq!(bench.accumulator.sticky(&topic, 4, 2, |partition| partition == 1), 1);
    assert_eq!(bench.accumulator.sticky(&topic, 4, 2, |partition| partition == 3), 3, "it moves on");
    assert_eq!(bench.accumulator.sticky(&topic, 4, 2, |_| false), 3, "and stays if that does not help");
}

#[test]
fn memory_comes_back_when_a_batch_is_gone() {
    let mut bench = Bench::new();
    let _delivery = bench.append("one");
    let batch = bench.drain(LINGER).expect("due");
    assert_eq!(bench.accumulator.memory.available_permits(), 0);
    drop(batch);
    assert!(bench.accumulator.memory.available_permits() > 3);
}

#[tokio::test]
async fn everything_times_out_wherever_it_is_and_the_next_moment_is_known() {
    let mut bench = Bench::new();
    let under_way = bench.append("under way");
    let mut batch = bench.drain(LINGER).expect("due");
    bench.sequence(&mut batch, me(1));
    bench.start += LINGER;
    let open = bench.append("being filled");
    let expire = |bench: &mut Bench, after: Duration| bench.accumulator.expire(bench.start + after, "");
    let next = |bench: &Bench, at: Duration| Expired { next: Some(bench.start + at), lost_identity: false };
    let soon = next(&bench, TIMEOUT - LINGER);
    assert_eq!(expire(&mut bench, Duration::ZERO), soon);
    let later = next(&bench, TIMEOUT);
    assert_eq!(expire(&mut bench, TIMEOUT - LINGER), later);
    assert!(matches!(under_way.await, Err(ProduceError::Unknown(_))));
    assert_eq!(expire(&mut bench, TIMEOUT), Expired::default());
    assert!(matches!(open.await, Err(ProduceError::NotWritten(_))));
    // The one under way comes back without an answer: only now its numbers are lost.
    batch.may_be_written = true;
    let partition = bench.partition.clone();
    bench.accumulator.put_back(&partition, batch, bench.start);
    assert_eq!(expire(&mut bench, TIMEOUT), Expired { next: None, lost_identity: true });
}

#[test]
fn a_numbered_batch_that_never_left_gives_its_number_to_the_next_one() {
    let mut bench = Bench::new();
    let _first = bench.append("no connection");
    let mut batch = bench.drain(LINGER).expect("due");
    assert_eq!(bench.sequence(&mut batch, me(1)), (me(1), 0));
    let partition = bench.partition.clone();
    bench.accumulator.put_back(&partition, batch, bench.start);
    assert_eq!(bench.accumulator.expire(bench.start + TIMEOUT, ""), Expired::default());
    let _second = bench.append("next");
    let mut batch = bench.accumulator.drain(bench.start + TIMEOUT, false).due.pop().expect("due").1;
    assert_eq!(bench.sequence(&mut batch, me(2)), (me(1), 0));
}
