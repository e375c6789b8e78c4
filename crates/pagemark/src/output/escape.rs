//! Other people's names as they can be shown safely: in one piece, on one line, without commands to the terminal.
//!
//! Deliberately not here: YAML and CSV, which carry every name exactly.

/// A name as a table shows it. What would move the cursor, break the line or reverse the text is escaped as Rust does it;
/// an empty name, one with blanks, and one that looks like "none" stand in quotes.
pub fn escaped(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '\\' => shown.push_str("\\\\"),
            '"' => shown.push_str("\\\""),
            ' ' => shown.push(' '),
            _ if letter.is_control() || letter.is_whitespace() || is_invisible(letter) => {
                shown.extend(letter.escape_default());
            }
            _ => shown.push(letter),
        }
    }
    if name.is_empty() || name == "-" || name.contains(' ') { format!("\"{shown}\"") } else { shown }
}

/// A message as a terminal may get it: whoever wrote its parts, only line ends and tabs move the cursor.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => shown.push(letter),
            _ if letter.is_control() || is_invisible(letter) => shown.extend(letter.escape_default()),
            _ => shown.push(letter),
        }
    }
    shown
}

/// A JSON document that means the same, with the letters escaped that a terminal may take for commands or not show. Outside
/// of texts it has none of them.
pub fn in_json(document: &str) -> String {
    let mut shown = String::with_capacity(document.len());
    for letter in document.chars() {
        if letter != '\n' && (letter.is_control() || is_invisible(letter)) {
            let units = &mut [0; 2];
            shown.extend(letter.encode_utf16(units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Zero width, direction marks, tags and the like: what makes a name look like another one.
fn is_invisible(letter: char) -> bool {
    matches!(letter as u32,
        0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e
        | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0xe0000..=0xe0fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal_break_the_line_or_look_like_nothing() {
        let cases = [
            ("orders", "orders"),
            ("é漢字🦀", "é漢字🦀"),
            ("", "\"\""),
            ("-", "\"-\""),
            ("two words", "\"two words\""),
            ("a\nb\tc", "a\\nb\\tc"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("back\\slash", "back\\\\slash"),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}"),
            ("no\u{a0}break", "no\\u{a0}break"),
        ];
        for (name, expected) in cases {
            assert_eq!(escaped(name), expected);
        }
    }

    #[test]
    fn a_json_document_cannot_command_the_terminal_and_means_the_same() {
        let name = "a\u{9b}31m\u{202e}b\u{7f}\u{e0041}\u{1b}\n漢";
        let document = serde_json::to_string_pretty(&serde_json::json!({ "group": name })).unwrap();
        let shown = in_json(&document);
        assert!(shown.contains("a\\u009b31m\\u202eb\\u007f\\udb40\\udc41\\u001b\\n漢"), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["group"], name);
    }

    #[test]
    fn a_message_cannot_command_the_terminal_whoever_wrote_its_parts() {
        assert_eq!(
            harmless("line 2: \u{1b}[2J-0 stands\n\tthere \"twice\""),
            "line 2: \\u{1b}[2J-0 stands\n\tthere \"twice\""
        );
        assert_eq!(harmless("a\u{9b}31m\u{202e}\r"), "a\\u{9b}31m\\u{202e}\\r");
    }
}
