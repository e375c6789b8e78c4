//! Java's properties syntax, as far as it means anything: comments, three separators, continued lines, escapes.
//!
//! One difference: files are UTF-8, not Latin-1. Deliberately not here: what the keys mean.

/// One assignment, with the line it began on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Where it begins.
    pub line: usize,
    /// What is set.
    pub key: String,
    /// To what.
    pub value: String,
}

/// Reads a file's text.
///
/// # Errors
/// The line, and what is wrong with it. Every text means something in this syntax but a broken `\u` escape.
pub fn parse(text: &str) -> Result<Vec<Assignment>, (usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let first = first.trim_start_matches(BLANKS);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_in_continuation(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        let (key, value) = split(&logical);
        let line = index + 1;
        let unescape = |part| unescape(part).ok_or_else(|| (line, format!("a broken \\u escape in {part:?}")));
        found.push(Assignment { line, key: unescape(key)?, value: unescape(value)?.trim_end().to_owned() });
    }
    Ok(found)
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

fn ends_in_continuation(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank; blanks around one `=` or `:` belong to the separator.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|&(_, c)| {
        let ends = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some((end, _)) = end else { return (line, "") };
    let rest = line[end..].trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut buffer = [0; 2];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = if c != '\\' {
            c
        } else {
            match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let is_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                    units.push(u16::from_str_radix(is_hex.then_some(&digits)?, 16).ok()?);
                    continue;
                }
                Some(other) => other,
            }
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let found = parse(text).unwrap();
        let found: Vec<_> = found.iter().map(|a| (a.line, a.key.as_str(), a.value.as_str())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn the_three_separators_and_the_blanks_around_them_are_understood() {
        check(
            "a=1\nb:2\nc 3\nd = 4\n e : 5\nf\t6\ng",
            &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3"), (4, "d", "4"), (5, "e", "5"), (6, "f", "6"), (7, "g", "")],
        );
        check("a==1\nb=x=y:z w", &[(1, "a", "=1"), (2, "b", "x=y:z w")]);
        check("=empty key", &[(1, "", "empty key")]);
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_and_lines_still_counted() {
        check("# a=1\n\n  ! b=2\r\n   \nc=3 # part of it\n", &[(5, "c", "3 # part of it")]);
    }

    #[test]
    fn a_line_that_ends_in_an_odd_number_of_backslashes_goes_on() {
        check("a=1,\\\n   2,\\\n\t3\nb=4", &[(1, "a", "1,2,3"), (4, "b", "4")]);
        check("a=x\\\\\nb=1", &[(1, "a", "x\\"), (2, "b", "1")]);
        check("a=1\\", &[(1, "a", "1")]);
        check("a\\\n=1", &[(1, "a", "1")]);
        check("a=1\\\n# not a comment", &[(1, "a", "1# not a comment")]);
    }

    #[test]
    fn escapes_are_undone() {
        check(r"a\:b\=c\ d=\t\u00e4\x", &[(1, "a:b=c d", "\täx")]);
        check(r"a=C:\\data", &[(1, "a", "C:\\data")]);
        check(r"a=\ud83d\ude00", &[(1, "a", "😀")]);
    }

    #[test]
    fn a_broken_unicode_escape_is_an_error_with_its_line() {
        for text in ["x=1\na=\\u12", "x=1\na=\\u+123", "x=1\na=\\ud800", "x=1\n\\uzzzz=1"] {
            assert_eq!(parse(text).unwrap_err().0, 2, "{text:?}");
        }
    }
}
