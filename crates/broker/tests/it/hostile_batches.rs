//! Batches that no good producer sends (bad-input rows 24 to 49): each gets its code, nothing of it is stored.

use bytes::Bytes;
use pagemark_wire::messages::*;

use crate::support::Rig;
use crate::support::batches::*;
use crate::support::client::*;
use crate::support::raw::{Raw, Reaction};

/// One row: what is sent in which version of Produce, and the code.
struct Row {
    name: &'static str,
    version: i16,
    records: Option<Bytes>,
    code: i16,
}

fn row(name: &'static str, records: Bytes, code: i16) -> Row {
    Row { name, version: 9, records: Some(records), code }
}

/// Header fields by their place in the batch.
fn field(at: usize, bytes: &[u8]) -> Bytes {
    with_field(&batch(&["value"]), at, bytes)
}

/// A batch of one record with these bytes as its records.
fn payload(bytes: &[u8]) -> Bytes {
    with_payload(&batch(&["value"]), 0, bytes)
}

fn rows() -> Vec<Row> {
    let good = batch(&["value"]);
    let five = |count: i32| field(57, &count.to_be_bytes());
    let mut bad_crc = good.to_vec();
    bad_crc[20] ^= 1;
    let transactional = {
        let batch = idempotent(5, 0, 0, 1);
        with_field(&batch, 21, &0x10i16.to_be_bytes())
    };
    vec![
        row("row 24: bad CRC", bad_crc.into(), 2),
        Row { name: "row 25: magic 1 in v7", version: 7, records: Some(field(16, &[1])), code: 87 },
        row("row 25: magic 0", field(16, &[0]), 87),
        row("row 26: magic 9", field(16, &[9]), 2),
        row("row 27: count 5 with 1 record", five(5), 87),
        row("row 27: count 0", five(0), 87),
        row("row 27: count -1", five(-1), 87),
        row("row 27: count and delta 5 with 1 record", with_field(&five(5), 23, &4i32.to_be_bytes()), 87),
        row("row 27: lastOffsetDelta 7", field(23, &7i32.to_be_bytes()), 87),
        row("row 28: length past the end", field(8, &(good.len() as i32).to_be_bytes()), 87),
        row("row 28: length 2^31-1", field(8, &i32::MAX.to_be_bytes()), 87),
        row("row 29: length 10", field(8, &10i32.to_be_bytes()), 2),
        row("row 29: length -1", field(8, &(-1i32).to_be_bytes()), 2),
        row("row 30: two batches", [&good[..], &good].concat().into(), 87),
        row("row 30: a batch and a byte", [&good[..], &[0]].concat().into(), 87),
        row("row 31: empty", Bytes::new(), 87),
        row("row 31: a few bytes", Bytes::from_static(&[0; 11]), 87),
        row("row 31: cut within the header", good.slice(..40), 87),
        Row { name: "row 32: null", version: 9, records: None, code: 87 },
        Row { name: "row 32: null in v3", version: 3, records: None, code: 87 },
        row("row 33: gzip garbage", with_payload(&good, 1, b"this is no gzip"), 87),
        row("row 33: snappy garbage", with_payload(&good, 2, &[0xff; 40]), 87),
        row("row 33: lz4 garbage", with_payload(&good, 3, &[0xff; 40]), 87),
        row("row 33: zstd garbage", with_payload(&good, 4, &[0xff; 40]), 87),
        row("row 34: codec 7", field(21, &7i16.to_be_bytes()), 76),
        row("row 34: codec 5", field(21, &5i16.to_be_bytes()), 76),
        row("row 35: gzip bomb", with_payload(&good, 1, &gzip_of_zeros(200 << 20)), 87),
        row("row 36: record length past the end", payload(&[0x7e, 0, 0, 0, 1, 1, 0]), 87),
        row("row 36: record length negative", payload(&[1, 0, 0, 0, 1, 1, 0]), 87),
        row("row 36: key length past the end", payload(&[12, 0, 0, 0, 0x7e, 1, 0]), 87),
        row("row 36: header count 2^31-1", payload(&[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]), 87),
        row("row 36: header count negative", payload(&[12, 0, 0, 0, 1, 1, 1]), 87),
        row("row 36: varint of eleven bytes", payload(&[0xff; 11]), 87),
        row("row 36: bytes behind the last record", changed(&good, |b| b.push(0)), 87),
        row("R-17 offset delta 1 first", payload(&[12, 0, 0, 2, 1, 1, 0]), 87),
        row("row 37: control bit", field(21, &0x20i16.to_be_bytes()), 87),
        row(
            "row 38: producer id without a sequence",
            with_field(&idempotent(5, 0, 0, 1), 53, &(-1i32).to_be_bytes()),
            87,
        ),
        row("row 42: transactional without an id", transactional, 53),
        row("row 46: base offset 55", field(0, &55i64.to_be_bytes()), 87),
        row("row 47: timestamp 2^62", batch_at(&[1 << 62]), 32),
        row("row 48: larger than 1 MiB", batch_of_bytes(1_048_700), 10),
        Row { name: "row 85: zstd in v6", version: 6, records: Some(compressed(&good, 4)), code: 76 },
    ]
}

