//! Requests of Apache Kafka's own classes, cut short, lengthened and damaged: guard and decoder answer all of it (P-9).
//!
//! Deliberately not here: what is in them when nothing is wrong (`bodies.rs`).

use bytes::{Bytes, BytesMut};
use pagemark_wire::api::Api;
use pagemark_wire::guard::{self, Malformed};
use pagemark_wire::messages::{Decodable, Encodable, MetadataRequest, decode};
use pagemark_wire::with_message_types;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::files::{Golden, requests as golden};

/// Decodes a body and encodes what came out; also the count of trailing bytes.
fn through<Q: Decodable + Encodable>(api: Api, version: i16, body: Bytes) -> Result<(Bytes, usize), Malformed> {
    let decoded = decode::<Q>(api, version, body)?;
    let mut bytes = BytesMut::new();
    decoded.message.encode(&mut bytes, version).expect("what was decoded can be encoded");
    Ok((bytes.freeze(), decoded.trailing_bytes))
}

#[test]
fn a_request_cut_short_anywhere_is_malformed_p_9() {
    for Golden { info, version, variant, body } in golden() {
        for cut in 0..body.len() {
            let cut_body = body.slice(..cut);
            assert!(guard::check(info.api, version, &cut_body).is_err(), "{} {version} {variant} at {cut}", info.name);
        }
    }
}

#[test]
fn bytes_behind_a_complete_body_are_counted_p_9() {
    for Golden { info, version, variant, body } in golden() {
        let longer = Bytes::from([&body[..], b"tail"].concat());
        let (again, trailing) =
            with_message_types!(info.api, |Q, A| through::<Q>(info.api, version, longer)).expect("row 12");
        assert_eq!((again, trailing), (body, 4), "{} {version} {variant}", info.name);
    }
}

#[test]
fn a_topic_name_that_is_not_utf8_arrives_with_question_marks_row_18() {
    let body = Bytes::from_static(b"\0\0\0\x01\0\x03a\xff\xfe");
    let request = decode::<MetadataRequest>(Api::Metadata, 1, body).expect("decodes").message;
    let name = request.topics.and_then(|topics| topics[0].name.clone()).expect("a name");
    assert_eq!(name.0.as_str(), "a??");
}

/// One thing that a hostile or broken client may do to a good request.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Huge(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let huge = prop_oneof![
        Just(i32::MAX.to_be_bytes().to_vec()),
        Just((-2i32).to_be_bytes().to_vec()),
        Just((-1i32).to_be_bytes().to_vec()),
        Just(vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        Just(vec![0xff; 6]),
        Just(vec![0x7f, 0xff]),
        Just(vec![0x80, 0x00]),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), huge).prop_map(|(at, bytes)| Damage::Huge(at, bytes)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        any::<Index>().prop_map(Damage::Remove),
    ]
}

fn damaged(body: &Bytes, damages: &[Damage]) -> Bytes {
    let mut bytes = body.to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match damage {
            Damage::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Huge(at, with) => {
                bytes.iter_mut().skip(at.index(length)).zip(with).for_each(|(to, from)| *to = *from)
            }
            Damage::Insert(at, with) => drop(bytes.splice(at.index(length)..at.index(length), with.iter().copied())),
            Damage::Remove(at) => drop(bytes.remove(at.index(length))),
        }
    }
    Bytes::from(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_damaged_request_is_refused_or_decoded_within_its_own_size(
        which in any::<Index>(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        thread_local!(static GOLDEN: Vec<Golden> = golden());
        GOLDEN.with(|golden| {
            let Golden { info, version, body, .. } = which.get(golden);
            let body = damaged(body, &damages);
            let length = body.len();
            if let Ok(shape) = guard::check(info.api, *version, &body) {
                prop_assert!(shape.elements <= length, "{} elements of {length} bytes", shape.elements);
                prop_assert!(shape.body_len <= length);
                let decoded = with_message_types!(info.api, |Q, A| through::<Q>(info.api, *version, body));
                // The codec refuses some tags that Kafka would skip; nothing else may be left for it to refuse.
                if !info.is_flexible(*version) {
                    prop_assert_eq!(decoded.map(|(_, trailing)| trailing), Ok(length - shape.body_len));
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn random_bytes_never_do_harm(which in any::<Index>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        thread_local!(static GOLDEN: Vec<Golden> = golden());
        GOLDEN.with(|golden| {
            let Golden { info, version, .. } = which.get(golden);
            let _ = with_message_types!(info.api, |Q, A| through::<Q>(info.api, *version, Bytes::from(body)));
        });
    }
}
