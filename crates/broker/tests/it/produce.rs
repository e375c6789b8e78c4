//! Produce on its good days: bytes come back as they went in, and an answer means that they are on stable storage.

use bytes::Bytes;
use pagemark_wire::messages::*;
use pagemark_wire::records::{BatchBuilder, BatchHeader, Compression, Record, Records};
use pagemark_wire::types::{ProducerEpoch, ProducerId};

use crate::support::batches::*;
use crate::support::client::*;
use crate::support::configs::*;
use crate::support::raw::{Raw, Reaction};
use crate::support::{Rig, releasing, until};

#[test]
fn what_is_fetched_is_what_was_sent_except_for_offset_and_epoch_r_3_r_23_q_51() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let plain = batch(&["one", "two", "three"]);
    let mut expected = Vec::new();
    for codec in 0..=4 {
        let sent = if codec == 0 { plain.clone() } else { compressed(&plain, codec) };
        let base = client.produced("orders", 0, sent.clone());
        expected.push(stored_at(&sent, base, 0));
    }
    assert_eq!(split(&client.read("orders", 0, 0)), expected, "byte for byte");
    assert_eq!(headers(&client.read("orders", 0, 0)).iter().map(|h| h.codec()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    // From within a batch, the whole of it is given (P-35).
    assert_eq!(split(&client.read("orders", 0, 4)), expected[1..]);
}

#[test]
fn headers_nulls_and_empty_values_survive_q_52() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let mut builder = BatchBuilder::new(THEN_MS);
    let trace: &[(&str, Option<&[u8]>)] =
        &[("trace", Some(b"1")), ("trace", None), ("", Some(b"")), ("\u{e4}", Some(&[0xff]))];
    builder.push_record(THEN_MS, Some(b""), Some(b""), trace);
    builder.push_record(THEN_MS + 5, None, None, &[]);
    client.produced("orders", 0, builder.finish());
    let read = client.read("orders", 0, 0);
    let records = Records::open(&read, 1 << 20).unwrap();
    let records: Vec<_> = records.iter().map(Result::unwrap).collect();
    assert_eq!((records[0].key, records[0].value), (Some(&b""[..]), Some(&b""[..])));
    let expected: Vec<(&[u8], Option<&[u8]>)> = trace.iter().map(|(k, v)| (k.as_bytes(), *v)).collect();
    assert_eq!(records[0].headers.collect::<Vec<_>>(), expected);
    assert_eq!((records[1].key, records[1].value, records[1].timestamp_ms), (None, None, THEN_MS + 5));
}

#[test]
fn acks_0_gets_no_answer_and_the_next_request_its_own_p_6_q_57() {
    let rig = Rig::memory();
    rig.client().create("orders", 1, &[]);
    let mut raw = Raw::connect(rig.address);
    for i in 0..100 {
        raw.request(9, &produce_request("orders", 0, 0, Some(batch(&[&format!("{i}")]))));
    }
    raw.request(9, &produce_request("orders", 0, 1, Some(batch(&["last"]))));
    let answer = one_of(raw.answer::<ProduceRequest>(9));
    assert_eq!((answer.error_code, answer.base_offset), (0, 100), "all before it are in the log");
    // Good and bad mixed: the bad one ends the connection, the good one counts.
    raw.request(9, &produce_request("orders", 0, 0, Some(batch(&["good"]))));
    raw.request(9, &produce_request("orders", 9, 0, Some(batch(&["bad"]))));
    assert_eq!(raw.reaction(), Reaction::Closed);
    until("the good one is readable", || rig.client().end("orders", 0) == 102);
}

#[test]
fn log_append_time_is_the_brokers_and_told_to_producer_and_reader_p_31_r_20_q_43() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = rig.broker().host.now().wall.0;
    let sent = compressed(&batch_at(&[1 << 62, 5]), 4);
    let answer = client.produce("orders", 0, sent);
    let after = rig.broker().host.now().wall.0;
    assert_eq!(answer.error_code, 0, "no timestamp is refused here");
    assert!((before..=after).contains(&answer.log_append_time_ms));
    let read = client.read("orders", 0, 0);
    let header = BatchHeader::parse(&read).unwrap();
    assert!(header.is_log_append_time());
    assert_eq!(header.max_timestamp_ms, answer.log_append_time_ms);
    assert!(pagemark_wire::records::is_intact(&read), "the checksum was made anew (R-4)");
    let found = client.list_offset("orders", 0, answer.log_append_time_ms);
    assert_eq!((found.offset, found.timestamp), (0, answer.log_append_time_ms));
    assert_eq!(client.list_offset("orders", 0, answer.log_append_time_ms + 1).offset, -1);
}

