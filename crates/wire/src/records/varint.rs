//! Zig-zag varints as records use them: 32-bit lengths and deltas in up to 5 bytes, 64-bit timestamps in up to 10.
//!
//! Deliberately not here: the unsigned varints of flexible requests, which are the guard's.

/// Longest 32-bit varint, in bytes.
const MAX_VARINT_LEN: u32 = 5;
/// Longest 64-bit varint, in bytes.
const MAX_VARLONG_LEN: u32 = 10;

/// Reads a 32-bit varint from a source of bytes. `Ok(None)` if it is longer than 32 bits.
pub(super) fn read_varint<E>(next: impl FnMut() -> Result<u8, E>) -> Result<Option<i32>, E> {
    let raw = read_unsigned(next, MAX_VARINT_LEN)?;
    Ok(raw.and_then(|raw| u32::try_from(raw).ok()).map(|raw| (raw >> 1) as i32 ^ -((raw & 1) as i32)))
}

/// Reads a 64-bit varint from a source of bytes. `Ok(None)` if it is longer than 64 bits.
pub(super) fn read_varlong<E>(next: impl FnMut() -> Result<u8, E>) -> Result<Option<i64>, E> {
    let raw = read_unsigned(next, MAX_VARLONG_LEN)?;
    Ok(raw.map(|raw| (raw >> 1) as i64 ^ -((raw & 1) as i64)))
}

#[inline]
fn read_unsigned<E>(mut next: impl FnMut() -> Result<u8, E>, max_len: u32) -> Result<Option<u64>, E> {
    let mut value = 0u64;
    for i in 0..max_len {
        let byte = next()?;
        if i == MAX_VARLONG_LEN - 1 && byte > 1 {
            return Ok(None); // beyond 64 bits
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Appends a varint of either width; the encodings of a value are the same.
pub(super) fn put_varlong(to: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        to.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    to.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(bytes: &[u8]) -> impl FnMut() -> Result<u8, ()> {
        let mut rest = bytes.iter();
        move || rest.next().copied().ok_or(())
    }

    #[test]
    fn varints_survive_a_round_trip_r_2() {
        for value in [0, -1, 1, 63, 64, -64, -65, 300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, value);
            assert_eq!(read_varlong(from(&bytes)), Ok(Some(value)));
            assert_eq!(read_varint(from(&bytes)), Ok(i32::try_from(value).ok()), "{value}");
        }
    }

    #[test]
    fn a_varint_that_is_too_long_or_cut_is_refused() {
        assert_eq!(read_varint(from(&[0xff; 6])), Ok(None));
        assert_eq!(read_varlong(from(&[0xff; 11])), Ok(None));
        assert_eq!(read_varlong(from(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])), Ok(None));
        assert_eq!(read_varint(from(&[0x80, 0x80])), Err(()));
    }
}