#[test]
fn every_row_of_bad_batches_gets_its_code_and_nothing_is_stored() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    for row in rows() {
        let answer = one_of(client.ask(row.version, &produce_request("orders", 0, -1, row.records.clone())));
        assert_eq!((answer.error_code, answer.base_offset), (row.code, -1), "{}", row.name);
        assert_eq!(answer.error_message.is_some(), row.version >= 8, "{}", row.name);
        assert_eq!(client.end("orders", 0), 0, "{} was stored", row.name);
    }
    assert_eq!(client.produced("orders", 0, batch(&["good"])), 0);
}

#[test]
fn with_acks_0_a_bad_batch_closes_the_connection_row_44_p_6() {
    let rig = Rig::memory();
    rig.client().create("orders", 1, &[]);
    for row in rows().into_iter().filter(|row| row.version == 9) {
        let mut raw = Raw::connect(rig.address);
        raw.request(9, &produce_request("orders", 0, 0, row.records));
        assert_eq!(raw.reaction(), Reaction::Closed, "{}", row.name);
    }
    assert_eq!(rig.client().end("orders", 0), 0);
}

#[test]
fn one_bad_partition_does_not_touch_the_others_r_22() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 3, &[]);
    let mut request = produce_request("orders", 0, -1, Some(batch(&["a"])));
    for (index, records) in [(1, field(16, &[9])), (2, batch(&["b", "c"]))] {
        let data = produce_request::PartitionProduceData::default().with_index(index).with_records(Some(records));
        request.topic_data[0].partition_data.push(data);
    }
    let answer = client.ask(9, &request);
    let codes: Vec<(i16, i64)> =
        answer.responses[0].partition_responses.iter().map(|p| (p.error_code, p.base_offset)).collect();
    assert_eq!(codes, [(0, 0), (2, -1), (0, 0)]);
    assert_eq!([0, 1, 2].map(|p| client.end("orders", p)), [1, 0, 2]);
}

#[test]
fn records_without_a_key_in_a_compacted_topic_are_all_named_by_their_indexes_r_18() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("table", 1, &[("cleanup.policy", "compact")]);
    let mut builder = pagemark_wire::records::BatchBuilder::new(THEN_MS);
    builder.push(Some(b"key"), Some(b"value"));
    builder.push(None, Some(b"value"));
    builder.push(None, Some(b"value"));
    let answer = client.produce("table", 0, builder.finish());
    assert_eq!(answer.error_code, 87);
    // With one name alone clients take all records of the batch for wrong.
    assert_eq!(answer.record_errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(), [1, 2]);
    assert!(answer.record_errors.iter().all(|e| e.batch_index_error_message.is_some()), "Q-83");
    assert_eq!(client.produced("table", 0, batch(&["keyed"])), 0);
}

