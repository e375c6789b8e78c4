//! Which topic names are legal (P-25).
//!
//! Deliberately not here: whether a topic of that name exists.

/// Most characters that a topic's name may have.
pub const MAX_NAME_LENGTH: usize = 249;

/// Judges a topic's name.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a topic's name is not empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err("a topic's name is not '.' or '..'".to_owned());
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(format!("a topic's name has at most {MAX_NAME_LENGTH} characters, this one has {}", name.len()));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err("a topic's name consists of ASCII letters, digits, '.', '_' and '-'".to_owned());
    }
    Ok(())
}

/// The name with '.' and '_' made equal: two topics may not share it, since metrics could not tell them apart.
#[must_use]
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule_p_25() {
        for good in ["a", "A.b_c-9", &"x".repeat(249), "..."] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a b", "ä", "a/b", "a\0", &"x".repeat(250)] {
            assert!(check_topic_name(bad).is_err(), "{bad}");
        }
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
    }
}