#[test]
fn a_false_greatest_timestamp_or_time_bit_is_made_right_r_19_r_21() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let sent = batch_at(&[THEN_MS, THEN_MS + 9]);
    let lying = with_field(&with_field(&sent, 35, &(THEN_MS - 1).to_be_bytes()), 21, &0x08i16.to_be_bytes());
    client.produced("orders", 0, lying);
    assert_eq!(client.read("orders", 0, 0), stored_at(&sent, 0, 0));
    let time = client.produce("orders", 0, sent).log_append_time_ms;
    assert_eq!(time, -1, "Q-42");
}

#[test]
fn timestamps_are_held_to_the_topics_window_r_19() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[("message.timestamp.before.max.ms", "3600000")]);
    let now = rig.broker().host.now().wall.0;
    for (timestamp, code) in [(now, 0), (now - 3_500_000, 0), (-1, 0), (now - 3_700_000, 32), (now + 3_700_000, 32)] {
        assert_eq!(client.produce("orders", 0, batch_at(&[now, timestamp])).error_code, code, "{}", timestamp - now);
    }
}

#[test]
fn no_answer_leaves_and_nothing_is_readable_before_it_is_durable_the_ack_promise() {
    let (rig, engine) = Rig::released_by_hand(&[]);
    releasing(&engine, || rig.client().create("orders", 1, &[]));
    let key = rig.broker().topic("orders", pagemark_wire::types::TopicId::ZERO).unwrap().partitions[0].key;
    let (mut producer, mut reader, mut committer) = (rig.client(), rig.client(), rig.client());
    producer.send(9, &produce_request("orders", 0, 1, Some(batch(&["a"]))));
    committer.send(8, &commit_request("readers", &[("orders", 0, 1, "")]));
    until("the batch is in the log", || rig.broker().engine.extent(key).unwrap().log_end.0 == 1);
    assert_eq!(
        (reader.end("orders", 0), reader.fetch("orders", 0, 0).high_watermark),
        (0, 0),
        "R-50, invariant 4, Q-56"
    );
    assert_eq!(reader.fetch("orders", 0, 1).error_code, 1, "beyond what is visible");
    assert!(is_silent(&producer), "no ack before the disk");
    assert!(is_silent(&committer), "no ack before the disk");
    // A retry of a batch that is on its way waits for the same write.
    let (mut first, mut retry) = (rig.client(), rig.client());
    first.send(9, &produce_request("orders", 0, -1, Some(idempotent(3, 0, 0, 1))));
    until("it is in the log", || rig.broker().engine.extent(key).unwrap().log_end.0 == 2);
    retry.send(9, &produce_request("orders", 0, -1, Some(idempotent(3, 0, 0, 1))));
    assert!(is_silent(&retry));
    releasing(&engine, || {
        assert_eq!(one_of(producer.receive::<ProduceRequest>()).base_offset, 0);
        assert_eq!(committer.receive::<OffsetCommitRequest>().topics[0].partitions[0].error_code, 0);
        assert_eq!(one_of(first.receive::<ProduceRequest>()).base_offset, 1);
        assert_eq!(one_of(retry.receive::<ProduceRequest>()).base_offset, 1);
    });
    assert_eq!(reader.end("orders", 0), 2);
    assert_eq!(reader.committed("readers", "orders", 0).committed_offset, 1);
}

/// Whether the broker has sent nothing, after having had the occasion: it has answered somebody else in between.
fn is_silent(client: &Client) -> bool {
    let mut byte = [0];
    let stream = client.connection.stream();
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut byte);
    stream.set_nonblocking(false).unwrap();
    matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn many_producers_share_a_log_and_every_offset_is_given_once_invariants_3_and_5() {
    let rig = Rig::memory();
    rig.client().create("orders", 4, &[]);
    std::thread::scope(|scope| {
        for producer in 0..8 {
            let rig = &rig;
            scope.spawn(move || {
                let mut client = rig.client();
                for i in 0..40 {
                    let value = format!("{producer}-{i}");
                    client.send(9, &produce_request("orders", i % 4, -1, Some(batch(&[&value]))));
                }
                let bases: Vec<i64> = (0..40).map(|_| one_of(client.receive::<ProduceRequest>()).base_offset).collect();
                for partition in 0..4 {
                    let mine: Vec<i64> = bases.iter().skip(partition).step_by(4).copied().collect();
                    assert!(mine.windows(2).all(|w| w[0] < w[1]), "sent in this order, stored in this order");
                }
            });
        }
    });
    let mut client = rig.client();
    let mut seen = std::collections::BTreeSet::new();
    for partition in 0..4 {
        let read = client.read("orders", partition, 0);
        let bases: Vec<i64> = headers(&read).iter().map(|h| h.base_offset.0).collect();
        assert_eq!(bases, (0..80).collect::<Vec<_>>());
        for one in split(&read) {
            let records = Records::open(&one, 1 << 20).unwrap();
            let value = Bytes::copy_from_slice(records.iter().next().unwrap().unwrap().value.unwrap());
            assert!(seen.insert(value), "no value twice");
        }
    }
    assert_eq!(seen.len(), 320);
}