#[test]
fn an_answer_does_not_name_thousands_of_records_that_came_in_few_bytes_r_18() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("table", 3, &[("cleanup.policy", "compact")]);
    let mut builder = pagemark_wire::records::BatchBuilder::new(THEN_MS);
    (0..700).for_each(|_| builder.push(None, Some(b"value")));
    let batch = builder.compressed(pagemark_wire::records::Compression::Zstd);
    let mut request = produce_request("table", 0, -1, Some(batch.clone()));
    for index in [1, 2] {
        let data = produce_request::PartitionProduceData::default().with_index(index).with_records(Some(batch.clone()));
        request.topic_data[0].partition_data.push(data);
    }
    let answer = client.ask(9, &request);
    let parts = &answer.responses[0].partition_responses;
    assert!(parts.iter().all(|p| p.error_code == 87 && p.error_message.is_some()));
    assert_eq!(parts.iter().map(|p| p.record_errors.len()).sum::<usize>(), 1_000);
}

#[test]
fn places_that_are_not_there_and_internal_ones_are_refused_rows_43_45_49() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create("orders", 1, &[]);
    let good = || Some(batch(&["value"]));
    let mut code = |version: i16, request: ProduceRequest| one_of(client.ask(version, &request)).error_code;
    assert_eq!(code(9, produce_request("orders", 0, 2, good())), 21, "row 43");
    assert_eq!(code(9, produce_request("orders", 0, -2, good())), 21, "row 43");
    for (topic, partition) in [("nobody", 0), ("orders", 99), ("orders", 1), ("orders", -1)] {
        assert_eq!(code(9, produce_request(topic, partition, -1, good())), 3, "row 45: {topic}-{partition}");
    }
    let mut by_id = produce_request("", 99, -1, good());
    by_id.topic_data[0].topic_id = id;
    assert_eq!(code(13, by_id), 3, "row 45 by id");
    assert_eq!(code(9, produce_request("__consumer_offsets", 0, -1, good())), 17, "row 49, R-27");
    assert_eq!(code(9, produce_request("__consumer_offsets", 99, -1, good())), 17);
    let internal = rig.client().ask(12, &metadata_request(&["__consumer_offsets"])).topics[0].topic_id;
    let mut by_id = produce_request("", 0, 1, good());
    by_id.topic_data[0].topic_id = internal;
    assert_eq!(code(13, by_id), 17, "row 49 by id");
    assert_eq!(rig.client().end("__consumer_offsets", 0), 0);
}

#[test]
fn a_transactional_batch_is_refused_in_every_version_until_there_are_transactions_row_42_r_26() {
    let rig = Rig::memory();
    let mut client = rig.client();
    let id = client.create("orders", 1, &[]);
    let records = with_field(&idempotent(5, 0, 0, 1), 21, &0x10i16.to_be_bytes());
    for version in 3..=13 {
        let mut request = produce_request("orders", 0, -1, Some(records.clone()));
        if version >= 13 {
            request.topic_data[0].name = topic_name("");
            request.topic_data[0].topic_id = id;
        }
        assert_eq!(one_of(client.ask(version, &request)).error_code, 53, "without an id, version {version}");
        let request = request.with_transactional_id(Some(TransactionalId(text("payments"))));
        assert_eq!(one_of(client.ask(version, &request)).error_code, 48, "with one, version {version}");
    }
    assert_eq!(client.end("orders", 0), 0);
}

#[test]
fn a_batch_at_its_size_limit_is_taken_r_12() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 1, &[("max.message.bytes", "2000")]);
    let overhead = batch(&["x".repeat(1900).as_str()]).len() - 1900;
    let exact = |bytes: usize| batch(&["x".repeat(bytes - overhead).as_str()]);
    let at_limit = exact(2000);
    assert_eq!(at_limit.len(), 2000);
    assert_eq!(client.produced("orders", 0, at_limit), 0);
    assert_eq!(client.produce("orders", 0, exact(2001)).error_code, 10);
}
