//! Which partition of `__consumer_offsets` a group belongs to (G-1).
//!
//! The number must be what every Kafka computes, since tools read the topic directly. Deliberately not here: how many
//! partitions there are; that is fixed when the topic is created.

/// Number of the group's partition: the hash that Java gives a string, taken over UTF-16 code units, without its sign.
/// `abs(-2^31)` counts as 0. `partitions` is at least 1.
#[must_use]
pub fn partition_of(group_id: &str, partitions: u32) -> u32 {
    let hash = group_id.encode_utf16().fold(0_i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let positive = hash.checked_abs().unwrap_or(0).unsigned_abs();
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_go_where_java_s_string_hash_sends_them_g_1() {
        // "polygenelubricants" hashes to -2^31, whose absolute value does not exist.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("ab", 50), (97 * 31 + 98) % 50);
        // One emoji is two units: 0xD83D, 0xDE00.
        assert_eq!(partition_of("\u{1F600}", 50), (0xD83D * 31 + 0xDE00) % 50);
    }
}
