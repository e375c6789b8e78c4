//! The rules of records, one test per rule, on batches as clients send them and as they should not.

use bytes::Bytes;
use pagemark_wire::ErrorCode;
use pagemark_wire::records::*;
use pagemark_wire::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::support::*;

fn rules() -> BatchRules {
    BatchRules::defaults_at(NOW_MS)
}

/// The whole judgement of a batch, as far as this crate makes it.
fn judge(records: Option<&Bytes>, rules: &BatchRules) -> Result<Walked, BatchError> {
    let header = check_shape(records, rules)?;
    walk(&header, records.expect("no batch without bytes"), rules)
}

fn code(records: &Bytes) -> ErrorCode {
    code_by(records, &rules())
}

fn code_by(records: &Bytes, rules: &BatchRules) -> ErrorCode {
    judge(Some(records), rules).map_or_else(|e| e.error_code(), |_| ErrorCode::None)
}

#[test]
fn every_codec_is_accepted_and_read_r_1() {
    let batch = batch_of(50);
    for codec in Codec::ALL {
        let batch = compressed(&batch, codec);
        assert_eq!(code(&batch), ErrorCode::None, "{codec:?}");
        let records = Records::open(&batch, 1 << 20).expect("opens");
        assert_eq!(
            records.iter().map(|r| r.expect("a record").offset.0).collect::<Vec<_>>(),
            (0..50).collect::<Vec<_>>()
        );
    }
}

#[test]
fn codecs_5_to_7_and_early_zstd_are_unsupported_r_1() {
    for codec in 5..=7 {
        assert_eq!(code(&with_payload(&batch_of(1), codec, b"x")), ErrorCode::UnsupportedCompressionType, "row 34");
    }
    let zstd = compressed(&batch_of(1), Codec::Zstd);
    assert_eq!(code_by(&zstd, &BatchRules { produce_version: 6, ..rules() }), ErrorCode::UnsupportedCompressionType);
    assert_eq!(code_by(&zstd, &BatchRules { produce_version: 7, ..rules() }), ErrorCode::None, "row 85");
}

#[test]
fn records_with_every_kind_of_part_are_accepted_r_2() {
    let mut builder = BatchBuilder::new(NOW_MS);
    builder.push_record(NOW_MS - 1, None, None, &[("", None), ("h", Some(b"")), ("h", Some(b"v"))]);
    builder.push_record(-1, Some(b""), Some(b""), &[]);
    assert_eq!(code(&builder.finish()), ErrorCode::None);
}

#[test]
fn offset_and_epoch_are_assigned_without_touching_the_checksum_r_3() {
    let batch = batch_of(3);
    let time = Stamp::CreateTime { max_timestamp_ms: NOW_MS };
    let (stamped, header) = stamp(&batch, Offset(1 << 40), LeaderEpoch(7), time);
    let bytes = stamped.joined();
    assert_eq!(stamped.header(), Ok(header));
    assert_eq!(BatchHeader::parse(&bytes), Ok(header));
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(1 << 40), LeaderEpoch(7)));
    assert_eq!(bytes[16..], batch[16..], "nothing else changed");
    assert!(is_intact(&bytes));
}

#[test]
fn a_changed_greatest_timestamp_gets_a_new_checksum_r_4_r_19() {
    let lying = with_field(&batch_of(3), 35, &(NOW_MS + 5_000_000).to_be_bytes());
    let walked = judge(Some(&lying), &rules()).expect("the header's claim is not believed");
    assert_eq!(walked.max_timestamp_ms, NOW_MS);
    let time = Stamp::CreateTime { max_timestamp_ms: walked.max_timestamp_ms };
    let (stamped, header) = stamp(&lying, Offset(0), LeaderEpoch(0), time);
    let bytes = stamped.joined();
    assert_eq!(header.max_timestamp_ms, NOW_MS);
    assert!(is_intact(&bytes));
    assert_eq!(bytes[17..], batch_of(3)[17..], "and is what an honest client would have sent");
}

