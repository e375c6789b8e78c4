//! What Apache Kafka's own encoder writes is what we read. `tests/golden/Golden.java` made the files and says how.

use bytes::Bytes;
use pagemark_wire::records::{BatchRules, Records, Stamp, check_shape, is_intact, stamp, walk};
use pagemark_wire::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::files::batches;
use crate::support::NOW_MS;

fn batch(name: &str) -> Bytes {
    batches().into_iter().find(|(found, _)| *found == name).expect("a golden batch").1
}

type Plain = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn read(batch: &Bytes) -> Vec<Plain> {
    let records = Records::open(batch, 1 << 20).expect("opens");
    let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let plain = |r: pagemark_wire::records::Record<'_>| {
        let headers = r.headers.map(|(k, v)| (k.to_vec(), own(v))).collect();
        (r.offset.0, r.timestamp_ms, own(r.key), own(r.value), headers)
    };
    records.iter().map(|r| plain(r.expect("a record"))).collect()
}

fn four_records(base: i64, times: [i64; 4]) -> Vec<Plain> {
    let some = |text: &str| Some(text.as_bytes().to_vec());
    let headers = vec![(b"h".to_vec(), None), (b"h".to_vec(), some("")), (vec![], Some(vec![9]))];
    vec![
        (base, times[0], None, None, vec![]),
        (base + 1, times[1], some("key"), some("value"), vec![]),
        (base + 2, times[2], some(""), None, vec![]),
        (base + 3, times[3], some("k\u{e9}y"), some(""), headers),
    ]
}

#[test]
fn javas_batches_of_every_codec_are_accepted_and_read_r_1_r_2() {
    let rules = BatchRules::defaults_at(NOW_MS);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let batch = batch(codec);
        let header = check_shape(Some(&batch), &rules).unwrap_or_else(|e| panic!("{codec}: {e}"));
        assert_eq!((header.record_count, header.last_offset_delta), (4, 3));
        let walked = walk(&header, &batch, &rules).unwrap_or_else(|e| panic!("{codec}: {e}"));
        assert_eq!((walked.max_timestamp_ms, walked.max_timestamp_delta), (NOW_MS + 7, 1), "{codec}");
        assert_eq!(walked.max_timestamp_ms, header.max_timestamp_ms, "{codec}");
        assert_eq!(read(&batch), four_records(0, [NOW_MS, NOW_MS + 7, NOW_MS - 300, NOW_MS + 5]), "{codec}");
    }
}

#[test]
fn javas_batches_of_several_compressed_blocks_are_read_whole() {
    let rules = BatchRules::defaults_at(NOW_MS);
    for codec in ["gzip-large", "snappy-large", "lz4-large", "zstd-large"] {
        let batch = batch(codec);
        let header = check_shape(Some(&batch), &rules).unwrap_or_else(|e| panic!("{codec}: {e}"));
        let walked = walk(&header, &batch, &rules).unwrap_or_else(|e| panic!("{codec}: {e}"));
        assert_eq!((walked.max_timestamp_ms, walked.max_timestamp_delta), (NOW_MS + 99, 99), "{codec}");
        let read = read(&batch);
        assert_eq!(read.len(), 100);
        for (i, (offset, timestamp_ms, key, value, _)) in read.into_iter().enumerate() {
            assert_eq!((offset, timestamp_ms), (i as i64, NOW_MS + i as i64));
            assert_eq!(key, Some(format!("key-{i}").into_bytes()));
            assert_eq!(value, Some(format!("{}{}", "value ".repeat(333), i % 10).into_bytes()));
        }
    }
}

#[test]
fn javas_idempotent_batch_has_its_producer_r_30() {
    let batch = batch("idempotent");
    let header = check_shape(Some(&batch), &BatchRules::defaults_at(NOW_MS)).expect("accepted");
    assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(4711), ProducerEpoch(3)));
    assert_eq!((header.base_sequence, header.last_sequence()), (42, 45));
}

#[test]
fn javas_log_append_time_batch_gives_every_record_that_time_r_20() {
    let batch = batch("log-append-time");
    assert!(is_intact(&batch));
    assert_eq!(read(&batch), four_records(1000, [NOW_MS + 999; 4]));
}

#[test]
fn stamping_log_append_time_writes_what_java_writes_r_20() {
    let java = batch("log-append-time");
    let time = Stamp::LogAppendTime { now_ms: NOW_MS + 999 };
    let (stamped, header) = stamp(&batch("none"), Offset(1000), LeaderEpoch(5), time);
    let ours = stamped.joined();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(1000), LeaderEpoch(5)));
    assert_eq!(read(&ours), read(&java));
    assert!(is_intact(&ours));
    assert_eq!(ours[..17], java[..17], "offset, length, epoch, magic");
    assert_eq!(ours[21..27], java[21..27], "attributes, last offset delta");
    assert_eq!(ours[35..61], java[35..61], "greatest timestamp, producer, count");
}

#[test]
fn javas_transactional_batch_is_known_as_one_r_26() {
    let rules = BatchRules::defaults_at(NOW_MS);
    let batch = batch("transactional");
    let code = |rules| check_shape(Some(&batch), &rules).expect_err("not served yet").error_code().code();
    assert_eq!(code(rules), 53);
    assert_eq!(code(BatchRules { has_transactional_id: true, ..rules }), 48);
}

#[test]
fn javas_commit_marker_is_refused_from_a_client_and_read_from_the_log_r_15_r_40() {
    let marker = batch("commit-marker");
    let records = Records::open(&marker, 1 << 20).expect("opens");
    assert!(records.header().is_control() && records.header().is_transactional());
    let record = records.iter().next().expect("one").expect("a record");
    assert_eq!(record.offset, Offset(77));
    assert_eq!(record.key, Some(&[0, 0, 0, 1][..]), "version 0, COMMIT");
    assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 9][..]), "version 0, coordinator epoch");
    let from_client = crate::support::with_field(&marker, 0, &[0; 8]);
    let error = check_shape(Some(&from_client), &BatchRules::defaults_at(NOW_MS)).expect_err("row 37");
    assert_eq!(error.error_code().code(), 87);
}
