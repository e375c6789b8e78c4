//! Which name was meant by one that is not there.
//!
//! Deliberately not here: taking it. Nothing is ever done to what somebody may have meant.

use crate::output::escaped;

/// The name among these that looks most like `name`, if one looks like a slip of the hand.
pub fn nearest<'a>(name: &str, there: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.chars().count() / 3).clamp(1, 3);
    let distances = there.into_iter().map(|there| (strsim::damerau_levenshtein(there, name), there));
    let near = distances.filter(|(distance, there)| *distance <= most && *there != name && !there.is_empty());
    near.min().map(|(_, there)| there)
}

/// `; is orders meant?`, or nothing.
pub fn is_meant<'a>(name: &str, there: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, there).map(|there| format!("; is {} meant?", escaped(there))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let there = ["billing", "shipping", "", "a"];
        assert_eq!(nearest("biling", there), Some("billing"));
        assert_eq!(nearest("bililng", there), Some("billing"));
        assert_eq!(nearest("payments", there), None);
        assert_eq!(nearest("billing", there), None, "it is there");
        assert_eq!(nearest("bc", there), None);
        assert_eq!(is_meant("shiping", there), "; is shipping meant?");
        assert_eq!(is_meant("x y", ["x\u{1b} y"]), "; is \"x\\u{1b} y\" meant?");
    }
}