#[test]
fn anything_but_exactly_one_batch_is_invalid_r_10() {
    let batch = batch_of(1);
    assert_eq!(judge(None, &rules()).expect_err("row 32").error_code(), ErrorCode::InvalidRecord);
    assert_eq!(code(&Bytes::new()), ErrorCode::InvalidRecord, "row 31");
    assert_eq!(code(&Bytes::from([&batch[..], &batch[..]].concat())), ErrorCode::InvalidRecord, "row 30");
    assert_eq!(code(&Bytes::from([&batch[..], &[0]].concat())), ErrorCode::InvalidRecord);
    for cut in 0..batch.len() {
        let cut = batch.slice(..cut);
        assert_eq!(code(&cut), ErrorCode::InvalidRecord, "cut to {} bytes", cut.len());
    }
}

#[test]
fn old_formats_are_invalid_and_unknown_ones_corrupt_r_10() {
    let magic = |magic: i8| code(&with_field(&batch_of(1), 16, &magic.to_be_bytes()));
    assert_eq!([magic(0), magic(1)], [ErrorCode::InvalidRecord; 2], "row 25");
    assert_eq!([magic(3), magic(9), magic(-1)], [ErrorCode::CorruptMessage; 3], "row 26");
}

#[test]
fn a_client_may_not_choose_offsets_r_11() {
    let at = |offset: i64| code(&with_field(&batch_of(1), 0, &offset.to_be_bytes()));
    assert_eq!(
        [at(0), at(55), at(-1)],
        [ErrorCode::None, ErrorCode::InvalidRecord, ErrorCode::InvalidRecord],
        "row 46"
    );
}

#[test]
fn a_batch_may_be_as_large_as_the_limit_and_no_larger_r_12() {
    let batch = batch_of(1);
    let limited = |max_message_bytes| code_by(&batch, &BatchRules { max_message_bytes, ..rules() });
    assert_eq!(limited(batch.len()), ErrorCode::None);
    assert_eq!(limited(batch.len() - 1), ErrorCode::MessageTooLarge, "row 48");
    let segment = |segment_bytes| code_by(&batch, &BatchRules { segment_bytes, ..rules() });
    assert_eq!([segment(batch.len()), segment(batch.len() - 1)], [ErrorCode::None, ErrorCode::RecordListTooLarge]);
}

#[test]
fn a_wrong_checksum_or_a_length_below_the_header_is_corrupt_r_13() {
    let batch = batch_of(2);
    for at in 17..batch.len() {
        let mut bytes = batch.to_vec();
        bytes[at] ^= 1;
        assert_eq!(code(&Bytes::from(bytes)), ErrorCode::CorruptMessage, "row 24: byte {at}");
    }
    let length = |length: i32| {
        let mut bytes = batch.to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        code(&Bytes::from(bytes))
    };
    for short in [10, -1, 0, 48, i32::MIN] {
        assert_eq!(length(short), ErrorCode::CorruptMessage, "row 29: {short}");
    }
    for long in [batch.len() as i32, i32::MAX] {
        assert_eq!(length(long), ErrorCode::InvalidRecord, "row 28: {long}");
    }
}

#[test]
fn the_record_count_must_fit_the_offsets_r_14() {
    let counts = |last_offset_delta: i32, record_count: i32| {
        code(&changed(&batch_of(1), |bytes| {
            bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
            bytes[57..61].copy_from_slice(&record_count.to_be_bytes());
        }))
    };
    assert_eq!(counts(0, 1), ErrorCode::None);
    for (delta, count) in [(0, 5), (4, 5), (0, 0), (-1, 0), (0, -1), (-2, -1), (1, 1), (i32::MAX, i32::MIN)] {
        assert_eq!(counts(delta, count), ErrorCode::InvalidRecord, "row 27: {delta} {count}");
    }
    assert_eq!(counts(i32::MAX - 1, i32::MAX), ErrorCode::InvalidRecord);
}

#[test]
fn a_client_may_not_write_control_batches_r_15() {
    assert_eq!(code(&with_field(&batch_of(1), 21, &[0, 1 << 5])), ErrorCode::InvalidRecord, "row 37");
}

#[test]
fn a_producer_id_needs_a_sequence_number_r_16() {
    let produced = |sequence| {
        let mut builder = BatchBuilder::new(NOW_MS).produced_by(ProducerId(9), ProducerEpoch(0), sequence);
        builder.push(None, None);
        code(&builder.finish())
    };
    assert_eq!([produced(0), produced(i32::MAX)], [ErrorCode::None; 2]);
    assert_eq!([produced(-1), produced(i32::MIN)], [ErrorCode::InvalidRecord; 2], "row 38");
}

