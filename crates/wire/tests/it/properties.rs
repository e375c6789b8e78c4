//! What holds for any records and any bytes: what is built is accepted and read back; what is hostile does no harm.

use bytes::Bytes;
use pagemark_wire::records::*;
use pagemark_wire::types::{LeaderEpoch, Offset};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::*;

type Text = Option<Vec<u8>>;
type Parts = (i64, Text, Text, Vec<(String, Text)>);

fn text() -> impl Strategy<Value = Text> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..80))
}

fn parts() -> impl Strategy<Value = Vec<Parts>> {
    let headers = prop::collection::vec(("[a-z]{0,3}", text()), 0..3);
    prop::collection::vec((-1..NOW_MS, text(), text(), headers), 1..20)
}

fn built(base_timestamp_ms: i64, parts: &[Parts]) -> Bytes {
    let mut builder = BatchBuilder::new(base_timestamp_ms);
    for (timestamp_ms, key, value, headers) in parts {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        builder.push_record(*timestamp_ms, key.as_deref(), value.as_deref(), &headers);
    }
    builder.finish()
}

/// 300 KB that compress a little: several blocks of lz4 and snappy.
fn large_batch() -> Bytes {
    let mut builder = BatchBuilder::new(NOW_MS);
    let mut state = 1u32;
    for _ in 0..100 {
        let value: Vec<u8> = (0..3000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 29) as u8
            })
            .collect();
        builder.push(Some(b"key"), Some(&value));
    }
    builder.finish()
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(&Codec::ALL[..])
}

/// Whether a batch reads as R-17 demands: every record whole, offsets one after the other, nothing behind.
fn reads_well(batch: &Bytes) -> bool {
    let Ok(records) = Records::open(batch, 1 << 20) else { return false };
    let in_order = records.iter().zip(0..).all(|(record, i)| record.is_ok_and(|r| r.offset == Offset(i)));
    let plain = with_payload(batch, 0, records.plain());
    let cut = with_payload(batch, 0, &records.plain()[..records.plain().len().saturating_sub(1)]);
    let last_byte_counts = Records::open(&cut, 0).is_ok_and(|r| r.iter().any(|record| record.is_err()));
    in_order && !plain.is_empty() && last_byte_counts
}

proptest! {
    #[test]
    fn what_is_built_is_accepted_and_read_back(base in -1..NOW_MS, parts in parts(), codec in codec()) {
        let batch = compressed(&built(base, &parts), codec);
        let rules = BatchRules::defaults_at(NOW_MS);
        let header = check_shape(Some(&batch), &rules).expect("accepted");
        let walked = walk(&header, &batch, &rules).expect("walked");
        let greatest = parts.iter().map(|part| part.0).max().expect("one at least");
        prop_assert_eq!(walked.max_timestamp_ms, greatest);
        prop_assert_eq!(header.max_timestamp_ms, greatest);
        prop_assert_eq!(parts[walked.max_timestamp_delta as usize].0, greatest);

        let time = Stamp::CreateTime { max_timestamp_ms: greatest };
        let (in_pieces, header) = stamp(&batch, Offset(1000), LeaderEpoch(3), time);
        let stamped = in_pieces.joined();
        prop_assert!(is_intact(&stamped));
        prop_assert_eq!(BatchHeader::parse(&stamped), Ok(header));
        prop_assert_eq!(in_pieces.crc(), crc32c::crc32c(&stamped));

        let records = Records::open(&stamped, 1 << 20).expect("opens");
        prop_assert_eq!(records.iter().count(), parts.len());
        for (i, (record, part)) in records.iter().zip(&parts).enumerate() {
            let record = record.expect("a record");
            prop_assert_eq!(record.offset, Offset(1000 + i as i64));
            prop_assert_eq!(record.timestamp_ms, part.0);
            prop_assert_eq!(record.key, part.1.as_deref());
            prop_assert_eq!(record.value, part.2.as_deref());
            let headers: Vec<_> = record.headers.collect();
            let expected: Vec<_> = part.3.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
            prop_assert_eq!(headers, expected);
        }
        prop_assert_eq!(records.max_timestamp(Offset(0)).expect("reads").map(|found| found.1), Some(greatest));
    }

    #[test]
    fn damaged_records_are_walked_exactly_when_they_read_well(
        parts in parts(),
        at in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let rules = BatchRules { timestamp_after_max_ms: i64::MAX, ..BatchRules::defaults_at(NOW_MS) };
        let batch = changed(&built(0, &parts), |bytes| {
            let payload = &mut bytes[BATCH_HEADER_LEN..];
            let at = at.index(payload.len());
            payload[at] = byte;
        });
        let header = check_shape(Some(&batch), &rules).expect("the header is right");
        prop_assert_eq!(walk(&header, &batch, &rules).is_ok(), reads_well(&batch));
    }

    #[test]
    fn damaged_compressed_data_does_no_harm(
        parts in parts(),
        codec in codec(),
        damages in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let rules = BatchRules { max_decompressed_bytes: 1 << 20, ..BatchRules::defaults_at(NOW_MS) };
        let batch = changed(&compressed(&built(0, &parts), codec), |bytes| {
            let payload = &mut bytes[BATCH_HEADER_LEN..];
            for (at, byte) in damages {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
        });
        let header = check_shape(Some(&batch), &rules).expect("the header is right");
        if walk(&header, &batch, &rules).is_ok() {
            prop_assert!(reads_well(&batch), "what is accepted can be read");
        }
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), codec in 0i16..8) {
        let rules = BatchRules { max_decompressed_bytes: 1 << 20, ..BatchRules::defaults_at(NOW_MS) };
        let bytes = Bytes::from(bytes);
        let _ = check_shape(Some(&bytes), &rules);
        let _ = split_batches(&bytes).count();
        let _ = Records::open(&bytes, 1 << 20).map(|records| records.iter().count());
        let batch = with_payload(&batch_of(3), codec, &bytes);
        if let Ok(header) = check_shape(Some(&batch), &rules) {
            let _ = walk(&header, &batch, &rules);
        }
        let _ = Records::open(&batch, 1 << 20).map(|records| records.iter().count());
    }
}

proptest! {
    // Each case decompresses 300 KB, unoptimised.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn damage_to_data_of_several_compressed_blocks_does_no_harm(
        codec in codec(),
        damages in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let rules = BatchRules { max_decompressed_bytes: 1 << 20, ..BatchRules::defaults_at(NOW_MS) };
        let batch = changed(&compressed(&large_batch(), codec), |bytes| {
            let payload = &mut bytes[BATCH_HEADER_LEN..];
            for (at, byte) in damages {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
        });
        let header = check_shape(Some(&batch), &rules).expect("the header is right");
        if walk(&header, &batch, &rules).is_ok() {
            prop_assert!(reads_well(&batch), "what is accepted can be read");
        }
    }
}