#[test]
fn a_topic_stores_batches_with_its_own_codec_however_they_came_r_23() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("packed", 1, &[("compression.type", "zstd")]);
    let sent = batch(&["one", "two"]);
    let repeated = idempotent(7, 0, 0, 3);
    for batch in [sent.clone(), compressed(&sent, 1), compressed(&sent, 3), compressed(&sent, 4), repeated.clone()] {
        assert_eq!(client.produce("packed", 0, batch).error_code, 0);
    }
    let again = client.produce("packed", 0, repeated);
    assert_eq!((again.error_code, again.base_offset), (0, 8), "a duplicate is known by what was sent");
    let stored = client.read("packed", 0, 0);
    assert!(headers(&stored).iter().all(|header| header.codec() == 4));
    assert_eq!(headers(&stored).iter().map(|header| header.base_offset.0).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    let values: Vec<String> = split(&stored)
        .iter()
        .flat_map(|batch| {
            let records = Records::open(batch, 1 << 20).expect("opens");
            let value = |record: Record<'_>| String::from_utf8_lossy(record.value.expect("a value")).into_owned();
            records.iter().map(|record| value(record.expect("a record"))).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(values[..8], ["one", "two"].repeat(4));
    assert_eq!(values.len(), 11);
}

#[test]
fn a_change_of_the_codec_counts_for_what_comes_after_it_and_producer_keeps_what_was_sent_r_23() {
    let rig = Rig::with(&["compression.type=gzip"]);
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    let codecs =
        |client: &mut Client| headers(&client.read("orders", 0, 0)).iter().map(|h| h.codec()).collect::<Vec<_>>();
    let sent = compressed(&batch(&["one"]), 4);
    assert_eq!(client.produced("orders", 0, sent.clone()), 0);
    assert_eq!(client.alter_one(TOPIC, "orders", &[("compression.type", SET, Some("uncompressed"))]), 0);
    assert_eq!(client.produced("orders", 0, sent.clone()), 1);
    assert_eq!(client.alter_one(TOPIC, "orders", &[("compression.type", SET, Some("producer"))]), 0);
    assert_eq!(client.produced("orders", 0, sent), 2);
    assert_eq!(codecs(&mut client), [1, 0, 4]);
}

#[test]
fn a_batch_that_grows_too_large_by_its_topics_codec_is_refused_and_nothing_is_stored_r_12_r_23() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("plain", 1, &[("compression.type", "uncompressed"), ("max.message.bytes", "20000")]);
    let answer = client.produce("plain", 0, compressed(&batch_of_bytes(50_000), 4));
    assert_eq!(answer.error_code, 10);
    assert!(answer.error_message.is_some_and(|why| why.contains("compression.type")));
    assert_eq!(client.end("plain", 0), 0);
}

#[test]
fn a_duplicate_is_acknowledged_again_although_a_new_codec_makes_it_too_large_r_30_r_23() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[("max.message.bytes", "20000")]);
    let large = BatchBuilder::new(THEN_MS).produced_by(ProducerId(7), ProducerEpoch(0), 0);
    let batch = |mut builder: BatchBuilder| {
        builder.push(None, Some(&[b'x'; 50_000]));
        builder.compressed(Compression::Zstd)
    };
    let sent = batch(large);
    assert_eq!(client.produced("orders", 0, sent.clone()), 0);
    assert_eq!(client.alter_one(TOPIC, "orders", &[("compression.type", SET, Some("uncompressed"))]), 0);
    let again = client.produce("orders", 0, sent);
    assert_eq!((again.error_code, again.base_offset), (0, 0));
    let next = BatchBuilder::new(THEN_MS).produced_by(ProducerId(7), ProducerEpoch(0), 1);
    assert_eq!(client.produce("orders", 0, batch(next)).error_code, 10);
}