/// One record with everything spelled out: length, attributes, timestamp delta, offset delta, key, value, headers.
const GOOD_RECORD: [u8; 12] = [22, 0, 0, 0, 2, b'k', 2, b'v', 2, 2, b'h', 1];

fn one_record(record: &[u8]) -> Result<Walked, BatchError> {
    judge(Some(&with_payload(&batch_of(1), 0, record)), &rules())
}

#[test]
fn the_walk_finds_every_record_whole_and_nothing_else_r_17() {
    assert!(one_record(&GOOD_RECORD).is_ok());
    let damages: &[(usize, u8, &str)] = &[
        (0, 24, "its length goes past the end"),
        (0, 20, "its length is shorter than its parts"),
        (0, 1, "its length is -1"),
        (3, 2, "its offset delta is 1"),
        (3, 1, "its offset delta is -1"),
        (4, 200, "its key goes past the end"),
        (4, 3, "its key length is -2"),
        (6, 100, "its value goes past the end"),
        (6, 3, "its value length is -2"),
        (8, 1, "its header count is -1"),
        (8, 4, "its header count is 2"),
        (8, 0, "its header count is 0"),
        (9, 1, "its header's name is null"),
        (11, 4, "its header's value goes past the end"),
    ];
    for (at, byte, what) in damages {
        let mut record = GOOD_RECORD;
        record[*at] = *byte;
        let error = one_record(&record).expect_err(what);
        assert_eq!(error.error_code(), ErrorCode::InvalidRecord, "row 36: {what}");
        assert_eq!(wrong(&error), [0], "row 36: {what}");
    }
    let many_headers = [24, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    assert_eq!(one_record(&many_headers).expect_err("row 36").error_code(), ErrorCode::InvalidRecord);
    assert_eq!(wrong(&one_record(&[0xff; 12]).expect_err("no varint")), [0]);
    let trailing = [&GOOD_RECORD[..], &[0]].concat();
    assert_eq!(one_record(&trailing), Err(BatchError::Trailing { record_count: 1 }));
}

#[test]
fn the_walk_of_compressed_records_is_as_strict_r_17() {
    for codec in Codec::ALL {
        let judged =
            |plain: &[u8]| judge(Some(&with_payload(&batch_of(1), codec.number(), &codec.compress(plain))), &rules());
        assert!(judged(&GOOD_RECORD).is_ok(), "{codec:?}");
        assert_eq!(
            judged(&[&GOOD_RECORD[..], &[0]].concat()),
            Err(BatchError::Trailing { record_count: 1 }),
            "{codec:?}"
        );
        assert!(judged(&GOOD_RECORD[..11]).is_err(), "{codec:?}");
        assert!(judged(&[200, 200, 200, 200, 7]).is_err(), "{codec:?}");
    }
}

#[test]
fn data_that_does_not_decompress_is_invalid_and_never_retriable_r_17() {
    for codec in Codec::ALL.into_iter().filter(|codec| *codec != Codec::None) {
        let good = codec.compress(&batch_of(30)[BATCH_HEADER_LEN..]);
        let judged = |payload: &[u8]| code(&with_payload(&batch_of(30), codec.number(), payload));
        assert_eq!(judged(&good), ErrorCode::None, "{codec:?}");
        assert_eq!(judged(b"garbage that is no compressed data"), ErrorCode::InvalidRecord, "row 33: {codec:?}");
        assert_eq!(judged(&[]), ErrorCode::InvalidRecord, "{codec:?}");
        assert_eq!(judged(&[&good[..], b"\0tail"].concat()), ErrorCode::InvalidRecord, "{codec:?}");
        for cut in 0..good.len() {
            assert_eq!(judged(&good[..cut]), ErrorCode::InvalidRecord, "{codec:?} cut to {cut} of {}", good.len());
        }
    }
}

/// Indexes of the records that an error names.
fn wrong(error: &BatchError) -> Vec<i32> {
    error.records().iter().map(|(index, _)| *index).collect()
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key_r_18() {
    let compacted = BatchRules { compacted: true, ..rules() };
    let mut builder = BatchBuilder::new(NOW_MS);
    builder.push(Some(b""), Some(b"an empty key is a key"));
    builder.push(Some(b"k"), None);
    assert!(judge(Some(&builder.clone().finish()), &compacted).is_ok());
    builder.push(None, Some(b"v"));
    builder.push(Some(b"k"), Some(b"v"));
    builder.push(None, None);
    let batch = builder.finish();
    assert!(judge(Some(&batch), &rules()).is_ok());
    let error = judge(Some(&batch), &compacted).expect_err("no key");
    assert_eq!((error.error_code(), wrong(&error)), (ErrorCode::InvalidRecord, vec![2, 4]));
    assert_eq!(error.to_string(), "record 2: a compacted topic takes no record without a key");
    let mut many = BatchBuilder::new(NOW_MS);
    (0..5_000).for_each(|_| many.push(None, Some(b"v")));
    let error = judge(Some(&many.finish()), &compacted).expect_err("no keys");
    assert_eq!(wrong(&error), (0..1_000).collect::<Vec<i32>>(), "an answer is not larger than its request");
}

fn at_times(times_ms: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(times_ms[0]);
    for time_ms in times_ms {
        builder.push_record(*time_ms, Some(b"k"), None, &[]);
    }
    builder.finish()
}

#[test]
fn create_time_must_lie_in_the_topics_range_r_19() {
    let hour = 3_600_000;
    assert_eq!(code(&at_times(&[NOW_MS, NOW_MS + hour])), ErrorCode::None);
    assert_eq!(code(&at_times(&[0, 1, -1])), ErrorCode::None, "the past is unlimited, -1 is no timestamp");
    let ahead = at_times(&[NOW_MS, NOW_MS + hour + 1, NOW_MS, NOW_MS + hour + 2]);
    let error = judge(Some(&ahead), &rules()).expect_err("too far ahead");
    assert_eq!((error.error_code(), wrong(&error)), (ErrorCode::InvalidTimestamp, vec![1, 3]));
    assert_eq!(code(&at_times(&[1 << 62])), ErrorCode::InvalidTimestamp, "row 47");
    let past = BatchRules { timestamp_before_max_ms: 10, ..rules() };
    assert_eq!(code_by(&at_times(&[NOW_MS - 10]), &past), ErrorCode::None);
    assert_eq!(code_by(&at_times(&[NOW_MS - 11]), &past), ErrorCode::InvalidTimestamp);
    assert_eq!(code_by(&at_times(&[-1]), &past), ErrorCode::None);
    let overflow = changed(&at_times(&[NOW_MS, NOW_MS + 1]), |b| b[27..35].copy_from_slice(&i64::MAX.to_be_bytes()));
    assert_eq!(code(&overflow), ErrorCode::InvalidTimestamp, "base and delta overflow");
}

#[test]
fn the_greatest_timestamp_is_the_records_own_and_the_first_that_has_it_r_19_r_62() {
    let walked = judge(Some(&at_times(&[NOW_MS, NOW_MS + 5, NOW_MS - 9, NOW_MS + 5])), &rules()).expect("accepted");
    assert_eq!((walked.max_timestamp_ms, walked.max_timestamp_delta), (NOW_MS + 5, 1));
    let none = judge(Some(&at_times(&[-1, -1])), &rules()).expect("accepted");
    assert_eq!((none.max_timestamp_ms, none.max_timestamp_delta), (-1, 0));
}

#[test]
fn log_append_time_checks_nothing_and_gives_every_record_the_brokers_time_r_20() {
    let batch = at_times(&[1 << 62, -5]);
    let by_broker = BatchRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    assert!(judge(Some(&batch), &by_broker).is_ok());
    let (stamped, header) = stamp(&batch, Offset(3), LeaderEpoch(1), Stamp::LogAppendTime { now_ms: NOW_MS });
    assert!(header.is_log_append_time() && is_intact(&stamped.joined()));
    let records = Records::open(&stamped.joined(), 1 << 20).expect("opens");
    assert!(records.iter().all(|record| record.expect("a record").timestamp_ms == NOW_MS));
}

#[test]
fn the_timestamp_type_is_the_topics_whatever_the_client_says_r_21() {
    let claims = with_field(&batch_of(1), 21, &[0, 1 << 3]);
    let walked = judge(Some(&claims), &rules()).expect("accepted");
    let time = Stamp::CreateTime { max_timestamp_ms: walked.max_timestamp_ms };
    let (stamped, header) = stamp(&claims, Offset(0), LeaderEpoch(0), time);
    assert!(!header.is_log_append_time());
    assert!(is_intact(&stamped.joined()));
}

#[test]
fn one_bad_record_fails_the_whole_batch_r_22() {
    let error = judge(Some(&at_times(&[NOW_MS, 1 << 62, NOW_MS])), &rules()).expect_err("the second is wrong");
    assert_eq!(wrong(&error), [1]);
}

#[test]
fn a_bomb_stops_at_the_cap_r_23() {
    // One record whose value is 2 MiB of zeros: a few kilobytes compressed.
    let mut builder = BatchBuilder::new(NOW_MS);
    builder.push(None, Some(&vec![0; 2 << 20]));
    let batch = builder.finish();
    for codec in Codec::ALL.into_iter().filter(|codec| *codec != Codec::None) {
        let bomb = compressed(&batch, codec);
        assert_eq!(code(&bomb), ErrorCode::None, "{codec:?}");
        let capped = BatchRules { max_decompressed_bytes: 1 << 20, ..rules() };
        assert_eq!(code_by(&bomb, &capped), ErrorCode::InvalidRecord, "row 35: {codec:?}");
        assert!(Records::open(&bomb, 1 << 20).is_err(), "{codec:?}");
        assert!(Records::open(&bomb, 3 << 20).is_ok(), "{codec:?}");
    }
}

#[test]
fn endless_output_behind_the_records_stops_at_the_cap_too_r_23() {
    let plain = [&GOOD_RECORD[..], &vec![0; 2 << 20]].concat();
    for codec in Codec::ALL {
        let bomb = with_payload(&batch_of(1), codec.number(), &codec.compress(&plain));
        assert_eq!(
            judge(Some(&bomb), &BatchRules { max_message_bytes: 4 << 20, ..rules() }).expect_err("more follows"),
            BatchError::Trailing { record_count: 1 },
            "{codec:?}"
        );
    }
}

#[test]
fn more_records_than_the_cap_can_hold_are_refused_before_anything_is_decompressed_r_23() {
    let counts = |bytes: &mut Vec<u8>| {
        bytes[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
        bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    };
    for codec in Codec::ALL {
        assert_eq!(code(&changed(&compressed(&batch_of(3), codec), counts)), ErrorCode::InvalidRecord, "{codec:?}");
    }
}

#[test]
fn snappys_claims_are_not_believed_r_23() {
    let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]; // a raw block of 4 GiB
    assert_eq!(code(&with_payload(&batch_of(1), 2, &raw)), ErrorCode::InvalidRecord);
    let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &i32::MAX.to_be_bytes(), &raw].concat();
    assert_eq!(code(&with_payload(&batch_of(1), 2, &framed)), ErrorCode::InvalidRecord);
    let negative = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &[0xff; 4], &raw].concat();
    assert_eq!(code(&with_payload(&batch_of(1), 2, &negative)), ErrorCode::InvalidRecord);
    let blocks = with_payload(&batch_of(30), 2, &xerial(&batch_of(30)[BATCH_HEADER_LEN..], 10));
    assert_eq!(code(&blocks), ErrorCode::None, "records may span blocks");
}

#[test]
fn a_gzip_stream_of_several_members_is_one_stream() {
    let batch = batch_of(30);
    let (first, second) = batch[BATCH_HEADER_LEN..].split_at(101);
    let members = [Codec::Gzip.compress(first), Codec::Gzip.compress(second)].concat();
    assert_eq!(code(&with_payload(&batch, 1, &members)), ErrorCode::None);
}

#[test]
fn every_error_has_a_message_for_the_client_q_83() {
    let batch = batch_of(1);
    let said = judge(Some(&batch), &BatchRules { max_message_bytes: 5, ..rules() }).expect_err("too large").to_string();
    assert_eq!(said, format!("the batch has {} bytes, max.message.bytes of the topic is 5", batch.len()));
    let said = judge(Some(&at_times(&[1 << 62])), &rules()).expect_err("too far ahead").to_string();
    assert!(said.starts_with("record 0: timestamp 4611686018427387904 is outside"), "{said}");
}

#[test]
fn a_record_is_found_by_time_within_its_batch_r_61_r_62() {
    let sent = at_times(&[NOW_MS, NOW_MS + 5, NOW_MS - 9, NOW_MS + 5]);
    let time = Stamp::CreateTime { max_timestamp_ms: NOW_MS + 5 };
    let (stamped, _) = stamp(&sent, Offset(100), LeaderEpoch(0), time);
    let records = Records::open(&stamped.joined(), 1 << 20).expect("opens");
    assert_eq!(records.first_at_or_after(NOW_MS - 100, Offset(0)), Ok(Some((Offset(100), NOW_MS))));
    assert_eq!(records.first_at_or_after(NOW_MS + 1, Offset(0)), Ok(Some((Offset(101), NOW_MS + 5))));
    assert_eq!(records.first_at_or_after(NOW_MS + 6, Offset(0)), Ok(None));
    assert_eq!(records.max_timestamp(Offset(0)), Ok(Some((Offset(101), NOW_MS + 5))));
    assert_eq!(records.first_at_or_after(NOW_MS - 100, Offset(101)), Ok(Some((Offset(101), NOW_MS + 5))));
    let behind = records.header().next_offset();
    assert_eq!((records.first_at_or_after(0, behind), records.max_timestamp(behind)), (Ok(None), Ok(None)));
}

#[test]
fn fetched_bytes_are_split_into_batches_and_a_cut_last_one_is_dropped_p_34() {
    let (a, b) = (batch_of(2), batch_of(3));
    let fetched = Bytes::from([&a[..], &b[..], &a[..a.len() - 1]].concat());
    let counts: Vec<_> = split_batches(&fetched).map(|batch| batch.expect("whole").0.record_count).collect();
    assert_eq!(counts, [2, 3]);
    for cut in 0..fetched.len() {
        assert!(split_batches(&fetched.slice(..cut)).all(|batch| batch.is_ok()));
    }
    let old = with_field(&a, 16, &[1]);
    assert_eq!(split_batches(&old).map(|batch| batch.is_ok()).collect::<Vec<_>>(), [false]);
    let short = Bytes::from(vec![0; 100]);
    assert_eq!(split_batches(&short).map(|batch| batch.is_ok()).collect::<Vec<_>>(), [false]);
}

#[test]
fn what_a_coordinator_builds_is_what_a_log_holds() {
    let mut builder = BatchBuilder::new(NOW_MS).placed_at(Offset(500), LeaderEpoch(4));
    builder.push(Some(b"a"), Some(b"1"));
    builder.push(Some(b"b"), None);
    assert_eq!(builder.record_count(), 2);
    let size = builder.size_bytes();
    let batch = builder.finish();
    assert!(is_intact(&batch) && batch.len() == size);
    let header = BatchHeader::parse(&batch).expect("a header");
    assert_eq!(
        (header.base_offset, header.next_offset(), header.leader_epoch),
        (Offset(500), Offset(502), LeaderEpoch(4))
    );
    let records = Records::open(&batch, 0).expect("opens");
    let read: Vec<_> = records.iter().map(|r| r.expect("a record")).map(|r| (r.offset.0, r.key, r.value)).collect();
    assert_eq!(read, [(500, Some(&b"a"[..]), Some(&b"1"[..])), (501, Some(&b"b"[..]), None)]);
}

#[test]
fn what_a_producer_compresses_is_accepted_and_read_back_r_1() {
    use pagemark_wire::records::Compression;
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new(NOW_MS).produced_by(ProducerId(7), ProducerEpoch(0), 3);
        let large = vec![b'x'; 100_000]; // more than one block of snappy
        (0..5).for_each(|_| builder.push(Some(b"key"), Some(&large)));
        let batch = builder.compressed(compression);
        assert_eq!(code(&batch), ErrorCode::None, "{compression:?}");
        assert!(batch.len() < 100_000, "{compression:?}: {} bytes", batch.len());
        let header = BatchHeader::parse(&batch).expect("a batch");
        assert_eq!((header.codec(), header.base_sequence, header.record_count), (compression.number(), 3, 5));
        let records = Records::open(&batch, 1 << 20).expect("opens");
        let sizes: Vec<_> = records.iter().map(|r| r.expect("a record").value.map(<[u8]>::len)).collect();
        assert_eq!(sizes, [Some(100_000); 5]);
    }
}

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn recompressed(
    batch: &Bytes,
    with: impl Into<Effort>,
    rules: &BatchRules,
) -> Result<(BatchHeader, Bytes), BatchError> {
    let header = check_shape(Some(batch), rules)?;
    let (walked, decompressed_bytes) = walk_counted(&header, batch, rules);
    walked?;
    recompress(&header, batch, decompressed_bytes, with.into(), rules)
}

#[test]
fn from_every_codec_to_every_other_all_but_the_codec_stays_as_it_was_r_23() {
    let mut builder = BatchBuilder::new(NOW_MS).produced_by(ProducerId(9), ProducerEpoch(3), 70);
    for at in 0..3000i64 {
        builder.push_record(NOW_MS - at, Some(b"key"), Some(at.to_string().as_bytes()), &[("h", None)]);
    }
    for from in CODECS {
        let sent = builder.compressed(from);
        let before = BatchHeader::parse(&sent).unwrap();
        for to in CODECS {
            let (header, stored) = recompressed(&sent, to, &rules()).expect("it keeps to R-12");
            assert!(is_intact(&stored));
            assert_eq!(header, BatchHeader::parse(&stored).unwrap());
            assert_eq!(header.codec(), to.number(), "{from:?} to {to:?}");
            let BatchHeader { batch_length, crc, attributes, .. } = header;
            let expected = BatchHeader { batch_length, crc, attributes, ..before };
            assert_eq!(header, expected);
            assert_eq!(header.attributes & !7, before.attributes & !7);
            let plain = recompressed(&stored, Compression::None, &rules()).unwrap().1;
            assert_eq!(plain, builder.compressed(Compression::None), "{from:?} to {to:?} and back");
        }
    }
}

#[test]
fn a_level_is_heeded_r_23() {
    let mut builder = BatchBuilder::new(NOW_MS);
    (0..5000i64).for_each(|at| builder.push(None, Some((at * at * 7919 % 10_007).to_string().as_bytes())));
    let sent = builder.finish();
    let size = |codec, level| recompressed(&sent, Effort { codec, level }, &rules()).unwrap().1.len();
    assert!(size(Compression::Gzip, Some(9)) < size(Compression::Gzip, Some(1)));
    assert_eq!(size(Compression::Gzip, Some(-1)), size(Compression::Gzip, None), "-1 is the usual one");
    assert!(size(Compression::Zstd, Some(19)) < size(Compression::Zstd, Some(-50)));
}

#[test]
fn a_batch_that_another_codec_makes_too_large_is_refused_r_12_r_23() {
    let mut builder = BatchBuilder::new(NOW_MS);
    builder.push(None, Some(&[b'x'; 100_000]));
    let small = builder.compressed(Compression::Zstd);
    let tight = BatchRules { max_message_bytes: 10_000, ..rules() };
    let refused = recompressed(&small, Compression::None, &tight).unwrap_err();
    assert_eq!(refused, BatchError::RecompressedTooLarge { limit: 10_000 });
    assert_eq!(refused.error_code(), ErrorCode::MessageTooLarge);
    let segment = BatchRules { segment_bytes: 10_000, ..rules() };
    assert!(recompressed(&small, Compression::None, &segment).is_err());
    assert!(recompressed(&small, Compression::Gzip, &tight).is_ok());
    let plain = builder.finish().len();
    assert!(recompressed(&small, Compression::None, &BatchRules { max_message_bytes: plain, ..rules() }).is_ok());
    assert!(recompressed(&small, Compression::None, &BatchRules { max_message_bytes: plain - 1, ..rules() }).is_err());
}

#[test]
fn the_highest_level_takes_no_more_memory_than_a_small_batch_needs_r_23() {
    let sent = batch_of(3);
    let with = Effort { codec: Compression::Zstd, level: Some(22) };
    for _ in 0..2000 {
        // A second altogether; with tables for data of any size it would be minutes, and most of a GiB each.
        assert!(recompressed(&sent, with, &rules()).is_ok());
    }
}
